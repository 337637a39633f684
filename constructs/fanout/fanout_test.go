package fanout_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func props() fanout.Props {
	return fanout.Props{Subscriptions: []fanout.Subscription{
		{Name: "probe", Filter: map[string][]string{"event_type": {"uploaded"}}},
		{Name: "meter", QueueProps: queue.Props{MaxReceives: 3}},
	}}
}

func role(scope constructs.Construct) awsiam.Role {
	return awsiam.NewRole(scope, new("Publisher"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil)})
}

// with matches a policy that has a statement with these fields.
func with(statement map[string]any) map[string]any {
	return map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&statement)})}
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", props())
	template := cdktest.Template(stack)

	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{
		"KmsMasterKeyId":        "alias/aws/sns",
		"TopicName":             assertions.Match_Absent(),
		"FifoTopic":             assertions.Match_Absent(),
		"DeliveryStatusLogging": assertions.Match_Absent(),
	})
	template.HasResourceProperties(new("AWS::SNS::TopicPolicy"), map[string]any{"PolicyDocument": with(map[string]any{
		"Effect": "Deny", "Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}},
	})})
	template.ResourceCountIs(new("AWS::SNS::Subscription"), new(2.0))
	template.AllResourcesProperties(new("AWS::SNS::Subscription"), map[string]any{
		"Protocol":           "sqs",
		"RawMessageDelivery": true,
		"RedrivePolicy":      map[string]any{"deadLetterTargetArn": assertions.Match_AnyValue()},
		"Region":             assertions.Match_Absent(),
	})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{
		"FilterPolicy": map[string]any{"event_type": []any{"uploaded"}},
	})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"FilterPolicy": assertions.Match_Absent()})
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"RedrivePolicy": map[string]any{"maxReceiveCount": 3},
	})
	template.AllResourcesProperties(new("AWS::SQS::QueuePolicy"), map[string]any{"PolicyDocument": with(map[string]any{
		"Effect": "Allow", "Action": "sqs:SendMessage", "Principal": map[string]any{"Service": "sns.amazonaws.com"},
		"Condition": map[string]any{"ArnEquals": map[string]any{"aws:SourceArn": stack.Resolve(f.Topic.TopicArn())}},
	})})
	require.Len(t, f.Queues, 2)
	require.Len(t, f.Subscriptions, 2)
	require.Empty(t, f.DeadLetterQueues)
	require.Len(t, f.Widgets(), 2+2*3)
	require.Equal(t, *f.Topic.TopicArn(), f.TopicARN())
	require.Equal(t, *f.Topic.TopicName(), f.TopicName())
}

func TestAlarms(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", props())
	require.Len(t, f.Alarms(), 3+2*4)
	require.Equal(t, cdkx.Critical, cdkx.SeverityOf(f.FailedAlarm))
	require.Equal(t, cdkx.Warning, cdkx.SeverityOf(f.RedriveAlarm))
	require.Equal(t, cdkx.Critical, cdkx.SeverityOf(f.LostAlarm))
	template := cdktest.Template(stack)
	for _, metric := range []string{
		"NumberOfNotificationsFailed", "NumberOfNotificationsRedrivenToDlq", "NumberOfNotificationsFailedToRedriveToDlq",
	} {
		template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
			"Namespace": "AWS/SNS", "MetricName": metric, "Statistic": "Sum", "Period": 60, "Threshold": 0, "EvaluationPeriods": 1,
			"Dimensions": []any{map[string]any{"Name": "TopicName", "Value": stack.Resolve(f.Topic.TopicName())}},
		})
	}
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", props())
	f.GrantPublish(role(stack))
	cdktest.Golden(t, stack, "fanout")
}

func TestFIFO(t *testing.T) {
	stack := cdktest.Stack(t)
	p := props()
	p.Name, p.FIFO, p.ContentDeduplication, p.HighThroughput = "events", true, true, true
	p.Subscriptions[1].SeparateDeadLetters = true
	fanout.New(stack, "Events", p)
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{
		"TopicName": "events.fifo", "FifoTopic": true, "ContentBasedDeduplication": true, "FifoThroughputScope": "MessageGroup",
	})
	template.ResourceCountIs(new("AWS::SQS::Queue"), new(5.0))
	template.AllResourcesProperties(new("AWS::SQS::Queue"), map[string]any{"FifoQueue": true})
	require.False(t, p.Subscriptions[0].QueueProps.FIFO, "the caller's props")
}

