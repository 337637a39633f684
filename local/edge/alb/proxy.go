package alb

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loadbearing/loadbearing/local/edge/internal/hop"
)

// connectTimeout is how long a target may take to accept a connection; it
// cannot be configured on AWS, and after it the answer is a 504.
const connectTimeout = 10 * time.Second

var (
	// errConnectionLost stands for a connection that broke after the request
	// was sent on it. An Application Load Balancer answers 502 then.
	errConnectionLost = errors.New("the target closed the connection before it answered")
	errNoAddress      = errors.New("the target's address is not known")
	errTargetIdle     = errors.New("the target sent nothing for the idle timeout")
	errClientIdle     = errors.New("the client sent nothing for the idle timeout")
)

// exchange is one request on its way to a target.
type exchange struct {
	transaction *transaction
	forwarder   *forwarder
	group       *group
	settings    *settings
	target      *target
	ctx         context.Context
	cancel      context.CancelCauseFunc
	upload      *hop.Upload  // nil without a body
	conn        *idleConn    // to the target, once there is one
	began       time.Time    // when it was given a target
	sent        atomic.Int64 // when the whole request was, in ns after that; 0 before
	answered    time.Time    // when the target began its answer
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

func newProxy(log *slog.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     roundTripper{},
		FlushInterval: -1, // a load balancer does not hold back parts of an answer
		BufferPool:    &hop.Buffers{},
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ModifyResponse: func(resp *http.Response) error {
			x := exchangeOf(resp.Request.Context())
			x.answer(resp.StatusCode)
			x.stick(resp)
			if !x.upload.Complete() {
				resp.Header["Connection"] = []string{"close"}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			x := exchangeOf(r.Context())
			status := x.status(err)
			if dialing, ok := errors.AsType[*net.OpError](err); ok && dialing.Op == "dial" && status != statusClientClosed {
				x.group.connectionErrors.Add(1)
			}
			if status == statusClientClosed {
				x.transaction.status = status
				log.Debug("client closed the connection", "path", r.URL.Path)
				panic(http.ErrAbortHandler) // an answer without a status would be a 200
			}
			log.Warn("target did not answer", "status", status, "group", x.settings.Name, "target", x.target.ID,
				"port", x.target.Port, "method", r.Method, "path", r.URL.Path, "error", err)
			if !x.upload.Complete() {
				w.Header()["Connection"] = []string{"close"}
			}
			fail(w, status)
		},
	}
}

// rewrite makes the request a target receives. See "HTTP headers and
// Application Load Balancers" in the user guide.
func rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	lb := &x.forwarder.state.cfg.LoadBalancer
	in, out := p.In, p.Out

	out.URL.Scheme = x.settings.scheme
	if address := x.target.address.Load(); address != nil {
		out.URL.Host = *address
	}
	out.URL.RawQuery = in.URL.RawQuery // as it came, also what does not parse

	if lb.DropInvalidHeaders {
		for name := range out.Header {
			if !validFieldName(name) {
				delete(out.Header, name)
			}
		}
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-Host"} {
		if values := in.Header[name]; values != nil {
			out.Header[name] = values // not the load balancer's business
		}
	}
	switch prior := in.Header["X-Forwarded-For"]; lb.ForwardedFor {
	case ForwardedForRemove:
	case ForwardedForPreserve:
		if prior != nil {
			out.Header["X-Forwarded-For"] = prior
		}
	default:
		client := in.RemoteAddr
		if !lb.ForwardedForPort {
			client, _, _ = net.SplitHostPort(in.RemoteAddr)
		}
		if len(prior) > 0 {
			client = strings.Join(prior, ", ") + ", " + client
		}
		out.Header["X-Forwarded-For"] = []string{client}
	}
	out.Header["X-Forwarded-Proto"] = []string{strings.ToLower(string(cmp.Or(x.forwarder.listener.Protocol, HTTP)))}
	out.Header["X-Forwarded-Port"] = []string{strconv.Itoa(x.forwarder.listener.Port)}
	out.Header["X-Amzn-Trace-Id"] = []string{x.transaction.traceID(in)}
}

// traceID is the X-Amzn-Trace-Id a target receives: a new Root when the
// request has none, and a Self field in front when it has one.
func traceID(prior string, now time.Time) string {
	var id [12]byte
	_, _ = rand.Read(id[:])
	version := fmt.Sprintf("1-%08x-%s", uint32(now.Unix()), hex.EncodeToString(id[:]))
	var fields []string
	hasRoot := false
	for field := range strings.SplitSeq(prior, ";") {
		name, _, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch {
		case field == "" || strings.EqualFold(name, "Self"):
			continue
		case strings.EqualFold(name, "Root"):
			hasRoot = true
		}
		fields = append(fields, strings.TrimSpace(field))
	}
	own := "Root=" + version
	if hasRoot {
		own = "Self=" + version
	}
	return strings.Join(append([]string{own}, fields...), ";")
}

// validFieldName reports whether a header name matches [-A-Za-z0-9]+.
func validFieldName(name string) bool {
	for _, b := range []byte(name) {
		letter, digit := 'a' <= b|0x20 && b|0x20 <= 'z', '0' <= b && b <= '9'
		if !letter && !digit && b != '-' {
			return false
		}
	}
	return name != ""
}

// roundTripper sends a request on the transport of its configuration, once.
// The transport of net/http repeats a request without a body when a connection
// it had in use breaks; an Application Load Balancer does not, and the 502 that
// a target causes whose keep-alive is shorter than the idle timeout is one its
// owner should see.
type roundTripper struct{}

