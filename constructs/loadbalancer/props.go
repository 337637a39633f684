package loadbalancer

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Algorithm is how a target group chooses the target of a request.
type Algorithm string

// The routing algorithms of a target group.
const (
	LeastOutstandingRequests Algorithm = "least_outstanding_requests"
	RoundRobin               Algorithm = "round_robin"
	// WeightedRandom comes with automatic target weights: a target that answers
	// with errors more often than the others gets fewer requests.
	WeightedRandom Algorithm = "weighted_random"
)

// ForwardedFor is what the load balancer does to the X-Forwarded-For header.
type ForwardedFor string

// The modes of the X-Forwarded-For header.
const (
	ForwardedForAppend   ForwardedFor = "append"   // adds the address of the client, which is CloudFront's
	ForwardedForPreserve ForwardedFor = "preserve" // leaves it as CloudFront sent it
	ForwardedForRemove   ForwardedFor = "remove"
)

// Health checks of the target groups: an instance counts as dead, or as ready,
// within ten seconds. 5 s is the shortest interval an ALB has.
const (
	HealthCheckInterval  = 5 * time.Second
	HealthCheckTimeout   = 2 * time.Second
	HealthCheckThreshold = 2
)

// HealthCheck is how a target group finds out whether a target may have
// requests. The zero value is the default.
type HealthCheck struct {
	// Path that is asked for, at most 1024 characters. Default /readyz.
	Path string

	// Codes that mean healthy: "200", "200,204" or "200-299". Default "200".
	Codes string

	// Interval between two checks of a target. Default HealthCheckInterval; 5 s
	// to 5 min.
	Interval time.Duration

	// Timeout of a check, shorter than Interval. Default HealthCheckTimeout; 2 s
	// to 2 min.
	Timeout time.Duration

	// HealthyAfter and UnhealthyAfter are how many checks in a row change what is
	// thought of a target. Default HealthCheckThreshold; 2 to 10.
	HealthyAfter   int
	UnhealthyAfter int
}

