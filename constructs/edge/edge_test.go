package edge_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	acm "github.com/aws/aws-cdk-go/awscdk/v2/awscertificatemanager"
	cf "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfront"
	origins "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfrontorigins"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

// Ids of the managed policies, from the CloudFront developer guide.
const (
	cachingDisabled  = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
	cachingOptimized = "658327ea-f89d-4fab-a63d-7e88639e58f6"
	allViewer        = "216adef6-5c7f-47e4-b989-5492eafa07d3"
)

const certificate = "arn:aws:acm:us-east-1:123456789012:certificate/0b1c2d3e"

func setup(t *testing.T) (awscdk.Stack, edge.Props) {
	t.Helper()
	stack := cdktest.Stack(t)
	return stack, edge.Props{
		LoadBalancer: elb.ApplicationLoadBalancer_FromApplicationLoadBalancerAttributes(stack, new("Balancer"),
			&elb.ApplicationLoadBalancerAttributes{
				LoadBalancerArn:     new("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/0123456789abcdef"),
				LoadBalancerDnsName: new("a.us-east-1.elb.amazonaws.com"),
				SecurityGroupId:     new("sg-0123456789abcdef0"),
			}),
		OriginHeaderValue: *awssecretsmanager.NewSecret(stack, new("Secret"), nil).SecretValue().UnsafeUnwrap(),
	}
}

func has(t assertions.Template, kind string, properties map[string]any) {
	t.HasResourceProperties(&kind, properties)
}

func like(properties map[string]any) assertions.Matcher {
	return assertions.Match_ObjectLike(&properties)
}

// config is that of the stack's only distribution.
func config(t *testing.T, stack awscdk.Stack) map[string]any {
	t.Helper()
	for _, distribution := range *cdktest.Template(stack).FindResources(new("AWS::CloudFront::Distribution"), nil) {
		return (*distribution)["Properties"].(map[string]any)["DistributionConfig"].(map[string]any)
	}
	t.Fatal("no distribution")
	return nil
}

// paths are the patterns of the behaviors in the order CloudFront tries them.
func paths(t *testing.T, stack awscdk.Stack) []string {
	t.Helper()
	var list []string
	for _, behavior := range config(t, stack)["CacheBehaviors"].([]any) {
		list = append(list, behavior.(map[string]any)["PathPattern"].(string))
	}
	return list
}

func TestDistributionDefaults(t *testing.T) {
	stack, props := setup(t)
	props.WebACLARN = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/a/b"
	edge.New(stack, "Edge", props)
	c := config(t, stack)
	require.Equal(t, "http2and3", c["HttpVersion"])
	require.Equal(t, true, c["IPV6Enabled"])
	require.Equal(t, true, c["Enabled"])
	require.Equal(t, "PriceClass_All", c["PriceClass"])
	require.Equal(t, props.WebACLARN, c["WebACLId"])
	require.Equal(t, "cloudfront/", c["Logging"].(map[string]any)["Prefix"])
	require.NotContains(t, c, "Aliases")
}

func TestPrivatePathsAreNeverCached(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "Edge", props)
	c := config(t, stack)
	require.Equal(t, []string{"/v1/*", "/static/*"}, paths(t, stack))
	for _, behavior := range []any{c["DefaultCacheBehavior"], c["CacheBehaviors"].([]any)[0]} {
		b := behavior.(map[string]any)
		require.Equal(t, cachingDisabled, b["CachePolicyId"])
		require.Equal(t, allViewer, b["OriginRequestPolicyId"])
		require.Equal(t, false, b["Compress"])
		require.Equal(t, []any{"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}, b["AllowedMethods"])
		require.Equal(t, "redirect-to-https", b["ViewerProtocolPolicy"])
		require.NotNil(t, b["ResponseHeadersPolicyId"])
	}
}

func TestStaticPathsAreCachedAndCompressed(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "Edge", props)
	b := config(t, stack)["CacheBehaviors"].([]any)[1].(map[string]any)
	require.Equal(t, cachingOptimized, b["CachePolicyId"])
	require.NotContains(t, b, "OriginRequestPolicyId")
	require.Equal(t, true, b["Compress"])
	require.Equal(t, []any{"GET", "HEAD"}, b["AllowedMethods"])
	require.Equal(t, "redirect-to-https", b["ViewerProtocolPolicy"])
	require.NotNil(t, b["ResponseHeadersPolicyId"])
}

func TestPrivateComesBeforeAStaticPatternThatIsTooWide(t *testing.T) {
	stack, props := setup(t)
	props.Behaviors = []edge.Behavior{edge.Static("/*"), edge.Private("/v2/*"), edge.Private("/v1/*"), edge.Stream("/v1/events")}
	edge.New(stack, "Edge", props)
	require.Equal(t, []string{"/v1/events", "/v2/*", "/v1/*", "/*"}, paths(t, stack))
}

