package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

const constructsFolder = "constructs"

// pkg is a package below constructs/, parsed and not type-checked: that needs
// the whole AWS CDK and takes seconds.
type pkg struct {
	name    string // of the package
	dir     string // from the module's root, with slashes
	path    string // to import it by
	root    string // folder of go.mod
	doc     *doc.Package
	files   *token.FileSet
	sources []string // names of the files that are not tests
	tests   []*ast.File
	imports map[string]string // import path by the name the sources use
}

// page is the file name of the package's page.
func (p *pkg) page() string {
	return pageOf(p.dir)
}

func pageOf(dir string) string {
	return strings.ReplaceAll(strings.TrimPrefix(dir, constructsFolder+"/"), "/", "-") + ".md"
}

// load parses every package below constructs/ but the internal ones, in the
// order of their folders.
func load(root string) ([]*pkg, error) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("run this in the folder of the module's go.mod: %w", err)
	}
	module := modfile.ModulePath(text)
	var packages []*pkg
	err = filepath.WalkDir(filepath.Join(root, constructsFolder), func(dir string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if name := entry.Name(); name == "internal" || name == "testdata" || strings.HasPrefix(name, ".") {
			return filepath.SkipDir
		}
		relative, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		p := &pkg{root: root, dir: filepath.ToSlash(relative)}
		p.path = path.Join(module, p.dir)
		found, err := p.parse(dir)
		if found {
			packages = append(packages, p)
		}
		return err
	})
	return packages, err
}

// parse reads the Go files of a folder. It tells whether there is a package.
func (p *pkg) parse(dir string) (found bool, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return false, err
	}
	slices.Sort(names)
	p.files = token.NewFileSet()
	p.imports = map[string]string{}
	var all []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(p.files, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return false, err
		}
		all = append(all, file)
		if strings.HasSuffix(name, "_test.go") {
			p.tests = append(p.tests, file)
			continue
		}
		p.name = file.Name.Name
		p.sources = append(p.sources, filepath.Base(name))
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return false, err
			}
			used := importName(imported)
			if spec.Name != nil {
				used = spec.Name.Name
			}
			p.imports[used] = imported
		}
	}
	if len(p.sources) == 0 {
		return false, nil
	}
	p.doc, err = doc.NewFromFiles(p.files, all, p.path)
	return true, err
}

// file is the name of the file that a declaration stands in.
func (p *pkg) file(node ast.Node) string {
	return filepath.Base(p.files.Position(node.Pos()).Filename)
}

func (p *pkg) line(pos token.Pos) int {
	return p.files.Position(pos).Line
}

// print writes a part of a program as gofmt would.
func (p *pkg) print(node any) string {
	var text strings.Builder
	config := printer.Config{Mode: printer.UseSpaces | printer.TabIndent, Tabwidth: 8}
	if err := config.Fprint(&text, p.files, node); err != nil {
		panic(err) // a node the parser made can be printed, and a builder does not fail
	}
	return text.String()
}

// makers are the functions that make a construct, and the types they make: the
// exported structs that embed constructs.Construct.
func (p *pkg) makers() (functions []*doc.Func, types []*doc.Type) {
	for _, t := range p.doc.Types {
		if !embedsConstruct(t) {
			continue
		}
		types = append(types, t)
		for _, f := range t.Funcs {
			if strings.HasPrefix(f.Name, "New") {
				functions = append(functions, f)
			}
		}
	}
	return functions, types
}

func embedsConstruct(t *doc.Type) bool {
	fields := structOf(t)
	if fields == nil {
		return false
	}
	return slices.ContainsFunc(fields.Fields.List, func(f *ast.Field) bool {
		selector, ok := f.Type.(*ast.SelectorExpr)
		return len(f.Names) == 0 && ok && selector.Sel.Name == "Construct"
	})
}

// structOf is the struct that a type is, or nil.
func structOf(t *doc.Type) *ast.StructType {
	for _, spec := range t.Decl.Specs {
		spec, ok := spec.(*ast.TypeSpec)
		if !ok || spec.Name.Name != t.Name {
			continue
		}
		if fields, ok := spec.Type.(*ast.StructType); ok {
			return fields
		}
	}
	return nil
}
