package loadbalancer

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// measured is what metrics of the load balancer and of its target groups have in
// common, asked for once. They are built from names because a target group's own
// metrics exist only behind a load balancer that this stack makes.
type measured struct {
	balancer, blue, green string // full names, as the dimensions have them
	minute                awscdk.Duration
}

func (l *LoadBalancer) measured() measured {
	return measured{
		balancer: l.fullName,
		blue:     *l.Blue.TargetGroupFullName(),
		green:    *l.Green.TargetGroupFullName(),
		minute:   cdkx.Duration(time.Minute),
	}
}

// metric is one of the load balancer, or of the target group that is named.
func (m measured) metric(name, statistic, label string, group ...string) awscloudwatch.IMetric {
	dimensions := map[string]string{"LoadBalancer": m.balancer}
	for _, fullName := range group {
		dimensions["TargetGroup"] = fullName
	}
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace:     new("AWS/ApplicationELB"),
		MetricName:    &name,
		DimensionsMap: cdkx.StringMap(dimensions),
		Statistic:     &statistic,
		Period:        m.minute,
		Label:         cdkx.Optional(label),
	})
}

func (l *LoadBalancer) alarms(props Props) {
	m := l.measured()
	for _, color := range []struct{ name, id, group string }{
		{contract.ColorBlue, "Blue", m.blue},
		{contract.ColorGreen, "Green", m.green},
	} {
		l.ErrorAlarms[color.name] = cdkx.Alarm(l, color.id+"ErrorAlarm", cdkx.AlarmSpec{
			Metric: cdkx.Math("100 * errors / requests", "5xx in percent", map[string]awscloudwatch.IMetric{
				"errors":   m.metric("HTTPCode_Target_5XX_Count", "Sum", "", color.group),
				"requests": m.metric("RequestCount", "Sum", "", color.group),
			}),
			Description: fmt.Sprintf("More than %g %% of the responses of %s are 5xx. During a release, roll back; "+
				"else look at the logs of its instances.", props.MaxErrorPercent, color.name),
			Threshold: props.MaxErrorPercent,
		})
		l.LatencyAlarms[color.name] = cdkx.Alarm(l, color.id+"LatencyAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric:   m.metric("TargetResponseTime", "p99", "", color.group),
			Description: fmt.Sprintf("One request in a hundred to %s waits more than %v for its first byte. "+
				"Look at the database, the cache and the number of instances.", color.name, props.MaxLatency),
			Threshold: props.MaxLatency.Seconds(),
		})
		l.UnhealthyAlarms[color.name] = cdkx.Alarm(l, color.id+"UnhealthyAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric:   m.metric("UnHealthyHostCount", "Maximum", "", color.group),
			Description: fmt.Sprintf("Instances of %s fail %s. The group replaces them; when the new ones fail too, "+
				"look at what readiness depends on.", color.name, props.HealthCheck.Path),
		})
		l.ConnectionAlarms[color.name] = cdkx.Alarm(l, color.id+"ConnectionAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric:   m.metric("TargetConnectionErrorCount", "Sum", "", color.group),
			Description: fmt.Sprintf("Instances of %s accept no connections from the load balancer. "+
				"Look for a process that ends or is overloaded, and at the security groups in between.", color.name),
		})
	}
	l.NoneHealthyAlarm = cdkx.Alarm(l, "NoneHealthyAlarm", cdkx.AlarmSpec{
		Metric: cdkx.Math("FILL(blue, 0) + FILL(green, 0)", "healthy targets", map[string]awscloudwatch.IMetric{
			"blue":  m.metric("HealthyHostCount", "Maximum", "", m.blue),
			"green": m.metric("HealthyHostCount", "Maximum", "", m.green),
		}),
		Description: fmt.Sprintf("No instance of either color is healthy, so nothing is served. Look at why they fail %s, "+
			"or, when there are none, at the activity history of the Auto Scaling groups.", props.HealthCheck.Path),
		Threshold:       1,
		Below:           true,
		MissingBreaches: true, // a target group without targets sends nothing
	})
	l.OwnErrorAlarm = cdkx.Alarm(l, "OwnErrorAlarm", cdkx.AlarmSpec{
		Metric: cdkx.Math("100 * errors / (errors + FILL(requests, 0))", "5xx of the load balancer in percent", map[string]awscloudwatch.IMetric{
			"errors":   m.metric("HTTPCode_ELB_5XX_Count", "Sum", ""),
			"requests": m.metric("RequestCount", "Sum", ""), // those that reached a target
		}),
		Description: fmt.Sprintf("The load balancer itself answers more than %g %% of the requests with 5xx: 502 for a target that breaks off, "+
			"503 for a color with a weight and no healthy target, 504 for one that does not answer. Look at the weights, then at the instances.",
			props.MaxErrorPercent),
		Threshold: props.MaxErrorPercent,
	})
	l.RejectedAlarm = cdkx.Alarm(l, "RejectedAlarm", cdkx.AlarmSpec{
		Metric: m.metric("RejectedConnectionCount", "Sum", ""),
		Description: "The load balancer refused connections because it had reached its maximum. " +
			"Reserve capacity units or spread the load.",
		Periods: 1,
	})
}

