// Package emulator runs the control plane of the laptop's AWS: MiniStack,
// pinned and extended by this project, as a process on the loopback interface.
// It also attaches to an emulator that somebody else runs, and knows which
// resource types an emulator's CloudFormation takes.
//
// The extension, in the folder of that name, is a small Python package that
// registers with MiniStack what it lacks before it starts. Each of its modules
// names one gap and checks at start that upstream still has it.
package emulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/loadbearing/loadbearing/local/process"
)

// Account is the account every emulator answers with; AWS has no such account.
const Account = "000000000000"

// Emulators accept any credentials; these are what their documentation uses.
const (
	AccessKey     = "test"
	SecretKey     = "test"
	DefaultRegion = "us-east-1"
)

// Ports of the real services, where the emulator says the databases and caches
// are, count up from these; a port that is taken is passed over.
const (
	DefaultDatabasePort = 15432
	DefaultCachePort    = 16379
)

// DefaultStartTimeout is how long Start waits for the emulator to be healthy.
// It takes about a second; the first start on a slow disk compiles Python.
const DefaultStartTimeout = 60 * time.Second

// Options says how to run MiniStack.
type Options struct {
	Runner       *process.Runner // required
	Python       Python          // required, from Install
	Port         int             // on 127.0.0.1; 0 takes a free one
	RunDir       string          // home and temporary files; required, emptied at start
	Region       string          // default DefaultRegion
	DatabasePort int             // first port of DB instances; default DefaultDatabasePort
	CachePort    int             // first port of caches; default DefaultCachePort
	Env          []string        // more environment, for the Lambda functions, which inherit it
	Timeout      time.Duration   // default DefaultStartTimeout
}

// Emulator is a running emulator.
type Emulator struct {
	URL     string // http://127.0.0.1:4566
	Region  string
	Name    string // NameMiniStack, NameLocalStack or NameUnknown
	Version string // empty when it does not say

	// Extended tells that it is MiniStack with this project's extension, which
	// takes every resource type of the stacks.
	Extended bool
	// Edition is what it calls itself beside its version, as "community".
	Edition string
	// RunsLambda is false for an emulator that takes functions and cannot run
	// them, as LocalStack without Docker.
	RunsLambda bool

	process *process.Process // nil when somebody else runs it
}

// Start runs MiniStack and returns when it answers. It inherits nothing of the
// caller's environment but PATH: no credentials, no proxies.
func Start(ctx context.Context, o Options) (*Emulator, error) {
	if o.Region == "" {
		o.Region = DefaultRegion
	}
	if o.DatabasePort == 0 {
		o.DatabasePort = DefaultDatabasePort
	}
	if o.CachePort == 0 {
		o.CachePort = DefaultCachePort
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultStartTimeout
	}
	for attempt := 1; ; attempt++ {
		e, err := start(ctx, o)
		// A port that was free may be a connection's a moment later.
		if err == nil || o.Port != 0 || attempt == startAttempts || !errors.Is(err, errPortTaken) {
			return e, err
		}
	}
}

// startAttempts is how many ports Start tries when it may choose one.
const startAttempts = 5

// errPortTaken says that the emulator found its port in use.
var errPortTaken = errors.New("its port is in use")

func start(ctx context.Context, o Options) (*Emulator, error) {
	port, err := FreePort(o.Port)
	if err != nil {
		return nil, err
	}
	run, err := filepath.Abs(o.RunDir)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	tmp := filepath.Join(run, "tmp")
	// What a crashed emulator unpacked there, function code above all.
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("emulator: empty its folder: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, fmt.Errorf("emulator: make its folder: %w", err)
	}

	e := &Emulator{URL: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Region: o.Region}
	env := append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + run,
		"TMPDIR=" + tmp,
		"PYTHONPATH=" + o.Python.extension,
		"PYTHONUNBUFFERED=1",
		"BIND_HOST=127.0.0.1", // it binds every address otherwise
		"GATEWAY_PORT=" + strconv.Itoa(port),
		"LAMBDA_EXECUTOR=local",
		"RDS_BASE_PORT=" + strconv.Itoa(o.DatabasePort),
		"ELASTICACHE_BASE_PORT=" + strconv.Itoa(o.CachePort),
		"IOT_MTLS_ENABLED=0", // listeners of services the project has no use for
		"SFTP_ENABLED=0",
		"MINISTACK_EDITION=" + o.Python.edition,
		"MINISTACK_REGION=" + o.Region,
	}, e.Environ()...)
	p, err := o.Runner.Start(process.Spec{
		Name: "emulator",
		Path: o.Python.env.Executable(),
		Args: []string{"-m", "loadbearing_emulator"},
		Env:  append(env, o.Env...),
		Dir:  run,
	})
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	if err := e.supervise(ctx, p, o.Timeout); err != nil {
		return nil, err
	}
	return e, nil
}

