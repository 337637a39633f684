// Package fleet makes an Auto Scaling group of EC2 instances that run one
// static binary: each boots Amazon Linux, reads from an SSM parameter which
// artifact it runs, downloads it from S3, checks its SHA-256, runs it under
// systemd and signals success only once it serves.
//
// Which program runs is not part of the launch template. A release writes the
// parameter and replaces instances; a deployment of the template replaces them
// only when the machine itself changes, such as its image or its size.
package fleet

import (
	"debug/elf"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsautoscaling"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
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

// DrainHook names the lifecycle hook that holds an instance until it has drained.
const DrainHook = "drain"

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
	CapacityAlarm  awscloudwatch.IAlarm // instances are missing

	name string
}

// New makes a Fleet. It panics with a *PropsError when props are not valid.
//
// The parameter's first value is the asset of ArtifactPath. A deployment whose
// binary has changed writes it again; one that has not leaves alone what a
// release has written since.
func New(scope constructs.Construct, id string, props Props) *Fleet {
	cdkx.Must(scope, id, "fleet", props.Validate())
	props = props.withDefaults()
	sum, err := digest(props.ArtifactPath)
	if err != nil {
		panic(err)
	}
	f := &Fleet{name: props.GroupName}
	constructs.NewConstruct_Override(f, scope, &id)
	stack := awscdk.Stack_Of(f)
	instanceType := awsec2.NewInstanceType(&props.InstanceType)

	f.Artifact = awss3assets.NewAsset(f, new("Artifact"), &awss3assets.AssetProps{
		Path:        &props.ArtifactPath,
		DisplayName: new("Program of " + props.GroupName),
	})
	value, err := json.Marshal(contract.Artifact{
		Bucket: *f.Artifact.S3BucketName(),
		Key:    *f.Artifact.S3ObjectKey(),
		SHA256: sum,
	})
	if err != nil {
		panic(fmt.Errorf("encode the artifact of %s: %w", props.GroupName, err))
	}
	f.Parameter = awsssm.NewStringParameter(f, new("Parameter"), cdkx.Override(&awsssm.StringParameterProps{
		ParameterName: new(contract.ArtifactParameter(props.Environment, props.Fleet, props.Color)),
		Description:   new("Artifact that instances of " + props.GroupName + " run"),
		StringValue:   new(string(value)),
	}, props.OverrideParameter))

	f.SecurityGroup = props.SecurityGroup
	if f.SecurityGroup == nil {
		f.SecurityGroup = awsec2.NewSecurityGroup(f, new("SecurityGroup"), &awsec2.SecurityGroupProps{
			Vpc:         props.VPC,
			Description: new("Instances of " + props.GroupName),
		})
	}
	f.Role = props.Role
	if f.Role == nil {
		f.Role = awsiam.NewRole(f, new("Role"), cdkx.Override(&awsiam.RoleProps{
			AssumedBy:   awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil),
			Description: new("Instances of " + props.GroupName),
		}, props.OverrideRole))
	}

	userData := awsec2.UserData_ForLinux(nil)
	f.LaunchTemplate = awsec2.NewLaunchTemplate(f, new("LaunchTemplate"), cdkx.Override(&awsec2.LaunchTemplateProps{
		InstanceType:  instanceType,
		MachineImage:  image(props, instanceType),
		UserData:      userData,
		Role:          f.Role,
		SecurityGroup: f.SecurityGroup,
		// One hop: a container or a proxied request on the instance cannot reach
		// the metadata service, and so not the role's credentials.
		RequireImdsv2:           new(true),
		HttpTokens:              awsec2.LaunchTemplateHttpTokens_REQUIRED,
		HttpPutResponseHopLimit: cdkx.Number(1),
		DetailedMonitoring:      new(!props.NoDetailedMonitoring),
		EbsOptimized:            new(true),
		BlockDevices: &[]*awsec2.BlockDevice{{
			DeviceName: new("/dev/xvda"),
			Volume: awsec2.BlockDeviceVolume_Ebs(cdkx.Number(props.VolumeGiB), &awsec2.EbsDeviceOptions{
				Encrypted:           new(true),
				VolumeType:          awsec2.EbsDeviceVolumeType_GP3,
				DeleteOnTermination: new(true),
			}),
		}},
	}, props.OverrideLaunchTemplate))
	f.join(props.MemberOf)

	groupProps := cdkx.Override(f.groupProps(props), props.Override)
	f.Group = awsautoscaling.NewAutoScalingGroup(f, new("Group"), groupProps)
	f.Group.Node().AddDependency(f.Role) // an instance that boots before its policy exists fails
	awscdk.Annotations_Of(f.Group).AcknowledgeWarning(new("@aws-cdk/aws-autoscaling:desiredCapacitySet"),
		new("IgnoreUnmodifiedGroupSizeProperties keeps a deployment from resetting the group's size"))
	if props.TargetGroup != nil {
		f.Group.AttachToApplicationTargetGroup(props.TargetGroup)
		// Targets of a group that no listener rule uses are never healthy, so
		// instances that boot before the rule exists would wait in vain.
		f.Group.Node().AddDependency(props.TargetGroup.LoadBalancerAttached())
	}
	f.DrainHook = f.Group.AddLifecycleHook(new("Drain"), cdkx.Override(&awsautoscaling.BasicLifecycleHookProps{
		LifecycleHookName:   new(DrainHook),
		LifecycleTransition: awsautoscaling.LifecycleTransition_INSTANCE_TERMINATING,
		HeartbeatTimeout:    cdkx.Duration(props.DrainTimeout + drainMargin),
		DefaultResult:       awsautoscaling.DefaultResult_CONTINUE,
	}, props.OverrideDrainHook))

	resource := stack.GetLogicalId(cdkx.Cfn[awsautoscaling.CfnAutoScalingGroup](f.Group))
	userData.AddCommands(new(script(props, stack, *resource)))
	f.grantInstance(props, stack)
	f.warnOfProcessor(props.ArtifactPath, instanceType)

	f.CapacityAlarm = cdkx.Alarm(f, "CapacityAlarm", cdkx.AlarmSpec{
		Metric: cdkx.Math("desired - inservice", "missing", map[string]awscloudwatch.IMetric{
			"desired":   f.metric("GroupDesiredCapacity", ""),
			"inservice": f.metric("GroupInServiceInstances", ""),
		}),
		Description: fmt.Sprintf("%s has had fewer instances in service than it asks for, for ten minutes. "+
			"Look at the group's activity history, then at an instance's /var/log/cloud-init-output.log.", props.GroupName),
		Periods: 10,
	})
	cdkx.Tag(f, map[string]string{
		TagEnvironment: props.Environment,
		TagFleet:       props.Fleet,
		TagColor:       props.Color,
	})
	return f
}

