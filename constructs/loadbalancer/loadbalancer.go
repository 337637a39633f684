package loadbalancer

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// LoadBalancer is an Application Load Balancer with what stands behind it.
type LoadBalancer struct {
	constructs.Construct
	LoadBalancer  elb.IApplicationLoadBalancer
	SecurityGroup awsec2.ISecurityGroup    // nil for an existing load balancer
	Listener      elb.IApplicationListener // serves requests: HTTPS with a certificate, else HTTP
	Redirect      elb.IApplicationListener // HTTP to HTTPS; nil without a certificate, when internal and for an existing load balancer
	Rule          elb.ApplicationListenerRule
	TesterRules   map[string]elb.ApplicationListenerRule // by color; empty with NoTesterRule
	Blue          elb.ApplicationTargetGroup
	Green         elb.ApplicationTargetGroup
	OriginSecret  awssecretsmanager.ISecret
	LogBucket     awss3.IBucket // nil without access logs and for an existing load balancer

	ErrorAlarms      map[string]awscloudwatch.IAlarm // by color: too many 5xx from targets
	LatencyAlarms    map[string]awscloudwatch.IAlarm // by color: p99 too high
	UnhealthyAlarms  map[string]awscloudwatch.IAlarm // by color: targets fail their health check
	ConnectionAlarms map[string]awscloudwatch.IAlarm // by color: targets accept no connections
	NoneHealthyAlarm awscloudwatch.IAlarm            // no color has a healthy target
	OwnErrorAlarm    awscloudwatch.IAlarm            // too many 5xx from the load balancer itself
	RejectedAlarm    awscloudwatch.IAlarm            // connections refused for lack of capacity

	fullName string // of the load balancer, as its metrics have it: app/name/id
	https    bool
}

// New makes a LoadBalancer. It panics with a *PropsError when props are not valid.
//
// The template gives blue all requests and green none, once: from then on the
// release controller owns the two weights, and CloudFormation leaves the rule
// alone as long as its part of the template does not change. A change to the
// rule, of its stickiness for one, writes 100 and 0 again, so make it while
// blue serves.
func New(scope constructs.Construct, id string, props Props) *LoadBalancer {
	cdkx.Must(scope, id, "loadbalancer", props.Validate())
	props = props.withDefaults()
	l := &LoadBalancer{
		SecurityGroup:    props.SecurityGroup,
		OriginSecret:     props.OriginSecret,
		TesterRules:      map[string]elb.ApplicationListenerRule{},
		ErrorAlarms:      map[string]awscloudwatch.IAlarm{},
		LatencyAlarms:    map[string]awscloudwatch.IAlarm{},
		UnhealthyAlarms:  map[string]awscloudwatch.IAlarm{},
		ConnectionAlarms: map[string]awscloudwatch.IAlarm{},
	}
	constructs.NewConstruct_Override(l, scope, &id)
	if props.LoadBalancer != nil {
		l.LoadBalancer, l.Listener = props.LoadBalancer, props.Listener
		l.fullName = *awscdk.Fn_Select(cdkx.Number(1), awscdk.Fn_Split(new("loadbalancer/"), l.LoadBalancer.LoadBalancerArn(), nil))
	} else {
		l.balance(props)
	}
	l.Blue = l.targetGroup(contract.ColorBlue, "Blue", props)
	l.Green = l.targetGroup(contract.ColorGreen, "Green", props)
	if l.OriginSecret == nil {
		l.OriginSecret = l.secret(props)
	}
	l.route(props)
	l.alarms(props)
	return l
}

