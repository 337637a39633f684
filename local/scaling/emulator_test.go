package scaling_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/instances"
	"github.com/loadbearing/loadbearing/local/metrics"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/scaling"
)

// workers is a fleet as constructs/fleet deploys one that scales on its
// backlog, with a floor that a schedule never changes while a test runs.
const workers = `{
  "Resources": {
    "Jobs": {"Type": "AWS::SQS::Queue"},
    "Group": {"Type": "AWS::AutoScaling::AutoScalingGroup", "Properties": {
      "AutoScalingGroupName": "workers", "MinSize": "1", "DesiredCapacity": "1", "MaxSize": "3", "DefaultInstanceWarmup": 60,
      "AvailabilityZones": ["us-east-1a"], "MetricsCollection": [{"Granularity": "1Minute"}]
    }},
    "Scale": {"Type": "AWS::AutoScaling::ScalingPolicy", "Properties": {
      "AutoScalingGroupName": {"Ref": "Group"}, "PolicyType": "TargetTrackingScaling",
      "TargetTrackingConfiguration": {"TargetValue": 10, "DisableScaleIn": false, "CustomizedMetricSpecification": {"Metrics": [
        {"Id": "messages", "ReturnData": false, "MetricStat": {"Stat": "Maximum", "Metric": {
          "Namespace": "AWS/SQS", "MetricName": "ApproximateNumberOfMessagesVisible",
          "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["Jobs", "QueueName"]}}]
        }}},
        {"Id": "instances", "ReturnData": false, "MetricStat": {"Stat": "Average", "Metric": {
          "Namespace": "AWS/AutoScaling", "MetricName": "GroupInServiceInstances",
          "Dimensions": [{"Name": "AutoScalingGroupName", "Value": {"Ref": "Group"}}]
        }}},
        {"Id": "backlog", "Expression": "messages / instances", "Label": "backlog per instance", "ReturnData": true}
      ]}}
    }},
    "Night": {"Type": "AWS::AutoScaling::ScheduledAction", "Properties": {
      "AutoScalingGroupName": {"Ref": "Group"}, "Recurrence": "0 22 30 2 *", "TimeZone": "Europe/Berlin", "MinSize": 0
    }}
  },
  "Outputs": {"Jobs": {"Value": {"Ref": "Jobs"}}}
}`

// TestADeployedPolicyIsActedOn: twenty jobs more than one worker should have
// make three of it, and one again when they are done.
func TestADeployedPolicyIsActedOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	python, err := emulator.Install(t.Context(), filepath.Join("..", "..", ".cache"), func(s string) { t.Log(s) })
	require.NoError(t, err)
	e, err := emulator.Start(t.Context(), emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
	require.NoError(t, err)
	defer e.Stop(context.Background())
	cfg := e.AWSConfig()
	groups, alarms, queues := autoscaling.NewFromConfig(cfg), cloudwatch.NewFromConfig(cfg), sqs.NewFromConfig(cfg)

	stacks := cloudformation.NewFromConfig(cfg)
	_, err = stacks.CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: aws.String("workers"), TemplateBody: aws.String(workers)})
	require.NoError(t, err)
	created, err := cloudformation.NewStackCreateCompleteWaiter(stacks, func(o *cloudformation.StackCreateCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	}).WaitForOutput(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("workers")}, time.Minute)
	require.NoError(t, err)
	queue := created.Stacks[0].Outputs[0].OutputValue

	desired := func() int {
		out, err := groups.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
		require.NoError(t, err)
		return int(*out.AutoScalingGroups[0].DesiredCapacity)
	}
	// Every instance that is desired is in service at once.
	var mu sync.Mutex
	var fleet []instances.Instance
	running := func() []instances.Instance {
		n := desired()
		mu.Lock()
		defer mu.Unlock()
		for len(fleet) < n {
			fleet = append(fleet, instances.Instance{ID: "i-" + strconv.Itoa(len(fleet)), Group: "workers", State: instances.InService, Served: time.Now()})
		}
		fleet = fleet[:n]
		return append([]instances.Instance(nil), fleet...)
	}
	publisher := metrics.Publisher{API: alarms, Sources: map[string]metrics.Source{
		"AWS/SQS": &metrics.Queues{API: queues}, "AWS/AutoScaling": metrics.Groups{API: groups, Instances: running},
	}}
	m := scaling.New(scaling.Options{
		API: scaling.API{Groups: groups, Alarms: alarms}, Publish: publisher.Publish, Instances: running,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	policies, actions, err := m.Deployed(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{policies, actions})
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { m.Run(ctx) })
	defer done.Wait()
	defer stop()

	send := &sqs.SendMessageBatchInput{QueueUrl: queue}
	for i := range 10 {
		send.Entries = append(send.Entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String("job")})
	}
	for range 3 {
		_, err := queues.SendMessageBatch(t.Context(), send)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return desired() == 3 }, time.Minute, 50*time.Millisecond)
	high, err := alarms.DescribeAlarmHistory(t.Context(), &cloudwatch.DescribeAlarmHistoryInput{HistoryItemType: cwtypes.HistoryItemTypeStateUpdate})
	require.NoError(t, err)
	require.Contains(t, *high.AlarmHistoryItems[0].AlarmName, "TargetTracking-workers-AlarmHigh-")
	require.Contains(t, *high.AlarmHistoryItems[0].HistoryData, "greater than the threshold (10)")

	// Whoever launches the instances learns why.
	told, err := instances.NewAPI(cfg).Fleet.ReportInstances(t.Context(), map[string]instances.GroupReport{"workers": {Instances: []instances.InstanceReport{}}})
	require.NoError(t, err)
	changes := told["workers"].Changes
	require.Regexp(t, `^At \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ a monitor alarm TargetTracking-workers-AlarmHigh-\S+ in state ALARM triggered policy \S+ changing the desired capacity from \d to 3\.$`,
		changes[len(changes)-1].Cause)

	_, err = queues.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: queue})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return desired() == 1 }, 2*time.Minute, 100*time.Millisecond)
	require.Empty(t, m.Problems())
}
