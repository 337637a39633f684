package fanout_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func props() fanout.Props {
	return fanout.Props{Subscriptions: []fanout.Subscription{
		{Name: "probe", Filter: map[string][]string{"event_type": {"uploaded"}}},
		{Name: "meter", QueueProps: queue.Props{MaxReceives: 3}},
	}}
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", props())
	template := cdktest.Template(stack)

	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"KmsMasterKeyId": "alias/aws/sns"})
	template.HasResourceProperties(new("AWS::SNS::TopicPolicy"), map[string]any{
		"PolicyDocument": map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
			assertions.Match_ObjectLike(&map[string]any{
				"Effect": "Deny", "Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}},
			}),
		})},
	})
	template.ResourceCountIs(new("AWS::SNS::Subscription"), new(2.0))
	template.AllResourcesProperties(new("AWS::SNS::Subscription"), map[string]any{
		"Protocol":           "sqs",
		"RawMessageDelivery": true,
		"RedrivePolicy":      map[string]any{"deadLetterTargetArn": assertions.Match_AnyValue()},
	})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{
		"FilterPolicy": map[string]any{"event_type": []any{"uploaded"}},
	})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"FilterPolicy": assertions.Match_Absent()})
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"RedrivePolicy": map[string]any{"maxReceiveCount": 3},
	})
	require.Len(t, f.Queues, 2)
	require.Len(t, f.Alarms(), 5)
	require.Len(t, f.Widgets(), 5)
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", props())
	f.GrantPublish(awsiam.NewRole(stack, new("Publisher"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil),
	}))
	cdktest.Golden(t, stack, "fanout")
}

func TestExistingTopicAndQueue(t *testing.T) {
	stack := cdktest.Stack(t)
	topic := awssns.NewTopic(stack, new("Existing"), nil)
	jobs := queue.New(stack, "Jobs", queue.Props{})
	f := fanout.New(stack, "Events", fanout.Props{
		Topic:         topic,
		Subscriptions: []fanout.Subscription{{Name: "jobs", Queue: jobs}},
	})
	require.Same(t, jobs, f.Queues["jobs"])
	require.Len(t, f.Alarms(), 1, "the queue's own alarms are its maker's")
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::SNS::Topic"), new(1.0))
	template.ResourceCountIs(new("AWS::SQS::Queue"), new(2.0))
	template.ResourceCountIs(new("AWS::SNS::Subscription"), new(1.0))
}

func TestSubscribeLater(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", fanout.Props{})
	require.NotNil(t, f.Subscribe(fanout.Subscription{Name: "search"}))
	err := cdktest.Panic[*fanout.PropsError](t, func() { f.Subscribe(fanout.Subscription{Name: "search"}) })
	require.EqualError(t, err, `Test/Events (fanout): Subscription.Name is "search"; allowed: each name once`)
	cdktest.Template(stack).ResourceCountIs(new("AWS::SNS::Subscription"), new(1.0))
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	p := props()
	p.Override = func(t *awssns.TopicProps) { t.DisplayName = new("shown") }
	p.Subscriptions[0].Override = func(s *awssnssubscriptions.SqsSubscriptionProps) { s.RawMessageDelivery = new(false) }
	fanout.New(stack, "Events", p)
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"DisplayName": "shown"})
	template.ResourcePropertiesCountIs(new("AWS::SNS::Subscription"), map[string]any{"RawMessageDelivery": true}, new(1.0))
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, props(), func(p fanout.Props) { fanout.New(stack, "Events", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	fanout.New(stack, "One", props())
	fanout.New(stack, "Two", props())
	cdktest.Template(stack).ResourceCountIs(new("AWS::SNS::Subscription"), new(4.0))
}

func TestValidateNamesEveryField(t *testing.T) {
	many := make([]string, 151)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	bad := fanout.Props{
		Name: "no spaces",
		Subscriptions: []fanout.Subscription{
			{Name: "a", QueueProps: queue.Props{MaxReceives: 5000}},
			{Name: "a", Filter: map[string][]string{"type": {}}},
			{Filter: map[string][]string{"type": many}},
		},
	}
	require.EqualError(t, bad.Validate(), `fanout: 6 fields are not valid
  Name is "no spaces"; allowed: 1 to 256 letters, digits, hyphens and underscores
  Subscriptions[0].QueueProps.MaxReceives is 5000; allowed: 1 to 1000
  Subscriptions[1].Name is "a"; allowed: each name once
  Subscriptions[1].Filter[type] is []; allowed: a named attribute with one value or more
  Subscriptions[2].Name is ""; allowed: letters, digits, hyphens and underscores
  Subscriptions[2].Filter is 151; allowed: 150 combinations of values or fewer`)
}