func (roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req.Context())
	if req.URL.Host == "" {
		return nil, errNoAddress
	}
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if x.sent.Load() != 0 {
				x.cancel(errConnectionLost)
			}
			x.on(info.Conn)
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				x.sent.Store(max(1, int64(time.Since(x.began))))
			}
		},
	}
	if proxy := httptrace.ContextClientTrace(req.Context()); proxy != nil {
		trace.Got1xxResponse = proxy.Got1xxResponse
	}
	// On the exchange's own context, not on the proxy's: two traces on one
	// context are merged by reflection, at the price of a small request.
	return x.forwarder.state.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(x.ctx, trace))) //nolint:contextcheck // see above
}

// answer takes note of a target's answer, whose headers have just come.
func (x *exchange) answer(status int) {
	x.answered = time.Now()
	x.transaction.targetStatus = status
	x.group.answers[min(status/100, len(x.group.answers)-1)].Add(1)
	if status == http.StatusSwitchingProtocols {
		x.transaction.status = status // the proxy takes the connection over to write it
	}
	// A target may answer before it has the whole request: then sent is 0.
	x.group.responseTimes.observe(x.answered.Sub(x.began) - time.Duration(x.sent.Load()))
}

// on notes the connection the exchange uses, which ends it when it is idle.
func (x *exchange) on(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if idle, ok := conn.(*idleConn); ok {
		x.conn = idle
		idle.exchange.Store(x)
	}
}

// over lets go of the connection.
func (x *exchange) over() {
	if x.conn != nil {
		x.conn.exchange.CompareAndSwap(x, nil)
	}
}

func newTransport(idle time.Duration, counters *ownCounters) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return newIdleConn(counters.track(conn), idle), nil
		},
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a load balancer does not validate certificates of targets
		MaxIdleConnsPerHost:   4096,
		IdleConnTimeout:       idle / 2, // before the deadline of idleConn, which a request could run into
		ExpectContinueTimeout: time.Second,
		// More is a 502: a load balancer's limit for all headers of an answer.
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true, // the body passes as it is
	}
}

// idleConn is a connection that ends when nothing was sent or received on it
// for the idle timeout, as both sides of a load balancer's connections do.
type idleConn struct {
	net.Conn
	timeout  time.Duration
	renewAt  atomic.Int64 // ns; the deadline is not moved before, it costs a timer
	exchange atomic.Pointer[exchange]
}

func newIdleConn(conn net.Conn, timeout time.Duration) *idleConn {
	c := &idleConn{Conn: conn, timeout: timeout}
	c.touch()
	return c
}

func (c *idleConn) touch() {
	now := time.Now()
	if now.UnixNano() < c.renewAt.Load() {
		return
	}
	c.renewAt.Store(now.Add(c.timeout / 32).UnixNano())
	_ = c.SetDeadline(now.Add(c.timeout))
}

func (c *idleConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.touch()
		return n, err
	}
	if x := c.exchange.Load(); x != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		if x.upload.Waiting() {
			x.cancel(errClientIdle)
		} else {
			x.cancel(errTargetIdle)
		}
		x.upload.Interrupt()
	}
	return n, err
}

func (c *idleConn) Write(p []byte) (int, error) {
	c.touch()
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.touch()
	}
	return n, err
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// fail answers with an error of the load balancer itself.
func fail(w http.ResponseWriter, status int) {
	title := strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
	if status == http.StatusServiceUnavailable {
		title = "503 Service Temporarily Unavailable"
	}
	if status == http.StatusGatewayTimeout {
		title = "504 Gateway Time-out"
	}
	if status == http.StatusRequestTimeout {
		title = "408 Request Time-out"
	}
	body := "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n</body>\r\n</html>\r\n"
	own(w, status, "text/html", body)
}

// own answers without a target.
func own(w http.ResponseWriter, status int, contentType, body string) {
	h := w.Header()
	h["Server"] = []string{"awselb/2.0"}
	if contentType != "" {
		h["Content-Type"] = []string{contentType}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may be gone
}

func respond(f FixedResponse) func(*transaction, *http.Request) {
	return func(w *transaction, _ *http.Request) {
		own(w, f.Status, cmp.Or(f.ContentType, "text/plain")+"; charset=utf-8", f.Body)
	}
}

// redirectTo fills in the placeholders. The port always stands in the
// Location, as in the ones AWS sends.
func redirectTo(to Redirect, l Listener) func(*transaction, *http.Request) {
	return func(w *transaction, r *http.Request) {
		fill := strings.NewReplacer(
			"#{protocol}", strings.ToLower(string(cmp.Or(l.Protocol, HTTP))),
			"#{host}", hostname(r.Host),
			"#{port}", strconv.Itoa(l.Port),
			"#{path}", strings.TrimPrefix(r.URL.EscapedPath(), "/"),
			"#{query}", r.URL.RawQuery,
		).Replace
		location := strings.ToLower(fill(cmp.Or(to.Protocol, "#{protocol}"))) + "://" +
			net.JoinHostPort(fill(cmp.Or(to.Host, "#{host}")), fill(cmp.Or(to.Port, "#{port}"))) +
			fill(cmp.Or(to.Path, "/#{path}"))
		if query := fill(to.Query); query != "" {
			location += "?" + query
		}
		w.Header()["Location"] = []string{location}
		status := cmp.Or(to.Status, http.StatusFound)
		title := fmt.Sprintf("%d %s", status, http.StatusText(status))
		own(w, status, "text/html", "<html>\r\n<head><title>"+title+"</title></head>\r\n<body>\r\n<center><h1>"+title+"</h1></center>\r\n</body>\r\n</html>\r\n")
	}
}
