package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/stream"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

const soon = 20 * time.Second // for what should happen at once

// instances are APIs that share a database and a Redis.
type instances struct {
	*setup // the first one
	store  *stream.Store
	each   []*instance
	person *user // the owner of a tenant
	id     uuid.UUID
}

type instance struct {
	url     string
	streams *httpapi.Streams
	metrics *prometheus.Registry
}

type streaming struct {
	hub     stream.HubOptions
	streams httpapi.StreamOptions
	history stream.Options
	count   int             // default 1
	redis   *goredis.Client // default the one of the machine
}

func newInstances(t *testing.T, o streaming) *instances {
	t.Helper()
	if o.redis == nil {
		server := redistest.New(t)
		o.redis = goredis.NewClient(&goredis.Options{Addr: server.Addr, TLSConfig: server.TLS, MaxRetries: -1})
		t.Cleanup(func() { _ = o.redis.Close() })
	}
	in := &instances{store: stream.New(o.redis, o.history)}
	start := func() *instance {
		hub := stream.NewHub(in.store, o.hub)
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { hub.Run(ctx) })
		t.Cleanup(func() { stop(); wg.Wait() })
		one := &instance{metrics: prometheus.NewRegistry()}
		so := o.streams
		so.Events, so.Metrics = hub, one.metrics
		var err error
		one.streams, err = httpapi.NewStreams(so)
		require.NoError(t, err)
		in.each = append(in.each, one)
		return one
	}
	var options httpapi.Options
	in.setup = newSetupWith(t, func(ho *httpapi.Options) {
		one := start()
		ho.Streams, ho.Metrics = one.streams, one.metrics
		options = *ho
	})
	in.each[0].url = in.url
	for len(in.each) < o.count {
		one := start()
		options.Streams, options.Metrics = one.streams, one.metrics
		options.Auth = auth.NewService(in.db.Users(), in.db.Sessions(), in.keys, in.clock.now)
		h, err := httpapi.New(options)
		require.NoError(t, err)
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		one.url = server.URL
	}
	for _, one := range in.each {
		t.Cleanup(one.streams.Stop) // before its server waits for its requests
	}
	in.person = in.owner()
	var me struct{ User struct{ ID uuid.UUID } }
	in.person.get("/v1/me").into(&me)
	in.id = me.User.ID
	return in
}

func (in *instances) publish(n int) {
	in.t.Helper()
	require.NoError(in.t, in.store.Append(in.t.Context(), in.id, entry(n, 0)))
}

func entry(n, padding int) stream.Entry {
	return stream.Entry{
		ID: uuid.New(), Type: "com.loadbearing.test.v1", Subject: "video", Time: time.Now().UTC(),
		Data: json.RawMessage(fmt.Sprintf(`{"n":%d,"padding":%q}`, n, strings.Repeat("x", padding))),
	}
}

// cookie returns a person's access cookie.
func (u *user) cookie() string {
	u.t.Helper()
	where, err := url.Parse(u.url)
	require.NoError(u.t, err)
	for _, c := range u.jar.Cookies(where) {
		if c.Name == "access" {
			return "access=" + c.Value
		}
	}
	u.t.Fatal("not logged in")
	return ""
}

// told is what a stream tells, on either transport.
type told struct {
	Event string          `json:"event"`
	ID    string          `json:"id"`
	Data  json.RawMessage `json:"data"`
}

func (e told) number(t *testing.T) int {
	t.Helper()
	var entry struct {
		Type string
		Data struct{ N int }
	}
	require.NoError(t, json.Unmarshal(e.Data, &entry), "%+v", e)
	require.Equal(t, "com.loadbearing.test.v1", entry.Type)
	return entry.Data.N
}

// follower is a client that follows events.
type follower interface {
	// next returns an error when the stream is over.
	next() (told, error)
	close()
}

type transport struct {
	name string
	open func(t *testing.T, base, cookie, last string) follower
	// end says of a stream that is over why it is.
	end func(t *testing.T, last told, err error) (reason, id string)
}

var transports = []transport{
	{"sse", openStream, func(t *testing.T, last told, err error) (string, string) {
		t.Helper()
		require.ErrorIs(t, err, io.EOF)
		var data struct{ Reason string }
		require.NoError(t, json.Unmarshal(last.Data, &data))
		want := "resume"
		if data.Reason == "unauthorized" {
			want = "refresh"
		}
		require.Equal(t, want, last.Event)
		return data.Reason, last.ID
	}},
	{"websocket", openSocket, func(t *testing.T, last told, err error) (string, string) {
		t.Helper()
		closed, ok := errors.AsType[websocket.CloseError](err)
		require.True(t, ok, "%v", err)
		switch closed.Code {
		case websocket.StatusServiceRestart:
			return "draining", closed.Reason
		case websocket.StatusTryAgainLater:
			return "slow", closed.Reason
		case 3000:
			return "unauthorized", last.ID
		}
		t.Fatal(err)
		return "", ""
	}},
}

