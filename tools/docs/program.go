package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	// testPackage is internal: examples call it, readers cannot.
	testPackage = "cdktest"

	// appPackage has the main function of an app, whose parameter is of
	// appTypePath.
	appPackage  = "cdkapp"
	appTypePath = "github.com/aws/aws-cdk-go/awscdk/v2"
)

// edit replaces a part of a source.
type edit struct {
	from, to int // offsets
	with     string
}

var blankLines = regexp.MustCompile(`\n\s*\n(\s*\n)+`)

// rewrite turns the body of an example into a program: cdktest.App() is the app
// that cdkapp.Main gives, and what else needs the internal test package, or a
// function of the test file, is left out. A body that makes no app stays one.
func (p *pkg) rewrite(source []byte, body *ast.BlockStmt) (text string, lines int, err error) {
	offset := func(pos token.Pos) int { return p.files.Position(pos).Offset }
	start, end := offset(body.Lbrace)+1, offset(body.Rbrace)
	if at := outputComment.FindIndex(source[start:end]); at != nil {
		end = start + at[0]
	}
	edits, makesApp := p.edits(source, body)
	var inner bytes.Buffer
	for _, e := range edits {
		if e.from < start {
			continue // inside what is cut already
		}
		inner.Write(source[start:e.from])
		inner.WriteString(e.with)
		start = e.to
	}
	inner.Write(source[start:max(start, end)])
	code := strings.TrimSpace(blankLines.ReplaceAllString(inner.String(), "\n\n"))
	lines = strings.Count(code, "\n") + 1
	if !makesApp {
		formatted, err := format.Source([]byte(code))
		return string(formatted), lines, err
	}
	main := "func main() {\n" + appPackage + ".Main(func(app awscdk.App) error {\n" + code + "\nreturn nil\n})\n}\n"
	imports, err := p.importsOf(body, main)
	if err != nil {
		return "", 0, err
	}
	formatted, err := format.Source([]byte("package main\n\n" + imports + "\n" + main))
	return strings.TrimSpace(string(formatted)), lines, err
}

var outputComment = regexp.MustCompile(`(?is)\n?[ \t]*//[ \t]*(unordered )?output:.*$`)

// edits are what rewrite changes, in the order of the source, and whether there
// is an app.
func (p *pkg) edits(source []byte, body *ast.BlockStmt) (edits []edit, makesApp bool) {
	offset := func(pos token.Pos) int { return p.files.Position(pos).Offset }
	cut := func(node ast.Node) {
		from, to := offset(node.Pos()), offset(node.End())
		for to < len(source) && (source[to] == ',' || source[to] == ' ') {
			to++
		}
		// What has its lines to itself leaves no empty one behind.
		before := bytes.TrimRight(source[:from], " \t")
		if bytes.HasSuffix(before, []byte("\n")) && to < len(source) && source[to] == '\n' {
			from, to = len(before), to+1
		}
		edits = append(edits, edit{from, to, ""})
	}
	ast.Inspect(body, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ExprStmt:
			if call, ok := node.X.(*ast.CallExpr); ok && onlyInTests(call) {
				cut(node)
				return false
			}
		case *ast.AssignStmt:
			// "app := cdktest.App()" names what Main's parameter names already.
			name, ok := node.Lhs[0].(*ast.Ident)
			if ok && name.Name == "app" && len(node.Rhs) == 1 && isApp(node.Rhs[0]) {
				makesApp = true
				cut(node)
				return false
			}
		case *ast.KeyValueExpr:
			if testsOnly(node.Value) {
				cut(node)
				return false
			}
		case *ast.CallExpr:
			if isApp(node) {
				makesApp = true
				edits = append(edits, edit{offset(node.Pos()), offset(node.End()), "app"})
				return false
			}
		}
		return true
	})
	return edits, makesApp
}

// isApp tells whether an expression is cdktest.App().
func isApp(expr ast.Expr) bool {
	call, ok := expr.(*ast.CallExpr)
	if !ok {
		return false
	}
	function, ok := call.Fun.(*ast.SelectorExpr)
	return ok && isTestPackage(function) && function.Sel.Name == "App"
}

func isTestPackage(selector *ast.SelectorExpr) bool {
	name, ok := selector.X.(*ast.Ident)
	return ok && name.Name == testPackage
}

// onlyInTests tells whether a statement calls a function that a reader has not:
// of the test package, or of the test's own file.
func onlyInTests(call *ast.CallExpr) bool {
	switch function := call.Fun.(type) {
	case *ast.SelectorExpr:
		return isTestPackage(function)
	case *ast.Ident:
		return !slices.Contains([]string{"panic", "clear", "close", "copy", "delete", "print", "println"}, function.Name)
	default:
		return false
	}
}

// testsOnly tells whether the value of a field is there for the test alone: it
// asks the test package, or it is a struct of such values and nothing else.
func testsOnly(value ast.Expr) bool {
	if literal, ok := value.(*ast.CompositeLit); ok {
		for _, element := range literal.Elts {
			field, ok := element.(*ast.KeyValueExpr)
			if !ok || !testsOnly(field.Value) {
				return false
			}
		}
		return len(literal.Elts) > 0
	}
	if _, ok := value.(*ast.CallExpr); !ok {
		return false
	}
	found := false
	ast.Inspect(value, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		found = found || ok && isTestPackage(selector) && selector.Sel.Name != "App"
		return true
	})
	return found
}

// importsOf is the import declaration of a program made of an example: what its
// file imports and the program uses, in the order that this module keeps.
func (p *pkg) importsOf(body ast.Node, program string) (string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package main\n"+program, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	used := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok {
				used[name.Name] = true
			}
		}
		return true
	})
	module := strings.TrimSuffix(p.path, p.dir)
	specs := map[string]string{} // what to write by import path
	specs[appTypePath] = strconv.Quote(appTypePath)
	specs[module+constructsFolder+"/"+appPackage] = strconv.Quote(module + constructsFolder + "/" + appPackage)
	for _, test := range p.tests {
		if p.file(test) != p.file(body) {
			continue
		}
		for _, spec := range test.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return "", err
			}
			name, text := importName(imported), spec.Path.Value
			if spec.Name != nil {
				name, text = spec.Name.Name, spec.Name.Name+" "+text
			}
			if used[name] {
				specs[imported] = text
			}
		}
	}
	var standard, others, own []string
	for _, imported := range slices.Sorted(maps.Keys(specs)) {
		first, _, _ := strings.Cut(imported, "/")
		switch {
		case strings.HasPrefix(imported, module):
			own = append(own, specs[imported])
		case strings.Contains(first, "."):
			others = append(others, specs[imported])
		default:
			standard = append(standard, specs[imported])
		}
	}
	var groups []string
	for _, group := range [][]string{standard, others, own} {
		if len(group) > 0 {
			groups = append(groups, strings.Join(group, "\n"))
		}
	}
	return fmt.Sprintf("import (\n%s\n)\n", strings.Join(groups, "\n\n")), nil
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// importName is what a package is called by whoever imports it without a name.
func importName(imported string) string {
	if base := path.Base(imported); !majorVersion.MatchString(base) {
		return base
	}
	return path.Base(path.Dir(imported))
}
