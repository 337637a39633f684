package pubsub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/test/drill"
)

// work is what each consumer is given to do beside what it does: it waits for so
// long before it turns to the database, as one would that reads a long file or
// calls somebody. So it shows whether the consumers wait for each other, and not
// what two cores make of four processes.
func work() map[string]time.Duration {
	return map[string]time.Duration{
		app.ServiceProbe: time.Second, "notify": 900 * time.Millisecond, app.ServiceMeter: 800 * time.Millisecond, app.ServiceIndex: 700 * time.Millisecond,
	}
}

// fanOutRatio is how much longer than the slowest consumer all of them may take.
const fanOutRatio = 1.2

// watcher knows when a relay published and when each consumer was done.
type watcher struct {
	*bench
	mu        sync.Mutex
	published time.Time // since armed, zero until then
}

// fanOut: the consumers take as long as the slowest of them, and one that is
// stopped keeps no other.
func fanOut(ctx context.Context, r *drill.Run) error {
	b, err := set(ctx, r, 1, 1)
	if err != nil {
		return err
	}
	defer b.close(ctx)
	w := &watcher{bench: b}
	primary, err := r.Setting(ctx, contract.DatabasePrimary)
	if err != nil {
		return err
	}
	for _, c := range b.consumers {
		link, err := drill.NewLink(ctx, primary, working(ctx, work()[c.Name]))
		if err != nil {
			return err
		}
		b.undo = append(b.undo, func(context.Context) error { link.Close(); return nil })
		if err := b.configured(ctx, c, map[string]string{contract.DatabasePrimary.Env(): link.Addr}); err != nil {
			return err
		}
		b.undo = append(b.undo, func(ctx context.Context) error { return c.Enable(ctx, true) })
	}
	b.instances[0].Tap.Watch(w.call)

	n := drill.Sized(r, 3, 15)
	alone, sum, slowest := map[string]time.Duration{}, time.Duration(0), time.Duration(0)
	for _, c := range b.consumers {
		if err := b.only(ctx, c); err != nil {
			return err
		}
		took, err := w.measure(ctx, n, c.Name)
		if err != nil {
			return err
		}
		alone[c.Name] = usual(took[c.Name])
		sum += alone[c.Name]
		slowest = max(slowest, alone[c.Name])
		r.Say("  %s alone takes %v", c.Name, alone[c.Name].Round(time.Millisecond))
	}
	if err := b.only(ctx, b.consumers...); err != nil {
		return err
	}
	if _, err := b.settle(ctx); err != nil {
		return err
	}
	took, err := w.measure(ctx, n, consumers()...)
	if err != nil {
		return err
	}
	together := usual(took[everyone])
	r.Figure("fan_out_all_per_slowest", together.Seconds()/slowest.Seconds())
	r.Figure("fan_out_sum_per_slowest", sum.Seconds()/slowest.Seconds())
	r.Figure("fan_out_slowest_seconds", slowest.Seconds())
	r.Check(together.Seconds() <= fanOutRatio*slowest.Seconds(), "all four take %v, the slowest alone %v: more than %v times as long", together, slowest, fanOutRatio)
	r.Check(sum.Seconds() > 2*fanOutRatio*slowest.Seconds(), "one after the other would take %v, %v is no less: nothing is shown", sum, slowest)
	return w.stop(ctx, took)
}

// idle is for how long a session says nothing between two invocations, and not
// within one.
const idle = 100 * time.Millisecond

