package firewall

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// logGroupPrefix is what the name of a log group must begin with for WAF to write
// to it ("Logging AWS WAF web ACL traffic", developer guide).
const logGroupPrefix = "aws-waf-logs-"

// log writes what matches a rule to a log group. WAF lets itself write to it when
// logging is switched on, with the permissions of whoever deploys.
func (f *Firewall) log(props Props) {
	f.LogGroup = props.LogGroup
	if f.LogGroup == nil {
		f.LogGroup = awslogs.NewLogGroup(f, new("Logs"), &awslogs.LogGroupProps{
			LogGroupName:  new(logGroupName(*f.Node().Path())),
			Retention:     cmp.Or(props.LogRetention, awslogs.RetentionDays_ONE_MONTH),
			EncryptionKey: props.Key,
			RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		})
	}
	// The L2's ARN ends in ":*", which WAF refuses.
	arn := awscdk.Stack_Of(f).FormatArn(&awscdk.ArnComponents{
		Service: new("logs"), Resource: new("log-group"), ResourceName: f.LogGroup.LogGroupName(),
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	})
	logging := &waf.CfnLoggingConfigurationProps{
		ResourceArn:           f.WebACL.AttrArn(),
		LogDestinationConfigs: &[]any{arn},
	}
	var redacted []any
	for _, name := range props.RedactedHeaders {
		redacted = append(redacted, &waf.CfnLoggingConfiguration_FieldToMatchProperty{
			SingleHeader: map[string]any{"Name": strings.ToLower(name)},
		})
	}
	if len(redacted) > 0 {
		logging.RedactedFields = redacted
	}
	if !props.LogEverything {
		logging.LoggingFilter = matches()
	}
	f.Logging = waf.NewCfnLoggingConfiguration(f, new("Logging"), cdkx.Override(logging, props.OverrideLogging))
}

// matches keeps the requests that a rule matched. The L1 takes it as it stands in
// the template.
func matches() map[string]any {
	var conditions []any
	for _, action := range []string{"BLOCK", "COUNT", "EXCLUDED_AS_COUNT", "CAPTCHA", "CHALLENGE"} {
		conditions = append(conditions, map[string]any{"ActionCondition": map[string]any{"Action": action}})
	}
	return map[string]any{
		"DefaultBehavior": "DROP",
		"Filters":         []any{map[string]any{"Behavior": "KEEP", "Requirement": "MEETS_ANY", "Conditions": conditions}},
	}
}

// protectData keeps credentials out of logs and of sampled requests, which the
// redaction of a log alone does not reach; nil when there is nothing to keep out.
func protectData(props Props) any {
	var protections []any
	add := func(kind string, names []string) {
		if len(names) == 0 {
			return
		}
		protections = append(protections, &waf.CfnWebACL_DataProtectProperty{
			Action: new("SUBSTITUTION"),
			Field:  &waf.CfnWebACL_FieldToProtectProperty{FieldType: &kind, FieldKeys: cdkx.Strings(names...)},
		})
	}
	add("SINGLE_HEADER", lower(props.RedactedHeaders))
	add("SINGLE_QUERY_ARGUMENT", lower(props.RedactedQueryArguments))
	if len(protections) == 0 {
		return nil
	}
	return &waf.CfnWebACL_DataProtectionConfigProperty{DataProtections: protections}
}

func lower(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = strings.ToLower(name)
	}
	return list
}

// logGroupName follows from the path, so that two web ACLs of an account do not
// share a group, and one keeps its own from deployment to deployment.
func logGroupName(path string) string {
	name := strings.Trim(notInName.ReplaceAllString(path, "-"), "-")
	return logGroupPrefix + name[max(len(name)-200, 0):]
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
