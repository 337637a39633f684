package firewall

import (
	"regexp"
	"strings"

	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// ruleList is every rule in the order of its evaluation, which is that of cost:
// addresses first, then the size of the body, then its content.
func (f *Firewall) ruleList(props Props) []waf.CfnWebACL_RuleProperty {
	var rules []waf.CfnWebACL_RuleProperty
	add := func(name string, mode Mode, managed bool, statement waf.CfnWebACL_StatementProperty) {
		if mode == Off {
			return
		}
		rule := waf.CfnWebACL_RuleProperty{
			Name:             &name,
			Priority:         cdkx.Number(len(rules)),
			Statement:        statement,
			VisibilityConfig: visibility(f.metric + metricName(name)),
		}
		count := mode == Count || props.ObserveOnly
		// A group's own rules say what to do; only counting overrides them.
		switch {
		case managed && count:
			rule.OverrideAction = &waf.CfnWebACL_OverrideActionProperty{Count: map[string]any{}}
		case managed:
			rule.OverrideAction = &waf.CfnWebACL_OverrideActionProperty{None: map[string]any{}}
		case count:
			rule.Action = &waf.CfnWebACL_RuleActionProperty{Count: &waf.CfnWebACL_CountActionProperty{}}
		default:
			rule.Action = &waf.CfnWebACL_RuleActionProperty{Block: &waf.CfnWebACL_BlockActionProperty{}}
		}
		rules = append(rules, rule)
		f.rules = append(f.rules, name)
	}
	managed := func(group Group) {
		mode := Block
		if set, ok := props.Modes[group]; ok {
			mode = set
		}
		add(string(group), mode, true, managedStatement(group, props.Exceptions))
	}

	managed(IPReputation)
	for _, limit := range props.RateLimits {
		add(limit.Name, limit.Mode, false, rateStatement(limit))
	}
	add("BodyLimit", props.BodyLimitMode, false, bodyStatement(props))
	for _, group := range Groups() {
		if group != IPReputation {
			managed(group)
		}
	}
	return rules
}

func managedStatement(group Group, exceptions []Exception) waf.CfnWebACL_StatementProperty {
	var counted []string
	if group == Common {
		counted = append(counted, "SizeRestrictions_BODY")
	}
	for _, exception := range exceptions {
		if exception.Group == group {
			counted = append(counted, exception.Rule)
		}
	}
	statement := &waf.CfnWebACL_ManagedRuleGroupStatementProperty{VendorName: new("AWS"), Name: new(string(group))}
	if len(counted) > 0 {
		overrides := make([]waf.CfnWebACL_RuleActionOverrideProperty, len(counted))
		for i, rule := range counted {
			overrides[i] = waf.CfnWebACL_RuleActionOverrideProperty{
				Name:        &rule,
				ActionToUse: &waf.CfnWebACL_RuleActionProperty{Count: &waf.CfnWebACL_CountActionProperty{}},
			}
		}
		statement.RuleActionOverrides = overrides
	}
	return waf.CfnWebACL_StatementProperty{ManagedRuleGroupStatement: statement}
}

func rateStatement(limit RateLimit) waf.CfnWebACL_StatementProperty {
	rate := &waf.CfnWebACL_RateBasedStatementProperty{
		Limit:               cdkx.Number(limit.Limit),
		AggregateKeyType:    new("IP"),
		EvaluationWindowSec: new(limit.Window.Seconds()),
	}
	if limit.ForwardedIP {
		rate.AggregateKeyType = new("FORWARDED_IP")
		rate.ForwardedIpConfig = &waf.CfnWebACL_ForwardedIPConfigurationProperty{
			HeaderName:       new("X-Forwarded-For"),
			FallbackBehavior: new("MATCH"),
		}
	}
	if limit.Path != "" {
		path, prefix := strings.CutSuffix(limit.Path, "*")
		constraint := "EXACTLY"
		if prefix {
			constraint = "STARTS_WITH"
		}
		rate.ScopeDownStatement = &waf.CfnWebACL_StatementProperty{
			ByteMatchStatement: &waf.CfnWebACL_ByteMatchStatementProperty{
				FieldToMatch:         uriPath(),
				PositionalConstraint: &constraint,
				SearchString:         &path,
				TextTransformations:  pathTransformations(),
			},
		}
	}
	return waf.CfnWebACL_StatementProperty{RateBasedStatement: rate}
}

func bodyStatement(props Props) waf.CfnWebACL_StatementProperty {
	tooLarge := waf.CfnWebACL_StatementProperty{
		SizeConstraintStatement: &waf.CfnWebACL_SizeConstraintStatementProperty{
			FieldToMatch: &waf.CfnWebACL_FieldToMatchProperty{
				Body: &waf.CfnWebACL_BodyProperty{OversizeHandling: new("MATCH")},
			},
			ComparisonOperator:  new("GT"),
			Size:                cdkx.Number(props.BodyLimit),
			TextTransformations: transformations("NONE"),
		},
	}
	if len(props.LargeBodies) == 0 {
		return tooLarge
	}
	return waf.CfnWebACL_StatementProperty{
		AndStatement: &waf.CfnWebACL_AndStatementProperty{Statements: []waf.CfnWebACL_StatementProperty{
			tooLarge,
			{NotStatement: &waf.CfnWebACL_NotStatementProperty{Statement: &waf.CfnWebACL_StatementProperty{
				RegexMatchStatement: &waf.CfnWebACL_RegexMatchStatementProperty{
					FieldToMatch:        uriPath(),
					RegexString:         new(largeBodies(props.LargeBodies)),
					TextTransformations: pathTransformations(),
				},
			}}},
		}},
	}
}

// largeBodies is one regular expression for all paths.
func largeBodies(paths []string) string {
	patterns := make([]string, len(paths))
	for i, path := range paths {
		patterns[i] = strings.ReplaceAll(regexp.QuoteMeta(path), `\*`, `[^/]+`)
	}
	return "^(" + strings.Join(patterns, "|") + ")$"
}

func uriPath() *waf.CfnWebACL_FieldToMatchProperty {
	return &waf.CfnWebACL_FieldToMatchProperty{UriPath: map[string]any{}}
}

// pathTransformations undo what would let one path be written in several ways.
func pathTransformations() []waf.CfnWebACL_TextTransformationProperty {
	return transformations("URL_DECODE", "NORMALIZE_PATH")
}

func transformations(types ...string) []waf.CfnWebACL_TextTransformationProperty {
	list := make([]waf.CfnWebACL_TextTransformationProperty, len(types))
	for i, name := range types {
		list[i] = waf.CfnWebACL_TextTransformationProperty{Priority: cdkx.Number(i), Type: &name}
	}
	return list
}

// visibility keeps samples of matching requests, and metrics under a name.
func visibility(metric string) *waf.CfnWebACL_VisibilityConfigProperty {
	return &waf.CfnWebACL_VisibilityConfigProperty{
		CloudWatchMetricsEnabled: new(true),
		SampledRequestsEnabled:   new(true),
		MetricName:               &metric,
	}
}
