package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// maxNodes is how many boxes a picture has at most. Beyond that its lines cross
// more than they say.
const maxNodes = 15

// node is one box: a resource, or several of one type.
type node struct {
	kind    string
	name    string // its role inside the construct, may be empty
	inside  bool
	members []*resource
}

// edge is an arrow between two boxes.
type edge struct {
	from, to int // index of a node
	label    string
	after    bool // only a DependsOn
}

// picture is the flowchart of a golden template: a box for each main resource, an
// arrow for each reference between them. Supporting resources are left out, and
// one that only leads from a box to another, as a subnet group does, becomes an
// arrow.
type picture struct {
	nodes []node
	edges []edge
	more  []string // what did not fit, in words
}

// line is an edge between two resources, before they are folded.
type line struct {
	from, to *resource
	label    string
	after    bool
}

func (t *golden) picture() picture {
	lines := t.lines()
	var p picture
	var shown []*resource
	for _, r := range t.resources {
		if typeOf(r.kind).role == drawn && (r.inside || r.kind != "AWS::EC2::VPC" && touchesInside(r, lines)) {
			shown = append(shown, r)
		}
	}
	p.fold(shown)
	of := map[*resource]int{}
	for i, n := range p.nodes {
		for _, r := range n.members {
			of[r] = i
		}
	}
	p.connect(lines, of)
	p.dropLoose()
	return p
}

