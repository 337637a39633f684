package fleet_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

func TestAlarms(t *testing.T) {
	stack, props := setup(t)
	f := fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::CloudWatch::Alarm"), cdkx.Number(6))
	var severities []cdkx.Severity
	for _, alarm := range f.Alarms() {
		severities = append(severities, cdkx.SeverityOf(alarm))
	}
	require.Equal(t, []cdkx.Severity{cdkx.Critical, cdkx.Warning, cdkx.Warning, cdkx.Warning, cdkx.Warning, cdkx.Warning}, severities)

	group := []any{map[string]any{"Name": "AutoScalingGroupName", "Value": "loadbearing-dev-worker-blue"}}
	expression := func(text string) assertions.Matcher {
		return assertions.Match_ArrayWith(&[]any{like(map[string]any{"Expression": text})})
	}
	has(template, "AWS::CloudWatch::Alarm", map[string]any{
		"Threshold": 0, "EvaluationPeriods": 10, "DatapointsToAlarm": 10, "ComparisonOperator": "GreaterThanThreshold",
		"Metrics": expression("desired - inservice"),
	})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{
		"Threshold": 0, "EvaluationPeriods": 15, "ComparisonOperator": "GreaterThanOrEqualToThreshold",
		"Metrics": expression("inservice - maximum"),
	})
	for _, alarm := range []struct {
		namespace, metric, statistic string
		threshold, periods           int
	}{
		{"AWS/EC2", "CPUUtilization", "Average", 90, 3},
		{"CWAgent", "mem_used_percent", "Maximum", 90, 3},
		{"CWAgent", "disk_used_percent", "Maximum", 80, 3},
		{"AWS/EC2", "StatusCheckFailed", "Maximum", 0, 2},
	} {
		has(template, "AWS::CloudWatch::Alarm", map[string]any{
			"Namespace": alarm.namespace, "MetricName": alarm.metric, "Statistic": alarm.statistic, "Dimensions": group,
			"Threshold": alarm.threshold, "EvaluationPeriods": alarm.periods, "Period": 300,
			"ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
		})
	}
	for _, alarm := range *template.FindResources(new("AWS::CloudWatch::Alarm"), nil) {
		description := (*alarm)["Properties"].(map[string]any)["AlarmDescription"].(string)
		require.Contains(t, description, "loadbearing-dev-worker-blue")
		require.Contains(t, description, "Look at ")
		require.NotContains(t, description, "%!")
	}
}

func TestThresholds(t *testing.T) {
	stack, props := setup(t)
	props.MaxCPUPercent, props.MaxMemoryPercent, props.MaxDiskPercent = 70, 75, 85
	fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	for metric, threshold := range map[string]int{"CPUUtilization": 70, "mem_used_percent": 75, "disk_used_percent": 85} {
		has(template, "AWS::CloudWatch::Alarm", map[string]any{"MetricName": metric, "Threshold": threshold})
	}
}

func TestNoAgent(t *testing.T) {
	stack, props := setup(t)
	props.NoAgent = true
	f := fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::Logs::LogGroup"), cdkx.Number(0))
	require.Empty(t, f.LogGroupName())
	require.Len(t, f.Alarms(), 4)
	require.Len(t, f.Widgets(), 4)
	text := userData(t, stack)
	require.NotContains(t, text, "cloudwatch-agent")
	require.NotContains(t, text, "StandardOutput")
	for _, statement := range statements(t, template, nil) {
		require.NotContains(t, plain(t, statement["Action"]), "logs:")
		require.NotContains(t, plain(t, statement), "CWAgent")
	}
}

func TestNoMaximumAlarmForAFixedSize(t *testing.T) {
	stack, props := setup(t)
	props.MinCapacity, props.MaxCapacity = 3, 3
	f := fleet.New(stack, "Worker", props)
	require.Nil(t, f.MaximumAlarm)
	require.Len(t, f.Alarms(), 5)
}

func TestLogGroup(t *testing.T) {
	stack, props := setup(t)
	fleet.New(stack, "Worker", props)
	cdktest.Template(stack).HasResource(new("AWS::Logs::LogGroup"), map[string]any{
		"Properties": like(map[string]any{"RetentionInDays": 30}), "DeletionPolicy": "Delete",
	})
}

func TestWidgetsDrawWhatTheFleetScalesOn(t *testing.T) {
	stack, props := web(t)
	require.Len(t, fleet.New(stack, "Plain", props).Widgets(), 5)

	props.Color = "green"
	props.ConnectionsPerInstance, props.RequestsPerInstance, props.CPUPercent = 201, 3001, 61
	props.Backlog = fleet.Backlog{Queue: awssqs.NewQueue(stack, new("Jobs"), nil), PerInstance: 301}
	props.WarmPool.MinSize = 1
	widgets := fleet.New(stack, "Web", props).Widgets()
	require.Len(t, widgets, 8)
	awscloudwatch.NewDashboard(stack, new("Dashboard"), &awscloudwatch.DashboardProps{Widgets: &[]*[]awscloudwatch.IWidget{&widgets}})
	text := ""
	for _, dashboard := range *cdktest.Template(stack).FindResources(new("AWS::CloudWatch::Dashboard"), nil) {
		text = plain(t, (*dashboard)["Properties"].(map[string]any)["DashboardBody"])
	}
	for _, target := range []string{`"value":201`, `"value":3001`, `"value":61`, `"value":301`} {
		require.Contains(t, text, target)
	}
	for _, metric := range []string{
		"ActiveConnections", "RequestCountPerTarget", "CPUUtilization", "messages / instances", "mem_used_percent", "disk_used_percent",
		"NetworkIn", "EBSWriteBytes", "GroupMaxSize", "WarmPoolWarmedCapacity",
	} {
		require.Contains(t, text, metric)
	}
	require.Equal(t, 8, strings.Count(text, `"title":"loadbearing-dev-web-green: `))
}
