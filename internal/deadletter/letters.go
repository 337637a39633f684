package deadletter

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/loadbearing/loadbearing/app/worker"
)

// hidden is how long messages that are looked at or moved stay hidden from
// others should this program die meanwhile.
const hidden = time.Minute

// Letter is a message in a dead-letter queue.
type Letter struct {
	ID         string            `json:"id"`
	Sent       time.Time         `json:"sent"`     // to the queue it failed in; to this one when a worker moved it
	Receives   int               `json:"receives"` // until it was given up where that is known, else of the message so far, this look included
	Why        string            `json:"why"`
	Attributes map[string]string `json:"attributes,omitempty"` // binary ones in base64
	Body       string            `json:"body"`
}

// errChained says that looking is not free.
var errChained = errors.New("the dead-letter queue has a redrive policy of its own: to look at a message counts as a receive and may move it on")

// Show returns up to limit dead letters of a queue. All are visible again when
// it returns.
func (c *Client) Show(ctx context.Context, q Queue, limit int) (letters []Letter, err error) {
	if q.Dead == nil {
		return nil, nil
	}
	if q.Dead.chained {
		return nil, fmt.Errorf("show %s: %w", q.Dead.Name, errChained)
	}
	var taken []types.Message
	defer func() {
		if kept := c.giveBack(ctx, q.Dead.URL, taken); kept != nil {
			err = errors.Join(err, fmt.Errorf("show %s: some messages stay hidden for %v: %w", q.Dead.Name, hidden, kept))
		}
	}()
	for len(letters) < limit {
		got, raw, err := c.receive(ctx, q.Dead.URL, min(limit-len(letters), maxBatch))
		if err != nil {
			return letters, fmt.Errorf("show %s: %w", q.Dead.Name, err)
		}
		if len(got) == 0 {
			break
		}
		letters, taken = append(letters, got...), append(taken, raw...)
	}
	for i := range letters {
		if letters[i].Why == "" {
			letters[i].Why = "its consumer failed " + strconv.Itoa(q.MaxReceives) + " times; the log of the consumer says why"
		}
	}
	return letters, nil
}

// receive takes up to n messages, which are hidden until they are given back or
// hidden is over. (The SDK cannot ask for a visibility timeout of 0.)
func (c *Client) receive(ctx context.Context, url string, n int) ([]Letter, []types.Message, error) {
	out, err := c.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: int32(n), VisibilityTimeout: int32(hidden / time.Second),
		WaitTimeSeconds:             1, // a long poll asks every server of SQS, a short one some
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		MessageAttributeNames:       []string{"All"},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("receive from %s: %w", url, err)
	}
	letters := make([]Letter, len(out.Messages))
	for i, m := range out.Messages {
		letters[i] = letter(m)
	}
	return letters, out.Messages, nil
}

func letter(m types.Message) Letter {
	l := Letter{ID: aws.ToString(m.MessageId), Body: aws.ToString(m.Body)}
	l.Receives, _ = strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if ms, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		l.Sent = time.UnixMilli(ms)
	}
	for name, v := range m.MessageAttributes {
		if l.Attributes == nil {
			l.Attributes = map[string]string{}
		}
		l.Attributes[name] = aws.ToString(v.StringValue)
		if v.BinaryValue != nil {
			l.Attributes[name] = base64.StdEncoding.EncodeToString(v.BinaryValue)
		}
	}
	l.Why = l.Attributes[worker.AttributeReason]
	if n, err := strconv.Atoi(l.Attributes[worker.AttributeReceives]); err == nil {
		l.Receives = n
	}
	return l
}

// giveBack makes messages visible again, also when ctx is over.
func (c *Client) giveBack(ctx context.Context, url string, messages []types.Message) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var errs []error
	for chunk := range slices.Chunk(messages, maxBatch) {
		entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(chunk))
		for i, m := range chunk {
			entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle}
		}
		out, err := c.sqs.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: entries})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, f := range out.Failed {
			errs = append(errs, fmt.Errorf("%s: %s", aws.ToString(f.Code), aws.ToString(f.Message)))
		}
	}
	return errors.Join(errs...)
}

// Redrive moves the dead letters of a queue back to it and returns how many
// were moved. SQS moves them itself where it can (StartMessageMoveTask), at
// its own rate; elsewhere each is sent with its body and attributes and then
// deleted, at least once like everything in SQS.
//
// It moves what was there when it began: a message that fails again meanwhile
// stays a dead letter.
func (c *Client) Redrive(ctx context.Context, q Queue) (int, error) {
	if q.Dead == nil {
		return 0, nil
	}
	if len(q.Dead.Sources) > 1 {
		return 0, fmt.Errorf("redrive %s: it takes the dead letters of %v, and not every message says of which; move them one by one", q.Dead.Name, q.Dead.Sources)
	}
	_, err := c.sqs.StartMessageMoveTask(ctx, &sqs.StartMessageMoveTaskInput{SourceArn: &q.Dead.ARN, DestinationArn: &q.ARN})
	switch {
	case err == nil:
	case notThere(err):
		return c.copy(ctx, q)
	case unsupported(err):
		// It says so too while a task runs: wait for that one.
		if task, err := c.task(ctx, q); err != nil || !active(task) {
			return c.copy(ctx, q)
		}
	default:
		return 0, fmt.Errorf("redrive %s to %s: %w", q.Dead.Name, q.Name, err)
	}
	return c.follow(ctx, q)
}

