// Package examples builds and synthesizes each module below examples the way its
// reader would, and checks what comes out.
package examples

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/project"
)

// expected is what the templates of an example hold: for each of these at least
// one resource of the type whose properties include all of it.
type expected map[string][]map[string]any

// examples lists what each example promises in its first sentence.
var examples = map[string]expected{
	"alarms": {
		"AWS::SNS::Subscription": {
			{"Protocol": "https", "Endpoint": "https://events.pager.example.com/integration/aws", "TopicArn": ref("PagerTopic86343D3D")},
			{"Protocol": "email", "Endpoint": "team@example.com", "TopicArn": ref("MailTopic1B18EFD8")},
		},
		"AWS::CloudWatch::Alarm": {
			{"Namespace": "AWS/SQS", "AlarmActions": []any{ref("PagerTopic86343D3D")}},
			{"Namespace": "AWS/SQS", "AlarmActions": []any{ref("MailTopic1B18EFD8")}},
			{"Namespace": "AWS/Lambda", "AlarmActions": []any{ref("PagerTopic86343D3D")}},
			{"Namespace": "AWS/Lambda", "AlarmActions": []any{ref("MailTopic1B18EFD8")}},
		},
		"AWS::CloudWatch::Dashboard": {{"DashboardName": "jobs"}},
	},
	"cache-in-existing-vpc": {
		"AWS::ElastiCache::ReplicationGroup": {{
			"Engine": "valkey", "TransitEncryptionEnabled": true, "AtRestEncryptionEnabled": true, "AutomaticFailoverEnabled": true,
		}},
		"AWS::ElastiCache::SubnetGroup":  {{"SubnetIds": []any{"subnet-0123456789abcdef0", "subnet-0fedcba9876543210"}}},
		"AWS::EC2::SecurityGroup":        {{"VpcId": "vpc-0123456789abcdef0"}},
		"AWS::EC2::SecurityGroupIngress": {{"SourceSecurityGroupId": "sg-0123456789abcdef0", "FromPort": 6379.0}},
	},
	"canary-release": {
		"AWS::AutoScaling::AutoScalingGroup": {
			{"DesiredCapacity": "2", "TargetGroupARNs": []any{ref("BalancerBlue253C8668")}},
			{"DesiredCapacity": "0", "TargetGroupARNs": []any{ref("BalancerGreen55C25BDA")}},
		},
		"AWS::StepFunctions::StateMachine": {{"StateMachineName": "loadbearing-prod-web-release"}},
		"AWS::Lambda::Function": {
			{"Description": "Sets the weights of a release", "Runtime": "provided.al2023"},
			{"Description": "Judges a step of a release"},
		},
		"AWS::SSM::Parameter": {{"Name": "/loadbearing/prod/web/release/state"}},
		"AWS::Events::Rule":   {{"ScheduleExpression": "rate(1 minute)"}},
	},
	"fan-out": {
		"AWS::SNS::Subscription": {
			{"FilterPolicy": map[string]any{"type": []any{"placed", "shipped"}}, "RawMessageDelivery": true},
			{"FilterPolicy": map[string]any{"amount": []any{map[string]any{"numeric": []any{">=", 1000.0}}}}, "FilterPolicyScope": "MessageBody"},
		},
		"AWS::SQS::Queue": {
			{"RedrivePolicy": map[string]any{"maxReceiveCount": 5.0}, "SqsManagedSseEnabled": true},
		},
		"AWS::Lambda::EventSourceMapping": {
			{"EventSourceArn": attribute("EventsmailQueue9EFF8723", "Arn")},
			{"EventSourceArn": attribute("EventsfraudQueueCC434991", "Arn")},
		},
	},
	"observe-only-firewall": {
		"AWS::WAFv2::WebACL": {{"Scope": "REGIONAL", "Rules": []any{
			map[string]any{"Name": "Login", "Action": map[string]any{"Count": map[string]any{}}},
			map[string]any{"Name": "PerAddress", "Action": map[string]any{"Count": map[string]any{}}},
			map[string]any{"Name": "AWSManagedRulesCommonRuleSet", "OverrideAction": map[string]any{"Count": map[string]any{}}},
		}}},
		"AWS::WAFv2::IPSet": {
			{"Addresses": []any{"203.0.113.0/28"}, "IPAddressVersion": "IPV4"},
			{"Addresses": []any{"2001:db8::/32"}, "IPAddressVersion": "IPV6"},
		},
		"AWS::WAFv2::WebACLAssociation": {{
			"ResourceArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/shop/0123456789abcdef",
		}},
	},
	"one-key": {
		"AWS::KMS::Key":         {{"EnableKeyRotation": true}},
		"AWS::SNS::Topic":       {{"KmsMasterKeyId": attribute("EncryptionDF07387B", "Arn")}},
		"AWS::SQS::Queue":       {{"KmsMasterKeyId": attribute("EncryptionDF07387B", "Arn"), "VisibilityTimeout": 180.0}},
		"AWS::Logs::LogGroup":   {{"KmsKeyId": attribute("EncryptionDF07387B", "Arn")}},
		"AWS::Lambda::Function": {{"KmsKeyArn": attribute("EncryptionDF07387B", "Arn")}},
	},
	"postgres": {
		"AWS::RDS::DBInstance": {
			{"DBName": "shop", "MultiAZ": true, "StorageEncrypted": true, "DeletionProtection": true},
		},
		"AWS::CloudWatch::Alarm": {
			{"MetricName": "ReplicaLag", "Dimensions": []any{map[string]any{"Value": ref("ShopReplica14321AA6F")}}},
			{"MetricName": "ReplicaLag", "Dimensions": []any{map[string]any{"Value": ref("ShopReplica2D9CDC8B4")}}},
		},
		"AWS::RDS::DBProxy": {{
			"RequireTLS": true, "Auth": []any{map[string]any{"IAMAuth": "REQUIRED"}},
		}},
		"AWS::Backup::BackupPlan": {{"BackupPlan": map[string]any{"BackupPlanRule": []any{
			map[string]any{"ScheduleExpression": "cron(0 5 1 * ? *)", "Lifecycle": map[string]any{"DeleteAfterDays": 744.0}},
		}}}},
		"AWS::Backup::BackupVault": {{"AccessPolicy": map[string]any{"Statement": []any{
			map[string]any{"Effect": "Deny", "Action": []any{"backup:DeleteRecoveryPoint"}},
		}}}},
		"AWS::EC2::SecurityGroupIngress": {{"GroupId": attribute("ShopProxySecurityGroupF92E0D02", "GroupId"), "FromPort": 5432.0}},
		"AWS::IAM::Policy":               {{"PolicyDocument": map[string]any{"Statement": []any{map[string]any{"Action": "rds-db:connect"}}}}},
	},
	"queue-worker": {
		"AWS::SQS::Queue":                 {{"VisibilityTimeout": 180.0, "SqsManagedSseEnabled": true}},
		"AWS::Lambda::Function":           {{"Runtime": "provided.al2023", "Architectures": []any{"arm64"}}},
		"AWS::Lambda::EventSourceMapping": {{"FunctionResponseTypes": []any{"ReportBatchItemFailures"}}},
		"AWS::CloudWatch::Alarm":          {{"MetricName": "ApproximateAgeOfOldestMessage"}},
	},
	"spot-workers": {
		"AWS::AutoScaling::AutoScalingGroup": {{"CapacityRebalance": true, "MaxSize": "20", "MixedInstancesPolicy": map[string]any{
			"InstancesDistribution": map[string]any{"OnDemandBaseCapacity": 1.0, "OnDemandPercentageAboveBaseCapacity": 0.0},
		}}},
		"AWS::AutoScaling::ScalingPolicy": {{"TargetTrackingConfiguration": map[string]any{"TargetValue": 300.0}}},
		"AWS::AutoScaling::ScheduledAction": {
			{"Recurrence": "0 7 * * MON-FRI", "TimeZone": "Europe/Berlin", "MinSize": 4.0},
			{"Recurrence": "0 19 * * MON-FRI", "MinSize": 1.0},
		},
		"AWS::SSM::Parameter": {{"Name": "/loadbearing/prod/worker/blue/artifact"}},
	},
	"static-site": {
		"AWS::CloudFront::Distribution": {{"DistributionConfig": map[string]any{
			"DefaultRootObject":    "index.html",
			"DefaultCacheBehavior": map[string]any{"Compress": true, "ViewerProtocolPolicy": "redirect-to-https"},
			"CustomErrorResponses": []any{map[string]any{"ErrorCode": 403.0, "ResponseCode": 404.0, "ResponsePagePath": "/404.html"}},
		}}},
		"AWS::CloudFront::ResponseHeadersPolicy": {{}},
		"AWS::S3::Bucket":                        {{"PublicAccessBlockConfiguration": map[string]any{"BlockPublicPolicy": true}}},
	},
	"web-service": {
		"AWS::ElasticLoadBalancingV2::LoadBalancer": {{"Scheme": "internal"}},
		"AWS::ElasticLoadBalancingV2::TargetGroup":  {{"HealthCheckPath": "/readyz", "Port": 8080.0}},
		"AWS::CloudFront::VpcOrigin":                {{}},
		"AWS::CloudFront::Distribution": {{"DistributionConfig": map[string]any{
			"WebACLId": attribute("FirewallWebAcl5A849C4E", "Arn"),
		}}},
		"AWS::WAFv2::WebACL": {{"Scope": "CLOUDFRONT", "Rules": []any{map[string]any{"Name": "PerAddress"}}}},
		"AWS::AutoScaling::ScalingPolicy": {{"TargetTrackingConfiguration": map[string]any{
			"PredefinedMetricSpecification": map[string]any{"PredefinedMetricType": "ALBRequestCountPerTarget"},
		}}},
		"AWS::AutoScaling::AutoScalingGroup": {{"TargetGroupARNs": []any{ref("BalancerBlue253C8668")}}},
	},
}

