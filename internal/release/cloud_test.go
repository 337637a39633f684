package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// account is an AWS account with one pair of fleets, in memory. Instances start
// and end between two looks at their group.
type account struct {
	t *testing.T

	now        time.Time
	parameters map[string]string
	groups     map[string]*asg // by color
	weights    map[string]int
	sticky     int
	schedule   map[string][]string // names of scheduled actions by color
	alarms     map[string]bool     // that fire
	events     []Change
	executions map[string]*execution // by ARN
	refreshes  []*astypes.InstanceRefresh

	broken map[string]bool        // keys of artifacts that are never healthy
	serves func(string) Measured  // what a color answers in a period
	fail   func(call string) fate // of the next call
	calls  int
}

type fate int

const (
	works  fate = iota
	before      // fails and does nothing
	after       // does it, and the answer is lost
)

var errCut = errors.New("connection reset by peer")

type asg struct {
	size      Size
	running   []string // keys of artifacts
	suspended map[string]bool
}

type execution struct {
	name, input, status string
	started             time.Time
}

const machine = "arn:aws:states:us-east-1:000000000000:stateMachine:loadbearing-dev-web-release"

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{
		t: t, now: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC),
		parameters: map[string]string{},
		groups: map[string]*asg{
			"blue":  {size: Size{Min: 2, Max: 6, Desired: 3}, running: []string{"v1", "v1", "v1"}, suspended: map[string]bool{}},
			"green": {size: Size{Max: 6}, suspended: map[string]bool{}},
		},
		weights:    map[string]int{"blue": 100},
		schedule:   map[string][]string{"blue": {"Night"}},
		alarms:     map[string]bool{},
		executions: map[string]*execution{},
		broken:     map[string]bool{},
		serves: func(string) Measured {
			return Measured{Requests: 300, P99: Duration(40 * time.Millisecond)}
		},
	}
	target := contract.ReleaseTarget{
		Rule: "rule", LoadBalancer: "app/lb/1", Colors: map[string]contract.ReleaseColor{}, Alarms: []string{"none-healthy"},
		Migrate: "migrate", StateMachine: machine, Artifacts: "artifacts",
	}
	for _, color := range []string{"blue", "green"} {
		target.Colors[color] = contract.ReleaseColor{
			Group: color, TargetGroup: "arn:x:targetgroup/" + color + "/1", Artifact: "/artifact/" + color, Alarms: []string{color + "-errors"},
		}
		a.put("/artifact/"+color, artifact("v1"))
	}
	a.put(contract.ReleaseTargetParameter("dev", "web"), target)
	return a
}

func artifact(key string) contract.Artifact {
	return contract.Artifact{Bucket: "artifacts", Key: key, SHA256: strings.Repeat("a", 64)}
}

func (a *account) put(name string, v any) {
	text, err := json.Marshal(v)
	require.NoError(a.t, err)
	a.parameters[name] = string(text)
}

func (a *account) cloud() Cloud { return Cloud{a, a, a, a, a, a} }

func (a *account) controller() *Controller {
	return &Controller{Fleet: Fleet{"dev", "web"}, Cloud: a.cloud(), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return a.now }}
}

func (a *account) operator() *Operator {
	return &Operator{Fleet: Fleet{"dev", "web"}, Cloud: a.cloud(), By: "tester", Now: func() time.Time { return a.now }}
}

func (a *account) state() State {
	var s State
	if text := a.parameters[contract.ReleaseStateParameter("dev", "web")]; text != "" {
		require.NoError(a.t, json.Unmarshal([]byte(text), &s))
	}
	return s
}

// do makes one call, or what becomes of it.
func (a *account) do(call string, effect func()) error {
	a.calls++
	f := works
	if a.fail != nil {
		f = a.fail(call)
	}
	if f == before {
		return fmt.Errorf("%s: %w", call, errCut)
	}
	effect()
	// Whatever happens, nobody is sent where nobody answers.
	for color, weight := range a.weights {
		if weight > 0 {
			require.NotZero(a.t, a.healthy(color), "after %s %s has the weight %d and nobody answers", call, color, weight)
		}
	}
	if f == after {
		return fmt.Errorf("%s: %w", call, errCut)
	}
	return nil
}

