package queue_test

import (
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func role(scope constructs.Construct) awsiam.Role {
	return awsiam.NewRole(scope, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil)})
}

// allows matches a policy that has a statement with these actions.
func allows(actions ...any) map[string]any {
	var action any = actions
	if len(actions) == 1 {
		action = actions[0]
	}
	return map[string]any{"PolicyDocument": map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		assertions.Match_ObjectLike(&map[string]any{"Effect": "Allow", "Action": action}),
	})}}
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{})
	template := cdktest.Template(stack)

	template.ResourceCountIs(new("AWS::SQS::Queue"), new(2.0))
	template.HasResource(new("AWS::SQS::Queue"), map[string]any{
		"Properties": map[string]any{
			"VisibilityTimeout":             30,
			"MessageRetentionPeriod":        4 * 24 * 3600,
			"ReceiveMessageWaitTimeSeconds": 20,
			"SqsManagedSseEnabled":          true,
			"RedrivePolicy":                 map[string]any{"maxReceiveCount": 5, "deadLetterTargetArn": assertions.Match_AnyValue()},
			"QueueName":                     assertions.Match_Absent(),
			"DelaySeconds":                  assertions.Match_Absent(),
			"MaximumMessageSize":            assertions.Match_Absent(),
			"FifoQueue":                     assertions.Match_Absent(),
			"KmsMasterKeyId":                assertions.Match_Absent(),
		},
		"DeletionPolicy": "Delete",
	})
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"MessageRetentionPeriod": 14 * 24 * 3600,
		"SqsManagedSseEnabled":   true,
		"RedrivePolicy":          assertions.Match_Absent(),
		"RedriveAllowPolicy":     assertions.Match_Absent(),
	})
	denyPlain := map[string]any{"PolicyDocument": map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		assertions.Match_ObjectLike(&map[string]any{
			"Effect": "Deny", "Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}},
		}),
	})}}
	template.AllResourcesProperties(new("AWS::SQS::QueuePolicy"), denyPlain)
	template.ResourceCountIs(new("AWS::SQS::QueuePolicy"), new(2.0))
	require.Equal(t, 30*time.Second, q.VisibilityTimeout)
	require.False(t, q.FIFO)
	require.Len(t, q.Widgets(), 3)
}

func TestAlarms(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{})
	require.Len(t, q.Alarms(), 4)
	require.Equal(t, cdkx.Critical, cdkx.SeverityOf(q.AgeAlarm))
	require.Equal(t, cdkx.Warning, cdkx.SeverityOf(q.DepthAlarm))
	require.Equal(t, cdkx.Warning, cdkx.SeverityOf(q.InFlightAlarm))
	require.Equal(t, cdkx.Critical, cdkx.SeverityOf(q.DeadLetterAlarm))

	template := cdktest.Template(stack)
	for _, alarm := range []struct {
		metric             string
		threshold, periods int
	}{
		{"ApproximateAgeOfOldestMessage", 300, 3},
		{"ApproximateNumberOfMessagesVisible", 10_000, 15},
		{"ApproximateNumberOfMessagesNotVisible", 108_000, 3},
		{"ApproximateNumberOfMessagesVisible", 0, 1},
	} {
		template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
			"MetricName": alarm.metric, "Threshold": alarm.threshold, "EvaluationPeriods": alarm.periods,
			"Statistic": "Maximum", "Period": 60, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
		})
	}
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{Name: "jobs", Delay: time.Second})
	to := role(stack)
	q.GrantConsume(to)
	q.GrantSend(to)
	cdktest.Golden(t, stack, "queue")
}

func TestGoldenFIFO(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "Jobs", queue.Props{
		Name: "jobs", FIFO: true, ContentDeduplication: true, HighThroughput: true,
		Consumer: queue.Consumer{Timeout: time.Minute},
	})
	cdktest.Golden(t, stack, "fifo")
}

