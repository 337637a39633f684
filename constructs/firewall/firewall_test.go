package firewall_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/firewall"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func has(t assertions.Template, kind string, properties map[string]any) {
	t.HasResourceProperties(&kind, properties)
}

// rules are those of the stack's only web ACL.
func rules(t *testing.T, stack awscdk.Stack) []map[string]any {
	t.Helper()
	var list []map[string]any
	for _, acl := range *cdktest.Template(stack).FindResources(new("AWS::WAFv2::WebACL"), nil) {
		for i, rule := range (*acl)["Properties"].(map[string]any)["Rules"].([]any) {
			list = append(list, rule.(map[string]any))
			require.EqualValues(t, i, list[i]["Priority"])
		}
	}
	return list
}

// actions tells for each rule whether it blocks or counts.
func actions(t *testing.T, stack awscdk.Stack) []string {
	t.Helper()
	var list []string
	for _, rule := range rules(t, stack) {
		action := "block"
		if override, ok := rule["OverrideAction"].(map[string]any); ok {
			if _, counts := override["Count"]; counts {
				action = "count"
			}
		} else if _, counts := rule["Action"].(map[string]any)["Count"]; counts {
			action = "count"
		}
		list = append(list, fmt.Sprint(rule["Name"], " ", action))
	}
	return list
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{})
	has(cdktest.Template(stack), "AWS::WAFv2::WebACL", map[string]any{
		"Scope":         "CLOUDFRONT",
		"DefaultAction": map[string]any{"Allow": map[string]any{}},
		"AssociationConfig": map[string]any{"RequestBody": map[string]any{
			"CLOUDFRONT": map[string]any{"DefaultSizeInspectionLimit": "KB_64"},
		}},
		"VisibilityConfig": map[string]any{
			"CloudWatchMetricsEnabled": true, "SampledRequestsEnabled": true, "MetricName": "TestFirewall",
		},
	})
	require.Equal(t, []string{
		"AWSManagedRulesAmazonIpReputationList block",
		"BodyLimit block",
		"AWSManagedRulesKnownBadInputsRuleSet block",
		"AWSManagedRulesCommonRuleSet block",
		"AWSManagedRulesSQLiRuleSet block",
	}, actions(t, stack))
	list := rules(t, stack)
	require.Equal(t, map[string]any{"SizeConstraintStatement": map[string]any{
		"ComparisonOperator": "GT", "Size": 65536.0,
		"FieldToMatch":        map[string]any{"Body": map[string]any{"OversizeHandling": "MATCH"}},
		"TextTransformations": []any{map[string]any{"Priority": 0.0, "Type": "NONE"}},
	}}, list[1]["Statement"])
	require.Equal(t, map[string]any{"ManagedRuleGroupStatement": map[string]any{
		"VendorName": "AWS", "Name": "AWSManagedRulesCommonRuleSet",
		"RuleActionOverrides": []any{map[string]any{
			"Name": "SizeRestrictions_BODY", "ActionToUse": map[string]any{"Count": map[string]any{}},
		}},
	}}, list[3]["Statement"], "the group's own limit would refuse every upload")
	for _, rule := range list {
		require.Equal(t, true, rule["VisibilityConfig"].(map[string]any)["CloudWatchMetricsEnabled"])
		require.Regexp(t, `^TestFirewall[A-Za-z0-9]+$`, rule["VisibilityConfig"].(map[string]any)["MetricName"])
	}
}

func TestObserveOnlyCountsEveryRule(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{
		ObserveOnly: true,
		RateLimits:  []firewall.RateLimit{{Name: "Login", Limit: 100}},
	})
	require.Equal(t, []string{
		"AWSManagedRulesAmazonIpReputationList count",
		"Login count",
		"BodyLimit count",
		"AWSManagedRulesKnownBadInputsRuleSet count",
		"AWSManagedRulesCommonRuleSet count",
		"AWSManagedRulesSQLiRuleSet count",
	}, actions(t, stack))
}

func TestModesAndExceptions(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{
		Modes:         map[firewall.Group]firewall.Mode{firewall.Common: firewall.Count, firewall.IPReputation: firewall.Off},
		Exceptions:    []firewall.Exception{{Group: firewall.SQLInjection, Rule: "SQLi_BODY"}},
		BodyLimitMode: firewall.Count,
	})
	require.Equal(t, []string{
		"BodyLimit count",
		"AWSManagedRulesKnownBadInputsRuleSet block",
		"AWSManagedRulesCommonRuleSet count",
		"AWSManagedRulesSQLiRuleSet block",
	}, actions(t, stack))
	require.Equal(t, []any{map[string]any{"Name": "SQLi_BODY", "ActionToUse": map[string]any{"Count": map[string]any{}}}},
		rules(t, stack)[3]["Statement"].(map[string]any)["ManagedRuleGroupStatement"].(map[string]any)["RuleActionOverrides"])
}

