package alb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"golang.org/x/sync/errgroup"
)

// API is the part of the Elastic Load Balancing API that is read.
type API interface {
	DescribeLoadBalancers(context.Context, *elbv2.DescribeLoadBalancersInput, ...func(*elbv2.Options)) (*elbv2.DescribeLoadBalancersOutput, error)
	DescribeLoadBalancerAttributes(context.Context, *elbv2.DescribeLoadBalancerAttributesInput, ...func(*elbv2.Options)) (*elbv2.DescribeLoadBalancerAttributesOutput, error)
	DescribeListeners(context.Context, *elbv2.DescribeListenersInput, ...func(*elbv2.Options)) (*elbv2.DescribeListenersOutput, error)
	DescribeRules(context.Context, *elbv2.DescribeRulesInput, ...func(*elbv2.Options)) (*elbv2.DescribeRulesOutput, error)
	DescribeTargetGroups(context.Context, *elbv2.DescribeTargetGroupsInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetGroupsOutput, error)
	DescribeTargetGroupAttributes(context.Context, *elbv2.DescribeTargetGroupAttributesInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetGroupAttributesOutput, error)
	DescribeTargetHealth(context.Context, *elbv2.DescribeTargetHealthInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetHealthOutput, error)
}

// Load reads what a load balancer does, with the targets registered now. An
// empty arn stands for the only Application Load Balancer there is; with none
// or several the error lists them. What the data plane cannot do is an error
// that names the rule.
func Load(ctx context.Context, api API, arn string) (Config, error) {
	lb, err := find(ctx, api, arn)
	if err != nil {
		return Config{}, err
	}
	arn = aws.ToString(lb.LoadBalancerArn)
	attributes, err := api.DescribeLoadBalancerAttributes(ctx, &elbv2.DescribeLoadBalancerAttributesInput{LoadBalancerArn: &arn})
	if err != nil {
		return Config{}, fmt.Errorf("read attributes of load balancer %s: %w", arn, err)
	}
	cfg := Config{LoadBalancer: loadBalancer(lb, attributes.Attributes)}

	// Rules before target groups: a deployment creates a group before the rule
	// that forwards to it, so a group read later is never missing.
	if cfg.Listeners, err = listeners(ctx, api, arn); err != nil {
		return Config{}, err
	}
	arns := forwardedTo(cfg.Listeners)
	if len(arns) == 0 {
		return cfg, nil
	}
	if cfg.TargetGroups, err = targetGroups(ctx, api, arns); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// Follow reads again what changes while the rest stays: the rules and which
// targets are registered. When a rule forwards to a target group that known
// does not have, it reads everything.
func Follow(ctx context.Context, api API, known Config) (Config, error) {
	arn := known.LoadBalancer.ARN
	next := Config{LoadBalancer: known.LoadBalancer, TargetGroups: slices.Clone(known.TargetGroups)}
	var err error
	if next.Listeners, err = listeners(ctx, api, arn); err != nil {
		return Config{}, err
	}
	forwarded := forwardedTo(next.Listeners)
	if !slices.EqualFunc(forwarded, known.TargetGroups, func(arn string, g TargetGroup) bool { return arn == g.ARN }) {
		return Load(ctx, api, arn)
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range next.TargetGroups {
		group.Go(func() error {
			g := &next.TargetGroups[i]
			var err error
			g.Targets, err = targets(ctx, api, g.ARN, g.Port)
			return err
		})
	}
	return next, group.Wait()
}

func find(ctx context.Context, api API, arn string) (types.LoadBalancer, error) {
	in := &elbv2.DescribeLoadBalancersInput{}
	if arn != "" {
		in.LoadBalancerArns = []string{arn}
	}
	var found []types.LoadBalancer
	pages := elbv2.NewDescribeLoadBalancersPaginator(api, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return types.LoadBalancer{}, fmt.Errorf("read load balancers: %w", err)
		}
		for _, lb := range page.LoadBalancers {
			if lb.Type == types.LoadBalancerTypeEnumApplication || lb.Type == "" {
				found = append(found, lb)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return types.LoadBalancer{}, errors.New("there is no Application Load Balancer: deploy the stack that has it first")
	}
	var names []string
	for _, lb := range found {
		names = append(names, aws.ToString(lb.LoadBalancerArn))
	}
	return types.LoadBalancer{}, fmt.Errorf("there are %d Application Load Balancers, name one of: %s", len(found), strings.Join(names, ", "))
}

func loadBalancer(lb types.LoadBalancer, attributes []types.LoadBalancerAttribute) LoadBalancer {
	a := make(attrs, len(attributes))
	for _, kv := range attributes {
		a[aws.ToString(kv.Key)] = aws.ToString(kv.Value)
	}
	out := LoadBalancer{
		ARN:                aws.ToString(lb.LoadBalancerArn),
		Name:               aws.ToString(lb.LoadBalancerName),
		DNSName:            aws.ToString(lb.DNSName),
		IdleTimeout:        a.seconds("idle_timeout.timeout_seconds", time.Minute),
		DropInvalidHeaders: a.enabled("routing.http.drop_invalid_header_fields.enabled"),
		ForwardedFor:       cmp.Or(ForwardedFor(a["routing.http.xff_header_processing.mode"]), ForwardedForAppend),
		ForwardedForPort:   a.enabled("routing.http.xff_client_port.enabled"),
	}
	if a.enabled("access_logs.s3.enabled") {
		out.AccessLogs = AccessLogs{Bucket: a["access_logs.s3.bucket"], Prefix: a["access_logs.s3.prefix"]}
	}
	return out
}

func listeners(ctx context.Context, api API, arn string) ([]Listener, error) {
	var described []types.Listener
	pages := elbv2.NewDescribeListenersPaginator(api, &elbv2.DescribeListenersInput{LoadBalancerArn: &arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read listeners of %s: %w", arn, err)
		}
		described = append(described, page.Listeners...)
	}
	list := make([]Listener, len(described))
	group, ctx := errgroup.WithContext(ctx)
	for i, d := range described {
		group.Go(func() error {
			l := Listener{ARN: aws.ToString(d.ListenerArn), Port: int(aws.ToInt32(d.Port)), Protocol: Protocol(d.Protocol)}
			var err error
			l.Rules, err = rules(ctx, api, d)
			list[i] = l
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b Listener) int { return cmp.Compare(a.Port, b.Port) })
	return list, nil
}

func rules(ctx context.Context, api API, l types.Listener) ([]Rule, error) {
	var list []Rule
	pages := elbv2.NewDescribeRulesPaginator(api, &elbv2.DescribeRulesInput{ListenerArn: l.ListenerArn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read rules of listener %s: %w", aws.ToString(l.ListenerArn), err)
		}
		for _, r := range page.Rules {
			if aws.ToBool(r.IsDefault) {
				continue // the listener's own actions are the same, and there on every emulator
			}
			converted, err := rule(r)
			if err != nil {
				return nil, err
			}
			list = append(list, converted)
		}
	}
	slices.SortFunc(list, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	act, err := action(l.DefaultActions)
	if err != nil {
		return nil, fmt.Errorf("default rule of listener %s: %w", aws.ToString(l.ListenerArn), err)
	}
	return append(list, Rule{ARN: aws.ToString(l.ListenerArn), Action: act}), nil
}

func rule(r types.Rule) (Rule, error) {
	arn := aws.ToString(r.RuleArn)
	priority, err := strconv.Atoi(aws.ToString(r.Priority))
	if err != nil {
		return Rule{}, fmt.Errorf("rule %s: priority %q is not a number", arn, aws.ToString(r.Priority))
	}
	if len(r.Transforms) > 0 {
		return Rule{}, fmt.Errorf("rule %s: transforms are not supported here", arn)
	}
	out := Rule{ARN: arn, Priority: priority}
	for _, c := range r.Conditions {
		out.Conditions = append(out.Conditions, condition(c))
	}
	if out.Action, err = action(r.Actions); err != nil {
		return Rule{}, fmt.Errorf("rule %s: %w", arn, err)
	}
	return out, nil
}

// condition prefers the typed configuration of a condition to the older flat
// list of values; the API returns both for host and path.
func condition(c types.RuleCondition) Condition {
	out := Condition{Field: Field(aws.ToString(c.Field)), Values: c.Values, Regex: c.RegexValues}
	set := func(values, regex []string) {
		if len(values) > 0 {
			out.Values = values
		}
		if len(regex) > 0 {
			out.Regex = regex
		}
	}
	switch {
	case c.HostHeaderConfig != nil:
		set(c.HostHeaderConfig.Values, c.HostHeaderConfig.RegexValues)
	case c.PathPatternConfig != nil:
		set(c.PathPatternConfig.Values, c.PathPatternConfig.RegexValues)
	case c.HttpRequestMethodConfig != nil:
		set(c.HttpRequestMethodConfig.Values, nil)
	case c.SourceIpConfig != nil:
		set(c.SourceIpConfig.Values, nil)
	case c.HttpHeaderConfig != nil:
		out.Header = aws.ToString(c.HttpHeaderConfig.HttpHeaderName)
		set(c.HttpHeaderConfig.Values, c.HttpHeaderConfig.RegexValues)
	case c.QueryStringConfig != nil:
		for _, kv := range c.QueryStringConfig.Values {
			out.Query = append(out.Query, QueryPair{aws.ToString(kv.Key), aws.ToString(kv.Value)})
		}
	}
	return out
}

func action(actions []types.Action) (Action, error) {
	for _, a := range slices.SortedFunc(slices.Values(actions), func(a, b types.Action) int {
		return cmp.Compare(aws.ToInt32(a.Order), aws.ToInt32(b.Order))
	}) {
		switch a.Type {
		case types.ActionTypeEnumForward:
			return Action{Forward: forward(a)}, nil
		case types.ActionTypeEnumRedirect:
			return redirect(a.RedirectConfig)
		case types.ActionTypeEnumFixedResponse:
			return fixedResponse(a.FixedResponseConfig)
		default:
			return Action{}, fmt.Errorf("action %s is not supported here", a.Type)
		}
	}
	return Action{}, errors.New("has no action")
}

func forward(a types.Action) *Forward {
	if a.ForwardConfig == nil || len(a.ForwardConfig.TargetGroups) == 0 {
		return &Forward{Groups: []WeightedGroup{{ARN: aws.ToString(a.TargetGroupArn), Weight: 1}}}
	}
	f := &Forward{}
	for _, g := range a.ForwardConfig.TargetGroups {
		weight := 1 // what a lone group without a weight gets
		if g.Weight != nil {
			weight = int(*g.Weight)
		}
		f.Groups = append(f.Groups, WeightedGroup{ARN: aws.ToString(g.TargetGroupArn), Weight: weight})
	}
	if s := a.ForwardConfig.TargetGroupStickinessConfig; s != nil && aws.ToBool(s.Enabled) {
		f.Stickiness = time.Duration(aws.ToInt32(s.DurationSeconds)) * time.Second
	}
	return f
}

func redirect(c *types.RedirectActionConfig) (Action, error) {
	if c == nil {
		return Action{}, errors.New("redirect action has no configuration")
	}
	status, err := strconv.Atoi(strings.TrimPrefix(string(c.StatusCode), "HTTP_"))
	if err != nil {
		return Action{}, fmt.Errorf("redirect status %q: allowed are HTTP_301 and HTTP_302", c.StatusCode)
	}
	query := "#{query}"
	if c.Query != nil {
		query = *c.Query
	}
	return Action{Redirect: &Redirect{
		Protocol: aws.ToString(c.Protocol), Host: aws.ToString(c.Host), Port: aws.ToString(c.Port),
		Path: aws.ToString(c.Path), Query: query, Status: status,
	}}, nil
}

func fixedResponse(c *types.FixedResponseActionConfig) (Action, error) {
	if c == nil {
		return Action{}, errors.New("fixed-response action has no configuration")
	}
	status, err := strconv.Atoi(aws.ToString(c.StatusCode))
	if err != nil || status < 200 || status > 599 {
		return Action{}, fmt.Errorf("fixed-response status %q: allowed are 2XX, 4XX and 5XX", aws.ToString(c.StatusCode))
	}
	return Action{FixedResponse: &FixedResponse{
		Status: status, ContentType: aws.ToString(c.ContentType), Body: aws.ToString(c.MessageBody),
	}}, nil
}

func forwardedTo(list []Listener) []string {
	arns := map[string]bool{}
	for _, l := range list {
		for _, r := range l.Rules {
			if r.Action.Forward == nil {
				continue
			}
			for _, g := range r.Action.Forward.Groups {
				arns[g.ARN] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(arns))
}

func targetGroups(ctx context.Context, api API, arns []string) ([]TargetGroup, error) {
	out, err := api.DescribeTargetGroups(ctx, &elbv2.DescribeTargetGroupsInput{TargetGroupArns: arns})
	if err != nil {
		return nil, fmt.Errorf("read target groups %s: %w", strings.Join(arns, ", "), err)
	}
	if len(out.TargetGroups) != len(arns) {
		return nil, fmt.Errorf("rules forward to %d target groups, the API returned %d of them", len(arns), len(out.TargetGroups))
	}
	list := make([]TargetGroup, len(out.TargetGroups))
	group, ctx := errgroup.WithContext(ctx)
	for i, d := range out.TargetGroups {
		group.Go(func() error {
			arn := aws.ToString(d.TargetGroupArn)
			if d.TargetType != types.TargetTypeEnumInstance && d.TargetType != types.TargetTypeEnumIp && d.TargetType != "" {
				return fmt.Errorf("target group %s: targets of type %s are not supported here", arn, d.TargetType)
			}
			attributes, err := api.DescribeTargetGroupAttributes(ctx, &elbv2.DescribeTargetGroupAttributesInput{TargetGroupArn: &arn})
			if err != nil {
				return fmt.Errorf("read attributes of target group %s: %w", arn, err)
			}
			if list[i], err = targetGroup(d, attributes.Attributes); err != nil {
				return err
			}
			list[i].Targets, err = targets(ctx, api, arn, list[i].Port)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b TargetGroup) int { return cmp.Compare(a.ARN, b.ARN) })
	return list, nil
}

func targetGroup(d types.TargetGroup, attributes []types.TargetGroupAttribute) (TargetGroup, error) {
	a := make(attrs, len(attributes))
	for _, kv := range attributes {
		a[aws.ToString(kv.Key)] = aws.ToString(kv.Value)
	}
	seconds := func(v *int32, byDefault int32) time.Duration {
		if v == nil {
			return time.Duration(byDefault) * time.Second
		}
		return time.Duration(*v) * time.Second
	}
	g := TargetGroup{
		ARN:      aws.ToString(d.TargetGroupArn),
		Name:     aws.ToString(d.TargetGroupName),
		Protocol: cmp.Or(Protocol(d.Protocol), HTTP),
		Port:     int(aws.ToInt32(d.Port)),
		HealthCheck: HealthCheck{
			Protocol:           cmp.Or(Protocol(d.HealthCheckProtocol), HTTP),
			Path:               cmp.Or(aws.ToString(d.HealthCheckPath), "/"),
			Interval:           seconds(d.HealthCheckIntervalSeconds, 30),
			Timeout:            seconds(d.HealthCheckTimeoutSeconds, 5),
			HealthyThreshold:   int(cmp.Or(aws.ToInt32(d.HealthyThresholdCount), 5)),
			UnhealthyThreshold: int(cmp.Or(aws.ToInt32(d.UnhealthyThresholdCount), 2)),
			Matcher:            "200",
		},
		Algorithm:           cmp.Or(Algorithm(a["load_balancing.algorithm.type"]), RoundRobin),
		DeregistrationDelay: a.seconds("deregistration_delay.timeout_seconds", 5*time.Minute),
		SlowStart:           a.seconds("slow_start.duration_seconds", 0),
		MinHealthyCount:     a.count("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", 1),
		MinHealthyPercent:   a.count("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", 0),
	}
	if d.Matcher != nil && aws.ToString(d.Matcher.HttpCode) != "" {
		g.HealthCheck.Matcher = *d.Matcher.HttpCode
	}
	if port := aws.ToString(d.HealthCheckPort); port != "" && port != "traffic-port" {
		n, err := strconv.Atoi(port)
		if err != nil {
			return TargetGroup{}, fmt.Errorf("target group %s: health check port %q is neither a number nor traffic-port", g.ARN, port)
		}
		g.HealthCheck.Port = n
	}
	if a.enabled("stickiness.enabled") {
		if a["stickiness.type"] == "app_cookie" {
			g.Stickiness.AppCookie = a["stickiness.app_cookie.cookie_name"]
			g.Stickiness.Duration = a.seconds("stickiness.app_cookie.duration_seconds", 24*time.Hour)
		} else {
			g.Stickiness.Duration = a.seconds("stickiness.lb_cookie.duration_seconds", 24*time.Hour)
		}
	}
	return g, nil
}

// targets reads what is registered with a target group, whose port is that of
// a target registered without one. Elastic Load Balancing lists a deregistered
// target until it has drained.
func targets(ctx context.Context, api API, arn string, port int) ([]Target, error) {
	out, err := api.DescribeTargetHealth(ctx, &elbv2.DescribeTargetHealthInput{TargetGroupArn: &arn})
	if err != nil {
		return nil, fmt.Errorf("read targets of target group %s: %w", arn, err)
	}
	var list []Target
	for _, t := range out.TargetHealthDescriptions {
		if t.Target == nil || t.TargetHealth != nil && t.TargetHealth.State == types.TargetHealthStateEnumDraining {
			continue
		}
		list = append(list, Target{ID: aws.ToString(t.Target.Id), Port: cmp.Or(int(aws.ToInt32(t.Target.Port)), port)})
	}
	slices.SortFunc(list, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Port, b.Port))
	})
	return list, nil
}

// attrs are attributes by key.
type attrs map[string]string

func (a attrs) enabled(key string) bool { return a[key] == "true" }

// count reads a number; "off" and anything else that is none give the default.
func (a attrs) count(key string, byDefault int) int {
	if n, err := strconv.Atoi(a[key]); err == nil {
		return n
	}
	return byDefault
}

func (a attrs) seconds(key string, byDefault time.Duration) time.Duration {
	if n, err := strconv.Atoi(a[key]); err == nil {
		return time.Duration(n) * time.Second
	}
	return byDefault
}
