// Package instances is EC2 and the fleet side of EC2 Auto Scaling: it keeps as
// many processes as each deployed Auto Scaling group desires. What a process
// runs is read as an instance would read it when it boots: the launch
// template's user data has its environment, an SSM parameter names the
// artifact, S3 holds it. Each process has ports of its own on 127.0.0.1 and is
// registered with, and drained from, the group's target groups.
//
// As on AWS a running instance is left alone when its launch template or
// artifact changes: the next one gets the new, and an instance refresh replaces
// the others. What runs is reported to the Auto Scaling API, with the scaling
// activities that led to it; what that API is asked of single instances, of a
// warm pool or by lifecycle hooks is done. See
// docs/decisions/instances-report-to-the-emulator.md.
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
	"strconv"
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

	Standby State = "standby" // runs, taken out of service by EnterStandby
	Warm    State = "warm"    // in the warm pool: prepared, and does not run
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
	Lifecycle       string    // LifecycleState, as DescribeAutoScalingInstances has it
	Protected       bool      // from scale-in
}

// LoadBalancer is what the local load balancer knows about a target: an
// instance's id and port in a target group.
type LoadBalancer interface {
	// Draining returns nil as soon as a deregistered target gets no new request.
	// An error says that ctx ended first.
	Draining(ctx context.Context, targetGroupARN, instanceID string, port int) error
	// Healthy tells that the target passes its health checks.
	Healthy(targetGroupARN, instanceID string, port int) bool
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
	LoadBalancer LoadBalancer      // nil when none runs: nobody is waited for and everybody is healthy
	Log          *slog.Logger      // default slog.Default

	Poll          time.Duration // how often the groups are read; default 500 ms
	BootTimeout   time.Duration // until an instance is ready; default 60 s
	DrainTimeout  time.Duration // until the load balancer sends no new request; default 30 s
	StopTimeout   time.Duration // from SIGTERM to SIGKILL, of a group without a drain hook that says it; default 30 s
	ShutdownDrain time.Duration // what is left of DrainTimeout once Run's ctx is done; default 5 s
	Minute        time.Duration // how long a minute of warm-ups and checkpoints lasts; default a minute
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
	mute        bool          // the emulator cannot be told; only Run uses it

	open context.Context // done once Run ends
	shut context.CancelFunc
}

// group is what is known of one Auto Scaling group.
type group struct {
	name         string
	desired      int
	template     *types.LaunchTemplateSpecification
	targetGroups []string
	policies     []string        // of termination
	protect      bool            // new instances from scale-in
	suspended    map[string]bool // processes
	hooks        []Hook
	warmPool     *types.WarmPoolConfiguration // or nil
	warmSize     int
	replaceSick  bool          // health check type ELB
	grace        time.Duration // before health counts
	warmup       int           // of new instances, in AWS's seconds
	foreign      bool          // not a fleet of this service
	instances    []*instance
	backoff      backoff
	problem      string // why the last launch failed

	lost       int // instances that ended by themselves and are to be replaced
	stuck      bool
	refresh    *refresh // or nil
	changes    []Change // of the desired capacity
	named      map[string]bool
	activities []*activity
}

// New returns a Manager; Run makes it work.
func New(o Options) *Manager {
	o.Poll = cmp.Or(o.Poll, 500*time.Millisecond)
	o.BootTimeout = cmp.Or(o.BootTimeout, time.Minute)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 30*time.Second)
	o.StopTimeout = cmp.Or(o.StopTimeout, 30*time.Second)
	o.ShutdownDrain = cmp.Or(o.ShutdownDrain, 5*time.Second)
	o.Minute = cmp.Or(o.Minute, time.Minute)
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
			g.terminate(i, "the local run ends", at(time.Now(), "the local run ended."), time.Now())
		}
	}
	m.mu.Unlock()
	m.wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, _ = m.report(last, nil) // of what has ended; an emulator that goes too need not hear it
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
			case Standby, Warm, Terminated:
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

// reconcile reads the groups, tells what runs, and starts and ends instances
// accordingly.
func (m *Manager) reconcile(ctx context.Context) {
	deployed, err := m.readGroups(ctx)
	var orders map[string]GroupOrders
	var matching map[string]string
	if err == nil {
		// After the groups: an order that concerns a capacity has changed it already.
		orders, err = m.exchange(ctx, deployed)
	}
	if err == nil {
		matching, err = m.versions(ctx, deployed, orders)
	}
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
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
		for name, g := range m.groups {
			m.obey(g, deployed[name], orders[name], matching[name], now)
		}
	}
	for name, g := range m.groups {
		g.forget(now)
		m.replaceUnhealthy(g, now)
		m.follow(g, m.refreshed(g, now), now)
		m.followWarmPool(g, now)
		if g.desired == 0 && len(g.instances) == 0 && deployed[name] == nil && err == nil {
			delete(m.groups, name)
		}
	}
	if err == nil && !m.read {
		m.read = true
		m.touch()
	}
}

