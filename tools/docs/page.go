package main

import (
	"bytes"
	_ "embed"
	"slices"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

// page is what page.md.tmpl writes: the parts of a page as Markdown, in the
// order of its fields. An empty part is left out together with its heading.
type page struct {
	pkg *pkg

	Title      string
	Lead       string
	Import     string
	Sources    string
	Makes      string
	Mermaid    string
	Caption    string
	Examples   []example
	Signatures string
	Props      []namedTable
	Values     string
	Defaults   string
	Alarms     string
	Cost       string
	Coverage   string
	Overrides  string
	Migrate    string
	Resources  []namedTable
	Methods    string
	Others     string
}

// namedTable is a table with what is said before it.
type namedTable struct{ Name, Text, Table string }

//go:embed page.md.tmpl
var pageTemplate string

var layout = template.Must(template.New("page").Parse(pageTemplate))

func (p *page) render() (string, error) {
	var text bytes.Buffer
	if err := layout.Execute(&text, p); err != nil {
		return "", err
	}
	return marker + "\n" + strings.TrimSpace(text.String()) + "\n", nil
}

// newPage reads a package, and what it lacks.
func newPage(p *pkg) (*page, []problem, error) {
	_, made := p.makers()
	isConstruct := len(made) > 0
	read, problems := p.sections(isConstruct)
	page := &page{
		pkg:     p,
		Title:   strings.TrimPrefix(p.dir, constructsFolder+"/"),
		Lead:    p.lead(read),
		Import:  p.path,
		Sources: p.sourceLinks(),
		Values:  p.values(),
		Cost:    p.markdown(read.cost...),
		Migrate: p.markdown(read.migrate...),
		Methods: p.methods(),
		Others:  p.others(),
	}
	examples, found, err := p.examples()
	if err != nil {
		return nil, nil, err
	}
	page.Examples = examples
	problems = append(problems, found...)
	if isConstruct {
		template, found, err := p.readGolden()
		problems = append(problems, found...)
		if err != nil {
			return nil, nil, err
		}
		if template != nil {
			page.Makes = makes(template)
			picture := template.picture()
			page.Mermaid, page.Caption = picture.Mermaid(), p.caption(template, picture)
			alarms, found := template.alarms(p.dir)
			page.Alarms = alarmTable(alarms)
			problems = append(problems, found...)
		}
	}
	inputs := p.inputs()
	overridden := false
	for _, s := range inputs {
		table, found := p.propsTable(s)
		problems = append(problems, found...)
		page.Props = append(page.Props, table)
		overridden = overridden || slices.ContainsFunc(s.fields, func(f field) bool { return f.override })
	}
	if isConstruct && !overridden {
		problems = append(problems, problem{p.dir, "Override", "no field; give Props one for each resource it wraps, called last"})
	}
	page.Signatures = p.signatures()
	page.Defaults = p.defaults(inputs, read.coverage)
	page.Coverage = p.coverageTable(read.coverage)
	page.Overrides = p.overrides(inputs)
	page.Resources = p.resources(p.outputs(inputs))
	return page, problems, nil
}

// lead is what the package documentation says before Coverage, with its further
// headings.
func (p *pkg) lead(read sections) string {
	parts := []string{p.markdown(read.lead...)}
	for _, s := range read.other {
		parts = append(parts, "### "+escape(s.title), p.markdown(s.blocks...))
	}
	return strings.Join(parts, "\n\n")
}

func (p *pkg) sourceLinks() string {
	var links []string
	for _, name := range p.sources {
		links = append(links, p.fileLink(name, name))
	}
	return strings.Join(links, " · ")
}

// table writes a Markdown table. A pipe inside a cell is escaped, also in code,
// as GitHub's Markdown asks for.
func table(header []string, rows [][]string) string {
	var b strings.Builder
	write := func(cells []string) {
		for _, cell := range cells {
			b.WriteString("| ")
			b.WriteString(strings.ReplaceAll(cell, "|", `\|`))
			b.WriteString(" ")
		}
		b.WriteString("|\n")
	}
	write(header)
	b.WriteString(strings.Repeat("|---", len(header)) + "|\n")
	for _, row := range rows {
		write(row)
	}
	return strings.TrimRight(b.String(), "\n")
}

// renderIndex is the README of the pages' folder: one line per page.
func renderIndex(pages []*page) string {
	var rows [][]string
	for _, p := range pages {
		summary := strings.TrimPrefix(p.pkg.doc.Synopsis(p.pkg.doc.Doc), "Package "+p.pkg.name+" ")
		summary = strings.TrimPrefix(summary, "is ")
		rows = append(rows, []string{"[" + escape(p.Title) + "](" + p.pkg.page() + ")", escape(capital(summary))})
	}
	return marker + "\n# Constructs\n\n" +
		"One page per package below [constructs](../../constructs): what it makes, an example, every field with its default, its alarms, " +
		"what it costs and how to override it. All of it is read from the code.\n\n" +
		table([]string{"construct", "what"}, rows) + "\n"
}

func capital(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}
