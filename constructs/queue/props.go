package queue

import (
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Limits of SQS, from its developer guide ("Amazon SQS message quotas" and
// "Amazon SQS queue quotas").
const (
	MaxVisibilityTimeout = 12 * time.Hour
	MaxRetention         = 14 * 24 * time.Hour
	MinRetention         = time.Minute
	MaxReceiveWait       = 20 * time.Second
	MaxDelay             = 15 * time.Minute
	MaxMessageBytes      = 1 << 20
	MaxInFlight          = 120_000
)

const (
	// visibilityFactor leaves Lambda time to retry a batch that was throttled
	// ("Using Lambda with Amazon SQS", Lambda developer guide).
	visibilityFactor = 6
	maxBatchWindow   = 5 * time.Minute

	// maxSourceRetention leaves a day in the dead-letter queue: a message moved
	// there keeps the age it had, so the dead-letter queue must retain for longer.
	maxSourceRetention = MaxRetention - 24*time.Hour

	minMessageBytes = 1 << 10
	minDataKeyReuse = time.Minute
	maxDataKeyReuse = 24 * time.Hour

	deadLetterSuffix = "-dlq"
	fifoSuffix       = ".fifo"
)

// Props configures a Queue. The zero value is an encrypted standard queue with
// a dead-letter queue after five receives.
type Props struct {
	// Name of the queue, 1 to 76 letters, digits, hyphens and underscores; the
	// dead-letter queue adds "-dlq". A FIFO queue has up to 71, and both get the
	// ".fifo" that SQS wants. Default a name CloudFormation generates, which lets a
	// change that needs a new queue go through. Only with a Name can the
	// dead-letter queue refuse other sources: what CloudFormation generates is not
	// known when the dead-letter queue is made, which has to come first.
	Name string

	// Queue is an existing queue, which stays as it is. Default one is made. The fields that apply to it
	// are DeadLetterQueue (default none), VisibilityTimeout (what it has), Consumer,
	// AgeAlarm and DepthAlarm.
	Queue awssqs.IQueue

	// DeadLetterQueue is an existing queue for messages received MaxReceives
	// times, FIFO when the queue is. Default one of this queue's own.
	DeadLetterQueue awssqs.IQueue

	// Consumer says how long the consumer takes, from which VisibilityTimeout
	// follows. Default not known, as for consumers that extend the timeout while
	// they work.
	Consumer Consumer

	// VisibilityTimeout is how long a received message stays hidden from other
	// consumers: longer than a consumer takes between two extensions. 1 s to 12 h,
	// and at least what Consumer needs. Default what Consumer needs, or 30 s.
	VisibilityTimeout time.Duration

	// Retention is how long a message waits before it is dropped, 1 min to
	// 13 days. Default 4 days.
	Retention time.Duration

	// DeadLetterRetention is how long a message stays in the dead-letter queue, up
	// to 14 days and longer than Retention: it counts from when the message was
	// first sent. Default 14 days.
	DeadLetterRetention time.Duration

	// MaxReceives is how often a message is handed out before it moves to the
	// dead-letter queue, 1 to 1000. Default 5, the fewest that the Lambda
	// developer guide advises: a throttled invocation counts as a receive.
	MaxReceives int

	// Delay hides a new message, 0 to 15 min. Default none.
	Delay time.Duration

	// MaxMessageBytes refuses larger messages, 1 KiB to 1 MiB. Default 1 MiB.
	MaxMessageBytes int

	// FIFO delivers the messages of a group in the order they were sent, and each
	// once within the five minutes of deduplication.
	FIFO bool

	// ContentDeduplication takes the SHA-256 of the body for messages that carry
	// no deduplication id. For FIFO.
	ContentDeduplication bool

	// HighThroughput counts the quota of requests per message group instead of per
	// queue, and deduplicates within a group only. For FIFO.
	HighThroughput bool

	// Key encrypts both queues. Default SSE-SQS, whose keys SQS manages free of
	// charge.
	Key awskms.IKey

	// DataKeyReuse is how long SQS uses a data key of Key before it asks KMS for
	// another, 1 min to 24 h. Longer costs less, and a disabled key is noticed
	// later. Default 5 min.
	DataKeyReuse time.Duration

	// AgeAlarm is the age of the oldest message, at least a minute, above which
	// consumers count as behind. Default 5 min.
	AgeAlarm time.Duration

	// DepthAlarm is how many messages may wait for a quarter of an hour. Default
	// 10000.
	DepthAlarm int

	// Override and OverrideDeadLetter have the last word on the two queues.
	Override           func(*awssqs.QueueProps)
	OverrideDeadLetter func(*awssqs.QueueProps)
}

// Consumer is what the one who takes messages from a queue needs. The zero value
// says nothing.
type Consumer struct {
	// Timeout is how long the consumer may take for a batch: a Lambda function's
	// timeout. 1 s to 2 h. Default 0: not known.
	Timeout time.Duration

	// BatchWindow is how long messages are gathered for a batch, 0 to 5 min; none
	// for FIFO, which Lambda does not allow. Default 0.
	BatchWindow time.Duration
}

// visibility is the shortest visibility timeout that lets a batch be tried again
// before another consumer gets it.
func (c Consumer) visibility() time.Duration { return visibilityFactor*c.Timeout + c.BatchWindow }

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	queueName     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,76}$`)
	fifoQueueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,71}$`)
)

