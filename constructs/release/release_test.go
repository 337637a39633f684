package release_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	sfn "github.com/aws/aws-cdk-go/awscdk/v2/awsstepfunctions"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/release"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

// program is built once and stands for each of the four, whose content does not
// change what is made.
var program = sync.OnceValues(func() (function.Binary, error) {
	return function.Build(context.Background(), function.Props{
		Source:      filepath.Join(cdktest.Root(), "stacks", "testdata", "lambdas", "release-control"),
		BuildFolder: filepath.Join(cdktest.Root(), ".build", "test", "functions"),
	})
})

func programs(tb testing.TB) map[string]function.Props {
	tb.Helper()
	binary, err := program()
	require.NoError(tb, err)
	all := map[string]function.Props{}
	for _, name := range release.Programs() {
		all[name] = function.Props{Binary: &binary}
	}
	return all
}

// setup makes a pair of fleets behind a load balancer and returns the Props of
// their release.
func setup(tb testing.TB, stack awscdk.Stack) release.Props {
	tb.Helper()
	return pair(tb, stack, "dev", contract.FleetWeb, awsec2.NewVpc(stack, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)}))
}

// pair is setup for another fleet in a VPC that is there.
func pair(tb testing.TB, stack awscdk.Stack, environment, name string, vpc awsec2.IVpc) release.Props {
	tb.Helper()
	balancer := loadbalancer.New(stack, name+"Balancer", loadbalancer.Props{VPC: vpc, NoAccessLogs: true})
	artifact := filepath.Join(tb.TempDir(), "app")
	require.NoError(tb, os.WriteFile(artifact, []byte("the program"), 0o755))
	props := fleet.Props{
		VPC: vpc, Environment: environment, Fleet: name, Color: contract.ColorBlue, Command: "serve",
		ArtifactPath: artifact, TargetGroup: balancer.Blue,
	}
	blue := fleet.New(stack, name+"Blue", props)
	props.Color, props.TargetGroup, props.Standby = contract.ColorGreen, balancer.Green, true
	return release.Props{LoadBalancer: balancer, Blue: blue, Green: fleet.New(stack, name+"Green", props), Programs: programs(tb)}
}

func has(t assertions.Template, kind string, properties map[string]any) {
	t.HasResourceProperties(&kind, properties)
}

func like(properties map[string]any) assertions.Matcher {
	return assertions.Match_ObjectLike(&properties)
}

