package function_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdaeventsources"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/encryption"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/queue"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func hello(t *testing.T) function.Props {
	return function.Props{
		Source:      filepath.Join("testdata", "hello"),
		BuildFolder: filepath.Join(cdktest.Root(), ".build", "test", "functions"),
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
	require.Len(t, f.Alarms(), 3)
	require.Len(t, f.Widgets(), 3)
	require.Nil(t, f.ConcurrencyAlarm)
	require.Nil(t, f.DeliveryAlarm)
	require.Equal(t, "bootstrap", filepath.Base(f.Binary.Path))
	require.Equal(t, *f.Function.FunctionArn(), f.ARN())
	require.Equal(t, *f.Function.FunctionName(), f.Name())
}

// alarm asserts an alarm on one of the function's metrics.
func alarm(template assertions.Template, metric string, properties map[string]any) {
	properties["Namespace"], properties["MetricName"] = "AWS/Lambda", metric
	properties["Dimensions"] = []any{map[string]any{"Name": "FunctionName", "Value": assertions.Match_AnyValue()}}
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), properties)
}

func severity(name string) []any {
	return []any{map[string]any{"Key": "loadbearing:severity", "Value": name}}
}

func TestAlarms(t *testing.T) {
	stack := cdktest.Stack(t)
	props := hello(t)
	props.ReservedConcurrency, props.ErrorThreshold, props.Timeout = 10, 4, time.Minute
	props.OnFailure = queue.New(stack, "Failed", queue.Props{})
	f := function.New(stack, "Hello", props)
	require.Len(t, f.Alarms(), 5)
	template := cdktest.Template(stack)
	alarm(template, "Errors", map[string]any{
		"Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 4, "Tags": severity("critical"),
	})
	alarm(template, "Throttles", map[string]any{
		"Statistic": "Sum", "Period": 60, "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "Threshold": 0, "Tags": severity("critical"),
	})
	alarm(template, "Duration", map[string]any{
		"ExtendedStatistic": "p99", "Period": 300, "EvaluationPeriods": 1, "Threshold": 54000, "Tags": severity("warning"),
	})
	alarm(template, "ConcurrentExecutions", map[string]any{
		"Statistic": "Maximum", "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "Threshold": 8, "Tags": severity("warning"),
	})
	alarm(template, "DestinationDeliveryFailures", map[string]any{
		"Statistic": "Sum", "EvaluationPeriods": 1, "Threshold": 0, "Tags": severity("critical"),
	})
}

// TestGolden has everything a function can have at once, beside plain resources,
// so that other constructs do not change it.
func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	jobs := &queue.Queue{Queue: awssqs.NewQueue(stack, new("Jobs"), nil), VisibilityTimeout: 3 * time.Minute}
	props := hello(t)
	props.Name = "hello"
	props.Environment = map[string]string{"GREETING": "hello"}
	props.ReservedConcurrency = 5
	props.VPC = awsec2.Vpc_FromVpcAttributes(stack, new("Network"), &awsec2.VpcAttributes{
		VpcId:             new("vpc-0123456789abcdef0"),
		AvailabilityZones: &[]*string{new("eu-west-1a")},
		PrivateSubnetIds:  &[]*string{new("subnet-0123456789abcdef0")},
	})
	props.Key = awskms.Key_FromKeyArn(stack, new("Key"), new("arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"))
	props.OnFailure = &queue.Queue{Queue: awssqs.NewQueue(stack, new("Failed"), nil)}
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
		"Statement": assertions.Match_ArrayWith(&[]any{
			assertions.Match_ObjectLike(&map[string]any{"Sid": "AttachToVPC", "Effect": "Allow"}),
			assertions.Match_ObjectLike(&map[string]any{
				"Sid": "AttachToVPCNotByTheProgram", "Effect": "Deny",
				"Condition": map[string]any{"Null": map[string]any{"lambda:SourceFunctionArn": "false"}},
			}),
		}),
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

func TestSourceByImportPath(t *testing.T) {
	props := hello(t)
	folder, err := function.Build(t.Context(), props)
	require.NoError(t, err)
	props.Source = "github.com/loadbearing/loadbearing/constructs/function/testdata/hello"
	require.NoError(t, props.Validate())
	path, err := function.Build(t.Context(), props)
	require.NoError(t, err)
	require.Equal(t, folder.SHA256, path.SHA256)
	require.NotEqual(t, folder.Path, path.Path)

	require.NoError(t, function.Props{Source: "example.com/shop/lambdas/probe"}.Validate())
	for _, source := range []string{"", "hello", "lambdas/probe", "./nothing", "/nothing", "example.com", "example.com/a b"} {
		require.ErrorContains(t, function.Props{Source: source}.Validate(), "import path", source)
	}
	props.Source = "example.com/nowhere/at/all"
	_, err = function.Build(t.Context(), props)
	require.ErrorContains(t, err, "build example.com/nowhere/at/all for linux/arm64")
}

