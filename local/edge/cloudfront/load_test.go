package cloudfront_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cf "github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/loadbearing/loadbearing/local/edge/cloudfront"
)

// api answers from values.
type api struct {
	distributions []types.DistributionSummary
	config        *types.DistributionConfig
	cache         *types.CachePolicyConfig
	request       *types.OriginRequestPolicyConfig
	response      *types.ResponseHeadersPolicyConfig
	vpc           *types.VpcOriginEndpointConfig
}

func (a *api) ListDistributions(context.Context, *cf.ListDistributionsInput, ...func(*cf.Options)) (*cf.ListDistributionsOutput, error) {
	return &cf.ListDistributionsOutput{DistributionList: &types.DistributionList{Items: a.distributions}}, nil
}

func (a *api) GetDistribution(_ context.Context, in *cf.GetDistributionInput, _ ...func(*cf.Options)) (*cf.GetDistributionOutput, error) {
	return &cf.GetDistributionOutput{Distribution: &types.Distribution{
		Id: in.Id, ARN: aws.String("arn:aws:cloudfront::1:distribution/" + *in.Id), DomainName: aws.String("d1.cloudfront.net"), DistributionConfig: a.config,
	}}, nil
}

func (a *api) GetCachePolicy(context.Context, *cf.GetCachePolicyInput, ...func(*cf.Options)) (*cf.GetCachePolicyOutput, error) {
	return &cf.GetCachePolicyOutput{CachePolicy: &types.CachePolicy{CachePolicyConfig: a.cache}}, nil
}

func (a *api) GetOriginRequestPolicy(context.Context, *cf.GetOriginRequestPolicyInput, ...func(*cf.Options)) (*cf.GetOriginRequestPolicyOutput, error) {
	return &cf.GetOriginRequestPolicyOutput{OriginRequestPolicy: &types.OriginRequestPolicy{OriginRequestPolicyConfig: a.request}}, nil
}

func (a *api) GetResponseHeadersPolicy(context.Context, *cf.GetResponseHeadersPolicyInput, ...func(*cf.Options)) (*cf.GetResponseHeadersPolicyOutput, error) {
	return &cf.GetResponseHeadersPolicyOutput{ResponseHeadersPolicy: &types.ResponseHeadersPolicy{ResponseHeadersPolicyConfig: a.response}}, nil
}

func (a *api) GetVpcOrigin(context.Context, *cf.GetVpcOriginInput, ...func(*cf.Options)) (*cf.GetVpcOriginOutput, error) {
	return &cf.GetVpcOriginOutput{VpcOrigin: &types.VpcOrigin{VpcOriginEndpointConfig: a.vpc}}, nil
}

// policies is S3 with bucket policies only.
type policies struct {
	cloudfront.S3
	policy string
}

func (p policies) GetBucketPolicy(context.Context, *s3.GetBucketPolicyInput, ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error) {
	if p.policy == "" {
		return nil, fmt.Errorf("operation error S3: %w", &smithy.GenericAPIError{Code: "NoSuchBucketPolicy"})
	}
	return &s3.GetBucketPolicyOutput{Policy: &p.policy}, nil
}

// controlled is the policy that CDK writes for an origin access control.
const controlled = `{"Statement":[
	{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"s3:*","Condition":{"Bool":{"aws:SecureTransport":"false"}}},
	{"Effect":"Allow","Principal":{"Service":"cloudfront.amazonaws.com"},"Action":"s3:GetObject",
	 "Condition":{"StringEquals":{"AWS:SourceArn":"arn:aws:cloudfront::1:distribution/E1"}}}]}`

