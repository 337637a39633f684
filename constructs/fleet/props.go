package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsautoscaling"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Props configures a Fleet. VPC, Environment, Fleet, Color and Command are
// required, and one of Source and ArtifactPath; everything else has a production
// default.
type Props struct {
	// VPC holds the instances, in its private subnets with egress.
	VPC awsec2.IVpc

	// Environment, Fleet and Color name the group: "prod", "web", "blue".
	// Lower-case letters, digits and hyphens, 32 characters at most.
	Environment string
	Fleet       string
	Color       string

	// Command is the program's subcommand: "serve" or "work".
	Command string

	// Source is the program as Go code: the folder of the main package, absolute
	// or relative to the working directory of the synthesis, "./service". Where no
	// folder of that name has Go files, it is the import path of the package. New
	// builds it for Linux and the processor of InstanceType, which is no token
	// then. Default none: ArtifactPath is given.
	Source string

	// BuildFolder keeps programs compiled from Source between syntheses. Default
	// .build/programs in the working directory.
	BuildFolder string

	// ArtifactPath is the program when it is built already, instead of Source: one
	// static Linux binary on the machine that synthesizes. Either is uploaded as an
	// asset. Default none: it is built from Source.
	ArtifactPath string

	// GroupName names the Auto Scaling group. Default:
	// loadbearing-<Environment>-<Fleet>-<Color>.
	GroupName string

	// InstanceType is an EC2 instance type, which also decides the processor
	// the artifact has to be built for. Default c7g.large (arm64). A token needs
	// an ImageParameter.
	InstanceType string

	// InstanceTypes are up to 39 further types for the same processor, in order
	// of preference: the group takes the next one where a zone has no capacity
	// left. Default none. An Auto Scaling group has 40 types at most
	// (CreateAutoScalingGroup, EC2 Auto Scaling API reference).
	InstanceTypes []string

	// SpotPercent is how many percent of the instances above OnDemandBase are
	// Spot instances, chosen by price and capacity. Default 0; 0 to 100. Give
	// several InstanceTypes, or one shortage takes them all. EC2 ends a Spot
	// instance two minutes after it says so, whatever DrainTimeout is.
	SpotPercent int

	// OnDemandBase is how many instances are On-Demand before SpotPercent
	// counts. Default 0.
	OnDemandBase int

	// WarmPool keeps booted instances ready. Default none.
	WarmPool WarmPool

	// ImageParameter is the public SSM parameter that holds the image's id,
	// read at each deployment. Default: Amazon Linux 2023 with its default
	// kernel, for the processor of InstanceType. Another image needs systemd,
	// the AWS CLI, python3 and aws-cfn-bootstrap, and unless NoAgent the
	// CloudWatch agent or dnf to install it.
	ImageParameter string

	// MinCapacity, MaxCapacity and DesiredCapacity bound the group. Defaults 2,
	// three times DesiredCapacity, and MinCapacity. They count at the first
	// deployment and whenever they change here; in between, scaling policies and
	// the release controller own the group's size.
	MinCapacity     int
	MaxCapacity     int
	DesiredCapacity int

	// Standby starts the group empty, as the idle color of a pair: minimum and
	// desired capacity are 0 until a release needs it. Scaling policies leave an
	// empty group alone.
	Standby bool

	// ConnectionsPerInstance is how many requests an instance should be serving at
	// a time. Default 0: the group does not scale on them. The program publishes
	// the number each minute as the metric ActiveConnections in the namespace
	// Loadbearing, with the dimension AutoScalingGroupName only.
	ConnectionsPerInstance int

	// RequestsPerInstance is how many requests a minute an instance should get
	// from TargetGroup. Default 0: the group does not scale on them.
	RequestsPerInstance int

	// CPUPercent is how busy processors should be on average, 10 to 90. Default
	// 0: the group does not scale on them.
	CPUPercent int

	// Backlog scales workers on what waits for them. Default none.
	Backlog Backlog

	// NoScaleIn keeps the policies above from removing instances.
	NoScaleIn bool

	// InstanceWarmup is how long a new instance takes until its metrics say what
	// it carries. Default 1 minute; 1 second to 1 hour.
	InstanceWarmup time.Duration

	// Schedule changes the bounds of the group at set times. Default none.
	Schedule []ScheduledFloor

	// MaxInstanceLifetime replaces instances of that age, one or a few at a
	// time, without waiting for signals. Default 0: never, since a replacement
	// gets the image of the last deployment and so patches nothing. 1 to 365
	// days (CreateAutoScalingGroup, EC2 Auto Scaling API reference).
	MaxInstanceLifetime time.Duration

	// TargetGroup receives the instances, decides their health and when their
	// boot has succeeded. Default none, for a fleet that takes no requests: then
	// EC2 status checks decide the health, and the program's own readiness on
	// the loopback address the boot.
	TargetGroup awselasticloadbalancingv2.ApplicationTargetGroup

	// SecurityGroup of the instances, which admits the load balancer of
	// TargetGroup. Default: a new one with all egress and no other ingress.
	SecurityGroup awsec2.ISecurityGroup

	// MemberOf are further security groups the instances belong to, such as one
	// that a database lets in. The load balancer is not admitted to them. Default
	// none.
	MemberOf []awsec2.ISecurityGroup

	// Role of the instances. Default: a new one. Either way it may use Session
	// Manager, read this fleet's artifact and its parameter, send its own logs
	// and metrics, and nothing else until the caller grants it.
	Role awsiam.IRole

	// Variables are further lines of the program's environment. A value has no
	// line break, quote or backslash, which systemd would interpret. Default none.
	Variables map[string]string

	// CABundleURL is an https address of PEM roots that instances fetch at boot
	// and name to the program in LOADBEARING_CA_FILE, such as
	// https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem.
	// Default none.
	CABundleURL string

	// VolumeGiB is the size of the encrypted gp3 root volume. Default 20.
	// Amazon Linux 2023 needs 8, and gp3 ends at 16384.
	VolumeGiB int

	// Key encrypts volumes and logs. The policy of a key made in the same app is
	// extended for Auto Scaling and CloudWatch Logs; that of an imported one has
	// to allow both already ("Required AWS KMS key policy for use with encrypted
	// volumes", EC2 Auto Scaling user guide). Default: the account's key for
	// EBS, which AWS manages, and for logs the key CloudWatch owns.
	Key awskms.IKey

	// NoAgent runs instances without the CloudWatch agent: the program logs to
	// the journal of its instance only, and nothing measures memory and disk.
	NoAgent bool

	// LogRetention is one of the periods CloudWatch Logs offers. Default one
	// month.
	LogRetention awslogs.RetentionDays

	// Notifications receives every launch, termination and failure of either.
	// The policy of the topic's key is extended for Auto Scaling when the topic
	// and its key are made in the same app. Default none.
	Notifications awssns.ITopic

	// MaxCPUPercent, MaxMemoryPercent and MaxDiskPercent are what alarms allow
	// for a quarter of an hour: the processors of the fleet on average, memory
	// and root volume of its fullest instance. Defaults 90, 90 and 80; 1 to 100.
	MaxCPUPercent    int
	MaxMemoryPercent int
	MaxDiskPercent   int

	// NoDetailedMonitoring has EC2 metrics every five minutes instead of
	// every minute, which costs less and slows scaling on CPU.
	NoDetailedMonitoring bool

	// BootTimeout is how long an instance may take from the start of its user
	// data until it serves. Default 5 minutes; 1 to 50 minutes, because an
	// update waits one minute more and CloudFormation's PauseTime ends at one hour.
	BootTimeout time.Duration

	// HealthCheckGrace is how long after its launch an instance is not judged
	// by its target group. Default 2 minutes; 0 to 2 hours.
	HealthCheckGrace time.Duration

	// DrainTimeout is how long the program may take to finish what it has begun
	// once its instance is to be terminated. Default 2 minutes; 30 seconds to
	// 1 hour. It should not be shorter than the target group's deregistration delay.
	DrainTimeout time.Duration

	// BatchSize is how many instances an update replaces at once. Default 1.
	BatchSize int

	// MinSuccessPercent is how many of the instances of a creation or update
	// have to signal success. Default 100; 1 to 100.
	MinSuccessPercent int

	// Override and its siblings have the last word on the group and on what it is
	// made of. The names of group, hooks and parameter also stand in the user data
	// and the role: change those through the fields above. OverridePolicy is called
	// with "Connections", "Requests", "CPU" and "Backlog", OverrideSchedule with
	// each Name.
	Override               func(*awsautoscaling.AutoScalingGroupProps)
	OverrideLaunchTemplate func(*awsec2.LaunchTemplateProps)
	OverrideRole           func(*awsiam.RoleProps)
	OverrideSecurityGroup  func(*awsec2.SecurityGroupProps)
	OverrideArtifact       func(*awss3assets.AssetProps)
	OverrideParameter      func(*awsssm.StringParameterProps)
	OverrideDrainHook      func(*awsautoscaling.BasicLifecycleHookProps)
	OverrideBootHook       func(*awsautoscaling.BasicLifecycleHookProps)
	OverrideWarmPool       func(*awsautoscaling.WarmPoolOptions)
	OverridePolicy         func(name string, props *awsautoscaling.CfnScalingPolicyProps)
	OverrideSchedule       func(name string, props *awsautoscaling.CfnScheduledActionProps)
	OverrideLogGroup       func(*awslogs.LogGroupProps)
}

