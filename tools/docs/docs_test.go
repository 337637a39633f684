package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/want instead of comparing with it")

// module is a copy of a small module in testdata.
func module(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))))
	return dir
}

// docs runs the command and returns its exit code and output.
func docs(root string, check bool) (code int, stdout, stderr string) {
	var out, errors bytes.Buffer
	code = run(root, check, &out, &errors)
	return code, out.String(), errors.String()
}

func TestPages(t *testing.T) {
	t.Parallel()
	root := module(t, "good")
	code, stdout, stderr := docs(root, false)
	require.Zero(t, code)
	require.Equal(t, "docs: 2 pages, 2 changed\n", stdout)
	require.Empty(t, stderr)
	for _, name := range []string{"README.md", "widget.md"} {
		got := read(t, root, "docs/constructs", name)
		want := filepath.Join("testdata", "want", name)
		if *update {
			require.NoError(t, os.WriteFile(want, []byte(got), 0o644))
			continue
		}
		if diff := cmp.Diff(read(t, want), got); diff != "" {
			t.Errorf("%s (- want, + got); when that is meant, run: go test ./tools/docs -update\n%s", name, diff)
		}
	}
	code, stdout, stderr = docs(root, true)
	require.Zero(t, code, stderr)
	require.Equal(t, "docs: 2 pages say what the code says\n", stdout)
	_, stdout, _ = docs(root, false)
	require.Equal(t, "docs: 2 pages, 0 changed\n", stdout)
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	root := module(t, "bad")
	code, stdout, stderr := docs(root, false)
	require.Zero(t, code, "pages are written with what there is")
	require.Equal(t, "docs: 3 pages, 3 changed\n", stdout)
	require.Equal(t, "docs: 16 problems; go run ./tools/docs -check lists them\n", stderr)

	code, stdout, stderr = docs(root, true)
	require.Equal(t, 1, code)
	require.Empty(t, stdout)
	require.Equal(t, `constructs/broken: # Migrate: write how an existing resource comes under the construct
constructs/broken: # Coverage: the row "one column" has not two columns separated by " | "
constructs/broken: # Cost: no such heading in the package documentation; write a list of what the construct's cost depends on
constructs/broken: Example: it has no output, so no test runs it; end it with "// Output:" and what it prints
constructs/broken: Example: it uses a pointer, which no caller should need; write it without
constructs/broken: Example: it uses jsii, which no caller should need; write it without
constructs/broken: Example: it uses new(…), which no caller should need; write it without
constructs/broken: alarm Alarm: no tag loadbearing:severity in testdata/broken.golden.json; make the alarm with cdkx.Alarm, then run: go test ./constructs/broken -update
constructs/broken: alarm Alarm: no description; write what it means and what to look at first
constructs/broken: Props.Name: no doc comment; write what it is, its unit and limits, and its default
constructs/broken: Props.Size: no default; add a sentence "Default …." to its doc comment, or "Size is required" to that of Props
constructs/broken: Props.Lost: no doc comment; write what it is, its unit and limits, and its default
constructs/broken: Props.Found: no doc comment; write what it is, its unit and limits, and its default
constructs/broken: Override: no field; give Props one for each resource it wraps, called last
constructs/empty: no package documentation; begin doc.go with "// Package empty makes …"
constructs/empty: Example: none; write "func Example()" with "// Output:" in example_test.go
docs: 16 problems
`, stderr)
}

func TestCheckOfGoldenTemplates(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, root string)
		want   string
	}{
		"no test": {
			func(t *testing.T, root string) { remove(t, root, "constructs/widget/widget_test.go") },
			`golden template: no test calls cdktest.Golden(t, stack, "widget"); write one that makes a typical instance, then run: go test ./constructs/widget -update`,
		},
		"no file": {
			func(t *testing.T, root string) { remove(t, root, "constructs/widget/testdata/widget.golden.json") },
			"golden template: no testdata/widget.golden.json; run: go test ./constructs/widget -update",
		},
		"no literal id": {
			func(t *testing.T, root string) {
				replace(t, root, "constructs/widget/widget_test.go", `"My-Jobs"`, "id")
			},
			`golden template: no resource of testdata/widget.golden.json is the construct's; call widget.New with a literal id in the test that calls cdktest.Golden(t, stack, "widget")`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := module(t, "good")
			test.change(t, root)
			docs(root, false)
			code, _, stderr := docs(root, true)
			require.Equal(t, 1, code)
			require.Equal(t, "constructs/widget: "+test.want+"\ndocs: 1 problems\n", stderr)
		})
	}
}

func TestHeadingsInOrder(t *testing.T) {
	t.Parallel()
	root := module(t, "good")
	replace(t, root, "constructs/widget/doc.go", "# Cost", "# Swap")
	replace(t, root, "constructs/widget/doc.go", "# Coverage", "# Cost")
	replace(t, root, "constructs/widget/doc.go", "# Swap", "# Coverage")
	docs(root, false)
	_, _, stderr := docs(root, true)
	require.Contains(t, stderr, "constructs/widget: package documentation: the headings are Cost, Coverage, Migrate; write Coverage, Cost, Migrate, each once and in this order\n")
}

func TestCheckOfPages(t *testing.T) {
	t.Parallel()
	root := module(t, "good")
	code, _, stderr := docs(root, true)
	require.Equal(t, 1, code)
	require.Equal(t, `docs/constructs/README.md: missing; run: go run ./tools/docs
docs/constructs/widget.md: missing; run: go run ./tools/docs
docs: 2 problems
`, stderr)

	docs(root, false)
	replace(t, root, "constructs/widget/widget.go", "URL is where", "URL says where")
	require.NoError(t, os.WriteFile(filepath.Join(root, "docs/constructs/gone.md"), []byte(marker), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "docs/constructs/by-hand.md"), []byte("# Mine\n"), 0o644))
	code, _, stderr = docs(root, true)
	require.Equal(t, 1, code)
	require.Equal(t, `docs/constructs/widget.md: stale; run: go run ./tools/docs
docs/constructs/gone.md: of a package that is gone; run: go run ./tools/docs
docs: 2 problems
`, stderr)

	_, stdout, _ := docs(root, false)
	require.Equal(t, "docs: 2 pages, 2 changed\n", stdout)
	require.NoFileExists(t, filepath.Join(root, "docs/constructs/gone.md"))
	require.FileExists(t, filepath.Join(root, "docs/constructs/by-hand.md"))
	code, _, stderr = docs(root, true)
	require.Zero(t, code, stderr)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	code, _, stderr := docs(t.TempDir(), true)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "run this in the folder of the module's go.mod")

	root := module(t, "good")
	replace(t, root, "constructs/widget/widget.go", "package widget", "package")
	code, _, stderr = docs(root, false)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "widget.go:")

	root = module(t, "good")
	replace(t, root, "constructs/widget/testdata/widget.golden.json", "{", "[")
	code, _, stderr = docs(root, false)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "constructs/widget: testdata/widget.golden.json: ")
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(text)
}

func remove(t *testing.T, root, file string) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(root, file)))
}

func replace(t *testing.T, root, file, before, after string) {
	t.Helper()
	text := read(t, root, file)
	require.Contains(t, text, before)
	require.NoError(t, os.WriteFile(filepath.Join(root, file), []byte(strings.ReplaceAll(text, before, after)), 0o644))
}
