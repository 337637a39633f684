package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/loadbearing/loadbearing/app/trace"
)

// giveUpLimit is how long OnGiveUp is tried while the message is held.
const giveUpLimit = time.Minute

// delivery is one receive of a message.
type delivery struct {
	*Worker
	raw      types.Message
	message  Message
	received time.Time
	log      *slog.Logger
}

// Outcomes of a receive, as the metrics name them.
const (
	outcomeDone    = "done"        // handled and deleted
	outcomeDropped = "dropped"     // nobody needs it; deleted
	outcomeRetry   = "retry"       // failed; visible again after a delay
	outcomePanic   = "panic"       // as retry
	outcomePoison  = "poison"      // failed for good; dead-lettered
	outcomeGaveUp  = "gave_up"     // failed on its last receive; dead-lettered
	outcomeBack    = "handed_back" // cancelled by the drain; visible at once
	outcomeLost    = "lost"        // no longer ours to decide on
)

// decision is what becomes of a message.
type decision struct {
	outcome string
	final   bool          // given up
	delay   time.Duration // until it is visible again
	err     error         // the handler's
}

// handle runs the handler for one message and settles the message. ctx is the
// handler's; alive lasts as long as Run.
func (w *Worker) handle(alive, ctx context.Context, raw types.Message, received time.Time) {
	m := w.message(raw)
	span := trace.Continue(m.Attributes[trace.Parent], m.Attributes[trace.State])
	d := &delivery{Worker: w, raw: raw, message: m, received: received, log: w.config.Logger.With(
		"message", m.ID, "attempt", m.Attempt, "trace_id", span.Trace, "span_id", span.ID)}
	w.metrics.inFlight.Inc()
	defer w.metrics.inFlight.Dec()
	w.metrics.attempts.Observe(float64(m.Attempt))
	if !m.Sent.IsZero() {
		w.metrics.age.Observe(max(received.Sub(m.Sent), 0).Seconds())
	}

	ctx = trace.With(ctx, span)
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limited, stop := context.WithTimeoutCause(work, w.config.MaxRuntime, ErrRuntime)
	defer stop()
	// The heartbeat ends before the message is settled: an extension that came
	// after would take the decision back.
	beating, quiet := context.WithCancel(alive)
	defer quiet()
	var heart sync.WaitGroup
	heart.Go(func() { d.heartbeat(beating, cancel) })
	err := d.call(limited)
	took := time.Since(received)
	what := d.decide(err, context.Cause(limited))
	if what.final {
		d.giveUp(ctx, what.err)
	}
	quiet()
	heart.Wait()
	d.settle(ctx, what)
	w.metrics.outcomes.WithLabelValues(what.outcome).Inc()
	w.metrics.seconds.WithLabelValues(what.outcome).Observe(took.Seconds())
}

// panicked is the error a handler's panic becomes.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("the handler panicked: %v", p.value) }

func (d *delivery) call(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return d.config.Handler(ctx, d.message)
}

// decide turns what the handler returned, and why its context ended, into what
// becomes of the message.
func (d *delivery) decide(err, cause error) decision {
	if err == nil {
		return decision{outcome: outcomeDone}
	}
	said, _ := errors.AsType[verdict](err)
	p, isPanic := errors.AsType[*panicked](err)
	if isPanic {
		d.log.Error("handler panicked", "error", err, "stack", string(p.stack))
	}
	what := decision{outcome: outcomeRetry, delay: backoff(d.config.BackoffBase, d.config.BackoffMax, d.message.Attempt), err: err}
	switch {
	case errors.Is(cause, ErrLost):
		// On its last receive nobody else will get it either.
		return decision{outcome: outcomeLost, final: d.message.Last, err: err}
	case said.kind == drop:
		return decision{outcome: outcomeDropped, err: err}
	case said.kind == permanent:
		what.outcome, what.final = outcomePoison, true
		if d.redrive.maxReceives > 0 {
			what.delay = d.config.BackoffBase // if SQS has to move it: soon
		}
		return what
	case said.kind == retryAfter:
		what.delay = said.delay
	case errors.Is(cause, ErrDrained):
		what.outcome, what.delay = outcomeBack, 0
	case errors.Is(cause, ErrRuntime):
		what.err = fmt.Errorf("%w: %w", ErrRuntime, err)
	case isPanic:
		what.outcome = outcomePanic
	}
	if d.message.Last {
		if what.outcome == outcomeBack {
			what.err = fmt.Errorf("interrupted on its last receive: %w: %w", ErrDrained, err)
		}
		what.outcome, what.final, what.delay = outcomeGaveUp, true, 0
	}
	return what
}

