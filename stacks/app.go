package stacks

import (
	"slices"

	"github.com/aws/constructs-go/constructs/v10"
)

// Environment is every stack of one environment.
type Environment struct {
	Network       *Network
	Data          *Data
	Messaging     *Messaging
	Web           *Web
	Edge          *Edge
	Release       *Release
	Observability *Observability
}

// Build makes the stacks of one environment in the app, in the order they are
// deployed.
func Build(app constructs.Construct, settings Settings) *Environment {
	e := &Environment{}
	programs := startBuilds(settings)
	e.Network = NewNetwork(app, settings)
	e.Data = NewData(app, settings, e.Network)
	e.Messaging = NewMessaging(app, settings, programs, e.Network, e.Data)
	e.Web = NewWeb(app, settings, e.Network, e.Data, e.Messaging)
	e.Edge = NewEdge(app, settings, programs, e.Network, e.Data, e.Web)
	e.Release = NewRelease(app, settings, programs, e.Network, e.Data, e.Messaging, e.Web)
	e.Observability = NewObservability(app, settings, e.Network, slices.Concat(
		e.Network.Sections(),
		e.Data.Sections(),
		e.Messaging.Sections(),
		e.Web.Sections(),
		e.Edge.Sections(),
		e.Release.Sections(),
	)...)
	return e
}
