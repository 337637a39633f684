package contract

// ReleaseTarget is what a release of one fleet works on. The release construct
// publishes it as JSON in the parameter ReleaseTargetParameter; the controller and its
// operators read it there.
type ReleaseTarget struct {
	Rule         string                  `json:"rule"`          // ARN of the listener rule whose weights it owns
	LoadBalancer string                  `json:"load_balancer"` // dimension of its metrics: app/<name>/<id>
	Colors       map[string]ReleaseColor `json:"colors"`        // ColorBlue and ColorGreen
	Alarms       []string                `json:"alarms"`        // names, of both colors together
	Migrate      string                  `json:"migrate"`       // name of the migrate function; empty has none
	StateMachine string                  `json:"state_machine"` // ARN
	Artifacts    string                  `json:"artifacts"`     // bucket for released artifacts
}

// ReleaseColor is one of the two fleets of a pair.
type ReleaseColor struct {
	Group       string   `json:"group"`        // name of the Auto Scaling group
	TargetGroup string   `json:"target_group"` // ARN
	Artifact    string   `json:"artifact"`     // parameter that names what it runs
	Alarms      []string `json:"alarms"`       // names
}

// ReleaseTargetParameter names the SSM parameter of a fleet's ReleaseTarget.
func ReleaseTargetParameter(environment, fleet string) string {
	return releasePrefix(environment, fleet) + "target"
}

// ReleaseStateParameter names the SSM parameter that says how far the last release of a
// fleet has come. Only the release controller writes it.
func ReleaseStateParameter(environment, fleet string) string {
	return releasePrefix(environment, fleet) + "state"
}

// ReleaseCommandParameter names the SSM parameter through which operators tell a
// release to pause, to go on or to roll back. Only they write it.
func ReleaseCommandParameter(environment, fleet string) string {
	return releasePrefix(environment, fleet) + "command"
}

func releasePrefix(environment, fleet string) string {
	return ParameterPrefix(environment) + fleet + "/release/"
}

// ReleaseArtifactPrefix begins the keys of what is released, in the bucket of a
// fleet's ReleaseTarget.
const ReleaseArtifactPrefix = "releases/"

// ReleaseStateMachine names the state machine that releases a fleet.
func ReleaseStateMachine(environment, fleet string) string {
	return StackPrefix(environment) + fleet + "-release"
}

// Of the events a release sends to the account's default event bus.
const (
	ReleaseEventSource = "loadbearing.release"
	ReleaseEventType   = "Release State Change"
)

// ReleaseHeader is the request header whose value, blue or green, decides which
// color answers a tester.
const ReleaseHeader = "X-Release"
