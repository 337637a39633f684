package instances_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/edge/alb"
	"github.com/loadbearing/loadbearing/local/instances"
	"github.com/loadbearing/loadbearing/test/load"
)

// balanced is the local load balancer in front of what the fake cloud has
// registered, of which it hears with a delay, as the real one does.
type balanced struct {
	*alb.Server
	url string
}

func balance(t *testing.T, c *cloud) balanced {
	t.Helper()
	server := alb.NewServer(alb.Options{})
	follow := func() {
		group := alb.TargetGroup{
			ARN: targetGroup, Name: "web-blue", Protocol: alb.HTTP, Algorithm: alb.RoundRobin, DeregistrationDelay: 20 * time.Second, MinHealthyCount: 1,
			HealthCheck: alb.HealthCheck{
				Protocol: alb.HTTP, Path: contract.PathReady, Interval: 100 * time.Millisecond, Timeout: time.Second,
				HealthyThreshold: 2, UnhealthyThreshold: 2, Matcher: "200",
			},
		}
		registered := c.registered()
		for _, id := range slices.Sorted(maps.Keys(registered)) {
			group.Targets = append(group.Targets, alb.Target{ID: id, Port: int(registered[id])})
		}
		require.NoError(t, server.Apply(alb.Config{
			Listeners: []alb.Listener{{Port: 80, Protocol: alb.HTTP, Rules: []alb.Rule{{
				ARN: "default", Action: alb.Action{Forward: &alb.Forward{Groups: []alb.WeightedGroup{{ARN: targetGroup, Weight: 1}}}},
			}}}},
			TargetGroups: []alb.TargetGroup{group},
		}))
	}
	follow()
	ctx, stop := context.WithCancel(context.Background()) // until the instances have ended too
	var following sync.WaitGroup
	following.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				follow()
			}
		}
	})
	front := httptest.NewServer(server)
	t.Cleanup(func() {
		stop()
		following.Wait()
		front.Close()
		server.Close()
	})
	return balanced{server, front.URL}
}

func (b balanced) Draining(ctx context.Context, group, id string, port int) error {
	_, err := b.Wait(ctx, group, alb.Target{ID: id, Port: port}, alb.Draining, alb.Unused)
	return err
}

func (b balanced) Healthy(group, id string, port int) bool { return b.is(group, id, port, alb.Healthy) }

func (b balanced) Unhealthy(group, id string, port int) bool {
	return b.is(group, id, port, alb.Unhealthy)
}

func (b balanced) is(group, id string, port int, state alb.State) bool {
	return slices.ContainsFunc(b.Health(group), func(h alb.TargetHealth) bool { return h.ID == id && h.Port == port && h.State == state })
}

// TestNoRequestFailsWhileInstancesAreReplaced: six refreshes and a scale-in
// under constant load, of requests that are answered at once and of some that
// take longer than anything waits for.
func TestNoRequestFailsWhileInstancesAreReplaced(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 2, "TEST_VERSION=v1")
	front := balance(t, c)
	r := run(t, c, func(o *instances.Options) { o.LoadBalancer, o.Minute = front, time.Second })
	for _, i := range r.settled(t, 2) {
		require.Eventually(t, func() bool { return front.Healthy(targetGroup, i.ID, int(c.registered()[i.ID])) }, 10*time.Second, 5*time.Millisecond)
	}

	stop := make(chan struct{})
	var total load.Result
	var loading sync.WaitGroup
	loading.Go(func() {
		requests := slices.Repeat([]load.Request{{Method: http.MethodGet, URL: front.url + contract.PathVersion}}, 19)
		requests = append(requests, load.Request{Method: http.MethodGet, URL: front.url + "/slow"})
		for {
			select {
			case <-stop:
				return
			default:
			}
			result, err := load.Pace(t.Context(), requests, 200, 500*time.Millisecond)
			if err != nil {
				t.Error(err)
				return
			}
			total.Requests, total.Failed, total.Errors = total.Requests+result.Requests, total.Failed+result.Failed, append(total.Errors, result.Errors...)
		}
	})
	end := sync.OnceFunc(func() { close(stop); loading.Wait() })
	defer end()
	for _, shares := range slices.Repeat([][2]int{{100, 200}, {90, 100}, {100, 110}}, 2) {
		seen := r.refresh(instances.RefreshPreferences{MinHealthyPercentage: &shares[0], MaxHealthyPercentage: &shares[1], InstanceWarmup: new(0)})
		require.Eventually(t, func() bool { return seen().Status == "Successful" }, 30*time.Second, 5*time.Millisecond, "%v", seen)
	}
	c.desire(1)
	r.settled(t, 1)
	end()
	require.Greater(t, total.Requests, uint64(400), "the load was there")
	require.Zero(t, total.Failed, "of %d: %q", total.Requests, total.Errors)
}
