package messaging_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/messaging"
)

type queue struct {
	calls int
	sizes []int
}

// SendMessageBatch refuses entry 3, forgets entry 4 and fails the second request whole.
func (q *queue) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	q.calls++
	q.sizes = append(q.sizes, len(in.Entries))
	if q.calls == 2 {
		return nil, errors.New("gone")
	}
	out := &sqs.SendMessageBatchOutput{}
	for i, e := range in.Entries {
		switch i {
		case 3:
			out.Failed = append(out.Failed, sqstypes.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError")})
		case 4:
		default:
			out.Successful = append(out.Successful, sqstypes.SendMessageBatchResultEntry{Id: e.Id})
		}
	}
	return out, nil
}

type accepting struct {
	entries []sqstypes.SendMessageBatchRequestEntry
}

func (q *accepting) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	q.entries = append(q.entries, in.Entries...)
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, sqstypes.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

type topic struct {
	entries []snstypes.PublishBatchRequestEntry
}

func (s *topic) PublishBatch(_ context.Context, in *sns.PublishBatchInput, _ ...func(*sns.Options)) (*sns.PublishBatchOutput, error) {
	s.entries = append(s.entries, in.PublishBatchRequestEntries...)
	out := &sns.PublishBatchOutput{}
	for _, e := range in.PublishBatchRequestEntries {
		out.Successful = append(out.Successful, snstypes.PublishBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

func messages(n int) []app.Message {
	ms := make([]app.Message, n)
	for i := range ms {
		ms[i] = app.Message{Body: []byte(strconv.Itoa(i)), EventType: app.EventVideoUploaded}
	}
	return ms
}

func TestQueueAnswersForEachMessage(t *testing.T) {
	t.Parallel()
	fake := &queue{}
	errs := messaging.Queue{Client: fake, URL: "https://q"}.Publish(t.Context(), messages(23))
	require.Equal(t, []int{10, 10, 3}, fake.sizes)
	require.Len(t, errs, 23)
	for i, err := range errs {
		if i == 3 || i == 4 || (i >= 10 && i < 20) {
			require.Error(t, err, i)
		} else {
			require.NoError(t, err, i)
		}
	}
}

func TestAttributesTellTypeAndTrace(t *testing.T) {
	t.Parallel()
	const sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ms := messages(13)
	ms[11].Traceparent, ms[12].Traceparent, ms[12].EventType = sent, sent, ""
	onTopic, onQueue := &topic{}, &accepting{}
	for i, err := range append(messaging.Topic{Client: onTopic, ARN: "arn"}.Publish(t.Context(), ms), messaging.Queue{Client: onQueue, URL: "https://q"}.Publish(t.Context(), ms)...) {
		require.NoError(t, err, i)
	}
	for i, e := range onTopic.entries {
		require.Equal(t, strconv.Itoa(i), *e.Message)
		require.Equal(t, strconv.Itoa(i), *onQueue.entries[i].MessageBody)
		got, same := map[string]string{}, map[string]string{}
		for name, value := range e.MessageAttributes {
			got[name] = *value.DataType + " " + *value.StringValue
		}
		for name, value := range onQueue.entries[i].MessageAttributes {
			same[name] = *value.DataType + " " + *value.StringValue
		}
		want := map[string]string{"event_type": "String " + app.EventVideoUploaded, "traceparent": "String " + sent}
		switch {
		case i < 11:
			delete(want, "traceparent")
		case i == 12:
			delete(want, "event_type")
		}
		require.Equal(t, want, got)
		require.Equal(t, want, same)
	}
}
