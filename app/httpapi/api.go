// Package httpapi is the service's HTTP interface: the routes under /v1, their
// errors as RFC 9457 problems, and the endpoints that say how an instance is.
//
// A request passes, in this order: request id, trace and access log, recovery,
// security headers, cross-site protection, the default deadlines, its turn when
// there is more load than capacity, the route's body limit and timeout, authentication, the route's role, compression, the
// handler. Errors are never compressed.
//
// # Cookies
//
// Tokens travel in HttpOnly cookies with SameSite=Lax and Secure. Browsers and
// Go's cookie jar store or send no Secure cookie over plain HTTP, so Secure is
// left out for exactly one case: the request names a loopback host (localhost,
// 127.0.0.0/8, ::1) and came over plain HTTP, as CloudFront-Forwarded-Proto,
// else X-Forwarded-Proto, else the connection says. A client chooses its own
// Host, but a browser sends a loopback host only to its own machine, so no
// user of a public name is ever given a cookie without Secure.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
	"github.com/loadbearing/loadbearing/app/compress"
	"github.com/loadbearing/loadbearing/app/connections"
	"github.com/loadbearing/loadbearing/app/shed"
)

// Limits of one request.
const (
	MaxJSONBytes  = 64 << 10
	MaxImageBytes = 25 << 20
	MaxVideoBytes = 5 << 30

	requestTimeout = 10 * time.Second // of a request whose body and answer are small
	uploadTimeout  = time.Hour        // 5 GiB in an hour are 12 Mbit/s
	stallTimeout   = 30 * time.Second // between two reads or writes of a stream
)

// Options are what the API works with.
type Options struct {
	Auth     *auth.Service
	Keys     *auth.Keys // sign cursors
	Users    app.Users
	Projects app.Projects
	Jobs     app.Jobs
	Videos   app.Videos
	Objects  app.Objects
	Webhooks app.Webhooks
	Status   *Status
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Now      func() time.Time // time.Now outside of tests

	Connections *connections.Gauge // counts requests, streams and sockets; default one of its own
	Shed        *shed.Limiter      // refuses requests under /v1 above capacity; nil refuses none

	Storage   app.Storage
	Uploads   app.Uploads
	Multipart app.Multipart

	Streams *Streams // nil refuses event streams with 503

	MaxImageBytes int64 // default MaxImageBytes
	MaxVideoBytes int64 // default MaxVideoBytes

	// MaxUploads is the number of bodies of 32 MiB and more that this process
	// takes at once; smaller ones count as what they are of that. More are
	// refused with 503. Each holds as much of its body in memory. Default 8.
	MaxUploads int
	// StallTimeout is how long a client may take for 64 KiB of an upload or 16
	// KiB of a download. Default 30 s, which 2.2 KiB/s meet.
	StallTimeout time.Duration
}

type api struct {
	Options
	metrics    *metrics
	compressor *compress.Compressor
	document   *compress.Static    // the OpenAPI document
	uploads    *semaphore.Weighted // bytes of bodies held
	buffers    sync.Pool           // of *[copyBuffer]byte
}

// route is one method of one path.
type route struct {
	method string
	path   string
	handle func(http.ResponseWriter, *http.Request) error
	access access
	stream bool // sets its own limits and deadlines; never compressed

	// continues tells whether a request goes on with something its client has begun;
	// such a request is refused last above capacity. Nil: none does.
	continues func(*http.Request) bool

	// breach says that an answer may hold a secret (a token, also a future one
	// in the body) beside what the request said. Its length must not tell how
	// much of the one repeats the other, so it is never compressed; the package
	// comment of compress has the attack.
	breach bool
}

// access says who may call a route.
type access int

const (
	public access = iota
	viewer        // any user
	editor
	owner
)

func (a *api) routes() []route {
	return []route{
		{method: "POST", path: "/v1/auth/register", handle: a.register, breach: true},
		{method: "POST", path: "/v1/auth/login", handle: a.login, breach: true},
		{method: "POST", path: "/v1/auth/refresh", handle: a.refresh, breach: true, continues: always},
		{method: "POST", path: "/v1/auth/logout", handle: a.rechecking(a.logout), breach: true, continues: always},
		{method: "DELETE", path: "/v1/auth/sessions", handle: a.rechecking(a.logoutEverywhere), access: viewer, breach: true},
		{method: "GET", path: "/v1/me", handle: a.me, access: viewer},

		{method: "GET", path: "/v1/projects", handle: a.listProjects, access: viewer},
		{method: "POST", path: "/v1/projects", handle: a.createProject, access: editor},
		{method: "GET", path: "/v1/projects/{project}", handle: a.getProject, access: viewer},
		{method: "PATCH", path: "/v1/projects/{project}", handle: a.updateProject, access: editor, continues: conditional},
		{method: "DELETE", path: "/v1/projects/{project}", handle: a.deleteProject, access: owner},

		{method: "POST", path: "/v1/projects/{project}/images", handle: a.uploadImage, access: editor, stream: true},
		{method: "GET", path: "/v1/jobs/{job}", handle: a.getJob, access: viewer},
		{method: "GET", path: "/v1/images/{image}/content", handle: a.imageContent, access: viewer, stream: true, continues: conditional},

		{method: "POST", path: "/v1/projects/{project}/videos", handle: a.uploadVideo, access: editor, stream: true},
		{method: "POST", path: "/v1/projects/{project}/uploads", handle: a.createUpload, access: editor},
		{method: "GET", path: "/v1/uploads/{upload}", handle: a.getUpload, access: editor, continues: always},
		{method: "POST", path: "/v1/uploads/{upload}/parts", handle: a.requestParts, access: editor, breach: true, continues: always},
		{method: "POST", path: "/v1/uploads/{upload}/complete", handle: a.completeUpload, access: editor, stream: true, continues: always},
		{method: "DELETE", path: "/v1/uploads/{upload}", handle: a.deleteUpload, access: editor, continues: always},

		{method: "GET", path: "/v1/projects/{project}/videos", handle: a.listVideos, access: viewer},
		{method: "GET", path: "/v1/videos/{video}", handle: a.getVideo, access: viewer},
		{method: "DELETE", path: "/v1/videos/{video}", handle: a.deleteVideo, access: editor},
		{method: "GET", path: "/v1/videos/{video}/content", handle: a.videoContent, access: viewer, stream: true, continues: conditional},

		{method: "GET", path: "/v1/events", handle: a.events, access: viewer, stream: true, continues: resumed},

		{method: "GET", path: "/v1/webhook", handle: a.getWebhook, access: owner},
		{method: "PUT", path: "/v1/webhook", handle: a.setWebhook, access: owner, breach: true},
		{method: "DELETE", path: "/v1/webhook", handle: a.deleteWebhook, access: owner},

		{method: "GET", path: "/v1/openapi.json", handle: a.openAPI},
	}
}