// join makes the instances members of further groups. The L2's own method would
// also let the load balancer in wherever they are members.
func (f *Fleet) join(groups []awsec2.ISecurityGroup) {
	if len(groups) == 0 {
		return
	}
	var ids []*string
	for _, group := range slices.Concat(*f.LaunchTemplate.Connections().SecurityGroups(), groups) {
		ids = append(ids, group.SecurityGroupId())
	}
	cdkx.Cfn[awsec2.CfnLaunchTemplate](f.LaunchTemplate).
		AddPropertyOverride(new("LaunchTemplateData.SecurityGroupIds"), ids)
}

func (f *Fleet) groupProps(props Props) *awsautoscaling.AutoScalingGroupProps {
	group := &awsautoscaling.AutoScalingGroupProps{
		Vpc:                   props.VPC,
		VpcSubnets:            &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS},
		AutoScalingGroupName:  &props.GroupName,
		LaunchTemplate:        f.LaunchTemplate,
		MinCapacity:           cdkx.Number(props.MinCapacity),
		MaxCapacity:           cdkx.Number(props.MaxCapacity),
		DesiredCapacity:       cdkx.Number(props.DesiredCapacity),
		CapacityRebalance:     new(true),
		DefaultInstanceWarmup: cdkx.Duration(time.Minute),
		GroupMetrics:          &[]awsautoscaling.GroupMetrics{awsautoscaling.GroupMetrics_All()},
		TerminationPolicies: &[]awsautoscaling.TerminationPolicy{
			awsautoscaling.TerminationPolicy_OLDEST_LAUNCH_TEMPLATE,
			awsautoscaling.TerminationPolicy_OLDEST_INSTANCE,
		},
		UpdatePolicy: awsautoscaling.UpdatePolicy_RollingUpdate(&awsautoscaling.RollingUpdateOptions{
			MaxBatchSize:          cdkx.Number(props.BatchSize),
			MinInstancesInService: cdkx.Number(props.minInService()),
			MinSuccessPercentage:  cdkx.Number(props.MinSuccessPercent),
			WaitOnResourceSignals: new(true),
			PauseTime:             cdkx.Duration(props.BootTimeout + signalMargin),
		}),
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

// grantInstance lets the instances boot and drain, and nothing more.
func (f *Fleet) grantInstance(props Props, stack awscdk.Stack) {
	f.Role.AddManagedPolicy(awsiam.ManagedPolicy_FromAwsManagedPolicyName(new("AmazonSSMManagedInstanceCore")))
	f.allow([]string{"s3:GetObject"}, *f.Artifact.Bucket().ArnForObjects(f.Artifact.S3ObjectKey()))
	f.allow([]string{"ssm:GetParameter"}, *f.Parameter.ParameterArn())
	f.allow([]string{"autoscaling:CompleteLifecycleAction"}, f.groupARN(stack))
	if props.TargetGroup != nil {
		f.allow([]string{"elasticloadbalancing:DescribeTargetHealth"}, "*") // has no resource-level permission
	}
}

func (f *Fleet) allow(actions []string, resource string) {
	f.Role.AddToPrincipalPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Actions:   cdkx.Strings(actions...),
		Resources: cdkx.Strings(resource),
	}))
}