// fold makes the boxes: one for resources of one type that differ by a number
// only, as those of each zone do; then, while there are too many, one for a type,
// the most frequent first and what is beside the construct before it.
func (p *picture) fold(shown []*resource) {
	byKind := map[string]bool{} // types that are one box
	group := func() {
		boxes := map[string]*node{}
		for _, r := range shown {
			name := roleName(r)
			if byKind[folding(r)] {
				name = ""
			}
			key := fmt.Sprint(r.inside, r.kind, name)
			if boxes[key] == nil {
				boxes[key] = &node{kind: r.kind, name: name, inside: r.inside}
			}
			boxes[key].members = append(boxes[key].members, r)
		}
		p.nodes = p.nodes[:0]
		for _, n := range boxes {
			p.nodes = append(p.nodes, *n)
		}
		slices.SortFunc(p.nodes, func(a, b node) int {
			return cmp.Or(cmp.Compare(inOrder(a.inside), inOrder(b.inside)), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
		})
	}
	for group(); len(p.nodes) > maxNodes; group() {
		count := map[string]int{}
		for _, n := range p.nodes {
			count[folding(n.members[0])]++
		}
		most := ""
		for _, key := range slices.Sorted(maps.Keys(count)) {
			if count[key] > 1 && (most == "" || count[key] > count[most]) {
				most = key
			}
		}
		if most == "" {
			break
		}
		byKind[most] = true
	}
	if len(p.nodes) > maxNodes {
		for _, n := range p.nodes[maxNodes:] {
			p.more = append(p.more, n.text())
		}
		p.nodes = p.nodes[:maxNodes]
	}
}

func folding(r *resource) string { return fmt.Sprint(inOrder(r.inside), r.kind) }

func inOrder(inside bool) int {
	if inside {
		return 0
	}
	return 1
}

// abbreviations in logical ids say what the type says, or where everything is.
var abbreviations = []string{"ASG", "IGW", "VPC"}

// roleName says which of its type a resource is: the words of its logical id
// that its type does not say already. Numbers are left out, and so is what the
// test calls a resource that is not the construct's.
func roleName(r *resource) string {
	if !r.inside {
		return ""
	}
	said := strings.ToLower(typeOf(r.kind).words)
	var name []string
	for _, word := range camelWords(r.name) {
		for prefix := range strings.FieldsSeq(said) {
			if rest := strings.TrimPrefix(word, prefix); len(rest) > 2 {
				word = rest // an id such as "Endpoint-sqs" lost its hyphen
			}
		}
		if strings.Trim(word, "0123456789") == "" || slices.Contains(abbreviations, word) || strings.Contains(said, strings.ToLower(word)) || slices.Contains(name, word) {
			continue
		}
		name = append(name, word)
	}
	return strings.Join(name, " ")
}

func (n node) text() string {
	text := typeOf(n.kind).words
	if n.name != "" {
		text += " " + n.name
	}
	if len(n.members) > 1 {
		text += fmt.Sprintf(" × %d", len(n.members))
	}
	return text
}

func touchesInside(r *resource, lines []line) bool {
	return slices.ContainsFunc(lines, func(l line) bool {
		return !l.after && (l.from == r && l.to.inside || l.to == r && l.from.inside)
	})
}

// lines are the edges between the resources that are drawn.
func (t *golden) lines() []line {
	out := map[*resource][]line{}
	add := func(l line) { out[l.from] = append(out[l.from], l) }
	for _, r := range t.resources {
		kind := typeOf(r.kind)
		if kind.role == connector {
			for _, from := range t.named(r, kind.from) {
				for _, to := range t.named(r, kind.to) {
					add(line{from: from, to: to, label: kind.label})
				}
			}
			continue
		}
		for _, reference := range r.references {
			to := t.by(reference.id)
			key := r.kind + "." + reference.property
			label, reversed := flow[key]
			switch {
			case reference.property == "VpcId" && !reversed:
				// Everything stands in the VPC; only its subnets show that.
			case reference.property == "":
				add(line{from: r, to: to, after: true})
			case reversed:
				add(line{from: to, to: r, label: label})
			case keyed.MatchString(reference.property):
				add(line{from: r, to: to, label: "encrypted by"})
			default:
				add(line{from: r, to: to, label: cmp.Or(edgeLabels[key+"."+reference.inner], edgeLabels[key])})
			}
		}
	}
	var all []line
	for _, from := range t.resources {
		if typeOf(from.kind).role != drawn {
			continue
		}
		reached := map[*resource]bool{}
		var follow func(at *resource, label string)
		follow = func(at *resource, label string) {
			for _, l := range out[at] {
				label := cmp.Or(l.label, label)
				switch {
				case typeOf(l.to.kind).role == drawn:
					if l.to != from && (!l.after || at == from) {
						all = append(all, line{from: from, to: l.to, label: label, after: l.after})
					}
				case !l.after && !reached[l.to]:
					reached[l.to] = true
					follow(l.to, label)
				}
			}
		}
		follow(from, "")
	}
	return all
}

// named are the resources that properties of a connector name.
func (t *golden) named(r *resource, properties []string) []*resource {
	var all []*resource
	for _, reference := range r.references {
		if slices.Contains(properties, reference.property) || slices.Contains(properties, reference.property+"."+reference.inner) {
			all = append(all, t.by(reference.id))
		}
	}
	return all
}

// connect makes one arrow of all lines between two boxes. What is beside the
// construct is connected with the construct only, and a DependsOn is drawn only
// where no other arrows lead from one box to the other.
func (p *picture) connect(lines []line, of map[*resource]int) {
	type pair struct{ from, to int }
	labels := map[pair][]string{}
	after := map[pair]bool{}
	for _, l := range lines {
		from, ok := of[l.from]
		to, fits := of[l.to]
		if !ok || !fits || from == to || !p.nodes[from].inside && !p.nodes[to].inside {
			continue
		}
		at := pair{from, to}
		if l.after {
			after[at] = true
			continue
		}
		if _, seen := labels[at]; !seen {
			labels[at] = nil
		}
		if l.label != "" && !slices.Contains(labels[at], l.label) {
			labels[at] = append(labels[at], l.label)
		}
	}
	for at, texts := range labels {
		p.edges = append(p.edges, edge{from: at.from, to: at.to, label: strings.Join(texts, ", ")})
	}
	references := slices.Clone(p.edges)
	for at := range after {
		if p.nodes[at.from].inside && p.nodes[at.to].inside && !leads(references, at.from, at.to) && !leads(references, at.to, at.from) {
			p.edges = append(p.edges, edge{from: at.from, to: at.to, label: "after", after: true})
		}
	}
	slices.SortFunc(p.edges, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
}

// dropLoose leaves out roles of what is not in the picture, such as a flow log's,
// unless nothing else is there.
func (p *picture) dropLoose() {
	connected := map[int]bool{}
	for _, e := range p.edges {
		connected[e.from], connected[e.to] = true, true
	}
	if len(connected) == 0 {
		return
	}
	now := map[int]int{}
	var kept []node
	for i, n := range p.nodes {
		if connected[i] || n.kind != "AWS::IAM::Role" {
			now[i] = len(kept)
			kept = append(kept, n)
		}
	}
	p.nodes = kept
	for i := range p.edges {
		p.edges[i].from, p.edges[i].to = now[p.edges[i].from], now[p.edges[i].to]
	}
}

// leads tells whether arrows lead from one box to another.
func leads(edges []edge, from, to int) bool {
	seen := map[int]bool{}
	var follow func(at int) bool
	follow = func(at int) bool {
		if at == to {
			return true
		}
		if seen[at] {
			return false
		}
		seen[at] = true
		return slices.ContainsFunc(edges, func(e edge) bool { return e.from == at && follow(e.to) })
	}
	return follow(from)
}

// outside tells whether the picture shows what the construct did not make.
func (p picture) outside() bool {
	return slices.ContainsFunc(p.nodes, func(n node) bool { return !n.inside })
}

// Mermaid writes the picture as a flowchart that GitHub draws, in light and in
// dark, without a layout engine of ours and with a diff that can be read. Ids
// are n1, n2, … because words such as "end" mean something to Mermaid.
func (p picture) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	var outside []string
	for i, n := range p.nodes {
		id := fmt.Sprintf("n%d", i+1)
		kind := typeOf(n.kind)
		text := label(kind.words)
		if n.name != "" {
			text += "<br/>" + label(n.name)
		}
		if len(n.members) > 1 {
			text += fmt.Sprintf("<br/>× %d", len(n.members))
		}
		open, shut := "[", "]"
		switch kind.shape {
		case storage:
			open, shut = "[(", ")]"
		case access:
			open, shut = "([", "])"
		}
		fmt.Fprintf(&b, "    %s%s\"%s\"%s\n", id, open, text, shut)
		if !n.inside {
			outside = append(outside, id)
		}
	}
	for _, e := range p.edges {
		arrow := "-->"
		if e.after {
			arrow = "-.->"
		}
		if e.label != "" {
			arrow += `|"` + label(e.label) + `"|`
		}
		fmt.Fprintf(&b, "    n%d %s n%d\n", e.from+1, arrow, e.to+1)
	}
	if len(outside) > 0 {
		b.WriteString("    classDef outside stroke-dasharray: 5 5\n")
		fmt.Fprintf(&b, "    class %s outside\n", strings.Join(outside, ","))
	}
	return b.String()
}

var unsafeInLabel = regexp.MustCompile(`[^A-Za-z0-9 .,:/'()×-]`)

// label makes any text safe inside the quotes of a Mermaid label: what could
// end it, begin Markdown or be HTML is written as Mermaid's entity of its code
// point.
func label(text string) string {
	text = unsafeInLabel.ReplaceAllStringFunc(oneLine(text), func(s string) string {
		return fmt.Sprintf("#%d;", []rune(s)[0])
	})
	// A number and a full stop at the beginning, or a hyphen, would be a list.
	if listMarker.MatchString(text) {
		text = "#8203;" + text
	}
	return text
}

var listMarker = regexp.MustCompile(`^(\d+[.)]|-)`)
