package release

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Outcome is what an analysis comes to.
type Outcome string

// The outcomes.
const (
	Passed       Outcome = "passed"
	Failed       Outcome = "failed"
	Inconclusive Outcome = "inconclusive" // too little traffic to say
)

// Verdict is an analysis of a step so far.
type Verdict struct {
	Outcome Outcome  `json:"outcome"`
	Reason  string   `json:"reason"`
	To      Measured `json:"to"`
	From    Measured `json:"from"` // zero in a rolling release
}

// Measured is what one color answered in a step.
type Measured struct {
	Requests  int      `json:"requests"`
	Errors    int      `json:"errors"` // answers with 5xx, and connections that failed
	P99       Duration `json:"p99"`    // time to the first byte
	Unhealthy int      `json:"unhealthy"`
}

// ErrorPercent is the share of errors.
func (m Measured) ErrorPercent() float64 {
	if m.Requests == 0 {
		return 0
	}
	return 100 * float64(m.Errors) / float64(m.Requests)
}

// judge decides by the plan. firing are alarms of the candidate and of both
// colors that did not fire when the release began; sick is for how many looks in
// a row targets of the candidate have been unhealthy.
//
// One request does not fail a step, since it takes MinErrors, nor one look at an
// unhealthy target, which may be one that is being replaced. And no traffic does
// not pass one.
func (p Plan) judge(to, from Measured, firing []string, sick int) Verdict {
	v := Verdict{To: to, From: from}
	limit := time.Duration(p.MaxP99)
	ratio := ratioOf(to.P99, from.P99)
	noticed := time.Duration(to.P99) > limit/unnoticed
	enough := to.Requests >= p.MinRequests
	switch {
	case len(firing) > 0:
		v.Outcome, v.Reason = Failed, "alarm "+strings.Join(firing, ", ")
	case to.Errors >= p.MinErrors && to.ErrorPercent() > p.MaxErrorPercent:
		v.Outcome = Failed
		v.Reason = fmt.Sprintf("%d of %d requests failed, %.2g %%; allowed are %.2g %%", to.Errors, to.Requests, to.ErrorPercent(), p.MaxErrorPercent)
	case sick >= sickLooks:
		v.Outcome, v.Reason = Failed, fmt.Sprintf("%d targets are unhealthy", to.Unhealthy)
	case enough && time.Duration(to.P99) > limit:
		v.Outcome, v.Reason = Failed, fmt.Sprintf("p99 is %v; allowed are %v", time.Duration(to.P99), limit)
	case enough && noticed && from.Requests >= p.MinRequests && ratio > p.MaxP99Ratio:
		v.Outcome = Failed
		v.Reason = fmt.Sprintf("p99 is %v, %.1f times the %v of the other color; allowed are %g times", time.Duration(to.P99), ratio, time.Duration(from.P99), p.MaxP99Ratio)
	case !enough:
		v.Outcome, v.Reason = Inconclusive, fmt.Sprintf("%d requests; a verdict needs %d", to.Requests, p.MinRequests)
	default:
		v.Outcome, v.Reason = Passed, fmt.Sprintf("%d requests, %d failed, p99 %v", to.Requests, to.Errors, time.Duration(to.P99))
	}
	return v
}

// unnoticed is which part of MaxP99 nobody notices: one millisecond instead of a
// third of one is three times as much, and no reason to go back.
const unnoticed = 10

// sickLooks is how many looks in a row have to find unhealthy targets.
const sickLooks = 2

func ratioOf(a, b Duration) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// period is that of the metrics of a step: the longest one that CloudWatch has
// and that fits into the step. An Application Load Balancer sends its metrics
// once a minute; shorter ones exist where something else sends them, as the
// laptop's does.
func (p Plan) period() time.Duration {
	for _, period := range []time.Duration{time.Minute, 30 * time.Second, 10 * time.Second, 5 * time.Second} {
		if time.Duration(p.Bake) >= period {
			return period
		}
	}
	return time.Second
}

