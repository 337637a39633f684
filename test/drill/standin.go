package drill

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	gops "github.com/shirou/gopsutil/v4/process"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/process"
)

// StandIn runs what an instance of the fleet runs: the same artifact with the
// same environment, on ports of its own and with a Tap between it and AWS. It is
// killed when a drill says so and started again, as its Auto Scaling group would
// replace it, but at once.
type StandIn struct {
	Tap *Tap

	env     *Environment
	spec    process.Spec
	addr    string
	metrics string

	mu      sync.Mutex
	process *process.Process
	kills   int
	closed  bool
	started sync.WaitGroup
}

// grace is more than a process takes that drains as it should: a second, and
// then at most 25 for what is open.
const grace = 40 * time.Second

// Program is what an instance runs and with which environment.
type Program struct {
	name        string
	path        string
	args        []string
	environment map[string]string
}

// ProgramOf reads what an instance runs from its process.
func ProgramOf(i local.Instance) (Program, error) {
	p, err := gops.NewProcess(int32(i.PID))
	if err != nil {
		return Program{}, fmt.Errorf("look at instance %s (pid %d): %w", i.ID, i.PID, err)
	}
	what := Program{name: i.Fleet, environment: map[string]string{}}
	if what.path, err = p.Exe(); err != nil {
		return what, fmt.Errorf("look at instance %s (pid %d): its program: %w", i.ID, i.PID, err)
	}
	command, err := p.CmdlineSlice()
	if err != nil || len(command) == 0 {
		return what, fmt.Errorf("look at instance %s (pid %d): its command line: %w", i.ID, i.PID, err)
	}
	what.args = command[1:]
	environ, err := p.Environ()
	if err != nil {
		return what, fmt.Errorf("look at instance %s (pid %d): its environment: %w", i.ID, i.PID, err)
	}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		what.environment[name] = value
	}
	return what, nil
}

// Stand starts a stand-in and waits until it is ready. env is set over what the
// program has. It runs until Close.
func (e *Environment) Stand(ctx context.Context, p Program, n int, env map[string]string) (*StandIn, error) {
	name := fmt.Sprintf("drill-%s-%d", p.name, n)
	tap, err := NewTap(ctx, *e.AWS.BaseEndpoint, nil)
	if err != nil {
		return nil, err
	}
	ports, err := process.FreePorts(2)
	if err != nil {
		tap.Close()
		return nil, err
	}
	s := &StandIn{
		Tap: tap, env: e, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])),
		metrics: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[1])),
	}
	environment := maps.Clone(p.environment)
	maps.Copy(environment, map[string]string{
		contract.EnvHTTPAddr:    s.addr,
		contract.EnvMetricsAddr: s.metrics,
		contract.EnvInstanceID:  name,
		"AWS_ENDPOINT_URL":      tap.URL,
		"AWS_ENDPOINT_URL_S3":   tap.URL,
		"TMPDIR":                os.TempDir(), // the instance's own goes with it
	})
	maps.Copy(environment, env)
	var environ []string
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		environ = append(environ, name+"="+environment[name])
	}
	s.spec = process.Spec{Name: name, Path: p.path, Args: p.args, Env: environ, Dir: os.TempDir(), Grace: grace}
	if err := s.start(); err != nil {
		tap.Close()
		return nil, err
	}
	if err := s.AwaitReady(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// URL is where it serves: of a web instance the API, past CloudFront and the
// load balancer.
func (s *StandIn) URL() string { return "http://" + s.addr }

// Metrics returns the values of metrics that have no labels, by their names.
func (s *StandIn) Metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the metrics of %s: %w", s.spec.Name, err)
	}
	defer res.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = value
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("read the metrics of %s: there are none; status %s", s.spec.Name, res.Status)
	}
	return values, nil
}

// PID is the process that runs now, 0 when none does.
func (s *StandIn) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.PID
}

// Kills returns how often it was killed.
func (s *StandIn) Kills() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kills
}

func (s *StandIn) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.process != nil && s.process.Running() {
		return nil
	}
	p, err := s.env.Runner.Start(s.spec)
	if err != nil {
		return err
	}
	s.process = p
	return nil
}

// Kill kills the process as a crash would, and returns when it is gone. Another
// is started at once.
func (s *StandIn) Kill() {
	s.mu.Lock()
	p := s.process
	if s.closed || p == nil || !p.Running() {
		s.mu.Unlock()
		return
	}
	s.kills++
	s.started.Add(1)
	s.mu.Unlock()
	p.Kill()
	go func() {
		defer s.started.Done()
		_ = s.start() // AwaitReady says so when nothing comes
	}()
}

// Pause stops the process where it is, as one that hangs; Resume lets it go on.
func (s *StandIn) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *StandIn) Resume() { s.signal(syscall.SIGCONT) }

func (s *StandIn) signal(sig syscall.Signal) {
	if pid := s.PID(); pid > 1 {
		_ = syscall.Kill(pid, sig)
	}
}

// AwaitReady waits until it is ready.
func (s *StandIn) AwaitReady(ctx context.Context) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return Await(ctx, s.spec.Name+" is ready", func(ctx context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+contract.PathReady, nil)
		if err != nil {
			return false, err
		}
		res, err := client.Do(req)
		if err != nil {
			return false, err
		}
		return res.StatusCode == http.StatusOK, res.Body.Close()
	})
}

// Terminate asks the process to end, as the system asks it when its instance is
// taken out of service, and returns when it has. None takes its place.
func (s *StandIn) Terminate(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	p := s.process
	s.mu.Unlock()
	s.started.Wait()
	if p != nil && !p.Stop(ctx) {
		return fmt.Errorf("terminate %s: it did not end by itself within %v", s.spec.Name, s.spec.Grace)
	}
	return nil
}

// Close stops the process and its tap.
func (s *StandIn) Close() {
	s.mu.Lock()
	s.closed = true
	p := s.process
	s.mu.Unlock()
	s.started.Wait()
	if p != nil {
		p.Stop(context.Background())
	}
	s.Tap.Close()
}