// exchange is a report with a limit.
func (m *Manager) exchange(ctx context.Context, deployed map[string]*types.AutoScalingGroup) (map[string]GroupOrders, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return m.report(ctx, deployed)
}

// versions are those of the launch templates that the groups use now, of the
// groups whose refresh skips instances that match.
func (m *Manager) versions(ctx context.Context, deployed map[string]*types.AutoScalingGroup, orders map[string]GroupOrders) (map[string]string, error) {
	found := map[string]string{}
	for name, o := range orders {
		if o.Refresh == nil || !o.Refresh.Preferences.SkipMatching || deployed[name] == nil {
			continue
		}
		spec := templateOf(*deployed[name])
		if spec == nil {
			continue
		}
		version, err := m.templateVersion(ctx, spec)
		if err != nil {
			return nil, err
		}
		found[name] = strconv.FormatInt(aws.ToInt64(version.VersionNumber), 10)
	}
	return found, nil
}

// obey does what API calls have asked for, of a group and of its instances.
// m.mu is held.
func (m *Manager) obey(g *group, d *types.AutoScalingGroup, o GroupOrders, matching string, now time.Time) {
	if d == nil {
		return
	}
	g.hooks, g.changes = o.Hooks, o.Changes
	described := map[string]types.Instance{}
	for _, i := range d.Instances {
		described[aws.ToString(i.InstanceId)] = i
	}
	for _, i := range g.instances {
		if i.hear(o.Instances[i.ID]) {
			m.touch()
		}
		told, known := described[i.ID]
		if !known || i.leaving != "" {
			continue
		}
		i.ordered(told)
		// Its activity tells an order from what was reported of an instance that
		// has returned to the warm pool since.
		if a := o.Instances[i.ID].Activity; a != nil && strings.HasPrefix(i.order, "Terminating") {
			i.ending = &activity{Activity: *a}
			g.activities = append(g.activities, i.ending)
			g.terminate(i, "terminated by a user request", a.Cause, now)
			m.touch()
			continue
		}
		switch {
		case i.order == string(types.LifecycleStateEnteringStandby) && i.State == InService:
			i.State, i.Lifecycle = Standby, i.order
			i.moves <- Standby
			m.touch()
		case i.order == string(types.LifecycleStatePending) && i.Lifecycle == string(types.LifecycleStateStandby):
			i.State, i.Lifecycle = Pending, i.order
			i.moves <- InService
			m.touch()
		}
	}
	m.takeUp(g, o.Refresh, matching, now)
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
			g.desired, g.problem, g.warmPool, g.warmSize = 0, "", nil, 0
		}
	}
	for name, d := range deployed {
		g := m.groups[name]
		if g == nil {
			g = &group{name: name, suspended: map[string]bool{}}
			m.groups[name] = g
			m.wg.Go(func() { m.clear(d.TargetGroupARNs) })
		}
		desired := int(aws.ToInt32(d.DesiredCapacity))
		if g.desired != desired {
			if g.desired == 0 {
				g.backoff = backoff{} // what failed before has been scaled in since
			}
			m.o.Log.Info("desired capacity", "group", name, "from", g.desired, "to", desired)
			g.desired, g.stuck = desired, false
			m.touch()
		}
		if t := templateOf(*d); g.template == nil || t == nil || templateKey(g.template) != templateKey(t) {
			g.template, g.foreign = t, false
			g.backoff = backoff{}
		}
		g.targetGroups = d.TargetGroupARNs
		g.replaceSick = aws.ToString(d.HealthCheckType) == "ELB"
		g.grace = time.Duration(aws.ToInt32(d.HealthCheckGracePeriod)) * time.Second
		g.warmup = warmupOf(d.DefaultInstanceWarmup, d.HealthCheckGracePeriod)
		g.warmPool, g.warmSize = d.WarmPoolConfiguration, WarmPoolSize(*d)
		g.policies, g.protect = d.TerminationPolicies, aws.ToBool(d.NewInstancesProtectedFromScaleIn)
		g.suspended = map[string]bool{}
		for _, p := range d.SuspendedProcesses {
			g.suspended[aws.ToString(p.ProcessName)] = true
		}
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

// replaceUnhealthy ends instances that their load balancer has found unhealthy
// after the grace period, or SetInstanceHealth has marked.
func (m *Manager) replaceUnhealthy(g *group, now time.Time) {
	if g.suspended["ReplaceUnhealthy"] || g.suspended["Terminate"] {
		return
	}
	for _, i := range g.instances {
		if i.State != InService || i.leaving != "" {
			continue
		}
		if i.marked {
			m.o.Log.Warn("instance replaced: it was set unhealthy", "instance", i.ID, "group", g.name)
			g.lost++
			g.terminate(i, "unhealthy", at(now, "an instance was taken out of service in response to a user health-check."), now)
			continue
		}
		if !g.replaceSick || g.suspended["HealthCheck"] || now.Sub(i.Served) < g.grace {
			continue
		}
		if arn := i.sick(m.o.LoadBalancer); arn != "" {
			m.o.Log.Warn("instance replaced: its load balancer finds it unhealthy", "instance", i.ID, "group", g.name, "target_group", arn)
			g.lost++
			g.terminate(i, "unhealthy", at(now, "an instance was taken out of service in response to an ELB system health check failure."), now)
		}
	}
}

// because is the cause of a termination.
func because(now time.Time, i *instance, sentence string) string {
	return at(now, "%s", sentence) + "  " + at(now, "instance %s was selected for termination.", i.ID)
}

// follow starts or ends instances until the group has what it desires and what
// a refresh adds.
func (m *Manager) follow(g *group, beyond int, now time.Time) {
	if g.foreign {
		return
	}
	var active []*instance
	for _, i := range g.instances {
		if i.active() {
			active = append(active, i)
		}
	}
	want := g.desired + beyond
	if len(active) == want && !slices.ContainsFunc(active, func(i *instance) bool { return i.State != InService }) {
		g.problem = "" // nothing is launched any more that could fail
	}
	if len(active) > want && !g.suspended["Terminate"] {
		m.scaleIn(g, active, want, now)
	}
	if g.suspended["ReplaceUnhealthy"] {
		want -= g.lost
	}
	if len(active) >= want || g.template == nil || g.suspended["Launch"] || !g.backoff.ready(now) {
		return
	}
	missing := want - len(active)
	difference := g.because(at(now, "an instance was started in response to a difference between desired and actual capacity, increasing the capacity from %d to %d.",
		len(active), want))
	for range missing {
		cause := difference
		switch {
		case g.lost > 0:
			g.lost--
			cause = at(now, "an instance was launched in response to an unhealthy instance needing to be replaced.")
		case g.refresh != nil && !g.refresh.ended():
			cause = at(now, "an instance was launched in response to an instance refresh.")
		}
		m.start(g, cause, now)
	}
	g.lost = 0
	g.nameChanges()
	m.touch()
}

// scaleIn ends instances until as many are left as wanted.
func (m *Manager) scaleIn(g *group, active []*instance, want int, now time.Time) {
	slices.SortStableFunc(active, func(a, b *instance) int {
		return cmp.Or(
			order(a.State == InService, b.State == InService), // what does not serve yet goes first
			order(a.serves(m.o.LoadBalancer), b.serves(m.o.LoadBalancer)),
			g.compare(a, b, now),
		)
	})
	cause := g.because(at(now, "an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from %d to %d.",
		len(active), want))
	excess := len(active) - want
	for _, i := range active {
		if excess == 0 {
			break
		}
		if i.Protected {
			continue
		}
		i.reuse = i.State == InService && g.reuses()
		g.terminate(i, "scale-in", cause+"  "+at(now, "instance %s was selected for termination.", i.ID), now)
		excess--
	}
	g.nameChanges()
	if excess > 0 && !g.stuck {
		g.stuck = true
		const message = "Could not scale to desired capacity because all remaining instances are protected from scale-in."
		m.o.Log.Warn(message, "group", g.name, "desired", want, "instances", want+excess)
		g.newActivity("Terminating EC2 instances", cause, statusInProgress, now).end(statusCancelled, message, now)
		m.touch()
	}
}

// compare orders instances by the group's termination policies, the first to go
// first. A policy breaks the ties of those before it.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html
func (g *group) compare(a, b *instance, now time.Time) int {
	template := func(i *instance) int {
		n, _ := strconv.Atoi(i.TemplateVersion)
		return n
	}
	untilHour := func(i *instance) time.Duration { return time.Hour - now.Sub(i.Launched)%time.Hour }
	for _, policy := range g.policies {
		var by int
		switch policy {
		case "OldestInstance":
			by = a.Launched.Compare(b.Launched)
		case "NewestInstance":
			by = b.Launched.Compare(a.Launched)
		case "OldestLaunchTemplate":
			by = cmp.Compare(template(a), template(b))
		case "ClosestToNextInstanceHour":
			by = cmp.Compare(untilHour(a), untilHour(b))
		case "Default":
			by = cmp.Or(cmp.Compare(template(a), template(b)), cmp.Compare(untilHour(a), untilHour(b)))
		}
		if by != 0 {
			return by
		}
	}
	return a.Launched.Compare(b.Launched)
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
