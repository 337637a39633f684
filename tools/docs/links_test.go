package main

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

var (
	// github reads Markdown as GitHub does.
	github = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

	mermaidLine = regexp.MustCompile(`^(flowchart LR|    (` +
		`n\d+(\[|\[\(|\(\[)"[^"]+"(\]|\)\]|\]\))` +
		`|n\d+ -\.?->(\|"[^"]+"\|)? n\d+` +
		`|classDef outside stroke-dasharray: 5 5` +
		`|class n\d+(,n\d+)* outside))$`)
)

// TestPagesOfTheConstructs reads the pages of the real constructs as they would
// be written now: every link leads somewhere, tables are tables, and pictures
// hold what Mermaid draws.
func TestPagesOfTheConstructs(t *testing.T) {
	t.Parallel()
	root := t.TempDir() // a copy, which nobody changes while it is read
	checkout := os.DirFS(filepath.Join("..", ".."))
	mod, err := fs.ReadFile(checkout, "go.mod")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), mod, 0o644))
	sources, err := fs.Sub(checkout, constructsFolder)
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(filepath.Join(root, constructsFolder), sources))

	pages, _, err := generate(root)
	require.NoError(t, err)
	again, _, err := generate(root)
	require.NoError(t, err)
	for name := range pages {
		require.Equal(t, pages[name], again[name], name)
	}

	documents := map[string]ast.Node{}
	for name, page := range pages {
		documents[name] = github.Parser().Parse(text.NewReader([]byte(page)))
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		source := []byte(pages[name])
		require.NoError(t, ast.Walk(documents[name], func(node ast.Node, entering bool) (ast.WalkStatus, error) {
			if !entering {
				return ast.WalkContinue, nil
			}
			switch node := node.(type) {
			case *ast.Link:
				follow(t, root, name, string(node.Destination), documents)
			case *ast.Paragraph:
				require.False(t, strings.HasPrefix(string(node.Lines().Value(source)), "|"), "%s: not a table:\n%s", name, node.Lines().Value(source))
			case *ast.FencedCodeBlock:
				if string(node.Language(source)) == "mermaid" {
					checkPicture(t, name, string(node.Lines().Value(source)))
				}
			}
			return ast.WalkContinue, nil
		}))
	}
}

func follow(t *testing.T, root, from, link string, documents map[string]ast.Node) {
	t.Helper()
	if strings.HasPrefix(link, "https://") {
		return // doc comments may cite a guide
	}
	file, anchor, _ := strings.Cut(link, "#")
	target := path.Join(pagesFolder, file)
	if file == "" {
		file = from
	} else if _, isPage := documents[file]; !isPage {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(target)))
		require.NoError(t, err, "%s links to %s", from, link)
	}
	if anchor == "" {
		return
	}
	require.Contains(t, documents, file, "%s links to %s", from, link)
	found := false
	require.NoError(t, ast.Walk(documents[file], func(node ast.Node, _ bool) (ast.WalkStatus, error) {
		if id, ok := node.AttributeString("id"); ok {
			if id, ok := id.([]byte); ok && string(id) == anchor {
				found = true
			}
		}
		return ast.WalkContinue, nil
	}))
	require.True(t, found, "%s links to %s, which is no heading", from, link)
}

func checkPicture(t *testing.T, page, mermaid string) {
	t.Helper()
	nodes := 0
	for line := range strings.Lines(mermaid) {
		line = strings.TrimRight(line, "\n")
		require.Regexp(t, mermaidLine, line, page)
		if regexp.MustCompile(`^    n\d+[\[(]`).MatchString(line) {
			nodes++
		}
	}
	require.Positive(t, nodes, page)
	require.LessOrEqual(t, nodes, maxNodes, page)
}
