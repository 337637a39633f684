// Package drills lists the drills of the concepts.
package drills

import (
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/drills/autoscaling"
	"github.com/loadbearing/loadbearing/test/drills/backpressure"
	"github.com/loadbearing/loadbearing/test/drills/bluegreen"
	"github.com/loadbearing/loadbearing/test/drills/canary"
	"github.com/loadbearing/loadbearing/test/drills/compression"
	"github.com/loadbearing/loadbearing/test/drills/loadbalancing"
	"github.com/loadbearing/loadbearing/test/drills/messagequeue"
	"github.com/loadbearing/loadbearing/test/drills/pubsub"
	"github.com/loadbearing/loadbearing/test/drills/rolling"
)

// All returns every drill, in the order of the concepts.
func All() []drill.Drill {
	return []drill.Drill{
		loadbalancing.Drill(),
		autoscaling.Drill(),
		backpressure.Drill(),
		compression.Drill(),
		messagequeue.Drill(),
		pubsub.Drill(),
		rolling.Drill(),
		bluegreen.Drill(),
		canary.Drill(),
	}
}
