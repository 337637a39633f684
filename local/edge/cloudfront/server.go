package cloudfront

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadbearing/loadbearing/local/edge/internal/hop"
)

// pop is the edge location in X-Amz-Cf-Pop.
const pop = "LOCAL1-C1"

// viewerIdleTimeout ends an upload whose viewer sends nothing. It is longer than
// the default of a load balancer, which is the one to answer 408.
const viewerIdleTimeout = 2 * time.Minute

// Options of a Server.
type Options struct {
	// Resolve returns where an origin listens by its domain name, for the
	// domain names that exist on AWS only; default none.
	Resolve func(domain string) (address string, ok bool)
	S3      S3           // for S3 origins
	Logger  *slog.Logger // default discards
}

// Server serves the requests of one distribution.
type Server struct {
	resolve func(domain string) (string, bool)
	s3      S3
	log     *slog.Logger
	proxy   *httputil.ReverseProxy
	state   atomic.Pointer[state]
	via     string

	mu sync.Mutex // of Apply
}

type state struct {
	cfg        Config
	transports map[string]*http.Transport // by origin id
}

// NewServer returns a server without configuration: it answers 503 until Apply.
func NewServer(opts Options) *Server {
	s := &Server{resolve: opts.Resolve, s3: opts.S3, log: opts.Logger}
	if s.resolve == nil {
		s.resolve = func(string) (string, bool) { return "", false }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	s.via = "1.1 " + hex.EncodeToString(id[:]) + ".cloudfront.net (CloudFront)"
	s.proxy = &httputil.ReverseProxy{
		Rewrite:       s.rewrite,
		Transport:     s,
		FlushInterval: -1,
		BufferPool:    &hop.Buffers{},
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(resp *http.Response) error {
			x := exchangeOf(resp.Request.Context())
			x.finish(resp.Header, resp.StatusCode)
			if !x.upload.Complete() {
				resp.Header["Connection"] = []string{"close"}
			}
			return nil
		},
		ErrorHandler: s.failed,
	}
	return s
}

// Config returns the configuration in effect.
func (s *Server) Config() Config {
	if st := s.state.Load(); st != nil {
		return st.cfg
	}
	return Config{}
}

// OriginPort returns the port on which the distribution speaks to the custom
// origin whose domain name is the one looked for, or 0 when it has none. Of
// several, the one of the lowest id counts.
func (s *Server) OriginPort(is func(domain string) bool) int {
	st := s.state.Load()
	if st == nil {
		return 0
	}
	id, port := "", 0
	for _, o := range st.cfg.Origins {
		if o.Bucket == "" && is(o.DomainName) && (port == 0 || o.ID < id) {
			id, port = o.ID, o.Port()
		}
	}
	return port
}

// Apply puts a configuration into effect for the requests that come from now
// on; those in flight go on under the one before. What makes no sense is an
// error that names it, and changes nothing.
func (s *Server) Apply(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(cfg.Behaviors) == 0 {
		return fmt.Errorf("distribution %s has no cache behavior", cfg.ID)
	}
	for _, b := range cfg.Behaviors {
		if _, ok := cfg.Origins[b.OriginID]; !ok {
			return fmt.Errorf("cache behavior %s: origin %q does not exist", b.PathPattern, b.OriginID)
		}
	}
	old := s.state.Load()
	next := &state{cfg: cfg, transports: map[string]*http.Transport{}}
	for id, o := range cfg.Origins {
		if o.Bucket != "" {
			continue
		}
		if old != nil {
			former, ok := old.cfg.Origins[id]
			if ok && former.ReadTimeout == o.ReadTimeout && former.KeepAlive == o.KeepAlive && former.ConnectTimeout == o.ConnectTimeout {
				next.transports[id] = old.transports[id]
			}
		}
		if next.transports[id] == nil {
			next.transports[id] = newTransport(o)
		}
	}
	s.state.Store(next)
	if old != nil {
		for id, t := range old.transports {
			if next.transports[id] != t {
				t.CloseIdleConnections()
			}
		}
	}
	return nil
}

// Close ends the idle connections to the origins.
func (s *Server) Close() {
	if st := s.state.Load(); st != nil {
		for _, t := range st.transports {
			t.CloseIdleConnections()
		}
	}
}

// newTransport applies the origin's timeouts. An origin may be silent for the
// read timeout before its answer begins; then the answer is a 504. Between the
// parts of an answer the load balancer's own idle timeout holds.
func newTransport(o Origin) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: cmp.Or(o.ConnectTimeout, 10*time.Second)}).DialContext,
		ResponseHeaderTimeout: cmp.Or(o.ReadTimeout, 30*time.Second),
		IdleConnTimeout:       cmp.Or(o.KeepAlive, 5*time.Second),
		MaxIdleConnsPerHost:   4096,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
	}
}

