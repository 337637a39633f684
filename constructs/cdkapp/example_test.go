package cdkapp_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "jobs", cdkapp.StackProps{
		Name:                  "media-jobs",
		Region:                "eu-west-1",
		TerminationProtection: true,
		Tags:                  map[string]string{"team": "media"},
	})
	jobs := queue.New(stack, "Jobs", queue.Props{})
	cdkapp.Output(stack, "QueueURL", jobs.URL(), "Where jobs are sent to")

	cdktest.Print(stack, "AWS::SQS::Queue", "AWS::CloudWatch::Alarm")
	// Output:
	// 2 AWS::SQS::Queue
	// 4 AWS::CloudWatch::Alarm
}