func deployed() *api {
	str := aws.String
	return &api{
		distributions: []types.DistributionSummary{{Id: str("E1")}},
		config: &types.DistributionConfig{
			Enabled: aws.Bool(true), DefaultRootObject: str("index.html"), WebACLId: str("acl"),
			Origins: &types.Origins{Items: []types.Origin{
				{
					Id: str("alb"), DomainName: str(albName), CustomOriginConfig: &types.CustomOriginConfig{
						OriginProtocolPolicy: types.OriginProtocolPolicyHttpOnly, HTTPPort: aws.Int32(80), HTTPSPort: aws.Int32(443), OriginReadTimeout: aws.Int32(60),
					},
					CustomHeaders: &types.CustomHeaders{Items: []types.OriginCustomHeader{{HeaderName: str("X-Origin-Verify"), HeaderValue: str("secret")}}},
				},
				{Id: str("vpc"), DomainName: str(albName), VpcOriginConfig: &types.VpcOriginConfig{VpcOriginId: str("vo-1")}},
				{Id: str("s3"), DomainName: str("my.site.s3.eu-west-1.amazonaws.com"), S3OriginConfig: &types.S3OriginConfig{}, OriginAccessControlId: str("oac")},
			}},
			CacheBehaviors: &types.CacheBehaviors{Items: []types.CacheBehavior{{
				PathPattern: str("/v1/*"), TargetOriginId: str("alb"), ViewerProtocolPolicy: types.ViewerProtocolPolicyRedirectToHttps,
				AllowedMethods: &types.AllowedMethods{Items: []types.Method{types.MethodGet, types.MethodPost}},
				CachePolicyId:  str("c"), OriginRequestPolicyId: str("o"), ResponseHeadersPolicyId: str("r"),
			}}},
			DefaultCacheBehavior: &types.DefaultCacheBehavior{
				TargetOriginId: str("s3"), ViewerProtocolPolicy: types.ViewerProtocolPolicyAllowAll,
				CachePolicyId: str("c"),
			},
		},
		cache: &types.CachePolicyConfig{ParametersInCacheKeyAndForwardedToOrigin: &types.ParametersInCacheKeyAndForwardedToOrigin{
			EnableAcceptEncodingGzip: aws.Bool(true), EnableAcceptEncodingBrotli: aws.Bool(true),
			HeadersConfig: &types.CachePolicyHeadersConfig{HeaderBehavior: types.CachePolicyHeaderBehaviorWhitelist, Headers: &types.Headers{Items: []string{"Accept"}}},
		}},
		request: &types.OriginRequestPolicyConfig{
			HeadersConfig: &types.OriginRequestPolicyHeadersConfig{HeaderBehavior: types.OriginRequestPolicyHeaderBehaviorAllExcept, Headers: &types.Headers{Items: []string{"host"}}},
			CookiesConfig: &types.OriginRequestPolicyCookiesConfig{CookieBehavior: types.OriginRequestPolicyCookieBehaviorAll},
			QueryStringsConfig: &types.OriginRequestPolicyQueryStringsConfig{
				QueryStringBehavior: types.OriginRequestPolicyQueryStringBehaviorWhitelist,
				QueryStrings:        &types.QueryStringNames{Items: []string{"q"}},
			},
		},
		response: &types.ResponseHeadersPolicyConfig{
			SecurityHeadersConfig: &types.ResponseHeadersPolicySecurityHeadersConfig{
				StrictTransportSecurity: &types.ResponseHeadersPolicyStrictTransportSecurity{AccessControlMaxAgeSec: aws.Int32(60), IncludeSubdomains: aws.Bool(true), Preload: aws.Bool(true), Override: aws.Bool(true)},
				FrameOptions:            &types.ResponseHeadersPolicyFrameOptions{FrameOption: types.FrameOptionsListDeny, Override: aws.Bool(false)},
			},
			CorsConfig: &types.ResponseHeadersPolicyCorsConfig{
				AccessControlAllowOrigins: &types.ResponseHeadersPolicyAccessControlAllowOrigins{Items: []string{"*"}},
				AccessControlAllowMethods: &types.ResponseHeadersPolicyAccessControlAllowMethods{Items: []types.ResponseHeadersPolicyAccessControlAllowMethodsValues{"ALL"}},
			},
		},
		vpc: &types.VpcOriginEndpointConfig{OriginProtocolPolicy: types.OriginProtocolPolicyHttpsOnly, HTTPPort: aws.Int32(80), HTTPSPort: aws.Int32(8443)},
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	got, err := cloudfront.Load(t.Context(), deployed(), policies{policy: controlled}, "")
	if err != nil {
		t.Fatal(err)
	}
	want := cloudfront.Config{
		ID: "E1", ARN: "arn:aws:cloudfront::1:distribution/E1", DomainName: "d1.cloudfront.net", Enabled: true, DefaultRootObject: "index.html",
		Origins: map[string]cloudfront.Origin{
			"alb": {
				ID: "alb", DomainName: albName, Headers: []cloudfront.Header{{Name: "X-Origin-Verify", Value: "secret"}},
				ProtocolPolicy: "http-only", HTTPPort: 80, HTTPSPort: 443, ReadTimeout: time.Minute, KeepAlive: 5 * time.Second, ConnectTimeout: 10 * time.Second,
			},
			"vpc": {
				ID: "vpc", DomainName: albName, ProtocolPolicy: "https-only", HTTPPort: 80, HTTPSPort: 8443,
				ReadTimeout: 30 * time.Second, KeepAlive: 5 * time.Second, ConnectTimeout: 10 * time.Second,
			},
			"s3": {
				ID: "s3", DomainName: "my.site.s3.eu-west-1.amazonaws.com", Bucket: "my.site", Access: cloudfront.BucketAccess{Get: true},
				ProtocolPolicy: "http-only", HTTPPort: 80, HTTPSPort: 443, ReadTimeout: 30 * time.Second, KeepAlive: 5 * time.Second, ConnectTimeout: 10 * time.Second,
			},
		},
		Behaviors: []cloudfront.Behavior{
			{PathPattern: "/v1/*", OriginID: "alb", Methods: []string{"GET", "POST"}, Forward: cloudfront.Forward{
				Headers:        []cloudfront.Selector{{Mode: cloudfront.SelectNamed, Names: []string{"Accept"}}, {Mode: cloudfront.SelectExcept, Names: []string{"host"}}},
				Cookies:        []cloudfront.Selector{{Mode: cloudfront.SelectAll}},
				Query:          []cloudfront.Selector{{Mode: cloudfront.SelectNamed, Names: []string{"q"}}},
				AcceptEncoding: []string{"br", "gzip"},
			}, ResponseHeaders: &cloudfront.ResponseHeaders{
				Set: []cloudfront.PolicyHeader{
					{Header: cloudfront.Header{Name: "X-Frame-Options", Value: "DENY"}},
					{Header: cloudfront.Header{Name: "Strict-Transport-Security", Value: "max-age=60; includeSubDomains; preload"}, Override: true},
				},
				CORS: &cloudfront.CORS{Origins: []string{"*"}, Methods: anyMethodSorted},
			}},
			{PathPattern: "*", OriginID: "s3", Methods: []string{"GET", "HEAD"}, Forward: cloudfront.Forward{
				Headers:        []cloudfront.Selector{{Mode: cloudfront.SelectNamed, Names: []string{"Accept"}}},
				AcceptEncoding: []string{"br", "gzip"},
			}},
		},
		Ignored: []string{"viewer protocol policy redirect-to-https"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

var anyMethodSorted = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

func TestBucketPolicies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		policy string
		want   cloudfront.BucketAccess
	}{
		{"none", "", cloudfront.BucketAccess{}},
		{"origin access control", controlled, cloudfront.BucketAccess{Get: true}},
		{
			"list too", `{"Statement":{"Effect":"Allow","Principal":{"Service":["cloudfront.amazonaws.com"]},"Action":["s3:GetObject","s3:List*"]}}`,
			cloudfront.BucketAccess{Get: true, List: true},
		},
		{"another distribution", strings.ReplaceAll(controlled, "/E1", "/E2"), cloudfront.BucketAccess{}},
		{"public", `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}]}`, cloudfront.BucketAccess{Get: true}},
		{"other principal", `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:*"}]}`, cloudfront.BucketAccess{}},
	} {
		got, err := cloudfront.Load(t.Context(), deployed(), policies{policy: tc.policy}, "E1")
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if access := got.Origins["s3"].Access; access != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, access, tc.want)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*api)
		want   string
	}{
		{"none", func(a *api) { a.distributions = nil }, "deploy the stack"},
		{"several", func(a *api) {
			a.distributions = append(a.distributions, types.DistributionSummary{Id: aws.String("E2")})
		}, "E1, E2"},
		{"unknown origin", func(a *api) { a.config.DefaultCacheBehavior.TargetOriginId = aws.String("x") }, `origin "x" does not exist`},
		{"legacy cache settings", func(a *api) { a.config.DefaultCacheBehavior.CachePolicyId = nil }, "no cache policy"},
		{"not a bucket", func(a *api) { a.config.Origins.Items[2].DomainName = aws.String("example.com") }, "example.com"},
	} {
		a := deployed()
		tc.change(a)
		if _, err := cloudfront.Load(t.Context(), a, policies{policy: controlled}, ""); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
	}
}
