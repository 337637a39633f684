package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app"
)

// Defaults of HubOptions.
const (
	DefaultBuffer   = 64
	DefaultPatience = 5 * time.Second
)

// HubOptions bound what one listener may cost.
type HubOptions struct {
	// Buffer is how many events wait in memory for one listener. What it has no
	// room for waits in the history. Default DefaultBuffer.
	Buffer int
	// Patience is how long a listener may leave its buffer full while more is
	// there before its subscription ends with app.ErrSlow. Default DefaultPatience.
	Patience time.Duration
	// Log says when the hub cannot reach Redis. Default none.
	Log *slog.Logger
}

// Hub delivers the events of the users who listen to this process. However many
// they are, it holds one connection to Redis that listens to their channels and
// uses one more at a time to read.
type Hub struct {
	store *Store
	o     HubOptions

	mu      sync.Mutex
	feeds   map[uuid.UUID]*feed
	due     []*feed       // to be read, in order
	reading chan struct{} // due is not empty
	changed map[uuid.UUID]struct{}
	joining chan struct{} // changed is not empty
}

var _ app.Subscriptions = (*Hub)(nil)

// NewHub returns a hub. Nothing is delivered until Run is called.
func NewHub(store *Store, o HubOptions) *Hub {
	o.Buffer = cmp.Or(o.Buffer, DefaultBuffer)
	o.Patience = cmp.Or(o.Patience, DefaultPatience)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return &Hub{
		store: store, o: o, feeds: map[uuid.UUID]*feed{}, reading: make(chan struct{}, 1),
		changed: map[uuid.UUID]struct{}{}, joining: make(chan struct{}, 1),
	}
}

// feed is a user with at least one listener.
type feed struct {
	user uuid.UUID
	subs []*subscription
	rung uint64 // how often there may have been something new
	due  bool   // in Hub.due
}

type subscription struct {
	hub  *Hub
	feed *feed
	wake chan struct{}

	// All below is guarded by the hub's mutex.
	at     cursor // behind what is in queue
	told   bool   // ready or a gap
	seen   uint64 // the feed's rung that at is up to date with
	queue  []app.Signal
	slow   *time.Timer // runs while the queue is full and more is there
	full   uint64      // how often that was so
	err    error
	closed bool
}

// Subscribe implements app.Subscriptions.
func (h *Hub) Subscribe(user uuid.UUID, last string) app.Subscription {
	from := cursor{kind: end}
	if last != "" {
		from = parseCursor(last)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[user]
	if f == nil {
		f = &feed{user: user, rung: 1}
		h.feeds[user] = f
		h.change(user)
	}
	s := &subscription{hub: h, feed: f, wake: make(chan struct{}, 1), at: from}
	f.subs = append(f.subs, s)
	h.schedule(f)
	return s
}

// Recheck implements app.Subscriptions.
func (h *Hub) Recheck(ctx context.Context, user uuid.UUID) error {
	if err := h.store.client.Publish(ctx, channelKey(user), recheck).Err(); err != nil {
		return fmt.Errorf("ask the listeners of user %s to check their sessions: %w", user, err)
	}
	return nil
}

// recheck is what a channel carries when it does not ring for a new entry.
const recheck = "recheck"

// Wake implements app.Subscription.
func (s *subscription) Wake() <-chan struct{} { return s.wake }

// Take implements app.Subscription.
func (s *subscription) Take() ([]app.Signal, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	taken := s.queue
	s.queue = nil // an idle listener holds no buffer
	if s.slow != nil {
		s.slow.Stop()
		s.slow = nil
	}
	h.schedule(s.feed)
	return taken, nil
}

// Close implements app.Subscription.
func (s *subscription) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(s)
}

func (h *Hub) remove(s *subscription) {
	if s.closed {
		return
	}
	s.closed, s.queue = true, nil
	if s.slow != nil {
		s.slow.Stop()
	}
	f := s.feed
	f.subs = slices.DeleteFunc(f.subs, func(other *subscription) bool { return other == s })
	if len(f.subs) == 0 {
		delete(h.feeds, f.user)
		h.change(f.user)
	}
}

