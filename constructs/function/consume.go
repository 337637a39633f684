package function

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdaeventsources"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

// QueueSource says how a function consumes a queue.
type QueueSource struct {
	// Batch is how many messages one invocation gets at most, 1 to 10000, above
	// 10 only with a Window. Default 10.
	Batch int

	// Window is how long Lambda gathers messages for a batch, 0 to 5 min.
	// Default none.
	Window time.Duration

	// MaxConcurrency is how many copies of the function this queue may run, 2 to
	// 1000. Default as many as there are free. Unlike a reservation it leaves
	// messages in the queue instead of throttling, which counts as a receive.
	MaxConcurrency int

	// Override has the last word on the event source.
	Override func(*awslambdaeventsources.SqsEventSourceProps)
}

func (s QueueSource) problems(q *queue.Queue, timeout time.Duration) []cdkx.FieldError {
	var bad cdkx.Problems
	cdkx.Between(&bad, "Batch", s.Batch, 1, maxBatch)
	bad.Check(s.Batch <= maxBatchUnwaited || s.Window >= time.Second, "Window", s.Window, "1s or more with a Batch above 10")
	cdkx.WholeSeconds(&bad, "Window", s.Window, 0, maxWindow)
	if s.MaxConcurrency != 0 {
		cdkx.Between(&bad, "MaxConcurrency", s.MaxConcurrency, minConcurrency, maxConcurrency)
	}
	needed := visibilityFactor*timeout + s.Window
	bad.Check(q.VisibilityTimeout >= needed, "VisibilityTimeout of the queue", q.VisibilityTimeout,
		fmt.Sprintf("%v or more: six times the function's timeout, and the window", needed))
	if err, ok := errors.AsType[*PropsError](bad.Err("function")); ok {
		return err.Problems
	}
	return nil
}

// ConsumeQueue invokes the function with batches of messages and grants it what
// that needs. The function answers with the ids of the messages that failed
// (events.SQSEventResponse), and only these are received again; after the
// queue's MaxReceives they move to its dead-letter queue. It panics with a
// *PropsError when a value is not valid or the queue's visibility timeout is
// under six times the function's timeout.
func (f *Function) ConsumeQueue(q *queue.Queue, source QueueSource) {
	source.Batch = cmp.Or(source.Batch, 10)
	if problems := source.problems(q, f.timeout); len(problems) > 0 {
		panic(&PropsError{Construct: "function", Path: *f.Node().Path(), Problems: problems})
	}
	props := &awslambdaeventsources.SqsEventSourceProps{
		BatchSize:               cdkx.Number(source.Batch),
		ReportBatchItemFailures: new(true),
	}
	if source.Window > 0 {
		props.MaxBatchingWindow = cdkx.Duration(source.Window)
	}
	if source.MaxConcurrency > 0 {
		props.MaxConcurrency = cdkx.Number(source.MaxConcurrency)
	}
	f.Function.AddEventSource(awslambdaeventsources.NewSqsEventSource(q.Queue, cdkx.Override(props, source.Override)))
	f.explainNoDeadLetterQueue("An SQS queue invokes the function. Messages that it fails to process stay there and move to " +
		"that queue's own dead-letter queue, which has an alarm.")
}
