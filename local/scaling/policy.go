package scaling

import (
	"cmp"
	"fmt"
	"math"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// Types of policies.
const (
	typeTracking = "TargetTrackingScaling"
	typeStep     = "StepScaling"
	typeSimple   = "SimpleScaling"
)

// capacity is what a group has when a policy looks at it.
type capacity struct {
	min, max, desired int
	warm              int // in service and past their warm-up
}

// serving is what a metric is shared by: what is asked for, less what has yet
// to start or to warm up.
func (c capacity) serving() int { return max(1, min(c.warm, c.desired)) }

// growing tells that instances of an earlier decision start or warm up. Until
// they count nobody knows whether there are too many: AWS does not scale in.
func (c capacity) growing() bool { return c.warm < c.desired }

func (c capacity) clamp(n int) int { return min(max(n, c.min), c.max) }

// proposal is the capacity that a policy asks for, and on which alarm.
type proposal struct {
	want   int
	policy types.ScalingPolicy
	alarm  string
}

// fired is an alarm in the state ALARM, with the latest value of its metric.
type fired struct {
	alarm cwtypes.MetricAlarm
	value float64
}

// proportional is the capacity at which a metric that the serving instances
// share would be at its target, rounded up: rather one too many.
func proportional(serving int, value, target float64) int {
	const tolerance = 1e-9 // 2 × 90 / 60 is 3, not a little more
	return int(min(math.Ceil(float64(serving)*value/target-tolerance), math.MaxInt32))
}

// track is what a target tracking policy asks for while one of its two alarms
// fires: out in proportion, in by one instance at a time. AWS documents that it
// scales in more gradually than out, and not by how much; one is the least.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-target-tracking.html
func track(p types.ScalingPolicy, f fired, c capacity) int {
	want := proportional(c.serving(), f.value, aws.ToFloat64(p.TargetTrackingConfiguration.TargetValue))
	if above(f.alarm) {
		return c.clamp(max(want, c.desired))
	}
	if c.growing() {
		return c.desired
	}
	return c.clamp(max(want, c.desired-1))
}

// step is what a step policy asks for. Instances that warm up are part of what
// an earlier step has asked for, so that the same alarm does not ask for them
// again.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-simple-step.html
func step(p types.ScalingPolicy, f fired, c capacity) (int, error) {
	distance := f.value - aws.ToFloat64(f.alarm.Threshold)
	for _, s := range p.StepAdjustments {
		lower, upper := math.Inf(-1), math.Inf(1)
		if s.MetricIntervalLowerBound != nil {
			lower = *s.MetricIntervalLowerBound
		}
		if s.MetricIntervalUpperBound != nil {
			upper = *s.MetricIntervalUpperBound
		}
		// The bound nearer to the threshold belongs to the step.
		within := distance >= lower && distance < upper
		if !above(f.alarm) {
			within = distance > lower && distance <= upper
		}
		if !within {
			continue
		}
		want, err := adjust(p, aws.ToInt32(s.ScalingAdjustment), c.serving())
		if err != nil {
			return 0, err
		}
		if grown, err := adjust(p, aws.ToInt32(s.ScalingAdjustment), c.desired); err != nil || grown >= c.desired {
			return c.clamp(max(want, c.desired)), err
		}
		if c.growing() {
			return c.desired, nil
		}
		return c.clamp(want), nil
	}
	return c.desired, nil // no step for this distance: AWS does nothing
}

// adjust applies an adjustment to a capacity.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-simple-step.html#as-scaling-adjustment
func adjust(p types.ScalingPolicy, by int32, from int) (int, error) {
	switch kind := aws.ToString(p.AdjustmentType); kind {
	case "ChangeInCapacity":
		return from + int(by), nil
	case "ExactCapacity":
		return int(by), nil
	case "PercentChangeInCapacity":
		change := math.Trunc(float64(from) * float64(by) / 100) // 12.7 adds 12, and -6.67 takes 6
		least := float64(max(1, aws.ToInt32(p.MinAdjustmentMagnitude)))
		switch {
		case by > 0:
			change = max(change, least)
		case by < 0:
			change = min(change, -least)
		}
		return from + int(change), nil
	default:
		return 0, fmt.Errorf("adjustment type %q is not supported here", kind)
	}
}

// warmup is how long an instance in service does not count yet, in AWS's seconds.
func warmup(p types.ScalingPolicy, g types.AutoScalingGroup) int32 {
	if p.EstimatedInstanceWarmup != nil {
		return *p.EstimatedInstanceWarmup
	}
	if g.DefaultInstanceWarmup != nil && *g.DefaultInstanceWarmup >= 0 { // -1 removes it
		return *g.DefaultInstanceWarmup
	}
	return aws.ToInt32(g.DefaultCooldown)
}

// cooldown is how long a simple policy waits after an activity of its group, in AWS's seconds.
func cooldown(p types.ScalingPolicy, g types.AutoScalingGroup) int32 {
	return cmp.Or(aws.ToInt32(p.Cooldown), aws.ToInt32(g.DefaultCooldown))
}

// choose takes the largest capacity of those that change something, so that a
// policy that scales out prevails over one that scales in; with none it is false.
func choose(desired int, proposals []proposal) (proposal, bool) {
	best, found := proposal{}, false
	for _, p := range proposals {
		if p.want != desired && (!found || p.want > best.want) {
			best, found = p, true
		}
	}
	return best, found
}