// balance makes the load balancer with its listeners, its security group and
// its logs.
func (l *LoadBalancer) balance(props Props) {
	l.https = props.CertificateARN != ""
	if l.SecurityGroup == nil {
		l.SecurityGroup = l.securityGroup(props)
	}
	balancer := &elb.ApplicationLoadBalancerProps{
		Vpc:                     props.VPC,
		VpcSubnets:              &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PUBLIC},
		InternetFacing:          new(!props.Internal),
		SecurityGroup:           l.SecurityGroup,
		DeletionProtection:      new(!props.NoDeletionProtection),
		DropInvalidHeaderFields: new(true),
		DesyncMitigationMode:    elb.DesyncMitigationMode_DEFENSIVE,
		IdleTimeout:             cdkx.Duration(props.IdleTimeout),
	}
	if props.Internal {
		balancer.VpcSubnets = &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS}
	}
	if props.StrictDesync {
		balancer.DesyncMitigationMode = elb.DesyncMitigationMode_STRICTEST
	}
	if props.ReservedCapacityUnits > 0 {
		balancer.MinimumCapacityUnit = cdkx.Number(props.ReservedCapacityUnits)
	}
	made := elb.NewApplicationLoadBalancer(l, new("LoadBalancer"), cdkx.Override(balancer, attributes(props), props.Override))
	l.LoadBalancer, l.fullName = made, *made.LoadBalancerFullName()
	cdkx.Acknowledge(made, "Requests come through CloudFront, whose web ACL has looked at them; the listener answers 403 to everything else.",
		"ALBWAFEnabled")
	if !props.NoAccessLogs {
		l.log(made, props)
	}
	l.listen(props)
}

// attributes sets those that differ from what ALB does by itself, so that a
// template holds no more than was asked for.
func attributes(props Props) func(*elb.ApplicationLoadBalancerProps) {
	return func(p *elb.ApplicationLoadBalancerProps) {
		if props.ClientKeepAlive != defaultClientKeepAlive {
			p.ClientKeepAlive = cdkx.Duration(props.ClientKeepAlive)
		}
		if props.NoHTTP2 {
			p.Http2Enabled = new(false)
		}
		switch props.ForwardedFor {
		case ForwardedForPreserve:
			p.XffHeaderProcessingMode = elb.XffHeaderProcessingMode_PRESERVE
		case ForwardedForRemove:
			p.XffHeaderProcessingMode = elb.XffHeaderProcessingMode_REMOVE
		case ForwardedForAppend:
		}
		p.PreserveXffClientPort = cdkx.Optional(props.ForwardClientPort)
		p.PreserveHostHeader = cdkx.Optional(props.PreserveHostHeader)
		p.XAmznTlsVersionAndCipherSuiteHeaders = cdkx.Optional(props.TLSHeaders)
		p.WafFailOpen = cdkx.Optional(props.WAFFailOpen)
	}
}

func (l *LoadBalancer) securityGroup(props Props) awsec2.ISecurityGroup {
	peers, from := props.IngressPeers, "a given peer"
	prefixList := props.IngressPrefixList
	if props.Internal && prefixList == "" && len(peers) == 0 {
		region := *awscdk.Stack_Of(l).Region()
		id, ok := CloudFrontPrefixList(region)
		if !ok {
			if cdkx.Unresolved(region) {
				region = "not known until deployment"
			}
			panic(&PropsError{Construct: "loadbalancer", Path: *l.Node().Path(), Problems: []cdkx.FieldError{{
				Field: "IngressPrefixList", Value: "",
				Allowed: "the id of CloudFront's prefix list when Internal: none is known here for the stack's Region, which is " + region,
			}}})
		}
		prefixList = id
	}
	everyone := prefixList == "" && len(peers) == 0
	switch {
	case prefixList != "":
		peers, from = []awsec2.IPeer{awsec2.Peer_PrefixList(&prefixList)}, "the prefix list"
	case everyone:
		peers, from = []awsec2.IPeer{awsec2.Peer_AnyIpv4()}, "everyone"
	}

	group := awsec2.NewSecurityGroup(l, new("SecurityGroup"), cdkx.Override(&awsec2.SecurityGroupProps{
		Vpc:              props.VPC,
		Description:      new("Load balancer: requests from the edge to the targets"),
		AllowAllOutbound: new(false),
	}, props.OverrideSecurityGroup))
	for _, peer := range peers {
		if l.https {
			group.AddIngressRule(peer, awsec2.Port_Tcp(cdkx.Number(443)), new("HTTPS from "+from), nil)
		}
		if !l.https || everyone {
			group.AddIngressRule(peer, awsec2.Port_Tcp(cdkx.Number(80)), new("HTTP from "+from), nil)
		}
	}
	if everyone {
		cdkx.Acknowledge(group, "The listener answers 403 to every request without the secret header that CloudFront adds. "+
			"IngressPrefixList admits CloudFront's addresses alone.", "AwsSolutions-EC23")
	}
	return group
}

