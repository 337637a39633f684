package rotation_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/rotation"
	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/settings"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

// program is built once, from the import path that is the default.
var program = sync.OnceValues(func() (function.Binary, error) {
	folder := filepath.Join(cdktest.Root(), ".build", "test", "functions")
	return function.Build(context.Background(), function.Props{Source: rotation.Source, BuildFolder: folder})
})

func setup(t *testing.T, web, edgeStack awscdk.Stack, change func(*loadbalancer.Props)) rotation.Props {
	t.Helper()
	binary, err := program()
	require.NoError(t, err)
	vpc := awsec2.NewVpc(web, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)})
	props := loadbalancer.Props{VPC: vpc, NoAccessLogs: true}
	if change != nil {
		change(&props)
	}
	balancer := loadbalancer.New(web, "Balancer", props)
	return rotation.Props{
		LoadBalancer: balancer,
		Edge: edge.New(edgeStack, "Edge", edge.Props{
			LoadBalancer: balancer.LoadBalancer, OriginHeaderValue: balancer.OriginHeaderValue(), NoAccessLogs: true,
		}),
		Function: function.Props{Binary: &binary},
	}
}

func has(t assertions.Template, kind string, properties map[string]any) {
	t.HasResourceProperties(&kind, properties)
}

func like(properties map[string]any) assertions.Matcher {
	return assertions.Match_ObjectLike(&properties)
}

func TestSchedule(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack, stack, nil)
	r := rotation.New(stack, "Rotation", props)
	require.NotEmpty(t, r.Alarms())
	require.NotEmpty(t, r.Widgets())
	template := cdktest.Template(stack)
	has(template, "AWS::SecretsManager::RotationSchedule", map[string]any{
		"SecretId":                  stack.Resolve(props.LoadBalancer.OriginSecret.SecretArn()),
		"RotationLambdaARN":         stack.Resolve(r.Function.Function.FunctionArn()),
		"RotateImmediatelyOnUpdate": false,
		"RotationRules":             map[string]any{"AutomaticallyAfterDays": 30},
	})
	has(template, "AWS::Lambda::Permission", map[string]any{
		"Action": "lambda:InvokeFunction", "Principal": "secretsmanager.amazonaws.com", "SourceAccount": map[string]any{"Ref": "AWS::AccountId"},
	})
	for _, kind := range []string{"AWS::Lambda::Permission", "AWS::IAM::Policy"} {
		for id := range *template.FindResources(&kind, nil) {
			template.HasResource(new("AWS::SecretsManager::RotationSchedule"), map[string]any{
				"DependsOn": assertions.Match_ArrayWith(&[]any{id}),
			})
		}
	}
}

func TestFunctionKnowsWhatToRotate(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack, stack, nil)
	props.Function.Environment = map[string]string{"LOG_LEVEL": "debug"}
	rotation.New(stack, "Rotation", props)
	variables := map[string]any{"LOG_LEVEL": "debug"}
	for name, value := range (settings.Settings{
		Distribution: props.Edge.ID(), EdgeURL: props.Edge.URL(), Rules: props.LoadBalancer.RuleARNs(), Refusal: loadbalancer.RefusalCode,
	}).Environment() {
		variables[name] = stack.Resolve(value)
	}
	require.Len(t, props.LoadBalancer.RuleARNs(), 3)
	has(cdktest.Template(stack), "AWS::Lambda::Function", map[string]any{
		"Timeout": 900, "Environment": map[string]any{"Variables": variables},
	})
}

func TestLeastPrivilege(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack, stack, func(p *loadbalancer.Props) { p.NoTesterRule = true })
	rotation.New(stack, "Rotation", props)
	var got []any
	for _, policy := range *cdktest.Template(stack).FindResources(new("AWS::IAM::Policy"), nil) {
		got = append(got, (*policy)["Properties"].(map[string]any)["PolicyDocument"].(map[string]any)["Statement"].([]any)...)
	}
	require.Subset(t, got, []any{
		map[string]any{
			"Effect": "Allow",
			"Action": []any{
				"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue",
				"secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
			},
			"Resource": stack.Resolve(props.LoadBalancer.OriginSecret.SecretArn()),
		},
		map[string]any{"Effect": "Allow", "Action": "elasticloadbalancing:ModifyRule", "Resource": stack.Resolve(props.LoadBalancer.RuleARNs()[0])},
		map[string]any{
			"Effect": "Allow", "Action": []any{"cloudfront:GetDistribution", "cloudfront:UpdateDistribution"}, "Resource": stack.Resolve(props.Edge.ARN()),
		},
	})
	for _, each := range got {
		if statement := each.(map[string]any); statement["Resource"] == "*" {
			actions, ok := statement["Action"].([]any)
			require.True(t, ok)
			require.Subset(t, []any{
				"elasticloadbalancing:DescribeRules", "xray:PutTelemetryRecords", "xray:PutTraceSegments",
			}, actions, "these have no resource-level permission")
		}
	}
}

