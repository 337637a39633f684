package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/shed"
)

// slow reads a project only after a statement that takes a while, on a pool of
// its own with few connections.
type slow struct {
	app.Projects
	pool *pgxpool.Pool
	hold time.Duration
}

func (s *slow) Get(ctx context.Context, tenant, id uuid.UUID) (app.Project, error) {
	if _, err := s.pool.Exec(ctx, "select pg_sleep($1)", s.hold.Seconds()); err != nil {
		return app.Project{}, fmt.Errorf("wait: %w", err)
	}
	return s.Projects.Get(ctx, tenant, id)
}

// loaded is an API whose projects are read by few connections.
type loaded struct {
	*setup
	metrics *prometheus.Registry
	slow    *slow
	user    *user
	path    string // of a project
	client  *http.Client
	cookie  string
}

func newLoaded(t *testing.T, connections int, limited bool) *loaded {
	t.Helper()
	l := &loaded{metrics: prometheus.NewRegistry()}
	l.setup = newSetupWith(t, func(o *httpapi.Options) {
		o.Metrics = l.metrics
		if limited {
			limiter, err := shed.New(shed.Options{Least: connections, Log: slog.New(slog.DiscardHandler), Metrics: l.metrics})
			require.NoError(t, err)
			ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
			t.Cleanup(stop)
			go limiter.Run(ctx)
			o.Shed = limiter
		}
		l.slow = &slow{Projects: o.Projects, hold: 100 * time.Millisecond}
		o.Projects = l.slow
	})
	pool, err := pgxpool.New(t.Context(), fmt.Sprintf("postgres://%s/%s?pool_max_conns=%d", l.db.Config.Address, l.db.Config.Database, connections)+
		"&user="+l.db.Config.Username+"&password="+strings.ReplaceAll(l.db.Config.Password, " ", "%20"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	l.slow.pool = pool
	l.user = l.owner()
	var project struct{ ID string }
	l.user.post("/v1/projects", map[string]string{"name": "Load"}).want(http.StatusCreated).into(&project)
	l.path = "/v1/projects/" + project.ID
	l.cookie = l.user.cookie()
	l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	t.Cleanup(l.client.CloseIdleConnections)
	return l
}

type outcome struct {
	status int
	took   time.Duration
	header http.Header
	body   []byte
}

func (l *loaded) send(ctx context.Context, method, path string, body io.Reader, headers ...string) (outcome, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.url+path, body)
	if err != nil {
		return outcome{}, err
	}
	req.Header.Set("Cookie", l.cookie)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	begin := time.Now()
	res, err := l.client.Do(req)
	if err != nil {
		return outcome{took: time.Since(begin)}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return outcome{res.StatusCode, time.Since(begin), res.Header, data}, err
}

// offer sends so many requests, spread evenly over some time whatever becomes of
// them, gives the last a moment, and returns what was answered by status, the
// fastest first. What was not answered has status 0.
func (l *loaded) offer(requests int, over, moment time.Duration) map[int][]time.Duration {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), over+moment)
	defer cancel()
	var mu sync.Mutex
	answers := map[int][]time.Duration{}
	var all sync.WaitGroup
	tick := time.NewTicker(over / time.Duration(requests))
	defer tick.Stop()
	for range requests {
		<-tick.C
		all.Go(func() {
			o, _ := l.send(ctx, "GET", l.path, nil)
			mu.Lock()
			defer mu.Unlock()
			answers[o.status] = append(answers[o.status], o.took)
		})
	}
	all.Wait()
	for _, list := range answers {
		slices.Sort(list)
	}
	return answers
}

