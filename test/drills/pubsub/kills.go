package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/test/drill"
)

// hidden is how long the queues hide a message for this drill. It is 180 s
// else, six times what a function may take, and so long would what a killed
// function was at be waited for.
const hidden = 5 * time.Second

// step is a point in the way of an event at which something is killed.
type step struct {
	who  string // "api" or a consumer
	name string
}

func (s step) String() string { return s.who + ": " + s.name }

// Steps of the API, which is also the relay.
const (
	uploading  = "uploading"  // S3 has not got the file
	stored     = "stored"     // S3 has it, the database does not know
	committed  = "committed"  // the event is in the outbox; every instance dies
	publishing = "publishing" // SNS has not got it; the relay dies
	accepted   = "accepted"   // SNS has it, the outbox does not know
)

// Steps of a consumer, as the database sees them.
const (
	received    = "received"    // nothing is done
	transaction = "transaction" // the effect is not committed
	done        = "done"        // it is, and the queue does not know
)

// executioner kills at the steps of two plans, one of the API and one of the
// consumers, each one step after the other.
type executioner struct {
	*bench
	every int // kills, after each of which the database is killed

	mu        sync.Mutex
	api       []step
	functions []step
	killed    map[string]int
	kills     int
	published int // events that SNS has accepted, however often each
	atRisk    int // events in the outbox when every instance was killed
	primary   int
	cache     int
	err       error
}

// plan shuffles n rounds of steps.
func plan(r *drill.Run, purpose uint64, n int, all []step) []step {
	var p []step
	for range n {
		p = append(p, all...)
	}
	r.Rand(purpose).Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}

func apiSteps() []step {
	return []step{{"api", uploading}, {"api", stored}, {"api", committed}, {"api", publishing}, {"api", accepted}}
}

func functionSteps() []step {
	var all []step
	for _, c := range consumers() {
		all = append(all, step{c, received}, step{c, transaction}, step{c, done})
	}
	return all
}

// left is how many kills have not taken place.
func (e *executioner) left() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.api) + len(e.functions)
}

// happened notes a kill. It is called with the lock.
func (e *executioner) happened(s step) {
	e.killed[s.String()]++
	if e.kills++; e.kills%e.every != 0 {
		return
	}
	// In turn: the database, the cache, the database, …
	status, err := e.Status()
	if err == nil && status.Redis.Kind != "miniredis" && e.cache < e.primary {
		e.cache++
		_, err = e.KillCache()
	} else if err == nil {
		e.primary++
		_, err = e.KillPrimary()
	}
	e.err = errors.Join(e.err, err)
}

var errKilled = errors.New("the drill has killed who asked")

// call sees a call of an instance to AWS.
func (e *executioner) call(ctx context.Context, s *drill.StandIn, c drill.Call) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.Operation == "PublishBatch" && c.Answered {
		e.published += strings.Count(string(c.Answer), "<MessageId>")
	}
	if len(e.api) == 0 {
		return nil
	}
	put, publish := c.Service == "s3" && c.Operation == "PutObject", c.Operation == "PublishBatch"
	next := e.api[0]
	var at bool
	switch next.name {
	case uploading:
		at = put && !c.Answered
	case stored:
		at = put && c.Answered
	case committed, publishing:
		at = publish && !c.Answered
	case accepted:
		at = publish && c.Answered
	}
	if !at {
		return nil
	}
	if next.name == committed {
		// What the relay is about to publish was committed, and nobody will be left who knows it.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		p, err := e.progress(ctx)
		if err != nil || p.outbox == 0 {
			return nil // the database is down: another time
		}
		e.atRisk += p.outbox
		for _, other := range e.instances {
			if other != s {
				other.Kill()
			}
		}
	}
	s.Kill()
	e.api = e.api[1:]
	e.happened(next)
	if c.Answered {
		return nil
	}
	return errKilled
}

// piece sees what passes between a consumer and the database.
func (e *executioner) piece(ctx context.Context, c *drill.Consumer, p drill.Piece) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.functions) == 0 || e.functions[0].who != c.Name {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	next := e.functions[0]
	at, err := e.at(ctx, next.name, p)
	if err != nil || !at {
		return nil // the database is down: another time
	}
	// It has a message: it is not a connection being closed.
	if n, err := c.InFlight(ctx); err != nil || n == 0 {
		return nil // the same
	}
	if _, err := c.Kill(ctx, p.Client); err != nil {
		return nil // it has ended
	}
	e.functions = e.functions[1:]
	e.happened(next)
	return errKilled
}