func TestOriginCarriesTheSecretByReference(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "Edge", props)
	var balancer map[string]any
	for _, origin := range config(t, stack)["Origins"].([]any) {
		if o := origin.(map[string]any); o["DomainName"] == "a.us-east-1.elb.amazonaws.com" {
			require.Nil(t, balancer, "one origin for all private paths")
			balancer = o
		}
	}
	require.Equal(t, []any{map[string]any{
		"HeaderName":  contract.OriginVerifyHeader,
		"HeaderValue": stack.Resolve(props.OriginHeaderValue),
	}}, balancer["OriginCustomHeaders"])
	require.EqualValues(t, 5, balancer["ConnectionTimeout"])
	require.Equal(t, map[string]any{
		"OriginProtocolPolicy": "http-only", "OriginSSLProtocols": []any{"TLSv1.2"},
		"OriginReadTimeout": 60.0, "OriginKeepaliveTimeout": 60.0,
	}, balancer["CustomOriginConfig"])
}

func TestOriginDomainIsReachedByHTTPS(t *testing.T) {
	stack, props := setup(t)
	props.OriginDomain = "origin.example.com"
	edge.New(stack, "Edge", props)
	has(cdktest.Template(stack), "AWS::CloudFront::Distribution", map[string]any{"DistributionConfig": like(map[string]any{
		"Origins": assertions.Match_ArrayWith(&[]any{like(map[string]any{
			"DomainName":         "origin.example.com",
			"CustomOriginConfig": like(map[string]any{"OriginProtocolPolicy": "https-only"}),
		})}),
	})})
}

func TestBucketIsPrivateToThisDistribution(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "Edge", props)
	template := cdktest.Template(stack)
	has(template, "AWS::CloudFront::OriginAccessControl", map[string]any{"OriginAccessControlConfig": like(map[string]any{
		"OriginAccessControlOriginType": "s3", "SigningBehavior": "always", "SigningProtocol": "sigv4",
	})})
	template.AllResourcesProperties(new("AWS::S3::Bucket"), map[string]any{
		"PublicAccessBlockConfiguration": map[string]any{
			"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true,
		},
	})
	var allowed []any
	for _, policy := range *template.FindResources(new("AWS::S3::BucketPolicy"), nil) {
		for _, each := range (*policy)["Properties"].(map[string]any)["PolicyDocument"].(map[string]any)["Statement"].([]any) {
			if statement := each.(map[string]any); statement["Effect"] == "Allow" && statement["Principal"].(map[string]any)["Service"] != "logging.s3.amazonaws.com" {
				require.Equal(t, "s3:GetObject", statement["Action"])
				require.Equal(t, map[string]any{"Service": "cloudfront.amazonaws.com"}, statement["Principal"])
				allowed = append(allowed, statement["Condition"])
			}
		}
	}
	id := slices.Collect(maps.Keys(*template.FindResources(new("AWS::CloudFront::Distribution"), nil)))[0]
	require.Equal(t, []any{map[string]any{"StringEquals": map[string]any{"AWS:SourceArn": map[string]any{
		"Fn::Join": []any{"", []any{
			"arn:",
			map[string]any{"Ref": "AWS::Partition"},
			":cloudfront::",
			map[string]any{"Ref": "AWS::AccountId"},
			":distribution/",
			map[string]any{"Ref": id},
		}},
	}}}}, allowed)
}

func TestResponseHeaders(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "Edge", props)
	has(cdktest.Template(stack), "AWS::CloudFront::ResponseHeadersPolicy", map[string]any{
		"ResponseHeadersPolicyConfig": like(map[string]any{"SecurityHeadersConfig": map[string]any{
			"ContentSecurityPolicy":   map[string]any{"ContentSecurityPolicy": edge.DefaultContentSecurityPolicy, "Override": true},
			"ContentTypeOptions":      map[string]any{"Override": true},
			"FrameOptions":            map[string]any{"FrameOption": "DENY", "Override": true},
			"ReferrerPolicy":          map[string]any{"ReferrerPolicy": "strict-origin-when-cross-origin", "Override": true},
			"StrictTransportSecurity": map[string]any{"AccessControlMaxAgeSec": 63072000, "IncludeSubdomains": true, "Override": true},
		}}),
	})
}

func TestDomainNeedsTLS12(t *testing.T) {
	stack, props := setup(t)
	props.DomainNames = []string{"media.example.com"}
	props.Certificate = acm.Certificate_FromCertificateArn(stack, new("Certificate"),
		new("arn:aws:acm:us-east-1:123456789012:certificate/0b1c2d3e"))
	props.PriceClass = edge.PriceClass100
	edge.New(stack, "Edge", props)
	c := config(t, stack)
	require.Equal(t, []any{"media.example.com"}, c["Aliases"])
	require.Equal(t, "PriceClass_100", c["PriceClass"])
	require.Equal(t, map[string]any{
		"AcmCertificateArn":      "arn:aws:acm:us-east-1:123456789012:certificate/0b1c2d3e",
		"MinimumProtocolVersion": "TLSv1.2_2021", "SslSupportMethod": "sni-only",
	}, c["ViewerCertificate"])
}

