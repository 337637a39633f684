package fleet_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

// Workers that keep their processors at 60 %, two thirds of them on Spot.
func Example() {
	stack := cdkapp.Stack(cdktest.App(), "workers", cdkapp.StackProps{})
	fleet.New(stack, "Workers", fleet.Props{
		VPC:           network.New(stack, "Network", network.Props{}).VPC,
		Environment:   "prod",
		Fleet:         "worker",
		Color:         "blue",
		Command:       "work",
		ArtifactPath:  "testdata/program",
		InstanceTypes: []string{"c6g.large", "m7g.large"},
		SpotPercent:   66,
		CPUPercent:    60,
	})

	cdktest.Print(stack, "AWS::AutoScaling::AutoScalingGroup", "AWS::AutoScaling::ScalingPolicy", "AWS::EC2::LaunchTemplate")
	// Output:
	// 1 AWS::AutoScaling::AutoScalingGroup
	// 1 AWS::AutoScaling::ScalingPolicy
	// 1 AWS::EC2::LaunchTemplate
}
