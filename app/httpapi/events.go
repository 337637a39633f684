package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
)

// Defaults of StreamOptions.
const (
	DefaultStreamsPerUser = 20
	DefaultStreams        = 10_000
	DefaultHeartbeat      = 20 * time.Second
)

const (
	// codeTooManyStreams says that a user has as many streams open as they may.
	codeTooManyStreams app.Code = "too_many_streams"

	// writeTimeout is how long a client may take for one write of a stream.
	// What it has to read is small, and it may come back.
	writeTimeout = 10 * time.Second
	// checkTimeLimit bounds a look at the session; events wait for it.
	checkTimeLimit = 2 * time.Second
	// writeBytes is after how many bytes a batch of events is written.
	writeBytes = 16 << 10

	// A client waits for so long before it comes back, by what the server told it when
	// it connected: the clients of an instance that dies do not all come at once.
	leastRetry, mostRetry = 500 * time.Millisecond, 2500 * time.Millisecond
)

// closeUnauthorized is the status that IANA has registered for a WebSocket
// whose client has to authenticate anew.
const closeUnauthorized websocket.StatusCode = 3000

// StreamOptions say how a process streams events.
type StreamOptions struct {
	Events app.Subscriptions
	// PerUser is the most streams one user may have open here; the next is
	// refused with 429. Default DefaultStreamsPerUser.
	PerUser int
	// Total is the most streams this process holds; the next is refused with
	// 503. Default DefaultStreams.
	Total int
	// Heartbeat is the mean time between two signs of life on a silent stream;
	// each is up to a quarter earlier or later. CloudFront and an ALB close
	// after 60 s of silence by default. The session is looked at with each, so
	// that a revoked one ends its streams even when nobody told this process.
	// Default DefaultHeartbeat: 15 to 25 s.
	Heartbeat time.Duration
	Metrics   prometheus.Registerer // default none
}

// Streams are the event streams and WebSockets that a process holds.
type Streams struct {
	o     StreamOptions
	open  *prometheus.GaugeVec
	ended *prometheus.CounterVec

	mu       sync.Mutex
	users    map[uuid.UUID]int
	total    int
	none     *sync.Cond    // total is 0
	draining chan struct{} // closed by Drain
	from, to time.Time     // when streams end while draining
}

// NewStreams returns a process' streams, none yet.
func NewStreams(o StreamOptions) (*Streams, error) {
	o.PerUser = cmp.Or(o.PerUser, DefaultStreamsPerUser)
	o.Total = cmp.Or(o.Total, DefaultStreams)
	o.Heartbeat = cmp.Or(o.Heartbeat, DefaultHeartbeat)
	s := &Streams{
		o: o, users: map[uuid.UUID]int{}, draining: make(chan struct{}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "loadbearing_event_streams", Help: "Event streams open now.",
		}, []string{"transport"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "loadbearing_event_streams_ended_total", Help: "Event streams that have ended, by who or what ended them.",
		}, []string{"reason"}),
	}
	s.none = sync.NewCond(&s.mu)
	if o.Metrics != nil {
		if err := errors.Join(o.Metrics.Register(s.open), o.Metrics.Register(s.ended)); err != nil {
			return nil, fmt.Errorf("register the metrics of event streams: %w", err)
		}
	}
	return s, nil
}

// leavingPace is how many streams a second an instance that drains sends away: a
// handful that do not make a fleet wait, and of thousands no more than others
// take in.
const leavingPace = 50

// Drain ends all streams with a hint to resume, each at a moment of its own
// between after and at most after+over from now, so that the clients do not come
// to the other instances all at once: leavingPace of them a second when over
// allows. Streams that are opened meanwhile are served and end with the others: a
// browser gives up on a stream that is refused.
func (s *Streams) Drain(after, over time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	over = min(over, time.Duration(s.total)*time.Second/leavingPace)
	select {
	case <-s.draining:
		return
	default:
	}
	s.from = time.Now().Add(after)
	s.to = s.from.Add(over)
	close(s.draining)
}