func TestExistingBucketsAndNoLogs(t *testing.T) {
	stack, props := setup(t)
	props.StaticBucket = awss3.NewBucket(stack, new("Bucket"), nil)
	props.LogBucket = awss3.Bucket_FromBucketName(stack, new("Logs"), new("logs"))
	e := edge.New(stack, "Edge", props)
	cdktest.Template(stack).ResourceCountIs(new("AWS::S3::Bucket"), cdkx.Number(1))
	require.NotNil(t, config(t, stack)["Logging"])
	require.Equal(t, *props.StaticBucket.BucketName(), *e.StaticBucket.BucketName())

	stack, props = setup(t)
	props.NoAccessLogs, props.DestroyStaticBucket = true, true
	require.Nil(t, edge.New(stack, "Edge", props).LogBucket)
	require.NotContains(t, config(t, stack), "Logging")
	cdktest.Template(stack).HasResource(new("AWS::S3::Bucket"), map[string]any{"DeletionPolicy": "Delete"})
}

func TestBucketsStayByDefault(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "Edge", props)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::S3::Bucket"), cdkx.Number(2))
	template.AllResources(new("AWS::S3::Bucket"), map[string]any{"DeletionPolicy": "Retain"})
}

func TestGrants(t *testing.T) {
	stack, props := setup(t)
	e := edge.New(stack, "Edge", props)
	user := awsiam.NewUser(stack, new("Publisher"), nil)
	e.GrantInvalidate(user)
	e.GrantPublish(user)
	require.Equal(t, *e.StaticBucket.BucketName(), e.StaticBucketName())
	has(cdktest.Template(stack), "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Action": "cloudfront:CreateInvalidation"}),
		like(map[string]any{"Action": assertions.Match_ArrayWith(&[]any{"s3:PutObject"})}),
	}})})
}

func TestAlarmsAndWidgets(t *testing.T) {
	stack, props := setup(t)
	e := edge.New(stack, "Edge", props)
	require.Len(t, e.Alarms(), 1)
	require.Len(t, e.Widgets(), 3)
	has(cdktest.Template(stack), "AWS::CloudWatch::Alarm", map[string]any{
		"Namespace": "AWS/CloudFront", "MetricName": "5xxErrorRate", "Threshold": 1, "Statistic": "Average",
	})
}

