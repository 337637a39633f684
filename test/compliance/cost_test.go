package compliance

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/internal/cost"
	"github.com/loadbearing/loadbearing/stacks"
)

// TestEveryTypeIsPricedOrKnownToBeFree keeps `make cost` from leaving out what a
// change adds.
func TestEveryTypeIsPricedOrKnownToBeFree(t *testing.T) {
	for _, settings := range []stacks.Settings{stacks.Dev(), stacks.Prod()} {
		templates, _ := synth(t, settings, func(awscdk.App) {})
		for _, template := range templates {
			for id, resource := range template.Resources {
				if !cost.Knows(resource.Type) {
					t.Errorf("%s %s: internal/cost has no price for %s and does not know that it is free", template.Stack, id, resource.Type)
				}
			}
		}
	}
}
