package deadletter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/worker"
	"github.com/loadbearing/loadbearing/internal/deadletter"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

// shared is the emulator of this package's tests, each in an environment of its own.
var shared *emulator.Emulator

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "deadletter")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		ctx := context.Background()
		python, err := emulator.Install(ctx, filepath.Join("..", "..", ".cache"), func(string) {})
		if err == nil {
			shared, err = emulator.Start(ctx, emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer shared.Stop(ctx)
		return m.Run()
	}())
}

type fixture struct {
	*deadletter.Client
	sqs *sqs.Client
	env string
}

// stack deploys a stack of an environment with queues of the given names, each
// with a dead-letter queue.
func stack(t *testing.T, env, name string, queues ...string) fixture {
	t.Helper()
	resources := make([]string, 0, len(queues))
	for _, q := range queues {
		resources = append(resources, fmt.Sprintf(
			`"%[1]s": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "%[2]s-%[1]s", "VisibilityTimeout": 5, "RedrivePolicy": {
				"maxReceiveCount": 2, "deadLetterTargetArn": {"Fn::GetAtt": ["%[1]sDead", "Arn"]}}}},
			"%[1]sDead": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "%[2]s-%[1]s-dead"}}`, q, env))
	}
	cfg := shared.AWSConfig()
	cfn := cloudformation.NewFromConfig(cfg)
	stackName := "loadbearing-" + env + "-" + name
	_, err := cfn.CreateStack(t.Context(), &cloudformation.CreateStackInput{
		StackName: &stackName, TemplateBody: aws.String(`{"Resources": {` + strings.Join(resources, ",") + `}}`),
	})
	// The SDK sends a request again whose answer was lost.
	if _, again := errors.AsType[*cfntypes.AlreadyExistsException](err); !again {
		require.NoError(t, err)
	}
	require.NoError(t, cloudformation.NewStackCreateCompleteWaiter(cfn, func(o *cloudformation.StackCreateCompleteWaiterOptions) {
		o.MinDelay = 50 * time.Millisecond
	}).Wait(t.Context(), &cloudformation.DescribeStacksInput{StackName: &stackName}, 10*time.Second))
	t.Cleanup(func() {
		_, err := cfn.DeleteStack(context.Background(), &cloudformation.DeleteStackInput{StackName: &stackName})
		require.NoError(t, err)
		require.NoError(t, cloudformation.NewStackDeleteCompleteWaiter(cfn, func(o *cloudformation.StackDeleteCompleteWaiterOptions) {
			o.MinDelay = 50 * time.Millisecond
		}).Wait(context.Background(), &cloudformation.DescribeStacksInput{StackName: &stackName}, 10*time.Second))
	})
	return fixture{deadletter.New(cfg, env), sqs.NewFromConfig(cfg), env}
}

func (f fixture) url(t *testing.T, name string) *string {
	t.Helper()
	out, err := f.sqs.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	require.NoError(t, err)
	return out.QueueUrl
}

func (f fixture) send(t *testing.T, queue, body string, attributes map[string]types.MessageAttributeValue) {
	t.Helper()
	_, err := f.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: f.url(t, queue), MessageBody: &body, MessageAttributes: attributes})
	require.NoError(t, err)
}

