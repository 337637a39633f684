// Package cdkx is the one place where plain Go meets jsii: pointers, durations,
// casts to L1, tags, and the validation every construct shares. Scalars need
// nothing from here: new("text") and new(true) are pointers already.
package cdkx

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
)

// Number is what jsii wants for every number.
func Number[N ~int | ~int64 | ~float64](n N) *float64 {
	return new(float64(n))
}

// Strings is a list of texts.
func Strings[S ~string](texts ...S) *[]*string {
	list := make([]*string, len(texts))
	for i, text := range texts {
		list[i] = new(string(text))
	}
	return &list
}

// StringMap is a map of texts.
func StringMap(texts map[string]string) *map[string]*string {
	pointers := make(map[string]*string, len(texts))
	for key, text := range texts {
		pointers[key] = &text
	}
	return &pointers
}

// Any is a list as jsii wants one whose elements may be of several types.
func Any[T any](values []T) *[]any {
	list := make([]any, len(values))
	for i, value := range values {
		list[i] = value
	}
	return &list
}

// Optional is nil for the zero value, which CDK reads as its own default, and
// a pointer to the value otherwise.
func Optional[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// Duration converts d, cut to milliseconds, which is as fine as CDK goes.
func Duration(d time.Duration) awscdk.Duration {
	if d%time.Second == 0 {
		return awscdk.Duration_Seconds(Number(d / time.Second))
	}
	return awscdk.Duration_Millis(Number(d / time.Millisecond))
}

// WholeSeconds records a problem unless low <= value <= high and value has no
// fraction of a second, as most AWS durations require.
func WholeSeconds(p *Problems, field string, value, low, high time.Duration) {
	p.Check(value >= low && value <= high && value%time.Second == 0,
		field, value, fmt.Sprintf("%v to %v in whole seconds", low, high))
}

// Override calls each override that is not nil on props, in order, and returns
// props. It comes last, so the caller of a construct has the last word.
func Override[P any](props *P, overrides ...func(*P)) *P {
	for _, override := range overrides {
		if override != nil {
			override(props)
		}
	}
	return props
}

// Cfn is the L1 resource of type T that an L2 wraps. It panics with a text that
// names both types when the L2 wraps another one, which a test of the construct
// shows at once.
func Cfn[T constructs.IConstruct](of constructs.IConstruct) T {
	child := of.Node().DefaultChild()
	resource, ok := child.(T)
	if !ok {
		panic(fmt.Errorf("%s wraps a %T, not a %T", *of.Node().Path(), child, resource))
	}
	return resource
}

// Tag sets tags on a construct and everything below it, in the order of their
// keys so that templates do not change from run to run.
func Tag(on constructs.IConstruct, tags map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		awscdk.Tags_Of(on).Add(&key, new(tags[key]), nil)
	}
}
