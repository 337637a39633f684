// Package firewall makes a WAFv2 web ACL: AWS managed rule groups, limits on
// how often one address may call a path, and a limit on the size of bodies.
// Every rule can count instead of block, so that it is seen on real traffic
// before it can turn anyone away.
package firewall

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Scope is what a web ACL can protect.
type Scope string

// The scopes of a web ACL.
const (
	// CloudFront protects distributions. Such a web ACL exists in us-east-1 only.
	CloudFront Scope = "CLOUDFRONT"
	// Regional protects load balancers and other resources of its Region.
	Regional Scope = "REGIONAL"
)

// Mode is what a rule does with a request that matches it.
type Mode string

// The modes of a rule.
const (
	Block Mode = "block" // the default
	Count Mode = "count" // counts it and goes on to the next rule
	Off   Mode = "off"   // the rule is left out
)

// Group is a rule group that AWS manages.
type Group string

// The managed rule groups a Firewall uses, in the order of their evaluation.
const (
	IPReputation   Group = "AWSManagedRulesAmazonIpReputationList"
	KnownBadInputs Group = "AWSManagedRulesKnownBadInputsRuleSet"
	Common         Group = "AWSManagedRulesCommonRuleSet"
	SQLInjection   Group = "AWSManagedRulesSQLiRuleSet"
)

// Groups lists every Group in the order of its evaluation: the cheapest and
// surest first.
func Groups() []Group {
	return []Group{IPReputation, KnownBadInputs, Common, SQLInjection}
}

// Exception makes one rule of a managed group count instead of block, because
// legitimate requests match it.
type Exception struct {
	Group Group
	Rule  string // "CrossSiteScripting_BODY"
}

// RateLimit bounds how many requests one address may make.
type RateLimit struct {
	// Name of the rule: letters, digits, hyphens and underscores.
	Name string

	// Path that counts, compared after decoding and normalizing; with a star at
	// its end, everything that begins like it. Default every path.
	Path string

	// Limit is the number of requests in Window above which an address is
	// blocked until its rate has fallen. 10 to 2,000,000,000.
	Limit int

	// Window is 1, 2, 5 or 10 minutes. Default 5 minutes. WAF looks back over it
	// every few seconds, so the limit takes effect with a delay of that size.
	Window time.Duration

	// ForwardedIP takes the address from X-Forwarded-For, for a web ACL behind a
	// proxy. A client can write what it likes in front of what the proxy adds,
	// and WAF reads the first address: use it only where the proxy replaces the
	// header. A request without a valid address counts as matching.
	ForwardedIP bool

	// Mode of the rule. Default Block.
	Mode Mode
}

// Body limits by scope. WAF sees no more of a body than it inspects, which is
// 64 KiB at CloudFront when the web ACL asks for that and 8 KiB at a load
// balancer, so nothing above can be told apart ("Body inspection", AWS WAF
// developer guide).
const (
	MaxCloudFrontBody = 64 << 10
	MaxRegionalBody   = 8 << 10
)

