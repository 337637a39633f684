package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"os"
	"regexp"
	"strings"
)

// maxExampleLines is what a reader takes in at once.
const maxExampleLines = 25

// example is a runnable example of the package.
type example struct {
	Suffix string // of Example_suffix; empty for the main one
	Doc    string
	Code   string // a program that a reader can paste
	Prints string // what it prints
	Makes  string // table of the resources it synthesizes to
	Link   string // to its file
}

// examples are those of the package as a whole, the main one first.
func (p *pkg) examples() ([]example, []problem, error) {
	var all []example
	var problems []problem
	missing := func(text string) { problems = append(problems, problem{p.dir, "Example", text}) }
	main := false
	for _, e := range p.doc.Examples {
		file := p.file(e.Code)
		code, lines, err := p.program(e)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		one := example{Suffix: e.Suffix, Doc: p.docText(e.Doc), Code: code, Link: p.fileLink(file, file)}
		one.Prints, one.Makes = splitOutput(e.Output)
		all = append(all, one)
		if e.Suffix != "" {
			continue
		}
		main = true
		if e.Output == "" {
			missing(`it has no output, so no test runs it; end it with "// Output:" and what it prints`)
		}
		if lines > maxExampleLines {
			missing("it is too long to be read at once; shorten it to 25 lines")
		}
		for _, found := range unlikeAUser(bodyOf(e)) {
			missing("it uses " + found + ", which no caller should need; write it without")
		}
	}
	if !main {
		missing(`none; write "func Example()" with "// Output:" in example_test.go`)
	}
	return all, problems, nil
}

var resourceCount = regexp.MustCompile(`^(\d+) (AWS::[A-Za-z0-9]+::[A-Za-z0-9]+)$`)

// splitOutput divides what an example prints into its own words and the counts
// of resources that cdktest.Print writes, as a table.
func splitOutput(output string) (prints, makes string) {
	var lines []string
	var rows [][]string
	for line := range strings.Lines(strings.TrimRight(output, "\n")) {
		line = strings.TrimRight(line, "\n")
		if counted := resourceCount.FindStringSubmatch(line); counted != nil {
			rows = append(rows, []string{counted[1], escape(typeOf(counted[2]).words), code(counted[2])})
			continue
		}
		lines = append(lines, line)
	}
	if len(rows) > 0 {
		makes = table([]string{"count", "resource", "type"}, rows)
	}
	return strings.Join(lines, "\n"), makes
}

// program is an example as a user writes it: without what only a test can call,
// and inside the main function of an app when it makes stacks. It also returns
// how many lines the example itself has.
func (p *pkg) program(e *doc.Example) (text string, lines int, err error) {
	source, err := os.ReadFile(p.files.Position(e.Code.Pos()).Filename)
	if err != nil {
		return "", 0, err
	}
	return p.rewrite(source, bodyOf(e))
}

// bodyOf is the code between the braces of an example, also of one that is the
// only function of its kind in a file, which go/doc takes to be the whole file.
func bodyOf(e *doc.Example) *ast.BlockStmt {
	file, ok := e.Code.(*ast.File)
	if !ok {
		return e.Code.(*ast.BlockStmt)
	}
	for _, decl := range file.Decls {
		if function, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(function.Name.Name, "Example") {
			return function.Body
		}
	}
	panic("go/doc found an example in a file without one")
}

// unlikeAUser lists what an example has to do without: jsii, and pointers where
// the construct should take plain values.
func unlikeAUser(body ast.Node) []string {
	var found []string
	seen := map[string]bool{}
	add := func(text string) {
		if !seen[text] {
			seen[text] = true
			found = append(found, text)
		}
	}
	ast.Inspect(body, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.SelectorExpr:
			if name, ok := node.X.(*ast.Ident); ok && name.Name == "jsii" {
				add("jsii")
			}
		case *ast.CallExpr:
			if name, ok := node.Fun.(*ast.Ident); ok && name.Name == "new" {
				add("new(…)")
			}
		case *ast.FuncType:
			return false // an Override takes a pointer to what CDK takes
		case *ast.StarExpr:
			add("a pointer")
		case *ast.UnaryExpr:
			if node.Op.String() == "&" {
				add("a pointer")
			}
		}
		return true
	})
	return found
}
