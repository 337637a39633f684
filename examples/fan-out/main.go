// A topic whose messages two consumers get, each only those it asked for: one
// that is down or slow delays only itself, and loses nothing.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "order-events", cdkapp.StackProps{Description: "What happens to orders, for whom it concerns"})

		work := queue.Props{Consumer: queue.Consumer{Timeout: 30 * time.Second}}
		events := fanout.New(stack, "Events", fanout.Props{
			Subscriptions: []fanout.Subscription{
				{Name: "mail", QueueProps: work, Filter: map[string][]string{"type": {"placed", "shipped"}}},
				{Name: "fraud", QueueProps: work, Body: fanout.Conditions{"amount": fanout.AtLeast(1000)}},
			},
		})
		mail := function.New(stack, "Mail", function.Props{Source: "./mail"})
		mail.ConsumeQueue(events.Queues["mail"], function.QueueSource{})
		fraud := function.New(stack, "Fraud", function.Props{Source: "./fraud"})
		fraud.ConsumeQueue(events.Queues["fraud"], function.QueueSource{})

		cdkapp.Output(stack, "TopicARN", events.TopicARN(), "Publish here, with the attribute type")
		return nil
	})
}
