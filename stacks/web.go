package stacks

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/constructs/compliance"
	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Subcommands of the service's binary.
const (
	commandServe = "serve"
	commandWork  = "work"
)

// drain is how long an instance that leaves may take for the requests it has: a
// gigabyte at 10 MB/s, so that a release does not end who downloads it. Without
// such a request an instance leaves within seconds. Of it the program has all but
// a margin, in which it says that it is not ready and closes.
const (
	drain  = 2 * time.Minute
	margin = 10 * time.Second
)

// rdsRoots are the certificate authorities of RDS, which no operating system trusts.
const rdsRoots = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"

// Web is the stack of the programs: the load balancer, the pair of web fleets
// behind it and the workers.
type Web struct {
	Stack        awscdk.Stack
	LoadBalancer *loadbalancer.LoadBalancer
	Blue         *fleet.Fleet // serves until the first release
	Green        *fleet.Fleet // empty until the first release
	Worker       *fleet.Fleet
}

// NewWeb makes the load balancer and the fleets, and lets the fleets reach what
// the service uses.
//
// Access logs go with DeletionProtection: a bucket that holds any cannot be
// deleted with its stack, and dev leaves nothing behind.
func NewWeb(scope constructs.Construct, s Settings, n *Network, d *Data, m *Messaging) *Web {
	stack := newStack(scope, s, "web", "Loadbearing: load balancer, web fleets, worker fleet")
	w := &Web{Stack: stack}
	w.LoadBalancer = loadbalancer.New(stack, "LoadBalancer", loadbalancer.Props{
		VPC: n.Network.VPC,
		// Behind a VPC origin of CloudFront: no address of it is public, and the
		// way there never leaves AWS's network.
		Internal:             true,
		OverrideSecret:       func(p *awssecretsmanager.SecretProps) { p.EncryptionKey = n.Key.Key },
		NoDeletionProtection: !s.DeletionProtection,
		NoAccessLogs:         !s.DeletionProtection,
		DeregistrationDelay:  drain,
		// Between releases there is nothing to stick to, and who had a cookie of the
		// color that serves would not meet a canary. A release sets it for its steps.
		NoColorStickiness: true,
	})

	web := fleetProps(s, n, s.Web)
	web.Fleet, web.Command = contract.FleetWeb, commandServe
	web.DrainTimeout = drain
	web.Variables = map[string]string{settings.EnvShutdownTimeout: (drain - margin).String()}
	// What is open decides: an event stream costs memory and no processor time. The
	// processor is second, for requests too short to be seen open. How many requests
	// there are is no third: one may cost a thousand times what another does.
	web.ConnectionsPerInstance, web.CPUPercent = s.Web.ConnectionsPerInstance, s.Web.CPUPercent
	if s.Web.Warm > 0 {
		// The default maximum would keep the whole group ready, twice.
		web.WarmPool = fleet.WarmPool{MinSize: s.Web.Warm, MaxPrepared: max(s.Web.Warm, s.Web.Desired)}
	}
	web.Color, web.TargetGroup, web.Schedule = contract.ColorBlue, w.LoadBalancer.Blue, s.Web.Schedule
	w.Blue = fleet.New(stack, "WebBlue", web)

	// The schedule moves with the traffic, which the release controller does.
	web.Schedule = nil
	web.Color, web.TargetGroup = contract.ColorGreen, w.LoadBalancer.Green
	web.Standby, web.MinCapacity, web.DesiredCapacity = true, 0, 0
	w.Green = fleet.New(stack, "WebGreen", web)

	worker := fleetProps(s, n, s.Worker)
	worker.Fleet, worker.Command, worker.Color = contract.FleetWorker, commandWork, contract.ColorBlue
	worker.Backlog = fleet.Backlog{Queue: m.Jobs.Queue, PerInstance: s.Worker.BacklogPerInstance}
	w.Worker = fleet.New(stack, "WorkerBlue", worker)

	for _, web := range []*fleet.Fleet{w.Blue, w.Green} {
		w.grantService(web.Role, s, d)
		m.Jobs.GrantSend(web.Role)
		m.Events.GrantPublish(web.Role)
		w.acknowledge(web.Role, s, d)
	}
	w.grantService(w.Worker.Role, s, d)
	m.Jobs.GrantConsume(w.Worker.Role)
	// The worker gives up a message with the reason beside it.
	m.Jobs.DeadLetterQueue.GrantSendMessages(w.Worker.Role)
	w.acknowledge(w.Worker.Role, s, d)
	return w
}

func fleetProps(s Settings, n *Network, size FleetSettings) fleet.Props {
	return fleet.Props{
		VPC:             n.Network.VPC,
		MemberOf:        []awsec2.ISecurityGroup{n.Clients},
		Environment:     s.Env,
		ArtifactPath:    s.Path(s.Artifact),
		InstanceType:    size.InstanceTypes[s.Architecture],
		MinCapacity:     size.Min,
		MaxCapacity:     size.Max,
		DesiredCapacity: size.Desired,
		CABundleURL:     rdsRoots,
		Key:             n.Key.Key,
		Notifications:   n.Alarms.Topic,
	}
}

// grantService lets a role use what every process of the service uses: the
// environment's parameters, the secrets of the app's database role, of its
// tokens and of the cache, and the objects of the media bucket.
func (w *Web) grantService(role awsiam.IRole, s Settings, d *Data) {
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee: role,
		Actions: &[]*string{new("ssm:GetParameter"), new("ssm:GetParameters"), new("ssm:GetParametersByPath")},
		ResourceArns: &[]*string{w.Stack.FormatArn(&awscdk.ArnComponents{
			Service:  new("ssm"),
			Resource: new("parameter" + contract.ParameterPrefix(s.Env) + "*"),
		})},
	})
	d.GrantWriteMedia(role)
	d.AppSecret.GrantRead(role, nil)
	d.AuthSecret.GrantRead(role, nil)
	d.Cache.GrantReadSecret(role)
}

// acknowledge says why a role of the service, once all is granted, has
// permissions with wildcards.
func (w *Web) acknowledge(role awsiam.IRole, s Settings, d *Data) {
	d.acknowledgeMedia(role)
	compliance.AcknowledgePolicy(role, "A program reads all settings of its own environment at its start with one call, by their path. None of them is a secret.",
		"Resource::arn:"+*w.Stack.Partition()+":ssm:"+s.Region+":<AWS::AccountId>:parameter"+contract.ParameterPrefix(s.Env)+"*")
	compliance.AcknowledgePolicy(role, "Variants of one operation, on the environment's one key, as CDK grants them to who writes what the key encrypts.",
		"Action::kms:GenerateDataKey*", "Action::kms:ReEncrypt*")
}

// Sections is the programs' part of the dashboard.
func (w *Web) Sections() []observability.Section {
	return []observability.Section{
		{Title: "Load balancer", Watched: []observability.Watched{w.LoadBalancer}},
		{Title: "Fleets", Watched: []observability.Watched{w.Blue, w.Green, w.Worker}},
	}
}
