// Package queue makes an SQS queue with its dead-letter queue and the alarms
// that tell when consumers fall behind or give up on a message.
package queue

import (
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Limits of SQS, from its developer guide ("Amazon SQS message quotas").
const (
	MaxVisibilityTimeout = 12 * time.Hour
	MaxRetention         = 14 * 24 * time.Hour
	MinRetention         = time.Minute
	MaxReceiveWait       = 20 * time.Second
	MaxDelay             = 15 * time.Minute
)

// maxSourceRetention leaves a day in the dead-letter queue: a message moved
// there keeps the age it had, so the dead-letter queue must retain for longer.
const maxSourceRetention = MaxRetention - 24*time.Hour

// Props configures a Queue. The zero value is an encrypted standard queue with
// a dead-letter queue after five receives.
type Props struct {
	// Name of the queue, 1 to 76 letters, digits, hyphens and underscores; the
	// dead-letter queue adds "-dlq". Default a name CloudFormation generates,
	// which lets a change that needs a new queue go through.
	Name string

	// VisibilityTimeout is how long a received message stays hidden from other
	// consumers: longer than a consumer takes between two extensions, and for
	// Lambda six times the function's timeout. 1 s to 12 h. Default 30 s.
	VisibilityTimeout time.Duration

	// Retention is how long a message waits before it is dropped, 1 min to
	// 13 days. Default 4 days. The dead-letter queue retains 14 days.
	Retention time.Duration

	// MaxReceives is how often a message is handed out before it moves to the
	// dead-letter queue, 1 to 1000. Default 5.
	MaxReceives int

	// Delay hides a new message, 0 to 15 min. Default none.
	Delay time.Duration

	// AgeAlarm is the age of the oldest message, at least a minute, above which
	// consumers count as behind. Default 5 min.
	AgeAlarm time.Duration

	// Key encrypts both queues. Default SSE-SQS, whose keys SQS manages free of
	// charge.
	Key awskms.IKey

	// DeadLetterQueue is an existing queue for messages received MaxReceives
	// times. Default one of this queue's own.
	DeadLetterQueue awssqs.IQueue

	// Override and OverrideDeadLetter have the last word on the two queues.
	Override           func(*awssqs.QueueProps)
	OverrideDeadLetter func(*awssqs.QueueProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Queue is an SQS queue and its dead-letter queue. Both refuse connections
// without TLS.
type Queue struct {
	constructs.Construct
	Queue             awssqs.IQueue
	DeadLetterQueue   awssqs.IQueue
	VisibilityTimeout time.Duration
	AgeAlarm          awscloudwatch.IAlarm // consumers are behind
	DeadLetterAlarm   awscloudwatch.IAlarm // a message was given up
}

var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,76}$`)

func (p Props) withDefaults() Props {
	if p.VisibilityTimeout == 0 {
		p.VisibilityTimeout = 30 * time.Second
	}
	if p.Retention == 0 {
		p.Retention = 4 * 24 * time.Hour
	}
	if p.MaxReceives == 0 {
		p.MaxReceives = 5
	}
	if p.AgeAlarm == 0 {
		p.AgeAlarm = 5 * time.Minute
	}
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	if p.Name != "" {
		bad.Check(queueName.MatchString(p.Name), "Name", p.Name, "1 to 76 letters, digits, hyphens and underscores")
	}
	cdkx.WholeSeconds(&bad, "VisibilityTimeout", p.VisibilityTimeout, time.Second, MaxVisibilityTimeout)
	cdkx.WholeSeconds(&bad, "Retention", p.Retention, MinRetention, maxSourceRetention)
	cdkx.Between(&bad, "MaxReceives", p.MaxReceives, 1, 1000)
	cdkx.WholeSeconds(&bad, "Delay", p.Delay, 0, MaxDelay)
	cdkx.WholeSeconds(&bad, "AgeAlarm", p.AgeAlarm, time.Minute, MaxRetention)
	return bad.Err("queue")
}

// New makes a Queue. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Queue {
	cdkx.Must(scope, id, "queue", props.Validate())
	props = props.withDefaults()
	q := &Queue{DeadLetterQueue: props.DeadLetterQueue, VisibilityTimeout: props.VisibilityTimeout}
	constructs.NewConstruct_Override(q, scope, &id)
	encryption := awssqs.QueueEncryption_SQS_MANAGED
	if props.Key != nil {
		encryption = awssqs.QueueEncryption_KMS
	}
	if q.DeadLetterQueue == nil {
		deadLetterProps := &awssqs.QueueProps{
			Encryption:          encryption,
			EncryptionMasterKey: props.Key,
			EnforceSSL:          new(true),
			RetentionPeriod:     cdkx.Duration(MaxRetention),
			RemovalPolicy:       awscdk.RemovalPolicy_DESTROY,
		}
		if props.Name != "" {
			deadLetterProps.QueueName = new(props.Name + "-dlq")
		}
		q.DeadLetterQueue = awssqs.NewQueue(q, new("DeadLetter"), cdkx.Override(deadLetterProps, props.OverrideDeadLetter))
	}
	queueProps := &awssqs.QueueProps{
		QueueName:              cdkx.Optional(props.Name),
		Encryption:             encryption,
		EncryptionMasterKey:    props.Key,
		EnforceSSL:             new(true),
		VisibilityTimeout:      cdkx.Duration(props.VisibilityTimeout),
		RetentionPeriod:        cdkx.Duration(props.Retention),
		ReceiveMessageWaitTime: cdkx.Duration(MaxReceiveWait),
		RemovalPolicy:          awscdk.RemovalPolicy_DESTROY,
		DeadLetterQueue: &awssqs.DeadLetterQueue{
			Queue:           q.DeadLetterQueue,
			MaxReceiveCount: cdkx.Number(props.MaxReceives),
		},
	}
	if props.Delay > 0 {
		queueProps.DeliveryDelay = cdkx.Duration(props.Delay)
	}
	q.Queue = awssqs.NewQueue(q, new("Queue"), cdkx.Override(queueProps, props.Override))

	q.AgeAlarm = cdkx.Alarm(q, "AgeAlarm", cdkx.AlarmSpec{
		Metric: q.Queue.MetricApproximateAgeOfOldestMessage(cdkx.MetricOptions("Maximum", time.Minute)),
		Description: fmt.Sprintf("The oldest message has waited more than %v. Consumers are too few, too slow or failing.",
			props.AgeAlarm),
		Threshold: props.AgeAlarm.Seconds(),
	})
	q.DeadLetterAlarm = cdkx.Alarm(q, "DeadLetterAlarm", cdkx.AlarmSpec{
		Metric: q.DeadLetterQueue.MetricApproximateNumberOfMessagesVisible(cdkx.MetricOptions("Maximum", time.Minute)),
		Description: fmt.Sprintf("A message failed %d times and waits in the dead-letter queue. Find the cause, then redrive it.",
			props.MaxReceives),
		Periods: 1,
	})
	return q
}

// GrantSend lets an identity send messages.
func (q *Queue) GrantSend(to awsiam.IGrantable) awsiam.Grant {
	return q.Queue.GrantSendMessages(to)
}

// GrantConsume lets an identity receive and delete messages and extend their
// visibility.
func (q *Queue) GrantConsume(to awsiam.IGrantable) awsiam.Grant {
	return q.Queue.GrantConsumeMessages(to)
}

// Alarms are AgeAlarm and DeadLetterAlarm.
func (q *Queue) Alarms() []awscloudwatch.IAlarm {
	return []awscloudwatch.IAlarm{q.AgeAlarm, q.DeadLetterAlarm}
}

// Widgets show what waits, what is in flight, what was given up, and how old
// the oldest message is.
func (q *Queue) Widgets() []awscloudwatch.IWidget {
	title := *q.Node().Id()
	options := func(label string) *awscloudwatch.MetricOptions {
		o := cdkx.MetricOptions("Maximum", time.Minute)
		o.Label = &label
		return o
	}
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": messages",
			q.Queue.MetricApproximateNumberOfMessagesVisible(options("waiting")),
			q.Queue.MetricApproximateNumberOfMessagesNotVisible(options("in flight")),
			q.DeadLetterQueue.MetricApproximateNumberOfMessagesVisible(options("dead letters"))),
		cdkx.Graph(title+": age of the oldest message in seconds",
			q.Queue.MetricApproximateAgeOfOldestMessage(options("age"))),
	}
}