// originSecretLength is of a new secret, of 62 different characters each. A
// listener rule's values end at 128.
const originSecretLength = 48

func (l *LoadBalancer) secret(props Props) awssecretsmanager.ISecret {
	secret := awssecretsmanager.NewSecret(l, new("OriginSecret"), cdkx.Override(&awssecretsmanager.SecretProps{
		Description: new("Value of " + contract.OriginVerifyHeader + ", which CloudFront sends and the load balancer requires"),
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			PasswordLength:     cdkx.Number(originSecretLength),
			ExcludePunctuation: new(true), // a listener rule reads * and ? as wildcards
		},
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY, // worth nothing without the two that use it
	}, props.OverrideSecret))
	if secret.EncryptionKey() == nil {
		cdkx.Acknowledge(secret, "Encrypted with aws/secretsmanager, which only identities of this account that may read the secret can use. "+
			"The value also stands in the configuration of the listener and of CloudFront, where a key of its own would not protect it.",
			"SecretsManagerUsingKMSKey")
	}
	return secret
}

// OriginHeaderValue is a reference to the value of the origin header, for the
// distribution in front. CloudFormation resolves it; no template holds the value.
func (l *LoadBalancer) OriginHeaderValue() string {
	return *l.OriginSecret.SecretValue().UnsafeUnwrap()
}

// HTTPS tells whether the load balancer serves HTTPS rather than HTTP. It is
// false for an existing one, whose protocol CDK does not know.
func (l *LoadBalancer) HTTPS() bool { return l.https }

// ARN of the load balancer.
func (l *LoadBalancer) ARN() string { return *l.LoadBalancer.LoadBalancerArn() }

// DNSName is the load balancer's own name, which resolves inside the VPC only
// when it is internal. What is not CloudFront gets 403 there.
func (l *LoadBalancer) DNSName() string { return *l.LoadBalancer.LoadBalancerDnsName() }

// RuleARNs are the listener rules that require the origin header: the main one,
// then those of testers.
func (l *LoadBalancer) RuleARNs() []string {
	list := []string{*l.Rule.ListenerRuleArn()}
	for _, color := range []string{contract.ColorBlue, contract.ColorGreen} {
		if rule := l.TesterRules[color]; rule != nil {
			list = append(list, *rule.ListenerRuleArn())
		}
	}
	return list
}

// GrantWeights lets an identity change the weights of blue and green and read
// the health of their targets. ModifyRule has no permission finer than a rule,
// so the conditions of the main rule can be changed with it too; instances
// register by their Auto Scaling group and need nothing of it.
func (l *LoadBalancer) GrantWeights(to awsiam.IGrantable) awsiam.Grant {
	grant(to, "elasticloadbalancing:ModifyRule", *l.Rule.ListenerRuleArn())
	return l.grantRead(to, "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth")
}

// GrantConditions lets an identity read and change the rules that require the
// origin header, as a rotation of its value does.
func (l *LoadBalancer) GrantConditions(to awsiam.IGrantable) awsiam.Grant {
	grant(to, "elasticloadbalancing:ModifyRule", l.RuleARNs()...)
	return l.grantRead(to, "elasticloadbalancing:DescribeRules")
}

func (l *LoadBalancer) grantRead(to awsiam.IGrantable, actions ...string) awsiam.Grant {
	granted := awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      to,
		Actions:      cdkx.Strings(actions...),
		ResourceArns: cdkx.Strings("*"),
	})
	if role, ok := to.(awsiam.IRole); ok {
		cdkx.AcknowledgePolicy(role, "The elasticloadbalancing:Describe actions, which only read, have no resource-level permission.", "Resource::*")
	}
	return granted
}

func grant(to awsiam.IGrantable, action string, resources ...string) {
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee: to, Actions: cdkx.Strings(action), ResourceArns: cdkx.Strings(resources...),
	})
}

// FullName is the load balancer as its metrics name it: app/<name>/<id>.
func (l *LoadBalancer) FullName() string { return l.fullName }
