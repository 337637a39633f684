package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/release"
)

// Release is the stack of what moves the web fleet from one version to the next.
type Release struct {
	Stack awscdk.Stack
	Web   *release.Release
}

// NewRelease makes the release controller of the web fleet.
func NewRelease(scope constructs.Construct, s Settings, programs *programs, n *Network, d *Data, m *Messaging, w *Web) *Release {
	stack := newStack(scope, s, "release", "Loadbearing: release controller of the web fleet")
	built := map[string]function.Props{}
	for _, name := range release.Programs() {
		built[name] = programs.configure(function.Props{}, name)
	}
	return &Release{Stack: stack, Web: release.New(stack, "Web", release.Props{
		LoadBalancer:  w.LoadBalancer,
		Blue:          w.Blue,
		Green:         w.Green,
		Artifacts:     d.Artifacts,
		Migrate:       m.Migrate,
		Notifications: n.Alarms.Topic,
		Key:           n.Key.Key,
		Programs:      built,
	})}
}

// Sections is the release's part of the dashboard.
func (r *Release) Sections() []observability.Section {
	return []observability.Section{{Title: "Releases", Watched: []observability.Watched{r.Web}}}
}
