package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/process"
)

// parentVariable makes the test binary a program that starts a child in the
// named run folder and then waits to be killed.
const parentVariable = "PROCESS_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentVariable); dir != "" {
		_, err := (&process.Runner{Dir: dir}).Start(shell("child", os.Getenv("PROCESS_TEST_SCRIPT")))
		fmt.Println("started", err)
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func shell(name, script string) process.Spec {
	return process.Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

func start(t *testing.T, r *process.Runner, spec process.Spec) *process.Process {
	t.Helper()
	p, err := r.Start(spec)
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	return p
}

// logged waits for the first line of a child's log that begins with prefix.
func logged(t *testing.T, path, prefix string) string {
	t.Helper()
	var found string
	require.Eventually(t, func() bool {
		data, _ := os.ReadFile(path)
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(line, "\n") {
				found = strings.TrimSpace(rest)
				return true
			}
		}
		return false
	}, 10*time.Second, 5*time.Millisecond, "no line %q in %s", prefix, path)
	return found
}

func loggedPID(t *testing.T, path, prefix string) int {
	t.Helper()
	pid, err := strconv.Atoi(logged(t, path, prefix))
	require.NoError(t, err)
	return pid
}

// gone waits until a process that may not be our child has ended. In a
// container whose first process does not reap, it stays a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
		return err != nil || strings.HasPrefix(string(stat), "Z")
	}, 5*time.Second, 10*time.Millisecond, "process %d still runs", pid)
}

func TestStartGivesOnlyTheNamedEnvironment(t *testing.T) {
	t.Setenv("PROCESS_TEST_SECRET", "inherited")
	r := &process.Runner{Dir: t.TempDir()}
	p := start(t, r, shell("env", "env; exit 3"))
	<-p.Done()
	require.ErrorContains(t, p.Err(), "exit status 3")
	require.False(t, p.Running())
	log := p.Tail(100)
	require.Contains(t, log, "PATH=/usr/bin:/bin")
	require.NotContains(t, log, "PROCESS_TEST_SECRET")
	left, err := r.Leftovers()
	require.NoError(t, err)
	require.Empty(t, left, "the record goes with the child")
}

func TestStop(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		script  string
		signal  syscall.Signal
		orderly bool
		log     string
	}{
		{"asked", `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done`, 0, true, "bye"},
		{"asked with its own signal", `trap 'echo fast; exit 0' INT; echo ready; while :; do sleep 0.02; done`, syscall.SIGINT, true, "fast"},
		{"killed when it does not listen", `trap '' TERM; echo ready; while :; do sleep 0.02; done`, 0, false, "ready"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			spec := shell("child", test.script)
			spec.Signal, spec.Grace = test.signal, 300*time.Millisecond
			if test.orderly {
				spec.Grace = 10 * time.Second
			}
			p := start(t, &process.Runner{Dir: t.TempDir()}, spec)
			logged(t, p.Log, "ready")
			require.Equal(t, test.orderly, p.Stop(t.Context()))
			require.False(t, p.Running())
			require.Contains(t, p.Tail(1), test.log)
		})
	}
}

func TestStopEndsWithItsContext(t *testing.T) {
	t.Parallel()
	spec := shell("child", `trap '' TERM; echo ready; while :; do sleep 0.02; done`)
	spec.Grace = time.Hour
	p := start(t, &process.Runner{Dir: t.TempDir()}, spec)
	logged(t, p.Log, "ready")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.False(t, p.Stop(ctx))
}

func TestWhatAChildLeavesInItsGroupEndsWithIt(t *testing.T) {
	t.Parallel()
	p := start(t, &process.Runner{Dir: t.TempDir()}, shell("child", `sleep 60 & echo grandchild $!; exit 1`))
	grandchild := loggedPID(t, p.Log, "grandchild ")
	<-p.Done()
	gone(t, grandchild)
}

