// Package scaling is the scaling side of EC2 Auto Scaling: it acts on the
// deployed scaling policies and scheduled actions and sets the desired capacity
// of their groups; package instances follows it.
//
// As on AWS a policy acts on CloudWatch alarms: the two that a target tracking
// policy makes for itself, or those that name a step or simple policy as their
// action. Every Minute the alarms' metrics are published, the alarms are
// evaluated and their state is set; a policy whose alarm fires, acts.
//
// Time passes faster: a minute of CloudWatch lasts a Minute here, and so do the
// periods of alarms, warm-ups and cooldowns. See
// docs/decisions/scaling-at-sixty-times-the-pace.md. Schedules keep wall-clock time.
//
// Not acted on, and said in Problems: predictive scaling, anomaly detection.
package scaling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/loadbearing/loadbearing/local/instances"
)

// Minute is how long a minute of CloudWatch lasts here: an instance boots in a
// third of a second, not in half a minute. It changes the pace of decisions and
// not what is decided.
const Minute = time.Second

// configuredEvery is how often policies, scheduled actions and alarms are read;
// the groups and the metrics are at each look.
const configuredEvery = 5 * time.Second

// readTimeout is the longest that one look at everything may take, for an emulator that hangs.
const readTimeout = 10 * time.Second

// Options of a Manager. API is required.
type Options struct {
	API API
	// Publish publishes the metrics that the alarms read, as of a time; nil when
	// somebody else does.
	Publish func(ctx context.Context, at time.Time, wanted []cwtypes.Metric) error
	// Instances are those that run.
	Instances func() []instances.Instance
	Log       *slog.Logger // default slog.Default
}

// Manager acts on policies and scheduled actions.
type Manager struct {
	o Options

	deployed  deployed             // as last read
	read      time.Time            // since when deployed is so, but for its groups
	scheduled time.Time            // up to when scheduled actions have started
	scaled    map[string]time.Time // last activity, by group

	mu       sync.Mutex
	problems []string
}

// New returns a Manager; Run makes it work.
func New(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Manager{o: o, scaled: map[string]time.Time{}}
}

// Problems says what is wrong now, one sentence each, or nothing.
func (m *Manager) Problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.problems)
}

