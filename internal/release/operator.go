package release

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Operator starts releases of a fleet and watches them.
type Operator struct {
	Fleet Fleet
	Cloud Cloud
	By    string           // who, as events and states say
	Now   func() time.Time // default time.Now
}

func (o *Operator) now() time.Time {
	if o.Now != nil {
		return o.Now().UTC()
	}
	return time.Now().UTC()
}

// State returns the last release; its Number is 0 before the first.
func (o *Operator) State(ctx context.Context) (State, error) {
	return o.Cloud.state(ctx, o.Fleet)
}

// Target returns what releases of the fleet work on.
func (o *Operator) Target(ctx context.Context) (contract.ReleaseTarget, error) {
	return o.Cloud.target(ctx, o.Fleet)
}

// Start begins a release and returns its number. It is a *Refusal when another
// one is going on, and an error that names every field of a plan that is not
// allowed.
func (o *Operator) Start(ctx context.Context, p Plan) (int, error) {
	p = p.WithDefaults()
	if err := p.Validate(); err != nil {
		return 0, err
	}
	t, err := o.Target(ctx)
	if err != nil {
		return 0, err
	}
	last, err := o.State(ctx)
	if err != nil {
		return 0, err
	}
	if last.Phase.Active() {
		return 0, o.busy(last.Number, string(last.Phase))
	}
	name, err := o.Cloud.start(ctx, t, 0, Input{Number: last.Number + 1, Plan: p, By: o.By})
	if err != nil {
		return 0, err
	}
	if name == "" {
		return 0, o.busy(last.Number+1, "beginning")
	}
	return strconv.Atoi(name)
}

func (o *Operator) busy(number int, phase string) error {
	return &Refusal{fmt.Sprintf("release %d is %s; one release at a time: `loadbearing release status --follow` shows it, `loadbearing release rollback` ends it", number, phase)}
}

// Order tells the last release to pause, to go on or to roll back.
func (o *Operator) Order(ctx context.Context, c Command, why string) (State, error) {
	s, err := o.State(ctx)
	if err != nil {
		return s, err
	}
	switch {
	case s.Number == 0:
		return s, &Refusal{"there has been no release"}
	case c == Rollback && (s.Phase == Retiring || s.Phase == Contracting || s.Phase == Done):
		return s, &Refusal{fmt.Sprintf("release %d is %s and its window of %v is over: what ran before is gone. Release it again: its artifact is s3://%s/%s",
			s.Number, s.Phase, time.Duration(s.Plan.Window), s.Former.Bucket, s.Former.Key)}
	case c == Rollback && s.Phase == RolledBack:
		return s, &Refusal{fmt.Sprintf("release %d has been rolled back already: %s", s.Number, s.Reason)}
	case c != Rollback && !s.Phase.Active():
		return s, &Refusal{fmt.Sprintf("release %d is %s; there is nothing to %s", s.Number, s.Phase, c)}
	}
	order := Order{Number: s.Number, Command: c, By: o.By, Reason: why, At: o.now()}
	if err := o.Cloud.write(ctx, contract.ReleaseCommandParameter(o.Fleet.Environment, o.Fleet.Name), order); err != nil {
		return s, err
	}
	if c != Rollback {
		return s, nil
	}
	// The execution may be in a wait of up to a minute: another one takes over at
	// once. Is it not quick enough, the first follows the order all the same.
	t, err := o.Target(ctx)
	if err != nil {
		return s, err
	}
	_, err = o.Cloud.start(ctx, t, s.Attempt+1, Input{Number: s.Number, By: o.By, Continue: true})
	return s, err
}

// View is how a release and the two colors look now.
type View struct {
	At     time.Time       `json:"at"`
	State  State           `json:"state"`
	Colors map[string]Look `json:"colors"`
	// Sticky is for how long a client keeps its color; 0 is not at all.
	Sticky Duration `json:"sticky"`
}

// Look is how one color looks now.
type Look struct {
	Percent   int               `json:"percent"` // of the traffic
	Artifact  contract.Artifact `json:"artifact"`
	Desired   int               `json:"desired"`
	InService int               `json:"in_service"`
	Healthy   int               `json:"healthy"`
	Targets   int               `json:"targets"`
	// Measured is since the step began, or for the last five periods.
	Measured Measured `json:"measured"`
}

