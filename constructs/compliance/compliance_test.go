package compliance_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/compliance"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

// acknowledged are the entries for cdk-nag in the metadata of a resource.
func acknowledged(of constructs.IConstruct) []map[string]any {
	metadata := of.Node().DefaultChild().(interface{ GetMetadata(*string) any }).GetMetadata(new("cdk_nag"))
	var entries []map[string]any
	for _, entry := range metadata.(map[string]any)["rules_to_suppress"].([]any) {
		entries = append(entries, entry.(map[string]any))
	}
	return entries
}

// printRules writes the rules that are acknowledged for a reason, one on a line.
func printRules(of constructs.IConstruct, reason string) {
	for _, rule := range acknowledged(of) {
		if rule["reason"] == reason {
			fmt.Println(rule["id"])
		}
	}
}

// rules are the acknowledged rules of a resource, with their findings.
func rules(of constructs.IConstruct) map[string]any {
	found := map[string]any{}
	for _, entry := range acknowledged(of) {
		found[entry["id"].(string)] = entry["applies_to"]
	}
	return found
}

func TestPolicyOfARole(t *testing.T) {
	stack := cdktest.Stack(t)
	role := awsiam.NewRole(stack, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewServicePrincipal(new("ec2.amazonaws.com"), nil)})
	const reason = "DescribeRegions has no resource-level permission."
	compliance.AcknowledgePolicy(role, reason, "Resource::*") // nothing was granted yet
	role.AddToPrincipalPolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Actions: &[]*string{new("ec2:DescribeRegions")}, Resources: &[]*string{new("*")},
	}))
	compliance.AcknowledgePolicy(role, reason, "Resource::*")
	compliance.AcknowledgePolicy(role, reason, "Resource::*") // says nothing new
	require.Equal(t, map[string]any{
		"AwsSolutions-IAM5":                []any{"Resource::*"},
		"HIPAA.Security-IAMNoInlinePolicy": nil,
		"NIST.800.53.R5-IAMNoInlinePolicy": nil,
		"PCI.DSS.321-IAMNoInlinePolicy":    nil,
	}, rules(role.Node().FindChild(new("DefaultPolicy"))))
	metadata := role.Node().FindChild(new("DefaultPolicy")).Node().DefaultChild().(awsiam.CfnPolicy).GetMetadata(new("cdk_nag"))
	require.Len(t, metadata.(map[string]any)["rules_to_suppress"], 4)

	imported := awsiam.Role_FromRoleName(stack, new("Imported"), new("operator"), nil)
	compliance.AcknowledgePolicy(imported, reason, "Resource::*")
}

func TestWhatWrapsNoResourceIsRefused(t *testing.T) {
	stack := cdktest.Stack(t)
	empty := constructs.NewConstruct(stack, new("Empty"))
	require.PanicsWithError(t, "Test/Empty wraps no resource that could be acknowledged", func() {
		compliance.Acknowledge(empty, "There is nothing here.", "AwsSolutions-S1")
	})
}
