package cdkx_test

import (
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

func TestMustNamesThePath(t *testing.T) {
	stack := cdktest.Stack(t)
	awssqs.NewQueue(stack, new("Jobs"), nil)
	var problems cdkx.Problems
	problems.Add("MaxReceives", 0, "1 to 1000")

	err := cdktest.Panic[*cdkx.PropsError](t, func() { cdkx.Must(stack, "Other", "queue", problems.Err("queue")) })
	require.EqualError(t, err, "Test/Other (queue): MaxReceives is 0; allowed: 1 to 1000")

	err = cdktest.Panic[*cdkx.PropsError](t, func() { cdkx.Must(stack, "Jobs", "queue", nil) })
	require.EqualError(t, err, `Test/Jobs (queue): id is "Jobs"; allowed: an id that no other construct of this scope has`)

	require.NotPanics(t, func() { cdkx.Must(stack, "Fresh", "queue", nil) })
}

func TestCfnReturnsTheWrappedResource(t *testing.T) {
	stack := cdktest.Stack(t)
	queue := awssqs.NewQueue(stack, new("Jobs"), nil)
	require.Equal(t, "AWS::SQS::Queue", *cdkx.Cfn[awssqs.CfnQueue](queue).CfnResourceType())
	require.PanicsWithError(t, "Test/Jobs wraps a *awssqs.jsiiProxy_CfnQueue, not a <nil>",
		func() { cdkx.Cfn[awssns.CfnTopic](queue) })
}

func TestConversions(t *testing.T) {
	require.Equal(t, "PT1M30S", *cdkx.Duration(90 * time.Second).ToIsoString())
	require.InDelta(t, 1500, *cdkx.Duration(1500 * time.Millisecond).ToMilliseconds(nil), 0)
	require.Nil(t, cdkx.Optional(""))
	require.Equal(t, "x", *cdkx.Optional("x"))
	require.Equal(t, []*string{new("a"), new("b")}, *cdkx.Strings("a", "b"))
	require.Equal(t, map[string]*string{"a": new("1"), "b": new("2")}, *cdkx.StringMap(map[string]string{"a": "1", "b": "2"}))
}

func TestOverridesApplyInOrderAndSkipNil(t *testing.T) {
	props := cdkx.Override(&awssqs.QueueProps{QueueName: new("default")}, nil,
		func(p *awssqs.QueueProps) { p.QueueName = new("first") },
		func(p *awssqs.QueueProps) { p.QueueName = new(*p.QueueName + "-second") })
	require.Equal(t, "first-second", *props.QueueName)
}

func TestFindingIsSpelledAsCdkNagDoes(t *testing.T) {
	stack := cdktest.Stack(t)
	topic := awssns.NewTopic(stack, new("Topic"), nil)
	queue := awssqs.NewQueue(stack, new("Jobs"), nil)
	for want, arn := range map[string]string{
		"Resource::*":                    "*",
		"Resource::arn:aws:s3:::media/*": "arn:aws:s3:::media/*",
		"Resource::<" + *stack.GetLogicalId(cdkx.Cfn[awssns.CfnTopic](topic)) + ">":       *topic.TopicArn(),
		"Resource::<" + *stack.GetLogicalId(cdkx.Cfn[awssqs.CfnQueue](queue)) + ".Arn>/*": *queue.QueueArn() + "/*",
		"Resource::arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:*":             "arn:" + *stack.Partition() + ":sqs:" + *stack.Region() + ":" + *stack.Account() + ":*",
	} {
		require.Equal(t, want, cdkx.Finding(stack, arn))
	}
}