func (p Props) withDefaults() Props {
	if p.VisibilityTimeout == 0 && p.Queue == nil {
		p.VisibilityTimeout = p.Consumer.visibility()
	}
	if p.VisibilityTimeout == 0 {
		p.VisibilityTimeout = 30 * time.Second
	}
	if p.Retention == 0 {
		p.Retention = 4 * 24 * time.Hour
	}
	if p.DeadLetterRetention == 0 {
		p.DeadLetterRetention = MaxRetention
	}
	if p.MaxReceives == 0 {
		p.MaxReceives = 5
	}
	if p.AgeAlarm == 0 {
		p.AgeAlarm = 5 * time.Minute
	}
	if p.DepthAlarm == 0 {
		p.DepthAlarm = 10_000
	}
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	if p.Queue != nil {
		p.checkExisting(&bad)
	}
	given := p
	p = p.withDefaults()
	switch {
	case p.Name == "":
	case p.FIFO:
		cdkx.Matches(&bad, "Name", p.Name, fifoQueueName, `1 to 71 letters, digits, hyphens and underscores, to which ".fifo" is added`)
	default:
		cdkx.Matches(&bad, "Name", p.Name, queueName, "1 to 76 letters, digits, hyphens and underscores")
	}
	p.checkDeadLetters(&bad, given)
	p.checkVisibility(&bad)
	cdkx.WholeSeconds(&bad, "Retention", p.Retention, MinRetention, maxSourceRetention)
	cdkx.Between(&bad, "MaxReceives", p.MaxReceives, 1, 1000)
	cdkx.WholeSeconds(&bad, "Delay", p.Delay, 0, MaxDelay)
	if p.MaxMessageBytes != 0 {
		cdkx.Between(&bad, "MaxMessageBytes", p.MaxMessageBytes, minMessageBytes, MaxMessageBytes)
	}
	bad.Check(p.FIFO || !p.ContentDeduplication, "ContentDeduplication", true, "false without FIFO")
	bad.Check(p.FIFO || !p.HighThroughput, "HighThroughput", true, "false without FIFO")
	if p.DataKeyReuse != 0 {
		cdkx.WholeSeconds(&bad, "DataKeyReuse", p.DataKeyReuse, minDataKeyReuse, maxDataKeyReuse)
		bad.Check(p.Key != nil || p.Queue != nil, "DataKeyReuse", p.DataKeyReuse, "none without a Key")
	}
	cdkx.WholeSeconds(&bad, "AgeAlarm", p.AgeAlarm, time.Minute, MaxRetention)
	cdkx.AtLeast(&bad, "DepthAlarm", p.DepthAlarm, 1)
	return bad.Err("queue")
}

func (p Props) fifo() bool {
	if p.Queue != nil {
		return *p.Queue.Fifo()
	}
	return p.FIFO
}

