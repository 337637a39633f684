package cost

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Template is a synthesized stack, as far as its cost depends on it.
type Template struct {
	Stack      string `json:"-"`
	Parameters map[string]struct {
		Type    string
		Default any
	}
	Mappings   map[string]map[string]map[string]any
	Conditions map[string]any
	Resources  map[string]struct {
		Type       string
		Condition  string
		Properties map[string]any
	}
	Outputs map[string]struct {
		Value  any
		Export struct{ Name any }
	}
}

// Read reads a stack's template.
func Read(stack, path string) (Template, error) {
	t := Template{Stack: stack}
	data, err := os.ReadFile(path)
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, fmt.Errorf("read the template %s: %w", path, err)
	}
	return t, nil
}

// resolve replaces CloudFormation's intrinsic functions by what they give, as
// far as the templates alone tell; false when they do not.
func (e *estimator) resolve(t *Template, v any) (any, bool) {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		return v, true
	}
	for function, argument := range m {
		args, _ := argument.([]any)
		switch function {
		case "Ref":
			return e.ref(t, fmt.Sprint(argument))
		case "Fn::If":
			if len(args) != 3 {
				return nil, false
			}
			met, ok := e.condition(t, map[string]any{"Condition": args[0]})
			if !ok {
				return nil, false
			}
			if met {
				return e.resolve(t, args[1])
			}
			return e.resolve(t, args[2])
		case "Fn::FindInMap":
			names, ok := e.texts(t, args)
			if !ok || len(names) != 3 {
				return nil, false
			}
			found, ok := t.Mappings[names[0]][names[1]][names[2]]
			return found, ok
		case "Fn::Select":
			if len(args) != 2 {
				return nil, false
			}
			i, ok := e.resolve(t, args[0])
			n, err := strconv.Atoi(fmt.Sprint(i))
			list, isList := e.list(t, args[1])
			if !ok || err != nil || !isList || n < 0 || n >= len(list) {
				return nil, false
			}
			return e.resolve(t, list[n])
		case "Fn::Join":
			if len(args) != 2 {
				return nil, false
			}
			list, ok := e.list(t, args[1])
			if !ok {
				return nil, false
			}
			texts, ok := e.texts(t, list)
			return strings.Join(texts, fmt.Sprint(args[0])), ok
		case "Fn::ImportValue":
			name, ok := e.resolve(t, argument)
			if !ok {
				return nil, false
			}
			return e.exported(fmt.Sprint(name))
		case "Fn::GetStackOutput":
			of, _ := argument.(map[string]any)
			return e.output(fmt.Sprint(of["StackName"]), fmt.Sprint(of["OutputName"]))
		default:
			if strings.HasPrefix(function, "Fn::") {
				return nil, false
			}
		}
	}
	return v, true
}

func (e *estimator) ref(t *Template, name string) (any, bool) {
	if name == "AWS::Region" {
		return e.Region, true
	}
	p, ok := t.Parameters[name]
	// The default of a parameter that is read from SSM is a name, not a value.
	if !ok || p.Default == nil || strings.HasPrefix(p.Type, "AWS::SSM::") {
		return nil, false
	}
	if text, isText := p.Default.(string); isText && (p.Type == "CommaDelimitedList" || strings.HasPrefix(p.Type, "List<")) {
		var list []any
		for s := range strings.SplitSeq(text, ",") {
			list = append(list, strings.TrimSpace(s))
		}
		return list, true
	}
	return p.Default, true
}

func (e *estimator) condition(t *Template, v any) (met, ok bool) {
	m, _ := v.(map[string]any)
	for function, argument := range m {
		args, _ := argument.([]any)
		if function == "Condition" {
			return e.condition(t, t.Conditions[fmt.Sprint(argument)])
		}
		if function == "Fn::Equals" {
			texts, ok := e.texts(t, args)
			return len(texts) == 2 && texts[0] == texts[1], ok && len(texts) == 2
		}
		var each []bool
		for _, a := range args {
			met, ok := e.condition(t, a)
			if !ok {
				return false, false
			}
			each = append(each, met)
		}
		switch function {
		case "Fn::Not":
			return len(each) == 1 && !each[0], len(each) == 1
		case "Fn::And":
			return !slices.Contains(each, false), true
		case "Fn::Or":
			return slices.Contains(each, true), true
		}
	}
	return false, false
}

func (e *estimator) texts(t *Template, list []any) ([]string, bool) {
	texts := make([]string, len(list))
	for i, v := range list {
		value, ok := e.resolve(t, v)
		if !ok {
			return nil, false
		}
		texts[i] = fmt.Sprint(value)
	}
	return texts, true
}

func (e *estimator) list(t *Template, v any) ([]any, bool) {
	v, ok := e.resolve(t, v)
	list, isList := v.([]any)
	return list, ok && isList
}

func (e *estimator) exported(name string) (any, bool) {
	for i := range e.templates {
		t := &e.templates[i]
		for _, o := range t.Outputs {
			if o.Export.Name == name {
				return e.resolve(t, o.Value)
			}
		}
	}
	return nil, false
}

func (e *estimator) output(stack, name string) (any, bool) {
	for i := range e.templates {
		t := &e.templates[i]
		if o, ok := t.Outputs[name]; ok && t.Stack == stack {
			return e.resolve(t, o.Value)
		}
	}
	return nil, false
}

// resource is one resource with what its properties resolve to.
type resource struct {
	e     *estimator
	t     *Template
	id    string
	kind  string
	props map[string]any
}

// at returns the value at a path of property names, nil where there is none
// or it cannot be told.
func (r resource) at(path ...string) any {
	var v any = r.props
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		if v, ok = r.e.resolve(r.t, m[name]); !ok {
			r.e.unknown(r, strings.Join(path, ".")+" depends on values that only a deployment has")
			return nil
		}
	}
	return v
}

// raw is the property as it stands in the template.
func (r resource) raw(name string) any { return r.props[name] }

func (r resource) text(path ...string) string {
	v := r.at(path...)
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (r resource) isTrue(path ...string) bool { return r.text(path...) == "true" }

// number reads a number, also one written as text; otherwise when there is
// none.
func (r resource) number(otherwise float64, path ...string) float64 {
	if n, err := strconv.ParseFloat(r.text(path...), 64); err == nil {
		return n
	}
	return otherwise
}

func (r resource) items(path ...string) []any {
	list, _ := r.at(path...).([]any)
	return list
}

// target finds the resource a value refers to in its own stack, also from
// inside an Fn::Join.
func (r resource) target(v any) (resource, bool) {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			if found, ok := r.target(element); ok {
				return found, true
			}
		}
	case map[string]any:
		if id, ok := v["Ref"].(string); ok {
			if found, ok := r.t.Resources[id]; ok {
				return resource{r.e, r.t, id, found.Type, found.Properties}, true
			}
			return resource{}, false
		}
		for _, argument := range v {
			if list, ok := argument.([]any); ok && len(list) > 0 {
				if id, ok := list[0].(string); ok && r.t.Resources[id].Type != "" {
					return resource{r.e, r.t, id, r.t.Resources[id].Type, r.t.Resources[id].Properties}, true
				}
			}
			if found, ok := r.target(argument); ok {
				return found, true
			}
		}
	}
	return resource{}, false
}
