package network

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	resolver "github.com/aws/aws-cdk-go/awscdk/v2/awsroute53resolver"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Network is a VPC with its endpoints.
type Network struct {
	constructs.Construct
	VPC              awsec2.IVpc
	Endpoints        map[string]awsec2.IInterfaceVpcEndpoint // by service
	EndpointSecurity awsec2.ISecurityGroup                   // of all endpoints; nil without any
	FlowLogs         awslogs.ILogGroup                       // nil with NoFlowLogs or an existing VPC
	QueryLogs        awslogs.ILogGroup                       // nil without DNSQueryLogs

	alarms   []awscloudwatch.IAlarm
	gateways []string // ids of the NAT gateways
	cidr     string   // the VPC's range when it is known here
}

// New makes a Network. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Network {
	cdkx.Must(scope, id, "network", props.Validate())
	props = props.withDefaults()
	n := &Network{VPC: props.VPC, Endpoints: map[string]awsec2.IInterfaceVpcEndpoint{}}
	constructs.NewConstruct_Override(n, scope, &id)
	if n.VPC == nil {
		n.makeVPC(props)
	}
	n.makeEndpoints(props)
	if props.DNSQueryLogs {
		n.logQueries(props)
	}
	return n
}

func (n *Network) makeVPC(props Props) {
	vpcProps := vpcProps(props)
	if !props.NoFlowLogs {
		n.FlowLogs = n.makeLogGroup("FlowLogs", props)
		vpcProps.FlowLogs = &map[string]*awsec2.FlowLogOptions{
			flowLog: {
				Destination:            awsec2.FlowLogDestination_ToCloudWatchLogs(n.FlowLogs, nil),
				TrafficType:            awsec2.FlowLogTrafficType_ALL,
				MaxAggregationInterval: awsec2.FlowLogMaxAggregationInterval_TEN_MINUTES,
			},
		}
	}
	addresses := vpcProps.IpAddresses
	vpc := awsec2.NewVpc(n, new("VPC"), cdkx.Override(vpcProps, props.Override))
	n.VPC = vpc
	if vpcProps.IpAddresses == addresses {
		n.cidr = props.CIDR
	}
	public := *vpc.PublicSubnets()
	n.explain(vpc, public, props)
	n.watchGateways(public)
}

const flowLog = "All"

func vpcProps(props Props) *awsec2.VpcProps {
	_, bits, _ := strings.Cut(props.CIDR, "/")
	prefix, err := strconv.Atoi(bits)
	if err != nil {
		panic(fmt.Errorf("the prefix of %s, which Validate let through: %w", props.CIDR, err))
	}

	all := awscdk.Fn_GetAzs(nil)
	zones := make([]*string, props.Zones)
	for i := range zones {
		zones[i] = awscdk.Fn_Select(cdkx.Number(i), all)
	}
	subnets := []*awsec2.SubnetConfiguration{
		// The load balancer's nodes and the NAT gateways bring addresses of their own.
		{Name: new("public"), SubnetType: awsec2.SubnetType_PUBLIC, CidrMask: cdkx.Number(prefix + 8), MapPublicIpOnLaunch: new(false)},
		{Name: new("private"), SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS, CidrMask: cdkx.Number(prefix + 4)},
		{Name: new("isolated"), SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED, CidrMask: cdkx.Number(prefix + 8)},
	}
	gateways := props.NATGateways
	if gateways == NoNAT {
		gateways = 0
		// CDK refuses subnets with egress in a VPC without NAT gateways, and
		// finds these by their name and type alike.
		subnets[1].SubnetType = awsec2.SubnetType_PRIVATE_ISOLATED
	}
	vpcProps := &awsec2.VpcProps{
		IpAddresses:         awsec2.IpAddresses_Cidr(&props.CIDR),
		AvailabilityZones:   &zones,
		NatGateways:         cdkx.Number(gateways),
		SubnetConfiguration: &subnets,
		EnableDnsHostnames:  new(true),
		EnableDnsSupport:    new(true),
		GatewayEndpoints: &map[string]*awsec2.GatewayVpcEndpointOptions{
			"S3": {Service: awsec2.GatewayVpcEndpointAwsService_S3()},
		},
		RestrictDefaultSecurityGroup: new(props.CloseDefaultSecurityGroup),
	}
	if props.DualStack {
		vpcProps.IpProtocol = awsec2.IpProtocol_DUAL_STACK
		for _, subnet := range subnets {
			// Only programs take an address of their own accord. A load balancer asks for its.
			subnet.Ipv6AssignAddressOnCreation = new(subnet.SubnetType == awsec2.SubnetType_PRIVATE_WITH_EGRESS)
		}
	}
	return vpcProps
}

