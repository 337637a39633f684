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
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
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
	template.ResourceCountIs(new("AWS::ElasticLoadBalancingV2::ListenerRule"), cdkx.Number(3))
	has(template, "AWS::ElasticLoadBalancingV2::ListenerRule", map[string]any{
		"Priority": loadbalancer.RulePriority,
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
		"Port": 443, "Protocol": "HTTPS", "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
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
	template.HasResource(new("AWS::ElasticLoadBalancingV2::Listener"), map[string]any{
		"Properties": like(map[string]any{"Port": 80}),
		"DependsOn":  assertions.Match_ArrayWith(&[]any{stack.Resolve(l.Listener.ListenerArn()).(map[string]any)["Ref"]}),
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
		"LifecycleConfiguration": map[string]any{"Rules": []any{like(map[string]any{
			"ExpirationInDays": 90, "NoncurrentVersionExpiration": map[string]any{"NoncurrentDays": 7},
		})}},
		"VersioningConfiguration": map[string]any{"Status": "Enabled"},
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
	require.Len(t, l.Alarms(), 11)
	require.Len(t, l.Widgets(), 5)
	severities := map[cdkx.Severity]int{}
	for _, alarm := range l.Alarms() {
		severities[cdkx.SeverityOf(alarm)]++
	}
	require.Equal(t, map[cdkx.Severity]int{cdkx.Critical: 5, cdkx.Warning: 6}, severities)

	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::CloudWatch::Alarm"), cdkx.Number(11))
	expression := func(text string) assertions.Matcher {
		return assertions.Match_ArrayWith(&[]any{like(map[string]any{"Expression": text})})
	}
	for _, group := range []elb.ApplicationTargetGroup{l.Blue, l.Green} {
		dimensions := []any{
			map[string]any{"Name": "LoadBalancer", "Value": map[string]any{"Fn::GetAtt": []any{assertions.Match_AnyValue(), "LoadBalancerFullName"}}},
			map[string]any{"Name": "TargetGroup", "Value": stack.Resolve(group.TargetGroupFullName())},
		}
		has(template, "AWS::CloudWatch::Alarm", map[string]any{
			"Threshold": 1, "Metrics": assertions.Match_ArrayWith(&[]any{
				like(map[string]any{"Expression": "100 * errors / requests"}),
				like(map[string]any{"MetricStat": like(map[string]any{"Metric": like(map[string]any{
					"MetricName": "HTTPCode_Target_5XX_Count", "Dimensions": dimensions,
				})})}),
			}),
		})
		for _, alarm := range []map[string]any{
			{"MetricName": "TargetResponseTime", "ExtendedStatistic": "p99", "Threshold": 1},
			{"MetricName": "UnHealthyHostCount", "Threshold": 0, "Statistic": "Maximum"},
			{"MetricName": "TargetConnectionErrorCount", "Threshold": 0, "Statistic": "Sum"},
		} {
			alarm["Dimensions"] = dimensions
			has(template, "AWS::CloudWatch::Alarm", alarm)
		}
	}
	has(template, "AWS::CloudWatch::Alarm", map[string]any{
		"Threshold": 1, "ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching",
		"Metrics": expression("FILL(blue, 0) + FILL(green, 0)"),
	})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{
		"Threshold": 1, "Metrics": expression("100 * errors / (errors + FILL(requests, 0))"),
	})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{"MetricName": "RejectedConnectionCount", "Threshold": 0, "EvaluationPeriods": 1})
}

func TestGrants(t *testing.T) {
	stack, props := setup(t)
	l := loadbalancer.New(stack, "Balancer", props)
	role := func(id string) awsiam.Role {
		return awsiam.NewRole(stack, &id, &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("lambda.amazonaws.com"), nil)})
	}
	release := role("Release")
	l.GrantWeights(release)
	l.GrantConditions(role("Rotation"))
	template := cdktest.Template(stack)
	has(template, "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Action": "elasticloadbalancing:ModifyRule", "Resource": stack.Resolve(l.Rule.ListenerRuleArn())}),
		like(map[string]any{
			"Action":   []string{"elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth"},
			"Resource": "*",
		}),
	}})})
	has(template, "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Action": "elasticloadbalancing:ModifyRule", "Resource": []any{
			stack.Resolve(l.TesterRules["blue"].ListenerRuleArn()), // CDK sorts them
			stack.Resolve(l.TesterRules["green"].ListenerRuleArn()),
			stack.Resolve(l.Rule.ListenerRuleArn()),
		}}),
		like(map[string]any{"Action": "elasticloadbalancing:DescribeRules", "Resource": "*"}),
	}})})
	require.Contains(t, acknowledged(t, release.Node().TryFindChild(new("DefaultPolicy"))), "AwsSolutions-IAM5[Resource::*]")
}

