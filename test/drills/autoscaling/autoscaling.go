// Package autoscaling is the drill of concept 2: capacity follows connections
// while processors idle, and what is above capacity meanwhile is refused at once.
package autoscaling

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	gops "github.com/shirou/gopsutil/v4/process"

	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/load"
)

// Drill returns the drill.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "auto-scaling",
		Summary: "capacity follows connections up and down while processors idle; what is above it meanwhile is refused, fast",
		Parts: []drill.Part{
			{Name: "ramp", Summary: "event streams come and go, and instances with them", Limit: 8 * time.Minute, Run: ramp},
			{Name: "overload", Summary: "ten times the requests that an instance has capacity for", Limit: 4 * time.Minute, Run: overload},
		},
	}
}

// perUser is how many streams a user has, as many as one instance allows: to a
// new instance the load balancer sends all of them.
const perUser = 20

// idle is how busy the processors may be at most, in percent, for connections
// and nothing else to be what the fleet grows for: the policy on processors
// starts at 60.
const idle = 40

// ramp: streams come, more than two instances should have, until the policy has
// started others; most of them go, and it takes instances away again, from which
// those that are left move on without a word lost.
func ramp(ctx context.Context, r *drill.Run) error {
	group, target, err := policy(ctx, r)
	if err != nil {
		return err
	}
	floor := int(aws.ToInt32(group.MinSize))
	if err := settled(ctx, r, floor); err != nil {
		return err
	}
	status, err := r.Status()
	if err != nil {
		return err
	}
	want := min(floor+drill.Sized(r, 1, 2), int(aws.ToInt32(group.MaxSize)))
	// In the middle of what asks for so many.
	n := int(target * (float64(want) - 0.5))
	r.Say("%d streams, %.0f an instance where %.0f should be: %d instances are to become %d", n, float64(n)/float64(floor), target, floor, want)

	listening, leave := context.WithCancel(ctx)
	defer leave()
	a := &audience{edge: status.EdgeURL}
	defer a.running.Wait()
	defer leave()
	keep := 100 // of each user a few, which stay to the end
	began := time.Now()
	if err := a.come(listening, n, keep); err != nil {
		return err
	}
	busy, err := processors(ctx, r, func(ctx context.Context) error { return settled(ctx, r, want) })
	if err != nil {
		return err
	}
	out := time.Since(began)
	r.Figure("ramp_streams", n)
	r.Figure("ramp_instances_before", floor)
	r.Figure("ramp_instances", want)
	r.Figure("ramp_out_seconds", out.Seconds())
	r.Figure("ramp_processor_percent", busy)
	r.Check(busy <= idle, "the processors of the fleet were %.0f %% busy: that is no proof that it grows for connections", busy)
	r.Check(a.lost() == 0, "%d streams were dropped while the fleet grew", a.lost())

	a.thin()
	r.Say("all but %d streams are closed", keep)
	began = time.Now()
	if err := settled(ctx, r, floor); err != nil {
		return err
	}
	r.Figure("ramp_in_seconds", time.Since(began).Seconds())
	if err := drill.Await(ctx, "every stream that is left is open", func(context.Context) (bool, error) { return a.open() == keep, nil }); err != nil {
		return err
	}
	r.Figure("ramp_streams_held", keep)
	r.Figure("ramp_streams_moved", a.moved())
	r.Figure("ramp_streams_dropped", a.lost())
	r.Check(a.moved() > 0, "no stream was on an instance that was taken away")
	r.Check(a.lost() == 0, "%d held streams were dropped without being told to go on elsewhere", a.lost())
	return said(ctx, r, want)
}

// said checks that Auto Scaling tells of its decision in its own words.
func said(ctx context.Context, r *drill.Run, want int) error {
	name := r.Group(contract.FleetWeb, contract.ColorBlue)
	out, err := autoscaling.NewFromConfig(r.AWS).DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &name})
	if err != nil {
		return fmt.Errorf("read the activities of Auto Scaling group %s: %w", name, err)
	}
	for _, a := range out.Activities {
		if strings.Contains(aws.ToString(a.Cause), "a monitor alarm") && strings.Contains(aws.ToString(a.Cause), fmt.Sprintf("to %d", want)) {
			r.Say("%s", aws.ToString(a.Cause))
			return nil
		}
	}
	r.Check(false, "no activity of %d tells of an alarm that changed the desired capacity to %d", len(out.Activities), want)
	return nil
}

