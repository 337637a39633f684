package templatediff

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Permission is an IAM statement, a managed policy or a rule of a security
// group that is added or removed.
type Permission struct {
	Added   bool
	Subject string // whose it is
	Text    string
}

// permissions lists what a change gives and takes, and drops the differences
// that say the same.
func (c *comparison) permissions(change *Change) (iam, network []Permission) {
	switch change.Action {
	case Renamed, Moved:
		return nil, nil
	}
	kind := c.answer.Types[change.Type]
	compare := func(subject string, old, changed []string) []Permission {
		removed, added := subtract(old, changed), subtract(changed, old)
		var found []Permission
		for _, text := range removed {
			found = append(found, Permission{false, subject, text})
		}
		for _, text := range added {
			found = append(found, Permission{true, subject, text})
		}
		return found
	}
	if kind.Permission != "None" {
		a, b := c.of(c.old[change.Stack], change.old, change.ID), c.of(c.changed[change.Stack], change.changed, change.ID)
		switch kind.Permission {
		case "IngressRuleResource", "EgressRuleResource":
			direction := strings.ToLower(strings.TrimSuffix(kind.Permission, "RuleResource"))
			for _, side := range []struct {
				subject string
				r       Resource
				added   bool
			}{{a, change.old, false}, {b, change.changed, true}} {
				if side.r.Type != "" {
					network = append(network, Permission{side.added, side.subject, rule(direction, side.r.Properties)})
				}
			}
			network = cancel(network)
		case "LambdaPermission":
			iam = cancel(slices.Concat(
				compare(a, lambdaPermission(change.old), nil), compare(b, nil, lambdaPermission(change.changed))))
		default:
			old, changed := documents(change.old.Properties), documents(change.changed.Properties)
			if a == b {
				iam = append(iam, statementChanges(a, old, changed)...)
			} else {
				iam = append(iam, statementChanges(a, old, nil)...)
				iam = append(iam, statementChanges(b, nil, changed)...)
			}
		}
		if len(iam)+len(network) > 0 && change.Action == Changed {
			change.Differences = nil
		}
	}
	for _, property := range slices.Sorted(maps.Keys(kind.Permissions)) {
		old, changed := change.old.Properties[property], change.changed.Properties[property]
		subject := change.Name
		var found []Permission
		switch kind.Permissions[property] {
		case "ManagedPolicies":
			found = compare(subject, managed(old), managed(changed))
		case "IngressRules":
			found = compare(subject, rules("ingress", old), rules("ingress", changed))
		case "EgressRules":
			found = compare(subject, rules("egress", old), rules("egress", changed))
		default:
			found = statementChanges(subject, documents(old), documents(changed))
		}
		if len(found) == 0 {
			continue
		}
		change.Differences = slices.DeleteFunc(change.Differences, func(d Difference) bool {
			return d.Path == property || strings.HasPrefix(d.Path, property+".") || strings.HasPrefix(d.Path, property+"[")
		})
		if kind.Permissions[property] == "IngressRules" || kind.Permissions[property] == "EgressRules" {
			network = append(network, found...)
		} else {
			iam = append(iam, found...)
		}
	}
	return iam, network
}

// holders are the properties by which a policy names whom it belongs to.
var holders = []string{"Roles", "Users", "Groups", "Queues", "Topics", "Bucket", "SecretId", "FunctionName", "GroupId"}

// of names whom a policy or rule belongs to.
func (c *comparison) of(t Template, r Resource, id string) string {
	var names []string
	for _, property := range holders {
		for _, v := range list(r.Properties[property]) {
			name := render(v)
			if to := target(v); t.Resources[to].Type != "" {
				name = t.Resources[to].Name(to)
			}
			names = append(names, name)
		}
	}
	return cmp.Or(strings.Join(names, ", "), r.Name(id))
}

// statement is an IAM statement in a form that compares; lists are sorted and
// joined by separator.
type statement struct {
	effect, actions, resources, principals, condition string
}

// separator stands in no name or ARN.
const separator = "\x00"

// documents returns the statements of every policy document in a value.
func documents(v any) (found []statement) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			found = append(found, documents(e)...)
		}
	case map[string]any:
		if v["Statement"] != nil {
			for _, s := range list(v["Statement"]) {
				if m, ok := s.(map[string]any); ok {
					found = append(found, newStatement(m))
				}
			}
			return found
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			found = append(found, documents(v[k])...)
		}
	}
	return found
}

func newStatement(m map[string]any) statement {
	either := func(name string) string {
		if m["Not"+name] != nil {
			return "everything but " + sorted(m["Not"+name])
		}
		return sorted(m[name])
	}
	s := statement{effect: render(cmp.Or[any](m["Effect"], "Allow")), actions: either("Action"), resources: either("Resource")}
	if m["Principal"] != nil || m["NotPrincipal"] != nil {
		s.principals = either("Principal")
		if p, ok := m["Principal"].(map[string]any); ok && !intrinsic(p) {
			var parts []any
			for _, k := range slices.Sorted(maps.Keys(p)) {
				parts = append(parts, list(p[k])...)
			}
			s.principals = sorted(parts)
		}
	}
	if m["Condition"] != nil {
		s.condition = strings.TrimSuffix(strings.TrimPrefix(render(m["Condition"]), "{"), "}")
	}
	return s
}