func onEachTransport(t *testing.T, test func(t *testing.T, by transport)) {
	t.Helper()
	for _, by := range transports {
		t.Run(by.name, func(t *testing.T) {
			t.Parallel()
			test(t, by)
		})
	}
}

type eventStream struct {
	res    *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
	last   string
	beats  int
	retry  int
}

func openStream(t *testing.T, base, cookie, last string) follower {
	t.Helper()
	s, res := tryStream(t, base, cookie, "Last-Event-ID", last)
	require.Equal(t, http.StatusOK, res.StatusCode)
	return s
}

func tryStream(t *testing.T, base, cookie string, headers ...string) (*eventStream, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/events", nil)
	require.NoError(t, err)
	req.Header.Set("Cookie", cookie)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	s := &eventStream{res: res, lines: bufio.NewScanner(res.Body), cancel: cancel}
	s.lines.Buffer(nil, 64<<10)
	t.Cleanup(s.close)
	return s, res
}

func (s *eventStream) close() {
	s.cancel()
	_ = s.res.Body.Close()
}

func (s *eventStream) next() (told, error) {
	e := told{Event: "message"}
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case s.lines.Text() == ":":
			s.beats++
		case name == "event":
			e.Event = value
		case name == "id":
			s.last = value
		case name == "retry":
			s.retry, _ = strconv.Atoi(value)
		case name == "data":
			e.Data = json.RawMessage(value)
		case s.lines.Text() == "" && e.Data != nil:
			e.ID = s.last
			return e, nil
		}
	}
	if err := s.lines.Err(); err != nil {
		return e, err
	}
	return e, io.EOF
}

type socket struct {
	conn   *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
}

func openSocket(t *testing.T, base, cookie, last string) follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	conn, res, err := websocket.Dial(ctx, base+"/v1/events?last_event_id="+last, &websocket.DialOptions{
		HTTPHeader: http.Header{"Cookie": {cookie}, "Origin": {base}},
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	conn.SetReadLimit(64 << 10)
	s := &socket{conn, ctx, cancel}
	t.Cleanup(s.close)
	return s
}

func (s *socket) close() {
	_ = s.conn.CloseNow()
	s.cancel()
}

func (s *socket) next() (told, error) {
	var e told
	return e, wsjson.Read(s.ctx, s.conn, &e)
}

func want(t *testing.T, f follower, event string) told {
	t.Helper()
	e, err := f.next()
	require.NoError(t, err)
	require.Equal(t, event, e.Event, "%s", e.Data)
	return e
}

func wantNumbers(t *testing.T, f follower, first, last int) (id string) {
	t.Helper()
	for n := first; n <= last; n++ {
		e := want(t, f, "message")
		require.Equal(t, n, e.number(t))
		id = e.ID
	}
	return id
}

// wantEnd reads a stream to its end and returns why it ended, and the id to
// resume from.
func wantEnd(t *testing.T, by transport, f follower) (reason, id string) {
	t.Helper()
	var last told
	for {
		e, err := f.next()
		if err != nil {
			return by.end(t, last, err)
		}
		last = e
	}
}

func TestEventsReachEveryStreamOfAUser(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{count: 2})
	for _, by := range transports {
		cookie := in.person.cookie()
		here, there := by.open(t, in.each[0].url, cookie, ""), by.open(t, in.each[1].url, cookie, "")
		want(t, here, "ready")
		want(t, there, "ready")
		for n := 1; n <= 10; n++ {
			in.publish(n)
		}
		wantNumbers(t, here, 1, 10)
		last := wantNumbers(t, there, 1, 5)
		there.close()
		resumed := by.open(t, in.each[0].url, cookie, last)
		want(t, resumed, "ready")
		wantNumbers(t, resumed, 6, 10)
	}
}