// policy returns the web group, and how many connections an instance should have.
func policy(ctx context.Context, r *drill.Run) (group types.AutoScalingGroup, target float64, err error) {
	client := autoscaling.NewFromConfig(r.AWS)
	name := r.Group(contract.FleetWeb, contract.ColorBlue)
	groups, err := client.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil || len(groups.AutoScalingGroups) != 1 {
		return group, 0, fmt.Errorf("read Auto Scaling group %s: %w", name, err)
	}
	group = groups.AutoScalingGroups[0]
	policies, err := client.DescribePolicies(ctx, &autoscaling.DescribePoliciesInput{AutoScalingGroupName: &name})
	if err != nil {
		return group, 0, fmt.Errorf("read the policies of Auto Scaling group %s: %w", name, err)
	}
	for _, p := range policies.ScalingPolicies {
		if t := p.TargetTrackingConfiguration; t != nil && t.CustomizedMetricSpecification != nil &&
			aws.ToString(t.CustomizedMetricSpecification.MetricName) == contract.MetricActiveConnections {
			return group, aws.ToFloat64(t.TargetValue), nil
		}
	}
	return group, 0, fmt.Errorf("no policy of Auto Scaling group %s is on %s", name, contract.MetricActiveConnections)
}

// settled waits until exactly n web instances serve.
func settled(ctx context.Context, r *drill.Run, n int) error {
	_, err := r.AwaitStatus(ctx, fmt.Sprintf("%d web instances serve", n), func(s local.Status) bool {
		all := drill.Instances(s, contract.FleetWeb, contract.ColorBlue)
		return len(all) == n && !slices.ContainsFunc(all, func(i local.Instance) bool { return i.State != "in-service" })
	})
	return err
}

// processors returns how busy, in percent of a processor each, the web instances
// were while something lasted, on average.
func processors(ctx context.Context, r *drill.Run, during func(context.Context) error) (float64, error) {
	s, err := r.Status()
	if err != nil {
		return 0, err
	}
	all := drill.Instances(s, contract.FleetWeb, contract.ColorBlue)
	used := func() (seconds float64, err error) {
		for _, i := range all {
			p, err := gops.NewProcess(int32(i.PID))
			if err != nil {
				return 0, fmt.Errorf("look at instance %s: %w", i.ID, err)
			}
			t, err := p.TimesWithContext(ctx)
			if err != nil {
				return 0, fmt.Errorf("look at instance %s: %w", i.ID, err)
			}
			seconds += t.User + t.System
		}
		return seconds, nil
	}
	before, err := used()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := during(ctx); err != nil {
		return 0, err
	}
	after, err := used()
	return 100 * (after - before) / time.Since(began).Seconds() / float64(len(all)), err
}

// audience are event streams.
type audience struct {
	edge    string
	running sync.WaitGroup
	stay    []*stream
	rest    []*stream
}

// stream is one of them. One that ends without a hint to resume was dropped.
type stream struct {
	leave context.CancelFunc

	mu      sync.Mutex
	isOpen  bool
	hinted  bool
	moves   int
	dropped int
	refused error
}

// come has n streams open, of which keep are those that stay.
func (a *audience) come(ctx context.Context, n, keep int) error {
	var user *drill.Tenant
	for i := range n {
		if i%perUser == 0 {
			var err error
			if user, err = drill.NewTenant(ctx, a.edge, fmt.Sprintf("Auto scaling %d", i/perUser)); err != nil {
				return err
			}
		}
		s := &stream{}
		ctx, leave := context.WithCancel(ctx)
		s.leave = leave
		if i%(n/keep) == 0 && len(a.stay) < keep {
			a.stay = append(a.stay, s)
		} else {
			a.rest = append(a.rest, s)
		}
		l := &api.Listener{Client: user.Client, Transport: api.SSE, Hear: s.hear, Base: func() string {
			s.connecting()
			return a.edge
		}}
		a.running.Go(func() {
			if err := l.Run(ctx); err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.refused = err
			}
		})
	}
	return drill.Await(ctx, fmt.Sprintf("%d streams are open", n), func(context.Context) (bool, error) {
		for _, s := range slices.Concat(a.stay, a.rest) {
			s.mu.Lock()
			err := s.refused
			s.mu.Unlock()
			if err != nil {
				return false, err
			}
		}
		return a.open() == n, nil
	})
}

func (s *stream) hear(e api.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case "ready":
		s.isOpen = true
	case "resume":
		s.hinted = true
	}
}

// connecting notes that it has to connect, and whether it was told to.
func (s *stream) connecting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.hinted:
		s.moves++
	case s.isOpen:
		s.dropped++
	}
	s.isOpen, s.hinted = false, false
}

func (a *audience) sum(of func(*stream) int) int {
	n := 0
	for _, s := range slices.Concat(a.stay, a.rest) {
		s.mu.Lock()
		n += of(s)
		s.mu.Unlock()
	}
	return n
}

func (a *audience) open() int {
	return a.sum(func(s *stream) int {
		if s.isOpen {
			return 1
		}
		return 0
	})
}
func (a *audience) moved() int { return a.sum(func(s *stream) int { return s.moves }) }
func (a *audience) lost() int  { return a.sum(func(s *stream) int { return s.dropped }) }

