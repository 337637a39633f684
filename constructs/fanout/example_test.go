package fanout_test

import (
	"fmt"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "orders", cdkapp.StackProps{})
	orders := fanout.New(stack, "Orders", fanout.Props{
		Subscriptions: []fanout.Subscription{
			{Name: "search"},
			{Name: "fraud", Attributes: fanout.Conditions{"amount": fanout.AtLeast(1000)}},
			{Name: "europe", Body: fanout.Conditions{"customer": fanout.Within(fanout.Conditions{"country": fanout.OneOf("DE", "FR")})}},
		},
	})
	cdkapp.Output(stack, "Topic", orders.TopicARN(), "Where orders are published")

	fmt.Println("search hides a message for", orders.Queues["search"].VisibilityTimeout)
	cdktest.Print(stack, "AWS::SNS::Topic", "AWS::SNS::Subscription", "AWS::SQS::Queue")
	// Output:
	// search hides a message for 30s
	// 1 AWS::SNS::Topic
	// 3 AWS::SNS::Subscription
	// 6 AWS::SQS::Queue
}
