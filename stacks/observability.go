package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/observability"
)

// Observability is the stack of the dashboard.
type Observability struct {
	Stack     awscdk.Stack
	Dashboard *observability.Dashboard
}

// NewObservability draws the sections and sends their alarms to the alarm topic
// of the network stack. It comes last: it knows everything and nothing knows it.
func NewObservability(scope constructs.Construct, settings Settings, network *Network, sections ...observability.Section) *Observability {
	stack := newStack(scope, settings, "observability", "Loadbearing: dashboard")
	// Exports that a dashboard imports could not be removed in one deployment
	// with what they name; a stack output that is read can.
	awscdk.CrossStackReferences_Of(stack).Consume(awscdk.ReferenceStrength_WEAK)
	for _, section := range sections {
		network.Alarms.Notify(section.Watched...)
	}
	return &Observability{
		Stack: stack,
		Dashboard: observability.New(stack, "Dashboard", observability.Props{
			Name:     settings.StackName("overview"),
			Sections: sections,
		}),
	}
}
