package messagequeue

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/test/drill"
)

// hidden is how long the worker hides a message it has received, unless it says
// again that it is at it.
const hidden = 30 * time.Second

// heartbeat: a job that S3 keeps waiting for longer than its message is hidden
// is received once, though another worker is free to take it.
func heartbeat(ctx context.Context, r *drill.Run) error {
	b, done, err := set(ctx, r, 2)
	if err != nil {
		return err
	}
	defer done()
	long := drill.Sized(r, hidden+5*time.Second, 2*hidden)

	var mu sync.Mutex
	var job uuid.UUID
	receives, extensions, began := 0, 0, time.Time{}
	b.watch(func(_ *drill.StandIn, c drill.Call) error {
		mu.Lock()
		receives += len(received(c))
		if c.Operation == "ChangeMessageVisibility" && !c.Answered {
			extensions++
		}
		first := c.Operation == "PutObject" && !c.Answered && began.IsZero()
		if first {
			began = time.Now()
		}
		mu.Unlock()
		if !first {
			return nil
		}
		// Held, not failed: S3 takes the rendition so slowly.
		hold := time.NewTimer(long)
		defer hold.Stop()
		select {
		case <-hold.C:
		case <-ctx.Done():
		}
		return nil
	})
	told, stop, err := b.listen(ctx)
	if err != nil {
		return err
	}
	defer stop()
	r.Say("S3 takes %v for the first rendition; the message is hidden for %v", long, hidden)
	if job, err = b.uploadOne(ctx, mediatest.PNG(64, 48)); err != nil {
		return err
	}
	if err := b.await(ctx, "done", 1); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	took := time.Since(began)
	r.Figure("heartbeat_seconds_per_visibility", took.Seconds()/hidden.Seconds())
	r.Figure("heartbeat_extensions", extensions)
	r.Figure("heartbeat_receives", receives)
	r.Check(took > hidden, "the job took %v, no longer than its message was hidden", took)
	r.Check(receives == 1, "the message was received %d times, want once", receives)
	r.Check(extensions > 0, "the message was never extended")
	return b.once(ctx, []uuid.UUID{job}, told)
}
