package main

import (
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"path"
	"regexp"
	"strings"
)

// Headings of the package documentation that a construct must have, in order.
const (
	coverageHeading = "Coverage"
	costHeading     = "Cost"
	migrateHeading  = "Migrate"
)

// sections is a package's documentation, cut at its headings.
type sections struct {
	lead     []comment.Block // before the first heading
	coverage []row
	cost     []comment.Block
	migrate  []comment.Block
	other    []section // further headings
}

type section struct {
	title  string
	blocks []comment.Block
}

// row is a line of the Coverage table.
type row struct{ want, how string }

func (p *pkg) sections(isConstruct bool) (sections, []problem) {
	var s sections
	var problems []problem
	missing := func(what, text string) {
		problems = append(problems, problem{p.dir, what, text})
	}
	all := []section{{}}
	for _, block := range p.doc.Parser().Parse(p.doc.Doc).Content {
		if heading, ok := block.(*comment.Heading); ok {
			all = append(all, section{title: plain(heading.Text)})
			continue
		}
		last := &all[len(all)-1]
		last.blocks = append(last.blocks, block)
	}
	s.lead = all[0].blocks
	if !strings.HasPrefix(p.doc.Doc, "Package "+p.name+" ") {
		missing("", `no package documentation; begin doc.go with "// Package `+p.name+` makes …"`)
	}
	var order []string
	for _, section := range all[1:] {
		switch section.title {
		case coverageHeading:
			rows, text := coverage(section.blocks)
			s.coverage = rows
			if text != "" {
				missing("# Coverage", text)
			}
		case costHeading:
			s.cost = section.blocks
			if isConstruct && !hasList(section.blocks) {
				missing("# Cost", `write a list of cost drivers, each line "//   - …"`)
			}
		case migrateHeading:
			s.migrate = section.blocks
			if isConstruct && len(section.blocks) == 0 {
				missing("# Migrate", "write how an existing resource comes under the construct")
			}
		default:
			s.other = append(s.other, section)
			continue
		}
		order = append(order, section.title)
	}
	if !isConstruct {
		return s, problems
	}
	want := map[string]string{
		coverageHeading: `a tab-indented table "want | how" of what engineers expect and how they get it`,
		costHeading:     "a list of what the construct's cost depends on",
		migrateHeading:  "how an existing resource comes under the construct, and which logical ids never change",
	}
	complete := true
	for _, heading := range []string{coverageHeading, costHeading, migrateHeading} {
		if !strings.Contains(" "+strings.Join(order, " ")+" ", " "+heading+" ") {
			missing("# "+heading, "no such heading in the package documentation; write "+want[heading])
			complete = false
		}
	}
	if got := strings.Join(order, ", "); complete && got != "Coverage, Cost, Migrate" {
		missing("package documentation", "the headings are "+got+"; write Coverage, Cost, Migrate, each once and in this order")
	}
	return s, problems
}

func hasList(blocks []comment.Block) bool {
	for _, block := range blocks {
		if _, ok := block.(*comment.List); ok {
			return true
		}
	}
	return false
}

// coverage reads the rows of a preformatted table. The text tells what to write
// when there is none or a row is not of its form.
func coverage(blocks []comment.Block) (rows []row, text string) {
	const form = `write a tab-indented table whose first line is "want | how"`
	var lines []string
	for _, block := range blocks {
		if code, ok := block.(*comment.Code); ok {
			lines = append(lines, strings.Split(strings.TrimRight(code.Text, "\n"), "\n")...)
		}
	}
	if len(lines) == 0 || strings.TrimSpace(lines[0]) != "want | how" {
		return nil, form
	}
	for _, line := range lines[1:] {
		if strings.TrimSpace(line) == "" {
			continue
		}
		want, how, ok := strings.Cut(line, " | ")
		if !ok || strings.TrimSpace(want) == "" || strings.TrimSpace(how) == "" || strings.Contains(how, " | ") {
			return rows, `the row "` + strings.TrimSpace(line) + `" has not two columns separated by " | "`
		}
		rows = append(rows, row{strings.TrimSpace(want), strings.TrimSpace(how)})
	}
	if len(rows) == 0 {
		return nil, form + ", and rows below it"
	}
	return rows, ""
}

// always tells whether a row holds without anything being set.
func (r row) always() bool {
	return r.how == "always" || strings.HasPrefix(r.how, "always,") || strings.HasPrefix(r.how, "always;") ||
		strings.HasPrefix(r.how, "always (") || strings.HasPrefix(r.how, "always:")
}

// plain is the text of a comment without its markup.
func plain(texts []comment.Text) string {
	var b strings.Builder
	for _, text := range texts {
		switch text := text.(type) {
		case comment.Plain:
			b.WriteString(string(text))
		case comment.Italic:
			b.WriteString(string(text))
		case *comment.Link:
			b.WriteString(plain(text.Text))
		case *comment.DocLink:
			b.WriteString(plain(text.Text))
		}
	}
	return b.String()
}

