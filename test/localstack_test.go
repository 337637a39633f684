package test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/gruntwork-io/terratest/modules/aws"
	teststructure "github.com/gruntwork-io/terratest/modules/test-structure"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/cdk"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/emulator/localstack"
	"github.com/loadbearing/loadbearing/local/process"
)

// TestLocalStack deploys the messaging and storage stacks to real LocalStack:
// a second, independent reading of the same templates.
func TestLocalStack(t *testing.T) {
	p, err := project.Find()
	require.NoError(t, err)
	run := filepath.Join(p.Root, ".run", "localstack")
	runner := &process.Runner{Dir: run}
	_, err = runner.StopLeftovers(t.Context(), 10*time.Second)
	require.NoError(t, err)

	var e *emulator.Emulator
	defer func() {
		if e != nil {
			e.Stop(context.Background())
		}
	}()
	var removed []string
	assembly, filtered := t.TempDir(), t.TempDir()
	var cli cdk.CLI
	stacks := []string{"network", "data", "messaging"}
	for i, s := range stacks {
		stacks[i] = contract.StackPrefix(environment) + s
	}

	teststructure.RunTestStage(t, "deploy", func() {
		ctx := testContext(t, 8*time.Minute)
		e, err = localstack.Start(ctx, localstack.Options{
			Runner: runner, CacheDir: filepath.Join(p.Root, ".cache"), RunDir: filepath.Join(run, "localstack"),
			Progress: func(what string) { fmt.Println(what) },
		})
		require.NoError(t, err)
		useEndpoint(t, e.URL)
		cli = cdk.CLI{Root: p.Root, Env: cdk.Emulated(e.URL, region)}
		_, err = cli.Install(ctx)
		require.NoError(t, err)
		require.NoError(t, p.Synth(ctx, cli, project.Synthesis{
			Env: environment, Region: region, Platform: project.Host(), Out: assembly,
		}))
		removed, err = local.Deploy(ctx, cli, e, assembly, filtered, stacks...)
		require.NoError(t, err)
	})
	announce(t, e.Name, e.Version, removed)

	teststructure.RunTestStage(t, "messaging", func() {
		t.Run("FanOut", testFanOut)
		t.Run("DeadLetter", testDeadLetter)
	})
	teststructure.RunTestStage(t, "storage", func() { t.Run("MediaBucket", testMediaBucket) })
	teststructure.RunTestStage(t, "redeploy", func() {
		before := stackTimes(t)
		_, err := local.Deploy(testContext(t, 5*time.Minute), cli, e, assembly, filtered, stacks...)
		require.NoError(t, err)
		assert.Equal(t, before, stackTimes(t))
	})
	teststructure.RunTestStage(t, "destroy", func() {
		ctx := testContext(t, 5*time.Minute)
		require.NoError(t, cli.Destroy(ctx, filtered, "--all"))
		for name := range stackTimes(t) {
			assert.NotContains(t, name, contract.StackPrefix(environment))
		}
	})
}

// testFanOut: one event reaches each consumer's queue as it was published, and
// an event nobody subscribed to reaches none.
func testFanOut(t *testing.T) {
	ctx := testContext(t, time.Minute)
	topic := aws.GetParameterContext(t, ctx, region, contract.EventsTopic.Parameter(environment))
	client := aws.NewSnsClientContext(t, ctx, region)
	subscriptions, err := client.ListSubscriptionsByTopic(ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: &topic})
	require.NoError(t, err)
	require.Len(t, subscriptions.Subscriptions, len(app.VideoServices())+1)

	publish := func(kind, body string) {
		_, err := client.Publish(ctx, &sns.PublishInput{
			TopicArn: &topic, Message: &body,
			MessageAttributes: map[string]snstypes.MessageAttributeValue{
				contract.EventTypeAttribute: {DataType: awssdk.String("String"), StringValue: &kind},
			},
		})
		require.NoError(t, err)
	}
	publish("com.loadbearing.nobody.cares.v1", "ignored")
	publish(app.EventVideoUploaded, `{"id":"1"}`)
	for _, s := range subscriptions.Subscriptions {
		url := queueURL(t, *s.Endpoint)
		m := aws.WaitForQueueMessageContext(t, ctx, region, url, 20)
		require.NoError(t, m.Error, *s.Endpoint)
		assert.JSONEq(t, `{"id":"1"}`, m.MessageBody, "raw delivery: the body is the event, not SNS's envelope")
	}
}

