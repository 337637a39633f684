package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/network"
	"github.com/loadbearing/loadbearing/constructs/observability"
)

// Network is the stack everything else stands on.
type Network struct {
	Stack   awscdk.Stack
	Network *network.Network

	// Clients is the security group of everything that may reach the data
	// stores: the instances of fleets and the functions. Data stores let this
	// group in, so no stack has to know who will be in it.
	Clients awsec2.ISecurityGroup

	// Alarms is where the alarms of every later stack go.
	Alarms *observability.AlarmTopic
}

// NewNetwork makes the VPC, the group of data clients and the alarm topic.
func NewNetwork(scope constructs.Construct, settings Settings) *Network {
	stack := newStack(scope, settings, "network", "Loadbearing: VPC, security group of data clients, alarm topic")
	n := &Network{Stack: stack}
	endpoints := settings.Network.Endpoints
	if endpoints == nil {
		endpoints = []string{}
	}
	n.Network = network.New(stack, "Network", network.Props{
		Zones:       settings.Network.Zones,
		NATGateways: settings.Network.NATGateways,
		Endpoints:   endpoints,
	})
	n.Clients = awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{
		Vpc:         n.Network.VPC,
		Description: new("Programs that may reach the data stores"),
	})
	n.Alarms = observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{
		Name:   settings.StackName("alarms"),
		Emails: settings.AlarmEmails,
	})
	return n
}

// Sections is the network's part of the dashboard.
func (n *Network) Sections() []observability.Section {
	return []observability.Section{{Title: "Network", Watched: []observability.Watched{n.Network}}}
}
