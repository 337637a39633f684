package imaging_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/imaging"
	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// bucket is an object store in memory.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	put     error // what Put returns
	cut     bool  // bodies end early
}

func (b *bucket) Put(_ context.Context, key, _ string, r io.Reader) (int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.put != nil {
		return 0, b.put
	}
	b.objects[key] = data
	return int64(len(data)), nil
}

func (b *bucket) Get(_ context.Context, key, _ string) (app.Object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.objects[key]
	if !ok {
		return app.Object{}, app.Errorf(app.CodeNotFound, "there is no such object")
	}
	size := int64(len(data))
	if b.cut {
		data = data[:len(data)-1]
	}
	return app.Object{ReadCloser: io.NopCloser(bytes.NewReader(data)), Bytes: size}, nil
}

func (b *bucket) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	return nil
}

func (b *bucket) renditions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for key := range b.objects {
		if strings.Contains(key, "/renditions/") {
			n++
		}
	}
	return n
}

// queued stores a picture and its job.
func queued(t *testing.T, db dbtest.Database, b *bucket, data []byte, widths ...int) (app.Job, app.ImageJob) {
	t.Helper()
	return queuedAs(t, db, b, data, http.DetectContentType(data), widths...)
}

func queuedAs(t *testing.T, db dbtest.Database, b *bucket, data []byte, media string, widths ...int) (app.Job, app.ImageJob) {
	t.Helper()
	o := db.Register(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	j := app.Job{
		ID: dbtest.NewID(t), TenantID: o.Tenant.ID, ProjectID: o.Project.ID, ImageID: dbtest.NewID(t), Status: app.JobQueued,
		ContentType: media, Widths: widths, CreatedAt: now, UpdatedAt: now,
	}
	j.SourceKey = app.OriginalKey(j.TenantID, j.ImageID)
	_, err := b.Put(t.Context(), j.SourceKey, j.ContentType, bytes.NewReader(data))
	require.NoError(t, err)
	require.NoError(t, db.Jobs().Create(t.Context(), j))
	return j, app.ImageJob{JobID: j.ID, TenantID: j.TenantID}
}

func TestResizerDoesAJobOnce(t *testing.T) {
	t.Parallel()
	db, b := dbtest.New(t), &bucket{objects: map[string][]byte{}}
	j, message := queued(t, db, b, mediatest.OrientedJPEG(400, 200, 6), 100, 1000)
	r := imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: b})

	// Ten deliveries of one message at the same time.
	var deliveries errgroup.Group
	for range 10 {
		deliveries.Go(func() error { return r.Resize(t.Context(), message) })
	}
	require.NoError(t, deliveries.Wait())

	done, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)
	require.Equal(t, app.JobDone, done.Status)
	require.Len(t, done.Renditions, 2)
	require.Equal(t, 2, b.renditions(), "the same rendition was stored under several keys")
	for i, width := range []int{200, 100} {
		got := done.Renditions[i]
		require.Equal(t, width, got.Width)
		require.Equal(t, 2*width, got.Height)
		require.EqualValues(t, len(b.objects[got.Key]), got.Bytes)
		require.True(t, strings.HasPrefix(got.Key, "tenants/"+j.TenantID.String()+"/images/"+j.ImageID.String()+"/renditions/"), got.Key)
	}

	require.NoError(t, r.Resize(t.Context(), message), "the message again")
	again, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)
	require.Equal(t, done, again)
}

