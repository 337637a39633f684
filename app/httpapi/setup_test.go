package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/local/postgres/pgtest"
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		defer stopEmulator()
		return pgtest.Main(m)
	}())
}

const (
	secret   = "a secret of at least thirty-two bytes"
	password = "correct horse battery"
)

// memory implements app.Objects for tests.
type memory struct {
	mu     sync.Mutex
	bytes  map[string][]byte
	ranges []string // Range values asked for
	err    error    // every Get fails with it
}

func (m *memory) Put(_ context.Context, key, _ string, r io.Reader) (int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, fmt.Errorf("put %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes[key] = data
	return int64(len(data)), nil
}

func (m *memory) Get(_ context.Context, key, rng string) (app.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ranges = append(m.ranges, rng)
	if m.err != nil {
		return app.Object{}, m.err
	}
	data, ok := m.bytes[key]
	if !ok {
		return app.Object{}, app.Errorf(app.CodeNotFound, "no such object")
	}
	if rng != "" {
		var first, last int
		if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &first, &last); err != nil {
			return app.Object{}, err
		}
		data = data[first : last+1]
	}
	return app.Object{ReadCloser: io.NopCloser(bytes.NewReader(data)), Bytes: int64(len(data))}, nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.bytes, key)
	return nil
}

// setup is one running API with a database of its own.
type setup struct {
	t       *testing.T
	db      dbtest.Database
	objects *memory
	status  *httpapi.Status
	server  *httptest.Server
	url     string
	log     *bytes.Buffer // read it when the server is closed
	clock   *clock
	keys    *auth.Keys
}

type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	return newSetupWith(t, func(*httpapi.Options) {})
}

// newSetupWith lets change see and change the options.
func newSetupWith(t *testing.T, change func(*httpapi.Options)) *setup {
	t.Helper()
	s := &setup{t: t, db: dbtest.New(t), objects: &memory{bytes: map[string][]byte{}}, log: &bytes.Buffer{}, clock: &clock{}}
	var err error
	s.keys, err = auth.NewKeys(secret)
	require.NoError(t, err)
	s.status = &httpapi.Status{
		Identity: httpapi.Identity{Version: "1.2.3", Color: "blue", Instance: "i-1", Revision: "abc"},
		Checks: []httpapi.Check{
			{Name: "postgres", Required: true, Probe: s.db.Ping},
			{Name: "redis", Probe: func(context.Context) error { return context.DeadlineExceeded }},
		},
	}
	options := httpapi.Options{
		Auth: auth.NewService(s.db.Users(), s.db.Sessions(), s.keys, s.clock.now), Keys: s.keys,
		Users: s.db.Users(), Projects: s.db.Projects(), Jobs: s.db.Jobs(), Videos: s.db.Videos(), Objects: s.objects,
		Status: s.status, Log: slog.New(slog.NewJSONHandler(s.log, nil)), Metrics: prometheus.NewRegistry(), Now: s.clock.now,
		Storage: s.db.Storage(0), Uploads: s.db.Uploads(), Webhooks: s.db.Webhooks(),
		MaxImageBytes: 100_000, MaxVideoBytes: 200_000,
	}
	change(&options)
	h, err := httpapi.New(options)
	require.NoError(t, err)
	s.server = httptest.NewServer(h)
	t.Cleanup(s.server.Close)
	s.url = s.server.URL
	return s
}

// user is a client with the cookies of one person.
type user struct {
	*setup
	client *http.Client
	jar    *cookiejar.Jar
	email  string
}

func (s *setup) anonymous() *user {
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	return &user{setup: s, jar: jar, client: &http.Client{Jar: jar}}
}

// owner registers a tenant and logs its owner in.
func (s *setup) owner() *user {
	s.t.Helper()
	u := s.anonymous()
	u.email = uuid.NewString() + "@example.com"
	u.post("/v1/auth/register", map[string]string{"tenant_name": "Acme", "email": u.email, "password": password}).want(http.StatusCreated)
	u.login()
	return u
}

func (u *user) login() {
	u.t.Helper()
	u.post("/v1/auth/login", map[string]string{"email": u.email, "password": password}).want(http.StatusOK)
}

type me struct {
	User   struct{ ID uuid.UUID }
	Tenant struct{ ID uuid.UUID }
}

func (u *user) me() me {
	u.t.Helper()
	var m me
	u.get("/v1/me").want(http.StatusOK).into(&m)
	return m
}

// with returns the same user with another role.
func (u *user) with(role app.Role) *user {
	u.t.Helper()
	me := u.me()
	session := dbtest.NewID(u.t)
	require.NoError(u.t, u.db.Sessions().Create(u.t.Context(), app.Session{ID: session, TenantID: me.Tenant.ID, UserID: me.User.ID, TokenHash: append(session[:], session[:]...), ExpiresAt: time.Now().Add(time.Hour)}))
	token, err := u.keys.Issue(app.Caller{UserID: me.User.ID, TenantID: me.Tenant.ID, SessionID: session, Role: role}, u.clock.now())
	require.NoError(u.t, err)
	other := u.anonymous()
	other.client.Transport = cookieTransport{"access=" + token}
	return other
}