func TestOverridesReachEachResource(t *testing.T) {
	stack, props := setup(t)
	props.CertificateARN = certificate
	props.Override = func(p *elb.ApplicationLoadBalancerProps) { p.LoadBalancerName = new("override") }
	props.OverrideTargetGroup = func(color string, p *elb.ApplicationTargetGroupProps) { p.TargetGroupName = &color }
	props.OverrideListener = func(protocol string, p *elb.BaseApplicationListenerProps) {
		p.Port = map[string]*float64{"http": cdkx.Number(8080), "https": cdkx.Number(8443)}[protocol]
	}
	props.OverrideRule = func(rule string, p *elb.ApplicationListenerRuleProps) {
		p.Priority = map[string]*float64{"main": cdkx.Number(99), "blue": cdkx.Number(97), "green": cdkx.Number(98)}[rule]
	}
	props.OverrideSecurityGroup = func(p *awsec2.SecurityGroupProps) { p.Description = new("override") }
	props.OverrideLogBucket = func(p *awss3.BucketProps) { p.BucketName = new("override") }
	props.OverrideSecret = func(p *awssecretsmanager.SecretProps) { p.SecretName = new("override") }
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{"Name": "override"})
	has(template, "AWS::ElasticLoadBalancingV2::TargetGroup", map[string]any{"Name": "blue"})
	has(template, "AWS::ElasticLoadBalancingV2::TargetGroup", map[string]any{"Name": "green"})
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{"Port": 8080, "Protocol": "HTTP"})
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{"Port": 8443, "Protocol": "HTTPS"})
	for _, priority := range []int{97, 98, 99} {
		has(template, "AWS::ElasticLoadBalancingV2::ListenerRule", map[string]any{"Priority": priority})
	}
	has(template, "AWS::EC2::SecurityGroup", map[string]any{"GroupDescription": "override"})
	has(template, "AWS::S3::Bucket", map[string]any{"BucketName": "override"})
	has(template, "AWS::SecretsManager::Secret", map[string]any{"Name": "override"})
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack, props := setup(t)
	props.CertificateARN = certificate
	props.AdditionalCertificateARNs = append(make([]string, 0, 4), certificate+"2")
	props.IngressPeers = append(make([]awsec2.IPeer, 0, 4), awsec2.Peer_Ipv4(new("10.0.0.0/8")))
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

