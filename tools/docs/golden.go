package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// golden is a construct's golden template.
type golden struct {
	file      string // in the package's folder
	roots     []string
	resources []*resource // in the order of their logical ids
}

// resource is one resource of a template.
type resource struct {
	id         string
	kind       string // CloudFormation's type
	properties map[string]any
	references []reference
	inside     bool   // of the construct itself, not of what its test puts beside it
	name       string // its path inside the construct, as words
}

// reference says that a property of one resource names another resource. The
// inner one is the key below it, when there is one. An empty property is a
// DependsOn.
type reference struct{ property, inner, id string }

// readGolden reads the golden template of the package. It is nil, with a problem,
// when there is none.
func (p *pkg) readGolden() (*golden, []problem, error) {
	name, roots, foreign := p.goldenTest()
	if name == "" {
		return nil, []problem{{p.dir, "golden template", fmt.Sprintf(
			`no test calls cdktest.Golden(t, stack, %q); write one that makes a typical instance, then run: go test ./%s -update`, p.name, p.dir)}}, nil
	}
	t := &golden{file: "testdata/" + name + ".golden.json", roots: roots}
	text, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(p.dir), filepath.FromSlash(t.file)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, []problem{{p.dir, "golden template", "no " + t.file + "; run: go test ./" + p.dir + " -update"}}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := t.decode(text); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", t.file, err)
	}
	t.claim(foreign)
	if !slices.ContainsFunc(t.resources, func(r *resource) bool { return r.inside }) {
		return nil, []problem{{p.dir, "golden template", fmt.Sprintf(
			`no resource of %s is the construct's; call %s.New with a literal id in the test that calls cdktest.Golden(t, stack, %q)`,
			t.file, p.name, name)}}, nil
	}
	return t, nil, nil
}

// goldenTest finds the name of the golden template that the page shows, the ids
// its test gives to this package's constructs, and the ids of everything else
// that tests put into stacks. The name is the package's when there are several.
func (p *pkg) goldenTest() (name string, roots, foreign []string) {
	for _, file := range p.tests {
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			var found string
			var own []string
			ast.Inspect(function.Body, func(node ast.Node) bool {
				call, ok := node.(*ast.CallExpr)
				if !ok {
					return true
				}
				from, called := calledName(call)
				switch {
				case from == "cdktest" && called == "Golden" && len(call.Args) == 3:
					found = literal(call.Args[2])
				case !strings.HasPrefix(called, "New") || len(call.Args) < 2 || literal(call.Args[1]) == "":
				case from == p.name:
					own = append(own, literal(call.Args[1]))
				default:
					foreign = append(foreign, literal(call.Args[1]))
				}
				return true
			})
			if found != "" && (name == "" || found == p.name) {
				name, roots = found, own
			}
		}
	}
	return name, roots, foreign
}

func calledName(call *ast.CallExpr) (from, name string) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	if pkg, ok := selector.X.(*ast.Ident); ok {
		from = pkg.Name
	}
	return from, selector.Sel.Name
}

// literal is the text of "text" or new("text"), or "".
func literal(expr ast.Expr) string {
	if call, ok := expr.(*ast.CallExpr); ok && len(call.Args) == 1 {
		if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "new" {
			expr = call.Args[0]
		}
	}
	value, ok := expr.(*ast.BasicLit)
	if !ok {
		return ""
	}
	text, err := strconv.Unquote(value.Value)
	if err != nil {
		return ""
	}
	return text
}

func (t *golden) decode(text []byte) error {
	var file struct {
		Resources map[string]struct {
			Type       string
			Properties map[string]any
			DependsOn  any
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(file.Resources)) {
		read := file.Resources[id]
		r := &resource{id: id, kind: read.Type, properties: read.Properties}
		seen := map[reference]bool{}
		add := func(property, inner, to string) {
			ref := reference{property, inner, to}
			if _, exists := file.Resources[to]; exists && to != id && !seen[ref] {
				seen[ref] = true
				r.references = append(r.references, ref)
			}
		}
		for _, property := range slices.Sorted(maps.Keys(read.Properties)) {
			for inner, value := range below(read.Properties[property]) {
				mentions(value, func(to string) { add(property, inner, to) })
			}
		}
		for _, to := range texts(read.DependsOn) {
			add("", "", to)
		}
		t.resources = append(t.resources, r)
	}
	return nil
}

// below are the values of a property by their keys, or the property itself when
// it has none.
func below(value any) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		keyed, ok := value.(map[string]any)
		if !ok || len(keyed) == 1 && (keyed["Ref"] != nil || strings.HasPrefix(slices.Collect(maps.Keys(keyed))[0], "Fn::")) {
			yield("", value)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(keyed)) {
			if !yield(key, keyed[key]) {
				return
			}
		}
	}
}

var substitution = regexp.MustCompile(`\$\{([A-Za-z0-9]+)(?:\.[^}]*)?\}`)

// mentions calls found with each logical id that a value names by Ref,
// Fn::GetAtt or Fn::Sub.
func mentions(value any, found func(id string)) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			mentions(element, found)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			inner := value[key]
			switch key {
			case "Ref":
				for _, id := range texts(inner) {
					found(id)
				}
			case "Fn::GetAtt":
				if path := texts(inner); len(path) > 0 {
					id, _, _ := strings.Cut(path[0], ".")
					found(id)
				}
			case "Fn::Sub":
				for _, text := range texts(inner) {
					for _, match := range substitution.FindAllStringSubmatch(text, -1) {
						found(match[1])
					}
				}
				mentions(inner, found)
			default:
				mentions(inner, found)
			}
		}
	}
}

// texts are the strings in a string or a list.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var all []string
		for _, element := range value {
			if text, ok := element.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}

var (
	notInID = regexp.MustCompile(`[^A-Za-z0-9]`)
	idHash  = regexp.MustCompile(`[0-9A-F]{8}$`)
)

// claim marks what the construct made: the resources whose logical id begins
// with the id its test gave it, unless a longer id of something else fits.
// CloudFormation ids carry the construct path in that form.
func (t *golden) claim(foreign []string) {
	for _, r := range t.resources {
		root := longest(t.roots, r.id)
		r.inside = root != "" && len(longest(foreign, r.id)) <= len(root)
		if !r.inside {
			root = longest(foreign, r.id)
		}
		r.name = idHash.ReplaceAllString(strings.TrimPrefix(r.id, root), "")
	}
}

func longest(ids []string, prefixOf string) string {
	best := ""
	for _, id := range ids {
		id = notInID.ReplaceAllString(id, "")
		if strings.HasPrefix(prefixOf, id) && len(id) > len(best) {
			best = id
		}
	}
	return best
}

// inside are the construct's own resources.
func (t *golden) inside() []*resource {
	var all []*resource
	for _, r := range t.resources {
		if r.inside {
			all = append(all, r)
		}
	}
	return all
}

// by finds a resource by its logical id.
func (t *golden) by(id string) *resource {
	i, ok := slices.BinarySearchFunc(t.resources, id, func(r *resource, id string) int { return strings.Compare(r.id, id) })
	if !ok {
		return nil
	}
	return t.resources[i]
}
