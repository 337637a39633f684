package fleet_test

import (
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsautoscaling"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

func TestNoPolicyByDefault(t *testing.T) {
	stack, props := web(t)
	f := fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	for _, kind := range []string{"ScalingPolicy", "ScheduledAction", "WarmPool"} {
		template.ResourceCountIs(new("AWS::AutoScaling::"+kind), cdkx.Number(0))
	}
	require.Nil(t, f.WarmPool)
	require.Nil(t, f.BootHook)
}

func TestPolicies(t *testing.T) {
	stack, props := web(t)
	queue := awssqs.NewQueue(stack, new("Jobs"), nil)
	props.ConnectionsPerInstance, props.RequestsPerInstance, props.CPUPercent = 200, 3000, 60
	props.Backlog = fleet.Backlog{Queue: queue, PerInstance: 300}
	f := fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	require.Len(t, f.Policies, 4)
	template.ResourceCountIs(new("AWS::AutoScaling::ScalingPolicy"), cdkx.Number(4))
	group := stack.Resolve(f.Group.AutoScalingGroupName())
	policy := func(configuration map[string]any) {
		t.Helper()
		has(template, "AWS::AutoScaling::ScalingPolicy", map[string]any{
			"AutoScalingGroupName": group, "PolicyType": "TargetTrackingScaling", "Cooldown": assertions.Match_Absent(),
			"EstimatedInstanceWarmup": assertions.Match_Absent(), "TargetTrackingConfiguration": configuration,
		})
	}
	dimensions := []any{map[string]any{"Name": "AutoScalingGroupName", "Value": group}}
	policy(map[string]any{"TargetValue": 200, "DisableScaleIn": false, "CustomizedMetricSpecification": map[string]any{
		"Namespace": "Loadbearing", "MetricName": "ActiveConnections", "Statistic": "Average", "Dimensions": dimensions,
	}})
	policy(map[string]any{"TargetValue": 60, "DisableScaleIn": false, "PredefinedMetricSpecification": map[string]any{
		"PredefinedMetricType": "ASGAverageCPUUtilization",
	}})
	policy(map[string]any{"TargetValue": 3000, "DisableScaleIn": false, "PredefinedMetricSpecification": map[string]any{
		"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": assertions.Match_AnyValue(),
	}})
	policy(map[string]any{"TargetValue": 300, "DisableScaleIn": false, "CustomizedMetricSpecification": map[string]any{
		"Metrics": []any{
			map[string]any{"Id": "messages", "ReturnData": false, "MetricStat": map[string]any{
				"Stat": "Maximum", "Metric": map[string]any{
					"Namespace": "AWS/SQS", "MetricName": "ApproximateNumberOfMessagesVisible",
					"Dimensions": []any{map[string]any{"Name": "QueueName", "Value": stack.Resolve(queue.QueueName())}},
				},
			}},
			map[string]any{"Id": "instances", "ReturnData": false, "MetricStat": map[string]any{
				"Stat": "Average", "Metric": map[string]any{
					"Namespace": "AWS/AutoScaling", "MetricName": "GroupInServiceInstances", "Dimensions": dimensions,
				},
			}},
			map[string]any{"Id": "backlog", "Expression": "messages / instances", "Label": "backlog per instance", "ReturnData": true},
		},
	}})

	// The API refuses the label of a target group without a listener.
	for id, resource := range *template.FindResources(new("AWS::AutoScaling::ScalingPolicy"), nil) {
		if id == *stack.GetLogicalId(f.Policies["Requests"]) {
			require.NotEmpty(t, (*resource)["DependsOn"])
		}
	}
}

func TestNoScaleIn(t *testing.T) {
	stack, props := setup(t)
	props.CPUPercent, props.NoScaleIn = 50, true
	fleet.New(stack, "Worker", props)
	has(cdktest.Template(stack), "AWS::AutoScaling::ScalingPolicy", map[string]any{
		"TargetTrackingConfiguration": like(map[string]any{"DisableScaleIn": true}),
	})
}

func TestBacklogOfAnotherStack(t *testing.T) {
	one, other := cdktest.Stacks(t)
	queue := awssqs.NewQueue(one, new("Jobs"), nil)
	props := workerIn(t, other)
	props.Backlog = fleet.Backlog{Queue: queue, PerInstance: 10}
	fleet.New(other, "Worker", props)
	text := plain(t, *cdktest.Template(other).ToJSON())
	require.Empty(t, *cdktest.Template(one).FindResources(new("AWS::AutoScaling::AutoScalingGroup"), nil))
	require.Contains(t, text, `"Name":"QueueName","Value":{"Fn::ImportValue":"One:ExportsOutputFnGetAttJobs`)
}

func TestSchedule(t *testing.T) {
	stack, props := setup(t)
	props.Schedule = []fleet.ScheduledFloor{
		{Name: "Morning", Cron: "0 7 * * MON-FRI", TimeZone: "Europe/Berlin", Min: 4, Desired: 5},
		{Name: "Evening", Cron: "0 19 * * MON-FRI", TimeZone: "Europe/Berlin", Min: 2},
		{Name: "Sale", Cron: "0 0 27 11 *", Max: 40},
	}
	f := fleet.New(stack, "Worker", props)
	require.Len(t, f.Schedule, 3)
	template := cdktest.Template(stack)
	has(template, "AWS::AutoScaling::ScheduledAction", map[string]any{
		"AutoScalingGroupName": stack.Resolve(f.Group.AutoScalingGroupName()),
		"Recurrence":           "0 7 * * MON-FRI", "TimeZone": "Europe/Berlin",
		"MinSize": 4, "DesiredCapacity": 5, "MaxSize": assertions.Match_Absent(),
	})
	has(template, "AWS::AutoScaling::ScheduledAction", map[string]any{
		"Recurrence": "0 0 27 11 *", "TimeZone": assertions.Match_Absent(),
		"MinSize": assertions.Match_Absent(), "DesiredCapacity": assertions.Match_Absent(), "MaxSize": 40,
	})
}

func TestMixedInstances(t *testing.T) {
	stack, props := setup(t)
	props.InstanceTypes, props.SpotPercent, props.OnDemandBase = []string{"c6g.large", "m7g.large"}, 70, 2
	fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	has(template, "AWS::AutoScaling::AutoScalingGroup", map[string]any{
		"CapacityRebalance": true,
		"LaunchTemplate":    assertions.Match_Absent(),
		"MixedInstancesPolicy": map[string]any{
			"InstancesDistribution": map[string]any{
				"OnDemandAllocationStrategy": "prioritized", "OnDemandBaseCapacity": 2,
				"OnDemandPercentageAboveBaseCapacity": 30, "SpotAllocationStrategy": "price-capacity-optimized",
			},
			"LaunchTemplate": map[string]any{
				"LaunchTemplateSpecification": assertions.Match_AnyValue(),
				"Overrides": []any{
					map[string]any{"InstanceType": "c7g.large"},
					map[string]any{"InstanceType": "c6g.large"},
					map[string]any{"InstanceType": "m7g.large"},
				},
			},
		},
	})
}

func TestFurtherTypesAreOnDemandByDefault(t *testing.T) {
	stack, props := setup(t)
	props.InstanceTypes = []string{"c6g.large"}
	fleet.New(stack, "Worker", props)
	has(cdktest.Template(stack), "AWS::AutoScaling::AutoScalingGroup", map[string]any{
		"MixedInstancesPolicy": like(map[string]any{"InstancesDistribution": like(map[string]any{
			"OnDemandBaseCapacity": 0, "OnDemandPercentageAboveBaseCapacity": 100,
		})}),
	})
}

func TestWarmPool(t *testing.T) {
	stack, props := web(t)
	props.WarmPool = fleet.WarmPool{MinSize: 1, MaxPrepared: 5, State: fleet.Hibernated, ReuseOnScaleIn: true}
	f := fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	template.HasResource(new("AWS::AutoScaling::WarmPool"), map[string]any{
		"Properties": map[string]any{
			"AutoScalingGroupName": stack.Resolve(f.Group.AutoScalingGroupName()),
			"MinSize":              1, "MaxGroupPreparedCapacity": 5, "PoolState": "Hibernated",
			"InstanceReusePolicy": map[string]any{"ReuseOnScaleIn": true},
		},
		// Instances that come before the hook would be stopped while they boot.
		"DependsOn": assertions.Match_ArrayWith(&[]any{logicalID(f.BootHook)}),
	})
	has(template, "AWS::AutoScaling::LifecycleHook", map[string]any{
		"LifecycleHookName": "boot", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
		"DefaultResult": "ABANDON", "HeartbeatTimeout": 360,
	})
	has(template, "AWS::EC2::LaunchTemplate", map[string]any{
		"LaunchTemplateData": like(map[string]any{"HibernationOptions": map[string]any{"Configured": true}}),
	})
	// A rolling update leaves the pool as it was.
	template.HasResource(new("AWS::AutoScaling::AutoScalingGroup"), map[string]any{"UpdatePolicy": map[string]any{
		"AutoScalingInstanceRefresh": map[string]any{"Strategy": "Rolling"},
		"AutoScalingRollingUpdate":   assertions.Match_Absent(),
		"AutoScalingScheduledAction": map[string]any{"IgnoreUnmodifiedGroupSizeProperties": true},
	}})
}

func TestWarmPoolOfTheDefaultSize(t *testing.T) {
	stack, props := setup(t)
	props.WarmPool = fleet.WarmPool{ReuseOnScaleIn: true}
	fleet.New(stack, "Worker", props)
	has(cdktest.Template(stack), "AWS::AutoScaling::WarmPool", map[string]any{
		"MinSize": 0, "MaxGroupPreparedCapacity": assertions.Match_Absent(), "PoolState": "Stopped",
	})
	has(cdktest.Template(stack), "AWS::EC2::LaunchTemplate", map[string]any{
		"LaunchTemplateData": like(map[string]any{"HibernationOptions": assertions.Match_Absent()}),
	})
}

func TestStandbyHasThePoliciesAndNoFloor(t *testing.T) {
	stack, props := web(t)
	props.Standby, props.ConnectionsPerInstance = true, 100
	fleet.New(stack, "Green", props)
	template := cdktest.Template(stack)
	has(template, "AWS::AutoScaling::AutoScalingGroup", map[string]any{"MinSize": "0", "DesiredCapacity": "0"})
	template.ResourceCountIs(new("AWS::AutoScaling::ScalingPolicy"), cdkx.Number(1))

	props.Schedule = []fleet.ScheduledFloor{{Name: "Morning", Cron: "0 7 * * *", Min: 2}}
	require.EqualError(t, props.Validate(), `fleet: Schedule is "1 floors"; allowed: none with Standby: it would fill the idle color`)
}

func TestLifetimeAndWarmup(t *testing.T) {
	stack, props := setup(t)
	props.MaxInstanceLifetime, props.InstanceWarmup = 30*24*time.Hour, 90*time.Second
	fleet.New(stack, "Worker", props)
	has(cdktest.Template(stack), "AWS::AutoScaling::AutoScalingGroup", map[string]any{
		"MaxInstanceLifetime": 2592000, "DefaultInstanceWarmup": 90,
	})
}

// logicalID is that of the L1 below an L2.
func logicalID(of awsautoscaling.LifecycleHook) any {
	hook := cdkx.Cfn[awsautoscaling.CfnLifecycleHook](of)
	return *hook.Stack().GetLogicalId(hook)
}

// TestProcessors has each family whose letters could mislead.
func TestProcessors(t *testing.T) {
	_, props := setup(t)
	for _, arm := range []string{
		"a1.large", "t4g.small", "c7gn.large", "im4gn.large", "is4gen.large", "x2gd.large", "g5g.xlarge", "m8gd.24xlarge", "p6e-gb200.36xlarge",
	} {
		props.InstanceType, props.InstanceTypes = arm, []string{"m7g.large"}
		require.NoError(t, props.Validate(), arm)
	}
	for _, intel := range []string{
		"t3.small", "g5.xlarge", "g4dn.xlarge", "gr6.4xlarge", "m7i-flex.large", "u-6tb1.metal", "hpc7a.12xlarge", "i7ie.large", "p5en.48xlarge",
	} {
		props.InstanceType, props.InstanceTypes = intel, []string{"m7i.large"}
		require.NoError(t, props.Validate(), intel)
	}
}

// workerIn is setup in a given stack.
func workerIn(t *testing.T, stack awscdk.Stack) fleet.Props {
	t.Helper()
	return fleet.Props{
		VPC:          awsec2.NewVpc(stack, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)}),
		Environment:  "dev",
		Fleet:        "worker",
		Color:        "blue",
		Command:      "work",
		ArtifactPath: artifact(t),
	}
}
