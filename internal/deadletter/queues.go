// Package deadletter shows, redrives and purges the dead letters of an
// environment: the messages that the consumers of its queues could not handle.
// It works through the AWS APIs alone, on AWS and on an emulator alike, and
// knows only the queues that the environment's CloudFormation stacks made.
package deadletter

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// maxBatch is the most messages one request of SQS takes or returns.
const maxBatch = 10

// Client works on the queues of one environment.
type Client struct {
	environment string
	sqs         *sqs.Client
	stacks      *cloudformation.Client
	metrics     *cloudwatch.Client
	now         func() time.Time
}

// New returns a client for an environment, "dev" or "prod", in the account and
// region that cfg is for.
func New(cfg aws.Config, environment string) *Client {
	return &Client{
		environment: environment, sqs: sqs.NewFromConfig(cfg), stacks: cloudformation.NewFromConfig(cfg),
		metrics: cloudwatch.NewFromConfig(cfg), now: time.Now,
	}
}

// Queue is a queue of the environment.
type Queue struct {
	Stack       string `json:"stack"`
	Name        string `json:"name"`
	URL         string `json:"url"`
	ARN         string `json:"arn"`
	Waiting     int    `json:"waiting"`                // messages to receive; approximate, as all counts of SQS
	InFlight    int    `json:"in_flight"`              // received, neither deleted nor visible again
	Delayed     int    `json:"delayed"`                // not yet to receive
	MaxReceives int    `json:"max_receives,omitempty"` // after which a message is a dead letter
	Dead        *Dead  `json:"dead_letters,omitempty"` // nil for a queue without a dead-letter queue
	Elsewhere   string `json:"elsewhere,omitempty"`    // ARN of a dead-letter queue that is not the environment's: left alone
	policy      bool   // has a redrive policy itself
}

// Dead is a dead-letter queue of the environment.
type Dead struct {
	Name     string     `json:"name"`
	URL      string     `json:"url"`
	ARN      string     `json:"arn"`
	Waiting  int        `json:"waiting"`
	InFlight int        `json:"in_flight"`
	Oldest   *time.Time `json:"oldest,omitempty"` // nil when it is empty or not known
	Sources  []string   `json:"sources"`          // names of the environment's queues whose dead letters it takes

	chained bool // has a redrive policy: looking at a message counts as a receive and may move it
}

// Queues returns the queues that the environment's stacks made, by stack and
// name, each with its dead-letter queue. Dead-letter queues are not listed
// themselves. A queue outside those stacks is never part of the result.
func (c *Client) Queues(ctx context.Context) ([]Queue, error) {
	all, err := c.owned(ctx)
	if err != nil {
		return nil, err
	}
	targets := map[string]*Dead{} // by ARN
	byARN := map[string]*Queue{}
	for i := range all {
		byARN[all[i].ARN] = &all[i]
	}
	for i := range all {
		q := &all[i]
		target, own := byARN[q.Elsewhere]
		if q.Elsewhere == "" || !own {
			continue
		}
		d := targets[target.ARN]
		if d == nil {
			d = &Dead{Name: target.Name, URL: target.URL, ARN: target.ARN, Waiting: target.Waiting, InFlight: target.InFlight, chained: target.policy}
			if d.Oldest, err = c.oldest(ctx, d); err != nil {
				return nil, err
			}
			targets[target.ARN] = d
		}
		d.Sources = append(d.Sources, q.Name)
		q.Dead, q.Elsewhere = d, ""
	}
	return slices.DeleteFunc(all, func(q Queue) bool { return targets[q.ARN] != nil }), nil
}

// owned returns every queue of the environment's stacks, dead-letter queues
// too, each with the ARN of its dead-letter queue in Elsewhere.
func (c *Client) owned(ctx context.Context) ([]Queue, error) {
	prefix := contract.StackPrefix(c.environment)
	var found []Queue
	stacks := cloudformation.NewDescribeStacksPaginator(c.stacks, &cloudformation.DescribeStacksInput{})
	deployed := false
	for stacks.HasMorePages() {
		page, err := stacks.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the stacks of %s: %w", c.environment, err)
		}
		for _, s := range page.Stacks {
			if !strings.HasPrefix(aws.ToString(s.StackName), prefix) {
				continue
			}
			deployed = true
			queues, err := c.inStack(ctx, aws.ToString(s.StackName))
			if err != nil {
				return nil, err
			}
			found = append(found, queues...)
		}
	}
	if !deployed {
		return nil, fmt.Errorf("there is no stack of %s here: none has a name that begins with %q", c.environment, prefix)
	}
	slices.SortFunc(found, func(a, b Queue) int {
		return cmp.Or(strings.Compare(a.Stack, b.Stack), strings.Compare(a.Name, b.Name))
	})
	return found, nil
}