func TestTheHeaderOfAnEventStream(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{})
	s, res := tryStream(t, in.url, in.person.cookie(), "Accept-Encoding", "gzip, br, zstd")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	require.Contains(t, res.Header.Get("Cache-Control"), "no-store")
	require.Equal(t, "no", res.Header.Get("X-Accel-Buffering"))
	require.Empty(t, res.Header.Get("Content-Encoding"))
	want(t, s, "ready")
	require.GreaterOrEqual(t, s.retry, 500)
	require.Less(t, s.retry, 2500)
	require.Contains(t, gathered(t, in.each[0].metrics), `loadbearing_http_active_connections 1`)
	require.Contains(t, gathered(t, in.each[0].metrics), `loadbearing_event_streams{transport="sse"} 1`)

	req := in.person.request(http.MethodHead, "/v1/events", nil)
	head, err := in.person.client.Do(req)
	require.NoError(t, err)
	require.NoError(t, head.Body.Close())
	require.Equal(t, "text/event-stream", head.Header.Get("Content-Type"))
}

func gathered(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels = fmt.Sprintf("{%s=%q}", l.GetName(), l.GetValue())
			}
			fmt.Fprintf(&b, "%s%s %v\n", f.GetName(), labels, m.GetGauge().GetValue()+m.GetCounter().GetValue())
		}
	}
	return b.String()
}

// A client that loses its connection a hundred times at random, and comes back
// to any of two instances, sees every event once and in order.
func TestAClientThatKeepsDroppingMissesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{count: 2, history: stream.Options{History: 3000}})
	const total, drops = 1200, 100
	drop := func(t *testing.T, by transport) {
		cookie := in.person.cookie()
		f := by.open(t, in.each[0].url, cookie, "")
		last := want(t, f, "ready").ID
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for n := 1; n <= total; n++ {
				if err := in.store.Append(context.WithoutCancel(t.Context()), in.id, entry(n, 0)); err != nil {
					t.Error(err)
				}
			}
		})
		n := 0
		for range drops {
			for range rand.N(2 * total / drops) {
				if n == total {
					break
				}
				n++
				last = wantNumbers(t, f, n, n)
			}
			f.close()
			f = by.open(t, in.each[rand.N(2)].url, cookie, last)
			last = want(t, f, "ready").ID
		}
		wantNumbers(t, f, n+1, total)
		t.Logf("%d events, each once and in order, over %d connections", total, drops+1)
	}
	for _, by := range transports {
		t.Run(by.name, func(t *testing.T) { drop(t, by) })
	}
}

// Megabytes wait for a client that does not read: it is dropped with a hint, and
// gets the rest when it resumes, however often it is too slow again.
func TestASlowClientIsDroppedAndResumes(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{hub: stream.HubOptions{Buffer: 8, Patience: 200 * time.Millisecond}})
	const total = 500
	cookie := in.person.cookie()
	slow := map[string]follower{}
	for _, by := range transports {
		slow[by.name] = by.open(t, in.url, cookie, "")
		want(t, slow[by.name], "ready")
	}
	for n := 1; n <= total; n++ {
		require.NoError(t, in.store.Append(t.Context(), in.id, entry(n, 30<<10)))
	}
	time.Sleep(time.Second) // longer than the hub's patience: whoever reads now is late
	for _, by := range transports {
		f, last, n, drops := slow[by.name], told{}, 0, 0
		for n < total {
			e, err := f.next()
			if err != nil {
				reason, id := by.end(t, last, err)
				require.Equal(t, "slow", reason)
				drops++
				f = by.open(t, in.url, cookie, id)
				last = want(t, f, "ready")
				continue
			}
			if last = e; e.Event == "message" {
				n++
				require.Equal(t, n, e.number(t))
			}
		}
		require.Positive(t, drops, "the kernel's buffers took all there was")
		t.Logf("%s: dropped %d times, and got each of %d events once", by.name, drops, total)
	}
}

func TestAStreamEndsWhenItsTokenExpires(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, by transport) {
		in := newInstances(t, streaming{}) // the next heartbeat is 15 s away
		token, err := in.keys.Verify(strings.TrimPrefix(in.person.cookie(), "access="), in.clock.now())
		require.NoError(t, err)
		// The times in a token are whole seconds.
		short, err := in.keys.Issue(token, in.clock.now().Add(2*time.Second-auth.AccessTTL))
		require.NoError(t, err)
		f := by.open(t, in.url, "access="+short, "")
		want(t, f, "ready")
		in.publish(1)
		last := wantNumbers(t, f, 1, 1)
		begin := time.Now()
		reason, _ := wantEnd(t, by, f)
		require.Equal(t, "unauthorized", reason)
		require.Less(t, time.Since(begin), 4*time.Second)

		in.publish(2)
		f = by.open(t, in.url, in.person.cookie(), last) // with a token that was refreshed
		want(t, f, "ready")
		wantNumbers(t, f, 2, 2)
	})
}

func TestAStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"logout": "POST /v1/auth/logout", "everywhere": "DELETE /v1/auth/sessions"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newInstances(t, streaming{count: 2})
			cookie := in.person.cookie()
			var streams []follower
			for _, by := range transports {
				f := by.open(t, in.each[1].url, cookie, "")
				want(t, f, "ready")
				streams = append(streams, f)
			}
			in.publish(1)
			for _, f := range streams {
				wantNumbers(t, f, 1, 1)
			}
			method, where, _ := strings.Cut(path, " ")
			in.person.do(in.person.request(method, where, nil)).want(http.StatusNoContent)
			begin := time.Now()
			for i, by := range transports {
				reason, _ := wantEnd(t, by, streams[i])
				require.Equal(t, "unauthorized", reason)
			}
			require.Less(t, time.Since(begin), 5*time.Second)
			t.Log("another instance ended the streams after", time.Since(begin).Round(time.Millisecond))
		})
	}
	t.Run("without a word", func(t *testing.T) {
		t.Parallel()
		in := newInstances(t, streaming{streams: httpapi.StreamOptions{Heartbeat: 50 * time.Millisecond}})
		cookie := in.person.cookie()
		caller, err := in.keys.Verify(strings.TrimPrefix(cookie, "access="), in.clock.now())
		require.NoError(t, err)
		f := openStream(t, in.url, cookie, "")
		want(t, f, "ready")
		require.NoError(t, in.db.Sessions().Revoke(t.Context(), caller.TenantID, caller.SessionID))
		reason, _ := wantEnd(t, transports[0], f)
		require.Equal(t, "unauthorized", reason)
		require.Positive(t, f.(*eventStream).beats)
	})
}

func TestAGapIsTold(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, by transport) {
		in := newInstances(t, streaming{history: stream.Options{History: 100}})
		cookie := in.person.cookie()
		f := by.open(t, in.url, cookie, "")
		old := want(t, f, "ready").ID
		f.close()
		for n := 1; n <= 300; n++ {
			in.publish(n)
		}
		f = by.open(t, in.url, cookie, old)
		gap := want(t, f, "gap")
		first := want(t, f, "message").number(t)
		require.Greater(t, first, 1)
		wantNumbers(t, f, first+1, 300)
		f.close()
		f = by.open(t, in.url, cookie, gap.ID)
		want(t, f, "ready") // the gap was told, and is told once
		wantNumbers(t, f, first, 300)
	})
}

// Streams outlive Redis: they beat while it is away and go on where they were
// when it is back.
func TestStreamsOutliveRedis(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, by transport) {
		m := miniredis.RunT(t)
		m.SetTime(time.Now())
		client := goredis.NewClient(&goredis.Options{Addr: m.Addr(), MaxRetries: -1})
		defer client.Close()
		in := newInstances(t, streaming{redis: client, streams: httpapi.StreamOptions{Heartbeat: 20 * time.Millisecond}})
		cookie := in.person.cookie()
		f := by.open(t, in.url, cookie, "")
		want(t, f, "ready")
		in.publish(1)
		last := wantNumbers(t, f, 1, 1)
		m.Close()
		early := by.open(t, in.url, cookie, last)
		time.Sleep(200 * time.Millisecond) // ten heartbeats
		require.NoError(t, m.Restart())
		require.Eventually(t, func() bool { return in.store.Append(t.Context(), in.id, entry(2, 0)) == nil }, soon, 10*time.Millisecond)
		wantNumbers(t, f, 2, 2)
		want(t, early, "ready")
		wantNumbers(t, early, 2, 2)
		if s, ok := f.(*eventStream); ok {
			require.GreaterOrEqual(t, s.beats, 5)
		}
	})
}

