package cache_test

import (
	"github.com/loadbearing/loadbearing/constructs/cache"
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func Example() {
	stack := cdkapp.Stack(cdktest.App(), "shop", cdkapp.StackProps{})
	vpc := network.New(stack, "Network", network.Props{}).VPC

	sessions := cache.New(stack, "Sessions", cache.Props{VPC: vpc, NodeType: "cache.t4g.small"})
	cdkapp.Output(stack, "SessionsEndpoint", sessions.Endpoint(), "host:port of the primary")
	cdkapp.Output(stack, "SessionsSecret", sessions.SecretARN(), "holds the token that clients authenticate with")

	cdktest.Print(stack, "AWS::ElastiCache::ReplicationGroup", "AWS::SecretsManager::Secret", "AWS::ElastiCache::ParameterGroup")
	// Output:
	// 1 AWS::ElastiCache::ReplicationGroup
	// 1 AWS::SecretsManager::Secret
	// 1 AWS::ElastiCache::ParameterGroup
}
