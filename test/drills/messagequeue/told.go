package messagequeue

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
)

// told is what the owner of the jobs was told of them.
type told struct {
	mu    sync.Mutex
	ready bool           // nothing from here on is missed
	done  map[string]int // how often that a job is done
	err   error
}

// again is how long the function that tells of jobs waits for another try, when
// the database died under it. Its queue is deployed with minutes.
const again = 5 * time.Second

// listen has the tenant's owner listen as a browser does, until stop.
func (b *bench) listen(ctx context.Context) (t *told, stop func(), err error) {
	consumers, err := b.Consumers(ctx, app.ServiceNotify)
	if err != nil {
		return nil, nil, err
	}
	restore, err := consumers[0].Hide(ctx, again)
	if err != nil {
		return nil, nil, err
	}
	t = &told{done: map[string]int{}}
	listening, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	l := api.Listener{Client: b.tenant.Client, Transport: api.SSE, Base: func() string { return b.edge }, Hear: t.hear}
	running.Go(func() {
		err := l.Run(listening)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.err = err
	})
	stop = func() {
		cancel()
		running.Wait()
		if err := restore(context.WithoutCancel(ctx)); err != nil {
			b.Check(false, "the queue of the notices is not as it was: %v", err)
		}
	}
	err = drill.Await(ctx, "the owner of the jobs listens", func(context.Context) (bool, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.ready, t.err
	})
	if err != nil {
		stop()
	}
	return t, stop, err
}

func (t *told) hear(e api.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready = t.ready || e.Kind == "ready"
	var what api.Happening
	if e.Kind == "message" && json.Unmarshal(e.Data, &what) == nil && what.Type == app.EventImageDone {
		t.done[what.Subject]++
	}
}

func (t *told) times(job uuid.UUID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done[job.String()]
}

// await waits until the owner was told of so many jobs that they are done.
func (t *told) await(ctx context.Context, jobs int) error {
	return drill.Await(ctx, fmt.Sprintf("the owner of %d jobs is told that they are done", jobs), func(context.Context) (bool, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return len(t.done) >= jobs, t.err
	})
}
