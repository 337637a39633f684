package rotation

import (
	"fmt"
	"maps"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/settings"
)

// Rotation replaces the origin header's value on a schedule.
type Rotation struct {
	constructs.Construct
	Schedule awssecretsmanager.CfnRotationSchedule
	Function *function.Function
}

// New makes a Rotation. It panics with a *PropsError when props are not valid
// and with a *function.BuildError when the program does not compile.
func New(scope constructs.Construct, id string, props Props) *Rotation {
	cdkx.Must(scope, id, "rotation", props.Validate())
	props = props.withDefaults()
	r := &Rotation{}
	constructs.NewConstruct_Override(r, scope, &id)
	r.Function = r.program(props)
	r.grant(props)

	schedule := &awssecretsmanager.CfnRotationScheduleProps{
		SecretId:                  props.LoadBalancer.OriginSecret.SecretArn(),
		RotationLambdaArn:         r.Function.Function.FunctionArn(),
		RotateImmediatelyOnUpdate: new(props.Immediately),
		RotationRules: &awssecretsmanager.CfnRotationSchedule_RotationRulesProperty{
			AutomaticallyAfterDays: cdkx.Number(props.Every / day),
		},
	}
	r.Schedule = awssecretsmanager.NewCfnRotationSchedule(r, new("Schedule"), cdkx.Override(schedule, props.OverrideSchedule))
	// Secrets Manager calls the function when the schedule is made.
	r.Schedule.Node().AddDependency(r.Function.Function, r.Function.Role)
	r.acknowledge(props)
	return r
}

func (r *Rotation) program(props Props) *function.Function {
	p := props.Function
	if p.Description == "" {
		p.Description = "Replaces the secret header by which the load balancer knows CloudFront"
	}
	environment := maps.Clone(p.Environment)
	if environment == nil {
		environment = map[string]string{}
	}
	maps.Copy(environment, settings.Settings{
		Distribution: props.Edge.ID(),
		EdgeURL:      props.Edge.URL(),
		Rules:        props.LoadBalancer.RuleARNs(),
		Refusal:      loadbalancer.RefusalCode,
	}.Environment())
	p.Environment = environment
	return function.New(r, "Function", p)
}

// grant lets the function do what a rotation does and Secrets Manager of this
// account call it. The L2 schedule would also grant GetRandomPassword on
// everything, which the program does not need.
func (r *Rotation) grant(props Props) {
	role, secret := r.Function.Role, props.LoadBalancer.OriginSecret
	arn := *secret.SecretArn()
	if secret.SecretFullArn() == nil {
		arn += "-??????" // the suffix of a secret that was imported by name
	}
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee: role,
		Actions: cdkx.Strings("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue",
			"secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"),
		ResourceArns: cdkx.Strings(arn),
	})
	if key := secret.EncryptionKey(); key != nil {
		key.GrantEncryptDecrypt(role)
		cdkx.AcknowledgePolicy(role, "Variants of one operation, on the one key that encrypts the secret.",
			"Action::kms:GenerateDataKey*", "Action::kms:ReEncrypt*")
	}
	props.LoadBalancer.GrantConditions(role)
	props.Edge.GrantConfigure(role)
	r.Function.Function.AddPermission(new("SecretsManager"), &awslambda.Permission{
		Principal:     awsiam.NewServicePrincipal(new("secretsmanager.amazonaws.com"), nil),
		SourceAccount: awscdk.Stack_Of(r).Account(),
	})
}

// acknowledge says what cdk-nag cannot see: who repeats what failed and, because
// it looks for a schedule in the secret's own stack, where the schedule is.
func (r *Rotation) acknowledge(props Props) {
	if props.Function.OnFailure == nil && !props.Function.Synchronous {
		cdkx.Acknowledge(r.Function.Function, "Secrets Manager keeps the state of a rotation and repeats it until it succeeds, so no event of a failed step is worth keeping.",
			"LambdaDLQ")
	}
	secret := props.LoadBalancer.OriginSecret
	if _, made := secret.Node().DefaultChild().(awssecretsmanager.CfnSecret); !made || *secret.Stack().Node().Path() == *awscdk.Stack_Of(r).Node().Path() {
		return
	}
	cdkx.Acknowledge(secret, fmt.Sprintf("It is rotated every %d days by %s, which stands in another stack because it changes the distribution.",
		props.Every/day, *r.Node().Path()), "AwsSolutions-SMG4", "SecretsManagerRotationEnabled")
}

// Alarms are those of the function: a step that failed. Secrets Manager repeats
// all steps, and until one attempt succeeds the old value stays in use.
func (r *Rotation) Alarms() []awscloudwatch.IAlarm { return r.Function.Alarms() }

// Widgets show the function's runs.
func (r *Rotation) Widgets() []awscloudwatch.IWidget { return r.Function.Widgets() }
