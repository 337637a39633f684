package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"
)

// Limits of SQS.
const (
	maxBatch      = 10               // messages per ReceiveMessage
	maxWait       = 20 * time.Second // long poll
	maxVisibility = 12 * time.Hour   // from the receive of a message
)

// Queue is the part of SQS the worker uses; *sqs.Client implements it.
type Queue interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
	ChangeMessageVisibility(context.Context, *sqs.ChangeMessageVisibilityInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
}

// Message is what a handler gets.
type Message struct {
	ID         string
	Body       string
	Attempt    int               // receives of this message so far, this one included
	Sent       time.Time         // when it was sent to the queue; zero if the queue does not say
	Attributes map[string]string // message attributes of type String and Number
}

// Handler handles one message. Its context ends when the worker is drained,
// when MaxRuntime is over and when the message was lost to another worker;
// context.Cause tells which.
type Handler func(ctx context.Context, m Message) error

// Causes of a handler's context that has ended.
var (
	ErrDrained = errors.New("the worker is being drained")
	ErrLost    = errors.New("the visibility timeout of the message could not be extended: another worker may have it")
	ErrRuntime = errors.New("the handler ran longer than it may")
)

// permanent marks an error that repeating will not cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error as one that handling the message again will not
// cure. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// JSON returns a Handler that decodes the message's body into a T. A body that
// is no such JSON is a Permanent error.
func JSON[T any](handle func(ctx context.Context, value T) error) Handler {
	return func(ctx context.Context, m Message) error {
		var value T
		if err := json.Unmarshal([]byte(m.Body), &value); err != nil {
			return Permanent(fmt.Errorf("decode the body of message %s: %w", m.ID, err))
		}
		return handle(ctx, value)
	}
}

// Config configures a Worker. Queue, URL and Handler are required.
type Config struct {
	Queue   Queue
	URL     string // of the queue
	Handler Handler

	Concurrency int           // messages handled at a time; default 4
	Visibility  time.Duration // of a received message, extended while it is handled; whole seconds, default 30 s, at least 3 s
	MaxRuntime  time.Duration // of one handler; default 15 min, at most 12 h
	Wait        time.Duration // long poll; whole seconds, default and most 20 s
	BackoffBase time.Duration // most the first failure waits; default 1 s
	BackoffMax  time.Duration // most any failure waits; default 15 min, at most 12 h
	Drain       time.Duration // handlers may take after Run's context is over; default 20 s

	Logger     *slog.Logger          // default slog.Default()
	Registerer prometheus.Registerer // nil leaves the metrics unregistered
}

func (c Config) withDefaults() Config {
	c.Concurrency = cmp.Or(c.Concurrency, 4)
	c.Visibility = cmp.Or(c.Visibility, 30*time.Second)
	c.MaxRuntime = cmp.Or(c.MaxRuntime, 15*time.Minute)
	c.Wait = cmp.Or(c.Wait, maxWait)
	c.BackoffBase = cmp.Or(c.BackoffBase, time.Second)
	c.BackoffMax = cmp.Or(c.BackoffMax, 15*time.Minute)
	c.Drain = cmp.Or(c.Drain, 20*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// Validate tells what is wrong with the configuration, nil when nothing is.
// Zero values stand for their defaults.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Queue != nil, "Queue is nil; give an *sqs.Client")
	check(c.URL != "", "URL is empty; give the queue's URL")
	check(c.Handler != nil, "Handler is nil")
	check(c.Concurrency > 0, "Concurrency is %d; give 1 or more", c.Concurrency)
	check(c.Visibility >= 3*time.Second && c.Visibility <= maxVisibility, "Visibility is %v; give 3 s to 12 h", c.Visibility)
	check(c.MaxRuntime > 0 && c.MaxRuntime <= maxVisibility, "MaxRuntime is %v; give up to 12 h", c.MaxRuntime)
	check(c.Wait > 0 && c.Wait <= maxWait, "Wait is %v; give up to 20 s", c.Wait)
	check(c.BackoffBase > 0 && c.BackoffBase <= c.BackoffMax, "BackoffBase is %v; give more than 0 and at most BackoffMax, %v", c.BackoffBase, c.BackoffMax)
	check(c.BackoffMax <= maxVisibility, "BackoffMax is %v; give up to 12 h", c.BackoffMax)
	check(c.Drain > 0, "Drain is %v; give more than 0", c.Drain)
	return errors.Join(errs...)
}

// Worker receives and handles messages.
type Worker struct {
	config  Config
	metrics metrics
	slots   chan struct{} // one token per message that may be started
}

// New returns a worker, or what is wrong with its configuration.
func New(c Config) (*Worker, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configure the worker: %w", err)
	}
	c = c.withDefaults()
	w := &Worker{config: c, metrics: newMetrics(), slots: make(chan struct{}, c.Concurrency)}
	for range c.Concurrency {
		w.slots <- struct{}{}
	}
	if c.Registerer != nil {
		for _, m := range w.metrics.all() {
			if err := c.Registerer.Register(m); err != nil {
				return nil, fmt.Errorf("configure the worker: register its metrics: %w", err)
			}
		}
	}
	return w, nil
}

