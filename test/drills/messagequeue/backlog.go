package messagequeue

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/load"
)

// The pictures posted while their latency is taken, and how many a second.
const (
	postsPerSecond = 20
	lowestPriority = 19 // of setpriority(2)
)

// backlog: when a thousand jobs are waiting the fleet of one worker grows as its
// policy says, and who posts the next picture does not notice.
func backlog(ctx context.Context, r *drill.Run) error {
	b, err := open(ctx, r)
	if err != nil {
		return err
	}
	jobs, took := drill.Sized(r, 120, 1000), drill.Sized(r, 8*time.Second, 30*time.Second)
	status, err := r.AwaitStatus(ctx, "one worker is in service", func(s local.Status) bool {
		workers := drill.Instances(s, contract.FleetWorker, contract.ColorBlue)
		return len(workers) == 1 && workers[0].State == "in-service"
	})
	if err != nil {
		return err
	}
	first := drill.Instances(status, contract.FleetWorker, contract.ColorBlue)[0]

	most := 1
	watching, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { most = b.apart(watching) })
	defer watched.Wait()
	defer stop()

	r.Say("%d pictures a second for %v, and nothing waits", postsPerSecond, took)
	before, err := b.post(ctx, took)
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
	large := mediatest.PNG(3200, 2400)
	if _, err := b.upload(ctx, jobs, func(int) []byte { return large }); err != nil {
		return err
	}
	waiting, err := b.Waiting(ctx, b.queue.URL)
	if err != nil {
		return err
	}
	resume()
	r.Say("%d messages wait; %d pictures a second for %v", waiting, postsPerSecond, took)
	with, err := b.post(ctx, took)
	if err != nil {
		return err
	}
	left, err := b.Waiting(ctx, b.queue.URL)
	if err != nil {
		return err
	}
	posts := 2 * int(took/time.Second) * postsPerSecond
	if err := b.await(ctx, "done", jobs+posts); err != nil {
		return err
	}
	r.Say("all are done; %d pictures a second for %v", postsPerSecond, took)
	after, err := b.post(ctx, took)
	if err != nil {
		return err
	}
	stop()
	watched.Wait()

	// The machine may have other things to do; what it does to a latency without a backlog is not the backlog's doing.
	without := max(before.P99, after.P99)
	ratio := with.P99.Seconds() / without.Seconds()
	r.Figure("backlog_jobs", waiting)
	r.Figure("backlog_workers_at_most", most)
	r.Figure("backlog_post_p99_ratio", ratio)
	r.Figure("backlog_post_p99_ratio_of_noise", without.Seconds()/min(before.P99, after.P99).Seconds())
	r.Check(waiting >= jobs, "%d messages were waiting, want %d", waiting, jobs)
	r.Check(left > 0, "nothing was waiting any more when the latency had been taken")
	failed := before.Failed + with.Failed + after.Failed
	r.Check(failed == 0, "%d pictures were refused: %v", failed, slices.Concat(before.Errors, with.Errors, after.Errors))
	r.Check(most > 1, "the fleet stayed at one worker")
	r.Check(ratio <= 1.5, "p99 of a post is %v with the backlog, and %v before and %v after it", with.P99, before.P99, after.P99)
	return nil
}

// apart gives workers what the machines leave that serve requests, for on AWS
// they have machines of their own, and returns how many there were at most.
func (b *bench) apart(ctx context.Context) int {
	most := 0
	seen := map[int]bool{}
	_ = drill.Await(ctx, "the drill is over", func(context.Context) (bool, error) {
		s, err := b.Status()
		if err != nil {
			return false, err
		}
		serving := 0
		for _, i := range drill.Instances(s, contract.FleetWorker, contract.ColorBlue) {
			if i.State == "in-service" {
				serving++
			}
			if !seen[i.PID] && i.PID > 1 {
				// The process has a group of its own; of a process alone only its first thread would be meant.
				seen[i.PID] = syscall.Setpriority(syscall.PRIO_PGRP, i.PID, lowestPriority) == nil
			}
		}
		most = max(most, serving)
		return false, nil
	})
	return most
}

// post sends small pictures at a steady pace and returns their latency.
func (b *bench) post(ctx context.Context, d time.Duration) (load.Result, error) {
	status, err := b.Status()
	if err != nil {
		return load.Result{}, err
	}
	path := "/v1/projects/" + b.tenant.Project.ID + "/images"
	return load.Pace(ctx, []load.Request{{
		Method: http.MethodPost, URL: status.EdgeURL + path + "?widths=16",
		Header: http.Header{"Content-Type": {"image/png"}, "Cookie": {b.tenant.CookieHeader(path)}},
		Body:   mediatest.PNG(40, 30),
	}}, postsPerSecond, d)
}
