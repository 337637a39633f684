package observability

import (
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// TopicProps configures an AlarmTopic. The zero value is an encrypted topic
// without subscribers.
type TopicProps struct {
	// Name of the topic. Default a name CloudFormation generates.
	Name string

	// Topic is an existing topic. Its policy and key stay as they are and must let
	// cloudwatch.amazonaws.com publish. Default one is made.
	Topic awssns.ITopic

	// Emails are subscribed. Each address gets one mail that asks to confirm.
	// Default none.
	Emails []string

	// HTTPS are URLs that get each notification as a POST, as PagerDuty and
	// Opsgenie give out. What stands in them stands in the template: let a secret
	// come in as a parameter. Default none.
	HTTPS []string

	// Key encrypts the topic. One that this app makes is given the statement that
	// CloudWatch needs; the policy of another must let cloudwatch.amazonaws.com use
	// it. Default one made here: the key AWS manages for SNS refuses CloudWatch.
	Key awskms.IKey

	// Runbooks is the URL below which each alarm has a page, at its path within its
	// stack: "https://wiki.example.com/runbooks" makes the description of an alarm
	// end with ".../runbooks/Jobs/DeadLetterAlarm". Default no link.
	Runbooks string

	// Override has the last word on the topic.
	Override func(*awssns.TopicProps)
}

// AlarmTopic is where alarms go. It is apart from the dashboard so that it can
// stand in a stack that comes before what it watches: alarms point to it, and
// the dashboard points to what the alarms belong to.
type AlarmTopic struct {
	constructs.Construct
	Topic awssns.ITopic
	Key   awskms.IKey // nil with an existing Topic

	runbooks string
	notified map[awscloudwatch.IAlarm]bool
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p TopicProps) Validate() error {
	var bad cdkx.Problems
	if p.Name != "" {
		cdkx.Matches(&bad, "Name", p.Name, topicName, "1 to 256 letters, digits, hyphens and underscores")
	}
	if p.Topic != nil {
		bad.Check(p.Name == "", "Name", p.Name, "none with an existing Topic")
		bad.Check(p.Key == nil, "Key", "set", "none with an existing Topic")
		bad.Check(p.Override == nil, "Override", "set", "none with an existing Topic")
	}
	for i, email := range p.Emails {
		_, err := mail.ParseAddress(email)
		field := fmt.Sprintf("Emails[%d]", i)
		bad.Check(err == nil || cdkx.Unresolved(email), field, email, "an e-mail address")
		bad.Check(!slices.Contains(p.Emails[:i], email), field, email, "each address once")
	}
	for i, endpoint := range p.HTTPS {
		field := fmt.Sprintf("HTTPS[%d]", i)
		bad.Check(isHTTPS(endpoint), field, endpoint, "an https URL")
		bad.Check(!slices.Contains(p.HTTPS[:i], endpoint), field, endpoint, "each URL once")
	}
	bad.Check(p.Runbooks == "" || isHTTPS(p.Runbooks), "Runbooks", p.Runbooks, "an https URL")
	return bad.Err("observability")
}

func isHTTPS(text string) bool {
	if cdkx.Unresolved(text) {
		return true
	}
	parsed, err := url.Parse(text)
	return err == nil && parsed.Scheme == "https" && parsed.Host != ""
}

// NewAlarmTopic makes an AlarmTopic. It panics with a *PropsError when props are
// not valid.
func NewAlarmTopic(scope constructs.Construct, id string, props TopicProps) *AlarmTopic {
	cdkx.Must(scope, id, "observability", props.Validate())
	t := &AlarmTopic{
		Topic:    props.Topic,
		Key:      props.Key,
		runbooks: strings.TrimSuffix(props.Runbooks, "/"),
		notified: map[awscloudwatch.IAlarm]bool{},
	}
	constructs.NewConstruct_Override(t, scope, &id)
	if t.Topic == nil {
		t.Topic = t.makeTopic(props)
	}
	for _, email := range props.Emails {
		t.Topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(&email, nil))
	}
	for _, endpoint := range props.HTTPS {
		t.Topic.AddSubscription(awssnssubscriptions.NewUrlSubscription(&endpoint, &awssnssubscriptions.UrlSubscriptionProps{
			Protocol: awssns.SubscriptionProtocol_HTTPS,
		}))
	}
	return t
}

