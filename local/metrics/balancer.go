package metrics

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/loadbearing/loadbearing/local/edge/alb"
)

const namespaceALB = "AWS/ApplicationELB"

// Balancer publishes AWS/ApplicationELB: what the load balancer counted, by
// load balancer and by target group, with AWS's names, dimensions and reporting
// criteria. Nobody has to ask for these: a release is judged by them. Those by
// Availability Zone are left out, there is one zone here.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
type Balancer struct {
	API          API
	LoadBalancer *alb.Server
	Every        time.Duration // how long a minute of CloudWatch lasts
	Log          *slog.Logger
}

// Run publishes until ctx is done, each period when it is over. Its data points
// carry the time at which the period began, as AWS's do.
func (b Balancer) Run(ctx context.Context) {
	first := time.NewTimer(time.Until(time.Now().Truncate(b.Every).Add(b.Every)))
	defer first.Stop()
	select {
	case <-ctx.Done():
		return
	case <-first.C:
	}
	tick := time.NewTicker(b.Every)
	defer tick.Stop()
	said := ""
	for {
		// The middle of the period that is over: a tick may be a little early.
		at := time.Now().Add(-b.Every / 2).Truncate(b.Every)
		err := b.Publish(ctx, at)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			b.Log.Error("metrics of the load balancer are missing", "error", err)
		}
		said = ""
		if err != nil {
			said = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Publish publishes what was counted since it was last called as of a time.
func (b Balancer) Publish(ctx context.Context, at time.Time) error {
	for batch := range slices.Chunk(data(b.LoadBalancer.Collect(), at), mostData) {
		if _, err := b.API.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String(namespaceALB), MetricData: batch}); err != nil {
			return fmt.Errorf("publish metrics of %s: %w", namespaceALB, err)
		}
	}
	return nil
}

// Measure implements Source for alarms of scaling policies, which ask for
// metrics that Run publishes anyway.
func (b Balancer) Measure(_ context.Context, m types.Metric) ([]float64, error) {
	if aws.ToString(m.MetricName) != "RequestCountPerTarget" {
		return nil, ErrUnknown
	}
	return nil, nil
}

// mostValues is how many values a datum of PutMetricData may have.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
const mostValues = 150

// data makes the data points of a period.
func data(s alb.Stats, at time.Time) []types.MetricDatum {
	if s.ARN == "" {
		return nil // nothing deployed
	}
	var list []types.MetricDatum
	add := func(name string, unit types.StandardUnit, by []types.Dimension, values, counts []float64) {
		list = append(list, types.MetricDatum{
			MetricName: &name, Unit: unit, Dimensions: by, Values: values, Counts: counts, Timestamp: &at,
			StorageResolution: aws.Int32(1), // seconds: high resolution
		})
	}
	always := func(name string, by []types.Dimension, value float64) {
		add(name, types.StandardUnitCount, by, []float64{value}, nil)
	}
	// Most are reported when there is a nonzero value.
	count := func(name string, by []types.Dimension, n int64) {
		if n != 0 {
			always(name, by, float64(n))
		}
	}
	times := func(by []types.Dimension, observed []alb.ResponseTime) {
		for part := range slices.Chunk(observed, mostValues) {
			values, counts := make([]float64, len(part)), make([]float64, len(part))
			for i, o := range part {
				values[i], counts[i] = o.Seconds, float64(o.Count)
			}
			add("TargetResponseTime", types.StandardUnitSeconds, by, values, counts)
		}
	}

	balancer := types.Dimension{Name: aws.String("LoadBalancer"), Value: aws.String(lastPart(s.ARN, ":loadbalancer/"))}
	byBalancer := []types.Dimension{balancer}
	total := alb.GroupStats{}
	seconds := map[float64]int64{}
	for _, g := range s.Groups {
		group := types.Dimension{Name: aws.String("TargetGroup"), Value: aws.String("targetgroup/" + lastPart(g.ARN, ":targetgroup/"))}
		by := []types.Dimension{balancer, group}
		targets(g, by, count)
		times(by, g.ResponseTimes)
		always("HealthyHostCount", by, float64(g.Healthy))
		always("UnHealthyHostCount", by, float64(g.Unhealthy))
		// Over the registered targets when none is healthy.
		if over := cmp.Or(g.Healthy, g.Registered); over > 0 {
			always("RequestCountPerTarget", by, float64(g.Requests)/float64(over))
			always("RequestCountPerTarget", []types.Dimension{group}, float64(g.Requests)/float64(over))
		}

		total.Requests += g.Requests
		total.ConnectionErrors += g.ConnectionErrors
		for class, n := range g.Answers {
			total.Answers[class] += n
		}
		for _, o := range g.ResponseTimes {
			seconds[o.Seconds] += o.Count
		}
	}
	for at, n := range seconds {
		total.ResponseTimes = append(total.ResponseTimes, alb.ResponseTime{Seconds: at, Count: n})
	}
	targets(total, byBalancer, count)
	times(byBalancer, total.ResponseTimes)
	count("ActiveConnectionCount", byBalancer, s.ActiveConnections)
	count("NewConnectionCount", byBalancer, s.NewConnections)
	count("RejectedConnectionCount", byBalancer, s.RejectedConnections)
	count("HTTP_Fixed_Response_Count", byBalancer, s.FixedResponses)
	count("HTTP_Redirect_Count", byBalancer, s.Redirects)
	var classes [6]int64
	for status, n := range s.Own {
		classes[status/100] += n
		switch status {
		case 500, 502, 503, 504:
			count(fmt.Sprintf("HTTPCode_ELB_%d_Count", status), byBalancer, n)
		}
	}
	for class := 3; class <= 5; class++ {
		count(fmt.Sprintf("HTTPCode_ELB_%dXX_Count", class), byBalancer, classes[class])
	}
	return list
}

// targets counts the requests that reached targets.
func targets(g alb.GroupStats, by []types.Dimension, count func(name string, by []types.Dimension, n int64)) {
	count("RequestCount", by, g.Requests)
	count("TargetConnectionErrorCount", by, g.ConnectionErrors)
	for class := 2; class <= 5; class++ {
		count(fmt.Sprintf("HTTPCode_Target_%dXX_Count", class), by, g.Answers[class])
	}
}

// lastPart is what stands for a load balancer or target group in a dimension:
// app/<name>/<id> or targetgroup/<name>/<id>, the end of its ARN.
func lastPart(arn, after string) string {
	if _, part, found := strings.Cut(arn, after); found {
		return part
	}
	return arn
}
