package network_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
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
	template.ResourceCountIs(new("AWS::CloudWatch::Alarm"), new(3.0))
	template.ResourceCountIs(new("Custom::VpcRestrictDefaultSG"), new(0.0))
	template.ResourceCountIs(new("AWS::Lambda::Function"), new(0.0))

	require.Len(t, n.Endpoints, 6)
	require.Len(t, n.Alarms(), 3)
	require.NotEmpty(t, n.Widgets())
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
			"CidrIp":      map[string]any{"Fn::GetAtt": []any{assertions.Match_AnyValue(), "CidrBlock"}},
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