func (n *Network) makeLogGroup(id string, props Props) awslogs.ILogGroup {
	return awslogs.NewLogGroup(n, &id, &awslogs.LogGroupProps{
		Retention:     props.FlowLogRetention,
		EncryptionKey: props.Key,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
}

// explain gives the reasons for what a reviewer would ask about.
func (n *Network) explain(vpc awsec2.Vpc, public []awsec2.ISubnet, props Props) {
	if !props.CloseDefaultSecurityGroup {
		cdkx.Acknowledge(vpc, "Nothing is in the default security group: every resource names a group of its own. The group lets in only its own "+
			"members, and to empty it takes a function with the right to change security groups.", "VPCDefaultSecurityGroupClosed")
	}
	for _, subnet := range public {
		for _, route := range []string{"DefaultRoute", "DefaultRoute6"} {
			if found := subnet.Node().TryFindChild(&route); found != nil {
				cdkx.Acknowledge(found, "A public subnet is one with this route. Only load balancers and NAT gateways stand in it, and no instance gets a "+
					"public address there.", "VPCNoUnrestrictedRouteToIGW")
			}
			if !props.DualStack {
				break
			}
		}
	}
	if props.DualStack {
		for _, subnet := range *vpc.PrivateSubnets() {
			cdkx.Acknowledge(subnet, "The address that is assigned is an IPv6 one, which here has a way out alone: an egress-only internet gateway lets "+
				"no connection in.", "VPCSubnetAutoAssignPublicIpDisabled")
		}
	}
	if log := vpc.Node().TryFindChild(new(flowLog)); log != nil {
		if role, ok := log.Node().TryFindChild(new("IAMRole")).(awsiam.IRole); ok {
			cdkx.AcknowledgePolicy(role, "")
		}
	}
}

// watchGateways alarms when a NAT gateway has no port left for a destination
// (55,000 connections to one address and port), which shows nowhere else but as
// connections that time out, and when gateways drop packets.
func (n *Network) watchGateways(public []awsec2.ISubnet) {
	drops := map[string]awscloudwatch.IMetric{}
	for i, subnet := range public {
		gateway, ok := subnet.Node().TryFindChild(new("NATGateway")).(awsec2.CfnNatGateway)
		if !ok {
			continue
		}
		id := *gateway.Ref()
		n.gateways = append(n.gateways, id)
		n.alarms = append(n.alarms, cdkx.Alarm(n, fmt.Sprintf("NATPorts%d", i+1), cdkx.AlarmSpec{
			Metric:      natMetric(id, "ErrorPortAllocation", "Sum"),
			Description: "A NAT gateway has no free port for a destination. Reuse connections, or add a gateway or an endpoint for that destination.",
			Periods:     5,
			Breaching:   2,
		}))
		drops[fmt.Sprintf("gateway%d", i+1)] = natMetric(id, "PacketsDropCount", "Sum")
	}
	if len(drops) == 0 {
		return
	}
	n.alarms = append(n.alarms, cdkx.Alarm(n, "NATDrops", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   cdkx.Math("SUM(METRICS())", "packets dropped", drops),
		Description: "NAT gateways have dropped packets for five minutes. Look at their bytes and connections for a limit reached, " +
			"then at the AWS Health dashboard.",
		Periods: 5,
	}))
}

func (n *Network) makeEndpoints(props Props) {
	if len(props.Endpoints) == 0 {
		return
	}
	n.EndpointSecurity = n.makeEndpointSecurity()
	subnets := n.Private()
	for _, service := range props.Endpoints {
		endpointProps := &awsec2.InterfaceVpcEndpointProps{
			Vpc:               n.VPC,
			Service:           awsec2.NewInterfaceVpcEndpointAwsService(&service, nil, nil, nil),
			SecurityGroups:    &[]awsec2.ISecurityGroup{n.EndpointSecurity},
			Subnets:           subnets,
			PrivateDnsEnabled: new(true),
			Open:              new(false),
		}
		if props.OverrideEndpoint != nil {
			props.OverrideEndpoint(service, endpointProps)
		}
		endpoint := awsec2.NewInterfaceVpcEndpoint(n, new("Endpoint-"+service), endpointProps)
		if props.OwnAccountEndpoints {
			endpoint.AddToPolicy(n.ownAccount())
		}
		n.Endpoints[service] = endpoint
	}
}

func (n *Network) makeEndpointSecurity() awsec2.ISecurityGroup {
	security := awsec2.NewSecurityGroup(n, new("EndpointSecurity"), &awsec2.SecurityGroupProps{
		Vpc:              n.VPC,
		Description:      new("Interface endpoints: HTTPS from inside the VPC"),
		AllowAllOutbound: new(false),
	})
	cidr := n.cidr
	if cidr == "" {
		cidr = *n.VPC.VpcCidrBlock()
	}
	security.AddIngressRule(awsec2.Peer_Ipv4(&cidr), awsec2.Port_Tcp(cdkx.Number(443)), new("HTTPS from inside the VPC"), nil)
	if cdkx.Unresolved(cidr) {
		cdkx.Acknowledge(security, "The one rule lets in the range of the VPC itself, which only the deployment knows, on port 443.",
			"AwsSolutions-EC23", "EC2RestrictedCommonPorts", "EC2RestrictedSSH")
	}
	return security
}

// ownAccount allows what an endpoint without a policy allows, to identities of
// this account.
func (n *Network) ownAccount() awsiam.PolicyStatement {
	return awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        new("OwnAccount"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewAnyPrincipal()},
		Actions:    cdkx.Strings("*"),
		Resources:  cdkx.Strings("*"),
		Conditions: &map[string]any{"StringEquals": map[string]any{"aws:PrincipalAccount": *awscdk.Stack_Of(n).Account()}},
	})
}

