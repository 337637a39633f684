package fanout

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func snsService() *[]awsiam.IPrincipal {
	return &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(new("sns.amazonaws.com"), nil)}
}

// AllowDelivery lets SNS use a key that encrypts a queue, for topics of the
// key's account, or for the given topics only, which may be another account's.
// A key that the same app makes has it from the subscription; call this where a
// key is made that another app's queues use.
func AllowDelivery(key awskms.IKey, topicARNs ...string) {
	if len(topicARNs) > 0 {
		allowDelivery(key, map[string]any{"ArnEquals": map[string]any{"aws:SourceArn": topicARNs}})
		return
	}
	allowDelivery(key, ofAccount(*awscdk.Stack_Of(key).Account()))
}

func ofAccount(account string) map[string]any {
	return map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": account}}
}

func allowDelivery(key awskms.IKey, conditions map[string]any) {
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: snsService(),
		Actions:    cdkx.Strings("kms:Decrypt", "kms:GenerateDataKey"),
		// A key policy speaks of its own key alone.
		Resources:  cdkx.Strings("*"),
		Conditions: &conditions,
	}), new(true))
}

func (f *Fanout) subscribe(s Subscription) *queue.Queue {
	to := s.Queue
	if to == nil {
		to = queue.New(f, s.Name, s.queueProps(f.fifo))
		f.made = append(f.made, s.Name)
	}
	undelivered := f.deadLetters(s, to)
	props := &awssns.SubscriptionProps{
		Topic:                       f.Topic,
		Protocol:                    awssns.SubscriptionProtocol_SQS,
		Endpoint:                    to.Queue.QueueArn(),
		RawMessageDelivery:          new(!s.Envelope),
		DeadLetterQueue:             undelivered,
		FilterPolicy:                s.attributes().onAttributes(),
		FilterPolicyWithMessageBody: s.Body.onBody(),
	}
	if f.existing {
		if region := f.Topic.Env().Region; *region != *awscdk.Stack_Of(to).Region() {
			props.Region = region
		}
	}
	// CDK's own SQS subscription would write the topic's ARN into the key's policy:
	// a cycle when the topic has the same key, or the key stands in an earlier stack.
	policy := to.Queue.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: snsService(),
		Actions:    cdkx.Strings("sqs:SendMessage"),
		Resources:  &[]*string{to.Queue.QueueArn()},
		Conditions: &map[string]any{"ArnEquals": map[string]any{"aws:SourceArn": f.Topic.TopicArn()}},
	}))
	f.allowDelivery(to.Queue)
	f.allowDelivery(undelivered)
	subscription := awssns.NewSubscription(scopeOf(to), awscdk.Names_NodeUniqueId(f.Topic.Node()), cdkx.Override(props, s.Override))
	if policy.PolicyDependable != nil {
		subscription.Node().AddDependency(policy.PolicyDependable)
	}
	f.Queues[s.Name] = to
	f.Subscriptions[s.Name] = subscription
	return to
}

// scopeOf is the construct a subscription stands in, which with the topic makes
// its logical id. That must not change: CloudFormation would make the new
// subscription, which SNS takes for the old one, and then delete it.
func scopeOf(to *queue.Queue) constructs.Construct {
	if own, ok := to.Queue.(constructs.Construct); ok {
		return own
	}
	// A queue known by its ARN is no scope in Go.
	return to
}

func (f *Fanout) allowDelivery(to awssqs.IQueue) {
	if key := to.EncryptionMasterKey(); key != nil {
		allowDelivery(key, ofAccount(*f.Topic.Env().Account))
	}
}

// deadLetters is where messages go that SNS cannot deliver.
func (f *Fanout) deadLetters(s Subscription, to *queue.Queue) awssqs.IQueue {
	switch {
	case s.DeadLetterQueue != nil:
		return s.DeadLetterQueue
	case !s.SeparateDeadLetters && to.DeadLetterQueue != nil:
		return to.DeadLetterQueue
	}
	props := &awssqs.QueueProps{
		Encryption:      awssqs.QueueEncryption_SQS_MANAGED,
		EnforceSSL:      new(true),
		RetentionPeriod: cdkx.Duration(queue.MaxRetention),
		RemovalPolicy:   awscdk.RemovalPolicy_DESTROY,
	}
	if key := to.Queue.EncryptionMasterKey(); key != nil {
		props.Encryption, props.EncryptionMasterKey = awssqs.QueueEncryption_KMS, key
	}
	if f.fifo {
		props.Fifo = new(true)
	}
	made := awssqs.NewQueue(f, new(s.Name+"Undelivered"), cdkx.Override(props, s.OverrideDeadLetter))
	cdkx.Acknowledge(made, "It is a dead-letter queue itself, of an SNS subscription, which the rule does not look at.", "AwsSolutions-SQS3")
	f.DeadLetterQueues[s.Name] = made
	return made
}