// markdown writes blocks of a doc comment as Markdown.
func (p *pkg) markdown(blocks ...comment.Block) string {
	printer := p.doc.Printer()
	printer.HeadingLevel = 3
	printer.DocLinkURL = p.link
	return strings.Trim(string(printer.Markdown(&comment.Doc{Content: blocks})), "\n")
}

// link is where a [Name] of a doc comment points: a construct's page, or where
// the Go documentation stands.
func (p *pkg) link(to *comment.DocLink) string {
	if to.ImportPath == "" || to.ImportPath == p.path {
		return p.up() + p.dir
	}
	if page, ok := p.pageFor(to.ImportPath); ok {
		return page
	}
	return to.DefaultURL("https://pkg.go.dev")
}

// pageFor is the page of the package with an import path, when it has one.
func (p *pkg) pageFor(imported string) (string, bool) {
	module := strings.TrimSuffix(p.path, "/"+p.dir)
	dir, ok := strings.CutPrefix(imported, module+"/")
	if !ok || !strings.HasPrefix(dir, constructsFolder+"/") || strings.Contains("/"+dir+"/", "/internal/") {
		return "", false
	}
	return pageOf(dir), true
}

// up leads from a page to the module's root.
func (p *pkg) up() string {
	return strings.Repeat("../", strings.Count(pagesFolder, "/")+1)
}

// fileLink is a link to a file of the package, or to the package without one.
func (p *pkg) fileLink(text, file string) string {
	return "[" + text + "](" + p.up() + path.Join(p.dir, file) + ")"
}

// cell writes a doc comment on one line, as a table wants it.
func (p *pkg) cell(text string) string {
	var parts []string
	for _, block := range p.doc.Parser().Parse(text).Content {
		switch block := block.(type) {
		case *comment.List:
			for _, item := range block.Items {
				parts = append(parts, "• "+p.markdown(item.Content...))
			}
		case *comment.Code:
			for line := range strings.Lines(block.Text) {
				parts = append(parts, code(strings.TrimSpace(line)))
			}
		default:
			parts = append(parts, p.markdown(block))
		}
	}
	return oneLine(strings.Join(parts, "<br>"))
}

// oneLine makes text fit into a cell of a table.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

var markdownSpecial = regexp.MustCompile("[\\\\`*_\\[\\]<>&#~]")

// escape makes any text show as it is in Markdown, and what stands between
// backticks as code.
func escape(text string) string {
	return outsideCode(text, func(text string) string { return markdownSpecial.ReplaceAllString(text, `\$0`) })
}

var codeSpan = regexp.MustCompile("`[^`]+`")

// outsideCode changes a text but for what stands between backticks.
func outsideCode(text string, change func(string) string) string {
	var b strings.Builder
	end := 0
	for _, at := range codeSpan.FindAllStringIndex(text, -1) {
		b.WriteString(change(text[end:at[0]]))
		b.WriteString(text[at[0]:at[1]])
		end = at[1]
	}
	return b.String() + change(text[end:])
}

var codeWord = regexp.MustCompile(`[A-Za-z_]\w*(\.\w+)*(\(\))?`)

// names writes text with the exported names of the package as code.
func (p *pkg) names(text string) string {
	known := map[string]bool{}
	for _, t := range p.doc.Types {
		known[t.Name] = true
		for _, f := range slicesOfFuncs(t) {
			known[f.Name] = true
		}
		if fields := structOf(t); fields != nil {
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					known[name.Name] = true
				}
			}
		}
		for _, value := range t.Consts {
			for _, name := range value.Names {
				known[name] = true
			}
		}
	}
	for _, f := range p.doc.Funcs {
		known[f.Name] = true
	}
	for _, value := range p.doc.Consts {
		for _, name := range value.Names {
			known[name] = true
		}
	}
	return outsideCode(text, func(text string) string {
		var b strings.Builder
		last := 0
		for _, at := range codeWord.FindAllStringIndex(text, -1) {
			word := text[at[0]:at[1]]
			first, _, _ := strings.Cut(strings.TrimSuffix(word, "()"), ".")
			if !known[first] || !ast.IsExported(first) {
				continue
			}
			b.WriteString(escape(text[last:at[0]]))
			b.WriteString(code(word))
			last = at[1]
		}
		b.WriteString(escape(text[last:]))
		return b.String()
	})
}

func slicesOfFuncs(t *doc.Type) []*doc.Func {
	return append(append([]*doc.Func{}, t.Funcs...), t.Methods...)
}

// code is text in code font, with as many backquotes as it needs.
func code(text string) string {
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		return fence + " " + text + " " + fence
	}
	return fence + text + fence
}
