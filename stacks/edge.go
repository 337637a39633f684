package stacks

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	acm "github.com/aws/aws-cdk-go/awscdk/v2/awscertificatemanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/firewall"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/rotation"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// loginPath may be called loginLimit times in five minutes from one address.
// The limit is for machines: an office behind one address stays far below it,
// and the service limits each account by itself.
const (
	loginPath  = "/v1/auth/login"
	loginLimit = 100
)

// Edge is the stack in front: what viewers reach.
type Edge struct {
	Stack    awscdk.Stack
	Firewall *firewall.Firewall
	Edge     *edge.Edge
	Rotation *rotation.Rotation // of the header that the load balancer requires
}

// pathEvents is the route whose answers last: what CloudFront does with it
// bounds the silence between two events and not the whole.
const pathEvents = "/v1/events"

// NewEdge makes the firewall and the distribution in front of the load balancer.
//
// A web ACL and a certificate for CloudFront exist in us-east-1 only. In another
// Region the same rules stand in front of the load balancer instead, so that the
// environment is whole in one Region and no custom resource carries values
// across. What that costs: there the load balancer's requests come from
// CloudFront, so the limit on log-ins counts the address CloudFront reports,
// which a viewer can forge, and a Domain is refused: NewEdge panics with an
// *edge.PropsError.
func NewEdge(scope constructs.Construct, s Settings, programs *programs, n *Network, d *Data, w *Web) *Edge {
	stack := newStack(scope, s, "edge", "Loadbearing: web ACL, distribution, static files")
	e := &Edge{Stack: stack}

	rules := firewall.Props{
		Key:         n.Key.Key,
		RateLimits:  []firewall.RateLimit{{Name: "Login", Path: loginPath, Limit: loginLimit}},
		LargeBodies: []string{"/v1/projects/*/videos", "/v1/projects/*/images"},
	}
	props := edge.Props{
		Behaviors: []edge.Behavior{edge.Stream(pathEvents), edge.Private("/v1/*"), edge.Static("/static/*")},
		// Pages send the parts of large files to the bucket itself.
		ContentSecurityPolicy: edge.DefaultContentSecurityPolicy + "; connect-src 'self' https://" + *d.Media.BucketRegionalDomainName(),

		LoadBalancer:        w.LoadBalancer.LoadBalancer,
		VPCOrigin:           true,
		OriginHeaderValue:   w.LoadBalancer.OriginHeaderValue(),
		NoAccessLogs:        !s.DeletionProtection,
		DestroyStaticBucket: !s.DeletionProtection,
	}
	if s.Region == "us-east-1" {
		e.Firewall = firewall.New(stack, "Firewall", rules)
		props.WebACLARN = e.Firewall.ARN()
	} else {
		rules.Scope = firewall.Regional
		rules.RateLimits[0].ForwardedIP = true
		rules.RedactedHeaders = []string{"authorization", "cookie", strings.ToLower(contract.OriginVerifyHeader)}
		e.Firewall = firewall.New(stack, "Firewall", rules)
		e.Firewall.Protect("LoadBalancer", w.LoadBalancer.LoadBalancer)
	}
	if s.Domain != "" {
		// Without a hosted zone CloudFormation waits here until the records that
		// ACM names are in the zone, wherever that is.
		props.DomainNames = []string{s.Domain}
		props.Certificate = acm.NewCertificate(stack, new("Certificate"), &acm.CertificateProps{
			DomainName: &s.Domain,
			Validation: acm.CertificateValidation_FromDns(nil),
		})
	}
	e.Edge = edge.New(stack, "Edge", props)
	e.Rotation = rotation.New(stack, "Rotation", rotation.Props{
		LoadBalancer: w.LoadBalancer,
		Edge:         e.Edge,
		Function:     programs.configure(function.Props{Key: n.Key.Key}, folderRotateOrigin),
	})

	for _, output := range []struct{ name, value, description string }{
		{"EdgeURL", e.Edge.URL(), "Where viewers reach the service"},
		{"AlbDNS", *w.LoadBalancer.LoadBalancer.LoadBalancerDnsName(), "The load balancer, which answers only the edge"},
		{"StaticBucket", *e.Edge.StaticBucket.BucketName(), "Upload static files here, below static/"},
	} {
		awscdk.NewCfnOutput(stack, &output.name, &awscdk.CfnOutputProps{Value: &output.value, Description: &output.description})
	}
	return e
}

// Sections is the edge's part of the dashboard.
func (e *Edge) Sections() []observability.Section {
	return []observability.Section{{Title: "Edge", Watched: []observability.Watched{e.Firewall, e.Edge, e.Rotation}}}
}
