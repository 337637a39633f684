// Package observability makes the place people look at and the place alarms go
// to: one dashboard and one topic for everything that is watched.
//
// Every construct of this library that can fail is Watched: it knows its own
// alarms, each with a Severity, and how it is drawn. The alarm topic is
// encrypted, refuses to be published to without TLS, and lets only CloudWatch of
// its own account ring. A number that only a deployment knows goes through an
// Override.
//
// # Coverage
//
//	want | how
//	topic for alarms | NewAlarmTopic
//	existing topic | TopicProps: Topic
//	mail | TopicProps: Emails
//	PagerDuty, Opsgenie and others by HTTPS | TopicProps: HTTPS
//	Slack, Teams, SMS, Lambda | subscribe to AlarmTopic.Topic
//	alarms of everything that is watched | Notify
//	a topic per severity, such as one that wakes people | NotifyOnly
//	a notification when an alarm ends | always
//	encryption that CloudWatch can use | always, with Key or a key made here
//	publishing only by this account's CloudWatch, TLS only | always
//	runbook link in each notification | TopicProps: Runbooks
//	what an alarm means and what to look at first | always, its description
//	one notification for many alarms | NewComposite
//	no notifications while another alarm rings | CompositeProps: Override: ActionsSuppressor
//	mute at given times | AddAlarmMuteRule of the alarm
//	dedupe strings of ticket systems, custom tags | awscdk.Tags_Of on the alarm
//	dashboard in sections | New
//	dashboard made elsewhere | Props: Dashboard
//	state of alarms, critical and warnings apart | always, in each section
//	widgets of everything that is watched | always
//	CloudWatch Logs Insights query | LogQuery, in a section
//	own widgets | a type with Alarms and Widgets, in a section
//	time range at the start | Interval
//	variables, period override | Override: Variables, PeriodOverride
//	sections of stacks that come later | Dashboard.Add
//	anomaly detection, metric alarms of other services | awscloudwatch on the metric, in a Watched of yours
//
// # Cost
//
//   - Dashboards beyond the account's first three, by the month.
//   - The key made here, by the month, unless Key is given.
//   - A composite alarm costs five times a metric alarm.
//   - Log queries, by the volume they scan, each time the dashboard is shown.
//
// # Migrate
//
// Pass an existing topic as Topic: its policy, and its key's, must let
// cloudwatch.amazonaws.com publish. A dashboard has no state; delete the old one, or
// bring it under this stack with cdk import. The logical ids of the topic (Topic)
// and its key (Key) never change; another Name replaces the topic, and its
// subscribers by mail have to confirm again.
package observability
