package worker

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// deleteLinger is how long a settled message waits for others to be deleted
	// with: a request of ten costs what one of one does. A worker that dies in
	// this time has handled messages that will come again.
	deleteLinger = 100 * time.Millisecond
	deleteTries  = 3
)

// deleter deletes messages in batches.
type deleter struct {
	queue  Queue
	url    string
	log    *slog.Logger
	failed prometheus.Counter

	ctx     context.Context //nolint:containedctx // Of Run, without its end: every request derives from it.
	in      chan types.Message
	closing chan struct{}
	done    chan struct{}
}

func (w *Worker) newDeleter(ctx context.Context) *deleter {
	return &deleter{
		queue: w.config.Queue, url: w.config.URL, log: w.config.Logger, failed: w.metrics.deleteErrors,
		ctx: context.WithoutCancel(ctx), in: make(chan types.Message), closing: make(chan struct{}), done: make(chan struct{}),
	}
}

// add hands over a message. It waits while a batch is on its way.
func (d *deleter) add(m types.Message) {
	select {
	case d.in <- m:
	case <-d.done: // left behind by the drain
		d.flush([]types.Message{m})
	}
}

// close deletes what was handed over and returns. Messages added later are
// deleted one by one.
func (d *deleter) close() {
	close(d.closing)
	<-d.done
}

func (d *deleter) run() {
	defer close(d.done)
	for {
		var batch []types.Message
		select {
		case m := <-d.in:
			batch = append(batch, m)
		case <-d.closing:
			return
		}
		linger := time.NewTimer(deleteLinger)
		for waiting := true; waiting && len(batch) < maxBatch; {
			select {
			case m := <-d.in:
				batch = append(batch, m)
			case <-linger.C:
				waiting = false
			case <-d.closing:
				waiting = false
			}
		}
		linger.Stop()
		d.flush(batch)
	}
}

// flush deletes up to ten messages, and again those that SQS failed on.
func (d *deleter) flush(batch []types.Message) {
	ctx, cancel := context.WithTimeout(d.ctx, settleTimeout)
	defer cancel()
	var err error
	for try := 1; ; try++ {
		entries := make([]types.DeleteMessageBatchRequestEntry, len(batch))
		for i, m := range batch {
			entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle}
		}
		var out *sqs.DeleteMessageBatchOutput
		if out, err = d.queue.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &d.url, Entries: entries}); err == nil {
			batch = d.unanswered(batch, out)
		}
		if len(batch) == 0 {
			return
		}
		if try == deleteTries || !pause(ctx, backoff(200*time.Millisecond, time.Second, try)) {
			break
		}
	}
	d.failed.Add(float64(len(batch)))
	for _, m := range batch {
		d.log.Warn("a settled message cannot be deleted and will be handed out again", "message", aws.ToString(m.MessageId), "error", err)
	}
}

// unanswered returns the messages of a batch to try again.
func (d *deleter) unanswered(batch []types.Message, out *sqs.DeleteMessageBatchOutput) []types.Message {
	var again []types.Message
	for _, f := range out.Failed {
		i, err := strconv.Atoi(aws.ToString(f.Id))
		if err != nil || i < 0 || i >= len(batch) {
			continue
		}
		if !f.SenderFault {
			again = append(again, batch[i])
			continue
		}
		// The receipt is no longer the message's: it was deleted, or is another's by now.
		d.log.Warn("a settled message is no longer this worker's to delete", "message", aws.ToString(batch[i].MessageId), "code", aws.ToString(f.Code))
		d.failed.Inc()
	}
	return again
}
