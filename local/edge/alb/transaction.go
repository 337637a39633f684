package alb

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// statusClientClosed is what the load balancer's log and metrics say of a
// client that closed its connection before the idle timeout; nobody reads it.
const statusClientClosed = 460

// statusForwardedTooOften answers an X-Forwarded-For with more than 30 addresses.
const statusForwardedTooOften = 463

// transaction is one request and what becomes of it, from the moment its
// headers have been read until its answer was sent. It is the ResponseWriter
// of who answers.
type transaction struct {
	http.ResponseWriter
	received time.Time // its headers were

	listener *Listener // nil when there is none on the port
	rule     *compiledRule
	exchange *exchange // nil when no target was chosen

	status       int       // of the answer, 0 before it has one
	targetStatus int       // 0 when no target answered
	answering    time.Time // when the answer began
	sent         int64     // bytes of its body
	hijacked     *countedConn
	trace        string // X-Amzn-Trace-Id
	over         time.Time
}

// Unwrap gives http.ResponseController what it controls.
func (t *transaction) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader notes the status.
func (t *transaction) WriteHeader(status int) {
	if t.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		t.status, t.answering = status, time.Now()
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write counts what the client is sent.
func (t *transaction) Write(p []byte) (int, error) {
	if t.status == 0 {
		t.status, t.answering = http.StatusOK, time.Now()
	}
	n, err := t.ResponseWriter.Write(p)
	t.sent += int64(n)
	return n, err
}

// Hijack counts what passes on a connection that is no longer HTTP.
func (t *transaction) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t.hijacked, t.answering = &countedConn{Conn: conn}, time.Now()
	return t.hijacked, buffered, nil
}

type countedConn struct {
	net.Conn
	read, written atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// CloseWrite ends one direction of a connection and keeps the other.
func (c *countedConn) CloseWrite() error { return closeWrite(c.Conn) }

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// over counts and logs a request that has its answer.
func (s *Server) over(t *transaction, r *http.Request) {
	t.over = time.Now()
	if s.accessLog != nil {
		lb := s.Config().LoadBalancer
		_, id, _ := strings.Cut(lb.ARN, ":loadbalancer/")
		s.accessLog(lb, t.appendEntry(nil, id, r))
	}
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
