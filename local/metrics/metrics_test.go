package metrics_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/instances"
	"github.com/loadbearing/loadbearing/local/metrics"
)

// TestMain makes the test binary a busy process too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "busy" {
		for { //nolint:staticcheck // It uses a processor until it is killed.
		}
	}
	os.Exit(m.Run())
}

func metric(namespace, name, dimension, value string) types.Metric {
	return types.Metric{
		Namespace: &namespace, MetricName: &name,
		Dimensions: []types.Dimension{{Name: &dimension, Value: &value}},
	}
}

// account answers for AWS, in memory.
type account struct {
	published []*cloudwatch.PutMetricDataInput
	lookups   int
	queues    map[string]map[string]string
	groups    map[string]astypes.AutoScalingGroup
	err       error
}

func (a *account) PutMetricData(_ context.Context, in *cloudwatch.PutMetricDataInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error) {
	a.published = append(a.published, in)
	return &cloudwatch.PutMetricDataOutput{}, a.err
}

func (a *account) GetQueueUrl(_ context.Context, in *sqs.GetQueueUrlInput, _ ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) { //nolint:revive // The name is the SDK's.
	a.lookups++
	if a.queues[*in.QueueName] == nil {
		return nil, &sqstypes.QueueDoesNotExist{}
	}
	return &sqs.GetQueueUrlOutput{QueueUrl: in.QueueName}, a.err
}

func (a *account) GetQueueAttributes(_ context.Context, in *sqs.GetQueueAttributesInput, _ ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	attributes := a.queues[*in.QueueUrl]
	if attributes == nil {
		return nil, &sqstypes.QueueDoesNotExist{}
	}
	name := string(in.AttributeNames[0])
	return &sqs.GetQueueAttributesOutput{Attributes: map[string]string{name: attributes[name]}}, a.err
}

func (a *account) DescribeAutoScalingGroups(_ context.Context, in *autoscaling.DescribeAutoScalingGroupsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	out := &autoscaling.DescribeAutoScalingGroupsOutput{}
	if g, ok := a.groups[in.AutoScalingGroupNames[0]]; ok {
		out.AutoScalingGroups = append(out.AutoScalingGroups, g)
	}
	return out, a.err
}

func TestPublish(t *testing.T) {
	t.Parallel()
	a := &account{queues: map[string]map[string]string{"jobs": {"ApproximateNumberOfMessages": "7", "ApproximateNumberOfMessagesDelayed": "x"}}}
	p := metrics.Publisher{API: a, Sources: map[string]metrics.Source{"AWS/SQS": &metrics.Queues{API: a}}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	visible := metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "jobs")
	require.NoError(t, p.Publish(t.Context(), at, []types.Metric{
		visible, visible, // two alarms of one policy
		metric("Loadbearing", "ActiveConnections", "AutoScalingGroupName", "web"), // the app's own
		metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "none"),
	}))
	require.Len(t, a.published, 1)
	require.Equal(t, "AWS/SQS", *a.published[0].Namespace)
	require.Len(t, a.published[0].MetricData, 1)
	datum := a.published[0].MetricData[0]
	require.Equal(t, []float64{7}, datum.Values)
	require.Equal(t, "jobs", *datum.Dimensions[0].Value)
	require.True(t, datum.Timestamp.Equal(at))

	// What cannot be measured is said, and the rest published all the same.
	err := p.Publish(t.Context(), at, []types.Metric{
		metric("AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", "db"),
		metric("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "jobs"),
		metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Color", "blue"),
		metric("AWS/SQS", "ApproximateNumberOfMessagesDelayed", "QueueName", "jobs"),
		visible,
	})
	require.ErrorIs(t, err, metrics.ErrUnknown)
	require.ErrorContains(t, err, "metric AWS/RDS CPUUtilization{DBInstanceIdentifier=db}: nothing publishes it locally")
	require.ErrorContains(t, err, "metric AWS/SQS ApproximateAgeOfOldestMessage{QueueName=jobs}: nothing publishes it locally")
	require.ErrorContains(t, err, "only by QueueName")
	require.ErrorContains(t, err, `queue jobs: ApproximateNumberOfMessagesDelayed is "x", not a number`)
	require.Len(t, a.published, 2)

	a.err = errors.New("connection refused")
	require.ErrorContains(t, p.Publish(t.Context(), at, []types.Metric{visible}), "connection refused")
}

func TestQueueThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	jobs := map[string]string{"ApproximateNumberOfMessagesNotVisible": "3"}
	a := &account{queues: map[string]map[string]string{"jobs": jobs}}
	q := &metrics.Queues{API: a}
	measure := func() []float64 {
		values, err := q.Measure(t.Context(), metric("AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", "jobs"))
		require.NoError(t, err)
		return values
	}
	require.Equal(t, []float64{3}, measure())
	require.Equal(t, []float64{3}, measure())
	require.Equal(t, 1, a.lookups)
	delete(a.queues, "jobs")
	require.Empty(t, measure())
	a.queues["jobs"] = jobs
	require.Equal(t, []float64{3}, measure())
}

