// Package function makes a Lambda function from Go source: it is compiled on
// this machine when the app is synthesized, with no Docker and no build step to
// remember, and the same source always gives the same bytes.
package function

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdadestinations"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdaeventsources"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/queue"
	"github.com/loadbearing/loadbearing/internal/gobuild"
)

// EnvGOOS is the environment variable that selects the operating system the
// programs are built for. Lambda runs Linux, the default; an emulator that runs
// functions as processes of a laptop needs the laptop's.
const EnvGOOS = "LOADBEARING_GOOS"

// Architecture is the processor a function runs on, as Lambda spells it.
type Architecture string

// The architectures Lambda offers. ARM64 costs a fifth less for the same time.
const (
	ARM64 Architecture = "arm64"
	X8664 Architecture = "x86_64"
)

func (a Architecture) goarch() string {
	if a == X8664 {
		return "amd64"
	}
	return "arm64"
}

func (a Architecture) lambda() awslambda.Architecture {
	if a == X8664 {
		return awslambda.Architecture_X86_64()
	}
	return awslambda.Architecture_ARM_64()
}

// Limits of Lambda and of its event source mapping for SQS, from the Lambda
// developer guide ("Lambda quotas", "Using Lambda with Amazon SQS").
const (
	minMemoryMiB = 128
	maxMemoryMiB = 10240
	maxTimeout   = 15 * time.Minute

	maxBatch         = 10000
	maxBatchUnwaited = 10 // without a batching window
	maxWindow        = 5 * time.Minute
	minConcurrency   = 2
	maxConcurrency   = 1000
	visibilityFactor = 6 // times the function's timeout, so that a throttled batch is retried in time
)

