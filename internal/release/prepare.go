package release

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// glance is how often what starts or ends is looked at.
const glance = time.Second

// prepare brings the candidate up: the other color, emptied first of what an
// earlier release left there, or in a rolling release one instance after the
// other. It gets no traffic before all of it is healthy.
func (r *run) prepare(ctx context.Context) error {
	r.wait = glance
	switch r.state.Phase {
	case Migrating:
		return r.enter(ctx, first(r.state.Plan.Strategy))
	case Emptying:
		return r.empty(ctx)
	case Launching:
		return r.launch(ctx)
	case Holding:
		return r.hold(ctx)
	}
	return r.replace(ctx)
}

// empty takes out what the other color still runs. Its targets may drain as
// long as their group lets them.
func (r *run) empty(ctx context.Context) error {
	f, err := r.Cloud.forward(ctx, r.target)
	if err != nil {
		return err
	}
	if p := f.percent(r.state.To); p > 0 {
		return r.giveUp(ctx, fmt.Sprintf("%s gets %d %% of the traffic already: somebody else has set the weights", r.state.To, p))
	}
	gone, err := r.drained(ctx, r.state.To)
	if err != nil || !gone {
		return r.awaiting(ctx, err, r.state.To+" is emptied")
	}
	to := r.target.Colors[r.state.To]
	if err := r.Cloud.write(ctx, to.Artifact, r.state.Plan.Artifact); err != nil {
		return err
	}
	return r.enter(ctx, Launching)
}

// drained gives a color the size 0 and says whether the last of it is gone.
func (r *run) drained(ctx context.Context, color string) (bool, error) {
	name := r.target.Colors[color].Group
	g, err := r.Cloud.group(ctx, name)
	if err != nil {
		return false, err
	}
	// A scheduled floor would fill it again.
	if err := r.Cloud.suspend(ctx, name, g, true, processAlarms, processSchedules); err != nil {
		return false, err
	}
	if err := r.Cloud.resize(ctx, name, g, Size{Max: g.Max}); err != nil {
		return false, err
	}
	h, err := r.Cloud.health(ctx, r.target.Colors[color].TargetGroup)
	return g.instances == 0 && h.healthy+h.unhealthy+h.other == 0, err
}

// launch gives the candidate the size of what serves and waits until all of it
// is healthy.
func (r *run) launch(ctx context.Context) error {
	from, err := r.Cloud.group(ctx, r.target.Colors[r.state.From].Group)
	if err != nil {
		return err
	}
	// What serves must be there to go back to: until the release is over it may
	// grow and not shrink.
	if err := r.Cloud.resize(ctx, r.target.Colors[r.state.From].Group, from, Size{Min: from.Desired, Max: from.Max, Desired: from.Desired}); err != nil {
		return err
	}
	name := r.target.Colors[r.state.To].Group
	to, err := r.Cloud.group(ctx, name)
	if err != nil {
		return err
	}
	// With little traffic on purpose its policies would shrink it between two steps.
	if err := r.Cloud.suspend(ctx, name, to, true, processAlarms, processSchedules); err != nil {
		return err
	}
	want := max(from.Desired, 1)
	if err := r.Cloud.resize(ctx, name, to, Size{Min: want, Max: max(from.Max, want), Desired: want}); err != nil {
		return err
	}
	ready, missing, err := r.ready(ctx, r.state.To, want)
	if err != nil || !ready {
		return r.awaiting(ctx, err, fmt.Sprintf("%s starts: %s", r.state.To, missing))
	}
	r.state.Reason = ""
	if r.state.Plan.Hold && !r.state.Resumed {
		return r.enter(ctx, Holding)
	}
	return r.enter(ctx, Shifting)
}

// ready says whether a color has that many instances in service, all of its
// targets healthy, and if not what is missing.
func (r *run) ready(ctx context.Context, color string, want int) (bool, string, error) {
	g, err := r.Cloud.group(ctx, r.target.Colors[color].Group)
	if err != nil {
		return false, "", err
	}
	h, err := r.Cloud.health(ctx, r.target.Colors[color].TargetGroup)
	if err != nil {
		return false, "", err
	}
	if g.inService >= want && h.healthy >= want && h.unhealthy == 0 {
		return true, "", nil
	}
	missing := fmt.Sprintf("%d of %d instances in service, %d targets healthy", g.inService, want, h.healthy)
	if len(h.why) > 0 {
		missing += "; " + strings.Join(h.why[:min(3, len(h.why))], "; ")
	}
	return false, missing, nil
}

// awaiting notes what a release waits for, and gives it up when that takes too
// long.
func (r *run) awaiting(ctx context.Context, err error, what string) error {
	if err != nil {
		return err
	}
	if late := r.stuck(what); late != "" {
		return r.giveUp(ctx, late)
	}
	return r.note(ctx, what)
}

// stuck is why a release that starts has to be given up, or "".
func (r *run) stuck(what string) string {
	if limit := time.Duration(r.state.Plan.LaunchTimeout); r.now.Sub(r.state.Entered) > limit {
		return fmt.Sprintf("after %v still: %s", limit, what)
	}
	return ""
}