func TestOverridesReachEachResource(t *testing.T) {
	stack, props := setup(t)
	props.Override = func(p *cf.DistributionProps) { p.Comment = new("override") }
	var behaviors []string
	props.OverrideBehavior = func(path string, p *cf.AddBehaviorOptions) {
		behaviors = append(behaviors, path)
		p.SmoothStreaming = new(true)
	}
	props.OverrideOrigin = func(name string, p *origins.HttpOriginProps) { p.OriginPath = new("/" + name) }
	props.OverrideStaticOrigin = func(p *origins.S3BucketOriginWithOACProps) { p.OriginPath = new("/files") }
	props.OverrideResponseHeaders = func(p *cf.ResponseHeadersPolicyProps) { p.Comment = new("override") }
	props.OverrideStaticBucket = func(p *awss3.BucketProps) { p.BucketName = new("override-static") }
	props.OverrideLogBucket = func(p *awss3.BucketProps) { p.BucketName = new("override-logs") }
	edge.New(stack, "Edge", props)
	require.ElementsMatch(t, []string{"*", "/v1/*", "/static/*"}, behaviors)
	template := cdktest.Template(stack)
	has(template, "AWS::CloudFront::Distribution", map[string]any{"DistributionConfig": like(map[string]any{
		"Comment":              "override",
		"DefaultCacheBehavior": like(map[string]any{"SmoothStreaming": true}),
		"CacheBehaviors":       []any{like(map[string]any{"SmoothStreaming": true}), like(map[string]any{"SmoothStreaming": true})},
		"Origins":              []any{like(map[string]any{"OriginPath": "/private"}), like(map[string]any{"OriginPath": "/files"})},
	})})
	has(template, "AWS::CloudFront::ResponseHeadersPolicy", map[string]any{
		"ResponseHeadersPolicyConfig": like(map[string]any{"Comment": "override"}),
	})
	has(template, "AWS::S3::Bucket", map[string]any{"BucketName": "override-static"})
	has(template, "AWS::S3::Bucket", map[string]any{"BucketName": "override-logs"})
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack, props := setup(t)
	props.Behaviors = append(make([]edge.Behavior, 0, 4), edge.Static("/static/*"), edge.Private("/v1/*"))
	props.DomainNames = append(make([]string, 0, 4), "media.example.com")
	props.CertificateARN = certificate
	props.ErrorPages = append(make([]edge.ErrorPage, 0, 4), edge.ErrorPage{Status: 503, Path: "/static/503.html"})
	props.AllowedCountries = append(make([]string, 0, 4), "CH")
	cdktest.Unchanged(t, props, func(p edge.Props) { edge.New(stack, "Edge", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "One", props)
	edge.New(stack, "Two", props)
	cdktest.Template(stack).ResourceCountIs(new("AWS::CloudFront::Distribution"), cdkx.Number(2))
}

func TestGolden(t *testing.T) {
	stack, props := setup(t)
	edge.New(stack, "Edge", props)
	cdktest.Golden(t, stack, "edge")
}

func TestValidateNamesEveryField(t *testing.T) {
	props := edge.Props{
		Behaviors: []edge.Behavior{
			edge.Private("v1"), edge.Private("/v1/*"), edge.Stream("/v1/*"), nil, edge.Stream("*"), edge.Static("/" + strings.Repeat("a", 255)),
		},
		OriginHeaderValue:         "hunter2",
		OriginDomain:              "not a name",
		OriginConnectTimeout:      11 * time.Second,
		OriginConnectAttempts:     4,
		OriginReadTimeout:         4 * time.Minute,
		OriginKeepalive:           time.Millisecond,
		StreamReadTimeout:         time.Hour,
		ResponseCompletionTimeout: time.Second,
		OriginShieldRegion:        "Ireland",
		ErrorPages: []edge.ErrorPage{
			{Status: 200, Path: "503.html", ResponseStatus: 99}, {Status: 503, ResponseStatus: 200}, {Status: 503, TTL: time.Minute},
		},
		WebACLARN:          "my-acl",
		DomainNames:        []string{"localhost"},
		AllowedCountries:   []string{"Switzerland"},
		DeniedCountries:    []string{"CH"},
		PriceClass:         "cheap",
		MaxErrorPercent:    101,
		MaxLatency:         -time.Second,
		MinCacheHitPercent: 101,
		NoAccessLogs:       true,
		LogCookies:         true,
	}
	err := props.Validate()
	require.EqualError(t, err, `edge: 32 fields are not valid
  Behaviors[0].Path is "v1"; allowed: "*", or a path pattern of at most 255 characters that begins with a slash
  Behaviors[2].Path is "/v1/*"; allowed: each path once
  Behaviors[3] is "nil"; allowed: Static, Private or Stream with a path
  Behaviors[4].Path is "*"; allowed: a path of its own for a stream
  Behaviors[5].Path is "/`+strings.Repeat("a", 255)+`"; allowed: "*", or a path pattern of at most 255 characters that begins with a slash
  LoadBalancer is "nil"; allowed: a load balancer, unless every behavior is static
  OriginHeaderValue is "plain text or nothing"; allowed: a dynamic reference to a secret, such as OriginHeaderValue of a loadbalancer
  OriginDomain is "not a name"; allowed: a DNS name
  OriginConnectTimeout is 11s; allowed: 1s to 10s in whole seconds
  OriginConnectAttempts is 4; allowed: 1 to 3
  OriginReadTimeout is 4m0s; allowed: 1s to 3m0s in whole seconds
  OriginKeepalive is 1ms; allowed: 1s to 3m0s in whole seconds
  StreamReadTimeout is 1h0m0s; allowed: 1s to 3m0s in whole seconds
  ResponseCompletionTimeout is 1s; allowed: 4m0s to 1h0m0s in whole seconds
  OriginShieldRegion is "Ireland"; allowed: the code of an AWS Region, such as eu-west-1
  ErrorPages[0].Status is 200; allowed: 400, 403 to 405, 414, 416 or 500 to 504
  ErrorPages[0].Path is "503.html"; allowed: a path that begins with a slash
  ErrorPages[0].ResponseStatus is 99; allowed: 200 to 599, with a Path
  ErrorPages[1].ResponseStatus is 200; allowed: 200 to 599, with a Path
  ErrorPages[2].Status is 503; allowed: each status once
  ErrorPages[2].TTL is 1m0s; allowed: 0 unless every behavior is static
  DomainNames[0] is "localhost"; allowed: a DNS name
  Certificate is "nil"; allowed: the certificate of DomainNames
  WebACLARN is "my-acl"; allowed: the ARN of a web ACL of scope CLOUDFRONT
  DeniedCountries is [CH]; allowed: none with AllowedCountries
  AllowedCountries[0] is "Switzerland"; allowed: two upper-case letters, such as CH
  PriceClass is "cheap"; allowed: PriceClass_All, PriceClass_200, PriceClass_100
  LogCookies is true; allowed: false with NoAccessLogs
  MaxErrorPercent is 101; allowed: more than 0, up to 100
  MaxLatency is -1s; allowed: more than 0
  MinCacheHitPercent is 101; allowed: 0 to 100
  MinCacheHitPercent is 101; allowed: 0 without AdditionalMetrics`)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestValidateRefusesContradictions(t *testing.T) {
	stack, props := setup(t)
	props.Behaviors = []edge.Behavior{edge.Static("*")}
	props.CertificateARN = "arn:aws:acm:eu-west-1:123456789012:certificate/0b1c2d3e"
	props.Certificate = acm.Certificate_FromCertificateArn(stack, new("Certificate"), new(certificate))
	props.LogBucket = awss3.Bucket_FromBucketName(stack, new("Logs"), new("logs"))
	props.NoAccessLogs = true
	require.EqualError(t, props.Validate(), `edge: 5 fields are not valid
  LoadBalancer is "given"; allowed: nothing, because every behavior is static
  DomainNames is []; allowed: the names that the certificate is for
  CertificateARN is "arn:aws:acm:eu-west-1:123456789012:certificate/0b1c2d3e"; allowed: none with Certificate
  CertificateARN is "arn:aws:acm:eu-west-1:123456789012:certificate/0b1c2d3e"; allowed: the ARN of an ACM certificate of us-east-1
  NoAccessLogs is true; allowed: false when LogBucket is given`)

	stack, props = setup(t)
	props.Behaviors = []edge.Behavior{}
	for i := range 25 {
		props.Behaviors = append(props.Behaviors, edge.Private(fmt.Sprintf("/%d", i)))
	}
	props.StaticBucket = awss3.NewBucket(stack, new("Bucket"), nil)
	require.EqualError(t, props.Validate(), `edge: 2 fields are not valid
  Behaviors is 25; allowed: 24 at most
  StaticBucket is "given"; allowed: nothing, because no behavior is static`)
}

// The types are the guarantee: a private path or a stream has nowhere to put a
// cache policy.
func TestPrivateTypesHaveNoCachePolicy(t *testing.T) {
	policy := reflect.TypeFor[cf.ICachePolicy]()
	for _, behavior := range []reflect.Type{reflect.TypeFor[edge.PrivateBehavior](), reflect.TypeFor[edge.StreamBehavior]()} {
		for field := range behavior.Fields() {
			require.Equal(t, reflect.String, field.Type.Kind(), "%v.%s", behavior, field.Name)
		}
	}
	field, ok := reflect.TypeFor[edge.StaticBehavior]().FieldByName("CachePolicy")
	require.True(t, ok)
	require.Equal(t, policy, field.Type)
	method, _ := reflect.TypeFor[edge.Behavior]().MethodByName("options")
	require.NotEmpty(t, method.PkgPath, "no other package can make a Behavior")
}

func TestOverridesThatCacheWhatIsPrivateAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(awscdk.Stack, *edge.Props)
		want   string
	}{
		"a private path": {func(_ awscdk.Stack, p *edge.Props) {
			p.OverrideBehavior = func(path string, o *cf.AddBehaviorOptions) {
				if path == "/v1/*" {
					o.CachePolicy = cf.CachePolicy_CACHING_OPTIMIZED()
				}
			}
		}, `OverrideBehavior is "/v1/*"; allowed: an override that leaves the cache policy of a private path or a stream alone: CachingDisabled`},
		"a stream": {func(stack awscdk.Stack, p *edge.Props) {
			p.Behaviors = []edge.Behavior{edge.Stream("/events")}
			p.OverrideBehavior = func(path string, o *cf.AddBehaviorOptions) {
				if path == "/events" {
					o.CachePolicy = cf.NewCachePolicy(stack, new("Policy"), nil)
				}
			}
		}, `OverrideBehavior is "/events"; allowed: an override that leaves the cache policy of a private path or a stream alone: CachingDisabled`},
		"none at all": {func(_ awscdk.Stack, p *edge.Props) {
			p.OverrideBehavior = func(path string, o *cf.AddBehaviorOptions) {
				if path == "*" {
					o.CachePolicy = nil
				}
			}
		}, `OverrideBehavior is "*"; allowed: an override that leaves the cache policy of a private path or a stream alone: CachingDisabled`},
		"the default of the distribution": {func(_ awscdk.Stack, p *edge.Props) {
			p.Override = func(d *cf.DistributionProps) { d.DefaultBehavior.CachePolicy = cf.CachePolicy_CACHING_OPTIMIZED() }
		}, `Override is "*"; allowed: an override that leaves the cache policy of the default behavior alone: CachingDisabled`},
		"another behavior before ours": {func(_ awscdk.Stack, p *edge.Props) {
			p.Override = func(d *cf.DistributionProps) {
				d.AdditionalBehaviors = &map[string]*cf.BehaviorOptions{"/*": {Origin: d.DefaultBehavior.Origin}}
			}
		}, `Override is "/*"; allowed: no additional behavior that caches, which CloudFront would try before private paths: add it to Behaviors, or to the Distribution afterwards`},
	} {
		t.Run(name, func(t *testing.T) {
			stack, props := setup(t)
			tc.change(stack, &props)
			err := cdktest.Panic[*edge.PropsError](t, func() { edge.New(stack, "Edge", props) })
			require.EqualError(t, err, "Test/Edge (edge): "+tc.want)
		})
	}
}

func TestOverridesMaySayAgainWhatIsSo(t *testing.T) {
	stack, props := setup(t)
	props.OverrideBehavior = func(_ string, o *cf.AddBehaviorOptions) { o.CachePolicy = cf.CachePolicy_CACHING_DISABLED() }
	props.Override = func(d *cf.DistributionProps) {
		d.AdditionalBehaviors = &map[string]*cf.BehaviorOptions{"/more": {
			Origin: d.DefaultBehavior.Origin, CachePolicy: cf.CachePolicy_CACHING_DISABLED(),
		}}
	}
	edge.New(stack, "Edge", props)
	require.Equal(t, []string{"/more", "/v1/*", "/static/*"}, paths(t, stack))
}

func TestStreams(t *testing.T) {
	stack, props := setup(t)
	props.Behaviors = []edge.Behavior{edge.Stream("/v1/events")}
	edge.New(stack, "Edge", props)
	c := config(t, stack)
	require.Len(t, c["Origins"], 1, "the same timeouts, the same origin")
	b := c["CacheBehaviors"].([]any)[0].(map[string]any)
	require.Equal(t, cachingDisabled, b["CachePolicyId"])
	require.Equal(t, allViewer, b["OriginRequestPolicyId"])
	require.Equal(t, false, b["Compress"])
	require.Equal(t, []any{"GET", "HEAD", "OPTIONS"}, b["AllowedMethods"])

	stack, props = setup(t)
	props.Behaviors = []edge.Behavior{edge.Stream("/v1/events"), edge.Stream("/v1/chat"), edge.Private("/v1/*")}
	props.OriginReadTimeout, props.ResponseCompletionTimeout, props.StreamReadTimeout = 20*time.Second, 30*time.Second, time.Minute
	edge.New(stack, "Edge", props)
	c = config(t, stack)
	origins := c["Origins"].([]any)
	require.Len(t, origins, 2)
	for i, want := range []struct{ read, completion any }{{20.0, 30.0}, {60.0, nil}} {
		origin := origins[i].(map[string]any)
		require.Equal(t, want.read, origin["CustomOriginConfig"].(map[string]any)["OriginReadTimeout"])
		require.Equal(t, want.completion, origin["ResponseCompletionTimeout"])
		require.Len(t, origin["OriginCustomHeaders"], 1)
	}
	for i, want := range []int{1, 1, 0} {
		require.Equal(t, origins[want].(map[string]any)["Id"], c["CacheBehaviors"].([]any)[i].(map[string]any)["TargetOriginId"])
	}
}

// CloudFront keeps errors for ten seconds whatever the cache policy says.
func TestErrorsOfPrivatePathsAreNotKept(t *testing.T) {
	stack, props := setup(t)
	props.ErrorPages = []edge.ErrorPage{
		{Status: 503, Path: "/static/503.html"}, {Status: 502, Path: "/static/503.html", ResponseStatus: 503},
	}
	edge.New(stack, "Edge", props)
	want := []any{
		map[string]any{"ErrorCode": 503.0, "ErrorCachingMinTTL": 0.0, "ResponseCode": 503.0, "ResponsePagePath": "/static/503.html"},
		map[string]any{"ErrorCode": 502.0, "ErrorCachingMinTTL": 0.0, "ResponseCode": 503.0, "ResponsePagePath": "/static/503.html"},
	}
	for _, status := range []float64{400, 403, 404, 405, 414, 500, 501, 504} {
		want = append(want, map[string]any{"ErrorCode": status, "ErrorCachingMinTTL": 0.0})
	}
	require.Equal(t, want, config(t, stack)["CustomErrorResponses"])
}

func TestStaticSite(t *testing.T) {
	stack := cdktest.Stack(t)
	e := edge.New(stack, "Edge", edge.Props{
		Behaviors:         []edge.Behavior{edge.Static("*")},
		DefaultRootObject: "index.html",
		ErrorPages:        []edge.ErrorPage{{Status: 404, Path: "/404.html", TTL: time.Minute}},
	})
	c := config(t, stack)
	require.Equal(t, cachingOptimized, c["DefaultCacheBehavior"].(map[string]any)["CachePolicyId"])
	require.Equal(t, "index.html", c["DefaultRootObject"])
	require.Equal(t, []any{map[string]any{
		"ErrorCode": 404.0, "ErrorCachingMinTTL": 60.0, "ResponseCode": 404.0, "ResponsePagePath": "/404.html",
	}}, c["CustomErrorResponses"])
	require.Len(t, c["Origins"], 1)
	require.NotContains(t, acknowledged(t, e.Distribution), "AwsSolutions-CFR5")

	stack, props := setup(t)
	props.Behaviors = []edge.Behavior{}
	e = edge.New(stack, "Edge", props)
	require.Nil(t, e.StaticBucket)
	require.Empty(t, e.StaticBucketName())
	e.GrantPublish(awsiam.NewUser(stack, new("Publisher"), nil))
	require.NotContains(t, config(t, stack), "CacheBehaviors")
	cdktest.Template(stack).ResourceCountIs(new("AWS::IAM::Policy"), cdkx.Number(0))
}

func TestCachePolicyOfAStaticPath(t *testing.T) {
	stack, props := setup(t)
	policy := cf.NewCachePolicy(stack, new("Policy"), nil)
	props.Behaviors = []edge.Behavior{edge.StaticBehavior{Path: "/files/*", CachePolicy: policy}}
	edge.New(stack, "Edge", props)
	require.Equal(t, stack.Resolve(policy.CachePolicyId()), config(t, stack)["CacheBehaviors"].([]any)[0].(map[string]any)["CachePolicyId"])
}

func TestVPCOrigin(t *testing.T) {
	stack, props := setup(t)
	props.VPCOrigin, props.OriginDomain = true, "origin.example.com"
	props.ResponseCompletionTimeout = 2 * time.Minute
	props.OverrideVPCOrigin = func(name string, p *origins.VpcOriginWithEndpointProps) { p.OriginPath = new("/" + name) }
	e := edge.New(stack, "Edge", props)
	template := cdktest.Template(stack)
	has(template, "AWS::CloudFront::VpcOrigin", map[string]any{"VpcOriginEndpointConfig": like(map[string]any{
		"Arn":                  "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/0123456789abcdef",
		"OriginProtocolPolicy": "https-only", "OriginSSLProtocols": []any{"TLSv1.2"},
	})})
	origin := config(t, stack)["Origins"].([]any)[0].(map[string]any)
	require.Equal(t, "origin.example.com", origin["DomainName"])
	require.Equal(t, "/private", origin["OriginPath"])
	require.InDelta(t, 120, origin["ResponseCompletionTimeout"], 0)
	require.InDelta(t, 60, origin["VpcOriginConfig"].(map[string]any)["OriginReadTimeout"], 0)
	require.Len(t, origin["OriginCustomHeaders"], 1)
	require.NotContains(t, acknowledged(t, e.Distribution), "AwsSolutions-CFR5")

	stack, props = setup(t)
	props.VPCOrigin = true
	e = edge.New(stack, "Edge", props)
	has(cdktest.Template(stack), "AWS::CloudFront::VpcOrigin", map[string]any{"VpcOriginEndpointConfig": like(map[string]any{"OriginProtocolPolicy": "http-only"})})
	require.Equal(t, "a.us-east-1.elb.amazonaws.com", config(t, stack)["Origins"].([]any)[0].(map[string]any)["DomainName"])
	require.NotContains(t, acknowledged(t, e.Distribution), "AwsSolutions-CFR5")
}

func TestSettings(t *testing.T) {
	stack, props := setup(t)
	props.NoHTTP3, props.NoIPv6, props.Disabled, props.LogCookies = true, true, true, true
	props.DeniedCountries = []string{"AQ"}
	props.OriginShieldRegion, props.OriginConnectAttempts = "eu-west-1", 1
	props.ResponseHeaders = cf.ResponseHeadersPolicy_SECURITY_HEADERS()
	e := edge.New(stack, "Edge", props)
	c := config(t, stack)
	require.Equal(t, "http2", c["HttpVersion"])
	require.Equal(t, false, c["IPV6Enabled"])
	require.Equal(t, false, c["Enabled"])
	require.Equal(t, true, c["Logging"].(map[string]any)["IncludeCookies"])
	require.Equal(t, map[string]any{"GeoRestriction": map[string]any{"Locations": []any{"AQ"}, "RestrictionType": "blacklist"}}, c["Restrictions"])
	for _, origin := range c["Origins"].([]any) {
		require.Equal(t, map[string]any{"Enabled": true, "OriginShieldRegion": "eu-west-1"}, origin.(map[string]any)["OriginShield"])
	}
	require.InDelta(t, 1, c["Origins"].([]any)[0].(map[string]any)["ConnectionAttempts"], 0)
	cdktest.Template(stack).ResourceCountIs(new("AWS::CloudFront::ResponseHeadersPolicy"), cdkx.Number(0))
	require.NotContains(t, acknowledged(t, e.Distribution), "AwsSolutions-CFR1")

	stack, props = setup(t)
	props.AllowedCountries = []string{"CH", "DE"}
	edge.New(stack, "Edge", props)
	require.Equal(t, map[string]any{"GeoRestriction": map[string]any{"Locations": []any{"CH", "DE"}, "RestrictionType": "whitelist"}}, config(t, stack)["Restrictions"])
}

func TestAdditionalMetrics(t *testing.T) {
	stack, props := setup(t)
	props.AdditionalMetrics, props.MinCacheHitPercent, props.MaxLatency = true, 80, 500*time.Millisecond
	e := edge.New(stack, "Edge", props)
	require.Len(t, e.Alarms(), 3)
	require.Len(t, e.Widgets(), 5)
	require.Equal(t, cdkx.Critical, cdkx.SeverityOf(e.ErrorAlarm))
	require.Equal(t, cdkx.Warning, cdkx.SeverityOf(e.LatencyAlarm))
	require.Equal(t, cdkx.Warning, cdkx.SeverityOf(e.CacheHitAlarm))
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::CloudFront::MonitoringSubscription"), cdkx.Number(1))
	has(template, "AWS::CloudWatch::Alarm", map[string]any{"MetricName": "OriginLatency", "ExtendedStatistic": "p99", "Threshold": 500})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{
		"MetricName": "CacheHitRate", "Threshold": 80, "ComparisonOperator": "LessThanThreshold",
	})
}