func count(t assertions.Template, kind string, n float64) { t.ResourceCountIs(&kind, &n) }

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	r := release.New(stack, "Release", setup(t, stack))
	template := cdktest.Template(stack)
	resolve := func(text *string) any { return stack.Resolve(text) }

	has(template, "AWS::StepFunctions::StateMachine", map[string]any{
		"StateMachineName": "loadbearing-dev-web-release",
		"DefinitionSubstitutions": map[string]any{
			"Control": resolve(r.Functions[release.Control].Function.FunctionArn()),
			"Shift":   resolve(r.Functions[release.Shift].Function.FunctionArn()),
			"Analyze": resolve(r.Functions[release.Analyze].Function.FunctionArn()),
			"Migrate": resolve(r.Functions[release.Control].Function.FunctionArn()),
		},
		"TracingConfiguration": map[string]any{"Enabled": true},
		"LoggingConfiguration": like(map[string]any{"Level": "ALL", "IncludeExecutionData": true}),
	})
	has(template, "AWS::Logs::LogGroup", map[string]any{
		"LogGroupName": "/aws/vendedlogs/states/loadbearing-dev-web-release", "RetentionInDays": 30,
	})
	for _, name := range []string{"state", "command"} {
		has(template, "AWS::SSM::Parameter", map[string]any{"Name": "/loadbearing/dev/web/release/" + name, "Value": "{}"})
	}
	template.ResourcePropertiesCountIs(new("AWS::Lambda::Function"), map[string]any{
		"MemorySize": 256, "Timeout": 30,
		"Environment": map[string]any{"Variables": map[string]any{"LOADBEARING_ENV": "dev", "LOADBEARING_FLEET": "web"}},
	}, new(4.0))
	template.HasResource(new("AWS::S3::Bucket"), map[string]any{
		"DeletionPolicy": "Retain",
		"Properties": like(map[string]any{
			"PublicAccessBlockConfiguration": assertions.Match_AnyValue(),
			"VersioningConfiguration":        map[string]any{"Status": "Enabled"},
		}),
	})

	has(template, "AWS::Events::Rule", map[string]any{"ScheduleExpression": "rate(1 minute)"})
	has(template, "AWS::Events::Rule", map[string]any{"EventPattern": like(map[string]any{"detail": map[string]any{
		"stateMachineArn": []any{resolve(r.Machine.StateMachineArn())}, "status": []any{"FAILED", "TIMED_OUT", "ABORTED"},
	}})})
	has(template, "AWS::Events::Rule", map[string]any{"EventPattern": like(map[string]any{
		"source": []any{"aws.cloudformation"},
		"detail": like(map[string]any{"status-details": map[string]any{"status": []any{"UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}}}),
	})})
	template.AllResourcesProperties(new("AWS::Events::Rule"), map[string]any{"Targets": []any{
		like(map[string]any{"Arn": resolve(r.Functions[release.Recover].Function.FunctionArn())}),
	}})
	count(template, "AWS::Events::Rule", 3)
}

// target is what the parameter says, each name as the template has it.
func target(t *testing.T, stack awscdk.Stack) contract.ReleaseTarget {
	t.Helper()
	kind := "AWS::SSM::Parameter"
	found := *cdktest.Template(stack).FindResources(&kind, map[string]any{"Properties": map[string]any{"Name": "/loadbearing/dev/web/release/target"}})
	require.Len(t, found, 1)
	var target contract.ReleaseTarget
	for _, parameter := range found {
		text := flat((*parameter)["Properties"].(map[string]any)["Value"])
		require.NoError(t, json.Unmarshal([]byte(text), &target), text)
	}
	return target
}

// What the controller and the release command know of the fleet.
func TestTarget(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	props.Alarms = append(make([]awscloudwatch.IAlarm, 0, 2), awscloudwatch.Alarm_FromAlarmArn(stack, new("Orders"), new("arn:aws:cloudwatch:eu-west-1:123456789012:alarm:orders")))
	r := release.New(stack, "Release", props)
	balancer := props.LoadBalancer
	name := func(text *string) string { return flat(stack.Resolve(text)) }
	color := func(color string, f *fleet.Fleet) contract.ReleaseColor {
		return contract.ReleaseColor{
			Group: name(f.Group.AutoScalingGroupName()), TargetGroup: name(new(f.TargetGroupARN())), Artifact: name(f.Parameter.ParameterName()),
			Alarms: []string{
				name(balancer.ErrorAlarms[color].AlarmName()), name(balancer.LatencyAlarms[color].AlarmName()),
				name(balancer.UnhealthyAlarms[color].AlarmName()), name(balancer.ConnectionAlarms[color].AlarmName()),
			},
		}
	}
	require.Equal(t, contract.ReleaseTarget{
		Rule:         name(balancer.Rule.ListenerRuleArn()),
		LoadBalancer: name(new(balancer.FullName())),
		Colors:       map[string]contract.ReleaseColor{"blue": color("blue", props.Blue), "green": color("green", props.Green)},
		Alarms:       []string{name(balancer.NoneHealthyAlarm.AlarmName()), name(balancer.OwnErrorAlarm.AlarmName()), "orders"},
		StateMachine: name(r.Machine.StateMachineArn()),
		Artifacts:    name(r.Artifacts.BucketName()),
	}, target(t, stack))
}

func TestMigrationsAndNotifications(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	props.Migrate = function.New(stack, "Migrate", programs(t)[release.Control])
	props.Notifications = awssns.NewTopic(stack, new("Topic"), nil)
	r := release.New(stack, "Release", props)
	template := cdktest.Template(stack)
	migrate := stack.Resolve(props.Migrate.Function.FunctionArn())
	has(template, "AWS::StepFunctions::StateMachine", map[string]any{"DefinitionSubstitutions": like(map[string]any{"Migrate": migrate})})
	has(template, "AWS::IAM::Policy", map[string]any{
		"Roles": []any{stack.Resolve(r.Role.RoleName())},
		"PolicyDocument": like(map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{like(map[string]any{
			"Action": "lambda:InvokeFunction", "Resource": assertions.Match_ArrayWith(&[]any{migrate}),
		})})}),
	})
	require.Equal(t, flat(stack.Resolve(new(props.Migrate.Name()))), target(t, stack).Migrate)
	has(template, "AWS::Events::Rule", map[string]any{
		"EventPattern": map[string]any{
			"source": []any{"loadbearing.release"}, "detail-type": []any{"Release State Change"},
			"detail": map[string]any{"environment": []any{"dev"}, "fleet": []any{"web"}},
		},
		"Targets": []any{like(map[string]any{"Arn": stack.Resolve(props.Notifications.TopicArn())})},
	})
	has(template, "AWS::SNS::TopicPolicy", map[string]any{"PolicyDocument": like(map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		like(map[string]any{"Action": "sns:Publish", "Principal": map[string]any{"Service": "events.amazonaws.com"}}),
	})})})
}