func TestRateLimits(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{RateLimits: []firewall.RateLimit{
		{Name: "Login", Path: "/v1/auth/login", Limit: 100},
		{Name: "Api", Path: "/v1/*", Limit: 5000, Window: time.Minute, ForwardedIP: true, Mode: firewall.Count},
		{Name: "All", Limit: 10000},
	}})
	path := func(constraint, path string) map[string]any {
		return map[string]any{"ByteMatchStatement": map[string]any{
			"FieldToMatch": map[string]any{"UriPath": map[string]any{}}, "PositionalConstraint": constraint, "SearchString": path,
			"TextTransformations": []any{
				map[string]any{"Priority": 0.0, "Type": "URL_DECODE"}, map[string]any{"Priority": 1.0, "Type": "NORMALIZE_PATH"},
			},
		}}
	}
	list := rules(t, stack)[1:4]
	require.Equal(t, map[string]any{"RateBasedStatement": map[string]any{
		"AggregateKeyType": "IP", "Limit": 100.0, "EvaluationWindowSec": 300.0,
		"ScopeDownStatement": path("EXACTLY", "/v1/auth/login"),
	}}, list[0]["Statement"])
	require.Equal(t, map[string]any{"Block": map[string]any{"CustomResponse": map[string]any{
		"ResponseCode": 429.0, "CustomResponseBodyKey": "status-429-c2c6d418",
		"ResponseHeaders": []any{map[string]any{"Name": "Retry-After", "Value": "300"}},
	}}}, list[0]["Action"])
	has(cdktest.Template(stack), "AWS::WAFv2::WebACL", map[string]any{"CustomResponseBodies": map[string]any{
		"status-429-c2c6d418": map[string]any{
			"ContentType": "APPLICATION_JSON", "Content": `{"type":"about:blank","title":"Too Many Requests","status":429}`,
		},
	}})
	require.Equal(t, map[string]any{"RateBasedStatement": map[string]any{
		"AggregateKeyType": "FORWARDED_IP", "Limit": 5000.0, "EvaluationWindowSec": 60.0,
		"ForwardedIPConfig":  map[string]any{"HeaderName": "X-Forwarded-For", "FallbackBehavior": "MATCH"},
		"ScopeDownStatement": path("STARTS_WITH", "/v1/"),
	}}, list[1]["Statement"])
	require.Equal(t, map[string]any{"Count": map[string]any{}}, list[1]["Action"])
	require.Equal(t, map[string]any{"RateBasedStatement": map[string]any{
		"AggregateKeyType": "IP", "Limit": 10000.0, "EvaluationWindowSec": 300.0,
	}}, list[2]["Statement"])
}

func TestLargeBodiesArePathsByTheSegment(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{
		BodyLimit:   4096,
		LargeBodies: []string{"/v1/projects/*/videos", "/v1/upload.bin"},
	})
	both := rules(t, stack)[1]["Statement"].(map[string]any)["AndStatement"].(map[string]any)["Statements"].([]any)
	require.EqualValues(t, 4096, both[0].(map[string]any)["SizeConstraintStatement"].(map[string]any)["Size"])
	not := both[1].(map[string]any)["NotStatement"].(map[string]any)["Statement"].(map[string]any)
	pattern := regexp.MustCompile(not["RegexMatchStatement"].(map[string]any)["RegexString"].(string))
	for path, large := range map[string]bool{
		"/v1/projects/0192/videos":     true,
		"/v1/upload.bin":               true,
		"/v1/projects/a/b/videos":      false,
		"/v1/projects/a/videos/b":      false,
		"/v1/projects//videos":         false,
		"/v1/uploadxbin":               false,
		"/evil/v1/projects/0/videos":   false,
		"/v1/projects/0/videos\n/more": false,
	} {
		require.Equal(t, large, pattern.MatchString(path), path)
	}
}

func TestRegionalProtectsALoadBalancer(t *testing.T) {
	stack := cdktest.Stack(t)
	f := firewall.New(stack, "Firewall", firewall.Props{Scope: firewall.Regional})
	balancer := elb.ApplicationLoadBalancer_FromApplicationLoadBalancerAttributes(stack, new("Balancer"),
		&elb.ApplicationLoadBalancerAttributes{
			LoadBalancerArn: new("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/0123456789abcdef"),
			SecurityGroupId: new("sg-0123456789abcdef0"),
		})
	f.Protect("Balancer", balancer)
	template := cdktest.Template(stack)
	has(template, "AWS::WAFv2::WebACL", map[string]any{"Scope": "REGIONAL", "AssociationConfig": assertions.Match_Absent()})
	has(template, "AWS::WAFv2::WebACLAssociation", map[string]any{
		"ResourceArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/0123456789abcdef",
		"WebACLArn":   stack.Resolve(f.WebACL.AttrArn()),
	})
	require.EqualValues(t, 8192, rules(t, stack)[1]["Statement"].(map[string]any)["SizeConstraintStatement"].(map[string]any)["Size"])
	has(template, "AWS::CloudWatch::Alarm", map[string]any{"Dimensions": []any{
		map[string]any{"Name": "Region", "Value": map[string]any{"Ref": "AWS::Region"}},
		map[string]any{"Name": "Rule", "Value": "ALL"},
		map[string]any{"Name": "WebACL", "Value": "TestFirewall"},
	}})
}

