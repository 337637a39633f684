// Package pubsub is the drill of concept 10: events that leave the database
// through an outbox, reach four consumers through SNS and SQS, and the browser
// through event streams, whatever dies on the way.
package pubsub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
)

// Drill returns the drill.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "pub-sub",
		Summary: "no event is lost or takes effect twice, no consumer waits for another, and every browser sees all of it",
		Parts: []drill.Part{
			{Name: "kills", Summary: "the API, the relay and the consumers are killed at every step, and the database and the cache in between", Limit: 14 * time.Minute, Run: kills},
			{Name: "fan-out", Summary: "four consumers take as long as the slowest; one that stops delays only itself", Limit: 12 * time.Minute, Run: fanOut},
			{Name: "streams", Summary: "event streams go on elsewhere when their instance is killed or drained", Limit: 8 * time.Minute, Run: streams},
		},
	}
}

// Purposes of random numbers.
const (
	purposeRelay = iota + 1
	purposeConsumers
	purposeStopped
	purposeInstance
)

// Consumers of the events, by the names of their programs.
func consumers() []string {
	return []string{app.ServiceProbe, app.ServiceIndex, app.ServiceMeter, "notify"}
}

// told is what a video that can be read tells of itself, in order.
func told() []string {
	return []string{app.EventVideoUploaded, app.EventVideoProbed, app.EventVideoReady}
}

// bench is what the parts work with.
type bench struct {
	*drill.Run
	tenants   []*drill.Tenant
	instances []*drill.StandIn // of the web fleet
	consumers []*drill.Consumer
	undo      []func(context.Context) error // in reverse order

	next atomic.Int64 // instance that is asked next

	mu       sync.Mutex
	uploaded map[string]mediatest.Movie // by file name
}

// close leaves the environment as it was.
func (b *bench) close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	for _, undo := range slices.Backward(b.undo) {
		if err := undo(ctx); err != nil {
			b.Check(false, "the environment is not as it was: %v", err)
		}
	}
}

// web returns what an instance of the web fleet runs, once the edge reaches the
// fleet: after a part that had taken it away the load balancer first has to find
// it healthy.
func web(ctx context.Context, r *drill.Run) (drill.Program, local.Status, error) {
	status, err := r.AwaitStatus(ctx, "a web instance is in service", func(s local.Status) bool {
		all := drill.Instances(s, contract.FleetWeb, contract.ColorBlue)
		return len(all) > 0 && all[0].State == "in-service"
	})
	if err != nil {
		return drill.Program{}, status, err
	}
	edge, err := api.New(status.EdgeURL)
	if err != nil {
		return drill.Program{}, status, err
	}
	if err := drill.Await(ctx, "the edge reaches the fleet", func(ctx context.Context) (bool, error) {
		answer, err := edge.Do(ctx, http.MethodGet, contract.PathVersion, nil, nil)
		if err != nil {
			return false, err
		}
		return true, answer.Decode(http.StatusOK, nil)
	}); err != nil {
		return drill.Program{}, status, err
	}
	program, err := drill.ProgramOf(drill.Instances(status, contract.FleetWeb, contract.ColorBlue)[0])
	return program, status, err
}

// set puts n instances in the place of the web fleet, whose calls to AWS are
// seen: one of them is the relay. With them it finds the consumers and
// registers tenants.
func set(ctx context.Context, r *drill.Run, n, tenants int) (b *bench, err error) {
	b = &bench{Run: r, uploaded: map[string]mediatest.Movie{}}
	defer func() {
		if err != nil {
			b.close(ctx)
		}
	}()
	program, _, err := web(ctx, r)
	if err != nil {
		return b, err
	}
	if b.consumers, err = r.Consumers(ctx, consumers()...); err != nil {
		return b, err
	}
	restore, err := r.Resize(ctx, contract.FleetWeb, contract.ColorBlue, 0)
	if restore != nil {
		b.undo = append(b.undo, restore)
	}
	if err != nil {
		return b, err
	}
	for i := range n {
		s, err := r.Stand(ctx, program, i, nil)
		if err != nil {
			return b, err
		}
		b.instances = append(b.instances, s)
		b.undo = append(b.undo, func(context.Context) error { s.Close(); return nil })
	}
	return b, b.register(ctx, b.instances[0].URL(), tenants)
}

