// Package release moves a fleet from one version to the next: rolling,
// blue-green or as a canary, on AWS and on an emulator alike.
//
// A Step Functions state machine runs the tasks of a Controller, one short
// Lambda invocation each. What a release is about, and how far it has come, is
// its State, kept in one SSM parameter that only the controller writes. Each
// task reads it, brings the cloud one step further, writes it and says which
// task is next: one that was killed anywhere is simply run again. An Operator
// starts releases and tells them to pause, to go on or to roll back.
//
// Traffic is moved by the two weights of one listener rule; instances by the
// Auto Scaling groups of the two colors. Neither is ever in the template's hands
// after the first deployment.
package release

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Strategy is how a release replaces a version.
type Strategy string

// The strategies.
const (
	// Rolling replaces the instances of the color that serves, a few at a time.
	Rolling Strategy = "rolling"
	// BlueGreen starts the other color and moves all traffic to it at once.
	BlueGreen Strategy = "blue-green"
	// Canary starts the other color and moves traffic to it step by step.
	Canary Strategy = "canary"
)

// Duration is a time.Duration that JSON has as text: "2m0s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Plan is what a release is to do. The zero value of a field is its default,
// which withDefaults fills in; Strategy and Artifact are required.
type Plan struct {
	Strategy Strategy `json:"strategy"`

	// Artifact is the program to release. Version is what it calls itself.
	Artifact contract.Artifact `json:"artifact"`
	Version  string            `json:"version"`

	// Migrations holds the schema changes the artifact comes with; nil has none
	// beyond those of the deployed migrate function.
	Migrations *contract.Artifact `json:"migrations,omitempty"`

	// Steps are the percentages of traffic a canary gets, rising, 100 last.
	// Default 5, 25, 50, 100. Blue-green has the single step 100, rolling none.
	Steps []int `json:"steps,omitempty"`

	// Bake is how long each step is watched. Default 2 minutes; at least a
	// second, and on AWS a minute, the resolution of a load balancer's metrics.
	Bake Duration `json:"bake"`

	// MaxErrorPercent is the highest share of 5xx answers, default 1. MaxP99 is
	// the longest 99th percentile of the time to the first byte, default 500 ms.
	// MaxP99Ratio is how many times that of the other color it may be in the same
	// step, default 3; up to a tenth of MaxP99 it may be any.
	MaxErrorPercent float64  `json:"max_error_percent"`
	MaxP99          Duration `json:"max_p99"`
	MaxP99Ratio     float64  `json:"max_p99_ratio"`

	// MinRequests is how many requests of a step a verdict needs, default 200:
	// with fewer the step goes on. MinErrors is how many errors it takes to fail
	// one, default 3.
	MinRequests int `json:"min_requests"`
	MinErrors   int `json:"min_errors"`

	// Window is how long the former color is kept to roll back to, default 15
	// minutes. A rolling release has none.
	Window Duration `json:"window"`

	// LaunchTimeout is how long the candidate may take to be healthy, default 10
	// minutes. Timeout is how long the release may take until it is at 100 %,
	// default 24 hours, waiting for traffic and for an operator included: then it
	// is rolled back. At most 24 hours, because an execution of Step Functions has
	// 25,000 events.
	LaunchTimeout Duration `json:"launch_timeout"`
	Timeout       Duration `json:"timeout"`

	// Hold waits, once the candidate is healthy and before it gets any traffic, for
	// an operator to resume. Testers reach it with the header X-Release.
	Hold bool `json:"hold,omitempty"`
}

// maxTimeout keeps the events of an execution, some nine a look and a look a
// minute at most, below 25,000 ("Step Functions service quotas").
const maxTimeout = 24 * time.Hour