// thin closes those that do not stay.
func (a *audience) thin() {
	for _, s := range a.rest {
		s.leave()
	}
	a.rest = nil
}

// overload: an instance whose database is slow has capacity for some forty
// requests a second and is sent ten times as many. Those it accepts take as long
// as they do without the rest; the others are refused at once and told when to
// come back.
func overload(ctx context.Context, r *drill.Run) error {
	status, err := r.AwaitStatus(ctx, "a web instance is in service", func(s local.Status) bool {
		return len(drill.Instances(s, contract.FleetWeb, contract.ColorBlue)) > 0
	})
	if err != nil {
		return err
	}
	program, err := drill.ProgramOf(drill.Instances(status, contract.FleetWeb, contract.ColorBlue)[0])
	if err != nil {
		return err
	}
	primary, err := r.Setting(ctx, contract.DatabasePrimary)
	if err != nil {
		return err
	}
	link, err := drill.NewLink(ctx, primary, func(p drill.Piece) error {
		if p.Answer {
			time.Sleep(far)
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer link.Close()
	tenant, err := drill.NewTenant(ctx, status.EdgeURL, "Overload")
	if err != nil {
		return err
	}
	web, err := r.Stand(ctx, program, 0, map[string]string{
		contract.DatabasePrimary.Env(): link.Addr, contract.DatabaseReplicas.Env(): link.Addr,
		settings.EnvDatabaseConnections: "4",
	})
	if err != nil {
		return err
	}
	defer web.Close()
	requests := []load.Request{{Method: http.MethodGet, URL: web.URL() + "/v1/projects", Header: http.Header{"Cookie": {tenant.CookieHeader("/v1/projects")}}}}

	// What it does without too much: as many clients as its pool has connections.
	alone, err := load.Run(ctx, []string{requests[0].URL}, requests[0].Header, 4, drill.Sized(r, 5*time.Second, 15*time.Second))
	if err != nil {
		return err
	}
	if alone.PerSecond < 1 || alone.Failed > 0 {
		return fmt.Errorf("without too much load %d of %d requests failed: %v", alone.Failed, alone.Requests, alone.Errors)
	}
	offered := min(int(10*alone.PerSecond), load.MaxPerSecond)
	r.Say("an instance serves %.0f requests a second, p99 %v, and is offered %d", alone.PerSecond, alone.P99.Round(time.Millisecond), offered)
	served, refused, other, hints := []time.Duration{}, []time.Duration{}, 0, 0
	lasts := drill.Sized(r, 8*time.Second, 30*time.Second)
	over, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	if err := load.Constant(over, offered, func() load.Request { return requests[0] }, func(a load.Answer) {
		switch a.Status {
		case http.StatusOK:
			served = append(served, a.Latency)
		case http.StatusServiceUnavailable:
			refused = append(refused, a.Latency)
			if a.Header.Get("Retry-After") != "" {
				hints++
			}
		default:
			other++
		}
	}); err != nil {
		return err
	}
	good := float64(len(served)) / lasts.Seconds() / alone.PerSecond
	r.Figure("overload_offered_to_capacity", float64(offered)/alone.PerSecond)
	r.Figure("overload_served_to_capacity", good)
	r.Figure("overload_served_p99_to_alone", float64(percentile(served, 99))/float64(alone.P99))
	r.Figure("overload_refused_percent", 100*float64(len(refused))/float64(len(served)+len(refused)+other))
	r.Figure("overload_refused_to_served_p50", float64(percentile(refused, 50))/float64(percentile(served, 50)))
	r.Figure("overload_refused_to_served_p99", float64(percentile(refused, 99))/float64(percentile(served, 99)))
	r.Check(len(refused) > len(served), "%d requests were refused and %d served: that was no overload", len(refused), len(served))
	r.Check(other == 0, "%d requests were neither served nor refused with 503", other)
	r.Check(hints == len(refused), "%d of %d refusals say when to come back", hints, len(refused))
	r.Check(good >= 0.7, "of what it serves without overload an instance serves %.0f %%", 100*good)
	r.Check(percentile(refused, 50) < percentile(served, 50)/2 && percentile(refused, 99) < percentile(served, 99),
		"refusals take %v and %v (p50 and p99), answers %v and %v", percentile(refused, 50), percentile(refused, 99), percentile(served, 50), percentile(served, 99))
	return drill.Await(ctx, "what it served before is served again, and none refused", func(ctx context.Context) (bool, error) {
		again, err := load.Run(ctx, []string{requests[0].URL}, requests[0].Header, 4, time.Second)
		return again.Failed == 0 && again.PerSecond > alone.PerSecond/2, err
	})
}

// far is how far away the database is made to be.
const far = 80 * time.Millisecond

func percentile(of []time.Duration, p int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