// one returns the one queue of an environment that has a name in it.
func (f fixture) one(t *testing.T, name string) deadletter.Queue {
	t.Helper()
	queues, err := f.Queues(t.Context())
	require.NoError(t, err)
	found, err := deadletter.Select(queues, name)
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func text(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

func TestQueuesAreThoseOfTheEnvironment(t *testing.T) {
	t.Parallel()
	f := stack(t, "alpha", "messaging", "jobs", "probe")
	stack(t, "alpha", "web", "mail")
	stack(t, "beta", "messaging", "jobs")
	_, err := f.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("alpha-by-hand")})
	require.NoError(t, err)
	f.send(t, "alpha-jobs-dead", "dead", nil)
	f.send(t, "alpha-jobs-dead", "dead too", nil)
	f.send(t, "alpha-probe", "waiting", nil)

	queues, err := f.Queues(t.Context())
	require.NoError(t, err)
	var got []string
	for _, q := range queues {
		got = append(got, fmt.Sprint(q.Stack, " ", q.Name, " ", q.Waiting, " ", q.MaxReceives, " ", q.Dead.Name, " ", q.Dead.Waiting, " ", q.Dead.Sources))
	}
	require.Equal(t, []string{
		"loadbearing-alpha-messaging alpha-jobs 0 2 alpha-jobs-dead 2 [alpha-jobs]",
		"loadbearing-alpha-messaging alpha-probe 1 2 alpha-probe-dead 0 [alpha-probe]",
		"loadbearing-alpha-web alpha-mail 0 2 alpha-mail-dead 0 [alpha-mail]",
	}, got)
	require.WithinDuration(t, time.Now(), *queues[0].Dead.Oldest, 10*time.Second)
	require.Nil(t, queues[1].Dead.Oldest)
	require.Equal(t, 2, f.one(t, "alpha-jobs").Dead.Waiting, "asking for the age hid a message")

	for name, want := range map[string]string{
		"beta-jobs":     "no queue of the environment",
		"alpha-by-hand": "no queue of the environment",
		"a":             "could be any of 3",
	} {
		_, err := deadletter.Select(queues, name)
		require.ErrorContains(t, err, want)
	}
	byDead, err := deadletter.Select(queues, "alpha-mail-dead")
	require.NoError(t, err)
	require.Equal(t, "alpha-mail", byDead[0].Name)
	all, err := deadletter.Select(queues, "all")
	require.NoError(t, err)
	require.Len(t, all, 3)

	_, err = deadletter.New(shared.AWSConfig(), "gamma").Queues(t.Context())
	require.ErrorContains(t, err, "no stack of gamma here")
}

// A dead-letter queue of somebody else is named and left alone.
func TestADeadLetterQueueElsewhere(t *testing.T) {
	t.Parallel()
	f := stack(t, "delta", "messaging", "jobs")
	foreign := stack(t, "epsilon", "messaging", "jobs").one(t, "jobs").Dead
	_, err := f.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: f.url(t, "delta-jobs"), Attributes: map[string]string{
		"RedrivePolicy": `{"maxReceiveCount":2,"deadLetterTargetArn":"` + foreign.ARN + `"}`,
	}})
	require.NoError(t, err)
	queues, err := f.Queues(t.Context())
	require.NoError(t, err)
	require.Nil(t, queues[0].Dead)
	require.Equal(t, foreign.ARN, queues[0].Elsewhere)
	all, err := deadletter.Select(queues, "all")
	require.NoError(t, err)
	require.Empty(t, all)
	for _, q := range queues {
		require.NoError(t, f.Purge(t.Context(), q), "nothing to purge")
	}
}