func TestProtectRefusesCloudFront(t *testing.T) {
	stack := cdktest.Stack(t)
	f := firewall.New(stack, "Firewall", firewall.Props{})
	err := cdktest.Panic[*firewall.PropsError](t, func() { f.Protect("Balancer", nil) })
	require.EqualError(t, err, `Test/Firewall/Balancer (firewall): 2 fields are not valid
  Scope is "CLOUDFRONT"; allowed: REGIONAL for a web ACL in front of a load balancer
  balancer is "nil"; allowed: a load balancer`)
}

func TestCloudFrontNeedsUSEast1(t *testing.T) {
	app := cdktest.Stack(t).Node().Root().(awscdk.App)
	for region, allowed := range map[string]bool{"us-east-1": true, "eu-west-1": false} {
		stack := awscdk.NewStack(app, &region, &awscdk.StackProps{Env: &awscdk.Environment{Region: &region}})
		if allowed {
			firewall.New(stack, "Firewall", firewall.Props{})
			continue
		}
		err := cdktest.Panic[*firewall.PropsError](t, func() { firewall.New(stack, "Firewall", firewall.Props{BlockedAlarm: -1}) })
		require.EqualError(t, err, `eu-west-1/Firewall (firewall): 2 fields are not valid
  Scope is "CLOUDFRONT"; allowed: REGIONAL, or a stack in us-east-1 instead of eu-west-1
  BlockedAlarm is -1; allowed: 1 or more`)
	}
}

func TestAlarmsAndWidgets(t *testing.T) {
	stack := cdktest.Stack(t)
	f := firewall.New(stack, "Firewall", firewall.Props{})
	require.Len(t, f.Alarms(), 2)
	require.Len(t, f.Widgets(), 2)
	has(cdktest.Template(stack), "AWS::CloudWatch::Alarm", map[string]any{
		"Namespace": "AWS/WAFV2", "MetricName": "BlockedRequests", "Statistic": "Sum", "Period": 300, "Threshold": 1000,
		"EvaluationPeriods": 1, "Tags": []any{map[string]any{"Key": "loadbearing:severity", "Value": "critical"}},
		"Dimensions": []any{
			map[string]any{"Name": "Rule", "Value": "ALL"}, map[string]any{"Name": "WebACL", "Value": "TestFirewall"},
		},
	})
	has(cdktest.Template(stack), "AWS::CloudWatch::Alarm", map[string]any{
		"Threshold": 20, "EvaluationPeriods": 1, "Tags": []any{map[string]any{"Key": "loadbearing:severity", "Value": "warning"}},
		"Metrics": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{
			"Expression": assertions.Match_StringLikeRegexp(new("^IF\\(.* >= 100, 100 \\* .*, 0\\)$")),
		})}),
	})
}

func TestOverrideReachesTheWebACL(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{
		Override: func(p *waf.CfnWebACLProps) { p.Name = new("override") },
	})
	has(cdktest.Template(stack), "AWS::WAFv2::WebACL", map[string]any{"Name": "override"})
}

// full has every list and map filled.
func full() firewall.Props {
	return firewall.Props{
		Modes:      map[firewall.Group]firewall.Mode{firewall.Common: firewall.Count},
		Exceptions: append(make([]firewall.Exception, 0, 4), firewall.Exception{Group: firewall.Common, Rule: "NoUserAgent_HEADER"}),
		ManagedGroups: append(make([]firewall.ManagedGroup, 0, 4), firewall.ManagedGroup{
			Name: "AWSManagedRulesAnonymousIpList", Exceptions: append(make([]firewall.Exception, 0, 4), firewall.Exception{Rule: "HostingProviderIPList"}),
			Only: firewall.Match{Countries: append(make([]string, 0, 4), "DE")},
		}),
		AllowedIPs: append(make([]firewall.IPSet, 0, 4), firewall.IPSet{Name: "Office", Addresses: append(make([]string, 0, 4), "192.0.2.1")}),
		BlockedIPs: append(make([]firewall.IPSet, 0, 4), firewall.IPSet{
			Name: "Bad", ARNs: append(make([]string, 0, 4), "arn:aws:wafv2:us-east-1:123456789012:global/ipset/bad/1"),
		}),
		Countries: firewall.Countries{Blocked: append(make([]string, 0, 4), "AQ")},
		RateLimits: append(make([]firewall.RateLimit, 0, 4), firewall.RateLimit{
			Name: "Login", Limit: 100, Countries: append(make([]string, 0, 4), "DE"), Keys: append(make([]firewall.Key, 0, 5), firewall.ByIP(), firewall.ByPath()),
			Response: firewall.Response{Status: 503, Headers: map[string]string{"Retry-After": "1"}},
		}),
		LargeBodies:            append(make([]string, 0, 4), "/v1/upload"),
		RedactedHeaders:        append(make([]string, 0, 4), "X-Api-Key"),
		RedactedQueryArguments: append(make([]string, 0, 4), "Signature"),
	}
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, full(), func(p firewall.Props) { firewall.New(stack, "Firewall", p) })
	zero := firewall.Props{
		ManagedGroups: append(make([]firewall.ManagedGroup, 0, 2), firewall.ManagedGroup{Name: firewall.Common}),
		BlockedIPs:    append(make([]firewall.IPSet, 0, 2), firewall.IPSet{Name: "Bad", Addresses: []string{"192.0.2.1"}}),
		AllowedIPs:    append(make([]firewall.IPSet, 0, 2), firewall.IPSet{Name: "Good", Addresses: []string{"192.0.2.2"}}),
		RateLimits:    append(make([]firewall.RateLimit, 0, 2), firewall.RateLimit{Name: "All", Limit: 100}),
	}
	cdktest.Unchanged(t, zero, func(p firewall.Props) { firewall.New(stack, "Zero", p) })
}