func TestAlarmsAndWidgets(t *testing.T) {
	stack := cdktest.Stack(t)
	r := release.New(stack, "Release", setup(t, stack))
	require.Len(t, r.Widgets(), 2)
	paths := func(alarms ...awscloudwatch.IAlarm) []string {
		var list []string
		for _, alarm := range alarms {
			list = append(list, *alarm.Node().Path())
		}
		return list
	}
	all := paths(r.Alarms()...)
	require.Equal(t, paths(r.FailedAlarm)[0], all[0])
	for _, name := range release.Programs() {
		require.Subset(t, all, paths(r.Functions[name].Alarms()...), name)
	}
	has(cdktest.Template(stack), "AWS::CloudWatch::Alarm", map[string]any{
		"Namespace": "AWS/States", "MetricName": "ExecutionsFailed", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1,
		"Dimensions": []any{map[string]any{"Name": "StateMachineArn", "Value": stack.Resolve(r.Machine.StateMachineArn())}},
	})
}

func TestExistingBucketAndKey(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	key := awskms.NewKey(stack, new("Key"), nil)
	props.Artifacts = awss3.NewBucket(stack, new("Own"), &awss3.BucketProps{EncryptionKey: key})
	props.Key, props.LogRetention = key, awslogs.RetentionDays_ONE_YEAR
	r := release.New(stack, "Release", props)
	require.Equal(t, props.Artifacts, r.Artifacts)
	template := cdktest.Template(stack)
	count(template, "AWS::S3::Bucket", 1)
	arn := stack.Resolve(key.KeyArn())
	template.ResourcePropertiesCountIs(new("AWS::Logs::LogGroup"), map[string]any{"KmsKeyId": arn, "RetentionInDays": 365}, new(5.0))
	template.ResourcePropertiesCountIs(new("AWS::Lambda::Function"), map[string]any{"KmsKeyArn": arn}, new(4.0))
	for _, f := range []*fleet.Fleet{props.Blue, props.Green} {
		granted := actions(t, stack, f.Role)
		require.Contains(t, granted["Own.Arn/releases/*"], "s3:GetObject", "the fleets read what is released")
		require.Contains(t, granted["Key.Arn"], "kms:Decrypt")
	}

	stack = cdktest.Stack(t)
	props = setup(t, stack)
	props.Key = awskms.NewKey(stack, new("Key"), nil)
	r = release.New(stack, "Release", props)
	has(cdktest.Template(stack), "AWS::S3::Bucket", map[string]any{"BucketEncryption": map[string]any{
		"ServerSideEncryptionConfiguration": []any{like(map[string]any{
			"ServerSideEncryptionByDefault": map[string]any{"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": stack.Resolve(props.Key.KeyArn())},
		})},
	}})
	require.NotContains(t, acknowledged(t, r.Artifacts), "HIPAA.Security-S3DefaultEncryptionKMS", "it has a key")
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	props.Notifications = awssns.NewTopic(stack, new("Topic"), nil)
	shift := props.Programs[release.Shift]
	shift.Override = func(p *awslambda.FunctionProps) { p.Tracing = awslambda.Tracing_PASS_THROUGH }
	props.Programs[release.Shift] = shift
	props.OverrideMachine = func(p *sfn.StateMachineProps) { p.TracingEnabled = new(false) }
	props.OverrideRole = func(p *awsiam.RoleProps) { p.Path = new("/override/") }
	props.OverrideLogGroup = func(p *awslogs.LogGroupProps) { p.Retention = awslogs.RetentionDays_ONE_DAY }
	props.OverrideBucket = func(p *awss3.BucketProps) { p.BucketName = new("override") }
	var parameters, rules []string
	props.OverrideParameter = func(name string, p *awsssm.StringParameterProps) {
		parameters = append(parameters, name)
		p.Tier = awsssm.ParameterTier_ADVANCED
	}
	props.OverrideRule = func(name string, p *awsevents.RuleProps) {
		rules = append(rules, name)
		p.Description = new("override " + name)
	}
	release.New(stack, "Release", props)
	require.Equal(t, []string{"Target", "State", "Command"}, parameters)
	require.Equal(t, []string{"Schedule", "Execution", "Deployment", "Change"}, rules)
	template := cdktest.Template(stack)
	has(template, "AWS::Lambda::Function", map[string]any{"TracingConfig": map[string]any{"Mode": "PassThrough"}})
	has(template, "AWS::StepFunctions::StateMachine", map[string]any{"TracingConfiguration": map[string]any{"Enabled": false}})
	has(template, "AWS::IAM::Role", map[string]any{"Path": "/override/"})
	has(template, "AWS::Logs::LogGroup", map[string]any{"RetentionInDays": 1})
	has(template, "AWS::S3::Bucket", map[string]any{"BucketName": "override"})
	template.ResourcePropertiesCountIs(new("AWS::SSM::Parameter"), map[string]any{"Tier": "Advanced"}, new(3.0))
	for _, name := range rules {
		has(template, "AWS::Events::Rule", map[string]any{"Description": "override " + name})
	}
}

