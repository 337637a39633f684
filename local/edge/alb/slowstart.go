package alb

import (
	"sync"
	"sync/atomic"
	"time"
)

// ramp shares out requests while a target is in slow start.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#slow-start-mode
type ramp struct {
	until atomic.Int64 // when the last slow start ends, in Unix ns
	mu    sync.Mutex   // guards the credit of targets
}

// choose is round robin with weights: every target earns its share, and the one
// with the most pays for the request. A target's requests are spread evenly, and
// a share of nearly 0 gets nearly none.
func (r *ramp) choose(list []*target, now time.Time) *target {
	r.mu.Lock()
	defer r.mu.Unlock()
	var total float64
	best := list[0]
	for _, t := range list {
		share := t.share(now)
		total += share
		t.credit += share
		if t.credit > best.credit {
			best = t
		}
	}
	best.credit -= total
	return best
}

// share is a target's part of a full share: less than 1 in slow start.
func (t *target) share(now time.Time) float64 {
	began, duration := t.ramping.Load(), t.group.settings.Load().SlowStart
	if began == 0 || duration <= 0 {
		return 1
	}
	return min(1, float64(now.UnixNano()-began)/float64(duration))
}

// startSlowly puts a target that has turned healthy in slow start. Those that
// came into an empty group are not, and neither is one without a healthy other
// that has its full share already. server.mu is held.
func (t *target) startSlowly(now time.Time) {
	g := t.group
	cfg := g.settings.Load()
	if cfg.SlowStart <= 0 || cfg.Algorithm == LeastOutstanding || cfg.Algorithm == WeightedRandom || t.first {
		return
	}
	for _, other := range g.targets {
		if other != t && other.state == Healthy && other.share(now) >= 1 {
			t.ramping.Store(now.UnixNano())
			g.ramp.until.Store(max(g.ramp.until.Load(), now.Add(cfg.SlowStart).UnixNano()))
			g.ramp.mu.Lock()
			t.credit = 0
			g.ramp.mu.Unlock()
			return
		}
	}
}