// logQueries records the names that are looked up. Route 53 Resolver lets itself
// write to the log group, with the permissions of whoever deploys.
func (n *Network) logQueries(props Props) {
	n.QueryLogs = n.makeLogGroup("QueryLogs", props)
	config := resolver.NewCfnResolverQueryLoggingConfig(n, new("QueryLogging"), &resolver.CfnResolverQueryLoggingConfigProps{
		DestinationArn: n.QueryLogs.LogGroupArn(),
	})
	resolver.NewCfnResolverQueryLoggingConfigAssociation(n, new("QueryLoggingOfVPC"), &resolver.CfnResolverQueryLoggingConfigAssociationProps{
		ResolverQueryLogConfigId: config.AttrId(),
		ResourceId:               n.VPC.VpcId(),
	})
}

// ID of the VPC.
func (n *Network) ID() string { return *n.VPC.VpcId() }

// Public selects the subnets for load balancers.
func (n *Network) Public() *awsec2.SubnetSelection {
	return &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PUBLIC}
}

// Private selects the subnets for programs.
func (n *Network) Private() *awsec2.SubnetSelection {
	if len(*n.VPC.PrivateSubnets()) == 0 {
		return &awsec2.SubnetSelection{SubnetGroupName: new("private")}
	}
	return &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS}
}

// Isolated selects the subnets for data stores, which have no route out.
func (n *Network) Isolated() *awsec2.SubnetSelection {
	if len(*n.VPC.PrivateSubnets()) == 0 {
		return &awsec2.SubnetSelection{SubnetGroupName: new("isolated")}
	}
	return &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}
}

// Alarms are the alarms of the NAT gateways: ports exhausted, packets dropped.
func (n *Network) Alarms() []awscloudwatch.IAlarm { return slices.Clone(n.alarms) }

// Widgets show what the NAT gateways carry and lose. There is none without a gateway.
func (n *Network) Widgets() []awscloudwatch.IWidget {
	if len(n.gateways) == 0 {
		return nil
	}
	var bytes, connections, failures []awscloudwatch.IMetric
	for _, id := range n.gateways {
		bytes = append(bytes, natMetric(id, "BytesOutToDestination", "Sum"))
		connections = append(connections, natMetric(id, "ActiveConnectionCount", "Maximum"))
		failures = append(failures, natMetric(id, "ErrorPortAllocation", "Sum"), natMetric(id, "PacketsDropCount", "Sum"))
	}
	return []awscloudwatch.IWidget{
		cdkx.Graph("NAT gateways: bytes out", bytes...),
		cdkx.Graph("NAT gateways: connections", connections...),
		cdkx.Graph("NAT gateways: ports refused, packets dropped", failures...),
	}
}

func natMetric(gateway, name, statistic string) awscloudwatch.Metric {
	return cdkx.Metric(cdkx.MetricSpec{
		Namespace:  "AWS/NATGateway",
		Name:       name,
		Dimensions: map[string]string{"NatGatewayId": gateway},
		Statistic:  statistic,
		Period:     time.Minute,
	})
}
