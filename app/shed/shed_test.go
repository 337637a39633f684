package shed_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/shed"
)

// setup is a dependency that serves some requests at once, each for a while,
// and a limiter before it. It lives in a bubble of synctest: the times are exact.
type setup struct {
	limiter *shed.Limiter // nil lets everything through
	slots   chan struct{}
	hold    time.Duration
	log     *bytes.Buffer
	metrics *prometheus.Registry

	mu      sync.Mutex
	served  [2][]time.Duration // how long each took, by class
	refused [2][]time.Duration
}

func newSetup(t *testing.T) (s *setup, stop func()) {
	t.Helper()
	const slots = 16
	s = &setup{slots: make(chan struct{}, slots), hold: 20 * time.Millisecond, log: &bytes.Buffer{}, metrics: prometheus.NewRegistry()}
	var err error
	s.limiter, err = shed.New(shed.Options{Least: slots, Log: slog.New(slog.NewTextHandler(s.log, nil)), Metrics: s.metrics})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go s.limiter.Run(ctx)
	return s, cancel
}

// capacity in requests a second.
func (s *setup) capacity() float64 { return float64(cap(s.slots)) / s.hold.Seconds() }

func (s *setup) request(ctx context.Context, class shed.Class) {
	begin := time.Now()
	record := func(to *[2][]time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		to[class] = append(to[class], time.Since(begin))
	}
	if s.limiter != nil {
		permit, err := s.limiter.Acquire(ctx, class)
		if err != nil {
			record(&s.refused)
			return
		}
		defer permit.Record()
	}
	s.slots <- struct{}{}
	time.Sleep(s.hold)
	<-s.slots
	record(&s.served)
}

// offer sends rate requests a second for some time, whatever becomes of them, of
// which every tenth continues something, and returns when all have ended.
func (s *setup) offer(ctx context.Context, rate float64, long time.Duration) {
	s.served, s.refused = [2][]time.Duration{}, [2][]time.Duration{}
	var all sync.WaitGroup
	begin := time.Now()
	for n := 0; ; n++ {
		at := begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		if at.Sub(begin) >= long {
			break
		}
		time.Sleep(time.Until(at))
		class := shed.Begins
		if n%10 == 0 {
			class = shed.Continues
		}
		all.Go(func() { s.request(ctx, class) })
	}
	all.Wait()
}

func (s *setup) all(of [2][]time.Duration) []time.Duration {
	return slices.Sorted(slices.Values(slices.Concat(of[0], of[1])))
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}

func TestNothingIsRefusedBelowCapacity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, stop := newSetup(t)
		defer stop()
		s.offer(t.Context(), 0.9*s.capacity(), time.Minute)
		require.Empty(t, s.all(s.refused))
		require.Equal(t, s.hold, quantile(s.all(s.served), 0.99))
	})
}

// What a process gets at once after a pause of its own, or of the network.
func TestABurstIsNotRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, stop := newSetup(t)
		defer stop()
		s.hold = 5 * time.Millisecond
		s.offer(t.Context(), 50, 10*time.Second)
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() { s.request(t.Context(), shed.Begins) })
		}
		all.Wait()
		require.Empty(t, s.all(s.refused))
	})
}

