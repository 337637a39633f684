// One KMS key of your own for everything: the topic, its queues, the function's
// environment and logs, with no permission on the key wider than it needs.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/encryption"
	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "payments", cdkapp.StackProps{})

		key := encryption.New(stack, "Encryption", encryption.Props{Alias: "payments"}).Key
		ledger := queue.New(stack, "Ledger", queue.Props{
			Key:      key,
			Consumer: queue.Consumer{Timeout: 30 * time.Second},
		})
		payments := fanout.New(stack, "Payments", fanout.Props{
			Key:           key,
			Subscriptions: []fanout.Subscription{{Name: "ledger", Queue: ledger}},
		})
		booking := function.New(stack, "Booking", function.Props{Source: "./worker", Key: key})
		booking.ConsumeQueue(ledger, function.QueueSource{})

		cdkapp.Output(stack, "TopicARN", payments.TopicARN(), "Publish payments here")
		return nil
	})
}
