package edge

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	acm "github.com/aws/aws-cdk-go/awscdk/v2/awscertificatemanager"
	cf "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfront"
	origins "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfrontorigins"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// PriceClass is the set of edge locations that serve.
type PriceClass string

// The price classes of CloudFront.
const (
	PriceClassAll PriceClass = "PriceClass_All" // every location
	PriceClass200 PriceClass = "PriceClass_200" // without the most expensive
	PriceClass100 PriceClass = "PriceClass_100" // North America, Europe and Israel
)

// DefaultContentSecurityPolicy lets a page load from its own origin only.
const DefaultContentSecurityPolicy = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; " +
	"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// How CloudFront talks to the load balancer by default.
const (
	// OriginKeepalive is how long an idle connection is kept, the most without a
	// raised quota. The load balancer has to keep it for longer.
	OriginKeepalive = 60 * time.Second
	// OriginReadTimeout is how long the load balancer may send nothing before it
	// is 504, the most without a raised quota. An event stream has to send a
	// comment more often.
	OriginReadTimeout = 60 * time.Second
	// OriginConnectTimeout is of each of three attempts.
	OriginConnectTimeout = 5 * time.Second
	// OriginConnectAttempts is how often CloudFront tries to connect.
	OriginConnectAttempts = 3
)

// ErrorPage is an answer in place of an error. Status is required.
type ErrorPage struct {
	// Status that is replaced: 400, 403 to 405, 414, 416 or 500 to 504.
	Status int

	// Path of the page, below a static path: "/static/errors/503.html". Default
	// none: the error passes unchanged.
	Path string

	// ResponseStatus that the viewer gets with the page, 200 to 599. Default Status.
	ResponseStatus int

	// TTL is how long CloudFront keeps the error and answers everybody with it, in
	// whole seconds up to a year. Default 0. It has to be 0 unless every behavior
	// is static, because CloudFront keeps the errors of private paths as well.
	TTL time.Duration
}

