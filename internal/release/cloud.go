package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// The parts of AWS that a release uses.
type (
	// Parameters are SSM's.
	Parameters interface {
		GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
		PutParameter(context.Context, *ssm.PutParameterInput, ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
	}
	// Groups are those of Auto Scaling.
	Groups interface {
		DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
		UpdateAutoScalingGroup(context.Context, *autoscaling.UpdateAutoScalingGroupInput, ...func(*autoscaling.Options)) (*autoscaling.UpdateAutoScalingGroupOutput, error)
		SuspendProcesses(context.Context, *autoscaling.SuspendProcessesInput, ...func(*autoscaling.Options)) (*autoscaling.SuspendProcessesOutput, error)
		ResumeProcesses(context.Context, *autoscaling.ResumeProcessesInput, ...func(*autoscaling.Options)) (*autoscaling.ResumeProcessesOutput, error)
		StartInstanceRefresh(context.Context, *autoscaling.StartInstanceRefreshInput, ...func(*autoscaling.Options)) (*autoscaling.StartInstanceRefreshOutput, error)
		CancelInstanceRefresh(context.Context, *autoscaling.CancelInstanceRefreshInput, ...func(*autoscaling.Options)) (*autoscaling.CancelInstanceRefreshOutput, error)
		DescribeInstanceRefreshes(context.Context, *autoscaling.DescribeInstanceRefreshesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeInstanceRefreshesOutput, error)
		DescribeScheduledActions(context.Context, *autoscaling.DescribeScheduledActionsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeScheduledActionsOutput, error)
		PutScheduledUpdateGroupAction(context.Context, *autoscaling.PutScheduledUpdateGroupActionInput, ...func(*autoscaling.Options)) (*autoscaling.PutScheduledUpdateGroupActionOutput, error)
	}
	// Rules are those of a load balancer, with the health of its targets.
	Rules interface {
		DescribeRules(context.Context, *elb.DescribeRulesInput, ...func(*elb.Options)) (*elb.DescribeRulesOutput, error)
		ModifyRule(context.Context, *elb.ModifyRuleInput, ...func(*elb.Options)) (*elb.ModifyRuleOutput, error)
		DescribeTargetHealth(context.Context, *elb.DescribeTargetHealthInput, ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error)
	}
	// Metrics are those of CloudWatch, with its alarms.
	Metrics interface {
		GetMetricData(context.Context, *cloudwatch.GetMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.GetMetricDataOutput, error)
		DescribeAlarms(context.Context, *cloudwatch.DescribeAlarmsInput, ...func(*cloudwatch.Options)) (*cloudwatch.DescribeAlarmsOutput, error)
	}
	// Events are sent to EventBridge.
	Events interface {
		PutEvents(context.Context, *eventbridge.PutEventsInput, ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error)
	}
	// Executions are those of Step Functions.
	Executions interface {
		StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
		DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
		ListExecutions(context.Context, *sfn.ListExecutionsInput, ...func(*sfn.Options)) (*sfn.ListExecutionsOutput, error)
	}
)

// Cloud is the account a release works in.
type Cloud struct {
	Parameters Parameters
	Groups     Groups
	Rules      Rules
	Metrics    Metrics
	Events     Events
	Executions Executions
}

// NewCloud returns the cloud of an account.
func NewCloud(cfg aws.Config) Cloud {
	return Cloud{
		Parameters: ssm.NewFromConfig(cfg),
		Groups:     autoscaling.NewFromConfig(cfg),
		Rules:      elb.NewFromConfig(cfg),
		Metrics:    cloudwatch.NewFromConfig(cfg),
		Events:     eventbridge.NewFromConfig(cfg),
		Executions: sfn.NewFromConfig(cfg),
	}
}

// Fleet is the pair of fleets a release is about.
type Fleet struct {
	Environment string // "dev"
	Name        string // "web"
}

// read reads a parameter that holds JSON. What is missing or empty leaves v as
// it is.
func (c Cloud) read(ctx context.Context, name string, v any) error {
	out, err := c.Parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if _, missing := errors.AsType[*ssmtypes.ParameterNotFound](err); missing {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read parameter %s: %w", name, err)
	}
	if out.Parameter == nil || aws.ToString(out.Parameter.Value) == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.Parameter.Value)), v); err != nil {
		return fmt.Errorf("parameter %s holds %q: %w", name, aws.ToString(out.Parameter.Value), err)
	}
	return nil
}

func (c Cloud) write(ctx context.Context, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := c.Parameters.PutParameter(ctx, &ssm.PutParameterInput{
		Name: &name, Value: aws.String(string(text)), Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true),
	}); err != nil {
		return fmt.Errorf("write parameter %s: %w", name, err)
	}
	return nil
}

// state reads the last release of a fleet; its Number is 0 before the first.
func (c Cloud) state(ctx context.Context, f Fleet) (State, error) {
	var s State
	return s, c.read(ctx, contract.ReleaseStateParameter(f.Environment, f.Name), &s)
}