// note saves why a release waits, when that has changed.
func (r *run) note(ctx context.Context, why string) error {
	if why = clip(why); r.state.Reason == why {
		return nil
	}
	r.state.Reason = why
	return r.save(ctx)
}

// hold waits for an operator.
func (r *run) hold(ctx context.Context) error {
	if r.state.Resumed && r.overdue() == "" {
		r.state.Reason = ""
		return r.enter(ctx, Shifting)
	}
	return r.waiting(ctx, "holds: try it with the header "+contract.ReleaseHeader+": "+r.state.To+", then `loadbearing release resume`")
}

// replace replaces the instances of the color that serves.
func (r *run) replace(ctx context.Context) error {
	serving := r.target.Colors[r.state.To]
	if r.state.Refresh == "" {
		if err := r.Cloud.write(ctx, serving.Artifact, r.state.Plan.Artifact); err != nil {
			return err
		}
		id, err := r.refresh(ctx, serving.Group)
		if err != nil {
			return err
		}
		r.state.Refresh = id
		return r.save(ctx)
	}
	status, why, err := r.refreshed(ctx, serving.Group, r.state.Refresh)
	if err != nil {
		return err
	}
	switch {
	case status == astypes.InstanceRefreshStatusSuccessful:
		r.state.Reason = ""
		return r.enter(ctx, Baking)
	case ended(status):
		return r.giveUp(ctx, fmt.Sprintf("the instance refresh is %s: %s", status, why))
	}
	// The old and the new serve side by side, so the whole is judged.
	v, err := r.judge(ctx)
	if err != nil {
		return err
	}
	if v.Outcome == Failed {
		return r.giveUp(ctx, v.Reason)
	}
	what := "instances are replaced: " + why
	if late := r.stuck(what); late != "" {
		return r.giveUp(ctx, late)
	}
	r.state.Reason = clip(what)
	return r.save(ctx) // with the verdict
}

// refresh starts the replacement of every instance of a group, or returns the
// one that a former try of this task has started.
func (r *run) refresh(ctx context.Context, name string) (string, error) {
	out, err := r.Cloud.Groups.StartInstanceRefresh(ctx, &autoscaling.StartInstanceRefreshInput{
		AutoScalingGroupName: &name,
		Strategy:             astypes.RefreshStrategyRolling,
		Preferences: &astypes.RefreshPreferences{
			// The new is there before the old goes.
			MinHealthyPercentage: aws.Int32(100),
			MaxHealthyPercentage: aws.Int32(110),
			SkipMatching:         aws.Bool(false), // the artifact is not in the launch template
		},
	})
	if _, running := errors.AsType[*astypes.InstanceRefreshInProgressFault](err); running {
		last, err := r.lastRefresh(ctx, name)
		if err != nil {
			return "", err
		}
		if r.others(last) {
			return "", fmt.Errorf("instance refresh %s of Auto Scaling group %s, which is not this release's, is %s", aws.ToString(last.InstanceRefreshId), name, last.Status)
		}
		return aws.ToString(last.InstanceRefreshId), nil
	}
	if err != nil {
		return "", fmt.Errorf("start an instance refresh of Auto Scaling group %s: %w", name, err)
	}
	return aws.ToString(out.InstanceRefreshId), nil
}

func (r *run) lastRefresh(ctx context.Context, name string) (astypes.InstanceRefresh, error) {
	out, err := r.Cloud.Groups.DescribeInstanceRefreshes(ctx, &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: &name, MaxRecords: aws.Int32(1)})
	if err != nil {
		return astypes.InstanceRefresh{}, fmt.Errorf("read the instance refreshes of Auto Scaling group %s: %w", name, err)
	}
	if len(out.InstanceRefreshes) == 0 {
		return astypes.InstanceRefresh{}, nil
	}
	return out.InstanceRefreshes[0], nil
}

// others says that a refresh is not this release's. AWS has its start in seconds.
func (r *run) others(f astypes.InstanceRefresh) bool {
	return f.StartTime == nil || f.StartTime.Before(r.state.Started.Truncate(time.Second))
}

// refreshed returns how far an instance refresh is.
func (r *run) refreshed(ctx context.Context, name, id string) (astypes.InstanceRefreshStatus, string, error) {
	out, err := r.Cloud.Groups.DescribeInstanceRefreshes(ctx, &autoscaling.DescribeInstanceRefreshesInput{
		AutoScalingGroupName: &name, InstanceRefreshIds: []string{id},
	})
	if err != nil {
		return "", "", fmt.Errorf("read instance refresh %s of Auto Scaling group %s: %w", id, name, err)
	}
	if len(out.InstanceRefreshes) == 0 {
		return astypes.InstanceRefreshStatusFailed, "it does not exist", nil
	}
	found := out.InstanceRefreshes[0]
	why := fmt.Sprintf("%d %%, %d instances to go", aws.ToInt32(found.PercentageComplete), aws.ToInt32(found.InstancesToUpdate))
	if found.StatusReason != nil {
		why += ": " + *found.StatusReason
	}
	return found.Status, why, nil
}
