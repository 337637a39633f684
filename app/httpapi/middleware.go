package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/connections"
	"github.com/loadbearing/loadbearing/app/trace"
)

// scope is what is known of a request while it is served.
type scope struct {
	id      string
	caller  app.Caller
	started bool // the answer's header has been sent
	status  int
	bytes   int64
	begin   time.Time
	err     error
}

type scopeKey struct{}

func scopeOf(req *http.Request) *scope {
	if s, ok := req.Context().Value(scopeKey{}).(*scope); ok {
		return s
	}
	return &scope{}
}

// noStore keeps what one user was told out of every cache, also out of one
// that a behaviour of the edge was configured for by mistake.
const noStore = "private, no-store"

// requestIDs that clients and proxies send are kept if they are short and
// cannot break a log line or a header.
var requestID = regexp.MustCompile(`^[A-Za-z0-9._=-]{8,128}$`)

// span continues the trace a request belongs to, or begins one. Its tracestate
// is not kept: it is for vendors, and none of ours reads it (section 3.3).
func span(req *http.Request) trace.Span {
	parent := req.Header.Values(trace.Parent)
	if len(parent) != 1 {
		return trace.Continue("", "")
	}
	return trace.Continue(parent[0], "")
}

// outer serves requests through what all have in common.
func (a *api) outer(mux *http.ServeMux) http.Handler {
	crossSite := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		s := &scope{begin: time.Now(), id: req.Header.Get("X-Request-Id")}
		if !requestID.MatchString(s.id) {
			s.id = uuid.NewString()
		}
		req = req.WithContext(trace.With(context.WithValue(req.Context(), scopeKey{}, s), span(req)))
		w := &response{ResponseWriter: rw, scope: s}
		a.metrics.connections.Inc()
		defer func() {
			recovered := recover()
			if err, _ := recovered.(error); recovered != nil && !errors.Is(err, http.ErrAbortHandler) {
				a.Log.ErrorContext(req.Context(), "handler panicked", "request_id", s.id, "panic", recovered, "stack", string(debug.Stack()))
				if s.started {
					recovered = http.ErrAbortHandler
				} else {
					a.problem(w, req, fmt.Errorf("panic: %v", recovered))
					recovered = nil
				}
			}
			a.metrics.connections.Dec()
			a.finish(req, s, recovered != nil)
			if recovered != nil {
				panic(recovered)
			}
		}()

		h := w.Header()
		h.Set("X-Request-Id", s.id)
		h.Set("X-Served-By", a.Status.Identity.servedBy())
		h.Set("Cache-Control", noStore)
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Strict-Transport-Security", "max-age=31536000")
		h.Set("X-Content-Type-Options", "nosniff")

		// The connection's deadlines outlive a request, so each sets both.
		control := http.NewResponseController(rw)
		_ = control.SetReadDeadline(s.begin.Add(requestTimeout))
		_ = control.SetWriteDeadline(s.begin.Add(2 * requestTimeout))

		if err := crossSite.Check(req); err != nil {
			a.problem(w, req, &app.Error{Code: app.CodeForbidden, Message: "the request comes from another site", Err: err})
			return
		}
		if _, pattern := mux.Handler(req); pattern == "" {
			a.unrouted(w, req, mux)
			return
		}
		mux.ServeHTTP(w, req)
	})
}

// unrouted turns what the mux says of a request without a route, 404, 405 or a
// redirect to the clean path, into a problem.
func (a *api) unrouted(w http.ResponseWriter, req *http.Request, mux *http.ServeMux) {
	probe := &headerOnly{header: http.Header{}}
	h, _ := mux.Handler(req)
	h.ServeHTTP(probe, req)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		a.problem(w, req, app.Errorf(codeMethodNotAllowed, "%s does not take %s; it takes %s", req.URL.Path, req.Method, allow))
		return
	}
	a.problem(w, req, app.Errorf(app.CodeNotFound, "there is nothing at %s", req.URL.Path))
}

// headerOnly keeps an answer's status and header.
type headerOnly struct {
	header http.Header
	status int
}

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) WriteHeader(status int)      { h.status = status }
func (h *headerOnly) Write(p []byte) (int, error) { return len(p), nil }

// finish counts and logs a request that has ended.
func (a *api) finish(req *http.Request, s *scope, aborted bool) {
	took := time.Since(s.begin)
	pattern := req.Pattern
	if pattern == "" {
		pattern = "none"
	}
	status := strconv.Itoa(s.status)
	if aborted {
		status = "aborted"
	}
	a.metrics.duration.WithLabelValues(pattern, status).Observe(took.Seconds())

	level := slog.LevelInfo
	if !strings.Contains(pattern, "/v1/") && s.status < http.StatusInternalServerError {
		level = slog.LevelDebug // probes would drown the rest
	}
	if app.CodeOf(s.err) == codeOverloaded {
		level = slog.LevelDebug // counted
	}
	if !a.Log.Enabled(req.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", s.id), slog.String("method", req.Method), slog.String("path", req.URL.Path),
		slog.String("route", pattern), slog.Int("status", s.status), slog.Int64("bytes", s.bytes),
		slog.Float64("ms", milliseconds(took)), slog.String("remote", req.RemoteAddr), slog.String("user_agent", req.UserAgent()),
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if s.caller.UserID != uuid.Nil {
		attrs = append(attrs, slog.String("tenant", s.caller.TenantID.String()), slog.String("user", s.caller.UserID.String()))
	}
	if s.err != nil && s.status < http.StatusInternalServerError {
		attrs = append(attrs, slog.String("error", s.err.Error()))
	}
	a.Log.LogAttrs(req.Context(), level, "request", attrs...)
}

// milliseconds of a duration, to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// response records what is sent and adds Server-Timing when it begins.
type response struct {
	http.ResponseWriter
	scope *scope
}

// Unwrap lets http.ResponseController reach the connection.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *response) WriteHeader(status int) {
	if !r.scope.started && status >= http.StatusOK {
		r.scope.started, r.scope.status = true, status
		ms := milliseconds(time.Since(r.scope.begin))
		r.Header().Set("Server-Timing", "app;dur="+strconv.FormatFloat(ms, 'f', 3, 64))
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(p []byte) (int, error) {
	if !r.scope.started {
		r.WriteHeader(http.StatusOK)
	}
	n, err := r.ResponseWriter.Write(p)
	r.scope.bytes += int64(n)
	return n, err
}

type metrics struct {
	duration    *prometheus.HistogramVec
	connections *connections.Gauge
}

func newMetrics(o Options) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "loadbearing_http_request_duration_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"route", "status"}),
		connections: o.Connections,
	}
	if m.connections == nil {
		m.connections = connections.NewGauge(time.Now)
	}
	active := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loadbearing_http_active_connections", Help: "Requests, streams and sockets open now.",
	}, func() float64 { return float64(m.connections.Active()) })
	return m, errors.Join(o.Metrics.Register(m.duration), o.Metrics.Register(active))
}
