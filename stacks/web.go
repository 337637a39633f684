package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"

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
		VPC:                  n.Network.VPC,
		NoDeletionProtection: !s.DeletionProtection,
		NoAccessLogs:         !s.DeletionProtection,
	})

	web := fleetProps(s, n, s.Web)
	web.Fleet, web.Command = contract.FleetWeb, commandServe
	web.Color, web.TargetGroup = contract.ColorBlue, w.LoadBalancer.Blue
	w.Blue = fleet.New(stack, "WebBlue", web)

	web.Color, web.TargetGroup = contract.ColorGreen, w.LoadBalancer.Green
	web.Standby, web.MinCapacity, web.DesiredCapacity = true, 0, 0
	w.Green = fleet.New(stack, "WebGreen", web)

	worker := fleetProps(s, n, s.Worker)
	worker.Fleet, worker.Command, worker.Color = contract.FleetWorker, commandWork, contract.ColorBlue
	w.Worker = fleet.New(stack, "WorkerBlue", worker)

	for _, web := range []*fleet.Fleet{w.Blue, w.Green} {
		w.grantService(web.Role, s, d)
		m.Jobs.GrantSend(web.Role)
		m.Events.GrantPublish(web.Role)
	}
	w.grantService(w.Worker.Role, s, d)
	m.Jobs.GrantConsume(w.Worker.Role)
	return w
}

func fleetProps(s Settings, n *Network, size FleetSettings) fleet.Props {
	return fleet.Props{
		VPC:             n.Network.VPC,
		MemberOf:        []awsec2.ISecurityGroup{n.Clients},
		Environment:     s.Env,
		ArtifactPath:    s.Path(s.Artifact),
		InstanceType:    size.InstanceType,
		MinCapacity:     size.Min,
		MaxCapacity:     size.Max,
		DesiredCapacity: size.Desired,
		CABundleURL:     rdsRoots,
	}
}

// grantService lets a role use what every process of the service uses: the
// environment's parameters, the secrets of the app's database role and of its
// tokens, and the objects of the media bucket.
func (w *Web) grantService(role awsiam.IRole, s Settings, d *Data) {
	grant := func(resource string, actions ...string) {
		list := make([]*string, len(actions))
		for i := range actions {
			list[i] = &actions[i]
		}
		awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
			Grantee: role, Actions: &list, ResourceArns: &[]*string{&resource},
		})
	}
	grant(*w.Stack.FormatArn(&awscdk.ArnComponents{
		Service:  new("ssm"),
		Resource: new("parameter" + contract.ParameterPrefix(s.Env) + "*"),
	}), "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath")
	grant(*d.Media.ArnForObjects(new("*")), "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
	d.AppSecret.GrantRead(role, nil)
	d.AuthSecret.GrantRead(role, nil)
}

// Sections is the programs' part of the dashboard.
func (w *Web) Sections() []observability.Section {
	return []observability.Section{
		{Title: "Load balancer", Watched: []observability.Watched{w.LoadBalancer}},
		{Title: "Fleets", Watched: []observability.Watched{w.Blue, w.Green, w.Worker}},
	}
}
