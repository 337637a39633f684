package templatediff

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
)

// Action is what happens to a resource.
type Action string

// Actions, in the order they are told.
const (
	Replaced   Action = "replaced"
	MayReplace Action = "may be replaced"
	Removed    Action = "removed"
	Renamed    Action = "logical id changed"
	Moved      Action = "moved to another stack"
	Added      Action = "added"
	Changed    Action = "changed in place"
)

// Change is what happens to one resource.
type Change struct {
	Action      Action
	Stack       string
	ID          string       // logical id, the old one when it changed
	Type        string       // CloudFormation type, the old one when it changed
	Name        string       // as Resource.Name
	NewStack    string       // of Moved
	NewID       string       // of Renamed and Moved
	Because     []string     // properties that replace it
	Differences []Difference // without noise, and without what IAM and Network tell
	Loss        *Loss        // of a stateful resource that is replaced or removed

	follows      []string // properties that refer to a resource that is replaced
	old, changed Resource
}

// Loss is what becomes of the data of a stateful resource.
type Loss struct {
	Noun    string // "PostgreSQL primary"
	Outcome string // "the database and its data are deleted"
}

// StackReport is what happens to one stack.
type StackReport struct {
	Stack    string
	New      bool // it is not in the base
	Gone     bool // it is in the base only
	IAM      []Permission
	Network  []Permission // rules of security groups
	Changes  []Change
	Sections []Difference // outputs, parameters, conditions, mappings
}

func (s StackReport) empty() bool {
	return !s.New && !s.Gone && len(s.IAM)+len(s.Network)+len(s.Changes)+len(s.Sections) == 0
}

// Report is what happens to all stacks.
type Report struct {
	Stacks  []StackReport // those that change, in deployment order
	Losses  []Change      // stateful resources that are replaced or removed, of all stacks
	Maybe   []Change      // stateful resources CloudFormation may replace, depending on what it alone knows
	Blocked []string      // why CloudFormation will refuse the update
	Noise   Noise
}

// Noise counts what is not listed.
type Noise struct {
	Assets   int // values that differ in the hash of an asset only
	Metadata int // metadata that deploys nothing
}

// Loses tells whether a stateful resource is replaced or removed, whatever its
// policies keep of it.
func (r *Report) Loses() bool { return len(r.Losses) > 0 }

// Compare tells what becomes of the stacks of one set of templates when they
// are updated to another. Library is read from node_modules in root.
func Compare(ctx context.Context, root string, from, to []Template) (*Report, error) {
	c := comparison{old: byStack(from), changed: byStack(to)}
	order := stackNames(from, to)
	pairs := map[string]pair{}
	for _, stack := range order {
		pairs[stack] = pair{c.old[stack].body(), c.changed[stack].body()}
	}
	var err error
	if c.answer, err = ask(ctx, root, pairs); err != nil {
		return nil, err
	}
	var changes []Change
	for _, stack := range order {
		for _, id := range slices.Sorted(maps.Keys(c.answer.Stacks[stack])) {
			changes = append(changes, c.change(stack, id))
		}
	}
	changes = rename(changes)
	c.follow(changes)
	for i := range changes {
		c.detail(&changes[i])
	}

	r := &Report{}
	for _, stack := range order {
		s := StackReport{Stack: stack}
		_, inOld := c.old[stack]
		_, inNew := c.changed[stack]
		s.New, s.Gone = !inOld, !inNew
		if inOld && inNew {
			s.Sections = c.sections(stack)
		}
		for _, change := range changes {
			if change.Stack != stack {
				continue
			}
			c.weigh(r, &change)
			iam, network := c.permissions(&change)
			s.IAM, s.Network = append(s.IAM, iam...), append(s.Network, network...)
			if change.told(len(iam)+len(network) > 0, c.answer.Types) {
				continue
			}
			s.Changes = append(s.Changes, change)
		}
		s.IAM, s.Network = cancel(s.IAM), cancel(s.Network)
		if !s.empty() {
			r.Stacks = append(r.Stacks, s)
		}
	}
	r.Blocked = c.blocked(order, changes)
	r.Noise = c.noise
	return r, nil
}

type comparison struct {
	old, changed map[string]Template
	answer       verdicts
	noise        Noise
}

func byStack(templates []Template) map[string]Template {
	found := map[string]Template{}
	for _, t := range templates {
		found[t.Stack] = t
	}
	return found
}

// stackNames lists the stacks in the new templates' order, then those that are
// gone.
func stackNames(from, to []Template) (names []string) {
	for _, t := range slices.Concat(to, from) {
		if !slices.Contains(names, t.Stack) {
			names = append(names, t.Stack)
		}
	}
	return names
}

func (t Template) body() map[string]any {
	if t.Body == nil {
		return map[string]any{}
	}
	return t.Body
}

func (t Template) raw(id string) map[string]any {
	resources, _ := t.Body["Resources"].(map[string]any)
	r, _ := resources[id].(map[string]any)
	return r
}

