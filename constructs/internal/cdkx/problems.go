package cdkx

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/constructs-go/constructs/v10"
)

// FieldError is one field of a construct's Props that has a value AWS or the
// construct does not allow.
type FieldError struct {
	Field   string // as written in Go: "MaxReceives", "Subscriptions[search].Types"
	Value   any
	Allowed string // what would be right: "1 to 1000"
}

// Error names the field, its value and what is allowed.
func (e FieldError) Error() string {
	if value := reflect.ValueOf(e.Value); value.Kind() == reflect.String {
		return fmt.Sprintf("%s is %q; allowed: %s", e.Field, value.String(), e.Allowed)
	}
	return fmt.Sprintf("%s is %v; allowed: %s", e.Field, e.Value, e.Allowed)
}

// PropsError is every problem of one construct's Props. Validate returns it,
// and New panics with it.
type PropsError struct {
	Construct string // the package: "queue"
	Path      string // the construct's path in the tree; empty from Validate, which has no scope
	Problems  []FieldError
}

// Error lists every problem, one on a line when there are several.
func (e *PropsError) Error() string {
	where := e.Construct
	if e.Path != "" {
		where = e.Path + " (" + e.Construct + ")"
	}
	if len(e.Problems) == 1 {
		return where + ": " + e.Problems[0].Error()
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %d fields are not valid", where, len(e.Problems))
	for _, problem := range e.Problems {
		text.WriteString("\n  " + problem.Error())
	}
	return text.String()
}

// Unwrap makes each FieldError reachable for errors.As.
func (e *PropsError) Unwrap() []error {
	all := make([]error, len(e.Problems))
	for i, problem := range e.Problems {
		all[i] = problem
	}
	return all
}

// Problems collects what is wrong with a construct's Props. The zero value is
// ready to use.
type Problems struct {
	list []FieldError
}

// Add records one problem.
func (p *Problems) Add(field string, value any, allowed string) {
	p.list = append(p.list, FieldError{Field: field, Value: value, Allowed: allowed})
}

// Check records a problem unless ok.
func (p *Problems) Check(ok bool, field string, value any, allowed string) {
	if !ok {
		p.Add(field, value, allowed)
	}
}

// Merge adds the problems of a nested Validate, each field below prefix:
// Merge("Jobs", queueProps.Validate()).
func (p *Problems) Merge(prefix string, err error) {
	if err == nil {
		return
	}
	nested, ok := errors.AsType[*PropsError](err)
	if !ok {
		p.Add(prefix, err, "a valid value")
		return
	}
	for _, problem := range nested.Problems {
		p.Add(prefix+"."+problem.Field, problem.Value, problem.Allowed)
	}
}

// Err returns nil, or a *PropsError with all problems in the order they were
// added. The construct is named by its package.
func (p *Problems) Err(construct string) error {
	if len(p.list) == 0 {
		return nil
	}
	return &PropsError{Construct: construct, Problems: slices.Clone(p.list)}
}

// Between records a problem unless low <= value <= high.
func Between[T cmp.Ordered](p *Problems, field string, value, low, high T) {
	p.Check(value >= low && value <= high, field, value, fmt.Sprintf("%v to %v", low, high))
}

// AtLeast records a problem unless value >= low.
func AtLeast[T cmp.Ordered](p *Problems, field string, value, low T) {
	p.Check(value >= low, field, value, fmt.Sprintf("%v or more", low))
}

// OneOf records a problem unless value is among allowed.
func OneOf[T comparable](p *Problems, field string, value T, allowed ...T) {
	if slices.Contains(allowed, value) {
		return
	}
	names := make([]string, len(allowed))
	for i, each := range allowed {
		names[i] = fmt.Sprint(each)
	}
	p.Add(field, value, strings.Join(names, ", "))
}

// Unresolved tells whether a text holds a token: a value that only the
// deployment knows, such as another stack's output or a parameter.
func Unresolved(text string) bool {
	return strings.Contains(text, "${Token[")
}

// Matches records a problem unless the value has the pattern, or is a token,
// whose value AWS checks. Use it where AWS allows a token.
func Matches(p *Problems, field, value string, pattern *regexp.Regexp, allowed string) {
	p.Check(Unresolved(value) || pattern.MatchString(value), field, value, allowed)
}

// Must is the first line of every New: it panics with a *PropsError that
// carries the construct's path when err is not nil, when there is no scope, or
// when the id is empty, holds a slash or is taken in that scope. All of these
// would otherwise end in a jsii stack trace.
func Must(scope constructs.Construct, id, construct string, err error) {
	var problems Problems
	path := id
	switch scope {
	case nil:
		problems.Add("scope", "nil", "a construct: a stack or another construct")
	default:
		if parent := *scope.Node().Path(); parent != "" {
			path = parent + "/" + id
		}
		switch {
		case id == "" || strings.Contains(id, "/"):
			problems.Add("id", id, "text without a slash that is unique in its scope")
		case scope.Node().TryFindChild(&id) != nil:
			problems.Add("id", id, "an id that no other construct of this scope has")
		}
	}
	if err != nil {
		nested, ok := errors.AsType[*PropsError](err)
		if !ok {
			panic(fmt.Errorf("%s (%s): %w", path, construct, err))
		}
		problems.list = append(problems.list, nested.Problems...)
	}
	if len(problems.list) > 0 {
		panic(&PropsError{Construct: construct, Path: path, Problems: problems.list})
	}
}
