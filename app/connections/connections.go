// Package connections measures how many requests, event streams and sockets a
// process serves at a time, and publishes it to CloudWatch for its Auto Scaling
// group to scale on.
//
// A connection is active while a request on it is served: an event stream and a
// WebSocket are one request each, for as long as they are open. A connection
// that is kept alive between two requests costs memory and no work: it does not
// count, and no capacity is asked for it.
package connections

import (
	"sync"
	"time"
)

// Gauge counts what is active. It remembers how long each count lasted, because
// a look at one moment of a minute says little of requests that take 5 ms. Its
// methods may be called at any time from anywhere.
type Gauge struct {
	now func() time.Time

	mu     sync.Mutex
	active int
	last   time.Time     // of the last change
	area   time.Duration // active times how long, since begin
	begin  time.Time
}

// NewGauge returns a gauge at zero. now is time.Now outside of tests.
func NewGauge(now func() time.Time) *Gauge {
	t := now()
	return &Gauge{now: now, last: t, begin: t}
}

// Inc counts one more.
func (g *Gauge) Inc() { g.add(1) }

// Dec counts one less.
func (g *Gauge) Dec() { g.add(-1) }

func (g *Gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle()
	g.active += n
}

// settle adds what has passed since the last change, and returns the time.
func (g *Gauge) settle() time.Time {
	t := g.now()
	g.area += time.Duration(g.active) * t.Sub(g.last)
	g.last = t
	return t
}

// Active returns how many are active now.
func (g *Gauge) Active() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.active
}

// Mean returns how many were active on average, by time, since it was last
// called or the gauge was made, and begins anew.
func (g *Gauge) Mean() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.settle()
	over, area := t.Sub(g.begin), g.area
	g.begin, g.area = t, 0
	if over <= 0 {
		return float64(g.active)
	}
	return float64(area) / float64(over)
}
