package queue_test

import (
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{})
	template := cdktest.Template(stack)

	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"VisibilityTimeout":             30,
		"MessageRetentionPeriod":        4 * 24 * 3600,
		"ReceiveMessageWaitTimeSeconds": 20,
		"SqsManagedSseEnabled":          true,
		"RedrivePolicy":                 map[string]any{"maxReceiveCount": 5, "deadLetterTargetArn": assertions.Match_AnyValue()},
	})
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"MessageRetentionPeriod": 14 * 24 * 3600,
		"SqsManagedSseEnabled":   true,
		"RedrivePolicy":          assertions.Match_Absent(),
	})
	denyPlain := map[string]any{"PolicyDocument": map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		assertions.Match_ObjectLike(&map[string]any{
			"Effect": "Deny", "Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}},
		}),
	})}}
	template.AllResourcesProperties(new("AWS::SQS::QueuePolicy"), denyPlain)
	template.ResourceCountIs(new("AWS::SQS::QueuePolicy"), new(2.0))
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"MetricName": "ApproximateAgeOfOldestMessage", "Threshold": 300,
	})
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"MetricName": "ApproximateNumberOfMessagesVisible", "Threshold": 0, "ComparisonOperator": "GreaterThanThreshold",
	})
	require.Len(t, q.Alarms(), 2)
	require.Len(t, q.Widgets(), 2)
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{Name: "jobs", Delay: time.Second})
	role := awsiam.NewRole(stack, new("Worker"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil)})
	q.GrantConsume(role)
	q.GrantSend(role)
	cdktest.Golden(t, stack, "queue")
}

func TestExistingDeadLetterQueue(t *testing.T) {
	stack := cdktest.Stack(t)
	shared := awssqs.NewQueue(stack, new("Shared"), nil)
	q := queue.New(stack, "Jobs", queue.Props{DeadLetterQueue: shared})
	require.Equal(t, *shared.QueueArn(), *q.DeadLetterQueue.QueueArn())
	cdktest.Template(stack).ResourceCountIs(new("AWS::SQS::Queue"), new(2.0))
}

func TestKeyEncryptsBothQueues(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "Jobs", queue.Props{Key: awskms.NewKey(stack, new("Key"), nil)})
	cdktest.Template(stack).AllResourcesProperties(new("AWS::SQS::Queue"), map[string]any{"KmsMasterKeyId": assertions.Match_AnyValue()})
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "Jobs", queue.Props{
		MaxReceives:        3,
		Override:           func(p *awssqs.QueueProps) { p.MaxMessageSizeBytes = new(1024.0) },
		OverrideDeadLetter: func(p *awssqs.QueueProps) { p.RemovalPolicy = awscdk.RemovalPolicy_RETAIN },
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"MaximumMessageSize": 1024,
		"RedrivePolicy":      map[string]any{"maxReceiveCount": 3},
	})
	template.HasResource(new("AWS::SQS::Queue"), map[string]any{"DeletionPolicy": "Retain"})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, queue.Props{Name: "jobs"}, func(p queue.Props) { queue.New(stack, "Jobs", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "One", queue.Props{})
	two := queue.New(stack, "Two", queue.Props{})
	// A construct is a scope like any other.
	awssqs.NewQueue(two, new("Inner"), nil)
	cdktest.Template(stack).ResourceCountIs(new("AWS::SQS::Queue"), new(5.0))
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := queue.Props{
		Name:              "no spaces",
		VisibilityTimeout: 13 * time.Hour,
		Retention:         14 * 24 * time.Hour,
		MaxReceives:       -1,
		Delay:             time.Hour,
		AgeAlarm:          time.Second,
	}
	require.EqualError(t, bad.Validate(), `queue: 6 fields are not valid
  Name is "no spaces"; allowed: 1 to 76 letters, digits, hyphens and underscores
  VisibilityTimeout is 13h0m0s; allowed: 1s to 12h0m0s in whole seconds
  Retention is 336h0m0s; allowed: 1m0s to 312h0m0s in whole seconds
  MaxReceives is -1; allowed: 1 to 1000
  Delay is 1h0m0s; allowed: 0s to 15m0s in whole seconds
  AgeAlarm is 1s; allowed: 1m0s to 336h0m0s in whole seconds`)
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*queue.PropsError](t, func() { queue.New(stack, "Jobs", bad) })
	require.ErrorContains(t, err, "Test/Jobs (queue): 6 fields")
}
