// Package fleet makes an Auto Scaling group of EC2 instances that run one static binary.
//
// An instance boots Amazon Linux, reads from an SSM parameter which artifact it
// runs, downloads it from S3, checks its SHA-256, runs it under systemd and
// signals success only once it serves: once its target group finds it healthy,
// or, without a target group, once the program says it is ready.
//
// Which program runs is not part of the launch template. A release writes the
// parameter and replaces instances; a deployment of the template replaces them
// only when the machine itself changes, such as its image or its size. CloudFormation
// replaces them batch by batch, waits for each signal, and rolls back when one fails.
//
// # Coverage
//
//	want | how
//	program built from Go code, or built before | Source, ArtifactPath
//	launch template, IMDSv2, encrypted gp3 volume | always
//	existing launch template | Override: LaunchTemplate
//	existing role, existing security groups | Role, SecurityGroup, MemberOf
//	existing Auto Scaling group | left out: boot, drain and signals are made for this one
//	image | ImageParameter, or OverrideLaunchTemplate: MachineImage
//	user data | always this package's; further settings in Variables
//	key pair and SSH | left out: Session Manager
//	public addresses | never; OverrideLaunchTemplate: AssociatePublicIpAddress
//	subnets | private with egress; Override: VpcSubnets
//	several instance types | InstanceTypes
//	weights, attribute-based selection | Override: MixedInstancesPolicy
//	Spot above an On-Demand base | SpotPercent, OnDemandBase
//	highest Spot price | Override: MixedInstancesPolicy (AWS advises against)
//	capacity rebalancing | always
//	warm pool, reuse on scale-in, hibernation | WarmPool
//	minimum, maximum and desired size | MinCapacity, MaxCapacity, DesiredCapacity
//	empty second color | Standby
//	target tracking on connections per instance | ConnectionsPerInstance
//	target tracking on requests per target | RequestsPerInstance
//	target tracking on CPU | CPUPercent
//	target tracking on queue backlog | Backlog
//	no scale-in by policies | NoScaleIn
//	step and simple scaling, predictive scaling | Group.ScaleOnMetric, or an L1 policy on Group
//	scheduled minimum, maximum, desired size | Schedule
//	instance warmup | InstanceWarmup
//	longest life of an instance | MaxInstanceLifetime
//	rolling update with signals and rollback | always; BatchSize, MinSuccessPercent
//	instance refresh by CloudFormation | with WarmPool; Override: UpdatePolicy
//	instance refresh by a release | GrantRelease
//	rollback on alarms | rollback triggers of the stack, or with an instance refresh Override: UpdatePolicy
//	target group, health check, grace period | TargetGroup, HealthCheckGrace
//	classic load balancers, Lattice | left out
//	draining before termination | always; DrainTimeout
//	further lifecycle hooks | Group.AddLifecycleHook
//	notifications of scaling events | Notifications
//	termination policies, zone distribution | oldest template, oldest instance; Override
//	scale-in protection, deletion protection | Override: NewInstancesProtectedFromScaleIn, DeletionProtection
//	suspended processes | at run time; GrantRelease
//	placement group, capacity reservation, tenancy | L1 of Group or LaunchTemplate
//	group metrics, detailed monitoring | always, unless NoDetailedMonitoring
//	memory and disk metrics, logs | always, unless NoAgent; LogRetention
//	customer managed key for volumes and logs | Key
//	session access without SSH | always
//	artifacts in another bucket | GrantReadArtifacts
//	alarms: capacity, at maximum, CPU, memory, disk, status checks | always
//	widgets: size, CPU, memory and disk, network, volumes, each scaling target | always
//
// # Cost
//
//   - Instances, by the second, and their volumes by GiB and month; a warm pool's
//     stopped instances cost their volumes only.
//   - Detailed monitoring: the price of seven custom metrics per instance. Memory and
//     disk: three custom metrics per fleet, and the fleet's gauge one more.
//   - Logs, by GiB ingested and GiB kept.
//   - Six alarms and two for each target tracking policy, which Auto Scaling makes.
//   - NAT gateway, by GiB: package and artifact downloads from S3 are free through
//     its gateway endpoint.
//
// # Migrate
//
// Role, SecurityGroup, TargetGroup, Notifications and Key take existing ones. An
// Auto Scaling group has no state: make the fleet beside it, move the load
// balancer's weights, delete the old one; or bring it under this stack by cdk
// import with the logical id of the synthesized template and GroupName set to its
// name. Nothing here holds data but the log group, which goes with the stack
// (OverrideLogGroup: RemovalPolicy). The logical ids of the parameter
// (Parameter/Resource) and the group (Group/ASG) never change.
//
// # Scaling
//
// Target tracking keeps one number per instance near a target: connections,
// requests, CPU or backlog. With several targets the group follows the one that
// asks for the most instances, and shrinks only when all agree. A new instance
// counts toward the metrics after InstanceWarmup, which is all the damping that
// target tracking has; cooldowns are for simple policies.
//
// A pair of a blue and a green fleet has the same policies on both. They leave an
// empty group alone: without instances nobody sends the metrics of connections and
// CPU, a target group without targets counts no requests per target, and a backlog
// divided by no instances is no number. An alarm without data scales nothing. A
// scheduled floor would fill an empty group, so Standby refuses one.
//
// A controller that moves traffic from one color to the other therefore
//   - sets the minimum and the desired size of the color that takes over together,
//     to what the other has, before it moves any traffic: a policy then never takes
//     away what was just asked for;
//   - suspends AlarmNotification on a color while it gets little traffic on purpose,
//     or a canary of 5 % is scaled in between two steps, and resumes it at 100 %;
//   - copies the scheduled actions to the color that takes over, and suspends
//     ScheduledActions on the one that becomes idle;
//   - sets minimum and desired size of that one to 0 last.
//
// A deployment changes none of these sizes unless they change in Props.
// GrantRelease allows all of it.
//
// # Instances
//
// People reach an instance through Session Manager, never by SSH. Sessions that are
// logged or encrypted by a preference of the account need grants of their own on
// Role. The CloudWatch agent ships what the program writes (stream
// <instance>/app, on the instance /var/log/loadbearing/app.log, rotated hourly)
// and what its boot wrote (<instance>/boot), and measures memory and disk. It is
// installed beside the boot; an instance where that fails serves all the same,
// and says so in its boot log.
//
// Instances refuse IMDSv1, have no public address, and are drained by a lifecycle
// hook before they are terminated. Names and sizes that only a deployment knows go
// through the Override, as every number token does.
package fleet
