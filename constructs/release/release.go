package release

import (
	_ "embed"
	"encoding/json"
	"maps"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	sfn "github.com/aws/aws-cdk-go/awscdk/v2/awsstepfunctions"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

//go:embed machine.asl.json
var definition string

// Release is the release controller of one pair of fleets.
type Release struct {
	constructs.Construct
	Machine   sfn.StateMachine
	Role      awsiam.IRole                  // of the state machine
	Functions map[string]*function.Function // by name: Control, Shift, Analyze, Recover
	Artifacts awss3.IBucket
	Target    awsssm.StringParameter    // what a release works on
	State     awsssm.StringParameter    // how far the last one has come
	Command   awsssm.StringParameter    // what operators tell it
	Rules     map[string]awsevents.Rule // by name: Schedule, Execution, Deployment, and with Notifications Change
	LogGroup  awslogs.LogGroup

	FailedAlarm awscloudwatch.IAlarm // an execution failed

	props Props
	stack awscdk.Stack
}

// New makes a Release. It panics with a *PropsError when props are not valid and
// with a *function.BuildError when a program does not compile.
func New(scope constructs.Construct, id string, props Props) *Release {
	cdkx.Must(scope, id, "release", props.Validate())
	r := &Release{
		Artifacts: props.Artifacts, Functions: map[string]*function.Function{}, Rules: map[string]awsevents.Rule{},
		props: props.withDefaults(),
	}
	constructs.NewConstruct_Override(r, scope, &id)
	r.stack = awscdk.Stack_Of(r)
	if r.Artifacts == nil {
		r.Artifacts = r.bucket()
	}
	for _, name := range Programs() {
		r.Functions[name] = r.program(name)
	}
	r.machine()
	r.parameters()
	r.grant()
	r.rules()
	r.FailedAlarm = cdkx.Alarm(r, "FailedAlarm", cdkx.AlarmSpec{
		Metric: r.Machine.MetricFailed(cdkx.MetricOptions("Sum", time.Minute)),
		Description: "An execution of the release's state machine failed, or was refused. Another takes an unfinished release over within a minute " +
			"and rolls it back: `loadbearing release status` shows it, the execution why.",
		Periods: 1,
	})
	return r
}

// bucket holds the versions; whoever runs one has it from there, so none expires.
func (r *Release) bucket() awss3.IBucket {
	props := &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        new(true),
		MinimumTLSVersion: cdkx.Number(1.2),
		Versioned:         new(true),
	}
	if r.props.Key != nil {
		props.Encryption, props.EncryptionKey, props.BucketKeyEnabled = awss3.BucketEncryption_KMS, r.props.Key, new(true)
	}
	bucket := awss3.NewBucket(r, new("Artifacts"), cdkx.Override(props, r.props.OverrideBucket))
	for _, f := range []*fleet.Fleet{r.props.Blue, r.props.Green} {
		f.GrantReadArtifacts(bucket, ArtifactPrefix)
	}
	cdkx.Acknowledge(bucket, "Who writes versions is in CloudTrail; the bucket holds programs, each checked against its SHA-256 before it runs, "+
		"and is made again by building them.", "AwsSolutions-S1", "S3BucketLoggingEnabled", "S3BucketReplicationEnabled")
	return bucket
}

func (r *Release) program(name string) *function.Function {
	props := r.props.function(name)
	environment := maps.Clone(props.Environment)
	if environment == nil {
		environment = map[string]string{}
	}
	environment[contract.EnvEnvironment], environment[contract.EnvFleet] = r.props.Environment, r.props.Fleet
	props.Environment = environment
	if props.Key == nil {
		props.Key = r.props.Key
	}
	props.Description = map[string]string{
		Control: "Begins releases, starts and empties their colors, ends them",
		Shift:   "Sets the weights of a release",
		Analyze: "Judges a step of a release",
		Recover: "Has a release taken over whose execution has ended",
	}[name]
	// Step Functions waits for the answers; the rules of Recover fire again.
	props.Synchronous = true
	return function.New(r, map[string]string{Control: "Control", Shift: "Shift", Analyze: "Analyze", Recover: "Recover"}[name], props)
}