// Props configures a LoadBalancer. VPC is required; everything else has a
// production default.
type Props struct {
	// VPC holds the load balancer, in its public subnets, or private ones when
	// Internal, and the target groups.
	VPC awsec2.IVpc

	// LoadBalancer and Listener are existing ones to put the rules and the target
	// groups on: both or neither. Their TLS, logs, attributes and security groups
	// stay the caller's, and every field about these is refused. The listener's
	// default action has to refuse what carries no origin header. Default: new ones.
	LoadBalancer elb.IApplicationLoadBalancer
	Listener     elb.IApplicationListener

	// Internal puts the load balancer into private subnets without a public
	// address, where only a VPC origin of CloudFront (edge.Props.VPCOrigin) and
	// the VPC reach it. Its security group then never admits everyone.
	Internal bool

	// SecurityGroup of the load balancer, whose ingress is then the caller's.
	// Default: a new one that admits HTTP, or HTTPS and HTTP with a
	// certificate, and has egress to the targets only.
	SecurityGroup awsec2.ISecurityGroup

	// IngressPrefixList is the id (pl-…) of a managed prefix list that alone may
	// connect to a new security group, such as CloudFront's origin-facing list
	// of the Region: see CloudFrontPrefixList. Default everyone, whom the listener
	// rule then refuses; when Internal, CloudFront's list of the stack's Region.
	// That list counts as 55 of the 60 rules a security group has by default (VPC
	// user guide, "AWS-managed prefix lists"), so it admits only the port that
	// CloudFront uses.
	IngressPrefixList string

	// IngressPeers alone may connect to a new security group, instead of
	// everyone: other security groups, address ranges. Not with IngressPrefixList.
	// Default none.
	IngressPeers []awsec2.IPeer

	// CertificateARN is an ACM certificate of this Region. With it the load
	// balancer serves HTTPS and, unless Internal, redirects HTTP there. Default
	// none: HTTP only.
	CertificateARN string

	// AdditionalCertificateARNs are for further names, chosen by SNI. A load
	// balancer has 25 at most beside the default one, unless the quota is raised.
	// Default none.
	AdditionalCertificateARNs []string

	// SSLPolicy is the TLS policy of the HTTPS listener. Default
	// elb.SslPolicy_TLS13_12_RES_PQ (ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09):
	// TLS 1.3, also with post-quantum key exchange, and 1.2 with forward secrecy
	// and authenticated encryption for clients without. CDK's feature flag
	// usePostQuantumTlsPolicy changes only listeners that name no policy.
	SSLPolicy elb.SslPolicy

	// Algorithm of both target groups. Default LeastOutstandingRequests, which
	// keeps work away from an instance that is slow.
	Algorithm Algorithm

	// TargetPort is where the targets listen. Default 8080; 1 to 65535.
	TargetPort int

	// HealthCheck of both target groups. Default /readyz every 5 s; see
	// HealthCheck.
	HealthCheck HealthCheck

	// DeregistrationDelay is how long a target that leaves may finish its
	// requests. Default 30 s; 1 s to 1 h.
	DeregistrationDelay time.Duration

	// SlowStart is how long a new target's share of the requests grows to full.
	// Default 0: at once. 30 s to 15 min, with RoundRobin only, as ALB has it.
	SlowStart time.Duration

	// NoCrossZone keeps requests in the zone that they arrived in, which saves
	// latency and spreads unevenly when zones have unequal numbers of targets.
	// It cannot be combined with InstanceStickiness.
	NoCrossZone bool

	// InstanceStickiness binds a client to one instance by cookie for that
	// long. Default 0: off, because the service keeps no state in an instance.
	// 1 s to 7 days.
	InstanceStickiness time.Duration

	// ColorStickiness binds a client to the color that served it first, so that
	// nobody bounces between versions during a canary release. Default 1 h;
	// 1 s to 7 days.
	ColorStickiness time.Duration

	// NoColorStickiness lets every request choose its color by weight.
	NoColorStickiness bool

	// NoTesterRule leaves out the rules that answer a request with the header
	// X-Release: blue, or green, by that color whatever the weights are, so that
	// testers reach a release before any user. These requests need the origin
	// header too, so they come through the edge like all others, but the release
	// header is no secret: a candidate has to be as safe to reach as the rest.
	NoTesterRule bool

	// IdleTimeout closes a connection on which nothing moves. Default 65 s, more
	// than the 60 s for which CloudFront keeps idle connections to an origin, so
	// that CloudFront never sends a request on one that is being closed. Targets
	// should keep theirs for longer still. 1 s to 4000 s.
	IdleTimeout time.Duration

	// ClientKeepAlive is the longest that a client's connection stays open,
	// however busy. Default 1 h; 1 min to 7 days.
	ClientKeepAlive time.Duration

	// NoHTTP2 accepts HTTP/1.1 only.
	NoHTTP2 bool

	// StrictDesync refuses every request that does not comply with RFC 7230.
	// Default: ALB's defensive mode, which refuses or isolates what may smuggle a
	// second request.
	StrictDesync bool

	// ForwardedFor is what happens to X-Forwarded-For. Default ForwardedForAppend.
	ForwardedFor ForwardedFor

	// ForwardClientPort appends the client's port to X-Forwarded-For.
	ForwardClientPort bool

	// PreserveHostHeader passes the Host header on unchanged, with its port.
	PreserveHostHeader bool

	// TLSHeaders passes on the protocol version and cipher of the connection in
	// X-Amzn-Tls-Version and X-Amzn-Tls-Cipher-Suite.
	TLSHeaders bool

	// WAFFailOpen lets requests pass when the web ACL cannot be asked. Default:
	// they are refused.
	WAFFailOpen bool

	// ReservedCapacityUnits are paid for and there before the traffic is. Default
	// 0: none; 100 or more.
	ReservedCapacityUnits int

	// NoDeletionProtection lets a deletion of the stack delete the load balancer.
	NoDeletionProtection bool

	// LogBucket receives the access logs; its policy is the caller's when it was
	// imported, and ALB writes to buckets with SSE-S3 only. Default: a new one
	// that keeps them for 90 days and stays when the stack is deleted.
	LogBucket awss3.IBucket

	// NoAccessLogs writes none.
	NoAccessLogs bool

	// ConnectionLogs writes a line about each TLS handshake too, below
	// alb-connections in the bucket of the access logs.
	ConnectionLogs bool

	// OriginSecret is the value of the origin header. Default: a new one,
	// generated by Secrets Manager. Its value stands in no template: listener
	// rules and distribution refer to it by dynamic reference, which
	// CloudFormation resolves when it creates or changes them. A rotation.Rotation
	// replaces the value without a deployment.
	OriginSecret awssecretsmanager.ISecret

	// MaxErrorPercent of a color's responses may be 5xx before its alarm goes
	// off, and as many of all requests may be answered 5xx by the load balancer
	// itself. Default 1; more than 0, up to 100.
	MaxErrorPercent float64

	// MaxLatency is the p99 of the time to a response's first byte above which
	// a color's alarm goes off. Default 1 s.
	MaxLatency time.Duration

	// Override and its siblings have the last word. OverrideTargetGroup,
	// OverrideListener and OverrideRule are called for each of theirs: with
	// "blue" and "green", with "http" and "https", and with "main", "blue" and
	// "green".
	Override              func(*elb.ApplicationLoadBalancerProps)
	OverrideSecurityGroup func(*awsec2.SecurityGroupProps)
	OverrideTargetGroup   func(color string, props *elb.ApplicationTargetGroupProps)
	OverrideListener      func(protocol string, props *elb.BaseApplicationListenerProps)
	OverrideRule          func(rule string, props *elb.ApplicationListenerRuleProps)
	OverrideLogBucket     func(*awss3.BucketProps)
	OverrideSecret        func(*awssecretsmanager.SecretProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// defaultClientKeepAlive is ALB's own.
const defaultClientKeepAlive = time.Hour

// maxStickiness is the longest life of a target's and of a target group's cookie.
const maxStickiness = 7 * 24 * time.Hour

var (
	certificateARN = regexp.MustCompile(`^arn:[a-z-]+:acm:[a-z0-9-]+:\d{12}:certificate/.+$`)
	prefixListID   = regexp.MustCompile(`^pl-[0-9a-f]{8,17}$`)
	healthyCodes   = regexp.MustCompile(`^[2-4]\d\d([-,][2-4]\d\d)*$`)
)

func (p Props) withDefaults() Props {
	p.SSLPolicy = cmp.Or(p.SSLPolicy, elb.SslPolicy_TLS13_12_RES_PQ)
	p.Algorithm = cmp.Or(p.Algorithm, LeastOutstandingRequests)
	p.TargetPort = cmp.Or(p.TargetPort, contract.AppPort)
	p.HealthCheck.Path = cmp.Or(p.HealthCheck.Path, contract.PathReady)
	p.HealthCheck.Codes = cmp.Or(p.HealthCheck.Codes, "200")
	p.HealthCheck.Interval = cmp.Or(p.HealthCheck.Interval, HealthCheckInterval)
	p.HealthCheck.Timeout = cmp.Or(p.HealthCheck.Timeout, HealthCheckTimeout)
	p.HealthCheck.HealthyAfter = cmp.Or(p.HealthCheck.HealthyAfter, HealthCheckThreshold)
	p.HealthCheck.UnhealthyAfter = cmp.Or(p.HealthCheck.UnhealthyAfter, HealthCheckThreshold)
	p.DeregistrationDelay = cmp.Or(p.DeregistrationDelay, 30*time.Second)
	p.ColorStickiness = cmp.Or(p.ColorStickiness, time.Hour)
	p.IdleTimeout = cmp.Or(p.IdleTimeout, 65*time.Second)
	p.ClientKeepAlive = cmp.Or(p.ClientKeepAlive, defaultClientKeepAlive)
	p.ForwardedFor = cmp.Or(p.ForwardedFor, ForwardedForAppend)
	p.MaxErrorPercent = cmp.Or(p.MaxErrorPercent, 1)
	p.MaxLatency = cmp.Or(p.MaxLatency, time.Second)
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
// Limits are those of the Application Load Balancers user guide.
func (p Props) Validate() error {
	given := p
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.VPC != nil, "VPC", "nil", "a VPC")
	given.checkExisting(&bad)
	p.checkIngress(&bad)
	if p.CertificateARN != "" {
		cdkx.Matches(&bad, "CertificateARN", p.CertificateARN, certificateARN, "the ARN of an ACM certificate")
	}
	bad.Check(p.CertificateARN != "" || len(p.AdditionalCertificateARNs) == 0, "AdditionalCertificateARNs", p.AdditionalCertificateARNs,
		"none without CertificateARN")
	bad.Check(len(p.AdditionalCertificateARNs) <= 25, "AdditionalCertificateARNs", len(p.AdditionalCertificateARNs), "25 at most")
	for i, arn := range p.AdditionalCertificateARNs {
		cdkx.Matches(&bad, fmt.Sprintf("AdditionalCertificateARNs[%d]", i), arn, certificateARN, "the ARN of an ACM certificate")
	}
	p.checkTargets(&bad)
	cdkx.WholeSeconds(&bad, "ColorStickiness", p.ColorStickiness, time.Second, maxStickiness)
	cdkx.WholeSeconds(&bad, "IdleTimeout", p.IdleTimeout, time.Second, 4000*time.Second)
	cdkx.WholeSeconds(&bad, "ClientKeepAlive", p.ClientKeepAlive, time.Minute, 7*24*time.Hour)
	cdkx.OneOf(&bad, "ForwardedFor", p.ForwardedFor, ForwardedForAppend, ForwardedForPreserve, ForwardedForRemove)
	bad.Check(p.ReservedCapacityUnits == 0 || p.ReservedCapacityUnits >= 100, "ReservedCapacityUnits", p.ReservedCapacityUnits, "0, or 100 or more")
	bad.Check(p.LogBucket == nil || !p.NoAccessLogs, "NoAccessLogs", p.NoAccessLogs, "false when LogBucket is given")
	bad.Check(!p.ConnectionLogs || !p.NoAccessLogs, "ConnectionLogs", p.ConnectionLogs, "false with NoAccessLogs")
	bad.Check(p.MaxErrorPercent > 0 && p.MaxErrorPercent <= 100, "MaxErrorPercent", p.MaxErrorPercent, "more than 0, up to 100")
	bad.Check(p.MaxLatency > 0, "MaxLatency", p.MaxLatency, "more than 0")
	return bad.Err("loadbalancer")
}

// checkExisting refuses what an existing load balancer would not get, rather
// than ignoring it.
func (p Props) checkExisting(bad *cdkx.Problems) {
	bad.Check((p.LoadBalancer == nil) == (p.Listener == nil), "Listener", p.Listener != nil, "given together with LoadBalancer, or neither")
	if p.LoadBalancer == nil {
		return
	}
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"Internal", p.Internal},
		{"SecurityGroup", p.SecurityGroup != nil},
		{"IngressPrefixList", p.IngressPrefixList != ""},
		{"IngressPeers", len(p.IngressPeers) > 0},
		{"CertificateARN", p.CertificateARN != ""},
		{"SSLPolicy", p.SSLPolicy != ""},
		{"IdleTimeout", p.IdleTimeout != 0},
		{"ClientKeepAlive", p.ClientKeepAlive != 0},
		{"NoHTTP2", p.NoHTTP2},
		{"StrictDesync", p.StrictDesync},
		{"ForwardedFor", p.ForwardedFor != ""},
		{"ForwardClientPort", p.ForwardClientPort},
		{"PreserveHostHeader", p.PreserveHostHeader},
		{"TLSHeaders", p.TLSHeaders},
		{"WAFFailOpen", p.WAFFailOpen},
		{"ReservedCapacityUnits", p.ReservedCapacityUnits != 0},
		{"NoDeletionProtection", p.NoDeletionProtection},
		{"LogBucket", p.LogBucket != nil},
		{"NoAccessLogs", p.NoAccessLogs},
		{"ConnectionLogs", p.ConnectionLogs},
	} {
		bad.Check(!field.given, field.name, "given", "nothing with an existing LoadBalancer, whose setting it is")
	}
}

