package rotation

import (
	"cmp"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"

	"github.com/loadbearing/loadbearing/constructs/edge"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/loadbalancer"
)

// Source is the import path of the program that rotates. It is built where the app
// is synthesized, so a module that imports this package names it as a tool in its
// go.mod, for what it imports in turn: go get -tool, with this path.
const Source = "github.com/loadbearing/loadbearing/lambdas/rotate-origin"

const (
	day = 24 * time.Hour

	// maxEvery is the longest that Secrets Manager schedules by days (API
	// reference, RotationRulesType).
	maxEvery = 1000 * day

	// longest is Lambda's. A change of a distribution takes about five minutes,
	// and what does not end in time is taken up again by the next attempt.
	longest = 15 * time.Minute
)

// Props configures a Rotation. LoadBalancer and Edge are required; everything
// else has a production default.
type Props struct {
	// LoadBalancer requires the header, whose value its OriginSecret holds.
	LoadBalancer *loadbalancer.LoadBalancer

	// Edge sends the header to LoadBalancer.
	Edge *edge.Edge

	// Every is how long a value is in use. Default 30 days; 1 to 1000 whole days.
	Every time.Duration

	// Immediately rotates as soon as the schedule is made or changed. Default: when
	// Every has passed for the first time. Secrets Manager tries the last but one
	// step at once either way.
	Immediately bool

	// Function is what the rotation runs as; its Environment gets what the program
	// needs. Default the program of this module at Source, with a Timeout of 15 min.
	Function function.Props

	// OverrideSchedule has the last word on the rotation schedule.
	OverrideSchedule func(*awssecretsmanager.CfnRotationScheduleProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

func (p Props) withDefaults() Props {
	p.Every = cmp.Or(p.Every, 30*day)
	if p.Function.Source == "" && p.Function.Binary == nil {
		p.Function.Source = Source
	}
	p.Function.Timeout = cmp.Or(p.Function.Timeout, longest)
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.LoadBalancer != nil, "LoadBalancer", "nil", "a load balancer")
	bad.Check(p.Edge != nil, "Edge", "nil", "an edge")
	bad.Check(p.Every >= day && p.Every <= maxEvery && p.Every%day == 0, "Every", p.Every, "24h0m0s to 24000h0m0s in whole days")
	bad.Merge("Function", p.Function.Validate())
	return bad.Err("rotation")
}
