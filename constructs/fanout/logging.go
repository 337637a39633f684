package fanout

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

func (f *Fanout) makeLogging(successPercent int) *[]*awssns.LoggingConfig {
	f.LogRole = awsiam.NewRole(f, new("LogRole"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(new("sns.amazonaws.com"), nil),
		Description: new("Writes the delivery status of a topic"),
	})
	config := &awssns.LoggingConfig{Protocol: awssns.LoggingProtocol_SQS, FailureFeedbackRole: f.LogRole}
	if successPercent > 0 {
		config.SuccessFeedbackRole = f.LogRole
		config.SuccessFeedbackSampleRate = cdkx.Number(successPercent)
	}
	return &[]*awssns.LoggingConfig{config}
}

// makeLogGroups makes the groups that SNS would otherwise make itself at the
// first message, to be kept for ever ("Amazon SNS message delivery status", SNS
// developer guide). They come after the topic: its name is in theirs.
func (f *Fanout) makeLogGroups(topicName string) {
	stack := awscdk.Stack_Of(f)
	name := fmt.Sprintf("sns/%s/%s/%s", *stack.Region(), *stack.Account(), topicName)
	for _, group := range []struct{ id, name string }{{"Deliveries", name}, {"Failures", name + "/Failure"}} {
		made := awslogs.NewLogGroup(f, &group.id, &awslogs.LogGroupProps{
			LogGroupName:  &group.name,
			Retention:     awslogs.RetentionDays_ONE_MONTH,
			RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		})
		cdkx.Acknowledge(made, "CloudWatch Logs encrypts it. It holds ids, times and status codes of deliveries, never a message.",
			"CloudWatchLogGroupEncrypted")
		made.Grant(f.LogRole, *cdkx.Strings("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")...)
		f.LogGroups = append(f.LogGroups, made)
	}
	cdkx.AcknowledgePolicy(f.LogRole, "")
}
