package rotate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// maxHeaderValues is how many values a condition compares with, from the ALB
// user guide ("Condition types for listener rules").
const maxHeaderValues = 3

// Rules is the part of the load balancer client that a rotation uses.
type Rules interface {
	DescribeRules(context.Context, *elb.DescribeRulesInput, ...func(*elb.Options)) (*elb.DescribeRulesOutput, error)
	ModifyRule(context.Context, *elb.ModifyRuleInput, ...func(*elb.Options)) (*elb.ModifyRuleOutput, error)
}

// accept lets every rule accept the values of the header and no others. Nothing
// else of a rule changes: its weights belong to the release in progress.
func (r *Rotator) accept(ctx context.Context, values []string) error {
	if len(values) > maxHeaderValues {
		return fmt.Errorf("the origins of distribution %s send %d different values of %s; a rule accepts %d at most, with the current and the new one",
			r.Settings.Distribution, len(values), contract.OriginVerifyHeader, maxHeaderValues)
	}
	described, err := r.Rules.DescribeRules(ctx, &elb.DescribeRulesInput{RuleArns: r.Settings.Rules})
	if err != nil {
		return fmt.Errorf("describe the listener rules: %w", err)
	}
	if len(described.Rules) != len(r.Settings.Rules) {
		return fmt.Errorf("%d of the %d listener rules exist", len(described.Rules), len(r.Settings.Rules))
	}
	for _, rule := range described.Rules {
		conditions, changed, err := withValues(rule.Conditions, values)
		if err != nil {
			return fmt.Errorf("listener rule %s: %w", aws.ToString(rule.RuleArn), err)
		}
		if !changed {
			continue
		}
		if _, err := r.Rules.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: rule.RuleArn, Conditions: conditions}); err != nil {
			return fmt.Errorf("change listener rule %s: %w", aws.ToString(rule.RuleArn), err)
		}
	}
	return nil
}

// withValues is the conditions with other values of the header, and whether
// that changes them.
func withValues(conditions []types.RuleCondition, values []string) (list []types.RuleCondition, changed bool, err error) {
	found := false
	for _, c := range conditions {
		if typed(c) {
			c.Values = nil // the same once more, which ModifyRule does not take
		}
		if header := c.HttpHeaderConfig; header != nil && strings.EqualFold(aws.ToString(header.HttpHeaderName), contract.OriginVerifyHeader) {
			found = true
			changed = !sameSet(header.Values, values)
			c.HttpHeaderConfig = &types.HttpHeaderConditionConfig{HttpHeaderName: header.HttpHeaderName, Values: values}
		}
		list = append(list, c)
	}
	if !found {
		return nil, false, fmt.Errorf("it does not require %s", contract.OriginVerifyHeader)
	}
	return list, changed, nil
}

func typed(c types.RuleCondition) bool {
	return c.HttpHeaderConfig != nil || c.PathPatternConfig != nil || c.HostHeaderConfig != nil ||
		c.HttpRequestMethodConfig != nil || c.QueryStringConfig != nil || c.SourceIpConfig != nil
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