func TestShowHidesNothing(t *testing.T) {
	t.Parallel()
	f := stack(t, "zeta", "messaging", "jobs")
	f.send(t, "zeta-jobs-dead", "moved by a worker", map[string]types.MessageAttributeValue{
		worker.AttributeReason:   text("decode: unexpected end"),
		worker.AttributeReceives: {DataType: aws.String("Number"), StringValue: aws.String("4")},
		"binary":                 {DataType: aws.String("Binary"), BinaryValue: []byte{1, 2}},
	})
	// One that SQS moved: received twice, in vain.
	f.send(t, "zeta-jobs", "moved by SQS", nil)
	jobs := f.url(t, "zeta-jobs")
	for receive := 1; ; receive++ {
		out, err := f.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: jobs})
		require.NoError(t, err)
		if len(out.Messages) == 0 {
			require.Equal(t, 3, receive)
			break
		}
		_, err = f.sqs.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: jobs, ReceiptHandle: out.Messages[0].ReceiptHandle})
		require.NoError(t, err)
	}
	for i := range 12 {
		f.send(t, "zeta-jobs-dead", "more "+strconv.Itoa(i), nil)
	}
	q := f.one(t, "jobs")
	require.Equal(t, 14, q.Dead.Waiting)

	letters, err := f.Show(t.Context(), q, 100)
	require.NoError(t, err)
	require.Len(t, letters, 14)
	byBody := map[string]deadletter.Letter{}
	for _, l := range letters {
		byBody[l.Body] = l
	}
	require.Len(t, byBody, 14, "a message was shown twice")
	require.Equal(t, "decode: unexpected end", byBody["moved by a worker"].Why)
	require.Equal(t, 4, byBody["moved by a worker"].Receives)
	require.Equal(t, "AQI=", byBody["moved by a worker"].Attributes["binary"])
	require.Contains(t, byBody["moved by SQS"].Why, "failed 2 times")
	require.WithinDuration(t, time.Now(), byBody["moved by SQS"].Sent, 10*time.Second)

	after := f.one(t, "jobs").Dead
	require.Equal(t, 14, after.Waiting)
	require.Zero(t, after.InFlight)
	few, err := f.Show(t.Context(), q, 3)
	require.NoError(t, err)
	require.Len(t, few, 3)
}

func TestRedriveMovesMessagesAsTheyAre(t *testing.T) {
	t.Parallel()
	f := stack(t, "eta", "messaging", "jobs", "other")
	const n = 25
	for i := range n {
		f.send(t, "eta-jobs-dead", "letter "+strconv.Itoa(i), map[string]types.MessageAttributeValue{
			"event_type": text("uploaded"), "number": {DataType: aws.String("Number"), StringValue: aws.String(strconv.Itoa(i))},
			"binary": {DataType: aws.String("Binary"), BinaryValue: []byte{0, byte(i)}},
		})
	}
	f.send(t, "eta-other-dead", "stays", nil)
	moved, err := f.Redrive(t.Context(), f.one(t, "eta-jobs"))
	require.NoError(t, err)
	require.Equal(t, n, moved)

	after := f.one(t, "eta-jobs")
	require.Equal(t, n, after.Waiting)
	require.Zero(t, after.Dead.Waiting+after.Dead.InFlight)
	require.Equal(t, 1, f.one(t, "eta-other").Dead.Waiting)
	seen := map[string]bool{}
	for len(seen) < n {
		out, err := f.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &after.URL, MaxNumberOfMessages: 10, VisibilityTimeout: 60, MessageAttributeNames: []string{"All"}})
		require.NoError(t, err)
		require.NotEmpty(t, out.Messages)
		for _, m := range out.Messages {
			i, err := strconv.Atoi(strings.TrimPrefix(*m.Body, "letter "))
			require.NoError(t, err)
			require.False(t, seen[*m.Body], "moved twice")
			seen[*m.Body] = true
			require.Equal(t, "uploaded", *m.MessageAttributes["event_type"].StringValue)
			require.Equal(t, strconv.Itoa(i), *m.MessageAttributes["number"].StringValue)
			require.True(t, bytes.Equal([]byte{0, byte(i)}, m.MessageAttributes["binary"].BinaryValue))
		}
	}
}

func TestARedriveThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	f := stack(t, "theta", "messaging", "jobs")
	for i := range 5 {
		f.send(t, "theta-jobs-dead", strings.Repeat("long ", 500)+strconv.Itoa(i), nil)
	}
	q := f.one(t, "jobs")
	// The queue takes no message of this size any more.
	_, err := f.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &q.URL, Attributes: map[string]string{"MaximumMessageSize": "1024"}})
	require.NoError(t, err)
	moved, err := f.Redrive(t.Context(), q)
	require.Zero(t, moved)
	require.ErrorContains(t, err, "redrive theta-jobs-dead to theta-jobs: message")
	after := f.one(t, "jobs").Dead
	require.Equal(t, 5, after.Waiting)
	require.Zero(t, after.InFlight, "the rest of the batch stays hidden")
}

