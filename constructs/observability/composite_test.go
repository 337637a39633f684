package observability_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/observability"
)

func TestCompositeOfCriticalAlarms(t *testing.T) {
	stack := cdktest.Stack(t)
	q := jobs(stack)
	outage := observability.NewComposite(stack, "Outage", observability.CompositeProps{Watched: []observability.Watched{q}})
	require.Empty(t, outage.Widgets())
	require.Equal(t, observability.Critical, observability.SeverityOf(outage.Alarm))
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{})
	topic.NotifyOnly(observability.Critical, outage)
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::CloudWatch::CompositeAlarm"), map[string]any{
		"AlarmDescription": "A critical alarm of Outage rings. Look at which one: its description says what it means.",
		"AlarmRule": map[string]any{"Fn::Join": []any{"", []any{
			`(ALARM("`, stack.Resolve(q.AgeAlarm.AlarmArn()), `") OR ALARM("`, stack.Resolve(q.DeadLetterAlarm.AlarmArn()), `"))`,
		}}},
		"AlarmActions": []any{stack.Resolve(topic.Topic.TopicArn())},
		"OKActions":    []any{stack.Resolve(topic.Topic.TopicArn())},
	})
	template.AllResourcesProperties(new("AWS::CloudWatch::Alarm"), map[string]any{"AlarmActions": assertions.Match_Absent()})
}

func TestCompositeOverride(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.NewComposite(stack, "Outage", observability.CompositeProps{
		Name: "outage", Description: "Down", Watched: []observability.Watched{jobs(stack)},
		Override: func(p *awscloudwatch.CompositeAlarmProps) { p.ActionsEnabled = new(false) },
	})
	cdktest.Template(stack).HasResourceProperties(new("AWS::CloudWatch::CompositeAlarm"), map[string]any{
		"AlarmName": "outage", "AlarmDescription": "Down", "ActionsEnabled": false,
	})
}

func TestCompositePropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, observability.CompositeProps{
		Watched: append(make([]observability.Watched, 0, 4), jobs(stack)),
	}, func(p observability.CompositeProps) { observability.NewComposite(stack, "Outage", p) })
}

func TestCompositeValidate(t *testing.T) {
	stack := cdktest.Stack(t)
	q := jobs(stack)
	for _, each := range []struct {
		props observability.CompositeProps
		want  string
	}{
		{
			observability.CompositeProps{Name: strings.Repeat("a", 256), Watched: []observability.Watched{nil}},
			`observability: 2 fields are not valid
  Name is "` + strings.Repeat("a", 256) + `"; allowed: 1 to 255 characters
  Watched[0] is "nil"; allowed: something that is watched`,
		},
		{
			observability.CompositeProps{Watched: []observability.Watched{watched{alarms: []awscloudwatch.IAlarm{q.DepthAlarm}}}},
			"observability: Watched is 0; allowed: 1 to 100 critical alarms",
		},
		{
			observability.CompositeProps{Watched: []observability.Watched{watched{alarms: slices.Repeat([]awscloudwatch.IAlarm{q.AgeAlarm}, 101)}}},
			"observability: Watched is 101; allowed: 1 to 100 critical alarms",
		},
	} {
		require.EqualError(t, each.props.Validate(), each.want)
	}
	_ = cdktest.Panic[*observability.PropsError](t, func() { observability.NewComposite(stack, "Outage", observability.CompositeProps{}) })
}