// WarmPool is a pool of instances that have booted and wait to be used, for
// programs or images that take long to start. It cannot be combined with Spot
// instances. An instance that leaves the pool installs the artifact that the
// parameter names then, not the one it booted with. A deployment replaces the
// instances of a fleet with a warm pool by an instance refresh, because a rolling
// update leaves the pool as it was.
type WarmPool struct {
	// MinSize is how many instances wait at least. Default 0.
	MinSize int

	// MaxPrepared is how many instances wait and serve together. Default
	// MaxCapacity. At least DesiredCapacity.
	MaxPrepared int

	// State in which they wait. Default Stopped, when another field is set;
	// setting State alone makes a pool of the default size.
	State PoolState

	// ReuseOnScaleIn returns instances to the pool instead of terminating them.
	ReuseOnScaleIn bool
}

// PoolState is how the instances of a warm pool wait.
type PoolState string

// The states of a warm pool's instances.
const (
	// Stopped instances cost their volumes only.
	Stopped PoolState = "Stopped"
	// Hibernated instances keep their memory on the volume, which VolumeGiB has
	// to have room for; not every instance type can.
	Hibernated PoolState = "Hibernated"
	// Running instances cost as much as serving ones.
	Running PoolState = "Running"
)

// Backlog is a queue and how much of it one instance may have waiting. Queue and
// PerInstance are required in a Backlog that is not empty.
type Backlog struct {
	// Queue the workers consume.
	Queue awssqs.IQueue

	// PerInstance is the acceptable backlog: how long a message may wait,
	// divided by the time an instance takes for one. An instance that works on
	// 10 messages at a time and takes 2 s for each needs 0.2 s for one; when a
	// message may wait for 60 s, that is 300.
	//
	// The group needs an instance to start from: with none, what waits per
	// instance is no number and nothing scales out.
	PerInstance int
}

