package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/encryption"
	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/observability"
)

// Network is the stack everything else stands on.
type Network struct {
	Stack   awscdk.Stack
	Network *network.Network

	// Key encrypts what the environment stores and logs.
	Key *encryption.Key

	// Clients is the security group of everything that may reach the data
	// stores: the instances of fleets and the functions. Data stores let this
	// group in, so no stack has to know who will be in it.
	Clients awsec2.ISecurityGroup

	// Alarms is where the alarms of every later stack go.
	Alarms *observability.AlarmTopic
}

// NewNetwork makes the key, the VPC, the group of data clients and the alarm
// topic.
func NewNetwork(scope constructs.Construct, settings Settings) *Network {
	stack := newStack(scope, settings, "network", "Loadbearing: key, VPC, security group of data clients, alarm topic")
	n := &Network{Stack: stack}
	n.Key = encryption.New(stack, "Key", encryption.Props{
		Alias:         settings.StackName("key"),
		Description:   "Encrypts what the environment " + settings.Env + " stores and logs",
		AllowDeletion: !settings.DeletionProtection,
		Services:      append(encryption.DefaultServices(), encryption.EventBridge, encryption.ElastiCache, encryption.EC2, encryption.S3),
	})
	endpoints := settings.Network.Endpoints
	if endpoints == nil {
		endpoints = []string{}
	}
	n.Network = network.New(stack, "Network", network.Props{
		Zones:       settings.Network.Zones,
		NATGateways: settings.Network.NATGateways,
		Endpoints:   endpoints,
		Key:         n.Key.Key,

		OwnAccountEndpoints: true,
	})
	n.Clients = awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{
		Vpc:         n.Network.VPC,
		Description: new("Programs that may reach the data stores"),
	})
	n.Alarms = observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{
		Name:   settings.StackName("alarms"),
		Emails: settings.AlarmEmails,
		Key:    n.Key.Key,
	})
	return n
}

// Sections is the network's part of the dashboard.
func (n *Network) Sections() []observability.Section {
	return []observability.Section{{Title: "Network", Watched: []observability.Watched{n.Network}}}
}