// Props configures an Edge. LoadBalancer and OriginHeaderValue are required
// unless every behavior is static; everything else has a production default.
type Props struct {
	// Behaviors say what happens to which path: Static, Private or Stream, each
	// path once, 24 at most beside the one of "*". CloudFront tries streams first,
	// then private paths, then static ones, each in the order given. Default
	// Private("/v1/*") and Static("/static/*"). Paths named nowhere are private.
	Behaviors []Behavior

	// LoadBalancer is the origin of every private path and stream.
	LoadBalancer elb.IApplicationLoadBalancer

	// OriginHeaderValue is the value of X-Origin-Verify that the load balancer
	// requires: a dynamic reference to a secret, as OriginHeaderValue of a
	// loadbalancer makes it, and never the secret itself.
	OriginHeaderValue string

	// OriginDomain is a DNS name of the load balancer that its certificate is
	// for; with it CloudFront connects by HTTPS. Default the load balancer's own
	// name, by HTTP.
	OriginDomain string

	// VPCOrigin connects to a load balancer in private subnets
	// (loadbalancer.Props.Internal) without any way over the internet. Requests,
	// event streams and, since May 2026, WebSockets pass; gRPC does not. The VPC
	// needs an internet gateway, which nothing is routed to, and CloudFront does
	// not reach every Availability Zone: see its developer guide, "Restrict access
	// with VPC origins". Making one takes up to 15 minutes.
	VPCOrigin bool

	// OriginConnectTimeout of each attempt, 1 s to 10 s; OriginConnectAttempts, 1
	// to 3; OriginReadTimeout and OriginKeepalive, 1 s to 3 min, above 60 s with a
	// raised quota only. Defaults are the constants of these names.
	OriginConnectTimeout  time.Duration
	OriginConnectAttempts int
	OriginReadTimeout     time.Duration
	OriginKeepalive       time.Duration

	// ResponseCompletionTimeout bounds how long a private answer may take as a
	// whole, 1 s to 1 h and no less than OriginReadTimeout. Default none. It never
	// ends a stream.
	ResponseCompletionTimeout time.Duration

	// StreamReadTimeout is how long a stream may be silent before CloudFront ends
	// it, 1 s to 3 min, above 60 s with a raised quota only. Default
	// OriginReadTimeout.
	StreamReadTimeout time.Duration

	// OriginShieldRegion, such as "eu-west-1", lets requests to the load balancer
	// and the bucket come through one more cache, there. Worth its price for
	// static files with viewers on several continents. Default none.
	OriginShieldRegion string

	// StaticBucket holds the static files. One made by CDK has to stand in the
	// same stack, because its policy names the distribution; the policy of an
	// imported one is the caller's. Default: a new private one, when a behavior is
	// static.
	StaticBucket awss3.IBucket

	// DestroyStaticBucket deletes a new StaticBucket with the stack, which works
	// once it is empty. Default: it stays.
	DestroyStaticBucket bool

	// DefaultRootObject answers "/", such as "index.html". Default none.
	DefaultRootObject string

	// ErrorPages replace errors. Default none: they pass unchanged, and unless
	// every behavior is static CloudFront keeps none of them, for which it would
	// take 10 s by itself whatever the cache policy and Cache-Control say.
	ErrorPages []ErrorPage

	// WebACLARN is a WAFv2 web ACL of scope CLOUDFRONT. Default none.
	WebACLARN string

	// AllowedCountries alone are served, or all but DeniedCountries: ISO 3166-1
	// codes of two letters, in upper case. Default every country.
	AllowedCountries []string
	DeniedCountries  []string

	// DomainNames are the names of the service, and the certificate, of us-east-1,
	// is for them: Certificate, or CertificateARN. With them viewers need TLS 1.2
	// or newer; the certificate of cloudfront.net decides without. Default the
	// name that CloudFront gives.
	DomainNames    []string
	Certificate    acm.ICertificate
	CertificateARN string

	// PriceClass is the set of edge locations. Default PriceClassAll.
	PriceClass PriceClass

	// NoHTTP3 serves HTTP/2 and HTTP/1.1 only, NoIPv6 IPv4 only.
	NoHTTP3 bool
	NoIPv6  bool

	// Disabled makes the distribution answer nothing.
	Disabled bool

	// ContentSecurityPolicy of every response. Default DefaultContentSecurityPolicy.
	ContentSecurityPolicy string

	// ResponseHeaders is the policy of every response. Default: a new one with
	// ContentSecurityPolicy, HSTS for two years, and no sniffing, framing or
	// referrer to other origins.
	ResponseHeaders cf.IResponseHeadersPolicy

	// LogBucket receives the access logs; it has to allow ACLs, by which
	// CloudFront writes. Default: a new one that keeps them for 90 days and
	// stays when the stack is deleted. Reads of a new StaticBucket are logged in
	// a new LogBucket too.
	LogBucket awss3.IBucket

	// NoAccessLogs writes none.
	NoAccessLogs bool

	// LogCookies writes cookies to the access logs.
	LogCookies bool

	// AdditionalMetrics are latency, cache hit rate and errors by status, with the
	// alarms on them. CloudFront charges for them by the month.
	AdditionalMetrics bool

	// MaxErrorPercent of the responses may be 5xx before the alarm goes off.
	// Default 1; more than 0, up to 100.
	MaxErrorPercent float64

	// MaxLatency is the p99 of the time until CloudFront begins to answer what it
	// had to ask an origin for, above which the alarm goes off. Default 2 s. With
	// AdditionalMetrics.
	MaxLatency time.Duration

	// MinCacheHitPercent of the requests that may be cached should need no origin,
	// else the alarm goes off. Default none, because the rate of an API's
	// distribution says nothing; up to 100. With AdditionalMetrics.
	MinCacheHitPercent float64

	// Override and its siblings have the last word, but for one thing: private
	// paths and streams stay uncached, and New panics with a *PropsError when an
	// override gives them another cache policy. OverrideBehavior is called for
	// each path, and for the default behavior with "*"; OverrideOrigin and
	// OverrideVPCOrigin for the origin of private paths with "private" and, when
	// it differs, that of streams with "stream".
	Override                func(*cf.DistributionProps)
	OverrideBehavior        func(path string, props *cf.AddBehaviorOptions)
	OverrideOrigin          func(name string, props *origins.HttpOriginProps)
	OverrideVPCOrigin       func(name string, props *origins.VpcOriginWithEndpointProps)
	OverrideStaticOrigin    func(*origins.S3BucketOriginWithOACProps)
	OverrideResponseHeaders func(*cf.ResponseHeadersPolicyProps)
	OverrideStaticBucket    func(*awss3.BucketProps)
	OverrideLogBucket       func(*awss3.BucketProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	domainPattern  = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$`)
	certificateARN = regexp.MustCompile(`^arn:[a-z-]+:acm:us-east-1:\d{12}:certificate/.+$`)
	webACLARN      = regexp.MustCompile(`^arn:[a-z-]+:wafv2:us-east-1:\d{12}:global/webacl/.+$`)
	regionCode     = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d+$`)
	countryCode    = regexp.MustCompile(`^[A-Z]{2}$`)
)