// View looks.
func (o *Operator) View(ctx context.Context) (View, error) {
	t, err := o.Target(ctx)
	if err != nil {
		return View{}, err
	}
	v := View{At: o.now(), Colors: map[string]Look{}}
	if v.State, err = o.State(ctx); err != nil {
		return v, err
	}
	f, err := o.Cloud.forward(ctx, t)
	if err != nil {
		return v, err
	}
	v.Sticky = Duration(f.sticky)
	period := v.State.Plan.WithDefaults().period()
	since := v.At.Add(-5 * period)
	if v.State.Phase == Baking {
		since = v.State.Entered
	}
	measured, err := o.Cloud.measure(ctx, t, since, v.At, period, contract.ColorBlue, contract.ColorGreen)
	if err != nil {
		return v, err
	}
	for color, rc := range t.Colors {
		l := Look{Percent: f.percent(color), Measured: measured[color]}
		g, err := o.Cloud.group(ctx, rc.Group)
		if err != nil {
			return v, err
		}
		l.Desired, l.InService = g.Desired, g.inService
		h, err := o.Cloud.health(ctx, rc.TargetGroup)
		if err != nil {
			return v, err
		}
		l.Healthy, l.Targets, l.Measured.Unhealthy = h.healthy, h.healthy+h.unhealthy+h.other, h.unhealthy
		if err := o.Cloud.read(ctx, rc.Artifact, &l.Artifact); err != nil {
			return v, err
		}
		v.Colors[color] = l
	}
	return v, nil
}

// Await looks at the state until a release is promoted, done or rolled back, or
// has been refused, and tells each change.
func (o *Operator) Await(ctx context.Context, number int, tell func(State)) (State, error) {
	t, err := o.Target(ctx)
	if err != nil {
		return State{}, err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var last State
	for {
		s, err := o.State(ctx)
		if err != nil {
			return last, err
		}
		if s.Number == number {
			if tell != nil && (s.Phase != last.Phase || s.Step != last.Step || s.Reason != last.Reason || s.Paused != last.Paused) {
				tell(s)
			}
			last = s
			if !s.Phase.Active() {
				return s, nil
			}
		} else if s.Number > number {
			return last, fmt.Errorf("release %d has been followed by release %d", number, s.Number)
		} else if err := o.refused(ctx, t, number); err != nil {
			return last, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("wait for release %d, which is %s: %w", number, cmp.Or(last.Phase, "not begun"), ctx.Err())
		}
	}
}

// refused returns why a release that has not begun never will.
func (o *Operator) refused(ctx context.Context, t contract.ReleaseTarget, number int) error {
	arn := executionARN(t, executionName(number, 0))
	out, err := o.Cloud.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	if err != nil || out.Status == sfntypes.ExecutionStatusRunning || out.Status == sfntypes.ExecutionStatusSucceeded {
		return err
	}
	return fmt.Errorf("release %d has not begun: its execution is %s: %s", number, out.Status, cause(aws.ToString(out.Cause)))
}

// cause is the message in what a failed function leaves as the cause.
func cause(text string) string {
	var failure struct {
		Message string `json:"errorMessage"`
	}
	if json.Unmarshal([]byte(text), &failure) == nil && failure.Message != "" {
		return failure.Message
	}
	return text
}

// Past is a release that has been.
type Past struct {
	Number    int       `json:"number"`
	Execution string    `json:"execution"`
	Status    string    `json:"status"` // of the execution
	Started   time.Time `json:"started"`
	Stopped   time.Time `json:"stopped,omitzero"`
	Plan      Plan      `json:"plan"`
	By        string    `json:"by"`
	Outcome   Phase     `json:"outcome"` // the last phase its execution came to
	Continued bool      `json:"continued,omitempty"`
}

// History returns the executions of the last releases, the newest first. Step
// Functions keeps them for 90 days.
func (o *Operator) History(ctx context.Context, limit int) ([]Past, error) {
	t, err := o.Target(ctx)
	if err != nil {
		return nil, err
	}
	var history []Past
	pages := sfn.NewListExecutionsPaginator(o.Cloud.Executions, &sfn.ListExecutionsInput{StateMachineArn: &t.StateMachine})
	for pages.HasMorePages() && len(history) < limit {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the executions of %s: %w", t.StateMachine, err)
		}
		for _, e := range page.Executions[:min(len(page.Executions), limit-len(history))] {
			out, err := o.Cloud.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: e.ExecutionArn})
			if err != nil {
				return nil, fmt.Errorf("read execution %s: %w", aws.ToString(e.Name), err)
			}
			p := Past{Execution: aws.ToString(e.Name), Status: string(out.Status), Started: aws.ToTime(out.StartDate), Stopped: aws.ToTime(out.StopDate)}
			var in Input
			if json.Unmarshal([]byte(aws.ToString(out.Input)), &in) == nil {
				p.Number, p.Plan, p.By, p.Continued = in.Number, in.Plan, in.By, in.Continue
			}
			var last Next
			if json.Unmarshal([]byte(aws.ToString(out.Output)), &last) == nil {
				p.Outcome = last.Phase
			}
			history = append(history, p)
		}
	}
	return history, nil
}
