package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch/batchtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// exampleDay is the day on which the examples of the schemas were uploaded.
var exampleDay = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func upload(t *testing.T, db dbtest.Database, o dbtest.Owner) app.Video {
	t.Helper()
	id := dbtest.NewID(t)
	v := app.Video{
		ID: id, TenantID: o.Tenant.ID, ProjectID: o.Project.ID, CreatedBy: o.User.ID, Filename: "clip.mp4", ContentType: "video/mp4",
		Bytes: 1234, Key: app.VideoKey(o.Tenant.ID, id), CreatedAt: exampleDay.Add(23 * time.Hour), UpdatedAt: exampleDay,
	}
	require.NoError(t, db.Videos().Create(t.Context(), v))
	return v
}

// pair returns the events of a video that count: 1234 bytes and 12.48 s.
func pair(t *testing.T, v app.Video, example int) (uploaded, probed []byte) {
	t.Helper()
	ids := map[string]any{"tenant_id": v.TenantID, "project_id": v.ProjectID, "video_id": v.ID}
	probed = batchtest.Renamed(t, batchtest.Example(t, app.EventVideoProbed, example, ids), dbtest.NewID(t))
	ids["bytes"] = v.Bytes
	uploaded = batchtest.Renamed(t, batchtest.Example(t, app.EventVideoUploaded, example, ids), dbtest.NewID(t))
	return uploaded, probed
}

func usage(t *testing.T, db dbtest.Database, o dbtest.Owner) app.Usage {
	t.Helper()
	all, err := db.Videos().Usage(t.Context(), o.Tenant.ID, exampleDay, exampleDay)
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0]
}

func TestContract(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	for name, deliver := range map[string]func(uploaded, probed []byte) [][]byte{
		"in order":     func(u, p []byte) [][]byte { return [][]byte{u, p} },
		"reordered":    func(u, p []byte) [][]byte { return [][]byte{p, u} },
		"duplicates":   func(u, p []byte) [][]byte { return [][]byte{p, u, u, p, p, u} },
		"extra fields": func(u, p []byte) [][]byte { return [][]byte{batchtest.Extended(t, u), batchtest.Extended(t, p)} },
		"other types": func(u, p []byte) [][]byte {
			return [][]byte{u, batchtest.Retyped(t, u, "com.loadbearing.video.shared.v2"), p}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := db.Register(t)
			for example := range 2 {
				uploaded, probed := pair(t, upload(t, db, o), example)
				require.Empty(t, batchtest.Deliver(t, handlers(db.Videos()), deliver(uploaded, probed)...))
			}
			require.Equal(t, app.Usage{Day: exampleDay, Bytes: 2 * 1234, Duration: 2 * 12480 * time.Millisecond}, usage(t, db, o))
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		uploaded, probed := pair(t, upload(t, db, db.Register(t)), 0)
		require.Equal(t, []int{0, 1, 2}, batchtest.Deliver(t, handlers(db.Videos()),
			batchtest.Retyped(t, uploaded, "com.loadbearing.video.uploaded.v2"), batchtest.Retyped(t, probed, "com.loadbearing.video.probed.v2"),
			batchtest.Example(t, app.EventVideoUploaded, 0, map[string]any{"key": ""})))
	})
}

// Thirty videos, every event delivered four times, all at the same time in a
// random order.
func TestUsageIsExact(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	const videos, deliveries = 30, 4
	var bodies [][]byte
	for range videos {
		uploaded, probed := pair(t, upload(t, db, o), 0)
		for range deliveries {
			bodies = append(bodies, uploaded, probed)
		}
	}
	rand.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
	var functions errgroup.Group
	functions.SetLimit(8)
	for _, body := range bodies {
		functions.Go(func() error {
			require.Empty(t, batchtest.Deliver(t, handlers(db.Videos()), body))
			return nil
		})
	}
	require.NoError(t, functions.Wait())
	require.Equal(t, app.Usage{Day: exampleDay, Bytes: videos * 1234, Duration: videos * 12480 * time.Millisecond}, usage(t, db, o))
}
