package fanout

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

// Props configures a Fanout. The zero value is an encrypted topic that nobody
// is subscribed to yet; see Subscribe.
type Props struct {
	// Name of the topic, 1 to 256 letters, digits, hyphens and underscores, 251 for
	// FIFO, which adds ".fifo". Default a name CloudFormation generates.
	Name string

	// Topic is an existing topic. Its encryption, policy and logs stay as they are.
	// Default one is made.
	Topic awssns.ITopic

	// FIFO delivers the messages of a group in the order they were published. All
	// queues are FIFO queues then; those made here become one.
	FIFO bool

	// ContentDeduplication takes the SHA-256 of the body for messages that carry
	// no deduplication id. For FIFO.
	ContentDeduplication bool

	// HighThroughput deduplicates within a message group instead of within the
	// topic, which lifts the quota from 3000 messages a second to the Region's. For
	// FIFO.
	HighThroughput bool

	// Key encrypts the topic. Default the key that AWS manages for SNS. Messages
	// then go to queues of this account only, and an AWS service that publishes
	// on its own (S3, EventBridge, CloudWatch) needs a Key whose policy lets it.
	Key awskms.IKey

	// LogDeliveries writes to CloudWatch Logs why a message could not be delivered
	// to a queue, and keeps that for 30 days. Default only metrics.
	LogDeliveries bool

	// LogSuccessPercent is how many of the successful deliveries are logged too, 0
	// to 100. With LogDeliveries. Default none.
	LogSuccessPercent int

	// Subscriptions are the consumers. Names are unique. Default none.
	Subscriptions []Subscription

	// Override has the last word on the topic.
	Override func(*awssns.TopicProps)
}

