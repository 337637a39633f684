package observability_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func sections(stack awscdk.Stack) []observability.Section {
	return []observability.Section{{
		Title:   "Jobs",
		Watched: []observability.Watched{queue.New(stack, "Jobs", queue.Props{})},
	}}
}

func TestAlarmTopicDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{Emails: []string{"ops@example.com"}})
	topic.Notify(sections(stack)[0].Watched...)
	template := cdktest.Template(stack)

	template.HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"EnableKeyRotation": true})
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"KmsMasterKeyId": assertions.Match_AnyValue()})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"Protocol": "email", "Endpoint": "ops@example.com"})
	template.HasResourceProperties(new("AWS::SNS::TopicPolicy"), map[string]any{"PolicyDocument": map[string]any{
		"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{
			"Sid": "AlarmsPublish", "Action": "sns:Publish", "Effect": "Allow",
			"Principal": map[string]any{"Service": "cloudwatch.amazonaws.com"},
			"Condition": map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": map[string]any{"Ref": "AWS::AccountId"}}},
		})}),
	}})
	template.AllResourcesProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"AlarmActions": []any{assertions.Match_AnyValue()},
		"OKActions":    []any{assertions.Match_AnyValue()},
	})
}

func TestDashboardDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.New(stack, "Dashboard", observability.Props{Name: "overview", Sections: sections(stack)})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::CloudWatch::Dashboard"), new(1.0))
	template.HasResourceProperties(new("AWS::CloudWatch::Dashboard"), map[string]any{"DashboardName": "overview"})
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	all := sections(stack)
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{Emails: []string{"ops@example.com"}})
	topic.Notify(all[0].Watched...)
	observability.New(stack, "Dashboard", observability.Props{Sections: all})
	cdktest.Golden(t, stack, "observability")
}

func TestExistingKey(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{Key: awskms.NewKey(stack, new("Key"), nil)})
	cdktest.Template(stack).ResourceCountIs(new("AWS::KMS::Key"), new(1.0))
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{
		Override: func(p *awssns.TopicProps) { p.DisplayName = new("shown") },
	})
	observability.New(stack, "Dashboard", observability.Props{
		Sections: sections(stack),
		Override: func(p *awscloudwatch.DashboardProps) { p.DashboardName = new("other") },
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"DisplayName": "shown"})
	template.HasResourceProperties(new("AWS::CloudWatch::Dashboard"), map[string]any{"DashboardName": "other"})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, observability.TopicProps{Emails: append(make([]string, 0, 4), "ops@example.com")}, func(p observability.TopicProps) {
		observability.NewAlarmTopic(stack, "Alarms", p)
	})
	cdktest.Unchanged(t, observability.Props{Sections: sections(stack)}, func(p observability.Props) {
		observability.New(stack, "Dashboard", p)
	})
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	all := sections(stack)
	observability.NewAlarmTopic(stack, "TopicOne", observability.TopicProps{})
	observability.NewAlarmTopic(stack, "TopicTwo", observability.TopicProps{})
	observability.New(stack, "One", observability.Props{Sections: all})
	observability.New(stack, "Two", observability.Props{Sections: all})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::CloudWatch::Dashboard"), new(2.0))
	template.ResourceCountIs(new("AWS::SNS::Topic"), new(2.0))
}

// many is watched and has nothing but widgets.
type many int

func (m many) Alarms() []awscloudwatch.IAlarm { return nil }
func (m many) Widgets() []awscloudwatch.IWidget {
	widgets := make([]awscloudwatch.IWidget, m)
	for i := range widgets {
		widgets[i] = awscloudwatch.NewTextWidget(&awscloudwatch.TextWidgetProps{Markdown: new(fmt.Sprint(i))})
	}
	return widgets
}

func TestTooManyWidgets(t *testing.T) {
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*observability.PropsError](t, func() {
		observability.New(stack, "Dashboard", observability.Props{
			Sections: []observability.Section{{Title: "Many", Watched: []observability.Watched{many(500)}}},
		})
	})
	require.EqualError(t, err, "Test/Dashboard (observability): Sections is 501; allowed: 500 widgets or fewer")
}

func TestValidateNamesEveryField(t *testing.T) {
	require.EqualError(t, observability.TopicProps{Name: "no spaces", Emails: []string{"nobody"}}.Validate(), `observability: 2 fields are not valid
  Name is "no spaces"; allowed: 1 to 256 letters, digits, hyphens and underscores
  Emails[0] is "nobody"; allowed: an e-mail address`)
	require.EqualError(t, observability.Props{Name: "no spaces"}.Validate(), `observability: 2 fields are not valid
  Name is "no spaces"; allowed: 1 to 255 letters, digits, hyphens and underscores
  Sections is 0; allowed: one section or more`)
	stack := cdktest.Stack(t)
	_ = cdktest.Panic[*observability.PropsError](t, func() { observability.New(stack, "Dashboard", observability.Props{}) })
}