// WithDefaults returns the plan with every default filled in.
func (p Plan) WithDefaults() Plan {
	switch p.Strategy {
	case BlueGreen:
		if len(p.Steps) == 0 {
			p.Steps = []int{100}
		}
	case Canary:
		if len(p.Steps) == 0 {
			p.Steps = []int{5, 25, 50, 100}
		}
	}
	p.Bake = cmp.Or(p.Bake, Duration(2*time.Minute))
	p.MaxErrorPercent = cmp.Or(p.MaxErrorPercent, 1)
	p.MaxP99 = cmp.Or(p.MaxP99, Duration(500*time.Millisecond))
	p.MaxP99Ratio = cmp.Or(p.MaxP99Ratio, 3)
	p.MinRequests = cmp.Or(p.MinRequests, 200)
	p.MinErrors = cmp.Or(p.MinErrors, 3)
	p.Window = cmp.Or(p.Window, Duration(15*time.Minute))
	p.LaunchTimeout = cmp.Or(p.LaunchTimeout, Duration(10*time.Minute))
	p.Timeout = cmp.Or(p.Timeout, Duration(maxTimeout))
	return p
}

// Validate names every field of a plan, defaults filled in, that is not allowed.
func (p Plan) Validate() error {
	var errs []error
	bad := func(field string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("%s is %v; allowed: %s", field, value, allowed))
	}
	switch p.Strategy {
	case Rolling:
		if len(p.Steps) > 0 {
			bad("steps", p.Steps, "none, a rolling release has no weights")
		}
		if p.Hold {
			bad("hold", p.Hold, "only with blue-green and canary, whose candidate exists before it gets traffic")
		}
	case BlueGreen:
		if !slices.Equal(p.Steps, []int{100}) {
			bad("steps", p.Steps, "100, blue-green moves all traffic at once; canary has steps")
		}
	case Canary:
		if n := len(p.Steps); n == 0 || n > 20 || p.Steps[n-1] != 100 || p.Steps[0] < 1 || !rising(p.Steps) {
			bad("steps", p.Steps, "1 to 20 rising percentages from 1, the last 100, as in 5,25,50,100")
		}
	default:
		bad("strategy", fmt.Sprintf("%q", p.Strategy), "rolling, blue-green, canary")
	}
	if p.Artifact.Bucket == "" || p.Artifact.Key == "" || len(p.Artifact.SHA256) != 64 {
		bad("artifact", p.Artifact, "bucket, key and the SHA-256 of the program")
	}
	for _, d := range []struct {
		field  string
		value  Duration
		lowest time.Duration
	}{
		{"bake", p.Bake, time.Second},
		{"max_p99", p.MaxP99, time.Millisecond},
		{"window", p.Window, time.Second},
		{"launch_timeout", p.LaunchTimeout, time.Second},
		{"timeout", p.Timeout, time.Second},
	} {
		if v := time.Duration(d.value); v < d.lowest || v > maxTimeout {
			bad(d.field, v, fmt.Sprintf("%v to %v", d.lowest, maxTimeout))
		}
	}
	if p.MaxErrorPercent <= 0 || p.MaxErrorPercent > 100 {
		bad("max_error_percent", p.MaxErrorPercent, "above 0, to 100")
	}
	if p.MaxP99Ratio < 1 {
		bad("max_p99_ratio", p.MaxP99Ratio, "1 or more")
	}
	if p.MinRequests < 1 {
		bad("min_requests", p.MinRequests, "1 or more: a release without traffic proves nothing")
	}
	if p.MinErrors < 1 {
		bad("min_errors", p.MinErrors, "1 or more")
	}
	return errors.Join(errs...)
}

func rising(steps []int) bool {
	for i := 1; i < len(steps); i++ {
		if steps[i] <= steps[i-1] {
			return false
		}
	}
	return true
}

// Phase is how far a release has come.
type Phase string