func TestTesterRulesNeedTheOriginHeaderToo(t *testing.T) {
	stack, props := setup(t)
	l := loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	for color, group := range map[string]elb.ApplicationTargetGroup{"blue": l.Blue, "green": l.Green} {
		priority := map[string]int{"blue": loadbalancer.BlueTesterRulePriority, "green": loadbalancer.GreenTesterRulePriority}[color]
		require.Less(t, priority, loadbalancer.RulePriority)
		has(template, "AWS::ElasticLoadBalancingV2::ListenerRule", map[string]any{
			"Priority": priority,
			"Conditions": []any{
				like(map[string]any{"HttpHeaderConfig": like(map[string]any{"HttpHeaderName": contract.OriginVerifyHeader})}),
				map[string]any{"Field": "http-header", "HttpHeaderConfig": map[string]any{
					"HttpHeaderName": "X-Release", "Values": []any{color},
				}},
			},
			"Actions": []any{map[string]any{"Type": "forward", "TargetGroupArn": stack.Resolve(group.TargetGroupArn())}},
		})
	}
	require.Len(t, l.RuleARNs(), 3)

	stack, props = setup(t)
	props.NoTesterRule = true
	l = loadbalancer.New(stack, "Balancer", props)
	cdktest.Template(stack).ResourceCountIs(new("AWS::ElasticLoadBalancingV2::ListenerRule"), cdkx.Number(1))
	require.Len(t, l.RuleARNs(), 1)
}

func TestInternalIsReachedFromCloudFrontOnly(t *testing.T) {
	stack := cdkapp.Stack(cdktest.Stack(t).Node().Root().(awscdk.App), "Ireland", cdkapp.StackProps{Account: "123456789012", Region: "eu-west-1"})
	vpc := awsec2.NewVpc(stack, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)})
	l := loadbalancer.New(stack, "Balancer", loadbalancer.Props{VPC: vpc, Internal: true, CertificateARN: certificate})
	template := cdktest.Template(stack)
	var private []any
	for _, subnet := range *vpc.PrivateSubnets() {
		private = append(private, stack.Resolve(subnet.SubnetId()))
	}
	has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{"Scheme": "internal", "Subnets": private})
	template.AllResourcesProperties(new("AWS::EC2::SecurityGroupIngress"), map[string]any{
		"SourcePrefixListId": "pl-4fa04526", "FromPort": 443, "ToPort": 443,
	})
	template.HasResourceProperties(new("AWS::EC2::SecurityGroup"), map[string]any{"SecurityGroupIngress": assertions.Match_Absent()})
	require.Nil(t, l.Redirect)
	require.True(t, l.HTTPS())
}

func TestInternalNeverAdmitsEveryone(t *testing.T) {
	stack, props := setup(t) // of no Region
	props.Internal = true
	err := cdktest.Panic[*loadbalancer.PropsError](t, func() { loadbalancer.New(stack, "Balancer", props) })
	require.EqualError(t, err, `Test/Balancer (loadbalancer): IngressPrefixList is ""; allowed: `+
		`the id of CloudFront's prefix list when Internal: none is known here for the stack's Region, which is not known until deployment`)

	stack, props = setup(t)
	props.Internal = true
	props.IngressPeers = []awsec2.IPeer{awsec2.Peer_SecurityGroupId(new("sg-0123456789abcdef0"), nil)}
	loadbalancer.New(stack, "Balancer", props)
	has(cdktest.Template(stack), "AWS::EC2::SecurityGroup", map[string]any{"SecurityGroupIngress": []any{
		like(map[string]any{"SourceSecurityGroupId": "sg-0123456789abcdef0", "FromPort": 80, "ToPort": 80}),
	}})
}