// Stop returns when all streams have ended, at once unless Drain gave them
// longer.
func (s *Streams) Stop() {
	s.Drain(0, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.total > 0 {
		s.none.Wait()
	}
}

// end returns when a stream ends while draining.
func (s *Streams) end() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	begin := time.Now()
	if begin.Before(s.from) {
		begin = s.from
	}
	if !begin.Before(s.to) {
		return begin
	}
	return begin.Add(rand.N(s.to.Sub(begin)))
}

func (s *Streams) acquire(user uuid.UUID) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[user] >= s.o.PerUser {
		return nil, app.Errorf(codeTooManyStreams, "you have %d event streams open, which is as many as you may; close one", s.o.PerUser)
	}
	if s.total >= s.o.Total {
		return nil, app.Errorf(codeOverloaded, "no more event streams can be opened here now; try again later")
	}
	s.total++
	s.users[user]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.total--; s.total == 0 {
			s.none.Broadcast()
		}
		if s.users[user]--; s.users[user] == 0 {
			delete(s.users, user)
		}
	}, nil
}

// events streams what happens to what is the caller's, as server-sent events or
// on a WebSocket.
func (a *api) events(w http.ResponseWriter, req *http.Request) error {
	if a.Streams == nil {
		return app.Errorf(app.CodeUnavailable, "this instance streams no events")
	}
	q, err := query(req, "last_event_id")
	if err != nil {
		return err
	}
	// A browser sends the header when it reconnects by itself; a page that opens a new stream, or a WebSocket, cannot.
	last := cmp.Or(req.Header.Get("Last-Event-ID"), q.Get("last_event_id"))

	// A GET is not a change, but it opens a connection with the user's cookies, which a WebSocket of any site can.
	asChange := new(http.Request)
	*asChange = *req
	asChange.Method = http.MethodPost
	if err := http.NewCrossOriginProtection().Check(asChange); err != nil {
		return &app.Error{Code: app.CodeForbidden, Message: "the request comes from another site", Err: err}
	}
	cookie, err := req.Cookie(accessCookie)
	if err != nil {
		return app.Errorf(app.CodeUnauthenticated, "log in first")
	}
	user := caller(req).UserID
	release, err := a.Streams.acquire(user)
	if err != nil {
		return err
	}
	defer release()

	c := &connection{api: a, token: cookie.Value, user: user, from: last}
	if strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		return c.socket(w, req)
	}
	return c.stream(w, req)
}

// connection is one open stream.
type connection struct {
	api   *api
	token string
	user  uuid.UUID
	from  string // position the client gave: any text
	last  string // position of what was sent last; empty when nothing was
}

// carrier writes to a client. An error means that the client is gone.
type carrier interface {
	send(signals []app.Signal) error
	beat() error
	// end tells the client why it ends and where it was.
	end(why ending, last string)
}

// ending is why the server ends a stream.
type ending string

const (
	endSlow         ending = "slow"         // come back and go on after the last id
	endDraining     ending = "draining"     // as well
	endUnauthorized ending = "unauthorized" // the access token is no longer good: refresh it or log in
)

func (c *connection) stream(w http.ResponseWriter, req *http.Request) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})
	s := &eventStream{w: w, control: control}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		return nil
	}
	if err := s.write(fmt.Appendf(nil, "retry: %d\n\n", retry())); err != nil {
		return nil //nolint:nilerr // the client is gone, and nothing can be told it
	}
	c.run(req.Context(), "sse", s)
	return nil
}

// retry is how long a client waits before it comes back, in ms.
func retry() int64 { return (leastRetry + rand.N(mostRetry-leastRetry)).Milliseconds() }

