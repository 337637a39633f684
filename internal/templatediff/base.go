package templatediff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Base is the commit a working tree is compared with.
type Base struct {
	Root   string // the checkout
	Commit string // full hash
	Why    string // how it was found, for the reader
}

// FindBase resolves a git ref of the checkout. An empty one is the merge base
// with origin/main, where there is such a branch, and else HEAD.
func FindBase(ctx context.Context, root, ref string) (Base, error) {
	b := Base{Root: root, Why: ref}
	if ref == "" {
		commit, err := git(ctx, root, "merge-base", "HEAD", "origin/main")
		if err == nil {
			b.Commit, b.Why = commit, "the merge base with origin/main"
			return b, nil
		}
		ref, b.Why = "HEAD", "HEAD"
	}
	commit, err := git(ctx, root, "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		return b, fmt.Errorf("%q is no commit of %s", ref, root)
	}
	b.Commit = commit
	return b, nil
}

// Short is the abbreviated commit.
func (b Base) Short() string { return b.Commit[:min(10, len(b.Commit))] }

// Synthesize writes the cloud assembly of a checkout into out.
type Synthesize func(ctx context.Context, checkout, out string) error

// Templates returns the folder with the base's templates of an environment.
// They are synthesized once per commit, in a worktree of their own that is gone
// afterwards, also when ctx ends; install gives that worktree its node_modules
// when the base locks other packages than the checkout does.
func (b Base) Templates(ctx context.Context, env string, install func(ctx context.Context, checkout string) error, synth Synthesize) (string, error) {
	work := filepath.Join(b.Root, ".build", "diff")
	cached := filepath.Join(work, b.Commit+"-"+env)
	if _, err := os.Stat(cached); err == nil {
		return cached, nil
	}
	unlock, err := lock(work)
	if err != nil {
		return "", err
	}
	defer unlock()
	checkout := filepath.Join(work, "worktree")
	// What a killed run left, which the lock shows to be nobody's.
	b.discard(checkout)
	defer b.discard(checkout)
	if _, err := git(ctx, b.Root, "worktree", "add", "--detach", "--force", checkout, b.Commit); err != nil {
		return "", fmt.Errorf("check out the base %s: %w", b.Short(), err)
	}
	if same(filepath.Join(b.Root, "package-lock.json"), filepath.Join(checkout, "package-lock.json")) {
		err = os.Symlink(filepath.Join(b.Root, "node_modules"), filepath.Join(checkout, "node_modules"))
	} else {
		err = install(ctx, checkout)
	}
	if err != nil {
		return "", fmt.Errorf("install the packages of the base %s: %w", b.Short(), err)
	}
	out := filepath.Join(checkout, ".build", "assembly")
	if err := synth(ctx, checkout, out); err != nil {
		return "", fmt.Errorf("synthesize the base %s: %w", b.Short(), err)
	}
	return cached, keep(out, cached)
}

// discard removes the worktree. It has to succeed after ctx ended, so it takes
// none.
func (b Base) discard(checkout string) {
	ctx := context.Background()
	// Git would refuse a folder it does not know; either way nothing is left.
	_, _ = git(ctx, b.Root, "worktree", "remove", "--force", "--force", checkout)
	_ = os.RemoveAll(checkout)
	_, _ = git(ctx, b.Root, "worktree", "prune")
}

// keep copies the manifest and the templates, without the assets, and shows
// them at to only when all are there.
func keep(from, to string) error {
	part, err := os.MkdirTemp(filepath.Dir(to), "part-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(part) }()
	for _, pattern := range []string{"manifest.json", "*.template.json"} {
		paths, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			return err
		}
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(part, filepath.Base(p)), data, 0o644); err != nil {
				return err
			}
		}
	}
	if err := os.Rename(part, to); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// lock is held by one run at a time; the kernel lets go of it when the process
// ends.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another comparison of this checkout is running")
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}

func same(a, b string) bool {
	x, errA := os.ReadFile(a)
	y, errB := os.ReadFile(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w %s", args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}
