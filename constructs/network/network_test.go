package network_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	n := network.New(stack, "Network", network.Props{})
	template := cdktest.Template(stack)

	template.ResourceCountIs(new("AWS::EC2::Subnet"), new(9.0))
	template.ResourceCountIs(new("AWS::EC2::NatGateway"), new(3.0))
	template.HasResourceProperties(new("AWS::EC2::Subnet"), map[string]any{
		"AvailabilityZone":    map[string]any{"Fn::Select": []any{2, map[string]any{"Fn::GetAZs": ""}}},
		"MapPublicIpOnLaunch": false,
	})
	template.AllResourcesProperties(new("AWS::EC2::Subnet"), map[string]any{"MapPublicIpOnLaunch": false})
	// Six interface endpoints and the gateway endpoint for S3.
	template.ResourceCountIs(new("AWS::EC2::VPCEndpoint"), new(7.0))
	template.HasResourceProperties(new("AWS::EC2::FlowLog"), map[string]any{"TrafficType": "ALL"})
	template.HasResourceProperties(new("AWS::Logs::LogGroup"), map[string]any{"RetentionInDays": 30})
	template.ResourceCountIs(new("AWS::CloudWatch::Alarm"), new(4.0))
	template.ResourceCountIs(new("Custom::VpcRestrictDefaultSG"), new(0.0))
	template.ResourceCountIs(new("AWS::Lambda::Function"), new(0.0))

	require.Len(t, n.Endpoints, 6)
	require.Len(t, n.Alarms(), 4)
	require.Len(t, n.Widgets(), 3)
	require.Equal(t, *n.VPC.VpcId(), n.ID())
	require.NotNil(t, n.FlowLogs)
	require.NotNil(t, n.EndpointSecurity)
	for name, subnets := range map[string]*awsec2.SubnetSelection{
		"public": n.Public(), "private": n.Private(), "isolated": n.Isolated(),
	} {
		require.Len(t, *n.VPC.SelectSubnets(subnets).SubnetIds, 3, name)
	}
}

func TestEndpointsAreReachedFromTheVPCOnly(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{Endpoints: []string{"sqs"}})
	cdktest.Template(stack).HasResourceProperties(new("AWS::EC2::SecurityGroup"), map[string]any{
		"SecurityGroupIngress": []any{map[string]any{
			"CidrIp":      "10.0.0.0/16",
			"Description": "HTTPS from inside the VPC",
			"FromPort":    443, "ToPort": 443, "IpProtocol": "tcp",
		}},
	})
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{Zones: 2, NATGateways: 1, Endpoints: []string{"sqs"}})
	cdktest.Golden(t, stack, "network")
}

func TestWithoutNAT(t *testing.T) {
	stack := cdktest.Stack(t)
	n := network.New(stack, "Network", network.Props{Zones: 2, NATGateways: network.NoNAT, Endpoints: []string{}, NoFlowLogs: true})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::EC2::NatGateway"), new(0.0))
	template.ResourceCountIs(new("AWS::EC2::FlowLog"), new(0.0))
	template.ResourceCountIs(new("AWS::EC2::VPCEndpoint"), new(1.0))
	private, isolated := *n.VPC.SelectSubnets(n.Private()).SubnetIds, *n.VPC.SelectSubnets(n.Isolated()).SubnetIds
	require.Len(t, private, 2)
	require.Len(t, isolated, 2)
	require.NotEqual(t, *private[0], *isolated[0])
	require.Empty(t, n.Alarms())
	require.Empty(t, n.Widgets())
	require.Nil(t, n.FlowLogs)
}

