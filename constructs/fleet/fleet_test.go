package fleet_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

const program = "the program"

func artifact(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	require.NoError(t, os.WriteFile(path, []byte(program), 0o755))
	return path
}

// setup is a stack with a VPC and the Props of a worker fleet in it.
func setup(t *testing.T) (awscdk.Stack, fleet.Props) {
	t.Helper()
	stack := cdktest.Stack(t)
	return stack, fleet.Props{
		VPC:          awsec2.NewVpc(stack, new("Vpc"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)}),
		Environment:  "dev",
		Fleet:        contract.FleetWorker,
		Color:        contract.ColorBlue,
		Command:      "work",
		ArtifactPath: artifact(t),
	}
}

// web is setup for a fleet behind a load balancer.
func web(t *testing.T) (awscdk.Stack, fleet.Props) {
	t.Helper()
	stack, props := setup(t)
	props.Fleet, props.Command = contract.FleetWeb, "serve"
	targets := elb.NewApplicationTargetGroup(stack, new("Targets"), &elb.ApplicationTargetGroupProps{
		Vpc: props.VPC, Port: cdkx.Number(contract.AppPort), Protocol: elb.ApplicationProtocol_HTTP, TargetType: elb.TargetType_INSTANCE,
	})
	elb.NewApplicationLoadBalancer(stack, new("Balancer"), &elb.ApplicationLoadBalancerProps{Vpc: props.VPC}).
		AddListener(new("Listener"), &elb.BaseApplicationListenerProps{
			Port: cdkx.Number(80), Open: new(false), DefaultAction: elb.ListenerAction_FixedResponse(cdkx.Number(403), nil),
		}).
		AddAction(new("Rule"), &elb.AddApplicationActionProps{
			Priority:   cdkx.Number(1),
			Conditions: &[]elb.ListenerCondition{elb.ListenerCondition_PathPatterns(cdkx.Strings("/*"))},
			Action:     elb.ListenerAction_Forward(&[]elb.IApplicationTargetGroup{targets}, nil),
		})
	props.TargetGroup = targets
	return stack, props
}

func has(t assertions.Template, kind string, properties map[string]any) {
	t.HasResourceProperties(&kind, properties)
}

func like(properties map[string]any) assertions.Matcher {
	return assertions.Match_ObjectLike(&properties)
}

func TestGroupDefaults(t *testing.T) {
	stack, props := web(t)
	fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)

	has(template, "AWS::AutoScaling::AutoScalingGroup", map[string]any{
		"AutoScalingGroupName":   "loadbearing-dev-web-blue",
		"MinSize":                "2",
		"DesiredCapacity":        "2",
		"MaxSize":                "6",
		"CapacityRebalance":      true,
		"HealthCheckType":        "ELB",
		"HealthCheckGracePeriod": 120,
		"DefaultInstanceWarmup":  60,
		"TerminationPolicies":    []string{"OldestLaunchTemplate", "OldestInstance"},
		"MetricsCollection":      []any{map[string]any{"Granularity": "1Minute"}},
		"TargetGroupARNs":        assertions.Match_AnyValue(),
		"Tags": []any{
			map[string]any{"Key": fleet.TagColor, "Value": "blue", "PropagateAtLaunch": true},
			map[string]any{"Key": fleet.TagEnvironment, "Value": "dev", "PropagateAtLaunch": true},
			map[string]any{"Key": fleet.TagFleet, "Value": "web", "PropagateAtLaunch": true},
		},
	})
	template.HasResource(new("AWS::AutoScaling::AutoScalingGroup"), map[string]any{
		"CreationPolicy": map[string]any{
			"AutoScalingCreationPolicy": map[string]any{"MinSuccessfulInstancesPercent": 100},
			"ResourceSignal":            map[string]any{"Count": 2, "Timeout": "PT6M"},
		},
		"UpdatePolicy": map[string]any{
			"AutoScalingRollingUpdate": like(map[string]any{
				"MaxBatchSize":                  1,
				"MinInstancesInService":         2,
				"MinSuccessfulInstancesPercent": 100,
				"PauseTime":                     "PT6M",
				"WaitOnResourceSignals":         true,
				"SuspendProcesses": []string{
					"HealthCheck", "ReplaceUnhealthy", "AZRebalance", "AlarmNotification", "ScheduledActions", "InstanceRefresh",
				},
			}),
			"AutoScalingScheduledAction": map[string]any{"IgnoreUnmodifiedGroupSizeProperties": true},
		},
	})
	has(template, "AWS::AutoScaling::LifecycleHook", map[string]any{
		"LifecycleHookName":   "drain",
		"LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
		"DefaultResult":       "CONTINUE",
		"HeartbeatTimeout":    150,
	})
}

