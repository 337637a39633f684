package compliance

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/stacks"
)

// TestIAMStatements lists every statement of every policy in production, in
// testdata/iam.txt, for review; and fails for an Allow with a wildcard that the
// code gives no reason for.
func TestIAMStatements(t *testing.T) {
	templates, _ := synth(t, stacks.Prod(), func(awscdk.App) {})
	var text strings.Builder
	count, wild := 0, 0
	for _, template := range templates {
		for _, id := range slices.Sorted(maps.Keys(template.Resources)) {
			resource := template.Resources[id]
			for _, policy := range policies(resource.Properties) {
				fmt.Fprintf(&text, "%s %s (%s) %s\n", template.Stack, id, strings.TrimPrefix(resource.Type, "AWS::"), policy.where)
				for _, each := range policy.statements {
					count++
					line := each.String()
					if wildcards := each.wildcards(); len(wildcards) > 0 {
						wild++
						reason := resource.reasonFor(each, wildcards)
						if reason == "" {
							t.Errorf("%s %s: %s\n  has %v without a reason; narrow it, or give one with compliance.AcknowledgePolicy",
								template.Stack, id, line, wildcards)
						}
						line += "\n    because " + reason
					}
					fmt.Fprintf(&text, "  %s\n", line)
				}
			}
		}
	}
	require.Greater(t, count, 50)
	t.Logf("%d statements, %d of them with a wildcard and its reason", count, wild)
	golden(t, filepath.Join("testdata", "iam.txt"), text.String(), "permissions changed")
}

type policy struct {
	where      string
	statements []statement
}

// statement is one of a policy document, with intrinsics written as text.
type statement struct {
	Effect    string
	Action    texts
	NotAction texts
	Resource  texts
	Principal any
	Condition map[string]any
}

// String is the statement in a line.
func (s statement) String() string {
	line := s.Effect
	if s.Principal != nil {
		line += " to " + flat(s.Principal)
	}
	line += ": " + strings.Join(s.Action, ", ")
	if len(s.NotAction) > 0 {
		line += "all but " + strings.Join(s.NotAction, ", ")
	}
	if len(s.Resource) > 0 {
		line += " on " + strings.Join(s.Resource, ", ")
	}
	if len(s.Condition) > 0 {
		line += " if " + flat(any(s.Condition))
	}
	return line
}

// wildcards are the parts of an Allow that name more than one thing, as cdk-nag
// writes them.
func (s statement) wildcards() []string {
	if s.Effect != "Allow" {
		return nil
	}
	var found []string
	for _, action := range s.Action {
		if strings.Contains(action, "*") {
			found = append(found, "Action::"+action)
		}
	}
	for _, on := range s.Resource {
		if strings.Contains(on, "*") {
			found = append(found, "Resource::"+on)
		}
	}
	if len(s.NotAction) > 0 {
		found = append(found, "NotAction")
	}
	return found
}

// ownPolicies are the policies of resources, which cdk-nag does not look at, and
// why theirs may have wildcards when the statement fits.
var ownPolicies = []struct {
	kind, reason string
	fits         func(statement) bool
}{
	{
		"AWS::KMS::Key", "leaves the key to the account's IAM policies, as AWS's default key policy does; without it nobody could manage the key",
		func(s statement) bool {
			return slices.Equal(s.Action, texts{"kms:*"}) && strings.HasSuffix(flat(s.Principal), ":root")
		},
	},
	{
		"AWS::KMS::Key", "a key policy speaks of its own key, the stars stand for variants of one operation, and a condition binds it to this account",
		func(s statement) bool {
			return len(s.Condition) > 0 && !slices.ContainsFunc(s.Action, func(action string) bool {
				return strings.Contains(action, "*") && action != "kms:GenerateDataKey*" && action != "kms:ReEncrypt*"
			})
		},
	},
	{
		"AWS::S3::BucketPolicy", "the objects of the policy's own bucket, for a service of AWS",
		func(s statement) bool {
			return strings.HasPrefix(flat(s.Principal), "Service ") && !slices.ContainsFunc(s.Resource, func(on string) bool {
				return !strings.HasPrefix(on, "${") || !strings.HasSuffix(on, "/*")
			})
		},
	},
	{
		"AWS::EC2::VPCEndpoint", "an endpoint's policy says who may pass; what they may do, their own policies say",
		func(s statement) bool {
			return strings.Contains(flat(any(s.Condition)), "aws:PrincipalAccount ${AWS::AccountId}")
		},
	},
}