func TestExistingVPC(t *testing.T) {
	stack := cdktest.Stack(t)
	vpc := awsec2.NewVpc(stack, new("Existing"), &awsec2.VpcProps{RestrictDefaultSecurityGroup: new(false)})
	n := network.New(stack, "Network", network.Props{VPC: vpc, Endpoints: []string{"sns"}})
	require.Equal(t, *vpc.VpcId(), *n.VPC.VpcId())
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::EC2::VPC"), new(1.0))
	template.ResourceCountIs(new("AWS::EC2::VPCEndpoint"), new(1.0))
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{
		Endpoints:        []string{"sqs"},
		Override:         func(p *awsec2.VpcProps) { p.EnableDnsHostnames = new(false) },
		OverrideEndpoint: func(_ string, p *awsec2.InterfaceVpcEndpointProps) { p.PrivateDnsEnabled = new(false) },
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::EC2::VPC"), map[string]any{"EnableDnsHostnames": false})
	template.HasResourceProperties(new("AWS::EC2::VPCEndpoint"), map[string]any{"PrivateDnsEnabled": false})
}

func TestAlarms(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"Namespace": "AWS/NATGateway", "MetricName": "ErrorPortAllocation", "Statistic": "Sum", "Period": 60, "Threshold": 0,
		"EvaluationPeriods": 5, "DatapointsToAlarm": 2,
		"Tags": []any{map[string]any{"Key": "loadbearing:severity", "Value": "critical"}},
	})
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"Threshold": 0, "EvaluationPeriods": 5, "DatapointsToAlarm": 5,
		"Tags": []any{map[string]any{"Key": "loadbearing:severity", "Value": "warning"}},
		"Metrics": assertions.Match_ArrayWith(&[]any{
			assertions.Match_ObjectLike(&map[string]any{"Expression": "SUM(METRICS())"}),
			assertions.Match_ObjectLike(&map[string]any{"Id": "gateway1", "MetricStat": assertions.Match_ObjectLike(&map[string]any{
				"Stat": "Sum", "Metric": assertions.Match_ObjectLike(&map[string]any{"MetricName": "PacketsDropCount"}),
			})}),
			assertions.Match_ObjectLike(&map[string]any{"Id": "gateway2"}),
		}),
	})
}

// acknowledged lists, for each resource of a type, the rules it gives a reason for.
func acknowledged(stack awscdk.Stack, kind string) map[string][]string {
	all := map[string][]string{}
	for id, resource := range *cdktest.Template(stack).FindResources(&kind, nil) {
		all[id] = nil
		metadata, _ := (*resource)["Metadata"].(map[string]any)
		nag, _ := metadata["cdk_nag"].(map[string]any)
		rules, _ := nag["rules_to_suppress"].([]any)
		for _, rule := range rules {
			all[id] = append(all[id], rule.(map[string]any)["id"].(string))
		}
	}
	return all
}

func TestReasons(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{Zones: 2, NATGateways: 1, Endpoints: []string{"sqs"}, DualStack: true})
	for _, rules := range acknowledged(stack, "AWS::EC2::VPC") {
		require.Contains(t, rules, "HIPAA.Security-VPCDefaultSecurityGroupClosed")
	}
	for id, rules := range acknowledged(stack, "AWS::EC2::Subnet") {
		require.Equal(t, strings.Contains(id, "private"), slices.Contains(rules, "HIPAA.Security-VPCSubnetAutoAssignPublicIpDisabled"), id)
	}
	routes := 0
	for id, rules := range acknowledged(stack, "AWS::EC2::Route") {
		if strings.Contains(id, "public") {
			routes++
			require.Contains(t, rules, "HIPAA.Security-VPCNoUnrestrictedRouteToIGW", id)
			continue
		}
		require.Empty(t, rules, id)
	}
	require.Equal(t, 4, routes, "one for IPv4 and one for IPv6 in each zone")
	for id, rules := range acknowledged(stack, "AWS::IAM::Policy") {
		require.Contains(t, rules, "HIPAA.Security-IAMNoInlinePolicy", id)
	}
	for id, rules := range acknowledged(stack, "AWS::EC2::SecurityGroup") {
		require.Empty(t, rules, id)
	}
}

