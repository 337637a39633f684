package metrics

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	gops "github.com/shirou/gopsutil/v4/process"

	"github.com/loadbearing/loadbearing/local/instances"
)

// dimensionGroup is the dimension of the metrics of Auto Scaling groups.
const dimensionGroup = "AutoScalingGroupName"

// GroupAPI reads Auto Scaling groups.
type GroupAPI interface {
	DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
}

// Groups measures AWS/AutoScaling by AutoScalingGroupName: the metrics that the
// group has enabled, of its sizes as deployed and its instances as they run.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-metrics.html
type Groups struct {
	API       GroupAPI
	Instances func() []instances.Instance
}

// Measure implements Source. A group that does not exist, or has not enabled
// the metric, has no data.
func (g Groups) Measure(ctx context.Context, m types.Metric) ([]float64, error) {
	name, err := dimension(m, dimensionGroup)
	if err != nil {
		return nil, err
	}
	out, err := g.API.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		return nil, fmt.Errorf("read Auto Scaling group %s: %w", name, err)
	}
	if len(out.AutoScalingGroups) == 0 {
		return nil, nil
	}
	group, metric := out.AutoScalingGroups[0], aws.ToString(m.MetricName)
	in := map[instances.State]int{}
	warm := map[string]int{} // by lifecycle state in the warm pool
	for _, i := range g.Instances() {
		switch {
		case i.Group != name:
		case strings.HasPrefix(i.Lifecycle, "Warmed:"):
			warm[i.Lifecycle]++
		default:
			in[i.State]++
		}
	}
	value, known := groupMetrics(group, in, warm)[metric]
	if !known {
		return nil, ErrUnknown
	}
	enabled := slices.ContainsFunc(group.EnabledMetrics, func(e astypes.EnabledMetric) bool { return aws.ToString(e.Metric) == metric })
	if !enabled {
		return nil, nil
	}
	return []float64{float64(value)}, nil
}

// groupMetrics are the metrics of a group. Every instance is one unit of capacity
// here: no group weights its instance types.
func groupMetrics(group astypes.AutoScalingGroup, in map[instances.State]int, warm map[string]int) map[string]int {
	desired := int(aws.ToInt32(group.DesiredCapacity))
	all := map[string]int{
		"GroupMinSize": int(aws.ToInt32(group.MinSize)), "GroupMaxSize": int(aws.ToInt32(group.MaxSize)), "GroupDesiredCapacity": desired,
	}
	total := 0
	for name, n := range map[string]int{
		"InService": in[instances.InService], "Pending": in[instances.Pending],
		"Standby": in[instances.Standby], "Terminating": in[instances.Draining],
	} {
		all["Group"+name+"Instances"], all["Group"+name+"Capacity"] = n, n
		total += n
	}
	all["GroupTotalInstances"], all["GroupTotalCapacity"] = total, total

	all["WarmPoolPendingCapacity"], all["WarmPoolTerminatingCapacity"], all["WarmPoolWarmedCapacity"] = 0, 0, 0
	pooled := 0
	for state, n := range warm {
		pooled += n
		switch {
		case strings.HasPrefix(state, "Warmed:Pending"):
			all["WarmPoolPendingCapacity"] += n
		case strings.HasPrefix(state, "Warmed:Terminating"):
			all["WarmPoolTerminatingCapacity"] += n
		default:
			all["WarmPoolWarmedCapacity"] += n
		}
	}
	all["WarmPoolTotalCapacity"] = pooled
	all["WarmPoolDesiredCapacity"] = instances.WarmPoolSize(group)
	all["GroupAndWarmPoolDesiredCapacity"] = desired + all["WarmPoolDesiredCapacity"]
	all["GroupAndWarmPoolTotalCapacity"] = total + pooled
	return all
}

// Machines measures AWS/EC2 CPUUtilization by AutoScalingGroupName, a value for
// each instance in service: the processor time of its process as a share of all
// the laptop's processors, which the instances share. So two busy instances
// show 50 % each where two machines would show 100.
type Machines struct {
	Instances func() []instances.Instance

	used map[string]usage // by instance id
}

type usage struct {
	seconds float64
	at      time.Time
}

// Measure implements Source. The first time it sees an instance it has no value.
func (c *Machines) Measure(ctx context.Context, m types.Metric) ([]float64, error) {
	if aws.ToString(m.MetricName) != "CPUUtilization" {
		return nil, ErrUnknown
	}
	name, err := dimension(m, dimensionGroup)
	if err != nil {
		return nil, err
	}
	used := map[string]usage{}
	var values []float64
	for _, i := range c.Instances() {
		if i.Group != name {
			if last, known := c.used[i.ID]; known {
				used[i.ID] = last
			}
			continue
		}
		if i.State != instances.InService {
			continue
		}
		seconds, err := processorTime(ctx, i.PID)
		if err != nil {
			continue // it has ended, and its manager is about to see it
		}
		now := usage{seconds, time.Now()}
		if last, known := c.used[i.ID]; known && now.at.After(last.at) {
			values = append(values, 100*(now.seconds-last.seconds)/now.at.Sub(last.at).Seconds()/float64(runtime.NumCPU()))
		}
		used[i.ID] = now
	}
	c.used = used
	return values, nil
}

func processorTime(ctx context.Context, pid int) (float64, error) {
	p, err := gops.NewProcessWithContext(ctx, int32(pid))
	if err != nil {
		return 0, err
	}
	times, err := p.TimesWithContext(ctx)
	if err != nil {
		return 0, err
	}
	return times.User + times.System, nil
}