// drop ends a subscription that took nothing since its queue was full.
func (s *subscription) drop(since uint64) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.slow == nil || s.full != since || s.closed {
		return // it took everything a moment ago
	}
	s.err = app.ErrSlow
	h.remove(s)
	signal(s.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// change has the channel of a user listened to, or no longer.
func (h *Hub) change(user uuid.UUID) {
	h.changed[user] = struct{}{}
	signal(h.joining)
}

// ring notes that there may be something new for a user.
func (h *Hub) ring(user uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[user]; f != nil {
		f.rung++
		h.schedule(f)
	}
}

// schedule has a feed read if a listener with room in its buffer may lack
// something, and sets the clock for those without room.
func (h *Hub) schedule(f *feed) {
	wanted := false
	for _, s := range f.subs {
		switch {
		case s.seen == f.rung:
		case len(s.queue) < h.o.Buffer:
			wanted = true
		case s.slow == nil:
			s.full++
			since := s.full
			s.slow = time.AfterFunc(h.o.Patience, func() { s.drop(since) })
		}
	}
	if wanted && !f.due {
		f.due = true
		h.due = append(h.due, f)
		signal(h.reading)
	}
}

// Times of the connection that listens.
const (
	// silence is after what time without a word Redis is asked whether it is
	// there, and then given up.
	silence  = 2 * time.Second
	leastGap = 50 * time.Millisecond // between two attempts to reach it
	mostGap  = time.Second
)

// Run delivers until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { h.deliver(ctx) })
	gap := leastGap
	for ctx.Err() == nil {
		begin := time.Now()
		err := h.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > mostGap {
			gap = leastGap
		}
		h.o.Log.WarnContext(ctx, "the event streams lost the cache; they go on when it is back", "error", err, "retry_in", gap)
		pause(ctx, gap)
		gap = min(2*gap, mostGap)
	}
}

// pause waits for a random time up to d, so that instances do not call in step.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(rand.N(d))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// listen holds one connection that is subscribed to the channel of each user
// with a listener, until it fails. Whatever happened while nobody listened is
// found by the reading that each confirmation of a subscription causes.
func (h *Hub) listen(ctx context.Context) error {
	bells := h.store.client.Subscribe(ctx)
	group, ctx := errgroup.WithContext(ctx)
	// Closing it is the one way to end a Receive at once.
	stop := context.AfterFunc(ctx, func() { _ = bells.Close() })
	defer stop()
	group.Go(func() error { return h.join(ctx, bells) })
	group.Go(func() error { return h.receive(ctx, bells) })
	return group.Wait()
}

// subscribeBatch is the most channels named in one command.
const subscribeBatch = 512

// join keeps a connection subscribed to the channels of those who listen.
func (h *Hub) join(ctx context.Context, bells *redis.PubSub) error {
	h.mu.Lock()
	for user := range h.feeds {
		h.changed[user] = struct{}{}
	}
	h.mu.Unlock()
	subscribed := map[uuid.UUID]struct{}{}
	signal(h.joining)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.joining:
		}
		var come, gone []string
		h.mu.Lock()
		for user := range h.changed {
			_, is := subscribed[user]
			switch want := h.feeds[user] != nil; {
			case want && !is:
				subscribed[user] = struct{}{}
				come = append(come, channelKey(user))
			case !want && is:
				delete(subscribed, user)
				gone = append(gone, channelKey(user))
			}
		}
		clear(h.changed)
		h.mu.Unlock()
		for some := range slices.Chunk(come, subscribeBatch) {
			if err := bells.Subscribe(ctx, some...); err != nil {
				return fmt.Errorf("subscribe to %d channels: %w", len(some), err)
			}
		}
		for some := range slices.Chunk(gone, subscribeBatch) {
			if err := bells.Unsubscribe(ctx, some...); err != nil {
				return fmt.Errorf("unsubscribe from %d channels: %w", len(some), err)
			}
		}
	}
}