func TestRangeThatOnlyTheDeploymentKnows(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Pool", network.Props{Endpoints: []string{"sqs"}, Override: func(p *awsec2.VpcProps) {
		p.IpAddresses = awsec2.IpAddresses_AwsIpamAllocation(&awsec2.AwsIpamProps{
			Ipv4IpamPoolId: new("ipam-pool-0123456789abcdef0"), Ipv4NetmaskLength: new(16.0), DefaultSubnetIpv4NetmaskLength: new(24.0),
		})
	}})
	for id, rules := range acknowledged(stack, "AWS::EC2::SecurityGroup") {
		require.Equal(t, []string{"AwsSolutions-EC23"}, rules[:1], id)
		require.Len(t, rules, 7, id)
	}
	cdktest.Template(stack).HasResourceProperties(new("AWS::EC2::SecurityGroup"), map[string]any{
		"SecurityGroupIngress": []any{assertions.Match_ObjectLike(&map[string]any{
			"CidrIp": map[string]any{"Fn::GetAtt": []any{assertions.Match_AnyValue(), "CidrBlock"}},
		})},
	})
}

func TestCloseDefaultSecurityGroup(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true, CloseDefaultSecurityGroup: true})
	cdktest.Template(stack).ResourceCountIs(new("Custom::VpcRestrictDefaultSG"), new(1.0))
	for _, rules := range acknowledged(stack, "AWS::EC2::VPC") {
		require.Empty(t, rules)
	}
}

func TestDualStack(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true, DualStack: true})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::EC2::EgressOnlyInternetGateway"), new(1.0))
	template.HasResourceProperties(new("AWS::EC2::VPCCidrBlock"), map[string]any{"AmazonProvidedIpv6CidrBlock": true})
	assigned := 0
	for id, subnet := range *template.FindResources(new("AWS::EC2::Subnet"), nil) {
		properties := (*subnet)["Properties"].(map[string]any)
		require.NotEmpty(t, properties["Ipv6CidrBlock"], id)
		if properties["AssignIpv6AddressOnCreation"] == true {
			require.Contains(t, id, "private")
			assigned++
		}
	}
	require.Equal(t, 2, assigned)
	require.EqualError(t, network.Props{DualStack: true, NATGateways: network.NoNAT}.Validate(),
		"network: DualStack is true; allowed: false with NoNAT: no subnet has a way out")
}

func TestKeyEncryptsLogs(t *testing.T) {
	one, other := cdktest.Stacks(t)
	key := awskms.NewKey(one, new("Key"), nil)
	n := network.New(other, "Network", network.Props{
		Zones: 2, Endpoints: []string{}, DNSQueryLogs: true, Key: awskms.Key_FromKeyArn(one, new("Shared"), key.KeyArn()),
	})
	template := cdktest.Template(other)
	template.AllResourcesProperties(new("AWS::Logs::LogGroup"), map[string]any{
		"KmsKeyId": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("^One:"))}, "RetentionInDays": 30,
	})
	template.ResourceCountIs(new("AWS::Logs::LogGroup"), new(2.0))
	template.HasResourceProperties(new("AWS::Route53Resolver::ResolverQueryLoggingConfig"), map[string]any{
		"DestinationArn": other.Resolve(n.QueryLogs.LogGroupArn()),
	})
	template.HasResourceProperties(new("AWS::Route53Resolver::ResolverQueryLoggingConfigAssociation"), map[string]any{
		"ResourceId": other.Resolve(n.ID()),
	})
}

func TestOwnAccountEndpoints(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{"sqs", "sns"}, OwnAccountEndpoints: true, NoFlowLogs: true})
	closed := 0
	for id, endpoint := range *cdktest.Template(stack).FindResources(new("AWS::EC2::VPCEndpoint"), nil) {
		properties := (*endpoint)["Properties"].(map[string]any)
		if properties["VpcEndpointType"] == "Gateway" {
			require.Nil(t, properties["PolicyDocument"], id)
			continue
		}
		closed++
		require.Equal(t, []any{map[string]any{
			"Sid": "OwnAccount", "Effect": "Allow", "Action": "*", "Resource": "*", "Principal": map[string]any{"AWS": "*"},
			"Condition": map[string]any{"StringEquals": map[string]any{"aws:PrincipalAccount": map[string]any{"Ref": "AWS::AccountId"}}},
		}}, properties["PolicyDocument"].(map[string]any)["Statement"], id)
	}
	require.Equal(t, 2, closed)
}