func TestEnvelope(t *testing.T) {
	stack := cdktest.Stack(t)
	fanout.New(stack, "Events", fanout.Props{Subscriptions: []fanout.Subscription{{Name: "mail", Envelope: true}}})
	cdktest.Template(stack).HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"RawMessageDelivery": false})
}

func TestDeadLetterQueues(t *testing.T) {
	stack := cdktest.Stack(t)
	existing := awssqs.NewQueue(stack, new("Existing"), nil)
	imported := awssqs.Queue_FromQueueArn(stack, new("Imported"), new("arn:aws:sqs:eu-west-1:111122223333:jobs"))
	f := fanout.New(stack, "Events", fanout.Props{Subscriptions: []fanout.Subscription{
		{Name: "shared", DeadLetterQueue: existing},
		{Name: "separate", SeparateDeadLetters: true},
		{Name: "own", OverrideDeadLetter: func(*awssqs.QueueProps) { t.Error("no queue is made") }},
		{Name: "without", Queue: queue.New(stack, "Without", queue.Props{Queue: imported})},
	}})
	require.Len(t, f.DeadLetterQueues, 2)
	template := cdktest.Template(stack)
	for name, dead := range map[string]awssqs.IQueue{
		"shared":   existing,
		"separate": f.DeadLetterQueues["separate"],
		"own":      f.Queues["own"].DeadLetterQueue,
		"without":  f.DeadLetterQueues["without"],
	} {
		template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{
			"Endpoint":      stack.Resolve(f.Queues[name].Queue.QueueArn()),
			"RedrivePolicy": map[string]any{"deadLetterTargetArn": stack.Resolve(dead.QueueArn())},
		})
	}
	template.HasResource(new("AWS::SQS::Queue"), map[string]any{
		"Properties": map[string]any{"MessageRetentionPeriod": 14 * 24 * 3600, "SqsManagedSseEnabled": true, "RedrivePolicy": assertions.Match_Absent()},
		"Metadata": map[string]any{"cdk_nag": map[string]any{"rules_to_suppress": []any{
			assertions.Match_ObjectLike(&map[string]any{"id": "AwsSolutions-SQS3"}),
		}}},
	})
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
	require.Len(t, f.Alarms(), 3, "the queue's own alarms are its maker's")
	require.Len(t, f.Widgets(), 2)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::SNS::Topic"), new(1.0))
	template.ResourceCountIs(new("AWS::SQS::Queue"), new(2.0))
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"Region": assertions.Match_Absent()})
}

func TestTopicOfAnotherRegion(t *testing.T) {
	stack := cdktest.Stack(t)
	arn := "arn:aws:sns:eu-west-1:111122223333:events.fifo"
	key := awskms.NewKey(stack, new("Key"), nil)
	f := fanout.New(stack, "Events", fanout.Props{
		Topic:         awssns.Topic_FromTopicArn(stack, new("Topic"), &arn),
		Subscriptions: []fanout.Subscription{{Name: "jobs", QueueProps: queue.Props{Key: key}}},
	})
	require.Equal(t, arn, f.TopicARN())
	require.True(t, f.Queues["jobs"].FIFO)
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"TopicArn": arn, "Region": "eu-west-1"})
	template.HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"KeyPolicy": with(map[string]any{
		"Condition": map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": "111122223333"}},
	})})
}

var delivers = map[string]any{
	"Effect": "Allow", "Action": []any{"kms:Decrypt", "kms:GenerateDataKey"}, "Resource": "*",
	"Principal": map[string]any{"Service": "sns.amazonaws.com"},
	"Condition": map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": map[string]any{"Ref": "AWS::AccountId"}}},
}