// mover stands in front of the emulator and moves messages the way SQS does,
// which the emulator cannot: it takes a task and says twice that it runs.
func mover(t *testing.T, end string) (url string, asked *[]string) {
	t.Helper()
	upstream, err := neturl.Parse(shared.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	asked = new([]string)
	running := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		target := strings.TrimPrefix(req.Header.Get("X-Amz-Target"), "AmazonSQS.")
		if !strings.HasSuffix(target, "MessageMoveTask") && !strings.HasSuffix(target, "MessageMoveTasks") {
			proxy.ServeHTTP(w, req)
			return
		}
		body, _ := io.ReadAll(req.Body)
		*asked = append(*asked, target+" "+string(body))
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if target == "StartMessageMoveTask" {
			fmt.Fprint(w, `{"TaskHandle":"task"}`)
			return
		}
		status := end
		if running++; running < 3 {
			status = "RUNNING"
		}
		fmt.Fprintf(w, `{"Results":[{"Status":%q,"ApproximateNumberOfMessagesMoved":%d,"FailureReason":"the key is disabled"}]}`, status, running*2)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestRedriveLetsSQSMoveTheMessages(t *testing.T) {
	t.Parallel()
	for end, env := range map[string]string{"COMPLETED": "lambda", "FAILED": "mu"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			f := stack(t, env, "messaging", "jobs")
			f.send(t, env+"-jobs-dead", "the emulator's", nil)
			url, asked := mover(t, end)
			cfg := shared.AWSConfig()
			cfg.BaseEndpoint = &url
			q := f.one(t, "jobs")
			moved, err := deadletter.New(cfg, env).Redrive(t.Context(), q)
			require.Equal(t, 6, moved)
			if end == "FAILED" {
				require.ErrorContains(t, err, `ended as "FAILED" after 6 messages: the key is disabled`)
			} else {
				require.NoError(t, err)
			}
			require.Len(t, *asked, 4)
			require.JSONEq(t, fmt.Sprintf(`{"SourceArn":%q,"DestinationArn":%q}`, q.Dead.ARN, q.ARN), strings.TrimPrefix((*asked)[0], "StartMessageMoveTask "))
			require.Equal(t, 1, f.one(t, "jobs").Dead.Waiting, "SQS moves them, not we")
		})
	}
}

func TestRedriveRefusesASharedDeadLetterQueue(t *testing.T) {
	t.Parallel()
	f := stack(t, "iota", "messaging", "jobs", "mail")
	_, err := f.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: f.url(t, "iota-mail"), Attributes: map[string]string{
		"RedrivePolicy": `{"maxReceiveCount":2,"deadLetterTargetArn":"` + f.one(t, "iota-jobs").Dead.ARN + `"}`,
	}})
	require.NoError(t, err)
	_, err = f.Redrive(t.Context(), f.one(t, "iota-mail"))
	require.ErrorContains(t, err, "[iota-jobs iota-mail]")
}

func TestPurge(t *testing.T) {
	t.Parallel()
	f := stack(t, "kappa", "messaging", "jobs", "other")
	for range 3 {
		f.send(t, "kappa-jobs-dead", "gone", nil)
	}
	f.send(t, "kappa-jobs", "waiting", nil)
	f.send(t, "kappa-other-dead", "stays", nil)
	require.NoError(t, f.Purge(t.Context(), f.one(t, "kappa-jobs")))
	after := f.one(t, "kappa-jobs")
	require.Zero(t, after.Dead.Waiting)
	require.Equal(t, 1, after.Waiting)
	require.Equal(t, 1, f.one(t, "kappa-other").Dead.Waiting)
}
