package firewall

import (
	"slices"

	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Names of the rules that the construct names itself.
const (
	ruleCountries   = "Countries"
	ruleBodyLimit   = "BodyLimit"
	ruleQueryLimit  = "QueryLimit"
	ruleHeaderLimit = "HeaderLimit"
	rulePathLimit   = "PathLimit"
)

// rule is a rule before it is one of WAF's.
type rule struct {
	name     string
	mode     Mode
	managed  bool // its own rules say what to do
	response Response
	statement
}

// ruleList is every rule in the order of its evaluation, which is that of cost:
// addresses first, then the size of the body, then its content. sets are the ARNs
// of the IP sets of a list.
func (p Props) ruleList(sets func(IPSet) []string) []rule {
	var rules []rule
	add := func(r rule) {
		if r.mode != Off {
			rules = append(rules, r)
		}
	}
	for _, set := range slices.Concat(p.AllowedIPs, p.BlockedIPs) {
		add(rule{name: set.Name, mode: set.Mode, statement: fromAddresses(set, sets(set))})
	}
	if len(p.Countries.Allowed)+len(p.Countries.Blocked) > 0 {
		add(rule{name: ruleCountries, mode: p.Countries.Mode, statement: fromCountries(p.Countries)})
	}
	add(p.managed(IPReputation))
	for _, limit := range p.RateLimits {
		add(rule{name: limit.Name, mode: limit.Mode, response: limit.Response, statement: tooOften(limit)})
	}
	add(rule{name: ruleBodyLimit, mode: p.BodyLimitMode, response: problem(413, "Content Too Large"), statement: p.bodyTooLarge()})
	for _, limit := range []struct {
		name     string
		size     int
		response Response
		of       *waf.CfnWebACL_FieldToMatchProperty
	}{
		{ruleQueryLimit, p.Sizes.Query, problem(414, "URI Too Long"), &waf.CfnWebACL_FieldToMatchProperty{QueryString: map[string]any{}}},
		{ruleHeaderLimit, p.Sizes.Header, problem(431, "Request Header Fields Too Large"), headerValues()},
		{rulePathLimit, p.Sizes.Path, problem(414, "URI Too Long"), uriPath()},
	} {
		if limit.size > 0 {
			add(rule{name: limit.name, mode: p.Sizes.Mode, response: limit.response, statement: largerThan(limit.of, limit.size)})
		}
	}
	for _, group := range Groups() {
		if group != IPReputation {
			add(p.managed(group))
		}
	}
	for _, group := range p.ManagedGroups {
		if !slices.Contains(Groups(), group.Name) {
			add(p.managed(group.Name))
		}
	}
	return rules
}

// managed is the rule of a managed group, with the settings it has in Props.
func (p Props) managed(name Group) rule {
	group := ManagedGroup{Vendor: "AWS", Name: name, Mode: Block}
	if mode, ok := p.Modes[name]; ok {
		group.Mode = mode
	}
	if i := slices.IndexFunc(p.ManagedGroups, func(g ManagedGroup) bool { return g.Name == name }); i >= 0 {
		group = p.ManagedGroups[i]
	}
	exceptions := slices.Clone(group.Exceptions)
	for _, exception := range p.Exceptions {
		if exception.Group == name {
			exceptions = append(exceptions, exception)
		}
	}
	if name == Common {
		exceptions = append([]Exception{{Rule: "SizeRestrictions_BODY"}}, exceptions...)
	}
	return rule{name: string(name), mode: group.Mode, managed: true, statement: managedStatement(group, exceptions)}
}

// property is the rule as WAF has it, the number-th from 0.
func (r rule) property(number int, metric string, observeOnly bool) waf.CfnWebACL_RuleProperty {
	property := waf.CfnWebACL_RuleProperty{
		Name:             &r.name,
		Priority:         cdkx.Number(number),
		Statement:        r.CfnWebACL_StatementProperty,
		VisibilityConfig: visibility(metric),
	}
	mode := r.mode
	if observeOnly {
		mode = Count
	}
	if !r.managed {
		property.Action = action(mode, r.response)
		return property
	}
	// A group's own rules say what to do; only counting overrides them.
	property.OverrideAction = &waf.CfnWebACL_OverrideActionProperty{None: map[string]any{}}
	if mode == Count {
		property.OverrideAction = &waf.CfnWebACL_OverrideActionProperty{Count: map[string]any{}}
	}
	return property
}

func action(mode Mode, response Response) *waf.CfnWebACL_RuleActionProperty {
	switch mode {
	case Count:
		return &waf.CfnWebACL_RuleActionProperty{Count: &waf.CfnWebACL_CountActionProperty{}}
	case Allow:
		return &waf.CfnWebACL_RuleActionProperty{Allow: &waf.CfnWebACL_AllowActionProperty{}}
	case Captcha:
		return &waf.CfnWebACL_RuleActionProperty{Captcha: &waf.CfnWebACL_CaptchaActionProperty{}}
	case Challenge:
		return &waf.CfnWebACL_RuleActionProperty{Challenge: &waf.CfnWebACL_ChallengeActionProperty{}}
	default:
		return &waf.CfnWebACL_RuleActionProperty{Block: response.block()}
	}
}

// visibility keeps samples of matching requests, and metrics under a name.
func visibility(metric string) *waf.CfnWebACL_VisibilityConfigProperty {
	return &waf.CfnWebACL_VisibilityConfigProperty{
		CloudWatchMetricsEnabled: new(true),
		SampledRequestsEnabled:   new(true),
		MetricName:               &metric,
	}
}
