package cdkx

import (
	"cmp"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"
)

// Severity is how soon somebody has to look at an alarm.
type Severity string

// Severities of alarms.
const (
	Critical Severity = "critical" // users are hurt, or will be within the hour
	Warning  Severity = "warning"  // within days
)

// severityTag is the tag of an alarm that holds its severity.
const severityTag = "loadbearing:severity"

// SeverityOf is the severity that Alarm gave an alarm; Critical for one that
// was made or imported elsewhere.
func SeverityOf(alarm awscloudwatch.IAlarm) Severity {
	resource, ok := alarm.Node().DefaultChild().(awscloudwatch.CfnAlarm)
	if !ok {
		return Critical
	}
	tags := resource.Tags() // every read asks jsii for each tag
	if tags == nil {
		return Critical
	}
	for _, tag := range *tags {
		if *tag.Key == severityTag {
			return Severity(*tag.Value)
		}
	}
	return Critical
}

// AlarmSpec is an alarm in plain Go.
type AlarmSpec struct {
	Severity    Severity // default Critical
	Metric      awscloudwatch.IMetric
	Description string // what it means and what to look at first
	Threshold   float64
	Below       bool // alarm under the threshold; default over it
	Inclusive   bool // alarm at the threshold too
	Periods     int  // of the metric's own period; default 3
	Breaching   int  // of these periods, how many must breach; default all
	// MissingBreaches counts a period without data as a breach. Default: a
	// period without data changes nothing, because most metrics here are not
	// sent while nothing happens.
	MissingBreaches bool
}

// Alarm makes a CloudWatch alarm.
func Alarm(scope constructs.Construct, id string, spec AlarmSpec) awscloudwatch.Alarm {
	periods := spec.Periods
	if periods == 0 {
		periods = 3
	}
	breaching := spec.Breaching
	if breaching == 0 {
		breaching = periods
	}
	missing := awscloudwatch.TreatMissingData_NOT_BREACHING
	if spec.MissingBreaches {
		missing = awscloudwatch.TreatMissingData_BREACHING
	}
	alarm := awscloudwatch.NewAlarm(scope, &id, &awscloudwatch.AlarmProps{
		Metric:             spec.Metric,
		AlarmDescription:   &spec.Description,
		Threshold:          &spec.Threshold,
		ComparisonOperator: comparison(spec.Below, spec.Inclusive),
		EvaluationPeriods:  Number(periods),
		DatapointsToAlarm:  Number(breaching),
		TreatMissingData:   missing,
	})
	Cfn[awscloudwatch.CfnAlarm](alarm).SetTags(&[]*awscdk.CfnTag{{
		Key: new(severityTag), Value: new(string(cmp.Or(spec.Severity, Critical))),
	}})
	return alarm
}

func comparison(below, inclusive bool) awscloudwatch.ComparisonOperator {
	switch {
	case below && inclusive:
		return awscloudwatch.ComparisonOperator_LESS_THAN_OR_EQUAL_TO_THRESHOLD
	case below:
		return awscloudwatch.ComparisonOperator_LESS_THAN_THRESHOLD
	case inclusive:
		return awscloudwatch.ComparisonOperator_GREATER_THAN_OR_EQUAL_TO_THRESHOLD
	default:
		return awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD
	}
}

// MetricSpec is a CloudWatch metric in plain Go.
type MetricSpec struct {
	Namespace  string
	Name       string
	Dimensions map[string]string
	Statistic  string        // "Average", "Sum", "Maximum", "p99"; default Average
	Period     time.Duration // default 1 minute
	Label      string
}

// Metric makes a metric.
func Metric(spec MetricSpec) awscloudwatch.Metric {
	statistic := spec.Statistic
	if statistic == "" {
		statistic = "Average"
	}
	period := spec.Period
	if period == 0 {
		period = time.Minute
	}
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace:     &spec.Namespace,
		MetricName:    &spec.Name,
		DimensionsMap: StringMap(spec.Dimensions),
		Statistic:     &statistic,
		Period:        Duration(period),
		Label:         Optional(spec.Label),
	})
}

// MetricOptions sets statistic and period of the metric that an L2 offers.
func MetricOptions(statistic string, period time.Duration) *awscloudwatch.MetricOptions {
	return &awscloudwatch.MetricOptions{Statistic: &statistic, Period: Duration(period)}
}

// Graph is a widget with one line per metric, a third of the dashboard wide.
func Graph(title string, metrics ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
		Title:  &title,
		Left:   &metrics,
		Width:  Number(8),
		Height: Number(6),
	})
}
