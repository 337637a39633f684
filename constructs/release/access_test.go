package release_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/release"
)

// What each function may do and to what. Weights are moved by two of them, groups
// by one, and what instances run is said by that one and by Recover.
func TestLeastPrivilege(t *testing.T) {
	stack := cdktest.Stack(t)
	r := release.New(stack, "Release", setup(t, stack))
	traces := []string{"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
	look := append([]string{
		"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScheduledActions",
		"cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData",
		"elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth",
	}, traces...)
	size := []string{
		"autoscaling:CancelInstanceRefresh", "autoscaling:PutScheduledUpdateGroupAction", "autoscaling:ResumeProcesses",
		"autoscaling:StartInstanceRefresh", "autoscaling:SuspendProcesses", "autoscaling:UpdateAutoScalingGroup",
	}
	read, write := []string{"ssm:GetParameter"}, []string{"ssm:GetParameter", "ssm:PutParameter"}
	// Of every function.
	base := func(logs string, more map[string][]string) map[string][]string {
		more["Release/"+logs+"/Logs.Arn"] = []string{"logs:CreateLogStream", "logs:PutLogEvents"}
		more["parameter/loadbearing/dev/web/release/target"] = read
		return more
	}
	// Of those that run tasks.
	task := func(logs string, more map[string][]string) map[string][]string {
		more["*"], more["parameterRelease/State"], more["parameterRelease/Command"] = look, write, read
		more["event-bus/default"] = []string{"events:PutEvents"}
		return base(logs, more)
	}
	weights := []string{"elasticloadbalancing:ModifyRule"}
	for name, want := range map[string]map[string][]string{
		release.Control: task("Control", map[string][]string{
			"autoScalingGroup:*:autoScalingGroupName/loadbearing-dev-web-blue": size, "autoScalingGroup:*:autoScalingGroupName/loadbearing-dev-web-green": size,
			"parameterwebBlue/Parameter": write, "parameterwebGreen/Parameter": write,
		}),
		release.Shift:   task("Shift", map[string][]string{"webBalancer/Rule": weights}),
		release.Analyze: task("Analyze", map[string][]string{}),
		release.Recover: base("Recover", map[string][]string{
			"*":                          append([]string{"elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth"}, traces...),
			"webBalancer/Rule":           weights,
			"parameterRelease/State":     read,
			"parameterwebBlue/Parameter": write, "parameterwebGreen/Parameter": write,
			"Release/Machine":                         {"states:StartExecution"},
			"execution:loadbearing-dev-web-release:*": {"states:DescribeExecution"},
		}),
	} {
		require.Equal(t, want, actions(t, stack, r.Functions[name].Role), name)
	}
	machine := actions(t, stack, r.Role)
	delete(machine, "*") // X-Ray and the delivery of logs
	require.Equal(t, map[string][]string{
		"Release/Control/Function.Arn": {"lambda:InvokeFunction"},
		"Release/Shift/Function.Arn":   {"lambda:InvokeFunction"},
		"Release/Analyze/Function.Arn": {"lambda:InvokeFunction"},
	}, machine)
}

func TestGrantOperate(t *testing.T) {
	stack := cdktest.Stack(t)
	props := setup(t, stack)
	props.Key = awskms.NewKey(stack, new("Key"), nil)
	r := release.New(stack, "Release", props)
	role := awsiam.NewRole(stack, new("Operator"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()})
	r.GrantOperate(role)
	read := []string{"ssm:GetParameter"}
	require.Equal(t, map[string][]string{
		"*": {
			"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScheduledActions",
			"cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData",
			"elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth",
		},
		"Release/Machine":                         {"states:ListExecutions", "states:StartExecution"},
		"execution:loadbearing-dev-web-release:*": {"states:DescribeExecution"},
		"parameterRelease/Target":                 read,
		"parameterRelease/State":                  read,
		"parameterRelease/Command":                {"ssm:GetParameter", "ssm:PutParameter"},
		"parameterwebBlue/Parameter":              read,
		"parameterwebGreen/Parameter":             read,
		"Release/Artifacts.Arn":                   {"s3:ListBucket"},
		"Release/Artifacts.Arn/releases/*":        {"s3:GetObject", "s3:PutObject"},
		"Key.Arn":                                 {"kms:Decrypt", "kms:GenerateDataKey"},
	}, actions(t, stack, role))
	bucket := *stack.GetLogicalId(r.Artifacts.Node().DefaultChild().(awscdk.CfnElement))
	require.ElementsMatch(t, []string{
		"AwsSolutions-IAM5[Resource::*]",
		"AwsSolutions-IAM5[Resource::<" + bucket + ".Arn>/releases/*]",
		"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:loadbearing-dev-web-release:*]",
		"HIPAA.Security-IAMNoInlinePolicy", "NIST.800.53.R5-IAMNoInlinePolicy", "PCI.DSS.321-IAMNoInlinePolicy",
	}, acknowledged(t, role.Node().TryFindChild(new("DefaultPolicy"))))

	user := awsiam.NewUser(stack, new("Person"), nil) // no role, and so nothing to acknowledge
	require.NotPanics(t, func() { r.GrantOperate(user) })
}

// actions are what a role may do, by what it may do it to: the last part of an
// ARN, with construct paths in it.
func actions(t *testing.T, stack awscdk.Stack, of awsiam.IRole) map[string][]string {
	t.Helper()
	may, names := map[string][]string{}, paths(stack)
	kind := "AWS::IAM::Policy"
	for _, policy := range *cdktest.Template(stack).FindResources(&kind, map[string]any{"Properties": map[string]any{
		"Roles": []any{stack.Resolve(of.RoleName())},
	}}) {
		for _, each := range (*policy)["Properties"].(map[string]any)["PolicyDocument"].(map[string]any)["Statement"].([]any) {
			statement := each.(map[string]any)
			require.Equal(t, "Allow", statement["Effect"])
			for _, resource := range list(statement["Resource"]) {
				name := names.Replace(flat(resource))
				if _, after, found := strings.Cut(name, ":<AWS::AccountId>:"); found {
					name = after
				}
				for _, action := range list(statement["Action"]) {
					may[name] = append(may[name], action.(string))
				}
			}
		}
	}
	for _, list := range may {
		slices.Sort(list)
	}
	return may
}

func list(v any) []any {
	if all, ok := v.([]any); ok {
		return all
	}
	return []any{v}
}

// paths replaces the ids of a template's resources with their construct paths.
func paths(stack awscdk.Stack) *strings.Replacer {
	var pairs []string
	for _, child := range *stack.Node().FindAll(constructs.ConstructOrder_PREORDER) {
		if element, ok := child.(awscdk.CfnElement); ok {
			path := strings.TrimPrefix(*element.Node().Path(), *stack.Node().Path()+"/")
			pairs = append(pairs, "<"+*stack.GetLogicalId(element)+">", strings.TrimSuffix(path, "/Resource"))
		}
	}
	return strings.NewReplacer(pairs...)
}

func flat(value any) string {
	switch value := value.(type) {
	case map[string]any:
		if name, ok := value["Ref"].(string); ok {
			return "<" + name + ">"
		}
		if path, ok := value["Fn::GetAtt"].([]any); ok {
			return "<" + path[0].(string) + ">." + path[1].(string)
		}
		if join, ok := value["Fn::Join"].([]any); ok {
			var text strings.Builder
			for _, part := range join[1].([]any) {
				text.WriteString(flat(part))
			}
			return text.String()
		}
	case string:
		return value
	}
	return ""
}

// acknowledged are the rules of cdk-nag that the resource says something about,
// with their findings.
func acknowledged(t *testing.T, of constructs.IConstruct) []string {
	t.Helper()
	metadata, _ := of.Node().DefaultChild().(awscdk.CfnResource).GetMetadata(new("cdk_nag")).(map[string]any)
	list, _ := metadata["rules_to_suppress"].([]any)
	var rules []string
	for _, each := range list {
		rule := each.(map[string]any)
		name := rule["id"].(string)
		if findings, ok := rule["applies_to"].([]any); ok {
			name += "[" + findings[0].(string) + "]"
		}
		rules = append(rules, name)
	}
	return rules
}
