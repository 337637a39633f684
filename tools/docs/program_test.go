package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// programs are the examples of a module's packages, as their pages show them.
func programs(t *testing.T, root string) map[string]string {
	t.Helper()
	packages, err := load(root)
	require.NoError(t, err)
	all := map[string]string{}
	for _, p := range packages {
		examples, _, err := p.examples()
		require.NoError(t, err)
		for _, e := range examples {
			all[p.name+e.Suffix] = e.Code
		}
	}
	return all
}

func TestProgram(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, want string }{
		"the app has the name of the parameter": {
			"app := cdktest.App()\n\tbase := cdkapp.Stack(app, \"base\")\n\t_ = base",
			"base := cdkapp.Stack(app, \"base\")\n_ = base\nreturn nil",
		},
		"the app has another name": {
			"mine := cdktest.App()\n\tuse.It(mine)",
			"mine := app\nuse.It(mine)\nreturn nil",
		},
		"what only a test can call": {
			"use.It(cdktest.App()) // once\n\n\tshow(1)\n\n\tcdktest.Print(1)\n\t// Output:\n\t// 1",
			"use.It(app) // once\nreturn nil",
		},
		"a field for the test alone": {
			"use.It(cdktest.App(), use.Props{A: 1, Folder: use.Join(cdktest.Root(), \"x\")})",
			"use.It(app, use.Props{A: 1})\nreturn nil",
		},
		"a struct of such fields": {
			"use.It(cdktest.App(), use.Props{\n\t\tA: 1,\n\t\tB: use.Inner{Folder: cdktest.Root()},\n\t})",
			"use.It(app, use.Props{\n\tA: 1,\n})\nreturn nil",
		},
		"a struct with another field": {
			"use.It(cdktest.App(), use.Props{B: use.Inner{C: 1, Folder: cdktest.Root()}})",
			"use.It(app, use.Props{B: use.Inner{C: 1}})\nreturn nil",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := module(t, "good")
			write := "package widget_test\n\nfunc Example() {\n\t" + test.body + "\n}\n"
			require.NoError(t, os.WriteFile(filepath.Join(root, "constructs/widget/example_test.go"), []byte(write), 0o644))
			got := programs(t, root)["widget"]
			_, got, found := strings.Cut(got, "\tcdkapp.Main(func(app awscdk.App) error {\n")
			require.True(t, found)
			got = strings.TrimSuffix(got, "\n\t})\n}")
			require.Equal(t, test.want, strings.ReplaceAll(strings.TrimPrefix(got, "\t\t"), "\n\t\t", "\n"))
		})
	}
}

func TestAnExampleWithoutAnAppStaysABody(t *testing.T) {
	t.Parallel()
	root := module(t, "good")
	example := "package widget_test\n\nfunc Example() {\n\tx := widget.Size()\n\tfmt.Println(x)\n\t// Output: 1\n}\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "constructs/widget/example_test.go"), []byte(example), 0o644))
	require.Equal(t, "x := widget.Size()\nfmt.Println(x)", programs(t, root)["widget"])
}

// The programs on the pages are there to be pasted, so they have to compile.
func TestProgramsCompile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles against the whole AWS CDK")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "go", "list", "-export", "-overlay="+filepath.Join(dir, "overlay.json"))
	command.Dir = root
	for name, program := range programs(t, root) {
		file := filepath.Join(dir, name+".go")
		require.NoError(t, os.WriteFile(file, []byte(program+"\n"), 0o644))
		folder := fmt.Sprintf("tools/docs/testdata/program-%s", name)
		overlay.Replace[filepath.Join(root, folder, "main.go")] = file
		command.Args = append(command.Args, "./"+folder)
	}
	text, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o644))
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

func TestWhatCanBeValidatedIsAnInput(t *testing.T) {
	t.Parallel()
	root := module(t, "good")
	source := "package widget\n\n// Query is given as an interface. Text is required.\ntype Query struct{\n\t// Text of it.\n\tText string\n}\n\n" +
		"// Validate returns what is wrong.\nfunc (q Query) Validate() error { return nil }\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "constructs/widget/query.go"), []byte(source), 0o644))
	docs(root, false)
	require.Contains(t, read(t, root, "docs/constructs/widget.md"), "### Query\n\nQuery is given as an interface. Text is required.\n\n"+
		"| field | type | default | meaning |\n|---|---|---|---|\n| `Text` | `string` | **required** | Text of it. |\n")
}

func TestNoAlarmIsNoTable(t *testing.T) {
	t.Parallel()
	require.Empty(t, alarmTable(nil))
}