// giveUp tells OnGiveUp, again until it succeeds or giveUpLimit is over. The
// message stays invisible meanwhile. A drain ends the repeats.
func (d *delivery) giveUp(ctx context.Context, reason error) {
	if d.config.OnGiveUp == nil {
		return
	}
	// What is recorded must be recorded also when the worker is being drained.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpLimit)
	defer cancel()
	for failures := 1; ; failures++ {
		err := d.onGiveUp(limited, reason)
		if err == nil {
			return
		}
		delay := backoff(time.Second, 10*time.Second, failures)
		d.log.Warn("that the message is given up cannot be recorded; trying again", "reason", reason, "retry_in", delay, "error", err)
		if ctx.Err() != nil || !pause(limited, delay) {
			d.metrics.giveUpErrors.Inc()
			d.log.Error("message given up without a record of it", "reason", reason, "error", err)
			return
		}
	}
}

func (d *delivery) onGiveUp(ctx context.Context, reason error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return d.config.OnGiveUp(ctx, d.message, reason)
}

// settle deletes the message, moves it to the dead-letter queue or makes it
// visible again.
func (d *delivery) settle(ctx context.Context, what decision) {
	// Also when the worker is being drained.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	switch what.outcome {
	case outcomeDone:
		d.deletes.add(d.raw)
		return
	case outcomeDropped:
		d.log.Warn("message dropped", "reason", what.err)
		d.deletes.add(d.raw)
		return
	case outcomeLost:
		d.log.Warn("message lost", "error", what.err)
		return
	case outcomePoison, outcomeGaveUp:
		if d.redrive.url == "" {
			d.log.Error("message given up; the redrive policy decides on it", "reason", what.err)
			break
		}
		err := d.bury(ctx, d.raw, d.message, what.err)
		if err == nil {
			d.log.Error("message given up and moved to the dead-letter queue", "reason", what.err)
			d.deletes.add(d.raw)
			return
		}
		d.log.Error("message given up and left to the redrive policy", "reason", what.err, "error", err)
	case outcomeBack:
		d.log.Info("message handed back", "error", what.err)
	default:
		d.log.Warn("handler failed", "retry_in", what.delay, "error", what.err)
	}
	if err := d.extend(ctx, what.delay); err != nil {
		d.log.Warn("the message stays invisible until its timeout is over", "error", err)
	}
}

// heartbeat extends the message's visibility timeout three times as often as
// necessary until ctx is over, and cancels its handler when the message is, or
// may be, visible to others.
func (d *delivery) heartbeat(ctx context.Context, cancel context.CancelCauseFunc) {
	interval := d.config.Visibility / 3
	until := d.received.Add(d.config.Visibility)
	for pause(ctx, interval) {
		asked := time.Now()
		if d.left(asked) < time.Second {
			d.log.Warn("message lost: it was held for 12 hours, the most SQS allows")
			cancel(ErrLost)
			return
		}
		// A request that hangs leaves room for another; an answer that comes
		// after the timeout is none.
		limit := asked.Add(d.config.Visibility / 4)
		if limit.After(until) {
			limit = until
		}
		timed, stop := context.WithDeadline(ctx, limit)
		err := d.extend(timed, d.config.Visibility)
		stop()
		switch {
		case err == nil:
			until = asked.Add(min(d.config.Visibility, d.left(asked)))
			interval = d.config.Visibility / 3
		case ctx.Err() != nil:
			return
		case refused(err) || !time.Now().Before(until):
			d.log.Warn("message lost: its handler is cancelled", "error", err)
			cancel(ErrLost)
			return
		default:
			interval = min(d.config.Visibility/12, time.Until(until))
			d.log.Warn("the visibility timeout cannot be extended; trying again", "retry_in", interval, "error", err)
		}
	}
}

// left is how long SQS lets the message be held from t on.
func (d *delivery) left(t time.Time) time.Duration {
	// A second for the way: SQS counts from when it sent the message.
	return max(d.received.Add(maxVisibility-time.Second).Sub(t), 0)
}

// extend sets the message's visibility timeout to what SQS takes of delay.
func (d *delivery) extend(ctx context.Context, delay time.Duration) error {
	most := d.left(time.Now()).Truncate(time.Second)
	_, err := d.config.Queue.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: aws.String(d.config.URL), ReceiptHandle: d.raw.ReceiptHandle, VisibilityTimeout: seconds(min(delay, most)),
	})
	return err
}

// refused tells whether SQS will never extend this receive: the message was
// deleted or received again, or is held for 12 hours.
func refused(err error) bool {
	api, ok := refusal(err)
	if !ok {
		return false
	}
	switch api.ErrorCode() {
	case "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue":
		return true
	}
	return false
}