// Run makes an Emulator of a process that serves url, and waits until it is
// healthy. It is how other emulators than MiniStack are started.
func Run(ctx context.Context, p *process.Process, url, region string, timeout time.Duration) (*Emulator, error) {
	e := &Emulator{URL: url, Region: region}
	if err := e.supervise(ctx, p, timeout); err != nil {
		return nil, err
	}
	return e, nil
}

// supervise waits until the emulator is healthy, or stops it.
func (e *Emulator) supervise(ctx context.Context, p *process.Process, timeout time.Duration) error {
	e.process = p
	if err := e.waitHealthy(ctx, timeout); err != nil {
		e.Stop(context.WithoutCancel(ctx))
		return err
	}
	return nil
}

func (e *Emulator) waitHealthy(ctx context.Context, timeout time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if last = e.identify(waiting); last == nil {
			if e.Name != NameUnknown {
				return nil
			}
			last = errors.New("what answers there is no emulator")
		}
		select {
		case <-e.process.Done():
			if strings.Contains(e.process.Tail(20), "is already in use") {
				return fmt.Errorf("emulator: %s: %w", e.URL, errPortTaken)
			}
			return fmt.Errorf("emulator: it ended before it answered (%w); the end of %s:\n%s",
				cmp.Or(e.process.Err(), errors.New("exit status 0")), e.process.Log, e.process.Tail(20))
		case <-waiting.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("emulator: waiting for %s: %w", e.URL, ctx.Err())
			}
			return fmt.Errorf("emulator: it was not healthy at %s within %v (%w); the end of %s:\n%s",
				e.URL, timeout, last, e.process.Log, e.process.Tail(20))
		case <-tick.C:
		}
	}
}

// Attach uses an emulator that somebody else runs and finds out which it is.
func Attach(ctx context.Context, endpoint string) (*Emulator, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("emulator: %q is no URL of an emulator; it looks like http://127.0.0.1:4566", endpoint)
	}
	if host := u.Hostname(); host == "amazonaws.com" || strings.HasSuffix(host, ".amazonaws.com") {
		return nil, fmt.Errorf("emulator: %s is AWS itself, not an emulator", endpoint)
	}
	e := &Emulator{URL: strings.TrimRight(endpoint, "/"), Region: DefaultRegion}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := e.identify(ctx); err != nil {
		return nil, fmt.Errorf("emulator: nothing answers at %s: %w", endpoint, err)
	}
	return e, nil
}

// Stop ends an emulator that Start began, and its functions, which are children
// of it in its process group. One that somebody
// else runs goes on.
func (e *Emulator) Stop(ctx context.Context) {
	if e.process != nil {
		e.process.Stop(ctx)
	}
}

// Process is the emulator's process, nil when somebody else runs it.
func (e *Emulator) Process() *process.Process { return e.process }

// IsLoopback tells whether the emulator is on this machine: faults and load
// are only for those.
func (e *Emulator) IsLoopback() bool {
	u, err := url.Parse(e.URL)
	if err != nil {
		return false
	}
	if u.Hostname() == "localhost" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// Environ is the environment for programs that talk to the emulator: its
// endpoint, the region and credentials.
func (e *Emulator) Environ() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + e.URL,
		// The CDK's asset uploads honour only the service's own variable.
		"AWS_ENDPOINT_URL_S3=" + e.URL,
		"AWS_ACCESS_KEY_ID=" + AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"AWS_REGION=" + e.Region,
		"AWS_DEFAULT_REGION=" + e.Region,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// AWSConfig is the AWS SDK's configuration for the emulator.
func (e *Emulator) AWSConfig() aws.Config {
	return aws.Config{
		Region:       e.Region,
		BaseEndpoint: aws.String(e.URL),
		Credentials:  credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
		HTTPClient:   &http.Client{Timeout: time.Minute},
	}
}

// FreePort checks that a port of 127.0.0.1 is free, or finds one for 0.
func FreePort(port int) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // Binding to loopback does not wait.
	if err != nil {
		return 0, fmt.Errorf("emulator: port %d is taken (%w); choose another with AWS_PORT=…, or use what runs there with AWS_ENDPOINT_URL=http://127.0.0.1:%d",
			port, err, port)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
