package metrics

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// QueueAPI reads queues.
type QueueAPI interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
}

// Queues measures AWS/SQS by QueueName: how many messages are visible, in
// flight and delayed. The age of the oldest message is not an attribute of a
// queue, and not measured.
type Queues struct {
	API QueueAPI

	urls map[string]string // by name; a queue made anew has the same
}

// queueAttributes are the attributes of a queue that are metrics.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
var queueAttributes = map[string]sqstypes.QueueAttributeName{
	"ApproximateNumberOfMessagesVisible":    sqstypes.QueueAttributeNameApproximateNumberOfMessages,
	"ApproximateNumberOfMessagesNotVisible": sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	"ApproximateNumberOfMessagesDelayed":    sqstypes.QueueAttributeNameApproximateNumberOfMessagesDelayed,
}

// Measure implements Source. A queue that does not exist has no data.
func (q *Queues) Measure(ctx context.Context, m types.Metric) ([]float64, error) {
	attribute, known := queueAttributes[aws.ToString(m.MetricName)]
	if !known {
		return nil, ErrUnknown
	}
	name, err := dimension(m, "QueueName")
	if err != nil {
		return nil, err
	}
	out, err := q.read(ctx, name, attribute)
	if gone := (*sqstypes.QueueDoesNotExist)(nil); errors.As(err, &gone) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read queue %s: %w", name, err)
	}
	value, err := strconv.ParseFloat(out.Attributes[string(attribute)], 64)
	if err != nil {
		return nil, fmt.Errorf("queue %s: %s is %q, not a number", name, attribute, out.Attributes[string(attribute)])
	}
	return []float64{value}, nil
}

func (q *Queues) read(ctx context.Context, name string, attribute sqstypes.QueueAttributeName) (*sqs.GetQueueAttributesOutput, error) {
	if q.urls[name] == "" {
		found, err := q.API.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
		if err != nil {
			return nil, err
		}
		if q.urls == nil {
			q.urls = map[string]string{}
		}
		q.urls[name] = aws.ToString(found.QueueUrl)
	}
	return q.API.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(q.urls[name]), AttributeNames: []sqstypes.QueueAttributeName{attribute},
	})
}