func (p Props) checkIngress(bad *cdkx.Problems) {
	if p.IngressPrefixList != "" {
		cdkx.Matches(bad, "IngressPrefixList", p.IngressPrefixList, prefixListID, "the id of a prefix list: pl-…")
		bad.Check(p.SecurityGroup == nil, "IngressPrefixList", p.IngressPrefixList, "none when SecurityGroup is given")
		bad.Check(len(p.IngressPeers) == 0, "IngressPrefixList", p.IngressPrefixList, "none when IngressPeers are given")
	}
	bad.Check(p.SecurityGroup == nil || len(p.IngressPeers) == 0, "IngressPeers", len(p.IngressPeers), "none when SecurityGroup is given")
	for i, peer := range p.IngressPeers {
		bad.Check(peer != nil, fmt.Sprintf("IngressPeers[%d]", i), "nil", "a peer")
	}
}

func (p Props) checkTargets(bad *cdkx.Problems) {
	cdkx.OneOf(bad, "Algorithm", p.Algorithm, LeastOutstandingRequests, RoundRobin, WeightedRandom)
	cdkx.Between(bad, "TargetPort", p.TargetPort, 1, 65535)
	h := p.HealthCheck
	bad.Check(cdkx.Unresolved(h.Path) || strings.HasPrefix(h.Path, "/") && len(h.Path) <= 1024, "HealthCheck.Path", h.Path,
		"a path of at most 1024 characters that begins with a slash")
	cdkx.Matches(bad, "HealthCheck.Codes", h.Codes, healthyCodes, `codes from 200 to 499: "200", "200,204" or "200-299"`)
	cdkx.WholeSeconds(bad, "HealthCheck.Interval", h.Interval, 5*time.Second, 5*time.Minute)
	cdkx.WholeSeconds(bad, "HealthCheck.Timeout", h.Timeout, 2*time.Second, 2*time.Minute)
	bad.Check(h.Timeout < h.Interval, "HealthCheck.Timeout", h.Timeout, "less than Interval")
	cdkx.Between(bad, "HealthCheck.HealthyAfter", h.HealthyAfter, 2, 10)
	cdkx.Between(bad, "HealthCheck.UnhealthyAfter", h.UnhealthyAfter, 2, 10)
	cdkx.WholeSeconds(bad, "DeregistrationDelay", p.DeregistrationDelay, time.Second, time.Hour)
	if p.SlowStart != 0 {
		cdkx.WholeSeconds(bad, "SlowStart", p.SlowStart, 30*time.Second, 15*time.Minute)
		bad.Check(p.Algorithm == RoundRobin, "SlowStart", p.SlowStart, "0 with another Algorithm than round_robin")
	}
	cdkx.WholeSeconds(bad, "InstanceStickiness", p.InstanceStickiness, 0, maxStickiness)
	bad.Check(p.InstanceStickiness == 0 || !p.NoCrossZone, "InstanceStickiness", p.InstanceStickiness, "0 with NoCrossZone")
}
