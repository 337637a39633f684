package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/loadbearing/loadbearing/app"
)

// Codes of problems that only HTTP knows.
const (
	codeMethodNotAllowed     app.Code = "method_not_allowed"
	codePreconditionFailed   app.Code = "precondition_failed"
	codePreconditionRequired app.Code = "precondition_required"
	codeTimeout              app.Code = "timeout"
	codeOverloaded           app.Code = "overloaded" // more than there is capacity for
)

// Problem is the body of every error (RFC 9457). Its type is about:blank: the
// status says what kind of problem it is, and code, which is stable, says
// which one.
type Problem struct {
	Type      string           `json:"type"`
	Title     string           `json:"title"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail"`
	Code      app.Code         `json:"code"`
	RequestID string           `json:"request_id"`
	Errors    []app.FieldError `json:"errors,omitempty"`
	Quota     *Quota           `json:"quota,omitempty"` // with code quota_exceeded
}

// Quota says how full a tenant's storage is.
type Quota struct {
	UsedBytes    int64 `json:"used_bytes"` // stored or reserved
	AllowedBytes int64 `json:"allowed_bytes"`
}

// mostRetryAfter is the longest a client is told to stay away when there is too
// much load, in seconds. Each is told a time of its own, so that they do not come
// back together.
const mostRetryAfter = 5

func statusOf(code app.Code) int {
	switch code {
	case app.CodeInvalid, codeDigestMismatch:
		return http.StatusBadRequest
	case app.CodeUnauthenticated:
		return http.StatusUnauthorized
	case app.CodeForbidden:
		return http.StatusForbidden
	case app.CodeNotFound:
		return http.StatusNotFound
	case app.CodeConflict:
		return http.StatusConflict
	case app.CodeTooLarge, app.CodeQuotaExceeded:
		return http.StatusRequestEntityTooLarge
	case app.CodeUnsupportedType:
		return http.StatusUnsupportedMediaType
	case app.CodeRange:
		return http.StatusRequestedRangeNotSatisfiable
	case app.CodeUnavailable, codeOverloaded:
		return http.StatusServiceUnavailable
	case codeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case codePreconditionFailed:
		return http.StatusPreconditionFailed
	case codePreconditionRequired:
		return http.StatusPreconditionRequired
	case codeTimeout:
		return http.StatusRequestTimeout
	case codeTooManyStreams:
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// problem answers a request with an error, or ends the connection when the
// answer has begun already: a body cut short must not look whole.
func (a *api) problem(w http.ResponseWriter, req *http.Request, err error) {
	s := scopeOf(req)
	if errors.Is(err, context.Canceled) && req.Context().Err() != nil {
		a.Log.DebugContext(req.Context(), "the client went away", "request_id", s.id, "error", err)
		panic(http.ErrAbortHandler)
	}
	p := Problem{Type: "about:blank", Code: app.CodeInternal, RequestID: s.id, Detail: "something went wrong on our side"}
	if e, ok := errors.AsType[*app.Error](err); ok && e.Code != app.CodeInternal {
		p.Code, p.Detail, p.Errors = e.Code, e.Message, e.Fields
		if q, ok := errors.AsType[*app.QuotaError](e.Err); ok {
			p.Quota = &Quota{q.Used, q.Allowed}
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		p.Code, p.Detail = app.CodeUnavailable, "it took too long; try again"
	}
	p.Status = statusOf(p.Code)
	p.Title = http.StatusText(p.Status)
	s.err = err
	if p.Status >= http.StatusInternalServerError && p.Code != codeOverloaded { // a line for each would be load too
		level := slog.LevelError
		if p.Code == app.CodeUnavailable {
			level = slog.LevelWarn
		}
		a.Log.Log(req.Context(), level, "request failed", "request_id", s.id, "method", req.Method, "path", req.URL.Path, "error", err)
	}
	if s.started {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Disposition", "Etag", "Last-Modified", "Location"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", noStore) // net/http's own errors drop it
	switch p.Status {
	case http.StatusUnauthorized:
		// RFC 9110, 11.6.1, wants a challenge; Cookie is the scheme this API has.
		h.Set("WWW-Authenticate", `Cookie realm="loadbearing", cookie-name="`+accessCookie+`"`)
	case http.StatusServiceUnavailable:
		after := 1
		if p.Code == codeOverloaded {
			after += rand.IntN(mostRetryAfter)
		}
		h.Set("Retry-After", strconv.Itoa(after))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func invalid(field, message string) *app.Error {
	return &app.Error{
		Code: app.CodeInvalid, Message: field + " " + message,
		Fields: []app.FieldError{{Field: field, Message: message}},
	}
}