// Run receives and handles messages until ctx is over and every handler has
// returned or was handed back. A queue that does not answer is asked again
// with a growing delay. Run is called once.
func (w *Worker) Run(ctx context.Context) {
	// Handlers outlive ctx by the drain limit.
	handlers, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var running sync.WaitGroup
	w.receive(ctx, handlers, &running)

	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	limit := time.NewTimer(w.config.Drain)
	defer limit.Stop()
	select {
	case <-done:
		return
	case <-limit.C:
	}
	w.config.Logger.Warn("handlers exceed the drain limit and are handed back", "limit", w.config.Drain)
	cancel(ErrDrained)
	// A handler that ignores its context does not keep the process: its
	// message becomes visible when the timeout, no longer extended, is over.
	limit.Reset(w.config.Drain)
	select {
	case <-done:
	case <-limit.C:
		w.config.Logger.Error("handlers ignore that they were cancelled and are left behind")
	}
}

// receive fills the slots until ctx is over.
func (w *Worker) receive(ctx, handlers context.Context, running *sync.WaitGroup) {
	failures := 0
	for {
		free := w.acquire(ctx)
		if free == 0 {
			return
		}
		out, err := w.config.Queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl:                    &w.config.URL,
			MaxNumberOfMessages:         int32(free),
			VisibilityTimeout:           seconds(w.config.Visibility),
			WaitTimeSeconds:             seconds(w.config.Wait),
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount, types.MessageSystemAttributeNameSentTimestamp},
			MessageAttributeNames:       []string{"All"},
		})
		received := time.Now()
		var messages []types.Message
		if err == nil {
			messages = out.Messages
		}
		w.release(free - len(messages))
		for _, m := range messages {
			running.Go(func() {
				defer w.release(1)
				w.handle(handlers, m, received)
			})
		}
		if err == nil {
			failures = 0
			continue
		}
		if ctx.Err() != nil {
			return
		}
		failures++
		w.metrics.receiveErrors.Inc()
		delay := backoff(time.Second, 30*time.Second, failures)
		w.config.Logger.Error("messages cannot be received", "queue", w.config.URL, "retry_in", delay, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

// acquire waits for a free slot and takes as many more as are free, up to what
// one receive may return. It returns 0 when ctx is over.
func (w *Worker) acquire(ctx context.Context) int {
	select {
	case <-ctx.Done():
		return 0
	case <-w.slots:
	}
	if ctx.Err() != nil { // both were ready
		w.release(1)
		return 0
	}
	free := 1
	for free < maxBatch {
		select {
		case <-w.slots:
			free++
			continue
		default:
		}
		break
	}
	return free
}

func (w *Worker) release(n int) {
	for range n {
		w.slots <- struct{}{}
	}
}

// handle runs the handler for one message and decides on the message.
func (w *Worker) handle(ctx context.Context, raw types.Message, received time.Time) {
	m := message(raw)
	log := w.config.Logger.With("message", m.ID, "attempt", m.Attempt)
	w.metrics.inFlight.Inc()
	defer w.metrics.inFlight.Dec()

	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limited, stop := context.WithTimeoutCause(work, w.config.MaxRuntime, ErrRuntime)
	defer stop()
	// The heartbeat ends before the message is decided on: an extension that
	// came after would take the decision back.
	beating, quiet := context.WithCancel(ctx)
	var heart sync.WaitGroup
	heart.Go(func() { w.heartbeat(beating, raw, received, cancel, log) })
	err := w.call(limited, m)
	cause := context.Cause(limited)
	quiet()
	heart.Wait()

	took := time.Since(received)
	outcome := w.decide(ctx, raw, m, err, cause, log)
	w.metrics.outcomes.WithLabelValues(outcome).Inc()
	w.metrics.seconds.WithLabelValues(outcome).Observe(took.Seconds())
	w.metrics.attempts.Observe(float64(m.Attempt))
}

// panicked is the error a handler's panic becomes.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("the handler panicked: %v", p.value) }

func (w *Worker) call(ctx context.Context, m Message) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return w.config.Handler(ctx, m)
}

