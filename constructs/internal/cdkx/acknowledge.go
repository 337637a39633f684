package cdkx

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
)

// controlPacks are the packs of cdk-nag that check the same rule under a name of
// their own.
var controlPacks = []string{"HIPAA.Security", "NIST.800.53.R5", "PCI.DSS.321"}

// metadataKey is where cdk-nag looks for acknowledgements. They are plain
// template metadata, so that constructs do not load cdk-nag for everybody.
const metadataKey = "cdk_nag"

// Acknowledge records beside a resource why rules of cdk-nag do not apply to
// it. The reason is for a security reviewer: what protects instead, or why the
// rule's risk is absent. It stands in the template.
//
// A rule is a full name, with a finding in brackets for the rules that have
// several ("AwsSolutions-IAM5[Resource::*]"), or the name that the HIPAA, NIST
// and PCI packs share ("S3BucketReplicationEnabled"). It panics when of wraps
// no resource, which a test of the construct shows at once.
func Acknowledge(of constructs.IConstruct, reason string, rules ...string) {
	record(of, func(string) string { return reason }, rules...)
}

// record adds to what is acknowledged of a resource with one write.
func record(of constructs.IConstruct, reason func(rule string) string, rules ...string) {
	resource := underlying(of)
	var list []any
	if before, ok := resource.GetMetadata(new(metadataKey)).(map[string]any); ok {
		list, _ = before["rules_to_suppress"].([]any)
	}
	for _, rule := range rules {
		for _, entry := range suppressions(rule, reason(rule)) {
			if !slices.ContainsFunc(list, func(have any) bool { return reflect.DeepEqual(have, entry) }) {
				list = append(list, entry)
			}
		}
	}
	resource.AddMetadata(new(metadataKey), map[string]any{"rules_to_suppress": list})
}

func underlying(of constructs.IConstruct) awscdk.CfnResource {
	if resource, ok := of.(awscdk.CfnResource); ok {
		return resource
	}
	resource, ok := of.Node().DefaultChild().(awscdk.CfnResource)
	if !ok {
		panic(fmt.Errorf("%s wraps no resource that could be acknowledged", *of.Node().Path()))
	}
	return resource
}

func suppressions(rule, reason string) []any {
	name, finding, _ := strings.Cut(strings.TrimSuffix(rule, "]"), "[")
	ids := []string{name}
	if !strings.Contains(name, "-") {
		ids = ids[:0]
		for _, pack := range controlPacks {
			ids = append(ids, pack+"-"+name)
		}
	}
	list := make([]any, len(ids))
	for i, id := range ids {
		entry := map[string]any{"id": id, "reason": reason}
		if finding != "" {
			entry["applies_to"] = []any{finding}
		}
		list[i] = entry
	}
	return list
}

// AcknowledgePolicy says of the permissions a role has so far that they are a
// policy of its own, and why the wildcards in them are no wider than they have to
// be: "Resource::*", "Action::kms:ReEncrypt*". It does nothing for a role
// without a policy, such as one that was passed in.
func AcknowledgePolicy(role awsiam.IRole, reason string, wildcards ...string) {
	policy := role.Node().TryFindChild(new("DefaultPolicy"))
	if policy == nil {
		return
	}
	rules := []string{inlinePolicy}
	for _, wildcard := range wildcards {
		rules = append(rules, "AwsSolutions-IAM5["+wildcard+"]")
	}
	record(policy, func(rule string) string {
		if rule == inlinePolicy {
			return "The policy belongs to this one role and goes with it; shared, it would grant the next role what it does not need."
		}
		return reason
	}, rules...)
}

const inlinePolicy = "IAMNoInlinePolicy"

// Finding is how cdk-nag spells a resource with a wildcard, for AcknowledgePolicy:
// an ARN with each part that only the deployment knows in angle brackets.
func Finding(stack awscdk.Stack, arn string) string {
	return "Resource::" + flat(stack.Resolve(&arn))
}

func flat(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case *string:
		return *value
	case map[string]any:
		if name, ok := value["Ref"].(string); ok {
			return "<" + name + ">"
		}
		if path, ok := value["Fn::GetAtt"].([]any); ok {
			return fmt.Sprintf("<%v.%v>", path...)
		}
		if join, ok := value["Fn::Join"].([]any); ok {
			var text strings.Builder
			for _, part := range join[1].([]any) {
				text.WriteString(flat(part))
			}
			return text.String()
		}
	}
	return fmt.Sprint(value)
}

// Allow lets an identity do something to a resource, named by its ARN.
func Allow(to awsiam.IGrantable, resource string, actions ...string) awsiam.Grant {
	return awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      to,
		Actions:      Strings(actions...),
		ResourceArns: Strings(resource),
	})
}