// exchange is one viewer request.
type exchange struct {
	state    *state
	behavior *Behavior
	origin   Origin
	id       string // X-Amz-Cf-Id
	via      string
	viewer   string // Origin header, for CORS
	method   string
	body     bool // the request has one
	upload   *hop.Upload
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// methods are those CloudFront knows; it answers others with 405, and one of
// these that the behavior does not allow with 403.
var methods = []string{"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}

// ServeHTTP serves a viewer request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st := s.state.Load()
	x := &exchange{state: st, id: newID(), via: s.via, method: r.Method, viewer: r.Header.Get("Origin"), body: r.ContentLength != 0}
	if st == nil || !st.cfg.Enabled {
		x.fail(w, http.StatusServiceUnavailable, "The distribution is not deployed or not enabled.")
		return
	}
	x.behavior = st.cfg.behavior(r.URL.EscapedPath())
	switch {
	case x.behavior == nil:
		x.fail(w, http.StatusBadGateway, "No cache behavior matches this path.")
		return
	case !slices.Contains(methods, r.Method):
		x.fail(w, http.StatusMethodNotAllowed, "This HTTP method is not supported.")
		return
	case !slices.Contains(x.behavior.Methods, r.Method):
		x.fail(w, http.StatusForbidden, "This distribution is not configured to allow the HTTP request method that was used for this request.")
		return
	}
	x.origin = st.cfg.Origins[x.behavior.OriginID]
	if root := st.cfg.DefaultRootObject; root != "" && r.URL.Path == "/" {
		clone := *r.URL
		clone.Path, clone.RawPath = "/"+root, ""
		r = r.WithContext(r.Context())
		r.URL = &clone
	}
	if x.origin.Bucket != "" {
		s.serveObject(w, r, x)
		return
	}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), exchangeKey{}, x))
	defer cancel()
	r = r.WithContext(ctx)
	if x.upload = hop.NewUpload(w, r, viewerIdleTimeout, cancel); x.upload != nil {
		r.Body = x.upload
	}
	s.proxy.ServeHTTP(w, r)
}

// rewrite makes the request a custom origin receives. See "Request and
// response behavior for custom origins" in the developer guide.
func (s *Server) rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	in, out, f := p.In, p.Out, &x.behavior.Forward

	out.URL.Scheme = "http"
	if x.origin.ProtocolPolicy == "https-only" {
		out.URL.Scheme = "https"
	}
	out.URL.Host = net.JoinHostPort(x.origin.DomainName, strconv.Itoa(x.origin.Port()))
	if address, ok := s.resolve(x.origin.DomainName); ok {
		out.URL.Scheme, out.URL.Host = "http", address
	}
	if x.origin.Path != "" {
		raw := x.origin.Path + in.URL.EscapedPath()
		out.URL.Path, out.URL.RawPath = x.origin.Path+in.URL.Path, raw
	}
	out.URL.RawQuery = f.query(in.URL.RawQuery)

	if !selects(f.Headers, "Host", true) {
		out.Host = x.origin.DomainName
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := in.Header[name]; values != nil {
			out.Header[name] = values // subject to the policies, like any other
		}
	}
	f.headers(out.Header)
	f.generate(out.Header, in)
	client, _, _ := net.SplitHostPort(in.RemoteAddr)
	if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
		client = strings.Join(prior, ", ") + ", " + client
	}
	out.Header["X-Forwarded-For"] = []string{client}
	out.Header["Via"] = append(slices.Clone(in.Header["Via"]), s.via)
	out.Header["X-Amz-Cf-Id"] = []string{x.id}
	for _, h := range x.origin.Headers {
		out.Header.Set(h.Name, h.Value)
	}
}

// RoundTrip sends a request on the connections of its origin.
func (s *Server) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req.Context())
	return x.state.transports[x.origin.ID].RoundTrip(req)
}

func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	if errors.Is(r.Context().Err(), context.Canceled) {
		s.log.Debug("viewer closed the connection", "path", r.URL.Path)
		panic(http.ErrAbortHandler) // an answer without a status would be a 200
	}
	s.log.Warn("origin did not answer", "origin", x.origin.DomainName, "method", r.Method, "path", r.URL.Path, "error", err)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		x.fail(w, http.StatusGatewayTimeout, "CloudFront attempted to establish a connection with the origin, but the origin did not answer in time.")
		return
	}
	x.fail(w, http.StatusBadGateway, "CloudFront wasn't able to connect to the origin.")
}

// finish puts on an answer what CloudFront adds.
func (x *exchange) finish(h http.Header, status int) {
	if x.behavior != nil && x.behavior.ResponseHeaders != nil {
		x.behavior.ResponseHeaders.apply(h, x.method, x.viewer)
	}
	h["Via"] = append(h["Via"], x.via)
	h["X-Cache"] = []string{"Miss from cloudfront"}
	if status >= 400 {
		h["X-Cache"] = []string{"Error from cloudfront"}
	}
	h["X-Amz-Cf-Pop"] = []string{pop}
	h["X-Amz-Cf-Id"] = []string{x.id}
}

// fail answers with an error of CloudFront itself; no response headers policy
// applies to it.
func (x *exchange) fail(w http.ResponseWriter, status int, explanation string) {
	x.behavior = nil
	h := w.Header()
	clear(h)
	x.finish(h, status)
	body := "<!DOCTYPE HTML>\n<HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD><BODY>\n<H1>" +
		strconv.Itoa(status) + " ERROR</H1>\n<H2>The request could not be satisfied.</H2>\n<HR>\n" + explanation +
		"\n<HR>\n<PRE>\nGenerated by cloudfront (CloudFront)\nRequest ID: " + x.id + "\n</PRE>\n</BODY></HTML>\n"
	if x.body && (x.upload == nil || !x.upload.Complete()) {
		h["Connection"] = []string{"close"}
	}
	h["Server"] = []string{"CloudFront"}
	h["Content-Type"] = []string{"text/html"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the viewer may be gone
}

// newID returns an X-Amz-Cf-Id: 56 characters, the last two of them ==.
func newID() string {
	var id [40]byte
	_, _ = rand.Read(id[:])
	return base64.URLEncoding.EncodeToString(id[:])
}