// at tells whether the session behind a piece is at a step.
func (e *executioner) at(ctx context.Context, name string, p drill.Piece) (bool, error) {
	var state, query string
	err := e.Primary().QueryRow(ctx, "select coalesce(state, ''), coalesce(query, '') from pg_stat_activity where client_port = $1",
		p.Server).Scan(&state, &query)
	if err != nil {
		return false, err
	}
	switch name {
	case received:
		return !p.Answer && state == "idle", nil
	case transaction:
		return !p.Answer && state == "idle in transaction", nil
	case done:
		return p.Answer && state == "idle" && strings.EqualFold(query, "commit"), nil
	}
	return false, fmt.Errorf("step %q: there is none", name)
}

// kills: whatever dies at whatever step, every event has its effects, and once,
// and every subscriber is told of it.
func kills(ctx context.Context, r *drill.Run) error {
	const listeners = 3 // of a user, one of which by WebSocket
	b, err := set(ctx, r, 2, drill.Sized(r, 2, 4))
	if err != nil {
		return err
	}
	defer b.close(ctx)
	e := &executioner{bench: b, every: drill.Sized(r, 8, 10), killed: map[string]int{}}
	e.api = plan(r, purposeRelay, drill.Sized(r, 1, 5), apiSteps())
	e.functions = plan(r, purposeConsumers, drill.Sized(r, 1, 5), functionSteps())
	planned := len(e.api) + len(e.functions)
	videos := drill.Sized(r, 20, 200) // each tells of three events

	primary, err := r.Setting(ctx, contract.DatabasePrimary)
	if err != nil {
		return err
	}
	for _, c := range b.consumers {
		restore, err := c.Hide(ctx, hidden)
		if restore != nil {
			b.undo = append(b.undo, restore)
		}
		if err != nil {
			return err
		}
		link, err := drill.NewLink(ctx, primary, func(p drill.Piece) error { return e.piece(ctx, c, p) })
		if err != nil {
			return err
		}
		b.undo = append(b.undo, func(context.Context) error { link.Close(); return nil })
		if err := b.configured(ctx, c, map[string]string{contract.DatabasePrimary.Env(): link.Addr}); err != nil {
			return err
		}
	}
	subscribers, leave, err := subscribe(ctx, b.tenants, listeners, func(*subscriber) string { return b.instance() })
	defer leave()
	if err != nil {
		return err
	}
	r.Say("at least %d videos, %d kills, the first at %q and %q; messages are hidden for %v, not 180 s, until the drill ends",
		videos, planned, e.api[0], e.functions[0], hidden)
	for _, s := range b.instances {
		s.Tap.Watch(func(c drill.Call) error { return e.call(ctx, s, c) })
	}
	if err := e.upload(ctx, videos); err != nil {
		return err
	}
	redriven, err := b.settle(ctx)
	if err != nil {
		return err
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	r.Figure("kills_by_step", e.killed)
	r.Figure("kills_total", planned-len(e.api)-len(e.functions))
	r.Figure("kills_database", e.primary)
	r.Figure("kills_cache", e.cache)
	r.Figure("kills_events_at_risk", e.atRisk)
	r.Figure("kills_redriven", redriven)
	r.Check(len(e.api)+len(e.functions) == 0, "%d kills did not take place: %v %v", len(e.api)+len(e.functions), e.api, e.functions)
	r.Check(e.primary > 0, "the database was not killed")
	r.Check(e.atRisk > 0, "no event was in the outbox when every instance was killed")
	status, err := r.Status()
	if err != nil {
		return err
	}
	if status.Redis.Kind == "miniredis" {
		r.Say("  THE CACHE WAS NOT KILLED: it is miniredis, which runs inside `loadbearing up`")
	} else {
		r.Check(e.cache > 0, "the cache was not killed")
	}
	if err := b.once(ctx, e.published); err != nil {
		return err
	}
	return b.judge(ctx, subscribers)
}

// uploadsAtOnce is how many videos are on their way at a time.
const uploadsAtOnce = 4

// upload sends n videos, and more until every kill has taken place, up to ten
// times as many.
func (e *executioner) upload(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadsAtOnce)
	// No faster than one of them can tell of a step: the events are to last as long as the kills.
	pace := time.NewTicker(200 * time.Millisecond)
	defer pace.Stop()
	for i := 0; i < n || e.left() > 0 && i < 10*n; i++ {
		group.Go(func() error {
			_, err := e.bench.upload(ctx, e.tenants[i%len(e.tenants)], i)
			return err
		})
		select {
		case <-ctx.Done():
			e.mu.Lock()
			defer e.mu.Unlock()
			return errors.Join(group.Wait(), fmt.Errorf("%d videos sent, kills left: %v %v: %w", i, e.api, e.functions, context.Cause(ctx)))
		case <-pace.C:
		}
	}
	return group.Wait()
}

