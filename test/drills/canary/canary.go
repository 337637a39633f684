// Package canary is the drill of concept 22: a version gets a little of the
// traffic, and more only when what it answers is as good as what others do.
package canary

import (
	"context"
	"fmt"
	"time"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/release"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/drills/internal/traffic"
)

// Drill returns the drill.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "canary",
		Summary: "a bad version is taken back at its first step, a good one gets all traffic, and no user sees both within a step",
		Parts: []drill.Part{
			{Name: "failing", Summary: "versions that fail one request in twenty", Limit: 20 * time.Minute, Run: failing},
			{Name: "good", Summary: "versions that answer as they should, and users who meet them", Limit: 30 * time.Minute, Run: good},
			{Name: "slow", Summary: "a version whose p99 is ten times that of the other", Limit: 4 * time.Minute, Run: slow},
			{Name: "unready", Summary: "a version that never becomes healthy", Limit: 4 * time.Minute, Run: unready},
			{Name: "testers", Summary: "a version that its testers meet before any user", Limit: 4 * time.Minute, Run: testers},
			{Name: "quiet", Summary: "a version that nobody asks for anything", Limit: 4 * time.Minute, Run: quiet},
		},
	}
}

// perSecond requests give a step of 5 % some 15 a second.
const perSecond = 300

const programs = "./test/drills/internal/candidate/"

// candidate builds a version and plans its release.
func candidate(ctx context.Context, r *drill.Run, pkg, version string) (release.Plan, error) {
	artifact, err := r.Candidate(ctx, pkg, version)
	if err != nil {
		return release.Plan{}, fmt.Errorf("build version %s: %w", version, err)
	}
	return release.Plan{
		Strategy: release.Canary, Artifact: artifact, Version: version, Bake: release.Duration(3 * time.Second),
		MinRequests: 100, Window: release.Duration(time.Second), LaunchTimeout: release.Duration(time.Minute), Timeout: release.Duration(3 * time.Minute),
		MaxP99: release.Duration(5 * time.Second), MaxP99Ratio: 100, // p99 has a part of its own
	}, nil
}

// failing: candidates that fail 5 % of their requests are taken back at the
// first step, and few requests meet them.
func failing(ctx context.Context, r *drill.Run) error {
	p, err := candidate(ctx, r, programs+"failing", "failing")
	if err != nil {
		return err
	}
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: perSecond})
	if err != nil {
		return err
	}
	n := drill.Sized(r, 1, 30)
	atFirst, most, failures := 0, 0.0, 0
	for range n {
		t.Forget()
		before := t.Failed()
		s, err := r.Release(ctx, p, nil)
		if err != nil {
			return err
		}
		its, all := t.Served(p.Version)
		failures += t.Failed() - before
		r.Check(its > 0, "the version answered nothing")
		most = max(most, 100*float64(its)/float64(max(all, 1)))
		if s.Phase == release.RolledBack && s.Step == 0 {
			atFirst++
		}
		if _, err := r.Over(ctx, s.Number); err != nil {
			return err
		}
	}
	r.Figure("failing_versions", n)
	r.Figure("failing_rolled_back_at_the_first_step", atFirst)
	r.Figure("failing_most_percent_of_requests", most)
	r.Figure("failing_requests_failed", failures)
	r.Check(failures > 0, "no request failed, so there was nothing to take back")
	r.Check(30*atFirst >= 29*n, "%d of %d were taken back at the first step", atFirst, n)
	r.Check(most <= 6, "a version that failed got %.1f %% of the requests", most)
	return t.End()
}

// good: versions reach 100 %, and no user is served by both within a step.
func good(ctx context.Context, r *drill.Run) error {
	restore, err := r.Keep(ctx)
	if err != nil {
		return err
	}
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: perSecond})
	if err != nil {
		return err
	}
	c, err := t.Crowd(ctx, drill.Sized(r, 40, 100))
	if err != nil {
		return err
	}
	n := drill.Sized(r, 1, 30)
	promoted, both, met := 0, 0, 0
	for i := range n {
		p, err := candidate(ctx, r, "./app/cmd/app", []string{"drill-a", "drill-b"}[i%2])
		if err != nil {
			return err
		}
		var steps []time.Time
		s, err := r.Release(ctx, p, func(s release.State) {
			if s.Phase == release.Baking && s.Reason == "" {
				steps = append(steps, s.Entered)
			}
		})
		if err != nil {
			return err
		}
		if r.Check(s.Phase != release.RolledBack, "release %d of %s was rolled back: %s", s.Number, p.Version, s.Reason) {
			promoted++
		}
		last, err := r.Over(ctx, s.Number)
		if err != nil {
			return err
		}
		for i, from := range steps {
			to := last.Updated
			if i+1 < len(steps) {
				to = steps[i+1]
			}
			users, torn := c.Between(from.Add(settle), to)
			met += users
			both += torn
		}
	}
	r.Figure("good_versions", n)
	r.Figure("good_promoted", promoted)
	r.Figure("good_users_and_steps", met)
	r.Figure("good_users_served_by_both_within_a_step", both)
	r.Check(30*promoted >= 29*n, "%d of %d were promoted", promoted, n)
	r.Check(met > 0, "no user asked for anything within a step")
	r.Check(both == 0, "%d times a user was served by both versions within a step", both)
	if err := restore(ctx); err != nil {
		return err
	}
	return t.Stop(ctx, "good")
}

// settle is how long after a step has been ordered the load balancer may still
// follow the one before.
const settle = time.Second

