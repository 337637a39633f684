package cloudfront

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cf "github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// API is the part of the CloudFront API that is read.
type API interface {
	ListDistributions(context.Context, *cf.ListDistributionsInput, ...func(*cf.Options)) (*cf.ListDistributionsOutput, error)
	GetDistribution(context.Context, *cf.GetDistributionInput, ...func(*cf.Options)) (*cf.GetDistributionOutput, error)
	GetCachePolicy(context.Context, *cf.GetCachePolicyInput, ...func(*cf.Options)) (*cf.GetCachePolicyOutput, error)
	GetOriginRequestPolicy(context.Context, *cf.GetOriginRequestPolicyInput, ...func(*cf.Options)) (*cf.GetOriginRequestPolicyOutput, error)
	GetVpcOrigin(context.Context, *cf.GetVpcOriginInput, ...func(*cf.Options)) (*cf.GetVpcOriginOutput, error)
	GetResponseHeadersPolicy(context.Context, *cf.GetResponseHeadersPolicyInput, ...func(*cf.Options)) (*cf.GetResponseHeadersPolicyOutput, error)
}

// S3 is the part of the S3 API that S3 origins need.
type S3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetBucketPolicy(context.Context, *s3.GetBucketPolicyInput, ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error)
}

// Load reads what a distribution does. An empty id stands for the only
// distribution there is; with none or several the error lists them.
func Load(ctx context.Context, api API, buckets S3, id string) (Config, error) {
	if id == "" {
		var err error
		if id, err = find(ctx, api); err != nil {
			return Config{}, err
		}
	}
	out, err := api.GetDistribution(ctx, &cf.GetDistributionInput{Id: &id})
	if err != nil {
		return Config{}, fmt.Errorf("read distribution %s: %w", id, err)
	}
	d := out.Distribution
	if d == nil || d.DistributionConfig == nil || d.DistributionConfig.DefaultCacheBehavior == nil {
		return Config{}, fmt.Errorf("distribution %s has no configuration", id)
	}
	dc := d.DistributionConfig
	l := loader{api: api, buckets: buckets, cfg: Config{
		ID:                id,
		ARN:               aws.ToString(d.ARN),
		DomainName:        aws.ToString(d.DomainName),
		Enabled:           aws.ToBool(dc.Enabled),
		DefaultRootObject: strings.TrimPrefix(aws.ToString(dc.DefaultRootObject), "/"),
		Origins:           map[string]Origin{},
	}}
	if dc.Origins != nil {
		for _, o := range dc.Origins.Items {
			if err := l.origin(ctx, o); err != nil {
				return Config{}, err
			}
		}
	}
	if dc.CacheBehaviors != nil {
		for _, b := range dc.CacheBehaviors.Items {
			if err := l.behavior(ctx, b); err != nil {
				return Config{}, err
			}
		}
	}
	if err := l.behavior(ctx, defaultBehavior(*dc.DefaultCacheBehavior)); err != nil {
		return Config{}, err
	}
	// One without a page only says how long an error is kept, and nothing is kept
	// here.
	if e := dc.CustomErrorResponses; e != nil && slices.ContainsFunc(e.Items, func(c types.CustomErrorResponse) bool {
		return aws.ToString(c.ResponsePagePath) != ""
	}) {
		l.ignore("custom error pages")
	}
	if g := dc.OriginGroups; g != nil && len(g.Items) > 0 {
		l.ignore("origin groups")
	}
	return l.cfg, nil
}

func find(ctx context.Context, api API) (string, error) {
	var ids []string
	pages := cf.NewListDistributionsPaginator(api, &cf.ListDistributionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("list distributions: %w", err)
		}
		if page.DistributionList == nil {
			break
		}
		for _, d := range page.DistributionList.Items {
			ids = append(ids, aws.ToString(d.Id))
		}
	}
	switch len(ids) {
	case 1:
		return ids[0], nil
	case 0:
		return "", errors.New("there is no CloudFront distribution: deploy the stack that has it first")
	}
	return "", fmt.Errorf("there are %d CloudFront distributions, name one of: %s", len(ids), strings.Join(ids, ", "))
}

type loader struct {
	api     API
	buckets S3
	cfg     Config
}