func TestAlarmsStandInUSEast1Only(t *testing.T) {
	stack := cdkapp.Stack(cdktest.Stack(t).Node().Root().(awscdk.App), "Ireland", cdkapp.StackProps{Region: "eu-west-1"})
	e := edge.New(stack, "Edge", edge.Props{Behaviors: []edge.Behavior{edge.Static("*")}, AdditionalMetrics: true})
	require.Empty(t, e.Alarms())
	require.Len(t, e.Widgets(), 5)
}

func TestReadsOfTheStaticBucketAreLogged(t *testing.T) {
	stack, props := setup(t)
	e := edge.New(stack, "Edge", props)
	has(cdktest.Template(stack), "AWS::S3::Bucket", map[string]any{"LoggingConfiguration": map[string]any{
		"DestinationBucketName": stack.Resolve(e.LogBucket.BucketName()), "LogFilePrefix": "s3/",
	}})
	require.NotContains(t, acknowledged(t, e.StaticBucket), "AwsSolutions-S1")

	stack, props = setup(t)
	props.NoAccessLogs = true
	e = edge.New(stack, "Edge", props)
	require.Contains(t, acknowledged(t, e.StaticBucket), "AwsSolutions-S1")
}

func TestGrantConfigureNamesWhatAnUpdateNeeds(t *testing.T) {
	one, other := cdktest.Stacks(t)
	e := edge.New(one, "Edge", edge.Props{
		Behaviors: []edge.Behavior{edge.Static("*")},
		WebACLARN: "arn:aws:wafv2:us-east-1:123456789012:global/webacl/a/b",
	})
	e.GrantConfigure(awsiam.NewUser(other, new("Rotation"), nil))
	awscdk.NewCfnOutput(other, new("Address"), &awscdk.CfnOutputProps{Value: new(e.URL() + e.ID())})
	has(cdktest.Template(other), "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Action": []any{"s3:GetBucketAcl", "s3:PutBucketAcl"}, "Resource": map[string]any{
			"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("EdgeLogs")),
		}}),
		like(map[string]any{"Action": "wafv2:GetWebACL", "Resource": "arn:aws:wafv2:us-east-1:123456789012:global/webacl/a/b"}),
		like(map[string]any{"Action": []any{"cloudfront:GetDistribution", "cloudfront:UpdateDistribution"}}),
	}})})
}

