package main

import (
	"go/ast"
	"go/doc"
	"go/token"
	"slices"
	"strings"
)

// signatures are the functions that make the package's constructs, as Go.
func (p *pkg) signatures() string {
	functions, _ := p.makers()
	var lines []string
	for _, f := range functions {
		lines = append(lines, p.signature(f))
	}
	return strings.Join(lines, "\n")
}

// signature is a function without its body and its receiver.
func (p *pkg) signature(f *doc.Func) string {
	return p.print(&ast.FuncDecl{Name: f.Decl.Name, Type: f.Decl.Type})
}

func (p *pkg) propsTable(s structDoc) (namedTable, []problem) {
	var rows [][]string
	var problems []problem
	for _, f := range s.fields {
		read, missing := s.setting(f)
		if missing != nil {
			missing.where = p.dir
			problems = append(problems, *missing)
		}
		if f.override || isOverrides(f.name) {
			continue // in the table of overrides
		}
		meaning := p.cell(read.meaning)
		if f.with != "" {
			meaning = "with " + code(f.with)
		}
		fallback := read.fallback
		if !strings.HasPrefix(fallback, requiredCell) {
			fallback = p.names(fallback)
		}
		rows = append(rows, []string{code(f.name), p.typeCell(f.typ), fallback, meaning})
	}
	named := namedTable{Name: s.name, Text: p.docText(s.text)}
	if len(rows) > 0 {
		named.Table = table([]string{"field", "type", "default", "meaning"}, rows)
	}
	return named, problems
}

// typeCell is a type, linked to where its values or fields are explained.
func (p *pkg) typeCell(expr ast.Expr) string {
	text := oneLine(p.print(expr))
	to := ""
	ast.Inspect(expr, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.SelectorExpr:
			if name, ok := node.X.(*ast.Ident); ok {
				if page, ok := p.pageFor(p.imports[name.Name]); ok {
					to = page
				}
			}
			return false
		case *ast.Ident:
			for _, t := range p.doc.Types {
				switch {
				case t.Name != node.Name:
				case structOf(t) != nil && !embedsConstruct(t):
					to = "#" + strings.ToLower(t.Name)
				case len(t.Consts) > 0:
					to = "#values"
				}
			}
		}
		return true
	})
	if to == "" {
		return code(text)
	}
	return "[" + code(text) + "](" + to + ")"
}

// values are the constants of the package's own types, after what the type is.
func (p *pkg) values() string {
	var parts []string
	for _, t := range p.doc.Types {
		if tables := p.constants(t.Consts); tables != "" {
			parts = append(parts, p.docText(t.Doc), tables)
		}
	}
	return strings.Join(parts, "\n\n")
}

// constants is a table for each group of constants, after the group's comment.
// Constants that stand alone share one.
func (p *pkg) constants(values []*doc.Value) string {
	header := []string{"constant", "value", "meaning"}
	var parts []string
	var alone [][]string
	for _, value := range values {
		var rows [][]string
		for _, spec := range value.Decl.Specs {
			spec, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			text := spec.Doc.Text()
			switch {
			case text != "":
			case spec.Comment != nil:
				text = spec.Comment.Text()
			case !value.Decl.Lparen.IsValid():
				text = value.Doc
			}
			for i, name := range spec.Names {
				if !name.IsExported() {
					continue
				}
				shown := ""
				if i < len(spec.Values) {
					shown = code(oneLine(p.print(spec.Values[i])))
				}
				rows = append(rows, []string{code(name.Name), shown, p.cell(text)})
			}
		}
		switch {
		case len(rows) == 0:
		case value.Decl.Lparen.IsValid():
			parts = append(parts, p.docText(value.Doc), table(header, rows))
		default:
			alone = append(alone, rows...)
		}
	}
	if len(alone) > 0 {
		parts = append(parts, table(header, alone))
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "\n\n")
}

// docText writes a whole doc comment as Markdown.
func (p *pkg) docText(text string) string {
	return p.markdown(p.doc.Parser().Parse(text).Content...)
}

// defaults says what holds when nothing is set.
func (p *pkg) defaults(inputs []structDoc, rows []row) string {
	var parts []string
	if len(inputs) > 0 && strings.Contains(inputs[0].text, "zero value") {
		about := slices.DeleteFunc(sentences(inputs[0].text), func(s string) bool { return !strings.Contains(s, "zero value") })
		parts = append(parts, p.docText(strings.Join(about, " ")))
	}
	var list []string
	for _, r := range rows {
		if !r.always() {
			continue
		}
		text := "- " + escape(r.want)
		if condition := strings.TrimLeft(strings.TrimPrefix(r.how, "always"), ",;: "); condition != "" {
			text += ": " + p.names(condition)
		}
		list = append(list, text)
	}
	if len(list) > 0 {
		parts = append(parts, "Without being asked for:\n\n"+strings.Join(list, "\n"))
	}
	return strings.Join(parts, "\n\n")
}

