package emulator_test

import (
	"context"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gops "github.com/shirou/gopsutil/v4/process"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

// shared is one emulator for the tests that only use its APIs; each works in
// stacks and names of its own.
var shared *emulator.Emulator

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "emulator-test-")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		shared, err = start(context.Background(), dir)
		if err != nil {
			log.Print(err)
			return 1
		}
		defer shared.Stop(context.Background())
		return m.Run()
	}())
}

// start runs an emulator on a free port with all its files below dir. The
// installation is the one `make up` uses.
func start(ctx context.Context, dir string) (*emulator.Emulator, error) {
	installed, err := emulator.Install(ctx, filepath.Join("..", "..", ".cache"), func(s string) { log.Print(s) })
	if err != nil {
		return nil, err
	}
	return emulator.Start(ctx, emulator.Options{
		Runner:       &process.Runner{Dir: dir},
		Python:       installed,
		RunDir:       filepath.Join(dir, "emulator"),
		DatabasePort: 25432,
		CachePort:    26379,
		Env:          []string{"LOADBEARING_CA_FILE=/from/options"},
	})
}

func TestStartIdentifiesItself(t *testing.T) {
	t.Parallel()
	require.Equal(t, emulator.NameMiniStack, shared.Name)
	require.Equal(t, "1.5.33", shared.Version)
	require.True(t, shared.Extended)
	require.True(t, shared.IsLoopback())

	attached, err := emulator.Attach(t.Context(), shared.URL+"/")
	require.NoError(t, err)
	require.Equal(t, shared.URL, attached.URL)
	require.Equal(t, shared.Version, attached.Version)
	require.True(t, attached.Extended)
	require.Nil(t, attached.Process())
}

func TestEveryPieceIsStillNeeded(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(shared.Process().Log)
	require.NoError(t, err)
	require.Contains(t, string(data), "mended: CloudFormation does not know AWS::EC2::EIP")
	require.NotContains(t, string(data), "not needed any more")
}

func TestAttachTellsEmulatorsApart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path, answer  string
		wantName, wantVer   string
		extended, community bool
	}{
		{"ministack as released", "/_ministack/health", `{"services":{"s3":"available"},"edition":"light","version":"1.6"}`, "ministack", "1.6", false, false},
		{"localstack", "/_localstack/health", `{"services":{"s3":"running"},"edition":"community","version":"4.13.1"}`, "localstack", "4.13.1", false, true},
		{"something else", "/health", `ok`, "unknown", "", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != test.path {
					http.Error(w, "no such bucket", http.StatusNotFound)
					return
				}
				_, _ = w.Write([]byte(test.answer))
			}))
			defer server.Close()
			e, err := emulator.Attach(t.Context(), server.URL)
			require.NoError(t, err)
			require.Equal(t, test.wantName, e.Name)
			require.Equal(t, test.wantVer, e.Version)
			require.Equal(t, test.extended, e.Extended)
			if test.community {
				rejected, err := e.Rejects(t.Context(), []string{"AWS::S3::Bucket", "AWS::RDS::DBInstance", "AWS::SQS::Queue"})
				require.NoError(t, err)
				require.Equal(t, []string{"AWS::RDS::DBInstance"}, rejected)
			}
		})
	}
}

func TestAttachRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, want string }{
		{"127.0.0.1:4566", "is no URL of an emulator"},
		{"https://s3.us-east-1.amazonaws.com", "is AWS itself"},
		{"http://127.0.0.1:1", "nothing answers"},
	} {
		_, err := emulator.Attach(t.Context(), test.url)
		require.ErrorContains(t, err, test.want)
	}
}

func TestIsLoopback(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"http://127.0.0.1:4566": true, "http://localhost:4566": true, "http://[::1]:4566": true,
		"http://192.168.1.20:4566": false, "http://localstack:4566": false,
	} {
		require.Equal(t, want, (&emulator.Emulator{URL: url}).IsLoopback(), url)
	}
}

func TestStartNamesATakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, err = emulator.Start(t.Context(), emulator.Options{Port: taken.Addr().(*net.TCPAddr).Port, RunDir: t.TempDir()})
	require.ErrorContains(t, err, "is taken")
	require.ErrorContains(t, err, "AWS_PORT=")
}

// A free port may be somebody's by the time the emulator listens: it gets
// another, until there is no use in trying.
func TestStartTriesOtherPorts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = emulator.Start(t.Context(), emulator.Options{
		Runner: &process.Runner{Dir: dir}, RunDir: dir, Python: installed(t), Env: []string{"GATEWAY_PORT=" + port},
	})
	require.ErrorContains(t, err, "its port is in use")
	logs, err := filepath.Glob(filepath.Join(dir, "logs", "emulator*.log"))
	require.NoError(t, err)
	attempts := 0
	for _, path := range logs {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		attempts += strings.Count(string(data), "is already in use")
	}
	require.Equal(t, 5, attempts, logs)
}

func TestStartShowsTheLogOfWhatDoesNotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	started := time.Now()
	_, err := emulator.Start(t.Context(), emulator.Options{
		Runner: &process.Runner{Dir: dir}, RunDir: dir, Python: installed(t),
		Env: []string{"PYTHONPATH=" + dir}, // no extension there
	})
	require.ErrorContains(t, err, "ended before it answered")
	require.ErrorContains(t, err, "No module named loadbearing_emulator")
	require.Less(t, time.Since(started), 10*time.Second)
}

func TestRejects(t *testing.T) {
	t.Parallel()
	types := []string{"AWS::EC2::EIP", "AWS::CodeDeploy::Application", "AWS::S3::Bucket"}

	// The extension is taken at its word.
	rejected, err := shared.Rejects(t.Context(), types)
	require.NoError(t, err)
	require.Empty(t, rejected)

	// Any other is asked.
	other := *shared
	other.Extended = false
	rejected, err = other.Rejects(t.Context(), types)
	require.NoError(t, err)
	require.Equal(t, []string{"AWS::CodeDeploy::Application"}, rejected)

	other.RunsLambda = false
	rejected, err = other.Rejects(t.Context(), []string{"AWS::Lambda::Function", "AWS::S3::Bucket", "Custom::Thing"})
	require.NoError(t, err)
	require.Equal(t, []string{"AWS::Lambda::Function", "Custom::Thing"}, rejected)
}

func TestEnvironHasNothingOfTheCallers(t *testing.T) {
	t.Parallel()
	environ := processEnviron(t, shared.Process().PID)
	require.Contains(t, environ, "LOADBEARING_CA_FILE=/from/options")
	require.Contains(t, environ, "AWS_ENDPOINT_URL="+shared.URL)
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		require.NotContains(t, strings.ToLower(name), "proxy")
		require.NotContains(t, []string{"USER", "GOPATH", "AWS_PROFILE", "AWS_SESSION_TOKEN"}, name)
	}
}

func installed(t *testing.T) emulator.Python {
	t.Helper()
	p, err := emulator.Install(t.Context(), filepath.Join("..", "..", ".cache"), nil)
	require.NoError(t, err)
	return p
}

// processEnviron reads the environment a process was started with.
func processEnviron(t *testing.T, pid int) []string {
	t.Helper()
	p, err := gops.NewProcess(int32(pid))
	require.NoError(t, err)
	environ, err := p.Environ()
	if err != nil {
		t.Skipf("this system does not tell a process's environment: %v", err)
	}
	return environ
}