// once checks that every event had its effects, and had them once.
func (b *bench) once(ctx context.Context, published int) error {
	rows, err := b.Primary().Query(ctx, `select v.tenant_id, v.id, v.filename, v.bytes, v.events, v.probe is not null, v.probed_at is not null and v.indexed_at is not null
			and v.metered_at is not null and v.reason = '', coalesce(n.sequence, 0), (select count(*) from early_notices e where e.aggregate = v.id)
		from videos v left join notices n on n.aggregate = v.id where v.tenant_id = any($1)`, b.ids())
	if err != nil {
		return err
	}
	defer rows.Close()
	type use struct{ bytes, milliseconds int64 }
	want, videos, names := map[uuid.UUID]use{}, map[uuid.UUID]int{}, map[string]map[uuid.UUID]int{}
	total := 0
	for rows.Next() {
		var tenant, id uuid.UUID
		var name string
		var bytes int64
		var events, notices, early int
		var probed, ready bool
		if err := rows.Scan(&tenant, &id, &name, &bytes, &events, &probed, &ready, &notices, &early); err != nil {
			return err
		}
		m, sent := b.uploaded[name]
		b.Check(sent, "video %s is called %q, which was not sent", id, name)
		b.Check(ready && probed, "video %s is not ready", id)
		b.Check(events == len(told()), "video %s has told of %d events, want %d", id, events, len(told()))
		b.Check(notices == len(told()) && early == 0, "%d events of video %s were handed to the browser, %d wait for an earlier one; want %d", notices, id, early, len(told()))
		b.Check(bytes == int64(len(m.MP4())), "video %s has %d bytes, %d were sent", id, bytes, len(m.MP4()))
		u := want[tenant]
		want[tenant] = use{u.bytes + bytes, u.milliseconds + m.Duration.Milliseconds()}
		videos[tenant]++
		if names[name] == nil {
			names[name] = map[uuid.UUID]int{}
		}
		names[name][tenant]++
		total++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	events := total * len(told())
	b.Figure("kills_videos", total)
	b.Figure("kills_events", events)
	b.Figure("kills_published_per_event", float64(published)/float64(events))
	b.Check(len(names) == len(b.uploaded), "%d of %d videos that were sent are there", len(names), len(b.uploaded))
	b.Check(published > events, "SNS accepted %d events of %d: no kill had one published again", published, events)
	for _, t := range b.tenants {
		var got use
		if err := b.Primary().QueryRow(ctx, "select coalesce(sum(bytes), 0), coalesce(sum(milliseconds), 0) from usage_days where tenant_id = $1", t.ID).
			Scan(&got.bytes, &got.milliseconds); err != nil {
			return err
		}
		b.Check(got == want[t.ID], "tenant %s is metered %+v, want %+v", t.ID, got, want[t.ID])
		var consumed int
		if err := b.Primary().QueryRow(ctx, "select count(*) from consumed_events where tenant_id = $1 and consumer = $2", t.ID, app.ServiceMeter).Scan(&consumed); err != nil {
			return err
		}
		b.Check(consumed == 2*videos[t.ID], "the meter has consumed %d events of tenant %s, want %d", consumed, t.ID, 2*videos[t.ID])
		for name, by := range names {
			if by[t.ID] == 0 {
				continue
			}
			n, err := b.found(ctx, t, strings.TrimSuffix(name, ".mp4"))
			if err != nil {
				return err
			}
			b.Check(n == by[t.ID], "a search for %s finds it %d times, want %d", name, n, by[t.ID])
		}
	}
	return nil
}