// look is how often a step is looked at.
func (p Plan) look() time.Duration {
	return min(max(time.Duration(p.Bake)/8, time.Second), time.Minute)
}

// patience is how often a release is looked at that waits without a limit of its
// own: ever more seldom, up to once a minute.
func (r *run) patience() time.Duration {
	return min(max(r.state.Plan.look(), r.now.Sub(r.state.Entered)/10), time.Minute)
}

// Names of the load balancer's metrics by target group ("CloudWatch metrics for
// your Application Load Balancer").
var measuredMetrics = []struct{ id, name, statistic string }{
	{"requests", "RequestCount", "Sum"},
	{"errors", "HTTPCode_Target_5XX_Count", "Sum"},
	{"lost", "TargetConnectionErrorCount", "Sum"},
	{"p99", "TargetResponseTime", "p99"},
}

// measure reads what colors answered since a time.
func (c Cloud) measure(ctx context.Context, t contract.ReleaseTarget, since, until time.Time, period time.Duration, colors ...string) (map[string]Measured, error) {
	var queries []cwtypes.MetricDataQuery
	for _, color := range colors {
		for _, m := range measuredMetrics {
			queries = append(queries, cwtypes.MetricDataQuery{
				Id: aws.String(color + "_" + m.id),
				MetricStat: &cwtypes.MetricStat{
					Metric: &cwtypes.Metric{
						Namespace: aws.String("AWS/ApplicationELB"), MetricName: aws.String(m.name),
						Dimensions: []cwtypes.Dimension{
							{Name: aws.String("LoadBalancer"), Value: &t.LoadBalancer},
							{Name: aws.String("TargetGroup"), Value: aws.String(targetGroupName(t.Colors[color].TargetGroup))},
						},
					},
					Period: aws.Int32(int32(period / time.Second)), Stat: aws.String(m.statistic),
				},
			})
		}
	}
	// By id, the values by the beginning of their period.
	found := map[string]map[time.Time]float64{}
	pages := cloudwatch.NewGetMetricDataPaginator(c.Metrics, &cloudwatch.GetMetricDataInput{
		MetricDataQueries: queries,
		// Whole periods: what began before the step counts only from the next one on.
		StartTime: aws.Time(ceil(since, period)), EndTime: aws.Time(until.Truncate(period).Add(period)),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the metrics of %v since %s: %w", colors, since.UTC().Format(time.RFC3339), err)
		}
		for _, r := range page.MetricDataResults {
			values := found[aws.ToString(r.Id)]
			if values == nil {
				values = map[time.Time]float64{}
				found[aws.ToString(r.Id)] = values
			}
			for i, at := range r.Timestamps {
				values[at] += r.Values[i]
			}
		}
	}
	measured := map[string]Measured{}
	for _, color := range colors {
		requests := found[color+"_requests"]
		measured[color] = Measured{
			Requests: int(total(requests)),
			Errors:   int(total(found[color+"_errors"]) + total(found[color+"_lost"])),
			P99:      Duration(typical(found[color+"_p99"], requests) * float64(time.Second)),
		}
	}
	return measured, nil
}

func ceil(t time.Time, period time.Duration) time.Time {
	if whole := t.Truncate(period); !whole.Equal(t) {
		return whole.Add(period)
	}
	return t
}

func total(values map[time.Time]float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum
}

// typical is the median of the periods' percentiles, each with the weight of its
// requests. Percentiles of periods cannot be added up to that of their whole; the
// median neither follows a single slow period nor hides that most are.
func typical(percentiles, requests map[time.Time]float64) float64 {
	type weighted struct{ value, weight float64 }
	var all []weighted
	var sum float64
	for at, value := range percentiles {
		weight := max(requests[at], 1)
		all = append(all, weighted{value, weight})
		sum += weight
	}
	slices.SortFunc(all, func(a, b weighted) int { return cmp.Compare(a.value, b.value) })
	for _, w := range all {
		if sum -= 2 * w.weight; sum <= 0 {
			return w.value
		}
	}
	return 0
}

