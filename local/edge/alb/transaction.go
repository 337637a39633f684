package alb

import (
	"net/http"
	"time"
)

// statusClientClosed is what the load balancer's log and metrics say of a
// client that closed its connection before the idle timeout; nobody reads it.
const statusClientClosed = 460

// transaction is one request and what becomes of it, from the moment its
// headers have been read until its answer was sent. It is the ResponseWriter
// of who answers.
type transaction struct {
	http.ResponseWriter
	received time.Time // its headers were

	listener *Listener // nil when there is none on the port
	rule     *compiledRule
	exchange *exchange // nil when no target was chosen

	status       int // of the answer, 0 before it has one
	targetStatus int // 0 when no target answered
}

// Unwrap gives http.ResponseController what it controls.
func (t *transaction) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader notes the status.
func (t *transaction) WriteHeader(status int) {
	if t.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

// over counts a request that has its answer.
func (s *Server) over(t *transaction) {
	if t.targetStatus != 0 {
		return // counted when the target answered
	}
	if t.status > 0 && t.status < len(s.counters.own) {
		s.counters.own[t.status].Add(1)
	}
	if t.rule == nil {
		return
	}
	switch a := t.rule.Action; {
	case a.FixedResponse != nil:
		s.counters.fixedResponses.Add(1)
	case a.Redirect != nil:
		s.counters.redirects.Add(1)
	}
}