func TestResizerFailsAJobWithAReason(t *testing.T) {
	t.Parallel()
	db, b := dbtest.New(t), &bucket{objects: map[string][]byte{}}
	for name, tc := range map[string]struct {
		data    []byte
		media   string // as said at the upload; default what it is
		options imaging.Options
		reason  string
	}{
		"jpeg and zip":   {data: zipped(t, mediatest.JPEG(20, 20), "program.jar"), reason: "a JPEG picture and a ZIP archive at once"},
		"other content":  {data: mediatest.PNG(20, 20), media: "image/webp", reason: "uploaded as image/webp and is a PNG file"},
		"huge exif":      {data: withSegments(mediatest.JPEG(20, 20), 80), reason: "5.0 MiB of metadata; at most 4.0 MiB"},
		"animated bomb":  {data: mediatest.GIF(20, 20), options: imaging.Options{Limits: imaging.Limits{Animation: 799}}, reason: "in 2 frames"},
		"truncated gif":  {data: mediatest.Truncated(mediatest.GIF(200, 200)), reason: "GIF file is"},
		"truncated webp": {data: mediatest.Truncated(mediatest.WebP(200, 200)), reason: "WebP file is"},
		"bomb":           {data: mediatest.Bomb(10_000, 10_000), reason: "megapixels"},
		"text":           {data: []byte("no picture"), reason: "not a PNG"},
		"empty":          {data: []byte{}, reason: "empty"},
		"truncated":      {data: mediatest.Truncated(mediatest.JPEG(200, 200)), reason: "truncated"},
		"too large":      {data: mediatest.PNG(200, 200), options: imaging.Options{Limits: imaging.Limits{Bytes: 100}}, reason: "100 bytes"},
		"too slow":       {data: mediatest.PNG(2000, 2000), options: imaging.Options{Timeout: time.Nanosecond}, reason: "took longer"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bucket{objects: map[string][]byte{}}
			j, message := queuedAs(t, db, b, tc.data, cmp.Or(tc.media, http.DetectContentType(tc.data)), 100)
			tc.options.Jobs, tc.options.Objects = db.Jobs(), b
			require.NoError(t, imaging.NewResizer(tc.options).Resize(t.Context(), message))
			failed, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
			require.NoError(t, err)
			require.Equal(t, app.JobFailed, failed.Status)
			require.Contains(t, failed.Reason, tc.reason)
			require.Zero(t, b.renditions())
		})
	}
	j, message := queued(t, db, b, mediatest.PNG(10, 10), 5)
	require.NoError(t, b.Delete(t.Context(), j.SourceKey))
	require.NoError(t, imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: b}).Resize(t.Context(), message))
	failed, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)
	require.Contains(t, failed.Reason, "no longer stored")
}

func TestResizerLeavesWhatMaySucceedLater(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	down := errors.New("connection refused")
	for name, fault := range map[string]func(*bucket){
		"rendition refused":   func(b *bucket) { b.put = down },
		"original breaks off": func(b *bucket) { b.cut = true },
	} {
		b := &bucket{objects: map[string][]byte{}}
		j, message := queued(t, db, b, mediatest.PNG(50, 50), 10)
		fault(b)
		r := imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: b})
		require.Error(t, r.Resize(t.Context(), message), name)
		running, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
		require.NoError(t, err)
		require.Equal(t, app.JobRunning, running.Status, name)
		b.put, b.cut = nil, false
		require.NoError(t, r.Resize(t.Context(), message), name)
		done, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
		require.NoError(t, err)
		require.Equal(t, app.JobDone, done.Status, name)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	drained := errors.New("drained")
	b := &bucket{objects: map[string][]byte{}}
	_, message := queued(t, db, b, mediatest.PNG(50, 50), 10)
	cancel(drained)
	require.Error(t, imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: b}).Resize(ctx, message))
}

// The store was away until the job was given up. Its message, redriven, does it.
func TestResizerDoesAGivenUpJobAgain(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	b := &bucket{objects: map[string][]byte{}}
	j, message := queued(t, db, b, mediatest.PNG(50, 50), 10)
	b.put = errors.New("connection refused")
	r := imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: b})
	require.Error(t, r.Resize(t.Context(), message))
	require.NoError(t, db.Jobs().GiveUp(t.Context(), j.TenantID, j.ID, "the store is away"))

	b.put = nil
	var deliveries errgroup.Group
	for range 5 {
		deliveries.Go(func() error { return r.Resize(t.Context(), message) })
	}
	require.NoError(t, deliveries.Wait())
	done, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)
	require.Equal(t, app.JobDone, done.Status)
	require.Empty(t, done.Reason)
	require.Equal(t, 1, b.renditions())
}

func TestResizerOfAnUnknownJob(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	r := imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: &bucket{}})
	err := r.Resize(t.Context(), app.ImageJob{JobID: uuid.New(), TenantID: uuid.New()})
	require.Equal(t, app.CodeNotFound, app.CodeOf(err))
}

// Pictures that together exceed the memory wait for each other and all finish.
func TestResizerSharesItsMemory(t *testing.T) {
	t.Parallel()
	db, b := dbtest.New(t), &bucket{objects: map[string][]byte{}}
	r := imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: b, Limits: imaging.Limits{Memory: 4 << 20}})
	var jobs errgroup.Group
	for range 6 {
		_, message := queued(t, db, b, mediatest.JPEG(800, 800), 100)
		jobs.Go(func() error { return r.Resize(t.Context(), message) })
	}
	require.NoError(t, jobs.Wait())
	require.Equal(t, 6, b.renditions())
}
