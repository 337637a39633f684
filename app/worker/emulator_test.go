package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/worker"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

// TestAgainstAnEmulator drives the worker through a real client: of ten
// messages one is poison and one fails once.
func TestAgainstAnEmulator(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	python, err := emulator.Install(t.Context(), filepath.Join("..", "..", ".cache"), func(s string) { t.Log(s) })
	require.NoError(t, err)
	e, err := emulator.Start(t.Context(), emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
	require.NoError(t, err)
	defer e.Stop(context.Background())
	client := sqs.NewFromConfig(e.AWSConfig())

	dead, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{
		QueueName: aws.String("dead"), Attributes: map[string]string{"VisibilityTimeout": "0"}, // it is looked at more than once
	})
	require.NoError(t, err)
	attributes, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: dead.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	require.NoError(t, err)
	jobs, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("jobs"), Attributes: map[string]string{
		"RedrivePolicy": `{"maxReceiveCount":"3","deadLetterTargetArn":"` + attributes.Attributes["QueueArn"] + `"}`,
	}})
	require.NoError(t, err)
	for i := range 10 {
		body := `{"n":` + strconv.Itoa(i) + `}`
		if i == 5 {
			body = "poison"
		}
		_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: jobs.QueueUrl, MessageBody: &body})
		require.NoError(t, err)
	}

	var mu sync.Mutex
	attempts := map[int]int{}
	w, err := worker.New(worker.Config{
		Queue: client, URL: *jobs.QueueUrl, Concurrency: 3, Wait: time.Second, Logger: slog.New(slog.DiscardHandler),
		Handler: worker.JSON(func(_ context.Context, job struct{ N int }) error {
			mu.Lock()
			defer mu.Unlock()
			attempts[job.N]++
			if job.N == 7 && attempts[7] == 1 {
				return errors.New("once")
			}
			return nil
		}),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	require.Eventually(t, func() bool {
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: dead.QueueUrl})
		if err != nil || len(out.Messages) == 0 {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		return *out.Messages[0].Body == "poison" && len(attempts) == 9 && attempts[7] >= 2
	}, 20*time.Second, 100*time.Millisecond)
	cancel()
	<-done
	for n, times := range attempts {
		want := 1
		if n == 7 {
			want = 2
		}
		// At least: SQS delivers, and a client whose answer was lost sends, more than once.
		require.GreaterOrEqual(t, times, want, "message %d", n)
	}
	left, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: jobs.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	require.NoError(t, err)
	require.Equal(t, "0", left.Attributes["ApproximateNumberOfMessages"])
	require.Equal(t, "0", left.Attributes["ApproximateNumberOfMessagesNotVisible"])
}
