package edge_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "edge", cdkapp.StackProps{Region: "us-east-1"})
		balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{
			VPC: network.New(stack, "Network", network.Props{}).VPC,
		})
		return func() {
			edge.New(stack, "Edge", edge.Props{
				LoadBalancer: balancer.LoadBalancer, OriginHeaderValue: balancer.OriginHeaderValue(),
			})
		}
	})
}