func TestAttributes(t *testing.T) {
	stack, props := setup(t)
	props.StrictDesync, props.NoHTTP2, props.PreserveHostHeader, props.TLSHeaders = true, true, true, true
	props.ForwardClientPort, props.WAFFailOpen, props.ConnectionLogs = true, true, true
	props.ForwardedFor = loadbalancer.ForwardedForPreserve
	props.ClientKeepAlive = 10 * time.Minute
	props.ReservedCapacityUnits = 100
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	for _, attribute := range [][2]string{
		{"routing.http.desync_mitigation_mode", "strictest"},
		{"routing.http2.enabled", "false"},
		{"routing.http.preserve_host_header.enabled", "true"},
		{"routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "true"},
		{"routing.http.xff_client_port.enabled", "true"},
		{"routing.http.xff_header_processing.mode", "preserve"},
		{"waf.fail_open.enabled", "true"},
		{"client_keep_alive.seconds", "600"},
		{"connection_logs.s3.enabled", "true"},
		{"connection_logs.s3.prefix", "alb-connections"},
	} {
		has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{"LoadBalancerAttributes": attributes(attribute[:]...)})
	}
	has(template, "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{"MinimumLoadBalancerCapacity": map[string]any{"CapacityUnits": 100}})
	has(template, "AWS::S3::BucketPolicy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": []any{
		like(map[string]any{"Effect": "Deny"}),
		like(map[string]any{"Action": "s3:PutObject", "Resource": []any{assertions.Match_AnyValue(), assertions.Match_AnyValue()}}),
	}})})

	stack, props = setup(t)
	props.ForwardedFor = loadbalancer.ForwardedForRemove
	loadbalancer.New(stack, "Balancer", props)
	has(cdktest.Template(stack), "AWS::ElasticLoadBalancingV2::LoadBalancer", map[string]any{
		"LoadBalancerAttributes": attributes("routing.http.xff_header_processing.mode", "remove"),
	})
}

func TestTargetGroupSettings(t *testing.T) {
	stack, props := setup(t)
	props.TargetPort = 9000
	props.HealthCheck = loadbalancer.HealthCheck{
		Path: "/up", Codes: "200-299", Interval: 30 * time.Second, Timeout: 10 * time.Second, HealthyAfter: 3, UnhealthyAfter: 4,
	}
	props.Algorithm, props.SlowStart, props.NoCrossZone = loadbalancer.RoundRobin, time.Minute, true
	loadbalancer.New(stack, "Balancer", props)
	cdktest.Template(stack).AllResourcesProperties(new("AWS::ElasticLoadBalancingV2::TargetGroup"), map[string]any{
		"Port": 9000, "HealthCheckPath": "/up", "Matcher": map[string]any{"HttpCode": "200-299"},
		"HealthCheckIntervalSeconds": 30, "HealthCheckTimeoutSeconds": 10, "HealthyThresholdCount": 3, "UnhealthyThresholdCount": 4,
		"TargetGroupAttributes": assertions.Match_ArrayWith(&[]any{
			map[string]any{"Key": "load_balancing.cross_zone.enabled", "Value": "false"},
			map[string]any{"Key": "slow_start.duration_seconds", "Value": "60"},
		}),
	})

	stack, props = setup(t)
	props.Algorithm = loadbalancer.WeightedRandom
	loadbalancer.New(stack, "Balancer", props)
	cdktest.Template(stack).AllResourcesProperties(new("AWS::ElasticLoadBalancingV2::TargetGroup"), map[string]any{
		"TargetGroupAttributes": assertions.Match_ArrayWith(&[]any{
			map[string]any{"Key": "load_balancing.algorithm.type", "Value": "weighted_random"},
			map[string]any{"Key": "load_balancing.algorithm.anomaly_mitigation", "Value": "on"},
		}),
	})
}

func TestExistingLoadBalancerGetsRulesAndTargetGroups(t *testing.T) {
	stack, props := setup(t)
	group := awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Group"), new("sg-0123456789abcdef0"), nil)
	props.LoadBalancer = elb.ApplicationLoadBalancer_FromApplicationLoadBalancerAttributes(stack, new("Existing"), &elb.ApplicationLoadBalancerAttributes{
		LoadBalancerArn: new("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/0123456789abcdef"),
		SecurityGroupId: new("sg-0123456789abcdef0"), LoadBalancerDnsName: new("a.us-east-1.elb.amazonaws.com"),
	})
	listener := "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/a/0123456789abcdef/0123456789abcdef"
	props.Listener = elb.ApplicationListener_FromApplicationListenerAttributes(stack, new("Listener"), &elb.ApplicationListenerAttributes{
		ListenerArn: &listener, SecurityGroup: group,
	})
	l := loadbalancer.New(stack, "Balancer", props)
	require.Len(t, l.Widgets(), 5)
	require.Equal(t, "a.us-east-1.elb.amazonaws.com", l.DNSName())
	require.Contains(t, l.ARN(), "app/a/")
	template := cdktest.Template(stack)
	for _, kind := range []string{
		"AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::ElasticLoadBalancingV2::Listener", "AWS::EC2::SecurityGroup", "AWS::S3::Bucket",
	} {
		template.ResourceCountIs(&kind, cdkx.Number(0))
	}
	template.AllResourcesProperties(new("AWS::ElasticLoadBalancingV2::ListenerRule"), map[string]any{"ListenerArn": listener})
	has(template, "AWS::CloudWatch::Alarm", map[string]any{
		"MetricName": "RejectedConnectionCount", "Dimensions": []any{map[string]any{"Name": "LoadBalancer", "Value": "app/a/0123456789abcdef"}},
	})
}

