package worker_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// queue is a standard SQS queue in memory: visibility timeouts, receipt
// handles that only the latest receive holds, long polling, and a redrive
// policy. It lives inside a synctest bubble, whose clock it uses.
type queue struct {
	maxReceives int // 0 for no dead-letter queue

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something became visible
	messages []*stored
	dead     []*stored               // by the redrive policy
	moved    []*sqs.SendMessageInput // by the worker
	deleted  []string                // bodies
	deletes  int                     // requests
	failing  func(operation string) error
	receives int
}

// errHang makes a request hang until its context ends.
var errHang = errors.New("hang")

type stored struct {
	id, body   string
	sent       time.Time
	visible    time.Time
	receipts   int
	extended   int
	delays     []time.Duration // asked for through ChangeMessageVisibility
	receiptAt  []time.Time
	attributes map[string]types.MessageAttributeValue
}

func (m *stored) receipt() string { return m.id + "#" + strconv.Itoa(m.receipts) }

func newQueue(bodies ...string) *queue {
	q := &queue{changed: make(chan struct{}), failing: func(string) error { return nil }}
	for i, body := range bodies {
		q.messages = append(q.messages, &stored{id: fmt.Sprint("m", i), body: body, sent: time.Now(), visible: time.Now()})
	}
	return q
}

func (q *queue) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	poll := time.After(time.Duration(in.WaitTimeSeconds) * time.Second)
	for {
		q.mu.Lock()
		if err := q.failing("receive"); err != nil {
			q.mu.Unlock()
			return nil, err
		}
		out, next, changed := q.take(in), q.next(), q.changed
		q.mu.Unlock()
		if len(out) > 0 {
			return &sqs.ReceiveMessageOutput{Messages: out}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-poll:
			return &sqs.ReceiveMessageOutput{}, nil
		case <-changed:
		case <-next:
		}
	}
}

// next fires when the next message becomes visible.
func (q *queue) next() <-chan time.Time {
	soonest := 24 * time.Hour
	for _, m := range q.messages {
		soonest = min(soonest, time.Until(m.visible))
	}
	return time.After(soonest)
}

func (q *queue) take(in *sqs.ReceiveMessageInput) []types.Message {
	q.receives++
	var out []types.Message
	now := time.Now()
	for _, m := range append([]*stored(nil), q.messages...) {
		if m.visible.After(now) {
			continue
		}
		if len(out) == int(in.MaxNumberOfMessages) {
			continue
		}
		if q.maxReceives > 0 && m.receipts == q.maxReceives {
			q.remove(m)
			q.dead = append(q.dead, m)
			continue
		}
		m.receipts++
		m.receiptAt = append(m.receiptAt, now)
		m.visible = now.Add(time.Duration(in.VisibilityTimeout) * time.Second)
		out = append(out, types.Message{
			MessageId: &m.id, Body: &m.body, ReceiptHandle: aws.String(m.receipt()), MessageAttributes: m.attributes,
			Attributes: map[string]string{
				"ApproximateReceiveCount": strconv.Itoa(m.receipts),
				"SentTimestamp":           strconv.FormatInt(m.sent.UnixMilli(), 10),
			},
		})
	}
	return out
}

func (q *queue) remove(m *stored) {
	for i, other := range q.messages {
		if other == m {
			q.messages = append(q.messages[:i:i], q.messages[i+1:]...)
			return
		}
	}
}

func (q *queue) DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deletes++
	if err := cmp.Or(ctx.Err(), q.failing("delete")); err != nil {
		return nil, err
	}
	out := &sqs.DeleteMessageBatchOutput{}
	for _, entry := range in.Entries {
		if q.failing("delete entry") != nil {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: entry.Id, Code: aws.String("InternalError")})
			continue
		}
		for _, m := range q.messages {
			if m.receipt() == *entry.ReceiptHandle {
				q.remove(m)
				q.deleted = append(q.deleted, m.body)
				break
			}
		}
		out.Successful = append(out.Successful, types.DeleteMessageBatchResultEntry{Id: entry.Id}) // also for an old receipt, as SQS does
	}
	return out, nil
}

func (q *queue) GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.failing("attributes"); err != nil {
		return nil, err
	}
	out := &sqs.GetQueueAttributesOutput{Attributes: map[string]string{}}
	if q.maxReceives > 0 {
		out.Attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":"arn:aws:sqs:eu-central-1:000000000000:dead","maxReceiveCount":"%d"}`, q.maxReceives)
	}
	return out, nil
}

func (q *queue) GetQueueUrl(_ context.Context, in *sqs.GetQueueUrlInput, _ ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) { //nolint:revive // The SDK names it so.
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.failing("url"); err != nil {
		return nil, err
	}
	return &sqs.GetQueueUrlOutput{QueueUrl: aws.String("https://sqs/" + *in.QueueName)}, nil
}

// SendMessage takes what a worker moves to the dead-letter queue.
func (q *queue) SendMessage(ctx context.Context, in *sqs.SendMessageInput, _ ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := cmp.Or(ctx.Err(), q.failing("send")); err != nil {
		return nil, err
	}
	if *in.QueueUrl != "https://sqs/dead" || len(in.MessageAttributes) > 10 {
		return nil, fmt.Errorf("sent to %s with %d attributes", *in.QueueUrl, len(in.MessageAttributes))
	}
	q.moved = append(q.moved, in)
	return &sqs.SendMessageOutput{MessageId: aws.String("copy")}, nil
}

func (q *queue) ChangeMessageVisibility(ctx context.Context, in *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := cmp.Or(ctx.Err(), q.failing("change")); errors.Is(err, errHang) {
		q.mu.Unlock()
		<-ctx.Done()
		q.mu.Lock()
		return nil, ctx.Err()
	} else if err != nil {
		return nil, err
	}
	for _, m := range q.messages {
		if m.receipt() == *in.ReceiptHandle && m.visible.After(time.Now()) {
			d := time.Duration(in.VisibilityTimeout) * time.Second
			m.visible = time.Now().Add(d)
			m.extended++
			m.delays = append(m.delays, d)
			close(q.changed)
			q.changed = make(chan struct{})
			return &sqs.ChangeMessageVisibilityOutput{}, nil
		}
	}
	return nil, &smithy.GenericAPIError{Code: "AWS.SimpleQueueService.MessageNotInflight", Message: "not in flight"}
}

func (q *queue) fail(f func(operation string) error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failing = f
}

// state returns how many messages were deleted, wait and were moved to the
// dead-letter queue by the redrive policy.
func (q *queue) state() (deleted, waiting, dead int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.deleted), len(q.messages), len(q.dead)
}
