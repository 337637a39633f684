package observability

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Watched is what every stateful construct of this library is: it knows its own
// alarms and how it is drawn.
type Watched interface {
	Alarms() []awscloudwatch.IAlarm
	Widgets() []awscloudwatch.IWidget
}

// Severity is how soon somebody has to look at an alarm. The alarm's tag
// loadbearing:severity holds it.
type Severity = cdkx.Severity

// Severities of alarms.
const (
	Critical = cdkx.Critical // users are hurt, or will be within the hour
	Warning  = cdkx.Warning  // within days
)

// SeverityOf is the severity of an alarm; Critical for one that was made or
// imported elsewhere.
func SeverityOf(alarm awscloudwatch.IAlarm) Severity { return cdkx.SeverityOf(alarm) }

// PropsError is what Validate returns and New, NewAlarmTopic and NewComposite
// panic with.
type PropsError = cdkx.PropsError

// alarmsOf are the alarms of all, with the given severity unless it is empty.
func alarmsOf(severity Severity, watched ...Watched) []awscloudwatch.IAlarm {
	var alarms []awscloudwatch.IAlarm
	for _, each := range watched {
		for _, alarm := range each.Alarms() {
			if severity == "" || SeverityOf(alarm) == severity {
				alarms = append(alarms, alarm)
			}
		}
	}
	return alarms
}

// LogQuery is a CloudWatch Logs Insights query, drawn as a table as wide as the
// dashboard. It is Watched, without alarms. LogGroups and Query are required.
type LogQuery struct {
	// Title of the widget. Default none.
	Title string

	// LogGroups are the names of 1 to 50 log groups.
	LogGroups []string

	// Query in the language of Logs Insights: "filter level = 'ERROR' | stats
	// count() by message".
	Query string
}

const maxLogGroups = 50

// Alarms are none.
func (LogQuery) Alarms() []awscloudwatch.IAlarm { return nil }

// Widgets are one table.
func (l LogQuery) Widgets() []awscloudwatch.IWidget {
	return []awscloudwatch.IWidget{awscloudwatch.NewLogQueryWidget(&awscloudwatch.LogQueryWidgetProps{
		Title:         cdkx.Optional(l.Title),
		LogGroupNames: cdkx.Strings(l.LogGroups...),
		QueryString:   &l.Query,
		Width:         cdkx.Number(dashboardWidth),
		Height:        cdkx.Number(6),
	})}
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (l LogQuery) Validate() error {
	var bad cdkx.Problems
	bad.Check(len(l.LogGroups) >= 1 && len(l.LogGroups) <= maxLogGroups, "LogGroups", len(l.LogGroups), "1 to 50 log groups")
	bad.Check(l.Query != "", "Query", l.Query, "a query")
	return bad.Err("observability")
}

// checkWatched records what of a list cannot be watched.
func checkWatched(bad *cdkx.Problems, field func(int) string, watched []Watched) {
	for i, each := range watched {
		switch each := each.(type) {
		case nil:
			bad.Add(field(i), "nil", "something that is watched")
		case LogQuery:
			bad.Merge(field(i), each.Validate())
		}
	}
}
