package fleet

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsautoscaling"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Tags on every resource of a fleet, and on its instances.
const (
	TagEnvironment = "loadbearing:env"
	TagFleet       = "loadbearing:fleet"
	TagColor       = "loadbearing:color"
)

// Lifecycle hooks: DrainHook holds an instance until it has drained, BootHook
// holds one on its way into or out of a warm pool until it is ready.
const (
	DrainHook = contract.HookDrain
	BootHook  = contract.HookBoot
)

// drainMargin is what the hook waits beyond DrainTimeout: for the instance to
// notice (it asks every 5 s) and to report.
const drainMargin = 30 * time.Second

// signalMargin is what CloudFormation waits beyond BootTimeout: for the machine
// to start, which happens before user data does, and for its signal to arrive.
const signalMargin = time.Minute

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Fleet is an Auto Scaling group and what its instances need.
type Fleet struct {
	constructs.Construct
	Group          awsautoscaling.AutoScalingGroup
	LaunchTemplate awsec2.LaunchTemplate
	Role           awsiam.IRole
	SecurityGroup  awsec2.ISecurityGroup
	Artifact       awss3assets.Asset       // what a first deployment runs
	Parameter      awsssm.IStringParameter // names the artifact that instances run
	DrainHook      awsautoscaling.LifecycleHook
	BootHook       awsautoscaling.LifecycleHook // nil without WarmPool
	WarmPool       awsautoscaling.WarmPool      // nil without WarmPool
	LogGroup       awslogs.ILogGroup            // nil with NoAgent

	// Policies and Schedule are by name: "Connections", "Requests", "CPU",
	// "Backlog", and the names of Props.Schedule.
	Policies map[string]awsautoscaling.CfnScalingPolicy
	Schedule map[string]awsautoscaling.CfnScheduledAction

	CapacityAlarm awscloudwatch.IAlarm // instances are missing
	MaximumAlarm  awscloudwatch.IAlarm // the group cannot grow; nil when it never could
	CPUAlarm      awscloudwatch.IAlarm // processors are busy
	MemoryAlarm   awscloudwatch.IAlarm // memory is short; nil with NoAgent
	DiskAlarm     awscloudwatch.IAlarm // a root volume is full; nil with NoAgent
	StatusAlarm   awscloudwatch.IAlarm // an instance fails EC2's status checks

	props Props
	stack awscdk.Stack
}

// New makes a Fleet. It panics with a *PropsError when props are not valid and
// with a *BuildError when the source does not compile.
//
// The parameter's first value is the asset of the program. A deployment whose
// binary has changed writes it again; one that has not leaves alone what a
// release has written since.
func New(scope constructs.Construct, id string, props Props) *Fleet {
	cdkx.Must(scope, id, "fleet", props.Validate())
	props = props.withDefaults()
	if props.Source != "" {
		path, err := props.build(context.Background())
		if err != nil {
			panic(&BuildError{Path: *scope.Node().Path() + "/" + id, Err: cdkx.Refuse(err)})
		}
		props.ArtifactPath = path
	}
	f := &Fleet{
		Policies: map[string]awsautoscaling.CfnScalingPolicy{},
		Schedule: map[string]awsautoscaling.CfnScheduledAction{},
		props:    props,
	}
	constructs.NewConstruct_Override(f, scope, &id)
	f.stack = awscdk.Stack_Of(f)

	f.publishArtifact()
	f.makeIdentity()
	if !props.NoAgent {
		f.makeLogGroup()
	}
	userData := f.makeLaunchTemplate()
	f.makeGroup()
	f.makeHooks()
	f.makePolicies()
	f.makeSchedule()

	instance := machine{
		Region:   *f.stack.Region(),
		Stack:    *f.stack.StackName(),
		Resource: *f.stack.GetLogicalId(cdkx.Cfn[awsautoscaling.CfnAutoScalingGroup](f.Group)),
		LogGroup: f.LogGroupName(),

		TargetGroupARN: f.TargetGroupARN(),
	}
	userData.AddCommands(new(props.userData(instance)[len(shebang):]))
	f.grantInstance()
	f.allowServices()
	f.warnOfProcessor()
	f.makeAlarms()
	cdkx.Tag(f, map[string]string{
		TagEnvironment: props.Environment,
		TagFleet:       props.Fleet,
		TagColor:       props.Color,
	})
	return f
}

