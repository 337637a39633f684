package drill

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	gopsnet "github.com/shirou/gopsutil/v4/net"
	gops "github.com/shirou/gopsutil/v4/process"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/deadletter"
)

// Consumer is a Lambda function that is invoked with the messages of a queue.
type Consumer struct {
	Name  string // of the program: "probe"
	Queue deadletter.Queue

	env      *Environment
	function string
	mapping  string // id of the event source mapping
}

// Consumers returns the functions that have one of the names, in their order.
func (e *Environment) Consumers(ctx context.Context, names ...string) ([]*Consumer, error) {
	stack := contract.StackPrefix(e.Name) + "messaging"
	resources, err := cloudformation.NewFromConfig(e.AWS).DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: &stack})
	if err != nil {
		return nil, fmt.Errorf("list the resources of stack %s: %w", stack, err)
	}
	mappings, err := lambda.NewFromConfig(e.AWS).ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{})
	if err != nil {
		return nil, fmt.Errorf("list the event source mappings: %w", err)
	}
	queues, err := e.DeadLetters().Queues(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Consumer
	for _, name := range names {
		c := &Consumer{Name: name, env: e}
		for _, r := range resources.StackResources {
			// A logical id is the construct's, a hash behind it.
			if aws.ToString(r.ResourceType) == "AWS::Lambda::Function" && strings.HasPrefix(strings.ToLower(aws.ToString(r.LogicalResourceId)), name) {
				c.function = aws.ToString(r.PhysicalResourceId)
			}
		}
		for _, m := range mappings.EventSourceMappings {
			if c.function != "" && strings.HasSuffix(aws.ToString(m.FunctionArn), ":"+c.function) {
				c.mapping = aws.ToString(m.UUID)
				if i := slices.IndexFunc(queues, func(q deadletter.Queue) bool { return q.ARN == aws.ToString(m.EventSourceArn) }); i >= 0 {
					c.Queue = queues[i]
				}
			}
		}
		if c.mapping == "" || c.Queue.Dead == nil {
			return nil, fmt.Errorf("find the function %q in stack %s: it has none that a queue with a dead-letter queue invokes", name, stack)
		}
		all = append(all, c)
	}
	return all, nil
}

// Enable has the function invoked, or no longer. When it is no longer, no
// invocation is under way on return.
func (c *Consumer) Enable(ctx context.Context, on bool) error {
	if _, err := lambda.NewFromConfig(c.env.AWS).UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{
		UUID: &c.mapping, Enabled: &on,
	}); err != nil {
		return fmt.Errorf("set the event source mapping of %s to enabled %t: %w", c.Name, on, err)
	}
	if on {
		return nil
	}
	return Await(ctx, c.Name+" handles no message", func(ctx context.Context) (bool, error) {
		n, err := c.InFlight(ctx)
		return n == 0, err
	})
}

// InFlight is how many messages of its queue the function has received and not
// yet done.
func (c *Consumer) InFlight(ctx context.Context) (int, error) {
	return c.env.count(ctx, c.Queue.URL, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
}

// Configure sets environment variables of the function over those it has, and
// returns how to take them back.
func (c *Consumer) Configure(ctx context.Context, variables map[string]string) (restore func(context.Context) error, err error) {
	client := lambda.NewFromConfig(c.env.AWS)
	is, err := client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &c.function})
	if err != nil {
		return nil, fmt.Errorf("read the configuration of %s: %w", c.function, err)
	}
	was := map[string]string{}
	if is.Environment != nil {
		was = is.Environment.Variables
	}
	set := func(ctx context.Context, variables map[string]string) error {
		if _, err := client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
			FunctionName: &c.function, Environment: &lambdatypes.Environment{Variables: variables},
		}); err != nil {
			return fmt.Errorf("set the environment of %s: %w", c.function, err)
		}
		return lambda.NewFunctionUpdatedV2Waiter(client, func(o *lambda.FunctionUpdatedV2WaiterOptions) { o.MinDelay = 100 * time.Millisecond }).
			Wait(ctx, &lambda.GetFunctionInput{FunctionName: &c.function}, time.Minute)
	}
	now := maps.Clone(was)
	maps.Copy(now, variables)
	return func(ctx context.Context) error { return set(ctx, was) }, set(ctx, now)
}

// Hide sets how long the queue hides a received message, and returns how to set
// it back.
func (c *Consumer) Hide(ctx context.Context, d time.Duration) (restore func(context.Context) error, err error) {
	client := sqs.NewFromConfig(c.env.AWS)
	const name = sqstypes.QueueAttributeNameVisibilityTimeout
	out, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &c.Queue.URL, AttributeNames: []sqstypes.QueueAttributeName{name}})
	if err != nil {
		return nil, fmt.Errorf("read the visibility timeout of %s: %w", c.Queue.Name, err)
	}
	set := func(ctx context.Context, seconds string) error {
		_, err := client.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &c.Queue.URL, Attributes: map[string]string{string(name): seconds}})
		if err != nil {
			return fmt.Errorf("set the visibility timeout of %s to %s s: %w", c.Queue.Name, seconds, err)
		}
		return nil
	}
	return func(ctx context.Context) error { return set(ctx, out.Attributes[string(name)]) }, set(ctx, strconv.Itoa(int(d.Seconds())))
}

// Kill kills the process of the function that has a connection with this end,
// as a crash would, and returns its pid.
func (c *Consumer) Kill(ctx context.Context, client net.Addr) (int, error) {
	conns, err := gopsnet.ConnectionsWithContext(ctx, "tcp4")
	if err != nil {
		return 0, fmt.Errorf("find the process of %s with connection %v: %w", c.Name, client, err)
	}
	for _, conn := range conns {
		if net.JoinHostPort(conn.Laddr.IP, strconv.Itoa(int(conn.Laddr.Port))) != client.String() || conn.Pid <= 1 {
			continue
		}
		p, err := gops.NewProcess(conn.Pid)
		if err != nil {
			continue
		}
		environ, err := p.EnvironWithContext(ctx)
		if err != nil || !slices.Contains(environ, "AWS_LAMBDA_FUNCTION_NAME="+c.function) {
			continue
		}
		if err := syscall.Kill(int(conn.Pid), syscall.SIGKILL); err != nil {
			return int(conn.Pid), fmt.Errorf("kill a process of %s (pid %d): %w", c.Name, conn.Pid, err)
		}
		return int(conn.Pid), nil
	}
	return 0, fmt.Errorf("kill a process of %s: none has a connection from %v", c.Name, client)
}
