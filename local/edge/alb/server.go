package alb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadbearing/loadbearing/local/edge/internal/hop"
)

const defaultIdleTimeout = time.Minute

// LongestIdleTimeout is the longest that can be configured.
const LongestIdleTimeout = 4000 * time.Second

// Resolver returns the address of a target by its id: an EC2 instance id or an
// IP address.
type Resolver func(id string) (host string, ok bool)

// Loopback resolves every instance id to 127.0.0.1, where local instances
// listen, each on a port of its own, and an IP address to itself.
func Loopback(id string) (host string, ok bool) {
	if strings.HasPrefix(id, "i-") {
		return "127.0.0.1", true
	}
	addr, err := netip.ParseAddr(id)
	return id, err == nil && addr.IsValid()
}

// Options of a Server. Every field may be left out.
type Options struct {
	Resolver Resolver        // default Loopback
	Check    Check           // default one HTTP request
	IntN     func(n int) int // random number below n; default rand.IntN
	Logger   *slog.Logger    // default discards
	// AccessLog is given the entry of each request that has ended, a line.
	AccessLog func(LoadBalancer, []byte)
}

// Server serves the requests of one load balancer. It is an http.Handler for
// its primary listener; Listener returns the handler of another.
type Server struct {
	resolver Resolver
	check    Check
	intN     func(n int) int
	log      *slog.Logger
	proxy    *httputil.ReverseProxy

	accessLog func(LoadBalancer, []byte)

	state    atomic.Pointer[state]
	counters ownCounters

	ctx     context.Context // of health checks and of every forwarded request
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	groups  map[string]*group
	changed chan struct{} // closed when a target's state changes
}

// state is one configuration, ready to serve. It is replaced as a whole.
type state struct {
	cfg       Config
	primary   int
	listeners map[int]*listener
	sealer    sealer
	transport *http.Transport
}

type listener struct {
	Listener
	rules []compiledRule
}

type compiledRule struct {
	Rule
	conditions []predicate
	act        func(*transaction, *http.Request)
}

