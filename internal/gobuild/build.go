package gobuild

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// Build builds the target with the `go` on PATH and returns the file it wrote.
// When Record says that nothing changed, or Go's build cache does, the file is
// left as it is. The error of a failed build holds what the compiler said.
func Build(ctx context.Context, t Target) (Binary, error) {
	binaries, err := BuildAll(ctx, t)
	if err != nil {
		return Binary{}, err
	}
	return binaries[0], nil
}

// BuildAll builds several targets and returns their files in the same order.
// Targets of one module with the same settings are built by one `go build`:
// what they share is then compiled once, where builds side by side each compile
// it. The error holds what the compiler said of each target that failed.
func BuildAll(ctx context.Context, targets ...Target) ([]Binary, error) {
	jobs := make([]*job, len(targets))
	var stale []*job
	var errs []error
	machine := toolchains{}
	for i, target := range targets {
		job, err := newJob(ctx, target, machine)
		if err != nil {
			errs = append(errs, target.failed(err))
			continue
		}
		jobs[i] = job
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var hashing sync.WaitGroup
	for _, job := range jobs {
		hashing.Go(job.check)
	}
	hashing.Wait()
	for _, job := range jobs {
		if !job.fresh {
			stale = append(stale, job)
		}
	}
	for _, group := range together(stale) {
		errs = append(errs, group.build(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	binaries := make([]Binary, len(jobs))
	for i, job := range jobs {
		binaries[i] = job.binary
	}
	return binaries, nil
}

func (t Target) failed(err error) error {
	return fmt.Errorf("build %s for %s/%s: %w", t.Package, cmp.Or(t.GOOS, runtime.GOOS), cmp.Or(t.GOARCH, runtime.GOARCH), err)
}

// job is a target on its way to a binary.
type job struct {
	Target    // its paths absolute
	toolchain toolchain
	fresh     bool // the output is what it would become
	binary    Binary
}

func newJob(ctx context.Context, t Target, machine toolchains) (*job, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	paths := []*string{&t.Dir, &t.Output}
	if t.Record != "" {
		paths = append(paths, &t.Record)
	}
	for _, path := range paths {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = absolute
	}
	if err := os.MkdirAll(filepath.Dir(t.Output), 0o755); err != nil {
		return nil, err
	}
	toolchain, err := machine.in(ctx, t)
	return &job{Target: t, toolchain: toolchain}, err
}

// argument names the package for a `go` that runs in another folder of the
// module.
func (t Target) argument() string {
	if t.Package == "." || t.Package == ".." || strings.HasPrefix(t.Package, "./") || strings.HasPrefix(t.Package, "../") {
		return filepath.Join(t.Dir, t.Package)
	}
	return t.Package
}

// moduleDir is the folder of the go.mod that applies in dir, or dir.
func moduleDir(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// group is built by one `go build`, which names each program by its package.
type group struct {
	kind string
	jobs map[string]*job
	list []*job // in the order they came
}

// majorVersion as the last element of an import path does not name a program:
// `go build` takes the one before.
var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// together groups jobs of one module, platform and set of flags, no two of a name.
func together(jobs []*job) []*group {
	var groups []*group
next:
	for _, j := range jobs {
		module, argument := moduleDir(j.Dir), j.argument()
		name := path.Base(filepath.ToSlash(argument))
		kind := strings.Join(append([]string{module, j.GOOS, j.GOARCH}, j.flags()...), "\n")
		if argument == module || majorVersion.MatchString(name) {
			// Its name is in go.mod, or further up in its path: alone, it needs none.
			kind = argument
		}
		for _, g := range groups {
			if g.kind == kind && g.jobs[name] == nil {
				g.jobs[name] = j
				g.list = append(g.list, j)
				continue next
			}
		}
		groups = append(groups, &group{kind: kind, jobs: map[string]*job{name: j}, list: []*job{j}})
	}
	return groups
}

func (g *group) build(ctx context.Context) error {
	from, err := g.plans(ctx)
	if err != nil {
		return err
	}
	if err := g.compile(ctx); err != nil {
		return err
	}
	for i, j := range g.list {
		if j.binary, err = Stat(j.Output); err != nil {
			return j.failed(err)
		}
		if err := j.remember(from[i]); err != nil {
			return j.failed(err)
		}
	}
	return nil
}

func (g *group) compile(ctx context.Context) error {
	if len(g.list) == 1 {
		return g.list[0].compile(ctx)
	}
	first := g.list[0]
	// Beside an output, so that a rename does not cross file systems.
	built, err := os.MkdirTemp(filepath.Dir(first.Output), "build-")
	if err != nil {
		return first.failed(err)
	}
	defer func() { _ = os.RemoveAll(built) }()
	args := append(append([]string{"build"}, first.flags()...), "-o", built+string(filepath.Separator))
	for _, j := range g.list {
		args = append(args, j.argument())
	}
	if _, err := first.run(ctx, args...); err != nil {
		// One that does not compile fails them all: ask each by itself.
		var errs []error
		for _, j := range g.list {
			errs = append(errs, j.compile(ctx))
		}
		return errors.Join(errs...)
	}
	for name, j := range g.jobs {
		if j.GOOS == "windows" {
			name += ".exe"
		}
		if err := os.Rename(filepath.Join(built, name), j.Output); err != nil {
			return j.failed(err)
		}
	}
	return nil
}

// compile builds one target where its output is, which spares the link when the
// output is there and what it is made of has not changed.
func (j *job) compile(ctx context.Context) error {
	_, err := j.run(ctx, j.Args()...)
	return err
}

// run calls `go` in the target's folder with its environment.
func (t Target) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = t.Dir, t.Env(os.Environ())
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, t.failed(fmt.Errorf("%w\n%s", err, bytes.TrimSpace(said.Bytes())))
	}
	return out.Bytes(), nil
}
