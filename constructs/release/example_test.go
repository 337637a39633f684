package release_test

import (
	"path/filepath"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/fleet"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/release"
)

// A service whose versions are released: blue serves, green is empty until the
// first release.
func Example() {
	stack := cdkapp.Stack(cdktest.App(), "service", cdkapp.StackProps{})
	vpc := network.New(stack, "Network", network.Props{}).VPC
	balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{VPC: vpc, NoColorStickiness: true})
	props := fleet.Props{
		VPC: vpc, Environment: "prod", Fleet: "web", Command: "serve", ArtifactPath: "testdata/program",
		Color: "blue", TargetGroup: balancer.Blue,
	}
	blue := fleet.New(stack, "Blue", props)
	props.Color, props.TargetGroup, props.Standby = "green", balancer.Green, true
	green := fleet.New(stack, "Green", props)

	release.New(stack, "Release", release.Props{
		LoadBalancer: balancer, Blue: blue, Green: green,
		Function: function.Props{BuildFolder: filepath.Join(cdktest.Root(), ".build", "test", "functions")},
	})

	cdktest.Print(stack, "AWS::StepFunctions::StateMachine", "AWS::Lambda::Function", "AWS::Events::Rule")
	// Output:
	// 1 AWS::StepFunctions::StateMachine
	// 4 AWS::Lambda::Function
	// 3 AWS::Events::Rule
}
