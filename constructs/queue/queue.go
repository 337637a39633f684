package queue

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Queue is an SQS queue and its dead-letter queue. Both refuse connections
// without TLS.
type Queue struct {
	constructs.Construct
	Queue             awssqs.IQueue
	DeadLetterQueue   awssqs.IQueue // nil for an existing queue without one
	VisibilityTimeout time.Duration
	FIFO              bool

	AgeAlarm        awscloudwatch.IAlarm // critical: consumers are behind
	DepthAlarm      awscloudwatch.IAlarm // warning: messages pile up
	InFlightAlarm   awscloudwatch.IAlarm // warning: near the quota, after which nothing is received
	DeadLetterAlarm awscloudwatch.IAlarm // critical: a message was given up; nil without a DeadLetterQueue
}

// New makes a Queue. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Queue {
	cdkx.Must(scope, id, "queue", props.Validate())
	props = props.withDefaults()
	q := &Queue{
		Queue:             props.Queue,
		DeadLetterQueue:   props.DeadLetterQueue,
		VisibilityTimeout: props.VisibilityTimeout,
		FIFO:              props.fifo(),
	}
	constructs.NewConstruct_Override(q, scope, &id)
	if q.Queue == nil {
		if q.DeadLetterQueue == nil {
			q.DeadLetterQueue = q.makeDeadLetterQueue(props)
		}
		q.Queue = q.makeQueue(props)
	}
	q.makeAlarms(props)
	return q
}

// URL is what the SDK's calls take.
func (q *Queue) URL() string { return *q.Queue.QueueUrl() }

// ARN names the queue in policies.
func (q *Queue) ARN() string { return *q.Queue.QueueArn() }

// Name is the dimension QueueName of the queue's metrics.
func (q *Queue) Name() string { return *q.Queue.QueueName() }

// DeadLetterURL is the URL of the dead-letter queue, empty for an existing queue
// without one.
func (q *Queue) DeadLetterURL() string {
	if q.DeadLetterQueue == nil {
		return ""
	}
	return *q.DeadLetterQueue.QueueUrl()
}

// DeadLetterARN is the ARN of the dead-letter queue, empty for an existing queue
// without one.
func (q *Queue) DeadLetterARN() string {
	if q.DeadLetterQueue == nil {
		return ""
	}
	return *q.DeadLetterQueue.QueueArn()
}

func (q *Queue) makeDeadLetterQueue(props Props) awssqs.IQueue {
	deadLetterProps := props.common(deadLetterSuffix)
	deadLetterProps.RetentionPeriod = cdkx.Duration(props.DeadLetterRetention)
	if props.Name != "" {
		// By its name: with a reference each queue would need the other first.
		source := awscdk.Stack_Of(q).FormatArn(&awscdk.ArnComponents{
			Service: new("sqs"), Resource: new(props.name("")),
		})
		deadLetterProps.RedriveAllowPolicy = &awssqs.RedriveAllowPolicy{
			SourceQueues: &[]awssqs.IQueue{awssqs.Queue_FromQueueArn(q, new("Source"), source)},
		}
	}
	return awssqs.NewQueue(q, new("DeadLetter"), cdkx.Override(deadLetterProps, props.OverrideDeadLetter))
}

func (q *Queue) makeQueue(props Props) awssqs.IQueue {
	queueProps := props.common("")
	queueProps.VisibilityTimeout = cdkx.Duration(props.VisibilityTimeout)
	queueProps.RetentionPeriod = cdkx.Duration(props.Retention)
	queueProps.ReceiveMessageWaitTime = cdkx.Duration(MaxReceiveWait)
	queueProps.DeadLetterQueue = &awssqs.DeadLetterQueue{
		Queue:           q.DeadLetterQueue,
		MaxReceiveCount: cdkx.Number(props.MaxReceives),
	}
	if props.Delay > 0 {
		queueProps.DeliveryDelay = cdkx.Duration(props.Delay)
	}
	if props.MaxMessageBytes > 0 {
		queueProps.MaxMessageSizeBytes = cdkx.Number(props.MaxMessageBytes)
	}
	return awssqs.NewQueue(q, new("Queue"), cdkx.Override(queueProps, props.Override))
}

// common is what the two queues share.
func (p Props) common(suffix string) *awssqs.QueueProps {
	common := &awssqs.QueueProps{
		QueueName:           cdkx.Optional(p.name(suffix)),
		Encryption:          awssqs.QueueEncryption_SQS_MANAGED,
		EncryptionMasterKey: p.Key,
		EnforceSSL:          new(true),
		RemovalPolicy:       awscdk.RemovalPolicy_DESTROY,
	}
	if p.Key != nil {
		common.Encryption = awssqs.QueueEncryption_KMS
	}
	if p.DataKeyReuse > 0 {
		common.DataKeyReuse = cdkx.Duration(p.DataKeyReuse)
	}
	if p.FIFO {
		common.Fifo = new(true)
	}
	if p.ContentDeduplication {
		common.ContentBasedDeduplication = new(true)
	}
	if p.HighThroughput {
		common.DeduplicationScope = awssqs.DeduplicationScope_MESSAGE_GROUP
		common.FifoThroughputLimit = awssqs.FifoThroughputLimit_PER_MESSAGE_GROUP_ID
	}
	return common
}

func (p Props) name(suffix string) string {
	switch {
	case p.Name == "":
		return ""
	case p.FIFO:
		return p.Name + suffix + fifoSuffix
	default:
		return p.Name + suffix
	}
}
