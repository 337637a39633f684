package observability_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "jobs", cdkapp.StackProps{})
	jobs := queue.New(stack, "Jobs", queue.Props{})

	pager := observability.NewAlarmTopic(stack, "Pager", observability.TopicProps{HTTPS: []string{"https://pager.example.com/aws"}})
	pager.NotifyOnly(observability.Critical, jobs)
	mail := observability.NewAlarmTopic(stack, "Mail", observability.TopicProps{Emails: []string{"team@example.com"}})
	mail.NotifyOnly(observability.Warning, jobs)
	observability.New(stack, "Overview", observability.Props{
		Sections: []observability.Section{{Title: "Jobs", Watched: []observability.Watched{jobs}}},
	})

	cdktest.Print(stack, "AWS::SNS::Topic", "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard")
	// Output:
	// 2 AWS::SNS::Topic
	// 4 AWS::CloudWatch::Alarm
	// 1 AWS::CloudWatch::Dashboard
}
