package messagequeue

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
)

func original(key string) bool { return strings.HasSuffix(key, "/original") }

// poison: S3 fails for the originals of one job in ten. Those become dead
// letters after exactly as many receives as the queue allows, with the reason,
// and keep no other from being done; once S3 is well they are redriven and done.
func poison(ctx context.Context, r *drill.Run) error {
	b, done, err := set(ctx, r, 1)
	if err != nil {
		return err
	}
	defer done()
	jobs := drill.Sized(r, 20, 200)

	var mu sync.Mutex
	receives, counts := map[uuid.UUID]int{}, map[uuid.UUID]int{} // by job
	poisoned := map[string]bool{}                                // keys
	broken, refused := true, 0
	b.watch(func(_ *drill.StandIn, c drill.Call) error {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range received(c) {
			receives[m.job]++
			counts[m.job] = m.count
		}
		if broken && c.Operation == "GetObject" && !c.Answered {
			for key := range poisoned {
				if strings.HasSuffix(c.Path, key) {
					refused++
					return errors.New("the drill says no")
				}
			}
		}
		return nil
	})

	// The worker must not be faster than the drill says which are poison.
	b.workers[0].Pause()
	ids, err := b.upload(ctx, jobs, different)
	if err != nil {
		return err
	}
	bad := map[uuid.UUID]bool{}
	for _, i := range r.Rand(purposePoison).Perm(jobs)[:jobs/10] {
		var key string
		if err := b.Primary().QueryRow(ctx, "select source_key from jobs where id = $1", ids[i]).Scan(&key); err != nil {
			return err
		}
		bad[ids[i]] = true
		mu.Lock()
		poisoned[key] = true
		mu.Unlock()
	}
	b.workers[0].Resume()

	if err := b.await(ctx, "failed", len(bad)); err != nil {
		return err
	}
	dead, err := b.Waiting(ctx, b.queue.Dead.URL)
	if err != nil {
		return err
	}
	finished, err := b.count(ctx, "done")
	if err != nil {
		return err
	}
	mu.Lock()
	for id := range bad {
		// A worker of the fleet may have taken one with its last poll, and its answer with it.
		r.Check(counts[id] == b.queue.MaxReceives, "job %s was received %d times before it was a dead letter, want %d", id, counts[id], b.queue.MaxReceives)
	}
	for id, n := range receives {
		r.Check(bad[id] || n == 1, "job %s was received %d times, though nothing was wrong with it", id, n)
	}
	r.Figure("poison_jobs", len(bad))
	r.Figure("poison_receives_each", b.queue.MaxReceives)
	r.Check(refused > 0, "S3 never refused a poisoned picture")
	broken = false
	mu.Unlock()
	r.Check(dead == len(bad), "%d dead letters, want %d", dead, len(bad))
	r.Check(finished == jobs-len(bad), "%d of the %d others are done", finished, jobs-len(bad))
	letters, err := b.DeadLetters().Show(ctx, b.queue, dead)
	if err != nil {
		return err
	}
	for _, l := range letters {
		r.Check(strings.Contains(l.Why, "object store"), "dead letter %s does not say why it is one: %q", l.ID, l.Why)
	}
	for id := range bad {
		job, err := api.Await(ctx, b.tenant.Client, "/v1/jobs/"+id.String(), func(api.Job) bool { return true })
		if err != nil {
			return err
		}
		r.Check(job.Reason != "", "job %s is %s and does not say why", id, job.Status)
		break
	}

	r.Say("S3 is well again: redrive")
	redriven := 0
	err = drill.Await(ctx, "every dead letter is redriven", func(ctx context.Context) (bool, error) {
		n, err := b.redrive(ctx)
		redriven += n
		// One that somebody has looked at may still be hidden.
		return redriven >= len(bad), err
	})
	if err != nil {
		return err
	}
	if err := b.await(ctx, "done", jobs); err != nil {
		return err
	}
	r.Figure("poison_done_after_redrive", redriven)
	return nil
}
