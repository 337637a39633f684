package main

import (
	"go/ast"
	"go/doc"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// structDoc is an exported struct that a caller fills in.
type structDoc struct {
	name   string
	text   string // its doc comment
	fields []field
}

// field is a field of such a struct.
type field struct {
	name     string
	typ      ast.Expr
	text     string // its doc comment, or that of the field it shares one with
	with     string // the field whose comment this one shares, or ""
	override bool   // a function that has the last word on a resource
}

// inputs are the structs that callers fill in: the parameters of exported
// functions and methods, and the structs in their fields, each after the one
// that leads to it; then what else has a method Validate.
func (p *pkg) inputs() []structDoc {
	types := map[string]*doc.Type{}
	for _, t := range p.doc.Types {
		if structOf(t) != nil && !embedsConstruct(t) {
			types[t.Name] = t
		}
	}
	var found []structDoc
	seen := map[string]bool{}
	var add func(expr ast.Node)
	add = func(expr ast.Node) {
		ast.Inspect(expr, func(node ast.Node) bool {
			if _, ok := node.(*ast.SelectorExpr); ok {
				return false // another package's
			}
			name, ok := node.(*ast.Ident)
			if !ok || types[name.Name] == nil || seen[name.Name] {
				return true
			}
			t := types[name.Name]
			seen[t.Name] = true
			s := structDoc{name: t.Name, text: t.Doc, fields: p.fields(structOf(t), isOverrides(t.Name))}
			found = append(found, s)
			for _, f := range s.fields {
				add(f.typ)
			}
			return true
		})
	}
	var functions []*doc.Func
	makers, made := p.makers()
	functions = append(functions, makers...)
	for _, t := range made {
		functions = append(functions, t.Methods...)
	}
	functions = append(functions, p.doc.Funcs...)
	for _, t := range p.doc.Types {
		functions = append(functions, t.Funcs...)
	}
	for _, f := range functions {
		for _, parameter := range f.Decl.Type.Params.List {
			add(parameter.Type)
		}
	}
	// What can be validated is filled in by callers, also where a parameter is an
	// interface.
	for _, t := range p.doc.Types {
		if slices.ContainsFunc(t.Methods, func(f *doc.Func) bool { return f.Name == "Validate" }) {
			add(ast.NewIdent(t.Name))
		}
	}
	return found
}

// isOverrides tells whether a field or a struct by that name is of overrides
// only: functions that have the last word on one resource each.
func isOverrides(name string) bool { return strings.HasPrefix(name, "Override") }

// fields are those of a struct, all of them overrides when it holds nothing else.
func (p *pkg) fields(of *ast.StructType, overrides bool) []field {
	var fields []field
	// The comment above a field is also that of the fields on the lines below it
	// that have none.
	above, first, end := "", "", 0
	for _, f := range of.Fields.List {
		text, with := f.Doc.Text(), ""
		switch {
		case text != "":
			above, first = text, ""
		case p.line(f.Pos()) != end+1:
			above, first = "", ""
		}
		if comment := f.Comment.Text(); text == "" && comment != "" {
			text = comment
		} else if text == "" {
			text, with = above, first
		}
		end = p.line(f.End())
		names := make([]string, 0, 1)
		for _, name := range f.Names {
			names = append(names, name.Name)
		}
		if len(names) == 0 { // embedded
			names = append(names, strings.TrimLeft(p.print(f.Type), "*"))
		}
		for i, name := range names {
			_, function := f.Type.(*ast.FuncType)
			one := field{name: name, typ: f.Type, text: text, with: with, override: function && (overrides || isOverrides(name))}
			if i > 0 && with == "" && text != "" {
				one.with = names[0]
			}
			fields = append(fields, one)
		}
		if above != "" && first == "" {
			first = names[0]
		}
	}
	return fields
}

// setting is a field as the table of its struct shows it.
type setting struct {
	field
	fallback string // what the zero value means, or that it is not allowed
	meaning  string // the rest of the doc comment
}

var (
	defaultSentence  = regexp.MustCompile(`^Defaults?(?: to |[:,] ?| )\s*`)
	defaultClause    = regexp.MustCompile(`[,;] defaults?(?: to |: ?| )\s*`)
	requiredSentence = regexp.MustCompile(`^Required\b`)
	requiredAnywhere = regexp.MustCompile(`\brequired\b`)
)

const requiredCell = "**required**"

// setting reads what the zero value of a field means: the sentence that begins
// with "Default", false for a bool that has none, or that the field is required.
func (s structDoc) setting(f field) (setting, *problem) {
	read := setting{field: f}
	parts := prose(f.text)
	for i, part := range parts {
		if !part.sentences {
			continue
		}
		var rest []string
		for _, sentence := range sentences(part.text) {
			switch {
			case read.fallback != "":
				rest = append(rest, sentence)
			case defaultSentence.MatchString(sentence):
				read.fallback = stop(sentence[len(defaultSentence.FindString(sentence)):])
			case requiredSentence.MatchString(sentence):
				read.fallback = requiredCell + strings.TrimPrefix(stop(sentence), "Required")
			case defaultClause.MatchString(sentence):
				at := defaultClause.FindStringIndex(sentence)
				read.fallback = stop(sentence[at[1]:])
				rest = append(rest, sentence[:at[0]]+".")
			default:
				rest = append(rest, sentence)
			}
		}
		parts[i].text = strings.Join(rest, " ")
	}
	for _, part := range parts {
		read.meaning += part.text + "\n"
	}
	read.meaning = strings.TrimSpace(read.meaning)
	if s.requires(f) && !strings.HasPrefix(read.fallback, requiredCell) {
		// A comment shared with other fields may hold the default of those.
		read.fallback = requiredCell
	}
	if isBool(f.typ) && !strings.HasPrefix(read.fallback, requiredCell) && !strings.HasPrefix(read.fallback, "false") {
		// What a comment says of the default is what false means.
		read.fallback = strings.TrimSuffix("false: "+read.fallback, ": ")
	}
	switch {
	case f.override, isOverrides(f.name):
	case f.text == "":
		return read, &problem{what: s.name + "." + f.name, text: "no doc comment; write what it is, its unit and limits, and its default"}
	case read.fallback == "":
		return read, &problem{what: s.name + "." + f.name, text: `no default; add a sentence "Default …." to its doc comment, or "` +
			f.name + ` is required" to that of ` + s.name}
	}
	return read, nil
}

// part of a doc comment is a paragraph of sentences, or lines to be left as they
// are: empty ones, lists and preformatted text.
type part struct {
	text      string
	sentences bool
}

func prose(text string) []part {
	var parts []part
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, "\n")
		isProse := line != "" && line[0] != ' ' && line[0] != '\t'
		if last := len(parts) - 1; isProse && last >= 0 && parts[last].sentences {
			parts[last].text += " " + line
			continue
		}
		parts = append(parts, part{line, isProse})
	}
	return parts
}

