package release

import (
	"cmp"
	"path"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	sfn "github.com/aws/aws-cdk-go/awscdk/v2/awsstepfunctions"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
)

// Source is the folder of the programs that release, as an import path; they are
// built where the app is synthesized.
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

// Props configures a Release. Environment, Fleet, LoadBalancer, Blue and Green
// are required; everything else has a production default.
type Props struct {
	// Environment and Fleet are those of Blue and Green: "prod", "web".
	Environment string
	Fleet       string

	// LoadBalancer has the rule whose weights move traffic, Blue and Green receive
	// it.
	LoadBalancer *loadbalancer.LoadBalancer
	Blue         *fleet.Fleet
	Green        *fleet.Fleet

	// Artifacts is the bucket that operators upload versions to, below
	// ArtifactPrefix; the caller lets the fleets read it, with
	// fleet.GrantReadArtifacts. Default a new one that they may read.
	Artifacts awss3.IBucket

	// Migrate is a function that a release invokes with {"phase":"expand"} before
	// the version starts and with {"phase":"contract"} after the former one has
	// gone. Default none.
	Migrate *function.Function

	// Notifications receives each change of a release's phase. Default none.
	Notifications awssns.ITopic

	// Key encrypts logs, the functions' environment and a new bucket. Default keys
	// that AWS owns or manages.
	Key awskms.IKey

	// LogRetention is one of the periods CloudWatch Logs offers. Default one month.
	LogRetention awslogs.RetentionDays

	// Function is what the functions run as. Each gets the name of its program, and
	// its Source below Source, unless Programs has its binary. Default those of this
	// module with 256 MiB and a Timeout of 30 s.
	Function function.Props

	// Programs are functions that were built before, by name. Default they are
	// built.
	Programs map[string]function.Props

	// Overrides have the last word. OverrideRule is called with "Schedule",
	// "Execution" and "Deployment".
	OverrideMachine func(*sfn.StateMachineProps)
	OverrideBucket  func(*awss3.BucketProps)
	OverrideRule    func(name string, props *awsevents.RuleProps)
}

// ArtifactPrefix begins the keys of artifacts in the bucket.
const ArtifactPrefix = "releases/"

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

func (p Props) withDefaults() Props {
	p.LogRetention = cmp.Or(p.LogRetention, awslogs.RetentionDays_ONE_MONTH)
	return p
}

// function is the configuration of one of the functions.
func (p Props) function(name string) function.Props {
	props, built := p.Programs[name]
	if !built {
		props = p.Function
		props.Source = path.Join(Source, name)
	}
	return props
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	bad.Check(p.Environment != "", "Environment", p.Environment, "the name of an environment")
	bad.Check(p.Fleet != "", "Fleet", p.Fleet, "the name of a fleet")
	bad.Check(p.LoadBalancer != nil, "LoadBalancer", "nil", "a load balancer")
	bad.Check(p.Blue != nil, "Blue", "nil", "a fleet")
	bad.Check(p.Green != nil, "Green", "nil", "a fleet")
	for _, name := range Programs() {
		bad.Merge("Function", p.function(name).Validate())
		if len(p.Programs) == 0 {
			break // all alike
		}
	}
	return bad.Err("release")
}
