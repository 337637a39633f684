package messagequeue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/test/drill"
)

// step is a point in the life of a job at which a worker is killed.
type step struct {
	name string
	at   func(drill.Call) bool
}

// steps are all there are, as they are seen from AWS: between two of them a
// worker changes nothing that another could see.
func steps() []step {
	before := func(operation string) func(drill.Call) bool {
		return func(c drill.Call) bool { return c.Operation == operation && !c.Answered }
	}
	after := func(operation string) func(drill.Call) bool {
		return func(c drill.Call) bool { return c.Operation == operation && c.Answered }
	}
	return []step{
		{"received", func(c drill.Call) bool { return len(received(c)) > 0 }},
		{"started", before("GetObject")},
		{"resized", before("PutObject")},
		{"stored", after("PutObject")},
		{"committed", before("DeleteMessageBatch")},
		{"deleted", after("DeleteMessageBatch")},
	}
}

// executioner kills workers at the steps of a plan, one after the other.
type executioner struct {
	mu       sync.Mutex
	plan     []step
	killed   map[string]int
	receives int // messages, however often each
	primary  int // kills of the database
	every    int // one after so many kills of a worker
	kill     func() (int, error)
	err      error
}

func (e *executioner) see(w *drill.StandIn, c drill.Call) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.receives += len(received(c))
	if len(e.plan) == 0 || !e.plan[0].at(c) {
		return nil
	}
	e.killed[e.plan[0].name]++
	e.plan = e.plan[1:]
	w.Kill()
	if len(e.plan)%e.every == 0 && e.err == nil {
		e.primary++
		_, e.err = e.kill()
	}
	return nil
}

// kills: whatever step a worker dies at, and whenever the database does, every
// job is done, and once.
func kills(ctx context.Context, r *drill.Run) error {
	b, done, err := set(ctx, r, 2)
	if err != nil {
		return err
	}
	defer done()
	jobs, rounds := drill.Sized(r, 50, 500), drill.Sized(r, 2, 10)
	e := &executioner{killed: map[string]int{}, every: drill.Sized(r, 12, 15), kill: r.KillPrimary}
	for range rounds {
		e.plan = append(e.plan, steps()...)
	}
	r.Rand(purposeSteps).Shuffle(len(e.plan), func(i, j int) { e.plan[i], e.plan[j] = e.plan[j], e.plan[i] })
	planned := len(e.plan)
	r.Say("%d jobs, %d kills of one of two workers, the first at %q", jobs, planned, e.plan[0].name)
	b.watch(e.see)
	told, stop, err := b.listen(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if _, err := b.upload(ctx, jobs, different); err != nil {
		return err
	}
	ids, err := b.jobs(ctx)
	if err != nil {
		return err
	}
	if err := b.finish(ctx, len(ids)); err != nil {
		return err
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	r.Figure("kills_jobs", len(ids))
	r.Figure("kills_workers_killed", planned-len(e.plan))
	r.Figure("kills_by_step", e.killed)
	r.Figure("kills_database_killed", e.primary)
	r.Figure("kills_receives_per_job", float64(e.receives)/float64(len(ids)))
	r.Check(len(e.plan) == 0, "only %d of %d kills took place: the jobs ended before", planned-len(e.plan), planned)
	r.Check(e.primary > 0, "the database was not killed")
	r.Check(e.receives > jobs, "%d receives for %d jobs: no kill brought a message back", e.receives, jobs)
	return b.once(ctx, ids, told)
}

// finish waits until every job is done. A job whose workers were killed as
// often as its message may be received is a dead letter, not lost: it is put
// back.
func (b *bench) finish(ctx context.Context, jobs int) error {
	redriven := 0
	err := drill.Await(ctx, "no message is left", func(ctx context.Context) (bool, error) {
		waiting, err := b.Waiting(ctx, b.queue.URL)
		if err != nil || waiting > 0 {
			return false, err
		}
		n, err := b.redrive(ctx)
		redriven += n
		return err == nil && n == 0, err
	})
	if err != nil {
		return err
	}
	b.Figure(b.Part()+"_redriven", redriven)
	return b.await(ctx, "done", jobs)
}

// once checks that every job had its effects, and had them once: its owner was
// told once that it is done, and its renditions are stored, no other is, and
// each is as the job says.
func (b *bench) once(ctx context.Context, jobs []uuid.UUID, told *told) error {
	if err := told.await(ctx, len(jobs)); err != nil {
		return err
	}
	rows, err := b.Primary().Query(ctx, `select j.id, j.status, r ->> 'key' from jobs j
		left join lateral jsonb_array_elements(j.renditions) r on true where j.tenant_id = $1`, b.tenant.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	found, named := map[uuid.UUID]int{}, map[string]bool{}
	for rows.Next() {
		var id uuid.UUID
		var status string
		var key *string
		if err := rows.Scan(&id, &status, &key); err != nil {
			return err
		}
		if key != nil {
			found[id]++
			named[*key] = true
		}
		b.Check(status == "done", "job %s is %s", id, status)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range jobs {
		b.Check(found[id] == len(widths), "job %s has %d renditions, want %d", id, found[id], len(widths))
		n := told.times(id)
		b.Check(n == 1, "the owner of job %s was told %d times that it is done", id, n)
	}
	stored, err := b.renditions(ctx)
	if err != nil {
		return err
	}
	b.Check(maps.Equal(named, stored), "%d renditions are stored and the jobs name %d: %v", len(stored), len(named), difference(stored, named))
	b.Figure(b.Part()+"_done_once", len(found))
	return nil
}

// renditions returns the keys of the tenant's renditions that are in the bucket.
func (b *bench) renditions(ctx context.Context) (map[string]bool, error) {
	keys := map[string]bool{}
	client := s3.NewFromConfig(b.AWS, func(o *s3.Options) { o.UsePathStyle = true })
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
		Bucket: &b.bucket, Prefix: aws.String("tenants/" + b.tenant.ID.String() + "/images/"),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the renditions: %w", err)
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); !original(key) {
				keys[key] = true
			}
		}
	}
	return keys, nil
}

func difference(a, b map[string]bool) []string {
	var only []string
	for _, sets := range [][2]map[string]bool{{a, b}, {b, a}} {
		for key := range sets[0] {
			if !sets[1][key] {
				only = append(only, key)
			}
		}
	}
	slices.Sort(only)
	return only[:min(len(only), 5)]
}