func attributes() network.Attributes {
	return network.Attributes{
		ID: "vpc-0123456789abcdef0", CIDR: "10.20.0.0/16", Zones: []string{"eu-west-1a", "eu-west-1b"},
		PublicSubnets:   []string{"subnet-01111111", "subnet-02222222"},
		PrivateSubnets:  []string{"subnet-03333333", "subnet-04444444"},
		IsolatedSubnets: []string{"subnet-05555555", "subnet-06666666"},
	}
}

func TestFromAttributes(t *testing.T) {
	stack := cdktest.Stack(t)
	existing := network.FromAttributes(stack, "Network", attributes())
	for first, subnets := range map[string]*awsec2.SubnetSelection{
		"subnet-01111111": existing.Public(), "subnet-03333333": existing.Private(), "subnet-05555555": existing.Isolated(),
	} {
		require.Equal(t, first, *(*existing.VPC.SelectSubnets(subnets).SubnetIds)[0])
	}
	require.Empty(t, existing.Alarms())
	require.Empty(t, existing.Widgets())
	network.New(stack, "Endpoints", network.Props{VPC: existing.VPC, Endpoints: []string{"sqs"}})
	template := cdktest.Template(stack)
	require.Len(t, (*template.ToJSON())["Resources"], 2, "the endpoint and its security group")
	template.HasResourceProperties(new("AWS::EC2::VPCEndpoint"), map[string]any{
		"VpcId": "vpc-0123456789abcdef0", "SubnetIds": []any{"subnet-03333333", "subnet-04444444"},
	})
	template.HasResourceProperties(new("AWS::EC2::SecurityGroup"), map[string]any{
		"SecurityGroupIngress": []any{assertions.Match_ObjectLike(&map[string]any{"CidrIp": "10.20.0.0/16"})},
	})
	require.Empty(t, *assertions.Annotations_FromStack(stack).FindWarning(new("*"), assertions.Match_AnyValue()))
}

func TestAttributesAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, attributes(), func(a network.Attributes) { network.FromAttributes(stack, "Network", a) })
}

func TestFromAttributesOfTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	token := func(id string) string { return cdktest.Token(stack, id) }
	existing := network.FromAttributes(stack, "Network", network.Attributes{
		ID: token("Vpc"), CIDR: token("Range"), Zones: []string{token("Zone")}, PrivateSubnets: []string{token("Subnet")},
	})
	network.New(stack, "Endpoints", network.Props{VPC: existing.VPC, Endpoints: []string{"sqs"}})
	cdktest.Template(stack).HasResourceProperties(new("AWS::EC2::VPCEndpoint"), map[string]any{
		"VpcId": map[string]any{"Ref": "Vpc"}, "SubnetIds": []any{map[string]any{"Ref": "Subnet"}},
	})
}

func TestAttributesAreValidated(t *testing.T) {
	bad := network.Attributes{ID: "vpc", CIDR: "10.0.0.1/16", Zones: []string{"a", "b"}, PublicSubnets: []string{"subnet-01111111"}, PrivateSubnets: []string{"one", "two"}}
	require.EqualError(t, bad.Validate(), `network: 5 fields are not valid
  ID is "vpc"; allowed: the id of a VPC: vpc- and 8 or 17 hexadecimal digits
  CIDR is "10.0.0.1/16"; allowed: an IPv4 range, such as 10.0.0.0/16
  PublicSubnets is 1; allowed: none, or one for each of the 2 zones
  PrivateSubnets[0] is "one"; allowed: the id of a subnet: subnet- and 8 or 17 hexadecimal digits
  PrivateSubnets[1] is "two"; allowed: the id of a subnet: subnet- and 8 or 17 hexadecimal digits`)
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*network.PropsError](t, func() { network.FromAttributes(stack, "Network", network.Attributes{ID: "vpc-01234567"}) })
	require.EqualError(t, err, `Test/Network (network): 3 fields are not valid
  CIDR is ""; allowed: an IPv4 range, such as 10.0.0.0/16
  Zones is "empty"; allowed: one zone at least
  PrivateSubnets is "empty"; allowed: one list of subnets at least`)
}