func (s statement) String() string {
	text := s.effect + " " + s.actions
	if s.resources != "" {
		text += " on " + s.resources
	}
	if s.principals != "" {
		text += " to " + s.principals
	}
	if s.condition != "" {
		text += " if " + s.condition
	}
	return strings.ReplaceAll(text, separator, ", ")
}

// statementChanges tells the difference of two sets of statements: of a
// statement that keeps all but its actions, or all but its resources, only
// those that differ.
func statementChanges(subject string, old, changed []statement) (found []Permission) {
	removed, added := subtract(old, changed), subtract(changed, old)
	tell := func(isAdded bool, s statement) {
		found = append(found, Permission{isAdded, subject, s.String()})
	}
	for _, a := range removed {
		alike := func(same func(a, b statement) bool) int {
			return slices.IndexFunc(added, func(b statement) bool { return same(a, b) })
		}
		if i := alike(func(a, b statement) bool { a.actions = b.actions; return a == b }); i >= 0 {
			b := added[i]
			added = slices.Delete(added, i, i+1)
			less, more := a, b
			if less.actions = only(a.actions, b.actions); less.actions != "" {
				tell(false, less)
			}
			if more.actions = only(b.actions, a.actions); more.actions != "" {
				tell(true, more)
			}
			continue
		}
		if i := alike(func(a, b statement) bool { a.resources = b.resources; return a == b }); i >= 0 {
			b := added[i]
			added = slices.Delete(added, i, i+1)
			less, more := a, b
			if less.resources = only(a.resources, b.resources); less.resources != "" {
				tell(false, less)
			}
			if more.resources = only(b.resources, a.resources); more.resources != "" {
				tell(true, more)
			}
			continue
		}
		tell(false, a)
	}
	for _, b := range added {
		tell(true, b)
	}
	return found
}

// only is what the first of two lists has that the second has not.
func only(a, b string) string {
	return strings.Join(subtract(strings.Split(a, separator), strings.Split(b, separator)), separator)
}

func lambdaPermission(r Resource) []string {
	if r.Type == "" {
		return nil
	}
	text := "Allow " + render(r.Properties["Action"]) + " to " + render(r.Properties["Principal"])
	if from := r.Properties["SourceArn"]; from != nil {
		text += " for " + render(from)
	}
	return []string{text}
}

func managed(v any) (found []string) {
	for _, e := range list(v) {
		found = append(found, "managed policy "+render(e))
	}
	return found
}

func rules(direction string, v any) (found []string) {
	for _, e := range list(v) {
		if m, ok := e.(map[string]any); ok {
			found = append(found, rule(direction, m))
		}
	}
	return found
}

// peers are the properties that name the other side of a rule, which has one.
var peers = []string{
	"CidrIp", "CidrIpv6", "SourceSecurityGroupId", "SourceSecurityGroupName", "SourcePrefixListId",
	"DestinationSecurityGroupId", "DestinationPrefixListId",
}

// rule says what a security group's rule lets through.
func rule(direction string, p map[string]any) string {
	text := direction + " "
	protocol, from, to := render(p["IpProtocol"]), render(p["FromPort"]), render(p["ToPort"])
	switch {
	case protocol == "-1":
		text += "of everything"
	case p["FromPort"] == nil || p["ToPort"] == nil:
		text += protocol
	case from == to:
		text += protocol + " " + from
	default:
		text += protocol + " " + from + "-" + to
	}
	towards := map[string]string{"ingress": " from ", "egress": " to "}[direction]
	i := slices.IndexFunc(peers, func(peer string) bool { return p[peer] != nil })
	if i >= 0 {
		text += towards + render(p[peers[i]])
	}
	if p["Description"] != nil {
		text += " (" + render(p["Description"]) + ")"
	}
	return text
}

func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

func sorted(v any) string {
	var parts []string
	for _, e := range list(v) {
		parts = append(parts, render(e))
	}
	slices.Sort(parts)
	return strings.Join(parts, separator)
}

// subtract returns what of a is not in b, counting repetitions.
func subtract[T comparable](a, b []T) (left []T) {
	b = slices.Clone(b)
	for _, v := range a {
		if i := slices.Index(b, v); i >= 0 {
			b = slices.Delete(b, i, i+1)
			continue
		}
		left = append(left, v)
	}
	return left
}

// cancel drops what is both added and removed, as when a statement moves from
// one policy of a role to another.
func cancel(all []Permission) (left []Permission) {
	for _, p := range all {
		opposite := p
		opposite.Added = !p.Added
		if i := slices.Index(left, opposite); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		left = append(left, p)
	}
	return left
}
