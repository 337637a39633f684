package alb_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/loadbearing/loadbearing/local/edge/alb"
)

// api answers from values, in pages of one rule.
type api struct {
	balancers  []types.LoadBalancer
	attributes []types.LoadBalancerAttribute
	listeners  []types.Listener
	rules      []types.Rule
	groups     []types.TargetGroup
	groupAttrs []types.TargetGroupAttribute
	health     []types.TargetHealthDescription
}

func (a *api) DescribeLoadBalancers(_ context.Context, in *elbv2.DescribeLoadBalancersInput, _ ...func(*elbv2.Options)) (*elbv2.DescribeLoadBalancersOutput, error) {
	return &elbv2.DescribeLoadBalancersOutput{LoadBalancers: a.balancers}, nil
}

func (a *api) DescribeLoadBalancerAttributes(context.Context, *elbv2.DescribeLoadBalancerAttributesInput, ...func(*elbv2.Options)) (*elbv2.DescribeLoadBalancerAttributesOutput, error) {
	return &elbv2.DescribeLoadBalancerAttributesOutput{Attributes: a.attributes}, nil
}

func (a *api) DescribeListeners(context.Context, *elbv2.DescribeListenersInput, ...func(*elbv2.Options)) (*elbv2.DescribeListenersOutput, error) {
	return &elbv2.DescribeListenersOutput{Listeners: a.listeners}, nil
}

func (a *api) DescribeRules(_ context.Context, in *elbv2.DescribeRulesInput, _ ...func(*elbv2.Options)) (*elbv2.DescribeRulesOutput, error) {
	if len(a.rules) == 0 {
		return &elbv2.DescribeRulesOutput{}, nil
	}
	if in.Marker == nil && len(a.rules) > 1 {
		return &elbv2.DescribeRulesOutput{Rules: a.rules[:1], NextMarker: aws.String("1")}, nil
	}
	return &elbv2.DescribeRulesOutput{Rules: a.rules[min(1, len(a.rules)-1):]}, nil
}

func (a *api) DescribeTargetGroups(_ context.Context, in *elbv2.DescribeTargetGroupsInput, _ ...func(*elbv2.Options)) (*elbv2.DescribeTargetGroupsOutput, error) {
	out := &elbv2.DescribeTargetGroupsOutput{}
	for _, g := range a.groups {
		for _, arn := range in.TargetGroupArns {
			if aws.ToString(g.TargetGroupArn) == arn {
				out.TargetGroups = append(out.TargetGroups, g)
			}
		}
	}
	return out, nil
}

func (a *api) DescribeTargetGroupAttributes(context.Context, *elbv2.DescribeTargetGroupAttributesInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetGroupAttributesOutput, error) {
	return &elbv2.DescribeTargetGroupAttributesOutput{Attributes: a.groupAttrs}, nil
}

func (a *api) DescribeTargetHealth(context.Context, *elbv2.DescribeTargetHealthInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetHealthOutput, error) {
	return &elbv2.DescribeTargetHealthOutput{TargetHealthDescriptions: a.health}, nil
}