// NewServer returns a server without configuration: it answers 503 until Apply.
// Close ends what it started.
func NewServer(opts Options) *Server {
	s := &Server{
		resolver: opts.Resolver, check: opts.Check, intN: opts.IntN, log: opts.Logger, accessLog: opts.AccessLog,
		groups: map[string]*group{}, changed: make(chan struct{}),
	}
	if s.resolver == nil {
		s.resolver = Loopback
	}
	if s.check == nil {
		s.check = httpCheck()
	}
	if s.intN == nil {
		s.intN = rand.IntN
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.proxy = newProxy(s.log)
	return s
}

// Close ends health checks and the requests in flight, and waits for the checks.
func (s *Server) Close() {
	s.cancel()
	s.running.Wait()
	if st := s.state.Load(); st != nil {
		st.transport.CloseIdleConnections()
	}
}

// Config returns the configuration in effect.
func (s *Server) Config() Config {
	if st := s.state.Load(); st != nil {
		return st.cfg
	}
	return Config{}
}

// Apply puts a configuration into effect for the requests that come from now
// on; those in flight go on under the one before. Targets that are gone from it
// drain, new ones start their health checks. A configuration that makes no
// sense is an error that names the rule or group, and changes nothing.
func (s *Server) Apply(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	old := s.state.Load()
	next := &state{cfg: cfg, primary: cfg.Primary(), listeners: map[int]*listener{}}
	var err error
	if next.sealer, err = newSealer(cfg.LoadBalancer.ARN); err != nil {
		return err
	}
	ready := map[string]*settings{}
	for _, g := range cfg.TargetGroups {
		m, err := parseMatcher(g.HealthCheck.Matcher)
		if err != nil {
			return fmt.Errorf("target group %s: %w", g.ARN, err)
		}
		if g.HealthCheck.Interval <= 0 || g.HealthCheck.Timeout <= 0 {
			return fmt.Errorf("target group %s: health check interval %s and timeout %s: both must be positive",
				g.ARN, g.HealthCheck.Interval, g.HealthCheck.Timeout)
		}
		ready[g.ARN] = &settings{TargetGroup: g, matcher: m, scheme: strings.ToLower(string(cmp.Or(g.Protocol, HTTP)))}
	}
	groups := maps.Clone(s.groups)
	for arn := range ready {
		if groups[arn] == nil {
			groups[arn] = newGroup(s, arn)
		}
	}
	idle := cmp.Or(cfg.LoadBalancer.IdleTimeout, defaultIdleTimeout)
	if old != nil && old.cfg.LoadBalancer.IdleTimeout == cfg.LoadBalancer.IdleTimeout {
		next.transport = old.transport
	} else {
		next.transport = newTransport(idle, &s.counters)
	}
	for _, l := range cfg.Listeners {
		compiled, err := s.compileListener(next, l, ready, groups)
		if err != nil {
			return err
		}
		next.listeners[l.Port] = compiled
	}

	// Targets that come are there before the rules that use them, and those
	// that go leave after.
	s.groups = groups
	for arn, cfg := range ready {
		groups[arn].update(cfg)
	}
	s.state.Store(next)
	for arn, g := range groups {
		switch {
		case ready[arn] != nil:
		case len(g.targets) > 0: // no rule forwards to it any more
			unused := *g.settings.Load()
			unused.Targets = nil
			g.update(&unused)
		case len(g.draining) == 0:
			delete(groups, arn)
		}
	}
	if old != nil && old.transport != next.transport {
		old.transport.CloseIdleConnections()
	}
	s.broadcast()
	return nil
}

func (s *Server) compileListener(st *state, l Listener, known map[string]*settings, groups map[string]*group) (*listener, error) {
	out := &listener{Listener: l}
	for _, r := range l.Rules {
		compiled := compiledRule{Rule: r}
		for _, c := range r.Conditions {
			p, err := compile(c)
			if err != nil {
				return nil, fmt.Errorf("rule %s: %w", r.ARN, err)
			}
			compiled.conditions = append(compiled.conditions, p)
		}
		switch a := r.Action; {
		case a.Forward != nil:
			f := &forwarder{server: s, state: st, listener: &out.Listener, stickiness: a.Forward.Stickiness}
			for _, g := range a.Forward.Groups {
				if known[g.ARN] == nil {
					return nil, fmt.Errorf("rule %s forwards to target group %q, which does not exist", r.ARN, g.ARN)
				}
				f.groups = append(f.groups, groups[g.ARN])
				f.weights = append(f.weights, g.Weight)
				f.total += g.Weight
			}
			compiled.act = f.serve
		case a.Redirect != nil:
			compiled.act = redirectTo(*a.Redirect, l)
		case a.FixedResponse != nil:
			compiled.act = respond(*a.FixedResponse)
		default:
			return nil, fmt.Errorf("rule %s has no action", r.ARN)
		}
		out.rules = append(out.rules, compiled)
	}
	return out, nil
}

// ServeHTTP serves a request of the primary listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, 0) }

// Listener returns the handler of the listener on a port of the load balancer;
// 0 is the primary one.
func (s *Server) Listener(port int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, port) })
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, port int) {
	t := &transaction{ResponseWriter: w, received: time.Now()}
	defer s.over(t, r) // also when the client's connection is to be closed, by a panic
	s.route(t, r, port)
}

// route takes the action of the first rule that matches.
func (s *Server) route(t *transaction, r *http.Request, port int) {
	st := s.state.Load()
	if st == nil {
		fail(t, http.StatusServiceUnavailable)
		return
	}
	l := st.listeners[cmp.Or(port, st.primary)]
	if l == nil {
		s.log.Warn("no listener on this port of the load balancer", "port", cmp.Or(port, st.primary))
		fail(t, http.StatusServiceUnavailable)
		return
	}
	t.listener = &l.Listener
	if status := refused(r); status != 0 {
		fail(t, status)
		return
	}
	for i := range l.rules {
		if rule := &l.rules[i]; rule.match(r) {
			t.rule = rule
			rule.act(t, r)
			return
		}
	}
	fail(t, http.StatusServiceUnavailable) // only without a default rule, which AWS does not allow
}

