package scaling_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/loadbearing/loadbearing/local/instances"
	"github.com/loadbearing/loadbearing/local/scaling"
)

const groupName = "loadbearing-dev-worker-blue"

// cloud is the account, in memory: a group with what scales it, the metrics that
// the test wishes, and instances that are in service as soon as they are
// desired, or when the test says.
type cloud struct {
	mu       sync.Mutex
	down     error
	group    types.AutoScalingGroup
	policies []types.ScalingPolicy
	actions  []types.ScheduledUpdateGroupAction
	alarms   map[string]cwtypes.MetricAlarm
	metrics  map[string]func(running int) float64 // by name; an absent one has no data
	points   map[string][]point
	hangs    bool // does not answer for metrics
	slow     bool // instances are not in service before the test says
	running  []instances.Instance

	capacities []int // every desired capacity, from the first
	honored    bool  // HonorCooldown of the last
	asked      []cwtypes.MetricDataQuery
}

type point struct {
	at    time.Time
	value float64
}

func newCloud(minimum, desired, maximum int) *cloud {
	c := &cloud{
		group: types.AutoScalingGroup{
			AutoScalingGroupName: aws.String(groupName), DefaultInstanceWarmup: aws.Int32(60), DefaultCooldown: aws.Int32(300),
			MinSize: aws.Int32(int32(minimum)), MaxSize: aws.Int32(int32(maximum)), DesiredCapacity: aws.Int32(int32(desired)),
		},
		alarms: map[string]cwtypes.MetricAlarm{}, metrics: map[string]func(int) float64{}, points: map[string][]point{},
		capacities: []int{desired},
	}
	c.launch(time.Now().Add(-time.Hour))
	return c
}

// launch brings the instances in line with what is desired. c.mu is held or
// nobody else has c.
func (c *cloud) launch(served time.Time) {
	n := int(*c.group.DesiredCapacity)
	for len(c.running) < n {
		c.running = append(c.running, instances.Instance{
			ID: fmt.Sprintf("i-%d", len(c.running)), Group: groupName, State: instances.InService, Served: served,
		})
	}
	c.running = c.running[:n]
}

// constant is a metric that instances do not change.
func constant(value float64) func(int) float64 { return func(int) float64 { return value } }

// shared is a metric that the running instances share.
func shared(total float64) func(int) float64 {
	return func(running int) float64 { return total / float64(running) }
}

func (c *cloud) with(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// track deploys a target tracking policy on one metric, with its two alarms.
func (c *cloud) track(name, metric string, target float64, scaleIn bool) {
	c.trackQueries(name, target, scaleIn, []cwtypes.MetricDataQuery{statistic("metric", metric, "Average")})
}

func statistic(id, metric, stat string) cwtypes.MetricDataQuery {
	return cwtypes.MetricDataQuery{Id: &id, ReturnData: aws.Bool(true), MetricStat: &cwtypes.MetricStat{
		Metric: &cwtypes.Metric{Namespace: aws.String("Test"), MetricName: &metric}, Period: aws.Int32(60), Stat: &stat,
	}}
}

func (c *cloud) trackQueries(name string, target float64, scaleIn bool, queries []cwtypes.MetricDataQuery) {
	arn := c.policy(types.ScalingPolicy{
		PolicyName: &name, PolicyType: aws.String("TargetTrackingScaling"),
		TargetTrackingConfiguration: &types.TargetTrackingConfiguration{TargetValue: &target, DisableScaleIn: aws.Bool(!scaleIn)},
	})
	c.alarm(name+"-AlarmHigh", arn, cwtypes.ComparisonOperatorGreaterThanThreshold, target, 3, queries)
	if scaleIn {
		c.alarm(name+"-AlarmLow", arn, cwtypes.ComparisonOperatorLessThanThreshold, target*0.9, 15, queries)
	}
}

func (c *cloud) policy(p types.ScalingPolicy) (arn string) {
	arn = "arn:aws:autoscaling:us-east-1:0:scalingPolicy:1:autoScalingGroupName/g:policyName/" + *p.PolicyName
	p.AutoScalingGroupName, p.PolicyARN = aws.String(groupName), &arn
	c.policies = append(c.policies, p)
	return arn
}

func (c *cloud) alarm(name, action string, operator cwtypes.ComparisonOperator, threshold float64, periods int32, queries []cwtypes.MetricDataQuery) {
	c.alarms[name] = cwtypes.MetricAlarm{
		AlarmName: &name, AlarmActions: []string{action}, ActionsEnabled: aws.Bool(true), Metrics: queries,
		ComparisonOperator: operator, Threshold: &threshold, EvaluationPeriods: &periods, StateValue: cwtypes.StateValueInsufficientData,
	}
}

// options are those of a Manager on this account. Its metrics are published
// when they are asked for.
func (c *cloud) options() scaling.Options {
	return scaling.Options{
		API: scaling.API{Groups: c, Alarms: c},
		Publish: func(_ context.Context, at time.Time, wanted []cwtypes.Metric) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, name := range slices.Compact(slices.Sorted(func(yield func(string) bool) {
				for _, m := range wanted {
					if !yield(*m.MetricName) {
						return
					}
				}
			})) {
				if value := c.metrics[name]; value != nil {
					c.points[name] = append(c.points[name], point{at, value(len(c.running))})
				}
			}
			return nil
		},
		Instances: func() []instances.Instance {
			c.mu.Lock()
			defer c.mu.Unlock()
			return slices.Clone(c.running)
		},
	}
}