func ref(id string) map[string]any { return map[string]any{"Ref": id} }

func attribute(id, name string) map[string]any { return map[string]any{"Fn::GetAtt": []any{id, name}} }

func TestEveryExampleIsListed(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(folder(t))
	require.NoError(t, err)
	for _, entry := range entries {
		if entry.IsDir() {
			require.Contains(t, examples, entry.Name(), "say in this test what the example makes")
		}
	}
}

// TestExamples takes seconds for each example: most of it links the program.
func TestExamples(t *testing.T) {
	for name, want := range examples {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(folder(t), name)
			requirePlainGo(t, filepath.Join(dir, "main.go"))

			program := filepath.Join(folder(t), "..", ".build", "examples", name)
			run(t, dir, "go", "build", "-o", program, ".")
			// As the CDK CLI calls it.
			out := t.TempDir()
			t.Setenv("CDK_OUTDIR", out)
			t.Setenv("CDK_CONTEXT_JSON", string(configuration(t, dir).Context))
			run(t, dir, program)

			found := resources(t, out)
			for kind, list := range want {
				for _, properties := range list {
					require.True(t, slices.ContainsFunc(found[kind], func(have map[string]any) bool { return includes(have, properties) }),
						"no %s with %v among %v", kind, properties, found[kind])
				}
			}
		})
	}
}