func TestLaunchTemplateDefaults(t *testing.T) {
	stack, props := setup(t)
	fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)

	has(template, "AWS::EC2::LaunchTemplate", map[string]any{"LaunchTemplateData": like(map[string]any{
		"InstanceType":    "c7g.large",
		"EbsOptimized":    true,
		"Monitoring":      map[string]any{"Enabled": true},
		"MetadataOptions": map[string]any{"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
		"NetworkInterfaces": []any{map[string]any{
			"AssociatePublicIpAddress": false, "DeviceIndex": 0, "Groups": []any{assertions.Match_AnyValue()},
		}},
		"BlockDeviceMappings": []any{map[string]any{
			"DeviceName": "/dev/xvda",
			"Ebs":        map[string]any{"Encrypted": true, "VolumeType": "gp3", "VolumeSize": 20, "DeleteOnTermination": true},
		}},
	})})
	template.HasParameter(new("*"), map[string]any{
		"Type":    "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>",
		"Default": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
	})
	has(template, "AWS::AutoScaling::AutoScalingGroup", map[string]any{"HealthCheckType": "EC2"})
}

func TestImageFollowsTheProcessor(t *testing.T) {
	stack, props := setup(t)
	props.InstanceType = "t3.small"
	fleet.New(stack, "Worker", props)
	cdktest.Template(stack).HasParameter(new("*"), map[string]any{
		"Default": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
	})
}

func TestStandbyIsEmptyAndWaitsForNoSignal(t *testing.T) {
	stack, props := setup(t)
	props.Standby, props.MaxCapacity = true, 4
	fleet.New(stack, "Green", props)
	cdktest.Template(stack).HasResource(new("AWS::AutoScaling::AutoScalingGroup"), map[string]any{
		"CreationPolicy": assertions.Match_Absent(),
		"Properties":     like(map[string]any{"MinSize": "0", "DesiredCapacity": "0", "MaxSize": "4"}),
		"UpdatePolicy": like(map[string]any{
			"AutoScalingRollingUpdate": like(map[string]any{"MinInstancesInService": 0}),
		}),
	})
}

func TestParameterNamesTheArtifact(t *testing.T) {
	stack, props := setup(t)
	fleet.New(stack, "Worker", props)
	found := *cdktest.Template(stack).FindResources(new("AWS::SSM::Parameter"), map[string]any{
		"Properties": map[string]any{"Name": contract.ArtifactParameter("dev", "worker", "blue"), "Type": "String"},
	})
	require.Len(t, found, 1)
	for _, parameter := range found {
		value := plain(t, (*parameter)["Properties"].(map[string]any)["Value"])
		var got contract.Artifact
		require.NoError(t, json.Unmarshal([]byte(value), &got))
		sum := sha256.Sum256([]byte(program))
		require.Equal(t, hex.EncodeToString(sum[:]), got.SHA256)
		require.NotEmpty(t, got.Key)
		require.Contains(t, got.Bucket, "AWS::AccountId")
	}
}