// Run acts every Minute until ctx is done; call it once. An emulator that
// cannot be reached is a problem, said once; capacity stays as it is.
func (m *Manager) Run(ctx context.Context) {
	m.scheduled = time.Now()
	// In the middle of a period, so that each has one data point.
	first := time.NewTimer(time.Until(m.scheduled.Truncate(Minute).Add(3 * Minute / 2)))
	defer first.Stop()
	select {
	case <-ctx.Done():
		return
	case <-first.C:
	}
	tick := time.NewTicker(Minute)
	defer tick.Stop()
	for {
		m.act(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// deployed is what is read from AWS.
type deployed struct {
	groups   []types.AutoScalingGroup
	policies []types.ScalingPolicy
	actions  []types.ScheduledUpdateGroupAction
	alarms   []cwtypes.MetricAlarm // whose action is one of the policies
}

// act looks at everything once.
func (m *Manager) act(ctx context.Context, now time.Time) {
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	problems := m.actOn(limited, now)
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range problems {
		if !slices.Contains(m.problems, p) {
			m.o.Log.Error(p)
		}
	}
	if len(problems) == 0 && len(m.problems) > 0 {
		m.o.Log.Info("every scaling policy is acted on again")
	}
	m.problems = problems
}

func (m *Manager) actOn(ctx context.Context, now time.Time) (problems []string) {
	if err := m.readAll(ctx, now); err != nil {
		return unreadable(err)
	}
	d := &m.deployed
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, a := range d.actions {
		if err := m.start(ctx, a, d.group(a.AutoScalingGroupName), now); err != nil {
			problem("scheduled action %s of Auto Scaling group %s: %v", aws.ToString(a.ScheduledActionName), aws.ToString(a.AutoScalingGroupName), err)
		}
	}
	m.scheduled = now

	if m.o.Publish != nil {
		var wanted []cwtypes.Metric
		for _, a := range d.alarms {
			wanted = append(wanted, metricsOf(a)...)
		}
		if err := m.o.Publish(ctx, now.Truncate(Minute), wanted); err != nil {
			problem("metrics of scaling policies are missing: %v", err)
		}
	}
	for i := range d.groups {
		g := &d.groups[i]
		var proposals []proposal
		var tracking []types.ScalingPolicy // that may scale in
		shrink := 0                        // of those, how many are ready to
		for _, p := range d.policies {
			if aws.ToString(p.AutoScalingGroupName) != aws.ToString(g.AutoScalingGroupName) || !enabled(p) {
				continue
			}
			asked, err := m.ask(ctx, p, *g, d.alarms, now)
			if err != nil && ctx.Err() != nil {
				return unreadable(fmt.Errorf("not all within %v: %w", readTimeout, err))
			}
			if err != nil {
				problem("policy %s of Auto Scaling group %s is not acted on: %v", aws.ToString(p.PolicyName), aws.ToString(g.AutoScalingGroupName), err)
			}
			if aws.ToString(p.PolicyType) == typeTracking && !aws.ToBool(p.TargetTrackingConfiguration.DisableScaleIn) {
				tracking = append(tracking, p)
				if slices.ContainsFunc(asked, func(a proposal) bool { return a.want < int(aws.ToInt32(g.DesiredCapacity)) }) {
					shrink++
				}
			}
			proposals = append(proposals, asked...)
		}
		if shrink < len(tracking) { // AWS scales in when all of them agree
			proposals = slices.DeleteFunc(proposals, func(p proposal) bool {
				return aws.ToString(p.policy.PolicyType) == typeTracking && p.want < int(aws.ToInt32(g.DesiredCapacity))
			})
		}
		if best, found := choose(int(aws.ToInt32(g.DesiredCapacity)), proposals); found && !suspended(*g, "AlarmNotification") {
			if err := m.set(ctx, *g, best, now); err != nil {
				problem("Auto Scaling group %s: %v", aws.ToString(g.AutoScalingGroupName), err)
			}
		}
	}
	return problems
}

// unreadable is the only problem to say of an emulator that does not answer.
func unreadable(err error) []string {
	return []string{fmt.Sprintf("scaling policies cannot be read, capacity stays as it is: %v; is the emulator at AWS_ENDPOINT_URL running? `make status` shows, `make down` and `make up` start anew", err)}
}

// Deployed counts the policies and scheduled actions that are deployed.
func (m *Manager) Deployed(ctx context.Context) (policies, actions int, err error) {
	d, err := m.readConfigured(ctx)
	return len(d.policies), len(d.actions), err
}

// readAll brings m.deployed up to date.
func (m *Manager) readAll(ctx context.Context, now time.Time) error {
	if now.Sub(m.read) >= configuredEvery {
		d, err := m.readConfigured(ctx)
		if err != nil {
			return err
		}
		m.deployed, m.read = d, now
	}
	m.deployed.groups = nil
	groups := autoscaling.NewDescribeAutoScalingGroupsPaginator(m.o.API.Groups, &autoscaling.DescribeAutoScalingGroupsInput{})
	for groups.HasMorePages() {
		page, err := groups.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("read Auto Scaling groups: %w", err)
		}
		m.deployed.groups = append(m.deployed.groups, page.AutoScalingGroups...)
	}
	return nil
}

// readConfigured reads what scales the groups.
func (m *Manager) readConfigured(ctx context.Context) (deployed, error) {
	var d deployed
	policies := autoscaling.NewDescribePoliciesPaginator(m.o.API.Groups, &autoscaling.DescribePoliciesInput{})
	for policies.HasMorePages() {
		page, err := policies.NextPage(ctx)
		if err != nil {
			return d, fmt.Errorf("read scaling policies: %w", err)
		}
		d.policies = append(d.policies, page.ScalingPolicies...)
	}
	actions := autoscaling.NewDescribeScheduledActionsPaginator(m.o.API.Groups, &autoscaling.DescribeScheduledActionsInput{})
	for actions.HasMorePages() {
		page, err := actions.NextPage(ctx)
		if err != nil {
			return d, fmt.Errorf("read scheduled actions: %w", err)
		}
		d.actions = append(d.actions, page.ScheduledUpdateGroupActions...)
	}
	arns := map[string]bool{}
	for _, p := range d.policies {
		arns[aws.ToString(p.PolicyARN)] = true
	}
	if len(arns) == 0 {
		return d, nil
	}
	alarms := cloudwatch.NewDescribeAlarmsPaginator(m.o.API.Alarms, &cloudwatch.DescribeAlarmsInput{MaxRecords: aws.Int32(100)})
	for alarms.HasMorePages() {
		page, err := alarms.NextPage(ctx)
		if err != nil {
			return d, fmt.Errorf("read alarms: %w", err)
		}
		for _, a := range page.MetricAlarms {
			if slices.ContainsFunc(a.AlarmActions, func(arn string) bool { return arns[arn] }) {
				d.alarms = append(d.alarms, a)
			}
		}
	}
	return d, nil
}

func (d *deployed) group(name *string) *types.AutoScalingGroup {
	for i := range d.groups {
		if aws.ToString(d.groups[i].AutoScalingGroupName) == aws.ToString(name) {
			return &d.groups[i]
		}
	}
	return nil
}

func enabled(p types.ScalingPolicy) bool { return p.Enabled == nil || *p.Enabled }

func suspended(g types.AutoScalingGroup, process string) bool {
	return slices.ContainsFunc(g.SuspendedProcesses, func(s types.SuspendedProcess) bool {
		return aws.ToString(s.ProcessName) == process
	})
}

// ask evaluates a policy's alarms and returns what it asks for.
func (m *Manager) ask(ctx context.Context, p types.ScalingPolicy, g types.AutoScalingGroup, alarms []cwtypes.MetricAlarm, now time.Time) ([]proposal, error) {
	firing, err := m.evaluate(ctx, p, alarms, now)
	if err != nil {
		return nil, err
	}
	c := m.capacity(p, g, now)
	var asked []proposal
	for _, f := range firing {
		want := c.desired
		switch kind := cmp.Or(aws.ToString(p.PolicyType), typeSimple); kind {
		case typeTracking:
			want = track(p, f, c)
		case typeStep:
			want, err = step(p, f, c)
		case typeSimple:
			if c.growing() || now.Sub(m.scaled[aws.ToString(g.AutoScalingGroupName)]) < here(cooldown(p, g)) {
				continue
			}
			want, err = adjust(p, aws.ToInt32(p.ScalingAdjustment), c.desired)
			want = c.clamp(want)
		default:
			err = fmt.Errorf("policies of type %s are not supported here", kind)
		}
		if err != nil {
			return nil, err
		}
		asked = append(asked, proposal{want, p, aws.ToString(f.alarm.AlarmName)})
	}
	return asked, nil
}

// evaluate brings the state of a policy's alarms up to date and returns those
// that fire. A policy without an alarm is an error: it could never act.
func (m *Manager) evaluate(ctx context.Context, p types.ScalingPolicy, alarms []cwtypes.MetricAlarm, now time.Time) ([]fired, error) {
	if aws.ToString(p.PolicyType) == "PredictiveScaling" {
		return nil, errors.New("predictive scaling is not supported here")
	}
	var mine []*cwtypes.MetricAlarm
	for i := range alarms {
		if slices.Contains(alarms[i].AlarmActions, aws.ToString(p.PolicyARN)) {
			mine = append(mine, &alarms[i])
		}
	}
	if len(mine) == 0 {
		return nil, errors.New("it has no alarm; the emulator makes those of target tracking, an alarm with the policy as its action those of any other")
	}
	// The two alarms of target tracking read the same metric: the one that looks back further first.
	slices.SortFunc(mine, func(a, b *cwtypes.MetricAlarm) int {
		return cmp.Compare(aws.ToInt32(b.EvaluationPeriods), aws.ToInt32(a.EvaluationPeriods))
	})
	var firing []fired
	var asked []cwtypes.MetricDataQuery
	var found []point
	for _, a := range mine {
		queries, period, err := queries(*a)
		if err != nil {
			return nil, fmt.Errorf("alarm %s: %w", aws.ToString(a.AlarmName), err)
		}
		from := begin(*a, period, now)
		if !reflect.DeepEqual(queries, asked) {
			asked = queries
			if found, err = points(ctx, m.o.API.Alarms, asked, from, now.Truncate(period).Add(period)); err != nil {
				return nil, fmt.Errorf("alarm %s: %w", aws.ToString(a.AlarmName), err)
			}
		}
		v, err := judge(*a, slices.DeleteFunc(slices.Clone(found), func(p point) bool { return p.at.Before(from) }))
		if err != nil {
			return nil, fmt.Errorf("alarm %s: %w", aws.ToString(a.AlarmName), err)
		}
		if v.state != a.StateValue {
			if _, err := m.o.API.Alarms.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{
				AlarmName: a.AlarmName, StateValue: v.state, StateReason: &v.reason,
			}); err != nil {
				return nil, fmt.Errorf("set the state of alarm %s: %w", aws.ToString(a.AlarmName), err)
			}
			m.o.Log.Info("alarm", "name", aws.ToString(a.AlarmName), "from", a.StateValue, "to", v.state, "reason", v.reason)
			a.StateValue, a.StateReason = v.state, &v.reason
		}
		if v.state == cwtypes.StateValueAlarm && v.value != nil && aws.ToBool(a.ActionsEnabled) {
			firing = append(firing, fired{*a, *v.value})
		}
	}
	return firing, nil
}

// capacity is what a group has in the eyes of a policy.
func (m *Manager) capacity(p types.ScalingPolicy, g types.AutoScalingGroup, now time.Time) capacity {
	c := capacity{
		min: int(aws.ToInt32(g.MinSize)), max: int(aws.ToInt32(g.MaxSize)), desired: int(aws.ToInt32(g.DesiredCapacity)),
	}
	for _, i := range m.o.Instances() {
		if i.Group == aws.ToString(g.AutoScalingGroupName) && i.State == instances.InService && now.Sub(i.Served) >= here(warmup(p, g)) {
			c.warm++
		}
	}
	return c
}

// causeHeader tells the emulator why a capacity changes, in AWS's words, for
// the scaling activities that follow. AWS knows by itself, and ignores it.
const causeHeader = "X-Loadbearing-Cause"

func because(cause string) func(*autoscaling.Options) {
	return autoscaling.WithAPIOptions(smithyhttp.SetHeaderValue(causeHeader, cause))
}

// set gives a group the capacity that a policy asks for.
func (m *Manager) set(ctx context.Context, g types.AutoScalingGroup, p proposal, now time.Time) error {
	name := aws.ToString(g.AutoScalingGroupName)
	cause := fmt.Sprintf("a monitor alarm %s in state ALARM triggered policy %s", p.alarm, aws.ToString(p.policy.PolicyName))
	if _, err := m.o.API.Groups.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{
		AutoScalingGroupName: &name, DesiredCapacity: aws.Int32(int32(p.want)),
		HonorCooldown: aws.Bool(cmp.Or(aws.ToString(p.policy.PolicyType), typeSimple) == typeSimple),
	}, because(cause)); err != nil {
		return fmt.Errorf("set the desired capacity to %d: %w", p.want, err)
	}
	m.scaled[name] = now
	m.o.Log.Info(fmt.Sprintf("At %s %s changing the desired capacity from %d to %d.",
		now.UTC().Format(time.RFC3339), cause, aws.ToInt32(g.DesiredCapacity), p.want), "group", name)
	return nil
}

