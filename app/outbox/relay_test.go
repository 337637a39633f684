package outbox_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/outbox"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// receiver accepts messages unless fail says otherwise, and keeps them in order.
type receiver struct {
	mu       sync.Mutex
	fail     func(app.Message) error
	accepted []app.Message
	arrived  chan struct{}
}

func newReceiver() *receiver { return &receiver{arrived: make(chan struct{}, 1000)} }

func (r *receiver) Publish(_ context.Context, ms []app.Message) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := make([]error, len(ms))
	for i, m := range ms {
		if r.fail != nil {
			errs[i] = r.fail(m)
		}
		if errs[i] == nil {
			r.accepted = append(r.accepted, m)
			r.arrived <- struct{}{}
		}
	}
	return errs
}

func (r *receiver) await(t *testing.T, n int) []app.Message {
	t.Helper()
	for range n {
		select {
		case <-r.arrived:
		case <-time.After(8 * time.Second):
			t.Fatal("the message did not arrive")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}

func start(t *testing.T, db *postgres.DB, r *receiver, poll time.Duration) (stop func()) {
	t.Helper()
	relay := &outbox.Relay{
		Store: db.Outbox(), Log: slog.New(slog.DiscardHandler), Poll: poll, Standby: 50 * time.Millisecond,
		Publishers: map[app.Destination]outbox.Publisher{app.DestinationEvents: r, app.DestinationJobs: r},
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); relay.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func upload(t *testing.T, db dbtest.Database, o dbtest.Owner) app.Video {
	t.Helper()
	id := dbtest.NewID(t)
	v := app.Video{ID: id, TenantID: o.Tenant.ID, ProjectID: o.Project.ID, Filename: "a.mp4", ContentType: "video/mp4", Bytes: 1, Key: app.VideoKey(o.Tenant.ID, id), CreatedAt: time.Now(), UpdatedAt: time.Now()}
	require.NoError(t, db.Videos().Create(t.Context(), v))
	return v
}

func backlog(t *testing.T, db dbtest.Database) int {
	t.Helper()
	n, _, err := db.Outbox().Backlog(t.Context())
	require.NoError(t, err)
	return n
}

func TestANotificationWakesTheRelay(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	r := newReceiver()
	start(t, db.DB, r, time.Hour) // only a notification can wake it after the first look
	first := upload(t, db, o)
	r.await(t, 1)
	second := upload(t, db, o)
	got := r.await(t, 1)
	require.Equal(t, []uuid.UUID{first.ID, second.ID}, []uuid.UUID{got[0].Aggregate, got[1].Aggregate})
	require.Eventually(t, func() bool { return backlog(t, db) == 0 }, 5*time.Second, 5*time.Millisecond)
}

func TestWhatFailsIsTriedAgainAndHoldsBackOnlyItsAggregate(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	r := newReceiver()
	failing, good := upload(t, db, o), upload(t, db, o)
	tries := 0
	r.fail = func(m app.Message) error {
		if m.Aggregate == failing.ID {
			if tries++; tries <= 2 {
				return errors.New("not now")
			}
		}
		return nil
	}
	start(t, db.DB, r, 20*time.Millisecond)
	got := r.await(t, 2)
	require.Equal(t, good.ID, got[0].Aggregate)
	require.Equal(t, failing.ID, got[1].Aggregate)
	require.Equal(t, 2, got[1].Attempts)
}

func TestOneRelayLeadsAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	receivers := []*receiver{newReceiver(), newReceiver()}
	stopFirst := start(t, db.DB, receivers[0], time.Hour)
	upload(t, db, o)
	receivers[0].await(t, 1)
	start(t, db.DB, receivers[1], time.Hour)
	for range 20 {
		upload(t, db, o)
	}
	receivers[0].await(t, 20)
	require.Eventually(t, func() bool { return backlog(t, db) == 0 }, 5*time.Second, 5*time.Millisecond)
	require.Empty(t, receivers[1].accepted)

	stopFirst()
	last := upload(t, db, o)
	require.Equal(t, last.ID, receivers[1].await(t, 1)[0].Aggregate)
}

func TestARelayThatLosesItsConnectionLeadsAgain(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	r := newReceiver()
	start(t, db.DB, r, time.Hour)
	upload(t, db, o)
	r.await(t, 1)

	db.Disconnect(t)
	require.Eventually(t, func() bool { return db.Ping(t.Context()) == nil }, 5*time.Second, time.Millisecond)
	upload(t, db, o)
	r.await(t, 1)
}

func TestTheLeaderMeasuresTheBacklog(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	r := newReceiver()
	r.fail = func(app.Message) error { return errors.New("not now") }
	metrics := outbox.NewMetrics()
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(metrics))
	value := func(name string) float64 {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "loadbearing_outbox_"+name {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	for range 3 {
		upload(t, db, o)
	}
	relay := &outbox.Relay{
		Store: db.Outbox(), Log: slog.New(slog.DiscardHandler), Poll: 10 * time.Millisecond, Measure: 10 * time.Millisecond, Metrics: metrics,
		Publishers: map[app.Destination]outbox.Publisher{app.DestinationEvents: r},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); relay.Run(ctx) }()
	require.Eventually(t, func() bool { return value("waiting") == 3 && value("oldest_seconds") > 0 }, 5*time.Second, 5*time.Millisecond)
	require.InDelta(t, 1, value("leading"), 0)
	cancel()
	<-done
	require.Zero(t, value("leading"))
	require.Zero(t, value("waiting"), "who does not lead knows nothing of it")
}

// Of three videos, each with its history of events, whatever is refused now and
// then and whoever leads.
func TestEachAggregateIsPublishedInOrder(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	r := newReceiver()
	refused := map[uuid.UUID]bool{}
	r.fail = func(m app.Message) error {
		if !refused[m.ID] && m.Sequence%2 == 0 {
			refused[m.ID] = true
			return errors.New("not now")
		}
		return nil
	}
	stop := start(t, db.DB, r, 10*time.Millisecond)
	for range 3 {
		v := upload(t, db, o)
		require.NoError(t, db.Videos().Indexed(t.Context(), v.TenantID, v.ID))
		require.NoError(t, db.Videos().Metered(t.Context(), dbtest.NewID(t), time.Now(), app.VideoUploaded{TenantID: v.TenantID, VideoID: v.ID}))
		require.NoError(t, db.Videos().Probed(t.Context(), v.TenantID, v.ID, &app.Probe{Container: "mp4"}, ""))
		r.await(t, 1)
		stop()
		stop = start(t, db.DB, r, 10*time.Millisecond)
	}
	got := map[uuid.UUID][]string{}
	for _, m := range r.await(t, 6) {
		got[m.Aggregate] = append(got[m.Aggregate], m.EventType)
	}
	require.Len(t, got, 3)
	for _, types := range got {
		require.Equal(t, []string{app.EventVideoUploaded, app.EventVideoProbed, app.EventVideoReady}, types)
	}
}

// hung is a receiver that answers nobody.
type hung struct{}

func (hung) Publish(ctx context.Context, ms []app.Message) []error {
	<-ctx.Done()
	return slices.Repeat([]error{ctx.Err()}, len(ms))
}

func TestADestinationThatHangsTakesTheOthersNoTime(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	id := dbtest.NewID(t)
	require.NoError(t, db.Jobs().Create(t.Context(), app.Job{ID: id, TenantID: o.Tenant.ID, ProjectID: o.Project.ID, ImageID: id, SourceKey: "k", Widths: []int{1}, CreatedAt: time.Now(), UpdatedAt: time.Now()}))
	upload(t, db, o)
	r := newReceiver()
	relay := &outbox.Relay{
		Store: db.Outbox(), Log: slog.New(slog.DiscardHandler),
		Publishers: map[app.Destination]outbox.Publisher{app.DestinationEvents: r, app.DestinationJobs: hung{}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); relay.Run(ctx) }()
	defer func() { cancel(); <-done }()
	select {
	case <-r.arrived:
	case <-time.After(5 * time.Second):
		t.Fatal("the event waited for the job queue")
	}
}
