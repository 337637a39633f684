// A Go HTTP service on the internet that only CloudFront reaches: instances and
// load balancer in private subnets, a firewall at the edge, scaling by requests.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/firewall"
	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		// The firewall of a distribution stands in us-east-1; so does all the rest here.
		stack := cdkapp.Stack(app, "web-service", cdkapp.StackProps{Region: "us-east-1"})

		vpc := network.New(stack, "Network", network.Props{Zones: 2}).VPC
		balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{VPC: vpc, Internal: true})
		fleet.New(stack, "Service", fleet.Props{
			VPC:                 vpc,
			Environment:         "prod",
			Fleet:               "web",
			Color:               "blue",
			Command:             "serve",
			Source:              "./service",
			InstanceType:        "t4g.small",
			TargetGroup:         balancer.Blue,
			RequestsPerInstance: 6000,
		})

		wall := firewall.New(stack, "Firewall", firewall.Props{
			RateLimits: []firewall.RateLimit{{Name: "PerAddress", Limit: 2000, Window: 5 * time.Minute}},
		})
		front := edge.New(stack, "Edge", edge.Props{
			LoadBalancer:      balancer.LoadBalancer,
			OriginHeaderValue: balancer.OriginHeaderValue(),
			VPCOrigin:         true,
			Behaviors:         []edge.Behavior{edge.Private("*")},
			WebACLARN:         wall.ARN(),
		})

		cdkapp.Output(stack, "URL", front.URL(), "Where the service answers")
		return nil
	})
}
