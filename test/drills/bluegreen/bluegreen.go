// Package bluegreen is the drill of concept 21: all traffic moves to another
// version at once, and back at once, and nobody notices.
package bluegreen

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
		Name:    "blue-green",
		Summary: "all traffic moves to another version and back within a second, with no request failed and no event lost",
		Parts: []drill.Part{
			{Name: "flips", Summary: "releases and rollbacks under constant load, with open streams and a slow download", Limit: 20 * time.Minute, Run: flips},
			{Name: "migrations", Summary: "a migration that would break the running version, and the sequence that does not", Limit: 5 * time.Minute, Run: migrations},
			{Name: "kills", Summary: "the controller is killed, and its execution ended, in each phase of a release", Limit: 20 * time.Minute, Run: kills},
		},
	}
}

// effective is how long after an order the last request may reach the version
// that was left.
const effective = time.Second

func flips(ctx context.Context, r *drill.Run) error {
	restore, err := r.Keep(ctx)
	if err != nil {
		return err
	}
	versions, err := versions(ctx, r)
	if err != nil {
		return err
	}
	t, err := traffic.Start(ctx, r, traffic.Options{
		PerSecond: 40, Streams: drill.Sized(r, 20, 50), Download: drill.Sized[int64](r, 32<<20, 1<<30), Again: r.Size == drill.Short,
	})
	if err != nil {
		return err
	}
	flips, rollbacks := drill.Sized(r, 2, 20), drill.Sized(r, 1, 5)
	back := map[int]bool{} // which flips are taken back, spread over all
	for i := range rollbacks {
		back[(2*i+1)*flips/(2*rollbacks)] = true
	}
	var slowest, slowestBack time.Duration
	for i := range flips {
		p := plan(versions[i%2])
		if back[i] {
			p.Window = release.Duration(5 * time.Minute)
		}
		var moved time.Time
		t.Forget()
		s, err := r.Release(ctx, p, func(s release.State) {
			if s.Phase == release.Baking {
				moved = s.Entered
			}
		})
		if err != nil {
			return err
		}
		if !r.Check(s.Phase == release.Promoted || s.Phase == release.Retiring || s.Phase == release.Done, "release %d of %s is %s: %s", s.Number, p.Version, s.Phase, s.Reason) {
			break
		}
		slowest = max(slowest, t.Last(s.From).Sub(moved))
		its, all := t.Served(p.Version)
		r.Check(its > 0, "nothing was answered by %s, of %d answers", p.Version, all)
		if back[i] {
			took, err := rollback(ctx, r, t, s)
			if err != nil {
				return err
			}
			slowestBack = max(slowestBack, took)
		}
		if _, err := r.Over(ctx, s.Number); err != nil {
			return err
		}
	}
	r.Figure("flips", flips)
	r.Figure("flips_taken_back", rollbacks)
	r.Figure("slowest_flip_seconds", slowest.Seconds())
	r.Figure("slowest_rollback_seconds", slowestBack.Seconds())
	r.Check(slowest <= effective, "a flip took effect after %v", slowest)
	r.Check(slowestBack <= effective, "a rollback took effect after %v", slowestBack)
	if err := restore(ctx); err != nil {
		return err
	}
	return t.Stop(ctx, "flips")
}

// rollback takes a release back and returns how long after the order its last
// request was sent.
func rollback(ctx context.Context, r *drill.Run, t *traffic.Traffic, s release.State) (time.Duration, error) {
	ordered := time.Now()
	if _, err := r.Releases().Order(ctx, release.Rollback, "drill"); err != nil {
		return 0, err
	}
	over, err := r.Over(ctx, s.Number)
	if err != nil {
		return 0, err
	}
	r.Check(over.Phase == release.RolledBack, "release %d is %s after its rollback: %s", s.Number, over.Phase, over.Reason)
	return t.Last(s.To).Sub(ordered), nil
}

// version is an artifact and what it calls itself.
type version struct {
	name     string
	artifact contract.Artifact
}

// versions are two of the same program.
func versions(ctx context.Context, r *drill.Run) ([]version, error) {
	var all []version
	for _, name := range []string{"drill-a", "drill-b"} {
		a, err := r.Candidate(ctx, "./app/cmd/app", name)
		if err != nil {
			return nil, fmt.Errorf("build version %s: %w", name, err)
		}
		all = append(all, version{name, a})
	}
	return all, nil
}

func plan(v version) release.Plan {
	return release.Plan{
		Strategy: release.BlueGreen, Artifact: v.artifact, Version: v.name, Bake: release.Duration(2 * time.Second),
		MinRequests: 20, Window: release.Duration(time.Second), LaunchTimeout: release.Duration(time.Minute), Timeout: release.Duration(2 * time.Minute),
		MaxP99: release.Duration(5 * time.Second), MaxP99Ratio: 100, // it is about traffic that moves, on a machine that is busy
	}
}