// Props configures a Firewall. The zero value protects a distribution with all
// managed groups and a body limit, and has no rate limit.
type Props struct {
	// Scope of the web ACL. Default CloudFront.
	Scope Scope

	// Modes of the managed groups. Default Block for each.
	Modes map[Group]Mode

	// Exceptions are rules of managed groups that count instead of block. The
	// common group's own body limit of 8 KiB is always one: BodyLimit replaces it.
	Exceptions []Exception

	// RateLimits come first, in this order.
	RateLimits []RateLimit

	// BodyLimit is the largest request body in bytes. Default, and most, what
	// WAF inspects in this scope: MaxCloudFrontBody or MaxRegionalBody.
	BodyLimit int

	// BodyLimitMode is the mode of the body limit. Default Block.
	BodyLimitMode Mode

	// LargeBodies are the paths without a body limit, for uploads. A star stands
	// for one segment: /v1/projects/*/videos. Default none.
	LargeBodies []string

	// ObserveOnly makes every rule count, whatever its mode.
	ObserveOnly bool

	// BlockedAlarm is the number of requests blocked in five minutes above which
	// the alarm goes off: an attack, or a rule that blocks the legitimate.
	// Default 1000.
	BlockedAlarm int

	// Override has the last word on the web ACL.
	Override func(*waf.CfnWebACLProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Firewall is a web ACL.
type Firewall struct {
	constructs.Construct
	WebACL       waf.CfnWebACL // there is no L2
	BlockedAlarm awscloudwatch.IAlarm

	scope  Scope
	metric string // names the web ACL in CloudWatch
	rules  []string
}

var (
	ruleName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)
	ratePath    = regexp.MustCompile(`^/[^*\s]*\*?$`)
	uploadPath  = regexp.MustCompile(`^/[A-Za-z0-9/_.*-]*$`)
	notInMetric = regexp.MustCompile(`[^A-Za-z0-9]`)
)

func (p Props) withDefaults() Props {
	p.Scope = cmp.Or(p.Scope, CloudFront)
	p.BodyLimitMode = cmp.Or(p.BodyLimitMode, Block)
	p.BodyLimit = cmp.Or(p.BodyLimit, p.inspected())
	p.BlockedAlarm = cmp.Or(p.BlockedAlarm, 1000)
	p.RateLimits = slices.Clone(p.RateLimits)
	for i := range p.RateLimits {
		limit := &p.RateLimits[i]
		limit.Window = cmp.Or(limit.Window, 5*time.Minute)
		limit.Mode = cmp.Or(limit.Mode, Block)
	}
	return p
}

// inspected is how much of a body WAF sees.
func (p Props) inspected() int {
	if p.Scope == Regional {
		return MaxRegionalBody
	}
	return MaxCloudFrontBody
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	return p.validate("")
}

// validate also refuses what AWS would refuse in the Region, when it is known.
func (p Props) validate(region string) error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.Scope != CloudFront || region == "" || region == "us-east-1", "Scope", p.Scope,
		"REGIONAL, or a stack in us-east-1 instead of "+region)
	cdkx.OneOf(&bad, "Scope", p.Scope, CloudFront, Regional)
	for _, group := range slices.Sorted(maps.Keys(p.Modes)) {
		field := fmt.Sprintf("Modes[%s]", group)
		cdkx.OneOf(&bad, field, group, Groups()...)
		cdkx.OneOf(&bad, field, p.Modes[group], Block, Count, Off)
	}
	for i, exception := range p.Exceptions {
		field := fmt.Sprintf("Exceptions[%d].", i)
		cdkx.OneOf(&bad, field+"Group", exception.Group, Groups()...)
		bad.Check(ruleName.MatchString(exception.Rule), field+"Rule", exception.Rule, "the name of a rule of the group")
	}
	var names []string
	for i, limit := range p.RateLimits {
		field := fmt.Sprintf("RateLimits[%d].", i)
		bad.Check(ruleName.MatchString(limit.Name) && !slices.Contains(names, limit.Name), field+"Name", limit.Name,
			"1 to 100 letters, digits, hyphens and underscores, each name once")
		names = append(names, limit.Name)
		bad.Check(limit.Path == "" || ratePath.MatchString(limit.Path), field+"Path", limit.Path,
			"a path that begins with a slash, with a star at most at its end")
		cdkx.Between(&bad, field+"Limit", limit.Limit, 10, 2_000_000_000)
		cdkx.OneOf(&bad, field+"Window", limit.Window, time.Minute, 2*time.Minute, 5*time.Minute, 10*time.Minute)
		cdkx.OneOf(&bad, field+"Mode", limit.Mode, Block, Count, Off)
	}
	cdkx.Between(&bad, "BodyLimit", p.BodyLimit, 1, p.inspected())
	cdkx.OneOf(&bad, "BodyLimitMode", p.BodyLimitMode, Block, Count, Off)
	for i, path := range p.LargeBodies {
		bad.Check(uploadPath.MatchString(path), fmt.Sprintf("LargeBodies[%d]", i), path,
			"a path of letters, digits, hyphens, underscores and dots, with stars for whole segments")
	}
	// A regex pattern of WAF has 512 characters at most.
	bad.Check(len(largeBodies(p.LargeBodies)) <= 512, "LargeBodies", strings.Join(p.LargeBodies, " "), "about 500 characters together")
	cdkx.AtLeast(&bad, "BlockedAlarm", p.BlockedAlarm, 1)
	return bad.Err("firewall")
}