// Limits of a request's headers, which cannot be changed on AWS.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
const (
	requestLineLimit = 16 << 10
	headerLimit      = 16 << 10
	headersLimit     = 64 << 10
	forwardedLimit   = 30 // addresses in X-Forwarded-For
)

// RequestHeaderBytes is what an http.Server in front has to let through, for
// the load balancer to refuse it in its own words.
const RequestHeaderBytes = 2 * headersLimit

// refused is the status of a request that gets to no rule, or 0.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#load-balancer-http-error-codes
func refused(r *http.Request) int {
	if r.Method == http.MethodTrace {
		return http.StatusMethodNotAllowed
	}
	size := len(r.Method) + len(requestURI(r)) + len(r.Proto) + len("  \r\n")
	if size > requestLineLimit {
		return http.StatusBadRequest
	}
	size += headerSize(r.Header)
	for name, values := range r.Header {
		for _, v := range values {
			if len(name)+len(v) > headerLimit {
				return http.StatusBadRequest
			}
		}
	}
	if size > headersLimit {
		return http.StatusBadRequest
	}
	hops := 0
	for _, v := range r.Header["X-Forwarded-For"] {
		hops += 1 + strings.Count(v, ",")
	}
	if hops > forwardedLimit {
		return statusForwardedTooOften
	}
	return 0
}

func (c *compiledRule) match(r *http.Request) bool {
	for _, condition := range c.conditions {
		if !condition(r) {
			return false
		}
	}
	return true
}

// Health returns what is known about the targets of a group, those that drain
// included, by id and port.
func (s *Server) Health(targetGroupARN string) []TargetHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[targetGroupARN]; g != nil {
		return g.health()
	}
	return nil
}

// Watch returns the health of the targets of every group that a rule forwards
// to, and a channel that is closed when it may have changed since.
func (s *Server) Watch() (map[string][]TargetHealth, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	health := map[string][]TargetHealth{}
	for arn, g := range s.groups {
		health[arn] = g.health()
	}
	return health, s.changed
}

// Wait returns the health of a target as soon as its state is one of those
// given. A target that is not registered is Unused; one registered anew while
// its former registration drains is in the state of the new one. When ctx ends
// first, the error says which state the target is in and why.
func (s *Server) Wait(ctx context.Context, targetGroupARN string, t Target, states ...State) (TargetHealth, error) {
	for {
		health, changed := s.healthOf(targetGroupARN, t)
		if slices.Contains(states, health.State) {
			return health, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return health, fmt.Errorf("wait for target %s:%d of %s to be %v: it is %s (%s %s): %w",
				t.ID, t.Port, targetGroupARN, states, health.State, health.Reason, health.Description, context.Cause(ctx))
		}
	}
}

func (s *Server) healthOf(arn string, t Target) (TargetHealth, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[arn]; g != nil {
		if running := g.targets[t]; running != nil {
			return running.health(), s.changed
		}
		for leaving := range g.draining {
			if leaving.Target == t {
				return leaving.health(), s.changed
			}
		}
	}
	return TargetHealth{Target: t, State: Unused, Reason: ReasonNotRegistered}, s.changed
}

// broadcast wakes who waits for a state. mu is held.
func (s *Server) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// forwarder is a forward action.
type forwarder struct {
	server     *Server
	state      *state
	listener   *Listener
	groups     []*group
	weights    []int
	total      int
	stickiness time.Duration
}