// working returns what holds back the first thing a session says after it was
// idle for as long as a consumer works.
func working(ctx context.Context, long time.Duration) func(drill.Piece) error {
	var mu sync.Mutex
	spoke := map[int]time.Time{} // by session
	return func(p drill.Piece) error {
		mu.Lock()
		last, known := spoke[p.Server]
		spoke[p.Server] = time.Now()
		mu.Unlock()
		if p.Answer || !known || time.Since(last) < idle {
			return nil
		}
		timer := time.NewTimer(long)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop stops a consumer for a while: the others take what they took, and it has
// caught up when it runs again.
func (w *watcher) stop(ctx context.Context, before map[string][]time.Duration) error {
	stopped := w.consumers[w.Rand(purposeStopped).IntN(len(w.consumers))]
	var others []string
	for _, c := range w.consumers {
		if c != stopped {
			others = append(others, c.Name)
		}
	}
	if err := stopped.Enable(ctx, false); err != nil {
		return err
	}
	long := drill.Sized(w.Run, 10*time.Second, time.Minute)
	w.Say("%s is stopped for %v", stopped.Name, long)
	first := w.sent()
	took := map[string][]time.Duration{}
	for began := time.Now(); time.Since(began) < long; {
		some, err := w.measure(ctx, 1, others...)
		if err != nil {
			return err
		}
		for name, d := range some {
			took[name] = append(took[name], d...)
		}
	}
	waiting, err := w.Waiting(ctx, stopped.Queue.URL)
	if err != nil {
		return err
	}
	missed := w.sent() - first
	w.Check(waiting >= missed, "%s was stopped and has %d messages, of %d videos", stopped.Name, waiting, missed)
	worst := 0.0
	for _, name := range others {
		worst = max(worst, usual(took[name]).Seconds()/usual(before[name]).Seconds())
	}
	w.Figure("fan_out_stopped", stopped.Name)
	w.Figure("fan_out_stopped_waiting", waiting)
	w.Figure("fan_out_others_per_before", worst)
	w.Check(worst <= fanOutRatio, "with %s stopped another takes %.2f times as long as before", stopped.Name, worst)

	began := time.Now()
	if err := stopped.Enable(ctx, true); err != nil {
		return err
	}
	if _, err := w.settle(ctx); err != nil {
		return err
	}
	w.Figure("fan_out_caught_up_seconds", time.Since(began).Seconds())
	p, err := w.progress(ctx)
	if err != nil {
		return err
	}
	w.Figure("fan_out_videos", p.videos)
	w.Check(p.ready == p.videos && p.videos == w.sent(), "%d of %d videos are ready, %d were sent", p.ready, p.videos, w.sent())
	return nil
}

// only has these consumers run and no other.
func (b *bench) only(ctx context.Context, some ...*drill.Consumer) error {
	for _, c := range b.consumers {
		if !slices.Contains(some, c) {
			if err := c.Enable(ctx, false); err != nil {
				return err
			}
		}
	}
	for _, c := range some {
		if err := c.Enable(ctx, true); err != nil {
			return err
		}
		// What was sent while it was stopped would be in the way.
		if err := drill.Await(ctx, c.Name+" has caught up", func(ctx context.Context) (bool, error) {
			n, err := b.Waiting(ctx, c.Queue.URL)
			return n == 0, err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) sent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.uploaded)
}

func (w *watcher) call(c drill.Call) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Operation == "PublishBatch" && !c.Answered && w.published.IsZero() {
		w.published = time.Now()
	}
	return nil
}

// everyone names what the slowest took of each video.
const everyone = "everyone"

// measure uploads n videos one after the other and returns how long each
// consumer took of each, from when the relay gave the event to SNS to when the consumer's
// effect was committed. The first video is not counted: it starts the functions.
func (w *watcher) measure(ctx context.Context, n int, names ...string) (map[string][]time.Duration, error) {
	took := map[string][]time.Duration{}
	for i := range n + 1 {
		w.mu.Lock()
		w.published = time.Time{}
		w.mu.Unlock()
		id, err := w.upload(ctx, w.tenants[0], w.sent())
		if err != nil {
			return nil, err
		}
		done, err := w.await(ctx, id, names)
		if err != nil {
			return nil, err
		}
		// The events that follow are not to be in the way of the next one.
		if err := w.quiet(ctx, names); err != nil {
			return nil, err
		}
		if i == 0 {
			continue
		}
		w.mu.Lock()
		published := w.published
		w.mu.Unlock()
		var slowest time.Duration
		for name, at := range done {
			took[name] = append(took[name], at.Sub(published))
			slowest = max(slowest, at.Sub(published))
		}
		took[everyone] = append(took[everyone], slowest)
	}
	return took, nil
}

// quiet waits until the consumers have nothing to do.
func (w *watcher) quiet(ctx context.Context, names []string) error {
	return drill.Await(ctx, "the consumers have nothing to do", func(ctx context.Context) (bool, error) {
		p, err := w.progress(ctx)
		if err != nil || p.outbox > 0 {
			return false, err
		}
		for _, c := range w.consumers {
			if !slices.Contains(names, c.Name) {
				continue
			}
			if n, err := w.Waiting(ctx, c.Queue.URL); err != nil || n > 0 {
				return false, err
			}
		}
		return true, nil
	})
}

// await returns when the database showed that each consumer had done what the
// upload of a video asks of it.
func (w *watcher) await(ctx context.Context, video uuid.UUID, names []string) (map[string]time.Time, error) {
	done := map[string]time.Time{}
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for len(done) < len(names) {
		var is [4]bool
		err := w.Primary().QueryRow(ctx, `select probed_at is not null, indexed_at is not null, metered_at is not null,
			exists (select from notices n where n.aggregate = v.id and n.sequence > 0) from videos v where id = $1`, video).
			Scan(&is[0], &is[1], &is[2], &is[3])
		if err != nil {
			return nil, fmt.Errorf("look at video %s: %w", video, err)
		}
		now := time.Now()
		for i, name := range consumers() {
			if _, known := done[name]; is[i] && !known && slices.Contains(names, name) {
				done[name] = now
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %v to be done with video %s, so far %v are: %w", names, video, done, context.Cause(ctx))
		case <-look.C:
		}
	}
	return done, nil
}

// usual is what is taken when nothing else is in the way, as on a machine that
// others use it now and then is: the quickest quarter's slowest.
func usual(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/4]
}