// targetGroupName is the part of a target group's ARN that is the dimension of
// its metrics: targetgroup/<name>/<id>.
func targetGroupName(arn string) string {
	return arn[strings.LastIndexByte(arn, ':')+1:]
}

// analyze looks at a step: it fails it, passes it when it has been watched long
// enough, or goes on. Once promoted, only alarms count.
func (r *run) analyze(ctx context.Context) error {
	if r.state.Phase == Promoted {
		return r.guard(ctx)
	}
	r.wait = r.state.Plan.look()
	v, err := r.judge(ctx)
	if err != nil {
		return err
	}
	elapsed, bake := r.now.Sub(r.state.Entered), time.Duration(r.state.Plan.Bake)
	switch late := r.overdue(); {
	case v.Outcome == Failed:
		return r.giveUp(ctx, v.Reason)
	case late != "":
		return r.giveUp(ctx, late)
	case r.state.Paused:
		r.wait = r.patience()
		r.state.Reason = "paused"
	case v.Outcome == Inconclusive && elapsed >= bake:
		r.wait = r.patience()
		r.state.Reason = "inconclusive: " + v.Reason
	case elapsed < bake:
		r.state.Reason = ""
		r.wait = min(r.wait, bake-elapsed)
	case r.state.Plan.Strategy == Rolling:
		r.state.Reason = ""
		return r.enter(ctx, Retiring)
	case r.state.Last():
		r.state.Reason = ""
		return r.enter(ctx, Promoting)
	default:
		r.state.Reason = ""
		r.state.Step++
		return r.enter(ctx, Shifting)
	}
	return r.save(ctx)
}

// judge takes a verdict on the step so far and notes it in the state.
func (r *run) judge(ctx context.Context) (Verdict, error) {
	s := &r.state
	colors := []string{s.To}
	if s.From != s.To {
		colors = append(colors, s.From)
	}
	measured, err := r.Cloud.measure(ctx, r.target, s.Entered, r.now, s.Plan.period(), colors...)
	if err != nil {
		return Verdict{}, err
	}
	h, err := r.Cloud.health(ctx, r.target.Colors[s.To].TargetGroup)
	if err != nil {
		return Verdict{}, err
	}
	if s.Sick++; h.unhealthy == 0 {
		s.Sick = 0
	}
	to := measured[s.To]
	to.Unhealthy = h.unhealthy
	firing, err := r.firing(ctx)
	if err != nil {
		return Verdict{}, err
	}
	var from Measured
	if s.From != s.To {
		from = measured[s.From]
	}
	v := s.Plan.judge(to, from, firing, s.Sick)
	s.Verdict = &v
	return v, nil
}

// firing are alarms that count: not those that have fired since before the
// release.
func (r *run) firing(ctx context.Context) ([]string, error) {
	now, err := r.Cloud.firing(ctx, r.alarms(r.state.To)...)
	if err != nil {
		return nil, err
	}
	r.state.Firing = slices.DeleteFunc(r.state.Firing, func(a string) bool { return !slices.Contains(now, a) })
	return slices.DeleteFunc(now, func(a string) bool { return slices.Contains(r.state.Firing, a) }), nil
}

// guard watches what has been promoted until its window is over.
func (r *run) guard(ctx context.Context) error {
	left := time.Duration(r.state.Plan.Window) - r.now.Sub(r.state.Entered)
	if left <= 0 {
		return r.enter(ctx, Retiring)
	}
	r.wait = min(left, max(r.state.Plan.look(), left/60))
	firing, err := r.firing(ctx)
	if err != nil {
		return err
	}
	if len(firing) > 0 {
		return r.giveUp(ctx, "alarm "+strings.Join(firing, ", "))
	}
	return nil
}