func TestUseFromAnotherStack(t *testing.T) {
	one, other := cdktest.Stacks(t)
	vpc := awsec2.NewVpc(one, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)})
	l := loadbalancer.New(one, "Balancer", loadbalancer.Props{VPC: vpc})
	l.GrantWeights(awsiam.NewUser(other, new("Release"), nil))
	awscdk.NewCfnOutput(other, new("Header"), &awscdk.CfnOutputProps{Value: new(l.OriginHeaderValue())})
	template := cdktest.Template(other)
	has(template, "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		like(map[string]any{
			"Action": "elasticloadbalancing:ModifyRule", "Resource": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("BalancerRule"))},
		}),
	})})})
	text, err := json.Marshal(template.ToJSON())
	require.NoError(t, err)
	require.Contains(t, string(text), "{{resolve:secretsmanager:")
}

func TestTokensAreAccepted(t *testing.T) {
	stack, props := setup(t)
	props.CertificateARN = cdktest.Token(stack, "Certificate")
	props.AdditionalCertificateARNs = []string{cdktest.Token(stack, "Second")}
	props.IngressPrefixList = cdktest.Token(stack, "PrefixList")
	props.HealthCheck = loadbalancer.HealthCheck{Path: cdktest.Token(stack, "Path"), Codes: cdktest.Token(stack, "Codes")}
	loadbalancer.New(stack, "Balancer", props)
	template := cdktest.Template(stack)
	has(template, "AWS::ElasticLoadBalancingV2::Listener", map[string]any{
		"Certificates": []any{map[string]any{"CertificateArn": map[string]any{"Ref": "Certificate"}}},
	})
	has(template, "AWS::ElasticLoadBalancingV2::ListenerCertificate", map[string]any{
		"Certificates": []any{map[string]any{"CertificateArn": map[string]any{"Ref": "Second"}}},
	})
	has(template, "AWS::EC2::SecurityGroupIngress", map[string]any{"SourcePrefixListId": map[string]any{"Ref": "PrefixList"}})
	has(template, "AWS::ElasticLoadBalancingV2::TargetGroup", map[string]any{
		"HealthCheckPath": map[string]any{"Ref": "Path"}, "Matcher": map[string]any{"HttpCode": map[string]any{"Ref": "Codes"}},
	})
}

func TestPolicyCanBeChosen(t *testing.T) {
	stack, props := setup(t)
	props.CertificateARN, props.SSLPolicy = certificate, elb.SslPolicy_FIPS_TLS13_12_RES_PQ
	loadbalancer.New(stack, "Balancer", props)
	has(cdktest.Template(stack), "AWS::ElasticLoadBalancingV2::Listener", map[string]any{
		"SslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-FIPS-PQ-2025-09",
	})
}

