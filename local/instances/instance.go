package instances

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/process"
)

// instance is an Instance and what its goroutine needs. The fields up to done
// are guarded by Manager.mu.
type instance struct {
	Instance
	port         int
	begun        time.Time // when it was launched, or left the warm pool
	targetGroups []string  // where it is registered
	ended        time.Time
	leaving      string        // why it was asked to go
	failed       bool          // it ended by itself
	marked       bool          // SetInstanceHealth says Unhealthy
	order        string        // a lifecycle state that the API asks for, or ""
	waiting      []*waiting    // lifecycle actions
	starting     *activity     // its launch
	ending       *activity     // its termination
	moves        chan State    // to Standby, and back to InService
	warm         bool          // begins in the warm pool
	leave        chan struct{} // closed when it leaves the warm pool
	reuse        bool          // returns to the warm pool instead of being terminated

	group    *group
	template *types.LaunchTemplateSpecification
	stop     context.CancelFunc // of booted
	booted   context.Context    // done when the instance is asked to go
}

// active tells that an instance is part of its group's capacity. Manager.mu is held.
func (i *instance) active() bool {
	return i.leaving == "" && (i.State == Pending || i.State == InService)
}

// terminate asks an instance to go. Manager.mu is held.
func (g *group) terminate(i *instance, reason, cause string, now time.Time) {
	if i.leaving != "" || i.State == Terminated {
		return
	}
	lifecycle := "Terminating"
	if i.State == Warm {
		lifecycle = "Warmed:Terminating"
	}
	i.leaving, i.State, i.Lifecycle, i.Reason = reason, Draining, lifecycle, reason
	if i.ending == nil {
		i.ending = g.newActivity("Terminating EC2 instance: "+i.ID, cause, statusInProgress, now)
	}
	i.stop()
}

// start launches one more instance of a group, from its warm pool when that has
// one. m.mu is held.
func (m *Manager) start(g *group, cause string, now time.Time) {
	if i := g.warmed(); i != nil {
		i.starting = g.newActivity("Launching a new EC2 instance from warm pool: "+i.ID, cause, statusPreInServe, now)
		i.State, i.Lifecycle, i.warm, i.begun = Pending, "Pending", false, now
		close(i.leave)
		return
	}
	i := g.newInstance(Pending, "Pending", now)
	i.starting = g.newActivity("Launching a new EC2 instance: "+i.ID, cause, statusPreInServe, now)
	i.starting.goOn(statusPreInServe, 30)
	m.wg.Go(func() { m.live(i) })
}

// newInstance adds an instance to a group. Manager.mu is held.
func (g *group) newInstance(state State, lifecycle string, now time.Time) *instance {
	i := &instance{
		Instance: Instance{ID: newID(), Group: g.name, State: state, Lifecycle: lifecycle, Launched: now, Protected: g.protect},
		begun:    now, group: g, template: g.template, moves: make(chan State, 1), leave: make(chan struct{}), warm: state == Warm,
	}
	i.booted, i.stop = context.WithCancel(context.Background())
	g.instances = append(g.instances, i)
	return i
}

// newID is an instance id in the long form of EC2.
func newID() string {
	var b [9]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return "i-" + hex.EncodeToString(b[:])[:17]
}

// live is an instance's whole life. One that returns to the warm pool begins anew.
func (m *Manager) live(i *instance) {
	defer func() { i.stop() }()
	for again := true; again; {
		var p *process.Process
		var err error
		if i.warm {
			err = m.warm(i)
		}
		if err == nil && i.booted.Err() == nil {
			p, err = m.boot(i)
		}
		for err == nil && i.booted.Err() == nil {
			select {
			case <-p.Done():
				err = fmt.Errorf("%w: %w; the end of %s:\n%s", errEnded, cmp.Or(p.Err(), errors.New("exit status 0")), p.Log, p.Tail(20))
			case to := <-i.moves:
				err = m.move(i, to)
			case <-i.booted.Done():
			}
		}
		again = m.end(i, p, err)
	}
}

