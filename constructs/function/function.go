package function

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdadestinations"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Function is a Lambda function on provided.al2023 with a log group, active
// tracing and a role that may do only what was granted.
type Function struct {
	constructs.Construct
	Function         awslambda.IFunction
	Role             awsiam.IRole
	LogGroup         awslogs.ILogGroup
	Binary           Binary               // the compiled program
	ErrorAlarm       awscloudwatch.IAlarm // it failed
	ThrottledAlarm   awscloudwatch.IAlarm // it was not allowed to run
	DurationAlarm    awscloudwatch.IAlarm // it is about to run into its timeout
	ConcurrencyAlarm awscloudwatch.IAlarm // its reservation is nearly used up; nil without one
	DeliveryAlarm    awscloudwatch.IAlarm // a failed event was lost; nil without OnFailure

	timeout   time.Duration
	explained bool // why it has no dead-letter queue
}

// New makes a Function. It panics with a *PropsError when props are not valid
// and with a *BuildError when the source does not compile.
func New(scope constructs.Construct, id string, props Props) *Function {
	cdkx.Must(scope, id, "function", props.Validate())
	props = props.withDefaults()
	if props.Binary == nil {
		binary, err := Build(context.Background(), props)
		if err != nil {
			panic(&BuildError{Path: *scope.Node().Path() + "/" + id, Err: cdkx.Refuse(err)})
		}
		props.Binary = &binary
	}
	f := &Function{Binary: *props.Binary, LogGroup: props.LogGroup, Role: props.Role, timeout: props.Timeout}
	constructs.NewConstruct_Override(f, scope, &id)
	if f.LogGroup == nil {
		f.LogGroup = f.makeLogGroup(props)
	}
	if f.Role == nil {
		f.Role = f.makeRole()
	}
	f.LogGroup.GrantWrite(f.Role)
	if props.VPC != nil {
		f.attach()
	}
	if props.Key != nil {
		// For a role made anew under an old name: Lambda's grant is for the role it saw first.
		props.Key.GrantDecrypt(f.Role)
	}
	f.Function = f.makeFunction(props)
	f.explain(props)
	f.watch(props)
	return f
}

func (f *Function) makeLogGroup(props Props) awslogs.ILogGroup {
	return awslogs.NewLogGroup(f, new("Logs"), &awslogs.LogGroupProps{
		Retention:     cmp.Or(props.LogRetention, awslogs.RetentionDays_ONE_MONTH),
		EncryptionKey: props.Key,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
}

// makeRole makes a role instead of taking CDK's, whose managed policies let a
// function write to every log group.
func (f *Function) makeRole() awsiam.IRole {
	return awsiam.NewRole(f, new("Role"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(new("lambda.amazonaws.com"), nil),
		Description: new("Runs the Lambda function " + *f.Node().Path()),
	})
}

// attach lets Lambda, and not the program, make the function's network
// interfaces ("Giving Lambda functions access to resources in an Amazon VPC").
func (f *Function) attach() {
	// Lambda checks for these when it attaches the function to the VPC. None
	// of them can be bound to a network interface that does not exist yet.
	actions := cdkx.Strings(
		"ec2:AssignPrivateIpAddresses",
		"ec2:CreateNetworkInterface",
		"ec2:DeleteNetworkInterface",
		"ec2:DescribeNetworkInterfaces",
		"ec2:DescribeSecurityGroups",
		"ec2:DescribeSubnets",
		"ec2:DescribeVpcs",
		"ec2:UnassignPrivateIpAddresses",
	)
	f.Role.AddToPrincipalPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:       new("AttachToVPC"),
		Actions:   actions,
		Resources: cdkx.Strings("*"),
	}))
	f.Role.AddToPrincipalPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:       new("AttachToVPCNotByTheProgram"),
		Effect:    awsiam.Effect_DENY,
		Actions:   actions,
		Resources: cdkx.Strings("*"),
		// Lambda sets this key on calls that a program makes with the role. To name
		// the function itself would be a cycle: it waits for its role's policy.
		Conditions: &map[string]any{"Null": map[string]any{"lambda:SourceFunctionArn": "false"}},
	}))
}