// groupARN is made from the name, because the group's own would make the role
// depend on the group that depends on it.
func (f *Fleet) groupARN(stack awscdk.Stack) string {
	return *stack.FormatArn(&awscdk.ArnComponents{
		Service:      new("autoscaling"),
		Resource:     new("autoScalingGroup:*:autoScalingGroupName"),
		ResourceName: &f.name,
		ArnFormat:    awscdk.ArnFormat_SLASH_RESOURCE_NAME,
	})
}

// warnOfProcessor says when the binary cannot run on the instances. It does not
// refuse, because the same template is deployed to a laptop, whose own
// processor the binary is then built for.
func (f *Fleet) warnOfProcessor(path string, instanceType awsec2.InstanceType) {
	file, err := elf.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	want := elf.EM_X86_64
	if instanceType.Architecture() == awsec2.InstanceArchitecture_ARM_64 {
		want = elf.EM_AARCH64
	}
	if file.Machine != want {
		awscdk.Annotations_Of(f).AddWarningV2(new("loadbearing/fleet:processor"), new(fmt.Sprintf(
			"%s is built for %v, but %s instances are %v: they cannot run it", path, file.Machine, *instanceType.ToString(), want)))
	}
}

// GrantRelease lets an identity release to this fleet: say which artifact it
// runs, change the group's size and replace its instances.
func (f *Fleet) GrantRelease(to awsiam.IGrantable) awsiam.Grant {
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      to,
		Actions:      cdkx.Strings("ssm:GetParameter", "ssm:PutParameter"),
		ResourceArns: cdkx.Strings(*f.Parameter.ParameterArn()),
	})
	return awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee: to,
		Actions: cdkx.Strings("autoscaling:UpdateAutoScalingGroup", "autoscaling:SetDesiredCapacity",
			"autoscaling:StartInstanceRefresh", "autoscaling:CancelInstanceRefresh"),
		ResourceArns: cdkx.Strings(f.groupARN(awscdk.Stack_Of(f))),
	})
}