// boot runs the artifact, waits until it is ready and registers it.
func (m *Manager) boot(i *instance) (*process.Process, error) {
	m.hold(i, launching, "Pending:Wait", i.starting)
	ctx, cancel := context.WithTimeout(i.booted, m.o.BootTimeout)
	defer cancel()
	l, err := m.resolve(ctx, i.template)
	if err != nil {
		return nil, err
	}
	ports, err := process.FreePorts(2)
	if err != nil {
		return nil, err
	}
	httpAddr, metricsAddr := loopback(ports[0]), loopback(ports[1])
	tmp := filepath.Join(m.o.RunDir, "tmp", i.ID)
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	env := maps.Clone(l.environment)
	// What the launch template knows of the machine holds on EC2 only.
	maps.Copy(env, map[string]string{
		contract.EnvHTTPAddr:        httpAddr,
		contract.EnvMetricsAddr:     metricsAddr,
		contract.EnvInstanceID:      i.ID,
		"AWS_EC2_METADATA_DISABLED": "true",
		"PATH":                      "/usr/bin:/bin",
		"TMPDIR":                    tmp,
	})
	maps.Copy(env, m.o.Env)
	var environ []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		environ = append(environ, name+"="+env[name])
	}
	fleet, color := env[contract.EnvFleet], env[contract.EnvColor]
	p, err := m.exec(ctx, process.Spec{
		Name: fleet + "-" + color + "-" + i.ID, Path: l.path, Args: []string{env[contract.EnvCommand]},
		Env: environ, Dir: tmp, Grace: m.stopLimit(i),
	})
	if err != nil {
		return nil, err
	}
	m.update(func() {
		i.PID, i.Fleet, i.Color = p.PID, fleet, color
		i.port, i.URL, i.MetricsURL = ports[0], "http://"+httpAddr, "http://"+metricsAddr
		i.TemplateVersion, i.SHA256 = l.templateVersion, l.artifact.SHA256
	})
	version, err := m.awaitReady(ctx, p, "http://"+httpAddr)
	if err != nil {
		return p, err
	}
	m.complete(i, contract.HookBoot)
	if err := m.released(i.booted, i); err != nil {
		return p, err
	}
	m.update(func() {
		if i.leaving == "" {
			i.Lifecycle = "Pending"
		}
	})
	m.update(func() { i.Version = version })
	if err := m.enter(ctx, i); err != nil || i.booted.Err() != nil {
		return p, err
	}
	m.o.Log.Info("instance in service", "instance", i.ID, "group", i.Group, "version", version,
		"url", "http://"+httpAddr, "after", time.Since(i.begun).Round(time.Millisecond))
	return p, nil
}

// exec starts a program that may have been written a moment ago: a child that
// was forked meanwhile, for another program, holds the file open for writing
// until it executes (go.dev/issue/22315).
func (m *Manager) exec(ctx context.Context, spec process.Spec) (*process.Process, error) {
	for {
		p, err := m.o.Runner.Start(spec)
		if !errors.Is(err, syscall.ETXTBSY) {
			return p, err
		}
		retry := time.NewTimer(readyPoll)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, err
		}
	}
}

// enter registers an instance and puts it into service, unless it was asked to go.
func (m *Manager) enter(ctx context.Context, i *instance) error {
	for _, arn := range m.targetGroups(i) {
		if _, err := m.o.API.Targets.RegisterTargets(ctx, &elb.RegisterTargetsInput{
			TargetGroupArn: &arn, Targets: []elbtypes.TargetDescription{i.target()},
		}); err != nil {
			return fmt.Errorf("register with target group %s: %w", arn, err)
		}
		m.update(func() { i.targetGroups = append(i.targetGroups, arn) })
	}
	m.update(func() {
		if i.leaving == "" {
			i.State, i.Lifecycle, i.Served = InService, string(types.LifecycleStateInService), time.Now()
			i.starting.end(statusSuccessful, "", i.Served)
			i.group.problem = ""
		}
	})
	return nil
}