// TestFolderWins has a folder whose name is an import path too.
func TestFolderWins(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll(filepath.Join("example.com", "hello"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("example.com", "hello", "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644))
	require.NoError(t, os.WriteFile("go.mod", []byte("module shop\n\ngo 1.26\n"), 0o644))
	binary, err := function.Build(t.Context(), function.Props{Source: "example.com/hello", BuildFolder: "out"})
	require.NoError(t, err)
	require.FileExists(t, binary.Path)
	// A module without a host name is known as the working directory's.
	byPath, err := function.Build(t.Context(), function.Props{Source: "shop/example.com/hello", BuildFolder: "out"})
	require.NoError(t, err)
	require.Equal(t, binary.SHA256, byPath.SHA256)
}

func TestBuildAll(t *testing.T) {
	one, two := hello(t), hello(t)
	two.Architecture = function.X8664
	binaries, err := function.BuildAll(t.Context(), one, two)
	require.NoError(t, err)
	for i, props := range []function.Props{one, two} {
		alone, err := function.Build(t.Context(), props)
		require.NoError(t, err)
		require.Equal(t, alone, binaries[i])
	}
	two.Source = filepath.Join("testdata", "broken")
	_, err = function.BuildAll(t.Context(), one, two)
	require.ErrorContains(t, err, "main.go:4:18")
}

func TestKeyEncryptsLogsAndEnvironment(t *testing.T) {
	one, other := cdktest.Stacks(t)
	key := encryption.New(one, "Encryption", encryption.Props{})
	props := hello(t)
	props.Environment = map[string]string{"TABLE": cdktest.Token(other, "Table")}
	props.Key = key.Key
	props.OnFailure = queue.New(other, "Failed", queue.Props{Key: key.Key})
	f := function.New(other, "Hello", props)
	template := cdktest.Template(other)
	imported := map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("^One:"))}
	template.HasResourceProperties(new("AWS::Logs::LogGroup"), map[string]any{"KmsKeyId": imported})
	template.HasResourceProperties(new("AWS::Lambda::Function"), map[string]any{
		"KmsKeyArn":   imported,
		"Environment": map[string]any{"Variables": map[string]any{"TABLE": map[string]any{"Ref": "Table"}}},
	})
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{
		"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{
			"Action": assertions.Match_ArrayWith(&[]any{"kms:Decrypt"}), "Resource": imported,
		})}),
	}})
	require.Subset(t, acknowledged(f.Role.Node().FindChild(new("DefaultPolicy"))), []string{
		"AwsSolutions-IAM5[Resource::*]", "AwsSolutions-IAM5[Action::kms:GenerateDataKey*]", "AwsSolutions-IAM5[Action::kms:ReEncrypt*]",
	})
}

// acknowledged lists the rules that a resource gives a reason for.
func acknowledged(of constructs.IConstruct) []string {
	metadata, _ := of.Node().DefaultChild().(awscdk.CfnResource).GetMetadata(new("cdk_nag")).(map[string]any)
	var rules []string
	list, _ := metadata["rules_to_suppress"].([]any)
	for _, each := range list {
		entry := each.(map[string]any)
		rule := entry["id"].(string)
		if findings, ok := entry["applies_to"].([]any); ok {
			rule += "[" + findings[0].(string) + "]"
		}
		rules = append(rules, rule)
	}
	return rules
}

func TestReasonsForWhatIsLeftOut(t *testing.T) {
	stack := cdktest.Stack(t)
	for id, change := range map[string]func(*function.Props){
		"Plain":       func(*function.Props) {},
		"Reserved":    func(p *function.Props) { p.ReservedConcurrency = 1 },
		"Synchronous": func(p *function.Props) { p.Synchronous = true },
		"OnFailure":   func(p *function.Props) { p.OnFailure = queue.New(stack, "Failed", queue.Props{}) },
	} {
		props := hello(t)
		change(&props)
		f := function.New(stack, id, props)
		rules := acknowledged(f.Function)
		require.Contains(t, rules, "HIPAA.Security-LambdaInsideVPC", id)
		require.Equal(t, id != "Reserved", slices.Contains(rules, "HIPAA.Security-LambdaConcurrency"), id)
		require.Equal(t, id == "Synchronous" || id == "OnFailure", slices.Contains(rules, "HIPAA.Security-LambdaDLQ"), id)
		if id == "Plain" {
			for _, jobs := range []string{"Jobs", "More"} {
				f.ConsumeQueue(queue.New(stack, jobs, queue.Props{VisibilityTimeout: 3 * time.Minute}), function.QueueSource{})
			}
			rules = acknowledged(f.Function)
			require.Contains(t, rules, "HIPAA.Security-LambdaDLQ")
			require.Len(t, slices.Compact(slices.Sorted(slices.Values(rules))), len(rules), "each reason once")
		}
	}
}

