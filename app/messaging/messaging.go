// Package messaging publishes messages to SQS and SNS.
package messaging

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/trace"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// maxBatch is the most entries SendMessageBatch and PublishBatch take.
const maxBatch = 10

// SQS is the part of the SQS client that Queue uses.
type SQS interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// SNS is the part of the SNS client that Topic uses.
type SNS interface {
	PublishBatch(context.Context, *sns.PublishBatchInput, ...func(*sns.Options)) (*sns.PublishBatchOutput, error)
}

// Queue publishes to one SQS queue.
type Queue struct {
	Client SQS
	URL    string
}

// Topic publishes to one SNS topic.
type Topic struct {
	Client SNS
	ARN    string
}

// Publish sends the messages, ten in a request. The result has one entry for
// each: nil when SQS accepted it.
func (q Queue) Publish(ctx context.Context, messages []app.Message) []error {
	errs := make([]error, 0, len(messages))
	for chunk := range slices.Chunk(messages, maxBatch) {
		entries := make([]sqstypes.SendMessageBatchRequestEntry, len(chunk))
		for i, m := range chunk {
			entries[i] = sqstypes.SendMessageBatchRequestEntry{
				Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(string(m.Body)),
				MessageAttributes: attributes(m, func(value string) sqstypes.MessageAttributeValue {
					return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
				}),
			}
		}
		out, err := q.Client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(q.URL), Entries: entries})
		if err != nil {
			errs = append(errs, repeat(len(chunk), fmt.Errorf("send to %s: %w", q.URL, err))...)
			continue
		}
		accepted := make([]string, len(out.Successful))
		for i, s := range out.Successful {
			accepted[i] = aws.ToString(s.Id)
		}
		refused := map[string]string{}
		for _, f := range out.Failed {
			refused[aws.ToString(f.Id)] = aws.ToString(f.Code) + ": " + aws.ToString(f.Message)
		}
		errs = append(errs, outcome("send to "+q.URL, len(chunk), accepted, refused)...)
	}
	return errs
}

// Publish publishes the messages, ten in a request. The result has one entry
// for each: nil when SNS accepted it.
func (t Topic) Publish(ctx context.Context, messages []app.Message) []error {
	errs := make([]error, 0, len(messages))
	for chunk := range slices.Chunk(messages, maxBatch) {
		entries := make([]snstypes.PublishBatchRequestEntry, len(chunk))
		for i, m := range chunk {
			entries[i] = snstypes.PublishBatchRequestEntry{
				Id: aws.String(strconv.Itoa(i)), Message: aws.String(string(m.Body)),
				MessageAttributes: attributes(m, func(value string) snstypes.MessageAttributeValue {
					return snstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
				}),
			}
		}
		out, err := t.Client.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: aws.String(t.ARN), PublishBatchRequestEntries: entries})
		if err != nil {
			errs = append(errs, repeat(len(chunk), fmt.Errorf("publish to %s: %w", t.ARN, err))...)
			continue
		}
		accepted := make([]string, len(out.Successful))
		for i, s := range out.Successful {
			accepted[i] = aws.ToString(s.Id)
		}
		refused := map[string]string{}
		for _, f := range out.Failed {
			refused[aws.ToString(f.Id)] = aws.ToString(f.Code) + ": " + aws.ToString(f.Message)
		}
		errs = append(errs, outcome("publish to "+t.ARN, len(chunk), accepted, refused)...)
	}
	return errs
}

// attributes returns what a message tells beside its body. SNS passes it on to
// SQS with raw delivery, which takes up to ten attributes.
func attributes[V any](m app.Message, text func(string) V) map[string]V {
	all := map[string]V{}
	for name, value := range map[string]string{contract.EventTypeAttribute: m.EventType, trace.Parent: m.Traceparent} {
		if value != "" { // SQS and SNS refuse an empty value
			all[name] = text(value)
		}
	}
	return all
}

// outcome gives each entry its answer. One that is in neither list was not
// accepted as far as anyone knows.
func outcome(what string, n int, accepted []string, refused map[string]string) []error {
	errs := make([]error, n)
	for i := range errs {
		id := strconv.Itoa(i)
		switch why, no := refused[id]; {
		case no:
			errs[i] = fmt.Errorf("%s: refused: %s", what, why)
		case !slices.Contains(accepted, id):
			errs[i] = fmt.Errorf("%s: no answer for the entry", what)
		}
	}
	return errs
}

func repeat(n int, err error) []error { return slices.Repeat([]error{err}, n) }
