package observability_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/observability"
)

var (
	ofThisAccount = map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": map[string]any{"Ref": "AWS::AccountId"}}}
	encrypts      = map[string]any{
		"Sid": "AlarmsEncrypt", "Action": []any{"kms:Decrypt", "kms:GenerateDataKey"}, "Effect": "Allow", "Resource": "*",
		"Principal": map[string]any{"Service": "cloudwatch.amazonaws.com"}, "Condition": ofThisAccount,
	}
)

func TestAlarmTopicDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{})
	require.Equal(t, *topic.Topic.TopicArn(), topic.TopicARN())
	template := cdktest.Template(stack)

	template.HasResource(new("AWS::KMS::Key"), map[string]any{
		"Properties": map[string]any{
			"EnableKeyRotation": true,
			"KeyPolicy":         map[string]any{"Statement": []any{assertions.Match_AnyValue(), encrypts}},
		},
		"DeletionPolicy": "Delete",
	})
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{
		"KmsMasterKeyId": stack.Resolve(topic.Key.KeyArn()), "TopicName": assertions.Match_Absent(),
	})
	template.HasResourceProperties(new("AWS::SNS::TopicPolicy"), map[string]any{"PolicyDocument": map[string]any{"Statement": []any{
		assertions.Match_ObjectLike(&map[string]any{
			"Effect": "Deny", "Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}},
		}),
		map[string]any{
			"Sid": "AlarmsPublish", "Action": "sns:Publish", "Effect": "Allow", "Resource": stack.Resolve(topic.Topic.TopicArn()),
			"Principal": map[string]any{"Service": "cloudwatch.amazonaws.com"}, "Condition": ofThisAccount,
		},
	}}})
	template.ResourceCountIs(new("AWS::SNS::Subscription"), new(0.0))
}

func TestSubscribers(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{
		Name: "alarms", Emails: []string{"ops@example.com"}, HTTPS: []string{"https://example.com/hook"},
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"TopicName": "alarms"})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"Protocol": "email", "Endpoint": "ops@example.com"})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"Protocol": "https", "Endpoint": "https://example.com/hook"})
}

func TestNotifySendsAllOnce(t *testing.T) {
	stack := cdktest.Stack(t)
	q := jobs(stack)
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{})
	imported := awscloudwatch.Alarm_FromAlarmArn(stack, new("Imported"), new("arn:aws:cloudwatch:eu-west-1:111122223333:alarm:other"))
	topic.Notify(q, watched{alarms: []awscloudwatch.IAlarm{imported}})
	topic.Notify(q)
	arn := stack.Resolve(topic.Topic.TopicArn())
	template := cdktest.Template(stack)
	template.AllResourcesProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"AlarmActions": []any{arn}, "OKActions": []any{arn}, "AlarmDescription": assertions.Match_Not(assertions.Match_StringLikeRegexp(new("Runbook"))),
	})
	template.ResourceCountIs(new("AWS::CloudWatch::Alarm"), new(4.0))
}

func TestNotifyOnlyRoutes(t *testing.T) {
	stack := cdktest.Stack(t)
	q := jobs(stack)
	pager := observability.NewAlarmTopic(stack, "Pager", observability.TopicProps{})
	mail := observability.NewAlarmTopic(stack, "Mail", observability.TopicProps{})
	pager.NotifyOnly(observability.Critical, q)
	mail.NotifyOnly(observability.Warning, q)
	template := cdktest.Template(stack)
	for severity, topic := range map[string]*observability.AlarmTopic{"critical": pager, "warning": mail} {
		template.ResourcePropertiesCountIs(new("AWS::CloudWatch::Alarm"), map[string]any{
			"Tags":         []any{map[string]any{"Key": "loadbearing:severity", "Value": severity}},
			"AlarmActions": []any{stack.Resolve(topic.Topic.TopicArn())},
		}, new(2.0))
	}
}

func TestRunbooks(t *testing.T) {
	stack := cdktest.Stack(t)
	q := jobs(stack)
	bare := awscloudwatch.NewAlarm(stack, new("Bare"), &awscloudwatch.AlarmProps{
		Metric: q.Queue.MetricNumberOfMessagesSent(nil), Threshold: new(1.0), EvaluationPeriods: new(1.0),
	})
	composite := observability.NewComposite(stack, "Outage", observability.CompositeProps{Watched: []observability.Watched{q}})
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{Runbooks: "https://example.com/runbooks/"})
	topic.Notify(q, composite, watched{alarms: []awscloudwatch.IAlarm{bare}})
	observability.NewAlarmTopic(stack, "Second", observability.TopicProps{Runbooks: "https://example.org"}).Notify(q)
	template := cdktest.Template(stack)
	template.ResourcePropertiesCountIs(new("AWS::CloudWatch::Alarm"), map[string]any{
		"AlarmDescription": assertions.Match_StringLikeRegexp(new(`example\.org`)),
	}, new(0.0))
	for _, page := range []string{"Jobs/AgeAlarm", "Jobs/DepthAlarm", "Jobs/InFlightAlarm", "Jobs/DeadLetterAlarm"} {
		template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
			"AlarmDescription": assertions.Match_StringLikeRegexp(new(`\w\.\nRunbook: https://example\.com/runbooks/` + page + `$`)),
		})
	}
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{"AlarmDescription": "Runbook: https://example.com/runbooks/Bare"})
	template.HasResourceProperties(new("AWS::CloudWatch::CompositeAlarm"), map[string]any{
		"AlarmDescription": assertions.Match_StringLikeRegexp(new(`\nRunbook: https://example\.com/runbooks/Outage/Alarm$`)),
	})
}