func TestOrderOfAllRules(t *testing.T) {
	stack := cdktest.Stack(t)
	props := full()
	props.Sizes = firewall.Sizes{Query: 4096, Header: 4000, Path: 512, Mode: firewall.Count}
	f := firewall.New(stack, "Firewall", props)
	var names []string
	for _, rule := range rules(t, stack) {
		names = append(names, rule["Name"].(string))
	}
	require.Equal(t, []string{
		"Office", "Bad", "Countries", "AWSManagedRulesAmazonIpReputationList", "Login",
		"BodyLimit", "QueryLimit", "HeaderLimit", "PathLimit",
		"AWSManagedRulesKnownBadInputsRuleSet", "AWSManagedRulesCommonRuleSet", "AWSManagedRulesSQLiRuleSet",
		"AWSManagedRulesAnonymousIpList",
	}, names)
	// Three of addresses and countries, reputation, a rate with two keys and a
	// country, a body with uploads, three sizes, three groups, and one more with a country.
	require.Equal(t, 3+25+(2+60+1)+(1+23)+3+1100+(50+1), f.Capacity())
}

// statementOf is the statement of a rule by its name.
func statementOf(t *testing.T, stack awscdk.Stack, name string) map[string]any {
	t.Helper()
	return ruleOf(t, stack, name)["Statement"].(map[string]any)
}

func ruleOf(t *testing.T, stack awscdk.Stack, name string) map[string]any {
	t.Helper()
	for _, rule := range rules(t, stack) {
		if rule["Name"] == name {
			return rule
		}
	}
	t.Fatalf("no rule %s", name)
	return nil
}

func TestManagedGroups(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{
		Modes:      map[firewall.Group]firewall.Mode{firewall.Common: firewall.Count, "Bots": firewall.Count},
		Exceptions: []firewall.Exception{{Group: firewall.Common, Rule: "NoUserAgent_HEADER", Mode: firewall.Challenge}},
		ManagedGroups: []firewall.ManagedGroup{
			{Name: firewall.Common, Version: "Version_1.10", Exceptions: []firewall.Exception{{Rule: "GenericLFI_BODY", Mode: firewall.Allow}}},
			{Vendor: "Example", Name: "Bots", Capacity: 90, Only: firewall.Match{
				Path: "/v1/*", Method: "POST", Header: firewall.Header{Name: "X-Client", Value: "web"}, Countries: []string{"DE", "FR"},
			}},
		},
	})
	require.Equal(t, []string{
		"AWSManagedRulesAmazonIpReputationList block", "BodyLimit block", "AWSManagedRulesKnownBadInputsRuleSet block",
		"AWSManagedRulesCommonRuleSet count", "AWSManagedRulesSQLiRuleSet block", "Bots count",
	}, actions(t, stack), "a group of the default ones keeps its place and its mode")
	override := func(rule, action string) map[string]any {
		return map[string]any{"Name": rule, "ActionToUse": map[string]any{action: map[string]any{}}}
	}
	require.Equal(t, map[string]any{"ManagedRuleGroupStatement": map[string]any{
		"VendorName": "AWS", "Name": "AWSManagedRulesCommonRuleSet", "Version": "Version_1.10",
		"RuleActionOverrides": []any{
			override("SizeRestrictions_BODY", "Count"), override("GenericLFI_BODY", "Allow"), override("NoUserAgent_HEADER", "Challenge"),
		},
	}}, statementOf(t, stack, "AWSManagedRulesCommonRuleSet"))
	bots := statementOf(t, stack, "Bots")["ManagedRuleGroupStatement"].(map[string]any)
	require.Equal(t, "Example", bots["VendorName"])
	text := func(field map[string]any, constraint, value string, transformations ...any) map[string]any {
		return map[string]any{"ByteMatchStatement": map[string]any{
			"FieldToMatch": field, "PositionalConstraint": constraint, "SearchString": value, "TextTransformations": transformations,
		}}
	}
	none := map[string]any{"Priority": 0.0, "Type": "NONE"}
	require.Equal(t, map[string]any{"AndStatement": map[string]any{"Statements": []any{
		text(map[string]any{"UriPath": map[string]any{}}, "STARTS_WITH", "/v1/",
			map[string]any{"Priority": 0.0, "Type": "URL_DECODE"}, map[string]any{"Priority": 1.0, "Type": "NORMALIZE_PATH"}),
		text(map[string]any{"Method": map[string]any{}}, "EXACTLY", "POST", none),
		text(map[string]any{"SingleHeader": map[string]any{"Name": "x-client"}}, "EXACTLY", "web", none),
		map[string]any{"GeoMatchStatement": map[string]any{"CountryCodes": []any{"DE", "FR"}}},
	}}}, bots["ScopeDownStatement"])
}

