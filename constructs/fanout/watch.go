package fanout

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Metrics that CDK has no method for, from the SNS developer guide ("Monitoring
// Amazon SNS topics using CloudWatch").
const (
	metricRedriven      = "NumberOfNotificationsRedrivenToDlq"
	metricRedriveFailed = "NumberOfNotificationsFailedToRedriveToDlq"
	metricInvalidBody   = "NumberOfNotificationsFilteredOut-InvalidMessageBody"
)

func (f *Fanout) makeAlarms() {
	sum := cdkx.MetricOptions("Sum", time.Minute)
	f.FailedAlarm = cdkx.Alarm(f, "FailedAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric:   f.Topic.MetricNumberOfNotificationsFailed(sum),
		Description: "SNS could not deliver a message to a queue, and tries no more. " +
			"Check that queue's policy and the policy of its key; the message is in the dead-letter queue of the subscription.",
		Periods: 1,
	})
	f.RedriveAlarm = cdkx.Alarm(f, "RedriveAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   f.Topic.Metric(new(metricRedriven), sum),
		Description: "Messages that SNS could not deliver wait in the dead-letter queue of their subscription. " +
			"Once delivery works again, redrive them to the queue before their retention ends.",
		Periods: 1,
	})
	f.LostAlarm = cdkx.Alarm(f, "LostAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric:   f.Topic.Metric(new(metricRedriveFailed), sum),
		Description: "SNS could neither deliver a message nor put it into the dead-letter queue: a consumer has lost it. " +
			"Check the policies of that dead-letter queue and of its key, then publish the message again.",
		Periods: 1,
	})
}

// Alarms are FailedAlarm, RedriveAlarm, LostAlarm and those of the queues made
// here.
func (f *Fanout) Alarms() []awscloudwatch.IAlarm {
	alarms := []awscloudwatch.IAlarm{f.FailedAlarm, f.RedriveAlarm, f.LostAlarm}
	for _, name := range f.made {
		alarms = append(alarms, f.Queues[name].Alarms()...)
	}
	return alarms
}

// Widgets show what was published, delivered and filtered out, what was not
// delivered, and the queues made here.
func (f *Fanout) Widgets() []awscloudwatch.IWidget {
	sum := cdkx.MetricOptions("Sum", time.Minute)
	title := *f.Node().Id()
	widgets := []awscloudwatch.IWidget{
		cdkx.Graph(title+": messages",
			f.Topic.MetricNumberOfMessagesPublished(sum),
			f.Topic.MetricNumberOfNotificationsDelivered(sum),
			f.Topic.MetricNumberOfNotificationsFilteredOut(sum)),
		cdkx.Graph(title+": not delivered",
			f.Topic.MetricNumberOfNotificationsFailed(sum),
			f.Topic.Metric(new(metricRedriven), sum),
			f.Topic.Metric(new(metricRedriveFailed), sum),
			f.Topic.MetricNumberOfNotificationsFilteredOutInvalidAttributes(sum),
			f.Topic.Metric(new(metricInvalidBody), sum)),
	}
	for _, name := range f.made {
		widgets = append(widgets, f.Queues[name].Widgets()...)
	}
	return widgets
}