// One key for topic and queues: neither the key's policy nor anything else may
// close a cycle.
func TestKey(t *testing.T) {
	stack := cdktest.Stack(t)
	key := awskms.NewKey(stack, new("Key"), nil)
	f := fanout.New(stack, "Events", fanout.Props{Key: key, Subscriptions: []fanout.Subscription{
		{Name: "one", QueueProps: queue.Props{Key: key}},
		{Name: "two", QueueProps: queue.Props{Key: key}, SeparateDeadLetters: true},
	}})
	f.GrantPublish(role(stack))
	template := cdktest.Template(stack)
	id := stack.Resolve(key.KeyArn())
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"KmsMasterKeyId": id})
	template.AllResourcesProperties(new("AWS::SQS::Queue"), map[string]any{"KmsMasterKeyId": id})
	template.HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"KeyPolicy": map[string]any{"Statement": []any{
		assertions.Match_AnyValue(), delivers,
	}}})
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": with(map[string]any{
		"Action": []any{"kms:Decrypt", "kms:GenerateDataKey*"}, "Resource": id,
	})})
}

func TestKeysOfQueueAndDeadLetterQueueApart(t *testing.T) {
	stack := cdktest.Stack(t)
	queues := awskms.NewKey(stack, new("Queues"), nil)
	dead := awskms.NewKey(stack, new("Dead"), nil)
	fanout.New(stack, "Events", fanout.Props{Subscriptions: []fanout.Subscription{
		{
			Name: "one", QueueProps: queue.Props{Key: queues},
			DeadLetterQueue: awssqs.NewQueue(stack, new("Existing"), &awssqs.QueueProps{EncryptionMasterKey: dead}),
		},
	}})
	cdktest.Template(stack).AllResourcesProperties(new("AWS::KMS::Key"), map[string]any{"KeyPolicy": with(delivers)})
}

func TestKeyOfAnEarlierStack(t *testing.T) {
	earlier, stack := cdktest.Stacks(t)
	key := awskms.NewKey(earlier, new("Key"), nil)
	fanout.New(stack, "Events", fanout.Props{Key: key, Subscriptions: []fanout.Subscription{{Name: "one", QueueProps: queue.Props{Key: key}}}})
	cdktest.Template(stack).ResourceCountIs(new("AWS::SNS::Subscription"), new(1.0))
	cdktest.Template(earlier).HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"KeyPolicy": with(delivers)})
}

func TestAllowDelivery(t *testing.T) {
	stack := cdktest.Stack(t)
	key := awskms.NewKey(stack, new("Key"), nil)
	fanout.AllowDelivery(key)
	fanout.AllowDelivery(key, "arn:aws:sns:eu-west-1:111122223333:events")
	fanout.AllowDelivery(awskms.Key_FromKeyArn(stack, new("Imported"), new("arn:aws:kms:eu-west-1:111122223333:key/1")))
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"KeyPolicy": with(delivers)})
	template.HasResourceProperties(new("AWS::KMS::Key"), map[string]any{"KeyPolicy": with(map[string]any{
		"Condition": map[string]any{"ArnEquals": map[string]any{"aws:SourceArn": []any{"arn:aws:sns:eu-west-1:111122223333:events"}}},
	})})
}

func TestUseInOtherStacks(t *testing.T) {
	one, other := cdktest.Stacks(t)
	f := fanout.New(one, "Events", fanout.Props{})
	f.GrantPublish(role(other))
	f.Subscribe(fanout.Subscription{Name: "jobs", Queue: queue.New(other, "Jobs", queue.Props{})})
	template := cdktest.Template(other)
	template.ResourceCountIs(new("AWS::IAM::Policy"), new(1.0))
	template.ResourceCountIs(new("AWS::SNS::Subscription"), new(1.0))
	cdktest.Template(one).ResourceCountIs(new("AWS::SNS::Subscription"), new(0.0))
}

func TestTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	fanout.New(stack, "Events", fanout.Props{
		Name: cdktest.Token(stack, "Name"),
		Subscriptions: []fanout.Subscription{{Name: "one", Attributes: fanout.Conditions{
			"type": fanout.OneOf(cdktest.Token(stack, "Type")), "ip": fanout.InNetwork(cdktest.Token(stack, "Network")),
		}}},
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"TopicName": map[string]any{"Ref": "Name"}})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"FilterPolicy": map[string]any{
		"type": []any{map[string]any{"Ref": "Type"}}, "ip": []any{map[string]any{"cidr": map[string]any{"Ref": "Network"}}},
	}})
}

