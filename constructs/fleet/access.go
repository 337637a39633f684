package fleet

import (
	"maps"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Actions of the instances that have no resource-level permission, or name a
// resource that does not exist before it is used.
var (
	// What Session Manager needs ("Verify or add instance permissions for
	// Session Manager", Systems Manager user guide). The managed policy
	// AmazonSSMManagedInstanceCore also reads every parameter of the account.
	sessionActions = []string{
		"ssm:UpdateInstanceInformation",
		"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
		"ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
	}
	logActions = []string{"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"}
)

// grantInstance lets the instances boot, drain, be reached and say how they are.
func (f *Fleet) grantInstance() {
	cdkx.Allow(f.Role, "*", sessionActions...)
	cdkx.Allow(f.Role, *f.Artifact.Bucket().ArnForObjects(f.Artifact.S3ObjectKey()), "s3:GetObject")
	cdkx.Allow(f.Role, *f.Parameter.ParameterArn(), "ssm:GetParameter")
	cdkx.Allow(f.Role, f.groupARN(), "autoscaling:CompleteLifecycleAction")
	if f.props.TargetGroup != nil {
		cdkx.Allow(f.Role, "*", "elasticloadbalancing:DescribeTargetHealth")
	}
	namespaces := []string{contract.MetricNamespace}
	if !f.props.NoAgent {
		cdkx.Allow(f.Role, *f.LogGroup.LogGroupArn(), logActions...)
		namespaces = append(namespaces, agentNamespace)
	}
	f.Role.AddToPrincipalPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Actions:    cdkx.Strings("cloudwatch:PutMetricData"),
		Resources:  cdkx.Strings("*"),
		Conditions: &map[string]any{"StringEquals": map[string]any{"cloudwatch:namespace": namespaces}},
	}))
	cdkx.AcknowledgePolicy(f.Role, "Session Manager's channels, target health and metrics have no resource-level permission: "+
		"a channel is for the instance that asks only, health is read-only, metrics are bound to the fleet's namespaces by a condition. "+
		"A group's ARN has an id that only AWS knows before its name; the name is whole.",
		"Resource::*", cdkx.Finding(f.stack, f.groupARN()))
}

// groupARN is made from the name, because the group's own would make the role
// depend on the group that depends on it.
func (f *Fleet) groupARN() string {
	return *f.stack.FormatArn(&awscdk.ArnComponents{
		Service:      new("autoscaling"),
		Resource:     new("autoScalingGroup:*:autoScalingGroupName"),
		ResourceName: &f.props.GroupName,
		ArnFormat:    awscdk.ArnFormat_SLASH_RESOURCE_NAME,
	})
}

// GrantRelease lets an identity release to this fleet: say which artifact it runs,
// change the group's bounds and size, replace its instances, pause its policies and
// carry its scheduled actions over, and look at all of it. UpdateAutoScalingGroup
// may change sizes only: it could not pass a role or a launch template on.
func (f *Fleet) GrantRelease(to awsiam.IGrantable) awsiam.Grant {
	cdkx.Allow(to, *f.Parameter.ParameterArn(), "ssm:GetParameter", "ssm:PutParameter")
	cdkx.Allow(to, f.groupARN(),
		"autoscaling:UpdateAutoScalingGroup", "autoscaling:PutScheduledUpdateGroupAction",
		"autoscaling:StartInstanceRefresh", "autoscaling:CancelInstanceRefresh",
		"autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses")
	grant := cdkx.Allow(to, "*",
		"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes",
		"autoscaling:DescribeScheduledActions",
		"elasticloadbalancing:DescribeTargetHealth")
	if role, ok := to.GrantPrincipal().(awsiam.IRole); ok {
		cdkx.AcknowledgePolicy(role, "What a release looks at has no resource-level permission; it is read-only. "+
			"A group's ARN has an id that only AWS knows before its name; the name is whole.",
			"Resource::*", cdkx.Finding(f.stack, f.groupARN()))
	}
	return grant
}

// GrantReadArtifacts lets instances install artifacts from a bucket, below a prefix
// such as "releases/": one that a release writes to, beside the bucket of CDK assets.
func (f *Fleet) GrantReadArtifacts(bucket awss3.IBucket, prefix string) awsiam.Grant {
	objects := *bucket.ArnForObjects(new(prefix + "*"))
	grant := cdkx.Allow(f.Role, objects, "s3:GetObject")
	if key := bucket.EncryptionKey(); key != nil {
		cdkx.Allow(f.Role, *key.KeyArn(), "kms:Decrypt")
	}
	cdkx.AcknowledgePolicy(f.Role, "Which artifact of the release bucket is next is not known before its release; "+
		"an instance runs none whose SHA-256 is not the one in its parameter.", cdkx.Finding(f.stack, objects))
	return grant
}

// allowServices lets AWS use the keys of this app that the fleet needs it to use.
// A key's policy is left alone when it is not the app's own. No statement names
// what this stack makes: the key may stand in an earlier one.
func (f *Fleet) allowServices() {
	if key := f.props.Key; key != nil {
		f.allowAutoScaling(key, nil, "kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*")
		f.allowAutoScaling(key, map[string]any{"Bool": map[string]any{"kms:GrantIsForAWSResource": true}}, "kms:CreateGrant")
		groups := *f.stack.FormatArn(&awscdk.ArnComponents{
			Service: new("logs"), Resource: new("log-group"), ResourceName: new("*"), ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
		})
		extend(key, awsiam.NewServicePrincipal(new("logs."+*f.stack.Region()+".amazonaws.com"), nil),
			map[string]any{"ArnLike": map[string]any{"kms:EncryptionContext:aws:logs:arn": groups}},
			"kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*")
	}
	if topic := f.props.Notifications; topic != nil {
		if key := topic.MasterKey(); key != nil {
			f.allowAutoScaling(key, nil, "kms:Decrypt", "kms:GenerateDataKey*")
		}
	}
}

// allowAutoScaling names the service-linked role in a condition: as a principal it
// would have to exist, which it does only after the account's first group.
func (f *Fleet) allowAutoScaling(key awskms.IKey, conditions map[string]any, actions ...string) {
	role := *f.stack.FormatArn(&awscdk.ArnComponents{
		Service: new("iam"), Region: new(""), Resource: new("role"),
		ResourceName: new("aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"),
	})
	all := map[string]any{"ArnEquals": map[string]any{"aws:PrincipalArn": role}}
	maps.Copy(all, conditions)
	extend(key, awsiam.NewAnyPrincipal(), all, actions...)
}

func extend(key awskms.IKey, who awsiam.IPrincipal, conditions map[string]any, actions ...string) {
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: &[]awsiam.IPrincipal{who},
		Actions:    cdkx.Strings(actions...),
		Resources:  cdkx.Strings("*"), // in a key's policy: that key
		Conditions: &conditions,
	}), new(true))
}