func (f *Function) makeFunction(props Props) awslambda.IFunction {
	functionProps := &awslambda.FunctionProps{
		FunctionName: cdkx.Optional(props.Name),
		Description:  cdkx.Optional(props.Description),
		Runtime:      awslambda.Runtime_PROVIDED_AL2023(),
		Handler:      new("bootstrap"),
		// The hash of the program, so that what else lies in the folder, and the
		// order in which files are read, cannot change the asset.
		Code: awslambda.Code_FromAsset(new(filepath.Dir(f.Binary.Path)), &awss3assets.AssetOptions{
			AssetHash:     &f.Binary.SHA256,
			AssetHashType: awscdk.AssetHashType_CUSTOM,
		}),
		Architecture:          props.Architecture.lambda(),
		MemorySize:            cdkx.Number(props.MemoryMiB),
		Timeout:               cdkx.Duration(props.Timeout),
		Role:                  f.Role,
		LogGroup:              f.LogGroup,
		LoggingFormat:         awslambda.LoggingFormat_JSON,
		Tracing:               awslambda.Tracing_ACTIVE,
		Environment:           cdkx.StringMap(props.Environment),
		EnvironmentEncryption: props.Key,
		Vpc:                   props.VPC,
		VpcSubnets:            props.Subnets,
	}
	if props.EphemeralStorageMiB > 0 {
		functionProps.EphemeralStorageSize = awscdk.Size_Mebibytes(cdkx.Number(props.EphemeralStorageMiB))
	}
	if props.ReservedConcurrency > 0 {
		functionProps.ReservedConcurrentExecutions = cdkx.Number(props.ReservedConcurrency)
	}
	if len(props.SecurityGroups) > 0 {
		functionProps.SecurityGroups = new(slices.Clone(props.SecurityGroups))
	}
	if props.OnFailure != nil {
		functionProps.OnFailure = awslambdadestinations.NewSqsDestination(props.OnFailure.Queue)
	}
	return awslambda.NewFunction(f, new("Function"), cdkx.Override(functionProps, props.Override))
}

// explain gives the reasons for what a reviewer would ask about.
func (f *Function) explain(props Props) {
	wildcards := []string{"Resource::*"}
	if props.OnFailure != nil && props.OnFailure.Queue.EncryptionMasterKey() != nil {
		wildcards = append(wildcards, "Action::kms:GenerateDataKey*", "Action::kms:ReEncrypt*")
	}
	cdkx.AcknowledgePolicy(f.Role, "X-Ray has no resource to name when a trace is sent, and Lambda none before it has made a "+
		"network interface; the program itself is denied the latter. The actions that end in a star are the variants of one KMS operation.",
		wildcards...)
	if props.VPC == nil {
		cdkx.Acknowledge(f.Function, "The function has nothing to reach in a VPC. It calls AWS services over TLS, with the permissions of its own role.",
			"LambdaInsideVPC")
	}
	if props.ReservedConcurrency == 0 {
		cdkx.Acknowledge(f.Function, "A reservation would take from what all other functions share. A queue's MaxConcurrency or the account's "+
			"limit bounds this one, and an alarm tells when it is throttled.", "LambdaConcurrency")
	}
	switch {
	case props.OnFailure != nil:
		f.explainNoDeadLetterQueue("Asynchronous invocations that fail go to an SQS queue as a destination (OnFailure), which unlike a " +
			"dead-letter queue also says why they failed.")
	case props.Synchronous:
		f.explainNoDeadLetterQueue("Only callers who wait for the answer invoke the function. They get the error, and no event is left to keep.")
	}
}

func (f *Function) explainNoDeadLetterQueue(reason string) {
	if !f.explained {
		cdkx.Acknowledge(f.Function, reason, "LambdaDLQ")
	}
	f.explained = true
}

// Shares of a limit above which somebody should look.
const (
	longDuration    = 0.9 // of the timeout
	highConcurrency = 0.8 // of the reservation
)