func TestDeliveryLogs(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", fanout.Props{Name: "events", LogDeliveries: true, LogSuccessPercent: 5})
	require.Len(t, f.LogGroups, 2)
	template := cdktest.Template(stack)
	arn := stack.Resolve(f.LogRole.RoleArn())
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"DeliveryStatusLogging": []any{map[string]any{
		"Protocol": "sqs", "FailureFeedbackRoleArn": arn, "SuccessFeedbackRoleArn": arn, "SuccessFeedbackSampleRate": "5",
	}}})
	template.AllResourcesProperties(new("AWS::Logs::LogGroup"), map[string]any{"RetentionInDays": 30})
	groups := []any{stack.Resolve(f.LogGroups[0].LogGroupArn()), stack.Resolve(f.LogGroups[1].LogGroupArn())}
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{"Statement": []any{map[string]any{
		"Effect": "Allow", "Action": []any{"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}, "Resource": groups,
	}}}})
	cdktest.Golden(t, stack, "logs")
}

func TestDeliveryLogsOfFailuresOnly(t *testing.T) {
	stack := cdktest.Stack(t)
	fanout.New(stack, "Events", fanout.Props{LogDeliveries: true})
	cdktest.Template(stack).HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"DeliveryStatusLogging": []any{map[string]any{
		"Protocol": "sqs", "FailureFeedbackRoleArn": assertions.Match_AnyValue(), "SuccessFeedbackRoleArn": assertions.Match_Absent(),
	}}})
}

func TestSubscribeLater(t *testing.T) {
	stack := cdktest.Stack(t)
	f := fanout.New(stack, "Events", fanout.Props{})
	search := f.Subscribe(fanout.Subscription{Name: "search"})
	err := cdktest.Panic[*fanout.PropsError](t, func() { f.Subscribe(fanout.Subscription{Name: "search", Queue: search}) })
	require.EqualError(t, err, `Test/Events (fanout): 2 fields are not valid
  Subscription.Name is "search"; allowed: each name once
  Subscription.Queue is "Test/Events/search"; allowed: each queue once`)
	cdktest.Template(stack).ResourceCountIs(new("AWS::SNS::Subscription"), new(1.0))
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	p := props()
	p.Override = func(t *awssns.TopicProps) {
		t.DisplayName = new("shown")
		t.MasterKey = awskms.Key_FromKeyArn(stack, new("Key"), new("arn:aws:kms:eu-west-1:111122223333:key/1"))
	}
	p.Subscriptions[0].Override = func(s *awssns.SubscriptionProps) { s.RawMessageDelivery = new(false) }
	p.Subscriptions[1].SeparateDeadLetters = true
	p.Subscriptions[1].OverrideDeadLetter = func(q *awssqs.QueueProps) { q.RetentionPeriod = awscdk.Duration_Days(new(1.0)) }
	fanout.New(stack, "Events", p)
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{
		"DisplayName": "shown", "KmsMasterKeyId": "arn:aws:kms:eu-west-1:111122223333:key/1",
	})
	template.ResourcePropertiesCountIs(new("AWS::SNS::Subscription"), map[string]any{"RawMessageDelivery": true}, new(1.0))
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{"MessageRetentionPeriod": 24 * 3600})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	subscriptions := make([]fanout.Subscription, 0, 4)
	cdktest.Unchanged(t, fanout.Props{
		FIFO: true,
		Subscriptions: append(subscriptions, fanout.Subscription{
			Name:       "one",
			Filter:     map[string][]string{"type": append(make([]string, 0, 4), "uploaded")},
			Attributes: fanout.Conditions{"size": fanout.Any(fanout.AtLeast(5), fanout.Number(1))},
		}, fanout.Subscription{
			Name: "two",
			Body: fanout.Conditions{"detail": fanout.Within(fanout.Conditions{"type": fanout.OneOf("uploaded")})},
		}),
	}, func(p fanout.Props) { fanout.New(stack, "Events", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	fanout.New(stack, "One", props())
	fanout.New(stack, "Two", props())
	cdktest.Template(stack).ResourceCountIs(new("AWS::SNS::Subscription"), new(4.0))
}
