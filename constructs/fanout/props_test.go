package fanout_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestValidateNamesEveryField(t *testing.T) {
	many := make([]string, 151)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	bad := fanout.Props{
		Name:                 "no spaces",
		ContentDeduplication: true,
		HighThroughput:       true,
		LogSuccessPercent:    101,
		Subscriptions: []fanout.Subscription{
			{Name: "a", QueueProps: queue.Props{MaxReceives: 5000, FIFO: true}},
			{Name: "a", Filter: map[string][]string{"type": {}}},
			{Filter: map[string][]string{"type": many}},
		},
	}
	require.EqualError(t, bad.Validate(), `fanout: 11 fields are not valid
  Name is "no spaces"; allowed: 1 to 256 letters, digits, hyphens and underscores
  ContentDeduplication is true; allowed: false without FIFO
  HighThroughput is true; allowed: false without FIFO
  LogSuccessPercent is 101; allowed: 0 without LogDeliveries
  LogSuccessPercent is 101; allowed: 0 to 100
  Subscriptions[0].QueueProps.FIFO is true; allowed: false, as the topic is
  Subscriptions[0].QueueProps.MaxReceives is 5000; allowed: 1 to 1000
  Subscriptions[1].Name is "a"; allowed: each name once
  Subscriptions[1].Filter[type] is []; allowed: a named attribute with one value or more
  Subscriptions[2].Name is ""; allowed: letters, digits, hyphens and underscores
  Subscriptions[2].Filter is 151; allowed: 150 combinations of values or fewer`)
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*fanout.PropsError](t, func() { fanout.New(stack, "Events", bad) })
	require.ErrorContains(t, err, "Test/Events (fanout): 11 fields")
}

func TestValidateConditions(t *testing.T) {
	six := fanout.Conditions{}
	for i := range 6 {
		six[fmt.Sprint(i)] = fanout.Exists()
	}
	err := fanout.Props{Subscriptions: []fanout.Subscription{
		{Name: "both", Filter: map[string][]string{"type": {"a"}}, Attributes: fanout.Conditions{"type": fanout.OneOf("b")}, Body: six},
		{Name: "six", Attributes: six},
		{Name: "nested", Attributes: fanout.Conditions{"a": fanout.Within(fanout.Conditions{"b": fanout.Exists()})}},
		{Name: "wrong", Body: fanout.Conditions{
			"a": {},
			"b": fanout.Between(2, 1),
			"c": fanout.Any(fanout.Exists(), fanout.Number(math.Inf(1))),
			"d": fanout.InNetwork("10.0.0.0"),
			"e": fanout.Within(fanout.Conditions{"f": fanout.AnythingBut()}),
		}},
		{Name: "mixed", Body: fanout.Conditions{"a": fanout.Any(fanout.Exists(), fanout.Within(fanout.Conditions{"b": fanout.Exists()}))}},
	}}.Validate()
	require.EqualError(t, err, `fanout: 11 fields are not valid
  Subscriptions[0].Body is [0 1 2 3 4 5]; allowed: none with Filter or Attributes: SNS looks at the one or at the other
  Subscriptions[0].Filter[type] is [a]; allowed: an attribute that is not in Attributes too
  Subscriptions[0].Body is 6; allowed: 5 names or fewer
  Subscriptions[1].Filter is 6; allowed: 5 names or fewer
  Subscriptions[2].Attributes[a] is "Within"; allowed: conditions on the value: attributes are not nested
  Subscriptions[3].Body[a] is []; allowed: a name with one condition or more
  Subscriptions[3].Body[b] is "Between(2, 1)"; allowed: the lower number first
  Subscriptions[3].Body[c] is +Inf; allowed: -1e9 to 1e9
  Subscriptions[3].Body[d] is "10.0.0.0"; allowed: a network in CIDR notation
  Subscriptions[3].Body[e][f] is []; allowed: a name with one condition or more
  Subscriptions[4].Body[a] is "Any(Within)"; allowed: conditions on the value`)
}

func TestValidateExisting(t *testing.T) {
	stack := cdktest.Stack(t)
	ordered := awssns.Topic_FromTopicArn(stack, new("Topic"), new("arn:aws:sns:eu-west-1:111122223333:events.fifo"))
	jobs := queue.New(stack, "Jobs", queue.Props{})
	managed := queue.New(stack, "Managed", queue.Props{
		FIFO: true, Override: func(p *awssqs.QueueProps) { p.Encryption = awssqs.QueueEncryption_KMS_MANAGED },
	})
	err := fanout.Props{
		Topic: ordered, Name: "events", FIFO: true, ContentDeduplication: true, HighThroughput: true,
		Key: awskms.NewKey(stack, new("Key"), nil), LogDeliveries: true, LogSuccessPercent: 1, Override: func(*awssns.TopicProps) {},
		Subscriptions: []fanout.Subscription{
			{Name: "jobs", Queue: jobs, DeadLetterQueue: jobs.DeadLetterQueue, SeparateDeadLetters: true},
			{Name: "again", Queue: jobs},
			{Name: "managed", Queue: managed},
			{Name: "wrapped", QueueProps: queue.Props{Queue: managed.Queue}},
		},
	}.Validate()
	require.EqualError(t, err, `fanout: 15 fields are not valid
  Name is "events"; allowed: none with an existing Topic
  FIFO is true; allowed: none with an existing Topic
  ContentDeduplication is true; allowed: none with an existing Topic
  HighThroughput is true; allowed: none with an existing Topic
  Key is "set"; allowed: none with an existing Topic
  LogDeliveries is true; allowed: none with an existing Topic
  LogSuccessPercent is 1; allowed: none with an existing Topic
  Override is "set"; allowed: none with an existing Topic
  Subscriptions[0].Queue is "Test/Jobs"; allowed: a FIFO queue, as the topic is
  Subscriptions[0].DeadLetterQueue is "Test/Jobs/DeadLetter"; allowed: a FIFO queue, as the topic is
  Subscriptions[0].SeparateDeadLetters is true; allowed: false with a DeadLetterQueue
  Subscriptions[1].Queue is "Test/Jobs"; allowed: each queue once
  Subscriptions[1].Queue is "Test/Jobs"; allowed: a FIFO queue, as the topic is
  Subscriptions[2].Queue is "Test/Managed"; allowed: a queue with the keys of SQS or a Key: alias/aws/sqs refuses SNS
  Subscriptions[3].QueueProps.Queue is "set"; allowed: none: an existing queue is the subscription's Queue`)
}

func TestValidateFIFOName(t *testing.T) {
	require.EqualError(t, fanout.Props{Name: "events.fifo", FIFO: true}.Validate(),
		`fanout: Name is "events.fifo"; allowed: 1 to 251 letters, digits, hyphens and underscores, to which ".fifo" is added`)
}
