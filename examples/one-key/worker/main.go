// The worker books payments. It answers with the messages that failed, which
// alone are received again.
package main

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

type payment struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

func handle(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, message := range batch.Records {
		var p payment
		if err := json.Unmarshal([]byte(message.Body), &p); err != nil {
			slog.ErrorContext(ctx, "not a payment", "message", message.MessageId, "error", err)
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
			continue
		}
		slog.InfoContext(ctx, "booked", "payment", p.ID, "cents", p.Cents)
	}
	return response, nil
}

func main() { lambda.Start(handle) }
