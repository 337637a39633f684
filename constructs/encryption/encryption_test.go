package encryption_test

import (
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/encryption"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

// policy is the policy of the stack's only key, its statements by their names.
func policy(t *testing.T, stack awscdk.Stack) map[string]map[string]any {
	t.Helper()
	statements := map[string]map[string]any{}
	for _, key := range *cdktest.Template(stack).FindResources(new("AWS::KMS::Key"), nil) {
		document := (*key)["Properties"].(map[string]any)["KeyPolicy"].(map[string]any)
		for _, each := range document["Statement"].([]any) {
			statement := each.(map[string]any)
			statements[statement["Sid"].(string)] = statement
		}
	}
	return statements
}

var (
	account  = map[string]any{"Ref": "AWS::AccountId"}
	envelope = []any{"kms:Decrypt", "kms:GenerateDataKey*"}
)

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	key := encryption.New(stack, "Encryption", encryption.Props{Alias: "shop/prod"})
	template := cdktest.Template(stack)
	template.HasResource(new("AWS::KMS::Key"), map[string]any{
		"Properties": map[string]any{
			"Description":         "Encrypts the data of Test/Encryption",
			"EnableKeyRotation":   true,
			"PendingWindowInDays": 30,
			"MultiRegion":         assertions.Match_Absent(),
		},
		"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain",
	})
	template.HasResourceProperties(new("AWS::KMS::Alias"), map[string]any{"AliasName": "alias/shop/prod"})
	require.NotNil(t, key.Resource)
	require.Equal(t, *key.Resource.KeyArn(), key.ARN())
	require.Equal(t, *key.Key.KeyArn(), key.ARN())
}

func TestEachServiceIsBoundToTheAccount(t *testing.T) {
	stack := cdktest.Stack(t)
	encryption.New(stack, "Encryption", encryption.Props{Services: append(encryption.DefaultServices(),
		encryption.ElastiCache, encryption.EC2, encryption.S3, encryption.SSM,
		encryption.EventBridge, encryption.S3Notifications, encryption.CloudFront)})
	statements := policy(t, stack)
	require.Len(t, statements, 9)
	require.Equal(t, []any{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"},
		statements["CallersOfServices"]["Action"])
	require.Equal(t, map[string]any{"AWS": "*"}, statements["CallersOfServices"]["Principal"])

	via := []any{}
	for _, service := range []string{"secretsmanager", "rds", "elasticache", "ec2", "s3", "ssm"} {
		via = append(via, map[string]any{"Fn::Join": []any{"", []any{service + ".", map[string]any{"Ref": "AWS::Region"}, ".amazonaws.com"}}})
	}
	caller := map[string]any{"kms:CallerAccount": account, "kms:ViaService": via}
	require.Equal(t, map[string]any{"StringEquals": caller}, statements["CallersOfServices"]["Condition"])
	require.Equal(t, map[string]any{"StringEquals": caller, "Bool": map[string]any{"kms:GrantIsForAWSResource": "true"}},
		statements["GrantsForServices"]["Condition"])

	require.Equal(t, map[string]any{"ArnLike": map[string]any{"kms:EncryptionContext:aws:logs:arn": map[string]any{"Fn::Join": []any{"", []any{
		"arn:", map[string]any{"Ref": "AWS::Partition"}, ":logs:", map[string]any{"Ref": "AWS::Region"}, ":", account, ":*",
	}}}}}, statements["CloudWatchLogs"]["Condition"])
	for sid, principal := range map[string]string{
		"CloudWatchAlarms": "cloudwatch", "SNS": "sns", "EventBridge": "events", "S3Notifications": "s3",
	} {
		require.Equal(t, map[string]any{
			"Sid": sid, "Effect": "Allow", "Action": envelope, "Resource": "*",
			"Principal": map[string]any{"Service": principal + ".amazonaws.com"},
			"Condition": map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": account}},
		}, statements[sid])
	}
	require.Contains(t, statements["CloudFront"]["Condition"], "ArnLike")
	for sid, statement := range statements {
		if sid != "AccountByIAMPolicies" {
			require.NotEmpty(t, statement["Condition"], sid)
			require.NotContains(t, statement["Action"], "kms:*", sid)
		}
	}
}

func TestNoServicesLeavesIAMPolicies(t *testing.T) {
	stack := cdktest.Stack(t)
	encryption.New(stack, "Encryption", encryption.Props{Services: []encryption.Service{}})
	statements := policy(t, stack)
	require.Len(t, statements, 1)
	require.Equal(t, "kms:*", statements["AccountByIAMPolicies"]["Action"])
}

// TestLaterStacksCannotMakeACycle uses the key for everything whose L2 writes to
// a key's policy, from a stack that comes after the key's.
func TestLaterStacksCannotMakeACycle(t *testing.T) {
	one, other := cdktest.Stacks(t)
	key := encryption.New(one, "Encryption", encryption.Props{})
	role := awsiam.NewRole(other, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil)})
	awslogs.NewLogGroup(other, new("Logs"), &awslogs.LogGroupProps{EncryptionKey: key.Key})
	queue := awssqs.NewQueue(other, new("Queue"), &awssqs.QueueProps{EncryptionMasterKey: key.Key})
	queue.GrantConsumeMessages(role)
	topic := awssns.NewTopic(other, new("Topic"), &awssns.TopicProps{MasterKey: key.Key})
	topic.AddSubscription(awssnssubscriptions.NewSqsSubscription(queue, nil))
	topic.GrantPublish(role)
	secret := awssecretsmanager.NewSecret(other, new("Secret"), &awssecretsmanager.SecretProps{EncryptionKey: key.Key})
	secret.GrantRead(role, nil)
	key.GrantEncrypt(role)

	unused, _ := cdktest.Stacks(t)
	encryption.New(unused, "Encryption", encryption.Props{})
	require.Equal(t, policy(t, unused), policy(t, one))
	require.Nil(t, other.Node().TryFindChild(new("Exports")), "the key's stack must not read from a later one")
	cdktest.Template(other).HasResourceProperties(new("AWS::SecretsManager::Secret"), map[string]any{
		"KmsKeyId": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("^One:"))},
	})
}

func TestGrantsWriteToTheIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		grant   func(*encryption.Key, awsiam.IGrantable) awsiam.Grant
		actions any
	}{
		"decrypt": {(*encryption.Key).GrantDecrypt, "kms:Decrypt"},
		"encrypt": {(*encryption.Key).GrantEncrypt, []any{"kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}},
		"both": {
			(*encryption.Key).GrantEncryptDecrypt,
			[]any{"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			stack := cdktest.Stack(t)
			key := encryption.New(stack, "Encryption", encryption.Props{})
			role := awsiam.NewRole(stack, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil)})
			tc.grant(key, role)
			cdktest.Template(stack).HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{
				"Statement": []any{map[string]any{"Action": tc.actions, "Effect": "Allow", "Resource": stack.Resolve(key.ARN())}},
			}})
		})
	}
}

func TestExistingKey(t *testing.T) {
	stack := cdktest.Stack(t)
	const arn = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	key := encryption.New(stack, "Encryption", encryption.Props{ExistingARN: arn})
	token := encryption.New(stack, "Later", encryption.Props{ExistingARN: cdktest.Token(stack, "KeyArn")})
	awssqs.NewQueue(stack, new("Queue"), &awssqs.QueueProps{EncryptionMasterKey: token.Key})
	require.Equal(t, arn, key.ARN())
	require.Nil(t, key.Resource)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::KMS::Key"), new(0.0))
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{"KmsMasterKeyId": map[string]any{"Ref": "KeyArn"}})
}