func TestEveryFieldReachesTheTemplate(t *testing.T) {
	stack := cdktest.Stack(t)
	key := awskms.NewKey(stack, new("Key"), nil)
	queue.New(stack, "Jobs", queue.Props{
		Name:                "jobs",
		VisibilityTimeout:   time.Hour,
		Retention:           time.Hour,
		DeadLetterRetention: 2 * time.Hour,
		MaxReceives:         7,
		Delay:               time.Second,
		MaxMessageBytes:     2048,
		Key:                 key,
		DataKeyReuse:        time.Hour,
		AgeAlarm:            10 * time.Minute,
		DepthAlarm:          5,
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"QueueName":                    "jobs",
		"VisibilityTimeout":            3600,
		"MessageRetentionPeriod":       3600,
		"RedrivePolicy":                map[string]any{"maxReceiveCount": 7},
		"DelaySeconds":                 1,
		"MaximumMessageSize":           2048,
		"KmsMasterKeyId":               assertions.Match_AnyValue(),
		"KmsDataKeyReusePeriodSeconds": 3600,
	})
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"QueueName":                    "jobs-dlq",
		"MessageRetentionPeriod":       7200,
		"KmsMasterKeyId":               assertions.Match_AnyValue(),
		"KmsDataKeyReusePeriodSeconds": 3600,
	})
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{"MetricName": "ApproximateAgeOfOldestMessage", "Threshold": 600})
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{"MetricName": "ApproximateNumberOfMessagesVisible", "Threshold": 5})
}

func TestVisibilityFollowsTheConsumer(t *testing.T) {
	stack := cdktest.Stack(t)
	consumer := queue.Consumer{Timeout: 30 * time.Second, BatchWindow: 10 * time.Second}
	require.Equal(t, 190*time.Second, queue.New(stack, "Derived", queue.Props{Consumer: consumer}).VisibilityTimeout)
	require.Equal(t, time.Hour, queue.New(stack, "Longer", queue.Props{Consumer: consumer, VisibilityTimeout: time.Hour}).VisibilityTimeout)
	cdktest.Template(stack).HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{"VisibilityTimeout": 190})
	require.EqualError(t, queue.Props{Consumer: consumer, VisibilityTimeout: time.Minute}.Validate(),
		"queue: VisibilityTimeout is 1m0s; allowed: 3m10s or more, six times the Consumer.Timeout of 30s and the Consumer.BatchWindow of 10s")
}

func TestNamedDeadLetterQueueAdmitsOneSource(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "Jobs", queue.Props{Name: "jobs", FIFO: true})
	cdktest.Template(stack).HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"QueueName": "jobs-dlq.fifo",
		"FifoQueue": true,
		"RedriveAllowPolicy": map[string]any{
			"redrivePermission": "byQueue",
			"sourceQueueArns": []any{map[string]any{"Fn::Join": []any{"", []any{
				"arn:",
				map[string]any{"Ref": "AWS::Partition"},
				":sqs:",
				map[string]any{"Ref": "AWS::Region"},
				":",
				map[string]any{"Ref": "AWS::AccountId"},
				":jobs.fifo",
			}}}},
		},
	})
}

func TestFIFO(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{FIFO: true, ContentDeduplication: true, HighThroughput: true})
	require.True(t, q.FIFO)
	cdktest.Template(stack).AllResourcesProperties(new("AWS::SQS::Queue"), map[string]any{
		"FifoQueue":                 true,
		"ContentBasedDeduplication": true,
		"DeduplicationScope":        "messageGroup",
		"FifoThroughputLimit":       "perMessageGroupId",
	})
}

func TestAccessors(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{})
	require.Equal(t, *q.Queue.QueueUrl(), q.URL())
	require.Equal(t, *q.Queue.QueueArn(), q.ARN())
	require.Equal(t, *q.Queue.QueueName(), q.Name())
	require.Equal(t, *q.DeadLetterQueue.QueueUrl(), q.DeadLetterURL())
	require.Equal(t, *q.DeadLetterQueue.QueueArn(), q.DeadLetterARN())
}

func TestExistingDeadLetterQueue(t *testing.T) {
	stack := cdktest.Stack(t)
	shared := awssqs.NewQueue(stack, new("Shared"), &awssqs.QueueProps{RetentionPeriod: awscdk.Duration_Days(new(14.0))})
	q := queue.New(stack, "Jobs", queue.Props{DeadLetterQueue: shared})
	require.Equal(t, *shared.QueueArn(), q.DeadLetterARN())
	imported := awssqs.Queue_FromQueueArn(stack, new("Imported"), new("arn:aws:sqs:eu-west-1:111122223333:shared"))
	queue.New(stack, "More", queue.Props{DeadLetterQueue: imported})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::SQS::Queue"), new(3.0))
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"RedrivePolicy": map[string]any{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:111122223333:shared"},
	})
}

