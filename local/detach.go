package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Detach starts `loadbearing up` in a session of its own, shows what it prints
// and returns when it is ready. It is ErrRunning when one runs already.
func Detach(ctx context.Context, c Config, out io.Writer) error {
	running, err := Running(c.RunDir)
	if err != nil {
		return err
	}
	if running {
		return ErrRunning
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.RunDir, 0o755); err != nil {
		return err
	}
	// A crashed run may have left one; it is how this run says that it is ready.
	if err := os.Remove(statusPath(c.RunDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.Create(LogPath(c.RunDir))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "up") //nolint:noctx // It outlives this process: Down ends it.
	cmd.Env = append(os.Environ(), c.environ()...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start loadbearing up: %w", err)
	}
	var failed error // read it when ended is closed
	ended := make(chan struct{})
	go func() {
		failed = cmd.Wait()
		close(ended)
	}()

	shown, err := os.Open(LogPath(c.RunDir))
	if err != nil {
		return err
	}
	defer shown.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ready := isReady(c.RunDir, cmd.Process.Pid)
		if _, err := io.Copy(out, shown); err != nil {
			return err
		}
		if ready {
			return nil
		}
		select {
		case <-ended:
			_, _ = io.Copy(out, shown)
			if failed == nil {
				failed = errors.New("it ended before it was ready")
			}
			return fmt.Errorf("loadbearing up: %w", failed)
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// isReady tells whether the Up with a pid has written its status, the last
// thing it does before it only watches.
func isReady(runDir string, pid int) bool {
	if now, err := holder(runDir); err != nil || now != pid {
		return false
	}
	_, err := os.Stat(statusPath(runDir))
	return err == nil
}
