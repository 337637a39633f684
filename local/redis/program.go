package redis

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/loadbearing/loadbearing/local/python"
)

// Kind says which server runs.
type Kind string

// The servers there are.
const (
	Redis     Kind = "redis"
	Valkey    Kind = "valkey"
	Miniredis Kind = "miniredis" // in this process
)

// Program is an installed server.
type Program struct {
	Kind    Kind
	Path    string // empty for miniredis, as are Version and TLS
	Version string
	TLS     bool   // it was built with TLS
	Note    string // why it is miniredis, else empty
}

// Install returns the program that Find finds, else a Redis from below
// cacheDir, where it is fetched from the Python package index the first time,
// else miniredis. It needs Python 3.10 or newer with venv on PATH to fetch.
// progress is told what takes time and what fails; it may be nil. The error is
// that of ctx.
func Install(ctx context.Context, cacheDir string, progress func(string)) (Program, error) {
	if progress == nil {
		progress = func(string) {}
	}
	p, missing := Find(ctx)
	if missing == nil {
		return p, nil
	}
	p, err := fetch(ctx, cacheDir, progress)
	switch {
	case ctx.Err() != nil:
		return Program{}, context.Cause(ctx)
	case errors.Is(err, errNoPackage):
		return Program{Kind: Miniredis, Note: fmt.Sprintf("%v, and %v", missing, err)}, nil
	case err != nil:
		progress(err.Error())
		return Program{Kind: Miniredis, Note: missing.Error() + ", and none could be fetched"}, nil
	}
	return p, nil
}

// Find returns the valkey-server on PATH, else the redis-server; the error
// says why there is none that will do.
func Find(ctx context.Context) (Program, error) {
	var why []string
	for _, kind := range []Kind{Valkey, Redis} {
		path, err := exec.LookPath(string(kind) + "-server")
		if err != nil {
			continue
		}
		p, err := inspect(ctx, kind, path)
		if err == nil {
			return p, nil
		}
		why = append(why, err.Error())
	}
	if why == nil {
		return Program{}, errors.New("no valkey-server or redis-server on PATH")
	}
	return Program{}, errors.New(strings.Join(why, "; "))
}

//go:embed requirements.txt
var requirements []byte

var errNoPackage = fmt.Errorf("no package of Redis for %s/%s", runtime.GOOS, runtime.GOARCH)

// fetch returns the Redis that the package of requirements.txt holds. A wheel
// exists for each of CPython 3.8 to 3.12, the programs in all being the same:
// one is taken, whichever Python is here.
func fetch(ctx context.Context, cacheDir string, progress func(string)) (Program, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return Program{}, errNoPackage
	}
	dir, err := python.Unpack(ctx, filepath.Join(cacheDir, "python"), "redis", requirements,
		python.Wheels{Python: "3.11", Platform: "manylinux2014_x86_64"}, progress)
	if err != nil {
		return Program{}, err
	}
	// On a Linux without glibc it does not start.
	return inspect(ctx, Redis, filepath.Join(dir, "bin", "redis-server"))
}

// minRedisMajor is the first version of Redis that speaks RESP3, which clients
// ask for. Every Valkey does.
const minRedisMajor = 6

var versionPattern = regexp.MustCompile(`v=((\d+)[\d.]*)`)

func inspect(ctx context.Context, kind Kind, path string) (Program, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return Program{}, fmt.Errorf("run %s --version: %w", path, err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return Program{}, fmt.Errorf("%s --version says %q", path, out)
	}
	if major, err := strconv.Atoi(string(match[2])); err != nil || kind == Redis && major < minRedisMajor {
		return Program{}, fmt.Errorf("%s is version %s; RESP3 needs %d", path, match[1], minRedisMajor)
	}
	tls, err := builtWithTLS(ctx, path)
	return Program{Kind: kind, Path: path, Version: string(match[1]), TLS: tls}, err
}

// builtWithTLS gives the program a configuration that ends with a directive
// that no version has. It stops at the first it does not know and quotes it.
func builtWithTLS(ctx context.Context, path string) (bool, error) {
	const unknown = "no-such-directive yes"
	cmd := exec.CommandContext(ctx, path, "-")
	cmd.Stdin = strings.NewReader("tls-port 0\n" + unknown + "\n")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
		return false, fmt.Errorf("ask %s whether it was built with TLS: it takes the directive %q: %w", path, unknown, err)
	case bytes.Contains(out, []byte(unknown)):
		return true, nil
	case bytes.Contains(out, []byte("tls-port")):
		return false, nil
	}
	return false, fmt.Errorf("ask %s whether it was built with TLS: %w: %s", path, err, bytes.TrimSpace(out))
}