// slow: a version that is much slower than the other is taken back although it
// is quicker than the limit that holds for any.
func slow(ctx context.Context, r *drill.Run) error {
	p, err := candidate(ctx, r, programs+"slow", "slow")
	if err != nil {
		return err
	}
	p.MaxP99, p.MaxP99Ratio = release.Duration(time.Second), 3
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: perSecond})
	if err != nil {
		return err
	}
	s, err := r.Release(ctx, p, nil)
	if err != nil {
		return err
	}
	if _, err := r.Over(ctx, s.Number); err != nil {
		return err
	}
	if r.Check(s.Phase == release.RolledBack, "the slow version is %s", s.Phase) && s.Verdict != nil {
		ratio := float64(s.Verdict.To.P99) / float64(s.Verdict.From.P99)
		r.Figure("slow_p99_ratio", ratio)
		r.Check(ratio >= 3, "its p99 was only %.1f times that of the other", ratio)
		r.Check(s.Step == 0, "it came to step %d", s.Step+1)
	}
	return t.Stop(ctx, "slow")
}

// unready: a version that never becomes healthy gets no traffic.
func unready(ctx context.Context, r *drill.Run) error {
	p, err := candidate(ctx, r, programs+"unready", "unready")
	if err != nil {
		return err
	}
	p.LaunchTimeout = release.Duration(drill.Sized(r, 8*time.Second, 30*time.Second))
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: 40})
	if err != nil {
		return err
	}
	s, err := r.Release(ctx, p, func(s release.State) {
		r.Check(s.Weight == 0, "it has the weight %d", s.Weight)
	})
	if err != nil {
		return err
	}
	if _, err := r.Over(ctx, s.Number); err != nil {
		return err
	}
	its, all := t.Served(p.Version)
	r.Check(s.Phase == release.RolledBack, "the version that is never ready is %s", s.Phase)
	r.Figure("unready_requests_answered_by_it", its)
	r.Check(its == 0 && all > 0, "it answered %d of %d requests", its, all)
	return t.Stop(ctx, "unready")
}

// testers: a version that is held is answered to who asks for it by the header
// X-Release, and to nobody else, until an operator lets it go on.
func testers(ctx context.Context, r *drill.Run) error {
	restore, err := r.Keep(ctx)
	if err != nil {
		return err
	}
	p, err := candidate(ctx, r, "./app/cmd/app", "drill-b")
	if err != nil {
		return err
	}
	p.Strategy, p.Hold, p.MinRequests = release.BlueGreen, true, 20
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: 40})
	if err != nil {
		return err
	}
	t.Forget()
	number, err := r.Releases().Start(ctx, p)
	if err != nil {
		return err
	}
	var s release.State
	if err := drill.Await(ctx, "the version is held", func(ctx context.Context) (bool, error) {
		s, err = r.Releases().State(ctx)
		return s.Number == number && (s.Phase == release.Holding || s.Phase.Over()), err
	}); err != nil {
		return err
	}
	const times = 20
	met := 0
	for range times {
		version, err := t.Ask(ctx, map[string]string{contract.ReleaseHeader: s.To})
		if err != nil {
			return fmt.Errorf("ask as a tester: %w", err)
		}
		if version == p.Version {
			met++
		}
	}
	its, all := t.Served(p.Version)
	r.Figure("testers_requests", times)
	r.Figure("testers_met_the_version", met)
	r.Figure("testers_users_met_the_version", its)
	r.Check(met == times, "of %d requests with the header %d met the version", times, met)
	r.Check(its == 0 && all > 0, "of %d requests of users %d met the version", all, its)
	if _, err := r.Releases().Order(ctx, release.Resume, ""); err != nil {
		return err
	}
	last, err := r.Over(ctx, number)
	if err != nil {
		return err
	}
	r.Check(last.Phase == release.Done, "let go, it is %s: %s", last.Phase, last.Reason)
	if err := restore(ctx); err != nil {
		return err
	}
	return t.Stop(ctx, "testers")
}

// quiet: without traffic a canary waits at its first step, however long that is.
func quiet(ctx context.Context, r *drill.Run) error {
	restore, err := r.Keep(ctx)
	if err != nil {
		return err
	}
	p, err := candidate(ctx, r, "./app/cmd/app", "drill-a")
	if err != nil {
		return err
	}
	number, err := r.Releases().Start(ctx, p)
	if err != nil {
		return err
	}
	bakes := drill.Sized(r, 2, 8)
	var s release.State
	if err := drill.Await(ctx, "a canary without traffic has been watched for long", func(ctx context.Context) (bool, error) {
		s, err = r.Releases().State(ctx)
		watched := s.Updated.Sub(s.Entered)
		return s.Number == number && (s.Phase.Over() || s.Phase == release.Baking && watched > time.Duration(bakes)*time.Duration(p.Bake)), err
	}); err != nil {
		return err
	}
	r.Figure("quiet_bakes_waited", float64(s.Updated.Sub(s.Entered))/float64(p.Bake))
	r.Check(s.Phase == release.Baking && s.Step == 0, "without traffic it came to %s, step %d", s.Phase, s.Step+1)
	r.Check(s.Verdict != nil && s.Verdict.Outcome == release.Inconclusive, "its verdict without traffic is %+v", s.Verdict)
	// The traffic that it waits for takes it on.
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: perSecond})
	if err != nil {
		return err
	}
	last, err := r.Over(ctx, number)
	if err != nil {
		return err
	}
	r.Check(last.Phase == release.Done, "with traffic it is %s: %s", last.Phase, last.Reason)
	if err := restore(ctx); err != nil {
		return err
	}
	return t.Stop(ctx, "quiet")
}