func TestExistingDeadLetterQueueMustFit(t *testing.T) {
	stack := cdktest.Stack(t)
	short := awssqs.NewQueue(stack, new("Short"), nil)
	fifo := awssqs.NewQueue(stack, new("Ordered"), &awssqs.QueueProps{Fifo: new(true)})
	seconds := awscdk.NewCfnParameter(stack, new("Seconds"), &awscdk.CfnParameterProps{Type: new("Number")}).ValueAsNumber()
	unknown := awssqs.NewQueue(stack, new("Unknown"), &awssqs.QueueProps{RetentionPeriod: awscdk.Duration_Seconds(seconds)})

	require.EqualError(t, queue.Props{DeadLetterQueue: short, DeadLetterRetention: time.Hour, OverrideDeadLetter: func(*awssqs.QueueProps) {}}.Validate(),
		`queue: 3 fields are not valid
  DeadLetterRetention is 1h0m0s; allowed: none with an existing DeadLetterQueue
  OverrideDeadLetter is "set"; allowed: none with an existing DeadLetterQueue
  DeadLetterQueue is "Test/Short"; allowed: a queue that retains for more than the Retention of 96h0m0s; this one does for 96h0m0s`)
	require.EqualError(t, queue.Props{DeadLetterQueue: short, FIFO: true}.Validate(),
		`queue: DeadLetterQueue is "Test/Short"; allowed: a FIFO queue for a FIFO queue, a standard one for a standard one`)
	require.NoError(t, queue.Props{DeadLetterQueue: fifo, FIFO: true}.Validate(), "FIFO dead letters start their age anew")
	require.NoError(t, queue.Props{DeadLetterQueue: unknown}.Validate())
}

func TestExistingQueue(t *testing.T) {
	stack := cdktest.Stack(t)
	arn := "arn:aws:sqs:eu-west-1:111122223333:"
	source := awssqs.Queue_FromQueueArn(stack, new("Source"), new(arn+"jobs.fifo"))
	dead := awssqs.Queue_FromQueueArn(stack, new("Dead"), new(arn+"jobs-dlq.fifo"))

	whole := queue.New(stack, "Whole", queue.Props{
		Queue: source, DeadLetterQueue: dead, VisibilityTimeout: time.Hour, Consumer: queue.Consumer{Timeout: 10 * time.Minute},
	})
	require.Equal(t, arn+"jobs.fifo", whole.ARN())
	require.Equal(t, arn+"jobs-dlq.fifo", whole.DeadLetterARN())
	require.Equal(t, time.Hour, whole.VisibilityTimeout)
	require.True(t, whole.FIFO)
	require.Len(t, whole.Alarms(), 4)

	bare := queue.New(stack, "Bare", queue.Props{Queue: source})
	require.Empty(t, bare.DeadLetterURL())
	require.Empty(t, bare.DeadLetterARN())
	require.Len(t, bare.Alarms(), 3)
	require.Len(t, bare.Widgets(), 3)
	err := cdktest.Panic[*queue.PropsError](t, func() { bare.GrantRedrive(role(stack)) })
	require.EqualError(t, err, `Test/Bare (queue): DeadLetterQueue is "nil"; allowed: the dead-letter queue of the existing Queue, to redrive from`)

	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::SQS::Queue"), new(0.0))
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"Dimensions": []any{map[string]any{"Name": "QueueName", "Value": "jobs.fifo"}},
	})
}

