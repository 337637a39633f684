package fanout_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/fanout"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
)

// Each condition, and the rules the SNS developer guide has for it ("Filter
// policies").
var rules = map[string]struct {
	condition fanout.Condition
	want      []any
}{
	"OneOf":             {fanout.OneOf("a", "b"), []any{"a", "b"}},
	"IgnoringCase":      {fanout.IgnoringCase("a"), []any{map[string]any{"equals-ignore-case": "a"}}},
	"Prefix":            {fanout.Prefix("a", "b"), []any{map[string]any{"prefix": "a"}, map[string]any{"prefix": "b"}}},
	"Suffix":            {fanout.Suffix("a"), []any{map[string]any{"suffix": "a"}}},
	"AnythingBut":       {fanout.AnythingBut("a", "b"), []any{map[string]any{"anything-but": []any{"a", "b"}}}},
	"AnythingButPrefix": {fanout.AnythingButPrefix("a"), []any{map[string]any{"anything-but": map[string]any{"prefix": "a"}}}},
	"InNetwork":         {fanout.InNetwork("10.0.0.0/8"), []any{map[string]any{"cidr": "10.0.0.0/8"}}},
	"Number":            {fanout.Number(1, 2.5), []any{map[string]any{"numeric": []any{"=", 1}}, map[string]any{"numeric": []any{"=", 2.5}}}},
	"Between":           {fanout.Between(1, 2), []any{map[string]any{"numeric": []any{">=", 1, "<=", 2}}}},
	"AtLeast":           {fanout.AtLeast(1), []any{map[string]any{"numeric": []any{">=", 1}}}},
	"Above":             {fanout.Above(1), []any{map[string]any{"numeric": []any{">", 1}}}},
	"AtMost":            {fanout.AtMost(1), []any{map[string]any{"numeric": []any{"<=", 1}}}},
	"Below":             {fanout.Below(1), []any{map[string]any{"numeric": []any{"<", 1}}}},
	"Boolean":           {fanout.Boolean(true), []any{true}},
	"Exists":            {fanout.Exists(), []any{map[string]any{"exists": true}}},
	"Absent":            {fanout.Absent(), []any{map[string]any{"exists": false}}},
	"Any":               {fanout.Any(fanout.OneOf("a"), fanout.Absent()), []any{"a", map[string]any{"exists": false}}},
}

func TestConditions(t *testing.T) {
	stack := cdktest.Stack(t)
	var subscriptions []fanout.Subscription
	for name, rule := range rules {
		subscriptions = append(subscriptions,
			fanout.Subscription{Name: name + "OnAttributes", Attributes: fanout.Conditions{name: rule.condition}},
			fanout.Subscription{Name: name + "OnBody", Body: fanout.Conditions{name: rule.condition}})
	}
	fanout.New(stack, "Events", fanout.Props{Subscriptions: subscriptions})
	template := cdktest.Template(stack)
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			// Attributes are what SNS looks at unless told.
			for _, scope := range []any{assertions.Match_Absent(), "MessageBody"} {
				template.HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{
					"FilterPolicyScope": scope, "FilterPolicy": map[string]any{name: rule.want},
				})
			}
		})
	}
}

func TestFilterAndAttributesJoin(t *testing.T) {
	stack := cdktest.Stack(t)
	fanout.New(stack, "Events", fanout.Props{Subscriptions: []fanout.Subscription{{
		Name:       "one",
		Filter:     map[string][]string{"type": {"uploaded"}},
		Attributes: fanout.Conditions{"size": fanout.AtLeast(5)},
	}}})
	cdktest.Template(stack).HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{"FilterPolicy": map[string]any{
		"type": []any{"uploaded"}, "size": []any{map[string]any{"numeric": []any{">=", 5}}},
	}})
}

func TestNestedBody(t *testing.T) {
	stack := cdktest.Stack(t)
	fanout.New(stack, "Events", fanout.Props{Subscriptions: []fanout.Subscription{{
		Name: "one",
		Body: fanout.Conditions{"detail": fanout.Within(fanout.Conditions{"file": fanout.Within(fanout.Conditions{"type": fanout.Prefix("video/")})})},
	}}})
	cdktest.Template(stack).HasResourceProperties(new("AWS::SNS::Subscription"), map[string]any{
		"FilterPolicyScope": "MessageBody",
		"FilterPolicy":      map[string]any{"detail": map[string]any{"file": map[string]any{"type": []any{map[string]any{"prefix": "video/"}}}}},
	})
}

// The example of "Filter policy constraints": 4 values at level 3, 3 at level 2
// and 3 at level 1 are 216 combinations.
func TestNestedCombinations(t *testing.T) {
	err := fanout.Props{Subscriptions: []fanout.Subscription{{
		Name: "one",
		Body: fanout.Conditions{
			"a": fanout.Within(fanout.Conditions{"b": fanout.Within(fanout.Conditions{"c": fanout.OneOf("1", "2", "3", "4")})}),
			"d": fanout.Within(fanout.Conditions{"e": fanout.OneOf("1", "2", "3")}),
			"f": fanout.OneOf("1", "2", "3"),
		},
	}}}.Validate()
	require.EqualError(t, err, "fanout: Subscriptions[0].Body is 216; allowed: 150 combinations of values or fewer")
}
