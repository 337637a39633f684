// The worker takes jobs until it is told to stop; what it has not finished then
// is received again by another one. It says that it is ready at /readyz.
package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := work(ctx); err != nil {
		slog.Error("work", "error", err)
		os.Exit(1)
	}
}

func work(ctx context.Context) error {
	account, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	jobs, queue := sqs.NewFromConfig(account), os.Getenv("JOBS_QUEUE_URL")
	ready := &http.Server{
		Addr:              cmp.Or(os.Getenv("LOADBEARING_HTTP_ADDR"), "127.0.0.1:8080"),
		Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	go func() {
		if err := ready.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("nobody can ask whether the worker is ready", "error", err)
		}
	}()
	for ctx.Err() == nil {
		received, err := jobs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
		if err != nil {
			if ctx.Err() == nil {
				slog.Error("receive", "error", err)
				time.Sleep(time.Second)
			}
			continue
		}
		for _, message := range received.Messages {
			// What has begun ends, also while the instance drains.
			handle(context.WithoutCancel(ctx), jobs, queue, message)
		}
	}
	return ready.Close()
}

func handle(ctx context.Context, jobs *sqs.Client, queue string, message types.Message) {
	slog.Info("job", "id", aws.ToString(message.MessageId), "bytes", len(aws.ToString(message.Body)))
	_, err := jobs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: message.ReceiptHandle})
	if err != nil {
		slog.Error("the job will be done again", "id", aws.ToString(message.MessageId), "error", err)
	}
}
