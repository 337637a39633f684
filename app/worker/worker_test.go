package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadbearing/loadbearing/app/trace"
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
		kept := q.messages
		var running, most, handled atomic.Int64
		stop := start(t, worker.Config{Queue: q, Concurrency: 3, Handler: func(_ context.Context, m worker.Message) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			handled.Add(1)
			began := time.Now()
			time.Sleep(time.Second)
			for _, k := range kept {
				if k.id == m.ID && !k.receiptAt[0].Equal(began) {
					t.Errorf("%s was received %v before there was room to start it", k.body, began.Sub(k.receiptAt[0]))
				}
			}
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
		if q.deletes >= 25 {
			t.Errorf("%d requests to delete 25 messages", q.deletes)
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
		if deleted, waiting, _ := q.state(); deleted != 3 || waiting != 0 {
			t.Errorf("deleted %d, waiting %d; want 3 and 0", deleted, waiting)
		}
		reasons(t, q, "the handler panicked: index out of range")
		if n := *q.moved[0].MessageAttributes[worker.AttributeReceives].StringValue; n != "3" {
			t.Errorf("moved after %s receives, want 3", n)
		}
	})
}

// reasons asserts why the worker moved messages to the dead-letter queue.
func reasons(t *testing.T, q *queue, want ...string) {
	t.Helper()
	var got []string
	for _, m := range q.moved {
		got = append(got, *m.MessageAttributes[worker.AttributeReason].StringValue)
	}
	if !slices.Equal(got, want) {
		t.Errorf("moved for the reasons %q, want %q", got, want)
	}
}

func TestPoisonReachesTheDeadLetterQueueAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(append(bodies(9), "poison")...)
		q.maxReceives = 10
		q.messages[9].attributes = map[string]types.MessageAttributeValue{"color": {DataType: aws.String("String"), StringValue: aws.String("red")}}
		var receives atomic.Int64
		stop := start(t, worker.Config{Queue: q, Handler: func(_ context.Context, m worker.Message) error {
			if m.Body != "poison" {
				return nil
			}
			receives.Add(1)
			return fmt.Errorf("handle it: %w", worker.Permanent(errors.New("no such\x00color")))
		}})
		time.Sleep(time.Second)
		stop()
		if deleted, waiting, dead := q.state(); deleted != 10 || waiting != 0 || dead != 0 || receives.Load() != 1 {
			t.Errorf("deleted %d, waiting %d, dead %d after %d receives; want 10, 0, 0 and 1", deleted, waiting, dead, receives.Load())
		}
		reasons(t, q, "handle it: no such\uFFFDcolor")
		moved := q.moved[0]
		if *moved.MessageBody != "poison" || *moved.MessageAttributes["color"].StringValue != "red" || *moved.MessageAttributes[worker.AttributeOriginal].StringValue != "m9" {
			t.Errorf("the dead letter is %+v", moved)
		}
	})
}

// A worker that may not send to the dead-letter queue, or is not to, leaves
// poison to the redrive policy.
func TestPoisonLeftToTheRedrivePolicy(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*queue, *worker.Config){
		"as configured": func(_ *queue, c *worker.Config) { c.LeaveToRedrive = true },
		"dead-letter queue hidden": func(q *queue, _ *worker.Config) {
			q.fail(func(operation string) error {
				if operation == "url" {
					return &smithy.GenericAPIError{Code: "AccessDenied", Fault: smithy.FaultClient}
				}
				return nil
			})
		},
		"send refused": func(q *queue, _ *worker.Config) {
			q.fail(func(operation string) error {
				if operation == "send" {
					return &smithy.GenericAPIError{Code: "AccessDenied", Fault: smithy.FaultClient}
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(append(bodies(9), "{")...)
				q.maxReceives = 10
				var receives atomic.Int64
				c := worker.Config{Queue: q, BackoffMax: time.Hour, Handler: func(ctx context.Context, m worker.Message) error {
					if m.Body != "{" {
						return nil
					}
					receives.Add(1)
					return worker.JSON(func(context.Context, struct{}) error { return nil })(ctx, m)
				}}
				leave(q, &c)
				stop := start(t, c)
				// A second for each receive; the backoff of a failure would take minutes.
				time.Sleep(12 * time.Second)
				stop()
				if deleted, waiting, dead := q.state(); deleted != 9 || waiting != 0 || dead != 1 || receives.Load() != 10 {
					t.Errorf("deleted %d, waiting %d, dead %d after %d receives; want 9, 0, 1 and 10", deleted, waiting, dead, receives.Load())
				}
				reasons(t, q)
			})
		})
	}
}