func TestExistingQueueIsNotChanged(t *testing.T) {
	stack := cdktest.Stack(t)
	nothing := func(*awssqs.QueueProps) {}
	err := queue.Props{
		Queue: awssqs.NewQueue(stack, new("Source"), nil), Consumer: queue.Consumer{Timeout: time.Minute},
		Name: "jobs", Retention: time.Hour, DeadLetterRetention: 2 * time.Hour, MaxReceives: 3, Delay: time.Second,
		MaxMessageBytes: 2048, FIFO: true, ContentDeduplication: true, HighThroughput: true,
		Key: awskms.NewKey(stack, new("Key"), nil), DataKeyReuse: time.Hour, Override: nothing, OverrideDeadLetter: nothing,
	}.Validate()
	require.EqualError(t, err, `queue: 14 fields are not valid
  Name is "jobs"; allowed: none with an existing Queue
  Retention is 1h0m0s; allowed: none with an existing Queue
  DeadLetterRetention is 2h0m0s; allowed: none with an existing Queue
  MaxReceives is 3; allowed: none with an existing Queue
  Delay is 1s; allowed: none with an existing Queue
  MaxMessageBytes is 2048; allowed: none with an existing Queue
  FIFO is true; allowed: none with an existing Queue
  ContentDeduplication is true; allowed: none with an existing Queue
  HighThroughput is true; allowed: none with an existing Queue
  Key is "set"; allowed: none with an existing Queue
  DataKeyReuse is 1h0m0s; allowed: none with an existing Queue
  Override is "set"; allowed: none with an existing Queue
  OverrideDeadLetter is "set"; allowed: none with an existing Queue
  VisibilityTimeout is 30s; allowed: 6m0s or more, six times the Consumer.Timeout of 1m0s and the Consumer.BatchWindow of 0s`)
}

func TestGrants(t *testing.T) {
	stack := cdktest.Stack(t)
	q := queue.New(stack, "Jobs", queue.Props{})
	to := role(stack)
	q.GrantRedrive(to)
	q.GrantPurge(to)
	require.NotEmpty(t, *q.GrantSend(to).PrincipalStatements())
	template := cdktest.Template(stack)
	document := func(queue awssqs.IQueue, actions ...any) {
		template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{
			"PolicyDocument": map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{map[string]any{
				"Effect": "Allow", "Action": actions, "Resource": stack.Resolve(queue.QueueArn()),
			}})},
		})
	}
	document(q.DeadLetterQueue, "sqs:CancelMessageMoveTask", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
		"sqs:GetQueueUrl", "sqs:ListMessageMoveTasks", "sqs:ReceiveMessage", "sqs:StartMessageMoveTask")
	document(q.Queue, "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:PurgeQueue", "sqs:SendMessage")
}

