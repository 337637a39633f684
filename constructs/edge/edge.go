// Package edge makes a CloudFront distribution in front of a load balancer and
// of a private bucket with static files.
//
// A path is private or static, and that decides everything about caching: there
// is no field that could give a private path a cache policy.
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
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
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

// How CloudFront talks to the load balancer.
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
)

// Props configures an Edge. LoadBalancer and OriginHeaderValue are required;
// everything else has a production default.
type Props struct {
	// LoadBalancer is the origin of every private path.
	LoadBalancer elb.IApplicationLoadBalancer

	// OriginHeaderValue is the value of contract.OriginVerifyHeader that the load
	// balancer requires: a dynamic reference to a secret, as
	// loadbalancer.OriginHeaderValue makes it, and never the secret itself.
	OriginHeaderValue string

	// OriginDomain is a DNS name of the load balancer that its certificate is
	// for; with it CloudFront connects by HTTPS. Default the load balancer's own
	// name, by HTTP.
	OriginDomain string

	// PrivatePaths are answered by the load balancer and never cached, every
	// method, with all the viewer sent. Default /v1/*. The default behavior, of
	// paths named nowhere, is private too.
	PrivatePaths []string

	// StaticPaths are answered from the bucket and cached by what its objects'
	// Cache-Control says, compressed with Brotli or gzip. Default /static/*.
	// A path that is private as well stays private.
	StaticPaths []string

	// StaticBucket holds the static files. It has to stand in the same stack,
	// because its policy names the distribution. Default: a new private one.
	StaticBucket awss3.Bucket

	// WebACLARN is a WAFv2 web ACL of scope CLOUDFRONT. Default none.
	WebACLARN string

	// DomainNames are the names of the service and Certificate, of us-east-1, is
	// for them: both or neither. With them viewers need TLS 1.2 or newer; the
	// certificate of cloudfront.net decides without. Default the name that
	// CloudFront gives.
	DomainNames []string
	Certificate acm.ICertificate

	// PriceClass is the set of edge locations. Default PriceClassAll.
	PriceClass PriceClass

	// ContentSecurityPolicy of every response. Default DefaultContentSecurityPolicy.
	ContentSecurityPolicy string

	// LogBucket receives the access logs; it has to allow ACLs, by which
	// CloudFront writes. Default: a new one that keeps them for 90 days and
	// stays when the stack is deleted.
	LogBucket awss3.IBucket

	// NoAccessLogs writes none.
	NoAccessLogs bool

	// DestroyStaticBucket deletes a new StaticBucket with the stack, which works
	// once it is empty. Default: it stays.
	DestroyStaticBucket bool

	// MaxErrorPercent of the responses may be 5xx before the alarm goes off.
	// Default 1; more than 0, up to 100.
	MaxErrorPercent float64

	// Override and its siblings have the last word. OverrideBehavior is called
	// for each path, and for the default behavior with "*".
	Override                func(*cf.DistributionProps)
	OverrideBehavior        func(path string, props *cf.AddBehaviorOptions)
	OverrideOrigin          func(*origins.HttpOriginProps)
	OverrideResponseHeaders func(*cf.ResponseHeadersPolicyProps)
	OverrideStaticBucket    func(*awss3.BucketProps)
	OverrideLogBucket       func(*awss3.BucketProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Edge is a distribution with its static files.
type Edge struct {
	constructs.Construct
	Distribution    cf.Distribution
	StaticBucket    awss3.IBucket
	LogBucket       awss3.IBucket // nil without access logs
	ResponseHeaders cf.IResponseHeadersPolicy
	ErrorAlarm      awscloudwatch.IAlarm // nil outside us-east-1, where CloudFront's metrics are
}

var (
	pathPattern   = regexp.MustCompile(`^/[A-Za-z0-9_.*$/~"'@:+&?-]*$`)
	domainPattern = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$`)
)

func (p Props) withDefaults() Props {
	if p.PrivatePaths == nil {
		p.PrivatePaths = []string{"/v1/*"}
	}
	if p.StaticPaths == nil {
		p.StaticPaths = []string{"/static/*"}
	}
	p.PriceClass = cmp.Or(p.PriceClass, PriceClassAll)
	p.ContentSecurityPolicy = cmp.Or(p.ContentSecurityPolicy, DefaultContentSecurityPolicy)
	p.MaxErrorPercent = cmp.Or(p.MaxErrorPercent, 1)
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.LoadBalancer != nil, "LoadBalancer", "nil", "a load balancer")
	// The value itself would be the secret: it is named, never shown.
	bad.Check(isReference(p.OriginHeaderValue), "OriginHeaderValue", "plain text or nothing",
		"a dynamic reference to a secret, such as OriginHeaderValue of a loadbalancer")
	if p.OriginDomain != "" {
		bad.Check(domainPattern.MatchString(p.OriginDomain), "OriginDomain", p.OriginDomain, "a DNS name")
	}
	for _, paths := range []struct {
		field string
		list  []string
	}{{"PrivatePaths", p.PrivatePaths}, {"StaticPaths", p.StaticPaths}} {
		for i, path := range paths.list {
			field := fmt.Sprintf("%s[%d]", paths.field, i)
			bad.Check(pathPattern.MatchString(path) && len(path) <= 255, field, path,
				"a path pattern of at most 255 characters that begins with a slash")
			bad.Check(!slices.Contains(paths.list[:i], path), field, path, "each path once")
		}
	}
	for i, path := range p.StaticPaths {
		bad.Check(!slices.Contains(p.PrivatePaths, path), fmt.Sprintf("StaticPaths[%d]", i), path, "a path that is not private")
	}
	// CloudFront's quota, beside the default behavior.
	bad.Check(len(p.PrivatePaths)+len(p.StaticPaths) <= 24, "PrivatePaths and StaticPaths", len(p.PrivatePaths)+len(p.StaticPaths), "24 together")
	for i, name := range p.DomainNames {
		bad.Check(domainPattern.MatchString(name), fmt.Sprintf("DomainNames[%d]", i), name, "a DNS name")
	}
	bad.Check(len(p.DomainNames) == 0 || p.Certificate != nil, "Certificate", "nil", "the certificate of DomainNames")
	bad.Check(len(p.DomainNames) > 0 || p.Certificate == nil, "DomainNames", p.DomainNames, "the names that Certificate is for")
	if p.Certificate != nil {
		region := certificateRegion(p.Certificate)
		bad.Check(region == "" || region == "us-east-1", "Certificate", "in "+region, "a certificate of us-east-1")
	}
	cdkx.OneOf(&bad, "PriceClass", p.PriceClass, PriceClassAll, PriceClass200, PriceClass100)
	bad.Check(p.LogBucket == nil || !p.NoAccessLogs, "NoAccessLogs", p.NoAccessLogs, "false when LogBucket is given")
	bad.Check(p.MaxErrorPercent > 0 && p.MaxErrorPercent <= 100, "MaxErrorPercent", p.MaxErrorPercent, "more than 0, up to 100")
	return bad.Err("edge")
}

// certificateRegion is the Region of a certificate, or empty when only the
// deployment knows.
func certificateRegion(certificate acm.ICertificate) string {
	arn, region := certificate.CertificateArn(), certificate.Env().Region
	if !*awscdk.Token_IsUnresolved(arn) { // an imported one, which takes its stack's Region for its own
		if parts := strings.Split(*arn, ":"); len(parts) > 3 {
			return parts[3]
		}
	}
	if *awscdk.Token_IsUnresolved(region) {
		return ""
	}
	return *region
}

// isReference tells a value that CloudFormation resolves from plain text.
func isReference(value string) bool {
	return value != "" && (strings.HasPrefix(value, "{{resolve:") || *awscdk.Token_IsUnresolved(value))
}

// New makes an Edge. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Edge {
	cdkx.Must(scope, id, "edge", props.Validate())
	props = props.withDefaults()
	e := &Edge{LogBucket: props.LogBucket}
	constructs.NewConstruct_Override(e, scope, &id)
	if e.LogBucket == nil && !props.NoAccessLogs {
		e.LogBucket = logBucket(e, props)
	}
	static := props.StaticBucket
	if static == nil {
		static = staticBucket(e, props)
	}
	e.StaticBucket = static
	e.ResponseHeaders = responseHeaders(e, props)

	balancer := origin(props)
	distribution := &cf.DistributionProps{
		Comment:         e.Node().Path(),
		DefaultBehavior: withOrigin(balancer, e.private("*", props)),
		HttpVersion:     cf.HttpVersion_HTTP2_AND_3,
		EnableIpv6:      new(true),
		PriceClass:      priceClass(props.PriceClass),
		WebAclId:        cdkx.Optional(props.WebACLARN),
	}
	if len(props.DomainNames) > 0 {
		distribution.DomainNames = cdkx.Strings(props.DomainNames...)
		distribution.Certificate = props.Certificate
		distribution.MinimumProtocolVersion = cf.SecurityPolicyProtocol_TLS_V1_2_2021
	}
	if e.LogBucket != nil {
		distribution.EnableLogging = new(true)
		distribution.LogBucket = e.LogBucket
		distribution.LogFilePrefix = new("cloudfront/")
	}
	e.Distribution = cf.NewDistribution(e, new("Distribution"), cdkx.Override(distribution, props.Override))

	// CloudFront takes the first behavior whose path matches, so private paths
	// come first: a static pattern that is too wide cannot make one cacheable.
	// One by one, because a map of behaviors would be ordered by its keys.
	for _, path := range props.PrivatePaths {
		e.Distribution.AddBehavior(&path, balancer, e.private(path, props))
	}
	files := origins.S3BucketOrigin_WithOriginAccessControl(static, nil)
	for _, path := range props.StaticPaths {
		e.Distribution.AddBehavior(&path, files, e.static(path, props))
	}

	if region := awscdk.Stack_Of(e).Region(); *awscdk.Token_IsUnresolved(region) || *region == "us-east-1" {
		e.ErrorAlarm = cdkx.Alarm(e, "ErrorAlarm", cdkx.AlarmSpec{
			Metric: e.Distribution.Metric5xxErrorRate(cdkx.MetricOptions("Average", time.Minute)),
			Description: fmt.Sprintf("More than %g %% of the responses at the edge are 5xx. 502 and 504 come from the way "+
				"to the load balancer, the others from behind it.", props.MaxErrorPercent),
			Threshold: props.MaxErrorPercent,
		})
	}
	return e
}

// URL is where viewers reach the distribution, by the name CloudFront gives.
func (e *Edge) URL() string {
	return "https://" + *e.Distribution.DistributionDomainName()
}

// GrantInvalidate lets an identity remove files from the cache.
func (e *Edge) GrantInvalidate(to awsiam.IGrantable) awsiam.Grant {
	return e.Distribution.GrantCreateInvalidation(to)
}

// GrantPublish lets an identity write static files. It may not delete, because
// pages of the last version still name its files.
func (e *Edge) GrantPublish(to awsiam.IGrantable) awsiam.Grant {
	return e.StaticBucket.GrantPut(to, nil)
}

// Alarms is ErrorAlarm, where there is one.
func (e *Edge) Alarms() []awscloudwatch.IAlarm {
	if e.ErrorAlarm == nil {
		return nil
	}
	return []awscloudwatch.IAlarm{e.ErrorAlarm}
}

// Widgets show requests and errors at the edge.
func (e *Edge) Widgets() []awscloudwatch.IWidget {
	labelled := func(label, statistic string) *awscloudwatch.MetricOptions {
		options := cdkx.MetricOptions(statistic, time.Minute)
		options.Label = &label
		options.Region = new("us-east-1")
		return options
	}
	title := *e.Node().Id()
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": requests a minute", e.Distribution.MetricRequests(labelled("requests", "Sum"))),
		cdkx.Graph(title+": errors in percent",
			e.Distribution.Metric4xxErrorRate(labelled("4xx", "Average")),
			e.Distribution.Metric5xxErrorRate(labelled("5xx", "Average"))),
	}
}

// private is the behavior of paths whose answers belong to one user. CloudFront
// compresses only what a cache policy lets it cache, so the program behind it does.
func (e *Edge) private(path string, props Props) *cf.AddBehaviorOptions {
	return e.override(path, props, &cf.AddBehaviorOptions{
		AllowedMethods:        cf.AllowedMethods_ALLOW_ALL(),
		CachePolicy:           cf.CachePolicy_CACHING_DISABLED(),
		OriginRequestPolicy:   cf.OriginRequestPolicy_ALL_VIEWER(),
		Compress:              new(false),
		ResponseHeadersPolicy: e.ResponseHeaders,
		ViewerProtocolPolicy:  cf.ViewerProtocolPolicy_REDIRECT_TO_HTTPS,
	})
}

// static is the behavior of files that are the same for everyone. The managed
// policy caches by path and encoding alone, and never sends a cookie to S3.
func (e *Edge) static(path string, props Props) *cf.AddBehaviorOptions {
	return e.override(path, props, &cf.AddBehaviorOptions{
		AllowedMethods:        cf.AllowedMethods_ALLOW_GET_HEAD(),
		CachePolicy:           cf.CachePolicy_CACHING_OPTIMIZED(),
		Compress:              new(true),
		ResponseHeadersPolicy: e.ResponseHeaders,
		ViewerProtocolPolicy:  cf.ViewerProtocolPolicy_REDIRECT_TO_HTTPS,
	})
}

func (e *Edge) override(path string, props Props, behavior *cf.AddBehaviorOptions) *cf.AddBehaviorOptions {
	if props.OverrideBehavior != nil {
		props.OverrideBehavior(path, behavior)
	}
	return behavior
}

// withOrigin is the same behavior in the type that the default one has.
func withOrigin(origin cf.IOrigin, b *cf.AddBehaviorOptions) *cf.BehaviorOptions {
	return &cf.BehaviorOptions{
		Origin:                origin,
		AllowedMethods:        b.AllowedMethods,
		CachedMethods:         b.CachedMethods,
		CachePolicy:           b.CachePolicy,
		Compress:              b.Compress,
		EdgeLambdas:           b.EdgeLambdas,
		EnableGrpc:            b.EnableGrpc,
		FunctionAssociations:  b.FunctionAssociations,
		OriginRequestPolicy:   b.OriginRequestPolicy,
		RealtimeLogConfig:     b.RealtimeLogConfig,
		ResponseHeadersPolicy: b.ResponseHeadersPolicy,
		SmoothStreaming:       b.SmoothStreaming,
		TrustedKeyGroups:      b.TrustedKeyGroups,
		ViewerProtocolPolicy:  b.ViewerProtocolPolicy,
	}
}

func origin(props Props) cf.IOrigin {
	domain, protocol := props.LoadBalancer.LoadBalancerDnsName(), cf.OriginProtocolPolicy_HTTP_ONLY
	if props.OriginDomain != "" {
		domain, protocol = &props.OriginDomain, cf.OriginProtocolPolicy_HTTPS_ONLY
	}
	return origins.NewHttpOrigin(domain, cdkx.Override(&origins.HttpOriginProps{
		ProtocolPolicy:     protocol,
		OriginSslProtocols: &[]cf.OriginSslPolicy{cf.OriginSslPolicy_TLS_V1_2},
		CustomHeaders:      cdkx.StringMap(map[string]string{contract.OriginVerifyHeader: props.OriginHeaderValue}),
		ConnectionTimeout:  cdkx.Duration(OriginConnectTimeout),
		KeepaliveTimeout:   cdkx.Duration(OriginKeepalive),
		ReadTimeout:        cdkx.Duration(OriginReadTimeout),
	}, props.OverrideOrigin))
}

func responseHeaders(e *Edge, props Props) cf.IResponseHeadersPolicy {
	return cf.NewResponseHeadersPolicy(e, new("ResponseHeaders"), cdkx.Override(&cf.ResponseHeadersPolicyProps{
		Comment: new("Security headers of every response"),
		SecurityHeadersBehavior: &cf.ResponseSecurityHeadersBehavior{
			ContentSecurityPolicy: &cf.ResponseHeadersContentSecurityPolicy{
				ContentSecurityPolicy: &props.ContentSecurityPolicy, Override: new(true),
			},
			ContentTypeOptions: &cf.ResponseHeadersContentTypeOptions{Override: new(true)},
			FrameOptions: &cf.ResponseHeadersFrameOptions{
				FrameOption: cf.HeadersFrameOption_DENY, Override: new(true),
			},
			ReferrerPolicy: &cf.ResponseHeadersReferrerPolicy{
				ReferrerPolicy: cf.HeadersReferrerPolicy_STRICT_ORIGIN_WHEN_CROSS_ORIGIN, Override: new(true),
			},
			StrictTransportSecurity: &cf.ResponseHeadersStrictTransportSecurity{
				// Two years, as browsers' preload lists ask.
				AccessControlMaxAge: awscdk.Duration_Days(cdkx.Number(730)),
				IncludeSubdomains:   new(true),
				Override:            new(true),
			},
		},
	}, props.OverrideResponseHeaders))
}

func staticBucket(e *Edge, props Props) awss3.Bucket {
	removal := awscdk.RemovalPolicy_RETAIN
	if props.DestroyStaticBucket {
		removal = awscdk.RemovalPolicy_DESTROY
	}
	return awss3.NewBucket(e, new("Static"), cdkx.Override(&awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        new(true),
		Versioned:         new(true),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(cdkx.Number(1)),
			NoncurrentVersionExpiration:         awscdk.Duration_Days(cdkx.Number(30)),
		}},
		RemovalPolicy: removal,
	}, props.OverrideStaticBucket))
}

func logBucket(e *Edge, props Props) awss3.IBucket {
	return awss3.NewBucket(e, new("Logs"), cdkx.Override(&awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		// CloudFront's log delivery writes by ACL.
		ObjectOwnership: awss3.ObjectOwnership_BUCKET_OWNER_PREFERRED,
		EnforceSSL:      new(true),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			Expiration:                          awscdk.Duration_Days(cdkx.Number(90)),
			AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(cdkx.Number(1)),
		}},
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
	}, props.OverrideLogBucket))
}

func priceClass(class PriceClass) cf.PriceClass {
	switch class {
	case PriceClass100:
		return cf.PriceClass_PRICE_CLASS_100
	case PriceClass200:
		return cf.PriceClass_PRICE_CLASS_200
	default:
		return cf.PriceClass_PRICE_CLASS_ALL
	}
}
