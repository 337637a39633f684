package firewall_test

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
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
	require.Equal(t, map[string]any{"Block": map[string]any{}}, list[0]["Action"])
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
	require.Len(t, f.Alarms(), 1)
	require.Len(t, f.Widgets(), 2)
	has(cdktest.Template(stack), "AWS::CloudWatch::Alarm", map[string]any{
		"Namespace": "AWS/WAFV2", "MetricName": "BlockedRequests", "Statistic": "Sum", "Period": 300, "Threshold": 1000,
		"EvaluationPeriods": 1,
		"Dimensions": []any{
			map[string]any{"Name": "Rule", "Value": "ALL"}, map[string]any{"Name": "WebACL", "Value": "TestFirewall"},
		},
	})
}

func TestOverrideReachesTheWebACL(t *testing.T) {
	stack := cdktest.Stack(t)
	firewall.New(stack, "Firewall", firewall.Props{
		Override: func(p *waf.CfnWebACLProps) { p.Name = new("override") },
	})
	has(cdktest.Template(stack), "AWS::WAFv2::WebACL", map[string]any{"Name": "override"})
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack := cdktest.Stack(t)
	props := firewall.Props{
		Modes:       map[firewall.Group]firewall.Mode{firewall.Common: firewall.Count},
		Exceptions:  append(make([]firewall.Exception, 0, 4), firewall.Exception{Group: firewall.Common, Rule: "NoUserAgent_HEADER"}),
		RateLimits:  append(make([]firewall.RateLimit, 0, 4), firewall.RateLimit{Name: "Login", Limit: 100}),
		LargeBodies: append(make([]string, 0, 4), "/v1/upload"),
	}
	cdktest.Unchanged(t, props, func(p firewall.Props) { firewall.New(stack, "Firewall", p) })
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
		Scope:         "GLOBAL",
		Modes:         map[firewall.Group]firewall.Mode{"Bots": firewall.Count, firewall.Common: "log"},
		Exceptions:    []firewall.Exception{{Group: "Bots", Rule: "a rule"}},
		RateLimits:    []firewall.RateLimit{{Name: "Log in", Path: "v1", Limit: 1, Window: time.Hour, Mode: "log"}, {Name: "A", Limit: 10}, {Name: "A", Limit: 10}},
		BodyLimit:     65537,
		BodyLimitMode: "log",
		LargeBodies:   []string{"/v1/(.*)"},
		BlockedAlarm:  -1,
	}.Validate()
	require.EqualError(t, err, `firewall: 15 fields are not valid
  Scope is "GLOBAL"; allowed: CLOUDFRONT, REGIONAL
  Modes[AWSManagedRulesCommonRuleSet] is "log"; allowed: block, count, off
  Modes[Bots] is "Bots"; allowed: AWSManagedRulesAmazonIpReputationList, AWSManagedRulesKnownBadInputsRuleSet, AWSManagedRulesCommonRuleSet, AWSManagedRulesSQLiRuleSet
  Exceptions[0].Group is "Bots"; allowed: AWSManagedRulesAmazonIpReputationList, AWSManagedRulesKnownBadInputsRuleSet, AWSManagedRulesCommonRuleSet, AWSManagedRulesSQLiRuleSet
  Exceptions[0].Rule is "a rule"; allowed: the name of a rule of the group
  RateLimits[0].Name is "Log in"; allowed: 1 to 100 letters, digits, hyphens and underscores, each name once
  RateLimits[0].Path is "v1"; allowed: a path that begins with a slash, with a star at most at its end
  RateLimits[0].Limit is 1; allowed: 10 to 2000000000
  RateLimits[0].Window is 1h0m0s; allowed: 1m0s, 2m0s, 5m0s, 10m0s
  RateLimits[0].Mode is "log"; allowed: block, count, off
  RateLimits[2].Name is "A"; allowed: 1 to 100 letters, digits, hyphens and underscores, each name once
  BodyLimit is 65537; allowed: 1 to 65536
  BodyLimitMode is "log"; allowed: block, count, off
  LargeBodies[0] is "/v1/(.*)"; allowed: a path of letters, digits, hyphens, underscores and dots, with stars for whole segments
  BlockedAlarm is -1; allowed: 1 or more`)
}