func TestExistingKey(t *testing.T) {
	earlier, stack := cdktest.Stacks(t)
	key := awskms.NewKey(earlier, new("Key"), nil)
	observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{Key: key})
	observability.NewAlarmTopic(stack, "More", observability.TopicProps{Key: key})
	cdktest.Template(stack).ResourceCountIs(new("AWS::KMS::Key"), new(0.0))
	cdktest.Template(earlier).HasResourceProperties(new("AWS::KMS::Key"), map[string]any{
		"KeyPolicy": map[string]any{"Statement": []any{assertions.Match_AnyValue(), encrypts}},
	})
}

func TestKeyOfAnotherApp(t *testing.T) {
	stack := cdktest.Stack(t)
	arn := "arn:aws:kms:eu-west-1:111122223333:key/1"
	observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{Key: awskms.Key_FromKeyArn(stack, new("Key"), &arn)})
	cdktest.Template(stack).HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"KmsMasterKeyId": arn})
}

func TestExistingTopic(t *testing.T) {
	stack := cdktest.Stack(t)
	arn := "arn:aws:sns:eu-west-1:111122223333:alarms"
	topic := observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{
		Topic: awssns.Topic_FromTopicArn(stack, new("Topic"), &arn), Emails: []string{"ops@example.com"},
	})
	topic.Notify(jobs(stack))
	require.Nil(t, topic.Key)
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::SNS::Topic"), new(0.0))
	template.ResourceCountIs(new("AWS::KMS::Key"), new(0.0))
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"TopicArn": arn})
	template.AllResourcesProperties(new("AWS::CloudWatch::Alarm"), map[string]any{"AlarmActions": []any{arn}})
}

func TestAlarmTopicTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{
		Name:     cdktest.Token(stack, "Name"),
		Emails:   []string{cdktest.Token(stack, "Mail")},
		HTTPS:    []string{cdktest.Token(stack, "URL")},
		Runbooks: cdktest.Token(stack, "Runbooks"),
	}).Notify(jobs(stack))
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"TopicName": map[string]any{"Ref": "Name"}})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"Protocol": "email", "Endpoint": map[string]any{"Ref": "Mail"}})
	template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"Protocol": "https", "Endpoint": map[string]any{"Ref": "URL"}})
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{"AlarmDescription": map[string]any{
		"Fn::Join": []any{"", []any{assertions.Match_AnyValue(), map[string]any{"Ref": "Runbooks"}, "/Jobs/AgeAlarm"}},
	}})
}

func TestAlarmTopicOverride(t *testing.T) {
	stack := cdktest.Stack(t)
	observability.NewAlarmTopic(stack, "Alarms", observability.TopicProps{
		Override: func(p *awssns.TopicProps) { p.DisplayName = new("shown") },
	})
	cdktest.Template(stack).HasResourceProperties(new("AWS::SNS::Topic"), map[string]any{"DisplayName": "shown"})
}

func TestTopicPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, observability.TopicProps{
		Emails: append(make([]string, 0, 4), "ops@example.com"),
		HTTPS:  append(make([]string, 0, 4), "https://example.com"),
	}, func(p observability.TopicProps) { observability.NewAlarmTopic(stack, "Alarms", p) })
}

func TestTopicValidateNamesEveryField(t *testing.T) {
	stack := cdktest.Stack(t)
	bad := observability.TopicProps{
		Name:     "no spaces",
		Emails:   []string{"nobody", "a@example.com", "a@example.com"},
		HTTPS:    []string{"http://example.com", "https://", "https://a.example", "https://a.example"},
		Runbooks: "wiki",
	}
	require.EqualError(t, bad.Validate(), `observability: 7 fields are not valid
  Name is "no spaces"; allowed: 1 to 256 letters, digits, hyphens and underscores
  Emails[0] is "nobody"; allowed: an e-mail address
  Emails[2] is "a@example.com"; allowed: each address once
  HTTPS[0] is "http://example.com"; allowed: an https URL
  HTTPS[1] is "https://"; allowed: an https URL
  HTTPS[3] is "https://a.example"; allowed: each URL once
  Runbooks is "wiki"; allowed: an https URL`)
	err := cdktest.Panic[*observability.PropsError](t, func() { observability.NewAlarmTopic(stack, "Alarms", bad) })
	require.ErrorContains(t, err, "Test/Alarms (observability): 7 fields")
	require.EqualError(t, observability.TopicProps{
		Topic: awssns.Topic_FromTopicArn(stack, new("Topic"), new("arn:aws:sns:eu-west-1:111122223333:alarms")),
		Name:  "alarms", Key: awskms.NewKey(stack, new("Key"), nil), Override: func(*awssns.TopicProps) {},
	}.Validate(), `observability: 3 fields are not valid
  Name is "alarms"; allowed: none with an existing Topic
  Key is "set"; allowed: none with an existing Topic
  Override is "set"; allowed: none with an existing Topic`)
}
