// Package loadbalancing is the drill of concept 1: a fleet behind a load balancer
// holds ten thousand connections, and the death of an instance costs what was on
// it and nothing after.
package loadbalancing

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/load"
)

// Drill returns the drill.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "load-balancing",
		Summary: "ten thousand connections are held and served; an instance that dies costs the requests on it, and no session",
		Parts: []drill.Part{
			{Name: "connections", Summary: "clients connect and stay, and are all served", Limit: 6 * time.Minute, Run: connections},
			{Name: "kill", Summary: "kill -9 of an instance under load", Limit: 6 * time.Minute, Run: kill},
		},
	}
}

// fleet is how many instances there are, at least.
const fleet = 3

// grow gives the fleet its size, until restore, and waits until all of it is
// healthy.
func grow(ctx context.Context, r *drill.Run) (restore func(), err error) {
	back, err := r.Resize(ctx, contract.FleetWeb, contract.ColorBlue, fleet)
	if err != nil {
		return nil, err
	}
	restore = func() {
		if err := back(context.WithoutCancel(ctx)); err != nil {
			r.Check(false, "the fleet has not its size again: %v", err)
		}
	}
	if err := healthy(ctx, r, fleet); err != nil {
		restore()
		return nil, err
	}
	return restore, nil
}

// kill: an instance dies under load. What fails is what reaches it until the
// load balancer knows, its replacement serves soon, and a session that began on
// it goes on.
func kill(ctx context.Context, r *drill.Run) error {
	restore, err := grow(ctx, r)
	if err != nil {
		return err
	}
	defer restore()
	known, err := arithmetic(ctx, r)
	if err != nil {
		return err
	}
	status, err := r.Status()
	if err != nil {
		return err
	}
	times := drill.Sized(r, 1, 5)
	var most, window, back time.Duration
	failed, onIt, requests := 0, 0, 0
	for range times {
		tenant, err := drill.NewTenant(ctx, status.EdgeURL, "Load balancing")
		if err != nil {
			return err
		}
		began, err := servedBy(ctx, tenant)
		if err != nil {
			return err
		}
		l := begin(ctx, status.EdgeURL, tenant.CookieHeader("/v1/me"))
		if err := drill.Await(ctx, "requests are answered", func(context.Context) (bool, error) { return l.count() > 40, nil }); err != nil {
			return err
		}
		victim, err := instance(r, began)
		if err != nil {
			return err
		}
		r.Say("kill -9 of %s (pid %d), on which a session began", victim.ID, victim.PID)
		at := time.Now()
		if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s (pid %d): %w", victim.ID, victim.PID, err)
		}
		if _, err := r.AwaitStatus(ctx, "the killed instance is replaced", func(s local.Status) bool {
			serving := 0
			for _, i := range drill.Instances(s, contract.FleetWeb, contract.ColorBlue) {
				if i.State == "in-service" && i.ID != victim.ID {
					serving++
				}
			}
			return serving == fleet
		}); err != nil {
			return err
		}
		back = max(back, time.Since(at))
		if err := healthy(ctx, r, fleet); err != nil {
			return err
		}
		// The same session, on whoever is left.
		if _, err := servedBy(ctx, tenant); err != nil {
			r.Check(false, "the session that began on the killed instance does not go on: %v", err)
		}
		seen, err := l.stop()
		if err != nil {
			return err
		}
		requests += len(seen)
		for _, a := range seen {
			if a.Failed() {
				failed++
				// A request that was on the instance when it died was sent before.
				if a.At.Before(at) {
					onIt++
				}
				window = max(window, a.At.Sub(at))
			}
			most = max(most, a.Latency)
		}
	}
	r.Figure("kill_times", times)
	r.Figure("kill_requests", requests)
	r.Figure("kill_requests_failed", failed)
	r.Figure("kill_requests_failed_in_flight", onIt)
	r.Figure("kill_last_failure_seconds_after", window.Seconds())
	r.Figure("kill_health_check_arithmetic_seconds", known.Seconds())
	r.Figure("kill_replaced_seconds", back.Seconds())
	r.Check(window <= known, "a request failed %v after the instance died; its health check knows after %v", window, known)
	r.Check(back <= 5*time.Second, "the replacement was in service after %v", back)
	return nil
}

// arithmetic is after how long the load balancer knows at the latest that a
// target is dead: so many checks in a row, an interval apart, and the last one's
// timeout.
func arithmetic(ctx context.Context, r *drill.Run) (time.Duration, error) {
	t, err := r.Releases().Target(ctx)
	if err != nil {
		return 0, err
	}
	out, err := elb.NewFromConfig(r.AWS).DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{TargetGroupArns: []string{t.Colors[contract.ColorBlue].TargetGroup}})
	if err != nil || len(out.TargetGroups) != 1 {
		return 0, fmt.Errorf("read the target group: %w", err)
	}
	g := out.TargetGroups[0]
	return time.Duration(aws.ToInt32(g.UnhealthyThresholdCount))*time.Duration(aws.ToInt32(g.HealthCheckIntervalSeconds))*time.Second +
		time.Duration(aws.ToInt32(g.HealthCheckTimeoutSeconds))*time.Second, nil
}

// healthy waits until so many targets are.
func healthy(ctx context.Context, r *drill.Run, n int) error {
	return drill.Await(ctx, fmt.Sprintf("%d targets are healthy", n), func(ctx context.Context) (bool, error) {
		v, err := r.Releases().View(ctx)
		return v.Colors[contract.ColorBlue].Healthy == n && v.Colors[contract.ColorBlue].Targets == n, err
	})
}

// servedBy returns the id of the instance that answers a session's request.
func servedBy(ctx context.Context, t *drill.Tenant) (string, error) {
	res, err := t.Do(ctx, http.MethodGet, "/v1/me", nil, nil)
	if err != nil {
		return "", err
	}
	id, _, _ := api.ServedBy(res.Header)
	return id, res.Decode(http.StatusOK, nil)
}

func instance(r *drill.Run, id string) (local.Instance, error) {
	s, err := r.Status()
	if err != nil {
		return local.Instance{}, err
	}
	for _, i := range s.Instances {
		if i.ID == id && i.PID > 1 {
			return i, nil
		}
	}
	return local.Instance{}, fmt.Errorf("instance %s is not among %d that run", id, len(s.Instances))
}

// burst is a load and what became of it.
type burst struct {
	cancel context.CancelFunc
	ended  chan error

	mu   sync.Mutex
	seen []load.Answer
}

// begin sends 100 requests a second until stop.
func begin(ctx context.Context, edge, cookie string) *burst {
	ctx, cancel := context.WithCancel(ctx)
	b := &burst{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		b.ended <- load.Constant(ctx, 100, func() load.Request {
			return load.Request{Method: http.MethodGet, URL: edge + "/v1/me", Header: http.Header{"Cookie": {cookie}}}
		}, func(a load.Answer) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.seen = append(b.seen, a)
		})
	}()
	return b
}

func (b *burst) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

func (b *burst) stop() ([]load.Answer, error) {
	b.cancel()
	err := <-b.ended
	return b.seen, err
}
