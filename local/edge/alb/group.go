package alb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// errDeregistered ends the requests of a target whose deregistration delay is over.
var errDeregistered = errors.New("the deregistration delay of the target is over")

// group is a target group at work. It lives on when its settings change, so
// that health and requests in flight survive a reload.
type group struct {
	arn    string
	server *Server

	settings atomic.Pointer[settings]
	serving  atomic.Pointer[[]*target] // those a request may go to now
	next     atomic.Uint64             // round robin
	ramp     ramp                      // slow start
	counters

	// Guarded by server.mu.
	targets  map[Target]*target // registered
	draining map[*target]struct{}
}

// settings are what a request or a health check needs of a TargetGroup.
type settings struct {
	TargetGroup
	matcher matcher
	scheme  string
}

// target is one registration of a target. Registered anew, it is a new one.
type target struct {
	Target
	group   *group
	ctx     context.Context // ends when its requests must end
	cancel  context.CancelCauseFunc
	stop    context.CancelFunc // of its health checks
	address atomic.Pointer[string]

	inFlight  atomic.Int64
	leaving   atomic.Bool // deregistered
	idle      chan struct{}
	closeIdle sync.Once

	// Guarded by server.mu.
	state       State
	reason      string
	description string
	since       time.Time
	successes   int  // consecutive
	failures    int  // consecutive
	first       bool // registered when the group was empty

	ramping atomic.Int64 // when its slow start began, in Unix ns; 0 is not in slow start
	credit  float64      // guarded by group.ramp.mu
}

func newGroup(s *Server, arn string) *group {
	g := &group{arn: arn, server: s, targets: map[Target]*target{}, draining: map[*target]struct{}{}}
	g.serving.Store(&[]*target{})
	return g
}

// update takes over settings and registered targets. server.mu is held.
func (g *group) update(cfg *settings) {
	g.settings.Store(cfg)
	// New ones first: when all are replaced, requests find one at any moment.
	empty := len(g.targets) == 0
	for _, t := range cfg.Targets {
		if g.targets[t] == nil {
			g.register(t).first = empty
		}
	}
	for t, running := range g.targets {
		if !slices.Contains(cfg.Targets, t) {
			g.deregister(running)
		}
	}
	g.rebuild()
}

// register adds a target and starts its health checks. server.mu is held.
func (g *group) register(reg Target) *target {
	t := &target{
		Target: reg, group: g, idle: make(chan struct{}), since: time.Now(),
		state: Initial, reason: ReasonChecking, description: "Initial health checks in progress",
	}
	t.ctx, t.cancel = context.WithCancelCause(g.server.ctx)
	var checks context.Context
	checks, t.stop = context.WithCancel(t.ctx)
	t.resolve()
	g.targets[reg] = t
	g.server.running.Go(func() { g.check(checks, t) })
	g.server.log.Info("target registered", "group", g.name(), "target", t.ID, "port", t.Port)
	return t
}

// deregister takes a target out of service at once and lets it finish what it
// has, for the deregistration delay at most. server.mu is held.
func (g *group) deregister(t *target) {
	delete(g.targets, t.Target)
	g.draining[t] = struct{}{}
	t.stop()
	t.set(Draining, ReasonDraining, "Target deregistration is in progress")
	t.leaving.Store(true)
	if t.inFlight.Load() == 0 {
		t.drained()
	}
	delay := g.settings.Load().DeregistrationDelay
	g.server.running.Go(func() {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-t.idle:
		case <-timer.C:
			g.server.log.Warn("deregistration delay is over with requests in flight",
				"group", g.name(), "target", t.ID, "port", t.Port, "in_flight", t.inFlight.Load())
		case <-t.ctx.Done():
		}
		t.cancel(errDeregistered)
		g.server.mu.Lock()
		defer g.server.mu.Unlock()
		delete(g.draining, t)
		t.set(Unused, ReasonNotRegistered, "Target is not registered to the target group")
	})
}

// rebuild works out which targets receive requests: the healthy ones, or all
// of them when fewer are healthy than the group asks for ("fail open").
// server.mu is held.
func (g *group) rebuild() {
	cfg := g.settings.Load()
	var all, healthy []*target
	for _, t := range g.targets {
		all = append(all, t)
		if t.state == Healthy {
			healthy = append(healthy, t)
		}
	}
	if len(healthy) == 0 || len(healthy) < cfg.MinHealthyCount || len(healthy)*100 < cfg.MinHealthyPercent*len(all) {
		healthy = all
	}
	slices.SortFunc(healthy, func(a, b *target) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Port, b.Port))
	})
	g.serving.Store(&healthy)
}

