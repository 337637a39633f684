package database_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/database"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "shop", cdkapp.StackProps{})
	vpc := network.New(stack, "Network", network.Props{}).VPC

	// Two shards, each with a standby and two read replicas.
	orders := database.New(stack, "Orders", database.Props{VPC: vpc, Name: "orders", Shards: 2, Replicas: 2})
	orders.AddRoleSecret("AppSecret", "app")
	cdkapp.Output(stack, "OrdersPrimary", orders.PrimaryEndpoint(), "host:port of the first shard")

	cdktest.Print(stack, "AWS::RDS::DBInstance", "AWS::SecretsManager::Secret", "AWS::SecretsManager::RotationSchedule")
	// Output:
	// 6 AWS::RDS::DBInstance
	// 3 AWS::SecretsManager::Secret
	// 2 AWS::SecretsManager::RotationSchedule
}
