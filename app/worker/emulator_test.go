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
// messages one is no JSON, one fails once, one fails always and one takes
// longer than the visibility timeout.
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
	const noJSON, once, always, long = 5, 7, 8, 9
	for i := range 10 {
		body := `{"n":` + strconv.Itoa(i) + `}`
		if i == noJSON {
			body = "poison"
		}
		_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: jobs.QueueUrl, MessageBody: &body})
		require.NoError(t, err)
	}

	var mu sync.Mutex
	attempts, finished, givenUp := map[int]int{}, map[int]int{}, []string{}
	w, err := worker.New(worker.Config{
		Queue: client, URL: *jobs.QueueUrl, Concurrency: 4, Wait: time.Second, Visibility: 3 * time.Second, Logger: slog.New(slog.DiscardHandler),
		Handler: worker.JSON(func(ctx context.Context, job struct{ N int }) error {
			mu.Lock()
			attempts[job.N]++
			attempt := attempts[job.N]
			mu.Unlock()
			switch {
			case job.N == always, job.N == once && attempt == 1:
				return errors.New("it does not work")
			case job.N == long:
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(4 * time.Second): // longer than the timeout
				}
			}
			mu.Lock()
			defer mu.Unlock()
			finished[job.N]++
			return nil
		}),
		OnGiveUp: func(_ context.Context, m worker.Message, reason error) error {
			mu.Lock()
			defer mu.Unlock()
			givenUp = append(givenUp, m.Body)
			return nil
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(finished) == 8 && len(givenUp) == 2
	}, 20*time.Second, 50*time.Millisecond)
	cancel()
	<-done

	for n, times := range finished {
		require.Equal(t, 1, times, "message %d", n)
	}
	require.Equal(t, 2, attempts[once])
	require.Equal(t, 3, attempts[always], "as often as the redrive policy permits")
	require.Equal(t, 1, attempts[long], "it ran for longer than its visibility timeout")
	require.ElementsMatch(t, []string{"poison", `{"n":8}`}, givenUp)

	out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: dead.QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}})
	require.NoError(t, err)
	why := map[string]string{}
	for _, m := range out.Messages {
		why[*m.Body] = *m.MessageAttributes[worker.AttributeReceives].StringValue + ": " + *m.MessageAttributes[worker.AttributeReason].StringValue
	}
	require.Len(t, why, 2)
	require.Equal(t, "3: it does not work", why[`{"n":8}`])
	require.Contains(t, why["poison"], "1: decode the body of message")

	left, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: jobs.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	require.NoError(t, err)
	require.Equal(t, "0", left.Attributes["ApproximateNumberOfMessages"])
	require.Equal(t, "0", left.Attributes["ApproximateNumberOfMessagesNotVisible"])
}
