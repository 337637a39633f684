package fleet_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsautoscaling"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

func TestGrantRelease(t *testing.T) {
	one, other := cdktest.Stacks(t)
	f := fleet.New(one, "Worker", workerIn(t, one))
	role := awsiam.NewRole(other, new("Release"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("lambda.amazonaws.com"), nil)})
	f.GrantRelease(role)
	template := cdktest.Template(other)
	by := map[string][]any{}
	for _, statement := range statements(t, template, nil) {
		resource := plain(t, statement["Resource"])
		switch {
		case strings.HasSuffix(resource, ":autoScalingGroup:*:autoScalingGroupName/loadbearing-dev-worker-blue"):
			resource = "group"
		case resource != "*":
			resource = "parameter"
		}
		by[resource] = append(by[resource], list(statement["Action"])...)
	}
	require.ElementsMatch(t, []any{"ssm:GetParameter", "ssm:PutParameter"}, by["parameter"])
	require.ElementsMatch(t, []any{
		"autoscaling:UpdateAutoScalingGroup", "autoscaling:PutScheduledUpdateGroupAction",
		"autoscaling:StartInstanceRefresh", "autoscaling:CancelInstanceRefresh",
		"autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses",
	}, by["group"])
	require.ElementsMatch(t, []any{
		"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes",
		"autoscaling:DescribeScheduledActions", "elasticloadbalancing:DescribeTargetHealth",
	}, by["*"])
	require.Contains(t, acknowledged(t, template, "AWS::IAM::Policy"), "AwsSolutions-IAM5[Resource::*]")

	user := awsiam.NewUser(other, new("Operator"), nil) // no role, and so nothing to acknowledge
	require.NotPanics(t, func() { f.GrantRelease(user) })
}

func TestGrantReadArtifacts(t *testing.T) {
	one, other := cdktest.Stacks(t)
	bucket := awss3.NewBucket(one, new("Releases"), &awss3.BucketProps{
		Encryption: awss3.BucketEncryption_KMS, EncryptionKey: awskms.NewKey(one, new("Key"), nil),
	})
	fleet.New(other, "Worker", workerIn(t, other)).GrantReadArtifacts(bucket, "releases/")
	resources := map[string]string{}
	for _, statement := range statements(t, cdktest.Template(other), nil) {
		resources[plain(t, statement["Action"])] = plain(t, statement["Resource"])
	}
	require.Regexp(t, `"Fn::ImportValue":"One:ExportsOutputFnGetAttReleases\w+"},"/releases/\*"`, resources["s3:GetObject"])
	require.Regexp(t, `^{"Fn::ImportValue":"One:ExportsOutputFnGetAttKey\w+"}$`, resources["kms:Decrypt"])
}

func TestWildcardsAreAcknowledged(t *testing.T) {
	stack, props := web(t)
	f := fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	rules := acknowledged(t, template, "AWS::IAM::Policy")
	require.Contains(t, rules, "AwsSolutions-IAM5[Resource::*]")
	require.Contains(t, rules, "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:autoscaling:<AWS::Region>:<AWS::AccountId>"+
		":autoScalingGroup:*:autoScalingGroupName/"+f.GroupName()+"]")
	require.Contains(t, acknowledged(t, template, "AWS::AutoScaling::AutoScalingGroup"), "AwsSolutions-AS3")
	require.Contains(t, acknowledged(t, template, "AWS::Logs::LogGroup"), "HIPAA.Security-CloudWatchLogGroupEncrypted")
}

func TestNotifications(t *testing.T) {
	stack, props := setup(t)
	key := awskms.NewKey(stack, new("Key"), nil)
	props.Notifications = awssns.NewTopic(stack, new("Topic"), &awssns.TopicProps{MasterKey: key})
	fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	has(template, "AWS::AutoScaling::AutoScalingGroup", map[string]any{"NotificationConfigurations": []any{map[string]any{
		"TopicARN": stack.Resolve(props.Notifications.TopicArn()),
		"NotificationTypes": assertions.Match_ArrayWith(&[]any{
			"autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
			"autoscaling:EC2_INSTANCE_TERMINATE", "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
		}),
	}}})
	require.NotContains(t, acknowledged(t, template, "AWS::AutoScaling::AutoScalingGroup"), "AwsSolutions-AS3")
	statement := keyStatement(t, template, "kms:GenerateDataKey*")
	require.Equal(t, map[string]any{"AWS": "*"}, statement["Principal"])
	require.Contains(t, plain(t, statement["Condition"]), "AWSServiceRoleForAutoScaling")
}

