package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestMeterCountsAnEventOnce(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	v := app.Video{
		ID: dbtest.NewID(t), TenantID: o.Tenant.ID, ProjectID: o.Project.ID, Filename: "clip.mp4", ContentType: "video/mp4",
		Bytes: 1234, Key: "key", Status: app.VideoProcessing, CreatedAt: now, UpdatedAt: now,
	}
	require.NoError(t, db.Videos().Create(t.Context(), v))
	event := app.Event[app.VideoUploaded]{ID: dbtest.NewID(t), Time: now, Data: app.VideoUploaded{
		TenantID: v.TenantID, ProjectID: v.ProjectID, VideoID: v.ID, Key: v.Key, Bytes: v.Bytes,
	}}

	// Twenty deliveries of one event at the same time.
	var deliveries errgroup.Group
	for range 20 {
		deliveries.Go(func() error { return meter(db.Videos())(t.Context(), event) })
	}
	require.NoError(t, deliveries.Wait())

	got, err := db.Videos().Get(t.Context(), v.TenantID, v.ID)
	require.NoError(t, err)
	require.True(t, got.Metered)
	usage, err := db.Videos().Usage(t.Context(), v.TenantID, now, now)
	require.NoError(t, err)
	require.Len(t, usage, 1)
	require.EqualValues(t, 1234, usage[0].Bytes)
}

func TestMeterRefusesIncompleteData(t *testing.T) {
	t.Parallel()
	require.Error(t, meter(nil)(t.Context(), app.Event[app.VideoUploaded]{ID: dbtest.NewID(t)}))
}
