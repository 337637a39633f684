// Package consumer handles messages one by one, so that only those that failed
// are received again.
package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"
)

// Handler makes a Lambda handler from what is done with one message.
func Handler[T any](handle func(ctx context.Context, message T) error) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return func(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
		response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
		for _, record := range batch.Records {
			var message T
			err := json.Unmarshal([]byte(record.Body), &message)
			if err != nil {
				err = fmt.Errorf("read the message: %w", err)
			} else {
				err = handle(ctx, message)
			}
			if err != nil {
				slog.ErrorContext(ctx, "not handled", "message", record.MessageId, "error", err)
				response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: record.MessageId})
			}
		}
		return response, nil
	}
}
