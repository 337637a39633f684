package network_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "base", cdkapp.StackProps{})
	network.New(stack, "Network", network.Props{
		CIDR:        "10.20.0.0/16",
		NATGateways: 1,
		Endpoints:   []string{"sqs", "secretsmanager"},
	})

	cdktest.Print(stack, "AWS::EC2::Subnet", "AWS::EC2::NatGateway", "AWS::EC2::VPCEndpoint", "AWS::EC2::FlowLog")
	// Output:
	// 9 AWS::EC2::Subnet
	// 1 AWS::EC2::NatGateway
	// 3 AWS::EC2::VPCEndpoint
	// 1 AWS::EC2::FlowLog
}

func ExampleFromAttributes() {
	stack := cdkapp.Stack(cdktest.App(), "shop", cdkapp.StackProps{})
	existing := network.FromAttributes(stack, "Network", network.Attributes{
		ID:             "vpc-0123456789abcdef0",
		CIDR:           "10.20.0.0/16",
		Zones:          []string{"eu-west-1a", "eu-west-1b"},
		PrivateSubnets: []string{"subnet-0123456789abcdef0", "subnet-0fedcba9876543210"},
	})
	network.New(stack, "Endpoints", network.Props{VPC: existing.VPC, Endpoints: []string{"sqs"}})

	cdktest.Print(stack, "AWS::EC2::VPC", "AWS::EC2::VPCEndpoint")
	// Output:
	// 0 AWS::EC2::VPC
	// 1 AWS::EC2::VPCEndpoint
}