func TestDevelopment(t *testing.T) {
	stack := cdktest.Stack(t)
	encryption.New(stack, "Encryption", encryption.Props{
		AllowDeletion: true, PendingWindow: 7 * 24 * time.Hour, NoRotation: true, Description: "Scratch", Alias: cdktest.Token(stack, "Alias"),
	})
	template := cdktest.Template(stack)
	template.HasResource(new("AWS::KMS::Key"), map[string]any{
		"Properties":     map[string]any{"Description": "Scratch", "EnableKeyRotation": false, "PendingWindowInDays": 7},
		"DeletionPolicy": "Delete",
		"Metadata": map[string]any{"cdk_nag": map[string]any{"rules_to_suppress": assertions.Match_ArrayWith(&[]any{
			assertions.Match_ObjectLike(&map[string]any{"id": "AwsSolutions-KMS5"}),
		})}},
	})
	template.HasResourceProperties(new("AWS::KMS::Alias"), map[string]any{
		"AliasName": map[string]any{"Fn::Join": []any{"", []any{"alias/", map[string]any{"Ref": "Alias"}}}},
	})
}

func TestOverrideHasTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	encryption.New(stack, "Encryption", encryption.Props{
		Override: func(p *awskms.KeyProps) { p.MultiRegion = new(true) },
	})
	cdktest.Template(stack).HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"MultiRegion": true})
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack := cdktest.Stack(t)
	props := encryption.Props{Services: append(make([]encryption.Service, 0, 4), encryption.RDS, encryption.SNS)}
	cdktest.Unchanged(t, props, func(p encryption.Props) { encryption.New(stack, "Encryption", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	encryption.New(stack, "One", encryption.Props{})
	encryption.New(stack, "Two", encryption.Props{})
	cdktest.Template(stack).ResourceCountIs(new("AWS::KMS::Key"), new(2.0))
}

func TestLogicalIDs(t *testing.T) {
	stack := cdktest.Stack(t)
	encryption.New(stack, "Encryption", encryption.Props{Alias: "shop"})
	for kind, id := range map[string]string{
		"AWS::KMS::Key": "EncryptionDF07387B", "AWS::KMS::Alias": "EncryptionAlias9E55A954",
	} {
		require.Contains(t, *cdktest.Template(stack).FindResources(&kind, nil), id)
	}
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	encryption.New(stack, "Encryption", encryption.Props{Alias: "shop/prod"})
	cdktest.Golden(t, stack, "encryption")
}

func TestValidateNamesEveryField(t *testing.T) {
	t.Parallel()
	err := encryption.Props{
		Alias: "aws/mine", PendingWindow: 31 * 24 * time.Hour,
		Services: []encryption.Service{"dynamo", encryption.SNS, encryption.SNS},
	}.Validate()
	require.EqualError(t, err, `encryption: 4 fields are not valid
  Alias is "aws/mine"; allowed: 1 to 250 letters, digits, slashes, hyphens and underscores, without alias/ or aws/ at the beginning
  PendingWindow is 744h0m0s; allowed: 168h0m0s to 720h0m0s in whole days
  Services[0] is "dynamo"; allowed: logs, cloudwatch, sns, events, s3-notifications, cloudfront, secretsmanager, rds, elasticache, ec2, s3, ssm
  Services[2] is "sns"; allowed: each service once`)
	for _, window := range []time.Duration{6 * 24 * time.Hour, 7*24*time.Hour + time.Hour, -time.Hour} {
		require.ErrorContains(t, encryption.Props{PendingWindow: window}.Validate(), "PendingWindow")
	}
	require.EqualError(t, encryption.Props{ExistingARN: "alias/mine", Alias: "a"}.Validate(), `encryption: 2 fields are not valid
  ExistingARN is "alias/mine"; allowed: the ARN of a KMS key, not of an alias
  ExistingARN is "alias/mine"; allowed: no other field beside it`)
}

func TestNewPanicsWithThePath(t *testing.T) {
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*encryption.PropsError](t, func() { encryption.New(stack, "Encryption", encryption.Props{Alias: "a b"}) })
	require.ErrorContains(t, err, `Test/Encryption (encryption): Alias is "a b"`)
}