// acknowledged are the rules of cdk-nag that the resource says something about.
func acknowledged(t *testing.T, of constructs.IConstruct) []string {
	t.Helper()
	resource, ok := of.(awscdk.CfnResource)
	if !ok {
		resource = of.Node().DefaultChild().(awscdk.CfnResource)
	}
	metadata, _ := resource.GetMetadata(new("cdk_nag")).(map[string]any)
	list, _ := metadata["rules_to_suppress"].([]any)
	var rules []string
	for _, each := range list {
		entry := each.(map[string]any)
		rule := entry["id"].(string)
		if findings, _ := entry["applies_to"].([]any); len(findings) > 0 {
			rule += "[" + findings[0].(string) + "]"
		}
		rules = append(rules, rule)
	}
	return rules
}

func TestAcknowledgedFindings(t *testing.T) {
	stack, props := setup(t)
	l := loadbalancer.New(stack, "Balancer", props)
	require.Equal(t, []string{"AwsSolutions-EC23"}, acknowledged(t, l.SecurityGroup))
	require.Len(t, acknowledged(t, l.LoadBalancer), 3)
	require.Len(t, acknowledged(t, l.Listener), 6)
	require.Len(t, acknowledged(t, l.LogBucket), 10)
	require.Len(t, acknowledged(t, l.OriginSecret), 3)

	stack, props = setup(t)
	props.CertificateARN, props.IngressPrefixList = certificate, "pl-3b927c52"
	l = loadbalancer.New(stack, "Balancer", props)
	require.Empty(t, acknowledged(t, l.SecurityGroup))
	require.Empty(t, acknowledged(t, l.Listener))
	require.Len(t, acknowledged(t, l.Redirect), 3)
}

func TestCloudFrontPrefixList(t *testing.T) {
	id, ok := loadbalancer.CloudFrontPrefixList("eu-west-1")
	require.True(t, ok)
	require.Equal(t, "pl-4fa04526", id)
	_, ok = loadbalancer.CloudFrontPrefixList("mars-north-1")
	require.False(t, ok)
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

		AdditionalCertificateARNs: []string{"another"},
		TargetPort:                70000,
		HealthCheck: loadbalancer.HealthCheck{
			Path: "up", Codes: "500", Interval: 4 * time.Second, Timeout: time.Second, HealthyAfter: 1, UnhealthyAfter: 11,
		},
		SlowStart:             time.Second,
		ClientKeepAlive:       time.Second,
		ForwardedFor:          "drop",
		ReservedCapacityUnits: 5,
	}.Validate()
	require.EqualError(t, err, `loadbalancer: 23 fields are not valid
  VPC is "nil"; allowed: a VPC
  IngressPrefixList is "cloudfront"; allowed: the id of a prefix list: pl-…
  CertificateARN is "my-certificate"; allowed: the ARN of an ACM certificate
  AdditionalCertificateARNs[0] is "another"; allowed: the ARN of an ACM certificate
  Algorithm is "random"; allowed: least_outstanding_requests, round_robin, weighted_random
  TargetPort is 70000; allowed: 1 to 65535
  HealthCheck.Path is "up"; allowed: a path of at most 1024 characters that begins with a slash
  HealthCheck.Codes is "500"; allowed: codes from 200 to 499: "200", "200,204" or "200-299"
  HealthCheck.Interval is 4s; allowed: 5s to 5m0s in whole seconds
  HealthCheck.Timeout is 1s; allowed: 2s to 2m0s in whole seconds
  HealthCheck.HealthyAfter is 1; allowed: 2 to 10
  HealthCheck.UnhealthyAfter is 11; allowed: 2 to 10
  DeregistrationDelay is 2h0m0s; allowed: 1s to 1h0m0s in whole seconds
  SlowStart is 1s; allowed: 30s to 15m0s in whole seconds
  SlowStart is 1s; allowed: 0 with another Algorithm than round_robin
  InstanceStickiness is -1s; allowed: 0s to 168h0m0s in whole seconds
  ColorStickiness is 192h0m0s; allowed: 1s to 168h0m0s in whole seconds
  IdleTimeout is 1.5s; allowed: 1s to 1h6m40s in whole seconds
  ClientKeepAlive is 1s; allowed: 1m0s to 168h0m0s in whole seconds
  ForwardedFor is "drop"; allowed: append, preserve, remove
  ReservedCapacityUnits is 5; allowed: 0, or 100 or more
  MaxErrorPercent is 101; allowed: more than 0, up to 100
  MaxLatency is -1s; allowed: more than 0`)
}