// crashedRun starts a child through a parent that is killed before it returns.
func crashedRun(t *testing.T, script string) (*process.Runner, string) {
	t.Helper()
	r := &process.Runner{Dir: t.TempDir()}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"="+r.Dir, "PROCESS_TEST_SCRIPT="+script)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "started <nil>\n", line)
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	t.Cleanup(func() { _, _ = r.StopLeftovers(context.Background(), 0) })
	return r, filepath.Join(r.Dir, "logs", "child.log")
}

func TestStopLeftovers(t *testing.T) {
	t.Parallel()
	t.Run("the child and its group", func(t *testing.T) {
		t.Parallel()
		r, log := crashedRun(t, `sleep 60 & echo grandchild $!; trap 'echo bye; exit 0' TERM; echo child $$; while :; do sleep 0.02; done`)
		grandchild, child := loggedPID(t, log, "grandchild "), loggedPID(t, log, "child ")
		names, err := r.StopLeftovers(t.Context(), 10*time.Second)
		require.NoError(t, err)
		require.Equal(t, []string{"child"}, names)
		gone(t, child)
		gone(t, grandchild)
		logged(t, log, "bye")
		left, err := r.Leftovers()
		require.NoError(t, err)
		require.Empty(t, left)
	})
	t.Run("a child that does not listen", func(t *testing.T) {
		t.Parallel()
		r, log := crashedRun(t, `trap '' TERM; echo child $$; while :; do sleep 0.02; done`)
		child := loggedPID(t, log, "child ")
		_, err := r.StopLeftovers(t.Context(), 100*time.Millisecond)
		require.NoError(t, err)
		gone(t, child)
	})
	t.Run("the group of a child that is gone", func(t *testing.T) {
		t.Parallel()
		r, log := crashedRun(t, `sleep 60 & echo grandchild $!; echo child $$; while test ! -e "$0.stop"; do sleep 0.02; done`)
		grandchild, child := loggedPID(t, log, "grandchild "), loggedPID(t, log, "child ")
		require.NoError(t, syscall.Kill(child, syscall.SIGKILL))
		gone(t, child)
		names, err := r.StopLeftovers(t.Context(), time.Second)
		require.NoError(t, err)
		require.Equal(t, []string{"child"}, names)
		gone(t, grandchild)
	})
	t.Run("nothing was left", func(t *testing.T) {
		t.Parallel()
		names, err := (&process.Runner{Dir: t.TempDir()}).StopLeftovers(t.Context(), time.Second)
		require.NoError(t, err)
		require.Empty(t, names)
	})
}

// TestAReusedPIDIsNotTouched writes the records of an earlier run whose pid,
// and whose group, the system has since given to a stranger.
func TestAReusedPIDIsNotTouched(t *testing.T) {
	t.Parallel()
	stranger := exec.Command("/bin/sh", "-c", "sleep 60 & wait")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, stranger.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-stranger.Process.Pid, syscall.SIGKILL)
		_ = stranger.Wait()
	})

	r := &process.Runner{Dir: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(r.Dir, "processes"), 0o755))
	for name, rec := range map[string]any{
		"reused":   process.Record{Name: "reused", PID: stranger.Process.Pid, Started: "another boot:1", Signal: 15, Mark: "ours"},
		"init":     process.Record{Name: "init", PID: 1, Signal: 9},
		"everyone": process.Record{Name: "everyone", PID: -1, Signal: 9},
		"nonsense": "nonsense",
	} {
		data, err := json.Marshal(rec)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(r.Dir, "processes", name+".json"), data, 0o644))
	}
	names, err := r.StopLeftovers(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, names)
	require.NoError(t, stranger.Process.Signal(syscall.Signal(0)), "the stranger still runs")
	require.NoError(t, syscall.Kill(-stranger.Process.Pid, 0))
}

func TestStartSaysWhatItCouldNotStart(t *testing.T) {
	t.Parallel()
	_, err := (&process.Runner{Dir: t.TempDir()}).Start(process.Spec{Name: "ghost", Path: "/nonexistent/program"})
	require.ErrorContains(t, err, "start ghost (/nonexistent/program)")
}
