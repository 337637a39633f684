// A Go HTTP service whose versions are released as canaries: blue serves, green is
// empty until a release, and nobody gets a version that fails or is slow for long.
package main

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/release"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "canary-release", cdkapp.StackProps{Region: "us-east-1"})

		vpc := network.New(stack, "Network", network.Props{Zones: 2}).VPC
		balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{VPC: vpc, Internal: true, NoColorStickiness: true})
		service := fleet.Props{
			VPC:          vpc,
			Environment:  "prod",
			Fleet:        "web",
			Command:      "serve",
			Source:       "./service",
			InstanceType: "t4g.small",
			DrainTimeout: time.Minute,
			CPUPercent:   60,
		}
		service.Color, service.TargetGroup = "blue", balancer.Blue
		blue := fleet.New(stack, "Blue", service)
		service.Color, service.TargetGroup, service.Standby = "green", balancer.Green, true
		green := fleet.New(stack, "Green", service)

		controller := release.New(stack, "Release", release.Props{LoadBalancer: balancer, Blue: blue, Green: green})

		cdkapp.Output(stack, "StateMachine", controller.ARN(), "What releases versions")
		return nil
	})
}
