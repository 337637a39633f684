package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch/batchtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestContract(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	h := handlers(db.Videos(), slog.New(slog.DiscardHandler))
	for name, deliver := range map[string]func(uploaded, probed []byte) [][]byte{
		"in order":     func(u, p []byte) [][]byte { return [][]byte{u, p} },
		"reordered":    func(u, p []byte) [][]byte { return [][]byte{p, u} },
		"duplicates":   func(u, p []byte) [][]byte { return [][]byte{p, u, u, p} },
		"extra fields": func(u, p []byte) [][]byte { return [][]byte{batchtest.Extended(t, u), batchtest.Extended(t, p)} },
		"other types": func(u, p []byte) [][]byte {
			return [][]byte{u, p, batchtest.Retyped(t, u, "com.loadbearing.video.shared.v2")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := db.Register(t)
			for example := range 2 {
				v := app.Video{ID: dbtest.NewID(t), TenantID: o.Tenant.ID, ProjectID: o.Project.ID, Filename: "Zoë.mp4", Key: dbtest.NewID(t).String(), CreatedAt: time.Now(), UpdatedAt: time.Now()}
				require.NoError(t, db.Videos().Create(t.Context(), v))
				ids := map[string]any{"tenant_id": v.TenantID, "project_id": v.ProjectID, "video_id": v.ID}
				uploaded := batchtest.Example(t, app.EventVideoUploaded, example, ids)
				probed := batchtest.Example(t, app.EventVideoProbed, example, ids)
				require.Empty(t, batchtest.Deliver(t, h, uploaded))
				// By the time it is told of, the probe's report is stored.
				require.NoError(t, db.Videos().Probed(t.Context(), v.TenantID, v.ID, &app.Probe{
					Container: "mp4", Tracks: []app.Track{{Kind: "video", Codec: "avc1.64001f"}}, Width: 1920, Height: 1080,
				}, ""))
				require.Empty(t, batchtest.Deliver(t, h, deliver(uploaded, probed)...))
				found, err := db.Videos().Search(t.Context(), o.Tenant.ID, o.Project.ID, "zoe h264 1080p", app.Page{Limit: 10})
				require.NoError(t, err)
				require.Len(t, found, example+1)
				require.True(t, found[0].Indexed)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		uploaded := batchtest.Example(t, app.EventVideoUploaded, 0, nil)
		require.Equal(t, []int{0, 1}, batchtest.Deliver(t, h,
			batchtest.Retyped(t, uploaded, "com.loadbearing.video.uploaded.v2"), batchtest.Example(t, app.EventVideoUploaded, 0, map[string]any{"key": ""})))
	})
	t.Run("deleted meanwhile", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, batchtest.Deliver(t, h, batchtest.Example(t, app.EventVideoUploaded, 0, nil)))
	})
}