func (a *account) healthy(color string) int {
	n := 0
	for _, key := range a.groups[color].running {
		if !a.broken[key] {
			n++
		}
	}
	return n
}

// settle starts and ends one instance of a group towards its size.
func (a *account) settle(color string) {
	g := a.groups[color]
	switch n := len(g.running); {
	case n < g.size.Desired:
		var artifact contract.Artifact
		require.NoError(a.t, json.Unmarshal([]byte(a.parameters["/artifact/"+color]), &artifact))
		g.running = append(g.running, artifact.Key)
	case n > g.size.Desired:
		g.running = g.running[:n-1]
	}
}

func (a *account) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	var value string
	var found bool
	if err := a.do("GetParameter", func() { value, found = a.parameters[*in.Name], a.parameters[*in.Name] != "" }); err != nil {
		return nil, err
	}
	if !found {
		return nil, &ssmtypes.ParameterNotFound{}
	}
	return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: &value}}, nil
}

func (a *account) PutParameter(_ context.Context, in *ssm.PutParameterInput, _ ...func(*ssm.Options)) (*ssm.PutParameterOutput, error) {
	require.LessOrEqual(a.t, len(*in.Value), 4096, "the size of a standard parameter")
	return &ssm.PutParameterOutput{}, a.do("PutParameter", func() { a.parameters[*in.Name] = *in.Value })
}

func (a *account) DescribeAutoScalingGroups(_ context.Context, in *autoscaling.DescribeAutoScalingGroupsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	color := in.AutoScalingGroupNames[0]
	g := a.groups[color]
	out := astypes.AutoScalingGroup{}
	err := a.do("DescribeAutoScalingGroups", func() {
		a.settle(color)
		out.MinSize, out.MaxSize, out.DesiredCapacity = aws.Int32(int32(g.size.Min)), aws.Int32(int32(g.size.Max)), aws.Int32(int32(g.size.Desired))
		for range g.running {
			out.Instances = append(out.Instances, astypes.Instance{LifecycleState: astypes.LifecycleStateInService})
		}
		for _, p := range slices.Sorted(maps.Keys(g.suspended)) {
			out.SuspendedProcesses = append(out.SuspendedProcesses, astypes.SuspendedProcess{ProcessName: &p})
		}
	})
	return &autoscaling.DescribeAutoScalingGroupsOutput{AutoScalingGroups: []astypes.AutoScalingGroup{out}}, err
}

func (a *account) UpdateAutoScalingGroup(_ context.Context, in *autoscaling.UpdateAutoScalingGroupInput, _ ...func(*autoscaling.Options)) (*autoscaling.UpdateAutoScalingGroupOutput, error) {
	size := Size{Min: int(*in.MinSize), Max: int(*in.MaxSize), Desired: int(*in.DesiredCapacity)}
	require.LessOrEqual(a.t, size.Min, size.Desired)
	require.LessOrEqual(a.t, size.Desired, size.Max)
	return &autoscaling.UpdateAutoScalingGroupOutput{}, a.do("UpdateAutoScalingGroup", func() { a.groups[*in.AutoScalingGroupName].size = size })
}

func (a *account) SuspendProcesses(_ context.Context, in *autoscaling.SuspendProcessesInput, _ ...func(*autoscaling.Options)) (*autoscaling.SuspendProcessesOutput, error) {
	return &autoscaling.SuspendProcessesOutput{}, a.do("SuspendProcesses", func() {
		for _, p := range in.ScalingProcesses {
			a.groups[*in.AutoScalingGroupName].suspended[p] = true
		}
	})
}

func (a *account) ResumeProcesses(_ context.Context, in *autoscaling.ResumeProcessesInput, _ ...func(*autoscaling.Options)) (*autoscaling.ResumeProcessesOutput, error) {
	return &autoscaling.ResumeProcessesOutput{}, a.do("ResumeProcesses", func() {
		for _, p := range in.ScalingProcesses {
			delete(a.groups[*in.AutoScalingGroupName].suspended, p)
		}
	})
}