func (r *Release) machine() {
	r.LogGroup = awslogs.NewLogGroup(r, new("Logs"), &awslogs.LogGroupProps{
		// The prefix keeps the policy of all such log groups short enough for many.
		LogGroupName:  new("/aws/vendedlogs/states/" + contract.ReleaseStateMachine(r.props.Environment, r.props.Fleet)),
		Retention:     r.props.LogRetention,
		EncryptionKey: r.props.Key,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
	r.Role = awsiam.NewRole(r, new("Role"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(new("states.amazonaws.com"), nil),
		Description: new("Runs releases of " + r.props.Fleet),
	})
	substitutions := map[string]string{
		"Control": r.Functions[Control].ARN(), "Shift": r.Functions[Shift].ARN(), "Analyze": r.Functions[Analyze].ARN(),
		"Migrate": r.Functions[Control].ARN(), // never reached without migrations
	}
	if r.props.Migrate != nil {
		substitutions["Migrate"] = r.props.Migrate.ARN()
	}
	props := &sfn.StateMachineProps{
		StateMachineName:        new(contract.ReleaseStateMachine(r.props.Environment, r.props.Fleet)),
		DefinitionBody:          sfn.DefinitionBody_FromString(&definition),
		DefinitionSubstitutions: cdkx.StringMap(substitutions),
		Role:                    r.Role,
		TracingEnabled:          new(true),
		Logs:                    &sfn.LogOptions{Destination: r.LogGroup, Level: sfn.LogLevel_ALL, IncludeExecutionData: new(true)},
	}
	r.Machine = sfn.NewStateMachine(r, new("Machine"), cdkx.Override(props, r.props.OverrideMachine))
	for _, name := range []string{"Control", "Shift", "Analyze", "Migrate"} {
		r.allow(r.Role, substitutions[name], "lambda:InvokeFunction")
	}
	cdkx.AcknowledgePolicy(r.Role, "X-Ray and the delivery of logs have no resource to name.", "Resource::*")
}

// parameters publish what a release works on, and make those that the controller
// and its operators write, so that they go with the stack.
func (r *Release) parameters() {
	environment, name := r.props.Environment, r.props.Fleet
	parameter := func(id, name, value, description string) awsssm.StringParameter {
		return awsssm.NewStringParameter(r, &id, &awsssm.StringParameterProps{
			ParameterName: &name, StringValue: &value, Description: &description,
		})
	}
	balancer := r.props.LoadBalancer
	target := contract.ReleaseTarget{
		Rule:         *balancer.Rule.ListenerRuleArn(),
		LoadBalancer: balancer.FullName(),
		Colors:       map[string]contract.ReleaseColor{},
		Alarms:       []string{*balancer.NoneHealthyAlarm.AlarmName(), *balancer.OwnErrorAlarm.AlarmName()},
		StateMachine: *r.Machine.StateMachineArn(),
		Artifacts:    *r.Artifacts.BucketName(),
	}
	if r.props.Migrate != nil {
		target.Migrate = r.props.Migrate.Name()
	}
	for color, f := range map[string]*fleet.Fleet{contract.ColorBlue: r.props.Blue, contract.ColorGreen: r.props.Green} {
		group := balancer.Blue
		if color == contract.ColorGreen {
			group = balancer.Green
		}
		target.Colors[color] = contract.ReleaseColor{
			Group:       *f.Group.AutoScalingGroupName(),
			TargetGroup: *group.TargetGroupArn(),
			Artifact:    *f.Parameter.ParameterName(),
			Alarms: []string{
				*balancer.ErrorAlarms[color].AlarmName(), *balancer.LatencyAlarms[color].AlarmName(),
				*balancer.UnhealthyAlarms[color].AlarmName(), *balancer.ConnectionAlarms[color].AlarmName(),
			},
		}
	}
	text, err := json.Marshal(target)
	if err != nil {
		panic(err) // strings only
	}
	r.Target = parameter("Target", contract.ReleaseTargetParameter(environment, name), string(text), "What releases of "+name+" work on")
	r.State = parameter("State", contract.ReleaseStateParameter(environment, name), "{}", "How far the last release of "+name+" has come; its controller writes it")
	r.Command = parameter("Command", contract.ReleaseCommandParameter(environment, name), "{}", "What operators tell a release of "+name)
}

func (r *Release) allow(to awsiam.IGrantable, resource string, actions ...string) {
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{Grantee: to, Actions: cdkx.Strings(actions...), ResourceArns: cdkx.Strings(resource)})
}

// grant lets each function do its part and no more.
func (r *Release) grant() {
	for name, f := range r.Functions {
		r.allow(f.Role, *r.State.ParameterArn(), "ssm:GetParameter", "ssm:PutParameter")
		r.allow(f.Role, *r.Command.ParameterArn(), "ssm:GetParameter")
		// By its name: the parameter holds the ARN of the state machine, which invokes the functions.
		r.allow(f.Role, r.parameterARN(contract.ReleaseTargetParameter(r.props.Environment, r.props.Fleet)), "ssm:GetParameter")
		if name != Recover {
			r.allow(f.Role, *r.stack.FormatArn(&awscdk.ArnComponents{Service: new("events"), Resource: new("event-bus"), ResourceName: new("default")}), "events:PutEvents")
		}
		r.look(f.Role)
	}
	for _, f := range []*fleet.Fleet{r.props.Blue, r.props.Green} {
		f.GrantRelease(r.Functions[Control].Role)
	}
	r.props.LoadBalancer.GrantWeights(r.Functions[Shift].Role)
	r.props.LoadBalancer.GrantWeights(r.Functions[Recover].Role)
	r.take(r.Functions[Recover].Role)
}

func (r *Release) parameterARN(name string) string {
	return *r.stack.FormatArn(&awscdk.ArnComponents{Service: new("ssm"), Resource: new("parameter" + name)})
}

// look lets an identity see what a release sees.
func (r *Release) look(to awsiam.IGrantable) {
	r.allow(to, "*",
		"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScheduledActions",
		"cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData",
		"elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth")
	if role, ok := to.GrantPrincipal().(awsiam.IRole); ok {
		cdkx.AcknowledgePolicy(role, "What a release looks at has no resource-level permission; it is read-only.", "Resource::*")
	}
}

// take lets an identity start executions and read them.
func (r *Release) take(to awsiam.IGrantable) {
	r.allow(to, *r.Machine.StateMachineArn(), "states:StartExecution", "states:ListExecutions")
	executions := *r.stack.FormatArn(&awscdk.ArnComponents{
		Service: new("states"), Resource: new("execution"), ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
		ResourceName: new(contract.ReleaseStateMachine(r.props.Environment, r.props.Fleet) + ":*"),
	})
	r.allow(to, executions, "states:DescribeExecution")
	if role, ok := to.GrantPrincipal().(awsiam.IRole); ok {
		cdkx.AcknowledgePolicy(role, "Executions are named when they start; these are of the one state machine.",
			"Resource::arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:"+contract.ReleaseStateMachine(r.props.Environment, r.props.Fleet)+":*")
	}
}

// GrantOperate lets an identity upload versions, start releases, watch them and
// tell them to pause, to go on or to roll back, as the release command does.
func (r *Release) GrantOperate(to awsiam.IGrantable) {
	r.take(to)
	r.look(to)
	for _, p := range []awsssm.IStringParameter{r.Target, r.State, r.props.Blue.Parameter, r.props.Green.Parameter} {
		r.allow(to, *p.ParameterArn(), "ssm:GetParameter")
	}
	r.allow(to, *r.Command.ParameterArn(), "ssm:GetParameter", "ssm:PutParameter")
	r.allow(to, *r.Artifacts.ArnForObjects(new(ArtifactPrefix + "*")), "s3:GetObject", "s3:PutObject")
	if key := r.Artifacts.EncryptionKey(); key != nil {
		key.GrantEncryptDecrypt(to)
	}
}

// rules have Recover look: every minute, when an execution ends before its
// release, and after a deployment of the stack with the listener rule, which may
// have reset the weights.
func (r *Release) rules() {
	rule := func(name string, props *awsevents.RuleProps) {
		if r.props.OverrideRule != nil {
			r.props.OverrideRule(name, props)
		}
		r.Rules[name] = awsevents.NewRule(r, new(name+"Rule"), props)
	}
	recovery := &[]awsevents.IRuleTarget{awseventstargets.NewLambdaFunction(r.Functions[Recover].Function, &awseventstargets.LambdaFunctionProps{RetryAttempts: cdkx.Number(2)})}
	rule("Schedule", &awsevents.RuleProps{
		Description: new("Looks after releases every minute"),
		Schedule:    awsevents.Schedule_Expression(new("rate(1 minute)")),
		Targets:     recovery,
	})
	rule("Execution", &awsevents.RuleProps{
		Description: new("An execution has ended before its release"),
		EventPattern: &awsevents.EventPattern{
			Source:     cdkx.Strings("aws.states"),
			DetailType: cdkx.Strings("Step Functions Execution Status Change"),
			Detail: &map[string]any{
				"stateMachineArn": []any{*r.Machine.StateMachineArn()},
				"status":          []any{"FAILED", "TIMED_OUT", "ABORTED"},
			},
		},
		Targets: recovery,
	})
	stack := awscdk.Stack_Of(r.props.LoadBalancer)
	rule("Deployment", &awsevents.RuleProps{
		Description: new("The stack with the listener rule has been deployed"),
		EventPattern: &awsevents.EventPattern{
			Source:     cdkx.Strings("aws.cloudformation"),
			DetailType: cdkx.Strings("CloudFormation Stack Status Change"),
			Detail: &map[string]any{
				"stack-id": []any{map[string]any{"prefix": *stack.FormatArn(&awscdk.ArnComponents{
					Service: new("cloudformation"), Resource: new("stack"), ResourceName: new(*stack.StackName() + "/"),
				})}},
				"status-details": map[string]any{"status": []any{"UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}},
			},
		},
		Targets: recovery,
	})
	if r.props.Notifications == nil {
		return
	}
	rule("Change", &awsevents.RuleProps{
		Description: new("A release has come to another phase"),
		EventPattern: &awsevents.EventPattern{
			Source:     cdkx.Strings(contract.ReleaseEventSource),
			DetailType: cdkx.Strings(contract.ReleaseEventType),
			Detail: &map[string]any{
				"environment": []any{r.props.Environment},
				"fleet":       []any{r.props.Fleet},
			},
		},
		Targets: &[]awsevents.IRuleTarget{awseventstargets.NewSnsTopic(r.props.Notifications, nil)},
	})
}

// ARN of the state machine.
func (r *Release) ARN() string { return *r.Machine.StateMachineArn() }

// Alarms are that of the state machine and those of the functions.
func (r *Release) Alarms() []awscloudwatch.IAlarm {
	all := []awscloudwatch.IAlarm{r.FailedAlarm}
	for _, name := range Programs() {
		all = append(all, r.Functions[name].Alarms()...)
	}
	return all
}

// Widgets show the executions.
func (r *Release) Widgets() []awscloudwatch.IWidget {
	title := *r.Node().Id()
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": executions",
			r.Machine.MetricStarted(cdkx.MetricOptions("Sum", time.Minute)),
			r.Machine.MetricSucceeded(cdkx.MetricOptions("Sum", time.Minute)),
			r.Machine.MetricFailed(cdkx.MetricOptions("Sum", time.Minute)),
			r.Machine.MetricAborted(cdkx.MetricOptions("Sum", time.Minute)),
			r.Machine.MetricTimedOut(cdkx.MetricOptions("Sum", time.Minute))),
		cdkx.Graph(title+": duration of a task in ms",
			r.Functions[Control].Function.MetricDuration(cdkx.MetricOptions("p99", time.Minute)),
			r.Functions[Shift].Function.MetricDuration(cdkx.MetricOptions("p99", time.Minute)),
			r.Functions[Analyze].Function.MetricDuration(cdkx.MetricOptions("p99", time.Minute))),
	}
}