// Environment is that of Props.
func (f *Fleet) Environment() string { return f.props.Environment }

// Name is the Fleet of Props, which both colors share.
func (f *Fleet) Name() string { return f.props.Fleet }

// Color is that of Props.
func (f *Fleet) Color() string { return f.props.Color }

// TargetGroupARN is that of Props.TargetGroup, or "".
func (f *Fleet) TargetGroupARN() string {
	if f.props.TargetGroup == nil {
		return ""
	}
	return *f.props.TargetGroup.TargetGroupArn()
}

// GroupName is the name of the Auto Scaling group.
func (f *Fleet) GroupName() string { return f.props.GroupName }

// ParameterName is the name of the SSM parameter that says which artifact
// instances run.
func (f *Fleet) ParameterName() string {
	return contract.ArtifactParameter(f.props.Environment, f.props.Fleet, f.props.Color)
}

// LogGroupName is the name of the log group, empty with NoAgent.
func (f *Fleet) LogGroupName() string {
	if f.LogGroup == nil {
		return ""
	}
	return *f.LogGroup.LogGroupName()
}

func (f *Fleet) publishArtifact() {
	props := f.props
	sum, err := digest(props.ArtifactPath)
	if err != nil {
		panic(err)
	}
	f.Artifact = awss3assets.NewAsset(f, new("Artifact"), cdkx.Override(&awss3assets.AssetProps{
		Path:        &props.ArtifactPath,
		DisplayName: new("Program of " + props.GroupName),
	}, props.OverrideArtifact))
	value, err := json.Marshal(contract.Artifact{
		Bucket: *f.Artifact.S3BucketName(),
		Key:    *f.Artifact.S3ObjectKey(),
		SHA256: sum,
	})
	if err != nil {
		panic(fmt.Errorf("encode the artifact of %s: %w", props.GroupName, err))
	}
	f.Parameter = awsssm.NewStringParameter(f, new("Parameter"), cdkx.Override(&awsssm.StringParameterProps{
		ParameterName: new(f.ParameterName()),
		Description:   new("Artifact that instances of " + props.GroupName + " run"),
		StringValue:   new(string(value)),
	}, props.OverrideParameter))
}

// makeIdentity makes what instances are known by: to networks and to AWS.
func (f *Fleet) makeIdentity() {
	props := f.props
	f.SecurityGroup = props.SecurityGroup
	if f.SecurityGroup == nil {
		f.SecurityGroup = awsec2.NewSecurityGroup(f, new("SecurityGroup"), cdkx.Override(&awsec2.SecurityGroupProps{
			Vpc:         props.VPC,
			Description: new("Instances of " + props.GroupName),
		}, props.OverrideSecurityGroup))
	}
	f.Role = props.Role
	if f.Role == nil {
		f.Role = awsiam.NewRole(f, new("Role"), cdkx.Override(&awsiam.RoleProps{
			AssumedBy:   awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil),
			Description: new("Instances of " + props.GroupName),
		}, props.OverrideRole))
	}
}

func (f *Fleet) makeLogGroup() {
	props := &awslogs.LogGroupProps{
		Retention:     f.props.LogRetention,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	}
	if f.props.Key != nil {
		props.EncryptionKey = f.props.Key
	}
	f.LogGroup = awslogs.NewLogGroup(f, new("Logs"), cdkx.Override(props, f.props.OverrideLogGroup))
	if f.props.Key == nil {
		cdkx.Acknowledge(f.LogGroup, "CloudWatch Logs encrypts it with a key of its own; the program logs no secrets. Key encrypts it with a customer managed one.",
			"CloudWatchLogGroupEncrypted")
	}
}

