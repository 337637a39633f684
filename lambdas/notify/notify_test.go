package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/app/redis"
	"github.com/loadbearing/loadbearing/app/stream"
	"github.com/loadbearing/loadbearing/app/webhook"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch/batchtest"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// memory is the streams of users in memory.
type memory struct {
	mu      sync.Mutex
	entries map[uuid.UUID][]stream.Entry
	fail    int // appends to fail before one succeeds
}

func (m *memory) Append(_ context.Context, user uuid.UUID, e stream.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail > 0 {
		m.fail--
		return errors.New("the cache does not answer")
	}
	if !slices.ContainsFunc(m.entries[user], func(o stream.Entry) bool { return o.ID == e.ID }) {
		m.entries[user] = append(m.entries[user], e)
	}
	return nil
}

func (m *memory) of(user uuid.UUID, subject string) (types []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries[user] {
		if e.Subject == subject {
			types = append(types, e.Type)
		}
	}
	return types
}

func newNotifier(db dbtest.Database) (*notifier, *memory) {
	m := &memory{entries: map[uuid.UUID][]stream.Entry{}}
	return &notifier{
		notices: db.Notices(), webhooks: db.Webhooks(), streams: m, log: slog.New(slog.DiscardHandler),
		sender: webhook.New(time.Now, netip.MustParsePrefix("127.0.0.0/8")),
	}, m
}

// history returns the three events of a video that becomes ready, in order.
func history(t *testing.T, o dbtest.Owner) (events [][]byte, video uuid.UUID) {
	t.Helper()
	video = dbtest.NewID(t)
	ids := map[string]any{"tenant_id": o.Tenant.ID, "project_id": o.Project.ID, "created_by": o.User.ID, "video_id": video}
	for _, kind := range []string{app.EventVideoUploaded, app.EventVideoProbed, app.EventVideoReady} {
		events = append(events, batchtest.Renamed(t, batchtest.Example(t, kind, 0, ids), dbtest.NewID(t)))
	}
	return events, video
}

var inOrder = []string{app.EventVideoUploaded, app.EventVideoProbed, app.EventVideoReady}

func TestContract(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	for name, deliver := range map[string]func(e [][]byte) [][]byte{
		"in order":   func(e [][]byte) [][]byte { return e },
		"reversed":   func(e [][]byte) [][]byte { return [][]byte{e[2], e[1], e[0]} },
		"duplicates": func(e [][]byte) [][]byte { return [][]byte{e[1], e[1], e[0], e[0], e[2], e[1], e[2]} },
		"other types": func(e [][]byte) [][]byte {
			return append(e, batchtest.Retyped(t, e[0], "com.loadbearing.video.shared.v2"))
		},
		"extra fields": func(e [][]byte) [][]byte {
			return [][]byte{batchtest.Extended(t, e[0]), batchtest.Extended(t, e[1]), batchtest.Extended(t, e[2])}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, streams := newNotifier(db)
			o := db.Register(t)
			events, id := history(t, o)
			require.Empty(t, batchtest.Deliver(t, n.handlers(), deliver(events)...))
			require.Equal(t, inOrder, streams.of(o.User.ID, id.String()))
			for _, e := range streams.entries[o.User.ID] {
				require.NotContains(t, string(e.Data), "tenants/", "the object's key is nobody's business")
				require.NotContains(t, string(e.Data), "introduced_later")
				require.NotContains(t, string(e.Data), "tenant_id")
			}
		})
	}
	t.Run("every type", func(t *testing.T) {
		t.Parallel()
		o := db.Register(t)
		n, streams := newNotifier(db)
		for _, kind := range app.EventTypes() {
			for example := range 2 {
				ids := map[string]any{"tenant_id": o.Tenant.ID, "job_id": dbtest.NewID(t), "created_by": o.User.ID}
				if example == 1 {
					ids["created_by"] = nil // nobody to tell
				}
				e := batchtest.Renamed(t, batchtest.Example(t, kind, example, ids), dbtest.NewID(t))
				require.Empty(t, batchtest.Deliver(t, n.handlers(), e), kind)
			}
		}
		require.Len(t, streams.entries, 1)
		require.Equal(t, []int{0}, batchtest.Deliver(t, n.handlers(),
			batchtest.Retyped(t, batchtest.Example(t, app.EventImageDone, 0, nil), "com.loadbearing.image.done.v2")))
	})
}

