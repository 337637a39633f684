package pubsub

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/test/drill"
)

// mostPerClient is what a client may cost an instance, in KiB of resident memory.
const mostPerClient = 40

// streams: clients of event streams on three instances, one of which is killed
// and another one drained while videos are uploaded: each goes on elsewhere and
// is told everything once.
func streams(ctx context.Context, r *drill.Run) error {
	// A user may have 20 streams on an instance, also when one of three is gone.
	users, perUser := drill.Sized(r, 10, 50), drill.Sized(r, 15, 20)
	clients := users * perUser
	program, status, err := web(ctx, r)
	if err != nil {
		return err
	}
	b := &bench{Run: r, uploaded: map[string]mediatest.Movie{}}
	defer b.close(ctx)
	for i := range 3 {
		s, err := r.Stand(ctx, program, i, map[string]string{
			settings.EnvShutdownTimeout: drill.Sized(r, "8s", "25s"), // clients are sent away over three quarters of it
		})
		if err != nil {
			return err
		}
		b.instances = append(b.instances, s)
		b.undo = append(b.undo, func(context.Context) error { s.Close(); return nil })
	}
	// The fleet does this, and relays: the instances do nothing but stream.
	if err := b.register(ctx, status.EdgeURL, users); err != nil {
		return err
	}
	before, err := b.memory(ctx)
	if err != nil {
		return err
	}

	var gone [3]atomic.Bool // an edge sends nobody to these
	var next atomic.Int64
	base := func(*subscriber) string {
		for {
			if i := int(next.Add(1)) % len(b.instances); !gone[i].Load() {
				return b.instances[i].URL()
			}
		}
	}
	subscribers, leave, err := subscribe(ctx, b.tenants, perUser, base)
	defer leave()
	if err != nil {
		return err
	}
	after, err := b.memory(ctx)
	if err != nil {
		return err
	}
	var growth int64
	for i := range after {
		growth += after[i] - before[i]
	}
	perClient := float64(growth) / float64(clients) / 1024
	r.Figure("streams_clients", clients)
	if r.Size == drill.Full { // of a few clients what the runtime takes and gives back would be measured
		r.Figure("streams_kib_per_client", perClient)
		r.Check(perClient <= mostPerClient, "a client costs %.1f KiB, the most is %d", perClient, mostPerClient)
	}

	// Videos are uploaded from here on until the last client has moved.
	uploading, stop := context.WithCancel(ctx)
	defer stop()
	var uploads errgroup.Group
	uploads.Go(func() error { return b.uploadUntil(ctx, uploading, status.EdgeURL, drill.Sized(r, 10, 100)) })
	if err := b.flows(ctx, subscribers, "before"); err != nil {
		return err
	}

	i := r.Rand(purposeInstance).IntN(len(b.instances))
	killed, drained := b.instances[i], b.instances[(i+1)%len(b.instances)]
	lost := at(subscribers, killed)
	r.Say("kill -9 of an instance with %d clients", len(lost))
	began := time.Now()
	gone[i].Store(true)
	killed.Kill()
	if err := resumed(ctx, lost, killed); err != nil {
		return err
	}
	r.Figure("streams_clients_of_the_killed", len(lost))
	r.Figure("streams_seconds_to_resume", time.Since(began).Seconds())
	r.Check(len(lost) > 0, "the instance that was killed had no client")
	if err := b.flows(ctx, subscribers, "after the kill"); err != nil {
		return err
	}

	// The killed one is back, as its group would have replaced it.
	if err := killed.AwaitReady(ctx); err != nil {
		return err
	}
	gone[i].Store(false)
	moved := at(subscribers, drained)
	r.Say("SIGTERM to an instance with %d clients", len(moved))
	gone[(i+1)%len(b.instances)].Store(true)
	if err := drained.Terminate(ctx); err != nil {
		return err
	}
	if err := resumed(ctx, moved, drained); err != nil {
		return err
	}
	hinted := 0
	for _, s := range moved {
		s.mu.Lock()
		if s.resumed[drained.URL()] == 1 {
			hinted++
		}
		s.mu.Unlock()
	}
	r.Figure("streams_clients_of_the_drained", len(moved))
	r.Figure("streams_told_to_resume", hinted)
	r.Check(len(moved) > 0, "the instance that was drained had no client")
	r.Check(hinted == len(moved), "%d of %d clients were told to resume before the drained instance ended", hinted, len(moved))
	if err := b.flows(ctx, subscribers, "after the drain"); err != nil {
		return err
	}
	stop()
	if err := uploads.Wait(); err != nil {
		return err
	}
	r.Figure("streams_videos", b.sent())
	return b.judge(ctx, subscribers)
}

// uploadUntil uploads at least n videos, a user's one after the other's, until
// enough ends.
func (b *bench) uploadUntil(ctx, enough context.Context, edge string, n int) error {
	pace := time.NewTicker(drill.Sized(b.Run, 250*time.Millisecond, 100*time.Millisecond))
	defer pace.Stop()
	for i := 0; i < n || enough.Err() == nil; i++ {
		if _, err := b.uploadTo(ctx, b.tenants[i%len(b.tenants)], i, func() string { return edge }); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-pace.C:
		}
	}
	return nil
}

// flows waits until each user's clients were told of something new.
func (b *bench) flows(ctx context.Context, all []*subscriber, when string) error {
	had := map[*subscriber]int{}
	for _, s := range all {
		n, err := s.heard("message")
		if err != nil {
			return err
		}
		had[s] = n
	}
	err := drill.Await(ctx, "every client was told of something "+when, func(context.Context) (bool, error) {
		for s, n := range had {
			now, err := s.heard("message")
			if err != nil {
				return false, err
			}
			if now > n {
				delete(had, s)
			}
		}
		return len(had) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d clients were told of nothing: %w", len(had), len(all), err)
	}
	return nil
}

// at returns those whose stream is of an instance.
func at(all []*subscriber, s *drill.StandIn) []*subscriber {
	var some []*subscriber
	for _, c := range all {
		if c.where() == s.URL() {
			some = append(some, c)
		}
	}
	return some
}

// resumed waits until those that lost their stream have another one, elsewhere.
func resumed(ctx context.Context, some []*subscriber, from *drill.StandIn) error {
	return drill.Await(ctx, fmt.Sprintf("%d clients resume elsewhere", len(some)), func(context.Context) (bool, error) {
		for _, s := range some {
			if s.where() == from.URL() || !s.listening() {
				return false, nil
			}
		}
		return true, nil
	})
}

// memory returns the resident memory of each instance, in bytes.
func (b *bench) memory(ctx context.Context) ([]int64, error) {
	all := make([]int64, len(b.instances))
	for i, s := range b.instances {
		var err error
		if all[i], err = drill.Resident(ctx, s.PID()); err != nil {
			return nil, err
		}
	}
	return all, nil
}
