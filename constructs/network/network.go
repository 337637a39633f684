// Package network makes the VPC everything else stands in: public subnets for
// load balancers, private subnets for programs, isolated subnets for data.
package network

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// NoNAT as Props.NATGateways makes none: private subnets then reach only AWS
// services that have an endpoint.
const NoNAT = -1

// DefaultEndpoints are the AWS services a program calls all the time. Through
// an interface endpoint their traffic pays no NAT data processing and goes on
// when the NAT gateway of a zone does not.
func DefaultEndpoints() []string {
	return []string{"ssm", "secretsmanager", "sqs", "sns", "logs", "sts"}
}

// Props configures a Network. The zero value is a production VPC over three
// zones with a NAT gateway in each.
type Props struct {
	// VPC is an existing VPC. With it the construct adds only Endpoints; the
	// VPC's own subnets, routes and flow logs stay as they are.
	VPC awsec2.IVpc

	// CIDR is the VPC's IPv4 range, /16 to /20. Default 10.0.0.0/16: three
	// private subnets of 4,091 addresses, and public and isolated ones of 251.
	CIDR string

	// Zones is the number of Availability Zones, 2 or 3. Default 3. The first
	// zones that Fn::GetAZs answers are taken, so synthesis asks no account.
	Zones int

	// NATGateways is 1 to Zones, or NoNAT. Default one per zone. With fewer, the
	// zones without one lose the internet together with the zone that has it.
	NATGateways int

	// Endpoints are the AWS services with an interface endpoint, as in
	// com.amazonaws.<region>.<service>. Default DefaultEndpoints(); an empty
	// list that is not nil makes none. The gateway endpoint for S3 costs nothing
	// and is always there.
	Endpoints []string

	// FlowLogRetention is one of the periods CloudWatch Logs offers. Default one
	// month.
	FlowLogRetention awslogs.RetentionDays

	// NoFlowLogs leaves the record of accepted and rejected connections out.
	NoFlowLogs bool

	// Override has the last word on the VPC.
	Override func(*awsec2.VpcProps)
	// OverrideEndpoint has the last word on each interface endpoint.
	OverrideEndpoint func(service string, props *awsec2.InterfaceVpcEndpointProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Network is a VPC with its endpoints.
//
// The VPC's default security group keeps the rules AWS gives it, because
// CloudFormation can change them only through a custom resource, and these
// constructs make none. Nothing here uses that group.
type Network struct {
	constructs.Construct
	VPC              awsec2.IVpc
	Endpoints        map[string]awsec2.IInterfaceVpcEndpoint // by service
	EndpointSecurity awsec2.ISecurityGroup                   // of all endpoints; nil without any
	FlowLogs         awslogs.ILogGroup                       // nil with NoFlowLogs or an existing VPC

	alarms   []awscloudwatch.IAlarm
	gateways []string // ids of the NAT gateways
}

var serviceName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// VPC prefixes that leave room: subnets are 4 and 8 bits longer, and AWS allows
// none longer than /28.
const (
	longestPrefix  = 20
	shortestPrefix = 16
)

func (p Props) withDefaults() Props {
	if p.CIDR == "" {
		p.CIDR = "10.0.0.0/16"
	}
	if p.Zones == 0 {
		p.Zones = 3
	}
	if p.NATGateways == 0 {
		p.NATGateways = p.Zones
	}
	if p.Endpoints == nil {
		p.Endpoints = DefaultEndpoints()
	}
	if p.FlowLogRetention == "" {
		p.FlowLogRetention = awslogs.RetentionDays_ONE_MONTH
	}
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	prefix, err := netip.ParsePrefix(p.CIDR)
	bad.Check(err == nil && prefix.Addr().Is4() && prefix == prefix.Masked() &&
		prefix.Bits() >= shortestPrefix && prefix.Bits() <= longestPrefix,
		"CIDR", p.CIDR, "the first address of an IPv4 range of /16 to /20, such as 10.0.0.0/16")
	cdkx.Between(&bad, "Zones", p.Zones, 2, 3)
	if p.NATGateways != NoNAT {
		cdkx.Between(&bad, "NATGateways", p.NATGateways, 1, max(p.Zones, 1))
	}
	for i, service := range p.Endpoints {
		field := fmt.Sprintf("Endpoints[%d]", i)
		bad.Check(serviceName.MatchString(service), field, service, "the name of an AWS service, such as sqs")
		bad.Check(!slices.Contains(p.Endpoints[:i], service), field, service, "each service once")
	}
	return bad.Err("network")
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
	return n
}

func (n *Network) makeVPC(props Props) {
	_, bits, _ := strings.Cut(props.CIDR, "/")
	prefix, err := strconv.Atoi(bits)
	if err != nil {
		panic(fmt.Errorf("the prefix of %s, which Validate let through: %w", props.CIDR, err))
	}

	zones := make([]*string, props.Zones)
	for i := range zones {
		zones[i] = awscdk.Fn_Select(cdkx.Number(i), awscdk.Fn_GetAzs(nil))
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
		RestrictDefaultSecurityGroup: new(false),
	}
	if !props.NoFlowLogs {
		n.FlowLogs = awslogs.NewLogGroup(n, new("FlowLogs"), &awslogs.LogGroupProps{
			Retention:     props.FlowLogRetention,
			RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		})
		vpcProps.FlowLogs = &map[string]*awsec2.FlowLogOptions{
			"All": {
				Destination:            awsec2.FlowLogDestination_ToCloudWatchLogs(n.FlowLogs, nil),
				TrafficType:            awsec2.FlowLogTrafficType_ALL,
				MaxAggregationInterval: awsec2.FlowLogMaxAggregationInterval_TEN_MINUTES,
			},
		}
	}
	vpc := awsec2.NewVpc(n, new("VPC"), cdkx.Override(vpcProps, props.Override))
	n.VPC = vpc
	n.watchGateways(vpc)
}

// watchGateways alarms when a NAT gateway has no port left for a destination
// (55,000 connections to one address and port), which shows nowhere else but as
// connections that time out.
func (n *Network) watchGateways(vpc awsec2.Vpc) {
	for i, subnet := range *vpc.PublicSubnets() {
		gateway, ok := subnet.Node().TryFindChild(new("NATGateway")).(awsec2.CfnNatGateway)
		if !ok {
			continue
		}
		n.gateways = append(n.gateways, *gateway.Ref())
		n.alarms = append(n.alarms, cdkx.Alarm(n, fmt.Sprintf("NATPorts%d", i+1), cdkx.AlarmSpec{
			Metric:      natMetric(*gateway.Ref(), "ErrorPortAllocation", "Sum"),
			Description: "A NAT gateway has no free port for a destination. Reuse connections, or add a gateway or an endpoint for that destination.",
			Periods:     5,
			Breaching:   2,
		}))
	}
}

func (n *Network) makeEndpoints(props Props) {
	if len(props.Endpoints) == 0 {
		return
	}
	security := awsec2.NewSecurityGroup(n, new("EndpointSecurity"), &awsec2.SecurityGroupProps{
		Vpc:              n.VPC,
		Description:      new("Interface endpoints: HTTPS from inside the VPC"),
		AllowAllOutbound: new(false),
	})
	security.AddIngressRule(awsec2.Peer_Ipv4(n.VPC.VpcCidrBlock()), awsec2.Port_Tcp(cdkx.Number(443)),
		new("HTTPS from inside the VPC"), nil)
	n.EndpointSecurity = security

	for _, service := range props.Endpoints {
		endpointProps := &awsec2.InterfaceVpcEndpointProps{
			Vpc:               n.VPC,
			Service:           awsec2.NewInterfaceVpcEndpointAwsService(&service, nil, nil, nil),
			SecurityGroups:    &[]awsec2.ISecurityGroup{security},
			Subnets:           n.Private(),
			PrivateDnsEnabled: new(true),
			Open:              new(false),
		}
		if props.OverrideEndpoint != nil {
			props.OverrideEndpoint(service, endpointProps)
		}
		n.Endpoints[service] = awsec2.NewInterfaceVpcEndpoint(n, new("Endpoint-"+service), endpointProps)
	}
}

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

// Alarms are the alarms of the NAT gateways: ports exhausted.
func (n *Network) Alarms() []awscloudwatch.IAlarm { return slices.Clone(n.alarms) }

// Widgets show what the NAT gateways carry. There is none without a gateway.
func (n *Network) Widgets() []awscloudwatch.IWidget {
	if len(n.gateways) == 0 {
		return nil
	}
	var bytes, connections []awscloudwatch.IMetric
	for _, id := range n.gateways {
		bytes = append(bytes, natMetric(id, "BytesOutToDestination", "Sum"))
		connections = append(connections, natMetric(id, "ActiveConnectionCount", "Maximum"))
	}
	return []awscloudwatch.IWidget{
		cdkx.Graph("NAT gateways: bytes out", bytes...),
		cdkx.Graph("NAT gateways: connections", connections...),
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
