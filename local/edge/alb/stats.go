package alb

import (
	"cmp"
	"errors"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Stats is what a load balancer did in a while, and how its targets are at the
// end of it: what it says to CloudWatch.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
type Stats struct {
	ARN string
	// Connections of clients and to targets: those open now, those made, and
	// those there was no file descriptor for.
	ActiveConnections, NewConnections, RejectedConnections int64
	FixedResponses, Redirects                              int64
	Own                                                    map[int]int64 // answers of the load balancer itself, by status; 460 is a client that left
	Groups                                                 []GroupStats  // by ARN
}

// GroupStats is the part of one target group.
type GroupStats struct {
	ARN              string
	Requests         int64    // a target was chosen for
	Answers          [6]int64 // of targets, by class of the status: [2] are the 2XX
	ConnectionErrors int64
	ResponseTimes    []ResponseTime // in ascending order

	Registered, Healthy, Unhealthy int // targets
}

// ResponseTime is how often targets took about so long to begin their answer.
type ResponseTime struct {
	Seconds float64 // with an error of at most 1.6 %
	Count   int64
}

// counters of a target group. A request changes three of them.
type counters struct {
	requests         atomic.Int64
	answers          [6]atomic.Int64
	connectionErrors atomic.Int64
	responseTimes    histogram
}

// ownCounters are those of the load balancer itself.
type ownCounters struct {
	active, made, rejected    atomic.Int64
	fixedResponses, redirects atomic.Int64
	own                       [600]atomic.Int64 // by status
}

// histogram counts durations in buckets whose width is a 32nd of the power of
// two below them, from a microsecond to longer than any idle timeout.
type histogram [32 * octaves]atomic.Int64

const (
	octaves = 32 // 2^-20 s to 2^12 s
	// A float64 without the lower bits of its mantissa numbers the bucket.
	bucketShift = 52 - 5
)

var firstBucket = math.Float64bits(math.Ldexp(1, -20)) >> bucketShift

func (h *histogram) observe(d time.Duration) {
	at := int64(math.Float64bits(max(d.Seconds(), 0))>>bucketShift) - int64(firstBucket)
	h[min(max(at, 0), int64(len(h)-1))].Add(1)
}

// take returns what was counted and starts anew.
func (h *histogram) take() []ResponseTime {
	var list []ResponseTime
	for i := range h {
		if h[i].Load() == 0 {
			continue
		}
		middle := math.Float64frombits((uint64(i)+firstBucket)<<bucketShift | 1<<(bucketShift-1))
		list = append(list, ResponseTime{middle, h[i].Swap(0)})
	}
	return list
}

// Collect returns what was counted since it was last called. It is meant for
// the one who publishes it.
func (s *Server) Collect() Stats {
	c := &s.counters
	out := Stats{
		ARN: s.Config().LoadBalancer.ARN, Own: map[int]int64{},
		ActiveConnections: c.active.Load(), NewConnections: c.made.Swap(0), RejectedConnections: c.rejected.Swap(0),
		FixedResponses: c.fixedResponses.Swap(0), Redirects: c.redirects.Swap(0),
	}
	for status := range c.own {
		if n := c.own[status].Swap(0); n > 0 {
			out.Own[status] = n
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inUse := map[string]bool{}
	for _, g := range s.Config().TargetGroups {
		inUse[g.ARN] = true
	}
	for arn, g := range s.groups {
		if !inUse[arn] && len(g.draining) == 0 {
			continue // no rule forwards to it any more
		}
		stats := GroupStats{
			ARN: arn, Requests: g.requests.Swap(0), ConnectionErrors: g.connectionErrors.Swap(0),
			ResponseTimes: g.responseTimes.take(), Registered: len(g.targets),
		}
		for class := range g.answers {
			stats.Answers[class] = g.answers[class].Swap(0)
		}
		for _, t := range g.targets {
			switch t.state {
			case Healthy:
				stats.Healthy++
			case Unhealthy:
				stats.Unhealthy++
			}
		}
		out.Groups = append(out.Groups, stats)
	}
	slices.SortFunc(out.Groups, func(a, b GroupStats) int { return cmp.Compare(a.ARN, b.ARN) })
	return out
}

// Track counts the connections a listener of the load balancer accepts, and
// closes those that are idle for the idle timeout. The http.Server that serves
// them needs ConnState for that.
func (s *Server) Track(l net.Listener) net.Listener { return trackedListener{l, s} }

// ConnState is the hook of that name of an http.Server.
func (s *Server) ConnState(conn net.Conn, state http.ConnState) {
	if tracked, ok := conn.(*trackedConn); ok {
		tracked.idle.Store(state == http.StateIdle)
	}
}

type trackedListener struct {
	net.Listener
	server *Server
}

func (l trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			l.server.counters.rejected.Add(1)
		}
		return nil, err
	}
	tracked := l.server.counters.track(conn)
	tracked.server = l.server
	return tracked, nil
}

// track counts a connection until it is closed.
func (c *ownCounters) track(conn net.Conn) *trackedConn {
	c.made.Add(1)
	c.active.Add(1)
	return &trackedConn{Conn: conn, counters: c}
}

type trackedConn struct {
	net.Conn
	counters *ownCounters
	closed   sync.Once
	server   *Server     // nil for one to a target
	idle     atomic.Bool // between two requests
}

// SetReadDeadline bounds how long the server waits for the next request of a
// client by the idle timeout, which changes while it runs.
func (c *trackedConn) SetReadDeadline(at time.Time) error {
	if c.idle.Load() && !at.IsZero() {
		idle := cmp.Or(c.server.Config().LoadBalancer.IdleTimeout, defaultIdleTimeout)
		if limit := time.Now().Add(idle); limit.Before(at) {
			at = limit
		}
	}
	return c.Conn.SetReadDeadline(at)
}

func (c *trackedConn) Close() error {
	c.closed.Do(func() { c.counters.active.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite lets the server end its side first, so that a client that still
// sends reads the last answer instead of a reset.
func (c *trackedConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