func deployed() *api {
	str, n := aws.String, aws.Int32
	return &api{
		balancers: []types.LoadBalancer{
			{LoadBalancerArn: str("net"), Type: types.LoadBalancerTypeEnumNetwork},
			{LoadBalancerArn: str("lb"), LoadBalancerName: str("web"), DNSName: str("web.elb.amazonaws.com"), Type: types.LoadBalancerTypeEnumApplication},
		},
		attributes: []types.LoadBalancerAttribute{
			{Key: str("idle_timeout.timeout_seconds"), Value: str("120")},
			{Key: str("routing.http.drop_invalid_header_fields.enabled"), Value: str("true")},
		},
		listeners: []types.Listener{{
			ListenerArn: str("l443"), Port: n(443), Protocol: types.ProtocolEnumHttps,
			DefaultActions: []types.Action{{
				Type:                types.ActionTypeEnumFixedResponse,
				FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: str("403"), ContentType: str("text/plain"), MessageBody: str("no")},
			}},
		}},
		rules: []types.Rule{
			{RuleArn: str("r20"), Priority: str("20"), Conditions: []types.RuleCondition{
				{Field: str("path-pattern"), Values: []string{"/*"}, PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{"/*"}}},
				{Field: str("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: str("X-Origin-Verify"), Values: []string{"secret"}}},
				{Field: str("query-string"), QueryStringConfig: &types.QueryStringConditionConfig{Values: []types.QueryStringKeyValuePair{{Key: str("k"), Value: str("v")}}}},
			}, Actions: []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: &types.ForwardActionConfig{
				TargetGroups:                []types.TargetGroupTuple{{TargetGroupArn: str("blue"), Weight: n(95)}, {TargetGroupArn: str("green"), Weight: n(5)}},
				TargetGroupStickinessConfig: &types.TargetGroupStickinessConfig{Enabled: aws.Bool(true), DurationSeconds: n(3600)},
			}}}},
			{
				RuleArn: str("r3"), Priority: str("3"), Conditions: []types.RuleCondition{{Field: str("host-header"), Values: []string{"old.example.com"}}},
				Actions: []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{Host: str("new.example.com"), StatusCode: types.RedirectActionStatusCodeEnumHttp301}}},
			},
			{RuleArn: str("default"), Priority: str("default"), IsDefault: aws.Bool(true)},
		},
		groups: []types.TargetGroup{
			{TargetGroupArn: str("green"), TargetGroupName: str("green"), Protocol: types.ProtocolEnumHttp, Port: n(8080), TargetType: types.TargetTypeEnumInstance},
			{
				TargetGroupArn: str("blue"), TargetGroupName: str("blue"), Protocol: types.ProtocolEnumHttp, Port: n(8080), TargetType: types.TargetTypeEnumInstance,
				HealthCheckIntervalSeconds: n(5), HealthCheckTimeoutSeconds: n(2), HealthyThresholdCount: n(2), UnhealthyThresholdCount: n(3),
				HealthCheckPath: str("/readyz"), HealthCheckPort: str("9000"), Matcher: &types.Matcher{HttpCode: str("200-299")},
			},
		},
		groupAttrs: []types.TargetGroupAttribute{
			{Key: str("deregistration_delay.timeout_seconds"), Value: str("15")},
			{Key: str("load_balancing.algorithm.type"), Value: str("least_outstanding_requests")},
			{Key: str("stickiness.enabled"), Value: str("true")},
			{Key: str("stickiness.type"), Value: str("lb_cookie")},
			{Key: str("stickiness.lb_cookie.duration_seconds"), Value: str("60")},
			{Key: str("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage"), Value: str("off")},
		},
		health: []types.TargetHealthDescription{
			{Target: &types.TargetDescription{Id: str("i-2"), Port: n(31002)}, TargetHealth: &types.TargetHealth{State: types.TargetHealthStateEnumUnhealthy}},
			{Target: &types.TargetDescription{Id: str("i-1")}},
			{Target: &types.TargetDescription{Id: str("i-0"), Port: n(31000)}, TargetHealth: &types.TargetHealth{State: types.TargetHealthStateEnumDraining}},
		},
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	got, err := alb.Load(t.Context(), deployed(), "")
	if err != nil {
		t.Fatal(err)
	}
	group := func(name string, check alb.HealthCheck) alb.TargetGroup {
		return alb.TargetGroup{
			ARN: name, Name: name, Protocol: alb.HTTP, Port: 8080, HealthCheck: check, Algorithm: alb.LeastOutstanding,
			Stickiness: alb.TargetStickiness{Duration: time.Minute}, DeregistrationDelay: 15 * time.Second, MinHealthyCount: 1,
			Targets: []alb.Target{{ID: "i-1", Port: 8080}, {ID: "i-2", Port: 31002}},
		}
	}
	want := alb.Config{
		LoadBalancer: alb.LoadBalancer{
			ARN: "lb", Name: "web", DNSName: "web.elb.amazonaws.com",
			IdleTimeout: 2 * time.Minute, DropInvalidHeaders: true, ForwardedFor: alb.ForwardedForAppend,
		},
		Listeners: []alb.Listener{{ARN: "l443", Port: 443, Protocol: alb.HTTPS, Rules: []alb.Rule{
			{
				ARN: "r3", Priority: 3, Conditions: []alb.Condition{{Field: alb.FieldHost, Values: []string{"old.example.com"}}},
				Action: alb.Action{Redirect: &alb.Redirect{Host: "new.example.com", Query: "#{query}", Status: 301}},
			},
			{ARN: "r20", Priority: 20, Conditions: []alb.Condition{
				{Field: alb.FieldPath, Values: []string{"/*"}},
				{Field: alb.FieldHeader, Header: "X-Origin-Verify", Values: []string{"secret"}},
				{Field: alb.FieldQuery, Query: []alb.QueryPair{{Key: "k", Value: "v"}}},
			}, Action: alb.Action{Forward: &alb.Forward{Stickiness: time.Hour, Groups: []alb.WeightedGroup{{"blue", 95}, {"green", 5}}}}},
			{ARN: "l443", Action: alb.Action{FixedResponse: &alb.FixedResponse{Status: 403, ContentType: "text/plain", Body: "no"}}},
		}}},
		TargetGroups: []alb.TargetGroup{
			group("blue", alb.HealthCheck{
				Protocol: alb.HTTP, Port: 9000, Path: "/readyz", Interval: 5 * time.Second, Timeout: 2 * time.Second,
				HealthyThreshold: 2, UnhealthyThreshold: 3, Matcher: "200-299",
			}),
			group("green", alb.HealthCheck{
				Protocol: alb.HTTP, Path: "/", Interval: 30 * time.Second, Timeout: 5 * time.Second,
				HealthyThreshold: 5, UnhealthyThreshold: 2, Matcher: "200",
			}),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if p := got.Primary(); p != 443 {
		t.Errorf("primary listener on %d, want 443", p)
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*api)
		want   string
	}{
		{"none", func(a *api) { a.balancers = a.balancers[:1] }, "deploy the stack"},
		{"several", func(a *api) {
			a.balancers = append(a.balancers, types.LoadBalancer{LoadBalancerArn: aws.String("lb2")})
		}, "lb, lb2"},
		{"authentication", func(a *api) { a.rules[0].Actions[0].Type = types.ActionTypeEnumAuthenticateOidc }, "r20: action authenticate-oidc is not supported"},
		{"transform", func(a *api) { a.rules[0].Transforms = []types.RuleTransform{{}} }, "r20: transforms"},
		{"lambda", func(a *api) { a.groups[0].TargetType = types.TargetTypeEnumLambda }, "green: targets of type lambda"},
		{"group missing", func(a *api) { a.groups = a.groups[:1] }, "returned 1 of them"},
	} {
		a := deployed()
		tc.change(a)
		if _, err := alb.Load(t.Context(), a, ""); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
	}
}
