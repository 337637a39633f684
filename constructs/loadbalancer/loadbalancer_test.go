package loadbalancer_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

const certificate = "arn:aws:acm:us-east-1:123456789012:certificate/0b1c2d3e"

func setup(t *testing.T) (awscdk.Stack, loadbalancer.Props) {
	t.Helper()
	stack := cdktest.Stack(t)
	vpc := awsec2.NewVpc(stack, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)})
	return stack, loadbalancer.Props{VPC: vpc}
}

func has(t assertions.Template, kind string, properties map[string]any) {
	t.HasResourceProperties(&kind, properties)
}

func like(properties map[string]any) assertions.Matcher {
	return assertions.Match_ObjectLike(&properties)
}

func attributes(pairs ...string) assertions.Matcher {
	var list []any
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, map[string]any{"Key": pairs[i], "Value": pairs[i+1]})
	}
	return assertions.Match_ArrayWith(&list)
}

func TestLoadBalancerDefaults(t *testing.T) {
	stack, props := setup(t)
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	for _, attribute := range [][2]string{
		{"deletion_protection.enabled", "true"},
		{"routing.http.drop_invalid_header_fields.enabled", "true"},
		{"routing.http.desync_mitigation_mode", "defensive"},
		{"idle_timeout.timeout_seconds", "65"},
		{"access_logs.s3.enabled", "true"},
		{"access_logs.s3.prefix", "alb"},
	} {
		has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{
			"Scheme": "internet-facing", "Type": "application",
			"LoadBalancerAttributes": attributes(attribute[:]...),
		})
	}
	has(template, "AWS::EC2::SecurityGroup", map[string]any{"SecurityGroupIngress": []any{
		like(map[string]any{"CidrIp": "0.0.0.0/0", "FromPort": 80, "ToPort": 80, "IpProtocol": "tcp"}),
	}})
}

func TestTargetGroupDefaults(t *testing.T) {
	stack, props := setup(t)
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::ElasticLoadBalancingV2::TargetGroup"), cdkx.Number(2))
	template.AllResourcesProperties(new("AWS::ElasticLoadBalancingV2::TargetGroup"), map[string]any{
		"Port": contract.AppPort, "Protocol": "HTTP", "TargetType": "instance",
		"HealthCheckPath": contract.PathReady, "Matcher": map[string]any{"HttpCode": "200"},
		"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2,
		"HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
		"TargetGroupAttributes": []any{
			map[string]any{"Key": "deregistration_delay.timeout_seconds", "Value": "30"},
			map[string]any{"Key": "stickiness.enabled", "Value": "false"},
			map[string]any{"Key": "load_balancing.algorithm.type", "Value": "least_outstanding_requests"},
		},
	})
}

func TestListenerRefusesAllButTheRule(t *testing.T) {
	stack, props := setup(t)
	l := loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	require.False(t, l.HTTPS())
	template.ResourceCountIs(new("AWS::ElasticLoadBalancingV2::Listener"), cdkx.Number(1))
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{
		"Port": 80, "Protocol": "HTTP",
		"DefaultActions": []any{like(map[string]any{
			"Type": "fixed-response", "FixedResponseConfig": like(map[string]any{"StatusCode": "403", "ContentType": "application/json"}),
		})},
	})
	template.ResourceCountIs(new("AWS::ElasticLoadBalancingV2::ListenerRule"), cdkx.Number(1))
	has(template, "AWS::ElasticLoadBalancingV2::ListenerRule", map[string]any{
		"Conditions": []any{map[string]any{
			"Field": "http-header",
			"HttpHeaderConfig": map[string]any{
				"HttpHeaderName": contract.OriginVerifyHeader,
				"Values": []any{map[string]any{"Fn::Join": []any{"", []any{
					"{{resolve:secretsmanager:", map[string]any{"Ref": assertions.Match_AnyValue()}, ":SecretString:::}}",
				}}}},
			},
		}},
		"Actions": []any{map[string]any{
			"Type": "forward",
			"ForwardConfig": map[string]any{
				"TargetGroups": []any{
					map[string]any{"TargetGroupArn": stack.Resolve(l.Blue.TargetGroupArn()), "Weight": 100},
					map[string]any{"TargetGroupArn": stack.Resolve(l.Green.TargetGroupArn()), "Weight": 0},
				},
				"TargetGroupStickinessConfig": map[string]any{"Enabled": true, "DurationSeconds": 3600},
			},
		}},
	})
	has(template, "AWS::SecretsManager::Secret", map[string]any{
		"GenerateSecretString": map[string]any{"PasswordLength": 48, "ExcludePunctuation": true},
	})
}