func TestRateLimitKeys(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{RateLimits: []firewall.RateLimit{
		{Name: "One", Limit: 100, Keys: []firewall.Key{
			firewall.ByIP(), firewall.ByHeader("X-Api-Key"), firewall.ByCookie("session"), firewall.ByQueryArgument("tenant"), firewall.ByPath(),
		}},
		{Name: "Two", Limit: 100, Keys: []firewall.Key{firewall.ByForwardedIP(), firewall.ByMethod()}},
		{Name: "Three", Limit: 100, Keys: []firewall.Key{firewall.ByForwardedIP()}},
		{Name: "Four", Limit: 100, Mode: firewall.Captcha, Method: "POST", Countries: []string{"DE"}},
		{Name: "Five", Limit: 100, Response: firewall.Response{Status: 403}},
	}})
	rate := func(name string) map[string]any {
		return statementOf(t, stack, name)["RateBasedStatement"].(map[string]any)
	}
	none := []any{map[string]any{"Priority": 0.0, "Type": "NONE"}}
	require.Equal(t, "CUSTOM_KEYS", rate("One")["AggregateKeyType"])
	require.Equal(t, []any{
		map[string]any{"IP": map[string]any{}},
		map[string]any{"Header": map[string]any{"Name": "X-Api-Key", "TextTransformations": none}},
		map[string]any{"Cookie": map[string]any{"Name": "session", "TextTransformations": none}},
		map[string]any{"QueryArgument": map[string]any{"Name": "tenant", "TextTransformations": none}},
		map[string]any{"UriPath": map[string]any{"TextTransformations": []any{
			map[string]any{"Priority": 0.0, "Type": "URL_DECODE"}, map[string]any{"Priority": 1.0, "Type": "NORMALIZE_PATH"},
		}}},
	}, rate("One")["CustomKeys"])
	forwarded := map[string]any{"HeaderName": "X-Forwarded-For", "FallbackBehavior": "MATCH"}
	require.Equal(t, []any{map[string]any{"ForwardedIP": map[string]any{}}, map[string]any{"HTTPMethod": map[string]any{}}}, rate("Two")["CustomKeys"])
	require.Equal(t, forwarded, rate("Two")["ForwardedIPConfig"])
	require.Equal(t, "FORWARDED_IP", rate("Three")["AggregateKeyType"])
	require.Equal(t, forwarded, rate("Three")["ForwardedIPConfig"])
	require.Len(t, rate("Four")["ScopeDownStatement"].(map[string]any)["AndStatement"].(map[string]any)["Statements"], 2)
	require.Equal(t, map[string]any{"Captcha": map[string]any{}}, ruleOf(t, stack, "Four")["Action"])
	require.Equal(t, map[string]any{"Block": map[string]any{"CustomResponse": map[string]any{"ResponseCode": 403.0}}}, ruleOf(t, stack, "Five")["Action"])
}

func TestIPSets(t *testing.T) {
	stack := cdktest.Stack(t)
	f := firewall.New(stack, "Firewall", firewall.Props{
		Scope:      firewall.Regional,
		AllowedIPs: []firewall.IPSet{{Name: "Office", Addresses: []string{"192.0.2.0/24", "2001:db8::1", "198.51.100.7"}}},
		BlockedIPs: []firewall.IPSet{{Name: "Bad", ARNs: []string{cdktest.Token(stack, "BadSet")}, ForwardedIP: true}},
	})
	template := cdktest.Template(stack)
	has(template, "AWS::WAFv2::IPSet", map[string]any{
		"IPAddressVersion": "IPV4", "Scope": "REGIONAL", "Addresses": []any{"192.0.2.0/24", "198.51.100.7/32"},
	})
	has(template, "AWS::WAFv2::IPSet", map[string]any{"IPAddressVersion": "IPV6", "Description": "Addresses of Office", "Addresses": []any{"2001:db8::1/128"}})
	template.ResourceCountIs(new("AWS::WAFv2::IPSet"), cdkx.Number(2))
	require.Len(t, f.IPSets["Office"], 2)
	require.Len(t, statementOf(t, stack, "Office")["OrStatement"].(map[string]any)["Statements"], 2)
	require.Equal(t, map[string]any{"Allow": map[string]any{}}, ruleOf(t, stack, "Office")["Action"])
	require.Equal(t, map[string]any{"IPSetReferenceStatement": map[string]any{
		"Arn":                    map[string]any{"Ref": "BadSet"},
		"IPSetForwardedIPConfig": map[string]any{"HeaderName": "X-Forwarded-For", "FallbackBehavior": "NO_MATCH", "Position": "FIRST"},
	}}, statementOf(t, stack, "Bad"))
	require.Equal(t, map[string]any{"Block": map[string]any{}}, ruleOf(t, stack, "Bad")["Action"])
}

func TestCountries(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{Countries: firewall.Countries{Allowed: []string{"DE", "AT"}, ForwardedIP: true}})
	require.Equal(t, map[string]any{"NotStatement": map[string]any{"Statement": map[string]any{"GeoMatchStatement": map[string]any{
		"CountryCodes":      []any{"DE", "AT"},
		"ForwardedIPConfig": map[string]any{"HeaderName": "X-Forwarded-For", "FallbackBehavior": "NO_MATCH"},
	}}}}, statementOf(t, stack, "Countries"))
	require.Equal(t, map[string]any{"Block": map[string]any{}}, ruleOf(t, stack, "Countries")["Action"])
}