func (l *loader) ignore(what string) {
	if !slices.Contains(l.cfg.Ignored, what) {
		l.cfg.Ignored = append(l.cfg.Ignored, what)
	}
}

func (l *loader) origin(ctx context.Context, o types.Origin) error {
	out := Origin{
		ID:             aws.ToString(o.Id),
		DomainName:     aws.ToString(o.DomainName),
		Path:           aws.ToString(o.OriginPath),
		ProtocolPolicy: "http-only", HTTPPort: 80, HTTPSPort: 443,
		ReadTimeout:    30 * time.Second,
		KeepAlive:      5 * time.Second,
		ConnectTimeout: seconds(o.ConnectionTimeout, 10*time.Second),
	}
	if o.CustomHeaders != nil {
		for _, h := range o.CustomHeaders.Items {
			out.Headers = append(out.Headers, Header{aws.ToString(h.HeaderName), aws.ToString(h.HeaderValue)})
		}
	}
	switch {
	case o.CustomOriginConfig != nil:
		c := o.CustomOriginConfig
		out.ProtocolPolicy = string(c.OriginProtocolPolicy)
		out.HTTPPort, out.HTTPSPort = number(c.HTTPPort, 80), number(c.HTTPSPort, 443)
		out.ReadTimeout, out.KeepAlive = seconds(c.OriginReadTimeout, out.ReadTimeout), seconds(c.OriginKeepaliveTimeout, out.KeepAlive)
	case o.VpcOriginConfig != nil:
		c := o.VpcOriginConfig
		out.ReadTimeout, out.KeepAlive = seconds(c.OriginReadTimeout, out.ReadTimeout), seconds(c.OriginKeepaliveTimeout, out.KeepAlive)
		vpc, err := l.api.GetVpcOrigin(ctx, &cf.GetVpcOriginInput{Id: c.VpcOriginId})
		if err != nil {
			return fmt.Errorf("origin %s: read VPC origin %s: %w", out.ID, aws.ToString(c.VpcOriginId), err)
		}
		if v := vpc.VpcOrigin; v != nil && v.VpcOriginEndpointConfig != nil {
			endpoint := v.VpcOriginEndpointConfig
			out.ProtocolPolicy = string(endpoint.OriginProtocolPolicy)
			out.HTTPPort, out.HTTPSPort = number(endpoint.HTTPPort, 80), number(endpoint.HTTPSPort, 443)
		}
	default:
		bucket, ok := bucketOf(out.DomainName)
		if !ok {
			return fmt.Errorf("origin %s: %q is not the domain name of an S3 bucket", out.ID, out.DomainName)
		}
		identity := ""
		if o.S3OriginConfig != nil {
			identity = aws.ToString(o.S3OriginConfig.OriginAccessIdentity)
		}
		access, err := l.access(ctx, bucket, aws.ToString(o.OriginAccessControlId) != "", identity)
		if err != nil {
			return err
		}
		out.Bucket, out.Access = bucket, access
	}
	l.cfg.Origins[out.ID] = out
	return nil
}

// bucketOf takes the bucket out of <bucket>.s3.<region>.amazonaws.com and of
// the older forms without region or with s3-<region>.
func bucketOf(domain string) (string, bool) {
	if i := max(strings.LastIndex(domain, ".s3."), strings.LastIndex(domain, ".s3-")); i > 0 {
		return domain[:i], true
	}
	return "", false
}

// access reads from the bucket's policy what S3 would let this distribution
// do: with origin access control as the service principal, with an origin
// access identity as that, and as anyone.
func (l *loader) access(ctx context.Context, bucket string, control bool, identity string) (BucketAccess, error) {
	out, err := l.buckets.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NoSuchBucketPolicy" {
		return BucketAccess{}, nil
	}
	if err != nil {
		return BucketAccess{}, fmt.Errorf("read the policy of bucket %s: %w", bucket, err)
	}
	var policy struct{ Statement statements }
	if err := json.Unmarshal([]byte(aws.ToString(out.Policy)), &policy); err != nil {
		return BucketAccess{}, fmt.Errorf("policy of bucket %s: %w", bucket, err)
	}
	_, identity, _ = strings.Cut(identity, "/cloudfront/")
	var access BucketAccess
	for _, s := range policy.Statement {
		if s.Effect != "Allow" || !s.Principal.is(control, identity) || !s.source(l.cfg.ARN) {
			continue
		}
		access.Get = access.Get || s.allows("s3:GetObject")
		access.List = access.List || s.allows("s3:ListBucket")
	}
	return access, nil
}

