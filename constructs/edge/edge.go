package edge

import (
	"cmp"
	"errors"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	acm "github.com/aws/aws-cdk-go/awscdk/v2/awscertificatemanager"
	cf "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfront"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/interfaces/interfacesawscloudfront"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Edge is a distribution with its static files.
type Edge struct {
	constructs.Construct
	Distribution    cf.Distribution
	StaticBucket    awss3.IBucket // nil when no behavior is static
	LogBucket       awss3.IBucket // nil without access logs
	ResponseHeaders cf.IResponseHeadersPolicy
	ErrorAlarm      awscloudwatch.IAlarm // nil outside us-east-1, where CloudFront's metrics are, as the other two
	LatencyAlarm    awscloudwatch.IAlarm // nil without AdditionalMetrics
	CacheHitAlarm   awscloudwatch.IAlarm // nil without MinCacheHitPercent

	additionalMetrics bool
	webACL            string
}

// New makes an Edge. It panics with a *PropsError when props are not valid, and
// when an override lets a private path or a stream be cached.
func New(scope constructs.Construct, id string, props Props) *Edge {
	cdkx.Must(scope, id, "edge", props.Validate())
	props = props.withDefaults()
	e := &Edge{
		LogBucket: props.LogBucket, StaticBucket: props.StaticBucket, ResponseHeaders: props.ResponseHeaders,
		additionalMetrics: props.AdditionalMetrics, webACL: props.WebACLARN,
	}
	constructs.NewConstruct_Override(e, scope, &id)
	if e.LogBucket == nil && !props.NoAccessLogs {
		e.LogBucket = e.logBucket(props)
	}
	if _, bucket := props.uses(); bucket && e.StaticBucket == nil {
		e.StaticBucket = e.staticBucket(props)
	}
	if e.ResponseHeaders == nil {
		e.ResponseHeaders = e.responseHeaders(props)
	}

	fallback, others := split(props.Behaviors)
	var bad cdkx.Problems
	options := make([]*cf.AddBehaviorOptions, len(others))
	for i, behavior := range others {
		options[i] = e.behave(behavior, props, &bad)
	}
	origins := connect(props, e.StaticBucket)
	distribution := e.distribution(props)
	distribution.DefaultBehavior = withOrigin(origins.of(fallback), e.behave(fallback, props, &bad))
	own := distribution.DefaultBehavior.CachePolicy
	cdkx.Override(distribution, props.Override)
	checkOverride(&bad, fallback, own, distribution)
	if invalid, ok := errors.AsType[*PropsError](bad.Err("edge")); ok {
		invalid.Path = *e.Node().Path()
		panic(invalid)
	}
	e.Distribution = cf.NewDistribution(e, new("Distribution"), distribution)

	// One by one, because a map of behaviors would be ordered by its keys.
	for i, behavior := range others {
		e.Distribution.AddBehavior(new(behavior.path()), origins.of(behavior), options[i])
	}
	e.acknowledge(props)
	e.alarms(props)
	return e
}

// distribution is all of it but its behaviors.
func (e *Edge) distribution(props Props) *cf.DistributionProps {
	d := &cf.DistributionProps{
		Comment:                  e.Node().Path(),
		HttpVersion:              cf.HttpVersion_HTTP2_AND_3,
		EnableIpv6:               new(!props.NoIPv6),
		Enabled:                  new(!props.Disabled),
		PriceClass:               priceClass(props.PriceClass),
		WebAclId:                 cdkx.Optional(props.WebACLARN),
		DefaultRootObject:        cdkx.Optional(props.DefaultRootObject),
		PublishAdditionalMetrics: cdkx.Optional(props.AdditionalMetrics),
	}
	if props.NoHTTP3 {
		d.HttpVersion = cf.HttpVersion_HTTP2
	}
	switch {
	case len(props.AllowedCountries) > 0:
		d.GeoRestriction = cf.GeoRestriction_Allowlist(*cdkx.Strings(props.AllowedCountries...)...)
	case len(props.DeniedCountries) > 0:
		d.GeoRestriction = cf.GeoRestriction_Denylist(*cdkx.Strings(props.DeniedCountries...)...)
	}
	d.ErrorResponses = errorResponses(props)
	if len(props.DomainNames) > 0 {
		d.DomainNames = cdkx.Strings(props.DomainNames...)
		d.Certificate = props.Certificate
		if props.CertificateARN != "" {
			d.Certificate = acm.Certificate_FromCertificateArn(e, new("Certificate"), &props.CertificateARN)
		}
		d.MinimumProtocolVersion = cf.SecurityPolicyProtocol_TLS_V1_2_2021
	}
	if e.LogBucket != nil {
		d.EnableLogging = new(true)
		d.LogBucket = e.LogBucket
		d.LogFilePrefix = new(viewerLogPrefix)
		d.LogIncludesCookies = cdkx.Optional(props.LogCookies)
	}
	return d
}

// keptErrors are the statuses that CloudFront keeps for 10 s when nothing is said
// about them. (It keeps 410 too, for which nothing can be said.)
var keptErrors = []int{400, 403, 404, 405, 414, 500, 501, 502, 503, 504}

func errorResponses(props Props) *[]*cf.ErrorResponse {
	var responses []*cf.ErrorResponse
	add := func(status int, ttl awscdk.Duration) *cf.ErrorResponse {
		response := &cf.ErrorResponse{HttpStatus: cdkx.Number(status), Ttl: ttl}
		responses = append(responses, response)
		return response
	}
	for _, page := range props.ErrorPages {
		response := add(page.Status, cdkx.Duration(page.TTL))
		if page.Path != "" {
			response.ResponsePagePath = &page.Path
			response.ResponseHttpStatus = cdkx.Number(cmp.Or(page.ResponseStatus, page.Status))
		}
	}
	if private, _ := props.uses(); private {
		never := cdkx.Duration(0)
		for _, status := range keptErrors {
			if !slices.ContainsFunc(props.ErrorPages, func(page ErrorPage) bool { return page.Status == status }) {
				add(status, never)
			}
		}
	}
	return &responses
}

// behave is what CloudFront does with a behavior's path, once the caller has had
// the last word. A private path or a stream that is cached then is a problem.
func (e *Edge) behave(behavior Behavior, props Props, bad *cdkx.Problems) *cf.AddBehaviorOptions {
	options := behavior.options()
	options.ResponseHeadersPolicy = e.ResponseHeaders
	own := options.CachePolicy
	if props.OverrideBehavior != nil {
		props.OverrideBehavior(behavior.path(), options)
	}
	if !isStatic(behavior) {
		bad.Check(!caches(options.CachePolicy, own), "OverrideBehavior", behavior.path(),
			"an override that leaves the cache policy of a private path or a stream alone: CachingDisabled")
	}
	return options
}

// checkOverride looks at what the override of the whole distribution did. Its
// additional behaviors would come before ours, so one that caches may stand
// before a private path.
func checkOverride(bad *cdkx.Problems, fallback Behavior, own interfacesawscloudfront.ICachePolicyRef, d *cf.DistributionProps) {
	if !isStatic(fallback) {
		policy := d.DefaultBehavior.CachePolicy
		bad.Check(policy == own || !caches(policy, own), "Override", everything,
			"an override that leaves the cache policy of the default behavior alone: CachingDisabled")
	}
	if d.AdditionalBehaviors == nil {
		return
	}
	var paths []string
	for path, behavior := range *d.AdditionalBehaviors {
		if behavior == nil || caches(behavior.CachePolicy, own) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		bad.Add("Override", path, "no additional behavior that caches, which CloudFront would try before private paths: add it to Behaviors, or to the Distribution afterwards")
	}
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

func (e *Edge) responseHeaders(props Props) cf.IResponseHeadersPolicy {
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

// acknowledge says why findings about the distribution stay.
func (e *Edge) acknowledge(props Props) {
	if len(props.AllowedCountries)+len(props.DeniedCountries) == 0 {
		cdkx.Acknowledge(e.Distribution, "The service is for every country; AllowedCountries and DeniedCountries restrict it.", "AwsSolutions-CFR1")
	}
	if len(props.DomainNames) == 0 {
		cdkx.Acknowledge(e.Distribution, "Viewers use the name that CloudFront gives, whose certificate and lowest TLS version are CloudFront's to choose. "+
			"With DomainNames it is TLS 1.2.", "AwsSolutions-CFR4")
	}
	if props.LoadBalancer != nil && props.OriginDomain == "" && !props.VPCOrigin {
		cdkx.Acknowledge(e.Distribution, "The load balancer has no certificate, so the way from CloudFront to it is not encrypted. OriginDomain with a certificate encrypts it; "+
			"VPCOrigin takes it off the internet.", "AwsSolutions-CFR5")
	}
}

// URL is where viewers reach the distribution, by the name CloudFront gives.
func (e *Edge) URL() string { return "https://" + e.DomainName() }

// DomainName is the name CloudFront gives the distribution, the target of the
// alias records of DomainNames.
func (e *Edge) DomainName() string { return *e.Distribution.DistributionDomainName() }

// ID of the distribution, as an invalidation asks for it.
func (e *Edge) ID() string { return *e.Distribution.DistributionId() }

// ARN of the distribution.
func (e *Edge) ARN() string { return *e.Distribution.DistributionArn() }

// StaticBucketName is the name of the bucket that files are published to, empty
// when no behavior is static.
func (e *Edge) StaticBucketName() string {
	if e.StaticBucket == nil {
		return ""
	}
	return *e.StaticBucket.BucketName()
}

// GrantInvalidate lets an identity remove files from the cache.
func (e *Edge) GrantInvalidate(to awsiam.IGrantable) awsiam.Grant {
	return e.Distribution.GrantCreateInvalidation(to)
}

// GrantPublish lets an identity write static files. It may not delete, because
// pages of the last version still name its files. It grants nothing when no
// behavior is static.
func (e *Edge) GrantPublish(to awsiam.IGrantable) awsiam.Grant {
	if e.StaticBucket == nil {
		return awsiam.Grant_Drop(to, new("no behavior is static"))
	}
	return e.StaticBucket.GrantPut(to, nil)
}

// GrantConfigure lets an identity read and change the distribution, as a
// rotation of the origin header's value does. CloudFront has no finer permission,
// and an update of a distribution with access logs or a web ACL needs what these
// actions on them grant (CloudFront developer guide, "CloudFront API permissions").
func (e *Edge) GrantConfigure(to awsiam.IGrantable) awsiam.Grant {
	add := func(resource string, actions ...string) awsiam.Grant {
		return awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
			Grantee: to, Actions: cdkx.Strings(actions...), ResourceArns: cdkx.Strings(resource),
		})
	}
	if e.LogBucket != nil {
		add(*e.LogBucket.BucketArn(), "s3:GetBucketAcl", "s3:PutBucketAcl")
	}
	if e.webACL != "" {
		add(e.webACL, "wafv2:GetWebACL")
	}
	return add(e.ARN(), "cloudfront:GetDistribution", "cloudfront:UpdateDistribution")
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
