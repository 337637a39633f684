package release

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"maps"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
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

	props              Props
	stack              awscdk.Stack
	environment, fleet string
}

// New makes a Release. It panics with a *PropsError when props are not valid and
// with a *function.BuildError when a program does not compile.
func New(scope constructs.Construct, id string, props Props) *Release {
	cdkx.Must(scope, id, "release", props.Validate())
	cdkx.Must(scope, id, "release", props.checkStack(scope))
	r := &Release{
		Artifacts: props.Artifacts, Functions: map[string]*function.Function{}, Rules: map[string]awsevents.Rule{},
		props: props.withDefaults(), environment: props.Blue.Environment(), fleet: props.Blue.Name(),
	}
	constructs.NewConstruct_Override(r, scope, &id)
	r.stack = awscdk.Stack_Of(r)
	if r.Artifacts == nil {
		r.Artifacts = NewArtifacts(r, "Artifacts", r.props.Key, r.props.OverrideBucket)
	}
	for _, f := range []*fleet.Fleet{r.props.Blue, r.props.Green} {
		f.GrantReadArtifacts(r.Artifacts, ArtifactPrefix)
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

// NewArtifacts makes a bucket for versions, which New does too when Props has
// none: for a stack that outlives the release's, or one that the fleets' depends
// on. Without a key S3's own encrypts it. None of the versions expires: which one
// an instance boots with, a parameter says, and it may be an old one. override,
// which may be nil, has the last word.
func NewArtifacts(scope constructs.Construct, id string, key awskms.IKey, override func(*awss3.BucketProps)) awss3.IBucket {
	props := &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        new(true),
		MinimumTLSVersion: cdkx.Number(1.2),
		Versioned:         new(true),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(cdkx.Number(1)),
			NoncurrentVersionExpiration:         awscdk.Duration_Days(cdkx.Number(30)), // keys are hashes: what is overwritten is the same
			ExpiredObjectDeleteMarker:           new(true),
		}},
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
	}
	if key != nil {
		props.Encryption, props.EncryptionKey, props.BucketKeyEnabled = awss3.BucketEncryption_KMS, key, new(true)
	}
	bucket := awss3.NewBucket(scope, &id, cdkx.Override(props, override))
	if key == nil {
		cdkx.Acknowledge(bucket, "It holds programs, no data; Key gives it a key of the caller's.", "S3DefaultEncryptionKMS")
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
	environment[contract.EnvEnvironment], environment[contract.EnvFleet] = r.environment, r.fleet
	props.Environment = environment
	if props.Key == nil {
		props.Key = r.props.Key
	}
	if props.LogGroup == nil {
		props.LogRetention = cmp.Or(props.LogRetention, r.props.LogRetention)
	}
	about := map[string]struct{ id, does string }{
		Control: {"Control", "Begins releases, starts and empties their colors, ends them"},
		Shift:   {"Shift", "Sets the weights of a release"},
		Analyze: {"Analyze", "Judges a step of a release"},
		Recover: {"Recover", "Has a release taken over whose execution has ended"},
	}[name]
	props.Description = cmp.Or(props.Description, about.does)
	props.Synchronous = name != Recover // Step Functions waits for the answers
	f := function.New(r, about.id, props)
	if name == Recover && props.OnFailure == nil {
		cdkx.Acknowledge(f.Function, "What failed is looked at again within a minute, by a schedule, so no event is worth keeping.", "LambdaDLQ")
	}
	return f
}

func (r *Release) machine() {
	name := contract.ReleaseStateMachine(r.environment, r.fleet)
	r.LogGroup = awslogs.NewLogGroup(r, new("Logs"), cdkx.Override(&awslogs.LogGroupProps{
		// The prefix keeps the policy of all such log groups short enough for many.
		LogGroupName:  new("/aws/vendedlogs/states/" + name),
		Retention:     r.props.LogRetention,
		EncryptionKey: r.props.Key,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	}, r.props.OverrideLogGroup))
	r.Role = awsiam.NewRole(r, new("Role"), cdkx.Override(&awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(new("states.amazonaws.com"), nil),
		Description: new("Runs releases of " + r.fleet),
	}, r.props.OverrideRole))
	substitutions := map[string]string{
		"Control": r.Functions[Control].ARN(), "Shift": r.Functions[Shift].ARN(), "Analyze": r.Functions[Analyze].ARN(),
		"Migrate": r.Functions[Control].ARN(), // never reached without migrations
	}
	if r.props.Migrate != nil {
		substitutions["Migrate"] = r.props.Migrate.ARN()
	}
	props := &sfn.StateMachineProps{
		StateMachineName:        &name,
		DefinitionBody:          sfn.DefinitionBody_FromString(&definition),
		DefinitionSubstitutions: cdkx.StringMap(substitutions),
		Role:                    r.Role,
		TracingEnabled:          new(true),
		Logs:                    &sfn.LogOptions{Destination: r.LogGroup, Level: sfn.LogLevel_ALL, IncludeExecutionData: new(true)},
	}
	r.Machine = sfn.NewStateMachine(r, new("Machine"), cdkx.Override(props, r.props.OverrideMachine))
	for _, name := range []string{"Control", "Shift", "Analyze", "Migrate"} {
		cdkx.Allow(r.Role, substitutions[name], "lambda:InvokeFunction")
	}
	cdkx.AcknowledgePolicy(r.Role, "X-Ray and the delivery of logs have no resource to name.", "Resource::*")
}

