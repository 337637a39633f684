package alb_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadbearing/loadbearing/local/edge/alb"
)

// checks answers health checks by host and port, as told.
type checks struct {
	mu     sync.Mutex
	status map[string]int // 0 is no answer
	made   int
}

func (c *checks) set(hostport string, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status[hostport] = status
}

func (c *checks) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made
}

func (c *checks) check(_ context.Context, url string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	hostport, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	if status := c.status[hostport]; status != 0 {
		return status, nil
	}
	return 0, errors.New("connection refused")
}

// In each bubble time stands still until everything waits, so the second a
// transition happens in is exact.
func TestHealthTransitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &checks{status: map[string]int{}}
		s := alb.NewServer(alb.Options{Check: c.check})
		defer s.Close()
		group := targetGroup("a", 0, alb.Target{ID: "i-1", Port: 1001})
		group.HealthCheck = alb.HealthCheck{
			Protocol: alb.HTTP, Path: "/readyz", Interval: 10 * time.Second, Timeout: 2 * time.Second,
			HealthyThreshold: 3, UnhealthyThreshold: 2, Matcher: "200",
		}
		apply(t, s, config(forwardTo("a"), group))
		state := func() alb.TargetHealth {
			t.Helper()
			synctest.Wait()
			list := s.Health("a")
			if len(list) != 1 {
				t.Fatalf("health: %+v, want one target", list)
			}
			return list[0]
		}
		want := func(state alb.State, got alb.TargetHealth) {
			t.Helper()
			if got.State != state {
				t.Fatalf("after %s: state %s (%s), want %s", time.Since(got.Since), got.State, got.Reason, state)
			}
		}

		want(alb.Initial, state()) // the first check failed at once
		if n := c.count(); n != 1 {
			t.Fatalf("%d checks at the start, want 1", n)
		}
		time.Sleep(10 * time.Second)
		want(alb.Unhealthy, state()) // the second
		if r := state().Reason; r != alb.ReasonFailed {
			t.Errorf("reason %s, want %s", r, alb.ReasonFailed)
		}

		c.set("127.0.0.1:1001", 200)
		time.Sleep(20 * time.Second)
		want(alb.Unhealthy, state()) // two successes of three
		time.Sleep(10 * time.Second)
		want(alb.Healthy, state())

		c.set("127.0.0.1:1001", 503)
		time.Sleep(10 * time.Second)
		want(alb.Healthy, state())
		time.Sleep(10 * time.Second)
		want(alb.Unhealthy, state())
		if got := state(); got.Reason != alb.ReasonMismatch || !strings.Contains(got.Description, "503") {
			t.Errorf("reason %s %q, want %s with the code", got.Reason, got.Description, alb.ReasonMismatch)
		}
	})
}

func TestNewTargetNeedsOneSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &checks{status: map[string]int{"127.0.0.1:1001": 200}}
		s := alb.NewServer(alb.Options{Check: c.check})
		defer s.Close()
		group := targetGroup("a", 0, alb.Target{ID: "i-1", Port: 1001})
		group.HealthCheck.HealthyThreshold = 5
		apply(t, s, config(forwardTo("a"), group))
		started := time.Now()
		health, err := s.Wait(t.Context(), "a", alb.Target{ID: "i-1", Port: 1001}, alb.Healthy)
		if err != nil || health.State != alb.Healthy {
			t.Fatalf("%+v, %v", health, err)
		}
		if d := time.Since(started); d != 0 {
			t.Errorf("healthy after %s, want at the first check", d)
		}
	})
}

func TestCheckTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := alb.NewServer(alb.Options{Check: func(ctx context.Context, _ string) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}})
		defer s.Close()
		apply(t, s, config(forwardTo("a"), targetGroup("a", 0, alb.Target{ID: "i-1", Port: 1001})))
		health, err := s.Wait(t.Context(), "a", alb.Target{ID: "i-1", Port: 1001}, alb.Unhealthy)
		if err != nil || health.Reason != alb.ReasonTimeout {
			t.Fatalf("%+v, %v: want %s", health, err, alb.ReasonTimeout)
		}
	})
}

func TestWaitSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &checks{status: map[string]int{}}
		s := alb.NewServer(alb.Options{Check: c.check})
		defer s.Close()
		apply(t, s, config(forwardTo("a"), targetGroup("a", 0, alb.Target{ID: "i-1", Port: 1001})))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.Wait(ctx, "a", alb.Target{ID: "i-1", Port: 1001}, alb.Healthy)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error %v: want the deadline and the reason of the target's state", err)
		}
		if h, err := s.Wait(ctx, "a", alb.Target{ID: "i-2", Port: 1}, alb.Unused); err != nil || h.State != alb.Unused {
			t.Errorf("a target never registered: %+v, %v", h, err)
		}
	})
}

// With no healthy target requests go to all of them; as soon as one is
// healthy, only to that one.
func TestFailOpen(t *testing.T) {
	t.Parallel()
	one, two := backend(t, "one"), backend(t, "two")
	c := &checks{status: map[string]int{}}
	s := server(t, alb.Options{Check: c.check})
	group := targetGroup("a", 0, one.target, two.target)
	group.HealthCheck.Interval = 10 * time.Millisecond
	apply(t, s, config(forwardTo("a"), group))
	for _, b := range []*testBackend{one, two} {
		wait(t, s, b.target, alb.Unhealthy)
	}
	if got := served(t, s, 10); got["one"] != 5 || got["two"] != 5 {
		t.Errorf("all unhealthy: %v, want both to serve alike", got)
	}
	c.set(two.hostport, 200)
	wait(t, s, two.target, alb.Healthy)
	if got := served(t, s, 10); got["two"] != 10 {
		t.Errorf("one healthy: %v, want it to serve all", got)
	}
}

func TestFailOpenBelowMinimum(t *testing.T) {
	t.Parallel()
	one, two := backend(t, "one"), backend(t, "two")
	c := &checks{status: map[string]int{one.hostport: 200}}
	s := server(t, alb.Options{Check: c.check})
	group := targetGroup("a", 0, one.target, two.target)
	group.HealthCheck.Interval = 10 * time.Millisecond
	group.MinHealthyPercent = 60
	apply(t, s, config(forwardTo("a"), group))
	wait(t, s, one.target, alb.Healthy)
	wait(t, s, two.target, alb.Unhealthy)
	if got := served(t, s, 10); got["two"] != 5 {
		t.Errorf("half of the targets healthy where 60 %% are asked for: %v, want all to serve", got)
	}
}

// The default check, over HTTP.
func TestRealHealthCheck(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 16)
	b := backendFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			select {
			case seen <- r:
			default:
			}
			w.Header().Set("Location", "/elsewhere") // is not followed
			w.WriteHeader(http.StatusFound)
		}
	})
	s := server(t, alb.Options{Check: nil})
	group := targetGroup("a", 0, b.target)
	group.HealthCheck.Path, group.HealthCheck.Matcher = "/readyz", "302"
	apply(t, s, config(forwardTo("a"), group))
	wait(t, s, b.target, alb.Healthy)
	if agent := (<-seen).UserAgent(); agent != "ELB-HealthChecker/2.0" {
		t.Errorf("User-Agent %q", agent)
	}
}

func TestUnknownAddressIsUnhealthy(t *testing.T) {
	t.Parallel()
	s := server(t, alb.Options{Resolver: func(string) (string, bool) { return "", false }})
	group := targetGroup("a", 0, alb.Target{ID: "i-1", Port: 1})
	group.HealthCheck.Interval = time.Millisecond
	apply(t, s, config(forwardTo("a"), group))
	wait(t, s, alb.Target{ID: "i-1", Port: 1}, alb.Unhealthy)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusBadGateway {
		t.Errorf("status %d, want 502", w.Code)
	}
}
