package fleet

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsautoscaling"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Names of policies.
const (
	policyConnections = "Connections"
	policyRequests    = "Requests"
	policyCPU         = "CPU"
	policyBacklog     = "Backlog"
)

// Property types of a target tracking policy, by the names the API has for them.
type (
	tracking   = awsautoscaling.CfnScalingPolicy_TargetTrackingConfigurationProperty
	predefined = awsautoscaling.CfnScalingPolicy_PredefinedMetricSpecificationProperty
	customized = awsautoscaling.CfnScalingPolicy_CustomizedMetricSpecificationProperty
	dimension  = awsautoscaling.CfnScalingPolicy_MetricDimensionProperty
	metric     = awsautoscaling.CfnScalingPolicy_MetricProperty
	metricStat = awsautoscaling.CfnScalingPolicy_TargetTrackingMetricStatProperty
	dataQuery  = awsautoscaling.CfnScalingPolicy_TargetTrackingMetricDataQueryProperty
)

// makePolicies makes the target tracking policies. They are L1: the L2 has no metric
// math, and looks up an alarm's metric where only its name is needed.
func (f *Fleet) makePolicies() {
	props := f.props
	if props.ConnectionsPerInstance > 0 {
		f.track(policyConnections, props.ConnectionsPerInstance, &tracking{
			CustomizedMetricSpecification: &customized{
				Namespace:  new(contract.MetricNamespace),
				MetricName: new(contract.MetricActiveConnections),
				Dimensions: f.dimensions(),
				Statistic:  new("Average"),
			},
		})
	}
	if props.RequestsPerInstance > 0 {
		f.track(policyRequests, props.RequestsPerInstance, &tracking{
			PredefinedMetricSpecification: &predefined{
				PredefinedMetricType: new("ALBRequestCountPerTarget"),
				ResourceLabel:        new(*props.TargetGroup.FirstLoadBalancerFullName() + "/" + *props.TargetGroup.TargetGroupFullName()),
			},
		})
		// The API refuses the label of a target group that no listener uses.
		f.Policies[policyRequests].Node().AddDependency(props.TargetGroup.LoadBalancerAttached())
	}
	if props.CPUPercent > 0 {
		f.track(policyCPU, props.CPUPercent, &tracking{
			PredefinedMetricSpecification: &predefined{PredefinedMetricType: new("ASGAverageCPUUtilization")},
		})
	}
	if props.Backlog.Queue != nil {
		f.track(policyBacklog, props.Backlog.PerInstance, &tracking{
			CustomizedMetricSpecification: &customized{Metrics: f.backlogQueries()},
		})
	}
}

func (f *Fleet) track(name string, target int, configuration *tracking) {
	configuration.TargetValue = cdkx.Number(target)
	configuration.DisableScaleIn = new(f.props.NoScaleIn)
	props := &awsautoscaling.CfnScalingPolicyProps{
		AutoScalingGroupName:        f.Group.AutoScalingGroupName(),
		PolicyType:                  new("TargetTrackingScaling"),
		TargetTrackingConfiguration: configuration,
	}
	if f.props.OverridePolicy != nil {
		f.props.OverridePolicy(name, props)
	}
	f.Policies[name] = awsautoscaling.NewCfnScalingPolicy(f, new("Scale"+name), props)
}

func (f *Fleet) dimensions() *[]*dimension {
	return &[]*dimension{{Name: new(contract.DimensionGroup), Value: f.Group.AutoScalingGroupName()}}
}

// backlogExpression is what waits per instance that serves. It has no value for an
// empty group, and so asks for nothing.
const backlogExpression = "messages / instances"

func (f *Fleet) backlogQueries() *[]*dataQuery {
	return &[]*dataQuery{
		{Id: new("messages"), ReturnData: new(false), MetricStat: &metricStat{
			Stat: new("Maximum"),
			Metric: &metric{
				Namespace: new("AWS/SQS"), MetricName: new("ApproximateNumberOfMessagesVisible"),
				Dimensions: &[]*dimension{{Name: new("QueueName"), Value: f.props.Backlog.Queue.QueueName()}},
			},
		}},
		{Id: new("instances"), ReturnData: new(false), MetricStat: &metricStat{
			Stat: new("Average"),
			Metric: &metric{
				Namespace: new(groupNamespace), MetricName: new("GroupInServiceInstances"), Dimensions: f.dimensions(),
			},
		}},
		{Id: new("backlog"), Expression: new(backlogExpression), Label: new("backlog per instance"), ReturnData: new(true)},
	}
}

// backlog is the same for a widget.
func (f *Fleet) backlog() awscloudwatch.IMetric {
	return cdkx.Math(backlogExpression, "backlog", map[string]awscloudwatch.IMetric{
		"messages":  f.props.Backlog.Queue.MetricApproximateNumberOfMessagesVisible(cdkx.MetricOptions("Maximum", metricPeriod)),
		"instances": f.metric("GroupInServiceInstances", ""),
	})
}

func (f *Fleet) makeSchedule() {
	for _, floor := range f.props.Schedule {
		props := &awsautoscaling.CfnScheduledActionProps{
			AutoScalingGroupName: f.Group.AutoScalingGroupName(),
			Recurrence:           &floor.Cron,
			TimeZone:             cdkx.Optional(floor.TimeZone),
			MinSize:              size(floor.Min),
			MaxSize:              size(floor.Max),
			DesiredCapacity:      size(floor.Desired),
		}
		if f.props.OverrideSchedule != nil {
			f.props.OverrideSchedule(floor.Name, props)
		}
		f.Schedule[floor.Name] = awsautoscaling.NewCfnScheduledAction(f, new("Schedule"+floor.Name), props)
	}
}

// size is nil for 0, which leaves that bound of the group as it is.
func size(n int) *float64 { return cdkx.Optional(float64(n)) }
