package release

import (
	"context"
	"fmt"
	"time"
)

// shift sets the weights of a step, or those of going back.
func (r *run) shift(ctx context.Context) error {
	if r.state.Phase == RollingBack {
		return r.shiftBack(ctx)
	}
	r.wait = glance
	if r.state.Paused {
		return r.waiting(ctx, "paused")
	}
	// Enough for its share, which at the last step is all of it. What serves may have
	// grown since the candidate was started.
	from, err := r.Cloud.group(ctx, r.target.Colors[r.state.From].Group)
	if err != nil {
		return err
	}
	ready, missing, err := r.ready(ctx, r.state.To, max(1, from.Desired))
	if err != nil {
		return err
	}
	if !ready {
		r.state.Reason = "not enough of " + r.state.To + ": " + missing
		return r.enter(ctx, Launching)
	}
	percent := r.state.Target()
	want := forward{weights: map[string]int{r.state.To: percent, r.state.From: 100 - percent}}
	if percent < 100 {
		// Who has met a version keeps it for the step. At 100 % nobody may be kept from
		// the version, so stickiness ends, and with it every cookie that holds it.
		want.sticky = min(time.Duration(r.state.Plan.Bake), maxSticky)
	}
	if err := r.Cloud.shift(ctx, r.target, want); err != nil {
		return err
	}
	r.state.Weight, r.state.Sick, r.state.Verdict, r.state.Reason = percent, 0, nil, ""
	return r.enter(ctx, Baking)
}

// maxSticky is the longest stickiness of target groups ("Sticky sessions for your
// Application Load Balancer").
const maxSticky = 7 * 24 * time.Hour

// waiting keeps a release where it is, as long as it may take.
func (r *run) waiting(ctx context.Context, why string) error {
	r.wait = r.patience()
	if late := r.overdue(); late != "" {
		return r.giveUp(ctx, late)
	}
	return r.note(ctx, why)
}

// shiftBack gives all traffic to the color that served before.
func (r *run) shiftBack(ctx context.Context) error {
	if r.state.Plan.Strategy == Rolling {
		return r.enter(ctx, Withdrawing)
	}
	h, err := r.Cloud.health(ctx, r.target.Colors[r.state.From].TargetGroup)
	if err != nil {
		return err
	}
	if h.healthy == 0 && r.state.Weight > 0 {
		return fmt.Errorf("%s, to which the traffic is to go back, has no healthy target; traffic stays where it is until it has: %v", r.state.From, h.why)
	}
	if err := r.Cloud.shift(ctx, r.target, forward{weights: map[string]int{r.state.From: 100, r.state.To: 0}}); err != nil {
		return err
	}
	r.state.Weight = 0
	return r.enter(ctx, Withdrawing)
}
