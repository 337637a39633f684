package templatediff_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/templatediff"
)

// repository is a checkout with two commits and an uncommitted change.
func repository(t *testing.T) (root string, run func(args ...string) string) {
	t.Helper()
	root = t.TempDir()
	run = func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", root, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o600))
	}
	run("init", "--quiet", "--initial-branch=main")
	write("package-lock.json", "{}")
	write("app", "one")
	run("add", "-A")
	run("commit", "--quiet", "-m", "one")
	write("app", "two")
	run("commit", "--quiet", "-am", "two")
	write("app", "three")
	require.NoError(t, os.Mkdir(filepath.Join(root, "node_modules"), 0o755))
	return root, run
}

func TestFindBase(t *testing.T) {
	t.Parallel()
	root, run := repository(t)
	b, err := templatediff.FindBase(t.Context(), root, "")
	require.NoError(t, err)
	assert.Equal(t, "HEAD", b.Why)
	assert.Len(t, b.Commit, 40)

	run("update-ref", "refs/remotes/origin/main", "HEAD~1")
	b, err = templatediff.FindBase(t.Context(), root, "")
	require.NoError(t, err)
	assert.Equal(t, "the merge base with origin/main", b.Why)
	one, err := templatediff.FindBase(t.Context(), root, "HEAD~1")
	require.NoError(t, err)
	assert.Equal(t, one.Commit, b.Commit)

	for _, ref := range []string{"nowhere", "--all"} {
		_, err = templatediff.FindBase(t.Context(), root, ref)
		assert.ErrorContains(t, err, "is no commit of")
	}
}

func noInstall(context.Context, string) error { return errors.New("the packages are the same") }

func TestBaseTemplates(t *testing.T) {
	t.Parallel()
	root, run := repository(t)
	b, err := templatediff.FindBase(t.Context(), root, "")
	require.NoError(t, err)
	calls := 0
	synth := func(_ context.Context, checkout, out string) error {
		calls++
		app, err := os.ReadFile(filepath.Join(checkout, "app"))
		require.NoError(t, err)
		assert.Equal(t, "two", string(app), "the base, not the working tree")
		_, err = os.Stat(filepath.Join(checkout, "node_modules", "."))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(out, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(out, "s.template.json"), []byte("{}"), 0o600))
		return os.WriteFile(filepath.Join(out, "asset.zip"), nil, 0o600)
	}
	for range 2 {
		dir, err := b.Templates(t.Context(), "dev", noInstall, synth)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(root, ".build", "diff", b.Commit+"-dev"), dir)
		assert.FileExists(t, filepath.Join(dir, "s.template.json"))
		assert.NoFileExists(t, filepath.Join(dir, "asset.zip"))
	}
	assert.Equal(t, 1, calls, "the second time they are there")
	assertNoWorktree(t, root, run)
	assert.DirExists(t, filepath.Join(root, "node_modules"), "the worktree's was a link")
}

func TestBaseLeavesNothingAfterAFailure(t *testing.T) {
	t.Parallel()
	root, run := repository(t)
	b, err := templatediff.FindBase(t.Context(), root, "HEAD")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = b.Templates(ctx, "dev", noInstall, func(context.Context, string, string) error {
		cancel() // as Ctrl-C does
		return ctx.Err()
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "synthesize the base "+b.Short())
	assertNoWorktree(t, root, run)
	assert.NoDirExists(t, filepath.Join(root, ".build", "diff", b.Commit+"-dev"))

	// What a killed run left is in nobody's way.
	run("worktree", "add", "--quiet", "--detach", filepath.Join(root, ".build", "diff", "worktree"))
	_, err = b.Templates(t.Context(), "dev", noInstall, func(_ context.Context, _, out string) error {
		return os.MkdirAll(out, 0o755)
	})
	require.NoError(t, err)
	assertNoWorktree(t, root, run)
}

func TestBaseWithOtherPackages(t *testing.T) {
	t.Parallel()
	root, _ := repository(t)
	b, err := templatediff.FindBase(t.Context(), root, "HEAD")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "package-lock.json"), []byte(`{"packages": {}}`), 0o600))
	_, err = b.Templates(t.Context(), "dev", noInstall, nil)
	assert.ErrorContains(t, err, "install the packages of the base")
}

func assertNoWorktree(t *testing.T, root string, run func(args ...string) string) {
	t.Helper()
	assert.NoDirExists(t, filepath.Join(root, ".build", "diff", "worktree"))
	assert.NotContains(t, run("worktree", "list"), ".build")
}