func TestSizes(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{Sizes: firewall.Sizes{Query: 2000, Header: 4000, Path: 500}})
	for name, want := range map[string]struct {
		size   int
		status int
		field  map[string]any
	}{
		"BodyLimit":  {65536, 413, map[string]any{"Body": map[string]any{"OversizeHandling": "MATCH"}}},
		"QueryLimit": {2000, 414, map[string]any{"QueryString": map[string]any{}}},
		"HeaderLimit": {4000, 431, map[string]any{"Headers": map[string]any{
			"MatchPattern": map[string]any{"All": map[string]any{}}, "MatchScope": "VALUE", "OversizeHandling": "MATCH",
		}}},
		"PathLimit": {500, 414, map[string]any{"UriPath": map[string]any{}}},
	} {
		size := statementOf(t, stack, name)["SizeConstraintStatement"].(map[string]any)
		require.EqualValues(t, want.size, size["Size"], name)
		require.Equal(t, want.field, size["FieldToMatch"], name)
		response := ruleOf(t, stack, name)["Action"].(map[string]any)["Block"].(map[string]any)["CustomResponse"].(map[string]any)
		require.EqualValues(t, want.status, response["ResponseCode"], name)
		require.NotEmpty(t, response["CustomResponseBodyKey"], name)
	}
}

func TestLoggingIsOn(t *testing.T) {
	stack := cdktest.Stack(t)
	f := firewall.New(stack, "Firewall", firewall.Props{})
	require.NotNil(t, f.LogGroup)
	template := cdktest.Template(stack)
	has(template, "AWS::Logs::LogGroup", map[string]any{"LogGroupName": "aws-waf-logs-Test-Firewall", "RetentionInDays": 30})
	condition := func(action string) map[string]any {
		return map[string]any{"ActionCondition": map[string]any{"Action": action}}
	}
	has(template, "AWS::WAFv2::LoggingConfiguration", map[string]any{
		"ResourceArn": stack.Resolve(f.WebACL.AttrArn()),
		"LogDestinationConfigs": []any{map[string]any{"Fn::Join": []any{"", []any{
			"arn:",
			map[string]any{"Ref": "AWS::Partition"},
			":logs:",
			map[string]any{"Ref": "AWS::Region"},
			":",
			map[string]any{"Ref": "AWS::AccountId"},
			":log-group:",
			map[string]any{"Ref": assertions.Match_AnyValue()},
		}}}},
		"RedactedFields": []any{
			map[string]any{"SingleHeader": map[string]any{"Name": "authorization"}},
			map[string]any{"SingleHeader": map[string]any{"Name": "cookie"}},
		},
		"LoggingFilter": map[string]any{"DefaultBehavior": "DROP", "Filters": []any{map[string]any{
			"Behavior": "KEEP", "Requirement": "MEETS_ANY", "Conditions": []any{
				condition("BLOCK"), condition("COUNT"), condition("EXCLUDED_AS_COUNT"), condition("CAPTCHA"), condition("CHALLENGE"),
			},
		}}},
	})
	protect := func(kind string, names ...any) map[string]any {
		return map[string]any{"Action": "SUBSTITUTION", "Field": map[string]any{"FieldType": kind, "FieldKeys": names}}
	}
	has(template, "AWS::WAFv2::WebACL", map[string]any{"DataProtectionConfig": map[string]any{"DataProtections": []any{
		protect("SINGLE_HEADER", "authorization", "cookie"), protect("SINGLE_QUERY_ARGUMENT", "token"),
	}}})
}

func TestLoggingOtherwise(t *testing.T) {
	one, other := cdktest.Stacks(t)
	key := awskms.NewKey(one, new("Key"), nil)
	firewall.New(other, "All", firewall.Props{
		LogEverything: true, LogRetention: awslogs.RetentionDays_ONE_YEAR, Key: awskms.Key_FromKeyArn(one, new("Shared"), key.KeyArn()),
		RedactedHeaders: []string{}, RedactedQueryArguments: []string{},
	})
	template := cdktest.Template(other)
	has(template, "AWS::Logs::LogGroup", map[string]any{
		"RetentionInDays": 365, "KmsKeyId": map[string]any{"Fn::ImportValue": assertions.Match_AnyValue()},
	})
	has(template, "AWS::WAFv2::LoggingConfiguration", map[string]any{
		"LoggingFilter": assertions.Match_Absent(), "RedactedFields": assertions.Match_Absent(),
	})
	has(template, "AWS::WAFv2::WebACL", map[string]any{"DataProtectionConfig": assertions.Match_Absent()})

	stack := cdktest.Stack(t)
	f := firewall.New(stack, "None", firewall.Props{NoLogging: true})
	require.Nil(t, f.LogGroup)
	firewall.New(stack, "Existing", firewall.Props{
		LogGroup: awslogs.LogGroup_FromLogGroupName(stack, new("Group"), new("aws-waf-logs-all")),
		OverrideLogging: func(p *waf.CfnLoggingConfigurationProps) {
			p.LoggingFilter = nil
		},
	})
	template = cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::Logs::LogGroup"), cdkx.Number(0))
	template.ResourceCountIs(new("AWS::WAFv2::LoggingConfiguration"), cdkx.Number(1))
	has(template, "AWS::WAFv2::LoggingConfiguration", map[string]any{"LoggingFilter": assertions.Match_Absent()})
}

