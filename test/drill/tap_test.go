package drill_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/test/drill"
)

// seen collects what a tap shows.
type seen struct {
	mu    sync.Mutex
	calls []drill.Call
	no    error // what unanswered calls get
}

func (s *seen) see(c drill.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	if !c.Answered {
		return s.no
	}
	return nil
}

// tapped returns the configuration of a client whose calls pass a tap, and how
// often the endpoint behind it was called.
func tapped(t *testing.T, s *seen, answer http.HandlerFunc) (aws.Config, *int) {
	t.Helper()
	calls := new(int)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		*calls++
		answer(w, req)
	}))
	t.Cleanup(endpoint.Close)
	tap, err := drill.NewTap(t.Context(), endpoint.URL, s.see)
	require.NoError(t, err)
	t.Cleanup(tap.Close)
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &tap.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}, calls
}

func TestATapShowsEachCallBeforeAndAfter(t *testing.T) {
	t.Parallel()
	const received = `{"Messages":[{"MessageId":"m","Body":"{}"}]}`
	s := &seen{}
	cfg, _ := tapped(t, s, func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.Header.Get("X-Amz-Target") != "":
			_, _ = io.WriteString(w, received)
		case req.Method == http.MethodGet:
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
		default:
			body, err := io.ReadAll(req.Body)
			if err != nil || !strings.Contains(string(body), "Action=Publish") {
				w.WriteHeader(http.StatusBadRequest)
			}
			_, _ = io.WriteString(w, "<PublishResponse><PublishResult/></PublishResponse>")
		}
	})
	out, err := sqs.NewFromConfig(cfg).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://q")})
	require.NoError(t, err)
	require.Len(t, out.Messages, 1)
	_, err = sns.NewFromConfig(cfg).Publish(t.Context(), &sns.PublishInput{TopicArn: aws.String("t"), Message: aws.String("m")})
	require.NoError(t, err)
	object, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).
		GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k/l")})
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, object.Body)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, n, "an object passes whole")

	type call struct {
		service, operation, path string
		answered                 bool
	}
	var got []call
	for _, c := range s.calls {
		got = append(got, call{c.Service, c.Operation, c.Path, c.Answered})
	}
	require.Equal(t, []call{
		{"sqs", "ReceiveMessage", "/", false},
		{"sqs", "ReceiveMessage", "/", true},
		{"sns", "Publish", "/", false},
		{"sns", "Publish", "/", true},
		{"s3", "GetObject", "/b/k/l", false},
		{"s3", "GetObject", "/b/k/l", true},
	}, got)
	require.JSONEq(t, received, string(s.calls[1].Answer))
}

func TestATapRefuses(t *testing.T) {
	t.Parallel()
	s := &seen{no: errors.New("not today")}
	cfg, calls := tapped(t, s, func(http.ResponseWriter, *http.Request) {})
	_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).
		GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	require.ErrorContains(t, err, "InternalError: not today")
	_, err = sqs.NewFromConfig(cfg).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://q")})
	require.ErrorContains(t, err, "StatusCode: 500")
	require.Zero(t, *calls, "nothing was passed on")
}