func (f *forwarder) serve(tx *transaction, r *http.Request) {
	g := f.group(r)
	if g == nil {
		fail(tx, http.StatusServiceUnavailable)
		return
	}
	cfg := g.settings.Load()
	preferred := f.target(r, cfg)
	t := g.pick(func(t *target) bool { return preferred != "" && t.key() == preferred })
	if t == nil {
		if f.server.state.Load() != f.state {
			// Reloaded since the rule was chosen, and its targets are gone.
			f.server.route(tx, r, f.listener.Port)
			return
		}
		fail(tx, http.StatusServiceUnavailable)
		return
	}
	defer t.release()
	g.requests.Add(1)

	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &exchange{forwarder: f, group: g, settings: cfg, target: t, cancel: cancel, transaction: tx, began: time.Now()}
	tx.exchange = x
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	x.ctx = ctx
	defer x.over()
	r = r.WithContext(ctx)
	idle := cmp.Or(f.state.cfg.LoadBalancer.IdleTimeout, defaultIdleTimeout)
	if x.upload = hop.NewUpload(tx, r, idle, func() { cancel(errClientIdle) }); x.upload != nil {
		r.Body = x.upload
	}
	unlink := context.AfterFunc(t.ctx, func() { //nolint:contextcheck // the target's end is a second reason to end the request
		cancel(context.Cause(t.ctx))
		x.upload.Interrupt()
	})
	defer unlink()
	f.server.proxy.ServeHTTP(tx, r)
}

// group chooses the target group: the one the client sticks to as long as the
// rule has it, whatever its weight now, else one at random by weight. A group
// without healthy targets keeps its share: an Application Load Balancer does
// not fail over between groups. It is nil when all weights are 0.
func (f *forwarder) group(r *http.Request) *group {
	if f.stickiness > 0 {
		if arn := f.state.sealer.open(r, cookieGroup, time.Now()); arn != "" {
			if i := slices.IndexFunc(f.groups, func(g *group) bool { return g.arn == arn }); i >= 0 {
				return f.groups[i]
			}
		}
	}
	if f.total <= 0 {
		return nil
	}
	if len(f.groups) == 1 {
		return f.groups[0]
	}
	n := f.server.intN(f.total)
	for i, weight := range f.weights {
		if n < weight {
			return f.groups[i]
		}
		n -= weight
	}
	return nil
}

// target returns the key of the target the client sticks to, or "".
func (f *forwarder) target(r *http.Request, cfg *settings) string {
	switch {
	case cfg.Stickiness.Duration <= 0:
		return ""
	case cfg.Stickiness.AppCookie == "":
		return f.state.sealer.open(r, cookieTarget, time.Now())
	}
	// Both cookies are needed: the target's own and the load balancer's.
	if _, err := r.Cookie(cfg.Stickiness.AppCookie); err != nil {
		return ""
	}
	return f.state.sealer.open(r, cookieApp, time.Now())
}

// stick adds the stickiness cookies to a target's answer.
func (x *exchange) stick(resp *http.Response) {
	f, now := x.forwarder, time.Now()
	secure := f.listener.Protocol == HTTPS
	var set []string
	if f.stickiness > 0 {
		set = f.state.sealer.cookies(cookieGroup, x.group.arn, f.stickiness, secure, now)
	}
	if s := x.settings.Stickiness; s.Duration > 0 {
		switch {
		case s.AppCookie == "":
			set = append(set, f.state.sealer.cookies(cookieTarget, x.target.key(), s.Duration, secure, now)...)
		case slices.ContainsFunc(resp.Cookies(), func(c *http.Cookie) bool { return c.Name == s.AppCookie }):
			set = append(set, f.state.sealer.cookies(cookieApp, x.target.key(), s.Duration, secure, now)...)
		}
	}
	for _, cookie := range set {
		resp.Header.Add("Set-Cookie", cookie)
	}
}

func (t *target) key() string { return fmt.Sprintf("%s|%d", t.ID, t.Port) }

// status is what a failed exchange is answered with, or statusClientClosed when
// nobody is there to read an answer. The cases are those of "HTTP errors" in the user guide's
// troubleshooting page.
func (x *exchange) status(err error) int {
	cause := context.Cause(x.ctx)
	switch {
	case errors.Is(cause, errDeregistered), errors.Is(cause, errConnectionLost):
		return http.StatusBadGateway
	case errors.Is(cause, errClientIdle):
		return http.StatusRequestTimeout
	case errors.Is(cause, errTargetIdle):
		return http.StatusGatewayTimeout
	case errors.Is(cause, context.Canceled) && x.forwarder.server.ctx.Err() == nil:
		return statusClientClosed
	case isTimeout(err):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}
