package test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gruntwork-io/terratest/modules/logger"
	"github.com/gruntwork-io/terratest/modules/retry"
	"github.com/gruntwork-io/terratest/modules/shell"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local"
)

const (
	region      = "us-east-1"
	environment = "dev"
)

// environmentUnderTest is one `loadbearing up` with a run folder and ports of
// its own, beside any the developer runs.
type environmentUnderTest struct {
	project project.Project
	cli     string
	env     map[string]string
}

// newEnvironment builds the CLI and chooses free ports. It starts nothing.
func newEnvironment(t *testing.T) *environmentUnderTest {
	t.Helper()
	p, err := project.Find()
	require.NoError(t, err)
	e := &environmentUnderTest{
		project: p,
		cli:     filepath.Join(p.Root, ".build", "bin", "loadbearing"),
		env: map[string]string{
			// With SKIP_up=1, that of an environment that runs already.
			"LOADBEARING_RUN_DIR": cmp.Or(os.Getenv("LOADBEARING_RUN_DIR"), filepath.Join(p.Root, ".run", "test")),
			"AWS_ENDPOINT_URL":    "",
		},
	}
	ports := freePorts(t, 3)
	for i, name := range []string{"EDGE_PORT", "ALB_PORT", "AWS_PORT"} {
		e.env[name] = strconv.Itoa(ports[i])
	}
	shell.RunCommandContext(t, t.Context(), &shell.Command{
		Command: "go", Args: []string{"build", "-o", e.cli, "./cmd/loadbearing"}, WorkingDir: p.Root,
	})
	return e
}

// run runs a loadbearing command to its end and shows what it prints.
func (e *environmentUnderTest) run(t *testing.T, args ...string) {
	t.Helper()
	shell.RunCommandContext(t, testContext(t, 5*time.Minute), e.command(args...))
}

func (e *environmentUnderTest) command(args ...string) *shell.Command {
	return &shell.Command{Command: e.cli, Args: args, Env: e.env, WorkingDir: e.project.Root}
}

// status returns what `loadbearing status --json` prints.
func (e *environmentUnderTest) status(t *testing.T) local.Status {
	t.Helper()
	s, err := e.readStatus(t)
	require.NoError(t, err)
	return s
}

func (e *environmentUnderTest) readStatus(t *testing.T) (local.Status, error) {
	t.Helper()
	cmd := e.command("status", "--json")
	cmd.Logger = logger.Discard
	out, err := shell.RunCommandContextAndGetStdOutE(t, testContext(t, time.Minute), cmd)
	var s local.Status
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// awaitStatus reads the status until done says so, and fails at the limit.
func (e *environmentUnderTest) awaitStatus(t *testing.T, limit time.Duration, what string, done func(local.Status) bool) local.Status {
	t.Helper()
	const pause = 250 * time.Millisecond
	var s local.Status
	retry.DoWithRetryContext(t, testContext(t, limit), "wait for "+what, int(limit/pause), pause, func() (string, error) {
		s = e.status(t)
		if !done(s) {
			return "", fmt.Errorf("not yet %s; instances: %+v", what, s.Instances)
		}
		return what, nil
	})
	return s
}

// useEndpoint points every AWS SDK of this process, Terratest's too, at an emulator.
func useEndpoint(t *testing.T, url string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": url, "AWS_ENDPOINT_URL_S3": url, "AWS_REGION": region, "AWS_DEFAULT_REGION": region,
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
}

// announce prints which emulator a suite ran against and what it could not validate.
func announce(t *testing.T, name, version string, removed []string) {
	t.Helper()
	what := "none"
	if len(removed) > 0 {
		what = strings.Join(removed, ", ")
	}
	fmt.Printf("EMULATOR %s %s; resource types not validated: %s\n", name, version, what)
}

// freePorts returns loopback ports nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// testContext is a context that ends with the test, and at a limit.
func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func reader(data []byte) *bytes.Reader { return bytes.NewReader(data) }
