package network

import (
	"fmt"
	"net/netip"
	"regexp"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Attributes are what has to be known of a VPC that exists. Every text may be a
// token. ID, CIDR and Zones are required. Each list of subnets has one for each
// zone, in the order of Zones, or is empty.
type Attributes struct {
	// ID of the VPC: "vpc-0123456789abcdef0".
	ID string

	// CIDR is its IPv4 range, which endpoints let in.
	CIDR string

	// Zones by name: "eu-west-1a". At least one.
	Zones []string

	// PublicSubnets for load balancers, PrivateSubnets for programs and
	// IsolatedSubnets for data, by their ids. One list at least. Default none.
	PublicSubnets   []string
	PrivateSubnets  []string
	IsolatedSubnets []string
}

var (
	vpcID    = regexp.MustCompile(`^vpc-[0-9a-f]{8,17}$`)
	subnetID = regexp.MustCompile(`^subnet-[0-9a-f]{8,17}$`)
	groupID  = regexp.MustCompile(`^sg-[0-9a-f]{8,17}$`)
)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (a Attributes) Validate() error {
	var bad cdkx.Problems
	cdkx.Matches(&bad, "ID", a.ID, vpcID, "the id of a VPC: vpc- and 8 or 17 hexadecimal digits")
	if !cdkx.Unresolved(a.CIDR) {
		prefix, err := netip.ParsePrefix(a.CIDR)
		bad.Check(err == nil && prefix.Addr().Is4() && prefix == prefix.Masked(), "CIDR", a.CIDR, "an IPv4 range, such as 10.0.0.0/16")
	}
	bad.Check(len(a.Zones) > 0, "Zones", "empty", "one zone at least")
	bad.Check(len(a.PublicSubnets)+len(a.PrivateSubnets)+len(a.IsolatedSubnets) > 0, "PrivateSubnets", "empty", "one list of subnets at least")
	for _, list := range []struct {
		field   string
		subnets []string
	}{{"PublicSubnets", a.PublicSubnets}, {"PrivateSubnets", a.PrivateSubnets}, {"IsolatedSubnets", a.IsolatedSubnets}} {
		bad.Check(len(list.subnets) == 0 || len(list.subnets) == len(a.Zones), list.field, len(list.subnets),
			fmt.Sprintf("none, or one for each of the %d zones", len(a.Zones)))
		for i, id := range list.subnets {
			cdkx.Matches(&bad, fmt.Sprintf("%s[%d]", list.field, i), id, subnetID, "the id of a subnet: subnet- and 8 or 17 hexadecimal digits")
		}
	}
	return bad.Err("network")
}

// FromAttributes is a Network around a VPC that exists. It makes nothing; New
// with its VPC adds endpoints. It panics with a *PropsError when the attributes
// are not valid.
func FromAttributes(scope constructs.Construct, id string, attributes Attributes) *Network {
	cdkx.Must(scope, id, "network", attributes.Validate())
	n := &Network{Endpoints: map[string]awsec2.IInterfaceVpcEndpoint{}}
	constructs.NewConstruct_Override(n, scope, &id)
	n.VPC = awsec2.Vpc_FromVpcAttributes(n, new("VPC"), &awsec2.VpcAttributes{
		VpcId:             &attributes.ID,
		VpcCidrBlock:      &attributes.CIDR,
		AvailabilityZones: cdkx.Strings(attributes.Zones...),
		PublicSubnetIds:   subnetIDs(attributes.PublicSubnets),
		PrivateSubnetIds:  subnetIDs(attributes.PrivateSubnets),
		IsolatedSubnetIds: subnetIDs(attributes.IsolatedSubnets),
	})
	// Route tables are for gateway endpoints, which an existing VPC has or has not.
	awscdk.Annotations_Of(n).AcknowledgeWarning(new("@aws-cdk/aws-ec2:noSubnetRouteTableId"),
		new("Nothing here adds a route to an existing VPC."))
	return n
}

func subnetIDs(ids []string) *[]*string {
	if len(ids) == 0 {
		return nil
	}
	return cdkx.Strings(ids...)
}

// SecurityGroup is an existing security group, known by its id "sg-…", which may
// be a token: one whose members another construct lets in with AllowFrom, or that
// instances belong to. Its rules stay as they are. It panics with a *PropsError
// when the id is not one.
func (n *Network) SecurityGroup(id, existing string) awsec2.ISecurityGroup {
	var bad cdkx.Problems
	cdkx.Matches(&bad, "SecurityGroup", existing, groupID, "the id of a security group: sg-…")
	cdkx.Must(n, id, "network", bad.Err("network"))
	return awsec2.SecurityGroup_FromSecurityGroupId(n, &id, &existing, &awsec2.SecurityGroupImportOptions{Mutable: new(false)})
}