func TestGroups(t *testing.T) {
	t.Parallel()
	want := map[string][]float64{
		"GroupMinSize": {1}, "GroupMaxSize": {9}, "GroupDesiredCapacity": {4},
		"GroupInServiceInstances": {2}, "GroupInServiceCapacity": {2}, "GroupPendingInstances": {1}, "GroupPendingCapacity": {1},
		"GroupStandbyInstances": {1}, "GroupStandbyCapacity": {1}, "GroupTerminatingInstances": {1}, "GroupTerminatingCapacity": {1},
		"GroupTotalCapacity":      {5},
		"WarmPoolDesiredCapacity": {5}, "WarmPoolWarmedCapacity": {2}, "WarmPoolPendingCapacity": {1}, "WarmPoolTerminatingCapacity": {1},
		"WarmPoolTotalCapacity": {4}, "GroupAndWarmPoolDesiredCapacity": {9}, "GroupAndWarmPoolTotalCapacity": {9},
	}
	var enabled []astypes.EnabledMetric
	for name := range want {
		enabled = append(enabled, astypes.EnabledMetric{Metric: &name})
	}
	want["GroupTotalInstances"] = nil // not enabled
	require.Len(t, want, 20, "every metric that a group has")
	a := &account{groups: map[string]astypes.AutoScalingGroup{"web": {
		MinSize: aws.Int32(1), MaxSize: aws.Int32(9), DesiredCapacity: aws.Int32(4), EnabledMetrics: enabled,
		WarmPoolConfiguration: &astypes.WarmPoolConfiguration{},
	}}}
	g := metrics.Groups{API: a, Instances: func() []instances.Instance {
		return []instances.Instance{
			{Group: "web", State: instances.InService, Lifecycle: "InService"},
			{Group: "web", State: instances.InService, Lifecycle: "InService"},
			{Group: "web", State: instances.Pending, Lifecycle: "Pending:Wait"},
			{Group: "web", State: instances.Standby, Lifecycle: "Standby"},
			{Group: "web", State: instances.Draining, Lifecycle: "Terminating"},
			{Group: "web", State: instances.Terminated, Lifecycle: "Terminated"},
			{Group: "web", State: instances.Warm, Lifecycle: "Warmed:Stopped"},
			{Group: "web", State: instances.Warm, Lifecycle: "Warmed:Stopped"},
			{Group: "web", State: instances.Warm, Lifecycle: "Warmed:Pending:Wait"},
			{Group: "web", State: instances.Draining, Lifecycle: "Warmed:Terminating"},
			{Group: "worker", State: instances.InService, Lifecycle: "InService"},
		}
	}}
	for name, want := range want {
		values, err := g.Measure(t.Context(), metric("AWS/AutoScaling", name, "AutoScalingGroupName", "web"))
		require.NoError(t, err, name)
		require.Equal(t, want, values, name)
	}
	values, err := g.Measure(t.Context(), metric("AWS/AutoScaling", "GroupMinSize", "AutoScalingGroupName", "gone"))
	require.NoError(t, err)
	require.Empty(t, values)
	_, err = g.Measure(t.Context(), metric("AWS/AutoScaling", "GroupHappiness", "AutoScalingGroupName", "web"))
	require.ErrorIs(t, err, metrics.ErrUnknown)
}

func TestMachines(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	busy := exec.CommandContext(t.Context(), self, "busy")
	require.NoError(t, busy.Start())
	t.Cleanup(func() { _ = busy.Process.Kill(); _ = busy.Wait() })
	c := &metrics.Machines{Instances: func() []instances.Instance {
		return []instances.Instance{
			{ID: "i-busy", Group: "web", State: instances.InService, PID: busy.Process.Pid},
			{ID: "i-gone", Group: "web", State: instances.InService, PID: 1 << 30},
			{ID: "i-boots", Group: "web", State: instances.Pending, PID: os.Getpid()},
			{ID: "i-other", Group: "worker", State: instances.InService, PID: os.Getpid()},
		}
	}}
	web := metric("AWS/EC2", "CPUUtilization", "AutoScalingGroupName", "web")
	values, err := c.Measure(t.Context(), web)
	require.NoError(t, err)
	require.Empty(t, values, "no time has passed")
	require.Eventually(t, func() bool {
		values, err := c.Measure(t.Context(), web)
		require.NoError(t, err)
		require.Len(t, values, 1)
		require.LessOrEqual(t, values[0], 150/float64(runtime.NumCPU()), "one processor of all, counted in hundredths of a second")
		return values[0] > 0
	}, 20*time.Second, 100*time.Millisecond)
	_, err = c.Measure(t.Context(), metric("AWS/EC2", "NetworkIn", "AutoScalingGroupName", "web"))
	require.ErrorIs(t, err, metrics.ErrUnknown)
}