// makeLaunchTemplate returns the user data, which can be written only once the
// group's logical id is known.
func (f *Fleet) makeLaunchTemplate() awsec2.UserData {
	props := f.props
	userData := awsec2.UserData_ForLinux(nil)
	template := cdkx.Override(&awsec2.LaunchTemplateProps{
		InstanceType:  awsec2.NewInstanceType(&props.InstanceType),
		MachineImage:  image(props),
		UserData:      userData,
		Role:          f.Role,
		SecurityGroup: f.SecurityGroup,
		// One hop: a container or a proxied request on the instance cannot reach
		// the metadata service, and so not the role's credentials.
		RequireImdsv2:            new(true),
		HttpTokens:               awsec2.LaunchTemplateHttpTokens_REQUIRED,
		HttpPutResponseHopLimit:  cdkx.Number(1),
		AssociatePublicIpAddress: new(false),
		DetailedMonitoring:       new(!props.NoDetailedMonitoring),
		EbsOptimized:             new(true),
		HibernationConfigured:    cdkx.Optional(props.WarmPool.State == Hibernated),
		BlockDevices: &[]*awsec2.BlockDevice{{
			DeviceName: new("/dev/xvda"),
			Volume: awsec2.BlockDeviceVolume_Ebs(cdkx.Number(props.VolumeGiB), &awsec2.EbsDeviceOptions{
				Encrypted:           new(true),
				KmsKey:              props.Key,
				VolumeType:          awsec2.EbsDeviceVolumeType_GP3,
				DeleteOnTermination: new(true),
			}),
		}},
	}, props.OverrideLaunchTemplate)
	f.LaunchTemplate = awsec2.NewLaunchTemplate(f, new("LaunchTemplate"), template)
	f.join(template.AssociatePublicIpAddress != nil)
	return userData
}

// join makes the instances members of further groups. The L2's own method would
// also let the load balancer in wherever they are members. A template that says
// whether instances have a public address names the groups in its network interface.
func (f *Fleet) join(interfaces bool) {
	if len(f.props.MemberOf) == 0 {
		return
	}
	var ids []*string
	for _, group := range slices.Concat(*f.LaunchTemplate.Connections().SecurityGroups(), f.props.MemberOf) {
		ids = append(ids, group.SecurityGroupId())
	}
	path := "LaunchTemplateData.SecurityGroupIds"
	if interfaces {
		path = "LaunchTemplateData.NetworkInterfaces.0.Groups"
	}
	cdkx.Cfn[awsec2.CfnLaunchTemplate](f.LaunchTemplate).AddPropertyOverride(&path, ids)
}

func (f *Fleet) makeGroup() {
	props := f.props
	f.Group = awsautoscaling.NewAutoScalingGroup(f, new("Group"), cdkx.Override(f.groupProps(), props.Override))
	f.Group.Node().AddDependency(f.Role) // an instance that boots before its policy exists fails
	awscdk.Annotations_Of(f.Group).AcknowledgeWarning(new("@aws-cdk/aws-autoscaling:desiredCapacitySet"),
		new("IgnoreUnmodifiedGroupSizeProperties keeps a deployment from resetting the group's size"))
	if props.warm() && props.DesiredCapacity > 0 {
		awscdk.Annotations_Of(f.Group).AcknowledgeWarning(new("@aws-cdk/aws-autoscaling:signalsNotUsedByInstanceRefresh"),
			new("Signals are for the creation; an instance refresh waits for the boot hook, which an instance completes once it is ready"))
	}
	if props.TargetGroup != nil {
		f.Group.AttachToApplicationTargetGroup(props.TargetGroup)
		// Targets of a group that no listener rule uses are never healthy, so
		// instances that boot before the rule exists would wait in vain.
		f.Group.Node().AddDependency(props.TargetGroup.LoadBalancerAttached())
	}
	if props.Notifications == nil {
		cdkx.Acknowledge(f.Group, "Nobody acts on single scaling events: alarms watch what they amount to (capacity missing, group at its maximum), "+
			"and the activity history keeps them for six weeks. Notifications sends them to a topic.", "AwsSolutions-AS3")
	}
}