func TestGivingUpIsRecordedBeforeTheMessageLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("fails", "works")
		q.maxReceives = 3
		kept := q.messages
		var tries int
		stop := start(t, worker.Config{
			Queue: q, Visibility: 6 * time.Second,
			Handler: func(_ context.Context, m worker.Message) error {
				if m.Last != (m.Attempt == 3) {
					t.Errorf("attempt %d: Last is %t", m.Attempt, m.Last)
				}
				if m.Body == "fails" {
					return fmt.Errorf("attempt %d", m.Attempt)
				}
				return nil
			},
			OnGiveUp: func(_ context.Context, m worker.Message, reason error) error {
				// The database is away for longer than the visibility timeout.
				if tries++; tries < 8 {
					return errors.New("connection refused")
				}
				if m.Body != "fails" || reason.Error() != "attempt 3" {
					t.Errorf("gave up %q because of %v", m.Body, reason)
				}
				q.mu.Lock()
				defer q.mu.Unlock()
				if len(q.moved) > 0 || len(q.dead) > 0 || kept[0].visible.Before(time.Now()) {
					t.Error("the message left the queue before that was recorded")
				}
				return nil
			},
		})
		time.Sleep(3 * time.Minute)
		stop()
		if tries != 8 {
			t.Errorf("OnGiveUp was called %d times, want until it succeeded and no more", tries)
		}
		reasons(t, q, "attempt 3")
		if deleted, waiting, dead := q.state(); deleted != 2 || waiting != 0 || dead != 0 || len(kept[0].receiptAt) != 3 {
			t.Errorf("deleted %d, waiting %d, dead %d after %d receives", deleted, waiting, dead, len(kept[0].receiptAt))
		}
	})
}

func TestGivingUpWithoutARecordEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("fails")
		q.maxReceives = 1
		registry := prometheus.NewRegistry()
		stop := start(t, worker.Config{
			Queue: q, Registerer: registry,
			Handler:  func(context.Context, worker.Message) error { return errors.New("why") },
			OnGiveUp: func(context.Context, worker.Message, error) error { panic("a bug") },
		})
		time.Sleep(2 * time.Minute)
		stop()
		reasons(t, q, "why")
		if got := value(t, registry, "loadbearing_worker_give_up_errors_total"); got != 1 {
			t.Errorf("give_up_errors_total is %v, want 1", got)
		}
	})
}

func TestAnInterruptionOnTheLastReceiveIsRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("slow")
		q.maxReceives = 1
		var recorded error
		stop := start(t, worker.Config{
			Queue: q, Drain: 5 * time.Second,
			Handler:  func(ctx context.Context, _ worker.Message) error { <-ctx.Done(); return ctx.Err() },
			OnGiveUp: func(ctx context.Context, _ worker.Message, reason error) error { recorded = reason; return ctx.Err() },
		})
		time.Sleep(time.Second)
		stop()
		if !errors.Is(recorded, worker.ErrDrained) || len(q.moved) != 1 {
			t.Errorf("recorded %v and moved %d messages", recorded, len(q.moved))
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		runs, after time.Duration
		want        time.Duration
	}{
		"as asked":            {0, 90 * time.Second, 90 * time.Second},
		"part of a second":    {0, 1500 * time.Millisecond, 2 * time.Second},
		"beyond what is held": {2 * time.Hour, 24 * time.Hour, 10*time.Hour - time.Second},
		"negative":            {0, -time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue("later")
				kept := q.messages[0]
				stop := start(t, worker.Config{Queue: q, Concurrency: 1, MaxRuntime: 12 * time.Hour, Handler: func(_ context.Context, m worker.Message) error {
					if m.Attempt > 1 {
						return nil
					}
					time.Sleep(tc.runs)
					return worker.RetryAfter(tc.after, errors.New("busy"))
				}})
				time.Sleep(25 * time.Hour)
				stop()
				if got := kept.receiptAt[1].Sub(kept.receiptAt[0]) - tc.runs; got != tc.want {
					t.Errorf("received again after %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("nobody waits for it")
		q.maxReceives = 5
		stop := start(t, worker.Config{Queue: q, Handler: func(context.Context, worker.Message) error {
			return worker.Drop(errors.New("its project was deleted"))
		}, OnGiveUp: func(context.Context, worker.Message, error) error { t.Error("gave it up"); return nil }})
		time.Sleep(time.Second)
		stop()
		if deleted, _, dead := q.state(); deleted != 1 || dead+len(q.moved) != 0 {
			t.Errorf("deleted %d, dead %d", deleted, dead+len(q.moved))
		}
	})
}

func TestVersions(t *testing.T) {
	t.Parallel()
	var got []string
	handler := worker.Versions(map[int]worker.Handler{
		1: worker.JSON(func(_ context.Context, v struct{ Name string }) error { got = append(got, "1 "+v.Name); return nil }),
		2: worker.JSON(func(_ context.Context, v struct{ Label string }) error { got = append(got, "2 "+v.Label); return nil }),
	})
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(`{"name":"a"}`, `{"version":1,"name":"b","more":true}`, `{"version":2,"label":"c"}`,
			`{"version":3}`, `{"version":"two"}`, `[]`, `not JSON`, ``, `{"version":2,"label":7}`)
		q.maxReceives = 5
		stop := start(t, worker.Config{Queue: q, Concurrency: 1, Handler: handler})
		time.Sleep(time.Minute)
		stop()
		if want := []string{"1 a", "1 b", "2 c"}; !slices.Equal(got, want) {
			t.Errorf("handled %q, want %q", got, want)
		}
		if deleted, waiting, dead := q.state(); deleted != 9 || waiting != 0 || dead != 0 || len(q.moved) != 6 {
			t.Fatalf("deleted %d, waiting %d, dead %d, moved %d; want 9, 0, 0 and 6", deleted, waiting, dead, len(q.moved))
		}
		if why := *q.moved[0].MessageAttributes[worker.AttributeReason].StringValue; why != "message m3 has version 3; this worker knows [1 2]" {
			t.Errorf("the reason is %q", why)
		}
	})
}