// Props configures a Function. Source is required; everything else has a
// production default.
type Props struct {
	// Source is the folder of the main package, absolute or relative to the
	// working directory of the synthesis: "./lambdas/probe".
	Source string

	// Name of the function, 1 to 64 letters, digits, hyphens and underscores.
	// Default a name CloudFormation generates.
	Name string

	// Description shown in the console.
	Description string

	// Architecture the program is built for and runs on. Default ARM64.
	Architecture Architecture

	// BuildTags are compiled in addition to lambda.norpc, which leaves out the
	// RPC server that only the retired go1.x runtime called.
	BuildTags []string

	// BuildFolder keeps compiled programs between syntheses. Default
	// .build/functions in the working directory.
	BuildFolder string

	// Binary is the program as Build returned it, when it was built before.
	// Default it is built by New.
	Binary *Binary

	// MemoryMiB is 128 to 10240; processor time grows with it, to one vCPU at
	// 1769. Default 256.
	MemoryMiB int

	// Timeout is 1 s to 15 min. Default 30 s.
	Timeout time.Duration

	// Environment is passed to the program.
	Environment map[string]string

	// ReservedConcurrency is how many copies may run, taken from the account's
	// total. Default no reservation.
	ReservedConcurrency int

	// LogRetention is one of the periods CloudWatch Logs offers. Default one
	// month.
	LogRetention awslogs.RetentionDays

	// VPC the function reaches private resources in, with Subnets (default the
	// private ones) and SecurityGroups (default one of its own). Default no VPC.
	VPC            awsec2.IVpc
	Subnets        *awsec2.SubnetSelection
	SecurityGroups []awsec2.ISecurityGroup

	// OnFailure receives the events of asynchronous invocations that failed
	// after all retries. A queue consumed with ConsumeQueue has its own
	// dead-letter queue. Default they are dropped.
	OnFailure *queue.Queue

	// Override has the last word on the function.
	Override func(*awslambda.FunctionProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Binary is a compiled program: its absolute Path, the SHA256 of its bytes in
// lower-case hex and their number.
type Binary = gobuild.Binary

// Function is a Lambda function on provided.al2023 with a log group, active
// tracing and a role that may do only what was granted.
type Function struct {
	constructs.Construct
	Function       awslambda.IFunction
	Role           awsiam.IRole
	LogGroup       awslogs.ILogGroup
	Binary         Binary // the compiled program
	ErrorAlarm     awscloudwatch.IAlarm
	ThrottledAlarm awscloudwatch.IAlarm

	timeout time.Duration
}

var functionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (p Props) withDefaults() Props {
	p.Architecture = cmp.Or(p.Architecture, ARM64)
	p.BuildFolder = cmp.Or(p.BuildFolder, filepath.Join(".build", "functions"))
	p.MemoryMiB = cmp.Or(p.MemoryMiB, 256)
	p.Timeout = cmp.Or(p.Timeout, 30*time.Second)
	p.LogRetention = cmp.Or(p.LogRetention, awslogs.RetentionDays_ONE_MONTH)
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil. It
// does not compile the source.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	files, _ := filepath.Glob(filepath.Join(p.Source, "*.go"))
	bad.Check(p.Binary != nil || p.Source != "" && len(files) > 0, "Source", p.Source, "the folder of a main package")
	if p.Name != "" {
		bad.Check(functionName.MatchString(p.Name), "Name", p.Name, "1 to 64 letters, digits, hyphens and underscores")
	}
	cdkx.OneOf(&bad, "Architecture", p.Architecture, ARM64, X8664)
	cdkx.Between(&bad, "MemoryMiB", p.MemoryMiB, minMemoryMiB, maxMemoryMiB)
	cdkx.WholeSeconds(&bad, "Timeout", p.Timeout, time.Second, maxTimeout)
	cdkx.AtLeast(&bad, "ReservedConcurrency", p.ReservedConcurrency, 0)
	bad.Check(p.VPC != nil || p.Subnets == nil && p.SecurityGroups == nil, "VPC", "nil", "a VPC when Subnets or SecurityGroups are given")
	for name := range p.Environment {
		// Lambda's own variables start with AWS_ and LAMBDA_ and cannot be set.
		bad.Check(!strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "LAMBDA_"),
			"Environment", name, "names that Lambda does not reserve (AWS_…, LAMBDA_…)")
	}
	return bad.Err("function")
}

// BuildError is a program that does not compile. New panics with it; its text
// holds what the compiler said.
type BuildError struct {
	Path string // the construct's path in the tree
	Err  error
}

// Error names the construct and holds the output of the compiler.
func (e *BuildError) Error() string { return fmt.Sprintf("%s (function): %v", e.Path, e.Err) }

// Unwrap returns the failure of the build.
func (e *BuildError) Unwrap() error { return e.Err }

// Build compiles what props describe into BuildFolder, for Props.Binary. Unlike
// New it may run concurrently, so that several functions are built at once.
// What is unchanged is only compared with Go's build cache.
func Build(ctx context.Context, props Props) (Binary, error) {
	props = props.withDefaults()
	goos := cmp.Or(os.Getenv(EnvGOOS), "linux")
	source, err := filepath.Abs(props.Source)
	if err != nil {
		return Binary{}, fmt.Errorf("find the source of the function: %w", err)
	}
	output, err := filepath.Abs(filepath.Join(props.BuildFolder, buildName(source, props.BuildTags), goos+"-"+props.Architecture.goarch(), "bootstrap"))
	if err != nil {
		return Binary{}, fmt.Errorf("find the folder of built functions: %w", err)
	}
	return gobuild.Build(ctx, gobuild.Target{
		Dir:     source,
		Package: ".",
		Output:  output,
		GOOS:    goos,
		GOARCH:  props.Architecture.goarch(),
		Tags:    append([]string{"lambda.norpc"}, props.BuildTags...),
	})
}

// buildName keeps apart functions whose folders have the same last name, and
// builds of one folder with different tags, which Go would else link anew each
// time in turn.
func buildName(source string, tags []string) string {
	sum := sha256.Sum256([]byte(source + "\n" + strings.Join(tags, ",")))
	return filepath.Base(source) + "-" + hex.EncodeToString(sum[:4])
}

// New makes a Function. It panics with a *PropsError when props are not valid
// and with a *BuildError when the source does not compile.
func New(scope constructs.Construct, id string, props Props) *Function {
	cdkx.Must(scope, id, "function", props.Validate())
	props = props.withDefaults()
	if props.Binary == nil {
		binary, err := Build(context.Background(), props)
		if err != nil {
			panic(&BuildError{Path: *scope.Node().Path() + "/" + id, Err: err})
		}
		props.Binary = &binary
	}
	f := &Function{Binary: *props.Binary, timeout: props.Timeout}
	constructs.NewConstruct_Override(f, scope, &id)
	f.LogGroup = awslogs.NewLogGroup(f, new("Logs"), &awslogs.LogGroupProps{
		Retention:     props.LogRetention,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
	f.Role = f.makeRole(props)

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
		Architecture:  props.Architecture.lambda(),
		MemorySize:    cdkx.Number(props.MemoryMiB),
		Timeout:       cdkx.Duration(props.Timeout),
		Role:          f.Role,
		LogGroup:      f.LogGroup,
		LoggingFormat: awslambda.LoggingFormat_JSON,
		Tracing:       awslambda.Tracing_ACTIVE,
		Environment:   cdkx.StringMap(props.Environment),
		Vpc:           props.VPC,
		VpcSubnets:    props.Subnets,
	}
	if props.ReservedConcurrency > 0 {
		functionProps.ReservedConcurrentExecutions = cdkx.Number(props.ReservedConcurrency)
	}
	if len(props.SecurityGroups) > 0 {
		functionProps.SecurityGroups = new(append([]awsec2.ISecurityGroup(nil), props.SecurityGroups...))
	}
	if props.OnFailure != nil {
		functionProps.OnFailure = awslambdadestinations.NewSqsDestination(props.OnFailure.Queue)
	}
	f.Function = awslambda.NewFunction(f, new("Function"), cdkx.Override(functionProps, props.Override))

	f.ErrorAlarm = cdkx.Alarm(f, "ErrorAlarm", cdkx.AlarmSpec{
		Metric:      f.Function.MetricErrors(cdkx.MetricOptions("Sum", time.Minute)),
		Description: "The function panicked, timed out or returned an error. Its log group has the reason.",
		Periods:     1,
	})
	f.ThrottledAlarm = cdkx.Alarm(f, "ThrottledAlarm", cdkx.AlarmSpec{
		Metric:      f.Function.MetricThrottles(cdkx.MetricOptions("Sum", time.Minute)),
		Description: "Invocations were refused for want of concurrency. Raise the reservation, or the account's limit.",
		Periods:     5,
		Breaching:   3,
	})
	return f
}

// makeRole makes a role instead of taking CDK's, whose managed policies let a
// function write to every log group.
func (f *Function) makeRole(props Props) awsiam.IRole {
	role := awsiam.NewRole(f, new("Role"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(new("lambda.amazonaws.com"), nil),
		Description: new("Runs the Lambda function " + *f.Node().Path()),
	})
	f.LogGroup.GrantWrite(role)
	if props.VPC != nil {
		// Lambda checks for these when it attaches the function to the VPC. None
		// of them can be bound to a network interface that does not exist yet.
		role.AddToPrincipalPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Sid: new("AttachToVPC"),
			Actions: cdkx.Strings(
				"ec2:AssignPrivateIpAddresses",
				"ec2:CreateNetworkInterface",
				"ec2:DeleteNetworkInterface",
				"ec2:DescribeNetworkInterfaces",
				"ec2:DescribeSecurityGroups",
				"ec2:DescribeSubnets",
				"ec2:DescribeVpcs",
				"ec2:UnassignPrivateIpAddresses",
			),
			Resources: cdkx.Strings("*"),
		}))
	}
	return role
}