func (f *Fleet) groupProps() *awsautoscaling.AutoScalingGroupProps {
	props := f.props
	group := &awsautoscaling.AutoScalingGroupProps{
		Vpc:                   props.VPC,
		VpcSubnets:            &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS},
		AutoScalingGroupName:  &props.GroupName,
		MinCapacity:           cdkx.Number(props.MinCapacity),
		MaxCapacity:           cdkx.Number(props.MaxCapacity),
		DesiredCapacity:       cdkx.Number(props.DesiredCapacity),
		CapacityRebalance:     new(true),
		DefaultInstanceWarmup: cdkx.Duration(props.InstanceWarmup),
		GroupMetrics:          &[]awsautoscaling.GroupMetrics{awsautoscaling.GroupMetrics_All()},
		TerminationPolicies: &[]awsautoscaling.TerminationPolicy{
			awsautoscaling.TerminationPolicy_OLDEST_LAUNCH_TEMPLATE,
			awsautoscaling.TerminationPolicy_OLDEST_INSTANCE,
		},
		UpdatePolicy: f.updatePolicy(),
	}
	if props.mixed() {
		group.MixedInstancesPolicy = f.mixedInstances()
	} else {
		group.LaunchTemplate = f.LaunchTemplate
	}
	if props.MaxInstanceLifetime > 0 {
		group.MaxInstanceLifetime = cdkx.Duration(props.MaxInstanceLifetime)
	}
	if props.Notifications != nil {
		group.Notifications = &[]*awsautoscaling.NotificationConfiguration{{
			Topic:         props.Notifications,
			ScalingEvents: awsautoscaling.ScalingEvents_ALL(),
		}}
	}
	grace := cdkx.Duration(props.HealthCheckGrace)
	if props.TargetGroup == nil {
		group.HealthChecks = awsautoscaling.HealthChecks_Ec2(&awsautoscaling.Ec2HealthChecksOptions{GracePeriod: grace})
	} else {
		group.HealthChecks = awsautoscaling.HealthChecks_WithAdditionalChecks(&awsautoscaling.AdditionalHealthChecksOptions{
			AdditionalTypes: &[]awsautoscaling.AdditionalHealthCheckType{awsautoscaling.AdditionalHealthCheckType_ELB},
			GracePeriod:     grace,
		})
	}
	if props.DesiredCapacity > 0 { // an empty group sends no signal to wait for
		group.Signals = awsautoscaling.Signals_WaitForAll(&awsautoscaling.SignalsOptions{
			MinSuccessPercentage: cdkx.Number(props.MinSuccessPercent),
			Timeout:              cdkx.Duration(props.BootTimeout + signalMargin),
		})
	}
	return group
}

// updatePolicy replaces instances batch by batch. A rolling update takes no
// notice of a warm pool, whose instances would go on as they are, so there an
// instance refresh does it ("AWS::AutoScaling::WarmPool", CloudFormation reference).
func (f *Fleet) updatePolicy() awsautoscaling.UpdatePolicy {
	if f.props.warm() {
		return awsautoscaling.UpdatePolicy_InstanceRefresh(&awsautoscaling.InstanceRefreshOptions{
			Strategy: awsautoscaling.InstanceRefreshStrategy_ROLLING,
		})
	}
	return awsautoscaling.UpdatePolicy_RollingUpdate(&awsautoscaling.RollingUpdateOptions{
		MaxBatchSize:          cdkx.Number(f.props.BatchSize),
		MinInstancesInService: cdkx.Number(f.props.minInService()),
		MinSuccessPercentage:  cdkx.Number(f.props.MinSuccessPercent),
		WaitOnResourceSignals: new(true),
		PauseTime:             cdkx.Duration(f.props.BootTimeout + signalMargin),
	})
}

// mixedInstances has On-Demand instances in the order of the types, and Spot
// instances where they are cheap and least likely to be interrupted.
func (f *Fleet) mixedInstances() *awsautoscaling.MixedInstancesPolicy {
	var overrides []*awsautoscaling.LaunchTemplateOverrides
	for _, each := range slices.Concat([]string{f.props.InstanceType}, f.props.InstanceTypes) {
		overrides = append(overrides, &awsautoscaling.LaunchTemplateOverrides{InstanceType: awsec2.NewInstanceType(&each)})
	}
	return &awsautoscaling.MixedInstancesPolicy{
		LaunchTemplate:          f.LaunchTemplate,
		LaunchTemplateOverrides: &overrides,
		InstancesDistribution: &awsautoscaling.InstancesDistribution{
			OnDemandAllocationStrategy:          awsautoscaling.OnDemandAllocationStrategy_PRIORITIZED,
			OnDemandBaseCapacity:                cdkx.Number(f.props.OnDemandBase),
			OnDemandPercentageAboveBaseCapacity: cdkx.Number(100 - f.props.SpotPercent),
			SpotAllocationStrategy:              awsautoscaling.SpotAllocationStrategy_PRICE_CAPACITY_OPTIMIZED,
		},
	}
}

