package function_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdaeventsources"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func hello(t *testing.T) function.Props {
	return function.Props{
		Source:      filepath.Join("testdata", "hello"),
		BuildFolder: filepath.Join(cdktest.Root(t), ".build", "test", "functions"),
	}
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	f := function.New(stack, "Hello", hello(t))
	template := cdktest.Template(stack)

	template.HasResourceProperties(new("AWS::Lambda::Function"), map[string]any{
		"Runtime":                      "provided.al2023",
		"Handler":                      "bootstrap",
		"Architectures":                []any{"arm64"},
		"MemorySize":                   256,
		"Timeout":                      30,
		"TracingConfig":                map[string]any{"Mode": "Active"},
		"LoggingConfig":                map[string]any{"LogFormat": "JSON", "LogGroup": assertions.Match_AnyValue()},
		"ReservedConcurrentExecutions": assertions.Match_Absent(),
		"VpcConfig":                    assertions.Match_Absent(),
	})
	template.HasResourceProperties(new("AWS::Logs::LogGroup"), map[string]any{"RetentionInDays": 30})
	template.HasResourceProperties(new("AWS::IAM::Role"), map[string]any{"ManagedPolicyArns": assertions.Match_Absent()})
	template.ResourceCountIs(new("AWS::Lambda::Function"), new(1.0))
	require.Len(t, f.Alarms(), 2)
	require.Len(t, f.Widgets(), 2)
	require.Equal(t, "bootstrap", filepath.Base(f.Binary.Path))
}

// TestGolden has everything a function can have at once.
func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	vpc := network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true}).VPC
	jobs := queue.New(stack, "Jobs", queue.Props{VisibilityTimeout: 3 * time.Minute})
	props := hello(t)
	props.Name = "hello"
	props.Environment = map[string]string{"GREETING": "hello"}
	props.ReservedConcurrency = 5
	props.VPC = vpc
	props.OnFailure = queue.New(stack, "Failed", queue.Props{})
	f := function.New(stack, "Hello", props)
	f.ConsumeQueue(jobs, function.QueueSource{})
	f.GrantInvoke(awsiam.NewRole(stack, new("Operator"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()}))
	cdktest.Golden(t, stack, "function")
}

func TestSameSourceGivesTheSameBytes(t *testing.T) {
	props := hello(t)
	first, err := function.Build(t.Context(), props)
	require.NoError(t, err)
	start := time.Now()
	again, err := function.Build(t.Context(), props)
	require.NoError(t, err)
	t.Logf("an unchanged function took %v", time.Since(start))
	require.Equal(t, first, again)

	props.BuildFolder = t.TempDir()
	elsewhere, err := function.Build(t.Context(), props)
	require.NoError(t, err)
	require.Equal(t, first.SHA256, elsewhere.SHA256)
	require.NotEqual(t, first.Path, elsewhere.Path)
}

func TestArchitectureAndTargetSystem(t *testing.T) {
	machine := func(binary function.Binary) byte {
		data, err := os.ReadFile(binary.Path)
		require.NoError(t, err)
		require.Equal(t, "\x7fELF", string(data[:4]))
		return data[18] // e_machine: 0x3e is x86-64, 0xb7 is AArch64
	}
	props := hello(t)
	arm, err := function.Build(t.Context(), props)
	require.NoError(t, err)
	require.EqualValues(t, 0xb7, machine(arm))

	props.Architecture = function.X8664
	intel, err := function.Build(t.Context(), props)
	require.NoError(t, err)
	require.EqualValues(t, 0x3e, machine(intel))

	t.Setenv(function.EnvGOOS, "beos")
	_, err = function.Build(t.Context(), props)
	require.ErrorContains(t, err, "beos/amd64")
}

func TestABuildErrorHoldsWhatTheCompilerSaid(t *testing.T) {
	stack := cdktest.Stack(t)
	props := hello(t)
	props.Source = filepath.Join("testdata", "broken")
	err := cdktest.Panic[*function.BuildError](t, func() { function.New(stack, "Broken", props) })
	require.ErrorContains(t, err, "Test/Broken (function): build")
	require.ErrorContains(t, err, `main.go:4:18: cannot use "text"`)
}