// pick chooses a target by the group's algorithm and counts a request on it.
// It returns nil when none is registered. preferred, when it is in service,
// comes before the algorithm.
func (g *group) pick(preferred func(*target) bool) *target {
	for {
		list := *g.serving.Load()
		if len(list) == 0 {
			return nil
		}
		var t *target
		if i := slices.IndexFunc(list, preferred); i >= 0 {
			t = list[i]
		} else {
			t = g.choose(list)
		}
		t.inFlight.Add(1)
		if !t.leaving.Load() {
			return t
		}
		// Deregistered since the list was read; the next one is without it.
		t.release()
	}
}

func (g *group) choose(list []*target) *target {
	switch g.settings.Load().Algorithm {
	case LeastOutstanding:
		// Starting at a different one each time spreads the ties.
		start := int(g.next.Add(1) % uint64(len(list)))
		least := list[start]
		for i := range list {
			if t := list[(start+i)%len(list)]; t.inFlight.Load() < least.inFlight.Load() {
				least = t
			}
		}
		return least
	case WeightedRandom:
		return list[g.server.intN(len(list))]
	default:
		if now := time.Now(); now.UnixNano() < g.ramp.until.Load() {
			return g.ramp.choose(list, now)
		}
		return list[(g.next.Add(1)-1)%uint64(len(list))]
	}
}

// check runs the health checks of a target until ctx ends.
func (g *group) check(ctx context.Context, t *target) {
	for {
		started := time.Now()
		cfg := g.settings.Load()
		reason, description := g.checkOnce(ctx, cfg, t)
		if ctx.Err() != nil {
			return
		}
		g.server.mu.Lock()
		t.observe(cfg.HealthCheck, reason, description)
		g.server.mu.Unlock()

		wait := time.NewTimer(max(0, cfg.HealthCheck.Interval-time.Since(started)))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// checkOnce returns why the check failed, or an empty reason.
func (g *group) checkOnce(ctx context.Context, cfg *settings, t *target) (reason, description string) {
	host, ok := t.resolve()
	if !ok {
		return ReasonFailed, "Health checks failed: the target's address is not known"
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.HealthCheck.Timeout)
	defer cancel()
	status, err := g.server.check(ctx, cfg.HealthCheck.url(host, t.Port))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout, "Request timed out"
	case err != nil:
		return ReasonFailed, "Health checks failed: " + err.Error()
	case !cfg.matcher.match(status):
		return ReasonMismatch, fmt.Sprintf("Health checks failed with these codes: [%d]", status)
	}
	return "", ""
}

// observe takes one result into account. A target newly registered needs one
// success to be in service, one that was unhealthy the healthy threshold.
// server.mu is held.
func (t *target) observe(h HealthCheck, reason, description string) {
	if t.leaving.Load() {
		return
	}
	if reason == "" {
		t.successes, t.failures = t.successes+1, 0
		if t.state == Initial || t.state == Unhealthy && t.successes >= h.HealthyThreshold {
			t.set(Healthy, "", "")
		}
		return
	}
	t.successes, t.failures = 0, t.failures+1
	if t.state != Unhealthy && t.failures >= h.UnhealthyThreshold {
		t.set(Unhealthy, reason, description)
	}
}

// set changes the state and tells who waits for it. server.mu is held.
func (t *target) set(state State, reason, description string) {
	log := t.group.server.log.Info
	if state == Unhealthy {
		log = t.group.server.log.Warn
	}
	log("target is "+string(state), "group", t.group.name(), "target", t.ID, "port", t.Port,
		"was", t.state, "reason", reason, "description", description)
	now := time.Now()
	t.state, t.reason, t.description, t.since = state, reason, description, now
	if state == Healthy {
		t.startSlowly(now)
	} else {
		t.ramping.Store(0)
		t.first = false
	}
	t.group.rebuild()
	t.group.server.broadcast()
}

// resolve looks up where the target listens.
func (t *target) resolve() (host string, ok bool) {
	host, ok = t.group.server.resolver(t.ID)
	if !ok {
		t.address.Store(nil)
		return "", false
	}
	address := net.JoinHostPort(host, strconv.Itoa(t.Port))
	if old := t.address.Load(); old == nil || *old != address {
		t.address.Store(&address)
	}
	return host, true
}

// release ends a request that pick counted.
func (t *target) release() {
	if t.inFlight.Add(-1) == 0 && t.leaving.Load() {
		t.drained()
	}
}

func (t *target) drained() { t.closeIdle.Do(func() { close(t.idle) }) }

func (t *target) health() TargetHealth {
	return TargetHealth{
		Target: t.Target, State: t.state, Reason: t.reason, Description: t.description,
		Since: t.since, InFlight: int(t.inFlight.Load()),
	}
}

// health lists the targets, those that drain included, by id and port.
// server.mu is held.
func (g *group) health() []TargetHealth {
	var list []TargetHealth
	for _, t := range g.targets {
		list = append(list, t.health())
	}
	for t := range g.draining {
		list = append(list, t.health())
	}
	slices.SortFunc(list, func(a, b TargetHealth) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Port, b.Port), cmp.Compare(a.State, b.State))
	})
	return list
}

func (g *group) name() string { return g.settings.Load().Name }
