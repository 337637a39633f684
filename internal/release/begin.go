package release

import (
	"context"
	"fmt"
	"slices"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// begin takes the lease for an execution: it writes a new state, or takes over
// the one that another execution left.
func (r *run) begin(ctx context.Context, t Task) (Next, error) {
	in := t.Input
	if in == nil || in.Number < 1 {
		return Next{}, &Refusal{fmt.Sprintf("the execution's input %+v names no release; start it with `loadbearing release`", in)}
	}
	switch s := r.state; {
	case s.Number == in.Number && s.Execution == t.Execution:
		return r.next(), nil // taken already, by an invocation whose answer was lost
	case in.Continue:
		return r.takeOver(ctx, t)
	case s.Number >= in.Number:
		return Next{}, &Refusal{fmt.Sprintf("release %d has been begun already, this is release %d", s.Number, in.Number)}
	case s.Phase.Active():
		return Next{}, &Refusal{fmt.Sprintf("release %d, of %s by %s, is %s; one release at a time: wait for it, or `loadbearing release rollback`", s.Number, s.Plan.Version, s.By, s.Phase)}
	}
	plan := in.Plan.WithDefaults()
	if err := plan.Validate(); err != nil {
		return Next{}, &Refusal{err.Error()}
	}
	from, err := r.serving(ctx)
	if err != nil {
		return Next{}, err
	}
	size, err := r.Cloud.group(ctx, r.target.Colors[from].Group)
	if err != nil {
		return Next{}, err
	}
	next := State{
		Number: in.Number, Plan: plan, By: in.By, Execution: t.Execution, Phase: Migrating,
		From: from, To: Other(from), Size: size.Size, Started: r.now, Entered: r.now,
	}
	if plan.Strategy == Rolling {
		next.To, next.Weight = from, 100
	}
	if err := r.Cloud.read(ctx, r.target.Colors[from].Artifact, &next.Former); err != nil {
		return Next{}, err
	}
	if err := r.Cloud.read(ctx, r.target.Colors[next.To].Artifact, &next.Replaced); err != nil {
		return Next{}, err
	}
	// Those that fire now are not this release's doing; it may be their cure.
	if next.Firing, err = r.Cloud.firing(ctx, r.alarms(next.To)...); err != nil {
		return Next{}, err
	}
	r.state = next
	phase := Migrating
	if r.target.Migrate == "" {
		phase = first(plan.Strategy)
	}
	if err := r.enter(ctx, phase); err != nil {
		return Next{}, err
	}
	return r.next(), nil
}

// first is the phase after the migrations.
func first(s Strategy) Phase {
	if s == Rolling {
		return Replacing
	}
	return Emptying
}

// takeOver goes on with a release whose execution has ended before it had.
func (r *run) takeOver(ctx context.Context, t Task) (Next, error) {
	s := &r.state
	if s.Number != t.Input.Number || s.Phase.Over() {
		return Next{Next: TaskEnd, Number: t.Input.Number}, nil
	}
	s.Execution, s.Attempt = t.Execution, s.Attempt+1
	if why := t.Input.RollBack; why != "" && !r.goingBack() && !r.late() && s.Phase != Promoted {
		if err := r.giveUp(ctx, why); err != nil {
			return Next{}, err
		}
		return r.next(), nil
	}
	if err := r.save(ctx); err != nil {
		return Next{}, err
	}
	if err := r.obey(ctx); err != nil {
		return Next{}, err
	}
	r.Log.InfoContext(ctx, "release taken over", "number", s.Number, "phase", s.Phase, "attempt", s.Attempt)
	return r.next(), nil
}

// serving is the color that gets all traffic.
func (r *run) serving(ctx context.Context) (string, error) {
	f, err := r.Cloud.forward(ctx, r.target)
	if err != nil {
		return "", err
	}
	for _, color := range []string{contract.ColorBlue, contract.ColorGreen} {
		if f.percent(color) == 100 {
			return color, nil
		}
	}
	return "", &Refusal{fmt.Sprintf("the weights of listener rule %s are %v, and no release has set them so: give all traffic to one color first, with `aws elbv2 modify-rule`", r.target.Rule, f.weights)}
}

// alarms are those that a release to a color heeds.
func (r *run) alarms(to string) []string {
	return slices.Concat(r.target.Alarms, r.target.Colors[to].Alarms)
}