// move takes an instance into standby, in which it runs and gets no requests,
// or back into service.
func (m *Manager) move(i *instance, to State) error {
	if to == InService {
		return m.enter(i.booted, i)
	}
	var registered []string
	m.update(func() { registered, i.targetGroups = i.targetGroups, nil })
	m.drain(i, registered, true)
	m.update(func() {
		if i.leaving == "" {
			i.Lifecycle = string(types.LifecycleStateStandby)
		}
	})
	m.o.Log.Info("instance in standby", "instance", i.ID, "group", i.Group)
	return nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (m *Manager) update(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.touch()
}

// targetGroups are those of the instance's group.
func (m *Manager) targetGroups(i *instance) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.group.suspended["AddToLoadBalancer"] {
		return nil
	}
	return slices.Clone(i.group.targetGroups)
}

func (m *Manager) stopLimit(i *instance) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return i.group.stopLimit(m.o.StopTimeout)
}

func (i *instance) target() elbtypes.TargetDescription {
	return elbtypes.TargetDescription{Id: &i.ID, Port: new(int32(i.port))}
}

// readyPoll is how often a booting instance is asked; it is ready in tenths of a second.
const readyPoll = 20 * time.Millisecond

// awaitReady asks until the instance is ready, and returns its version.
func (m *Manager) awaitReady(ctx context.Context, p *process.Process, url string) (version string, err error) {
	var last error
	for {
		select {
		case <-p.Done():
			return "", fmt.Errorf("%w before it was ready: %w; the end of %s:\n%s", errEnded, cmp.Or(p.Err(), errors.New("exit status 0")), p.Log, p.Tail(20))
		case <-ctx.Done():
			return "", fmt.Errorf("not ready after %v: %w; the end of %s:\n%s", m.o.BootTimeout, cmp.Or(last, ctx.Err()), p.Log, p.Tail(20))
		case <-time.After(readyPoll):
		}
		if _, last = m.get(ctx, url+contract.PathReady); last == nil {
			break
		}
	}
	body, err := m.get(ctx, url+contract.PathVersion)
	if err != nil {
		return "", fmt.Errorf("ask the instance for its version: %w", err)
	}
	var answer struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("ask the instance for its version: %s answers %q", contract.PathVersion, body)
	}
	return answer.Version, nil
}

func (m *Manager) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return body, nil
}

// end takes an instance out of service and stops it. err is why it must; when
// the instance was asked to go, it is nil or what that broke.
//
// A process that runs is asked to end once the load balancer sends it nothing
// new: it fails its readiness, tells its event streams to resume elsewhere, and
// finishes what it has begun.
//
// It returns true when the instance is in the warm pool then.
func (m *Manager) end(i *instance, p *process.Process, err error) (again bool) {
	running := p != nil && p.Running()
	m.mu.Lock()
	asked := i.leaving
	registered := slices.Clone(i.targetGroups)
	if asked == "" && i.State == InService {
		i.group.lost++
	}
	i.Reason, i.waiting = asked, nil
	if asked == "" {
		i.State, i.Lifecycle = Draining, "Terminating"
		i.Reason, _, _ = strings.Cut(err.Error(), "; the end of ") // the log is said once, not kept
		i.leaving, i.failed = i.Reason, true
		m.failed(i, err) // before anyone sees the gap it leaves: the next launch may have to wait
	} else {
		i.starting.end(statusCancelled, "The instance was terminated before it was in service: "+asked+".", time.Now())
		m.o.Log.Info("instance leaves", "instance", i.ID, "group", i.Group, "reason", asked)
	}
	if running && len(registered) > 0 {
		i.ending.goOn(statusDraining, 50)
	}
	m.touch()
	m.mu.Unlock()

	m.drain(i, registered, running)
	message := ""
	if running {
		message = m.shutDown(i, p)
	}
	_ = os.RemoveAll(filepath.Join(m.o.RunDir, "tmp", i.ID))
	m.update(func() {
		i.ending.end(statusSuccessful, message, time.Now())
		if again = i.reuse && m.open.Err() == nil; again {
			i.rejoin()
			return
		}
		i.State, i.Lifecycle, i.ended, i.waiting = Terminated, "Terminated", time.Now(), nil
	})
	return again
}