func (c *connection) socket(w http.ResponseWriter, req *http.Request) error {
	// The origin was checked above.
	conn, err := websocket.Accept(&refusing{ResponseWriter: w}, req, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return &app.Error{Code: app.CodeInvalid, Message: "the request is no WebSocket handshake as RFC 6455 has it", Err: err}
	}
	s := scopeOf(req)
	s.started, s.status = true, http.StatusSwitchingProtocols
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
	defer cancel()
	go func() {
		defer cancel()
		// Reading is what answers pings and notices that the client is gone. It
		// has nothing to say itself. (Conn.CloseRead does the same, but when the
		// client does say something it waits 15 s for itself.)
		if _, _, err := conn.Reader(ctx); err == nil {
			_ = conn.Close(websocket.StatusPolicyViolation, "this stream takes no messages")
		}
	}()
	c.run(ctx, "websocket", &webSocket{conn: conn, ctx: ctx})
	return nil
}

// run delivers until the client or the server ends the stream.
func (c *connection) run(ctx context.Context, transport string, to carrier) {
	streams := c.api.Streams
	open := streams.open.WithLabelValues(transport)
	open.Inc()
	defer open.Dec()
	sub := streams.o.Events.Subscribe(c.user, c.from)
	defer sub.Close()

	why := c.deliver(ctx, sub, to)
	if why == "" {
		streams.ended.WithLabelValues("client").Inc()
		return
	}
	streams.ended.WithLabelValues(string(why)).Inc()
	to.end(why, c.last)
}

// deliver returns why the server ends the stream, nothing when the client has.
func (c *connection) deliver(ctx context.Context, sub app.Subscription, to carrier) ending {
	streams := c.api.Streams
	draining := streams.draining
	never := time.Now().Add(24 * time.Hour) // no token lives as long
	end, beat := never, c.nextBeat()
	check := c.nextCheck(beat)
	timer := time.NewTimer(time.Until(check))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-draining:
			draining, end = nil, streams.end()
		case <-sub.Wake():
			signals, err := sub.Take()
			if errors.Is(err, app.ErrSlow) {
				return endSlow
			}
			for _, s := range signals {
				if s.Kind == app.SignalRecheck {
					if !c.allowed(ctx) {
						return endUnauthorized
					}
					// This process may have found the session active a moment before it was revoked, and rely on that.
					check = earliest(check, time.Now().Add(auth.SessionCheck))
				}
			}
			if to.send(signals) != nil {
				return ""
			}
			for _, s := range signals {
				c.last = cmp.Or(s.Position, c.last)
			}
		case now := <-timer.C:
			if !now.Before(end) {
				return endDraining
			}
			if !now.Before(check) {
				if !c.allowed(ctx) {
					return endUnauthorized
				}
				check = never
			}
			if !now.Before(beat) {
				if to.beat() != nil {
					return ""
				}
				beat = c.nextBeat()
			}
			if check.Equal(never) {
				check = c.nextCheck(beat)
			}
		}
		timer.Reset(time.Until(earliest(end, check, beat)))
	}
}

func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times {
		if t.Before(first) {
			first = t
		}
	}
	return first
}

func (c *connection) nextBeat() time.Time {
	mean := c.api.Streams.o.Heartbeat
	return time.Now().Add(mean*3/4 + rand.N(mean/2))
}

// nextCheck is when the session is looked at: with the next heartbeat, or when
// the token expires if that is sooner.
func (c *connection) nextCheck(beat time.Time) time.Time {
	var claims jwt.RegisteredClaims
	// The route has verified it.
	if _, _, err := jwt.NewParser().ParseUnverified(c.token, &claims); err == nil && claims.ExpiresAt != nil {
		if left := claims.ExpiresAt.Sub(c.api.Now()); left > 0 {
			return earliest(beat, time.Now().Add(left))
		}
	}
	return beat
}

// allowed tells whether the client may still listen. A database that does not
// answer ends no stream: the token says who the client is until it expires.
func (c *connection) allowed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeLimit)
	defer cancel()
	_, err := c.api.Auth.Authenticate(ctx, c.token)
	return app.CodeOf(err) != app.CodeUnauthenticated
}

