package messagequeue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/load"
)

// postsPerSecond is how many pictures are posted while their latency is taken.
const postsPerSecond = 20

// backlog: when a thousand jobs are waiting the fleet of one worker grows as its
// policy says, and who posts the next picture does not notice.
func backlog(ctx context.Context, r *drill.Run) error {
	b, err := open(ctx, r)
	if err != nil {
		return err
	}
	jobs, took := drill.Sized(r, 150, 1000), drill.Sized(r, 8*time.Second, 30*time.Second)
	status, err := r.AwaitStatus(ctx, "one worker is in service", func(s local.Status) bool {
		workers := drill.Instances(s, contract.FleetWorker, contract.ColorBlue)
		return len(workers) == 1 && workers[0].State == "in-service"
	})
	if err != nil {
		return err
	}
	first := drill.Instances(status, contract.FleetWorker, contract.ColorBlue)[0]

	most := 1
	var apart error
	watching, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { most, apart = b.apart(watching) })
	defer watched.Wait()
	defer stop()

	r.Say("%d pictures a second for %v, and nothing waits", postsPerSecond, took)
	before, err := b.alone(ctx, took)
	if err != nil {
		return err
	}
	r.Say("the worker hangs until %d jobs wait", jobs)
	if err := syscall.Kill(first.PID, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop worker %s: %w", first.ID, err)
	}
	resume := sync.OnceFunc(func() { _ = syscall.Kill(first.PID, syscall.SIGCONT) })
	defer resume()
	// Large ones, so that workers have to do with their processor and not with the emulator, which they share with
	// the requests and on AWS would not.
	large := mediatest.PNG(8000, 6000)
	if _, err := b.upload(ctx, jobs, func(int) []byte { return large }); err != nil {
		return err
	}
	waiting, err := b.Waiting(ctx, b.queue.URL)
	if err != nil {
		return err
	}
	if err := b.grown(ctx); err != nil {
		return err
	}
	resume()
	r.Say("%d messages waited and the fleet has grown; %d pictures a second for %v", waiting, postsPerSecond, took)
	with, err := b.post(ctx, took)
	if err != nil {
		return err
	}
	left, err := b.Waiting(ctx, b.queue.URL)
	if err != nil {
		return err
	}
	if err := b.empty(ctx); err != nil {
		return err
	}
	r.Say("nothing waits any more; %d pictures a second for %v", postsPerSecond, took)
	after, err := b.alone(ctx, took)
	if err != nil {
		return err
	}
	stop()
	watched.Wait()
	if apart != nil {
		return apart
	}

	// The machine may have other things to do; what it does to a latency without a backlog is not the backlog's doing.
	without := max(before.P99, after.P99)
	ratio := with.P99.Seconds() / without.Seconds()
	r.Figure("backlog_jobs", waiting)
	r.Figure("backlog_workers_at_most", most)
	r.Figure("backlog_post_p99_ratio", ratio)
	median := with.P50.Seconds() / max(before.P50, after.P50).Seconds()
	r.Figure("backlog_post_p50_ratio", median)
	r.Figure("backlog_post_p99_ratio_of_noise", without.Seconds()/min(before.P99, after.P99).Seconds())
	// New workers take theirs as soon as they are there.
	r.Check(waiting > jobs/2, "%d messages were waiting, of %d jobs", waiting, jobs)
	r.Check(left > 0, "nothing was waiting any more when the latency had been taken")
	failed := before.Failed + with.Failed + after.Failed
	r.Check(failed == 0, "%d pictures were refused: %v", failed, slices.Concat(before.Errors, with.Errors, after.Errors))
	r.Check(most > 1, "the fleet stayed at one worker")
	if r.Size == drill.Full {
		r.Check(ratio <= 1.5, "p99 of a post is %v with the backlog, and %v before and %v after it", with.P99, before.P99, after.P99)
		return nil
	}
	// A p99 of so few is what two of them took: the short form judges the median.
	r.Check(median <= 2.5, "the median of a post is %v with the backlog, and %v before and %v after it", with.P50, before.P50, after.P50)
	return nil
}

// empty deletes the project of the jobs that wait, so that they are for nobody,
// waits until the queue is empty and goes on with another project. (That every
// job is done the other parts show.)
func (b *bench) empty(ctx context.Context) error {
	res, err := b.tenant.Do(ctx, http.MethodDelete, "/v1/projects/"+b.tenant.Project.ID, nil, nil)
	if err != nil {
		return err
	}
	if err := res.Decode(http.StatusNoContent, nil); err != nil {
		return fmt.Errorf("delete the project: %w", err)
	}
	if b.tenant.Project, err = b.tenant.CreateProject(ctx, "After the backlog"); err != nil {
		return err
	}
	return drill.Await(ctx, "the queue is empty", func(ctx context.Context) (bool, error) {
		n, err := b.Waiting(ctx, b.queue.URL)
		return n == 0, err
	})
}

// grown waits until the fleet has as many workers as it wants, and more than
// one, all of which have started: starting takes the processor from the requests
// as it does not on AWS.
func (b *bench) grown(ctx context.Context) error {
	const settled = time.Second
	last, since := 0, time.Now()
	return drill.Await(ctx, "the fleet of workers has grown", func(context.Context) (bool, error) {
		s, err := b.Status()
		if err != nil {
			return false, err
		}
		workers := drill.Instances(s, contract.FleetWorker, contract.ColorBlue)
		starting := slices.ContainsFunc(workers, func(i local.Instance) bool { return i.State != "in-service" })
		if len(workers) != last || starting {
			last, since = len(workers), time.Now()
		}
		return last > 1 && time.Since(since) > settled, nil
	})
}

// apart gives workers only what is left of the processor, for on AWS they have
// machines of their own, and returns how many there were at most.
func (b *bench) apart(ctx context.Context) (most int, err error) {
	done := map[int]bool{}
	_ = drill.Await(ctx, "the drill is over", func(context.Context) (bool, error) {
		s, failed := b.Status()
		if failed != nil {
			return false, failed
		}
		serving := 0
		for _, i := range drill.Instances(s, contract.FleetWorker, contract.ColorBlue) {
			if i.State == "in-service" {
				serving++
			}
			if i.PID > 1 && !done[i.PID] {
				done[i.PID] = true
				err = errors.Join(err, idle(i.PID))
			}
		}
		most = max(most, serving)
		return false, nil
	})
	return most, err
}

// alone is post without workers, while something else has what is left of the
// processors: what shares them is not what a backlog does.
func (b *bench) alone(ctx context.Context, d time.Duration) (load.Result, error) {
	for i := range runtime.NumCPU() {
		p, err := b.Runner.Start(process.Spec{
			Name: fmt.Sprintf("drill-busy-%d", i), Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"}, Signal: syscall.SIGKILL,
		})
		if err != nil {
			return load.Result{}, err
		}
		defer p.Kill()
		if err := idle(p.PID); err != nil {
			return load.Result{}, err
		}
	}
	return b.post(ctx, d)
}

// post sends small pictures at a steady pace and returns their latency.
func (b *bench) post(ctx context.Context, d time.Duration) (load.Result, error) {
	path := "/v1/projects/" + b.tenant.Project.ID + "/images"
	return load.Pace(ctx, []load.Request{{
		Method: http.MethodPost, URL: b.edge + path + "?widths=16",
		Header: http.Header{"Content-Type": {"image/png"}, "Cookie": {b.tenant.CookieHeader(path)}},
		Body:   mediatest.PNG(40, 30),
	}}, postsPerSecond, d)
}