func TestTopicOfAnotherStackWithoutAKey(t *testing.T) {
	one, other := cdktest.Stacks(t)
	props := workerIn(t, other)
	props.Notifications = awssns.NewTopic(one, new("Topic"), nil)
	require.NotPanics(t, func() { fleet.New(other, "Worker", props) })
}

// TestKey has the key in the earlier stack: nothing of the fleet may stand in its policy.
func TestKey(t *testing.T) {
	one, other := cdktest.Stacks(t)
	props := workerIn(t, other)
	props.Key = awskms.NewKey(one, new("Key"), nil)
	fleet.New(other, "Worker", props)
	template := cdktest.Template(other)
	imported := other.Resolve(props.Key.KeyArn())
	has(template, "AWS::Logs::LogGroup", map[string]any{"KmsKeyId": imported})
	has(template, "AWS::EC2::LaunchTemplate", map[string]any{"LaunchTemplateData": like(map[string]any{
		"BlockDeviceMappings": []any{like(map[string]any{"Ebs": like(map[string]any{"KmsKeyId": imported, "Encrypted": true})})},
	})})
	require.Empty(t, acknowledged(t, template, "AWS::Logs::LogGroup"))

	keys := cdktest.Template(one)
	for _, action := range []string{"kms:CreateGrant", "kms:ReEncrypt*"} {
		require.Contains(t, plain(t, keyStatement(t, keys, action)["Condition"]), "AWSServiceRoleForAutoScaling", action)
	}
	require.Equal(t, map[string]any{"kms:GrantIsForAWSResource": true},
		keyStatement(t, keys, "kms:CreateGrant")["Condition"].(map[string]any)["Bool"], "grants for volumes only")
	require.Contains(t, plain(t, *keys.ToJSON()), "kms:EncryptionContext:aws:logs:arn")
	require.NotContains(t, plain(t, *keys.ToJSON()), "Fn::ImportValue")
}

func TestImportedKeyIsLeftAlone(t *testing.T) {
	stack, props := setup(t)
	props.Key = awskms.Key_FromKeyArn(stack, new("Key"), new("arn:aws:kms:eu-west-1:111122223333:key/abc"))
	fleet.New(stack, "Worker", props)
	cdktest.Template(stack).ResourceCountIs(new("AWS::KMS::Key"), cdkx.Number(0))
}

func TestExistingRoleOfAnotherStack(t *testing.T) {
	one, other := cdktest.Stacks(t)
	props := workerIn(t, other)
	props.Role = awsiam.Role_FromRoleArn(other, new("Role"), new("arn:aws:iam::111122223333:role/instances"), nil)
	f := fleet.New(other, "Worker", props)
	require.NotPanics(t, func() { f.GrantReadArtifacts(awss3.NewBucket(one, new("B"), nil), "") })
	has(cdktest.Template(other), "AWS::IAM::Policy", map[string]any{"Roles": []any{"instances"}})
}

