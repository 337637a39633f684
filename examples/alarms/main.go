// Alarms that wake people apart from those they read in the morning, and one
// dashboard over a queue and the function that works on it.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "watched-jobs", cdkapp.StackProps{})

		jobs := queue.New(stack, "Jobs", queue.Props{
			Consumer: queue.Consumer{Timeout: 30 * time.Second},
			AgeAlarm: 10 * time.Minute,
		})
		worker := function.New(stack, "Worker", function.Props{Source: "./worker", Timeout: 30 * time.Second})
		worker.ConsumeQueue(jobs, function.QueueSource{})

		pager := observability.NewAlarmTopic(stack, "Pager", observability.TopicProps{
			HTTPS:    []string{"https://events.pager.example.com/integration/aws"},
			Runbooks: "https://wiki.example.com/runbooks",
		})
		pager.NotifyOnly(observability.Critical, jobs, worker)
		mail := observability.NewAlarmTopic(stack, "Mail", observability.TopicProps{Emails: []string{"team@example.com"}})
		mail.NotifyOnly(observability.Warning, jobs, worker)

		overview := observability.New(stack, "Overview", observability.Props{
			Name:     "jobs",
			Sections: []observability.Section{{Title: "Jobs", Watched: []observability.Watched{jobs, worker}}},
		})
		cdkapp.Output(stack, "Dashboard", overview.Name(), "In the CloudWatch console")
		return nil
	})
}
