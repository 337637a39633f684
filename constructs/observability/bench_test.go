package observability_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

// BenchmarkNew measures a dashboard of one queue, and BenchmarkNewAlarmTopic the
// topic that hears of its alarms.
func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "jobs", cdkapp.StackProps{})
		jobs := queue.New(stack, "Jobs", queue.Props{})
		return func() {
			observability.New(stack, "Overview", observability.Props{
				Sections: []observability.Section{{Title: "Jobs", Watched: []observability.Watched{jobs}}},
			})
		}
	})
}

func BenchmarkNewAlarmTopic(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "jobs", cdkapp.StackProps{})
		jobs := queue.New(stack, "Jobs", queue.Props{})
		return func() {
			observability.NewAlarmTopic(stack, "Pager", observability.TopicProps{}).NotifyOnly(observability.Critical, jobs)
		}
	})
}