// The phases, in the order in which a release goes through them.
const (
	Migrating   Phase = "migrating"    // expand migrations run
	Emptying    Phase = "emptying"     // what is left in the other color goes
	Launching   Phase = "launching"    // the candidate starts; not healthy yet
	Holding     Phase = "holding"      // the candidate is healthy and waits for an operator
	Replacing   Phase = "replacing"    // rolling: instances are replaced
	Shifting    Phase = "shifting"     // the weights of a step are set
	Baking      Phase = "baking"       // a step is watched
	Promoting   Phase = "promoting"    // the candidate takes over the size and schedule of what it replaces
	Promoted    Phase = "promoted"     // all traffic moved; the former color is kept for the window
	Retiring    Phase = "retiring"     // the former color is emptied
	Contracting Phase = "contracting"  // contract migrations run
	Done        Phase = "done"         //
	RollingBack Phase = "rolling-back" // traffic goes back
	Withdrawing Phase = "withdrawing"  // the candidate is emptied
	RolledBack  Phase = "rolled-back"  //
)

// Active says that a release holds the lease: no other may begin. One whose
// traffic has all moved no longer does.
func (p Phase) Active() bool {
	return p != "" && p != Promoted && !p.Over()
}

// Over says that nothing of the release is left to do.
func (p Phase) Over() bool { return p == Done || p == RolledBack }

// Size is the capacity of an Auto Scaling group.
type Size struct {
	Min     int `json:"min"`
	Max     int `json:"max"`
	Desired int `json:"desired"`
}

// State is a release and how far it has come. It stands in the parameter
// contract.ReleaseStateParameter as JSON, below 4 KB.
type State struct {
	Number    int    `json:"number"` // 1 is the first
	Plan      Plan   `json:"plan"`
	By        string `json:"by"`
	Phase     Phase  `json:"phase"`
	Step      int    `json:"step"` // index in Plan.Steps
	Execution string `json:"execution"`
	Attempt   int    `json:"attempt"` // executions before this one

	// From is the color that served when the release began, To the one that gets
	// the version. In a rolling release they are the same.
	From string `json:"from"`
	To   string `json:"to"`
	// Weight is the share of To that was last set and read back, in percent.
	Weight int `json:"weight"`

	Former   contract.Artifact `json:"former"`           // what From ran
	Replaced contract.Artifact `json:"replaced"`         // what To had been told to run before
	Size     Size              `json:"size"`             // of From when the release began
	Refresh  string            `json:"refresh"`          // id of the instance refresh, rolling
	Undo     string            `json:"undo,omitempty"`   // id of the one that brings Former back
	Firing   []string          `json:"firing,omitempty"` // alarms that fired when the release began
	Paused   bool              `json:"paused,omitempty"`
	Resumed  bool              `json:"resumed,omitempty"` // an operator has ended Hold

	Started time.Time `json:"started"`
	Entered time.Time `json:"entered"` // the phase, for Baking the step
	Updated time.Time `json:"updated"`

	Verdict *Verdict `json:"verdict,omitempty"` // the last one
	Sick    int      `json:"sick,omitempty"`    // looks in a row at which targets of To were unhealthy
	Reason  string   `json:"reason,omitempty"`  // why it is rolled back or waits
}

// Target returns the percentage of the present step.
func (s State) Target() int {
	if s.Step < len(s.Plan.Steps) {
		return s.Plan.Steps[s.Step]
	}
	return 100
}

// Last says that the present step is the last one.
func (s State) Last() bool { return s.Step >= len(s.Plan.Steps)-1 }

// Serving is the color that gets all traffic once the release is over, as far as
// one can say now: To when it has been promoted, else From.
func (s State) Serving() string {
	switch s.Phase {
	case Promoted, Retiring, Contracting, Done:
		return s.To
	}
	return s.From
}

// Command is what an operator tells a release.
type Command string

// The commands.
const (
	Pause    Command = "pause"
	Resume   Command = "resume"
	Rollback Command = "rollback"
)

// Order is a Command to one release. It stands in the parameter
// contract.ReleaseCommandParameter, which only operators write.
type Order struct {
	Number  int       `json:"number"`
	Command Command   `json:"command"`
	By      string    `json:"by"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

// Other is the color beside one.
func Other(color string) string {
	if color == contract.ColorBlue {
		return contract.ColorGreen
	}
	return contract.ColorBlue
}