func TestGrantsIncludeTheKey(t *testing.T) {
	for name, grant := range map[string]struct {
		to      func(*queue.Queue, awsiam.IGrantable)
		actions []any
	}{
		"send":    {func(q *queue.Queue, to awsiam.IGrantable) { q.GrantSend(to) }, []any{"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}},
		"consume": {func(q *queue.Queue, to awsiam.IGrantable) { q.GrantConsume(to) }, []any{"kms:Decrypt"}},
		"redrive": {func(q *queue.Queue, to awsiam.IGrantable) { q.GrantRedrive(to) }, []any{"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}},
	} {
		t.Run(name, func(t *testing.T) {
			stack := cdktest.Stack(t)
			q := queue.New(stack, "Jobs", queue.Props{Key: awskms.NewKey(stack, new("Key"), nil)})
			grant.to(q, role(stack))
			cdktest.Template(stack).HasResourceProperties(new("AWS::IAM::Policy"), allows(grant.actions...))
		})
	}
}

func TestUseInAnotherStack(t *testing.T) {
	one, other := cdktest.Stacks(t)
	q := queue.New(one, "Jobs", queue.Props{Key: awskms.NewKey(one, new("Key"), nil)})
	to := role(other)
	q.GrantConsume(to)
	q.GrantRedrive(to)
	template := cdktest.Template(other)
	template.ResourceCountIs(new("AWS::IAM::Policy"), new(1.0))
	template.HasResourceProperties(new("AWS::IAM::Policy"), allows("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"))
}

func TestTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "Jobs", queue.Props{Name: cdktest.Token(stack, "Name"), FIFO: true})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"QueueName": map[string]any{"Fn::Join": []any{"", []any{map[string]any{"Ref": "Name"}, ".fifo"}}},
	})
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"QueueName": map[string]any{"Fn::Join": []any{"", []any{map[string]any{"Ref": "Name"}, "-dlq.fifo"}}},
	})
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "Jobs", queue.Props{
		MaxReceives:        3,
		Override:           func(p *awssqs.QueueProps) { p.MaxMessageSizeBytes = new(1024.0) },
		OverrideDeadLetter: func(p *awssqs.QueueProps) { p.RemovalPolicy = awscdk.RemovalPolicy_RETAIN },
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SQS::Queue"), map[string]any{
		"MaximumMessageSize": 1024,
		"RedrivePolicy":      map[string]any{"maxReceiveCount": 3},
	})
	template.HasResource(new("AWS::SQS::Queue"), map[string]any{"DeletionPolicy": "Retain"})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, queue.Props{
		Name: "jobs", Key: awskms.NewKey(stack, new("Key"), nil),
		Override: func(p *awssqs.QueueProps) { p.QueueName = new("other") },
	}, func(p queue.Props) { queue.New(stack, "Jobs", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	queue.New(stack, "One", queue.Props{})
	two := queue.New(stack, "Two", queue.Props{})
	// A construct is a scope like any other.
	awssqs.NewQueue(two, new("Inner"), nil)
	cdktest.Template(stack).ResourceCountIs(new("AWS::SQS::Queue"), new(5.0))
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := queue.Props{
		Name:                 "no spaces",
		VisibilityTimeout:    13 * time.Hour,
		Retention:            14 * 24 * time.Hour,
		DeadLetterRetention:  time.Second,
		MaxReceives:          -1,
		Delay:                time.Hour,
		MaxMessageBytes:      100,
		ContentDeduplication: true,
		HighThroughput:       true,
		DataKeyReuse:         time.Second,
		AgeAlarm:             time.Second,
		DepthAlarm:           -1,
	}
	require.EqualError(t, bad.Validate(), `queue: 13 fields are not valid
  Name is "no spaces"; allowed: 1 to 76 letters, digits, hyphens and underscores
  DeadLetterRetention is 1s; allowed: 1m0s to 336h0m0s in whole seconds
  VisibilityTimeout is 13h0m0s; allowed: 1s to 12h0m0s in whole seconds
  Retention is 336h0m0s; allowed: 1m0s to 312h0m0s in whole seconds
  MaxReceives is -1; allowed: 1 to 1000
  Delay is 1h0m0s; allowed: 0s to 15m0s in whole seconds
  MaxMessageBytes is 100; allowed: 1024 to 1048576
  ContentDeduplication is true; allowed: false without FIFO
  HighThroughput is true; allowed: false without FIFO
  DataKeyReuse is 1s; allowed: 1m0s to 24h0m0s in whole seconds
  DataKeyReuse is 1s; allowed: none without a Key
  AgeAlarm is 1s; allowed: 1m0s to 336h0m0s in whole seconds
  DepthAlarm is -1; allowed: 1 or more`)
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*queue.PropsError](t, func() { queue.New(stack, "Jobs", bad) })
	require.ErrorContains(t, err, "Test/Jobs (queue): 13 fields")
}

func TestValidateRelations(t *testing.T) {
	for _, each := range []struct {
		props queue.Props
		want  string
	}{
		{
			queue.Props{Name: "jobs.fifo", FIFO: true},
			`queue: Name is "jobs.fifo"; allowed: 1 to 71 letters, digits, hyphens and underscores, to which ".fifo" is added`,
		},
		{
			queue.Props{DeadLetterRetention: 4 * 24 * time.Hour},
			"queue: DeadLetterRetention is 96h0m0s; allowed: more than the Retention of 96h0m0s",
		},
		{
			queue.Props{Consumer: queue.Consumer{BatchWindow: 6 * time.Minute}},
			`queue: 2 fields are not valid
  Consumer.Timeout is 0s; allowed: 1s to 2h0m0s in whole seconds
  Consumer.BatchWindow is 6m0s; allowed: 0s to 5m0s in whole seconds`,
		},
		{
			queue.Props{FIFO: true, Consumer: queue.Consumer{Timeout: time.Second, BatchWindow: time.Second}},
			"queue: Consumer.BatchWindow is 1s; allowed: 0s for FIFO",
		},
		{
			queue.Props{Consumer: queue.Consumer{Timeout: 3 * time.Hour}},
			`queue: 2 fields are not valid
  VisibilityTimeout is 18h0m0s; allowed: 1s to 12h0m0s in whole seconds
  Consumer.Timeout is 3h0m0s; allowed: 1s to 2h0m0s in whole seconds`,
		},
	} {
		require.EqualError(t, each.props.Validate(), each.want)
	}
}
