package encryption

import (
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Key is a KMS key.
type Key struct {
	constructs.Construct

	// Key is for resources and grants, in any stack. Grants write to the policy
	// of who is granted, never to the key's: no use of it can make two stacks
	// depend on each other.
	Key awskms.IKey

	// Resource is the key that was made, nil with ExistingARN. A statement added
	// to its policy must not name what another stack makes.
	Resource awskms.IKey

	arn string
}

// New makes a Key. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Key {
	cdkx.Must(scope, id, "encryption", props.Validate())
	k := &Key{arn: props.ExistingARN}
	constructs.NewConstruct_Override(k, scope, &id)
	if props.ExistingARN == "" {
		k.Resource = k.makeKey(props.withDefaults())
		k.arn = *k.Resource.KeyArn()
	}
	// A key known by its ARN has no policy that a grant could write to.
	k.Key = awskms.Key_FromKeyArn(k, new("Key"), &k.arn)
	return k
}

func (k *Key) makeKey(props Props) awskms.IKey {
	removal := awscdk.RemovalPolicy_RETAIN
	if props.AllowDeletion {
		removal = awscdk.RemovalPolicy_DESTROY
	}
	description := props.Description
	if description == "" {
		description = "Encrypts the data of " + *k.Node().Path()
	}
	keyProps := &awskms.KeyProps{
		Description:       &description,
		EnableKeyRotation: new(!props.NoRotation),
		PendingWindow:     cdkx.Duration(props.PendingWindow),
		RemovalPolicy:     removal,
		Policy:            k.policy(props.Services),
	}
	if props.Alias != "" {
		keyProps.Alias = new("alias/" + props.Alias)
	}
	key := awskms.NewKey(k, new("Resource"), cdkx.Override(keyProps, props.Override))
	if props.NoRotation {
		cdkx.Acknowledge(key, "The owner of the environment rotates this key by hand, by a procedure of their own.",
			"AwsSolutions-KMS5", "KMSBackingKeyRotationEnabled")
	}
	return key
}

// What a service does with the key. Both wildcards stand for variants of one
// operation that KMS adds to: GenerateDataKeyWithoutPlaintext, ReEncryptFrom.
var (
	envelope = []string{"kms:Decrypt", "kms:GenerateDataKey*"}
	all      = []string{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}
)

func (k *Key) policy(services []Service) awsiam.PolicyDocument {
	stack := awscdk.Stack_Of(k)
	account, region, partition := *stack.Account(), *stack.Region(), *stack.Partition()
	statements := []*statement{{
		// Without it the key could be managed by nobody when the policy is wrong
		// ("Default key policy", AWS KMS developer guide).
		sid: "AccountByIAMPolicies", actions: []string{"kms:*"},
		principals: []awsiam.IPrincipal{awsiam.NewAccountRootPrincipal()},
	}}
	var via []string
	for _, service := range services {
		if slices.Contains(forCallers, service) {
			via = append(via, string(service)+"."+region+".amazonaws.com")
			continue
		}
		statements = append(statements, service.statement(account, region, partition))
	}
	if len(via) > 0 {
		caller := map[string]any{"kms:CallerAccount": account, "kms:ViaService": via}
		statements = append(statements, &statement{
			sid: "CallersOfServices", actions: all, principals: anyone(),
			conditions: map[string]any{"StringEquals": caller},
		}, &statement{
			sid: "GrantsForServices", actions: []string{"kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"}, principals: anyone(),
			conditions: map[string]any{"StringEquals": caller, "Bool": map[string]any{"kms:GrantIsForAWSResource": "true"}},
		})
	}
	list := make([]awsiam.PolicyStatement, len(statements))
	for i, each := range statements {
		list[i] = each.build()
	}
	return awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{
		Statements: &list,
		// Each statement stays by itself, under its name.
		Minimize: new(false),
	})
}

// anyone is every identity, which the conditions of its statement narrow to
// those of this account that call through a service, as in the policies of the
// keys that AWS manages.
func anyone() []awsiam.IPrincipal { return []awsiam.IPrincipal{awsiam.NewAnyPrincipal()} }

// statement allows a service what it does as itself, on behalf of resources of
// this account.
func (s Service) statement(account, region, partition string) *statement {
	sourceAccount := map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": account}}
	switch s {
	case CloudWatchLogs:
		// "Encrypt log data in CloudWatch Logs using AWS KMS": the service sends
		// the log group's ARN as encryption context, and no source account.
		return &statement{
			sid: "CloudWatchLogs", actions: all, principals: service("logs." + region + ".amazonaws.com"),
			conditions: map[string]any{"ArnLike": map[string]any{
				"kms:EncryptionContext:aws:logs:arn": "arn:" + partition + ":logs:" + region + ":" + account + ":*",
			}},
		}
	case CloudWatchAlarms:
		return &statement{sid: "CloudWatchAlarms", actions: envelope, principals: service("cloudwatch.amazonaws.com"), conditions: sourceAccount}
	case SNS:
		return &statement{sid: "SNS", actions: envelope, principals: service("sns.amazonaws.com"), conditions: sourceAccount}
	case EventBridge:
		return &statement{sid: "EventBridge", actions: envelope, principals: service("events.amazonaws.com"), conditions: sourceAccount}
	case S3Notifications:
		return &statement{sid: "S3Notifications", actions: envelope, principals: service("s3.amazonaws.com"), conditions: sourceAccount}
	default: // CloudFront, which says for which distribution it reads
		return &statement{
			sid: "CloudFront", actions: []string{"kms:Decrypt"}, principals: service("cloudfront.amazonaws.com"),
			conditions: map[string]any{"ArnLike": map[string]any{
				"aws:SourceArn": "arn:" + partition + ":cloudfront::" + account + ":distribution/*",
			}},
		}
	}
}

func service(name string) []awsiam.IPrincipal {
	return []awsiam.IPrincipal{awsiam.NewServicePrincipal(&name, nil)}
}

type statement struct {
	sid        string
	actions    []string
	principals []awsiam.IPrincipal
	conditions map[string]any
}

func (s *statement) build() awsiam.PolicyStatement {
	props := &awsiam.PolicyStatementProps{
		Sid:        &s.sid,
		Actions:    cdkx.Strings(s.actions...),
		Principals: &s.principals,
		// In a key policy the star is the key itself.
		Resources: cdkx.Strings("*"),
	}
	if s.conditions != nil {
		props.Conditions = &s.conditions
	}
	return awsiam.NewPolicyStatement(props)
}

// ARN of the key.
func (k *Key) ARN() string { return k.arn }

// GrantDecrypt lets an identity decrypt.
func (k *Key) GrantDecrypt(to awsiam.IGrantable) awsiam.Grant { return k.Key.GrantDecrypt(to) }

// GrantEncrypt lets an identity encrypt.
func (k *Key) GrantEncrypt(to awsiam.IGrantable) awsiam.Grant { return k.Key.GrantEncrypt(to) }

// GrantEncryptDecrypt lets an identity encrypt and decrypt, as sending to an
// encrypted queue and receiving from it together need.
func (k *Key) GrantEncryptDecrypt(to awsiam.IGrantable) awsiam.Grant {
	return k.Key.GrantEncryptDecrypt(to)
}
