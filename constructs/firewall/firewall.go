package firewall

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Firewall is a web ACL.
type Firewall struct {
	constructs.Construct
	WebACL       waf.CfnWebACL               // there is no L2
	IPSets       map[string][]waf.CfnIPSet   // those that were made, by the name of their rule
	LogGroup     awslogs.ILogGroup           // nil with NoLogging
	Logging      waf.CfnLoggingConfiguration // nil with NoLogging
	BlockedAlarm awscloudwatch.IAlarm        // many requests were blocked
	ShareAlarm   awscloudwatch.IAlarm        // a large share of the requests was blocked

	scope    Scope
	metric   string // names the web ACL in CloudWatch
	rules    []string
	capacity int
}

// New makes a Firewall. It panics with a *PropsError when props are not valid,
// or when one for CloudFront is to stand in another Region than us-east-1.
func New(scope constructs.Construct, id string, props Props) *Firewall {
	cdkx.Must(scope, id, "firewall", props.validate(regionOf(scope)))
	props = props.withDefaults()
	f := &Firewall{scope: props.Scope, IPSets: map[string][]waf.CfnIPSet{}, capacity: props.capacity()}
	constructs.NewConstruct_Override(f, scope, &id)
	f.metric = metricName(*f.Node().Path())

	rules := props.ruleList(f.makeIPSets)
	properties := make([]waf.CfnWebACL_RuleProperty, len(rules))
	for i, rule := range rules {
		properties[i] = rule.property(i, f.metric+metricName(rule.name), props.ObserveOnly)
		f.rules = append(f.rules, rule.name)
	}
	acl := &waf.CfnWebACLProps{
		Scope:                new(string(props.Scope)),
		DefaultAction:        &waf.CfnWebACL_DefaultActionProperty{Allow: &waf.CfnWebACL_AllowActionProperty{}},
		VisibilityConfig:     visibility(f.metric),
		Rules:                properties,
		CustomResponseBodies: bodies(rules, props.ObserveOnly),
		DataProtectionConfig: protectData(props),
	}
	if props.Scope == CloudFront {
		acl.AssociationConfig = &waf.CfnWebACL_AssociationConfigProperty{
			RequestBody: map[string]any{"CLOUDFRONT": &waf.CfnWebACL_RequestBodyAssociatedResourceTypeConfigProperty{
				DefaultSizeInspectionLimit: new("KB_64"),
			}},
		}
	}
	f.WebACL = waf.NewCfnWebACL(f, new("WebAcl"), cdkx.Override(acl, props.Override))
	if f.capacity > includedCapacity {
		awscdk.Annotations_Of(f).AddWarningV2(new("loadbearing:firewall-capacity"), new(fmt.Sprintf(
			"The rules take %d capacity units; above %d AWS charges more for every request.", f.capacity, includedCapacity)))
	}
	if !props.NoLogging {
		f.log(props)
	}
	f.watch(props)
	return f
}

func (f *Firewall) watch(props Props) {
	f.BlockedAlarm = cdkx.Alarm(f, "BlockedAlarm", cdkx.AlarmSpec{
		Metric: f.requests("BlockedRequests", "", "", 5*time.Minute),
		Description: fmt.Sprintf("More than %d requests were blocked in five minutes. Look at the sampled requests: "+
			"an attack, or a rule that legitimate requests match and that needs an exception.", props.BlockedAlarm),
		Threshold: float64(props.BlockedAlarm),
		Periods:   1,
	})
	f.ShareAlarm = cdkx.Alarm(f, "ShareAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric: awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
			// A handful of requests says nothing. Without a value there is no metric.
			Expression: new("IF(FILL(blocked, 0) + FILL(allowed, 0) >= 100, 100 * FILL(blocked, 0) / (FILL(blocked, 0) + FILL(allowed, 0)), 0)"),
			Label:      new("blocked, percent"),
			UsingMetrics: &map[string]awscloudwatch.IMetric{
				"blocked": f.requests("BlockedRequests", "", "", 5*time.Minute),
				"allowed": f.requests("AllowedRequests", "", "", 5*time.Minute),
			},
			Period: cdkx.Duration(5 * time.Minute),
		}),
		Description: fmt.Sprintf("More than %d %% of the requests were blocked. After a change to the rules or to the service that is "+
			"more likely a rule that legitimate requests match than an attack: see which in the log of the web ACL.", props.ShareAlarm),
		Threshold: float64(props.ShareAlarm),
		Periods:   1,
	})
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

// Capacity is the number of capacity units the rules take by what AWS documents.
// An Override is not in it, nor a vendor's group without a Capacity.
func (f *Firewall) Capacity() int { return f.capacity }

// Protect puts the web ACL in front of a load balancer. It panics when the
// scope is CloudFront: a distribution names its web ACL itself.
func (f *Firewall) Protect(id string, balancer elb.IApplicationLoadBalancer) waf.CfnWebACLAssociation {
	var bad cdkx.Problems
	f.checkRegional(&bad)
	bad.Check(balancer != nil, "balancer", "nil", "a load balancer")
	cdkx.Must(f, id, "firewall", bad.Err("firewall"))
	return f.associate(id, *balancer.LoadBalancerArn())
}

// ProtectARN puts the web ACL in front of anything regional that takes one, by its
// ARN: a load balancer, a stage of an API, an AppSync API, a user pool. It panics
// when the scope is CloudFront.
func (f *Firewall) ProtectARN(id, arn string) waf.CfnWebACLAssociation {
	var bad cdkx.Problems
	f.checkRegional(&bad)
	cdkx.Matches(&bad, "arn", arn, resourceARN, "the ARN of a resource")
	cdkx.Must(f, id, "firewall", bad.Err("firewall"))
	return f.associate(id, arn)
}

func (f *Firewall) checkRegional(bad *cdkx.Problems) {
	bad.Check(f.scope == Regional, "Scope", f.scope, "REGIONAL for a web ACL in front of a load balancer")
}

func (f *Firewall) associate(id, arn string) waf.CfnWebACLAssociation {
	return waf.NewCfnWebACLAssociation(f, &id, &waf.CfnWebACLAssociationProps{
		ResourceArn: &arn,
		WebAclArn:   f.WebACL.AttrArn(),
	})
}

// Alarms are BlockedAlarm and ShareAlarm.
func (f *Firewall) Alarms() []awscloudwatch.IAlarm {
	return []awscloudwatch.IAlarm{f.BlockedAlarm, f.ShareAlarm}
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
