package scaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// point is one data point of an alarm's metric.
type point struct {
	at    time.Time
	value float64
}

// here is how long a number of AWS's seconds lasts locally, and at least one
// second, the shortest period CloudWatch has.
func here(seconds int32) time.Duration {
	return max(time.Second, (time.Duration(seconds) * Minute / 60).Round(time.Second))
}

// queries asks for what an alarm compares with its threshold, and returns the
// period the answer has. What is counted by period, a Sum or a SampleCount, is
// scaled up to AWS's period, so that a target of requests a minute means a
// minute's requests at the rate of now.
func queries(a types.MetricAlarm) ([]types.MetricDataQuery, time.Duration, error) {
	if a.MetricName != nil {
		stat := cmp.Or(string(a.Statistic), aws.ToString(a.ExtendedStatistic))
		a.Metrics = []types.MetricDataQuery{{Id: aws.String("metric"), MetricStat: &types.MetricStat{
			Metric: &types.Metric{Namespace: a.Namespace, MetricName: a.MetricName, Dimensions: a.Dimensions},
			Period: a.Period, Stat: &stat,
		}}}
	}
	var asked []types.MetricDataQuery
	var period time.Duration
	for _, q := range a.Metrics {
		if q.MetricStat == nil {
			asked = append(asked, q)
			continue
		}
		stat, seconds := *q.MetricStat, cmp.Or(aws.ToInt32(q.MetricStat.Period), 60)
		if period != 0 && period != here(seconds) {
			return nil, 0, fmt.Errorf("its metrics have different periods, which is not supported here")
		}
		period = here(seconds)
		stat.Period = aws.Int32(int32(period / time.Second))
		q.MetricStat = &stat
		if s := aws.ToString(stat.Stat); s == "Sum" || s == "SampleCount" {
			raw := aws.ToString(q.Id) + "_here"
			scaled := types.MetricDataQuery{
				Id: q.Id, ReturnData: q.ReturnData,
				Expression: aws.String(raw + " * " + strconv.FormatFloat(float64(seconds)/period.Seconds(), 'f', -1, 64)),
			}
			q.Id, q.ReturnData = &raw, aws.Bool(false)
			asked = append(asked, q, scaled)
			continue
		}
		asked = append(asked, q)
	}
	if period == 0 {
		return nil, 0, fmt.Errorf("it has no metric")
	}
	return asked, period, nil
}

// lookBack is how many times its evaluation periods an alarm looks back for as
// many data points. CloudWatch too makes up for missing ones with earlier ones,
// and does not say how far it goes; a busy laptop misses some.
const lookBack = 5

// begin is where an alarm looks back to from a time, the period of which it
// looks at.
func begin(a types.MetricAlarm, period time.Duration, at time.Time) time.Time {
	return at.Truncate(period).Add(period - lookBack*time.Duration(aws.ToInt32(a.EvaluationPeriods))*period)
}

// points reads what was asked for, the oldest first.
func points(ctx context.Context, api AlarmAPI, asked []types.MetricDataQuery, from, to time.Time) ([]point, error) {
	out, err := api.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{StartTime: &from, EndTime: &to, MetricDataQueries: asked})
	if err != nil {
		return nil, fmt.Errorf("read its metric: %w", err)
	}
	if len(out.MetricDataResults) != 1 {
		return nil, fmt.Errorf("its metrics return %d series, not one", len(out.MetricDataResults))
	}
	r := out.MetricDataResults[0]
	if r.StatusCode != types.StatusCodeComplete || len(r.Values) != len(r.Timestamps) {
		var why []string
		for _, m := range r.Messages {
			why = append(why, aws.ToString(m.Value))
		}
		return nil, fmt.Errorf("read its metric: %s %s", r.StatusCode, strings.Join(why, "; "))
	}
	found := make([]point, len(r.Values))
	for i, v := range r.Values {
		found[i] = point{r.Timestamps[i], v}
	}
	slices.SortFunc(found, func(a, b point) int { return a.at.Compare(b.at) })
	return found, nil
}

// verdict is an alarm's state and why, and the latest value of its metric when
// there is one.
type verdict struct {
	state  types.StateValue
	reason string
	value  *float64
}

// mostSaid is how many data points a reason names, as CloudWatch's do.
const mostSaid = 5

// judge compares an alarm's latest points with its threshold as CloudWatch does.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
func judge(a types.MetricAlarm, found []point) (verdict, error) {
	breaches, relation, err := comparison(a)
	if err != nil {
		return verdict{}, err
	}
	periods := int(aws.ToInt32(a.EvaluationPeriods))
	latest := found[max(0, len(found)-periods):]
	missing := periods - len(latest)
	breaching := 0
	v := verdict{state: types.StateValueOk}
	var seen []string
	for _, p := range latest {
		if breaches(p.value) {
			breaching++
		}
		v.value = &p.value
		if len(seen) == mostSaid {
			seen = seen[1:]
		}
		seen = append(seen, fmt.Sprintf("%v (%s)", p.value, p.at.UTC().Format("02/01/06 15:04:05")))
	}
	if missing > 0 {
		switch cmp.Or(aws.ToString(a.TreatMissingData), "missing") {
		case "missing":
			v.state, v.reason = types.StateValueInsufficientData, fmt.Sprintf("Insufficient Data: %d datapoints were unknown.", missing)
			return v, nil
		case "ignore":
			v.state, v.reason = a.StateValue, aws.ToString(a.StateReason)
			return v, nil
		case "breaching":
			breaching += missing
		}
	}
	if breaching >= int(cmp.Or(aws.ToInt32(a.DatapointsToAlarm), int32(periods))) {
		v.state = types.StateValueAlarm
	}
	v.reason = fmt.Sprintf("Threshold Crossed: %d of the last %d datapoints were %s the threshold (%v). The most recent datapoints: [%s].",
		breaching, periods, relation, aws.ToFloat64(a.Threshold), strings.Join(seen, ", "))
	return v, nil
}

func comparison(a types.MetricAlarm) (breaches func(float64) bool, relation string, err error) {
	threshold := aws.ToFloat64(a.Threshold)
	switch a.ComparisonOperator {
	case types.ComparisonOperatorGreaterThanThreshold:
		return func(v float64) bool { return v > threshold }, "greater than", nil
	case types.ComparisonOperatorGreaterThanOrEqualToThreshold:
		return func(v float64) bool { return v >= threshold }, "greater than or equal to", nil
	case types.ComparisonOperatorLessThanThreshold:
		return func(v float64) bool { return v < threshold }, "less than", nil
	case types.ComparisonOperatorLessThanOrEqualToThreshold:
		return func(v float64) bool { return v <= threshold }, "less than or equal to", nil
	}
	return nil, "", fmt.Errorf("its comparison %s is not supported here", a.ComparisonOperator)
}

// above tells that an alarm fires when its metric is high.
func above(a types.MetricAlarm) bool {
	return strings.HasPrefix(string(a.ComparisonOperator), "GreaterThan")
}

// metricsOf are the metrics an alarm reads.
func metricsOf(a types.MetricAlarm) []types.Metric {
	if a.MetricName != nil {
		return []types.Metric{{Namespace: a.Namespace, MetricName: a.MetricName, Dimensions: a.Dimensions}}
	}
	var all []types.Metric
	for _, q := range a.Metrics {
		if q.MetricStat != nil && q.MetricStat.Metric != nil {
			all = append(all, *q.MetricStat.Metric)
		}
	}
	return all
}
