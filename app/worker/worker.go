package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"
)

// Limits of SQS.
const (
	maxBatch      = 10               // messages per ReceiveMessage
	maxWait       = 20 * time.Second // long poll
	maxVisibility = 12 * time.Hour   // from the receive of a message
)

// settleTimeout is what the requests that decide on one message may take.
const settleTimeout = 10 * time.Second

// Queue is the part of SQS the worker uses; *sqs.Client implements it.
//
// It takes the permissions sqs:ReceiveMessage, DeleteMessage,
// ChangeMessageVisibility and GetQueueAttributes on the queue, and GetQueueUrl
// and SendMessage on its dead-letter queue unless Config.LeaveToRedrive is set.
type Queue interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibility(context.Context, *sqs.ChangeMessageVisibilityInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	SendMessage(context.Context, *sqs.SendMessageInput, ...func(*sqs.Options)) (*sqs.SendMessageOutput, error)
}

// Message is what a handler gets.
type Message struct {
	ID         string
	Body       string
	Attempt    int               // receives of this message so far, this one included
	Last       bool              // the redrive policy permits no receive after this one
	Sent       time.Time         // when it was sent to the queue; zero if the queue does not say
	Attributes map[string]string // message attributes of type String and Number
}

// Handler handles one message. Its context ends when the worker is drained,
// when MaxRuntime is over and when the message was lost to another worker;
// context.Cause tells which. What it returns decides on the message: see the
// package's documentation.
type Handler func(ctx context.Context, m Message) error

// Config configures a Worker. Queue, URL and Handler are required.
type Config struct {
	Queue   Queue
	URL     string // of the queue
	Handler Handler

	// OnGiveUp is called when a message is given up, before it leaves the queue:
	// its handler failed for good, or on the last receive that the redrive policy
	// permits. reason is the handler's error. It is called again until it
	// returns nil, for up to a minute, and may be called twice for one message: make it
	// idempotent. It is not called when the worker dies on the last receive.
	OnGiveUp func(ctx context.Context, m Message, reason error) error
	// LeaveToRedrive leaves dead letters to the queue's redrive policy instead of
	// moving them with their reason.
	LeaveToRedrive bool

	Concurrency int           // messages handled at a time; default 4
	Visibility  time.Duration // of a received message, extended while it is handled; whole seconds, default 30 s, at least 3 s
	MaxRuntime  time.Duration // of one handler; default 15 min, at most 12 h
	Wait        time.Duration // long poll; whole seconds, default and most 20 s
	BackoffBase time.Duration // most the first failure waits; default 1 s
	BackoffMax  time.Duration // most any failure waits; default 15 min, at most 12 h
	Drain       time.Duration // handlers may take after Run's context is over; default 20 s

	Logger     *slog.Logger          // default slog.Default()
	Registerer prometheus.Registerer // nil leaves the metrics unregistered; wrap it with a label for each of several workers
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
	redrive redrive
	deletes *deleter
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
	if !w.learn(ctx) {
		return
	}
	w.deletes = w.newDeleter(ctx)
	go w.deletes.run()
	defer w.deletes.close()
	// Handlers outlive ctx by the drain limit.
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	handlers, cancel := context.WithCancelCause(alive)
	defer cancel(nil)
	var running sync.WaitGroup
	w.receive(ctx, func(m types.Message, received time.Time) {
		running.Go(func() {
			defer w.release(1)
			w.handle(alive, handlers, m, received)
		})
	})

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
	// A handler that ignores its context does not keep the process: with Run its
	// heartbeat ends, and its message becomes visible when the timeout is over.
	limit.Reset(w.config.Drain)
	select {
	case <-done:
	case <-limit.C:
		w.config.Logger.Error("handlers ignore that they were cancelled and are left behind")
	}
}

// receive fills the slots until ctx is over.
func (w *Worker) receive(ctx context.Context, start func(m types.Message, received time.Time)) {
	failures := 0
	for {
		free := w.acquire(ctx)
		if free == 0 {
			return
		}
		out, err := w.config.Queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl:            &w.config.URL,
			MaxNumberOfMessages: int32(free),
			VisibilityTimeout:   seconds(w.config.Visibility),
			WaitTimeSeconds:     seconds(w.config.Wait),
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{
				types.MessageSystemAttributeNameApproximateReceiveCount, types.MessageSystemAttributeNameSentTimestamp,
				// For a copy in the dead-letter queue.
				types.MessageSystemAttributeNameMessageGroupId, types.MessageSystemAttributeNameAWSTraceHeader,
			},
			MessageAttributeNames: []string{"All"},
		})
		received := time.Now()
		var messages []types.Message
		if err == nil {
			messages = out.Messages
		}
		w.release(free - len(messages))
		for _, m := range messages {
			start(m, received)
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
		if !pause(ctx, delay) {
			return
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

// pause waits, and tells whether ctx lasted that long.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// seconds rounds up to what SQS counts in.
func seconds(d time.Duration) int32 {
	return int32((d + time.Second - 1) / time.Second)
}

func (w *Worker) message(raw types.Message) Message {
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
	m.Last = w.redrive.last(m.Attempt)
	return m
}