// New makes a Firewall. It panics with a *PropsError when props are not valid,
// or when one for CloudFront is to stand in another Region than us-east-1.
func New(scope constructs.Construct, id string, props Props) *Firewall {
	cdkx.Must(scope, id, "firewall", props.validate(regionOf(scope)))
	props = props.withDefaults()
	f := &Firewall{scope: props.Scope}
	constructs.NewConstruct_Override(f, scope, &id)
	f.metric = metricName(*f.Node().Path())

	acl := &waf.CfnWebACLProps{
		Scope:            new(string(props.Scope)),
		DefaultAction:    &waf.CfnWebACL_DefaultActionProperty{Allow: &waf.CfnWebACL_AllowActionProperty{}},
		VisibilityConfig: visibility(f.metric),
		Rules:            f.ruleList(props),
	}
	if props.Scope == CloudFront {
		acl.AssociationConfig = &waf.CfnWebACL_AssociationConfigProperty{
			RequestBody: map[string]any{"CLOUDFRONT": &waf.CfnWebACL_RequestBodyAssociatedResourceTypeConfigProperty{
				DefaultSizeInspectionLimit: new("KB_64"),
			}},
		}
	}
	f.WebACL = waf.NewCfnWebACL(f, new("WebAcl"), cdkx.Override(acl, props.Override))
	f.BlockedAlarm = cdkx.Alarm(f, "BlockedAlarm", cdkx.AlarmSpec{
		Metric: f.requests("BlockedRequests", "", "", 5*time.Minute),
		Description: fmt.Sprintf("More than %d requests were blocked in five minutes. Look at the sampled requests: "+
			"an attack, or a rule that legitimate requests match and that needs an exception.", props.BlockedAlarm),
		Threshold: float64(props.BlockedAlarm),
		Periods:   1,
	})
	return f
}

// regionOf is the Region of the scope's stack, or empty when only the deployment knows.
func regionOf(scope constructs.Construct) string {
	if scope == nil {
		return ""
	}
	region := awscdk.Stack_Of(scope).Region()
	if *awscdk.Token_IsUnresolved(region) {
		return ""
	}
	return *region
}

// ARN of the web ACL, as a distribution takes it.
func (f *Firewall) ARN() string {
	return *f.WebACL.AttrArn()
}

// Protect puts the web ACL in front of a load balancer. It panics when the
// scope is CloudFront: a distribution names its web ACL itself.
func (f *Firewall) Protect(id string, balancer elb.IApplicationLoadBalancer) waf.CfnWebACLAssociation {
	var bad cdkx.Problems
	bad.Check(f.scope == Regional, "Scope", f.scope, "REGIONAL for a web ACL in front of a load balancer")
	bad.Check(balancer != nil, "balancer", "nil", "a load balancer")
	cdkx.Must(f, id, "firewall", bad.Err("firewall"))
	return waf.NewCfnWebACLAssociation(f, &id, &waf.CfnWebACLAssociationProps{
		ResourceArn: balancer.LoadBalancerArn(),
		WebAclArn:   f.WebACL.AttrArn(),
	})
}

// Alarms is BlockedAlarm.
func (f *Firewall) Alarms() []awscloudwatch.IAlarm {
	return []awscloudwatch.IAlarm{f.BlockedAlarm}
}

// Widgets show what was allowed and blocked, and which rules match.
func (f *Firewall) Widgets() []awscloudwatch.IWidget {
	title := *f.Node().Id()
	matches := make([]awscloudwatch.IMetric, 0, 2*len(f.rules))
	for _, rule := range f.rules {
		matches = append(matches,
			f.requests("BlockedRequests", rule, rule+" blocked", time.Minute),
			f.requests("CountedRequests", rule, rule+" counted", time.Minute))
	}
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": requests a minute",
			f.requests("AllowedRequests", "", "allowed", time.Minute),
			f.requests("BlockedRequests", "", "blocked", time.Minute)),
		cdkx.Graph(title+": matches by rule", matches...),
	}
}

// requests is one metric of a rule, or of the whole web ACL when the rule is
// empty. A regional one has the Region as a further dimension.
func (f *Firewall) requests(name, rule, label string, period time.Duration) awscloudwatch.IMetric {
	dimensions := map[string]string{"WebACL": f.metric, "Rule": "ALL"}
	if rule != "" {
		dimensions["Rule"] = f.metric + metricName(rule)
	}
	if f.scope == Regional {
		dimensions["Region"] = *awscdk.Stack_Of(f).Region()
	}
	return cdkx.Metric(cdkx.MetricSpec{
		Namespace:  "AWS/WAFV2",
		Name:       name,
		Dimensions: dimensions,
		Statistic:  "Sum",
		Period:     period,
		Label:      label,
	})
}

// metricName keeps what a metric's name may hold, and its end when it is long:
// a metric of a rule is two of these, and ends at 128 characters.
func metricName(text string) string {
	name := notInMetric.ReplaceAllString(text, "")
	return name[max(len(name)-64, 0):]
}
