// Package rolling is the drill of concept 20: the instances of a fleet are
// replaced one after the other, old and new serve side by side, and nobody
// notices.
package rolling

import (
	"context"
	"fmt"
	"time"

	"github.com/loadbearing/loadbearing/internal/release"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/drills/internal/traffic"
)

// Drill returns the drill.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "rolling",
		Summary: "every instance is replaced under load, with no request failed and no event lost",
		Parts: []drill.Part{
			{Name: "releases", Summary: "rolling releases under constant load, with open streams and a slow download", Limit: 30 * time.Minute, Run: releases},
		},
	}
}

func releases(ctx context.Context, r *drill.Run) error {
	restore, err := r.Keep(ctx)
	if err != nil {
		return err
	}
	t, err := traffic.Start(ctx, r, traffic.Options{
		PerSecond: 40, Streams: drill.Sized(r, 20, 50), Download: drill.Sized[int64](r, 32<<20, 1<<30), Again: r.Size == drill.Short,
	})
	if err != nil {
		return err
	}
	n := drill.Sized(r, 1, 20)
	mixed := 0
	for i := range n {
		version := []string{"drill-a", "drill-b"}[i%2]
		artifact, err := r.Candidate(ctx, "./app/cmd/app", version)
		if err != nil {
			return fmt.Errorf("build version %s: %w", version, err)
		}
		t.Forget()
		side := false
		s, err := r.Release(ctx, release.Plan{
			Strategy: release.Rolling, Artifact: artifact, Version: version, Bake: release.Duration(2 * time.Second),
			MinRequests: 20, LaunchTimeout: release.Duration(5 * time.Minute), Timeout: release.Duration(10 * time.Minute),
			MaxP99: release.Duration(5 * time.Second),
		}, func(s release.State) {
			// The first instance of the version serves while the last of the former does.
			if its, all := t.Served(version); s.Phase == release.Replacing && its > 0 && its < all {
				side = true
			}
		})
		if err != nil {
			return err
		}
		if !r.Check(s.Phase == release.Retiring || s.Phase == release.Contracting || s.Phase == release.Done, "release %d of %s is %s: %s", s.Number, version, s.Phase, s.Reason) {
			break
		}
		if its, all := t.Served(version); side || its > 0 && its < all {
			mixed++
		}
		if _, err := r.Over(ctx, s.Number); err != nil {
			return err
		}
	}
	r.Figure("releases", n)
	r.Figure("releases_with_both_versions_serving", mixed)
	r.Check(mixed == n, "in %d of %d releases both versions served side by side; the others replaced nothing under load", mixed, n)
	if err := restore(ctx); err != nil {
		return err
	}
	return t.Stop(ctx, "releases")
}
