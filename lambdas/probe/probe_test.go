package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch/batchtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// bucket is an object store in memory.
type bucket map[string][]byte

func (b bucket) Put(context.Context, string, string, io.Reader) (int64, error) { panic("not used") }
func (b bucket) Delete(context.Context, string) error                          { panic("not used") }

func (b bucket) Get(_ context.Context, key, rng string) (app.Object, error) {
	data, ok := b[key]
	if !ok {
		return app.Object{}, app.Errorf(app.CodeNotFound, "there is no such object")
	}
	if data == nil {
		return app.Object{}, app.Errorf(app.CodeUnavailable, "the object store does not answer")
	}
	var from, to int
	if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); err != nil {
		return app.Object{}, err
	}
	return app.Object{ReadCloser: io.NopCloser(bytes.NewReader(data[from : to+1]))}, nil
}

// upload stores a video and returns it with the event of its upload.
func upload(t *testing.T, db dbtest.Database, bytes int) (app.Video, app.Event[app.VideoUploaded]) {
	t.Helper()
	o := db.Register(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	v := app.Video{
		ID: dbtest.NewID(t), TenantID: o.Tenant.ID, ProjectID: o.Project.ID, Filename: "clip.mp4", ContentType: "video/mp4",
		Bytes: int64(bytes), Status: app.VideoProcessing, CreatedAt: now, UpdatedAt: now,
	}
	v.Key = app.VideoKey(v.TenantID, v.ID)
	require.NoError(t, db.Videos().Create(t.Context(), v))
	return v, app.Event[app.VideoUploaded]{ID: dbtest.NewID(t), Type: app.EventVideoUploaded, Time: now, Data: app.VideoUploaded{
		TenantID: v.TenantID, ProjectID: v.ProjectID, VideoID: v.ID, Key: v.Key, Bytes: v.Bytes, ContentType: v.ContentType, Filename: v.Filename,
	}}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	movie := mediatest.Movie{Duration: 4 * time.Second}.MP4()
	for name, tc := range map[string]struct {
		file   []byte
		media  string // as said at the upload; default video/mp4
		gone   bool   // from the bucket
		reason string
	}{
		"movie":          {file: movie},
		"also QuickTime": {file: movie, media: "video/quicktime"},
		"other kind":     {file: movie, media: "video/webm", reason: "uploaded as video/webm and is a mp4 file"},
		"picture":        {file: mediatest.PNG(300, 200), reason: "does not begin as an MP4"},
		"absurd box":     {file: append([]byte("\x00\x00\x00\x01free\x7f\xff\xff\xff\xff\xff\xff\xff"), movie...), reason: "truncated"},
		"text":           {file: bytes.Repeat([]byte("text "), 100), reason: "does not begin as an MP4"},
		"truncated":      {file: mediatest.Truncated(movie), reason: "truncated"},
		"nothing":        {file: []byte{}, reason: "empty"},
		"gone":           {file: movie, gone: true, reason: "no longer stored"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, event := upload(t, db, len(tc.file))
			event.Data.ContentType = cmp.Or(tc.media, v.ContentType)
			objects := bucket{v.Key: tc.file}
			if tc.gone {
				delete(objects, v.Key)
			}
			p := &prober{videos: db.Videos(), objects: objects, log: slog.New(slog.DiscardHandler)}
			require.NoError(t, p.probe(t.Context(), event))
			first, err := db.Videos().Get(t.Context(), v.TenantID, v.ID)
			require.NoError(t, err)
			if tc.reason == "" {
				require.NotNil(t, first.Probe)
				require.InDelta(t, 4, first.Probe.Seconds, 0.001)
				require.Equal(t, 320, first.Probe.Width)
				require.Equal(t, mediatest.VideoCodec, first.Probe.Tracks[0].Codec)
				require.Equal(t, app.VideoProcessing, first.Status, "it is not metered yet")
			} else {
				require.Equal(t, app.VideoFailed, first.Status)
				require.Contains(t, first.Reason, tc.reason)
			}

			require.NoError(t, p.probe(t.Context(), event), "the same event again")
			again, err := db.Videos().Get(t.Context(), v.TenantID, v.ID)
			require.NoError(t, err)
			require.Equal(t, first, again)
		})
	}
}

func TestProbeLeavesWhatItCannotTellYet(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	v, event := upload(t, db, 1000)
	p := &prober{videos: db.Videos(), objects: bucket{v.Key: nil}, log: slog.New(slog.DiscardHandler)}
	require.Equal(t, app.CodeUnavailable, app.CodeOf(p.probe(t.Context(), event)))
	got, err := db.Videos().Get(t.Context(), v.TenantID, v.ID)
	require.NoError(t, err)
	require.Equal(t, app.VideoProcessing, got.Status)
}

func TestProbeOfADeletedVideoIsDone(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	v, event := upload(t, db, 1000)
	_, err := db.Videos().Delete(t.Context(), v.TenantID, v.ID)
	require.NoError(t, err)
	p := &prober{videos: db.Videos(), objects: bucket{}, log: slog.New(slog.DiscardHandler)}
	require.NoError(t, p.probe(t.Context(), event))
}

func TestContract(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	movie := mediatest.Movie{}.MP4()
	for name, deliver := range map[string]func(uploaded []byte) [][]byte{
		"examples":     func(e []byte) [][]byte { return [][]byte{e} },
		"extra fields": func(e []byte) [][]byte { return [][]byte{batchtest.Extended(t, e)} },
		"duplicates":   func(e []byte) [][]byte { return [][]byte{e, e, e} },
		"other types": func(e []byte) [][]byte {
			return [][]byte{batchtest.Retyped(t, e, "com.loadbearing.video.shared.v9"), e}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range 2 {
				v, _ := upload(t, db, len(movie))
				p := &prober{videos: db.Videos(), objects: bucket{v.Key: movie}, log: slog.New(slog.DiscardHandler)}
				uploaded := batchtest.Example(t, app.EventVideoUploaded, i, map[string]any{
					"tenant_id": v.TenantID, "project_id": v.ProjectID, "video_id": v.ID, "key": v.Key, "bytes": v.Bytes,
				})
				require.Empty(t, batchtest.Deliver(t, p.handlers(), deliver(uploaded)...))
				got, err := db.Videos().Get(t.Context(), v.TenantID, v.ID)
				require.NoError(t, err)
				require.NotNil(t, got.Probe)
			}
		})
	}
	require.Equal(t, []int{0}, batchtest.Deliver(t, (&prober{}).handlers(),
		batchtest.Retyped(t, batchtest.Example(t, app.EventVideoUploaded, 0, nil), "com.loadbearing.video.uploaded.v2")))
	require.Equal(t, []int{0}, batchtest.Deliver(t, (&prober{}).handlers(),
		batchtest.Example(t, app.EventVideoUploaded, 0, map[string]any{"key": ""})), "incomplete data")
}
