package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/app/schema/schematest"
)

// drain publishes what is in the outbox and returns the events in order, each
// checked against its schema.
func drain(t *testing.T, db dbtest.Database) []app.Event[json.RawMessage] {
	t.Helper()
	var all []app.Event[json.RawMessage]
	for {
		messages, err := db.Outbox().Pending(t.Context(), 100)
		require.NoError(t, err)
		if len(messages) == 0 {
			return all
		}
		var done []int64
		for _, m := range messages {
			done = append(done, m.Sequence)
			if m.Destination != app.DestinationEvents {
				continue
			}
			schematest.Valid(t, m.Body)
			var e app.Event[json.RawMessage]
			require.NoError(t, json.Unmarshal(m.Body, &e))
			require.Equal(t, m.ID, e.ID)
			require.Equal(t, m.EventType, e.Type)
			require.Equal(t, m.Aggregate.String(), e.Subject)
			all = append(all, e)
		}
		require.NoError(t, db.Outbox().Settle(t.Context(), done, nil))
	}
}

// In every order of the services' reports, each of them coming twice and all at
// the same time in the end, a video is announced ready once and last.
func TestAVideoIsReadyOnce(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	s := db.Videos()
	probe := &app.Probe{Container: "mp4", Seconds: 2, Tracks: []app.Track{{Kind: "video", Codec: "avc1.64001f"}}, Width: 16, Height: 9, Bitrate: 1}
	reports := func(v app.Video) []func() error {
		event := uuid.New()
		return []func() error{
			func() error { return s.Probed(context.WithoutCancel(t.Context()), v.TenantID, v.ID, probe, "") },
			func() error { return s.Indexed(context.WithoutCancel(t.Context()), v.TenantID, v.ID) },
			func() error {
				return s.Metered(context.WithoutCancel(t.Context()), event, time.Now(), app.VideoUploaded{TenantID: v.TenantID, VideoID: v.ID, Bytes: v.Bytes})
			},
		}
	}
	var videos []app.Video
	create := func() app.Video {
		v := newVideo(t, o)
		require.NoError(t, s.Create(t.Context(), v))
		videos = append(videos, v)
		return v
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		r := reports(create())
		for _, i := range append(order, order...) {
			require.NoError(t, r[i]())
		}
	}
	var wg sync.WaitGroup
	for range 10 {
		for _, report := range slices.Repeat(reports(create()), 2) {
			wg.Go(func() {
				if err := report(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()

	got := map[string][]string{}
	for _, e := range drain(t, db) {
		got[e.Subject] = append(got[e.Subject], e.Type)
		require.Len(t, got[e.Subject], int(e.Sequence), "the sequence has gaps or repeats")
	}
	require.Len(t, got, len(videos))
	for id, types := range got {
		require.Equal(t, []string{app.EventVideoUploaded, app.EventVideoProbed, app.EventVideoReady}, types, id)
	}
}

func TestWhatFailsIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	v := newVideo(t, o)
	v.CreatedBy = uuid.Nil // as in rows of before
	require.NoError(t, db.Videos().Create(t.Context(), v))
	for range 2 {
		require.NoError(t, db.Videos().Probed(t.Context(), v.TenantID, v.ID, nil, "it is text"))
		require.NoError(t, db.Videos().Indexed(t.Context(), v.TenantID, v.ID))
	}
	require.NoError(t, db.Videos().Metered(t.Context(), uuid.New(), time.Now(), app.VideoUploaded{TenantID: v.TenantID, VideoID: v.ID}))
	events := drain(t, db)
	require.Len(t, events, 2)
	require.Equal(t, app.EventVideoFailed, events[1].Type)
	require.NotContains(t, string(events[1].Data), "created_by")
}

func TestAFinishedJobIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	done, failed := newJob(t, o), newJob(t, o)
	for _, j := range []app.Job{done, failed} {
		require.NoError(t, db.Jobs().Create(t.Context(), j))
	}
	for range 2 {
		require.NoError(t, db.Jobs().Finish(t.Context(), o.Tenant.ID, done.ID, []app.Rendition{{Width: 320, Height: 200, Bytes: 9, ContentType: "image/jpeg", Key: "k"}}))
		require.NoError(t, db.Jobs().Fail(t.Context(), o.Tenant.ID, failed.ID, "it is text"))
	}
	events := drain(t, db)
	require.Len(t, events, 2)
	var d app.ImageDone
	require.NoError(t, json.Unmarshal(events[0].Data, &d))
	require.Equal(t, app.ImageDone{
		TenantID: o.Tenant.ID, ProjectID: o.Project.ID, ImageID: done.ImageID, JobID: done.ID, CreatedBy: o.User.ID,
		Renditions: []app.ImageRendition{{Width: 320, Height: 200, Bytes: 9, ContentType: "image/jpeg"}},
	}, d)
	require.Equal(t, app.EventImageFailed, events[1].Type)
}

// A job that was given up, at any number of deliveries, may end once more, and
// only then for good.
func TestAGivenUpJobStartsAgain(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	s := db.Jobs()
	renditions := []app.Rendition{{Width: 320, Height: 200, Bytes: 9, ContentType: "image/jpeg", Key: "k"}}
	tenant := o.Tenant.ID
	status := func(j app.Job, want app.JobStatus, reason string) {
		t.Helper()
		got, err := s.Get(t.Context(), tenant, j.ID)
		require.NoError(t, err)
		require.Equal(t, want, got.Status)
		require.Equal(t, reason, got.Reason)
	}
	start := func(j app.Job, want app.JobStatus) {
		t.Helper()
		got, err := s.Start(t.Context(), tenant, j.ID)
		require.NoError(t, err)
		require.Equal(t, want, got.Status)
	}
	giveUp := func(j app.Job) {
		t.Helper()
		for range 2 {
			require.NoError(t, s.GiveUp(t.Context(), tenant, j.ID, "the store is away"))
		}
		status(j, app.JobFailed, "the store is away")
	}
	outcomes := map[uuid.UUID][]string{}
	create := func(events ...string) app.Job {
		t.Helper()
		j := newJob(t, o)
		require.NoError(t, s.Create(t.Context(), j))
		start(j, app.JobRunning)
		outcomes[j.ID] = events
		return j
	}
	failed, done := app.EventImageFailed, app.EventImageDone

	redriven := create(failed, done)
	giveUp(redriven)
	start(redriven, app.JobRunning)
	status(redriven, app.JobRunning, "")
	require.NoError(t, s.Finish(t.Context(), tenant, redriven.ID, renditions))
	for range 2 { // the message comes again, and again in vain
		start(redriven, app.JobDone)
		require.NoError(t, s.GiveUp(t.Context(), tenant, redriven.ID, "late"))
	}
	status(redriven, app.JobDone, "")

	refused := create(failed, failed, failed)
	giveUp(refused)
	start(refused, app.JobRunning)
	giveUp(refused)
	start(refused, app.JobRunning)
	require.NoError(t, s.Fail(t.Context(), tenant, refused.ID, "it is text"))
	start(refused, app.JobFailed)
	require.NoError(t, s.GiveUp(t.Context(), tenant, refused.ID, "late"))
	start(refused, app.JobFailed)
	require.NoError(t, s.Finish(t.Context(), tenant, refused.ID, renditions))
	status(refused, app.JobFailed, "it is text")

	overtaken := create(failed, done) // by the delivery that was taken for lost
	giveUp(overtaken)
	require.NoError(t, s.Finish(t.Context(), tenant, overtaken.ID, renditions))
	start(overtaken, app.JobDone)

	got := map[uuid.UUID][]string{}
	for _, e := range drain(t, db) {
		id := uuid.MustParse(e.Subject)
		got[id] = append(got[id], e.Type)
		require.Len(t, got[id], int(e.Sequence), "the sequence has gaps or repeats")
	}
	require.Equal(t, outcomes, got)
	require.Equal(t, app.CodeNotFound, app.CodeOf(s.GiveUp(t.Context(), tenant, uuid.New(), "x")))
}

// Twenty deliveries of a redriven message race, half of them to finish the job
// and half to give it up: it is done, once, whoever comes last.
func TestDeliveriesOfARedrivenJobRace(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	s := db.Jobs()
	j := newJob(t, o)
	require.NoError(t, s.Create(t.Context(), j))
	require.NoError(t, s.GiveUp(t.Context(), j.TenantID, j.ID, "the store is away"))
	var deliveries errgroup.Group
	for i := range 20 {
		deliveries.Go(func() error {
			if _, err := s.Start(context.WithoutCancel(t.Context()), j.TenantID, j.ID); err != nil {
				return err
			}
			if i%2 == 0 {
				return s.GiveUp(context.WithoutCancel(t.Context()), j.TenantID, j.ID, "the store is away")
			}
			return s.Finish(context.WithoutCancel(t.Context()), j.TenantID, j.ID, nil)
		})
	}
	require.NoError(t, deliveries.Wait())
	events := drain(t, db)
	for i, e := range events {
		require.EqualValues(t, i+1, e.Sequence)
		require.Equal(t, i == len(events)-1, e.Type == app.EventImageDone, "done comes once and last")
	}
	got, err := s.Get(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)
	require.Equal(t, app.JobDone, got.Status)
}

func TestUsageHasBytesAndDurations(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	day := time.Date(2026, 11, 23, 23, 30, 0, 0, time.UTC)
	event := uuid.New()
	for _, seconds := range []float64{0.0004, 1.0006, 1e300} {
		for range 2 {
			require.NoError(t, db.Videos().MeteredDuration(t.Context(), event, app.VideoProbed{
				TenantID: o.Tenant.ID, VideoID: uuid.New(), UploadedAt: day.In(time.FixedZone("", 3600)), Probe: app.Probe{Seconds: seconds},
			}))
		}
		event = uuid.New()
	}
	usage, err := db.Videos().Usage(t.Context(), o.Tenant.ID, day, day)
	require.NoError(t, err)
	require.Equal(t, []app.Usage{{Day: day.Truncate(24 * time.Hour), Duration: 1001*time.Millisecond + 366*24*time.Hour}}, usage)
}

func TestNoticesAreInOrder(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	aggregate := uuid.New()
	var got []string
	broken := errors.New("not now")
	deliver := func(_ context.Context, body []byte) error {
		if len(got) == 1 && broken != nil {
			return broken
		}
		got = append(got, string(body))
		return nil
	}
	send := func(sequence app.Sequence, body string) error {
		return db.Notices().Deliver(t.Context(), app.Notice{TenantID: o.Tenant.ID, Aggregate: aggregate, Sequence: sequence, Body: []byte(body)}, deliver)
	}
	require.NoError(t, send(3, "three"))
	require.NoError(t, send(3, "three"))
	require.NoError(t, send(1, "one"))
	require.ErrorIs(t, send(2, "two"), broken)
	broken = nil
	require.NoError(t, send(2, "two"))
	require.Equal(t, []string{"one", "two", "three"}, got)
	require.NoError(t, send(2, "again"))
	require.NoError(t, send(3, "again"))
	require.NoError(t, send(4, "four"))
	require.Equal(t, []string{"one", "two", "three", "four"}, got)
	require.Error(t, send(0, "uncounted"))
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o, other := db.Register(t), db.Register(t)
	s := db.Webhooks()
	w := app.Webhook{TenantID: o.Tenant.ID, URL: "https://a.example.com", Secret: "one", CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	require.NoError(t, s.Set(t.Context(), w))
	w.URL, w.Secret = "https://b.example.com", "two"
	require.NoError(t, s.Set(t.Context(), w))
	got, err := s.Get(t.Context(), o.Tenant.ID)
	require.NoError(t, err)
	require.Equal(t, w, got)

	event := uuid.New()
	got, due, err := s.Due(t.Context(), o.Tenant.ID, event)
	require.NoError(t, err)
	require.True(t, due)
	require.Equal(t, w, got)
	for range 2 {
		require.NoError(t, s.Accepted(t.Context(), o.Tenant.ID, event))
	}
	_, due, err = s.Due(t.Context(), o.Tenant.ID, event)
	require.NoError(t, err)
	require.False(t, due)
	_, due, err = s.Due(t.Context(), other.Tenant.ID, uuid.New())
	require.NoError(t, err)
	require.False(t, due)

	require.Equal(t, app.CodeNotFound, app.CodeOf(s.Delete(t.Context(), other.Tenant.ID)))
	require.NoError(t, s.Delete(t.Context(), o.Tenant.ID))
	_, err = s.Get(t.Context(), o.Tenant.ID)
	require.Equal(t, app.CodeNotFound, app.CodeOf(err))
}
