// Package instances is EC2 and the fleet side of EC2 Auto Scaling: it keeps as
// many processes as each deployed Auto Scaling group desires. What a process
// runs is read as an instance would read it when it boots: the launch
// template's user data has its environment, an SSM parameter names the
// artifact, S3 holds it. Each process has ports of its own on 127.0.0.1 and is
// registered with, and drained from, the group's target groups.
//
// As on AWS a running instance is left alone when its launch template or
// artifact changes: the next one gets the new.
package instances

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/loadbearing/loadbearing/local/process"
)

// State is where an instance is in its life.
type State string

// The states of an instance, in this order.
const (
	Pending    State = "pending"    // boots; not ready yet
	InService  State = "in-service" // ready and registered
	Draining   State = "draining"   // deregistered; finishes what it has
	Terminated State = "terminated"
)

// Instance is one process of a fleet.
type Instance struct {
	ID      string // "i-" and 17 hex digits
	PID     int    // 0 before it runs
	Fleet   string
	Color   string
	Version string // what GET /version says, "" before it is ready
	URL     string // http://127.0.0.1:port
	State   State

	Group           string // Auto Scaling group
	TemplateVersion string // of the launch template
	SHA256          string // of the artifact
	MetricsURL      string
	Launched        time.Time
	Served          time.Time // since when it is in service; zero before
	Reason          string    // why it drains or was terminated
}

// LoadBalancer is what the local load balancer knows about a target: an
// instance's id and port in a target group.
type LoadBalancer interface {
	// Drained returns nil as soon as a deregistered target has no request left,
	// or when its deregistration delay is over. An error says that ctx ended first.
	Drained(ctx context.Context, targetGroupARN, instanceID string, port int) error
	// Unhealthy tells that the target has failed its health checks. A target
	// that is unknown, or not checked yet, is not unhealthy.
	Unhealthy(targetGroupARN, instanceID string, port int) bool
}

// Options of a Manager. API, Runner and RunDir are required.
type Options struct {
	API          API
	Runner       *process.Runner
	RunDir       string            // keeps downloaded artifacts and the instances' temporary files
	Env          map[string]string // given to each instance over what its launch template says: endpoint URLs, credentials, region, CA file
	LoadBalancer LoadBalancer      // nil when none runs: nobody is waited for and nobody is unhealthy
	Log          *slog.Logger      // default slog.Default

	Poll          time.Duration // how often the groups are read; default 500 ms
	BootTimeout   time.Duration // until an instance is ready; default 60 s
	DrainTimeout  time.Duration // until Drained; default 310 s, the longest default of a target group and a little
	StopTimeout   time.Duration // from SIGTERM to SIGKILL; default 30 s
	ShutdownDrain time.Duration // what is left of DrainTimeout once Run's ctx is done; default 5 s
}

// Manager keeps the instances.
type Manager struct {
	o      Options
	client *http.Client
	wg     sync.WaitGroup // instances

	downloads sync.Mutex

	mu          sync.Mutex
	groups      map[string]*group
	changed     chan struct{} // closed and replaced at every change
	read        bool          // the groups have been read once
	unreachable error         // of the last reading

	open context.Context // done once Run ends
	shut context.CancelFunc
}

// group is what is known of one Auto Scaling group.
type group struct {
	name         string
	desired      int
	template     *types.LaunchTemplateSpecification
	targetGroups []string
	replaceSick  bool          // health check type ELB
	grace        time.Duration // before health counts
	foreign      bool          // not a fleet of this service
	instances    []*instance
	backoff      backoff
	problem      string // why the last launch failed
}

// New returns a Manager; Run makes it work.
func New(o Options) *Manager {
	o.Poll = cmp.Or(o.Poll, 500*time.Millisecond)
	o.BootTimeout = cmp.Or(o.BootTimeout, time.Minute)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 310*time.Second)
	o.StopTimeout = cmp.Or(o.StopTimeout, 30*time.Second)
	o.ShutdownDrain = cmp.Or(o.ShutdownDrain, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	m := &Manager{
		o: o, groups: map[string]*group{}, changed: make(chan struct{}),
		// A connection for each request, as health checks make them: a process
		// that drains has no idle connection of ours to wait for.
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second},
	}
	m.open, m.shut = context.WithCancel(context.Background())
	return m
}

// readTimeout is the longest that reading the groups may take, for an emulator that hangs.
const readTimeout = 10 * time.Second

