package network

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"

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
	// VPC's own subnets, routes and flow logs stay as they are. Default a new one.
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

	// DualStack gives the VPC and its subnets IPv6 ranges of Amazon's beside IPv4.
	// Private subnets then reach IPv6 addresses through an egress-only internet
	// gateway. Not together with NoNAT.
	DualStack bool

	// DNSQueryLogs records every name that is looked up in the VPC, kept as long as
	// the flow logs.
	DNSQueryLogs bool

	// Key encrypts both logs. Its policy has to let CloudWatch Logs use it, as that
	// of the encryption package does. Default a key that AWS owns.
	Key awskms.IKey

	// OwnAccountEndpoints lets only identities of this account call through the
	// interface endpoints, so that stolen credentials of another account cannot
	// carry data out through them. Default any identity.
	OwnAccountEndpoints bool

	// CloseDefaultSecurityGroup takes the rules out of the VPC's default security
	// group, by CDK's custom resource: a function with the right to do so.
	CloseDefaultSecurityGroup bool

	// Override has the last word on the VPC.
	Override func(*awsec2.VpcProps)
	// OverrideEndpoint has the last word on each interface endpoint.
	OverrideEndpoint func(service string, props *awsec2.InterfaceVpcEndpointProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

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
	bad.Check(!p.DualStack || p.NATGateways != NoNAT, "DualStack", true, "false with NoNAT: no subnet has a way out")
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