func TestRoleMayBootAndDrainAndNothingElse(t *testing.T) {
	stack, props := web(t)
	fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	has(template, "AWS::IAM::Role", map[string]any{
		"AssumeRolePolicyDocument": like(map[string]any{"Statement": []any{like(map[string]any{
			"Principal": map[string]any{"Service": "ec2.amazonaws.com"},
		})}}),
		"ManagedPolicyArns": assertions.Match_Absent(),
	})
	resources := map[string]string{}
	for _, statement := range statements(t, template, nil) {
		for _, action := range list(statement["Action"]) {
			resources[action.(string)] = plain(t, statement["Resource"])
		}
		if plain(t, statement["Action"]) == "cloudwatch:PutMetricData" {
			require.Equal(t, map[string]any{"StringEquals": map[string]any{"cloudwatch:namespace": []any{"Loadbearing", "CWAgent"}}},
				statement["Condition"])
		}
	}
	var everywhere []string
	for action, resource := range resources {
		if resource == "*" {
			everywhere = append(everywhere, action)
		}
	}
	require.ElementsMatch(t, []string{
		"cloudwatch:PutMetricData", "elasticloadbalancing:DescribeTargetHealth", "ssm:UpdateInstanceInformation",
		"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
		"ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
	}, everywhere)
	require.ElementsMatch(t, []string{
		"autoscaling:CompleteLifecycleAction", "cloudformation:SignalResource",
		"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents", "s3:GetObject", "ssm:GetParameter",
	}, slices.DeleteFunc(slices.Collect(maps.Keys(resources)), func(action string) bool { return slices.Contains(everywhere, action) }))
	require.False(t, strings.HasSuffix(resources["s3:GetObject"], "*"), resources["s3:GetObject"])
	require.True(t, strings.HasSuffix(resources["autoscaling:CompleteLifecycleAction"],
		":autoScalingGroup:*:autoScalingGroupName/loadbearing-dev-web-blue"))
	require.Regexp(t, `^{"Fn::GetAtt":\["WebLogs\w+","Arn"\]}$`, resources["logs:PutLogEvents"])
}

func TestGroupWaitsForRoleAndListenerRule(t *testing.T) {
	stack, props := web(t)
	fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	for _, group := range *template.FindResources(new("AWS::AutoScaling::AutoScalingGroup"), nil) {
		after := (*group)["DependsOn"].([]any)
		for _, kind := range []string{"AWS::IAM::Policy", "AWS::ElasticLoadBalancingV2::ListenerRule"} {
			for id := range *template.FindResources(&kind, nil) {
				require.Contains(t, after, id, kind)
			}
		}
	}
}

func TestUserData(t *testing.T) {
	stack, props := web(t)
	props.Variables = map[string]string{"GOMEMLIMIT": "512MiB"}
	props.CABundleURL = "https://truststore.example.com/bundle.pem"
	fleet.New(stack, "Web", props)
	text := userData(t, stack)
	syntax(t, text)
	require.Less(t, len(text), 16<<10, "EC2 limits user data to 16 KiB")

	_, rest, found := strings.Cut(text, "\n"+contract.EnvFileBegin+"\n")
	require.True(t, found)
	env, _, found := strings.Cut(rest, "\n"+contract.EnvFileEnd+"\n")
	require.True(t, found)
	require.Equal(t, []string{
		"GOMEMLIMIT=512MiB",
		"LOADBEARING_COLOR=blue",
		"LOADBEARING_COMMAND=serve",
		"LOADBEARING_ENV=dev",
		"LOADBEARING_FLEET=web",
		"LOADBEARING_GROUP=loadbearing-dev-web-blue",
		"LOADBEARING_HTTP_ADDR=:8080",
		"LOADBEARING_METRICS_ADDR=127.0.0.1:9090",
	}, strings.Split(env, "\n"))

	for group := range *cdktest.Template(stack).FindResources(new("AWS::AutoScaling::AutoScalingGroup"), nil) {
		require.Contains(t, text, "--stack 'Test' --resource '"+group+"'")
	}
	require.True(t, strings.HasPrefix(text, "#!/bin/bash\n"))
	for _, part := range []string{
		"set -euo pipefail",
		"trap finish EXIT",
		"readonly limit=300",
		"aws ssm get-parameter --name '/loadbearing/dev/web/blue/artifact'",
		"sha256sum --check --strict",
		"ExecStart=/opt/loadbearing/app serve\n",
		"TimeoutStopSec=120\n",
		"NoNewPrivileges=yes\n", "ProtectSystem=strict\n", "DynamicUser=yes\n", "Restart=always\n", "LimitNOFILE=",
		"--auto-scaling-group-name 'loadbearing-dev-web-blue'", "complete 'drain'",
		"describe-target-health --target-group-arn '{\"Ref\":",
		"'https://truststore.example.com/bundle.pem'",
		"LOADBEARING_CA_FILE=/etc/loadbearing/ca.pem",
	} {
		require.Contains(t, text, part)
	}
}

