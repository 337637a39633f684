package instances_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/instances"
)

// refresh asks for an instance refresh and returns what tells how far it is.
func (r *running) refresh(preferences instances.RefreshPreferences) func() instances.RefreshReport {
	id := fmt.Sprint("refresh-", time.Now().UnixNano())
	r.cloud.with(func() {
		r.cloud.orders.Refresh = &instances.RefreshOrder{InstanceRefreshID: id, Status: "Pending", StartTime: time.Now(), Preferences: preferences}
	})
	return func() (progress instances.RefreshReport) {
		r.cloud.with(func() { progress = r.cloud.progress[id] })
		return progress
	}
}

// TestARefreshKeepsItsHealthyShare: at no moment fewer healthy instances than
// the minimum, nor more instances than the maximum, whatever rounding leaves.
func TestARefreshKeepsItsHealthyShare(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		desired               int
		least, most           *int
		healthy, fewest, peak int // least healthy, and least and most instances, at any moment
	}{
		{2, new(100), new(200), 2, 2, 4},
		{2, new(100), new(110), 2, 2, 3}, // one more, although 2.2 rounds down
		{4, new(100), new(150), 4, 4, 6},
		{2, nil, nil, 1, 1, 2}, // 90 and 100: one at a time, although 1.8 rounds up
		{4, new(50), new(100), 2, 2, 4},
		{3, new(50), new(150), 2, 3, 4},
		{1, new(0), new(100), 0, 0, 1},
	} {
		name := fmt.Sprintf("%d instances, 90 to 100 percent", test.desired)
		if test.least != nil {
			name = fmt.Sprintf("%d instances, %d to %d percent", test.desired, *test.least, *test.most)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, test.desired, "TEST_VERSION=v1")
			lb := newHealth()
			r := run(t, c, func(o *instances.Options) { o.LoadBalancer, o.Minute = lb, time.Second })
			old := lb.settledOn(t, r, test.desired)
			c.with(func() { c.templates[0] = environ("TEST_VERSION=v2") })
			seen := r.refresh(instances.RefreshPreferences{MinHealthyPercentage: test.least, MaxHealthyPercentage: test.most, InstanceWarmup: new(1)})
			fewest, peak, healthy := test.desired, 0, test.desired
			require.Eventually(t, func() bool {
				active, well := 0, 0
				for _, i := range r.Instances() {
					if i.State == instances.Pending || i.State == instances.InService {
						active++
					}
					if i.State == instances.InService && lb.Healthy("", i.ID, 0) {
						well++
					}
				}
				fewest, peak, healthy = min(fewest, active), max(peak, active), min(healthy, well)
				return seen().Status == "Successful"
			}, 30*time.Second, time.Millisecond)
			require.GreaterOrEqual(t, healthy, test.healthy)
			require.GreaterOrEqual(t, fewest, test.fewest)
			require.LessOrEqual(t, peak, test.peak)
			if test.peak > test.desired {
				require.Equal(t, test.peak, peak, "the room is used")
			}
			require.Equal(t, []int{100, 0}, []int{seen().PercentageComplete, seen().InstancesToUpdate})
			for _, i := range r.settled(t, test.desired) {
				require.Equal(t, "v2", i.Version)
				for _, o := range old {
					require.NotEqual(t, o.ID, i.ID)
				}
			}
			for _, a := range c.ended()[test.desired:] {
				require.Contains(t, a.Cause, "in response to an instance refresh.")
			}
		})
	}
}

// health is a load balancer that finds a target healthy a while after it is
// asked for the first time, unless it is told not to.
type health struct {
	mu    sync.Mutex
	asked map[string]time.Time
	never bool // those that come from now on
	bad   map[string]bool
}

func newHealth() *health { return &health{asked: map[string]time.Time{}, bad: map[string]bool{}} }

func (h *health) Healthy(_, id string, _ int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked[id].IsZero() {
		h.asked[id], h.bad[id] = time.Now(), h.never
	}
	return !h.bad[id] && time.Since(h.asked[id]) > 50*time.Millisecond
}

func (h *health) Unhealthy(string, string, int) bool { return false }

func (h *health) Draining(context.Context, string, string, int) error { return nil }

// settledOn waits until so many instances are healthy.
func (h *health) settledOn(t *testing.T, r *running, n int) []instances.Instance {
	t.Helper()
	serving := r.settled(t, n)
	for _, i := range serving {
		require.Eventually(t, func() bool { return h.Healthy("", i.ID, 0) }, 5*time.Second, time.Millisecond)
	}
	return serving
}

