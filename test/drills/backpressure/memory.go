package backpressure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/loadbearing/loadbearing/test/drill"
)

// resident returns the bytes of physical memory that the instance has.
func (b *bench) resident(ctx context.Context) (int64, error) {
	return drill.Resident(ctx, b.web.PID())
}

// idle returns the instance's memory once it has been the same for a second.
func (b *bench) idle(ctx context.Context) (int64, error) {
	const still, slack = time.Second, 64 << 10
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	least, most, since := int64(0), int64(0), time.Now()
	for {
		now, err := b.resident(ctx)
		if err != nil {
			return 0, err
		}
		if least, most = min(least, now), max(most, now); most-least > slack {
			least, most, since = now, now, time.Now()
		}
		if time.Since(since) >= still {
			return most, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// held returns the bytes that the instance's heap and stacks hold: the least of
// some cycles of the collector, which is without garbage. Asking for its metrics
// is what makes the garbage that starts them.
func (b *bench) held(ctx context.Context) (int64, error) {
	const cycles = 5
	var least, began float64
	for ctx.Err() == nil {
		m, err := b.web.Metrics(ctx)
		if err != nil {
			return 0, err
		}
		now := m["go_memstats_heap_alloc_bytes"] + m["go_memstats_stack_inuse_bytes"]
		if least == 0 {
			least, began = now, m["go_gc_duration_seconds_count"]
		}
		least = min(least, now)
		if m["go_gc_duration_seconds_count"] >= began+cycles {
			return int64(least), nil
		}
	}
	return 0, context.Cause(ctx)
}

// peak returns the most memory that the instance has while something is done:
// as the system keeps it where it does, else as it is seen every 20 ms.
func (b *bench) peak(ctx context.Context, do func() error) (int64, error) {
	pid := b.web.PID()
	forgotten := forgetPeak(pid)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var most int64
	var failed error
	var sampling sync.WaitGroup
	sampling.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for watching.Err() == nil {
			now, err := b.resident(ctx)
			if err != nil {
				failed = err
				return
			}
			most = max(most, now)
			select {
			case <-watching.Done():
			case <-tick.C:
			}
		}
	})
	err := do()
	stop()
	sampling.Wait()
	if err == nil {
		err = failed
	}
	if err == nil && b.web.PID() != pid {
		err = fmt.Errorf("the instance died: its pid was %d and is %d", pid, b.web.PID())
	}
	if forgotten {
		most = max(most, highWater(pid))
	}
	return most, err
}

// forgetPeak has Linux begin again with what it keeps as a process' peak, see
// proc_pid_clear_refs(5), and tells whether it does: other systems do not, nor
// does every container.
func forgetPeak(pid int) bool {
	f, err := os.OpenFile(procFile(pid, "clear_refs"), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_, err = f.WriteString("5")
	return errors.Join(err, f.Close()) == nil
}

// highWater returns what Linux keeps as a process' peak of physical memory, 0
// when it is not known.
func highWater(pid int) int64 {
	status, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kib int64
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		return 0
	}
	return kib << 10
}

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// inMiB is for figures.
func inMiB(bytes int64) float64 { return float64(bytes) / mib }
