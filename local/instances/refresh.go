package instances

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// RefreshOrder is an instance refresh that is asked for, with the preferences given.
type RefreshOrder struct {
	InstanceRefreshID string `json:"InstanceRefreshId"`
	Status            string
	StartTime         time.Time
	Preferences       RefreshPreferences
}

// RefreshPreferences are those that were given; nil and "" have the default of
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/understand-instance-refresh-default-values.html
type RefreshPreferences struct {
	MinHealthyPercentage      *int // default 90
	MaxHealthyPercentage      *int // default 100
	InstanceWarmup            *int // seconds; default the group's warm-up, else its grace period
	SkipMatching              bool
	CheckpointPercentages     []int
	CheckpointDelay           *int   // seconds; default 3600
	ScaleInProtectedInstances string // default Wait
	StandbyInstances          string // default Wait
}

// RefreshReport is how far an instance refresh is.
type RefreshReport struct {
	InstanceRefreshID  string `json:"InstanceRefreshId"`
	Status             string
	StatusReason       string
	EndTime            string // RFC 3339; "" until it ends
	PercentageComplete int
	InstancesToUpdate  int
}

// Status of a refresh.
const (
	refreshPending    = "Pending"
	refreshInProgress = "InProgress"
	refreshCancelling = "Cancelling"
	refreshCancelled  = "Cancelled"
	refreshSuccessful = "Successful"
	refreshFailed     = "Failed"
)

// refreshPatience is how long a refresh waits for the next instance to become
// healthy before it fails, at AWS's pace.
const refreshPatience = time.Hour

// refresh is an instance refresh at work. Manager.mu guards it.
type refresh struct {
	order    RefreshOrder
	progress RefreshReport

	old      []*instance // to replace
	skipped  []*instance // that match, or are to be ignored
	passed   int         // checkpoints
	until    time.Time   // the current checkpoint holds until then; zero when none does
	advanced time.Time   // when the last instance was replaced
	most     int         // instances replaced so far
}

func (r *refresh) ended() bool { return r.progress.EndTime != "" }

func (r *refresh) end(status, reason string, now time.Time) {
	r.progress.Status, r.progress.StatusReason = status, reason
	r.progress.EndTime = now.UTC().Format(time.RFC3339)
}

// preference is a number that was given, or its default.
func preference(given *int, byDefault int) int {
	if given == nil {
		return byDefault
	}
	return *given
}

// takeUp begins or cancels a refresh as ordered. matching is the version of the
// launch template that a new instance would have.
func (m *Manager) takeUp(g *group, order *RefreshOrder, matching string, now time.Time) {
	if order == nil {
		if g.refresh != nil && !g.refresh.ended() { // the emulator has started anew
			g.refresh = nil
		}
		return
	}
	if g.refresh == nil || g.refresh.order.InstanceRefreshID != order.InstanceRefreshID {
		r := &refresh{order: *order, advanced: now}
		for _, i := range g.instances {
			// One that was launched after the request has what the others shall have.
			if i.State == Terminated || i.leaving != "" || i.Launched.After(order.StartTime) {
				continue
			}
			switch p := order.Preferences; {
			case p.SkipMatching && i.TemplateVersion == matching:
				r.skipped = append(r.skipped, i)
			case i.State == Warm: // it serves nobody
				g.terminate(i, "instance refresh", because(now, i, "an instance was taken out of service in response to an instance refresh."), now)
			case i.Protected && p.ScaleInProtectedInstances == "Ignore",
				i.State == Standby && p.StandbyInstances == "Ignore":
				r.skipped = append(r.skipped, i)
			default:
				r.old = append(r.old, i)
			}
		}
		r.progress = RefreshReport{InstanceRefreshID: order.InstanceRefreshID, Status: refreshInProgress, InstancesToUpdate: len(r.old)}
		g.refresh, g.backoff = r, backoff{} // what it launches need not be what failed before
		m.o.Log.Info("instance refresh", "group", g.name, "refresh", order.InstanceRefreshID, "instances", len(r.old))
	}
	if r := g.refresh; order.Status == refreshCancelling && !r.ended() {
		r.end(refreshCancelled, "Cancelled by user.", now)
		m.o.Log.Info("instance refresh cancelled", "group", g.name, "refresh", order.InstanceRefreshID, "complete", r.progress.PercentageComplete)
	}
}