func TestARefreshWhoseInstancesNeverBecomeHealthyFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environment string
		unhealthy   bool
		reason      string
	}{
		"in its target group": {"TEST_VERSION=v2", true, "is InService and not healthy in its target groups"},
		"at its start":        {"TEST_EXIT=3", false, "it ended by itself before it was ready"},
		"at its boot":         {"TEST_NEVER_READY=1", false, "is Pending and not healthy in its target groups"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, lb := newCloud(t, 2, "TEST_VERSION=v1"), newHealth()
			r := run(t, c, func(o *instances.Options) { o.LoadBalancer, o.Minute = lb, 10*time.Millisecond }) // an hour is 600 ms
			old := lb.settledOn(t, r, 2)
			lb.mu.Lock()
			lb.never = test.unhealthy
			lb.mu.Unlock()
			c.with(func() { c.templates[0] = environ(test.environment) })
			seen := r.refresh(instances.RefreshPreferences{MinHealthyPercentage: new(100), MaxHealthyPercentage: new(200)})
			require.Eventually(t, func() bool { return seen().Status == "Failed" }, 20*time.Second, time.Millisecond)
			require.Contains(t, seen().StatusReason, "0 of 2 instances were replaced, and no further one within 600ms: ")
			require.Contains(t, seen().StatusReason, test.reason)
			require.Equal(t, []int{0, 2}, []int{seen().PercentageComplete, seen().InstancesToUpdate})
			require.NotEmpty(t, seen().EndTime)
			for n, i := range r.settled(t, 2) { // by launch
				require.Equal(t, old[n].ID, i.ID, "the old ones serve, and nothing else is left")
			}
			require.Empty(t, r.Problems())
		})
	}
}

func TestARefreshIsCancelledAndAnotherPutsTheOldBack(t *testing.T) {
	t.Parallel()
	c, lb := newCloud(t, 4, "TEST_VERSION=v1"), newHealth()
	r := run(t, c, func(o *instances.Options) { o.LoadBalancer, o.Minute = lb, time.Second })
	lb.settledOn(t, r, 4)
	c.with(func() { c.templates[0] = environ("TEST_VERSION=v2") })
	seen := r.refresh(instances.RefreshPreferences{
		MinHealthyPercentage: new(100), MaxHealthyPercentage: new(200), InstanceWarmup: new(0), CheckpointPercentages: []int{25, 100},
	})
	require.Eventually(t, func() bool { return seen().PercentageComplete == 25 }, 20*time.Second, time.Millisecond)
	require.Contains(t, seen().StatusReason, "Waiting at the checkpoint of 25% until ")
	require.Equal(t, 3, seen().InstancesToUpdate)
	c.with(func() { c.orders.Refresh.Status = "Cancelling" })
	require.Eventually(t, func() bool { return seen().Status == "Cancelled" }, 20*time.Second, time.Millisecond)
	versions := map[string]int{}
	for _, i := range r.settled(t, 4) {
		versions[i.Version]++
	}
	require.Equal(t, map[string]int{"v1": 3, "v2": 1}, versions, "what was replaced stays so")

	c.with(func() { c.templates[0] = environ("TEST_VERSION=v1") })
	seen = r.refresh(instances.RefreshPreferences{MinHealthyPercentage: new(100), MaxHealthyPercentage: new(200), InstanceWarmup: new(0)})
	require.Eventually(t, func() bool { return seen().Status == "Successful" }, 20*time.Second, time.Millisecond)
	for _, i := range r.settled(t, 4) {
		require.Equal(t, "v1", i.Version)
	}
}

func TestACheckpointHoldsARefreshForItsDelay(t *testing.T) {
	t.Parallel()
	c, lb := newCloud(t, 2, "TEST_VERSION=v1"), newHealth()
	r := run(t, c, func(o *instances.Options) { o.LoadBalancer, o.Minute = lb, time.Second })
	lb.settledOn(t, r, 2)
	seen := r.refresh(instances.RefreshPreferences{
		MinHealthyPercentage: new(100), MaxHealthyPercentage: new(200), InstanceWarmup: new(0),
		CheckpointPercentages: []int{50}, CheckpointDelay: new(30), // half a second
	})
	require.Eventually(t, func() bool { return seen().PercentageComplete == 50 }, 20*time.Second, time.Millisecond)
	half := time.Now()
	require.Eventually(t, func() bool { return seen().Status == "Successful" }, 20*time.Second, time.Millisecond)
	require.Greater(t, time.Since(half), 400*time.Millisecond)
}

func TestARefreshHeedsScaleInProtection(t *testing.T) {
	t.Parallel()
	for choice, status := range map[string]string{"": "Failed", "Wait": "Failed", "Ignore": "Successful", "Refresh": "Successful"} {
		t.Run("choice "+choice, func(t *testing.T) {
			t.Parallel()
			c, lb := newCloud(t, 2, "TEST_VERSION=v1"), newHealth()
			r := run(t, c, func(o *instances.Options) {
				o.LoadBalancer, o.Minute = lb, time.Second
				if status == "Failed" {
					o.Minute = 10 * time.Millisecond
				}
			})
			protected := lb.settledOn(t, r, 2)[0].ID
			c.describe(types.Instance{InstanceId: &protected, ProtectedFromScaleIn: aws.Bool(true)})
			require.Eventually(t, func() bool { return r.instance(protected).Protected }, 5*time.Second, time.Millisecond)
			seen := r.refresh(instances.RefreshPreferences{
				MinHealthyPercentage: new(100), MaxHealthyPercentage: new(200), InstanceWarmup: new(0), ScaleInProtectedInstances: choice,
			})
			require.Eventually(t, func() bool { return seen().Status == status }, 20*time.Second, time.Millisecond, "%v", seen)
			if status == "Failed" {
				require.Contains(t, seen().StatusReason, "Waiting for instance "+protected+", which is protected from scale-in.")
			}
			r.settled(t, 2)
			require.Equal(t, choice != "Refresh", r.instance(protected).State == instances.InService)
		})
	}
}

// instance is one of them.
func (r *running) instance(id string) instances.Instance {
	for _, i := range r.Instances() {
		if i.ID == id {
			return i
		}
	}
	return instances.Instance{}
}
