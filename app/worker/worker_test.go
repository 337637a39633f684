package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadbearing/loadbearing/app/worker"
)

// start runs a worker until the test calls the function it returns, which
// waits for Run to return.
func start(t *testing.T, c worker.Config) (stop func()) {
	t.Helper()
	c.URL, c.Logger = "https://sqs/jobs", slog.New(slog.DiscardHandler)
	w, err := worker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

func bodies(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("job ", i)
	}
	return out
}

func TestEveryMessageIsHandledOnceAndDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(bodies(25)...)
		var running, most, handled atomic.Int64
		stop := start(t, worker.Config{Queue: q, Concurrency: 3, Handler: func(_ context.Context, m worker.Message) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			handled.Add(1)
			time.Sleep(time.Second)
			if m.Attempt != 1 || m.Sent.IsZero() || !strings.HasPrefix(m.Body, "job ") {
				t.Errorf("got %+v", m)
			}
			return nil
		}})
		time.Sleep(10 * time.Second)
		stop()
		if deleted, waiting, _ := q.state(); deleted != 25 || waiting != 0 || handled.Load() != 25 {
			t.Errorf("handled %d, deleted %d, %d wait; want 25, 25 and 0", handled.Load(), deleted, waiting)
		}
		if most.Load() != 3 {
			t.Errorf("at most %d ran at a time, want 3", most.Load())
		}
		if q.mostHeld > 3 {
			t.Errorf("%d messages were received at a time, 3 can be started", q.mostHeld)
		}
	})
}

func TestAnIdleWorkerPollsLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		stop := start(t, worker.Config{Queue: q, Handler: func(context.Context, worker.Message) error { return nil }})
		time.Sleep(time.Minute + time.Second)
		stop()
		if q.receives > 4 {
			t.Errorf("%d receives in a minute, want one in 20 seconds", q.receives)
		}
	})
}

func TestALongJobStaysInvisible(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("long")
		var calls atomic.Int64
		stop := start(t, worker.Config{Queue: q, Handler: func(ctx context.Context, _ worker.Message) error {
			calls.Add(1)
			time.Sleep(10 * time.Minute)
			return ctx.Err()
		}})
		time.Sleep(11 * time.Minute)
		stop()
		if deleted, _, _ := q.state(); deleted != 1 || calls.Load() != 1 {
			t.Errorf("handled %d times, deleted %d; want 1 and 1", calls.Load(), deleted)
		}
	})
}

func TestAFailureIsRetriedAfterAGrowingDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const attempts = 8
		var all [attempts][]time.Duration
		// Many messages, to see the spread and not one draw.
		q := newQueue(bodies(200)...)
		kept := q.messages
		stop := start(t, worker.Config{
			Queue: q, Concurrency: 10, BackoffBase: 4 * time.Second, BackoffMax: time.Minute,
			Handler: func(_ context.Context, m worker.Message) error {
				if m.Attempt <= attempts {
					return errors.New("not yet")
				}
				return nil
			},
		})
		time.Sleep(time.Hour)
		stop()
		if deleted, _, _ := q.state(); deleted != 200 {
			t.Fatalf("%d messages done, want 200", deleted)
		}
		for _, m := range kept {
			for i, d := range m.delays {
				all[i] = append(all[i], d)
			}
		}
		limit := 4 * time.Second
		for i, delays := range all {
			var sum, most time.Duration
			for _, d := range delays {
				sum, most = sum+d, max(most, d)
			}
			mean := sum / time.Duration(len(delays))
			if most > limit || mean < limit/4 || mean > limit*3/4+time.Second {
				t.Errorf("attempt %d: delays up to %v, %v in the mean; want up to %v and about half of it", i+1, most, mean, limit)
			}
			limit = min(2*limit, time.Minute)
		}
	})
}

func TestAPanicIsAFailureOfOneMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("good", "bad", "good")
		q.maxReceives = 3
		stop := start(t, worker.Config{Queue: q, Concurrency: 1, Handler: func(_ context.Context, m worker.Message) error {
			if m.Body == "bad" {
				panic("index out of range")
			}
			return nil
		}})
		time.Sleep(10 * time.Minute)
		stop()
		if deleted, waiting, dead := q.state(); deleted != 2 || waiting != 0 || dead != 1 {
			t.Errorf("deleted %d, waiting %d, dead %d; want 2, 0 and 1", deleted, waiting, dead)
		}
	})
}

func TestPoisonReachesTheDeadLetterQueueSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(append(bodies(9), "{")...)
		q.maxReceives = 10
		var receives atomic.Int64
		stop := start(t, worker.Config{Queue: q, BackoffMax: time.Hour, Handler: func(ctx context.Context, m worker.Message) error {
			if m.Body != "{" {
				return nil
			}
			receives.Add(1)
			return worker.JSON(func(context.Context, struct{}) error { return nil })(ctx, m)
		}})
		// A second for each receive; the backoff of a failure would take minutes.
		time.Sleep(11 * time.Second)
		stop()
		if deleted, waiting, dead := q.state(); deleted != 9 || waiting != 0 || dead != 1 || receives.Load() != 10 {
			t.Errorf("deleted %d, waiting %d, dead %d after %d receives; want 9, 0, 1 and 10", deleted, waiting, dead, receives.Load())
		}
	})
}

func TestDrainLetsHandlersFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(bodies(10)...)
		stop := start(t, worker.Config{Queue: q, Concurrency: 2, Drain: 20 * time.Second, Handler: func(ctx context.Context, _ worker.Message) error {
			time.Sleep(15 * time.Second)
			return ctx.Err()
		}})
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 14*time.Second {
			t.Errorf("the drain took %v, want the 14 s the handlers had left", took)
		}
		if deleted, waiting, _ := q.state(); deleted != 2 || waiting != 8 {
			t.Errorf("deleted %d, waiting %d; want 2 and 8", deleted, waiting)
		}
	})
}

func TestDrainHandsBackWhatDoesNotFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("slow")
		var cause error
		stop := start(t, worker.Config{Queue: q, Visibility: 10 * time.Minute, Drain: 5 * time.Second, Handler: func(ctx context.Context, _ worker.Message) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return ctx.Err()
		}})
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the drain took %v, want its limit of 5 s", took)
		}
		if !errors.Is(cause, worker.ErrDrained) {
			t.Errorf("the handler's cause is %v, want ErrDrained", cause)
		}
		if m := q.messages[0]; m.visible.After(time.Now()) {
			t.Errorf("the message is visible in %v, want at once", time.Until(m.visible))
		}
	})
}

func TestDrainLeavesAHandlerThatIgnoresItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("deaf")
		release := make(chan struct{})
		stop := start(t, worker.Config{Queue: q, Drain: 5 * time.Second, Handler: func(context.Context, worker.Message) error {
			<-release
			return nil
		}})
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the drain took %v, want twice its limit of 5 s", took)
		}
		close(release)
	})
}

func TestALostMessageCancelsItsHandler(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail   error
		within time.Duration
	}{
		"taken by another": {nil, 10 * time.Second}, // the queue refuses the next extension
		"queue is gone":    {errors.New("connection refused"), 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue("long")
				causes := make(chan error, 10)
				stop := start(t, worker.Config{Queue: q, Concurrency: 1, Visibility: 30 * time.Second, Handler: func(ctx context.Context, m worker.Message) error {
					if m.Attempt > 1 {
						return nil
					}
					<-ctx.Done()
					causes <- context.Cause(ctx)
					return ctx.Err()
				}})
				time.Sleep(time.Second)
				if tc.fail != nil {
					q.fail(func(operation string) error {
						if operation == "change" {
							return tc.fail
						}
						return nil
					})
				} else {
					q.mu.Lock()
					q.messages[0].visible = time.Now()
					q.mu.Unlock()
				}
				began := time.Now()
				if cause := <-causes; !errors.Is(cause, worker.ErrLost) {
					t.Errorf("the handler's cause is %v, want ErrLost", cause)
				}
				if took := time.Since(began); took > tc.within {
					t.Errorf("the handler went on for %v after others may have seen the message", took)
				}
				time.Sleep(time.Minute)
				stop()
				if deleted, _, _ := q.state(); deleted != 1 {
					t.Errorf("deleted %d, want the message done by its second receive", deleted)
				}
			})
		})
	}
}

func TestAQueueThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("job")
		var asked atomic.Int64
		q.fail(func(operation string) error {
			if operation != "receive" {
				return nil
			}
			asked.Add(1)
			return errors.New("connection refused")
		})
		stop := start(t, worker.Config{Queue: q, Handler: func(context.Context, worker.Message) error { return nil }})
		time.Sleep(10 * time.Minute)
		if n := asked.Load(); n < 10 || n > 600 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		q.fail(func(string) error { return nil })
		time.Sleep(time.Minute)
		stop()
		if deleted, _, _ := q.state(); deleted != 1 {
			t.Error("the worker did not go on after the queue came back")
		}
	})
}

func TestMaxRuntime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("endless")
		causes := make(chan error, 1)
		stop := start(t, worker.Config{Queue: q, MaxRuntime: time.Minute, Handler: func(ctx context.Context, m worker.Message) error {
			if m.Attempt == 1 {
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return ctx.Err()
			}
			return nil
		}})
		time.Sleep(2 * time.Minute)
		stop()
		if cause := <-causes; !errors.Is(cause, worker.ErrRuntime) {
			t.Errorf("the handler's cause is %v, want ErrRuntime", cause)
		}
		if deleted, _, _ := q.state(); deleted != 1 {
			t.Errorf("deleted %d, want the message done by its second receive", deleted)
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("good", "fails once", "good")
		registry := prometheus.NewRegistry()
		stop := start(t, worker.Config{Queue: q, Registerer: registry, Handler: func(_ context.Context, m worker.Message) error {
			if m.Body == "fails once" && m.Attempt == 1 {
				return errors.New("once")
			}
			return nil
		}})
		time.Sleep(time.Minute)
		stop()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, label := range m.GetLabel() {
					name += " " + label.GetValue()
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		want := map[string]float64{
			"loadbearing_worker_in_flight":            0,
			"loadbearing_worker_messages_total done":  3,
			"loadbearing_worker_messages_total retry": 1,
			"loadbearing_worker_seconds done":         3,
			"loadbearing_worker_seconds retry":        1,
			"loadbearing_worker_attempts":             4,
			"loadbearing_worker_receive_errors_total": 0,
		}
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := worker.New(worker.Config{
		Concurrency: -1, Visibility: time.Second, Wait: time.Minute, BackoffBase: time.Hour, BackoffMax: time.Minute,
		MaxRuntime: 13 * time.Hour, Drain: -1,
	})
	if err == nil {
		t.Fatal("a configuration without a queue was accepted")
	}
	for _, field := range []string{"Queue", "URL", "Handler", "Concurrency", "Visibility", "MaxRuntime", "Wait", "BackoffBase", "Drain"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}

func TestPermanentOfNilIsNil(t *testing.T) {
	t.Parallel()
	if worker.Permanent(nil) != nil {
		t.Error("Permanent(nil) is an error")
	}
	cause := errors.New("cause")
	if !errors.Is(worker.Permanent(cause), cause) {
		t.Error("Permanent hides its cause")
	}
}
