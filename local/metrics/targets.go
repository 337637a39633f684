package metrics

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// LoadBalancer is what the local load balancer knows of a target group, by the
// last part of its ARN: targetgroup/<name>/<id>.
type LoadBalancer interface {
	// Requests returns how many requests the target group has been given since
	// the load balancer started, and how many of its targets are healthy now.
	// Both are 0 for a target group that no listener forwards to.
	Requests(targetGroup string) (requests int64, healthy int)
}

// Targets measures AWS/ApplicationELB RequestCountPerTarget by TargetGroup: the
// requests of a target group over its healthy targets, since last asked. Its
// only meaningful statistic is Sum.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
type Targets struct {
	LoadBalancer LoadBalancer

	counted map[string]int64 // as last seen
}

// Measure implements Source. There is no value for a target group without
// healthy targets, and none the first time.
func (t *Targets) Measure(_ context.Context, m types.Metric) ([]float64, error) {
	if aws.ToString(m.MetricName) != "RequestCountPerTarget" {
		return nil, ErrUnknown
	}
	group, err := dimension(m, "TargetGroup")
	if err != nil {
		return nil, err
	}
	requests, healthy := t.LoadBalancer.Requests(group)
	last, seen := t.counted[group]
	if t.counted == nil {
		t.counted = map[string]int64{}
	}
	t.counted[group] = requests
	if !seen || requests < last || healthy == 0 { // fewer: a group that was created anew
		return nil, nil
	}
	return []float64{float64(requests-last) / float64(healthy)}, nil
}