func (f *Function) watch(props Props) {
	f.ErrorAlarm = cdkx.Alarm(f, "ErrorAlarm", cdkx.AlarmSpec{
		Metric:      f.Function.MetricErrors(cdkx.MetricOptions("Sum", time.Minute)),
		Description: "The function panicked, timed out or returned an error. Its log group has the reason.",
		Threshold:   float64(props.ErrorThreshold),
		Periods:     1,
	})
	f.ThrottledAlarm = cdkx.Alarm(f, "ThrottledAlarm", cdkx.AlarmSpec{
		Metric:      f.Function.MetricThrottles(cdkx.MetricOptions("Sum", time.Minute)),
		Description: "Invocations were refused for want of concurrency. Raise the reservation, or the account's limit.",
		Periods:     5,
		Breaching:   3,
	})
	f.DurationAlarm = cdkx.Alarm(f, "DurationAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   f.Function.MetricDuration(cdkx.MetricOptions("p99", 5*time.Minute)),
		Description: "One invocation in a hundred takes nine tenths of the timeout. Look in its traces for what is slow; " +
			"raise the timeout, or the memory, with which processor time grows.",
		Threshold: longDuration * float64(props.Timeout.Milliseconds()),
		Periods:   1,
	})
	if props.ReservedConcurrency > 0 {
		f.ConcurrencyAlarm = cdkx.Alarm(f, "ConcurrencyAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric:   f.concurrency(),
			Description: "Four fifths of the reserved concurrency were in use in most of the last five minutes. " +
				"Throttling comes next: see whether durations or the number of events grew, then raise the reservation.",
			Threshold: highConcurrency * float64(props.ReservedConcurrency),
			Periods:   5,
			Breaching: 3,
		})
	}
	if props.OnFailure != nil {
		f.DeliveryAlarm = cdkx.Alarm(f, "DeliveryAlarm", cdkx.AlarmSpec{
			Metric: f.Function.Metric(new("DestinationDeliveryFailures"), cdkx.MetricOptions("Sum", time.Minute)),
			Description: "A failed event could not be sent to the failure queue and is lost. Look at the queue's policy " +
				"and its key's, and at the size of the event.",
			Periods: 1,
		})
	}
}

func (f *Function) concurrency() awscloudwatch.IMetric {
	return f.Function.Metric(new("ConcurrentExecutions"), cdkx.MetricOptions("Maximum", time.Minute))
}

// ARN of the function.
func (f *Function) ARN() string { return *f.Function.FunctionArn() }

// Name of the function, as CloudFormation generates it when Props has none.
func (f *Function) Name() string { return *f.Function.FunctionName() }

// GrantInvoke lets an identity invoke the function.
func (f *Function) GrantInvoke(to awsiam.IGrantable) awsiam.Grant {
	return f.Function.GrantInvoke(to)
}

// Alarms are those on errors, throttles and durations, and with a reservation or
// a failure queue those on them.
func (f *Function) Alarms() []awscloudwatch.IAlarm {
	alarms := []awscloudwatch.IAlarm{f.ErrorAlarm, f.ThrottledAlarm, f.DurationAlarm}
	for _, alarm := range []awscloudwatch.IAlarm{f.ConcurrencyAlarm, f.DeliveryAlarm} {
		if alarm != nil {
			alarms = append(alarms, alarm)
		}
	}
	return alarms
}

// Widgets show invocations with their failures, how long they took and how many
// ran at a time.
func (f *Function) Widgets() []awscloudwatch.IWidget {
	title := *f.Node().Id()
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": invocations",
			f.Function.MetricInvocations(cdkx.MetricOptions("Sum", time.Minute)),
			f.Function.MetricErrors(cdkx.MetricOptions("Sum", time.Minute)),
			f.Function.MetricThrottles(cdkx.MetricOptions("Sum", time.Minute))),
		cdkx.Graph(title+": duration in ms",
			f.Function.MetricDuration(cdkx.MetricOptions("p50", time.Minute)),
			f.Function.MetricDuration(cdkx.MetricOptions("p99", time.Minute)),
			f.Function.MetricDuration(cdkx.MetricOptions("Maximum", time.Minute))),
		cdkx.Graph(title+": running at a time", f.concurrency()),
	}
}
