package queue_test

import (
	"fmt"
	"time"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "jobs", cdkapp.StackProps{})
	jobs := queue.New(stack, "Jobs", queue.Props{
		Consumer: queue.Consumer{Timeout: 30 * time.Second, BatchWindow: 10 * time.Second},
	})
	cdkapp.Output(stack, "QueueURL", jobs.URL(), "Where jobs are sent to")

	fmt.Println("visibility timeout", jobs.VisibilityTimeout)
	cdktest.Print(stack, "AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "AWS::CloudWatch::Alarm")
	// Output:
	// visibility timeout 3m10s
	// 2 AWS::SQS::Queue
	// 2 AWS::SQS::QueuePolicy
	// 4 AWS::CloudWatch::Alarm
}