// notThere tells whether the endpoint does not know an operation.
func notThere(err error) bool {
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.HTTPStatusCode() == 501 {
		return true
	}
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains([]string{"InvalidAction", "UnknownOperationException", "UnknownOperation", "NotImplemented"}, api.ErrorCode())
}

// unsupported tells whether SQS refuses the operation for this queue.
func unsupported(err error) bool {
	_, ok := errors.AsType[*types.UnsupportedOperation](err)
	return ok
}

func (c *Client) task(ctx context.Context, q Queue) (types.ListMessageMoveTasksResultEntry, error) {
	out, err := c.sqs.ListMessageMoveTasks(ctx, &sqs.ListMessageMoveTasksInput{SourceArn: &q.Dead.ARN, MaxResults: aws.Int32(1)})
	if err != nil || len(out.Results) == 0 {
		return types.ListMessageMoveTasksResultEntry{}, err
	}
	return out.Results[0], nil
}

func active(task types.ListMessageMoveTasksResultEntry) bool {
	status := aws.ToString(task.Status)
	return status == "RUNNING" || status == "CANCELLING"
}

// follow waits for SQS to have moved the messages.
func (c *Client) follow(ctx context.Context, q Queue) (int, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		task, err := c.task(ctx, q)
		moved := int(task.ApproximateNumberOfMessagesMoved)
		switch {
		case err != nil:
			return moved, fmt.Errorf("redrive %s: SQS moves the messages, but does not say how far it is: %w", q.Dead.Name, err)
		case active(task):
		case aws.ToString(task.Status) == "COMPLETED":
			return moved, nil
		default:
			return moved, fmt.Errorf("redrive %s: the move task ended as %q after %d messages: %s", q.Dead.Name, aws.ToString(task.Status), moved, aws.ToString(task.FailureReason))
		}
		select {
		case <-ctx.Done():
			return moved, fmt.Errorf("redrive %s: stopped waiting after %d messages; SQS goes on moving them: %w", q.Dead.Name, moved, ctx.Err())
		case <-tick.C:
		}
	}
}

// copy moves the messages one by one.
func (c *Client) copy(ctx context.Context, q Queue) (moved int, err error) {
	for moved < q.Dead.Waiting {
		_, messages, err := c.receive(ctx, q.Dead.URL, min(q.Dead.Waiting-moved, maxBatch))
		if err != nil {
			return moved, fmt.Errorf("redrive %s: %w", q.Dead.Name, err)
		}
		if len(messages) == 0 {
			break // somebody else took the others
		}
		for i, m := range messages {
			if err := c.moveOne(ctx, q, m); err != nil {
				return moved, errors.Join(fmt.Errorf("redrive %s to %s: message %s, after %d that were moved: %w",
					q.Dead.Name, q.Name, aws.ToString(m.MessageId), moved, err), c.giveBack(ctx, q.Dead.URL, messages[i:]))
			}
			moved++
		}
	}
	return moved, nil
}

func (c *Client) moveOne(ctx context.Context, q Queue, m types.Message) error {
	in := &sqs.SendMessageInput{QueueUrl: &q.URL, MessageBody: m.Body, MessageAttributes: m.MessageAttributes}
	if group, ok := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]; ok {
		in.MessageGroupId = &group
	}
	if _, fifo := m.Attributes[string(types.MessageSystemAttributeNameMessageDeduplicationId)]; fifo {
		// Its own was used: within five minutes SQS would take it for a repeat and drop it.
		in.MessageDeduplicationId = m.MessageId
	}
	if header, ok := m.Attributes[string(types.MessageSystemAttributeNameAWSTraceHeader)]; ok {
		in.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{
			string(types.MessageSystemAttributeNameForSendsAWSTraceHeader): {DataType: aws.String("String"), StringValue: &header},
		}
	}
	if _, err := c.sqs.SendMessage(ctx, in); err != nil {
		return fmt.Errorf("send it: %w", err)
	}
	// What was sent is deleted also when the caller stops meanwhile.
	if _, err := c.sqs.DeleteMessage(context.WithoutCancel(ctx), &sqs.DeleteMessageInput{QueueUrl: &q.Dead.URL, ReceiptHandle: m.ReceiptHandle}); err != nil {
		return fmt.Errorf("it was sent, and is still a dead letter: delete it: %w", err)
	}
	return nil
}

// Purge deletes the dead letters of a queue for ever. SQS takes up to a minute
// for it and deletes what arrives meanwhile too.
func (c *Client) Purge(ctx context.Context, q Queue) error {
	if q.Dead == nil {
		return nil
	}
	_, err := c.sqs.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: &q.Dead.URL})
	if _, running := errors.AsType[*types.PurgeQueueInProgress](err); running {
		return fmt.Errorf("purge %s: SQS does so once a minute and is at it already: %w", q.Dead.Name, err)
	}
	if err != nil {
		return fmt.Errorf("purge %s: %w", q.Dead.Name, err)
	}
	return nil
}