func (c *Client) inStack(ctx context.Context, stack string) ([]Queue, error) {
	var found []Queue
	resources := cloudformation.NewListStackResourcesPaginator(c.stacks, &cloudformation.ListStackResourcesInput{StackName: &stack})
	for resources.HasMorePages() {
		page, err := resources.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the resources of stack %s: %w", stack, err)
		}
		for _, r := range page.StackResourceSummaries {
			url := aws.ToString(r.PhysicalResourceId)
			if aws.ToString(r.ResourceType) != "AWS::SQS::Queue" || url == "" {
				continue
			}
			q, err := c.read(ctx, stack, url)
			if err != nil {
				return nil, err
			}
			found = append(found, q)
		}
	}
	return found, nil
}

func (c *Client) read(ctx context.Context, stack, url string) (Queue, error) {
	out, err := c.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		return Queue{}, fmt.Errorf("read the attributes of %s of stack %s: %w", url, stack, err)
	}
	number := func(name types.QueueAttributeName) int {
		n, _ := strconv.Atoi(out.Attributes[string(name)]) // absent counts as none
		return n
	}
	q := Queue{
		Stack: stack, URL: url, ARN: out.Attributes[string(types.QueueAttributeNameQueueArn)],
		Waiting:  number(types.QueueAttributeNameApproximateNumberOfMessages),
		InFlight: number(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible),
		Delayed:  number(types.QueueAttributeNameApproximateNumberOfMessagesDelayed),
	}
	q.Name = q.ARN[strings.LastIndexByte(q.ARN, ':')+1:]
	policy := out.Attributes[string(types.QueueAttributeNameRedrivePolicy)]
	if policy == "" {
		return q, nil
	}
	var redrive struct {
		Target      string      `json:"deadLetterTargetArn"`
		MaxReceives json.Number `json:"maxReceiveCount"` // a number, or one in quotes
	}
	if err := json.Unmarshal([]byte(policy), &redrive); err != nil {
		return Queue{}, fmt.Errorf("redrive policy of %s, %q: %w", q.Name, policy, err)
	}
	q.MaxReceives, _ = strconv.Atoi(redrive.MaxReceives.String())
	q.Elsewhere, q.policy = redrive.Target, true
	return q, nil
}

// oldest returns since when the oldest message waits, as CloudWatch last knew
// it. Where there is no metric it looks at up to ten messages and gives them back.
func (c *Client) oldest(ctx context.Context, d *Dead) (*time.Time, error) {
	if d.Waiting == 0 {
		return nil, nil //nolint:nilnil // None is a value here.
	}
	now := c.now()
	out, err := c.metrics.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/SQS"), MetricName: aws.String("ApproximateAgeOfOldestMessage"),
		Dimensions: []cwtypes.Dimension{{Name: aws.String("QueueName"), Value: &d.Name}},
		StartTime:  aws.Time(now.Add(-15 * time.Minute)), EndTime: &now, Period: aws.Int32(60),
		Statistics: []cwtypes.Statistic{cwtypes.StatisticMaximum},
	})
	if err == nil && len(out.Datapoints) > 0 {
		last := slices.MaxFunc(out.Datapoints, func(a, b cwtypes.Datapoint) int { return a.Timestamp.Compare(*b.Timestamp) })
		return aws.Time(last.Timestamp.Add(-time.Duration(aws.ToFloat64(last.Maximum) * float64(time.Second)))), nil
	}
	if d.chained {
		return nil, nil //nolint:nilnil // Not known.
	}
	letters, taken, err := c.receive(ctx, d.URL, maxBatch)
	if err != nil || len(letters) == 0 {
		return nil, err
	}
	if err := c.giveBack(ctx, d.URL, taken); err != nil {
		return nil, fmt.Errorf("look for the oldest message of %s: some stay hidden for %v: %w", d.Name, hidden, err)
	}
	return aws.Time(slices.MinFunc(letters, func(a, b Letter) int { return a.Sent.Compare(b.Sent) }).Sent), nil
}

// Select returns the queues that a name means: all, or the one whose name, or
// whose dead-letter queue's name, is it or has it as its only match, in any
// case. Queues without a dead-letter queue of the environment are left out.
func Select(queues []Queue, name string) ([]Queue, error) {
	var with []Queue
	var names []string
	for _, q := range queues {
		if q.Dead != nil {
			with, names = append(with, q), append(names, q.Name)
		}
	}
	if name == "all" {
		return with, nil
	}
	var matches []Queue
	for _, q := range with {
		if q.Name == name || q.Dead.Name == name {
			return []Queue{q}, nil
		}
		if strings.Contains(strings.ToLower(q.Name), strings.ToLower(name)) {
			matches = append(matches, q)
		}
	}
	switch {
	case len(matches) == 1:
		return matches, nil
	case len(matches) > 1:
		return nil, fmt.Errorf("queue %q: it could be any of %d; give more of the name: %s", name, len(matches), strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("queue %q: no queue of the environment that has a dead-letter queue is called so; there are: %s", name, strings.Join(names, ", "))
}