// change says what happens to one resource.
func (c *comparison) change(stack, id string) Change {
	change := Change{Stack: stack, ID: id}
	change.old, change.changed = c.old[stack].Resources[id], c.changed[stack].Resources[id]
	change.Type = cmp.Or(change.old.Type, change.changed.Type)
	change.Name = change.changed.Name(id)
	if change.changed.Type == "" {
		change.Name = change.old.Name(id)
	}
	switch c.answer.Stacks[stack][id].Impact {
	case "WILL_CREATE":
		change.Action = Added
	case "WILL_DESTROY", "WILL_ORPHAN":
		change.Action = Removed
	case "WILL_REPLACE":
		change.Action = Replaced
	case "MAY_REPLACE":
		change.Action = MayReplace
	default:
		change.Action = Changed
	}
	return change
}

// detail adds what differs in a resource that stays, and counts the noise.
func (c *comparison) detail(change *Change) {
	switch change.Action {
	case Changed, Replaced, MayReplace:
	default:
		return
	}
	change.old = c.old[change.Stack].Resources[change.ID] // with the references that follow changed
	change.Differences = differences("", anyMap(change.old.Properties), anyMap(change.changed.Properties))
	properties := c.answer.Stacks[change.Stack][change.ID].Properties
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if impact := properties[name]; impact == "WILL_REPLACE" || impact == "MAY_REPLACE" && change.Action == MayReplace {
			change.because(name)
		}
	}
	if change.old.Type != change.changed.Type {
		change.Because = append(change.Because, "Type: "+change.old.Type+" → "+change.changed.Type)
	}
	change.Differences = append(change.Differences, c.attributes(change.Stack, change.ID)...)
	change.Differences = c.withoutAssets(change.Differences)
}

func anyMap(m map[string]any) any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// because adds the property that replaces a resource. One whose value is the
// same refers to a resource that is replaced.
func (c *Change) because(property string) {
	for _, d := range c.Differences {
		if d.Path == property {
			c.Because = append(c.Because, property+": "+render(d.Old)+" → "+render(d.New))
			return
		}
		if strings.HasPrefix(d.Path, property+".") || strings.HasPrefix(d.Path, property+"[") {
			c.Because = append(c.Because, property)
			return
		}
	}
	c.follows = append(c.follows, property)
}

// executed is metadata that instances act on.
var executed = []string{"AWS::CloudFormation::Init", "AWS::CloudFormation::Authentication"}

// attributes lists what changes about a resource beside its properties.
func (c *comparison) attributes(stack, id string) []Difference {
	old, changed := maps.Clone(c.old[stack].raw(id)), maps.Clone(c.changed[stack].raw(id))
	for _, m := range []map[string]any{old, changed} {
		delete(m, "Type")
		delete(m, "Properties")
		// Its order says nothing, and one element may stand without its list.
		if on, ok := m["DependsOn"].([]any); ok {
			slices.SortFunc(on, func(a, b any) int { return strings.Compare(render(a), render(b)) })
		} else if m["DependsOn"] != nil {
			m["DependsOn"] = []any{m["DependsOn"]}
		}
	}
	a, _ := old["Metadata"].(map[string]any)
	b, _ := changed["Metadata"].(map[string]any)
	delete(old, "Metadata")
	delete(changed, "Metadata")
	found := keyed("", old, changed)
	for _, d := range keyed("", a, b) {
		if slices.ContainsFunc(executed, func(k string) bool { return strings.HasPrefix(d.Path, k) }) {
			d.Path = "Metadata." + d.Path
			found = append(found, d)
			continue
		}
		c.noise.Metadata++
	}
	return found
}

func (c *comparison) withoutAssets(all []Difference) []Difference {
	return slices.DeleteFunc(all, func(d Difference) bool {
		if d.isAsset() {
			c.noise.Assets++
			return true
		}
		return false
	})
}

// sections lists what changes in a template outside its resources.
func (c *comparison) sections(stack string) []Difference {
	old, changed := maps.Clone(c.old[stack].Body), maps.Clone(c.changed[stack].Body)
	for _, m := range []map[string]any{old, changed} {
		delete(m, "Resources")
		if m["Metadata"] != nil {
			delete(m, "Metadata")
		}
	}
	return c.withoutAssets(keyed("", old, changed))
}

// told tells whether nothing is left to list about a change: it was noise, or
// the sections on permissions say it all.
func (c Change) told(permissions bool, types facts) bool {
	switch c.Action {
	case Changed:
		return len(c.Differences) == 0
	case Added, Removed, Replaced:
		return c.Type == "AWS::CDK::Metadata" || c.Loss == nil && permissions && types[c.Type].Permission != "None"
	default:
		return false
	}
}

// weigh adds what becomes of a stateful resource's data.
func (c *comparison) weigh(r *Report, change *Change) {
	h, ok := c.answer.Types.holds(change.old)
	if !ok {
		return
	}
	policy := onRemoval(change.old)
	switch change.Action {
	case Added, Changed:
		return
	case MayReplace:
		policy = onReplacement(change.old, change.changed)
		change.Loss = &Loss{Noun: h.of(change.old), Outcome: h.outcome(h.fate(policy))}
		r.Maybe = append(r.Maybe, *change)
		return
	case Replaced:
		policy = onReplacement(change.old, change.changed)
	}
	change.Loss = &Loss{Noun: h.of(change.old), Outcome: h.outcome(h.fate(policy))}
	if _, ok := c.changed[change.Stack]; !ok {
		change.Loss.Outcome = "once the stack is destroyed, " + change.Loss.Outcome
	}
	r.Losses = append(r.Losses, *change)
}
