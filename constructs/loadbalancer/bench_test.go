package loadbalancer_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "web", cdkapp.StackProps{Region: "eu-west-1"})
		vpc := network.New(stack, "Network", network.Props{}).VPC
		return func() { loadbalancer.New(stack, "Balancer", loadbalancer.Props{VPC: vpc}) }
	})
}