// Alarms is CapacityAlarm.
func (f *Fleet) Alarms() []awscloudwatch.IAlarm {
	return []awscloudwatch.IAlarm{f.CapacityAlarm}
}

// Widgets show how many instances there are and how busy their processors are.
func (f *Fleet) Widgets() []awscloudwatch.IWidget {
	return []awscloudwatch.IWidget{
		cdkx.Graph(f.name+": instances",
			f.metric("GroupDesiredCapacity", "desired"),
			f.metric("GroupInServiceInstances", "in service"),
			f.metric("GroupTerminatingInstances", "terminating")),
		cdkx.Graph(f.name+": processor in percent",
			cdkx.Metric(cdkx.MetricSpec{
				Namespace:  "AWS/EC2",
				Name:       "CPUUtilization",
				Dimensions: map[string]string{"AutoScalingGroupName": f.name},
				Label:      "average",
			})),
	}
}

func (f *Fleet) metric(name, label string) awscloudwatch.IMetric {
	return cdkx.Metric(cdkx.MetricSpec{
		Namespace:  "AWS/AutoScaling",
		Name:       name,
		Dimensions: map[string]string{"AutoScalingGroupName": f.name},
		Label:      label,
	})
}

// image resolves its SSM parameter at each deployment, so that all instances of
// a group run the same image and a new one arrives as a rolling update.
func image(props Props, instanceType awsec2.InstanceType) awsec2.IMachineImage {
	parameter := props.ImageParameter
	if parameter == "" {
		processor := "x86_64"
		if instanceType.Architecture() == awsec2.InstanceArchitecture_ARM_64 {
			processor = "arm64"
		}
		parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-" + processor
	}
	return awsec2.MachineImage_FromSsmParameter(&parameter, &awsec2.SsmParameterImageOptions{
		Os: awsec2.OperatingSystemType_LINUX,
	})
}

//go:embed boot.sh.tmpl
var bootTemplate string

// script renders the user data, which the API limits to 16 KiB.
func script(props Props, stack awscdk.Stack, resource string) string {
	values := struct {
		Fleet, Color, Command             string
		Region, Stack, Resource           string
		LimitSeconds, DrainSeconds, Port  int
		EnvFile, EnvFileBegin, EnvFileEnd string
		Environment                       []string
		InstanceIDKey, CAFileKey          string
		CABundleURL                       string
		Parameter, TargetGroup, PathReady string
		Group, Hook                       string
	}{
		Fleet: props.Fleet, Color: props.Color, Command: props.Command,
		Region: *stack.Region(), Stack: *stack.StackName(), Resource: resource,
		LimitSeconds:  int(props.BootTimeout.Seconds()),
		DrainSeconds:  int(props.DrainTimeout.Seconds()),
		Port:          contract.AppPort,
		EnvFile:       contract.EnvFile,
		EnvFileBegin:  contract.EnvFileBegin,
		EnvFileEnd:    contract.EnvFileEnd,
		Environment:   props.lines(),
		InstanceIDKey: contract.EnvInstanceID,
		CAFileKey:     contract.EnvCAFile,
		CABundleURL:   props.CABundleURL,
		Parameter:     contract.ArtifactParameter(props.Environment, props.Fleet, props.Color),
		PathReady:     contract.PathReady,
		Group:         props.GroupName,
		Hook:          DrainHook,
	}
	if props.TargetGroup != nil {
		values.TargetGroup = *props.TargetGroup.TargetGroupArn()
	}
	var text strings.Builder
	if err := template.Must(template.New("boot.sh").Parse(bootTemplate)).Execute(&text, values); err != nil {
		panic(fmt.Errorf("render the user data of %s: %w", props.GroupName, err))
	}
	return text.String()
}