func (p *pkg) coverageTable(rows []row) string {
	if len(rows) == 0 {
		return ""
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{escape(r.want), p.names(r.how)})
	}
	return table([]string{"want", "how"}, cells)
}

// overrides is the table of the functions that have the last word.
func (p *pkg) overrides(inputs []structDoc) string {
	var rows [][]string
	for i, s := range inputs {
		for _, f := range s.fields {
			if !f.override {
				continue
			}
			name := f.name
			if i > 0 {
				name = s.name + "." + name
			}
			meaning := p.cell(f.text)
			if f.with != "" {
				meaning = "with " + code(f.with)
			}
			rows = append(rows, []string{code(name), p.reaches(f.typ), meaning})
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return table([]string{"field", "reaches", "when"}, rows)
}

// reaches names what an override can change: what its pointers point to.
func (p *pkg) reaches(expr ast.Expr) string {
	function, ok := expr.(*ast.FuncType)
	if !ok {
		return ""
	}
	var all []string
	for _, parameter := range function.Params.List {
		pointer, ok := parameter.Type.(*ast.StarExpr)
		if !ok {
			continue
		}
		level := "L2"
		if selector, ok := pointer.X.(*ast.SelectorExpr); ok && strings.HasPrefix(selector.Sel.Name, "Cfn") {
			level = "L1"
		}
		all = append(all, code(p.print(pointer.X))+" ("+level+")")
	}
	return strings.Join(all, "<br>")
}

// outputs are the exported structs that callers do not fill in: the constructs,
// and then what they hold or return.
func (p *pkg) outputs(inputs []structDoc) []*doc.Type {
	_, made := p.makers()
	others := slices.DeleteFunc(slices.Clone(p.doc.Types), func(t *doc.Type) bool {
		return structOf(t) == nil || embedsConstruct(t) || slices.ContainsFunc(inputs, func(s structDoc) bool { return s.name == t.Name })
	})
	return append(made, others...)
}

// resources are the exported fields of what the package makes.
func (p *pkg) resources(outputs []*doc.Type) []namedTable {
	var tables []namedTable
	for _, t := range outputs {
		var rows [][]string
		for _, f := range p.fields(structOf(t), false) {
			if !token.IsExported(f.name) || f.name == "constructs.Construct" {
				continue
			}
			text := p.cell(f.text)
			if f.with != "" {
				text = "with " + code(f.with)
			}
			rows = append(rows, []string{code(f.name), p.typeCell(f.typ), text})
		}
		named := namedTable{Name: t.Name, Text: p.docText(t.Doc)}
		if len(rows) > 0 {
			named.Table = table([]string{"field", "type", "what"}, rows)
		}
		tables = append(tables, named)
	}
	return tables
}

// methods is the table of what constructs and the structs beside them can do.
func (p *pkg) methods() string {
	makers, _ := p.makers()
	var rows [][]string
	for _, t := range p.doc.Types {
		for _, f := range slices.Concat(t.Funcs, t.Methods) {
			if f.Name == "Validate" || slices.Contains(makers, f) {
				continue // every Props has the one, and the others stand above
			}
			receiver := ""
			if f.Recv != "" {
				receiver = strings.TrimPrefix(f.Recv, "*") + "."
			}
			rows = append(rows, p.functionRow(receiver, f))
		}
	}
	for _, f := range p.doc.Funcs {
		rows = append(rows, p.functionRow("", f))
	}
	if len(rows) == 0 {
		return ""
	}
	return table([]string{"function", "what it does"}, rows)
}

func (p *pkg) functionRow(receiver string, f *doc.Func) []string {
	signature := receiver + strings.TrimPrefix(oneLine(p.signature(f)), "func ")
	return []string{p.fileLink(code(signature), p.file(f.Decl)), p.cell(f.Doc)}
}

// others are exported constants and interfaces that no other part shows.
func (p *pkg) others() string {
	parts := []string{p.constants(p.doc.Consts)}
	var rows [][]string
	for _, t := range p.doc.Types {
		if isInterface(t) {
			rows = append(rows, []string{code(t.Name), p.cell(t.Doc)})
		}
	}
	if len(rows) > 0 {
		parts = append(parts, table([]string{"interface", "what it is"}, rows))
	}
	return strings.TrimSpace(strings.Join(parts, "\n\n"))
}

func isInterface(t *doc.Type) bool {
	return slices.ContainsFunc(t.Decl.Specs, func(spec ast.Spec) bool {
		declared, ok := spec.(*ast.TypeSpec)
		if !ok || declared.Name.Name != t.Name {
			return false
		}
		_, ok = declared.Type.(*ast.InterfaceType)
		return ok
	})
}