// checkExisting refuses what would have to change the existing queue.
func (p Props) checkExisting(bad *cdkx.Problems) {
	for _, field := range []struct {
		name  string
		set   bool
		value any
	}{
		{"Name", p.Name != "", p.Name},
		{"Retention", p.Retention != 0, p.Retention},
		{"DeadLetterRetention", p.DeadLetterRetention != 0, p.DeadLetterRetention},
		{"MaxReceives", p.MaxReceives != 0, p.MaxReceives},
		{"Delay", p.Delay != 0, p.Delay},
		{"MaxMessageBytes", p.MaxMessageBytes != 0, p.MaxMessageBytes},
		{"FIFO", p.FIFO, p.FIFO},
		{"ContentDeduplication", p.ContentDeduplication, p.ContentDeduplication},
		{"HighThroughput", p.HighThroughput, p.HighThroughput},
		{"Key", p.Key != nil, "set"},
		{"DataKeyReuse", p.DataKeyReuse != 0, p.DataKeyReuse},
		{"Override", p.Override != nil, "set"},
		{"OverrideDeadLetter", p.OverrideDeadLetter != nil, "set"},
	} {
		bad.Check(!field.set, field.name, field.value, "none with an existing Queue")
	}
}

func (p Props) checkDeadLetters(bad *cdkx.Problems, given Props) {
	if p.DeadLetterQueue == nil {
		cdkx.WholeSeconds(bad, "DeadLetterRetention", p.DeadLetterRetention, MinRetention, MaxRetention)
		if p.Retention <= maxSourceRetention {
			bad.Check(p.DeadLetterRetention > p.Retention, "DeadLetterRetention", p.DeadLetterRetention,
				fmt.Sprintf("more than the Retention of %v", p.Retention))
		}
		return
	}
	bad.Check(given.DeadLetterRetention == 0 || p.Queue != nil, "DeadLetterRetention", p.DeadLetterRetention, "none with an existing DeadLetterQueue")
	bad.Check(p.OverrideDeadLetter == nil || p.Queue != nil, "OverrideDeadLetter", "set", "none with an existing DeadLetterQueue")
	path := *p.DeadLetterQueue.Node().Path()
	bad.Check(*p.DeadLetterQueue.Fifo() == p.fifo(), "DeadLetterQueue", path, "a FIFO queue for a FIFO queue, a standard one for a standard one")
	// The age of a message starts anew in a FIFO dead-letter queue only ("Using
	// dead-letter queues", SQS developer guide).
	if retention, known := retentionOf(p.DeadLetterQueue); known && p.Queue == nil && !p.FIFO {
		bad.Check(retention > p.Retention, "DeadLetterQueue", path,
			fmt.Sprintf("a queue that retains for more than the Retention of %v; this one does for %v", p.Retention, retention))
	}
}

// retentionOf is known of a queue that this app makes.
func retentionOf(queue awssqs.IQueue) (time.Duration, bool) {
	resource, ok := queue.Node().DefaultChild().(awssqs.CfnQueue)
	if !ok {
		return 0, false
	}
	seconds := resource.MessageRetentionPeriod()
	if seconds == nil {
		return 4 * 24 * time.Hour, true
	}
	// CDK writes a number that only the deployment knows as one far below zero.
	return time.Duration(*seconds) * time.Second, *seconds > 0
}

func (p Props) checkVisibility(bad *cdkx.Problems) {
	cdkx.WholeSeconds(bad, "VisibilityTimeout", p.VisibilityTimeout, time.Second, MaxVisibilityTimeout)
	if p.Consumer == (Consumer{}) {
		return
	}
	cdkx.WholeSeconds(bad, "Consumer.Timeout", p.Consumer.Timeout, time.Second, MaxVisibilityTimeout/visibilityFactor)
	if p.fifo() {
		bad.Check(p.Consumer.BatchWindow == 0, "Consumer.BatchWindow", p.Consumer.BatchWindow, "0s for FIFO")
	} else {
		cdkx.WholeSeconds(bad, "Consumer.BatchWindow", p.Consumer.BatchWindow, 0, maxBatchWindow)
	}
	needed := p.Consumer.visibility()
	bad.Check(p.VisibilityTimeout >= needed, "VisibilityTimeout", p.VisibilityTimeout,
		fmt.Sprintf("%v or more, six times the Consumer.Timeout of %v and the Consumer.BatchWindow of %v",
			needed, p.Consumer.Timeout, p.Consumer.BatchWindow))
}
