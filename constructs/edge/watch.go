package edge

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// metricsRegion is the only Region that has CloudFront's metrics, and where an
// alarm on one has to stand.
const metricsRegion = "us-east-1"

func (e *Edge) alarms(props Props) {
	if region := *awscdk.Stack_Of(e).Region(); !cdkx.Unresolved(region) && region != metricsRegion {
		return
	}
	e.ErrorAlarm = cdkx.Alarm(e, "ErrorAlarm", cdkx.AlarmSpec{
		Metric: e.Distribution.Metric5xxErrorRate(cdkx.MetricOptions("Average", time.Minute)),
		Description: fmt.Sprintf("More than %g %% of the responses at the edge are 5xx. 502 and 504 come from the way "+
			"to the load balancer, the others from behind it.", props.MaxErrorPercent),
		Threshold: props.MaxErrorPercent,
	})
	if !props.AdditionalMetrics {
		return
	}
	e.LatencyAlarm = cdkx.Alarm(e, "LatencyAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   e.Distribution.MetricOriginLatency(cdkx.MetricOptions("p99", time.Minute)),
		Description: fmt.Sprintf("One request in a hundred that needs an origin waits more than %v for it. When the load balancer's "+
			"latency is low meanwhile, look at the way there: keep-alive, timeouts, the Region.", props.MaxLatency),
		Threshold: float64(props.MaxLatency.Milliseconds()),
	})
	if props.MinCacheHitPercent > 0 {
		e.CacheHitAlarm = cdkx.Alarm(e, "CacheHitAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric:   e.Distribution.MetricCacheHitRate(cdkx.MetricOptions("Average", 5*time.Minute)),
			Description: fmt.Sprintf("Less than %g %% of the requests that may be cached were. Look at the Cache-Control of the files, "+
				"and for paths that change with every release.", props.MinCacheHitPercent),
			Threshold: props.MinCacheHitPercent,
			Below:     true,
		})
	}
}

// Alarms are those there are: on errors, latency and cache hits. There are none
// outside us-east-1.
func (e *Edge) Alarms() []awscloudwatch.IAlarm {
	var all []awscloudwatch.IAlarm
	for _, alarm := range []awscloudwatch.IAlarm{e.ErrorAlarm, e.LatencyAlarm, e.CacheHitAlarm} {
		if alarm != nil {
			all = append(all, alarm)
		}
	}
	return all
}

// Widgets show requests, errors and traffic at the edge and, with
// AdditionalMetrics, latency and cache hits.
func (e *Edge) Widgets() []awscloudwatch.IWidget {
	labelled := func(label, statistic string) *awscloudwatch.MetricOptions {
		options := cdkx.MetricOptions(statistic, time.Minute)
		options.Label = &label
		options.Region = new(metricsRegion)
		return options
	}
	title, d := *e.Node().Id(), e.Distribution
	widgets := []awscloudwatch.IWidget{
		cdkx.Graph(title+": requests a minute", d.MetricRequests(labelled("requests", "Sum"))),
		cdkx.Graph(title+": errors in percent",
			d.Metric4xxErrorRate(labelled("4xx", "Average")),
			d.Metric5xxErrorRate(labelled("5xx", "Average"))),
		cdkx.Graph(title+": bytes a minute",
			d.MetricBytesDownloaded(labelled("to viewers", "Sum")),
			d.MetricBytesUploaded(labelled("from viewers", "Sum"))),
	}
	if e.additionalMetrics {
		widgets = append(widgets,
			cdkx.Graph(title+": milliseconds to an origin's answer",
				d.MetricOriginLatency(labelled("p50", "p50")),
				d.MetricOriginLatency(labelled("p99", "p99"))),
			cdkx.Graph(title+": cache hits in percent", d.MetricCacheHitRate(labelled("hits", "Average"))))
	}
	return widgets
}