func (c *cloud) DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &autoscaling.DescribeAutoScalingGroupsOutput{AutoScalingGroups: []types.AutoScalingGroup{c.group}}, c.down
}

func (c *cloud) DescribePolicies(context.Context, *autoscaling.DescribePoliciesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribePoliciesOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &autoscaling.DescribePoliciesOutput{ScalingPolicies: c.policies}, nil
}

func (c *cloud) DescribeScheduledActions(context.Context, *autoscaling.DescribeScheduledActionsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeScheduledActionsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &autoscaling.DescribeScheduledActionsOutput{ScheduledUpdateGroupActions: c.actions}, nil
}

func (c *cloud) SetDesiredCapacity(_ context.Context, in *autoscaling.SetDesiredCapacityInput, _ ...func(*autoscaling.Options)) (*autoscaling.SetDesiredCapacityOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.desire(*in.DesiredCapacity)
	c.honored = *in.HonorCooldown
	return &autoscaling.SetDesiredCapacityOutput{}, nil
}

func (c *cloud) UpdateAutoScalingGroup(_ context.Context, in *autoscaling.UpdateAutoScalingGroupInput, _ ...func(*autoscaling.Options)) (*autoscaling.UpdateAutoScalingGroupOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.group.MinSize, c.group.MaxSize = in.MinSize, in.MaxSize
	c.desire(*in.DesiredCapacity)
	return &autoscaling.UpdateAutoScalingGroupOutput{}, nil
}

func (c *cloud) desire(n int32) {
	c.group.DesiredCapacity = &n
	c.capacities = append(c.capacities, int(n))
	if !c.slow {
		c.launch(time.Now())
	}
}

func (c *cloud) DescribeAlarms(context.Context, *cloudwatch.DescribeAlarmsInput, ...func(*cloudwatch.Options)) (*cloudwatch.DescribeAlarmsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &cloudwatch.DescribeAlarmsOutput{MetricAlarms: []cwtypes.MetricAlarm{{AlarmName: aws.String("of nobody"), AlarmActions: []string{"arn:aws:sns:::pager"}}}}
	for _, a := range c.alarms {
		out.MetricAlarms = append(out.MetricAlarms, a)
	}
	return out, nil
}

func (c *cloud) SetAlarmState(_ context.Context, in *cloudwatch.SetAlarmStateInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.SetAlarmStateOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.alarms[*in.AlarmName]
	a.StateValue, a.StateReason = in.StateValue, in.StateReason
	c.alarms[*in.AlarmName] = a
	return &cloudwatch.SetAlarmStateOutput{}, nil
}

// GetMetricData knows one expression: a metric times a number.
func (c *cloud) GetMetricData(ctx context.Context, in *cloudwatch.GetMetricDataInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.GetMetricDataOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.asked = in.MetricDataQueries
	factor, out := 1.0, cwtypes.MetricDataResult{StatusCode: cwtypes.StatusCodeComplete}
	var name string
	for _, q := range in.MetricDataQueries {
		if q.MetricStat != nil {
			name = *q.MetricStat.Metric.MetricName
			continue
		}
		_, number, _ := strings.Cut(*q.Expression, " * ")
		factor, _ = strconv.ParseFloat(number, 64)
	}
	for _, p := range slices.Backward(c.points[name]) { // the newest first, as CloudWatch
		if !p.at.Before(*in.StartTime) && p.at.Before(*in.EndTime) {
			out.Timestamps, out.Values = append(out.Timestamps, p.at), append(out.Values, p.value*factor)
		}
	}
	return &cloudwatch.GetMetricDataOutput{MetricDataResults: []cwtypes.MetricDataResult{out}}, nil
}
