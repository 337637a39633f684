// Package metrics publishes to CloudWatch what AWS services say of themselves
// there and the emulator's do not: the length of SQS queues, the instances and
// the processor time of Auto Scaling groups, the requests of target groups.
// Each value is measured where it is real: in the queue, the processes, the
// load balancer.
//
// Those of the load balancer are published all the time, as AWS does. Another
// one is published while somebody asks for it, which are the alarms of the
// deployed scaling policies.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// mostData is how many data PutMetricData takes.
const mostData = 1000

// ErrUnknown says that nothing measures a metric here.
var ErrUnknown = errors.New("nothing publishes it locally")

// Source measures the metrics of one namespace.
type Source interface {
	// Measure returns a metric's values since it was last asked for, or as they
	// are now: one for each instance it is an aggregate of, none when there is
	// no data. It is ErrUnknown when AWS has no such metric or it is not
	// measured here.
	Measure(ctx context.Context, m types.Metric) ([]float64, error)
}

// API takes data points.
type API interface {
	PutMetricData(context.Context, *cloudwatch.PutMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error)
}

// Publisher publishes what its sources measure.
type Publisher struct {
	API     API
	Sources map[string]Source // by namespace
}

// Publish measures the metrics and publishes their values as of a time. What
// lies in a namespace that is not AWS's own is left to who publishes it. The
// error joins what failed; the rest is published all the same.
func (p Publisher) Publish(ctx context.Context, at time.Time, wanted []types.Metric) error {
	var errs []error
	data := map[string][]types.MetricDatum{}
	seen := map[string]bool{}
	for _, m := range wanted {
		namespace, name := aws.ToString(m.Namespace), Name(m)
		if !strings.HasPrefix(namespace, "AWS/") || seen[name] {
			continue
		}
		seen[name] = true
		source := p.Sources[namespace]
		if source == nil {
			errs = append(errs, fmt.Errorf("metric %s: %w", name, ErrUnknown))
			continue
		}
		values, err := source.Measure(ctx, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("metric %s: %w", name, err))
			continue
		}
		if len(values) > 0 {
			data[namespace] = append(data[namespace], types.MetricDatum{
				MetricName: m.MetricName, Dimensions: m.Dimensions, Timestamp: &at, Values: values,
				StorageResolution: aws.Int32(1), // seconds: high resolution
			})
		}
	}
	for namespace, list := range data {
		for batch := range slices.Chunk(list, mostData) {
			if _, err := p.API.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: &namespace, MetricData: batch}); err != nil {
				errs = append(errs, fmt.Errorf("publish metrics of %s: %w", namespace, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Name writes a metric as AWS/SQS ApproximateNumberOfMessagesVisible{QueueName=jobs}.
func Name(m types.Metric) string {
	var dimensions []string
	for _, d := range m.Dimensions {
		dimensions = append(dimensions, aws.ToString(d.Name)+"="+aws.ToString(d.Value))
	}
	slices.Sort(dimensions)
	return fmt.Sprintf("%s %s{%s}", aws.ToString(m.Namespace), aws.ToString(m.MetricName), strings.Join(dimensions, ","))
}

// dimension returns the value of a metric's only dimension. It is ErrUnknown
// when the metric has other dimensions.
func dimension(m types.Metric, name string) (string, error) {
	if len(m.Dimensions) != 1 || aws.ToString(m.Dimensions[0].Name) != name {
		return "", fmt.Errorf("with these dimensions %w, only by %s", ErrUnknown, name)
	}
	return aws.ToString(m.Dimensions[0].Value), nil
}
