package alb

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ramped is a target group in slow start whose targets are healthy unless said.
type ramped struct {
	t      *testing.T
	server *Server
	cfg    Config

	mu   sync.Mutex
	sick string // port
}

func newRamped(t *testing.T, algorithm Algorithm, ports ...int) *ramped {
	r := &ramped{t: t, cfg: Config{
		LoadBalancer: LoadBalancer{ARN: "lb"},
		Listeners:    []Listener{{Port: 80, Rules: []Rule{{ARN: "default", Action: Action{Forward: &Forward{Groups: []WeightedGroup{{"a", 1}}}}}}}},
		TargetGroups: []TargetGroup{{
			ARN: "a", Algorithm: algorithm, SlowStart: 30 * time.Second, MinHealthyCount: 1,
			HealthCheck: HealthCheck{Protocol: HTTP, Path: "/", Interval: 5 * time.Second, Timeout: 2 * time.Second, HealthyThreshold: 2, UnhealthyThreshold: 2, Matcher: "200"},
		}},
	}}
	r.server = NewServer(Options{Check: func(_ context.Context, url string) (int, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.sick != "" && strings.HasSuffix(url, ":"+r.sick+"/") {
			return 0, errors.New("sick")
		}
		return 200, nil
	}})
	r.register(ports...)
	return r
}

func (r *ramped) register(ports ...int) {
	r.cfg.TargetGroups = append([]TargetGroup(nil), r.cfg.TargetGroups...)
	for _, port := range ports {
		r.cfg.TargetGroups[0].Targets = append(r.cfg.TargetGroups[0].Targets, Target{ID: "i-1", Port: port})
	}
	require.NoError(r.t, r.server.Apply(r.cfg))
	synctest.Wait()
}

func (r *ramped) fall(port string) {
	r.mu.Lock()
	r.sick = port
	r.mu.Unlock()
}

// picked counts by port who gets 1000 requests now.
func (r *ramped) picked() map[int]int {
	count := map[int]int{}
	for range 1000 {
		t := r.server.groups["a"].pick(func(*target) bool { return false })
		t.release()
		count[t.Port]++
	}
	return count
}

func TestSlowStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRamped(t, RoundRobin, 1, 2)
		defer r.server.Close()
		require.Equal(t, map[int]int{1: 500, 2: 500}, r.picked(), "registered with an empty group")

		time.Sleep(time.Second)
		r.register(3)
		time.Sleep(3 * time.Second) // a tenth of it
		require.InDelta(t, 1000*.1/2.1, r.picked()[3], 1)
		time.Sleep(12 * time.Second)
		got := r.picked()
		require.InDelta(t, 1000*.5/2.5, got[3], 1)
		require.InDelta(t, got[1], got[2], 1, "the rest is shared evenly")
		time.Sleep(15 * time.Second)
		require.InDelta(t, 333, r.picked()[3], 1)

		// What was unhealthy starts slowly again.
		r.fall("3")
		time.Sleep(11 * time.Second)
		require.Zero(t, r.picked()[3])
		r.fall("")
		time.Sleep(15 * time.Second)
		require.Less(t, r.picked()[3], 250)

		// Without a slow start it has its full share at once.
		r.cfg.TargetGroups[0].SlowStart = 0
		r.register()
		require.InDelta(t, 333, r.picked()[3], 1)
	})
}

func TestSlowStartNeedsAnotherTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRamped(t, RoundRobin, 1)
		defer r.server.Close()
		r.fall("1")
		time.Sleep(11 * time.Second)
		r.register(2)
		require.Equal(t, map[int]int{2: 1000}, r.picked(), "the only healthy one")
		r.fall("")
		time.Sleep(11 * time.Second)
		require.Less(t, r.picked()[1], 250)
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRamped(t, LeastOutstanding, 1)
		defer r.server.Close()
		time.Sleep(time.Second)
		r.register(2)
		require.InDelta(t, 500, r.picked()[2], 1, "not with least outstanding requests")
	})
}