// target reads what the release construct has published.
func (c Cloud) target(ctx context.Context, f Fleet) (contract.ReleaseTarget, error) {
	name := contract.ReleaseTargetParameter(f.Environment, f.Name)
	var t contract.ReleaseTarget
	if err := c.read(ctx, name, &t); err != nil {
		return t, err
	}
	if t.Rule == "" || t.Colors[contract.ColorBlue].Group == "" || t.Colors[contract.ColorGreen].Group == "" {
		return t, fmt.Errorf("parameter %s says of no rule and two groups: is the environment %s deployed with a release construct for the fleet %s?", name, f.Environment, f.Name)
	}
	return t, nil
}

// group is an Auto Scaling group with its instances.
type group struct {
	Size
	instances int // in any state
	inService int
	suspended []string
}

func (c Cloud) group(ctx context.Context, name string) (group, error) {
	out, err := c.Groups.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		return group{}, fmt.Errorf("read Auto Scaling group %s: %w", name, err)
	}
	if len(out.AutoScalingGroups) != 1 {
		return group{}, fmt.Errorf("there is no Auto Scaling group %s", name)
	}
	found := out.AutoScalingGroups[0]
	g := group{
		Size:      Size{Min: int(aws.ToInt32(found.MinSize)), Max: int(aws.ToInt32(found.MaxSize)), Desired: int(aws.ToInt32(found.DesiredCapacity))},
		instances: len(found.Instances),
	}
	for _, i := range found.Instances {
		if i.LifecycleState == astypes.LifecycleStateInService {
			g.inService++
		}
	}
	for _, p := range found.SuspendedProcesses {
		g.suspended = append(g.suspended, aws.ToString(p.ProcessName))
	}
	return g, nil
}

// resize gives a group a size, when it has another.
func (c Cloud) resize(ctx context.Context, name string, have group, want Size) error {
	if have.Size == want {
		return nil
	}
	_, err := c.Groups.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: &name,
		MinSize:              aws.Int32(int32(want.Min)),
		MaxSize:              aws.Int32(int32(want.Max)),
		DesiredCapacity:      aws.Int32(int32(want.Desired)),
	})
	if err != nil {
		return fmt.Errorf("set the size of Auto Scaling group %s from %v to %v: %w", name, have.Size, want, err)
	}
	return nil
}

// Processes of an Auto Scaling group that a release suspends.
const (
	processAlarms    = "AlarmNotification"
	processSchedules = "ScheduledActions"
)

// suspend suspends or resumes processes of a group as far as it is not so already.
func (c Cloud) suspend(ctx context.Context, name string, have group, yes bool, processes ...string) error {
	changing := slices.DeleteFunc(slices.Clone(processes), func(p string) bool { return slices.Contains(have.suspended, p) == yes })
	if len(changing) == 0 {
		return nil
	}
	var err error
	verb := "suspend"
	if yes {
		_, err = c.Groups.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: &name, ScalingProcesses: changing})
	} else {
		verb = "resume"
		_, err = c.Groups.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: &name, ScalingProcesses: changing})
	}
	if err != nil {
		return fmt.Errorf("%s %v of Auto Scaling group %s: %w", verb, changing, name, err)
	}
	return nil
}

// health counts the targets of a target group.
type health struct {
	healthy, unhealthy int
	other              int // initial, draining, unavailable
	why                []string
}

func (c Cloud) health(ctx context.Context, targetGroup string) (health, error) {
	out, err := c.Rules.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &targetGroup})
	if err != nil {
		return health{}, fmt.Errorf("read the health of target group %s: %w", targetGroup, err)
	}
	var h health
	for _, t := range out.TargetHealthDescriptions {
		if t.TargetHealth == nil {
			continue
		}
		switch t.TargetHealth.State {
		case elbtypes.TargetHealthStateEnumHealthy:
			h.healthy++
		case elbtypes.TargetHealthStateEnumUnhealthy:
			h.unhealthy++
		default:
			h.other++
		}
		if t.TargetHealth.State != elbtypes.TargetHealthStateEnumHealthy && t.Target != nil {
			h.why = append(h.why, strings.TrimSpace(fmt.Sprintf("%s is %s %s", aws.ToString(t.Target.Id), t.TargetHealth.State, aws.ToString(t.TargetHealth.Description))))
		}
	}
	return h, nil
}

// forward is what the listener rule does with requests.
type forward struct {
	weights map[string]int // by color
	sticky  time.Duration  // 0 is off
}

// percent is the share of a color.
func (f forward) percent(color string) int {
	total := 0
	for _, w := range f.weights {
		total += w
	}
	if total == 0 {
		return 0
	}
	return 100 * f.weights[color] / total
}