func TestExistingRoleAndLogGroup(t *testing.T) {
	stack := cdktest.Stack(t)
	props := hello(t)
	props.Role = awsiam.NewRole(stack, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("lambda.amazonaws.com"), nil)})
	props.LogGroup = awslogs.LogGroup_FromLogGroupName(stack, new("Group"), new("/shop/hello"))
	f := function.New(stack, "Hello", props)
	require.Equal(t, props.Role, f.Role)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::IAM::Role"), new(1.0))
	template.ResourceCountIs(new("AWS::Logs::LogGroup"), new(0.0))
	template.HasResourceProperties(new("AWS::Lambda::Function"), map[string]any{"LoggingConfig": map[string]any{"LogGroup": "/shop/hello"}})
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{
		"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{"Action": []any{"logs:CreateLogStream", "logs:PutLogEvents"}})}),
	}})

	imported := hello(t)
	imported.Role = awsiam.Role_FromRoleArn(stack, new("Imported"), new("arn:aws:iam::123456789012:role/runner"), nil)
	require.NotPanics(t, func() { function.New(stack, "Elsewhere", imported) })
}

func TestStorage(t *testing.T) {
	stack := cdktest.Stack(t)
	props := hello(t)
	props.EphemeralStorageMiB = 1024
	function.New(stack, "Hello", props)
	cdktest.Template(stack).HasResourceProperties(new("AWS::Lambda::Function"), map[string]any{"EphemeralStorage": map[string]any{"Size": 1024}})
}

// TestAcrossStacks consumes a queue of an earlier stack, and is invoked from a
// later one.
func TestAcrossStacks(t *testing.T) {
	one, other := cdktest.Stacks(t)
	jobs := queue.New(one, "Jobs", queue.Props{VisibilityTimeout: 3 * time.Minute})
	f := function.New(other, "Hello", hello(t))
	f.ConsumeQueue(jobs, function.QueueSource{})
	last := awscdk.NewStack(one.Node().Root().(awscdk.App), new("Last"), nil)
	caller := awsiam.NewRole(last, new("Caller"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("states.amazonaws.com"), nil)})
	f.GrantInvoke(caller)
	cdktest.Template(other).HasResourceProperties(new("AWS::Lambda::EventSourceMapping"), map[string]any{
		"EventSourceArn": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("^One:"))},
	})
	cdktest.Template(last).HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{
		"Statement": []any{assertions.Match_ObjectLike(&map[string]any{"Action": "lambda:InvokeFunction"})},
	}})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	props := hello(t)
	props.Environment = map[string]string{"TABLE": "orders"}
	props.BuildTags = append(make([]string, 0, 4), "extra")
	props.VPC = network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true}).VPC
	props.Subnets = &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS}
	props.SecurityGroups = append(make([]awsec2.ISecurityGroup, 0, 4),
		awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: props.VPC}))
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
		ReservedConcurrency: -1, EphemeralStorageMiB: 511, ErrorThreshold: -1, Subnets: &awsec2.SubnetSelection{}, Environment: map[string]string{"AWS_REGION": "x"},
	}
	require.EqualError(t, bad.Validate(), `function: 10 fields are not valid
  Source is "testdata/nothing"; allowed: the folder or the import path of a main package
  Name is "no spaces"; allowed: 1 to 64 letters, digits, hyphens and underscores
  Architecture is "riscv"; allowed: arm64, x86_64
  MemoryMiB is 64; allowed: 128 to 10240
  Timeout is 1h0m0s; allowed: 1s to 15m0s in whole seconds
  EphemeralStorageMiB is 511; allowed: 512 to 10240
  ErrorThreshold is -1; allowed: 0 or more
  ReservedConcurrency is -1; allowed: 0 or more
  VPC is "nil"; allowed: a VPC when Subnets or SecurityGroups are given
  Environment is "AWS_REGION"; allowed: names of letters, digits and underscores that Lambda does not reserve (AWS_…, LAMBDA_…)`)
	stack := cdktest.Stack(t)
	_ = cdktest.Panic[*function.PropsError](t, func() { function.New(stack, "Hello", function.Props{}) })

	group := awslogs.NewLogGroup(stack, new("Group"), nil)
	long := hello(t)
	long.Environment = map[string]string{"a-b": strings.Repeat("x", 4094)}
	long.LogGroup, long.LogRetention = group, awslogs.RetentionDays_ONE_DAY
	require.EqualError(t, long.Validate(), `function: 3 fields are not valid
  Environment is "a-b"; allowed: names of letters, digits and underscores that Lambda does not reserve (AWS_…, LAMBDA_…)
  Environment is "4097 bytes"; allowed: 4096 bytes or fewer
  LogRetention is "ONE_DAY"; allowed: none beside an existing LogGroup, which has its own`)
}
