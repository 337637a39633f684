package service

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// account answers GetSecretValue and GetParametersByPath, and refuses the rest.
type account struct {
	secrets    map[string]string
	parameters map[string]string
	mu         sync.Mutex
	calls      []string
}

func (a *account) config(t *testing.T) aws.Config {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: aws.String(server.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
}

func (a *account) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	target := req.Header.Get("X-Amz-Target")
	if target == "" {
		target = req.URL.Path
	}
	a.mu.Lock()
	a.calls = append(a.calls, target)
	a.mu.Unlock()
	var in struct{ SecretID string }
	body, _ := io.ReadAll(req.Body)
	_ = json.Unmarshal(body, &in)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch {
	case strings.HasSuffix(target, ".GetSecretValue") && a.secrets[in.SecretID] != "":
		_ = json.NewEncoder(w).Encode(map[string]string{"SecretString": a.secrets[in.SecretID]})
	case strings.HasSuffix(target, ".GetParametersByPath"):
		type parameter struct{ Name, Value string }
		out := []parameter{}
		for name, value := range a.parameters {
			out = append(out, parameter{name, value})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Parameters": out})
	default:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException","message":"not here"}`)
	}
}

func arn(name string) string {
	return "arn:aws:secretsmanager:eu-central-1:000000000000:secret:" + name
}

func (a *account) program(t *testing.T, env map[string]string) (program, *lines) {
	t.Helper()
	out := &lines{}
	cfg := a.config(t)
	return program{
		lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		stdout: out, stderr: out,
		aws: func(context.Context) (aws.Config, error) { return cfg, nil },
	}, out
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"version"}, 0, "app dev revision"},
		{[]string{"help"}, 0, "usage: app"},
		{nil, 2, "usage: app"},
		{[]string{"dance"}, 2, "usage: app"},
		{[]string{"serve", "now"}, 2, "usage: app"},
		{[]string{"migrate", "shrink"}, 2, "usage: app"},
	} {
		p, out := (&account{}).program(t, nil)
		require.Equal(t, c.exit, exitCode(p.run(t.Context(), c.args)), "%v", c.args)
		require.Contains(t, out.String(), c.says)
	}
}

func TestEverythingThatIsWrongIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	a := &account{
		secrets:    map[string]string{arn("short"): "short", arn("empty"): "", arn("app"): `{"username":"app","password":"hunter2-hunter2"`},
		parameters: map[string]string{"/loadbearing/dev/media/bucket": "media"},
	}
	p, _ := a.program(t, map[string]string{
		contract.EnvEnvironment:               "dev",
		contract.EnvColor:                     "red",
		contract.EnvHTTPAddr:                  "eighty",
		contract.EnvCAFile:                    "/does/not/exist",
		contract.DatabasePrimary.Env():        "db",
		contract.DatabaseAppSecret.Env():      arn("app"),
		contract.CacheEndpoint.Env():          "cache:0",
		contract.CacheSecret.Env():            arn("empty"),
		contract.JobsQueue.Env():              "jobs",
		contract.EventsTopic.Env():            "arn:aws:sqs:eu-central-1:000000000000:events",
		contract.AuthSecret.Env():             arn("short"),
		"LOADBEARING_DRAIN_DELAY":             "soon",
		"LOADBEARING_DATABASE_CONNECTIONS":    "0",
		"LOADBEARING_SOMETHING_ELSE_ENTIRELY": "x",
	})
	err := p.run(t.Context(), []string{"serve"})
	require.Equal(t, 2, exitCode(err))
	for _, want := range []string{
		`LOADBEARING_COLOR is "red"`, `LOADBEARING_HTTP_ADDR is "eighty"`, "LOADBEARING_CA_FILE", "LOADBEARING_DRAIN_DELAY", "LOADBEARING_DATABASE_CONNECTIONS",
		`LOADBEARING_DATABASE_PRIMARY (or SSM parameter /loadbearing/dev/database/primary) is "db": want host:port`,
		"LOADBEARING_DATABASE_NAME (or SSM parameter /loadbearing/dev/database/name) is not set",
		"LOADBEARING_DATABASE_APP_SECRET", "LOADBEARING_CACHE_ENDPOINT", "LOADBEARING_CACHE_SECRET", "LOADBEARING_JOBS_QUEUE", "LOADBEARING_EVENTS_TOPIC",
		"at least 32 bytes, it has 5",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, err.Error(), "MEDIA_BUCKET", "it comes from its parameter")
	require.NotContains(t, err.Error(), "ADMIN", "serve does not need it")
	require.Len(t, strings.Split(err.Error(), "\n"), 14)
}