func TestTokensAreAccepted(t *testing.T) {
	stack, props := setup(t)
	props.OriginDomain = cdktest.Token(stack, "Origin")
	props.WebACLARN = cdktest.Token(stack, "ACL")
	props.DomainNames = []string{cdktest.Token(stack, "Domain")}
	props.CertificateARN = cdktest.Token(stack, "CertificateARN")
	edge.New(stack, "Edge", props)
	c := config(t, stack)
	require.Equal(t, []any{map[string]any{"Ref": "Domain"}}, c["Aliases"])
	require.Equal(t, map[string]any{"Ref": "ACL"}, c["WebACLId"])
	require.Equal(t, map[string]any{"Ref": "CertificateARN"}, c["ViewerCertificate"].(map[string]any)["AcmCertificateArn"])
}

// acknowledged are the rules of cdk-nag that the resource says something about.
func acknowledged(t *testing.T, of constructs.IConstruct) []string {
	t.Helper()
	metadata, _ := of.Node().DefaultChild().(awscdk.CfnResource).GetMetadata(new("cdk_nag")).(map[string]any)
	list, _ := metadata["rules_to_suppress"].([]any)
	var rules []string
	for _, each := range list {
		rules = append(rules, each.(map[string]any)["id"].(string))
	}
	return rules
}

