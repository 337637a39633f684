package connections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// callTimeout bounds one call with its retries: the next value is worth more
// than the last one late.
const callTimeout = 10 * time.Second

// API is the part of CloudWatch that a Publisher uses.
type API interface {
	PutMetricData(context.Context, *cloudwatch.PutMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error)
}

// Options say what a Publisher publishes, and where.
type Options struct {
	API   API
	Gauge *Gauge // whose Mean nobody else calls
	Group string // name of the Auto Scaling group

	// Interval between two calls. A minute is what CloudWatch keeps at its standard
	// resolution; values of a shorter one are kept by the second.
	Interval time.Duration

	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Publisher sends the mean of each interval to CloudWatch, as
// contract.MetricActiveConnections of a group: one value of each instance, so
// that CloudWatch's Average is the average per instance. Zero is sent too: a
// group whose instances say nothing is never scaled in.
type Publisher struct {
	o      Options
	mean   prometheus.Gauge
	failed prometheus.Counter
}

// NewPublisher returns a publisher that Run starts.
func NewPublisher(o Options) (*Publisher, error) {
	p := &Publisher{
		o: o,
		mean: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "loadbearing_active_connections_mean",
			Help: "Requests, streams and sockets open at a time, on average over the last interval: what CloudWatch was given last.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "loadbearing_active_connections_unpublished_total", Help: "Intervals whose mean CloudWatch did not take.",
		}),
	}
	if err := errors.Join(o.Metrics.Register(p.mean), o.Metrics.Register(p.failed)); err != nil {
		return nil, fmt.Errorf("register the metrics of connections: %w", err)
	}
	return p, nil
}

// Run publishes until ctx ends. What CloudWatch answers matters to nobody but
// the log: requests are served without it. An instance that drains should
// publish no more: it takes no new requests, and what it still finishes would
// pull the average of those that do down.
func (p *Publisher) Run(ctx context.Context) {
	tick := time.NewTicker(p.o.Interval)
	defer tick.Stop()
	p.o.Gauge.Mean() // what came before is not of the first interval
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-tick.C:
			mean := p.o.Gauge.Mean()
			p.mean.Set(mean)
			err := p.put(ctx, at, mean)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				p.failed.Inc()
				if !silent { // once an outage
					p.o.Log.WarnContext(ctx, "the group does not see how many connections are active here", "group", p.o.Group, "error", err)
				}
			case silent:
				p.o.Log.InfoContext(ctx, "the group sees again how many connections are active here", "group", p.o.Group)
			}
			silent = err != nil
		}
	}
}

func (p *Publisher) put(ctx context.Context, at time.Time, value float64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	datum := types.MetricDatum{
		MetricName: aws.String(contract.MetricActiveConnections), Timestamp: &at, Value: &value, Unit: types.StandardUnitCount,
		Dimensions: []types.Dimension{{Name: aws.String(contract.DimensionGroup), Value: &p.o.Group}},
	}
	if p.o.Interval < time.Minute {
		datum.StorageResolution = aws.Int32(1) // seconds; the alternative is 60, the default
	}
	_, err := p.o.API.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{
		Namespace: aws.String(contract.MetricNamespace), MetricData: []types.MetricDatum{datum},
	})
	if err != nil {
		return fmt.Errorf("publish %s of %s: %w", contract.MetricActiveConnections, p.o.Group, err)
	}
	return nil
}