// refreshed goes on with a group's refresh: it terminates what may go, and
// returns how many instances the group may have beyond its desired capacity.
//
// As on AWS the healthy share never falls below the minimum and the group never
// grows above the maximum, rounded up and down; where rounding leaves no room,
// one instance is replaced at a time.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-overview.html
func (m *Manager) refreshed(g *group, now time.Time) (beyond int) {
	r := g.refresh
	if r == nil || r.ended() || g.suspended["InstanceRefresh"] {
		return 0
	}
	p := r.order.Preferences
	warmup := m.here(preference(p.InstanceWarmup, g.warmup))
	ready := func(i *instance) bool { return i.serves(m.o.LoadBalancer) && now.Sub(i.Served) >= warmup }

	var old []*instance // still to be replaced
	alive, replaced, well, active := 0, 0, 0, 0
	for _, i := range g.instances {
		is := slices.Contains(r.old, i)
		gone := i.State == Terminated || i.State == Warm
		if is && !gone {
			alive++
		}
		if is && i.leaving == "" && !gone {
			old = append(old, i)
		}
		if !i.active() {
			continue
		}
		active++
		if ready(i) {
			well++
			if !is && !slices.Contains(r.skipped, i) {
				replaced++
			}
		}
	}
	total := len(r.old)
	done := max(0, min(total-alive, replaced))
	if alive == 0 && well >= g.desired && active == g.desired {
		done = total
		r.end(refreshSuccessful, "", now)
		m.o.Log.Info("instance refresh successful", "group", g.name, "refresh", r.order.InstanceRefreshID, "instances", total, "after", now.Sub(r.order.StartTime).Round(time.Millisecond))
	}
	if done > r.most {
		r.most, r.advanced = done, now
	}
	r.progress.InstancesToUpdate, r.progress.PercentageComplete = total-done, 100
	if total > 0 {
		r.progress.PercentageComplete = 100 * done / total
	}
	if r.ended() {
		return 0
	}

	replaceable := m.checkpoint(r, done, total, now) - (total - len(old)) // of old, how many may go
	if r.progress.StatusReason = r.waits(old); r.until.IsZero() && now.Sub(r.advanced) > m.here(int(refreshPatience.Seconds())) {
		why := cmp.Or(r.progress.StatusReason, g.problem, m.notReady(g, ready), "the instances that leave have not ended")
		r.end(refreshFailed, fmt.Sprintf("%d of %d instances were replaced, and no further one within %v: %s", done, total, m.here(int(refreshPatience.Seconds())), why), now)
		m.o.Log.Error("instance refresh failed", "group", g.name, "refresh", r.order.InstanceRefreshID, "why", r.progress.StatusReason)
		return 0
	}
	if !r.until.IsZero() {
		r.advanced = now // a checkpoint is no failure
		r.progress.StatusReason = fmt.Sprintf("Waiting at the checkpoint of %d%% until %s.", p.CheckpointPercentages[r.passed], r.until.UTC().Format(time.RFC3339))
	}

	least := int(math.Ceil(float64(g.desired*preference(p.MinHealthyPercentage, 90)) / 100))
	highest := preference(p.MaxHealthyPercentage, 100)
	room := g.desired*highest/100 - g.desired
	if highest > 100 {
		room = max(room, 1) // launch before terminating
	}
	free := well - least
	if room == 0 && free < 1 && well == active && active >= g.desired {
		free = 1
	}
	slices.SortStableFunc(old, func(a, b *instance) int {
		return cmp.Or(order(ready(a), ready(b)), g.compare(a, b, now))
	})
	left := len(old)
	for _, i := range old {
		if replaceable < 1 || i.Protected && p.ScaleInProtectedInstances != "Refresh" || i.State == Standby && p.StandbyInstances != "Terminate" {
			continue
		}
		if ready(i) {
			if free < 1 {
				continue
			}
			free--
		} else if well < least {
			continue // it may yet be needed
		}
		g.terminate(i, "instance refresh", because(now, i, "an instance was taken out of service in response to an instance refresh."), now)
		replaceable--
		left--
	}
	return max(0, min(room, left, replaceable))
}

// checkpoint returns how many instances may be replaced now.
func (m *Manager) checkpoint(r *refresh, done, total int, now time.Time) int {
	p := r.order.Preferences
	for r.passed < len(p.CheckpointPercentages) {
		allowed := int(math.Ceil(float64(total*p.CheckpointPercentages[r.passed]) / 100))
		if done < allowed || allowed == total {
			return allowed
		}
		if r.until.IsZero() {
			r.until = now.Add(m.here(preference(p.CheckpointDelay, 3600)))
		}
		if now.Before(r.until) {
			return allowed
		}
		r.passed, r.until = r.passed+1, time.Time{}
	}
	return total
}

// waits says which of the old instances the refresh may not touch.
func (r *refresh) waits(old []*instance) string {
	for _, i := range old {
		if i.Protected && cmp.Or(r.order.Preferences.ScaleInProtectedInstances, "Wait") == "Wait" {
			return "Waiting for instance " + i.ID + ", which is protected from scale-in."
		}
		if i.State == Standby && cmp.Or(r.order.Preferences.StandbyInstances, "Wait") == "Wait" {
			return "Waiting for instance " + i.ID + ", which is in standby."
		}
	}
	return ""
}

// notReady says which instance of a group a refresh waits for.
func (m *Manager) notReady(g *group, ready func(*instance) bool) string {
	for _, i := range g.instances {
		if i.active() && !ready(i) {
			return fmt.Sprintf("instance %s is %s and not healthy in its target groups", i.ID, i.Lifecycle)
		}
	}
	return ""
}

// order puts what is not before what is.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// here is how long so many seconds of CloudWatch's time last.
func (m *Manager) here(seconds int) time.Duration {
	return time.Duration(seconds) * m.o.Minute / 60
}

// warmupOf is how long a new instance of a group does not count, in AWS's seconds.
func warmupOf(byDefault, grace *int32) int {
	if byDefault != nil && *byDefault >= 0 { // -1 removes it
		return int(*byDefault)
	}
	return int(aws.ToInt32(grace))
}
