package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Names of the roles that RDS, too, keeps for itself, so that no deployed
// master user can clash with them.
const (
	Superuser       = "rdsadmin"
	replicationRole = "rdsrepladmin"
)

// secrets are a cluster's own passwords, kept in the run folder, mode 0600.
type secrets struct {
	Superuser   string `json:"superuser"`
	Replication string `json:"replication"`
}

func readSecrets(path string) (secrets, error) {
	var s secrets
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// template returns the folder of a freshly initialised cluster of this
// version and the password of its superuser, and makes it the first time.
func template(ctx context.Context, b Binaries, run credential, cacheDir string) (dir, password string, err error) {
	cache, err := run.reachable(cacheDir)
	if err != nil {
		return "", "", err
	}
	base := filepath.Join(cache, fmt.Sprintf("postgresql-template-%s-%s-%s-%d", b.Version, runtime.GOOS, runtime.GOARCH, run.uid))
	dir = filepath.Join(base, "data")
	passwordFile := filepath.Join(base, "password")
	unlock, err := lock(ctx, base+".lock")
	if err != nil {
		return "", "", err
	}
	defer unlock()
	if data, err := os.ReadFile(passwordFile); err == nil {
		return dir, string(data), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	if err := os.RemoveAll(base); err != nil {
		return "", "", err
	}
	work, err := os.MkdirTemp(cache, "initdb-")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := run.own(work); err != nil {
		return "", "", err
	}
	password = rand.Text()
	if err := run.write(filepath.Join(work, "password"), []byte(password)); err != nil {
		return "", "", err
	}
	if err := initialise(ctx, b, run, work); err != nil {
		return "", "", err
	}
	return dir, password, os.Rename(work, base)
}

// initialise runs initdb with the first locale that the system has. RDS uses
// en_US.UTF-8; C.UTF-8 has the same character classes and sorts by code point
// on every machine alike.
func initialise(ctx context.Context, b Binaries, run credential, work string) error {
	var failed error
	for _, locale := range []string{"C.UTF-8", "en_US.UTF-8", "C"} {
		data := filepath.Join(work, "data")
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, filepath.Join(b.Dir, "initdb"),
			"--pgdata="+data, "--username="+Superuser, "--pwfile="+filepath.Join(work, "password"),
			"--auth=scram-sha-256", "--encoding=UTF8", "--locale="+locale, "--lc-messages=C",
			"--data-checksums", "--no-sync", "--no-instructions")
		cmd.Env = environment()
		cmd.Dir = work
		cmd.SysProcAttr = run.sysProcAttr()
		out, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		failed = fmt.Errorf("initdb of PostgreSQL %s with locale %s: %w\n%s", b.Version, locale, err, out)
		if ctx.Err() != nil || !strings.Contains(string(out), "locale") {
			break
		}
	}
	return failed
}

// environment is all a server or initdb inherits: a time zone, so that
// timestamps without one mean UTC, as on RDS, and the language of messages.
func environment() []string {
	return []string{"TZ=UTC", "LC_MESSAGES=C", "PATH=/usr/bin:/bin"}
}

// takeOver gives a cluster made from the template passwords of its own, and
// the role that its replicas use.
func takeOver(ctx context.Context, conn *pgx.Conn, s secrets) error {
	for _, statement := range []string{
		"CREATE ROLE " + replicationRole + " LOGIN REPLICATION PASSWORD " + Literal(s.Replication),
		"ALTER ROLE " + Superuser + " PASSWORD " + Literal(s.Superuser),
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			verb, _, _ := strings.Cut(statement, " PASSWORD")
			return fmt.Errorf("%s: %w", verb, err)
		}
	}
	return nil
}

// Literal quotes a string for statements that take no parameters, such as
// CREATE ROLE. It holds under standard_conforming_strings, the default.
func Literal(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