// rechecking has a user's streams look at their sessions, on every instance,
// after a request that ends sessions. When the cache cannot be told, the next
// heartbeat finds out.
func (a *api) rechecking(handle func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, req *http.Request) error {
		user := caller(req).UserID
		if cookie, err := req.Cookie(accessCookie); err == nil && user == uuid.Nil {
			// Logging out takes no role, so nobody has looked at who it is. Without a
			// token that is good there is no stream to end.
			if c, err := a.Keys.Verify(cookie.Value, a.Now()); err == nil {
				user = c.UserID
			}
		}
		if err := handle(w, req); err != nil {
			return err
		}
		if a.Streams != nil && user != uuid.Nil {
			if err := a.Streams.o.Events.Recheck(req.Context(), user); err != nil {
				a.Log.WarnContext(req.Context(), "streams of ended sessions go on until their next heartbeat", "user", user, "error", err)
			}
		}
		return nil
	}
}

// frames are made in buffers that a connection holds only while it writes.
var frames = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// eventStream carries server-sent events (HTML, 9.2).
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s *eventStream) send(signals []app.Signal) error {
	buf := frames.Get().(*bytes.Buffer)
	defer frames.Put(buf)
	buf.Reset()
	for _, signal := range signals {
		switch signal.Kind {
		case app.SignalReady:
			fmt.Fprintf(buf, "event: ready\nid: %s\ndata: {}\n\n", signal.Position)
		case app.SignalGap:
			fmt.Fprintf(buf, "event: gap\nid: %s\ndata: {}\n\n", signal.Position)
		case app.SignalEvent:
			fmt.Fprintf(buf, "id: %s\ndata: %s\n\n", signal.Position, signal.Body)
		}
		if buf.Len() >= writeBytes {
			if err := s.write(buf.Bytes()); err != nil {
				return err
			}
			buf.Reset()
		}
	}
	if buf.Len() == 0 {
		return nil
	}
	return s.write(buf.Bytes())
}

func (s *eventStream) beat() error { return s.write([]byte(":\n\n")) }

func (s *eventStream) end(why ending, _ string) {
	event := "resume"
	if why == endUnauthorized {
		event = "refresh"
	}
	_ = s.write(fmt.Appendf(nil, "event: %s\nretry: %d\ndata: {\"reason\":%q}\n\n", event, retry(), why))
}

func (s *eventStream) write(p []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.control.Flush()
}

// webSocket carries the same as JSON, each in a message of its own.
type webSocket struct {
	conn *websocket.Conn
	ctx  context.Context // ends with the connection
}

func (s *webSocket) send(signals []app.Signal) error {
	buf := frames.Get().(*bytes.Buffer)
	defer frames.Put(buf)
	for _, signal := range signals {
		buf.Reset()
		switch signal.Kind {
		case app.SignalReady:
			fmt.Fprintf(buf, `{"event":"ready","id":%q,"data":{}}`, signal.Position)
		case app.SignalGap:
			fmt.Fprintf(buf, `{"event":"gap","id":%q,"data":{}}`, signal.Position)
		case app.SignalEvent:
			fmt.Fprintf(buf, `{"event":"message","id":%q,"data":%s}`, signal.Position, signal.Body)
		default:
			continue
		}
		if err := s.limited(func(ctx context.Context) error { return s.conn.Write(ctx, websocket.MessageText, buf.Bytes()) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *webSocket) beat() error { return s.limited(s.conn.Ping) }

func (s *webSocket) limited(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
	defer cancel()
	return do(ctx)
}

func (s *webSocket) end(why ending, last string) {
	code, reason := websocket.StatusTryAgainLater, last
	switch why {
	case endDraining:
		code = websocket.StatusServiceRestart
	case endUnauthorized:
		code, reason = closeUnauthorized, "refresh"
	}
	_ = s.conn.Close(code, reason)
}