// New returns the service's public handler.
func New(o Options) (http.Handler, error) {
	if o.MaxImageBytes == 0 {
		o.MaxImageBytes = MaxImageBytes
	}
	if o.MaxVideoBytes == 0 {
		o.MaxVideoBytes = MaxVideoBytes
	}
	if o.MaxUploads == 0 {
		o.MaxUploads = 8
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = stallTimeout
	}
	m, err := newMetrics(o)
	if err != nil {
		return nil, fmt.Errorf("register the HTTP metrics: %w", err)
	}
	document, err := compress.NewStatic(openAPIDocument, "application/json")
	if err != nil {
		return nil, fmt.Errorf("compress the OpenAPI document: %w", err)
	}
	a := &api{Options: o, metrics: m, compressor: compress.New(compress.Options{}), document: document}
	a.uploads = semaphore.NewWeighted(int64(o.MaxUploads) * uploadMemory)
	mux := http.NewServeMux()
	for _, r := range a.routes() {
		mux.Handle(r.method+" "+r.path, a.serve(r))
	}
	o.Status.routes(mux, a.problem)
	return a.outer(mux), nil
}

// NewStatus returns a handler that serves an instance's status alone, for
// programs without an API.
func NewStatus(o Options) (http.Handler, error) {
	m, err := newMetrics(o)
	if err != nil {
		return nil, fmt.Errorf("register the HTTP metrics: %w", err)
	}
	a := &api{Options: o, metrics: m}
	mux := http.NewServeMux()
	o.Status.routes(mux, a.problem)
	return a.outer(mux), nil
}

// serve wraps a route's handler in what the route says of itself.
func (a *api) serve(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if a.Shed != nil {
			ended, err := a.turn(r, req)
			if err != nil {
				a.problem(w, req, err)
				return
			}
			defer ended()
		}
		if !r.stream {
			ctx, cancel := context.WithTimeout(req.Context(), requestTimeout)
			defer cancel()
			req = req.WithContext(ctx)
			req.Body = http.MaxBytesReader(w, req.Body, MaxJSONBytes)
		}
		err := a.authorize(r, req)
		switch {
		case err != nil:
		case r.stream || r.breach:
			err = r.handle(w, req)
		default:
			err = a.compressor.Serve(w, req, r.handle)
		}
		if err != nil {
			a.problem(w, req, err)
		}
	})
}

// turn waits for a request's turn and returns what to call at its end. Nothing
// of the request is looked at but its header, and nothing else is asked. A
// stream takes its turn like any request and gives its place up at once: how long
// it lasts is up to its client, and each kind has a limit of its own.
func (a *api) turn(r route, req *http.Request) (ended func(), err error) {
	class := shed.Begins
	if r.continues != nil && r.continues(req) {
		class = shed.Continues
	}
	permit, err := a.Shed.Acquire(req.Context(), class)
	if errors.Is(err, shed.ErrOverloaded) {
		return nil, &app.Error{Code: codeOverloaded, Message: "there are more requests than can be served now; try again later", Err: err}
	}
	if err != nil {
		return nil, err
	}
	if r.stream {
		permit.Drop()
		return func() {}, nil
	}
	ctx := req.Context()
	return func() {
		if ctx.Err() != nil { // the client has left
			permit.Drop()
			return
		}
		permit.Record()
	}, nil
}

func always(*http.Request) bool { return true }

// conditional tells whether a client has a version of what it asks for, or a
// part of it.
func conditional(req *http.Request) bool {
	for _, name := range [...]string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since"} {
		if req.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

// resumed tells whether a client of an event stream was connected before.
func resumed(req *http.Request) bool {
	return req.Header.Get("Last-Event-ID") != "" || req.URL.Query().Has("last_event_id")
}

func (a *api) authorize(r route, req *http.Request) error {
	if r.access == public {
		return nil
	}
	cookie, err := req.Cookie(accessCookie)
	if err != nil {
		return app.Errorf(app.CodeUnauthenticated, "log in first")
	}
	caller, err := a.Auth.Authenticate(req.Context(), cookie.Value)
	if err != nil {
		return err
	}
	scopeOf(req).caller = caller
	if rank(caller.Role) < r.access {
		return app.Errorf(app.CodeForbidden, "the role %s may not do this", caller.Role)
	}
	return nil
}

func rank(r app.Role) access {
	switch r {
	case app.RoleViewer:
		return viewer
	case app.RoleEditor:
		return editor
	case app.RoleOwner:
		return owner
	}
	return public
}

// caller returns who sent an authenticated request.
func caller(req *http.Request) app.Caller { return scopeOf(req).caller }