func (a *account) StartInstanceRefresh(_ context.Context, in *autoscaling.StartInstanceRefreshInput, _ ...func(*autoscaling.Options)) (*autoscaling.StartInstanceRefreshOutput, error) {
	var id string
	var conflict bool
	err := a.do("StartInstanceRefresh", func() {
		if n := len(a.refreshes); n > 0 && a.refreshes[n-1].Status == astypes.InstanceRefreshStatusInProgress {
			conflict = true
			return
		}
		id = fmt.Sprintf("refresh-%d", len(a.refreshes)+1)
		a.refreshes = append(a.refreshes, &astypes.InstanceRefresh{
			InstanceRefreshId: &id, Status: astypes.InstanceRefreshStatusInProgress, StartTime: aws.Time(a.now),
			InstancesToUpdate: aws.Int32(int32(len(a.groups[*in.AutoScalingGroupName].running))),
		})
	})
	if err == nil && conflict {
		return nil, &astypes.InstanceRefreshInProgressFault{}
	}
	return &autoscaling.StartInstanceRefreshOutput{InstanceRefreshId: &id}, err
}

func (a *account) CancelInstanceRefresh(_ context.Context, _ *autoscaling.CancelInstanceRefreshInput, _ ...func(*autoscaling.Options)) (*autoscaling.CancelInstanceRefreshOutput, error) {
	return &autoscaling.CancelInstanceRefreshOutput{}, a.do("CancelInstanceRefresh", func() {
		a.refreshes[len(a.refreshes)-1].Status = astypes.InstanceRefreshStatusCancelled
	})
}

func (a *account) DescribeInstanceRefreshes(_ context.Context, in *autoscaling.DescribeInstanceRefreshesInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeInstanceRefreshesOutput, error) {
	out := &autoscaling.DescribeInstanceRefreshesOutput{}
	err := a.do("DescribeInstanceRefreshes", func() {
		color := *in.AutoScalingGroupName
		for _, f := range slices.Backward(a.refreshes) {
			if f.Status == astypes.InstanceRefreshStatusInProgress {
				a.replaceOne(color, f)
			}
			if len(in.InstanceRefreshIds) == 0 || slices.Contains(in.InstanceRefreshIds, *f.InstanceRefreshId) {
				out.InstanceRefreshes = append(out.InstanceRefreshes, *f)
			}
		}
	})
	return out, err
}

// replaceOne replaces one instance, when the new one is healthy.
func (a *account) replaceOne(color string, f *astypes.InstanceRefresh) {
	var artifact contract.Artifact
	require.NoError(a.t, json.Unmarshal([]byte(a.parameters["/artifact/"+color]), &artifact))
	if a.broken[artifact.Key] {
		return
	}
	g := a.groups[color]
	for i, key := range g.running {
		if key != artifact.Key {
			g.running[i] = artifact.Key
			*f.InstancesToUpdate--
			return
		}
	}
	f.Status, f.InstancesToUpdate = astypes.InstanceRefreshStatusSuccessful, aws.Int32(0)
}

func (a *account) DescribeScheduledActions(_ context.Context, in *autoscaling.DescribeScheduledActionsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeScheduledActionsOutput, error) {
	out := &autoscaling.DescribeScheduledActionsOutput{}
	return out, a.do("DescribeScheduledActions", func() {
		for _, name := range a.schedule[*in.AutoScalingGroupName] {
			out.ScheduledUpdateGroupActions = append(out.ScheduledUpdateGroupActions, astypes.ScheduledUpdateGroupAction{
				ScheduledActionName: &name, Recurrence: aws.String("0 3 * * *"), MinSize: aws.Int32(1),
			})
		}
	})
}

func (a *account) PutScheduledUpdateGroupAction(_ context.Context, in *autoscaling.PutScheduledUpdateGroupActionInput, _ ...func(*autoscaling.Options)) (*autoscaling.PutScheduledUpdateGroupActionOutput, error) {
	return &autoscaling.PutScheduledUpdateGroupActionOutput{}, a.do("PutScheduledUpdateGroupAction", func() {
		color := *in.AutoScalingGroupName
		if !slices.Contains(a.schedule[color], *in.ScheduledActionName) {
			a.schedule[color] = append(a.schedule[color], *in.ScheduledActionName)
		}
	})
}

