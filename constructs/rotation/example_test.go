package rotation_test

import (
	"path/filepath"
	"time"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/rotation"
)

// The load balancer knows the edge by a value that changes every week.
func Example() {
	stack := cdkapp.Stack(cdktest.App(), "edge", cdkapp.StackProps{Region: "us-east-1"})
	balancer := loadbalancer.New(stack, "Balancer", loadbalancer.Props{
		VPC: network.New(stack, "Network", network.Props{}).VPC,
	})
	front := edge.New(stack, "Edge", edge.Props{
		LoadBalancer: balancer.LoadBalancer, OriginHeaderValue: balancer.OriginHeaderValue(),
	})

	rotation.New(stack, "Rotation", rotation.Props{
		LoadBalancer: balancer, Edge: front, Every: 7 * 24 * time.Hour,
		Function: function.Props{BuildFolder: filepath.Join(cdktest.Root(), ".build", "test", "functions")},
	})

	cdktest.Print(stack, "AWS::SecretsManager::RotationSchedule", "AWS::Lambda::Permission")
	// Output:
	// 1 AWS::SecretsManager::RotationSchedule
	// 1 AWS::Lambda::Permission
}
