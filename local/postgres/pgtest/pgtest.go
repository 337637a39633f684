// Package pgtest gives tests databases of their own on one real PostgreSQL
// per test program.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	var migrated = pgtest.NewTemplate(func(ctx context.Context, dsn string) error { … })
//
//	func TestOrders(t *testing.T) {
//		t.Parallel()
//		db := migrated.New(t)
//		pool, err := pgxpool.New(t.Context(), db.DSN)
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/postgres"
	"github.com/loadbearing/loadbearing/local/process"
)

// Owner is the role that owns every test database: like the master user of
// RDS it may create roles and is no superuser, so row-level security holds for it
// where FORCE ROW LEVEL SECURITY is set.
const Owner = "owner"

// Database is an empty database, or a copy of a template's, dropped with its test.
type Database struct {
	Name         string
	DSN          string // of Owner
	SuperuserDSN string
	Server       *postgres.Server
	Password     string // of Owner
}

// DSNFor is the connection URL of another role that the test has created.
func (d *Database) DSNFor(user, password string) string { return d.Server.DSN(user, password, d.Name) }

// Main runs a test program's tests and stops the servers they used.
func Main(m *testing.M) int {
	code := m.Run()
	shared.stop()
	return code
}

// New returns an empty database.
func New(t testing.TB) *Database {
	t.Helper()
	return shared.database(t, "template1")
}

// Server returns the test program's primary.
func Server(t testing.TB) *postgres.Server {
	t.Helper()
	return shared.primary(t)
}

// Replica returns a streaming replica of Server, one for all tests. A
// database is there as soon as its creation has been replayed.
func Replica(t testing.TB) *postgres.Server {
	t.Helper()
	primary := shared.primary(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.replica == nil {
		r, err := primary.StartReplica(context.Background(), postgres.ReplicaOptions{Name: "pgtest-replica"})
		if err != nil {
			t.Fatal(err)
		}
		shared.replica = r
	}
	return shared.replica
}

// Template is a database that is prepared once and copied for each test.
type Template struct {
	prepare func(ctx context.Context, dsn string) error
	once    sync.Once
	name    string
	err     error
}

// NewTemplate returns a template that prepare fills, as Owner, when the first
// test needs it. Prepare must close the connections it opens.
func NewTemplate(prepare func(ctx context.Context, dsn string) error) *Template {
	return &Template{prepare: prepare}
}

// New returns a copy of the template.
func (p *Template) New(t testing.TB) *Database {
	t.Helper()
	s := shared.primary(t)
	p.once.Do(func() {
		p.name = shared.nextName("template")
		ctx := context.Background()
		if p.err = shared.create(ctx, p.name, "template1"); p.err == nil {
			p.err = p.prepare(ctx, s.DSN(Owner, shared.password, p.name))
		}
	})
	if p.err != nil {
		t.Fatalf("prepare the template database: %v", p.err)
	}
	return shared.database(t, p.name)
}

// shared is the one server of a test program. It is package state because
// the testing package offers nothing else that outlives a test.
var shared fixture

type fixture struct {
	mu       sync.Mutex
	server   *postgres.Server
	replica  *postgres.Server
	err      error
	admin    *pgx.Conn
	adminMu  sync.Mutex
	password string
	dir      string
	lock     *os.File
	count    atomic.Int64
}

func (f *fixture) primary(t testing.TB) *postgres.Server {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server == nil && f.err == nil {
		f.err = f.start(context.Background())
	}
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f.server
}

func (f *fixture) start(ctx context.Context) error {
	cache, err := CacheDir()
	if err != nil {
		return err
	}
	base := filepath.Join(os.TempDir(), fmt.Sprintf("loadbearing-pgtest-%d", os.Getuid()))
	if err := os.MkdirAll(base, 0o711); err != nil {
		return err
	}
	sweep(base)
	if f.dir, err = os.MkdirTemp(base, "run-"); err != nil {
		return err
	}
	if err := os.Chmod(f.dir, 0o711); err != nil {
		return err
	}
	if f.lock, err = os.Create(filepath.Join(f.dir, "lock")); err != nil {
		return err
	}
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	ca, err := certificates.Open(filepath.Join(f.dir, "certificates"))
	if err != nil {
		return err
	}
	binaries, err := postgres.Install(ctx, cache)
	if err != nil {
		return err
	}
	// Durability is given up for speed: the data ends with the tests.
	f.server, err = postgres.Start(ctx, postgres.Options{
		Runner: &process.Runner{Dir: f.dir}, Binaries: binaries, CacheDir: cache, CA: ca, Name: "pgtest",
		Settings: map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300",
		},
	})
	if err != nil {
		return err
	}
	if f.admin, err = pgx.Connect(ctx, f.server.SuperuserDSN("postgres")); err != nil {
		return err
	}
	f.password = rand.Text()
	_, err = f.admin.Exec(ctx, "CREATE ROLE "+Owner+" LOGIN CREATEROLE CREATEDB PASSWORD "+postgres.Literal(f.password))
	return err
}

func (f *fixture) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx := context.Background()
	if f.admin != nil {
		_ = f.admin.Close(ctx)
	}
	// Nothing of the data is needed again, so there is no shutdown to wait for.
	for _, s := range []*postgres.Server{f.replica, f.server} {
		if s != nil {
			s.Kill()
		}
	}
	if f.dir != "" {
		_ = os.RemoveAll(f.dir)
	}
}

func (f *fixture) nextName(kind string) string {
	return fmt.Sprintf("%s_%d", kind, f.count.Add(1))
}

func (f *fixture) create(ctx context.Context, name, from string) error {
	return f.exec(ctx, fmt.Sprintf("CREATE DATABASE %s OWNER %s TEMPLATE %s", name, Owner, from))
}

func (f *fixture) exec(ctx context.Context, statement string) error {
	f.adminMu.Lock()
	defer f.adminMu.Unlock()
	if _, err := f.admin.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func (f *fixture) database(t testing.TB, from string) *Database {
	t.Helper()
	s := f.primary(t)
	name := f.nextName("test")
	if err := f.create(t.Context(), name, from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return &Database{
		Name: name, DSN: s.DSN(Owner, f.password, name), SuperuserDSN: s.SuperuserDSN(name),
		Server: s, Password: f.password,
	}
}

// sweep ends and removes what test programs that were killed have left: the
// lock of a run is free when nobody runs it.
func sweep(base string) {
	runs, err := filepath.Glob(filepath.Join(base, "run-*"))
	if err != nil {
		return
	}
	for _, dir := range runs {
		lock, err := os.Open(filepath.Join(dir, "lock"))
		if err != nil {
			continue // not locked yet, or being removed
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if _, err := (&process.Runner{Dir: dir}).StopLeftovers(context.Background(), time.Second); err == nil {
				_ = os.RemoveAll(dir)
			}
		}
		lock.Close()
	}
}

// CacheDir is the ignored folder of the module that the tests belong to, which
// keeps programs and templates between runs: <module>/.cache.
func CacheDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for !strings.HasSuffix(dir, string(filepath.Separator)) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache"), nil
		}
		dir = filepath.Dir(dir)
	}
	return "", errors.New("the tests do not run inside a Go module: no go.mod above the working directory")
}