// Subscription is one consumer of the topic. Name is required. Without conditions
// it gets every message. At most 5 names and 150 combinations of values in all its conditions
// ("Filter policy constraints", SNS developer guide).
type Subscription struct {
	// Name identifies the consumer: the id of the constructs made for it.
	Name string

	// Queue is an existing queue. Default one made from QueueProps.
	Queue *queue.Queue

	// QueueProps configures the queue that is made. Default the defaults of
	// package queue, and FIFO when the topic is.
	QueueProps queue.Props

	// Filter passes only messages whose attributes have one of the values listed
	// for each name here: {"event_type": {"uploaded", "deleted"}}. Default every
	// message.
	Filter map[string][]string

	// Attributes passes only messages whose attributes meet every condition, and
	// Filter. Default every message.
	Attributes Conditions

	// Body passes only messages whose body, a JSON object, meets every condition.
	// Not together with Filter or Attributes. Default every message.
	Body Conditions

	// Envelope wraps each message in the JSON document of SNS, with its topic, time
	// and signature. Default raw: what was published, attributes kept.
	Envelope bool

	// DeadLetterQueue is an existing queue for messages that SNS cannot deliver.
	// Default the dead-letter queue of the queue, from where GrantRedrive of the
	// queue brings them back; SQS redrives no queue that only a topic fills.
	DeadLetterQueue awssqs.IQueue

	// SeparateDeadLetters makes a queue for messages that SNS cannot deliver, apart
	// from those the consumer gave up. The same happens for an existing Queue that
	// has no dead-letter queue.
	SeparateDeadLetters bool

	// Override has the last word on the subscription, OverrideDeadLetter on the
	// queue that SeparateDeadLetters makes.
	Override           func(*awssns.SubscriptionProps)
	OverrideDeadLetter func(*awssqs.QueueProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	topicName        = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
	fifoTopicName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,251}$`)
	subscriptionName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	switch {
	case p.Name == "":
	case p.FIFO:
		cdkx.Matches(&bad, "Name", p.Name, fifoTopicName, `1 to 251 letters, digits, hyphens and underscores, to which ".fifo" is added`)
	default:
		cdkx.Matches(&bad, "Name", p.Name, topicName, "1 to 256 letters, digits, hyphens and underscores")
	}
	if p.Topic != nil {
		p.checkExisting(&bad)
	} else {
		bad.Check(p.FIFO || !p.ContentDeduplication, "ContentDeduplication", true, "false without FIFO")
		bad.Check(p.FIFO || !p.HighThroughput, "HighThroughput", true, "false without FIFO")
		bad.Check(p.LogDeliveries || p.LogSuccessPercent == 0, "LogSuccessPercent", p.LogSuccessPercent, "0 without LogDeliveries")
	}
	cdkx.Between(&bad, "LogSuccessPercent", p.LogSuccessPercent, 0, 100)
	names, queues, fifo := map[string]bool{}, map[*queue.Queue]bool{}, p.fifo()
	for i, s := range p.Subscriptions {
		field := fmt.Sprintf("Subscriptions[%d]", i)
		bad.Check(!names[s.Name], field+".Name", s.Name, "each name once")
		names[s.Name] = true
		bad.Check(s.Queue == nil || !queues[s.Queue], field+".Queue", s.queueName(), "each queue once")
		queues[s.Queue] = true
		bad.Merge(field, s.validate(fifo))
	}
	return bad.Err("fanout")
}

// checkExisting refuses what would have to change the existing topic.
func (p Props) checkExisting(bad *cdkx.Problems) {
	for _, field := range []struct {
		name  string
		set   bool
		value any
	}{
		{"Name", p.Name != "", p.Name},
		{"FIFO", p.FIFO, p.FIFO},
		{"ContentDeduplication", p.ContentDeduplication, p.ContentDeduplication},
		{"HighThroughput", p.HighThroughput, p.HighThroughput},
		{"Key", p.Key != nil, "set"},
		{"LogDeliveries", p.LogDeliveries, p.LogDeliveries},
		{"LogSuccessPercent", p.LogSuccessPercent != 0, p.LogSuccessPercent},
		{"Override", p.Override != nil, "set"},
	} {
		bad.Check(!field.set, field.name, field.value, "none with an existing Topic")
	}
}

func (p Props) fifo() bool {
	if p.Topic != nil {
		return *p.Topic.Fifo()
	}
	return p.FIFO
}

func (s Subscription) queueName() string {
	if s.Queue == nil {
		return ""
	}
	return *s.Queue.Node().Path()
}

// validate returns a *PropsError with every field that is not valid for a topic
// of this kind, or nil.
func (s Subscription) validate(fifo bool) error {
	var bad cdkx.Problems
	bad.Check(subscriptionName.MatchString(s.Name), "Name", s.Name, "letters, digits, hyphens and underscores")
	kind := "a standard queue, as the topic is"
	if fifo {
		kind = "a FIFO queue, as the topic is"
	}
	switch {
	case s.Queue == nil && s.QueueProps.Queue != nil:
		bad.Add("QueueProps.Queue", "set", "none: an existing queue is the subscription's Queue")
	case s.Queue == nil:
		bad.Check(fifo || !s.QueueProps.FIFO, "QueueProps.FIFO", s.QueueProps.FIFO, "false, as the topic is")
		bad.Merge("QueueProps", s.queueProps(fifo).Validate())
	default:
		bad.Check(s.Queue.FIFO == fifo, "Queue", s.queueName(), kind)
		bad.Check(s.Queue.Queue.EncryptionType() != awssqs.QueueEncryption_KMS_MANAGED, "Queue", s.queueName(),
			"a queue with the keys of SQS or a Key: alias/aws/sqs refuses SNS")
	}
	if s.DeadLetterQueue != nil {
		path := *s.DeadLetterQueue.Node().Path()
		bad.Check(*s.DeadLetterQueue.Fifo() == fifo, "DeadLetterQueue", path, kind)
		bad.Check(!s.SeparateDeadLetters, "SeparateDeadLetters", s.SeparateDeadLetters, "false with a DeadLetterQueue")
	}
	bad.Check(len(s.Body) == 0 || len(s.Filter)+len(s.Attributes) == 0, "Body", slices.Sorted(maps.Keys(s.Body)),
		"none with Filter or Attributes: SNS looks at the one or at the other")
	for _, name := range slices.Sorted(maps.Keys(s.Filter)) {
		_, twice := s.Attributes[name]
		field := fmt.Sprintf("Filter[%s]", name)
		bad.Check(name != "" && len(s.Filter[name]) > 0, field, s.Filter[name], "a named attribute with one value or more")
		bad.Check(!twice, field, s.Filter[name], "an attribute that is not in Attributes too")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Attributes)) {
		bad.Check(s.Attributes[name].within == nil, fmt.Sprintf("Attributes[%s]", name), "Within", "conditions on the value: attributes are not nested")
	}
	s.Attributes.check(&bad, "Attributes")
	s.Body.check(&bad, "Body")
	field, all := "Body", s.Body
	if len(s.Body) == 0 {
		field, all = "Filter", s.attributes()
	}
	names, combinations := all.complexity(1)
	bad.Check(names <= maxFilterNames, field, names, "5 names or fewer")
	bad.Check(combinations <= maxFilterCombinations, field, combinations, "150 combinations of values or fewer")
	return bad.Err("subscription")
}

// queueProps are those of the queue that is made, of the topic's kind.
func (s Subscription) queueProps(fifo bool) queue.Props {
	props := s.QueueProps
	props.FIFO = props.FIFO || fifo
	return props
}

// attributes are all conditions on attributes.
func (s Subscription) attributes() Conditions {
	all := make(Conditions, len(s.Filter)+len(s.Attributes))
	for name, values := range s.Filter {
		all[name] = OneOf(values...)
	}
	maps.Copy(all, s.Attributes)
	return all
}
