package fleet_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func BenchmarkNew(b *testing.B) {
	cdktest.Benchmark(b, func(app awscdk.App) func() {
		stack := cdkapp.Stack(app, "workers", cdkapp.StackProps{})
		vpc := network.New(stack, "Network", network.Props{}).VPC
		return func() {
			fleet.New(stack, "Workers", fleet.Props{
				VPC:           vpc,
				Environment:   "prod",
				Fleet:         "worker",
				Color:         "blue",
				Command:       "work",
				ArtifactPath:  "testdata/program",
				InstanceTypes: []string{"c6g.large"},
				CPUPercent:    60,
			})
		}
	})
}