// Outcomes of a message, as the metrics name them.
const (
	outcomeDone   = "done"        // handled and deleted
	outcomeRetry  = "retry"       // failed; visible again after a delay
	outcomePanic  = "panic"       // as retry
	outcomePoison = "poison"      // failed for good; left to the redrive policy
	outcomeBack   = "handed_back" // cancelled by the drain; visible at once
	outcomeLost   = "lost"        // no longer ours to decide on
)

// decide settles a message after its handler has returned.
func (w *Worker) decide(ctx context.Context, raw types.Message, m Message, err, cause error, log *slog.Logger) string {
	// The decision is sent also when the worker is being drained.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err == nil {
		_, err := w.config.Queue.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &w.config.URL, ReceiptHandle: raw.ReceiptHandle})
		if err != nil {
			log.Warn("a handled message cannot be deleted and will be handled again", "error", err)
		}
		return outcomeDone
	}
	var outcome string
	var delay time.Duration
	switch {
	case errors.Is(cause, ErrLost):
		log.Warn("message lost", "error", err)
		return outcomeLost
	case errors.Is(cause, ErrDrained):
		outcome = outcomeBack
		log.Info("message handed back", "error", err)
	default:
		outcome, delay = outcomeRetry, backoff(w.config.BackoffBase, w.config.BackoffMax, m.Attempt)
		p, isPanic := errors.AsType[*panicked](err)
		_, isPermanent := errors.AsType[permanent](err)
		switch {
		case isPanic:
			outcome = outcomePanic
			log.Error("handler panicked", "error", err, "retry_in", delay, "stack", string(p.stack))
		case isPermanent:
			outcome, delay = outcomePoison, w.config.BackoffBase
			log.Error("message cannot be handled and is left to the dead-letter queue", "error", err)
		default:
			log.Warn("handler failed", "error", err, "retry_in", delay)
		}
	}
	if err := w.extend(ctx, raw, delay); err != nil {
		log.Warn("the message stays invisible until its timeout is over", "error", err)
	}
	return outcome
}

// heartbeat extends a message's visibility timeout three times as often as
// necessary until ctx is over, and cancels its handler when the message is, or
// may be, visible to others.
func (w *Worker) heartbeat(ctx context.Context, raw types.Message, received time.Time, cancel context.CancelCauseFunc, log *slog.Logger) {
	tick := time.NewTicker(w.config.Visibility / 3)
	defer tick.Stop()
	until := received.Add(w.config.Visibility)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		// An answer that comes after the timeout is none.
		timed, stop := context.WithDeadline(ctx, until)
		err := w.extend(timed, raw, w.config.Visibility)
		stop()
		switch {
		case err == nil:
			until = asked.Add(w.config.Visibility)
		case ctx.Err() != nil:
			return
		case refused(err) || !time.Now().Before(until):
			log.Warn("message lost: its handler is cancelled", "error", err)
			cancel(ErrLost)
			return
		default:
			log.Warn("the visibility timeout cannot be extended; trying again", "error", err)
		}
	}
}

func (w *Worker) extend(ctx context.Context, raw types.Message, d time.Duration) error {
	_, err := w.config.Queue.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &w.config.URL, ReceiptHandle: raw.ReceiptHandle, VisibilityTimeout: seconds(d),
	})
	return err
}

// refused tells whether SQS will never extend this receive: the message was
// deleted or received again, or is held for 12 hours.
func refused(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode() {
	case "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue":
		return true
	}
	return false
}

// backoff returns a random delay between nothing and a limit that doubles with
// every attempt: full jitter, which spreads the repeats of messages that
// failed together.
func backoff(base, most time.Duration, attempt int) time.Duration {
	limit := most
	if shift := max(attempt-1, 0); shift < 32 && base < most>>shift {
		limit = base << shift
	}
	return rand.N(limit + 1)
}

// seconds rounds up to what SQS counts in.
func seconds(d time.Duration) int32 {
	return int32((d + time.Second - 1) / time.Second)
}

func message(raw types.Message) Message {
	m := Message{ID: aws.ToString(raw.MessageId), Body: aws.ToString(raw.Body), Attempt: 1}
	if n, err := strconv.Atoi(raw.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]); err == nil {
		m.Attempt = n
	}
	if ms, err := strconv.ParseInt(raw.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		m.Sent = time.UnixMilli(ms)
	}
	for name, value := range raw.MessageAttributes {
		if value.StringValue != nil {
			if m.Attributes == nil {
				m.Attributes = map[string]string{}
			}
			m.Attributes[name] = *value.StringValue
		}
	}
	return m
}
