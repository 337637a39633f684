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
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/trace"
)

// answerTime is kept of a function's time to report what was done: a function
// that is cut off reports nothing, and its whole batch comes again.
const answerTime = time.Second

// Handlers are what a function does with the events it consumes, by type, such
// as com.loadbearing.video.uploaded.v1.
type Handlers map[string]func(context.Context, app.Event[json.RawMessage]) error

// Decode returns a handler that decodes an event's data for handle. Members it
// does not know are ignored. If *T or T has a method Validate() error, data it
// refuses does not reach handle.
func Decode[T any](handle func(context.Context, app.Event[T]) error) func(context.Context, app.Event[json.RawMessage]) error {
	return func(ctx context.Context, raw app.Event[json.RawMessage]) error {
		event := app.Event[T]{
			SpecVersion: raw.SpecVersion, ID: raw.ID, Source: raw.Source, Type: raw.Type, Subject: raw.Subject,
			Time: raw.Time, Sequence: raw.Sequence, DataContentType: raw.DataContentType,
		}
		if err := json.Unmarshal(raw.Data, &event.Data); err != nil {
			return fmt.Errorf("decode its data: %w", err)
		}
		if v, ok := any(&event.Data).(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				return err
			}
		}
		return handle(ctx, event)
	}
}

// Handler returns a Lambda handler that calls the handler of each event's type,
// for up to concurrency messages at the same time; 0 is one after the other.
// The messages of a batch are independent: one that fails, panics or is no
// event is reported in the answer and comes again, until the queue's redrive
// policy moves it to the dead-letter queue; the others are done. Events of
// other types are none of this function's business and done at once, except
// other major versions of its own: those tell of something it is there for, so
// they fail, and wait in the dead-letter queue for the version that knows them.
//
// A W3C traceparent in a message's attributes is continued: the handler's context
// carries it (trace.From).
//
// The event source mapping must have ReportBatchItemFailures; without it Lambda
// takes the batch for done.
func Handler(log *slog.Logger, handlers Handlers, concurrency int) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return func(ctx context.Context, batch events.SQSEvent) (events.SQSEventResponse, error) {
		if deadline, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerTime))
			defer cancel()
		}
		errs := make([]error, len(batch.Records))
		traced := make([]context.Context, len(batch.Records))
		free := make(chan struct{}, max(concurrency, 1))
		var wg sync.WaitGroup
		for i, message := range batch.Records {
			free <- struct{}{}
			traced[i] = continued(ctx, message)
			wg.Go(func() {
				defer func() { <-free }()
				errs[i] = handlers.one(traced[i], log, message)
			})
		}
		wg.Wait()
		// An empty list says that all is well; Lambda takes a null for a failure of the batch.
		answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
		for i, message := range batch.Records {
			if errs[i] != nil {
				log.ErrorContext(traced[i], "event failed", "message", message.MessageId,
					"attempt", message.Attributes["ApproximateReceiveCount"], "error", errs[i])
				answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
			}
		}
		return answer, nil
	}
}

// continued returns the context of a message: it continues the trace of who sent it.
func continued(ctx context.Context, message events.SQSMessage) context.Context {
	text := func(name string) string {
		if value := message.MessageAttributes[name].StringValue; value != nil {
			return *value
		}
		return ""
	}
	return trace.With(ctx, trace.Continue(text(trace.Parent), text(trace.State)))
}

func (h Handlers) one(ctx context.Context, log *slog.Logger, message events.SQSMessage) (err error) {
	if ctx.Err() != nil {
		return fmt.Errorf("not begun: %w", ctx.Err())
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the handler panicked: %v\n%s", v, debug.Stack())
		}
	}()
	var kind struct{ Type string }
	if err := json.Unmarshal([]byte(message.Body), &kind); err != nil {
		return fmt.Errorf("decode the event: %w", err)
	}
	if kind.Type == "" {
		return errors.New("decode the event: it has no type; is the subscription's raw message delivery on?")
	}
	handle, ok := h[kind.Type]
	if !ok {
		if known := h.version(kind.Type); known != "" {
			return fmt.Errorf("event type %s: this version of the function knows %s; release one that knows both, then redrive", kind.Type, known)
		}
		log.InfoContext(ctx, "event ignored", "message", message.MessageId, "type", kind.Type)
		return nil
	}
	// The rest is decoded after the type is known: another type's may be of any shape.
	var event app.Event[json.RawMessage]
	if err := json.Unmarshal([]byte(message.Body), &event); err != nil {
		return fmt.Errorf("decode the event of type %s: %w", kind.Type, err)
	}
	if event.SpecVersion != "1.0" || event.ID == uuid.Nil || event.Time.IsZero() {
		return fmt.Errorf("event %s of CloudEvents %q at %v: want an id, a time and specversion 1.0", event.ID, event.SpecVersion, event.Time)
	}
	if err := handle(ctx, event); err != nil {
		return fmt.Errorf("event %s of type %s: %w", event.ID, event.Type, err)
	}
	return nil
}

// version returns the known type of which kind is another major version.
func (h Handlers) version(kind string) string {
	name, ok := unversioned(kind)
	if !ok {
		return ""
	}
	for known := range h {
		if n, ok := unversioned(known); ok && n == name {
			return known
		}
	}
	return ""
}

// unversioned cuts the major version off a type: video.ready.v1 is video.ready.
func unversioned(kind string) (string, bool) {
	at := strings.LastIndex(kind, ".v")
	if at < 0 {
		return "", false
	}
	version := kind[at+2:]
	return kind[:at], version != "" && strings.Trim(version, "0123456789") == ""
}