func TestAcrossStacks(t *testing.T) {
	one, other := cdktest.Stacks(t)
	n := network.New(one, "Network", network.Props{Zones: 2, Endpoints: []string{}})
	awsec2.NewSecurityGroup(other, new("Programs"), &awsec2.SecurityGroupProps{Vpc: n.VPC})
	cdktest.Template(other).HasResourceProperties(new("AWS::EC2::SecurityGroup"), map[string]any{
		"VpcId": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("^One:"))},
	})
}

func TestSmallRangesAreRefused(t *testing.T) {
	require.EqualError(t, network.Props{CIDR: "10.0.0.0/29"}.Validate(),
		`network: CIDR is "10.0.0.0/29"; allowed: the first address of an IPv4 range of /16 to /20, such as 10.0.0.0/16`)
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, network.Props{Endpoints: append(make([]string, 0, 4), "sqs")}, func(p network.Props) {
		network.New(stack, "Network", p)
	})
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	network.New(stack, "One", network.Props{Endpoints: []string{}})
	network.New(stack, "Two", network.Props{Endpoints: []string{}, CIDR: "10.1.0.0/20"})
	cdktest.Template(stack).ResourceCountIs(new("AWS::EC2::VPC"), new(2.0))
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := network.Props{CIDR: "10.0.0.1/16", Zones: 4, NATGateways: 5, Endpoints: []string{"SQS", "sns", "sns"}}
	require.EqualError(t, bad.Validate(), `network: 5 fields are not valid
  CIDR is "10.0.0.1/16"; allowed: the first address of an IPv4 range of /16 to /20, such as 10.0.0.0/16
  Zones is 4; allowed: 2 to 3
  NATGateways is 5; allowed: 1 to 4
  Endpoints[0] is "SQS"; allowed: the name of an AWS service, such as sqs
  Endpoints[2] is "sns"; allowed: each service once`)
	for _, cidr := range []string{"10.0.0.0/21", "10.0.0.0/8", "::/16", "text"} {
		require.ErrorContains(t, network.Props{CIDR: cidr}.Validate(), "CIDR", cidr)
	}
	stack := cdktest.Stack(t)
	err := cdktest.Panic[*network.PropsError](t, func() { network.New(stack, "Network", network.Props{Zones: 1}) })
	require.ErrorContains(t, err, "Test/Network (network): ")
}

func TestExistingSecurityGroup(t *testing.T) {
	stack := cdktest.Stack(t)
	n := network.FromAttributes(stack, "Network", attributes())
	data := awsec2.NewSecurityGroup(stack, new("Data"), &awsec2.SecurityGroupProps{Vpc: n.VPC, AllowAllOutbound: new(false)})
	data.Connections().AllowFrom(n.SecurityGroup("App", "sg-0123456789abcdef0"), awsec2.Port_Tcp(new(5432.0)), nil)

	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::EC2::SecurityGroupIngress"), map[string]any{
		"SourceSecurityGroupId": "sg-0123456789abcdef0", "FromPort": 5432,
	})
	template.ResourceCountIs(new("AWS::EC2::SecurityGroupEgress"), new(0.0))
	require.NotNil(t, n.SecurityGroup("Other", cdktest.Token(stack, "Group")))

	err := cdktest.Panic[*network.PropsError](t, func() { n.SecurityGroup("Wrong", "app") })
	require.EqualError(t, err, `Test/Network/Wrong (network): SecurityGroup is "app"; allowed: the id of a security group: sg-…`)
}