func TestConsumeQueue(t *testing.T) {
	stack := cdktest.Stack(t)
	f := function.New(stack, "Hello", hello(t))
	f.ConsumeQueue(queue.New(stack, "Jobs", queue.Props{VisibilityTimeout: 4 * time.Minute}), function.QueueSource{
		Batch: 100, Window: 10 * time.Second, MaxConcurrency: 20,
		Override: func(p *awslambdaeventsources.SqsEventSourceProps) { p.Enabled = new(false) },
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::Lambda::EventSourceMapping"), map[string]any{
		"BatchSize":                      100,
		"MaximumBatchingWindowInSeconds": 10,
		"ScalingConfig":                  map[string]any{"MaximumConcurrency": 20},
		"FunctionResponseTypes":          []any{"ReportBatchItemFailures"},
		"Enabled":                        false,
	})
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{
		"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{
			"Action":   []any{"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage"},
			"Resource": map[string]any{"Fn::GetAtt": assertions.Match_AnyValue()},
		})}),
	}})
}

func TestConsumeQueueRefusesWhatWouldRedeliver(t *testing.T) {
	stack := cdktest.Stack(t)
	f := function.New(stack, "Hello", hello(t))
	jobs := queue.New(stack, "Jobs", queue.Props{VisibilityTimeout: time.Minute})
	err := cdktest.Panic[*function.PropsError](t, func() {
		f.ConsumeQueue(jobs, function.QueueSource{Batch: 11, MaxConcurrency: 1})
	})
	require.EqualError(t, err, `Test/Hello (function): 3 fields are not valid
  Window is 0s; allowed: 1s or more with a Batch above 10
  MaxConcurrency is 1; allowed: 2 to 1000
  VisibilityTimeout of the queue is 1m0s; allowed: 3m0s or more: six times the function's timeout, and the window`)
}

func TestInAVPC(t *testing.T) {
	stack := cdktest.Stack(t)
	vpc := network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true}).VPC
	props := hello(t)
	props.VPC = vpc
	props.SecurityGroups = []awsec2.ISecurityGroup{
		awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: vpc}),
	}
	function.New(stack, "Hello", props)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::EC2::SecurityGroup"), new(1.0))
	template.HasResourceProperties(new("AWS::Lambda::Function"), map[string]any{
		"VpcConfig": map[string]any{"SubnetIds": []any{
			map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("privateSubnet1"))},
			map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("privateSubnet2"))},
		}},
	})
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{
		"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{"Sid": "AttachToVPC"})}),
	}})
}

func TestOverrideHasTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	props := hello(t)
	props.Override = func(p *awslambda.FunctionProps) { p.Tracing = awslambda.Tracing_PASS_THROUGH }
	function.New(stack, "Hello", props)
	cdktest.Template(stack).HasResourceProperties(new("AWS::Lambda::Function"), map[string]any{
		"TracingConfig": map[string]any{"Mode": "PassThrough"},
	})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	props := hello(t)
	props.Environment = map[string]string{"A": "1"}
	props.BuildTags = append(make([]string, 0, 4), "extra")
	cdktest.Unchanged(t, props, func(p function.Props) { function.New(stack, "Hello", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	binary, err := function.Build(t.Context(), hello(t))
	require.NoError(t, err)
	function.New(stack, "One", hello(t))
	function.New(stack, "Two", function.Props{Binary: &binary})
	cdktest.Template(stack).ResourceCountIs(new("AWS::Lambda::Function"), new(2.0))
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := function.Props{
		Source: "testdata/nothing", Name: "no spaces", Architecture: "riscv", MemoryMiB: 64, Timeout: time.Hour,
		ReservedConcurrency: -1, Subnets: &awsec2.SubnetSelection{}, Environment: map[string]string{"AWS_REGION": "x"},
	}
	require.EqualError(t, bad.Validate(), `function: 8 fields are not valid
  Source is "testdata/nothing"; allowed: the folder of a main package
  Name is "no spaces"; allowed: 1 to 64 letters, digits, hyphens and underscores
  Architecture is "riscv"; allowed: arm64, x86_64
  MemoryMiB is 64; allowed: 128 to 10240
  Timeout is 1h0m0s; allowed: 1s to 15m0s in whole seconds
  ReservedConcurrency is -1; allowed: 0 or more
  VPC is "nil"; allowed: a VPC when Subnets or SecurityGroups are given
  Environment is "AWS_REGION"; allowed: names that Lambda does not reserve (AWS_…, LAMBDA_…)`)
	stack := cdktest.Stack(t)
	_ = cdktest.Panic[*function.PropsError](t, func() { function.New(stack, "Hello", function.Props{}) })
}
