// Package batch is what the functions that consume domain events have in
// common: it takes batches of an SQS queue that is subscribed to the event
// topic with raw message delivery, and reports failures message by message.
package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

// answerTime is kept of a function's time to report what was done: a function
// that is cut off reports nothing, and its whole batch comes again.
const answerTime = time.Second

// Handler returns a Lambda handler that calls handle for each event of one
// type. The messages of a batch are independent: one that fails, panics or is
// no event is reported in the answer and comes again, until the queue's
// redrive policy moves it to the dead-letter queue; the others are done.
// Events of other types, other versions included, are none of this
// function's business and done at once.
//
// The event source mapping must have ReportBatchItemFailures; without it Lambda
// takes the batch for done.
func Handler[T any](log *slog.Logger, eventType string, handle func(context.Context, app.Event[T]) error) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return func(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
		if deadline, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerTime))
			defer cancel()
		}
		// An empty list says that all is well; Lambda takes a null for a failure of the batch.
		answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
		for _, message := range batch.Records {
			if err := one(ctx, log, eventType, message, handle); err != nil {
				log.ErrorContext(ctx, "event failed", "message", message.MessageId,
					"attempt", message.Attributes["ApproximateReceiveCount"], "error", err)
				answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
			}
		}
		return answer, nil
	}
}

func one[T any](ctx context.Context, log *slog.Logger, eventType string, message events.SQSMessage, handle func(context.Context, app.Event[T]) error) (err error) {
	if ctx.Err() != nil {
		return fmt.Errorf("not begun: %w", ctx.Err())
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the handler panicked: %v\n%s", v, debug.Stack())
		}
	}()
	// The data is decoded after the type is known: another type's may be of any shape.
	var envelope app.Event[json.RawMessage]
	if err := json.Unmarshal([]byte(message.Body), &envelope); err != nil {
		return fmt.Errorf("decode the event: %w", err)
	}
	if envelope.Type == "" {
		return errors.New("decode the event: it has no type; is the subscription's raw message delivery on?")
	}
	if envelope.Type != eventType {
		log.InfoContext(ctx, "event ignored", "event", envelope.ID, "type", envelope.Type)
		return nil
	}
	if envelope.SpecVersion != "1.0" || envelope.ID == uuid.Nil || envelope.Time.IsZero() {
		return fmt.Errorf("event %s of CloudEvents %q at %v: want an id, a time and specversion 1.0", envelope.ID, envelope.SpecVersion, envelope.Time)
	}
	event := app.Event[T]{
		SpecVersion: envelope.SpecVersion, ID: envelope.ID, Source: envelope.Source, Type: envelope.Type,
		Subject: envelope.Subject, Time: envelope.Time, DataContentType: envelope.DataContentType,
	}
	if err := json.Unmarshal(envelope.Data, &event.Data); err != nil {
		return fmt.Errorf("decode the data of event %s: %w", envelope.ID, err)
	}
	if err := handle(ctx, event); err != nil {
		return fmt.Errorf("event %s: %w", event.ID, err)
	}
	return nil
}