// QueueSource says how a function consumes a queue.
type QueueSource struct {
	// Batch is how many messages one invocation gets at most, 1 to 10000, above
	// 10 only with a Window. Default 10.
	Batch int

	// Window is how long Lambda gathers messages for a batch, 0 to 5 min.
	// Default none.
	Window time.Duration

	// MaxConcurrency is how many copies of the function this queue may run, 2 to
	// 1000. Default as many as there are free. Unlike a reservation it leaves
	// messages in the queue instead of throttling, which counts as a receive.
	MaxConcurrency int

	// Override has the last word on the event source.
	Override func(*awslambdaeventsources.SqsEventSourceProps)
}

func (s QueueSource) problems(q *queue.Queue, timeout time.Duration) []cdkx.FieldError {
	var bad cdkx.Problems
	cdkx.Between(&bad, "Batch", s.Batch, 1, maxBatch)
	bad.Check(s.Batch <= maxBatchUnwaited || s.Window >= time.Second, "Window", s.Window, "1s or more with a Batch above 10")
	cdkx.WholeSeconds(&bad, "Window", s.Window, 0, maxWindow)
	if s.MaxConcurrency != 0 {
		cdkx.Between(&bad, "MaxConcurrency", s.MaxConcurrency, minConcurrency, maxConcurrency)
	}
	needed := visibilityFactor*timeout + s.Window
	bad.Check(q.VisibilityTimeout >= needed, "VisibilityTimeout of the queue", q.VisibilityTimeout,
		fmt.Sprintf("%v or more: six times the function's timeout, and the window", needed))
	if err, ok := errors.AsType[*PropsError](bad.Err("function")); ok {
		return err.Problems
	}
	return nil
}