func (c Cloud) forward(ctx context.Context, t contract.ReleaseTarget) (forward, error) {
	out, err := c.Rules.DescribeRules(ctx, &elb.DescribeRulesInput{RuleArns: []string{t.Rule}})
	if err != nil {
		return forward{}, fmt.Errorf("read listener rule %s: %w", t.Rule, err)
	}
	f := forward{weights: map[string]int{}}
	if len(out.Rules) != 1 || len(out.Rules[0].Actions) == 0 {
		return f, fmt.Errorf("listener rule %s does not exist or does nothing", t.Rule)
	}
	for _, a := range out.Rules[0].Actions {
		if a.Type != elbtypes.ActionTypeEnumForward {
			return f, fmt.Errorf("listener rule %s has a %s action; a release moves the weights of one forward action", t.Rule, a.Type)
		}
		groups := []elbtypes.TargetGroupTuple{{TargetGroupArn: a.TargetGroupArn, Weight: aws.Int32(1)}}
		if a.ForwardConfig != nil {
			groups = a.ForwardConfig.TargetGroups
			if s := a.ForwardConfig.TargetGroupStickinessConfig; s != nil && aws.ToBool(s.Enabled) {
				f.sticky = time.Duration(aws.ToInt32(s.DurationSeconds)) * time.Second
			}
		}
		for _, g := range groups {
			for color, rc := range t.Colors {
				if rc.TargetGroup == aws.ToString(g.TargetGroupArn) {
					f.weights[color] += int(aws.ToInt32(g.Weight))
				}
			}
		}
	}
	return f, nil
}

// shift sets what the rule does and reads it back.
func (c Cloud) shift(ctx context.Context, t contract.ReleaseTarget, want forward) error {
	have, err := c.forward(ctx, t)
	if err != nil {
		return err
	}
	if have.same(want) {
		return nil
	}
	stickiness := &elbtypes.TargetGroupStickinessConfig{Enabled: aws.Bool(want.sticky > 0)}
	if want.sticky > 0 {
		stickiness.DurationSeconds = aws.Int32(int32(max(1, want.sticky/time.Second)))
	}
	var groups []elbtypes.TargetGroupTuple
	for _, color := range []string{contract.ColorBlue, contract.ColorGreen} {
		groups = append(groups, elbtypes.TargetGroupTuple{
			TargetGroupArn: aws.String(t.Colors[color].TargetGroup), Weight: aws.Int32(int32(want.weights[color])),
		})
	}
	if _, err := c.Rules.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: &t.Rule, Actions: []elbtypes.Action{{
		Type:          elbtypes.ActionTypeEnumForward,
		ForwardConfig: &elbtypes.ForwardActionConfig{TargetGroups: groups, TargetGroupStickinessConfig: stickiness},
	}}}); err != nil {
		return fmt.Errorf("set the weights of listener rule %s to %v: %w", t.Rule, want.weights, err)
	}
	if have, err = c.forward(ctx, t); err != nil {
		return err
	}
	if !have.same(want) {
		return fmt.Errorf("listener rule %s was set to %v and reads %v: does somebody else set it?", t.Rule, want.weights, have.weights)
	}
	return nil
}

func (f forward) same(other forward) bool {
	return f.weights[contract.ColorBlue] == other.weights[contract.ColorBlue] &&
		f.weights[contract.ColorGreen] == other.weights[contract.ColorGreen] && f.sticky == other.sticky
}

// firing returns which of the alarms are in the state ALARM.
func (c Cloud) firing(ctx context.Context, names ...string) ([]string, error) {
	var firing []string
	for batch := range slices.Chunk(names, 100) { // the most that DescribeAlarms takes
		out, err := c.Metrics.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: batch, MaxRecords: aws.Int32(100)})
		if err != nil {
			return nil, fmt.Errorf("read %d alarms: %w", len(batch), err)
		}
		for _, a := range out.MetricAlarms {
			if a.StateValue == "ALARM" {
				firing = append(firing, aws.ToString(a.AlarmName))
			}
		}
	}
	slices.Sort(firing)
	return firing, nil
}

// copySchedule gives a group the scheduled actions of another.
func (c Cloud) copySchedule(ctx context.Context, from, to string) error {
	pages := autoscaling.NewDescribeScheduledActionsPaginator(c.Groups, &autoscaling.DescribeScheduledActionsInput{AutoScalingGroupName: &from})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("read the scheduled actions of Auto Scaling group %s: %w", from, err)
		}
		for _, a := range page.ScheduledUpdateGroupActions {
			if a.Recurrence == nil {
				continue // happens once
			}
			if _, err := c.Groups.PutScheduledUpdateGroupAction(ctx, &autoscaling.PutScheduledUpdateGroupActionInput{
				AutoScalingGroupName: &to, ScheduledActionName: a.ScheduledActionName, Recurrence: a.Recurrence, TimeZone: a.TimeZone,
				EndTime: a.EndTime, MinSize: a.MinSize, MaxSize: a.MaxSize, DesiredCapacity: a.DesiredCapacity,
			}); err != nil {
				return fmt.Errorf("copy scheduled action %s to Auto Scaling group %s: %w", aws.ToString(a.ScheduledActionName), to, err)
			}
		}
	}
	return nil
}