// statement is what is read of a bucket policy's statement. IAM lets most of
// its parts be one string or a list.
type statement struct {
	Effect    string
	Principal principal
	Action    oneOrMore
	Condition map[string]map[string]oneOrMore
}

type statements []statement

func (s *statements) UnmarshalJSON(data []byte) error {
	var list []statement
	if json.Unmarshal(data, &list) == nil {
		*s = list
		return nil
	}
	var one statement
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*s = statements{one}
	return nil
}

func (s statement) allows(action string) bool {
	return slices.ContainsFunc(s.Action, func(a string) bool { return wildcard(strings.ToLower(a), strings.ToLower(action)) })
}

// source checks AWS:SourceArn, with which a policy names the distribution.
func (s statement) source(arn string) bool {
	for operator, keys := range s.Condition {
		for key, values := range keys {
			if !strings.EqualFold(key, "AWS:SourceArn") {
				continue
			}
			switch operator {
			case "StringEquals", "ArnEquals", "StringLike", "ArnLike":
				if !slices.ContainsFunc(values, func(v string) bool { return wildcard(v, arn) }) {
					return false
				}
			}
		}
	}
	return true
}

type principal map[string]oneOrMore

func (p *principal) UnmarshalJSON(data []byte) error {
	var anyone string
	if json.Unmarshal(data, &anyone) == nil {
		*p = principal{"AWS": {anyone}}
		return nil
	}
	return json.Unmarshal(data, (*map[string]oneOrMore)(p))
}

func (p principal) is(control bool, identity string) bool {
	if control && slices.Contains(p["Service"], "cloudfront.amazonaws.com") {
		return true
	}
	return slices.ContainsFunc(p["AWS"], func(who string) bool {
		return who == "*" || identity != "" && strings.HasSuffix(who, " "+identity)
	})
}

type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

func defaultBehavior(b types.DefaultCacheBehavior) types.CacheBehavior {
	return types.CacheBehavior{
		PathPattern: aws.String("*"), TargetOriginId: b.TargetOriginId, ViewerProtocolPolicy: b.ViewerProtocolPolicy,
		AllowedMethods: b.AllowedMethods, CachePolicyId: b.CachePolicyId,
		OriginRequestPolicyId: b.OriginRequestPolicyId, ResponseHeadersPolicyId: b.ResponseHeadersPolicyId,
		FunctionAssociations: b.FunctionAssociations, LambdaFunctionAssociations: b.LambdaFunctionAssociations,
		TrustedKeyGroups: b.TrustedKeyGroups, TrustedSigners: b.TrustedSigners,
	}
}

func (l *loader) behavior(ctx context.Context, b types.CacheBehavior) error {
	pattern := aws.ToString(b.PathPattern)
	out := Behavior{PathPattern: pattern, OriginID: aws.ToString(b.TargetOriginId), Methods: []string{"GET", "HEAD"}}
	if _, ok := l.cfg.Origins[out.OriginID]; !ok {
		return fmt.Errorf("cache behavior %s: origin %q does not exist", pattern, out.OriginID)
	}
	if b.AllowedMethods != nil && len(b.AllowedMethods.Items) > 0 {
		out.Methods = nil
		for _, m := range b.AllowedMethods.Items {
			out.Methods = append(out.Methods, string(m))
		}
	}
	if b.ViewerProtocolPolicy != "" && b.ViewerProtocolPolicy != types.ViewerProtocolPolicyAllowAll {
		l.ignore("viewer protocol policy " + string(b.ViewerProtocolPolicy))
	}
	if f := b.FunctionAssociations; f != nil && len(f.Items) > 0 {
		l.ignore("functions of cache behavior " + pattern)
	}
	if f := b.LambdaFunctionAssociations; f != nil && len(f.Items) > 0 {
		l.ignore("Lambda@Edge functions of cache behavior " + pattern)
	}
	if t := b.TrustedKeyGroups; t != nil && aws.ToBool(t.Enabled) {
		l.ignore("signed URLs of cache behavior " + pattern)
	}
	if t := b.TrustedSigners; t != nil && aws.ToBool(t.Enabled) {
		l.ignore("signed URLs of cache behavior " + pattern)
	}
	if err := l.forward(ctx, b, &out.Forward); err != nil {
		return fmt.Errorf("cache behavior %s: %w", pattern, err)
	}
	if id := aws.ToString(b.ResponseHeadersPolicyId); id != "" {
		policy, err := l.api.GetResponseHeadersPolicy(ctx, &cf.GetResponseHeadersPolicyInput{Id: &id})
		if err != nil {
			return fmt.Errorf("cache behavior %s: read response headers policy %s: %w", pattern, id, err)
		}
		if p := policy.ResponseHeadersPolicy; p != nil && p.ResponseHeadersPolicyConfig != nil {
			out.ResponseHeaders = responseHeaders(*p.ResponseHeadersPolicyConfig)
		}
	}
	l.cfg.Behaviors = append(l.cfg.Behaviors, out)
	return nil
}