// reasonFor is why the wildcards of a statement are there: the reason of the
// acknowledgement on the resource, or what the kind of the policy makes of them.
func (r resource) reasonFor(s statement, wildcards []string) string {
	for _, own := range ownPolicies {
		if own.kind == r.Type && own.fits(s) {
			return own.reason
		}
	}
	var reasons []string
	for _, each := range wildcards {
		found := r.acknowledged(func(finding string) bool { return finding == each })
		if len(found) == 0 && strings.HasPrefix(each, "Resource::") {
			// cdk-nag writes what another stack exports in its own way.
			found = r.acknowledged(func(finding string) bool { return strings.HasPrefix(finding, "Resource::") })
			found = found[max(0, len(found)-1):]
		}
		if len(found) == 0 {
			return ""
		}
		for _, reason := range found {
			if !slices.Contains(reasons, reason) {
				reasons = append(reasons, reason)
			}
		}
	}
	return strings.Join(reasons, " ")
}

// acknowledged are the reasons for findings of a wildcard.
func (r resource) acknowledged(fits func(finding string) bool) []string {
	var reasons []string
	for _, rule := range r.Metadata.Nag.Rules {
		if rule.ID == "AwsSolutions-IAM5" && slices.ContainsFunc(rule.AppliesTo, fits) {
			reasons = append(reasons, rule.Reason)
		}
	}
	return reasons
}

// policies finds every policy document among the properties of a resource.
func policies(properties map[string]any) []policy {
	var found []policy
	var walk func(where string, value any)
	walk = func(where string, value any) {
		switch value := value.(type) {
		case map[string]any:
			if list, ok := value["Statement"].([]any); ok {
				p := policy{where: where}
				for _, each := range list {
					text, err := json.Marshal(each)
					if err != nil {
						panic(err)
					}
					var s statement
					if err := json.Unmarshal(text, &s); err != nil {
						panic(fmt.Errorf("a statement of %s: %w", where, err))
					}
					p.statements = append(p.statements, s)
				}
				found = append(found, p)
				return
			}
			for _, key := range slices.Sorted(maps.Keys(value)) {
				walk(strings.TrimPrefix(where+"."+key, "."), value[key])
			}
		case []any:
			for i, each := range value {
				walk(fmt.Sprintf("%s[%d]", where, i), each)
			}
		}
	}
	walk("", properties)
	return found
}

// texts is a text or a list of texts or intrinsics.
type texts []string

// UnmarshalJSON accepts one or many.
func (t *texts) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	if list, ok := value.([]any); ok {
		for _, each := range list {
			*t = append(*t, flat(each))
		}
		return nil
	}
	*t = texts{flat(value)}
	return nil
}

// flat writes a value with its intrinsics as CloudFormation's Sub would.
func flat(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case []any:
		list := make([]string, len(value))
		for i, each := range value {
			list[i] = flat(each)
		}
		return strings.Join(list, ", ")
	case map[string]any:
		if len(value) == 1 {
			for key, inner := range value {
				switch key {
				case "Ref":
					return "${" + flat(inner) + "}"
				case "Fn::GetAtt":
					if list, ok := inner.([]any); ok {
						return fmt.Sprintf("${%v.%v}", list[0], list[1])
					}
				case "Fn::ImportValue":
					return "${" + flat(inner) + "}"
				case "Fn::Join":
					if list, ok := inner.([]any); ok && len(list) == 2 {
						parts := make([]string, 0)
						if all, ok := list[1].([]any); ok {
							for _, each := range all {
								parts = append(parts, flat(each))
							}
						}
						return strings.Join(parts, flat(list[0]))
					}
				}
			}
		}
		parts := make([]string, 0, len(value))
		for _, key := range slices.Sorted(maps.Keys(value)) {
			parts = append(parts, key+" "+flat(value[key]))
		}
		return strings.Join(parts, " and ")
	default:
		return fmt.Sprint(value)
	}
}

// TestNoOpenSecurityGroups fails for ingress from everywhere. The load balancer
// stands behind CloudFront, so not even its group has any.
func TestNoOpenSecurityGroups(t *testing.T) {
	for _, settings := range []stacks.Settings{stacks.Dev(), stacks.Prod()} {
		templates, _ := synth(t, settings, func(awscdk.App) {})
		groups := 0
		for _, template := range templates {
			for id, resource := range template.Resources {
				var rules []any
				switch resource.Type {
				case "AWS::EC2::SecurityGroup":
					groups++
					rules, _ = resource.Properties["SecurityGroupIngress"].([]any)
				case "AWS::EC2::SecurityGroupIngress":
					rules = []any{resource.Properties}
				}
				for _, each := range rules {
					rule, _ := each.(map[string]any)
					if rule["CidrIp"] == "0.0.0.0/0" || rule["CidrIpv6"] == "::/0" {
						t.Errorf("%s %s admits the whole internet: %v", template.Stack, id, rule)
					}
				}
			}
		}
		require.Greater(t, groups, 5)
	}
}