// deployed returns the environment of a process on a migrated database.
func deployed(t *testing.T) (*account, map[string]string) {
	t.Helper()
	db := dbtest.New(t)
	a := &account{secrets: map[string]string{
		arn("app"):   fmt.Sprintf(`{"username":%q,"password":%q}`, db.Config.Username, db.Config.Password),
		arn("admin"): fmt.Sprintf(`{"username":%q,"password":%q}`, db.Owner.Username, db.Owner.Password),
		arn("cache"): "a token nobody asks for",
		arn("auth"):  "a secret of at least thirty-two bytes",
	}}
	return a, map[string]string{
		contract.EnvEnvironment:            "dev",
		contract.EnvInstanceID:             "i-1",
		contract.EnvColor:                  "green",
		contract.EnvHTTPAddr:               free(t),
		contract.EnvMetricsAddr:            free(t),
		contract.DatabasePrimary.Env():     db.Config.Address,
		contract.DatabaseName.Env():        db.Config.Database,
		contract.DatabaseAppSecret.Env():   arn("app"),
		contract.DatabaseAdminSecret.Env(): arn("admin"),
		contract.CacheEndpoint.Env():       "127.0.0.1:1",
		contract.CacheSecret.Env():         arn("cache"),
		contract.MediaBucket.Env():         "media",
		contract.JobsQueue.Env():           "http://127.0.0.1:1/000000000000/jobs",
		contract.EventsTopic.Env():         "arn:aws:sns:eu-central-1:000000000000:events",
		contract.AuthSecret.Env():          arn("auth"),
		"LOADBEARING_DRAIN_DELAY":          "300ms",
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	a, env := deployed(t)
	p, out := a.program(t, env)
	require.NoError(t, p.run(t.Context(), []string{"migrate"}))
	require.Contains(t, out.String(), "0 migrations applied, 0 missing")
	require.NoError(t, p.run(t.Context(), []string{"migrate", "expand"}))
	require.NoError(t, p.run(t.Context(), []string{"migrate", "contract"}))
}

func status(url string) int {
	res, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func TestAProcessStartsDrainsAndStops(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "work"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			a, env := deployed(t)
			p, out := a.program(t, env)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			begin := time.Now()
			go func() { ended <- p.run(ctx, []string{command}) }()

			url := "http://" + env[contract.EnvHTTPAddr]
			require.Eventually(t, func() bool { return status(url+contract.PathReady) == 200 }, 5*time.Second, 2*time.Millisecond, out)
			t.Logf("ready after %v", time.Since(begin))
			require.Equal(t, 200, status(url+contract.PathHealth))
			require.Equal(t, 200, status(url+contract.PathVersion))
			require.Equal(t, 404, status(url+"/metrics"), "metrics are not public")
			require.Equal(t, 200, status("http://"+env[contract.EnvMetricsAddr]+"/metrics"))
			require.NotContains(t, a.calls, "AmazonSSM.GetParametersByPath", "the environment holds everything")

			stop()
			require.Eventually(t, func() bool { return status(url+contract.PathReady) == 503 }, 5*time.Second, 2*time.Millisecond, "it drains before it goes")
			require.Equal(t, 200, status(url+contract.PathHealth), "it serves while it drains")
			select {
			case err := <-ended:
				require.NoError(t, err, out)
			case <-time.After(10 * time.Second):
				t.Fatal("it does not stop: " + out.String())
			}
			require.Zero(t, status(url+contract.PathHealth))
			for _, secret := range a.secrets {
				require.NotContains(t, out.String(), secret)
			}
		})
	}
}