// parameters publish what a release works on, and make those that the controller
// and its operators write, so that they go with the stack.
func (r *Release) parameters() {
	parameter := func(id, name, value, description string) awsssm.StringParameter {
		props := &awsssm.StringParameterProps{ParameterName: &name, StringValue: &value, Description: &description}
		if r.props.OverrideParameter != nil {
			r.props.OverrideParameter(id, props)
		}
		return awsssm.NewStringParameter(r, &id, props)
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
	for _, alarm := range r.props.Alarms {
		target.Alarms = append(target.Alarms, *alarm.AlarmName())
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
	r.Target = parameter("Target", contract.ReleaseTargetParameter(r.environment, r.fleet), string(text), "What releases of "+r.fleet+" work on")
	r.State = parameter("State", contract.ReleaseStateParameter(r.environment, r.fleet), "{}", "How far the last release of "+r.fleet+" has come; its controller writes it")
	r.Command = parameter("Command", contract.ReleaseCommandParameter(r.environment, r.fleet), "{}", "What operators tell a release of "+r.fleet)
}

// grant lets each function do its part and no more.
func (r *Release) grant() {
	for _, name := range Programs() {
		role := r.Functions[name].Role
		// By its name: the parameter holds the ARN of the state machine, which invokes the functions.
		target := *r.stack.FormatArn(&awscdk.ArnComponents{
			Service: new("ssm"), Resource: new("parameter" + contract.ReleaseTargetParameter(r.environment, r.fleet)),
		})
		cdkx.Allow(role, target, "ssm:GetParameter")
		cdkx.Allow(role, *r.State.ParameterArn(), "ssm:GetParameter")
		if name == Recover {
			continue // it has an execution write the state
		}
		cdkx.Allow(role, *r.Command.ParameterArn(), "ssm:GetParameter")
		cdkx.Allow(role, *r.State.ParameterArn(), "ssm:PutParameter")
		bus := *r.stack.FormatArn(&awscdk.ArnComponents{Service: new("events"), Resource: new("event-bus"), ResourceName: new("default")})
		cdkx.Allow(role, bus, "events:PutEvents")
		look(role)
	}
	for _, f := range []*fleet.Fleet{r.props.Blue, r.props.Green} {
		f.GrantRelease(r.Functions[Control].Role)
		// Recover takes back what a deployment wrote into it.
		cdkx.Allow(r.Functions[Recover].Role, *f.Parameter.ParameterArn(), "ssm:GetParameter", "ssm:PutParameter")
	}
	r.props.LoadBalancer.GrantWeights(r.Functions[Shift].Role)
	r.props.LoadBalancer.GrantWeights(r.Functions[Recover].Role)
	r.grantExecute(r.Functions[Recover].Role)
}

// look lets an identity see what a release sees.
func look(to awsiam.IGrantable) {
	cdkx.Allow(to, "*",
		"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScheduledActions",
		"cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData",
		"elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth")
	acknowledge(to, "What a release looks at has no resource-level permission; it is read-only.", "Resource::*")
}

// grantExecute lets an identity start executions and read them.
func (r *Release) grantExecute(to awsiam.IGrantable) {
	cdkx.Allow(to, *r.Machine.StateMachineArn(), "states:StartExecution")
	executions := *r.stack.FormatArn(&awscdk.ArnComponents{
		Service: new("states"), Resource: new("execution"), ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
		ResourceName: new(contract.ReleaseStateMachine(r.environment, r.fleet) + ":*"),
	})
	cdkx.Allow(to, executions, "states:DescribeExecution")
	acknowledge(to, "Executions are named when they start; these are of the one state machine.", cdkx.Finding(r.stack, executions))
}

// acknowledge says of a role why its permissions have wildcards; users and groups
// have none of ours to say it of.
func acknowledge(to awsiam.IGrantable, reason string, wildcards ...string) {
	if role, ok := to.GrantPrincipal().(awsiam.IRole); ok {
		cdkx.AcknowledgePolicy(role, reason, wildcards...)
	}
}

// GrantOperate lets an identity upload versions, start releases, watch them and
// tell them to pause, to go on or to roll back, as the release command does.
func (r *Release) GrantOperate(to awsiam.IGrantable) {
	r.grantExecute(to)
	cdkx.Allow(to, *r.Machine.StateMachineArn(), "states:ListExecutions")
	look(to)
	for _, p := range []awsssm.IStringParameter{r.Target, r.State, r.props.Blue.Parameter, r.props.Green.Parameter} {
		cdkx.Allow(to, *p.ParameterArn(), "ssm:GetParameter")
	}
	cdkx.Allow(to, *r.Command.ParameterArn(), "ssm:GetParameter", "ssm:PutParameter")

	// To who may not list, S3 answers 403 for a key that is not there (HeadObject in
	// the S3 API reference): then nobody could tell what has to be uploaded.
	cdkx.Allow(to, *r.Artifacts.BucketArn(), "s3:ListBucket")
	objects := *r.Artifacts.ArnForObjects(new(ArtifactPrefix + "*"))
	cdkx.Allow(to, objects, "s3:GetObject", "s3:PutObject")
	acknowledge(to, "Artifacts are named by their SHA-256, which is known once they are built.", cdkx.Finding(r.stack, objects))
	if key := r.Artifacts.EncryptionKey(); key != nil {
		cdkx.Allow(to, *key.KeyArn(), "kms:Decrypt", "kms:GenerateDataKey")
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
				"environment": []any{r.environment},
				"fleet":       []any{r.fleet},
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