func (b *bench) register(ctx context.Context, base string, n int) error {
	for i := range n {
		t, err := drill.NewTenant(ctx, base, fmt.Sprintf("Pub-sub %d", i))
		if err != nil {
			return err
		}
		b.tenants = append(b.tenants, t)
	}
	return nil
}

// configured sets environment variables of a consumer until close.
func (b *bench) configured(ctx context.Context, c *drill.Consumer, variables map[string]string) error {
	restore, err := c.Configure(ctx, variables)
	if restore != nil {
		b.undo = append(b.undo, restore)
	}
	return err
}

// instance returns the base of an instance, another one each time.
func (b *bench) instance() string {
	return b.instances[int(b.next.Add(1))%len(b.instances)].URL()
}

// movie returns the n-th video of a run. No two in a row are alike in size and
// duration, so that a sum shows which one is missing.
func movie(n int) mediatest.Movie {
	return mediatest.Movie{Duration: time.Duration(1+n%50) * 40 * time.Millisecond, MoovLast: n%2 == 1, Padding: 8 + n%1000}
}

// upload sends the n-th video and returns its id. An upload that is not
// answered is sent again, to another instance: whether the first one has
// become a video too, nobody knows.
func (b *bench) upload(ctx context.Context, t *drill.Tenant, n int) (uuid.UUID, error) {
	return b.uploadTo(ctx, t, n, b.instance)
}

func (b *bench) uploadTo(ctx context.Context, t *drill.Tenant, n int, base func() string) (uuid.UUID, error) {
	name, m := fmt.Sprintf("take%05d.mp4", n), movie(n)
	b.mu.Lock()
	b.uploaded[name] = m
	b.mu.Unlock()
	file := m.MP4()
	var id uuid.UUID
	err := drill.Await(ctx, "a video is uploaded", func(ctx context.Context) (bool, error) {
		r, err := t.Do(ctx, http.MethodPost, base()+"/v1/projects/"+t.Project.ID+"/videos", bytes.NewReader(file),
			http.Header{"Content-Type": {"video/mp4"}, "X-Filename": {name}})
		if err != nil {
			return false, err
		}
		if err := r.Decode(http.StatusAccepted, nil); err != nil {
			return false, err
		}
		id, err = uuid.Parse(strings.TrimPrefix(r.Header.Get("Location"), "/v1/videos/"))
		return err == nil, err
	})
	return id, err
}

// ids of the tenants.
func (b *bench) ids() []uuid.UUID {
	var all []uuid.UUID
	for _, t := range b.tenants {
		all = append(all, t.ID)
	}
	return all
}

// progress is how far the videos of the tenants are.
type progress struct {
	videos, ready int
	outbox        int // messages of the tenants that are not published
}

func (b *bench) progress(ctx context.Context) (p progress, err error) {
	err = b.Primary().QueryRow(ctx, `select count(*), count(*) filter (where probed_at is not null and indexed_at is not null and metered_at is not null),
		(select count(*) from outbox where tenant_id = any($1)) from videos where tenant_id = any($1)`, b.ids()).Scan(&p.videos, &p.ready, &p.outbox)
	return p, err
}

// settle waits until nothing is on its way any more. A message whose consumers
// were killed as often as it may be received is a dead letter, not lost: it is
// put back. It returns how many were.
func (b *bench) settle(ctx context.Context) (redriven int, err error) {
	last := progress{}
	err = drill.Await(ctx, "every event is consumed", func(ctx context.Context) (bool, error) {
		p, err := b.progress(ctx)
		if err != nil {
			return false, err
		}
		if p != last {
			b.Say("  %d of %d videos ready, %d events in the outbox", p.ready, p.videos, p.outbox)
			last = p
		}
		if p.outbox > 0 {
			return false, nil
		}
		for _, c := range b.consumers {
			if n, err := b.Waiting(ctx, c.Queue.URL); err != nil || n > 0 {
				return false, errors.Join(err, fmt.Errorf("%s has %d messages", c.Name, n))
			}
		}
		again := 0
		for _, c := range b.consumers {
			now, err := b.Queue(ctx, c.Queue.URL)
			if err != nil {
				return false, err
			}
			n, err := b.DeadLetters().Redrive(ctx, now)
			again += max(n, now.Dead.Waiting)
			redriven += n
			if err != nil {
				return false, err
			}
		}
		// Nothing was on its way at any moment of this look only if nothing was done in it.
		after, err := b.progress(ctx)
		return again == 0 && after == p, err
	})
	return redriven, err
}