func at(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

// Ten times what an exhausted pool can serve.
func TestAnExhaustedPoolServesWhatItCanInTime(t *testing.T) {
	t.Parallel()
	const connections, capacity = 4, 40 // requests a second
	run := func(limited bool) (idle time.Duration, over map[int][]time.Duration) {
		l := newLoaded(t, connections, limited)
		idle = at(l.offer(20, time.Second, time.Second)[http.StatusOK], .5)
		return idle, l.offer(10*capacity*3, 3*time.Second, 3*time.Second)
	}
	idle, answers := run(true)
	served, refused := answers[http.StatusOK], answers[http.StatusServiceUnavailable]
	t.Logf("idle %v; above capacity %d served, p50 %v, p99 %v; %d refused, p50 %v, p99 %v",
		idle, len(served), at(served, .5), at(served, .99), len(refused), at(refused, .5), at(refused, .99))
	require.Len(t, answers, 2, "each is answered: %v", answers)
	require.Greater(t, len(served), 2*capacity, "it is not idle meanwhile")
	require.Less(t, at(served, .99), 10*idle)
	require.Less(t, at(refused, .5), idle, "a refusal is fast")

	idle, answers = run(false)
	served = answers[http.StatusOK]
	t.Logf("without: idle %v; %d served, p50 %v, p99 %v; %d not answered 3 s after the last was sent",
		idle, len(served), at(served, .5), at(served, .99), len(answers[0]))
	require.Greater(t, at(served, .5), 10*idle)
	require.Greater(t, len(answers[0]), len(served))
}

func TestWhatIsRefusedAndWhatIsNot(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 1, true)
	l.slow.hold = 0
	l.user.get(l.path).want(http.StatusOK)

	// What runs holds every place until the gate opens.
	gate, arrived := make(chan struct{}), make(chan struct{}, 100)
	held := l.db.Projects()
	l.slow.Projects = gated{held, gate, arrived}
	const places = 4 // four times the least
	answers := make(chan outcome, places)
	for range places {
		go func() {
			o, err := l.send(context.WithoutCancel(t.Context()), "GET", l.path, nil)
			if err != nil {
				o.status = -1
			}
			answers <- o
		}()
		<-arrived
	}

	after := map[string]bool{}
	refuse := func(method, path string, body io.Reader, headers ...string) {
		t.Helper()
		o, err := l.send(t.Context(), method, path, body, headers...)
		require.NoError(t, err)
		a := answer{t: t, what: method + " " + path, Response: &http.Response{StatusCode: o.status, Header: o.header}, body: o.body}
		a.problem(http.StatusServiceUnavailable, "overloaded")
		after[o.header.Get("Retry-After")] = true
		seconds, err := strconv.Atoi(o.header.Get("Retry-After"))
		require.NoError(t, err)
		require.True(t, seconds >= 1 && seconds <= 5, seconds)
		require.Less(t, o.took, 2*time.Second)
	}
	for range 20 {
		refuse("GET", l.path, nil)
	}
	require.Greater(t, len(after), 1, "each is told a time of its own")
	refuse("GET", "/v1/me", nil)
	refuse("POST", "/v1/auth/login", strings.NewReader(`{}`))
	refuse("GET", "/v1/events", nil)
	refuse("POST", l.path+"/videos", bytes.NewReader(make([]byte, 100_000)), "Content-Type", "video/mp4")
	for _, path := range []string{"/healthz", "/readyz", "/version"} {
		l.user.get(path).want(http.StatusOK)
	}
	l.user.get("/nothing/here").problem(http.StatusNotFound, "not_found")

	close(gate)
	for range places {
		require.Equal(t, http.StatusOK, (<-answers).status, "what runs is not cut off")
	}
	l.user.get("/v1/me").want(http.StatusOK)
	require.Contains(t, gathered(t, l.metrics), `loadbearing_requests_shed_total{class="begins"} 24`)
	l.server.Close()
	require.NotContains(t, l.log.String(), "overloaded", "a line for each would be load too")
}

// gated reads a project when the gate is open.
type gated struct {
	app.Projects
	gate    chan struct{}
	arrived chan struct{}
}

func (g gated) Get(ctx context.Context, tenant, id uuid.UUID) (app.Project, error) {
	g.arrived <- struct{}{}
	<-g.gate
	return g.Projects.Get(ctx, tenant, id)
}

// A stream takes no place while it lasts, nor does an upload.
func TestStreamsTakeNoPlace(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 1, true)
	var open []*io.PipeWriter
	ended := make(chan outcome, 10)
	for range cap(ended) {
		r, w := io.Pipe()
		open = append(open, w)
		t.Cleanup(func() { _ = w.Close() })
		go func() {
			o, _ := l.send(context.WithoutCancel(t.Context()), "POST", l.path+"/videos", r, "Content-Type", "video/mp4", "X-Filename", "v.mp4")
			ended <- o
		}()
		_, err := w.Write([]byte("begins"))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(gathered(t, l.metrics), fmt.Sprintf("loadbearing_http_active_connections %d\n", len(open)))
	}, 10*time.Second, time.Millisecond)
	require.Contains(t, gathered(t, l.metrics), "loadbearing_requests_limited 0")
	l.user.get("/v1/me").want(http.StatusOK)
	for _, w := range open {
		require.NoError(t, w.Close())
	}
	for range open {
		require.Equal(t, http.StatusAccepted, (<-ended).status)
	}
}
