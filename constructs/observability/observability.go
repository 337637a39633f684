// Package observability makes the place people look at and the place alarms go
// to: one dashboard and one topic for everything that is watched.
package observability

import (
	"fmt"
	"net/mail"
	"regexp"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/aws-cdk-go/awscdk/v2/interfaces/interfacesawscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Watched is what every stateful construct of this library is: it knows its own
// alarms and how it is drawn.
type Watched interface {
	Alarms() []awscloudwatch.IAlarm
	Widgets() []awscloudwatch.IWidget
}

// PropsError is what Validate returns and New and NewAlarmTopic panic with.
type PropsError = cdkx.PropsError

// TopicProps configures an AlarmTopic. The zero value is an encrypted topic
// without subscribers.
type TopicProps struct {
	// Name of the topic. Default a name CloudFormation generates.
	Name string

	// Emails are subscribed. Each address gets one mail that asks to confirm.
	Emails []string

	// Key encrypts the topic. Its policy must let cloudwatch.amazonaws.com use
	// it. Default one made here: the key AWS manages for SNS refuses CloudWatch.
	Key awskms.IKey

	// Override has the last word on the topic.
	Override func(*awssns.TopicProps)
}

// AlarmTopic is where alarms go. It is apart from the dashboard so that it can
// stand in a stack that comes before what it watches: alarms point to it, and
// the dashboard points to what the alarms belong to.
type AlarmTopic struct {
	constructs.Construct
	Topic awssns.ITopic
	Key   awskms.IKey
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p TopicProps) Validate() error {
	var bad cdkx.Problems
	if p.Name != "" {
		bad.Check(topicName.MatchString(p.Name), "Name", p.Name, "1 to 256 letters, digits, hyphens and underscores")
	}
	for i, email := range p.Emails {
		_, err := mail.ParseAddress(email)
		bad.Check(err == nil, fmt.Sprintf("Emails[%d]", i), email, "an e-mail address")
	}
	return bad.Err("observability")
}

// NewAlarmTopic makes an AlarmTopic. It panics with a *PropsError when props are
// not valid.
func NewAlarmTopic(scope constructs.Construct, id string, props TopicProps) *AlarmTopic {
	cdkx.Must(scope, id, "observability", props.Validate())
	t := &AlarmTopic{Key: props.Key}
	constructs.NewConstruct_Override(t, scope, &id)
	if t.Key == nil {
		t.Key = t.makeKey()
	}
	topic := awssns.NewTopic(t, new("Topic"), cdkx.Override(&awssns.TopicProps{
		TopicName:  cdkx.Optional(props.Name),
		MasterKey:  t.Key,
		EnforceSSL: new(true),
	}, props.Override))
	// With a policy of its own (TLS only) a topic no longer has the default one
	// that lets the account's CloudWatch publish.
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        new("AlarmsPublish"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(new("cloudwatch.amazonaws.com"), nil)},
		Actions:    cdkx.Strings("sns:Publish"),
		Resources:  &[]*string{topic.TopicArn()},
		Conditions: t.sameAccount(),
	}))
	for _, email := range props.Emails {
		topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(&email, nil))
	}
	t.Topic = topic
	return t
}

func (t *AlarmTopic) makeKey() awskms.IKey {
	key := awskms.NewKey(t, new("Key"), &awskms.KeyProps{
		Description:       new("Encrypts alarm notifications in SNS"),
		EnableKeyRotation: new(true),
		RemovalPolicy:     awscdk.RemovalPolicy_DESTROY,
	})
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        new("AlarmsEncrypt"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(new("cloudwatch.amazonaws.com"), nil)},
		Actions:    cdkx.Strings("kms:Decrypt", "kms:GenerateDataKey"),
		// A key policy speaks of its own key alone.
		Resources:  cdkx.Strings("*"),
		Conditions: t.sameAccount(),
	}), nil)
	return key
}

// sameAccount keeps alarms of other accounts out.
func (t *AlarmTopic) sameAccount() *map[string]any {
	return &map[string]any{
		"StringEquals": map[string]any{"aws:SourceAccount": awscdk.Stack_Of(t).Account()},
	}
}