func (a *account) DescribeRules(context.Context, *elb.DescribeRulesInput, ...func(*elb.Options)) (*elb.DescribeRulesOutput, error) {
	config := &elbtypes.ForwardActionConfig{TargetGroupStickinessConfig: &elbtypes.TargetGroupStickinessConfig{Enabled: aws.Bool(false)}}
	err := a.do("DescribeRules", func() {
		for _, color := range []string{"blue", "green"} {
			config.TargetGroups = append(config.TargetGroups, elbtypes.TargetGroupTuple{
				TargetGroupArn: aws.String("arn:x:targetgroup/" + color + "/1"), Weight: aws.Int32(int32(a.weights[color])),
			})
		}
		if a.sticky > 0 {
			config.TargetGroupStickinessConfig = &elbtypes.TargetGroupStickinessConfig{Enabled: aws.Bool(true), DurationSeconds: aws.Int32(int32(a.sticky))}
		}
	})
	return &elb.DescribeRulesOutput{Rules: []elbtypes.Rule{{Actions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, ForwardConfig: config}}}}}, err
}

func (a *account) ModifyRule(_ context.Context, in *elb.ModifyRuleInput, _ ...func(*elb.Options)) (*elb.ModifyRuleOutput, error) {
	return &elb.ModifyRuleOutput{}, a.do("ModifyRule", func() {
		config := in.Actions[0].ForwardConfig
		for _, g := range config.TargetGroups {
			a.weights[strings.Split(*g.TargetGroupArn, "/")[1]] = int(*g.Weight)
		}
		a.sticky = int(aws.ToInt32(config.TargetGroupStickinessConfig.DurationSeconds))
	})
}

func (a *account) DescribeTargetHealth(_ context.Context, in *elb.DescribeTargetHealthInput, _ ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error) {
	out := &elb.DescribeTargetHealthOutput{}
	return out, a.do("DescribeTargetHealth", func() {
		color := strings.Split(*in.TargetGroupArn, "/")[1]
		for i, key := range a.groups[color].running {
			state := elbtypes.TargetHealthStateEnumHealthy
			if a.broken[key] {
				state = elbtypes.TargetHealthStateEnumUnhealthy
			}
			out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, elbtypes.TargetHealthDescription{
				Target:       &elbtypes.TargetDescription{Id: aws.String(fmt.Sprintf("i-%d", i))},
				TargetHealth: &elbtypes.TargetHealth{State: state},
			})
		}
	})
}

// GetMetricData answers one period, the last whole one.
func (a *account) GetMetricData(_ context.Context, in *cloudwatch.GetMetricDataInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.GetMetricDataOutput, error) {
	out := &cloudwatch.GetMetricDataOutput{}
	return out, a.do("GetMetricData", func() {
		for _, q := range in.MetricDataQueries {
			color, id, _ := strings.Cut(*q.Id, "_")
			m := a.serves(color)
			if m.Requests == 0 || a.weights[color] == 0 || a.now.Before(*in.StartTime) {
				continue
			}
			value := map[string]float64{"requests": float64(m.Requests), "errors": float64(m.Errors), "p99": time.Duration(m.P99).Seconds()}
			if v, measured := value[id]; measured {
				out.MetricDataResults = append(out.MetricDataResults, cwtypes.MetricDataResult{Id: q.Id, Timestamps: []time.Time{*in.StartTime}, Values: []float64{v}})
			}
		}
	})
}

func (a *account) DescribeAlarms(_ context.Context, in *cloudwatch.DescribeAlarmsInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.DescribeAlarmsOutput, error) {
	out := &cloudwatch.DescribeAlarmsOutput{}
	return out, a.do("DescribeAlarms", func() {
		for _, name := range in.AlarmNames {
			state := cwtypes.StateValueOk
			if a.alarms[name] {
				state = cwtypes.StateValueAlarm
			}
			out.MetricAlarms = append(out.MetricAlarms, cwtypes.MetricAlarm{AlarmName: &name, StateValue: state})
		}
	})
}

func (a *account) PutEvents(_ context.Context, in *eventbridge.PutEventsInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error) {
	return &eventbridge.PutEventsOutput{}, a.do("PutEvents", func() {
		var c Change
		require.NoError(a.t, json.Unmarshal([]byte(*in.Entries[0].Detail), &c))
		a.events = append(a.events, c)
	})
}