func TestCapacity(t *testing.T) {
	stack := cdktest.Stack(t)
	warnings := func() int {
		return len(*assertions.Annotations_FromStack(stack).FindWarning(new("*"), assertions.Match_StringLikeRegexp(new("capacity units"))))
	}
	require.Equal(t, 1126, firewall.New(stack, "Default", firewall.Props{}).Capacity())
	require.Zero(t, warnings())
	more := firewall.Props{ManagedGroups: []firewall.ManagedGroup{
		{Name: "AWSManagedRulesLinuxRuleSet"}, {Name: "AWSManagedRulesWindowsRuleSet"},
	}}
	require.Equal(t, 1526, firewall.New(stack, "More", more).Capacity())
	require.Equal(t, 1, warnings())
	more.ManagedGroups = append(more.ManagedGroups, firewall.ManagedGroup{Vendor: "Example", Name: "Huge", Capacity: 3500})
	require.EqualError(t, more.Validate(),
		"firewall: the rules' capacity is 5026; allowed: 5000 capacity units or fewer: switch a group Off or leave a limit out")
}

func TestProtectARN(t *testing.T) {
	one, other := cdktest.Stacks(t)
	f := firewall.New(one, "Firewall", firewall.Props{Scope: firewall.Regional})
	balancer := elb.NewCfnLoadBalancer(other, new("Balancer"), nil)
	f.ProtectARN("Api", *balancer.Ref())
	has(cdktest.Template(one), "AWS::WAFv2::WebACLAssociation", map[string]any{
		"ResourceArn": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("^Other:"))},
	})
	err := cdktest.Panic[*firewall.PropsError](t, func() { f.ProtectARN("Bad", "balancer") })
	require.EqualError(t, err, `One/Firewall/Bad (firewall): arn is "balancer"; allowed: the ARN of a resource`)
}

func TestObserveOnlyAnswersNothing(t *testing.T) {
	stack := cdktest.Stack(t)
	props := full()
	props.ObserveOnly = true
	firewall.New(stack, "Firewall", props)
	for _, each := range actions(t, stack) {
		require.Regexp(t, " count$", each)
	}
	has(cdktest.Template(stack), "AWS::WAFv2::WebACL", map[string]any{"CustomResponseBodies": assertions.Match_Absent()})
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "One", firewall.Props{})
	firewall.New(stack, "Two", firewall.Props{Scope: firewall.Regional})
	cdktest.Template(stack).ResourceCountIs(new("AWS::WAFv2::WebACL"), cdkx.Number(2))
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{
		RateLimits:  []firewall.RateLimit{{Name: "Login", Path: "/v1/auth/login", Limit: 100}},
		LargeBodies: []string{"/v1/projects/*/videos"},
	})
	cdktest.Golden(t, stack, "firewall")
}

