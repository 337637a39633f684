// Package network makes the VPC everything else stands in.
//
// It has public subnets for load balancers, private subnets for programs and
// isolated subnets for data, in each of three zones; a NAT gateway in each zone,
// endpoints for the AWS services that programs call all the time, and a log of
// every connection. Nothing in it asks an account while the app is synthesized.
//
// The VPC's default security group keeps the rules AWS gives it, because
// CloudFormation can change them only through a custom resource, which is a
// function with the right to change security groups. Nothing here uses that group;
// CloseDefaultSecurityGroup makes the custom resource.
//
// A number that only a deployment knows goes through the Override.
//
// # Coverage
//
//	want | how
//	VPC with public, private and isolated subnets | always; Public, Private, Isolated select them
//	address range | CIDR
//	range from IPAM, other subnets or masks | Override: IpAddresses, SubnetConfiguration
//	zones | Zones
//	NAT gateway in each zone, in one, in none | NATGateways
//	NAT instance, fixed addresses | Override: NatGatewayProvider
//	IPv6 beside IPv4, egress only for private subnets | DualStack
//	secondary ranges | awsec2.NewCfnVPCCidrBlock on the VPC's id
//	DNS names and resolution | always
//	interface endpoints with private DNS and a security group | Endpoints
//	endpoints that serve this account's identities alone | OwnAccountEndpoints
//	a policy of one endpoint's own | Endpoints[service], AddToPolicy on the L2
//	gateway endpoint for S3 | always
//	gateway endpoint for DynamoDB | Override: GatewayEndpoints
//	log of all connections, with retention | always; FlowLogRetention, NoFlowLogs
//	log encrypted with a key of one's own | Key
//	flow log to S3 or Firehose, other fields, rejected only | Override: FlowLogs
//	log of DNS queries | DNSQueryLogs
//	default security group closed | CloseDefaultSecurityGroup
//	public addresses only for what brings its own | always
//	alarm on NAT ports running out | always, one for each gateway
//	alarm on packets that NAT gateways drop | always
//	widgets of NAT traffic and connections | Widgets
//	existing VPC by its ids | FromAttributes
//	existing VPC as an L2 | VPC
//	network ACLs | AWS's default, which is open: security groups decide
//	VPN and transit gateways, peering, DHCP options | Override: VpnGateway; the L1s on the VPC's id
//	IPAM pools, Outposts and Local Zones | use the L2, and pass it as VPC
//
// # Cost
//
//   - NAT gateways, by the hour and by the gigabyte: three by default.
//   - Interface endpoints, by the hour in each zone and by the gigabyte: six times
//     three by default. Each spares NAT data processing for its service.
//   - Flow logs and DNS query logs, ingested and kept.
//   - Public IPv4 addresses of the NAT gateways.
//
// # Migrate
//
// A VPC cannot be replaced under what stands in it. FromAttributes takes one that
// exists, with its subnets, and every construct here works in it. Subnets that one
// stack made and another uses cannot go while they are used: change CIDR or Zones
// in a new VPC beside the old. The logical ids of the VPC (VPC), its subnets and
// gateways never change.
package network