func TestAcknowledgedFindings(t *testing.T) {
	stack, props := setup(t)
	e := edge.New(stack, "Edge", props)
	require.Equal(t, []string{"AwsSolutions-CFR1", "AwsSolutions-CFR4", "AwsSolutions-CFR5"}, acknowledged(t, e.Distribution))
	require.Len(t, acknowledged(t, e.StaticBucket), 6)
	require.Len(t, acknowledged(t, e.LogBucket), 6)

	stack, props = setup(t)
	props.StaticBucket = awss3.Bucket_FromBucketName(stack, new("Files"), new("files"))
	e = edge.New(stack, "Edge", props)
	require.Len(t, acknowledged(t, e.LogBucket), 10, "no bucket logs to it")

	stack, props = setup(t)
	props.DomainNames, props.CertificateARN = []string{"media.example.com"}, certificate
	props.OriginDomain, props.AllowedCountries = "origin.example.com", []string{"CH"}
	require.Empty(t, acknowledged(t, edge.New(stack, "Edge", props).Distribution))
}

func TestCertificateOfAnotherRegionIsRefused(t *testing.T) {
	stack, props := setup(t)
	props.DomainNames = []string{"media.example.com"}
	props.Certificate = acm.Certificate_FromCertificateArn(stack, new("Certificate"),
		new("arn:aws:acm:eu-west-1:123456789012:certificate/0b1c2d3e"))
	require.EqualError(t, props.Validate(), `edge: Certificate is "in eu-west-1"; allowed: a certificate of us-east-1`)
}

func TestNewPanicsWithThePath(t *testing.T) {
	stack, props := setup(t)
	props.LoadBalancer = nil
	err := cdktest.Panic[*edge.PropsError](t, func() { edge.New(stack, "Edge", props) })
	require.EqualError(t, err, `Test/Edge (edge): LoadBalancer is "nil"; allowed: a load balancer, unless every behavior is static`)
}
