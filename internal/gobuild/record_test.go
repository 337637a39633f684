package gobuild_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/gobuild"
)

// write puts files into dir, by their paths.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// program is a module with a package beside the main one, and embedded files.
func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"go.mod":                    "module example.com/shop\n\ngo 1.26.0\n",
		"prices/prices.go":          "package prices\n\nimport _ \"embed\"\n\n//go:embed list.txt\nvar List string\n",
		"prices/list.txt":           "tea 2",
		"prices/notes.txt":          "not part of any program",
		"lambdas/sell/main.go":      "package main\n\nimport \"example.com/shop/prices\"\n\nfunc main() { println(\"sell\", prices.List) }\n",
		"lambdas/sell/main_test.go": "package main\n",
		"lambdas/buy/main.go":       "package main\n\nfunc main() { println(\"buy\") }\n",
		"other/buy/main.go":         "package main\n\nfunc main() { println(\"other\") }\n",
		"prices/sub/empty.txt":      "",
	})
	return dir
}

func target(dir, folder string) gobuild.Target {
	out := filepath.Join(dir, "out", strings.ReplaceAll(folder, "/", "-"))
	return gobuild.Target{
		Dir: filepath.Join(dir, folder), Package: ".",
		Output: filepath.Join(out, "program", "bootstrap"), Record: filepath.Join(out, "record.json"),
	}
}

// spy puts a `go` first on PATH that notes how it is called, and returns a
// function that tells what it was called for since the last time.
func spy(t *testing.T) func() []string {
	t.Helper()
	compiler, err := exec.LookPath("go")
	require.NoError(t, err)
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"),
		[]byte("#!/bin/sh\necho \"$1\" >> '"+log+"'\nexec '"+compiler+"' \"$@\"\n"), 0o755))
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return func() []string {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		require.NoError(t, os.Remove(log))
		return strings.Fields(string(text))
	}
}

func TestRecordSparesTheCompiler(t *testing.T) {
	called := spy(t)
	dir := program(t)
	first := build(t, target(dir, "lambdas/sell"))
	require.Equal(t, []string{"env", "list", "build"}, called())
	started := time.Now()
	require.Equal(t, first, build(t, target(dir, "lambdas/sell")))
	t.Logf("a build with nothing to do took %v", time.Since(started))
	require.Equal(t, []string{"env"}, called())
}

func TestRecordSeesWhatTheBytesDependOn(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(dir string, target *gobuild.Target)
		builds bool
	}{
		"source":              {func(dir string, _ *gobuild.Target) { edit(t, dir, "lambdas/sell/main.go") }, true},
		"source of a package": {func(dir string, _ *gobuild.Target) { edit(t, dir, "prices/prices.go") }, true},
		"new file": {func(dir string, _ *gobuild.Target) {
			write(t, dir, map[string]string{"prices/new.go": "package prices\n"})
		}, true},
		"embedded file": {func(dir string, _ *gobuild.Target) { edit(t, dir, "prices/list.txt") }, true},
		"go.mod":        {func(dir string, _ *gobuild.Target) { edit(t, dir, "go.mod") }, true},
		"new go.sum":    {func(dir string, _ *gobuild.Target) { write(t, dir, map[string]string{"go.sum": ""}) }, true},
		"tags":          {func(_ string, target *gobuild.Target) { target.Tags = []string{"extra"} }, true},
		"version":       {func(_ string, target *gobuild.Target) { target.Version = "v2" }, true},
		"platform":      {func(_ string, target *gobuild.Target) { target.GOOS = "linux"; target.GOARCH = "arm64" }, true},
		"FIPS module":   {func(string, *gobuild.Target) { t.Setenv("GOFIPS140", "latest") }, true},
		"output cut short": {func(_ string, target *gobuild.Target) {
			require.NoError(t, os.Truncate(target.Output, 100))
		}, true},
		"record cut short": {func(_ string, target *gobuild.Target) {
			require.NoError(t, os.Truncate(target.Record, 100))
		}, true},
		"test":           {func(dir string, _ *gobuild.Target) { edit(t, dir, "lambdas/sell/main_test.go") }, false},
		"file beside it": {func(dir string, _ *gobuild.Target) { edit(t, dir, "prices/notes.txt") }, false},
		"other program":  {func(dir string, _ *gobuild.Target) { edit(t, dir, "lambdas/buy/main.go") }, false},
		"another machine's settings": {func(string, *gobuild.Target) {
			t.Setenv("GOFLAGS", "-race")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			called := spy(t)
			dir := program(t)
			target := target(dir, "lambdas/sell")
			build(t, target)
			called()
			tc.change(dir, &target)
			build(t, target)
			want := []string{"env"}
			if tc.builds {
				want = []string{"env", "list", "build"}
			}
			require.Equal(t, want, called())
		})
	}
}

