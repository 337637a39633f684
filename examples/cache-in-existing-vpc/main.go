// A Valkey cache in a VPC that is there already, open to the programs of one
// security group of it and to nobody else.
package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cache"
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "sessions", cdkapp.StackProps{Region: "eu-west-1"})

		existing := network.FromAttributes(stack, "Network", network.Attributes{
			ID:             "vpc-0123456789abcdef0",
			CIDR:           "10.20.0.0/16",
			Zones:          []string{"eu-west-1a", "eu-west-1b"},
			PrivateSubnets: []string{"subnet-0123456789abcdef0", "subnet-0fedcba9876543210"},
		})
		sessions := cache.New(stack, "Sessions", cache.Props{
			VPC:      existing.VPC,
			Subnets:  existing.Private(),
			NodeType: "cache.t4g.small",
		})
		sessions.AllowFrom(existing.SecurityGroup("Programs", "sg-0123456789abcdef0"))

		cdkapp.Output(stack, "Endpoint", sessions.Endpoint(), "host:port of the primary, over TLS")
		cdkapp.Output(stack, "SecretARN", sessions.SecretARN(), "Holds the token that clients authenticate with")
		return nil
	})
}
