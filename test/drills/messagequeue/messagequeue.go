// Package messagequeue is the drill of concept 9: image jobs in an SQS queue,
// done by a fleet of workers that die, hang and meet poison.
package messagequeue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/deadletter"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/test/drill"
)

// Drill returns the drill.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "message-queue",
		Summary: "jobs survive workers that are killed, poison and a full queue; each is done once",
		Parts: []drill.Part{
			{Name: "kills", Summary: "workers are killed at every step, and the database in between", Limit: 12 * time.Minute, Run: kills},
			{Name: "poison", Summary: "one job in ten fails every time, until what is broken is mended", Limit: 6 * time.Minute, Run: poison},
			{Name: "heartbeat", Summary: "a job that takes longer than its message is hidden for is done once", Limit: 5 * time.Minute, Run: heartbeat},
			{Name: "backlog", Summary: "a full queue makes the fleet grow, and keeps no request waiting", Limit: 10 * time.Minute, Run: backlog},
		},
	}
}

// Purposes of random numbers.
const (
	purposeSteps = iota + 1
	purposePoison
)

// bench is what the parts work with: a tenant, and workers that stand in for
// the fleet's.
type bench struct {
	*drill.Run
	tenant  *drill.Tenant
	queue   deadletter.Queue
	bucket  string
	edge    string // URL
	workers []*drill.StandIn
}

// open makes a tenant, and finds the queue and the bucket.
func open(ctx context.Context, r *drill.Run) (*bench, error) {
	status, err := r.Status()
	if err != nil {
		return nil, err
	}
	b := &bench{Run: r, edge: status.EdgeURL}
	url, err := r.Setting(ctx, contract.JobsQueue)
	if err != nil {
		return nil, err
	}
	if b.bucket, err = r.Setting(ctx, contract.MediaBucket); err != nil {
		return nil, err
	}
	if b.queue, err = r.Queue(ctx, url); err != nil {
		return nil, err
	}
	b.tenant, err = drill.NewTenant(ctx, b.edge, "Message queue")
	return b, err
}

// set opens the bench, takes the worker fleet away and puts n workers in its
// place, whose calls to AWS are seen. done gives the fleet back.
func set(ctx context.Context, r *drill.Run, n int) (b *bench, done func(), err error) {
	if b, err = open(ctx, r); err != nil {
		return nil, nil, err
	}
	status, err := r.AwaitStatus(ctx, "a worker is in service", func(s local.Status) bool {
		return len(drill.Instances(s, contract.FleetWorker, contract.ColorBlue)) > 0
	})
	if err != nil {
		return nil, nil, err
	}
	program, err := drill.ProgramOf(drill.Instances(status, contract.FleetWorker, contract.ColorBlue)[0])
	if err != nil {
		return nil, nil, err
	}
	restore, err := r.Resize(ctx, contract.FleetWorker, contract.ColorBlue, 0)
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		for _, w := range b.workers {
			w.Close()
		}
		if err := restore(context.WithoutCancel(ctx)); err != nil {
			r.Check(false, "the worker fleet is not as it was: %v", err)
		}
	}
	for i := range n {
		w, err := r.Stand(ctx, program, i, nil)
		if err != nil {
			done()
			return nil, nil, err
		}
		b.workers = append(b.workers, w)
	}
	return b, done, nil
}

// watch has the calls of every worker seen.
func (b *bench) watch(see func(w *drill.StandIn, c drill.Call) error) {
	for _, w := range b.workers {
		w.Tap.Watch(func(c drill.Call) error { return see(w, c) })
	}
}

// widths asked of every picture.
var widths = []int{16, 32}

// uploadsAtOnce is how many pictures are on their way at a time.
const uploadsAtOnce = 8

// different returns the i-th of pictures that are small and each unlike the others.
func different(i int) []byte { return mediatest.PNG(40+i%200, 40+i/200) }

