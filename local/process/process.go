// Package process starts the programs of the local runtime and stops them by
// their own id, also when the program that started them is gone: each child is
// written to a record in the run folder that names its pid and the moment it
// started, so that a pid the system has given to someone else is never touched.
// A child runs in a process group of its own and carries a random mark in its
// environment, which what it starts inherits: so its descendants are known
// when the child itself, and with it the proof that the group is ours, is gone.
package process

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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
	Env     []string // whole environment but for the mark; nothing is inherited
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
	PID     int    `json:"pid"`     // also the id of its process group
	Started string `json:"started"` // when, as the system tells it: see startOf
	Signal  int    `json:"signal"`  // asks it to stop
	Mark    string `json:"mark"`    // value of markVariable in its environment
}

// markVariable is the environment variable that children and what they start carry.
const markVariable = "LOADBEARING_CHILD"

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

	cmd := exec.Command(spec.Path, spec.Args...) //nolint:noctx // Stop and Kill end it, no context does.
	mark := spec.Name + "." + rand.Text()
	cmd.Env = append(slices.Clone(spec.Env), markVariable+"="+mark)
	cmd.Dir, cmd.Stdout, cmd.Stderr = spec.Dir, log, log
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
	started, _ := startOf(p.PID)
	if err := writeRecord(p.record, Record{spec.Name, p.PID, started, int(spec.Signal), mark}); err != nil {
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
		_ = cmd.Wait()
		return nil, fmt.Errorf("start %s: record its pid: %w", spec.Name, err)
	}
	go func() {
		p.err = cmd.Wait()
		// What the child left in its group goes with it, however it ended.
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
		_ = os.Remove(p.record)
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the child and what it left in its process group have ended.
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
// period, or ctx, is over first. It returns when the child is gone, and tells
// whether it ended by itself in time.
func (p *Process) Stop(ctx context.Context) (orderly bool) {
	p.once.Do(func() { _ = p.cmd.Process.Signal(p.spec.Signal) })
	grace := time.NewTimer(p.spec.Grace)
	defer grace.Stop()
	select {
	case <-p.done:
		return true
	case <-grace.C:
	case <-ctx.Done():
	}
	p.Kill()
	return false
}

// Kill ends the child's process group at once, as a crash would.
func (p *Process) Kill() {
	if p.Running() {
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
	}
	<-p.done
}

// Tail returns the last lines of the child's log, for error messages.
func (p *Process) Tail(lines int) string { return tail(p.Log, lines) }

// Leftovers returns the records of children that still run, or of which
// something still runs in their process group: what a crashed run left behind,
// or what a detached one runs.
func (r *Runner) Leftovers() ([]Record, error) {
	entries, err := os.ReadDir(r.records())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what an earlier run left: %w", err)
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
		if alive(rec) || len(members(rec)) > 0 {
			left = append(left, rec)
		}
	}
	return left, nil
}

// StopLeftovers stops every child a run left behind and what those left in
// their process groups, and removes the records. All are asked to end at once;
// what has not after the grace period, or when ctx is done, is killed. It
// returns the names of the stopped.
func (r *Runner) StopLeftovers(ctx context.Context, grace time.Duration) ([]string, error) {
	left, err := r.Leftovers()
	if err != nil {
		return nil, err
	}
	for _, rec := range left {
		if alive(rec) {
			_ = syscall.Kill(rec.PID, syscall.Signal(rec.Signal))
		}
	}
	deadline := time.Now().Add(grace)
	var names []string
	for _, rec := range left {
		for alive(rec) && time.Now().Before(deadline) && ctx.Err() == nil {
			time.Sleep(poll)
		}
		if alive(rec) {
			_ = syscall.Kill(-rec.PID, syscall.SIGKILL)
		}
		if err := end(rec); err != nil {
			return names, err
		}
		names = append(names, rec.Name)
	}
	return names, os.RemoveAll(r.records())
}

// poll is how often a process that is not our child, and so cannot be waited
// for, is looked at.
const poll = 10 * time.Millisecond

// killLimit is how long a killed process may take to be gone. SIGKILL acts at
// once unless the process is in an uninterruptible wait, on a dead disk say.
const killLimit = 5 * time.Second

// end kills what is left of a record's process group, one by one, and waits
// until it is gone.
func end(rec Record) error {
	deadline := time.Now().Add(killLimit)
	for {
		group := members(rec)
		if len(group) == 0 && !alive(rec) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s (pid %d) does not end, though killed", rec.Name, rec.PID)
		}
		for _, pid := range group {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(poll)
	}
}

func (r *Runner) records() string { return filepath.Join(r.Dir, "processes") }

func writeRecord(path string, rec Record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// members returns the running processes of a record's process group that
// carry its mark. The mark is compared because a group's id can be given to a
// stranger once the last of ours has ended.
func members(rec Record) []int {
	if syscall.Kill(-rec.PID, 0) == syscall.ESRCH {
		return nil // the group is empty
	}
	pids, err := gops.Pids()
	if err != nil {
		return nil
	}
	var group []int
	for _, pid := range pids {
		if id, err := syscall.Getpgid(int(pid)); err != nil || id != rec.PID {
			continue
		}
		p, err := gops.NewProcess(pid)
		if err != nil {
			continue
		}
		environ, err := p.Environ()
		if err == nil && slices.Contains(environ, markVariable+"="+rec.Mark) {
			group = append(group, int(pid))
		}
	}
	return group
}

// Watch returns a function that tells whether the process that has the pid now
// still runs, whoever started it; a later one with its pid does not count.
func Watch(pid int) (running func() bool) {
	started, _ := startOf(pid)
	return func() bool { return alive(Record{PID: pid, Started: started}) }
}

// alive tells whether the recorded process, and not a later one with its pid, runs.
func alive(rec Record) bool {
	started, running := startOf(rec.PID)
	return running && started == rec.Started
}

// startOf returns when a process started, in a form that is the same at every
// reading, and whether it runs (a zombie does not). On Linux that is the boot's
// id and the clock ticks since; not the time of day, which is derived from them
// and moves when the clock is set. Elsewhere the system keeps the time of day.
func startOf(pid int) (started string, running bool) {
	if runtime.GOOS == "linux" {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			return "", false
		}
		// proc_pid_stat(5): the second field, the name, is in parentheses and may
		// hold any character. State is field 3, starttime field 22.
		_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 20 {
			return "", false
		}
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return "", false
		}
		return strings.TrimSpace(string(boot)) + ":" + fields[19], fields[0] != "Z" && fields[0] != "X"
	}
	p, err := gops.NewProcess(int32(pid))
	if err != nil {
		return "", false
	}
	ms, err := p.CreateTime()
	if err != nil {
		return "", false
	}
	status, err := p.Status()
	return strconv.FormatInt(ms, 10), err != nil || !slices.Contains(status, gops.Zombie)
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
