// Package drill is what the drills of the 22 concepts are made of. A drill runs
// against what `loadbearing up` runs: it provokes a problem, shows what the
// solution makes of it, and prints figures, each a count or a ratio of two
// things of the same run. It asserts that its fault really happened before it
// judges what came of it.
//
// Drills break things: they kill processes, stop them and send load. They do so
// only on this machine, only to processes of the run they were given, and they
// leave it as they found it.
package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Drill proves one concept.
type Drill struct {
	Name    string // slug of the concept: "message-queue"
	Summary string // what it shows, in one line
	Parts   []Part // run in order
}

// Part is a piece of a drill that can be run by itself.
type Part struct {
	Name    string
	Summary string
	// Limit is how long it may take in full; in its short form a quarter of it
	// and at least a minute.
	Limit time.Duration
	// FullOnly leaves it out of the short form.
	FullOnly bool
	Run      func(ctx context.Context, r *Run) error
}

// Size says how long a drill takes.
type Size string

// Sizes. Short runs in `make test`, Full in `make drill`. Both run the same code.
const (
	Short Size = "short"
	Full  Size = "full"
)

// Options say how a drill is run.
type Options struct {
	Size Size
	Seed uint64 // chooses what is left to chance
	Part string // the one to run; default all
	Out  io.Writer
}

// Result is what a drill found: the line of JSON it ends with.
type Result struct {
	Drill    string         `json:"drill"`
	Pass     bool           `json:"pass"`
	Seconds  float64        `json:"seconds"`
	Size     Size           `json:"size"`
	Seed     uint64         `json:"seed"`
	Figures  map[string]any `json:"figures"`
	Failures []string       `json:"failures,omitempty"` // what did not hold, or why it could not be found out
}

// Run is one run of a drill. Its methods may be called from several goroutines.
type Run struct {
	*Environment
	Size Size

	seed  uint64
	out   io.Writer
	began time.Time

	mu       sync.Mutex
	part     string
	figures  map[string]any
	failures []string
}

// Do runs a drill and returns what it found. A part that fails does not keep
// the next from being run.
func (d Drill) Do(ctx context.Context, e *Environment, o Options) Result {
	r := &Run{Environment: e, Size: o.Size, seed: o.Seed, out: o.Out, began: time.Now(), figures: map[string]any{}}
	ran := false
	for _, p := range d.Parts {
		if o.Part != "" && o.Part != p.Name || o.Part == "" && p.FullOnly && o.Size == Short {
			continue
		}
		ran = true
		if err := r.run(ctx, d.Name, p); err != nil {
			r.fail(fmt.Sprintf("%s: %v", p.Name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if !ran {
		r.fail(fmt.Sprintf("no part %q; there are: %v", o.Part, d.parts()))
	}
	return Result{
		Drill: d.Name, Pass: len(r.failures) == 0, Seconds: float64(time.Since(r.began).Round(100*time.Millisecond)) / float64(time.Second),
		Size: o.Size, Seed: o.Seed, Figures: r.figures, Failures: r.failures,
	}
}

func (d Drill) parts() []string {
	var names []string
	for _, p := range d.Parts {
		names = append(names, p.Name)
	}
	return names
}

func (r *Run) run(ctx context.Context, drill string, p Part) error {
	limit := p.Limit
	if r.Size == Short {
		limit = max(limit/4, time.Minute)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	r.part = p.Name
	r.Say("%s, %s: %s", drill, p.Name, p.Summary)
	err := p.Run(ctx, r)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// Rand returns the numbers of the run's seed for one purpose: what another
// purpose draws does not change them.
func (r *Run) Rand(purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(r.seed, purpose)) }

// Sized returns short or full, as the run is.
func Sized[T any](r *Run, short, full T) T {
	if r.Size == Full {
		return full
	}
	return short
}

// Part is the name of the part that runs.
func (r *Run) Part() string { return r.part }

// Say tells what the drill does now.
func (r *Run) Say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say(format, args...)
}

func (r *Run) say(format string, args ...any) {
	fmt.Fprintf(r.out, "%7.1f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// Figure keeps a figure, named with its unit: "p99_ratio", "rss_growth_mib".
func (r *Run) Figure(name string, value any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, ok := value.(float64); ok {
		value = float64(int64(f*1000+0.5)) / 1000 // three digits are more than any of them is worth
	}
	r.figures[name] = value
	r.say("  %s: %v", name, value)
}

// Check tells whether something holds. What does not fails the drill, which
// goes on.
func (r *Run) Check(holds bool, format string, args ...any) bool {
	if !holds {
		r.fail(fmt.Sprintf("%s: %s", r.part, fmt.Sprintf(format, args...)))
	}
	return holds
}

func (r *Run) fail(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, what)
	r.say("  FAILED %s", what)
}
