// A queue whose messages a Go Lambda handles: encrypted, with a dead-letter
// queue, retries of single messages, alarms, and a role that may do only this.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "orders", cdkapp.StackProps{Description: "Orders and who works on them"})

		orders := queue.New(stack, "Orders", queue.Props{VisibilityTimeout: 3 * time.Minute})
		worker := function.New(stack, "Worker", function.Props{Source: "./worker", Timeout: 30 * time.Second})
		worker.ConsumeQueue(orders, function.QueueSource{})

		cdkapp.Output(stack, "OrdersURL", orders.URL(), "Send orders here")
		return nil
	})
}