// edit adds a line to a file that changes no meaning.
func edit(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(text, "\n// edited\n"...), 0o644))
}

func TestRecordHoldsInACopyOfTheCheckout(t *testing.T) {
	called := spy(t)
	dir, copied := program(t), filepath.Join(t.TempDir(), "copy")
	first := build(t, target(dir, "lambdas/sell"))
	called()
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	edit(t, dir, "prices/prices.go")
	again := build(t, target(copied, "lambdas/sell"))
	require.Equal(t, first.SHA256, again.SHA256)
	require.Equal(t, []string{"env"}, called(), "what the copy was made from does not count")
	edit(t, copied, "prices/prices.go")
	build(t, target(copied, "lambdas/sell"))
	require.Equal(t, []string{"env", "list", "build"}, called())
}

func TestBuildAllCallsTheCompilerOnce(t *testing.T) {
	called := spy(t)
	dir := program(t)
	targets := []gobuild.Target{target(dir, "lambdas/sell"), target(dir, "lambdas/buy"), target(dir, "other/buy")}
	together, err := gobuild.BuildAll(t.Context(), targets...)
	require.NoError(t, err)
	// Two programs of one name cannot come from one build.
	require.Equal(t, []string{"env", "list", "build", "list", "build"}, called())
	for i, says := range []string{"sell tea 2\n", "buy\n", "other\n"} {
		out, err := exec.Command(together[i].Path).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, says, string(out))
		entries, err := os.ReadDir(filepath.Dir(together[i].Path))
		require.NoError(t, err)
		require.Len(t, entries, 1, "the folder is deployed whole")
	}
	again, err := gobuild.BuildAll(t.Context(), targets...)
	require.NoError(t, err)
	require.Equal(t, []string{"env"}, called())
	require.Empty(t, cmp.Diff(together, again))

	alone := target(dir, "lambdas/sell")
	alone.Record, alone.Output = "", filepath.Join(dir, "alone")
	require.Equal(t, together[0].SHA256, build(t, alone).SHA256, "how many are built together changes no byte")
}

func TestBuildAllByImportPath(t *testing.T) {
	dir := program(t)
	path := target(dir, "lambdas/sell")
	path.Dir, path.Package = dir, "example.com/shop/lambdas/sell"
	folder := target(dir, "lambdas/sell")
	folder.Output, folder.Record = filepath.Join(dir, "folder"), ""
	require.Equal(t, build(t, folder).SHA256, build(t, path).SHA256)
	called := spy(t)
	build(t, path)
	require.Equal(t, []string{"env"}, called())
}

func TestBuildAllNamesEachThatFails(t *testing.T) {
	dir := program(t)
	write(t, dir, map[string]string{"lambdas/sell/bad.go": "package main\n\nvar x int = \"sell\"\n"})
	write(t, dir, map[string]string{"lambdas/give/main.go": "package main\n\nfunc main() { give() }\n"})
	_, err := gobuild.BuildAll(t.Context(), target(dir, "lambdas/sell"), target(dir, "lambdas/buy"), target(dir, "lambdas/give"))
	require.ErrorContains(t, err, "bad.go:3")
	require.ErrorContains(t, err, "undefined: give")
	require.NotContains(t, err.Error(), "lambdas/buy")
	require.NoFileExists(t, target(dir, "lambdas/sell").Record)
}

func TestBuildRefusesALibrary(t *testing.T) {
	dir := program(t)
	_, err := gobuild.Build(t.Context(), target(dir, "prices"))
	require.ErrorContains(t, err, "it is package prices; name a main package")
}

// TestMachineChangesNoByte builds in another folder, for another user and with
// settings that would show in the bytes if they were let through.
func TestMachineChangesNoByte(t *testing.T) {
	one := build(t, target(program(t), "lambdas/sell"))
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "GOPATH": filepath.Join(home, "go"), "GOMODCACHE": filepath.Join(home, "modules"),
		"GOFLAGS": "-ldflags=-X=main.x=y", "GOAMD64": "v3", "GOARM64": "v9.0", "GOEXPERIMENT": "jsonv2", "CGO_ENABLED": "1",
	} {
		t.Setenv(name, value)
	}
	two := build(t, target(program(t), "lambdas/sell"))
	require.Equal(t, one.SHA256, two.SHA256)
	require.NotEqual(t, one.Path, two.Path)
}
