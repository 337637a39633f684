package fanout

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Limits of a filter policy, from the SNS developer guide ("Filter policy
// constraints").
const (
	maxFilterNames        = 5
	maxFilterCombinations = 150
	maxFilterNumber       = 1e9
)

// Conditions say which messages a subscription gets: those that meet the
// condition on every name.
type Conditions map[string]Condition

// Condition is what a value has to be. Make one with the functions of this
// package; the zero value is not valid.
type Condition struct {
	rules  []any // one of them must hold, each as in a filter policy
	within Conditions
	wrong  []cdkx.FieldError
}

func rules[T any](rule func(T) any, of []T) Condition {
	list := make([]any, len(of))
	for i, each := range of {
		list[i] = rule(each)
	}
	return Condition{rules: list}
}

func operator[T any](name string) func(T) any {
	return func(operand T) any { return map[string]any{name: operand} }
}

// OneOf holds for a text that is one of these, in the same case.
func OneOf(values ...string) Condition {
	return rules(func(value string) any { return value }, values)
}

// IgnoringCase holds for a text that is one of these in any case.
func IgnoringCase(values ...string) Condition {
	return rules(operator[string]("equals-ignore-case"), values)
}

// Prefix holds for a text that begins with one of these.
func Prefix(prefixes ...string) Condition { return rules(operator[string]("prefix"), prefixes) }

// Suffix holds for a text that ends with one of these.
func Suffix(suffixes ...string) Condition { return rules(operator[string]("suffix"), suffixes) }

// AnythingBut holds for a text that is none of these.
func AnythingBut(values ...string) Condition {
	if len(values) == 0 {
		return Condition{}
	}
	return Condition{rules: []any{map[string]any{"anything-but": values}}}
}

// AnythingButPrefix holds for a text that does not begin with this.
func AnythingButPrefix(prefix string) Condition {
	return Condition{rules: []any{map[string]any{"anything-but": map[string]any{"prefix": prefix}}}}
}

// InNetwork holds for an IP address in one of these networks, in CIDR notation.
func InNetwork(networks ...string) Condition {
	c := rules(operator[string]("cidr"), networks)
	for _, network := range networks {
		if _, err := netip.ParsePrefix(network); err != nil && !cdkx.Unresolved(network) {
			c.wrong = append(c.wrong, cdkx.FieldError{Value: network, Allowed: "a network in CIDR notation"})
		}
	}
	return c
}

// Number holds for one of these numbers. Numbers are compared to five digits
// after the decimal point, from -1e9 to 1e9, here and below.
func Number(values ...float64) Condition {
	c := rules(func(value float64) any { return map[string]any{"numeric": []any{"=", value}} }, values)
	return c.check(values...)
}

// Between holds for a number from low to high, both included.
func Between(low, high float64) Condition {
	c := numeric(">=", low, "<=", high).check(low, high)
	if low > high {
		c.wrong = append(c.wrong, cdkx.FieldError{
			Value: fmt.Sprintf("Between(%v, %v)", low, high), Allowed: "the lower number first",
		})
	}
	return c
}

// AtLeast holds for this number and those above.
func AtLeast(low float64) Condition { return numeric(">=", low).check(low) }

// Above holds for numbers above this one.
func Above(low float64) Condition { return numeric(">", low).check(low) }

// AtMost holds for this number and those below.
func AtMost(high float64) Condition { return numeric("<=", high).check(high) }

// Below holds for numbers below this one.
func Below(high float64) Condition { return numeric("<", high).check(high) }

func numeric(operators ...any) Condition {
	return Condition{rules: []any{map[string]any{"numeric": operators}}}
}

func (c Condition) check(numbers ...float64) Condition {
	for _, number := range numbers {
		if !(number >= -maxFilterNumber && number <= maxFilterNumber) {
			c.wrong = append(c.wrong, cdkx.FieldError{Value: number, Allowed: "-1e9 to 1e9"})
		}
	}
	return c
}

// Boolean holds for true or for false, of the Body only.
func Boolean(value bool) Condition { return Condition{rules: []any{value}} }

// Exists holds when the name is there, whatever its value.
func Exists() Condition { return Condition{rules: []any{map[string]any{"exists": true}}} }

// Absent holds when the name is not there.
func Absent() Condition { return Condition{rules: []any{map[string]any{"exists": false}}} }

// Any holds when one of the conditions does. They are on the same value, so none
// of them may be Within.
func Any(conditions ...Condition) Condition {
	var either Condition
	for _, condition := range conditions {
		either.rules = append(either.rules, condition.rules...)
		either.wrong = append(either.wrong, condition.wrong...)
		if condition.within != nil {
			either.wrong = append(either.wrong, cdkx.FieldError{Value: "Any(Within)", Allowed: "conditions on the value"})
		}
	}
	return either
}

// Within holds for an object whose fields meet all conditions, of the Body only.
func Within(fields Conditions) Condition { return Condition{within: fields} }

// check records what is wrong with the conditions, each below the field.
func (c Conditions) check(bad *cdkx.Problems, field string) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		condition := c[name]
		here := fmt.Sprintf("%s[%s]", field, name)
		bad.Check(name != "" && len(condition.rules)+len(condition.within) > 0, here, condition.rules, "a name with one condition or more")
		for _, wrong := range condition.wrong {
			bad.Add(here, wrong.Value, wrong.Allowed)
		}
		condition.within.check(bad, here)
	}
}

// complexity counts names with a value and combinations of values, as SNS does:
// the values of a nested name count once for each level.
func (c Conditions) complexity(level int) (names, combinations int) {
	combinations = 1
	for _, condition := range c {
		if condition.within != nil {
			nested, values := condition.within.complexity(level + 1)
			names, combinations = names+nested, combinations*values
			continue
		}
		names++
		combinations *= level * max(len(condition.rules), 1)
	}
	return names, combinations
}

// onAttributes is the filter policy that CDK takes for attributes, nil for none.
func (c Conditions) onAttributes() *map[string]awssns.SubscriptionFilter {
	if len(c) == 0 {
		return nil
	}
	policy := make(map[string]awssns.SubscriptionFilter, len(c))
	for name, condition := range c {
		policy[name] = awssns.NewSubscriptionFilter(&condition.rules)
	}
	return &policy
}

// onBody is the filter policy that CDK takes for the body, nil for none.
func (c Conditions) onBody() *map[string]awssns.FilterOrPolicy {
	if len(c) == 0 {
		return nil
	}
	policy := make(map[string]awssns.FilterOrPolicy, len(c))
	for name, condition := range c {
		if condition.within != nil {
			policy[name] = awssns.FilterOrPolicy_Policy(condition.within.onBody())
			continue
		}
		policy[name] = awssns.FilterOrPolicy_Filter(awssns.NewSubscriptionFilter(&condition.rules))
	}
	return &policy
}