func (a *account) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	arn := strings.Replace(*in.StateMachineArn, ":stateMachine:", ":execution:", 1) + ":" + *in.Name
	exists := false
	err := a.do("StartExecution", func() {
		if exists = a.executions[arn] != nil; !exists {
			a.executions[arn] = &execution{name: *in.Name, input: *in.Input, status: "RUNNING", started: a.now}
		}
	})
	if err == nil && exists {
		return nil, &sfntypes.ExecutionAlreadyExists{}
	}
	return &sfn.StartExecutionOutput{ExecutionArn: &arn}, err
}

func (a *account) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	e := a.executions[*in.ExecutionArn]
	if e == nil {
		return nil, &sfntypes.ExecutionDoesNotExist{}
	}
	return &sfn.DescribeExecutionOutput{
		ExecutionArn: in.ExecutionArn, Status: sfntypes.ExecutionStatus(e.status), Input: &e.input, StartDate: &e.started,
	}, a.do("DescribeExecution", func() {})
}

func (a *account) ListExecutions(context.Context, *sfn.ListExecutionsInput, ...func(*sfn.Options)) (*sfn.ListExecutionsOutput, error) {
	out := &sfn.ListExecutionsOutput{}
	for arn, e := range a.executions {
		out.Executions = append(out.Executions, sfntypes.ExecutionListItem{ExecutionArn: &arn, Name: &e.name})
	}
	slices.SortFunc(out.Executions, func(x, y sfntypes.ExecutionListItem) int { return strings.Compare(*y.Name, *x.Name) })
	return out, nil
}

// execute runs an execution as the state machine would: each task until it
// works, three tries a task, then the task rollback. It stops, RUNNING, before
// the task for which until says so.
func (a *account) execute(arn string, until func(Next) bool) {
	e := a.executions[arn]
	var in Input
	require.NoError(a.t, json.Unmarshal([]byte(e.input), &in))
	c := a.controller()
	task := Task{Name: TaskBegin, Execution: arn, Input: &in}
	for range 2000 {
		var n Next
		var err error
		for range 3 {
			if n, err = c.Run(a.t.Context(), task); err == nil {
				break
			}
			if _, refused := errors.AsType[*Refusal](err); refused {
				e.status = "FAILED"
				return
			}
			a.now = a.now.Add(time.Second)
		}
		if err != nil {
			n = Next{Next: TaskRollback, Number: in.Number}
			task = Task{Name: TaskRollback, Execution: arn, Number: in.Number, Cause: err.Error()}
			continue
		}
		a.now = a.now.Add(time.Duration(n.Wait) * time.Second)
		if until != nil && until(n) {
			return
		}
		switch n.Next {
		case TaskEnd:
			e.status = "SUCCEEDED"
			return
		case TaskExpand:
			n.Next = TaskPrepare
		case TaskContract:
			n.Next = TaskFinish
		}
		task = Task{Name: n.Next, Execution: arn, Number: n.Number}
	}
	require.Fail(a.t, "the execution does not end", "%+v", a.state())
}

// start begins a release and returns the ARN of its execution.
func (a *account) start(p Plan) string {
	number, err := a.operator().Start(a.t.Context(), p)
	require.NoError(a.t, err)
	return strings.Replace(machine, ":stateMachine:", ":execution:", 1) + ":" + executionName(number, 0)
}

// requireAtRest requires that one color serves version and the other is empty,
// and that nothing a release did in between is left.
func (a *account) requireAtRest(color, version string, capacity Size) {
	a.t.Helper()
	g, other := a.groups[color], a.groups[Other(color)]
	require.Equal(a.t, 100, a.weights[color], "%v", a.weights)
	require.Zero(a.t, a.weights[Other(color)])
	require.Zero(a.t, a.sticky)
	require.Equal(a.t, capacity, g.size)
	require.Equal(a.t, slices.Repeat([]string{version}, capacity.Desired), g.running)
	require.Empty(a.t, g.suspended)
	require.Empty(a.t, other.running)
	require.Zero(a.t, other.size.Desired)
	require.Contains(a.t, a.parameters["/artifact/"+color], `"`+version+`"`)
}
