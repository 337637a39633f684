// The worker handles orders. It answers with the messages that failed, which
// alone are received again.
package main

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

type order struct {
	ID string `json:"id"`
}

func handle(_ context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, message := range batch.Records {
		var o order
		if err := json.Unmarshal([]byte(message.Body), &o); err != nil {
			slog.Error("not an order", "message", message.MessageId, "error", err)
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
			continue
		}
		slog.Info("handled", "order", o.ID)
	}
	return response, nil
}

func main() { lambda.Start(handle) }