func (l *loader) forward(ctx context.Context, b types.CacheBehavior, f *Forward) error {
	if id := aws.ToString(b.CachePolicyId); id != "" {
		out, err := l.api.GetCachePolicy(ctx, &cf.GetCachePolicyInput{Id: &id})
		if err != nil {
			return fmt.Errorf("read cache policy %s: %w", id, err)
		}
		if p := out.CachePolicy; p != nil && p.CachePolicyConfig != nil && p.CachePolicyConfig.ParametersInCacheKeyAndForwardedToOrigin != nil {
			key := p.CachePolicyConfig.ParametersInCacheKeyAndForwardedToOrigin
			if h := key.HeadersConfig; h != nil {
				f.Headers = append(f.Headers, selector(string(h.HeaderBehavior), headerNames(h.Headers)))
			}
			if c := key.CookiesConfig; c != nil {
				f.Cookies = append(f.Cookies, selector(string(c.CookieBehavior), cookieNames(c.Cookies)))
			}
			if q := key.QueryStringsConfig; q != nil {
				f.Query = append(f.Query, selector(string(q.QueryStringBehavior), queryNames(q.QueryStrings)))
			}
			if aws.ToBool(key.EnableAcceptEncodingBrotli) {
				f.AcceptEncoding = append(f.AcceptEncoding, "br")
			}
			if aws.ToBool(key.EnableAcceptEncodingGzip) {
				f.AcceptEncoding = append(f.AcceptEncoding, "gzip")
			}
		}
	} else {
		return errors.New("has no cache policy; the legacy cache settings (ForwardedValues) are not supported here")
	}
	if id := aws.ToString(b.OriginRequestPolicyId); id != "" {
		out, err := l.api.GetOriginRequestPolicy(ctx, &cf.GetOriginRequestPolicyInput{Id: &id})
		if err != nil {
			return fmt.Errorf("read origin request policy %s: %w", id, err)
		}
		if p := out.OriginRequestPolicy; p != nil && p.OriginRequestPolicyConfig != nil {
			c := p.OriginRequestPolicyConfig
			if h := c.HeadersConfig; h != nil {
				f.Headers = append(f.Headers, selector(string(h.HeaderBehavior), headerNames(h.Headers)))
			}
			if k := c.CookiesConfig; k != nil {
				f.Cookies = append(f.Cookies, selector(string(k.CookieBehavior), cookieNames(k.Cookies)))
			}
			if q := c.QueryStringsConfig; q != nil {
				f.Query = append(f.Query, selector(string(q.QueryStringBehavior), queryNames(q.QueryStrings)))
			}
		}
	}
	return nil
}

// selector translates the behavior words of the three kinds of policy.
func selector(behavior string, names []string) Selector {
	switch behavior {
	case "all", "allViewer":
		return Selector{Mode: SelectAll}
	case "allViewerAndWhitelistCloudFront":
		return Selector{Mode: SelectAll, Generated: names}
	case "whitelist":
		s := Selector{Mode: SelectNamed, Names: names}
		for _, n := range names {
			if strings.HasPrefix(strings.ToLower(n), "cloudfront-") {
				s.Generated = append(s.Generated, n)
			}
		}
		return s
	case "allExcept":
		return Selector{Mode: SelectExcept, Names: names}
	}
	return Selector{Mode: SelectNone}
}