func TestRotationFromAnotherStack(t *testing.T) {
	web, edges := cdktest.Stacks(t)
	props := setup(t, web, edges, nil)
	rotation.New(edges, "Rotation", props)
	has(cdktest.Template(edges), "AWS::SecretsManager::RotationSchedule", map[string]any{
		"SecretId": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("OriginSecret"))},
	})
	require.Subset(t, acknowledged(t, props.LoadBalancer.OriginSecret), []string{"AwsSolutions-SMG4", "PCI.DSS.321-SecretsManagerRotationEnabled"})

	stack := cdktest.Stack(t)
	props = setup(t, stack, stack, nil)
	r := rotation.New(stack, "Rotation", props)
	require.NotContains(t, acknowledged(t, props.LoadBalancer.OriginSecret), "AwsSolutions-SMG4")
	require.Contains(t, acknowledged(t, r.Function.Function), "NIST.800.53.R5-LambdaDLQ")
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

func TestExistingSecretAndKey(t *testing.T) {
	stack := cdktest.Stack(t)
	secret := awssecretsmanager.Secret_FromSecretNameV2(stack, new("Secret"), new("origin"))
	rotation.New(stack, "Rotation", setup(t, stack, stack, func(p *loadbalancer.Props) { p.OriginSecret = secret }))
	has(cdktest.Template(stack), "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		like(map[string]any{"Resource": map[string]any{"Fn::Join": []any{"", []any{
			"arn:",
			map[string]any{"Ref": "AWS::Partition"},
			":secretsmanager:",
			map[string]any{"Ref": "AWS::Region"},
			":",
			map[string]any{"Ref": "AWS::AccountId"},
			":secret:origin-??????",
		}}}}),
	})})})

	stack = cdktest.Stack(t)
	key := awskms.NewKey(stack, new("Key"), nil)
	rotation.New(stack, "Rotation", setup(t, stack, stack, func(p *loadbalancer.Props) {
		p.OverrideSecret = func(s *awssecretsmanager.SecretProps) { s.EncryptionKey = key }
	}))
	has(cdktest.Template(stack), "AWS::IAM::Policy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		like(map[string]any{
			"Action": []any{"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, "Resource": stack.Resolve(key.KeyArn()),
		}),
	})})})
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack, stack, nil)
	props.Every, props.Immediately = 7*24*time.Hour, true
	props.Function.Override = func(p *awslambda.FunctionProps) { p.Tracing = awslambda.Tracing_PASS_THROUGH }
	props.OverrideSchedule = func(p *awssecretsmanager.CfnRotationScheduleProps) {
		rules := p.RotationRules.(*awssecretsmanager.CfnRotationSchedule_RotationRulesProperty)
		require.InDelta(t, 7, *rules.AutomaticallyAfterDays, 0)
		p.RotationRules = &awssecretsmanager.CfnRotationSchedule_RotationRulesProperty{ScheduleExpression: new("cron(0 4 1 * ? *)")}
	}
	rotation.New(stack, "Rotation", props)
	template := cdktest.Template(stack)
	has(template, "AWS::Lambda::Function", map[string]any{"TracingConfig": map[string]any{"Mode": "PassThrough"}})
	has(template, "AWS::SecretsManager::RotationSchedule", map[string]any{
		"RotateImmediatelyOnUpdate": true, "RotationRules": map[string]any{"ScheduleExpression": "cron(0 4 1 * ? *)"},
	})
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack, stack, nil)
	props.Function.Environment = map[string]string{"LEVEL": "1"}
	props.Function.BuildTags = append(make([]string, 0, 4), "extra")
	cdktest.Unchanged(t, props, func(p rotation.Props) { rotation.New(stack, "Rotation", p) })
}

func TestTwoInOneStack(t *testing.T) {
	one, stack := cdktest.Stacks(t)
	props := setup(t, one, stack, nil)
	rotation.New(stack, "One", props)
	rotation.New(stack, "Two", props)
	cdktest.Template(stack).ResourceCountIs(new("AWS::SecretsManager::RotationSchedule"), new(2.0))
}

func TestGolden(t *testing.T) {
	web, edges := cdktest.Stacks(t)
	rotation.New(edges, "Rotation", setup(t, web, edges, nil))
	cdktest.Golden(t, edges, "rotation")
}

func TestValidateNamesEveryField(t *testing.T) {
	err := rotation.Props{Every: 36 * time.Hour, Function: function.Props{MemoryMiB: 64}}.Validate()
	require.EqualError(t, err, `rotation: 4 fields are not valid
  LoadBalancer is "nil"; allowed: a load balancer
  Edge is "nil"; allowed: an edge
  Every is 36h0m0s; allowed: 24h0m0s to 24000h0m0s in whole days
  Function.MemoryMiB is 64; allowed: 128 to 10240`)
	stack := cdktest.Stack(t)
	err = cdktest.Panic[*rotation.PropsError](t, func() { rotation.New(stack, "Rotation", rotation.Props{Every: 1001 * 24 * time.Hour}) })
	require.ErrorContains(t, err, "Test/Rotation (rotation): 3 fields are not valid")
}