// upload sends n pictures and returns the ids of their jobs.
func (b *bench) upload(ctx context.Context, n int, picture func(i int) []byte) ([]uuid.UUID, error) {
	jobs := make([]uuid.UUID, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadsAtOnce)
	for i := range jobs {
		group.Go(func() error {
			var err error
			jobs[i], err = b.uploadOne(ctx, picture(i))
			return err
		})
	}
	return jobs, group.Wait()
}

// uploadOne sends one picture, again when the service says that it is not ready.
func (b *bench) uploadOne(ctx context.Context, picture []byte) (id uuid.UUID, err error) {
	path := fmt.Sprintf("/v1/projects/%s/images?widths=%d,%d", b.tenant.Project.ID, widths[0], widths[1])
	err = drill.Await(ctx, "a picture is taken", func(ctx context.Context) (bool, error) {
		r, err := b.tenant.Do(ctx, http.MethodPost, path, bytes.NewReader(picture), http.Header{"Content-Type": {"image/png"}})
		if err != nil {
			return false, err
		}
		if r.Status == http.StatusServiceUnavailable {
			return false, nil
		}
		id, err = uuid.Parse(strings.TrimPrefix(r.Header.Get("Location"), "/v1/jobs/"))
		return err == nil, errors.Join(err, r.Decode(http.StatusAccepted, nil))
	})
	return id, err
}

// jobs returns the ids of the tenant's jobs: also of one whose picture was taken
// in the moment the database died, so that nobody was told its id.
func (b *bench) jobs(ctx context.Context) ([]uuid.UUID, error) {
	rows, err := b.Primary().Query(ctx, "select id from jobs where tenant_id = $1", b.tenant.ID)
	if err != nil {
		return nil, fmt.Errorf("list the jobs: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// sayEvery is how often a wait says how far it is.
const sayEvery = 5 * time.Second

// count is how many jobs of the tenant are in a state.
func (b *bench) count(ctx context.Context, status string) (n int, err error) {
	err = b.Primary().QueryRow(ctx, "select count(*) from jobs where tenant_id = $1 and status = $2", b.tenant.ID, status).Scan(&n)
	return n, err
}

// await waits until as many jobs are in a state and the queue is empty, and
// says how far it is.
func (b *bench) await(ctx context.Context, status string, want int) error {
	last, said := -1, time.Time{}
	return drill.Await(ctx, fmt.Sprintf("%d jobs are %s and the queue is empty", want, status), func(ctx context.Context) (bool, error) {
		n, err := b.count(ctx, status)
		if err != nil {
			return false, err
		}
		waiting, err := b.Waiting(ctx, b.queue.URL)
		if err != nil {
			return false, err
		}
		if n != last && time.Since(said) > sayEvery {
			b.Say("  %d of %d jobs %s, %d messages in the queue", n, want, status, waiting)
			last, said = n, time.Now()
		}
		return n == want && waiting == 0, nil
	})
}

// redrive puts the dead letters back into the queue and returns how many.
func (b *bench) redrive(ctx context.Context) (int, error) {
	now, err := b.Queue(ctx, b.queue.URL)
	if err != nil {
		return 0, err
	}
	return b.DeadLetters().Redrive(ctx, now)
}

// receive is a message that was received.
type receive struct {
	job   uuid.UUID
	count int // of its receives, as SQS counts them: also those whose answer nobody took
}

// received returns the messages that a call received.
func received(c drill.Call) []receive {
	if c.Operation != "ReceiveMessage" || !c.Answered {
		return nil
	}
	var answer struct {
		Messages []struct {
			Body       string
			Attributes struct {
				ApproximateReceiveCount int `json:",string"`
			}
		}
	}
	if json.Unmarshal(c.Answer, &answer) != nil {
		return nil
	}
	var all []receive
	for _, m := range answer.Messages {
		var job struct {
			ID uuid.UUID `json:"job_id"`
		}
		if json.Unmarshal([]byte(m.Body), &job) == nil {
			all = append(all, receive{job.ID, m.Attributes.ApproximateReceiveCount})
		}
	}
	return all
}
