// Package compliance records why findings of cdk-nag stay. The constructs of
// this module do so for their own resources; an app does it for what it adds.
//
// The reason stands beside the resource, in the code and in the template, where
// cdk-nag looks for it. The package does not load cdk-nag: an app that runs it
// adds its packs as aspects.
package compliance

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Acknowledge records beside a resource why rules do not apply to it. The reason
// is for a security reviewer: what protects instead, or why the rule's risk is
// absent.
//
// A rule is a full name, with a finding in brackets for the rules that have
// several ("AwsSolutions-IAM5[Resource::*]"), or the name that the HIPAA, NIST
// and PCI packs share ("S3BucketReplicationEnabled"). It panics when the
// construct wraps no resource.
func Acknowledge(of constructs.IConstruct, reason string, rules ...string) {
	cdkx.Acknowledge(of, reason, rules...)
}

// AcknowledgePolicy says of the permissions granted to a role so far that they
// are a policy of its own, and why the wildcards in them are no wider than they
// have to be: "Resource::*", "Action::kms:ReEncrypt*". It does nothing for a
// role without a policy, such as an imported one.
func AcknowledgePolicy(role awsiam.IRole, reason string, wildcards ...string) {
	cdkx.AcknowledgePolicy(role, reason, wildcards...)
}