func TestCertificateServesHTTPSAndRedirects(t *testing.T) {
	stack, props := setup(t)
	props.CertificateARN = certificate
	l := loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	require.True(t, l.HTTPS())
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{
		"Port": 443, "Protocol": "HTTPS", "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
		"Certificates":   []any{map[string]any{"CertificateArn": certificate}},
		"DefaultActions": []any{like(map[string]any{"Type": "fixed-response"})},
	})
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{
		"Port": 80, "Protocol": "HTTP",
		"DefaultActions": []any{map[string]any{
			"Type": "redirect", "RedirectConfig": map[string]any{"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"},
		}},
	})
	has(template, "AWS::ElasticLoadBalancingV2::ListenerRule", map[string]any{
		"ListenerArn": stack.Resolve(l.Listener.ListenerArn()),
	})
}

func TestPrefixListAdmitsOnePort(t *testing.T) {
	stack, props := setup(t)
	props.IngressPrefixList, props.CertificateARN = "pl-3b927c52", certificate
	loadbalancer.New(stack, "Balancer", props)
	has(cdktest.Template(stack), "AWS::EC2::SecurityGroup", map[string]any{
		"SecurityGroupIngress": assertions.Match_Absent(),
	})
	has(cdktest.Template(stack), "AWS::EC2::SecurityGroupIngress", map[string]any{
		"SourcePrefixListId": "pl-3b927c52", "FromPort": 443, "ToPort": 443,
	})
	cdktest.Template(stack).ResourceCountIs(new("AWS::EC2::SecurityGroupIngress"), cdkx.Number(1))
}

func TestLogBucketIsPrivateAndWritableByELBOnly(t *testing.T) {
	stack, props := setup(t)
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	has(template, "AWS::S3::Bucket", map[string]any{
		"BucketEncryption": map[string]any{"ServerSideEncryptionConfiguration": []any{
			map[string]any{"ServerSideEncryptionByDefault": map[string]any{"SSEAlgorithm": "AES256"}},
		}},
		"PublicAccessBlockConfiguration": map[string]any{
			"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true,
		},
		"LifecycleConfiguration": map[string]any{"Rules": []any{like(map[string]any{"ExpirationInDays": 90})}},
	})
	template.HasResource(new("AWS::S3::Bucket"), map[string]any{"DeletionPolicy": "Retain"})
	has(template, "AWS::S3::BucketPolicy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Effect": "Deny", "Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}}}),
		like(map[string]any{
			"Effect": "Allow", "Action": "s3:PutObject",
			"Principal": map[string]any{"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
		}),
	}})})
	for policy := range *template.FindResources(new("AWS::S3::BucketPolicy"), nil) {
		template.HasResource(new("AWS::ElasticLoadBalancingV2::LoadBalancer"), map[string]any{
			"DependsOn": assertions.Match_ArrayWith(&[]any{policy}),
		})
	}
}