func TestTraceIsContinued(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("job", "untraced")
		q.messages[0].attributes = map[string]types.MessageAttributeValue{
			trace.Parent: {DataType: aws.String("String"), StringValue: aws.String("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
			trace.State:  {DataType: aws.String("String"), StringValue: aws.String("vendor=1")},
		}
		var mu sync.Mutex
		got := map[string]trace.Span{}
		stop := start(t, worker.Config{Queue: q, Handler: func(ctx context.Context, m worker.Message) error {
			mu.Lock()
			defer mu.Unlock()
			got[m.Body], _ = trace.From(ctx)
			return nil
		}})
		time.Sleep(time.Second)
		stop()
		want := trace.Span{Trace: "4bf92f3577b34da6a3ce929d0e0e4736", ID: got["job"].ID, Parent: "00f067aa0ba902b7", Sampled: true, State: "vendor=1"}
		if got["job"] != want {
			t.Errorf("got %+v, want %+v", got["job"], want)
		}
		if s := got["untraced"]; s.Trace == "" || s.Trace == want.Trace || s.Parent != "" {
			t.Errorf("a message without a trace got %+v", s)
		}
	})
}

// A job of a minute under a timeout of 30 seconds runs once, also when an
// extension fails or hangs.
func TestALongJobRunsOnceThoughAnExtensionFails(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{
		"refused for a moment": errors.New("connection refused"),
		"hangs":                errHang,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue("long")
				kept := q.messages[0]
				failed := 0
				q.fail(func(operation string) error {
					if operation == "change" && failed == 0 {
						failed++
						return fault
					}
					return nil
				})
				var calls int
				stop := start(t, worker.Config{Queue: q, Visibility: 30 * time.Second, Handler: func(ctx context.Context, _ worker.Message) error {
					calls++
					select {
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-time.After(time.Minute):
						return nil
					}
				}})
				time.Sleep(5 * time.Minute)
				stop()
				if deleted, _, _ := q.state(); deleted != 1 || calls != 1 || len(kept.receiptAt) != 1 || failed != 1 {
					t.Errorf("%d runs, %d receives, deleted %d, %d failed extensions; want 1 of each", calls, len(kept.receiptAt), deleted, failed)
				}
			})
		})
	}
}

func TestDeletesAreRepeated(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		operation string
		times     int
		deleted   int
		errors    float64
	}{
		"request fails once": {"delete", 1, 5, 0},
		"entries fail once":  {"delete entry", 5, 5, 0},
		"refused for ever":   {"delete", 1000, 0, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(bodies(5)...)
				left := tc.times
				q.fail(func(operation string) error {
					if operation != tc.operation || left == 0 {
						return nil
					}
					left--
					return errors.New("internal error")
				})
				registry := prometheus.NewRegistry()
				stop := start(t, worker.Config{Queue: q, Concurrency: 10, Registerer: registry, Handler: func(context.Context, worker.Message) error { return nil }})
				time.Sleep(10 * time.Second)
				stop()
				if deleted, _, _ := q.state(); deleted != tc.deleted {
					t.Errorf("deleted %d, want %d", deleted, tc.deleted)
				}
				if got := value(t, registry, "loadbearing_worker_delete_errors_total"); got != tc.errors {
					t.Errorf("delete_errors_total is %v, want %v", got, tc.errors)
				}
			})
		})
	}
}

func TestNothingIsReceivedBeforeTheRedrivePolicyIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("job")
		q.fail(func(operation string) error {
			if operation == "attributes" {
				return errors.New("connection refused")
			}
			return nil
		})
		stop := start(t, worker.Config{Queue: q, Handler: func(context.Context, worker.Message) error { return nil }})
		time.Sleep(time.Minute)
		if q.receives != 0 {
			t.Errorf("%d receives", q.receives)
		}
		q.fail(func(string) error { return nil })
		time.Sleep(time.Minute)
		stop()
		if deleted, _, _ := q.state(); deleted != 1 {
			t.Error("the worker did not go on after the queue came back")
		}
	})
}

// value returns a metric without labels.
func value(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
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
			"loadbearing_worker_age_seconds":          4,
			"loadbearing_worker_delete_errors_total":  0,
			"loadbearing_worker_give_up_errors_total": 0,
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
