package release

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// finish hands over to the new color, empties the former one once its window is
// over, and ends the release when the contract migrations have run.
func (r *run) finish(ctx context.Context, t Task) error {
	r.wait = glance
	if r.state.Phase == Promoting {
		return r.promote(ctx)
	}
	if r.state.Phase == Contracting {
		// Both versions work with a schema that was not contracted: the next release
		// tries it again.
		r.state.Reason = ""
		if t.Cause != "" {
			r.state.Reason = clip("contract migrations failed: " + cause(t.Cause))
		}
		return r.enter(ctx, Done)
	}
	if r.state.Plan.Strategy != Rolling {
		if gone, err := r.retire(ctx); err != nil || !gone {
			return err
		}
	}
	r.state.Reason = ""
	if r.target.Migrate == "" {
		return r.enter(ctx, Done)
	}
	return r.enter(ctx, Contracting)
}

// promote hands over: the new color scales as the former did, the former is
// kept as it is.
func (r *run) promote(ctx context.Context) error {
	from, to := r.target.Colors[r.state.From].Group, r.target.Colors[r.state.To].Group
	if err := r.Cloud.copySchedule(ctx, from, to); err != nil {
		return err
	}
	old, err := r.Cloud.group(ctx, from)
	if err != nil {
		return err
	}
	if err := r.Cloud.suspend(ctx, from, old, true, processAlarms, processSchedules); err != nil {
		return err
	}
	if err := r.letScale(ctx, to); err != nil {
		return err
	}
	r.state.Reason = ""
	return r.enter(ctx, Promoted)
}

// letScale has a group scale by itself again, within the bounds that the former
// color had before the release.
func (r *run) letScale(ctx context.Context, name string) error {
	g, err := r.Cloud.group(ctx, name)
	if err != nil {
		return err
	}
	if err := r.Cloud.suspend(ctx, name, g, false, processAlarms, processSchedules); err != nil {
		return err
	}
	return r.Cloud.resize(ctx, name, g, Size{Min: min(r.state.Size.Min, g.Desired), Max: r.state.Size.Max, Desired: g.Desired})
}

// retire empties the former color, when it gets no traffic and the new one is
// healthy.
func (r *run) retire(ctx context.Context) (gone bool, err error) {
	f, err := r.Cloud.forward(ctx, r.target)
	if err != nil {
		return false, err
	}
	if p := f.percent(r.state.To); p != 100 {
		// A deployment of the template may have done it.
		r.state.Step = len(r.state.Plan.Steps) - 1
		r.state.Reason = fmt.Sprintf("%s had %d %% of the traffic after it had been given all", r.state.To, p)
		return false, r.enter(ctx, Shifting)
	}
	h, err := r.Cloud.health(ctx, r.target.Colors[r.state.To].TargetGroup)
	if err != nil {
		return false, err
	}
	if h.healthy == 0 {
		return false, fmt.Errorf("%s is not emptied: %s has no healthy target: %v", r.state.From, r.state.To, h.why)
	}
	if gone, err = r.drained(ctx, r.state.From); err != nil || gone {
		return gone, err
	}
	return false, r.note(ctx, r.state.From+" is emptied")
}

// withdraw ends a release that went back: the candidate leaves, and what served
// before scales as it did.
func (r *run) withdraw(ctx context.Context) error {
	r.wait = glance
	if r.state.Plan.Strategy == Rolling {
		return r.unreplace(ctx)
	}
	f, err := r.Cloud.forward(ctx, r.target)
	if err != nil {
		return err
	}
	if f.percent(r.state.From) != 100 {
		// Another execution was setting weights when this one took over.
		return r.enter(ctx, RollingBack)
	}
	if err := r.letScale(ctx, r.target.Colors[r.state.From].Group); err != nil {
		return err
	}
	gone, err := r.drained(ctx, r.state.To)
	if err != nil || !gone {
		return err
	}
	if r.state.Replaced.Key != "" {
		if err := r.Cloud.write(ctx, r.target.Colors[r.state.To].Artifact, r.state.Replaced); err != nil {
			return err
		}
	}
	return r.enter(ctx, RolledBack)
}

// unreplace brings the former version back onto the instances.
func (r *run) unreplace(ctx context.Context) error {
	c := r.target.Colors[r.state.To]
	if r.state.Undo != "" {
		switch status, why, err := r.refreshed(ctx, c.Group, r.state.Undo); {
		case err != nil:
			return err
		case status == astypes.InstanceRefreshStatusSuccessful:
			return r.enter(ctx, RolledBack)
		case ended(status):
			r.Log.WarnContext(ctx, "the former version is not back, once more", "refresh", r.state.Undo, "status", status, "why", why)
			r.state.Undo = ""
			return r.save(ctx)
		}
		return nil
	}
	last, err := r.lastRefresh(ctx, c.Group)
	if err != nil {
		return err
	}
	switch {
	case r.others(last):
		// Nothing has been replaced.
		if err := r.Cloud.write(ctx, c.Artifact, r.state.Former); err != nil {
			return err
		}
		return r.enter(ctx, RolledBack)
	case last.Status == astypes.InstanceRefreshStatusCancelling || last.Status == astypes.InstanceRefreshStatusRollbackInProgress:
		return nil
	case !ended(last.Status):
		if _, err := r.Cloud.Groups.CancelInstanceRefresh(ctx, &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: &c.Group}); err != nil {
			return fmt.Errorf("cancel instance refresh %s of Auto Scaling group %s: %w", aws.ToString(last.InstanceRefreshId), c.Group, err)
		}
		return nil
	}
	if err := r.Cloud.write(ctx, c.Artifact, r.state.Former); err != nil {
		return err
	}
	if r.state.Undo, err = r.refresh(ctx, c.Group); err != nil {
		return err
	}
	return r.save(ctx)
}

// ended says that an instance refresh goes no further.
func ended(s astypes.InstanceRefreshStatus) bool {
	switch s {
	case astypes.InstanceRefreshStatusSuccessful, astypes.InstanceRefreshStatusFailed, astypes.InstanceRefreshStatusCancelled,
		astypes.InstanceRefreshStatusRollbackSuccessful, astypes.InstanceRefreshStatusRollbackFailed:
		return true
	}
	return false
}
