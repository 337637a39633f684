package local

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Step is one finished step of Up.
type Step struct {
	Name    string  `json:"name"`
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"`
}

// progress prints each step as it ends, and every few seconds the name of what
// is still going on.
type progress struct {
	out   io.Writer
	every time.Duration

	mu    sync.Mutex
	steps []Step
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, every: 5 * time.Second}
}

// do runs one step. The detail it returns is a few words on what came of it.
func (p *progress) do(name string, step func() (detail string, err error)) error {
	start := time.Now()
	stop := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		tick := time.NewTicker(p.every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				p.printf("  … %-12s still at it (%.0f s)\n", name, time.Since(start).Seconds())
			}
		}
	})
	detail, err := step()
	close(stop)
	waiting.Wait()
	if err != nil {
		p.printf("  ✗ %-12s after %.1f s\n", name, time.Since(start).Seconds())
		return err
	}
	s := Step{Name: name, Detail: detail, Seconds: time.Since(start).Seconds()}
	p.mu.Lock()
	p.steps = append(p.steps, s)
	p.mu.Unlock()
	p.printf("  ✓ %-12s %-62s %5.1f s\n", s.Name, s.Detail, s.Seconds)
	return nil
}

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

func (p *progress) done() []Step {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Step(nil), p.steps...)
}