func TestDrainingEndsStreamsOneByOne(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{count: 2, streams: httpapi.StreamOptions{PerUser: 100}})
	cookie := in.person.cookie()
	draining := in.each[0]
	const clients = 30
	type ended struct {
		reason string
		at     time.Duration
	}
	results := make(chan ended, clients)
	var ready sync.WaitGroup
	ready.Add(clients)
	begun := make(chan time.Time, clients)
	for i := range clients {
		by := transports[i%2]
		f := by.open(t, draining.url, cookie, "")
		go func() {
			last, err := f.next()
			ready.Done()
			begin := <-begun
			for err == nil {
				var e told
				if e, err = f.next(); err == nil {
					last = e
				}
			}
			reason, _ := by.end(t, last, err)
			results <- ended{reason, time.Since(begin)}
		}()
	}
	ready.Wait()
	const after, over = 200 * time.Millisecond, time.Second
	now := time.Now()
	draining.streams.Drain(after, over)
	for range clients {
		begun <- now
	}
	late := openStream(t, draining.url, cookie, "")
	want(t, late, "ready") // a browser would give up on a refusal
	first, last := time.Hour, time.Duration(0)
	for range clients {
		e := <-results
		require.Equal(t, "draining", e.reason)
		first, last = min(first, e.at), max(last, e.at)
	}
	require.GreaterOrEqual(t, first, after)
	require.Greater(t, last-first, over/3, "spread")
	require.Less(t, last, after+over+2*time.Second)
	reason, _ := wantEnd(t, transports[0], late)
	require.Equal(t, "draining", reason)
	draining.streams.Stop()
	t.Logf("%d streams ended from %v to %v after the drain began", clients, first.Round(time.Millisecond), last.Round(time.Millisecond))
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{streams: httpapi.StreamOptions{PerUser: 2, Total: 3}})
	other := in.owner()
	one := openStream(t, in.url, in.person.cookie(), "")
	openSocket(t, in.url, in.person.cookie(), "")
	in.person.get("/v1/events").problem(http.StatusTooManyRequests, "too_many_streams")
	openStream(t, in.url, other.cookie(), "")
	other.get("/v1/events").problem(http.StatusServiceUnavailable, "overloaded")
	one.close()
	require.Eventually(t, func() bool {
		s, res := tryStream(t, in.url, other.cookie())
		s.close()
		return res.StatusCode == http.StatusOK
	}, soon, time.Millisecond)
}

func TestStreamsAreRefused(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{})
	in.anonymous().get("/v1/events").problem(http.StatusUnauthorized, "unauthenticated")
	in.person.get("/v1/events?since=1").problem(http.StatusBadRequest, "invalid")
	for _, upgrade := range [][]string{nil, {"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}} {
		in.person.get("/v1/events", append([]string{"Origin", "https://example.org"}, upgrade...)...).problem(http.StatusForbidden, "forbidden")
		in.person.get("/v1/events", append([]string{"Sec-Fetch-Site", "cross-site"}, upgrade...)...).problem(http.StatusForbidden, "forbidden")
	}
	in.person.get("/v1/events", "Connection", "Upgrade", "Upgrade", "websocket").problem(http.StatusBadRequest, "invalid")
	newSetup(t).owner().get("/v1/events").problem(http.StatusServiceUnavailable, "unavailable")
}

// A client that talks on a WebSocket has misunderstood it.
func TestAWebSocketTakesNoMessages(t *testing.T) {
	t.Parallel()
	in := newInstances(t, streaming{})
	s := openSocket(t, in.url, in.person.cookie(), "").(*socket)
	want(t, s, "ready")
	require.NoError(t, s.conn.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, err := s.next()
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err))
}

// silent never tells its listeners anything.
type silent struct{}

func (silent) Subscribe(uuid.UUID, string) app.Subscription { return silent{} }
func (silent) Recheck(context.Context, uuid.UUID) error     { return nil }
func (silent) Wake() <-chan struct{}                        { return nil }
func (silent) Take() ([]app.Signal, error)                  { return nil, nil }
func (silent) Close()                                       {}

// The reason of a close frame holds 123 bytes. One that ends before anything was
// sent says nothing of where it was: what the client said is the client's.
func TestAWebSocketThatEndsBeforeItsFirstSignalRepeatsNoneOfTheRequest(t *testing.T) {
	t.Parallel()
	keys, err := auth.NewKeys(secret)
	require.NoError(t, err)
	streams, err := httpapi.NewStreams(httpapi.StreamOptions{Events: silent{}})
	require.NoError(t, err)
	handler, err := httpapi.New(httpapi.Options{
		Auth: auth.NewService(nil, alwaysActive{}, keys, time.Now), Keys: keys, Now: time.Now, Streams: streams,
		Status: &httpapi.Status{}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	token, err := keys.Issue(app.Caller{UserID: uuid.New(), TenantID: uuid.New(), SessionID: uuid.New(), Role: app.RoleViewer}, time.Now())
	require.NoError(t, err)
	s := openSocket(t, server.URL, "access="+token, strings.Repeat("x", 200))
	streams.Drain(0, 0)
	_, err = s.next()
	closed, ok := errors.AsType[websocket.CloseError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, websocket.CloseError{Code: websocket.StatusServiceRestart}, closed)
}
