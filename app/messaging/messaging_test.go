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

func TestTopicSetsTheEventType(t *testing.T) {
	t.Parallel()
	fake := &topic{}
	errs := messaging.Topic{Client: fake, ARN: "arn"}.Publish(t.Context(), messages(11))
	require.Len(t, errs, 11)
	for i, err := range errs {
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(i), *fake.entries[i].Message)
		require.Equal(t, app.EventVideoUploaded, *fake.entries[i].MessageAttributes["event_type"].StringValue)
	}
}