func TestUserDataWithoutTargetGroupWaitsForReadiness(t *testing.T) {
	stack, props := setup(t)
	fleet.New(stack, "Worker", props)
	text := userData(t, stack)
	syntax(t, text)
	require.Contains(t, text, "LOADBEARING_HTTP_ADDR=127.0.0.1:8080\n")
	require.Contains(t, text, "http://127.0.0.1:8080/readyz")
	require.NotContains(t, text, "describe-target-health")
	require.NotContains(t, text, "LOADBEARING_CA_FILE")
}

func TestSecurityGroupAdmitsOnlyTheLoadBalancer(t *testing.T) {
	stack, props := web(t)
	f := fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	has(template, "AWS::EC2::SecurityGroupIngress", map[string]any{
		"FromPort": 8080, "ToPort": 8080, "IpProtocol": "tcp",
		"GroupId": stack.Resolve(f.SecurityGroup.SecurityGroupId()),
	})
	template.ResourceCountIs(new("AWS::EC2::SecurityGroupIngress"), cdkx.Number(1))
}

func TestMemberOfAdmitsNobodyElsewhere(t *testing.T) {
	stack, props := web(t)
	clients := awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: props.VPC})
	props.MemberOf = []awsec2.ISecurityGroup{clients}
	f := fleet.New(stack, "Web", props)
	template := cdktest.Template(stack)
	has(template, "AWS::EC2::LaunchTemplate", map[string]any{"LaunchTemplateData": like(map[string]any{
		"NetworkInterfaces": []any{like(map[string]any{
			"Groups": []any{stack.Resolve(f.SecurityGroup.SecurityGroupId()), stack.Resolve(clients.SecurityGroupId())},
		})},
	})})
	template.ResourceCountIs(new("AWS::EC2::SecurityGroupIngress"), cdkx.Number(1))
	has(template, "AWS::EC2::SecurityGroupIngress", map[string]any{"GroupId": stack.Resolve(f.SecurityGroup.SecurityGroupId())})
}

func TestExistingRoleAndSecurityGroupAreUsed(t *testing.T) {
	stack, props := setup(t)
	props.SecurityGroup = awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Group"), new("sg-0123456789abcdef0"), nil)
	props.Role = awsiam.NewRole(stack, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil)})
	fleet.New(stack, "Worker", props)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::IAM::Role"), cdkx.Number(1))
	template.ResourceCountIs(new("AWS::EC2::SecurityGroup"), cdkx.Number(0))
	has(template, "AWS::EC2::LaunchTemplate", map[string]any{
		"LaunchTemplateData": like(map[string]any{"NetworkInterfaces": []any{like(map[string]any{"Groups": []string{"sg-0123456789abcdef0"}})}}),
	})
}

func TestWarnsOfAnotherProcessor(t *testing.T) {
	stack, props := setup(t)
	self, err := os.Executable() // an ELF file of this machine's processor
	require.NoError(t, err)
	props.ArtifactPath = self
	for _, instanceType := range []string{"t3.small", "t4g.small"} {
		props.InstanceType, props.Color = instanceType, strings.TrimSuffix(instanceType, ".small")
		fleet.New(stack, props.Color, props)
	}
	warnings := *assertions.Annotations_FromStack(stack).FindWarning(new("*"), assertions.Match_StringLikeRegexp(new("cannot run it")))
	require.Len(t, warnings, 1)
}