func TestSettings(t *testing.T) {
	stack, props := setup(t)
	props.Algorithm = loadbalancer.RoundRobin
	props.DeregistrationDelay = 5 * time.Second
	props.InstanceStickiness = time.Minute
	props.NoColorStickiness, props.NoAccessLogs, props.NoDeletionProtection = true, true, true
	l := loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	require.Nil(t, l.LogBucket)
	template.ResourceCountIs(new("AWS::S3::Bucket"), cdkx.Number(0))
	template.AllResourcesProperties(new("AWS::ElasticLoadBalancingV2::TargetGroup"), map[string]any{
		"TargetGroupAttributes": []any{
			map[string]any{"Key": "deregistration_delay.timeout_seconds", "Value": "5"},
			map[string]any{"Key": "stickiness.enabled", "Value": "true"},
			map[string]any{"Key": "stickiness.type", "Value": "lb_cookie"},
			map[string]any{"Key": "stickiness.lb_cookie.duration_seconds", "Value": "60"},
			map[string]any{"Key": "load_balancing.algorithm.type", "Value": "round_robin"},
		},
	})
	has(template, "AWS::ElasticLoadBalancingV2::ListenerRule", map[string]any{"Actions": []any{like(map[string]any{
		"ForwardConfig": like(map[string]any{"TargetGroupStickinessConfig": assertions.Match_Absent()}),
	})}})
	has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{
		"LoadBalancerAttributes": attributes("deletion_protection.enabled", "false"),
	})
}

func TestExistingResourcesAreUsed(t *testing.T) {
	stack, props := setup(t)
	props.SecurityGroup = awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Group"), new("sg-0123456789abcdef0"), nil)
	props.LogBucket = awss3.Bucket_FromBucketName(stack, new("Bucket"), new("logs"))
	props.OriginSecret = awssecretsmanager.Secret_FromSecretNameV2(stack, new("Secret"), new("origin"))
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	for _, kind := range []string{"AWS::EC2::SecurityGroup", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"} {
		template.ResourceCountIs(&kind, cdkx.Number(0))
	}
	has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{
		"SecurityGroups":         []string{"sg-0123456789abcdef0"},
		"LoadBalancerAttributes": attributes("access_logs.s3.bucket", "logs"),
	})
}

func TestAlarms(t *testing.T) {
	stack, props := setup(t)
	l := loadbalancer.New(stack, "Balancer", props)
	require.Len(t, l.Alarms(), 7)
	require.Len(t, l.Widgets(), 4)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::CloudWatch::Alarm"), cdkx.Number(7))
	has(template, "AWS::CloudWatch::Alarm", map[string]any{
		"Threshold": 1, "Metrics": assertions.Match_ArrayWith(&[]any{like(map[string]any{"Expression": "100 * errors / requests"})}),
	})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{"MetricName": "TargetResponseTime", "ExtendedStatistic": "p99", "Threshold": 1})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{"MetricName": "UnHealthyHostCount", "Threshold": 0, "Statistic": "Maximum"})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{"MetricName": "RejectedConnectionCount", "Threshold": 0, "EvaluationPeriods": 1})
}

func TestGrantWeights(t *testing.T) {
	stack, props := setup(t)
	l := loadbalancer.New(stack, "Balancer", props)
	l.GrantWeights(awsiam.NewUser(stack, new("Release"), nil))
	has(cdktest.Template(stack), "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Action": "elasticloadbalancing:ModifyRule", "Resource": stack.Resolve(l.Rule.ListenerRuleArn())}),
		like(map[string]any{
			"Action":   []string{"elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth"},
			"Resource": "*",
		}),
	}})})
}

