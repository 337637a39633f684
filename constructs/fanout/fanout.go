package fanout

import (
	"errors"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

// Fanout is an SNS topic and the queues subscribed to it.
type Fanout struct {
	constructs.Construct
	Topic         awssns.ITopic
	Queues        map[string]*queue.Queue        // by name of the subscription
	Subscriptions map[string]awssns.Subscription // by name

	// DeadLetterQueues are those that SeparateDeadLetters made, by name of the
	// subscription.
	DeadLetterQueues map[string]awssqs.IQueue

	// LogRole and LogGroups, of successes and of failures, are there with
	// LogDeliveries.
	LogRole   awsiam.IRole
	LogGroups []awslogs.ILogGroup

	FailedAlarm  awscloudwatch.IAlarm // critical: SNS could not deliver a message
	RedriveAlarm awscloudwatch.IAlarm // warning: messages wait in a subscription's dead-letter queue
	LostAlarm    awscloudwatch.IAlarm // critical: a message could not even be put there

	fifo, existing bool
	made           []string // names of subscriptions whose queue was made here
}

// New makes a Fanout. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Fanout {
	cdkx.Must(scope, id, "fanout", props.Validate())
	f := &Fanout{
		Topic:            props.Topic,
		Queues:           map[string]*queue.Queue{},
		Subscriptions:    map[string]awssns.Subscription{},
		DeadLetterQueues: map[string]awssqs.IQueue{},
		fifo:             props.fifo(),
		existing:         props.Topic != nil,
	}
	constructs.NewConstruct_Override(f, scope, &id)
	if !f.existing {
		f.Topic = f.makeTopic(props)
	}
	f.makeAlarms()
	for _, subscription := range props.Subscriptions {
		f.subscribe(subscription)
	}
	return f
}

func (f *Fanout) makeTopic(props Props) awssns.ITopic {
	topicProps := &awssns.TopicProps{
		TopicName:  cdkx.Optional(props.Name),
		MasterKey:  props.Key,
		EnforceSSL: new(true),
	}
	if props.FIFO {
		topicProps.Fifo = new(true)
		topicProps.ContentBasedDeduplication = new(props.ContentDeduplication)
	}
	if props.HighThroughput {
		topicProps.FifoThroughputScope = awssns.FifoThroughputScope_MESSAGE_GROUP
	}
	if props.LogDeliveries {
		topicProps.LoggingConfigs = f.makeLogging(props.LogSuccessPercent)
	}
	topic := awssns.NewTopic(f, new("Topic"), cdkx.Override(topicProps, props.Override))
	if resource := cdkx.Cfn[awssns.CfnTopic](topic); resource.KmsMasterKeyId() == nil {
		// By alias: the L2 would add the alias to every publisher's policy,
		// and the key's own policy lets the whole account use it through SNS.
		resource.SetKmsMasterKeyId(new("alias/aws/sns"))
	}
	if props.LogDeliveries {
		f.makeLogGroups(*topic.TopicName())
	}
	return topic
}

// TopicARN is what the SDK's calls take.
func (f *Fanout) TopicARN() string { return *f.Topic.TopicArn() }

// TopicName is the dimension TopicName of the topic's metrics.
func (f *Fanout) TopicName() string { return *f.Topic.TopicName() }

// Subscribe adds a consumer and returns its queue. It panics with a *PropsError
// when the subscription is not valid or its name or queue is taken.
func (f *Fanout) Subscribe(subscription Subscription) *queue.Queue {
	var bad cdkx.Problems
	bad.Merge("Subscription", subscription.validate(f.fifo))
	_, taken := f.Queues[subscription.Name]
	bad.Check(!taken, "Subscription.Name", subscription.Name, "each name once")
	for _, subscribed := range f.Queues {
		bad.Check(subscribed != subscription.Queue, "Subscription.Queue", subscription.queueName(), "each queue once")
	}
	if err, ok := errors.AsType[*PropsError](bad.Err("fanout")); ok {
		panic(&PropsError{Construct: "fanout", Path: *f.Node().Path(), Problems: err.Problems})
	}
	return f.subscribe(subscription)
}

// GrantPublish lets an identity publish, and use the topic's Key for it. An AWS
// service's principal should carry the condition that binds it to this account.
func (f *Fanout) GrantPublish(to awsiam.IGrantable) awsiam.Grant {
	return f.Topic.GrantPublish(to)
}