func (t *AlarmTopic) makeTopic(props TopicProps) awssns.ITopic {
	if t.Key == nil {
		t.Key = awskms.NewKey(t, new("Key"), &awskms.KeyProps{
			Description:       new("Encrypts alarm notifications in SNS"),
			EnableKeyRotation: new(true),
			RemovalPolicy:     awscdk.RemovalPolicy_DESTROY,
		})
	}
	t.Key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        new("AlarmsEncrypt"),
		Principals: cloudWatch(),
		Actions:    cdkx.Strings("kms:Decrypt", "kms:GenerateDataKey"),
		// A key policy speaks of its own key alone.
		Resources:  cdkx.Strings("*"),
		Conditions: t.sameAccount(),
	}), new(true))
	topic := awssns.NewTopic(t, new("Topic"), cdkx.Override(&awssns.TopicProps{
		TopicName:  cdkx.Optional(props.Name),
		MasterKey:  t.Key,
		EnforceSSL: new(true),
	}, props.Override))
	// With a policy of its own (TLS only) a topic no longer has the default one
	// that lets the account's CloudWatch publish.
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        new("AlarmsPublish"),
		Principals: cloudWatch(),
		Actions:    cdkx.Strings("sns:Publish"),
		Resources:  &[]*string{topic.TopicArn()},
		Conditions: t.sameAccount(),
	}))
	return topic
}

func cloudWatch() *[]awsiam.IPrincipal {
	return &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(new("cloudwatch.amazonaws.com"), nil)}
}

// sameAccount keeps alarms of other accounts out.
func (t *AlarmTopic) sameAccount() *map[string]any {
	return &map[string]any{
		"StringEquals": map[string]any{"aws:SourceAccount": awscdk.Stack_Of(t).Account()},
	}
}

// TopicARN is where another stack's alarms are sent.
func (t *AlarmTopic) TopicARN() string { return *t.Topic.TopicArn() }

// Notify sends the alarms of what is given to the topic, when they ring and
// when they end. An alarm is sent once, however often it is given.
func (t *AlarmTopic) Notify(watched ...Watched) { t.notify(alarmsOf("", watched...)) }

// NotifyOnly is Notify for alarms of one severity: Critical to the topic that
// wakes people, Warning to the one they read in the morning.
func (t *AlarmTopic) NotifyOnly(severity Severity, watched ...Watched) {
	t.notify(alarmsOf(severity, watched...))
}

// ringing takes actions, as metric and composite alarms do. On an imported alarm
// they have no effect.
type ringing interface {
	awscloudwatch.IAlarm
	AddAlarmAction(...awscloudwatch.IAlarmAction)
	AddOkAction(...awscloudwatch.IAlarmAction)
}

func (t *AlarmTopic) notify(alarms []awscloudwatch.IAlarm) {
	action := awscloudwatchactions.NewSnsAction(t.Topic)
	for _, alarm := range alarms {
		own, ok := alarm.(ringing)
		if !ok || t.notified[alarm] {
			continue
		}
		t.notified[alarm] = true
		own.AddAlarmAction(action)
		own.AddOkAction(action)
		if t.runbooks != "" {
			t.linkRunbook(own)
		}
	}
}

// described are the L1 alarms, metric and composite.
type described interface {
	AlarmDescription() *string
	SetAlarmDescription(*string)
}

const runbookLabel = "Runbook: "

func (t *AlarmTopic) linkRunbook(alarm ringing) {
	resource, ok := alarm.Node().DefaultChild().(described)
	if !ok {
		return
	}
	var text string
	if before := resource.AlarmDescription(); before != nil {
		text = *before + "\n"
	}
	// Another topic may have been here.
	if strings.Contains(text, runbookLabel) {
		return
	}
	page := strings.TrimPrefix(*alarm.Node().Path(), *awscdk.Stack_Of(alarm).Node().Path()+"/")
	resource.SetAlarmDescription(new(text + runbookLabel + t.runbooks + "/" + page))
}