func TestOverridesReachEachResource(t *testing.T) {
	stack, props := setup(t)
	props.CertificateARN = certificate
	props.Override = func(p *elb.ApplicationLoadBalancerProps) { p.LoadBalancerName = new("override") }
	props.OverrideTargetGroup = func(color string, p *elb.ApplicationTargetGroupProps) { p.TargetGroupName = &color }
	props.OverrideListener = func(protocol string, p *elb.BaseApplicationListenerProps) {
		p.Port = map[string]*float64{"http": cdkx.Number(8080), "https": cdkx.Number(8443)}[protocol]
	}
	props.OverrideRule = func(p *elb.ApplicationListenerRuleProps) { p.Priority = cdkx.Number(99) }
	props.OverrideLogBucket = func(p *awss3.BucketProps) { p.BucketName = new("override") }
	props.OverrideSecret = func(p *awssecretsmanager.SecretProps) { p.SecretName = new("override") }
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{"Name": "override"})
	has(template, "AWS::ElasticLoadBalancingV2::TargetGroup", map[string]any{"Name": "blue"})
	has(template, "AWS::ElasticLoadBalancingV2::TargetGroup", map[string]any{"Name": "green"})
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{"Port": 8080, "Protocol": "HTTP"})
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{"Port": 8443, "Protocol": "HTTPS"})
	has(template, "AWS::ElasticLoadBalancingV2::ListenerRule", map[string]any{"Priority": 99})
	has(template, "AWS::S3::Bucket", map[string]any{"BucketName": "override"})
	has(template, "AWS::SecretsManager::Secret", map[string]any{"Name": "override"})
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack, props := setup(t)
	cdktest.Unchanged(t, props, func(p loadbalancer.Props) { loadbalancer.New(stack, "Balancer", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack, props := setup(t)
	loadbalancer.New(stack, "One", props)
	loadbalancer.New(stack, "Two", props)
	cdktest.Template(stack).ResourceCountIs(new("AWS::ElasticLoadBalancingV2::LoadBalancer"), cdkx.Number(2))
}

func TestGolden(t *testing.T) {
	stack, props := setup(t)
	loadbalancer.New(stack, "Balancer", props)
	cdktest.Golden(t, stack, "loadbalancer")
}

func TestTheSecretIsInNoTemplate(t *testing.T) {
	stack, props := setup(t)
	loadbalancer.New(stack, "Balancer", props)
	text, err := json.Marshal(cdktest.Template(stack).ToJSON())
	require.NoError(t, err)
	require.NotContains(t, string(text), `"SecretString"`)
}

func TestValidateNamesEveryField(t *testing.T) {
	err := loadbalancer.Props{
		IngressPrefixList:   "cloudfront",
		CertificateARN:      "my-certificate",
		Algorithm:           "random",
		DeregistrationDelay: 2 * time.Hour,
		InstanceStickiness:  -time.Second,
		ColorStickiness:     8 * 24 * time.Hour,
		IdleTimeout:         1500 * time.Millisecond,
		MaxErrorPercent:     101,
		MaxLatency:          -time.Second,
	}.Validate()
	require.EqualError(t, err, `loadbalancer: 10 fields are not valid
  VPC is "nil"; allowed: a VPC
  IngressPrefixList is "cloudfront"; allowed: the id of a prefix list: pl-…
  CertificateARN is "my-certificate"; allowed: the ARN of an ACM certificate
  Algorithm is "random"; allowed: least_outstanding_requests, round_robin
  DeregistrationDelay is 2h0m0s; allowed: 1s to 1h0m0s in whole seconds
  InstanceStickiness is -1s; allowed: 0s to 168h0m0s in whole seconds
  ColorStickiness is 192h0m0s; allowed: 1s to 168h0m0s in whole seconds
  IdleTimeout is 1.5s; allowed: 1s to 1h6m40s in whole seconds
  MaxErrorPercent is 101; allowed: more than 0, up to 100
  MaxLatency is -1s; allowed: more than 0`)
}

func TestValidateRefusesContradictions(t *testing.T) {
	stack, props := setup(t)
	props.SecurityGroup = awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Group"), new("sg-0123456789abcdef0"), nil)
	props.IngressPrefixList = "pl-3b927c52"
	props.LogBucket = awss3.Bucket_FromBucketName(stack, new("Bucket"), new("logs"))
	props.NoAccessLogs = true
	require.EqualError(t, props.Validate(), `loadbalancer: 2 fields are not valid
  IngressPrefixList is "pl-3b927c52"; allowed: none when SecurityGroup is given
  NoAccessLogs is true; allowed: false when LogBucket is given`)
}

func TestNewPanicsWithThePath(t *testing.T) {
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*loadbalancer.PropsError](t, func() { loadbalancer.New(stack, "Balancer", loadbalancer.Props{}) })
	require.EqualError(t, err, `Test/Balancer (loadbalancer): VPC is "nil"; allowed: a VPC`)
}