// testDeadLetter: a message that is never deleted is received as often as the
// queue says, then stands in the dead-letter queue.
func testDeadLetter(t *testing.T) {
	ctx := testContext(t, time.Minute)
	client := aws.NewSqsClientContext(t, ctx, region)
	url := aws.GetParameterContext(t, ctx, region, contract.JobsQueue.Parameter(environment))
	attributes, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameRedrivePolicy},
	})
	require.NoError(t, err)
	var redrive struct {
		Target string      `json:"deadLetterTargetArn"`
		Max    json.Number `json:"maxReceiveCount"`
	}
	require.NoError(t, json.Unmarshal([]byte(attributes.Attributes["RedrivePolicy"]), &redrive))
	want, err := redrive.Max.Int64()
	require.NoError(t, err)

	aws.SendMessageToQueueContext(t, ctx, region, url, "poison")
	received := int64(0)
	for {
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 2, VisibilityTimeout: 0})
		require.NoError(t, err)
		if len(out.Messages) == 0 {
			break
		}
		received++
		_, err = client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &url, ReceiptHandle: out.Messages[0].ReceiptHandle, VisibilityTimeout: 0,
		})
		require.NoError(t, err)
	}
	assert.Equal(t, want, received)
	m := aws.WaitForQueueMessageContext(t, ctx, region, queueURL(t, redrive.Target), 20)
	require.NoError(t, m.Error)
	assert.Equal(t, "poison", m.MessageBody)
}

// testMediaBucket: the bucket is private, encrypted and TLS only, and keeps what it is given.
func testMediaBucket(t *testing.T) {
	ctx := testContext(t, time.Minute)
	bucket := aws.GetParameterContext(t, ctx, region, contract.MediaBucket.Parameter(environment))
	aws.AssertS3BucketExistsContext(t, ctx, region, bucket)
	aws.AssertS3BucketPolicyExistsContext(t, ctx, region, bucket)
	assert.Contains(t, aws.GetS3BucketPolicyContext(t, ctx, region, bucket), "aws:SecureTransport")

	client := aws.NewS3ClientContext(t, ctx, region)
	encryption, err := client.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &bucket})
	require.NoError(t, err)
	assert.NotEmpty(t, encryption.ServerSideEncryptionConfiguration.Rules)
	access, err := client.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &bucket})
	require.NoError(t, err)
	for _, blocked := range []*bool{
		access.PublicAccessBlockConfiguration.BlockPublicAcls, access.PublicAccessBlockConfiguration.BlockPublicPolicy,
		access.PublicAccessBlockConfiguration.IgnorePublicAcls, access.PublicAccessBlockConfiguration.RestrictPublicBuckets,
	} {
		assert.True(t, awssdk.ToBool(blocked))
	}
	aws.PutS3ObjectContentsContext(t, ctx, region, bucket, "tenants/t/check", strings.NewReader("kept"))
	assert.Equal(t, "kept", aws.GetS3ObjectContentsContext(t, ctx, region, bucket, "tenants/t/check"))
	aws.EmptyS3BucketContext(t, ctx, region, bucket)
}

// queueURL turns a queue's ARN into its URL.
func queueURL(t *testing.T, arn string) string {
	t.Helper()
	parts := strings.Split(arn, ":")
	require.GreaterOrEqual(t, len(parts), 6, arn)
	out, err := aws.NewSqsClientContext(t, t.Context(), region).GetQueueUrl(t.Context(),
		&sqs.GetQueueUrlInput{QueueName: &parts[5]})
	require.NoError(t, err)
	return *out.QueueUrl
}
