package loadbalancer

import (
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Priorities of the listener rules; a listener tries the lowest first. Rules of
// the caller's own find room before, between and after.
const (
	BlueTesterRulePriority  = 4
	GreenTesterRulePriority = 5
	RulePriority            = 10
)

// ReleaseHeader is the request header whose value, blue or green, decides which
// color answers, unless Props.NoTesterRule.
const ReleaseHeader = contract.ReleaseHeader

// RefusalCode stands in the body of the 403 that answers a request without the
// origin header. It tells the load balancer's refusal from the application's.
const RefusalCode = "not_through_the_edge"

// Weights that the template gives the main rule when it makes it.
const (
	blueWeight  = 100
	greenWeight = 0
)

// listen makes the listeners, whose default action refuses everything.
func (l *LoadBalancer) listen(props Props) {
	listener := func(id, protocol string, listenerProps *elb.BaseApplicationListenerProps) elb.ApplicationListener {
		listenerProps.Open = new(false) // ingress is decided by the security group
		if props.OverrideListener != nil {
			props.OverrideListener(protocol, listenerProps)
		}
		return l.LoadBalancer.AddListener(&id, listenerProps)
	}
	// The content types ALB can answer with do not include problem+json.
	refuse := elb.ListenerAction_FixedResponse(cdkx.Number(403), &elb.FixedResponseOptions{
		ContentType: new("application/json"),
		MessageBody: new(`{"type":"about:blank","title":"Forbidden","status":403,"code":"` + RefusalCode + `"}`),
	})
	if !l.https {
		l.Listener = listener("Listener", "http", &elb.BaseApplicationListenerProps{
			Port: cdkx.Number(80), Protocol: elb.ApplicationProtocol_HTTP, DefaultAction: refuse,
		})
		cdkx.Acknowledge(l.Listener, plainReason(props), "ALBHttpToHttpsRedirection", "ELBv2ACMCertificateRequired")
		return
	}
	certificates := []elb.IListenerCertificate{elb.ListenerCertificate_FromArn(&props.CertificateARN)}
	for _, arn := range props.AdditionalCertificateARNs {
		certificates = append(certificates, elb.ListenerCertificate_FromArn(&arn))
	}
	l.Listener = listener("Listener", "https", &elb.BaseApplicationListenerProps{
		Port: cdkx.Number(443), Protocol: elb.ApplicationProtocol_HTTPS, DefaultAction: refuse,
		Certificates: &certificates,
		SslPolicy:    props.SSLPolicy,
	})
	if props.Internal {
		return // CloudFront connects by HTTPS, and nobody types the name of an internal load balancer
	}
	l.Redirect = listener("Redirect", "http", &elb.BaseApplicationListenerProps{
		Port: cdkx.Number(80), Protocol: elb.ApplicationProtocol_HTTP,
		DefaultAction: elb.ListenerAction_Redirect(&elb.RedirectOptions{
			Protocol: new("HTTPS"), Port: new("443"), Permanent: new(true),
		}),
	})
	// A certificate that is added later moves the listener off port 80 first.
	l.Redirect.Node().AddDependency(l.Listener)
	cdkx.Acknowledge(l.Redirect, "The listener only redirects to HTTPS and forwards nothing.", "ELBv2ACMCertificateRequired")
}

func plainReason(props Props) string {
	if props.Internal {
		return "Viewers use HTTPS up to CloudFront. From there requests stay on the network of AWS: " +
			"a VPC origin connects CloudFront with the private subnets, without an internet gateway in between."
	}
	return "Viewers use HTTPS up to CloudFront. From there to the load balancer requests are not encrypted, " +
		"and neither content nor the origin header is protected from who can read that path. " +
		"CertificateARN with edge.Props.OriginDomain encrypts it; Internal with a VPC origin takes it off the internet."
}

// route makes the rules: requests with the origin header reach a color, by the
// weights or by what a tester asks for.
func (l *LoadBalancer) route(props Props) {
	forward := &elb.ForwardOptions{}
	if !props.NoColorStickiness {
		forward.StickinessDuration = cdkx.Duration(props.ColorStickiness)
	}
	throughTheEdge := elb.ListenerCondition_HttpHeader(new(contract.OriginVerifyHeader), cdkx.Strings(l.OriginHeaderValue()))
	rule := func(id, name string, ruleProps *elb.ApplicationListenerRuleProps) elb.ApplicationListenerRule {
		ruleProps.Listener = l.Listener
		if props.OverrideRule != nil {
			props.OverrideRule(name, ruleProps)
		}
		return elb.NewApplicationListenerRule(l, &id, ruleProps)
	}
	l.Rule = rule("Rule", "main", &elb.ApplicationListenerRuleProps{
		Priority:   cdkx.Number(RulePriority),
		Conditions: &[]elb.ListenerCondition{throughTheEdge},
		Action: elb.ListenerAction_WeightedForward(&[]*elb.WeightedTargetGroup{
			{TargetGroup: l.Blue, Weight: cdkx.Number(blueWeight)},
			{TargetGroup: l.Green, Weight: cdkx.Number(greenWeight)},
		}, forward),
	})
	if props.NoTesterRule {
		return
	}
	for _, tester := range []struct {
		id, color string
		priority  int
		group     elb.ApplicationTargetGroup
	}{
		{"BlueTesterRule", contract.ColorBlue, BlueTesterRulePriority, l.Blue},
		{"GreenTesterRule", contract.ColorGreen, GreenTesterRulePriority, l.Green},
	} {
		l.TesterRules[tester.color] = rule(tester.id, tester.color, &elb.ApplicationListenerRuleProps{
			Priority: cdkx.Number(tester.priority),
			Conditions: &[]elb.ListenerCondition{
				throughTheEdge,
				elb.ListenerCondition_HttpHeader(new(ReleaseHeader), cdkx.Strings(tester.color)),
			},
			Action: elb.ListenerAction_Forward(&[]elb.IApplicationTargetGroup{tester.group}, nil),
		})
	}
}