// ScheduledFloor changes the bounds of the group at set times. It holds until
// another one changes them back. Name and Cron are required.
type ScheduledFloor struct {
	// Name of the floor, unique in the fleet: letters and digits, a letter
	// first, 64 at most. "Morning".
	Name string

	// Cron is when: minute, hour, day of month, month, day of week.
	// "0 7 * * MON-FRI".
	Cron string

	// TimeZone of Cron, from the IANA database: "Europe/Berlin". Default UTC.
	TimeZone string

	// Min, Max and Desired are what changes; at least one. Default 0: stays as it
	// is. To set 0 use OverrideSchedule.
	Min     int
	Max     int
	Desired int
}

func (p Props) withDefaults() Props {
	p.GroupName = cmp.Or(p.GroupName, contract.StackPrefix(p.Environment)+p.Fleet+"-"+p.Color)
	p.InstanceType = cmp.Or(p.InstanceType, "c7g.large")
	p.BuildFolder = cmp.Or(p.BuildFolder, filepath.Join(".build", "programs"))
	if !p.Standby {
		p.MinCapacity = cmp.Or(p.MinCapacity, 2)
		p.DesiredCapacity = cmp.Or(p.DesiredCapacity, p.MinCapacity)
	}
	p.MaxCapacity = cmp.Or(p.MaxCapacity, 3*max(p.DesiredCapacity, 2))
	p.VolumeGiB = cmp.Or(p.VolumeGiB, 20)
	p.BootTimeout = cmp.Or(p.BootTimeout, 5*time.Minute)
	p.HealthCheckGrace = cmp.Or(p.HealthCheckGrace, 2*time.Minute)
	p.DrainTimeout = cmp.Or(p.DrainTimeout, 2*time.Minute)
	p.BatchSize = cmp.Or(p.BatchSize, 1)
	p.MinSuccessPercent = cmp.Or(p.MinSuccessPercent, 100)
	p.InstanceWarmup = cmp.Or(p.InstanceWarmup, time.Minute)
	p.LogRetention = cmp.Or(p.LogRetention, awslogs.RetentionDays_ONE_MONTH)
	p.MaxCPUPercent = cmp.Or(p.MaxCPUPercent, 90)
	p.MaxMemoryPercent = cmp.Or(p.MaxMemoryPercent, 90)
	p.MaxDiskPercent = cmp.Or(p.MaxDiskPercent, 80)
	if p.warm() {
		p.WarmPool.State = cmp.Or(p.WarmPool.State, Stopped)
	}
	return p
}

// environment is what the template knows of the program's environment, without
// the caller's Variables.
func (p Props) environment() map[string]string {
	// Only the load balancer has a reason to reach the program.
	address := "127.0.0.1"
	if p.TargetGroup != nil {
		address = ""
	}
	return map[string]string{
		contract.EnvEnvironment: p.Environment,
		contract.EnvFleet:       p.Fleet,
		contract.EnvColor:       p.Color,
		contract.EnvCommand:     p.Command,
		contract.EnvGroup:       p.GroupName,
		contract.EnvHTTPAddr:    fmt.Sprintf("%s:%d", address, contract.AppPort),
		contract.EnvMetricsAddr: fmt.Sprintf("127.0.0.1:%d", contract.MetricsPort),
	}
}

// machineVariables are the lines each instance adds to its own environment.
func machineVariables() []string {
	return []string{contract.EnvInstanceID, contract.EnvCAFile, "AWS_REGION"}
}

// lines is the environment as KEY=value, sorted.
func (p Props) lines() []string {
	all := p.environment()
	maps.Copy(all, p.Variables)
	lines := make([]string, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		lines = append(lines, key+"="+all[key])
	}
	return lines
}

// minInService keeps an update from taking more than it must: CloudFormation
// refuses a value that is not below the maximum.
func (p Props) minInService() int {
	return min(p.DesiredCapacity, p.MaxCapacity-1)
}