// Ten videos whose events come four times each, all at the same time in a
// random order, from streams that fail now and then.
func TestEachStreamIsInOrder(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	n, streams := newNotifier(db)
	streams.fail = 5
	o := db.Register(t)
	var all [][]byte
	var videos []uuid.UUID
	for range 10 {
		events, id := history(t, o)
		videos = append(videos, id)
		for range 4 {
			all = append(all, events...)
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var functions errgroup.Group
	functions.SetLimit(6)
	for _, e := range all {
		functions.Go(func() error {
			for len(batchtest.Deliver(t, n.handlers(), e)) > 0 { // as the queue does
			}
			return nil
		})
	}
	require.NoError(t, functions.Wait())
	for _, id := range videos {
		require.Equal(t, inOrder, streams.of(o.User.ID, id.String()))
	}
}

func TestAWebhookIsSentUntilItIsAccepted(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	n, streams := newNotifier(db)
	o, other := db.Register(t), db.Register(t)
	secret := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	var got []*http.Request
	answers := []int{500, 200}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e app.Event[map[string]any]
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.ID.String() != r.Header.Get("webhook-id") || e.Data["key"] != nil || e.Data["video_id"] == nil {
			t.Errorf("got %+v (%v)", e, err)
		}
		got = append(got, r)
		w.WriteHeader(answers[len(got)-1])
	}))
	defer server.Close()
	require.NoError(t, db.Webhooks().Set(t.Context(), app.Webhook{TenantID: o.Tenant.ID, URL: server.URL, Secret: secret, CreatedAt: time.Now()}))

	events, id := history(t, o)
	require.Equal(t, []int{0}, batchtest.Deliver(t, n.handlers(), events[0]), "the receiver failed")
	require.Equal(t, inOrder[:1], streams.of(o.User.ID, id.String()), "the browser does not wait for it")
	require.Empty(t, batchtest.Deliver(t, n.handlers(), events[0], events[0]), "accepted, and then a duplicate")
	require.Len(t, got, 2)
	require.Equal(t, got[0].Header.Get("webhook-id"), got[1].Header.Get("webhook-id"))

	foreign, _ := history(t, other)
	require.Empty(t, batchtest.Deliver(t, n.handlers(), foreign...))
	require.Len(t, got, 2, "another tenant's events are no business of this one")
}

func TestAWebhookThatIsGoneIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	n, _ := newNotifier(db)
	o := db.Register(t)
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusGone)
	}))
	defer server.Close()
	require.NoError(t, db.Webhooks().Set(t.Context(), app.Webhook{TenantID: o.Tenant.ID, URL: server.URL, Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", CreatedAt: time.Now()}))
	events, _ := history(t, o)
	require.Empty(t, batchtest.Deliver(t, n.handlers(), events[0], events[0]))
	require.Equal(t, 1, asked)
}

func TestAStreamThatStaysDownBringsTheEventBack(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	n, streams := newNotifier(db)
	o := db.Register(t)
	events, id := history(t, o)
	streams.fail = 3
	require.Equal(t, []int{0}, batchtest.Deliver(t, n.handlers(), events[0]))
	require.Empty(t, batchtest.Deliver(t, n.handlers(), events[1]), "it waits for its turn")
	require.Empty(t, streams.of(o.User.ID, id.String()))
	require.Empty(t, batchtest.Deliver(t, n.handlers(), events[0]))
	require.Equal(t, inOrder[:2], streams.of(o.User.ID, id.String()))
}

// With the real stream: what was appended, though told it was not, is there once.
func TestTheStreamHasEachEventOnceAndInOrder(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	n, _ := newNotifier(db)
	server := redistest.New(t)
	cache := redis.New(server.Addr, "", server.TLS)
	defer cache.Close()
	store := stream.New(cache, stream.Options{})
	n.streams = &forgetful{store: store, said: map[uuid.UUID]bool{}}
	o := db.Register(t)
	events, _ := history(t, o)
	slices.Reverse(events)
	for len(batchtest.Deliver(t, n.handlers(), append(events, events...)...)) > 0 { // as the queue does
	}
	messages, gap, err := store.Since(t.Context(), o.User.ID, "", 10)
	require.NoError(t, err)
	require.False(t, gap)
	var types []string
	for _, m := range messages {
		e, err := m.Entry()
		require.NoError(t, err)
		types = append(types, e.Type)
	}
	require.Equal(t, inOrder, types)
}

// forgetful appends and says, of each event once, that it did not.
type forgetful struct {
	store *stream.Store
	said  map[uuid.UUID]bool
}

func (f *forgetful) Append(ctx context.Context, user uuid.UUID, e stream.Entry) error {
	err := f.store.Append(ctx, user, e)
	if err == nil && !f.said[e.ID] {
		f.said[e.ID] = true
		return errors.New("the connection broke before the answer came")
	}
	return err
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	got, err := prefixes(" 127.0.0.0/8, ::1/128,")
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, got)
	got, err = prefixes("")
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = prefixes("localhost")
	require.ErrorContains(t, err, "127.0.0.0/8")
}
