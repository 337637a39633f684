package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

func TestDLQ(t *testing.T) {
	dir := t.TempDir()
	python, err := emulator.Install(t.Context(), filepath.Join("..", "..", ".cache"), func(s string) { t.Log(s) })
	require.NoError(t, err)
	e, err := emulator.Start(t.Context(), emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
	require.NoError(t, err)
	defer e.Stop(context.Background())
	t.Setenv("AWS_ENDPOINT_URL", e.URL)
	t.Setenv("LOADBEARING_RUN_DIR", filepath.Join(dir, "run"))

	cfn := cloudformation.NewFromConfig(e.AWSConfig())
	_, err = cfn.CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: aws.String("loadbearing-dev-messaging"), TemplateBody: aws.String(`{"Resources": {
		"Dead": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "jobs-dead"}},
		"Plain": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "plain"}},
		"Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "jobs", "RedrivePolicy": {"maxReceiveCount": 3, "deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}}}}
	}}`)})
	require.NoError(t, err)
	require.NoError(t, cloudformation.NewStackCreateCompleteWaiter(cfn, func(o *cloudformation.StackCreateCompleteWaiterOptions) {
		o.MinDelay = 50 * time.Millisecond
	}).Wait(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("loadbearing-dev-messaging")}, 10*time.Second))
	client := sqs.NewFromConfig(e.AWSConfig())
	url := func(name string) *string {
		out, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
		require.NoError(t, err)
		return out.QueueUrl
	}
	send := func(body string) {
		_, err = client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url("jobs-dead"), MessageBody: &body, MessageAttributes: map[string]types.MessageAttributeValue{
			"DeadLetterReason": {DataType: aws.String("String"), StringValue: aws.String("it is\ta wrench")},
		}})
		require.NoError(t, err)
	}
	send(`{"job":"a body that is longer than what is shown"}`)
	send("second")

	dlq := func(args ...string) (string, error) {
		var out, errs bytes.Buffer
		err := runDLQ(t.Context(), args, &out, &errs)
		return out.String(), err
	}
	count := func(name string) string {
		out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url(name), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
		require.NoError(t, err)
		return out.Attributes["ApproximateNumberOfMessages"]
	}

	out, err := dlq("list")
	require.NoError(t, err)
	require.Contains(t, out, "dev at "+e.URL)
	require.Regexp(t, `jobs +0 +0 +2 +\ds +jobs-dead\n`, out)
	require.Regexp(t, `plain +0 +0 +- +- +none\n`, out)
	out, err = dlq("list", "--json")
	require.NoError(t, err)
	require.Contains(t, out, `"name":"jobs-dead"`)

	out, err = dlq("show", "--queue", "JOBS", "--body", "10")
	require.NoError(t, err)
	require.Contains(t, out, "jobs-dead: 2 messages, 2 shown")
	require.Contains(t, out, "why       it is·a wrench")
	require.Contains(t, out, `body      {"job":"a … (`)

	for _, verb := range []string{"redrive", "purge"} {
		_, err = dlq(verb)
		require.ErrorContains(t, err, "say of which queue")
		out, err = dlq(verb, "--queue", "all")
		require.NoError(t, err)
		require.Contains(t, out, "2 messages from jobs-dead")
		require.Contains(t, out, "Nothing was done")
		require.Equal(t, "2", count("jobs-dead"), verb)
	}
	out, err = dlq("redrive", "--queue", "jobs", "--yes")
	require.NoError(t, err)
	require.Contains(t, out, "moved 2 messages from jobs-dead to jobs")
	require.Equal(t, "2", count("jobs"))
	require.Equal(t, "0", count("jobs-dead"))
	send("third")
	out, err = dlq("purge", "--queue", "jobs-dead", "--yes")
	require.NoError(t, err)
	require.Contains(t, out, "deleting 1 message from jobs-dead")
	require.Equal(t, "0", count("jobs-dead"))
	require.Equal(t, "2", count("jobs"))

	_, err = dlq("list", "--env", "prod")
	require.ErrorContains(t, err, "no stack of prod here")
	for _, args := range [][]string{{"empty"}, {"list", "--env", "all"}, {"purge", "--queue", "plain"}, {"show", "--limit", "0"}, {"list", "--aws"}} {
		_, err = dlq(args...)
		_, usage := errors.AsType[usageError](err)
		require.True(t, usage, "%v: %v", args, err)
	}
}