// Notify sends the alarms of what is given to the topic, when they ring and
// when they end. Call it once for each.
func (t *AlarmTopic) Notify(watched ...Watched) {
	action := awscloudwatchactions.NewSnsAction(t.Topic)
	for _, each := range watched {
		for _, alarm := range each.Alarms() {
			// An imported alarm is not ours to change.
			if own, ok := alarm.(awscloudwatch.Alarm); ok {
				own.AddAlarmAction(action)
				own.AddOkAction(action)
			}
		}
	}
}

// Section is a part of the dashboard.
type Section struct {
	Title   string
	Watched []Watched
}

// Props configures a Dashboard.
type Props struct {
	// Name of the dashboard, letters, digits, hyphens and underscores. Default a
	// name CloudFormation generates.
	Name string

	// Sections from top to bottom, each a title, the state of its alarms and a
	// widget or more for everything watched.
	Sections []Section

	// Override has the last word on the dashboard.
	Override func(*awscloudwatch.DashboardProps)
}

// Dashboard is one page for an environment.
type Dashboard struct {
	constructs.Construct
	Dashboard awscloudwatch.Dashboard

	widgets int
}

// Limits of a dashboard and of its alarm status widget, from the CloudWatch user
// guide ("CloudWatch service quotas", "Dashboard body structure").
const (
	maxWidgets     = 500
	maxAlarmStatus = 100
)

var dashboardName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	if p.Name != "" {
		bad.Check(dashboardName.MatchString(p.Name), "Name", p.Name, "1 to 255 letters, digits, hyphens and underscores")
	}
	bad.Check(len(p.Sections) > 0, "Sections", len(p.Sections), "one section or more")
	for i, section := range p.Sections {
		bad.Check(section.Title != "", fmt.Sprintf("Sections[%d].Title", i), section.Title, "text")
	}
	return bad.Err("observability")
}

// New makes a Dashboard. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Dashboard {
	cdkx.Must(scope, id, "observability", props.Validate())
	d := &Dashboard{}
	constructs.NewConstruct_Override(d, scope, &id)
	d.Dashboard = awscloudwatch.NewDashboard(d, new("Dashboard"), cdkx.Override(&awscloudwatch.DashboardProps{
		DashboardName:   cdkx.Optional(props.Name),
		DefaultInterval: awscdk.Duration_Hours(cdkx.Number(3)),
	}, props.Override))
	for _, section := range props.Sections {
		d.Add(section)
	}
	return d
}

// Add appends a section. It panics with a *PropsError when the dashboard then
// has more widgets than CloudWatch allows.
func (d *Dashboard) Add(section Section) {
	var alarms []interfacesawscloudwatch.IAlarmRef
	var widgets []awscloudwatch.IWidget
	for _, each := range section.Watched {
		for _, alarm := range each.Alarms() {
			alarms = append(alarms, alarm)
		}
		widgets = append(widgets, each.Widgets()...)
	}
	d.add(awscloudwatch.NewTextWidget(&awscloudwatch.TextWidgetProps{
		Markdown:   new("## " + section.Title),
		Width:      cdkx.Number(24),
		Height:     cdkx.Number(1),
		Background: awscloudwatch.TextWidgetBackground_TRANSPARENT,
	}))
	for len(alarms) > 0 {
		some := alarms[:min(len(alarms), maxAlarmStatus)]
		alarms = alarms[len(some):]
		d.add(awscloudwatch.NewAlarmStatusWidget(&awscloudwatch.AlarmStatusWidgetProps{
			Alarms: &some,
			Title:  new("Alarms"),
			Width:  cdkx.Number(24),
			Height: cdkx.Number(alarmStatusHeight(len(some))),
		}))
	}
	if len(widgets) > 0 {
		d.add(widgets...)
	}
}

func (d *Dashboard) add(widgets ...awscloudwatch.IWidget) {
	d.widgets += len(widgets)
	if d.widgets > maxWidgets {
		panic(&PropsError{Construct: "observability", Path: *d.Node().Path(), Problems: []cdkx.FieldError{
			{Field: "Sections", Value: d.widgets, Allowed: fmt.Sprintf("%d widgets or fewer", maxWidgets)},
		}})
	}
	d.Dashboard.AddWidgets(widgets...)
}

// alarmStatusHeight is two rows for the frame and one for every four alarms.
func alarmStatusHeight(alarms int) int { return 2 + (alarms+3)/4 }