// replaceable are the statuses for which CloudFront can serve another page, from
// its developer guide ("How CloudFront processes HTTP 4xx and 5xx status codes").
var replaceable = []int{400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504}

func (p Props) withDefaults() Props {
	if p.Behaviors == nil {
		p.Behaviors = defaultBehaviors()
	}
	p.OriginConnectTimeout = cmp.Or(p.OriginConnectTimeout, OriginConnectTimeout)
	p.OriginConnectAttempts = cmp.Or(p.OriginConnectAttempts, OriginConnectAttempts)
	p.OriginReadTimeout = cmp.Or(p.OriginReadTimeout, OriginReadTimeout)
	p.OriginKeepalive = cmp.Or(p.OriginKeepalive, OriginKeepalive)
	p.StreamReadTimeout = cmp.Or(p.StreamReadTimeout, p.OriginReadTimeout)
	p.PriceClass = cmp.Or(p.PriceClass, PriceClassAll)
	p.ContentSecurityPolicy = cmp.Or(p.ContentSecurityPolicy, DefaultContentSecurityPolicy)
	p.MaxErrorPercent = cmp.Or(p.MaxErrorPercent, 1)
	p.MaxLatency = cmp.Or(p.MaxLatency, 2*time.Second)
	return p
}

// uses tells whether a behavior needs the load balancer, and the bucket.
func (p Props) uses() (balancer, bucket bool) {
	fallback, others := split(slices.DeleteFunc(slices.Clone(p.Behaviors), func(b Behavior) bool { return b == nil }))
	for _, b := range append(others, fallback) {
		if isStatic(b) {
			bucket = true
		} else {
			balancer = true
		}
	}
	return balancer, bucket
}

// Validate returns a *PropsError with every field that is not valid, or nil.
// Limits are those of the CloudFront developer guide.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	checkBehaviors(&bad, p.Behaviors)
	p.checkOrigin(&bad)
	p.checkPages(&bad)
	p.checkNames(&bad)
	if p.WebACLARN != "" {
		cdkx.Matches(&bad, "WebACLARN", p.WebACLARN, webACLARN, "the ARN of a web ACL of scope CLOUDFRONT")
	}
	bad.Check(len(p.AllowedCountries) == 0 || len(p.DeniedCountries) == 0, "DeniedCountries", p.DeniedCountries, "none with AllowedCountries")
	for _, countries := range []struct {
		field string
		codes []string
	}{{"AllowedCountries", p.AllowedCountries}, {"DeniedCountries", p.DeniedCountries}} {
		for i, code := range countries.codes {
			bad.Check(countryCode.MatchString(code), fmt.Sprintf("%s[%d]", countries.field, i), code, "two upper-case letters, such as CH")
		}
	}
	cdkx.OneOf(&bad, "PriceClass", p.PriceClass, PriceClassAll, PriceClass200, PriceClass100)
	bad.Check(p.LogBucket == nil || !p.NoAccessLogs, "NoAccessLogs", p.NoAccessLogs, "false when LogBucket is given")
	bad.Check(!p.LogCookies || !p.NoAccessLogs, "LogCookies", p.LogCookies, "false with NoAccessLogs")
	bad.Check(p.MaxErrorPercent > 0 && p.MaxErrorPercent <= 100, "MaxErrorPercent", p.MaxErrorPercent, "more than 0, up to 100")
	bad.Check(p.MaxLatency > 0, "MaxLatency", p.MaxLatency, "more than 0")
	bad.Check(p.MinCacheHitPercent >= 0 && p.MinCacheHitPercent <= 100, "MinCacheHitPercent", p.MinCacheHitPercent, "0 to 100")
	bad.Check(p.MinCacheHitPercent == 0 || p.AdditionalMetrics, "MinCacheHitPercent", p.MinCacheHitPercent, "0 without AdditionalMetrics")
	return bad.Err("edge")
}

