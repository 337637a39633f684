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

// fault is something that happens to the controller.
type fault struct {
	name string
	do   func(ctx context.Context) error
}

// kills: whatever happens to the controller, a release ends done or rolled back:
// one color has all traffic and the other nothing.
func kills(ctx context.Context, r *drill.Run) error {
	restore, err := r.Keep(ctx)
	if err != nil {
		return err
	}
	versions, err := versions(ctx, r)
	if err != nil {
		return err
	}
	t, err := traffic.Start(ctx, r, traffic.Options{PerSecond: 40})
	if err != nil {
		return err
	}
	processes := 0
	faults := []fault{
		{"kill -9 of its processes", func(ctx context.Context) error {
			n, err := r.KillController(ctx)
			processes += n
			return err
		}},
		{"its execution is stopped", r.AbortController},
	}
	phases := drill.Sized(r,
		[]release.Phase{release.Launching, release.Baking},
		[]release.Phase{release.Migrating, release.Emptying, release.Launching, release.Shifting, release.Baking, release.Promoting, release.Promoted, release.Retiring, release.Contracting})
	done, back, missed := 0, 0, 0
	for i, phase := range phases {
		for j, f := range faults {
			v := versions[(i+j)%2]
			number, hit, err := struck(ctx, r, plan(v), phase, f)
			if err != nil {
				return err
			}
			if !hit {
				missed++ // the phase was over before it was seen
				continue
			}
			s, err := r.Over(ctx, number)
			if err != nil {
				return fmt.Errorf("%s while %s: %w", f.name, phase, err)
			}
			r.Say("  %s while %s: %s %s", f.name, phase, s.Phase, s.Reason)
			if s.Phase == release.Done {
				done++
			} else {
				back++
			}
			if err := atRest(ctx, r, s); err != nil {
				return err
			}
		}
	}
	r.Figure("kills_faults", len(phases)*len(faults)-missed)
	r.Figure("kills_phases_too_short_to_hit", missed)
	r.Figure("kills_processes", processes)
	r.Figure("kills_releases_done", done)
	r.Figure("kills_releases_rolled_back", back)
	r.Check(processes > 0, "no process of the controller was killed")
	r.Check(done+back > missed, "most phases were too short to hit")
	if err := restore(ctx); err != nil {
		return err
	}
	return t.Stop(ctx, "kills")
}

// struck begins a release and strikes as soon as it comes to a phase.
func struck(ctx context.Context, r *drill.Run, p release.Plan, phase release.Phase, f fault) (number int, hit bool, err error) {
	operator := r.Releases()
	if number, err = operator.Start(ctx, p); err != nil {
		return 0, false, err
	}
	tick := time.NewTicker(10 * time.Millisecond) // some phases are over in a fifth of a second
	defer tick.Stop()
	for {
		switch s, err := operator.State(ctx); {
		case err != nil:
			return number, false, err
		case s.Number == number && s.Phase == phase:
			return number, true, f.do(ctx)
		case s.Number == number && s.Phase.Over():
			return number, false, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return number, false, fmt.Errorf("wait until release %d is %s: %w", number, phase, context.Cause(ctx))
		}
	}
}

// atRest checks that one color has all traffic and what it needs, and the other
// nothing.
func atRest(ctx context.Context, r *drill.Run, s release.State) error {
	v, err := r.Releases().View(ctx)
	if err != nil {
		return err
	}
	serving := v.Colors[s.Serving()]
	idle := v.Colors[release.Other(s.Serving())]
	r.Check(serving.Percent == 100 && idle.Percent == 0, "after %s: %d %% and %d %%", s.Phase, serving.Percent, idle.Percent)
	r.Check(serving.Healthy > 0 && serving.Healthy == serving.Desired, "%d of %d targets of %s are healthy", serving.Healthy, serving.Desired, s.Serving())
	r.Check(idle.Desired == 0 && idle.InService == 0, "%s still has %d instances", release.Other(s.Serving()), idle.InService)
	r.Check(time.Duration(v.Sticky) == 0, "clients still stick for %v", time.Duration(v.Sticky))
	if s.Serving() != contract.ColorBlue && s.Serving() != contract.ColorGreen {
		return fmt.Errorf("release %d serves on %q", s.Number, s.Serving())
	}
	return nil
}