func TestFunctionsRunAsTold(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	binary := props.Programs[release.Shift].Binary
	for _, name := range release.Programs() {
		props.Programs[name] = function.Props{
			Binary: binary, Name: "own-" + name, MemoryMiB: 512, LogRetention: awslogs.RetentionDays_ONE_WEEK,
			Description: "own", Environment: map[string]string{"LEVEL": "debug", contract.EnvFleet: "other"},
		}
	}
	release.New(stack, "Release", props)
	template := cdktest.Template(stack)
	for _, name := range release.Programs() {
		has(template, "AWS::Lambda::Function", map[string]any{
			"FunctionName": "own-" + name, "MemorySize": 512, "Description": "own",
			// Which fleet it is about is not for the caller to say.
			"Environment": map[string]any{"Variables": map[string]any{"LEVEL": "debug", "LOADBEARING_ENV": "dev", "LOADBEARING_FLEET": "web"}},
		})
	}
	template.ResourcePropertiesCountIs(new("AWS::Logs::LogGroup"), map[string]any{"RetentionInDays": 7}, new(4.0))
}

// What is built by default is there to be built.
func TestEveryProgramHasASource(t *testing.T) {
	t.Parallel()
	folder, found := strings.CutPrefix(release.Source, "github.com/loadbearing/loadbearing/")
	require.True(t, found)
	for _, name := range release.Programs() {
		require.FileExists(t, filepath.Join(cdktest.Root(), folder, name, "main.go"))
	}
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	props.Function = function.Props{
		Environment: map[string]string{"LEVEL": "1"}, BuildTags: append(make([]string, 0, 4), "extra"),
	}
	shift := props.Programs[release.Shift]
	shift.Environment = map[string]string{"LEVEL": "2"}
	props.Programs[release.Shift] = shift
	cdktest.Unchanged(t, props, func(p release.Props) { release.New(stack, "Release", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	web := setup(t, stack)
	api := pair(t, stack, "dev", "api", awsec2.NewVpc(stack, new("Other"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)}))
	release.New(stack, "Web", web)
	release.New(stack, "API", api)
	template := cdktest.Template(stack)
	for kind, property := range map[string]string{
		"AWS::StepFunctions::StateMachine": "StateMachineName", "AWS::SSM::Parameter": "Name", "AWS::Logs::LogGroup": "LogGroupName",
	} {
		var names []string
		for _, resource := range *template.FindResources(&kind, nil) {
			if name, ok := (*resource)["Properties"].(map[string]any)[property].(string); ok {
				require.NotContains(t, names, name)
				names = append(names, name)
			}
		}
		require.GreaterOrEqual(t, len(names), 2, kind)
	}
}

// As the stacks have it: the fleets first, what releases them in a stack after it.
func TestReleaseInAnotherStack(t *testing.T) {
	web, after := cdktest.Stacks(t)
	props := setup(t, web)
	err := cdktest.Panic[*release.PropsError](t, func() { release.New(after, "Release", props) })
	require.EqualError(t, err, `Other/Release (release): Artifacts is "nil"; allowed: a bucket that stands in the stack of the fleets, One, or one before it`)

	props.Artifacts = awss3.NewBucket(web, new("Artifacts"), nil)
	props.Notifications = awssns.NewTopic(web, new("Topic"), &awssns.TopicProps{MasterKey: awskms.NewKey(web, new("TopicKey"), nil)})
	release.New(after, "Release", props)
	template := cdktest.Template(after)
	has(template, "AWS::SSM::Parameter", map[string]any{"Name": "/loadbearing/dev/web/release/target"})
	has(template, "AWS::Events::Rule", map[string]any{"EventPattern": like(map[string]any{
		"detail-type": []any{"CloudFormation Stack Status Change"},
		"detail": like(map[string]any{"stack-id": []any{map[string]any{
			"prefix": map[string]any{"Fn::Join": assertions.Match_ArrayWith(&[]any{assertions.Match_ArrayWith(&[]any{":stack/One/"})})},
		}}}),
	})})
	require.Equal(t, flat(after.Resolve(props.LoadBalancer.Blue.TargetGroupArn())), target(t, after).Colors["blue"].TargetGroup)
	has(cdktest.Template(web), "AWS::KMS::Key", map[string]any{"KeyPolicy": like(map[string]any{"Statement": assertions.Match_ArrayWith(&[]any{
		like(map[string]any{"Principal": map[string]any{"Service": "events.amazonaws.com"}, "Action": []any{"kms:Decrypt", "kms:GenerateDataKey*"}}),
	})})})
}

func TestTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	bucket, topic, key := cdktest.Token(stack, "BucketName"), cdktest.Token(stack, "TopicARN"), cdktest.Token(stack, "KeyARN")
	props.Artifacts = awss3.Bucket_FromBucketName(stack, new("Artifacts"), &bucket)
	props.Notifications = awssns.Topic_FromTopicArn(stack, new("Topic"), &topic)
	props.Key = awskms.Key_FromKeyArn(stack, new("Key"), &key)
	props.Function.Environment = map[string]string{"LEVEL": cdktest.Token(stack, "Level")}
	release.New(stack, "Release", props)
	template := cdktest.Template(stack)
	ref := func(name string) map[string]any { return map[string]any{"Ref": name} }
	has(template, "AWS::StepFunctions::StateMachine", map[string]any{"StateMachineName": "loadbearing-dev-web-release"})
	has(template, "AWS::SSM::Parameter", map[string]any{"Value": map[string]any{"Fn::Join": assertions.Match_ArrayWith(&[]any{
		assertions.Match_ArrayWith(&[]any{ref("BucketName")}),
	})}})
	has(template, "AWS::Events::Rule", map[string]any{"Targets": []any{like(map[string]any{"Arn": ref("TopicARN")})}})
	has(template, "AWS::Lambda::Function", map[string]any{"KmsKeyArn": ref("KeyARN")})
}

func TestGolden(t *testing.T) {
	web, after := cdktest.Stacks(t)
	props := setup(t, web)
	props.Artifacts = awss3.NewBucket(web, new("Artifacts"), nil)
	release.New(after, "Release", props)
	cdktest.Golden(t, after, "release")
}

func TestValidateNamesEveryField(t *testing.T) {
	stack := cdktest.Stack(t)
	require.EqualError(t, release.Props{}.Validate(), `release: 3 fields are not valid
  LoadBalancer is "nil"; allowed: a load balancer
  Blue is "nil"; allowed: a fleet
  Green is "nil"; allowed: a fleet`)

	props := setup(t, stack)
	require.NoError(t, props.Validate())
	binary := props.Programs[release.Shift].Binary
	props.Function = function.Props{Source: "./mine", Name: "mine", Binary: binary, MemoryMiB: 64}
	props.Programs = map[string]function.Props{
		release.Analyze: {Timeout: 20 * 60e9},
		"release-stop":  {Binary: binary},
	}
	require.EqualError(t, props.Validate(), `release: 6 fields are not valid
  Function.Source is "./mine"; allowed: none: the functions run different programs, each in Programs
  Function.Binary is "set"; allowed: none: the functions run different programs, each in Programs
  Function.Name is "mine"; allowed: none: the functions have different names, each in Programs
  Function.MemoryMiB is 64; allowed: 128 to 10240
  Programs[release-analyze].Timeout is 20m0s; allowed: 1s to 15m0s in whole seconds
  Programs[release-stop] is "release-stop"; allowed: release-control, release-shift, release-analyze, release-recover`)

	swapped := setup(t, cdktest.Stack(t))
	swapped.Blue, swapped.Green = swapped.Green, swapped.Blue
	require.EqualError(t, swapped.Validate(), `release: 4 fields are not valid
  Blue is "green"; allowed: a fleet of the color blue
  Blue is "loadbearing-dev-web-green"; allowed: a fleet in the target group LoadBalancer.Blue
  Green is "blue"; allowed: a fleet of the color green
  Green is "loadbearing-dev-web-blue"; allowed: a fleet in the target group LoadBalancer.Green`)

	long := cdktest.Stack(t)
	vpc := awsec2.NewVpc(long, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)})
	one, other := pair(t, long, "dev", "web", vpc), pair(t, long, "dev", "api", vpc)
	one.Green = other.Green
	require.EqualError(t, one.Validate(), `release: 2 fields are not valid
  Green is "loadbearing-dev-api-green"; allowed: a fleet in the target group LoadBalancer.Green
  Green is "dev/api"; allowed: the other color of dev/web`)
	environment, name := strings.Repeat("e", 32), strings.Repeat("f", 28)
	require.EqualError(t, pair(t, long, environment, name, vpc).Validate(), `release: Blue is "loadbearing-`+environment+"-"+name+`-release"; allowed: names of environment and fleet that make a state machine's name of 80 characters or fewer`)
	require.NoError(t, pair(t, long, environment, name[1:], vpc).Validate())

	err := cdktest.Panic[*release.PropsError](t, func() { release.New(stack, "Release", release.Props{}) })
	require.ErrorContains(t, err, "Test/Release (release): 3 fields are not valid")
}