// shutDown ends the process of an instance that has been taken out of service,
// and returns what is to be said of it.
func (m *Manager) shutDown(i *instance, p *process.Process) (message string) {
	m.hold(i, terminating, "Terminating:Wait", i.ending)
	// The end of the run waits for no hook, and for no process longer than StopTimeout.
	held, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry := context.AfterFunc(m.open, cancel)
	defer hurry()
	stopping, kill := context.WithCancel(context.Background())
	defer kill()
	hurryKill := context.AfterFunc(m.open, func() { time.AfterFunc(m.o.StopTimeout, kill) })
	defer hurryKill()

	began := time.Now()
	if !p.Stop(stopping) {
		after := time.Since(began).Round(100 * time.Millisecond)
		m.o.Log.Warn("instance killed: it did not end after SIGTERM", "instance", i.ID, "group", i.Group, "after", after)
		message = fmt.Sprintf("The process did not end within %v after SIGTERM and was killed.", after)
	}
	m.complete(i, contract.HookDrain)
	if err := m.released(held, i); err != nil && !errors.Is(err, errAbandoned) { // it goes either way
		return message
	}
	m.update(func() { i.Lifecycle = "Terminating:Proceed" })
	return message
}

// failed says why an instance failed and spaces the next. m.mu is held.
func (m *Manager) failed(i *instance, err error) {
	g := i.group
	if errors.Is(err, errForeign) {
		g.foreign = true
		m.o.Log.Info("Auto Scaling group left alone", "group", g.name, "why", err)
		return
	}
	now := time.Now()
	var served time.Duration
	if !i.Served.IsZero() {
		served = now.Sub(i.Served)
		i.ending = g.newActivity("Terminating EC2 instance: "+i.ID,
			at(now, "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped."), statusInProgress, now)
	}
	wait := g.backoff.ended(now, served)
	g.problem = fmt.Sprintf("instance %s: %v", i.ID, err)
	i.starting.end(statusFailed, i.Reason, now)
	m.o.Log.Error("instance failed", "instance", i.ID, "group", g.name, "error", err, "next_after", wait.Round(time.Millisecond))
}

// drain deregisters an instance and, while it runs, waits until nothing new comes to it.
func (m *Manager) drain(i *instance, targetGroups []string, running bool) {
	ctx, cancel := context.WithTimeout(context.Background(), m.o.DrainTimeout)
	defer cancel()
	hurry := context.AfterFunc(m.open, func() { time.AfterFunc(m.o.ShutdownDrain, cancel) })
	defer hurry()
	var wg sync.WaitGroup
	for _, arn := range targetGroups {
		wg.Go(func() {
			call, cancel := context.WithTimeout(ctx, readTimeout)
			defer cancel()
			if _, err := m.o.API.Targets.DeregisterTargets(call, &elb.DeregisterTargetsInput{
				TargetGroupArn: &arn, Targets: []elbtypes.TargetDescription{i.target()},
			}); err != nil {
				m.o.Log.Warn("instance not deregistered", "instance", i.ID, "target_group", arn, "error", err)
				return // the load balancer has not heard of it, so there is no drain to wait for
			}
			if !running || m.o.LoadBalancer == nil {
				return
			}
			if err := m.o.LoadBalancer.Draining(ctx, arn, i.ID, i.port); err != nil {
				m.o.Log.Warn("instance stopped before its load balancer knew", "instance", i.ID, "target_group", arn, "error", err)
			}
		})
	}
	wg.Wait()
}