// ConsumeQueue invokes the function with batches of messages and grants it what
// that needs. The function answers with the ids of the messages that failed
// (events.SQSEventResponse), and only these are received again; after the
// queue's MaxReceives they move to its dead-letter queue. It panics with a
// *PropsError when a value is not valid or the queue's visibility timeout is
// under six times the function's timeout.
func (f *Function) ConsumeQueue(q *queue.Queue, source QueueSource) {
	source.Batch = cmp.Or(source.Batch, 10)
	if problems := source.problems(q, f.timeout); len(problems) > 0 {
		panic(&PropsError{Construct: "function", Path: *f.Node().Path(), Problems: problems})
	}
	props := &awslambdaeventsources.SqsEventSourceProps{
		BatchSize:               cdkx.Number(source.Batch),
		ReportBatchItemFailures: new(true),
	}
	if source.Window > 0 {
		props.MaxBatchingWindow = cdkx.Duration(source.Window)
	}
	if source.MaxConcurrency > 0 {
		props.MaxConcurrency = cdkx.Number(source.MaxConcurrency)
	}
	f.Function.AddEventSource(awslambdaeventsources.NewSqsEventSource(q.Queue, cdkx.Override(props, source.Override)))
}

// GrantInvoke lets an identity invoke the function.
func (f *Function) GrantInvoke(to awsiam.IGrantable) awsiam.Grant {
	return f.Function.GrantInvoke(to)
}

// Alarms are ErrorAlarm and ThrottledAlarm.
func (f *Function) Alarms() []awscloudwatch.IAlarm {
	return []awscloudwatch.IAlarm{f.ErrorAlarm, f.ThrottledAlarm}
}

// Widgets show invocations with their failures, and how long they took.
func (f *Function) Widgets() []awscloudwatch.IWidget {
	title := *f.Node().Id()
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": invocations",
			f.Function.MetricInvocations(cdkx.MetricOptions("Sum", time.Minute)),
			f.Function.MetricErrors(cdkx.MetricOptions("Sum", time.Minute)),
			f.Function.MetricThrottles(cdkx.MetricOptions("Sum", time.Minute))),
		cdkx.Graph(title+": duration in ms",
			f.Function.MetricDuration(cdkx.MetricOptions("p50", time.Minute)),
			f.Function.MetricDuration(cdkx.MetricOptions("p99", time.Minute))),
	}
}
