package loadbalancer

import (
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

func (l *LoadBalancer) targetGroup(color, id string, props Props) elb.ApplicationTargetGroup {
	check := props.HealthCheck
	group := &elb.ApplicationTargetGroupProps{
		Vpc:                 props.VPC,
		TargetType:          elb.TargetType_INSTANCE,
		Protocol:            elb.ApplicationProtocol_HTTP,
		Port:                cdkx.Number(props.TargetPort),
		DeregistrationDelay: cdkx.Duration(props.DeregistrationDelay),
		HealthCheck: &elb.HealthCheck{
			Path:                    &check.Path,
			HealthyHttpCodes:        &check.Codes,
			Interval:                cdkx.Duration(check.Interval),
			Timeout:                 cdkx.Duration(check.Timeout),
			HealthyThresholdCount:   cdkx.Number(check.HealthyAfter),
			UnhealthyThresholdCount: cdkx.Number(check.UnhealthyAfter),
		},
	}
	switch props.Algorithm {
	case RoundRobin:
		group.LoadBalancingAlgorithmType = elb.TargetGroupLoadBalancingAlgorithmType_ROUND_ROBIN
	case WeightedRandom:
		group.LoadBalancingAlgorithmType = elb.TargetGroupLoadBalancingAlgorithmType_WEIGHTED_RANDOM
		group.EnableAnomalyMitigation = new(true)
	case LeastOutstandingRequests:
		group.LoadBalancingAlgorithmType = elb.TargetGroupLoadBalancingAlgorithmType_LEAST_OUTSTANDING_REQUESTS
	}
	if props.SlowStart > 0 {
		group.SlowStart = cdkx.Duration(props.SlowStart)
	}
	if props.NoCrossZone {
		group.CrossZoneEnabled = new(false)
	}
	if props.InstanceStickiness > 0 {
		group.StickinessCookieDuration = cdkx.Duration(props.InstanceStickiness)
	}
	if props.OverrideTargetGroup != nil {
		props.OverrideTargetGroup(color, group)
	}
	return elb.NewApplicationTargetGroup(l, &id, group)
}
