package gobuild_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadbearing/loadbearing/internal/gobuild"
)

// module writes a small program into a folder of its own.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/tiny\n\ngo 1.26.0\n",
		"main.go": `package main

import "os"

var version = "none"

func main() { os.Stdout.WriteString(version) }
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t *testing.T, target gobuild.Target) gobuild.Binary {
	t.Helper()
	bin, err := gobuild.Build(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func TestBuildIsReproducible(t *testing.T) {
	t.Parallel()
	target := func() gobuild.Target {
		dir := module(t)
		return gobuild.Target{Dir: dir, Package: ".", Output: filepath.Join(dir, "out", "tiny"), Version: "v1.2.3"}
	}
	one, two := build(t, target()), build(t, target())
	if one.SHA256 != two.SHA256 {
		t.Errorf("the same source in two folders gave %s and %s", one.SHA256, two.SHA256)
	}
	out, err := exec.Command(one.Path).Output()
	if err != nil || string(out) != "v1.2.3" {
		t.Errorf("the program says version %q (%v), want v1.2.3", out, err)
	}
	data, err := os.ReadFile(one.Path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), filepath.Dir(filepath.Dir(one.Path))) {
		t.Error("the binary holds the path it was built in")
	}
	other := target()
	other.Version = "v1.2.4"
	if build(t, other).SHA256 == one.SHA256 {
		t.Error("another version gave the same bytes")
	}
}

func TestBuildLeavesAnUnchangedOutputAlone(t *testing.T) {
	t.Parallel()
	dir := module(t)
	target := gobuild.Target{Dir: dir, Package: ".", Output: filepath.Join(dir, "tiny")}
	first := build(t, target)
	before := inode(t, first.Path)
	started := time.Now()
	again := build(t, target)
	t.Logf("a build with nothing to do took %v", time.Since(started))
	if again.SHA256 != first.SHA256 || !os.SameFile(before, inode(t, again.Path)) {
		t.Error("an unchanged program was linked again")
	}
}

func inode(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestBuildForLambda(t *testing.T) {
	t.Parallel()
	dir := module(t)
	bin := build(t, gobuild.Target{
		Dir: dir, Package: ".", Output: filepath.Join(dir, "bootstrap"),
		GOOS: "linux", GOARCH: "arm64", Tags: []string{"lambda.norpc"},
	})
	data, err := os.ReadFile(bin.Path)
	if err != nil {
		t.Fatal(err)
	}
	// Bytes 18 and 19 of an ELF header are the machine; 183 is AArch64.
	if len(data) < 20 || string(data[:4]) != "\x7fELF" || data[18] != 183 {
		t.Errorf("not an ELF file for arm64: % x", data[:min(20, len(data))])
	}
	if bin.Bytes != int64(len(data)) {
		t.Errorf("Bytes is %d, the file has %d", bin.Bytes, len(data))
	}
}

func TestBuildSaysWhatTheCompilerSaid(t *testing.T) {
	t.Parallel()
	dir := module(t)
	if err := os.WriteFile(filepath.Join(dir, "more.go"), []byte("package main\n\nvar x int = \"text\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := gobuild.Build(t.Context(), gobuild.Target{Dir: dir, Package: ".", Output: filepath.Join(dir, "tiny")})
	if err == nil || !strings.Contains(err.Error(), "more.go:3") {
		t.Errorf("got %v, want the compiler's line", err)
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := module(t)
	_, err := gobuild.Build(ctx, gobuild.Target{Dir: dir, Package: ".", Output: filepath.Join(dir, "tiny")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		target gobuild.Target
		want   string
	}{
		"no package":         {gobuild.Target{Output: "x"}, "package"},
		"no output":          {gobuild.Target{Package: "."}, "output"},
		"version with space": {gobuild.Target{Package: ".", Output: "x", Version: "a -X b=c"}, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := tc.target.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that names %s", err, tc.want)
			}
		})
	}
}

func TestEnvReplacesTheMachinesSettings(t *testing.T) {
	t.Parallel()
	got := gobuild.Target{GOOS: "linux", GOARCH: "arm64"}.Env([]string{
		"PATH=/bin", "GOFLAGS=-race", "GOEXPERIMENT=x", "GOOS=plan9", "CGO_ENABLED=1", "GOAMD64=v4",
	})
	want := []string{
		"PATH=/bin", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-trimpath",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
