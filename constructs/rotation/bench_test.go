package rotation_test

import (
	"path/filepath"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/rotation"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "edge", cdkapp.StackProps{Region: "us-east-1"})
		balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{
			VPC: network.New(stack, "Network", network.Props{}).VPC,
		})
		front := edge.New(stack, "Edge", edge.Props{
			LoadBalancer: balancer.LoadBalancer, OriginHeaderValue: balancer.OriginHeaderValue(),
		})
		return func() {
			rotation.New(stack, "Rotation", rotation.Props{
				LoadBalancer: balancer, Edge: front,
				Function: function.Props{BuildFolder: filepath.Join(cdktest.Root(), ".build", "test", "functions")},
			})
		}
	})
}