// Run follows the groups until ctx is done; then it drains and stops every
// instance and returns; call it once. An emulator that cannot be reached is said once;
// instances run on and the groups are followed again when it is back.
func (m *Manager) Run(ctx context.Context) {
	tick := time.NewTicker(m.o.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := m.change() // what changes while the groups are read counts too
		m.reconcile(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-changed:
		}
	}
	m.shut()
	m.mu.Lock()
	for _, g := range m.groups {
		for _, i := range g.instances {
			i.terminate("the local run ends")
		}
	}
	m.mu.Unlock()
	m.wg.Wait()
}

// change is closed when an instance has changed: what follows from it need not
// wait for the next tick.
func (m *Manager) change() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Instances returns the instances, by fleet, color and launch; those
// terminated within the last minute included.
func (m *Manager) Instances() []Instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Instance
	for _, g := range m.groups {
		for _, i := range g.instances {
			all = append(all, i.Instance)
		}
	}
	slices.SortFunc(all, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Fleet, b.Fleet), cmp.Compare(a.Color, b.Color), a.Launched.Compare(b.Launched), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Problems says what is wrong now, one sentence each, or nothing.
func (m *Manager) Problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.problems()
}

func (m *Manager) problems() []string {
	var all []string
	if m.unreachable != nil {
		all = append(all, unreachable(m.unreachable))
	}
	for _, name := range slices.Sorted(maps.Keys(m.groups)) {
		if g := m.groups[name]; g.problem != "" {
			all = append(all, "Auto Scaling group "+name+": "+g.problem)
		}
	}
	return all
}

func unreachable(err error) string {
	return fmt.Sprintf("the Auto Scaling groups cannot be read, instances stay as they are: %v; is the emulator at AWS_ENDPOINT_URL running? `make status` shows, `make down` and `make up` start anew", err)
}

// Settled returns nil once every group has exactly the instances it desires
// in service. When ctx ends first, the error says what is missing and why.
func (m *Manager) Settled(ctx context.Context) error {
	for {
		m.mu.Lock()
		missing, problems, changed := m.missing(), m.problems(), m.changed
		m.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the instances: %w: %s", context.Cause(ctx), strings.Join(append(missing, problems...), "; "))
		}
	}
}

func (m *Manager) missing() []string {
	if !m.read {
		return []string{"the Auto Scaling groups have not been read"}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[name]
		if g.foreign {
			continue
		}
		var serving, other int
		for _, i := range g.instances {
			switch i.State {
			case InService:
				serving++
			case Pending, Draining:
				other++
			}
		}
		if serving != g.desired || other > 0 {
			all = append(all, fmt.Sprintf("Auto Scaling group %s has %d of %d instances in service and %d starting or draining", name, serving, g.desired, other))
		}
	}
	return all
}

// touch tells those who wait that something changed. m.mu is held.
func (m *Manager) touch() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// reconcile reads the groups and starts and ends instances accordingly.
func (m *Manager) reconcile(ctx context.Context) {
	deployed, err := m.readGroups(ctx)
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if m.unreachable == nil {
			m.o.Log.Error(unreachable(err))
			m.touch()
		}
		m.unreachable = err
	} else {
		if m.unreachable != nil {
			m.unreachable = nil
			m.o.Log.Info("the Auto Scaling groups can be read again")
			m.touch()
		}
		m.adopt(deployed)
	}
	now := time.Now()
	for name, g := range m.groups {
		g.forget(now)
		m.replaceSick(g, now)
		m.follow(g, now)
		if g.desired == 0 && len(g.instances) == 0 && deployed[name] == nil && err == nil {
			delete(m.groups, name)
		}
	}
	if err == nil && !m.read {
		m.read = true
		m.touch()
	}
}

func (m *Manager) readGroups(ctx context.Context) (map[string]*types.AutoScalingGroup, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	deployed := map[string]*types.AutoScalingGroup{}
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(m.o.API.Groups, &autoscaling.DescribeAutoScalingGroupsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range page.AutoScalingGroups {
			deployed[aws.ToString(g.AutoScalingGroupName)] = &g
		}
	}
	return deployed, nil
}

// adopt takes over what is deployed. A group that is gone desires nothing.
func (m *Manager) adopt(deployed map[string]*types.AutoScalingGroup) {
	for name, g := range m.groups {
		if deployed[name] == nil {
			g.desired, g.problem = 0, ""
		}
	}
	for name, d := range deployed {
		g := m.groups[name]
		if g == nil {
			g = &group{name: name}
			m.groups[name] = g
			m.wg.Go(func() { m.clear(d.TargetGroupARNs) })
		}
		desired := int(aws.ToInt32(d.DesiredCapacity))
		if g.desired != desired {
			m.o.Log.Info("desired capacity", "group", name, "from", g.desired, "to", desired)
			g.desired = desired
			m.touch()
		}
		if t := templateOf(*d); g.template == nil || t == nil || templateKey(g.template) != templateKey(t) {
			g.template, g.foreign = t, false
			g.backoff = backoff{}
		}
		g.targetGroups = d.TargetGroupARNs
		g.replaceSick = aws.ToString(d.HealthCheckType) == "ELB"
		g.grace = time.Duration(aws.ToInt32(d.HealthCheckGracePeriod)) * time.Second
	}
}