func TestAboveCapacityWhatIsAcceptedKeepsItsPace(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, limited bool) (served, refused []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newSetup(t)
			defer stop()
			if !limited {
				s.limiter = nil
			}
			s.offer(t.Context(), s.capacity()/2, 10*time.Second)
			require.Equal(t, s.hold, quantile(s.all(s.served), 0.99))
			s.offer(t.Context(), 10*s.capacity(), 15*time.Second) // the limit falls
			served, refused = s.all(s.served), s.all(s.refused)
			if !limited {
				return
			}
			require.Greater(t, float64(len(served)), 0.95*15*s.capacity(), "it is as busy as it can be")
			t.Logf("the first 15 s at ten times the capacity: served in %v, p99 %v", quantile(served, .5), quantile(served, .99))
			require.Less(t, quantile(served, 1), 12*s.hold)

			s.offer(t.Context(), 10*s.capacity(), 15*time.Second)
			served, refused = s.all(s.served), s.all(s.refused)
			require.Greater(t, float64(len(served)), 0.95*15*s.capacity())
			share := func(class shed.Class) float64 {
				return float64(len(s.served[class])) / float64(len(s.served[class])+len(s.refused[class]))
			}
			t.Logf("served %.0f %% of what continues, %.0f %% of what begins", 100*share(shed.Continues), 100*share(shed.Begins))
			require.Greater(t, share(shed.Continues), 5*share(shed.Begins))
			require.Contains(t, s.log.String(), "requests were refused for lack of capacity")
			require.LessOrEqual(t, strings.Count(s.log.String(), "\n"), 4, "a line every ten seconds at the most")

			s.offer(t.Context(), s.capacity()/2, 5*time.Second)
			require.Empty(t, s.all(s.refused), "and it is over when the load is")
		})
		return served, refused
	}
	served, refused := run(t, true)
	t.Logf("then: served in %v, p99 %v; refused in %v, p99 %v", quantile(served, .5), quantile(served, .99), quantile(refused, .5), quantile(refused, .99))
	require.Less(t, quantile(served, .99), 8*20*time.Millisecond)
	require.Less(t, quantile(refused, .5), time.Millisecond)
	require.LessOrEqual(t, quantile(refused, 1), shed.DefaultWait+time.Millisecond)

	served, _ = run(t, false)
	t.Logf("without: served in %v, p99 %v", quantile(served, .5), quantile(served, .99))
	require.Greater(t, quantile(served, .5), 100*20*time.Millisecond)
}

// The limit falls no lower than what waits for nothing, however slow everything becomes.
func TestASlowerDependencyLeavesAsManyAsItServesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, stop := newSetup(t)
		defer stop()
		s.offer(t.Context(), s.capacity()/2, 10*time.Second)
		s.hold = 40 * time.Millisecond
		s.offer(t.Context(), s.capacity()*.9, 2*time.Minute)
		require.Empty(t, s.all(s.refused))
	})
}

func TestAPermitIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, stop := newSetup(t)
		defer stop()
		permit := func() shed.Permit {
			p, err := s.limiter.Acquire(t.Context(), shed.Begins)
			require.NoError(t, err)
			return p
		}
		held := []shed.Permit{}
		for range 64 {
			held = append(held, permit())
		}
		_, err := s.limiter.Acquire(t.Context(), shed.Continues)
		require.ErrorIs(t, err, shed.ErrOverloaded, "it queued, and nothing ended")
		require.NoError(t, testutil.GatherAndCompare(s.metrics, strings.NewReader(`
# HELP loadbearing_requests_limited Requests that count toward the limit and run now.
# TYPE loadbearing_requests_limited gauge
loadbearing_requests_limited 64
# HELP loadbearing_requests_shed_total Requests refused because there were more than there was capacity for.
# TYPE loadbearing_requests_shed_total counter
loadbearing_requests_shed_total{class="begins"} 0
loadbearing_requests_shed_total{class="continues"} 1
`), "loadbearing_requests_limited", "loadbearing_requests_shed_total"))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.limiter.Acquire(ended, shed.Begins)
		require.ErrorIs(t, err, context.Canceled)
		held[0].Drop()
		held[1].Record()
		permit().Drop()
		permit().Drop()
		for _, p := range held[2:] {
			p.Drop()
		}
	})
}

func TestALimiterNeedsALeast(t *testing.T) {
	t.Parallel()
	_, err := shed.New(shed.Options{Metrics: prometheus.NewRegistry()})
	require.EqualError(t, err, "load shedding: the least number of requests at a time is 0; want at least 1")
}

func BenchmarkAcquire(b *testing.B) {
	limiter, err := shed.New(shed.Options{Least: 1000, Metrics: prometheus.NewRegistry()})
	require.NoError(b, err)
	for _, class := range []shed.Class{shed.Begins, shed.Continues} {
		b.Run(fmt.Sprint(class), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					permit, err := limiter.Acquire(b.Context(), class)
					if err != nil {
						b.Fatal(err)
					}
					permit.Record()
				}
			})
		})
	}
}