func headerNames(h *types.Headers) []string {
	if h == nil {
		return nil
	}
	return h.Items
}

func cookieNames(c *types.CookieNames) []string {
	if c == nil {
		return nil
	}
	return c.Items
}

func queryNames(q *types.QueryStringNames) []string {
	if q == nil {
		return nil
	}
	return q.Items
}

func responseHeaders(c types.ResponseHeadersPolicyConfig) *ResponseHeaders {
	out := &ResponseHeaders{}
	set := func(name, value string, override *bool) {
		out.Set = append(out.Set, PolicyHeader{Header{name, value}, aws.ToBool(override)})
	}
	if r := c.RemoveHeadersConfig; r != nil {
		for _, h := range r.Items {
			out.Remove = append(out.Remove, aws.ToString(h.Header))
		}
	}
	if h := c.CustomHeadersConfig; h != nil {
		for _, h := range h.Items {
			set(aws.ToString(h.Header), aws.ToString(h.Value), h.Override)
		}
	}
	if s := c.SecurityHeadersConfig; s != nil {
		if h := s.ContentSecurityPolicy; h != nil {
			set("Content-Security-Policy", aws.ToString(h.ContentSecurityPolicy), h.Override)
		}
		if h := s.ContentTypeOptions; h != nil {
			set("X-Content-Type-Options", "nosniff", h.Override)
		}
		if h := s.FrameOptions; h != nil {
			set("X-Frame-Options", string(h.FrameOption), h.Override)
		}
		if h := s.ReferrerPolicy; h != nil {
			set("Referrer-Policy", string(h.ReferrerPolicy), h.Override)
		}
		if h := s.StrictTransportSecurity; h != nil {
			value := "max-age=" + strconv.Itoa(int(aws.ToInt32(h.AccessControlMaxAgeSec)))
			if aws.ToBool(h.IncludeSubdomains) {
				value += "; includeSubDomains"
			}
			if aws.ToBool(h.Preload) {
				value += "; preload"
			}
			set("Strict-Transport-Security", value, h.Override)
		}
		if h := s.XSSProtection; h != nil {
			value := "0"
			if aws.ToBool(h.Protection) {
				value = "1"
				if aws.ToBool(h.ModeBlock) {
					value += "; mode=block"
				}
				if report := aws.ToString(h.ReportUri); report != "" {
					value += "; report=" + report
				}
			}
			set("X-XSS-Protection", value, h.Override)
		}
	}
	out.CORS = cors(c.CorsConfig)
	return out
}

func cors(c *types.ResponseHeadersPolicyCorsConfig) *CORS {
	if c == nil {
		return nil
	}
	out := &CORS{
		Credentials: aws.ToBool(c.AccessControlAllowCredentials),
		Override:    aws.ToBool(c.OriginOverride),
		MaxAge:      seconds(c.AccessControlMaxAgeSec, 0),
	}
	if c.AccessControlAllowOrigins != nil {
		out.Origins = c.AccessControlAllowOrigins.Items
	}
	if c.AccessControlAllowHeaders != nil {
		out.Headers = c.AccessControlAllowHeaders.Items
	}
	if c.AccessControlExposeHeaders != nil {
		out.Expose = c.AccessControlExposeHeaders.Items
	}
	if c.AccessControlAllowMethods != nil {
		for _, m := range c.AccessControlAllowMethods.Items {
			if m == types.ResponseHeadersPolicyAccessControlAllowMethodsValuesAll {
				out.Methods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
				break
			}
			out.Methods = append(out.Methods, string(m))
		}
	}
	return out
}

func seconds(v *int32, byDefault time.Duration) time.Duration {
	if v == nil || *v == 0 {
		return byDefault
	}
	return time.Duration(*v) * time.Second
}

func number(v *int32, byDefault int) int {
	if v == nil || *v == 0 {
		return byDefault
	}
	return int(*v)
}