func TestValidateRefusesContradictions(t *testing.T) {
	stack, props := setup(t)
	props.SecurityGroup = awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Group"), new("sg-0123456789abcdef0"), nil)
	props.IngressPrefixList = "pl-3b927c52"
	props.IngressPeers = []awsec2.IPeer{nil}
	props.LogBucket = awss3.Bucket_FromBucketName(stack, new("Bucket"), new("logs"))
	props.NoAccessLogs, props.ConnectionLogs = true, true
	props.AdditionalCertificateARNs = []string{certificate}
	props.HealthCheck.Timeout = loadbalancer.HealthCheckInterval
	props.NoCrossZone, props.InstanceStickiness = true, time.Minute
	require.EqualError(t, props.Validate(), `loadbalancer: 9 fields are not valid
  IngressPrefixList is "pl-3b927c52"; allowed: none when SecurityGroup is given
  IngressPrefixList is "pl-3b927c52"; allowed: none when IngressPeers are given
  IngressPeers is 1; allowed: none when SecurityGroup is given
  IngressPeers[0] is "nil"; allowed: a peer
  AdditionalCertificateARNs is [`+certificate+`]; allowed: none without CertificateARN
  HealthCheck.Timeout is 5s; allowed: less than Interval
  InstanceStickiness is 1m0s; allowed: 0 with NoCrossZone
  NoAccessLogs is true; allowed: false when LogBucket is given
  ConnectionLogs is true; allowed: false with NoAccessLogs`)
}

// What an existing load balancer would silently not get is refused.
func TestValidateRefusesSettingsOfAnExistingLoadBalancer(t *testing.T) {
	stack, props := setup(t)
	props.LoadBalancer = elb.ApplicationLoadBalancer_FromApplicationLoadBalancerAttributes(stack, new("Existing"), &elb.ApplicationLoadBalancerAttributes{
		LoadBalancerArn: new("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/0123456789abcdef"),
		SecurityGroupId: new("sg-0123456789abcdef0"),
	})
	require.EqualError(t, props.Validate(), `loadbalancer: Listener is false; allowed: given together with LoadBalancer, or neither`)

	props.Listener = elb.ApplicationListener_FromApplicationListenerAttributes(stack, new("Listener"), &elb.ApplicationListenerAttributes{
		ListenerArn:   new("arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/a/0123456789abcdef/0123456789abcdef"),
		SecurityGroup: awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Group"), new("sg-0123456789abcdef0"), nil),
	})
	require.NoError(t, props.Validate())
	props.Internal, props.StrictDesync, props.NoAccessLogs = true, true, true
	props.IdleTimeout, props.SSLPolicy = time.Minute, elb.SslPolicy_TLS13_13_PQ
	require.EqualError(t, props.Validate(), `loadbalancer: 5 fields are not valid
  Internal is "given"; allowed: nothing with an existing LoadBalancer, whose setting it is
  SSLPolicy is "given"; allowed: nothing with an existing LoadBalancer, whose setting it is
  IdleTimeout is "given"; allowed: nothing with an existing LoadBalancer, whose setting it is
  StrictDesync is "given"; allowed: nothing with an existing LoadBalancer, whose setting it is
  NoAccessLogs is "given"; allowed: nothing with an existing LoadBalancer, whose setting it is`)
}

func TestNewPanicsWithThePath(t *testing.T) {
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*loadbalancer.PropsError](t, func() { loadbalancer.New(stack, "Balancer", loadbalancer.Props{}) })
	require.EqualError(t, err, `Test/Balancer (loadbalancer): VPC is "nil"; allowed: a VPC`)
}