func TestTheAPIHasTheLimitsThatAreSet(t *testing.T) {
	t.Parallel()
	a, env := deployed(t)
	env[settings.EnvTenantQuota], env[settings.EnvImageBytes], env[settings.EnvVideoBytes] = "50", "10", "100"
	env[settings.EnvStreamsPerUser], env[settings.EnvHeartbeat], env[settings.EnvShutdownTimeout] = "1", "1s", "1s"
	p, out := a.program(t, env)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, []string{"serve"}) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	url := "http://" + env[contract.EnvHTTPAddr]
	require.Eventually(t, func() bool { return status(url+contract.PathReady) == 200 }, 5*time.Second, 2*time.Millisecond, out)

	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar}
	send := func(method, path, media, body string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", media)
		req.Header.Set("X-Filename", "x")
		res, err := client.Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	const account = `"email":"a@example.com","password":"correct horse battery staple"`
	require.Equal(t, 201, send("POST", "/v1/auth/register", "application/json", `{"tenant_name":"A",`+account+`}`).StatusCode)
	require.Equal(t, 200, send("POST", "/v1/auth/login", "application/json", `{`+account+`}`).StatusCode)
	var project struct{ ID string }
	require.NoError(t, json.NewDecoder(send("POST", "/v1/projects", "application/json", `{"name":"P"}`).Body).Decode(&project))
	in := "/v1/projects/" + project.ID
	require.Equal(t, 413, send("POST", in+"/images", "image/png", "eleven byte").StatusCode)
	require.Equal(t, 413, send("POST", in+"/videos", "video/mp4", strings.Repeat("x", 101)).StatusCode)
	var full struct{ Code app.Code }
	require.NoError(t, json.NewDecoder(send("POST", in+"/videos", "video/mp4", strings.Repeat("x", 51)).Body).Decode(&full))
	require.Equal(t, app.CodeQuotaExceeded, full.Code)

	stream := bufio.NewReader(send("GET", "/v1/events", "", "").Body)
	require.Equal(t, 429, send("GET", "/v1/events", "", "").StatusCode)
	begin := time.Now()
	for line := ""; line != ":\n"; { // a comment is the sign of life
		line, err = stream.ReadString('\n')
		require.NoError(t, err)
	}
	require.Less(t, time.Since(begin), 10*time.Second, "the default's heartbeat takes longer")
}

// An instance of a group says how busy it is until it drains, and serves
// whatever CloudWatch makes of it.
func TestAnInstanceOfAGroupPublishesItsConnections(t *testing.T) {
	t.Parallel()
	a, env := deployed(t)
	env[contract.EnvGroup], env[contract.EnvConnectionsInterval] = "loadbearing-dev-web-green", "1s"
	p, out := a.program(t, env)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, []string{"serve"}) }()
	published := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return slices.ContainsFunc(a.calls, func(call string) bool { return strings.HasSuffix(call, "/operation/PutMetricData") })
	}
	require.Eventually(t, published, 10*time.Second, 2*time.Millisecond, out)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "the group does not see") }, 10*time.Second, 2*time.Millisecond, out)
	url := "http://" + env[contract.EnvHTTPAddr]
	require.Equal(t, 200, status(url+contract.PathReady))
	res, err := http.Get("http://" + env[contract.EnvMetricsAddr] + "/metrics")
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(text), "loadbearing_active_connections_mean 0")
	require.Contains(t, string(text), "loadbearing_http_open_connections 1", "the one kept alive between requests")
	require.Contains(t, string(text), "loadbearing_http_active_connections 0")
	stop()
	require.NoError(t, <-ended, out)
}

func TestATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	a, env := deployed(t)
	l, err := net.Listen("tcp", env[contract.EnvHTTPAddr])
	require.NoError(t, err)
	defer l.Close()
	p, _ := a.program(t, env)
	err = p.run(t.Context(), []string{"serve"})
	require.Equal(t, 1, exitCode(err))
	require.ErrorContains(t, err, l.Addr().String())
}

// What wraps the handler sees every request, and the version is the program's own.
func TestAProgramOfTheServiceHasItsOwnHandlerAndVersion(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "work"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			a, env := deployed(t)
			p, out := a.program(t, env)
			p.options = Options{Version: "v1.2.3-bad", Handler: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path == contract.PathReady {
						w.WriteHeader(http.StatusTeapot)
						return
					}
					next.ServeHTTP(w, req)
				})
			}}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- p.run(ctx, []string{command}) }()
			defer func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			url := "http://" + env[contract.EnvHTTPAddr]
			require.Eventually(t, func() bool { return status(url+contract.PathReady) == http.StatusTeapot }, 5*time.Second, 2*time.Millisecond, out)
			res, err := http.Get(url + contract.PathVersion)
			require.NoError(t, err)
			defer res.Body.Close()
			var says struct{ Version string }
			require.NoError(t, json.NewDecoder(res.Body).Decode(&says))
			require.Equal(t, "v1.2.3-bad", says.Version)
			require.Contains(t, out.String(), `"version":"v1.2.3-bad"`)
			require.Equal(t, 200, status("http://"+env[contract.EnvMetricsAddr]+"/metrics"))
		})
	}
}
