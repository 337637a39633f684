// Package dbtest gives tests a migrated database of their own on a real
// PostgreSQL server.
package dbtest

import (
	"context"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/local/postgres/pgtest"
)

// Database is one test's database.
type Database struct {
	*postgres.DB
	Config postgres.Config // of the application's role
	Owner  postgres.Config

	superuser string // connection URL
}

// role is what the application logs in as in every test database.
var role = postgres.Role{Username: "app", Password: "correct horse battery staple"}

var migrated = pgtest.NewTemplate(func(ctx context.Context, dsn string) error {
	owner, err := config(dsn)
	if err != nil {
		return err
	}
	_, err = postgres.Migrate(ctx, owner, role, postgres.Plan{})
	return err
})

// Main runs a test program's tests and stops the server they used; call it
// from TestMain.
func Main(m *testing.M) { os.Exit(pgtest.Main(m)) }

// New returns a fresh, migrated database that ends with the test.
func New(t testing.TB) Database {
	t.Helper()
	made := migrated.New(t)
	owner, err := config(made.DSN)
	require.NoError(t, err)
	own := owner
	own.Username, own.Password = role.Username, role.Password
	own.Connections = 8
	db, err := postgres.Open(t.Context(), own)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return Database{DB: db, Config: own, Owner: owner, superuser: made.SuperuserDSN}
}

// Empty returns a database without a schema, as its owner reaches it.
func Empty(t testing.TB) postgres.Config {
	t.Helper()
	owner, err := config(pgtest.New(t).DSN)
	require.NoError(t, err)
	return owner
}

func config(dsn string) (postgres.Config, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return postgres.Config{}, err
	}
	return postgres.Config{
		Address:  net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))),
		Database: c.Database, Username: c.User, Password: c.Password, TLS: c.TLSConfig,
	}, nil
}

// Disconnect ends every connection of the application, as a failover does.
func (d Database) Disconnect(t testing.TB) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.superuser)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and usename = $2", d.Config.Database, d.Config.Username)
	require.NoError(t, err)
}

// Owner is a tenant with its owner and one project.
type Owner struct {
	Tenant  app.Tenant
	User    app.User
	Project app.Project
}

// Register stores a tenant with its owner and one project.
func (d Database) Register(t testing.TB) Owner {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	var o Owner
	o.Tenant = app.Tenant{ID: NewID(t), Name: "Acme", CreatedAt: now}
	o.User = app.User{ID: NewID(t), TenantID: o.Tenant.ID, Email: uuid.NewString() + "@example.com", PasswordHash: "x", Role: app.RoleOwner, CreatedAt: now}
	require.NoError(t, d.Users().Register(t.Context(), o.Tenant, o.User))
	o.Project = app.Project{ID: NewID(t), TenantID: o.Tenant.ID, Name: "First", Version: 1, CreatedBy: o.User.ID, CreatedAt: now, UpdatedAt: now}
	require.NoError(t, d.Projects().Create(t.Context(), o.Project))
	return o
}

// NewID returns a UUIDv7.
func NewID(t testing.TB) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	require.NoError(t, err)
	return id
}