func TestValidateNamesEveryField(t *testing.T) {
	t.Parallel()
	err := firewall.Props{
		Scope:      "GLOBAL",
		Modes:      map[firewall.Group]firewall.Mode{"Bots": firewall.Count, firewall.Common: "log"},
		Exceptions: []firewall.Exception{{Group: "Bots", Rule: "a rule"}},
		RateLimits: []firewall.RateLimit{{Name: "Log in", Path: "v1", Limit: 1, Window: time.Hour, Mode: "log"}, {Name: "B", Limit: 10}, {
			Name: "B", Limit: 10, ForwardedIP: true, Header: firewall.Header{Name: "a b"}, Countries: []string{"Germany"},
			Keys:     []firewall.Key{{}, firewall.ByHeader(""), firewall.ByIP(), firewall.ByIP(), firewall.ByPath(), firewall.ByMethod()},
			Response: firewall.Response{Body: strings.Repeat("x", 4097), ContentType: "text/css", Headers: map[string]string{"content-type": "x"}},
		}},
		ManagedGroups:   []firewall.ManagedGroup{{Mode: "captcha", Capacity: -1, Exceptions: []firewall.Exception{{Mode: "off"}}, Only: firewall.Match{Method: "post"}}},
		AllowedIPs:      []firewall.IPSet{{Name: "BodyLimit", Mode: firewall.Block}},
		BlockedIPs:      []firewall.IPSet{{Name: "A", Addresses: []string{"192.0.2.1/24", "0.0.0.0/0", "fe80::1%1"}, ARNs: []string{"set"}}},
		Countries:       firewall.Countries{Allowed: []string{"de"}, Blocked: []string{"FR"}, Mode: "log"},
		Sizes:           firewall.Sizes{Query: 8193, Header: -1, Path: 9000, Mode: "log"},
		ShareAlarm:      100,
		RedactedHeaders: []string{"a b"}, RedactedQueryArguments: []string{""},
		BodyLimit:     65537,
		BodyLimitMode: "log",
		LargeBodies:   []string{"/v1/(.*)"},
		BlockedAlarm:  -1,
	}.Validate()
	require.EqualError(t, err, `firewall: 50 fields are not valid
  Scope is "GLOBAL"; allowed: CLOUDFRONT, REGIONAL
  Modes[AWSManagedRulesCommonRuleSet] is "log"; allowed: block, count, off
  Modes[Bots] is "Bots"; allowed: AWSManagedRulesAmazonIpReputationList, AWSManagedRulesKnownBadInputsRuleSet, AWSManagedRulesCommonRuleSet, AWSManagedRulesSQLiRuleSet
  Exceptions[0].Group is "Bots"; allowed: AWSManagedRulesAmazonIpReputationList, AWSManagedRulesKnownBadInputsRuleSet, AWSManagedRulesCommonRuleSet, AWSManagedRulesSQLiRuleSet
  Exceptions[0].Rule is "a rule"; allowed: the name of a rule of the group
  ManagedGroups[0].Name is ""; allowed: 1 to 100 letters, digits, hyphens and underscores, each name once
  ManagedGroups[0].Mode is "captcha"; allowed: block, count, off
  ManagedGroups[0].Exceptions[0].Rule is ""; allowed: the name of a rule of the group
  ManagedGroups[0].Exceptions[0].Mode is "off"; allowed: count, allow, captcha, challenge, block
  ManagedGroups[0].Only.Method is "post"; allowed: a method in capitals, such as POST
  ManagedGroups[0].Capacity is -1; allowed: 0 or more
  AllowedIPs[0].Name is "BodyLimit"; allowed: 1 to 100 letters, digits, hyphens and underscores, each name once
  AllowedIPs[0].Addresses is "empty"; allowed: one address or one ARN at least
  AllowedIPs[0].Mode is "block"; allowed: allow, count, off
  BlockedIPs[0].Addresses[0] is "192.0.2.1/24"; allowed: an IPv4 or IPv6 address, or the first address of a range of /1 or longer, such as 192.0.2.0/24
  BlockedIPs[0].Addresses[1] is "0.0.0.0/0"; allowed: an IPv4 or IPv6 address, or the first address of a range of /1 or longer, such as 192.0.2.0/24
  BlockedIPs[0].Addresses[2] is "fe80::1%1"; allowed: an IPv4 or IPv6 address, or the first address of a range of /1 or longer, such as 192.0.2.0/24
  BlockedIPs[0].ARNs[0] is "set"; allowed: the ARN of an IP set
  Countries.Blocked is "FR"; allowed: none beside Allowed
  Countries.Allowed[0] is "de"; allowed: a country by ISO 3166-1 alpha-2, such as DE
  Countries.Mode is "log"; allowed: block, count, captcha, challenge, off
  RateLimits[0].Name is "Log in"; allowed: 1 to 100 letters, digits, hyphens and underscores, each name once
  RateLimits[0].Path is "v1"; allowed: a path that begins with a slash, with a star at most at its end
  RateLimits[0].Limit is 1; allowed: 10 to 2000000000
  RateLimits[0].Window is 1h0m0s; allowed: 1m0s, 2m0s, 5m0s, 10m0s
  RateLimits[0].Mode is "log"; allowed: block, count, captcha, challenge, off
  RateLimits[2].Name is "B"; allowed: 1 to 100 letters, digits, hyphens and underscores, each name once
  RateLimits[2].Header.Name is "a b"; allowed: the name of a header
  RateLimits[2].Header.Value is ""; allowed: 1 to 200 characters, with a star at most at their end
  RateLimits[2].Countries[0] is "Germany"; allowed: a country by ISO 3166-1 alpha-2, such as DE
  RateLimits[2].Keys is 6; allowed: 1 to 5 keys
  RateLimits[2].Keys[0] is no key; allowed: what a By function makes, with a name where it takes one, each once
  RateLimits[2].Keys[1] is ByHeader(); allowed: what a By function makes, with a name where it takes one, each once
  RateLimits[2].Keys[3] is ByIP(); allowed: what a By function makes, with a name where it takes one, each once
  RateLimits[2].ForwardedIP is true; allowed: false beside Keys: put ByForwardedIP() among them
  RateLimits[2].Response.Status is 0; allowed: 200 to 599
  RateLimits[2].Response.Body is "4097 bytes"; allowed: 4096 bytes or fewer
  RateLimits[2].Response.ContentType is "text/css"; allowed: application/json, text/html, text/plain
  RateLimits[2].Response.Headers is "content-type"; allowed: names of headers, and not Content-Type
  BodyLimit is 65537; allowed: 1 to 65536
  BodyLimitMode is "log"; allowed: block, count, off
  LargeBodies[0] is "/v1/(.*)"; allowed: a path of letters, digits, hyphens, underscores and dots, with stars for whole segments
  Sizes.Query is 8193; allowed: 0 to 8192
  Sizes.Header is -1; allowed: 0 to 8192
  Sizes.Path is 9000; allowed: 0 to 8192
  Sizes.Mode is "log"; allowed: block, count, off
  BlockedAlarm is -1; allowed: 1 or more
  ShareAlarm is 100; allowed: 1 to 99
  RedactedHeaders[0] is "a b"; allowed: the name of a header
  RedactedQueryArguments[0] is ""; allowed: the name of a query argument`)
}
