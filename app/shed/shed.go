// Package shed refuses requests that a process has no capacity for, so that
// those it accepts take as long as they always do.
//
// How many requests run at a time is a limit that failsafe-go's adaptive
// limiter moves: down while recent requests take longer than requests used to,
// which is when they wait for each other, and up while they do not. It never
// falls below what the database pool serves at once, where nothing waits. A
// burst above the limit queues for a moment. While it lasts, what continues
// something is let through before what begins something: a client that is
// refused the last part of an upload has to send all of it again.
//
// A limit counts requests and knows nothing of their cost; what keeps one client
// from using up the capacity of all is the rate limit at the edge.
package shed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/priority"
	"github.com/prometheus/client_golang/prometheus"
)

// Class is how important it is that a request is served.
type Class int

// The classes, the first refused first.
const (
	Begins    Class = iota // begins something new
	Continues              // goes on with what a client has begun
)

var classes = [...]struct {
	name     string
	priority priority.Priority
}{
	Begins:    {"begins", priority.Medium},
	Continues: {"continues", priority.High},
}

// Defaults of Options.
const (
	DefaultWait   = 50 * time.Millisecond
	DefaultWindow = 250 * time.Millisecond
)

const (
	// most requests at a time: more than a process of this service can have use for.
	most = 10_000
	// headroom is how many times what runs now may run at once, failsafe-go's own
	// default, and how many times Least may when little runs.
	headroom, idleHeadroom = 5, 4
	// samples is how many requests a window has at the least, or it lasts longer.
	samples = 50
	// baseline is how many windows old is the past that recent requests are compared
	// with: a minute of the default ones. A shorter one takes an overload for normal
	// while it lasts.
	baseline = 240
	// The queue holds as many requests as run before the first are refused for it,
	// and all are when it holds four times as many.
	firstRefused, allRefused = 1, 4
	// calibration is how often the share that is refused is set anew.
	calibration = 20 * time.Millisecond
	// said is how often the log says that requests are refused.
	said = 10 * time.Second
)

// ErrOverloaded says that a request was refused.
var ErrOverloaded = errors.New("more requests than there is capacity for")

// Options configure a Limiter.
type Options struct {
	// Least is the number of requests at a time below which none is refused: as many
	// as the scarcest thing they share serves at once. Required.
	Least int
	// Wait is how long a request may queue. Default DefaultWait.
	Wait time.Duration
	// Window is how long requests are watched before the limit is moved. Default
	// DefaultWindow.
	Window time.Duration

	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Limiter limits how many requests run at a time.
type Limiter struct {
	wait        time.Duration
	log         *slog.Logger
	limiter     adaptivelimiter.PriorityLimiter[any]
	prioritizer priority.Prioritizer
	refused     [len(classes)]prometheus.Counter
	unsaid      atomic.Int64 // refused since the log said so
}

// Permit is a request's place. One of its methods has to be called, once, when
// the request has ended: Record, or Drop when how long it took says nothing of
// the load.
type Permit = adaptivelimiter.Permit

// New returns a limiter. Run has to run for its priorities to count.
func New(o Options) (*Limiter, error) {
	if o.Least < 1 {
		return nil, fmt.Errorf("load shedding: the least number of requests at a time is %d; want at least 1", o.Least)
	}
	if o.Wait == 0 {
		o.Wait = DefaultWait
	}
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	idle := idleHeadroom * o.Least
	prioritizer := adaptivelimiter.NewPrioritizer()
	l := &Limiter{
		wait: o.Wait, log: o.Log, prioritizer: prioritizer,
		limiter: adaptivelimiter.NewBuilder[any]().
			WithLimits(uint(o.Least), most, uint(idle)).
			WithMaxLimitFunc(func(running int) float64 { return float64(max(idle, headroom*running)) }).
			WithRecentWindow(o.Window, max(30*time.Second, o.Window), samples).
			WithBaselineWindow(baseline).
			WithQueueing(firstRefused, allRefused).
			BuildPrioritized(prioritizer),
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "loadbearing_requests_shed_total", Help: "Requests refused because there were more than there was capacity for.",
	}, []string{"class"})
	for class, c := range classes {
		l.refused[class] = refused.WithLabelValues(c.name)
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	for _, c := range []prometheus.Collector{
		refused,
		gauge("loadbearing_requests_limit", "Requests that may run at a time, as the limiter has it now.", l.limiter.Limit),
		gauge("loadbearing_requests_limited", "Requests that count toward the limit and run now.", l.limiter.Inflight),
		gauge("loadbearing_requests_queued", "Requests that wait to run.", l.limiter.Queued),
	} {
		if err := o.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of load shedding: %w", err)
		}
	}
	return l, nil
}

// Run keeps the priorities up to date until ctx ends.
func (l *Limiter) Run(ctx context.Context) {
	calibrate, say := time.NewTicker(calibration), time.NewTicker(said)
	defer calibrate.Stop()
	defer say.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-calibrate.C:
			l.prioritizer.Calibrate()
		case <-say.C:
			if n := l.unsaid.Swap(0); n > 0 {
				l.log.WarnContext(ctx, "requests were refused for lack of capacity", "requests", n, "limit", l.limiter.Limit())
			}
		}
	}
}

// Acquire returns a place for a request, after a moment in the queue if need be.
// It fails with ErrOverloaded, or with the context's error when that ends first.
func (l *Limiter) Acquire(ctx context.Context, class Class) (Permit, error) {
	permit, err := l.limiter.AcquirePermitWithMaxWait(priority.ContextWithPriority(ctx, classes[class].priority), l.wait)
	if errors.Is(err, adaptivelimiter.ErrExceeded) {
		l.refused[class].Inc()
		l.unsaid.Add(1)
		return nil, ErrOverloaded
	}
	return permit, err
}
