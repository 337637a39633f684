package local

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFromEnviron(t *testing.T) {
	t.Parallel()
	c, err := FromEnviron(nil)
	require.NoError(t, err)
	assert.Equal(t, "dev", c.Environment)
	assert.Equal(t, []int{DefaultEdgePort, DefaultALBPort, DefaultAWSPort}, []int{c.EdgePort, c.ALBPort, c.AWSPort})
	assert.True(t, filepath.IsAbs(c.RunDir))

	c, err = FromEnviron([]string{"ENV=prod", "EDGE_PORT=9000", "AWS_ENDPOINT_URL=http://127.0.0.1:4577/"})
	require.NoError(t, err)
	assert.Equal(t, "prod", c.Environment)
	assert.Equal(t, 9000, c.EdgePort)
	assert.Equal(t, "http://127.0.0.1:4577", c.EndpointURL)

	_, err = FromEnviron([]string{"EDGE_PORT=http", "ALB_PORT=70000"})
	require.ErrorContains(t, err, `EDGE_PORT="http"`)
	require.ErrorContains(t, err, `ALB_PORT="70000"`)
}

func TestATakenPortIsNamedWithTheWayToChooseAnother(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	err = Config{EdgePort: port, ALBPort: 0, AWSPort: 0}.checkPorts()
	require.ErrorContains(t, err, "port "+strconv.Itoa(port)+" is taken")
	require.ErrorContains(t, err, "make up EDGE_PORT=")
}

func TestOneUpHoldsARunFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := ReadStatus(dir)
	require.ErrorIs(t, err, ErrNotRunning)

	held, err := acquire(dir)
	require.NoError(t, err)
	pid, err := holder(dir)
	require.NoError(t, err)
	assert.Equal(t, os.Getpid(), pid)
	_, err = acquire(dir)
	require.ErrorIs(t, err, ErrRunning)
	_, err = ReadStatus(dir)
	require.ErrorContains(t, err, "still starting")

	require.NoError(t, writeJSON(statusPath(dir), Status{EdgeURL: "http://127.0.0.1:8080"}))
	s, err := ReadStatus(dir)
	require.NoError(t, err)
	assert.Equal(t, "http://127.0.0.1:8080", s.EdgeURL)

	held.release()
	_, err = ReadStatus(dir)
	require.ErrorIs(t, err, ErrNotRunning, "the status of an Up that ended is nobody's")
}

func TestDownWithoutUpChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "logs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "status.json"), []byte("{}"), 0o600))
	var out bytes.Buffer
	require.NoError(t, Down(t.Context(), Config{RunDir: dir}, &out))
	assert.Equal(t, "nothing was running\n", out.String())
	assert.NoFileExists(t, filepath.Join(dir, "status.json"))
	assert.DirExists(t, filepath.Join(dir, "logs"))
}

// TestDownEndsTheHolder: Down ends the process that holds the lock, by its pid,
// and waits for it.
func TestDownEndsTheHolder(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("LOADBEARING_TEST_HOLD"); dir != "" {
		_, err := acquire(dir)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDownEndsTheHolder$")
	cmd.Env = append(os.Environ(), "LOADBEARING_TEST_HOLD="+dir)
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		running, err := Running(dir)
		return err == nil && running
	}, 10*time.Second, 10*time.Millisecond)

	var out bytes.Buffer
	require.NoError(t, Down(t.Context(), Config{RunDir: dir}, &out))
	assert.Contains(t, out.String(), "stopped loadbearing up (pid "+strconv.Itoa(cmd.Process.Pid)+")")
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
}

func TestProgressKeepsWhatWasDone(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out)
	p.every = time.Millisecond
	require.NoError(t, p.do("first", func() (string, error) { time.Sleep(20 * time.Millisecond); return "done well", nil }))
	failure := errors.New("no")
	require.ErrorIs(t, p.do("second", func() (string, error) { return "", failure }), failure)
	require.Len(t, p.done(), 1)
	assert.Equal(t, "first", p.done()[0].Name)
	assert.Contains(t, out.String(), "… first")
	assert.Contains(t, out.String(), "✓ first        done well")
	assert.Contains(t, out.String(), "✗ second")
}