// Alarms are those of blue, then of green, then of the load balancer itself.
func (l *LoadBalancer) Alarms() []awscloudwatch.IAlarm {
	var all []awscloudwatch.IAlarm
	for _, color := range []string{contract.ColorBlue, contract.ColorGreen} {
		all = append(all, l.ErrorAlarms[color], l.LatencyAlarms[color], l.UnhealthyAlarms[color], l.ConnectionAlarms[color])
	}
	return append(all, l.NoneHealthyAlarm, l.OwnErrorAlarm, l.RejectedAlarm)
}

// Widgets show requests and errors, latency, targets and connections.
func (l *LoadBalancer) Widgets() []awscloudwatch.IWidget {
	title, m := *l.Node().Id(), l.measured()
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": requests a minute",
			m.metric("RequestCount", "Sum", "blue", m.blue),
			m.metric("RequestCount", "Sum", "green", m.green),
			m.metric("HTTPCode_Target_5XX_Count", "Sum", "blue 5xx", m.blue),
			m.metric("HTTPCode_Target_5XX_Count", "Sum", "green 5xx", m.green),
			m.metric("HTTPCode_ELB_5XX_Count", "Sum", "load balancer 5xx"),
			m.metric("HTTP_Fixed_Response_Count", "Sum", "refused")),
		cdkx.Graph(title+": seconds to the first byte",
			m.metric("TargetResponseTime", "p50", "blue p50", m.blue),
			m.metric("TargetResponseTime", "p99", "blue p99", m.blue),
			m.metric("TargetResponseTime", "p50", "green p50", m.green),
			m.metric("TargetResponseTime", "p99", "green p99", m.green)),
		cdkx.Graph(title+": targets",
			m.metric("HealthyHostCount", "Minimum", "blue healthy", m.blue),
			m.metric("HealthyHostCount", "Minimum", "green healthy", m.green),
			m.metric("UnHealthyHostCount", "Maximum", "blue unhealthy", m.blue),
			m.metric("UnHealthyHostCount", "Maximum", "green unhealthy", m.green)),
		cdkx.Graph(title+": connections",
			m.metric("ActiveConnectionCount", "Sum", "active"),
			m.metric("NewConnectionCount", "Sum", "new"),
			m.metric("RejectedConnectionCount", "Sum", "rejected"),
			m.metric("TargetConnectionErrorCount", "Sum", "to targets, failed"),
			m.metric("ClientTLSNegotiationErrorCount", "Sum", "TLS, failed")),
		cdkx.Graph(title+": capacity units", m.metric("ConsumedLCUs", "Sum", "consumed")),
	}
}