// receive rings for what a connection hears until it hears nothing any more.
func (h *Hub) receive(ctx context.Context, bells *redis.PubSub) error {
	asked := false
	for ctx.Err() == nil {
		heard, err := bells.ReceiveTimeout(ctx, silence)
		if wait, ok := errors.AsType[interface {
			error
			Timeout() bool
		}](err); ok && wait.Timeout() && !asked {
			if err := bells.Ping(ctx); err != nil {
				return fmt.Errorf("ping: %w", err)
			}
			asked = true
			continue
		}
		if err != nil {
			return fmt.Errorf("listen to the channels: %w", err)
		}
		asked = false
		switch m := heard.(type) {
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				h.hear(m.Channel, "")
			}
		case *redis.Message:
			h.hear(m.Channel, m.Payload)
		}
	}
	return ctx.Err()
}

func (h *Hub) hear(channel, payload string) {
	_, rest, _ := strings.Cut(channel, "{")
	id, _, _ := strings.Cut(rest, "}")
	user, err := uuid.Parse(id)
	switch {
	case err != nil:
	case payload == recheck:
		h.recheck(user)
	default:
		h.ring(user)
	}
}

func (h *Hub) recheck(user uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[user]; f != nil {
		for _, s := range f.subs {
			s.push(app.Signal{Kind: app.SignalRecheck})
		}
	}
}

func (s *subscription) push(signals ...app.Signal) {
	s.queue = append(s.queue, signals...)
	signal(s.wake)
}

// readBatch is the most users read with one round trip.
const readBatch = 32

// deliver reads what is due and hands it to the listeners.
func (h *Hub) deliver(ctx context.Context) {
	gap := leastGap
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.reading:
		}
		reads := h.take()
		queries := make([]query, len(reads))
		for i, r := range reads {
			queries[i] = query{user: r.feed.user, from: r.from, limit: h.o.Buffer}
		}
		pages, err := h.store.read(ctx, queries)
		h.mu.Lock()
		for i, r := range reads {
			if err == nil && pages[i].err == nil {
				h.hand(r, pages[i])
			}
			h.schedule(r.feed)
		}
		h.mu.Unlock()
		// What one query is answered slows all down when it is an error, which is better than
		// asking again and again.
		for _, p := range pages {
			err = cmp.Or(err, p.err)
		}
		if err != nil && ctx.Err() == nil {
			h.o.Log.WarnContext(ctx, "the event streams cannot read the cache; they try again", "error", err, "users", len(reads), "retry_in", gap)
			pause(ctx, gap)
			gap = min(2*gap, mostGap)
			continue
		}
		gap = leastGap
	}
}

// reading is the next page of a feed for those who stand at from.
type reading struct {
	feed *feed
	from cursor
	rung uint64 // before the reading
}

// take returns what to read next.
func (h *Hub) take() []reading {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.due), readBatch)
	var reads []reading
	for _, f := range h.due[:n] {
		f.due = false
		for _, s := range f.subs {
			if s.seen != f.rung && len(s.queue) < h.o.Buffer {
				reads = append(reads, reading{feed: f, from: s.at, rung: f.rung})
				break
			}
		}
	}
	h.due = slices.Delete(h.due, 0, n)
	if len(h.due) > 0 {
		signal(h.reading)
	}
	return reads
}

// hand gives a page to all listeners that stood where it was read from. The
// others are read for in their turn; listeners that are up to date all stand at
// one place.
func (h *Hub) hand(r reading, p page) {
	for _, s := range r.feed.subs {
		if s.at != r.from || s.seen == r.feed.rung {
			continue
		}
		room := h.o.Buffer - len(s.queue)
		if room <= 0 {
			continue
		}
		switch {
		case p.gap:
			s.push(app.Signal{Kind: app.SignalGap, Position: p.start.String()})
		case !s.told:
			s.push(app.Signal{Kind: app.SignalReady, Position: p.start.String()})
		}
		s.told = true
		s.at = cursor{at: p.start}
		whole := len(p.messages) < h.o.Buffer && len(p.messages) <= room
		for _, m := range p.messages[:min(room, len(p.messages))] {
			s.push(app.Signal{Kind: app.SignalEvent, Position: m.at.String(), Body: m.body})
			s.at.at = m.at
		}
		if whole {
			s.seen = r.rung
		}
	}
}