// makeHooks holds instances until they have drained, and those of a warm pool also
// until they have booted: the pool would stop them in the middle of it.
func (f *Fleet) makeHooks() {
	props := f.props
	f.DrainHook = f.Group.AddLifecycleHook(new("Drain"), cdkx.Override(&awsautoscaling.BasicLifecycleHookProps{
		LifecycleHookName:   new(DrainHook),
		LifecycleTransition: awsautoscaling.LifecycleTransition_INSTANCE_TERMINATING,
		HeartbeatTimeout:    cdkx.Duration(props.DrainTimeout + drainMargin),
		DefaultResult:       awsautoscaling.DefaultResult_CONTINUE,
	}, props.OverrideDrainHook))
	if !props.warm() {
		return
	}
	f.BootHook = f.Group.AddLifecycleHook(new("Boot"), cdkx.Override(&awsautoscaling.BasicLifecycleHookProps{
		LifecycleHookName:   new(BootHook),
		LifecycleTransition: awsautoscaling.LifecycleTransition_INSTANCE_LAUNCHING,
		HeartbeatTimeout:    cdkx.Duration(props.BootTimeout + signalMargin),
		DefaultResult:       awsautoscaling.DefaultResult_ABANDON,
	}, props.OverrideBootHook))
	pool := &awsautoscaling.WarmPoolOptions{
		MinSize:        cdkx.Number(props.WarmPool.MinSize),
		PoolState:      poolStates[props.WarmPool.State],
		ReuseOnScaleIn: new(props.WarmPool.ReuseOnScaleIn),
	}
	if props.WarmPool.MaxPrepared > 0 {
		pool.MaxGroupPreparedCapacity = cdkx.Number(props.WarmPool.MaxPrepared)
	}
	f.WarmPool = f.Group.AddWarmPool(cdkx.Override(pool, props.OverrideWarmPool))
	f.WarmPool.Node().AddDependency(f.BootHook)
}

var poolStates = map[PoolState]awsautoscaling.PoolState{
	Stopped:    awsautoscaling.PoolState_STOPPED,
	Hibernated: awsautoscaling.PoolState_HIBERNATED,
	Running:    awsautoscaling.PoolState_RUNNING,
}

// warnOfProcessor says when the binary cannot run on the instances. It does not
// refuse, because the same template is deployed to a laptop, whose own
// processor the binary is then built for.
func (f *Fleet) warnOfProcessor() {
	path, instanceType := f.props.ArtifactPath, f.props.InstanceType
	file, err := elf.Open(path)
	if err != nil || cdkx.Unresolved(instanceType) {
		return
	}
	defer func() { _ = file.Close() }()
	want := elf.EM_X86_64
	if processor(instanceType) == "arm64" {
		want = elf.EM_AARCH64
	}
	if file.Machine != want {
		awscdk.Annotations_Of(f).AddWarningV2(new("loadbearing/fleet:processor"), new(fmt.Sprintf(
			"%s is built for %v, but %s instances are %v: they cannot run it", path, file.Machine, instanceType, want)))
	}
}

// image resolves its SSM parameter at each deployment, so that all instances of
// a group run the same image and a new one arrives as a rolling update.
func image(props Props) awsec2.IMachineImage {
	parameter := props.ImageParameter
	if parameter == "" {
		parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-" + processor(props.InstanceType)
	}
	return awsec2.MachineImage_FromSsmParameter(&parameter, &awsec2.SsmParameterImageOptions{
		Os: awsec2.OperatingSystemType_LINUX,
	})
}
