package firewall

import (
	"cmp"
	"regexp"
	"strings"

	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// statement is what a rule matches, and the capacity units that takes.
type statement struct {
	waf.CfnWebACL_StatementProperty
	units int
}

func managedStatement(group ManagedGroup, exceptions []Exception) statement {
	managed := &waf.CfnWebACL_ManagedRuleGroupStatementProperty{
		VendorName: &group.Vendor,
		Name:       new(string(group.Name)),
		Version:    cdkx.Optional(group.Version),
	}
	if len(exceptions) > 0 {
		overrides := make([]waf.CfnWebACL_RuleActionOverrideProperty, len(exceptions))
		for i, exception := range exceptions {
			overrides[i] = waf.CfnWebACL_RuleActionOverrideProperty{
				Name:        &exception.Rule,
				ActionToUse: action(cmp.Or(exception.Mode, Count), Response{}),
			}
		}
		managed.RuleActionOverrides = overrides
	}
	only, narrowed := group.Only.statement()
	if narrowed {
		managed.ScopeDownStatement = &only.CfnWebACL_StatementProperty
	}
	return statement{
		waf.CfnWebACL_StatementProperty{ManagedRuleGroupStatement: managed},
		cmp.Or(group.Capacity, groupUnits[group.Name]) + only.units,
	}
}

func tooOften(limit RateLimit) statement {
	rate := &waf.CfnWebACL_RateBasedStatementProperty{
		Limit:               cdkx.Number(limit.Limit),
		EvaluationWindowSec: new(limit.Window.Seconds()),
	}
	units := unitsRate
	switch {
	case len(limit.Keys) == 1 && limit.Keys[0] == ByIP():
		rate.AggregateKeyType = new("IP")
	case len(limit.Keys) == 1 && limit.Keys[0] == ByForwardedIP():
		rate.AggregateKeyType = new("FORWARDED_IP")
	default:
		rate.AggregateKeyType = new("CUSTOM_KEYS")
		keys := make([]waf.CfnWebACL_RateBasedStatementCustomKeyProperty, len(limit.Keys))
		for i, key := range limit.Keys {
			keys[i] = key.property()
			units += unitsRateKey
		}
		rate.CustomKeys = keys
	}
	for _, key := range limit.Keys {
		if key == ByForwardedIP() {
			rate.ForwardedIpConfig = &waf.CfnWebACL_ForwardedIPConfigurationProperty{
				HeaderName:       new(forwardedFor),
				FallbackBehavior: new("MATCH"),
			}
		}
	}
	only, narrowed := limit.match().statement()
	if narrowed {
		rate.ScopeDownStatement = &only.CfnWebACL_StatementProperty
	}
	return statement{waf.CfnWebACL_StatementProperty{RateBasedStatement: rate}, units + only.units}
}

func (k Key) property() waf.CfnWebACL_RateBasedStatementCustomKeyProperty {
	switch k.kind {
	case "ForwardedIP":
		return waf.CfnWebACL_RateBasedStatementCustomKeyProperty{ForwardedIp: map[string]any{}}
	case "Header":
		return waf.CfnWebACL_RateBasedStatementCustomKeyProperty{Header: &waf.CfnWebACL_RateLimitHeaderProperty{
			Name: &k.name, TextTransformations: transformations("NONE"),
		}}
	case "Cookie":
		return waf.CfnWebACL_RateBasedStatementCustomKeyProperty{Cookie: &waf.CfnWebACL_RateLimitCookieProperty{
			Name: &k.name, TextTransformations: transformations("NONE"),
		}}
	case "QueryArgument":
		return waf.CfnWebACL_RateBasedStatementCustomKeyProperty{QueryArgument: &waf.CfnWebACL_RateLimitQueryArgumentProperty{
			Name: &k.name, TextTransformations: transformations("NONE"),
		}}
	case "Path":
		return waf.CfnWebACL_RateBasedStatementCustomKeyProperty{UriPath: &waf.CfnWebACL_RateLimitUriPathProperty{
			TextTransformations: pathTransformations(),
		}}
	case "Method":
		return waf.CfnWebACL_RateBasedStatementCustomKeyProperty{HttpMethod: map[string]any{}}
	default:
		return waf.CfnWebACL_RateBasedStatementCustomKeyProperty{Ip: map[string]any{}}
	}
}

// statement is what the conditions come to, and whether there are any.
func (m Match) statement() (statement, bool) {
	var all []statement
	if m.Path != "" {
		all = append(all, text(uriPath(), m.Path, pathTransformations(), unitsPath))
	}
	if m.Method != "" {
		all = append(all, text(&waf.CfnWebACL_FieldToMatchProperty{Method: map[string]any{}}, m.Method, transformations("NONE"), unitsText))
	}
	if m.Header.Name != "" {
		field := &waf.CfnWebACL_FieldToMatchProperty{SingleHeader: map[string]any{"Name": strings.ToLower(m.Header.Name)}}
		all = append(all, text(field, m.Header.Value, transformations("NONE"), unitsText))
	}
	if len(m.Countries) > 0 {
		all = append(all, geo(m.Countries, false))
	}
	if len(all) == 0 {
		return statement{}, false
	}
	return and(all...), true
}

// text matches a value exactly, or by what it begins with when it ends in a star.
func text(field *waf.CfnWebACL_FieldToMatchProperty, value string, transformed []waf.CfnWebACL_TextTransformationProperty, units int) statement {
	value, prefix := strings.CutSuffix(value, "*")
	constraint := "EXACTLY"
	if prefix {
		constraint = "STARTS_WITH"
	}
	return statement{waf.CfnWebACL_StatementProperty{ByteMatchStatement: &waf.CfnWebACL_ByteMatchStatementProperty{
		FieldToMatch:         field,
		PositionalConstraint: &constraint,
		SearchString:         &value,
		TextTransformations:  transformed,
	}}, units}
}

// forwardedFor is the header in which proxies name the address they answer.
const forwardedFor = "X-Forwarded-For"

func fromAddresses(set IPSet, arns []string) statement {
	alternatives := make([]statement, len(arns))
	for i, arn := range arns {
		reference := &waf.CfnWebACL_IPSetReferenceStatementProperty{Arn: &arn}
		if set.ForwardedIP {
			// A request without a valid address is not in any list.
			reference.IpSetForwardedIpConfig = &waf.CfnWebACL_IPSetForwardedIPConfigurationProperty{
				HeaderName: new(forwardedFor), FallbackBehavior: new("NO_MATCH"), Position: new("FIRST"),
			}
		}
		alternatives[i] = statement{waf.CfnWebACL_StatementProperty{IpSetReferenceStatement: reference}, unitsIPSet}
	}
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	return statement{waf.CfnWebACL_StatementProperty{
		OrStatement: &waf.CfnWebACL_OrStatementProperty{Statements: properties(alternatives)},
	}, total(alternatives)}
}

func fromCountries(countries Countries) statement {
	if len(countries.Allowed) > 0 {
		return not(geo(countries.Allowed, countries.ForwardedIP))
	}
	return geo(countries.Blocked, countries.ForwardedIP)
}

func geo(codes []string, forwarded bool) statement {
	match := &waf.CfnWebACL_GeoMatchStatementProperty{CountryCodes: cdkx.Strings(codes...)}
	if forwarded {
		match.ForwardedIpConfig = &waf.CfnWebACL_ForwardedIPConfigurationProperty{
			HeaderName: new(forwardedFor), FallbackBehavior: new("NO_MATCH"),
		}
	}
	return statement{waf.CfnWebACL_StatementProperty{GeoMatchStatement: match}, unitsGeo}
}

func (p Props) bodyTooLarge() statement {
	tooLarge := largerThan(&waf.CfnWebACL_FieldToMatchProperty{
		Body: &waf.CfnWebACL_BodyProperty{OversizeHandling: new("MATCH")},
	}, p.BodyLimit)
	if len(p.LargeBodies) == 0 {
		return tooLarge
	}
	upload := statement{waf.CfnWebACL_StatementProperty{RegexMatchStatement: &waf.CfnWebACL_RegexMatchStatementProperty{
		FieldToMatch:        uriPath(),
		RegexString:         new(largeBodies(p.LargeBodies)),
		TextTransformations: pathTransformations(),
	}}, unitsPathRegex}
	return and(tooLarge, not(upload))
}

func largerThan(field *waf.CfnWebACL_FieldToMatchProperty, size int) statement {
	return statement{waf.CfnWebACL_StatementProperty{SizeConstraintStatement: &waf.CfnWebACL_SizeConstraintStatementProperty{
		FieldToMatch:        field,
		ComparisonOperator:  new("GT"),
		Size:                cdkx.Number(size),
		TextTransformations: transformations("NONE"),
	}}, unitsSize}
}

// largeBodies is one regular expression for all paths.
func largeBodies(paths []string) string {
	patterns := make([]string, len(paths))
	for i, path := range paths {
		patterns[i] = strings.ReplaceAll(regexp.QuoteMeta(path), `\*`, `[^/]+`)
	}
	return "^(" + strings.Join(patterns, "|") + ")$"
}

func and(all ...statement) statement {
	if len(all) == 1 {
		return all[0]
	}
	return statement{waf.CfnWebACL_StatementProperty{
		AndStatement: &waf.CfnWebACL_AndStatementProperty{Statements: properties(all)},
	}, total(all)}
}

func not(one statement) statement {
	return statement{waf.CfnWebACL_StatementProperty{
		NotStatement: &waf.CfnWebACL_NotStatementProperty{Statement: &one.CfnWebACL_StatementProperty},
	}, one.units}
}

func properties(all []statement) []waf.CfnWebACL_StatementProperty {
	list := make([]waf.CfnWebACL_StatementProperty, len(all))
	for i, one := range all {
		list[i] = one.CfnWebACL_StatementProperty
	}
	return list
}

func total(all []statement) int {
	units := 0
	for _, one := range all {
		units += one.units
	}
	return units
}

func uriPath() *waf.CfnWebACL_FieldToMatchProperty {
	return &waf.CfnWebACL_FieldToMatchProperty{UriPath: map[string]any{}}
}

// headerValues are those of all headers, each by itself. More than WAF sees of
// them counts as too large.
func headerValues() *waf.CfnWebACL_FieldToMatchProperty {
	return &waf.CfnWebACL_FieldToMatchProperty{Headers: &waf.CfnWebACL_HeadersProperty{
		MatchPattern:     &waf.CfnWebACL_HeaderMatchPatternProperty{All: map[string]any{}},
		MatchScope:       new("VALUE"),
		OversizeHandling: new("MATCH"),
	}}
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
