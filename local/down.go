package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/loadbearing/loadbearing/local/postgres"
	"github.com/loadbearing/loadbearing/local/process"
)

// downLimit is how long Down waits for an orderly end before it kills.
const downLimit = 45 * time.Second

// Down stops the Up of a run folder, detached or not, and whatever a crashed
// one left: only processes that Up recorded, by pid and start time. It leaves
// logs and removes the rest of the run.
func Down(ctx context.Context, c Config, out io.Writer) error {
	pid, err := holder(c.RunDir)
	if err != nil {
		return err
	}
	if pid != 0 {
		if err := stopHolder(ctx, pid); err != nil {
			return err
		}
		fmt.Fprintf(out, "stopped loadbearing up (pid %d)\n", pid)
	}
	runner := &process.Runner{Dir: c.RunDir}
	left, err := runner.StopLeftovers(ctx, 10*time.Second)
	for _, name := range left {
		fmt.Fprintf(out, "stopped %s, which a crashed run had left\n", name)
	}
	if err != nil {
		return fmt.Errorf("stop what a crashed run left: %w", err)
	}
	if err := removeRun(c.RunDir); err != nil {
		return err
	}
	if pid == 0 && len(left) == 0 {
		fmt.Fprintln(out, "nothing was running")
	}
	return nil
}

// stopHolder asks the Up that holds the run folder to end, and waits until it has.
func stopHolder(ctx context.Context, pid int) error {
	running := process.Watch(pid)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop loadbearing up (pid %d): %w", pid, err)
	}
	deadline := time.Now().Add(downLimit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if !running() {
			return nil
		}
		if time.Now().After(deadline) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill loadbearing up (pid %d), which did not end within %v: %w", pid, downLimit, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for loadbearing up (pid %d) to end: %w", pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// removeRun deletes what a run kept that has no use after it. The emulator
// forgets everything when it ends, so the databases go with it: rows about
// objects that are gone would be worse than none. Logs and timings stay.
func removeRun(runDir string) error {
	var errs []error
	clusters, err := filepath.Glob(filepath.Join(runDir, "postgres", "*"))
	errs = append(errs, err)
	for _, dir := range clusters {
		errs = append(errs, postgres.RemoveData(dir))
	}
	entries, err := os.ReadDir(runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		path := filepath.Join(runDir, e.Name())
		switch path {
		case lockPath(runDir), LogPath(runDir), StepsPath(runDir), filepath.Join(runDir, "logs"):
		default:
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}