type cookieTransport struct{ cookie string }

func (c cookieTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Header.Set("Cookie", c.cookie)
	return http.DefaultTransport.RoundTrip(req)
}

// answer is a response that has been read and checked against the OpenAPI
// document.
type answer struct {
	t    *testing.T
	what string
	*http.Response
	body []byte
}

func (a answer) want(status int) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.StatusCode, "%s: %s", a.what, a.body)
	return a
}

func (a answer) into(v any) {
	a.t.Helper()
	require.NoError(a.t, json.Unmarshal(a.body, v), "%s: %s", a.what, a.body)
}

// problem checks that the answer is a problem as RFC 9457 has it.
func (a answer) problem(status int, code string) httpapi.Problem {
	a.t.Helper()
	a.want(status)
	require.Equal(a.t, "application/problem+json", a.Header.Get("Content-Type"), a.what)
	var p httpapi.Problem
	a.into(&p)
	require.Equal(a.t, status, p.Status, a.what)
	require.Equal(a.t, app.Code(code), p.Code, "%s: %s", a.what, a.body)
	require.Equal(a.t, http.StatusText(status), p.Title)
	require.Equal(a.t, a.Header.Get("X-Request-Id"), p.RequestID)
	require.NotEmpty(a.t, p.Detail)
	require.Equal(a.t, "about:blank", p.Type)
	return p
}

var document = sync.OnceValues(func() (validator.Validator, error) {
	doc, err := libopenapi.NewDocument(httpapi.OpenAPIDocument())
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		return nil, fmt.Errorf("%v", errs)
	}
	return v, nil
})

// validating serializes the validator.
var validating sync.Mutex

func (u *user) do(req *http.Request) answer {
	u.t.Helper()
	res, err := u.client.Do(req)
	require.NoError(u.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(u.t, err)
	require.NoError(u.t, res.Body.Close())
	a := answer{t: u.t, what: req.Method + " " + req.URL.RequestURI(), Response: res, body: body}

	require.NotEqual(u.t, http.StatusInternalServerError, res.StatusCode, "%s: %s", a.what, body)
	require.NotEmpty(u.t, res.Header.Get("X-Request-Id"), a.what)
	require.Contains(u.t, res.Header.Get("Server-Timing"), "app;dur=", a.what)
	require.Equal(u.t, "i-1/blue/1.2.3", res.Header.Get("X-Served-By"), a.what)
	require.Equal(u.t, "private, no-store", res.Header.Get("Cache-Control"), a.what)
	require.Equal(u.t, "nosniff", res.Header.Get("X-Content-Type-Options"), a.what)

	v, err := document()
	require.NoError(u.t, err)
	validating.Lock()
	defer validating.Unlock()
	res.Body = io.NopCloser(bytes.NewReader(body))
	if ok, errs := v.ValidateHttpResponse(req, res); !ok {
		for _, e := range errs {
			if e.ValidationType == "path" {
				continue // an unknown route or method: problem checks its answer
			}
			require.Fail(u.t, "the response is not as documented", "%s answered %d %s: %v", a.what, res.StatusCode, body, e)
		}
	}
	return a
}

func (u *user) request(method, path string, body io.Reader, headers ...string) *http.Request {
	u.t.Helper()
	req, err := http.NewRequestWithContext(u.t.Context(), method, u.url+path, body)
	require.NoError(u.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

func (u *user) get(path string, headers ...string) answer {
	u.t.Helper()
	return u.do(u.request("GET", path, nil, headers...))
}

func (u *user) delete(path string) answer {
	u.t.Helper()
	return u.do(u.request("DELETE", path, nil))
}

func (u *user) post(path string, body any, headers ...string) answer {
	u.t.Helper()
	return u.json("POST", path, body, headers...)
}

func (u *user) json(method, path string, body any, headers ...string) answer {
	u.t.Helper()
	data, err := json.Marshal(body)
	require.NoError(u.t, err)
	return u.do(u.request(method, path, bytes.NewReader(data), append([]string{"Content-Type", "application/json"}, headers...)...))
}

func (u *user) raw(method, path, contentType, body string) answer {
	u.t.Helper()
	return u.do(u.request(method, path, strings.NewReader(body), "Content-Type", contentType))
}

type project struct {
	ID      string
	Name    string
	Version int
}

func (u *user) project(name string) project {
	u.t.Helper()
	var p project
	u.post("/v1/projects", map[string]string{"name": name}).want(http.StatusCreated).into(&p)
	return p
}
