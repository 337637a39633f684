package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// Message attributes of a message that the worker moved to the dead-letter
// queue, beside those it had.
const (
	AttributeReason   = "DeadLetterReason"   // why: the handler's last error, up to 1,024 bytes
	AttributeReceives = "DeadLetterReceives" // how often it was received, a number
	AttributeOriginal = "DeadLetterOriginal" // the message's id in the queue it comes from
)

const (
	// maxAttributes is what SQS takes of one message.
	maxAttributes = 10
	maxReason     = 1024 // bytes
)

// redrive is a queue's redrive policy; zero for a queue without one.
type redrive struct {
	maxReceives int
	url         string // of the dead-letter queue; empty when the worker must not send there
}

// last tells whether a receive is the last the policy permits.
func (r redrive) last(attempt int) bool { return r.maxReceives > 0 && attempt >= r.maxReceives }

// learn reads the redrive policy, again with a growing delay while the queue
// does not answer. It returns false when ctx is over first.
func (w *Worker) learn(ctx context.Context) bool {
	for failures := 1; ; failures++ {
		policy, err := w.readRedrive(ctx)
		if err == nil {
			w.redrive = policy
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		w.metrics.receiveErrors.Inc()
		delay := backoff(time.Second, 30*time.Second, failures)
		w.config.Logger.Error("the queue's redrive policy cannot be read; nothing is received before", "queue", w.config.URL, "retry_in", delay, "error", err)
		if !pause(ctx, delay) {
			return false
		}
	}
}

func (w *Worker) readRedrive(ctx context.Context) (redrive, error) {
	out, err := w.config.Queue.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &w.config.URL, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameRedrivePolicy},
	})
	if err != nil {
		return redrive{}, err
	}
	text := out.Attributes[string(types.QueueAttributeNameRedrivePolicy)]
	if text == "" {
		w.config.Logger.Warn("the queue has no dead-letter queue: a message that fails is tried until its retention is over", "queue", w.config.URL)
		return redrive{}, nil
	}
	var policy struct {
		Target      string      `json:"deadLetterTargetArn"`
		MaxReceives json.Number `json:"maxReceiveCount"` // a number, or one in quotes
	}
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		return redrive{}, fmt.Errorf("redrive policy %q: %w", text, err)
	}
	most, err := strconv.Atoi(policy.MaxReceives.String())
	if err != nil {
		return redrive{}, fmt.Errorf("redrive policy %q: maxReceiveCount: %w", text, err)
	}
	r := redrive{maxReceives: most}
	if w.config.LeaveToRedrive {
		return r, nil
	}
	target, err := arn.Parse(policy.Target)
	if err != nil {
		return redrive{}, fmt.Errorf("redrive policy %q: deadLetterTargetArn: %w", text, err)
	}
	found, err := w.config.Queue.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &target.Resource, QueueOwnerAWSAccountId: &target.AccountID})
	if refused, ok := refusal(err); ok {
		// Not allowed, or gone: SQS itself can still move messages there.
		w.config.Logger.Warn("dead letters are left to the redrive policy, without a reason: allow sqs:GetQueueUrl and sqs:SendMessage on the dead-letter queue, or set LeaveToRedrive",
			"dead_letter_queue", policy.Target, "code", refused.ErrorCode(), "error", err)
		return r, nil
	}
	if err != nil {
		return redrive{}, fmt.Errorf("find the dead-letter queue %s: %w", policy.Target, err)
	}
	r.url = aws.ToString(found.QueueUrl)
	return r, nil
}

// bury sends a copy of a message with the reason to the dead-letter queue.
func (w *Worker) bury(ctx context.Context, raw types.Message, m Message, reason error) error {
	attributes := maps.Clone(raw.MessageAttributes)
	if attributes == nil {
		attributes = map[string]types.MessageAttributeValue{}
	}
	for _, a := range []struct{ name, kind, value string }{
		{AttributeReason, "String", attributeText(reason.Error())},
		{AttributeReceives, "Number", strconv.Itoa(m.Attempt)},
		{AttributeOriginal, "String", m.ID},
	} {
		if _, there := attributes[a.name]; there || len(attributes) < maxAttributes {
			attributes[a.name] = types.MessageAttributeValue{DataType: &a.kind, StringValue: &a.value}
		}
	}
	in := &sqs.SendMessageInput{QueueUrl: &w.redrive.url, MessageBody: raw.Body, MessageAttributes: attributes}
	if header, ok := raw.Attributes[string(types.MessageSystemAttributeNameAWSTraceHeader)]; ok {
		in.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{
			string(types.MessageSystemAttributeNameForSendsAWSTraceHeader): {DataType: aws.String("String"), StringValue: &header},
		}
	}
	if group, ok := raw.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]; ok {
		in.MessageGroupId = &group
		if strings.HasSuffix(w.redrive.url, ".fifo") {
			// Not its own deduplication id: redriven and dead again within five
			// minutes, the message would be taken for a repeat and dropped.
			in.MessageDeduplicationId = raw.MessageId
		}
	}
	if _, err := w.config.Queue.SendMessage(ctx, in); err != nil {
		return fmt.Errorf("send it to the dead-letter queue %s: %w", w.redrive.url, err)
	}
	return nil
}

// attributeText cuts a text to what an attribute of ours holds and replaces
// what SQS refuses: all but the characters of XML 1.0.
func attributeText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r == '\r', r >= ' ' && r <= 0xd7ff, r >= 0xe000 && r <= 0xfffd, r >= 0x10000:
			return r
		}
		return utf8.RuneError
	}, s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	if s == "" {
		return "no reason given" // SQS refuses an empty value
	}
	return s
}

// refusal returns what SQS said when the request is at fault and not SQS.
func refusal(err error) (smithy.APIError, bool) {
	api, ok := errors.AsType[smithy.APIError](err)
	return api, ok && api.ErrorFault() != smithy.FaultServer
}
