package edge_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
)

// A distribution in front of a load balancer, which serves everything but files
// below /assets.
func Example() {
	stack := cdkapp.Stack(cdktest.App(), "edge", cdkapp.StackProps{Region: "us-east-1"})
	balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{
		VPC: network.New(stack, "Network", network.Props{}).VPC,
	})

	edge.New(stack, "Edge", edge.Props{
		LoadBalancer:      balancer.LoadBalancer,
		OriginHeaderValue: balancer.OriginHeaderValue(),
		Behaviors:         []edge.Behavior{edge.Static("/assets/*"), edge.Private("/api/*"), edge.Stream("/api/events")},
	})

	cdktest.Print(stack, "AWS::CloudFront::Distribution", "AWS::CloudFront::OriginAccessControl")
	// Output:
	// 1 AWS::CloudFront::Distribution
	// 1 AWS::CloudFront::OriginAccessControl
}