// start runs a scheduled action when it is due.
func (m *Manager) start(ctx context.Context, a types.ScheduledUpdateGroupAction, g *types.AutoScalingGroup, now time.Time) error {
	is, err := due(a, m.scheduled, now)
	if err != nil || !is || g == nil || suspended(*g, "ScheduledActions") {
		return err
	}
	least, most, desired := sizes(a, *g)
	if least > most {
		return fmt.Errorf("its minimum of %d would be above the maximum of %d", least, most)
	}
	cause := fmt.Sprintf("a scheduled action update of AutoScalingGroup constraints to min: %d, max: %d, desired: %d", least, most, desired)
	if _, err := m.o.API.Groups.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: g.AutoScalingGroupName, MinSize: &least, MaxSize: &most, DesiredCapacity: &desired,
	}, because(cause)); err != nil {
		return err
	}
	name := aws.ToString(g.AutoScalingGroupName)
	m.scaled[name] = now
	m.o.Log.Info(fmt.Sprintf("At %s %s changing the desired capacity from %d to %d.",
		now.UTC().Format(time.RFC3339), cause, aws.ToInt32(g.DesiredCapacity), desired),
		"group", name, "action", aws.ToString(a.ScheduledActionName))
	g.MinSize, g.MaxSize, g.DesiredCapacity = &least, &most, &desired
	return nil
}
