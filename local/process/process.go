// Package process starts the programs of the local runtime and stops them by
// their own id, also when the program that started them is gone: each child is
// written to a record in the run folder that names its pid and the moment it
// started, so that a pid the system has given to someone else is never touched.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	gops "github.com/shirou/gopsutil/v4/process"
)

// Spec says what to run.
type Spec struct {
	Name    string   // unique among the running ones; names the record and the log
	Path    string   // executable
	Args    []string // without the program's name
	Env     []string // whole environment; nothing is inherited
	Dir     string   // working directory; default the caller's
	UID     int      // user to run as when the caller is root; 0 keeps the caller's
	GID     int
	Signal  syscall.Signal // asks it to stop; default SIGTERM
	Grace   time.Duration  // from Signal to SIGKILL; default 10 s
	LogPath string         // default <run>/logs/<name>.log, appended
}

// Record is what is kept of a running child.
type Record struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Started int64  `json:"started"` // ms since the epoch, as the system tells it
	Signal  int    `json:"signal"`
}

// Runner starts children and keeps their records below Dir.
type Runner struct {
	Dir string
}

// Process is a running child.
type Process struct {
	Name string
	PID  int
	Log  string

	cmd    *exec.Cmd
	spec   Spec
	record string
	done   chan struct{}
	err    error
	once   sync.Once
}

// Start runs a program in a process group of its own. It ends with Stop, not
// with a context: stopping is orderly, one after the other.
func (r *Runner) Start(spec Spec) (*Process, error) {
	if spec.Signal == 0 {
		spec.Signal = syscall.SIGTERM
	}
	if spec.Grace == 0 {
		spec.Grace = 10 * time.Second
	}
	if spec.LogPath == "" {
		spec.LogPath = filepath.Join(r.Dir, "logs", spec.Name+".log")
	}
	for _, dir := range []string{r.records(), filepath.Dir(spec.LogPath)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("start %s: %w", spec.Name, err)
		}
	}
	log, err := os.OpenFile(spec.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: open its log: %w", spec.Name, err)
	}
	defer log.Close()

	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = spec.Env, spec.Dir, log, log
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if spec.UID != 0 && os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(spec.UID), Gid: uint32(spec.GID)}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (%s): %w", spec.Name, spec.Path, err)
	}
	p := &Process{
		Name: spec.Name, PID: cmd.Process.Pid, Log: spec.LogPath,
		cmd: cmd, spec: spec, done: make(chan struct{}),
		record: filepath.Join(r.records(), spec.Name+".json"),
	}
	if err := writeRecord(p.record, Record{spec.Name, p.PID, startTime(p.PID), int(spec.Signal)}); err != nil {
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
		_ = cmd.Wait()
		return nil, fmt.Errorf("start %s: record its pid: %w", spec.Name, err)
	}
	go func() {
		p.err = cmd.Wait()
		_ = os.Remove(p.record)
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the child ended: nil while it runs and after exit status 0.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Running tells whether the child has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Stop asks the child to end and kills its process group when the grace
// period, or ctx, is over first. It returns when the child is gone.
func (p *Process) Stop(ctx context.Context) {
	p.once.Do(func() { _ = p.cmd.Process.Signal(p.spec.Signal) })
	grace := time.NewTimer(p.spec.Grace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
	case <-ctx.Done():
	}
	// Also after an orderly end: what the child left in its group goes too.
	_ = syscall.Kill(-p.PID, syscall.SIGKILL)
	<-p.done
}

// Kill ends the child's process group at once, as a crash would.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID, syscall.SIGKILL)
	<-p.done
}

// Tail returns the last lines of the child's log, for error messages.
func (p *Process) Tail(lines int) string { return tail(p.Log, lines) }

// Leftovers returns the records whose process still runs: what a crashed run
// left behind, or what a detached one runs.
func (r *Runner) Leftovers() ([]Record, error) {
	entries, err := os.ReadDir(r.records())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var left []Record
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(r.records(), e.Name()))
		if err != nil {
			continue // its process ended meanwhile
		}
		var rec Record
		if json.Unmarshal(data, &rec) != nil || rec.PID <= 1 {
			continue
		}
		if alive(rec) {
			left = append(left, rec)
		}
	}
	return left, nil
}

// StopLeftovers stops, by pid, every child a run left behind, and removes the
// records. It returns the names of the stopped.
func (r *Runner) StopLeftovers(ctx context.Context, grace time.Duration) ([]string, error) {
	left, err := r.Leftovers()
	if err != nil {
		return nil, err
	}
	for _, rec := range left {
		_ = syscall.Kill(rec.PID, syscall.Signal(rec.Signal))
	}
	deadline := time.Now().Add(grace)
	var names []string
	for _, rec := range left {
		for alive(rec) && time.Now().Before(deadline) && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		if alive(rec) {
			_ = syscall.Kill(-rec.PID, syscall.SIGKILL)
		}
		names = append(names, rec.Name)
	}
	return names, os.RemoveAll(r.records())
}

func (r *Runner) records() string { return filepath.Join(r.Dir, "processes") }

func writeRecord(path string, rec Record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// startTime returns when a process started, in ms since the epoch, or 0.
func startTime(pid int) int64 {
	p, err := gops.NewProcess(int32(pid))
	if err != nil {
		return 0
	}
	ms, err := p.CreateTime()
	if err != nil {
		return 0
	}
	return ms
}

// alive tells whether the recorded process, and not a later one with its pid, runs.
func alive(rec Record) bool {
	p, err := gops.NewProcess(int32(rec.PID))
	if err != nil {
		return false
	}
	started, err := p.CreateTime()
	if err != nil {
		return false
	}
	// The system derives the time from ticks since boot; two readings may differ by a tick.
	if d := started - rec.Started; d < -1000 || d > 1000 {
		return false
	}
	status, err := p.Status()
	return err != nil || len(status) == 0 || status[0] != gops.Zombie
}

func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