// configuration is an example's cdk.json.
func configuration(t *testing.T, dir string) (file struct {
	App     string
	Context json.RawMessage
},
) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "cdk.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &file))
	require.Equal(t, "go run .", file.App)
	require.Contains(t, string(file.Context), `"@aws-cdk/core:validateAgainstDefaultRules": true`)
	return file
}

func folder(t *testing.T) string {
	t.Helper()
	p, err := project.Find()
	require.NoError(t, err)
	return filepath.Join(p.Root, "examples")
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// resources are the properties of all resources by type.
func resources(t *testing.T, assembly string) map[string][]map[string]any {
	t.Helper()
	stacks, err := project.Summaries(assembly)
	require.NoError(t, err)
	found := map[string][]map[string]any{}
	for _, stack := range stacks {
		text, err := os.ReadFile(stack.Template)
		require.NoError(t, err)
		var template struct {
			Resources map[string]struct {
				Type       string
				Properties map[string]any
			}
		}
		require.NoError(t, json.Unmarshal(text, &template))
		for _, resource := range template.Resources {
			found[resource.Type] = append(found[resource.Type], resource.Properties)
		}
	}
	return found
}

// includes tells whether have holds everything that want does.
func includes(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range want {
			if !includes(have[key], value) {
				return false
			}
		}
		return true
	case []any:
		have, ok := have.([]any)
		return ok && len(have) >= len(want) && !slices.ContainsFunc(want, func(each any) bool {
			return !slices.ContainsFunc(have, func(one any) bool { return includes(one, each) })
		})
	default:
		return have == want
	}
}

// requirePlainGo fails when an example needs jsii, or a pointer for a value, and
// when it says nothing at its beginning or is not short.
func requirePlainGo(t *testing.T, path string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	require.NotNil(t, file.Doc, "%s does not begin with the wish", path)
	lines := files.File(file.Pos()).LineCount()
	require.True(t, lines >= 25 && lines <= 60, "%s has %d lines", path, lines)
	for _, spec := range file.Imports {
		require.NotContains(t, spec.Path.Value, "jsii", "%s imports it", path)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.UnaryExpr:
			require.NotEqual(t, token.AND, node.Op, "%s takes an address", files.Position(node.Pos()))
		case *ast.CallExpr:
			if name, ok := node.Fun.(*ast.Ident); ok {
				require.NotEqual(t, "new", name.Name, "%s makes a pointer", files.Position(node.Pos()))
			}
		case *ast.StarExpr:
			t.Errorf("%s has a pointer", files.Position(node.Pos()))
		}
		return true
	})
}