func (p Props) checkOrigin(bad *cdkx.Problems) {
	balancer, bucket := p.uses()
	if balancer {
		bad.Check(p.LoadBalancer != nil, "LoadBalancer", "nil", "a load balancer, unless every behavior is static")
		// The value itself would be the secret: it is named, never shown.
		bad.Check(isReference(p.OriginHeaderValue), "OriginHeaderValue", "plain text or nothing",
			"a dynamic reference to a secret, such as OriginHeaderValue of a loadbalancer")
	} else {
		bad.Check(p.LoadBalancer == nil, "LoadBalancer", "given", "nothing, because every behavior is static")
	}
	if p.OriginDomain != "" {
		cdkx.Matches(bad, "OriginDomain", p.OriginDomain, domainPattern, "a DNS name")
	}
	cdkx.WholeSeconds(bad, "OriginConnectTimeout", p.OriginConnectTimeout, time.Second, 10*time.Second)
	cdkx.Between(bad, "OriginConnectAttempts", p.OriginConnectAttempts, 1, 3)
	cdkx.WholeSeconds(bad, "OriginReadTimeout", p.OriginReadTimeout, time.Second, 3*time.Minute)
	cdkx.WholeSeconds(bad, "OriginKeepalive", p.OriginKeepalive, time.Second, 3*time.Minute)
	cdkx.WholeSeconds(bad, "StreamReadTimeout", p.StreamReadTimeout, time.Second, 3*time.Minute)
	if p.ResponseCompletionTimeout != 0 {
		cdkx.WholeSeconds(bad, "ResponseCompletionTimeout", p.ResponseCompletionTimeout, p.OriginReadTimeout, time.Hour)
	}
	if p.OriginShieldRegion != "" {
		cdkx.Matches(bad, "OriginShieldRegion", p.OriginShieldRegion, regionCode, "the code of an AWS Region, such as eu-west-1")
	}
	bad.Check(bucket || p.StaticBucket == nil, "StaticBucket", "given", "nothing, because no behavior is static")
}

func (p Props) checkPages(bad *cdkx.Problems) {
	private, _ := p.uses()
	seen := map[int]bool{}
	for i, page := range p.ErrorPages {
		field := fmt.Sprintf("ErrorPages[%d]", i)
		bad.Check(slices.Contains(replaceable, page.Status), field+".Status", page.Status, "400, 403 to 405, 414, 416 or 500 to 504")
		bad.Check(!seen[page.Status], field+".Status", page.Status, "each status once")
		seen[page.Status] = true
		bad.Check(page.Path == "" || strings.HasPrefix(page.Path, "/"), field+".Path", page.Path, "a path that begins with a slash")
		bad.Check(page.ResponseStatus == 0 || page.Path != "" && page.ResponseStatus >= 200 && page.ResponseStatus <= 599,
			field+".ResponseStatus", page.ResponseStatus, "200 to 599, with a Path")
		cdkx.WholeSeconds(bad, field+".TTL", page.TTL, 0, 365*24*time.Hour)
		bad.Check(page.TTL == 0 || !private, field+".TTL", page.TTL, "0 unless every behavior is static")
	}
}

func (p Props) checkNames(bad *cdkx.Problems) {
	for i, name := range p.DomainNames {
		cdkx.Matches(bad, fmt.Sprintf("DomainNames[%d]", i), name, domainPattern, "a DNS name")
	}
	certified := p.Certificate != nil || p.CertificateARN != ""
	bad.Check(len(p.DomainNames) == 0 || certified, "Certificate", "nil", "the certificate of DomainNames")
	bad.Check(len(p.DomainNames) > 0 || !certified, "DomainNames", p.DomainNames, "the names that the certificate is for")
	bad.Check(p.Certificate == nil || p.CertificateARN == "", "CertificateARN", p.CertificateARN, "none with Certificate")
	if p.CertificateARN != "" {
		cdkx.Matches(bad, "CertificateARN", p.CertificateARN, certificateARN, "the ARN of an ACM certificate of us-east-1")
	}
	if p.Certificate != nil {
		region := certificateRegion(p.Certificate)
		bad.Check(region == "" || region == "us-east-1", "Certificate", "in "+region, "a certificate of us-east-1")
	}
}

// certificateRegion is the Region of a certificate, or empty when only the
// deployment knows.
func certificateRegion(certificate acm.ICertificate) string {
	arn, region := *certificate.CertificateArn(), *certificate.Env().Region
	if !cdkx.Unresolved(arn) { // an imported one, which takes its stack's Region for its own
		if parts := strings.Split(arn, ":"); len(parts) > 3 {
			return parts[3]
		}
	}
	if cdkx.Unresolved(region) {
		return ""
	}
	return region
}

// isReference tells a value that CloudFormation resolves from plain text.
func isReference(value string) bool {
	return value != "" && (strings.HasPrefix(value, "{{resolve:") || *awscdk.Token_IsUnresolved(value))
}
