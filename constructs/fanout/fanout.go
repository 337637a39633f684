// Package fanout makes an SNS topic with one SQS queue per consumer: a message
// is published once, each consumer has its own copy, its own pace and its own
// dead letters, and one that is down delays only itself.
package fanout

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

// Limits of a filter policy, from the SNS developer guide ("Filter policy
// constraints").
const (
	maxFilterAttributes   = 5
	maxFilterCombinations = 150
)

// Props configures a Fanout. The zero value is an encrypted topic that nobody
// is subscribed to yet; see Subscribe.
type Props struct {
	// Name of the topic, 1 to 256 letters, digits, hyphens and underscores.
	// Default a name CloudFormation generates.
	Name string

	// Topic is an existing topic. Its encryption and policy stay as they are.
	Topic awssns.ITopic

	// Key encrypts the topic. Default the key that AWS manages for SNS. Messages
	// then go to queues of this account only, and an AWS service that publishes
	// on its own (S3, EventBridge, CloudWatch) needs a Key whose policy lets it.
	Key awskms.IKey

	// Subscriptions are the consumers. Names are unique.
	Subscriptions []Subscription

	// Override has the last word on the topic.
	Override func(*awssns.TopicProps)
}

// Subscription is one consumer of the topic.
type Subscription struct {
	// Name identifies the consumer: the id of the constructs made for it.
	Name string

	// Queue is an existing queue. Default one made from QueueProps.
	Queue *queue.Queue

	// QueueProps configures the queue that is made.
	QueueProps queue.Props

	// Filter passes only messages whose attributes have one of the values
	// listed for each name here: {"event_type": {"uploaded", "deleted"}}. At
	// most 5 attributes and 150 combinations. Default every message.
	Filter map[string][]string

	// Override has the last word on the subscription.
	Override func(*awssnssubscriptions.SqsSubscriptionProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Fanout is an SNS topic and the queues subscribed to it. Messages arrive raw:
// what was published, without the JSON envelope of SNS, attributes kept.
type Fanout struct {
	constructs.Construct
	Topic  awssns.ITopic
	Queues map[string]*queue.Queue // by name of the subscription
	// FailedAlarm: SNS could not deliver a message and put it into the
	// dead-letter queue of the subscription's queue.
	FailedAlarm awscloudwatch.IAlarm

	made []string // names of subscriptions whose queue was made here
}

var (
	topicName        = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
	subscriptionName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	if p.Name != "" {
		bad.Check(topicName.MatchString(p.Name), "Name", p.Name, "1 to 256 letters, digits, hyphens and underscores")
		bad.Check(p.Topic == nil, "Name", p.Name, "empty with an existing Topic")
	}
	bad.Check(p.Topic == nil || p.Key == nil, "Key", "set", "none with an existing Topic, which has its own")
	names := map[string]bool{}
	for i, s := range p.Subscriptions {
		field := fmt.Sprintf("Subscriptions[%d]", i)
		bad.Check(!names[s.Name], field+".Name", s.Name, "each name once")
		names[s.Name] = true
		bad.Merge(field, s.Validate())
	}
	return bad.Err("fanout")
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (s Subscription) Validate() error {
	var bad cdkx.Problems
	bad.Check(subscriptionName.MatchString(s.Name), "Name", s.Name, "letters, digits, hyphens and underscores")
	if s.Queue == nil {
		bad.Merge("QueueProps", s.QueueProps.Validate())
	}
	bad.Check(len(s.Filter) <= maxFilterAttributes, "Filter", s.Filter, "5 attributes or fewer")
	combinations := 1
	for _, attribute := range slices.Sorted(maps.Keys(s.Filter)) {
		values := s.Filter[attribute]
		bad.Check(attribute != "" && len(values) > 0, fmt.Sprintf("Filter[%s]", attribute), values, "a named attribute with one value or more")
		combinations *= max(len(values), 1)
	}
	bad.Check(combinations <= maxFilterCombinations, "Filter", combinations, "150 combinations of values or fewer")
	return bad.Err("subscription")
}

// New makes a Fanout. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Fanout {
	cdkx.Must(scope, id, "fanout", props.Validate())
	f := &Fanout{Topic: props.Topic, Queues: map[string]*queue.Queue{}}
	constructs.NewConstruct_Override(f, scope, &id)
	if f.Topic == nil {
		topic := awssns.NewTopic(f, new("Topic"), cdkx.Override(&awssns.TopicProps{
			TopicName:  cdkx.Optional(props.Name),
			MasterKey:  props.Key,
			EnforceSSL: new(true),
		}, props.Override))
		if resource := cdkx.Cfn[awssns.CfnTopic](topic); resource.KmsMasterKeyId() == nil {
			// By alias: the L2 would add the alias to every publisher's policy,
			// and the key's own policy lets the whole account use it through SNS.
			resource.SetKmsMasterKeyId(new("alias/aws/sns"))
		}
		f.Topic = topic
	}
	f.FailedAlarm = cdkx.Alarm(f, "FailedAlarm", cdkx.AlarmSpec{
		Metric:      f.Topic.MetricNumberOfNotificationsFailed(cdkx.MetricOptions("Sum", time.Minute)),
		Description: "SNS could not deliver a message. It is in the dead-letter queue of its consumer; check that queue's policy and key.",
		Periods:     1,
	})
	for _, subscription := range props.Subscriptions {
		f.subscribe(subscription)
	}
	return f
}

// Subscribe adds a consumer and returns its queue. It panics with a *PropsError
// when the subscription is not valid or its name is taken.
func (f *Fanout) Subscribe(subscription Subscription) *queue.Queue {
	var bad cdkx.Problems
	bad.Merge("Subscription", subscription.Validate())
	_, taken := f.Queues[subscription.Name]
	bad.Check(!taken, "Subscription.Name", subscription.Name, "each name once")
	if err, ok := errors.AsType[*PropsError](bad.Err("fanout")); ok {
		panic(&PropsError{Construct: "fanout", Path: *f.Node().Path(), Problems: err.Problems})
	}
	return f.subscribe(subscription)
}

func (f *Fanout) subscribe(subscription Subscription) *queue.Queue {
	to := subscription.Queue
	if to == nil {
		to = queue.New(f, subscription.Name, subscription.QueueProps)
		f.made = append(f.made, subscription.Name)
	}
	props := &awssnssubscriptions.SqsSubscriptionProps{
		RawMessageDelivery: new(true),
		// What SNS cannot deliver waits where a redrive takes it to this queue.
		DeadLetterQueue: to.DeadLetterQueue,
	}
	if len(subscription.Filter) > 0 {
		policy := map[string]awssns.SubscriptionFilter{}
		for attribute, values := range subscription.Filter {
			policy[attribute] = awssns.SubscriptionFilter_StringFilter(&awssns.StringConditions{
				Allowlist: cdkx.Strings(values...),
			})
		}
		props.FilterPolicy = &policy
	}
	f.Topic.AddSubscription(awssnssubscriptions.NewSqsSubscription(to.Queue, cdkx.Override(props, subscription.Override)))
	f.Queues[subscription.Name] = to
	return to
}

// GrantPublish lets an identity publish.
func (f *Fanout) GrantPublish(to awsiam.IGrantable) awsiam.Grant {
	return f.Topic.GrantPublish(to)
}

// Alarms are FailedAlarm and those of the queues made here.
func (f *Fanout) Alarms() []awscloudwatch.IAlarm {
	alarms := []awscloudwatch.IAlarm{f.FailedAlarm}
	for _, name := range f.made {
		alarms = append(alarms, f.Queues[name].Alarms()...)
	}
	return alarms
}

// Widgets show what was published, delivered and filtered out, and the queues
// made here.
func (f *Fanout) Widgets() []awscloudwatch.IWidget {
	sum := cdkx.MetricOptions("Sum", time.Minute)
	widgets := []awscloudwatch.IWidget{
		cdkx.Graph(*f.Node().Id()+": messages",
			f.Topic.MetricNumberOfMessagesPublished(sum),
			f.Topic.MetricNumberOfNotificationsDelivered(sum),
			f.Topic.MetricNumberOfNotificationsFilteredOut(sum),
			f.Topic.MetricNumberOfNotificationsFailed(sum)),
	}
	for _, name := range f.made {
		widgets = append(widgets, f.Queues[name].Widgets()...)
	}
	return widgets
}
