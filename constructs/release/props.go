package release

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	sfn "github.com/aws/aws-cdk-go/awscdk/v2/awsstepfunctions"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Source is the folder of the programs that release, as an import path. They are
// built where the app is synthesized, so a module that imports this package names
// them as tools in its go.mod, for what they import in turn:
// go get -tool github.com/loadbearing/loadbearing/lambdas/release-control, and the
// others likewise.
const Source = "github.com/loadbearing/loadbearing/lambdas"

// The functions, by the last element of the import path of their programs.
const (
	Control = "release-control" // begins, starts and empties colors, ends
	Shift   = "release-shift"   // sets weights
	Analyze = "release-analyze" // judges
	Recover = "release-recover" // leaves no release without an execution
)

// Programs lists the functions.
func Programs() []string { return []string{Control, Shift, Analyze, Recover} }

// Props configures a Release. LoadBalancer, Blue and Green are required;
// everything else has a production default.
type Props struct {
	// LoadBalancer has the rule whose weights move traffic, Blue and Green receive
	// it: two colors of one fleet, whose environment and name are the release's too.
	// Make it with NoColorStickiness, or clients that the color that serves holds
	// meet a version only at its last step; a release sets stickiness for its steps.
	LoadBalancer *loadbalancer.LoadBalancer
	Blue         *fleet.Fleet
	Green        *fleet.Fleet

	// Artifacts is an existing bucket that operators upload versions to, below
	// ArtifactPrefix; the fleets are granted to read them. Default a new one, which
	// has to stand in the stack of the fleets: elsewhere the two stacks would depend
	// on each other.
	Artifacts awss3.IBucket

	// Migrate is a function that a release invokes with {"phase":"expand"} before
	// the version starts and with {"phase":"contract"} after the former one has
	// gone. A release may bring migrations, an archive in Artifacts that the event
	// names: the caller grants the function to read it. Default none.
	Migrate *function.Function

	// Alarms roll a release back when they go off while it goes on, beside those of
	// LoadBalancer: on what else users would notice. Default none.
	Alarms []awscloudwatch.IAlarm

	// Notifications receives each change of a release's phase. A key of the topic's
	// has to let EventBridge use it. Default none.
	Notifications awssns.ITopic

	// Key encrypts logs, the functions' environment and a new bucket. Its policy has
	// to let CloudWatch Logs use it, as that of the encryption package does. Default
	// keys that AWS owns or manages.
	Key awskms.IKey

	// LogRetention is one of the periods CloudWatch Logs offers. Default one month.
	LogRetention awslogs.RetentionDays

	// Function is what all four functions run as: memory, timeout, VPC and the like.
	// Where they come from and what they are called differs: Programs. Default 256
	// MiB and a Timeout of 30 s.
	Function function.Props

	// Programs are those of the functions that run as something else, or were built
	// before, by name: Control, Shift, Analyze, Recover. Default programs of this
	// module, built from Source.
	Programs map[string]function.Props

	// Overrides have the last word. Names are contract with the release command, so
	// change none. OverrideParameter is called with "Target", "State" and "Command",
	// OverrideRule with "Schedule", "Execution", "Deployment" and "Change".
	OverrideMachine   func(*sfn.StateMachineProps)
	OverrideRole      func(*awsiam.RoleProps)
	OverrideLogGroup  func(*awslogs.LogGroupProps)
	OverrideBucket    func(*awss3.BucketProps)
	OverrideParameter func(name string, props *awsssm.StringParameterProps)
	OverrideRule      func(name string, props *awsevents.RuleProps)
}

// ArtifactPrefix begins the keys of artifacts in the bucket: releases/.
const ArtifactPrefix = contract.ReleaseArtifactPrefix

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

func (p Props) withDefaults() Props {
	p.LogRetention = cmp.Or(p.LogRetention, awslogs.RetentionDays_ONE_MONTH)
	return p
}

// function is the configuration of one of the functions.
func (p Props) function(name string) function.Props {
	props, own := p.Programs[name]
	if !own {
		props = p.Function
	}
	if props.Source == "" && props.Binary == nil {
		props.Source = path.Join(Source, name)
	}
	return props
}

// maxMachineName is how long the name of a state machine may be (CreateStateMachine,
// Step Functions API reference).
const maxMachineName = 80

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	bad.Check(p.LoadBalancer != nil, "LoadBalancer", "nil", "a load balancer")
	bad.Check(p.Blue != nil, "Blue", "nil", "a fleet")
	bad.Check(p.Green != nil, "Green", "nil", "a fleet")
	if p.Blue != nil && p.Green != nil {
		p.checkFleets(&bad)
	}
	shared := p.Function
	bad.Check(shared.Source == "", "Function.Source", shared.Source, "none: the functions run different programs, each in Programs")
	bad.Check(shared.Binary == nil, "Function.Binary", "set", "none: the functions run different programs, each in Programs")
	bad.Check(shared.Name == "", "Function.Name", shared.Name, "none: the functions have different names, each in Programs")
	shared.Source, shared.Binary = path.Join(Source, Control), nil
	bad.Merge("Function", shared.Validate())
	for _, name := range slices.Sorted(maps.Keys(p.Programs)) {
		field := "Programs[" + name + "]"
		cdkx.OneOf(&bad, field, name, Programs()...)
		bad.Merge(field, p.function(name).Validate())
	}
	return bad.Err("release")
}

// checkFleets makes sure that the two are a pair, each behind its own target group.
func (p Props) checkFleets(bad *cdkx.Problems) {
	for _, color := range []struct {
		field, name string
		fleet       *fleet.Fleet
	}{{"Blue", contract.ColorBlue, p.Blue}, {"Green", contract.ColorGreen, p.Green}} {
		bad.Check(color.fleet.Color() == color.name, color.field, color.fleet.Color(), "a fleet of the color "+color.name)
		if p.LoadBalancer == nil {
			continue
		}
		group := p.LoadBalancer.Blue
		if color.name == contract.ColorGreen {
			group = p.LoadBalancer.Green
		}
		bad.Check(color.fleet.TargetGroupARN() == *group.TargetGroupArn(), color.field, color.fleet.GroupName(),
			"a fleet in the target group LoadBalancer."+color.field)
	}
	if pair, other := named(p.Blue), named(p.Green); other != pair {
		bad.Add("Green", other, "the other color of "+pair)
	}
	machine := contract.ReleaseStateMachine(p.Blue.Environment(), p.Blue.Name())
	bad.Check(len(machine) <= maxMachineName, "Blue", machine,
		fmt.Sprintf("names of environment and fleet that make a state machine's name of %d characters or fewer", maxMachineName))
}

// checkStack finds a new bucket that would make two stacks depend on each other:
// the release's on the groups of the fleets, theirs on the bucket they read.
func (p Props) checkStack(scope constructs.Construct) error {
	var bad cdkx.Problems
	of := *awscdk.Stack_Of(p.Blue).Node().Path()
	bad.Check(p.Artifacts != nil || *awscdk.Stack_Of(scope).Node().Path() == of, "Artifacts", "nil",
		"a bucket that stands in the stack of the fleets, "+of+", or one before it")
	return bad.Err("release")
}

// named is what the two colors of a fleet have in common.
func named(f *fleet.Fleet) string { return f.Environment() + "/" + f.Name() }