func TestOverridesReachEachResource(t *testing.T) {
	stack, props := setup(t)
	props.CPUPercent = 50
	props.WarmPool.MinSize = 1
	props.Schedule = []fleet.ScheduledFloor{{Name: "Morning", Cron: "0 7 * * *", Min: 3}}
	props.Override = func(p *awsautoscaling.AutoScalingGroupProps) { p.NewInstancesProtectedFromScaleIn = new(true) }
	props.OverrideLaunchTemplate = func(p *awsec2.LaunchTemplateProps) { p.LaunchTemplateName = new("override") }
	props.OverrideRole = func(p *awsiam.RoleProps) { p.RoleName = new("override") }
	props.OverrideSecurityGroup = func(p *awsec2.SecurityGroupProps) { p.Description = new("override") }
	props.OverrideArtifact = func(p *awss3assets.AssetProps) { p.DisplayName = new("override") }
	props.OverrideParameter = func(p *awsssm.StringParameterProps) { p.Description = new("override") }
	props.OverrideDrainHook = func(p *awsautoscaling.BasicLifecycleHookProps) { p.NotificationMetadata = new("drain override") }
	props.OverrideBootHook = func(p *awsautoscaling.BasicLifecycleHookProps) { p.NotificationMetadata = new("boot override") }
	props.OverrideWarmPool = func(p *awsautoscaling.WarmPoolOptions) { p.MinSize = cdkx.Number(7) }
	props.OverrideLogGroup = func(p *awslogs.LogGroupProps) { p.LogGroupName = new("override") }
	props.OverridePolicy = func(name string, p *awsautoscaling.CfnScalingPolicyProps) {
		require.Equal(t, "CPU", name)
		p.EstimatedInstanceWarmup = cdkx.Number(7)
	}
	props.OverrideSchedule = func(name string, p *awsautoscaling.CfnScheduledActionProps) {
		require.Equal(t, "Morning", name)
		p.MinSize = cdkx.Number(0)
	}
	f := fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	has(template, "AWS::AutoScaling::AutoScalingGroup", map[string]any{"NewInstancesProtectedFromScaleIn": true})
	has(template, "AWS::EC2::LaunchTemplate", map[string]any{"LaunchTemplateName": "override"})
	has(template, "AWS::IAM::Role", map[string]any{"RoleName": "override"})
	has(template, "AWS::EC2::SecurityGroup", map[string]any{"GroupDescription": "override"})
	has(template, "AWS::SSM::Parameter", map[string]any{"Description": "override"})
	has(template, "AWS::AutoScaling::LifecycleHook", map[string]any{"NotificationMetadata": "drain override"})
	has(template, "AWS::AutoScaling::LifecycleHook", map[string]any{"NotificationMetadata": "boot override"})
	has(template, "AWS::AutoScaling::WarmPool", map[string]any{"MinSize": 7})
	has(template, "AWS::AutoScaling::ScalingPolicy", map[string]any{"EstimatedInstanceWarmup": 7})
	has(template, "AWS::AutoScaling::ScheduledAction", map[string]any{"MinSize": 0})
	has(template, "AWS::Logs::LogGroup", map[string]any{"LogGroupName": "override"})
	require.Contains(t, *f.Artifact.S3ObjectKey(), ".", "the asset exists; its display name stands in the assembly's manifest only")
}

// TestPublicAddressLeftToTheSubnet is what MemberOf has to follow.
func TestPublicAddressLeftToTheSubnet(t *testing.T) {
	stack, props := setup(t)
	props.MemberOf = []awsec2.ISecurityGroup{awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: props.VPC})}
	props.OverrideLaunchTemplate = func(p *awsec2.LaunchTemplateProps) { p.AssociatePublicIpAddress = nil }
	fleet.New(stack, "Worker", props)
	has(cdktest.Template(stack), "AWS::EC2::LaunchTemplate", map[string]any{"LaunchTemplateData": like(map[string]any{
		"NetworkInterfaces": assertions.Match_Absent(),
		"SecurityGroupIds":  []any{assertions.Match_AnyValue(), assertions.Match_AnyValue()},
	})})
}

// acknowledged lists the rules of cdk-nag acknowledged beside resources of a type.
func acknowledged(t *testing.T, template assertions.Template, kind string) []string {
	t.Helper()
	var rules []string
	for _, resource := range *template.FindResources(&kind, nil) {
		text, err := json.Marshal((*resource)["Metadata"])
		require.NoError(t, err)
		var metadata struct {
			Nag struct {
				Rules []struct {
					ID        string   `json:"id"`
					Reason    string   `json:"reason"`
					AppliesTo []string `json:"applies_to"`
				} `json:"rules_to_suppress"`
			} `json:"cdk_nag"`
		}
		require.NoError(t, json.Unmarshal(text, &metadata))
		for _, rule := range metadata.Nag.Rules {
			require.NotEmpty(t, rule.Reason)
			if len(rule.AppliesTo) > 0 {
				rule.ID += fmt.Sprint(rule.AppliesTo)
			}
			rules = append(rules, rule.ID)
		}
	}
	return rules
}

// keyStatement is the statement of the only key's policy for everybody that
// allows an action.
func keyStatement(t *testing.T, template assertions.Template, action string) map[string]any {
	t.Helper()
	for _, key := range *template.FindResources(new("AWS::KMS::Key"), nil) {
		policy := (*key)["Properties"].(map[string]any)["KeyPolicy"].(map[string]any)
		for _, each := range policy["Statement"].([]any) {
			statement := each.(map[string]any)
			if strings.Contains(plain(t, statement["Action"]), action) && plain(t, statement["Principal"]) == `{"AWS":"*"}` {
				return statement
			}
		}
	}
	t.Fatalf("no statement allows %s", action)
	return nil
}