func TestPropsAreNotWrittenTo(t *testing.T) {
	stack, props := web(t)
	props.Variables = map[string]string{"A": "1"}
	props.InstanceTypes = append(make([]string, 0, 4), "c6g.large")
	props.MemberOf = append(make([]awsec2.ISecurityGroup, 0, 4), awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: props.VPC}))
	props.Schedule = append(make([]fleet.ScheduledFloor, 0, 4), fleet.ScheduledFloor{Name: "Morning", Cron: "0 7 * * *", Min: 3})
	props.WarmPool.MinSize = 1
	cdktest.Unchanged(t, props, func(p fleet.Props) { fleet.New(stack, "Web", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack, props := setup(t)
	fleet.New(stack, "Blue", props)
	props.Color = contract.ColorGreen
	fleet.New(stack, "Green", props)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::AutoScaling::AutoScalingGroup"), cdkx.Number(2))
	has(template, "AWS::AutoScaling::AutoScalingGroup", map[string]any{"AutoScalingGroupName": "loadbearing-dev-worker-green"})
}

func TestGolden(t *testing.T) {
	stack, props := web(t)
	fleet.New(stack, "Web", props)
	cdktest.Golden(t, stack, "fleet")
}

func TestNewPanicsWithThePath(t *testing.T) {
	stack, props := setup(t)
	props.Command = ""
	err := cdktest.Panic[*fleet.PropsError](t, func() { fleet.New(stack, "Web", props) })
	require.EqualError(t, err, `Test/Web (fleet): Command is ""; allowed: 1 to 32 lower-case letters, digits and hyphens, a letter first`)
}

// statements are those of the policies that have such properties.
func statements(t *testing.T, template assertions.Template, properties map[string]any) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, policy := range *template.FindResources(new("AWS::IAM::Policy"), map[string]any{"Properties": properties}) {
		document := (*policy)["Properties"].(map[string]any)["PolicyDocument"].(map[string]any)
		for _, each := range document["Statement"].([]any) {
			all = append(all, each.(map[string]any))
		}
	}
	require.NotEmpty(t, all)
	return all
}

// list is a value that CloudFormation writes without a list when there is only one.
func list(value any) []any {
	if values, ok := value.([]any); ok {
		return values
	}
	return []any{value}
}

// userData is the script in the stack's only launch template, with each value
// that CloudFormation fills in as its JSON.
func userData(t *testing.T, stack awscdk.Stack) string {
	t.Helper()
	for _, template := range *cdktest.Template(stack).FindResources(new("AWS::EC2::LaunchTemplate"), nil) {
		data := (*template)["Properties"].(map[string]any)["LaunchTemplateData"].(map[string]any)
		return plain(t, data["UserData"].(map[string]any)["Fn::Base64"])
	}
	t.Fatal("no launch template")
	return ""
}

// plain joins Fn::Join and Fn::Sub, and writes what stays unknown as JSON.
func plain(t *testing.T, value any) string {
	t.Helper()
	switch value := value.(type) {
	case string:
		return value
	case map[string]any:
		if join, ok := value["Fn::Join"].([]any); ok {
			var text strings.Builder
			for _, part := range join[1].([]any) {
				text.WriteString(plain(t, part))
			}
			return text.String()
		}
		if sub, ok := value["Fn::Sub"].(string); ok && len(slices.Collect(maps.Keys(value))) == 1 {
			return sub
		}
	}
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return string(text)
}

// syntax has bash read the script without running it.
func syntax(t *testing.T, script string) {
	t.Helper()
	bash := exec.CommandContext(t.Context(), "bash", "-n")
	bash.Stdin = strings.NewReader(script)
	output, err := bash.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Empty(t, string(output))
}
