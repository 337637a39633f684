package edge_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	acm "github.com/aws/aws-cdk-go/awscdk/v2/awscertificatemanager"
	cf "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfront"
	origins "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfrontorigins"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/stretchr/testify/require"

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
	props.PrivatePaths = []string{"/v2/*", "/v1/*"}
	props.StaticPaths = []string{"/*"}
	edge.New(stack, "Edge", props)
	require.Equal(t, []string{"/v2/*", "/v1/*", "/*"}, paths(t, stack))
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
			if statement := each.(map[string]any); statement["Effect"] == "Allow" {
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
	has(cdktest.Template(stack), "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Action": "cloudfront:CreateInvalidation"}),
		like(map[string]any{"Action": assertions.Match_ArrayWith(&[]any{"s3:PutObject"})}),
	}})})
}

func TestAlarmsAndWidgets(t *testing.T) {
	stack, props := setup(t)
	e := edge.New(stack, "Edge", props)
	require.Len(t, e.Alarms(), 1)
	require.Len(t, e.Widgets(), 2)
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
	props.OverrideOrigin = func(p *origins.HttpOriginProps) { p.OriginPath = new("/override") }
	props.OverrideResponseHeaders = func(p *cf.ResponseHeadersPolicyProps) { p.Comment = new("override") }
	props.OverrideStaticBucket = func(p *awss3.BucketProps) { p.BucketName = new("override-static") }
	props.OverrideLogBucket = func(p *awss3.BucketProps) { p.BucketName = new("override-logs") }
	edge.New(stack, "Edge", props)
	require.Equal(t, []string{"*", "/v1/*", "/static/*"}, behaviors)
	template := cdktest.Template(stack)
	has(template, "AWS::CloudFront::Distribution", map[string]any{"DistributionConfig": like(map[string]any{
		"Comment":              "override",
		"DefaultCacheBehavior": like(map[string]any{"SmoothStreaming": true}),
		"CacheBehaviors":       []any{like(map[string]any{"SmoothStreaming": true}), like(map[string]any{"SmoothStreaming": true})},
		"Origins":              assertions.Match_ArrayWith(&[]any{like(map[string]any{"OriginPath": "/override"})}),
	})})
	has(template, "AWS::CloudFront::ResponseHeadersPolicy", map[string]any{
		"ResponseHeadersPolicyConfig": like(map[string]any{"Comment": "override"}),
	})
	has(template, "AWS::S3::Bucket", map[string]any{"BucketName": "override-static"})
	has(template, "AWS::S3::Bucket", map[string]any{"BucketName": "override-logs"})
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack, props := setup(t)
	props.PrivatePaths = append(make([]string, 0, 4), "/v1/*")
	props.StaticPaths = append(make([]string, 0, 4), "/static/*")
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
	err := edge.Props{
		OriginHeaderValue: "hunter2",
		OriginDomain:      "not a name",
		PrivatePaths:      []string{"v1", "/v1/*", "/v1/*"},
		StaticPaths:       []string{"/v1/*"},
		DomainNames:       []string{"localhost"},
		PriceClass:        "cheap",
		MaxErrorPercent:   101,
	}.Validate()
	require.EqualError(t, err, `edge: 10 fields are not valid
  LoadBalancer is "nil"; allowed: a load balancer
  OriginHeaderValue is "plain text or nothing"; allowed: a dynamic reference to a secret, such as OriginHeaderValue of a loadbalancer
  OriginDomain is "not a name"; allowed: a DNS name
  PrivatePaths[0] is "v1"; allowed: a path pattern of at most 255 characters that begins with a slash
  PrivatePaths[2] is "/v1/*"; allowed: each path once
  StaticPaths[0] is "/v1/*"; allowed: a path that is not private
  DomainNames[0] is "localhost"; allowed: a DNS name
  Certificate is "nil"; allowed: the certificate of DomainNames
  PriceClass is "cheap"; allowed: PriceClass_All, PriceClass_200, PriceClass_100
  MaxErrorPercent is 101; allowed: more than 0, up to 100`)
	require.NotContains(t, err.Error(), "hunter2")
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
	require.EqualError(t, err, `Test/Edge (edge): LoadBalancer is "nil"; allowed: a load balancer`)
}
