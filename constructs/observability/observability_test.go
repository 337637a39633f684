package observability_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

// A queue has two critical alarms and two warnings.
func jobs(stack awscdk.Stack) *queue.Queue { return queue.New(stack, "Jobs", queue.Props{}) }

func sections(watched ...observability.Watched) []observability.Section {
	return []observability.Section{{Title: "Jobs", Watched: watched}}
}

// watched has what it is given.
type watched struct {
	alarms  []awscloudwatch.IAlarm
	widgets int
}

func (w watched) Alarms() []awscloudwatch.IAlarm { return w.alarms }
func (w watched) Widgets() []awscloudwatch.IWidget {
	widgets := make([]awscloudwatch.IWidget, w.widgets)
	for i := range widgets {
		widgets[i] = awscloudwatch.NewTextWidget(&awscloudwatch.TextWidgetProps{Markdown: new("one")})
	}
	return widgets
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	q := jobs(stack)
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{Emails: []string{"ops@example.com"}})
	topic.Notify(q)
	observability.New(stack, "Dashboard", observability.Props{Sections: sections(q)})
	cdktest.Golden(t, stack, "observability")
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	all := sections(jobs(stack))
	observability.NewAlarmTopic(stack, "TopicOne", observability.TopicProps{})
	observability.NewAlarmTopic(stack, "TopicTwo", observability.TopicProps{})
	observability.New(stack, "One", observability.Props{Sections: all})
	observability.New(stack, "Two", observability.Props{Sections: all})
	observability.NewComposite(stack, "Three", observability.CompositeProps{Watched: all[0].Watched})
	observability.NewComposite(stack, "Four", observability.CompositeProps{Watched: all[0].Watched})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::CloudWatch::Dashboard"), new(2.0))
	template.ResourceCountIs(new("AWS::SNS::Topic"), new(2.0))
	template.ResourceCountIs(new("AWS::KMS::Key"), new(2.0))
	template.ResourceCountIs(new("AWS::CloudWatch::CompositeAlarm"), new(2.0))
}

// The topic stands in the first stack, what is watched in another.
func TestUseInOtherStacks(t *testing.T) {
	one, other := cdktest.Stacks(t)
	topic := observability.NewAlarmTopic(one, "Alarms", observability.TopicProps{Runbooks: "https://example.com"})
	q := jobs(other)
	topic.Notify(q)
	observability.New(other, "Dashboard", observability.Props{Sections: sections(q)})
	cdktest.Template(other).ResourcePropertiesCountIs(new("AWS::CloudWatch::Alarm"), map[string]any{
		"AlarmActions": []any{other.Resolve(topic.Topic.TopicArn())},
	}, new(4.0))
}