func templateKey(t *types.LaunchTemplateSpecification) [3]string {
	return [3]string{aws.ToString(t.LaunchTemplateId), aws.ToString(t.LaunchTemplateName), aws.ToString(t.Version)}
}

// clear takes out of target groups the instances of an earlier run, which
// ended without draining them. It runs before any instance of this one can be
// ready, and leaves out those all the same.
func (m *Manager) clear(targetGroups []string) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	for _, arn := range targetGroups {
		out, err := m.o.API.Targets.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &arn})
		if err != nil {
			m.o.Log.Warn("targets of an earlier run may be left", "target_group", arn, "error", err)
			continue
		}
		ours := map[string]bool{}
		for _, i := range m.Instances() {
			ours[i.ID] = true
		}
		var stale []elbtypes.TargetDescription
		for _, t := range out.TargetHealthDescriptions {
			if t.Target != nil && strings.HasPrefix(aws.ToString(t.Target.Id), "i-") && !ours[aws.ToString(t.Target.Id)] {
				stale = append(stale, *t.Target)
			}
		}
		if len(stale) == 0 {
			continue
		}
		if _, err := m.o.API.Targets.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: stale}); err != nil {
			m.o.Log.Warn("targets of an earlier run are left", "target_group", arn, "error", err)
		}
	}
}

// replaceSick ends instances that their load balancer has found unhealthy
// after the grace period.
func (m *Manager) replaceSick(g *group, now time.Time) {
	if !g.replaceSick || m.o.LoadBalancer == nil {
		return
	}
	for _, i := range g.instances {
		if i.State != InService || i.leaving != "" || now.Sub(i.Served) < g.grace {
			continue
		}
		for _, arn := range i.targetGroups {
			if m.o.LoadBalancer.Unhealthy(arn, i.ID, i.port) {
				m.o.Log.Warn("instance replaced: its load balancer finds it unhealthy", "instance", i.ID, "group", g.name, "target_group", arn)
				i.terminate("unhealthy")
				break
			}
		}
	}
}

// follow starts or ends instances until the group has what it desires.
func (m *Manager) follow(g *group, now time.Time) {
	if g.foreign {
		return
	}
	var active []*instance
	for _, i := range g.instances {
		if i.leaving == "" && (i.State == Pending || i.State == InService) {
			active = append(active, i)
		}
	}
	// As the default termination policy: what does not serve yet goes first, then the oldest.
	slices.SortStableFunc(active, func(a, b *instance) int {
		if (a.State == Pending) != (b.State == Pending) {
			if a.State == Pending {
				return -1
			}
			return 1
		}
		return a.Launched.Compare(b.Launched)
	})
	for _, i := range active[:max(0, len(active)-g.desired)] {
		i.terminate("scale-in")
	}
	if len(active) >= g.desired || g.template == nil || !g.backoff.ready(now) {
		return
	}
	for range g.desired - len(active) {
		m.start(g, now)
	}
	m.touch()
}

// keepTerminated is how long a terminated instance is shown. EC2 shows it for
// an hour; a fleet that crashes at start would fill the table by then.
const keepTerminated = time.Minute

func (g *group) forget(now time.Time) {
	g.instances = slices.DeleteFunc(g.instances, func(i *instance) bool {
		return i.State == Terminated && now.Sub(i.ended) > keepTerminated
	})
}

// backoff spaces the launches of a group whose instances end as soon as they start.
type backoff struct {
	failures int
	until    time.Time
}

const (
	backoffBase = 250 * time.Millisecond
	backoffMax  = 30 * time.Second
	// stable is how long an instance serves before its end is a new event and
	// not the continuation of a failed start.
	stable = 5 * time.Second
)

func (b *backoff) ready(now time.Time) bool { return !now.Before(b.until) }

// ended notes that an instance ended by itself after it had served for some
// time, 0 when it never did, and returns how long the next one waits. Instances
// of one group that fail together count once.
func (b *backoff) ended(now time.Time, served time.Duration) time.Duration {
	if served >= stable {
		*b = backoff{}
		return 0
	}
	if b.ready(now) {
		b.until = now.Add(min(backoffBase<<min(b.failures, 16), backoffMax))
		b.failures++
	}
	return b.until.Sub(now)
}

// errEnded is why an instance ended that nobody asked to.
var errEnded = errors.New("it ended by itself")