// requires tells whether a clause of the field's or the struct's doc comment
// says that the field is required.
func (s structDoc) requires(f field) bool {
	for _, text := range []string{s.text, f.text} {
		for _, clause := range strings.FieldsFunc(text, func(r rune) bool { return r == '.' || r == ';' || r == ':' }) {
			at := requiredAnywhere.FindStringIndex(clause)
			if at != nil && slices.Contains(words(clause[:at[0]]), f.name) {
				return true
			}
		}
	}
	return false
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' })
}

func isBool(expr ast.Expr) bool {
	name, ok := expr.(*ast.Ident)
	return ok && name.Name == "bool"
}

// stop is a sentence without its full stop.
func stop(sentence string) string {
	return strings.TrimSuffix(strings.TrimSpace(sentence), ".")
}

var (
	sentenceEnd  = regexp.MustCompile(`[.!?]["')\]]*\s+`)
	abbreviation = regexp.MustCompile(`(?:^|[\s(])(?:e\.g|i\.e|vs|cf|approx)\.\s+$`)
)

// sentences splits a paragraph. A full stop ends one when what follows does not
// begin with a small letter.
func sentences(paragraph string) []string {
	text := oneLine(paragraph)
	var all []string
	start := 0
	for _, at := range sentenceEnd.FindAllStringIndex(text, -1) {
		next := rune(text[at[1]])
		if unicode.IsLower(next) || abbreviation.MatchString(text[:at[1]]) {
			continue
		}
		all = append(all, strings.TrimSpace(text[start:at[1]]))
		start = at[1]
	}
	if rest := strings.TrimSpace(text[start:]); rest != "" {
		all = append(all, rest)
	}
	return all
}
