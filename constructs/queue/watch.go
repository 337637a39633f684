package queue

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// inFlightAlarm is nine tenths of the quota, what CloudWatch recommends
// ("Recommended alarms", CloudWatch user guide).
const inFlightAlarm = MaxInFlight / 10 * 9

// depthPeriods is a quarter of an hour: a burst that consumers work off is no
// reason to look.
const depthPeriods = 15

func (q *Queue) makeAlarms(props Props) {
	q.AgeAlarm = cdkx.Alarm(q, "AgeAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric:   q.Queue.MetricApproximateAgeOfOldestMessage(cdkx.MetricOptions("Maximum", time.Minute)),
		Description: fmt.Sprintf("The oldest message has waited more than %v: consumers are too few, too slow or failing. "+
			"Look at their errors first, then at how many of them run.", props.AgeAlarm),
		Threshold: props.AgeAlarm.Seconds(),
	})
	q.DepthAlarm = cdkx.Alarm(q, "DepthAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   q.Queue.MetricApproximateNumberOfMessagesVisible(cdkx.MetricOptions("Maximum", time.Minute)),
		Description: fmt.Sprintf("More than %d messages have waited for a quarter of an hour: more arrive than consumers take. "+
			"Compare messages sent with messages deleted, then add consumers or slow the sender.", props.DepthAlarm),
		Threshold: float64(props.DepthAlarm),
		Periods:   depthPeriods,
	})
	q.InFlightAlarm = cdkx.Alarm(q, "InFlightAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   q.Queue.MetricApproximateNumberOfMessagesNotVisible(cdkx.MetricOptions("Maximum", time.Minute)),
		Description: fmt.Sprintf("More than %d messages were received and not deleted; at %d nothing more is received. "+
			"Look for consumers that do not delete what they finished, or a visibility timeout far longer than the work.",
			inFlightAlarm, MaxInFlight),
		Threshold: inFlightAlarm,
	})
	if q.DeadLetterQueue == nil {
		return
	}
	q.DeadLetterAlarm = cdkx.Alarm(q, "DeadLetterAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric:   q.DeadLetterQueue.MetricApproximateNumberOfMessagesVisible(cdkx.MetricOptions("Maximum", time.Minute)),
		Description: "A message was given up and waits in the dead-letter queue. " +
			"Read it and the consumer's log, mend the cause, then redrive it before its retention ends.",
		Periods: 1,
	})
}

// Alarms are AgeAlarm, DepthAlarm, InFlightAlarm and, with a DeadLetterQueue,
// DeadLetterAlarm.
func (q *Queue) Alarms() []awscloudwatch.IAlarm {
	alarms := []awscloudwatch.IAlarm{q.AgeAlarm, q.DepthAlarm, q.InFlightAlarm}
	if q.DeadLetterAlarm != nil {
		alarms = append(alarms, q.DeadLetterAlarm)
	}
	return alarms
}

// Widgets show what waits, what is in flight, what was given up, how old the
// oldest message is, and what goes in and out.
func (q *Queue) Widgets() []awscloudwatch.IWidget {
	title := *q.Node().Id()
	options := func(statistic, label string) *awscloudwatch.MetricOptions {
		o := cdkx.MetricOptions(statistic, time.Minute)
		o.Label = &label
		return o
	}
	messages := []awscloudwatch.IMetric{
		q.Queue.MetricApproximateNumberOfMessagesVisible(options("Maximum", "waiting")),
		q.Queue.MetricApproximateNumberOfMessagesNotVisible(options("Maximum", "in flight")),
	}
	if q.DeadLetterQueue != nil {
		messages = append(messages, q.DeadLetterQueue.MetricApproximateNumberOfMessagesVisible(options("Maximum", "dead letters")))
	}
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": messages", messages...),
		cdkx.Graph(title+": age of the oldest message in seconds",
			q.Queue.MetricApproximateAgeOfOldestMessage(options("Maximum", "age"))),
		cdkx.Graph(title+": messages per minute",
			q.Queue.MetricNumberOfMessagesSent(options("Sum", "sent")),
			q.Queue.MetricNumberOfMessagesReceived(options("Sum", "received")),
			q.Queue.MetricNumberOfMessagesDeleted(options("Sum", "deleted"))),
	}
}
