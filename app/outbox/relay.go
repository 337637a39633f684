// Package outbox relays the messages that changes left in the transactional
// outbox to the queue and the topic they are meant for.
//
// A message is published at least once: it is removed only after its receiver
// has accepted it, so a crash between the two publishes it again. Messages of
// one aggregate go out in the order they were written: the next one is not
// read before the one before it is gone.
package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/loadbearing/loadbearing/app"
)

// Store is the outbox. Package postgres implements it.
type Store interface {
	// Lead runs fn if no other process leads, and tells whether it did. wake receives when messages were written.
	Lead(ctx context.Context, fn func(ctx context.Context, wake <-chan struct{}) error) (bool, error)
	// Pending returns messages that are due, at most one of each aggregate.
	Pending(ctx context.Context, limit int) ([]app.Message, error)
	// Settle removes the published messages and delays the failed ones.
	Settle(ctx context.Context, published []int64, failed map[int64]time.Duration) error
	// Backlog returns how many messages wait and how old the oldest is.
	Backlog(ctx context.Context) (messages int, oldest time.Duration, err error)
}

// Publisher hands messages to a receiver. The result has one entry for each
// message: nil when it was accepted.
type Publisher interface {
	Publish(ctx context.Context, messages []app.Message) []error
}

// Relay moves messages from the store to the publishers.
type Relay struct {
	Store      Store
	Publishers map[app.Destination]Publisher
	Log        *slog.Logger

	// Poll is how often the leader looks without being woken, for messages
	// whose delay is over; default 1 s.
	Poll time.Duration
	// Standby is how often the others try to lead; default 2 s.
	Standby time.Duration
	// Measure is how often the leader measures the backlog; default 10 s.
	Measure time.Duration
	Metrics *Metrics // optional
}

const (
	batch          = 100              // messages read at once
	publishTimeout = 10 * time.Second // for one round of publishing
	settleTimeout  = 5 * time.Second
	firstDelay     = 500 * time.Millisecond
	longestDelay   = time.Minute
)

// Run relays until ctx ends. Every instance runs it; one leads at a time.
func (r *Relay) Run(ctx context.Context) {
	standby := cmp.Or(r.Standby, 2*time.Second)
	for ctx.Err() == nil {
		led, err := r.Store.Lead(ctx, r.lead)
		if err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "outbox relay interrupted", "led", led, "error", err)
		}
		// Jitter, or all instances ask in the same moment after a failover.
		wait(ctx, standby/2+rand.N(standby), nil)
	}
}

func (r *Relay) lead(ctx context.Context, wake <-chan struct{}) error {
	poll := cmp.Or(r.Poll, time.Second)
	r.Log.InfoContext(ctx, "leading the outbox relay")
	if r.Metrics != nil {
		measured := make(chan struct{})
		measuring, stop := context.WithCancel(ctx)
		go func() { defer close(measured); r.measure(measuring) }()
		defer func() { stop(); <-measured }()
	}
	for {
		more, err := r.round(ctx)
		if err != nil {
			return err
		}
		if !more {
			wait(ctx, poll, wake)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// measure keeps the metrics of the backlog while this process leads. It does
// so beside the rounds: a receiver that hangs must not hide what waits for it.
func (r *Relay) measure(ctx context.Context) {
	r.Metrics.leading.Set(1)
	defer func() {
		r.Metrics.leading.Set(0)
		r.Metrics.backlog(0, 0)
	}()
	for ctx.Err() == nil {
		messages, oldest, err := r.Store.Backlog(ctx)
		if err == nil {
			r.Metrics.backlog(messages, oldest)
		} else if ctx.Err() == nil {
			r.Log.WarnContext(ctx, "outbox not measured", "error", err)
		}
		wait(ctx, cmp.Or(r.Measure, 10*time.Second), nil)
	}
}

// round publishes what is due and tells whether to look again at once.
func (r *Relay) round(ctx context.Context) (bool, error) {
	messages, err := r.Store.Pending(ctx, batch)
	if err != nil || len(messages) == 0 {
		return false, err
	}
	byDestination := map[app.Destination][]app.Message{}
	for _, m := range messages {
		byDestination[m.Destination] = append(byDestination[m.Destination], m)
	}
	var published []int64
	failed := map[int64]time.Duration{}
	publishing, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	// At the same time: one destination that hangs takes the others no time.
	outcome := map[app.Destination][]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for destination, ms := range byDestination {
		wg.Go(func() {
			errs := r.publish(publishing, destination, ms)
			mu.Lock()
			defer mu.Unlock()
			outcome[destination] = errs
		})
	}
	wg.Wait()
	for destination, ms := range byDestination {
		errs := outcome[destination]
		for i, m := range ms {
			if errs[i] == nil {
				published = append(published, m.Sequence)
				continue
			}
			failed[m.Sequence] = delay(m.Attempts)
			r.Log.WarnContext(ctx, "message not published", "destination", destination, "message", m.ID,
				"attempt", m.Attempts+1, "retry_in", failed[m.Sequence], "error", errs[i])
		}
	}
	// What was accepted is settled also when the process is asked to stop
	// meanwhile: each message that is not would be published twice.
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := r.Store.Settle(settling, published, failed); err != nil {
		return false, err
	}
	if r.Metrics != nil {
		r.Metrics.count(len(published), len(failed))
	}
	return len(published) > 0, nil
}

func (r *Relay) publish(ctx context.Context, d app.Destination, ms []app.Message) []error {
	p, ok := r.Publishers[d]
	if !ok {
		return slices.Repeat([]error{fmt.Errorf("no publisher for destination %q", d)}, len(ms))
	}
	errs := p.Publish(ctx, ms)
	if len(errs) != len(ms) {
		return slices.Repeat([]error{errors.Join(append(errs, fmt.Errorf("%d answers for %d messages", len(errs), len(ms)))...)}, len(ms))
	}
	return errs
}

// delay doubles with each failed attempt, with full jitter above half of it.
func delay(attempts int) time.Duration {
	d := min(firstDelay<<min(attempts, 10), longestDelay)
	return d/2 + rand.N(d/2)
}

func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}
