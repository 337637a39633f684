package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/loadbearing/loadbearing/internal/migration"
)

//go:embed migrations/*.sql
var migrations embed.FS

// groupRole holds the grants on the tables; login roles are members of it.
const groupRole = "loadbearing_app"

// Role is a login role and its password.
type Role struct {
	Username string
	Password string
}

// Migration is one applied migration.
type Migration struct {
	Version  int64
	Name     string
	Duration time.Duration
}

// Schema is what a database's schema is after Migrate.
type Schema struct {
	Version int64
	Applied []Migration // by this run, in order
	Pending []string    // files of those that are still missing, of both phases
}

// Migrations returns the migrations of this version of the service.
func Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the name is a valid path
	}
	return files
}

// Plan says which migrations to apply.
type Plan struct {
	Files fs.FS // default Migrations()
	Phase migration.Phase
	Check bool // apply nothing, and say what is missing
}

// lockTimeout is how long a statement of a migration waits for a lock. All that
// come after it wait behind it, so it gives up rather than hold them up for
// longer, and the migration can be run again.
const lockTimeout = 5 * time.Second

// Migrate brings the schema up to date as its owner and makes sure that role
// can log in and read and write the tables, and nothing more. It may run at
// the same time from several places: an advisory lock lets one go first. After
// an error, Applied still has what was applied before it. The owner's statement
// timeout does not count: an index over a large table takes what it takes.
//
// The migrations of one phase are applied in the order of their versions, also
// when one of the other phase with a lower version is missing: an expanding
// migration never relies on a contracting one.
func Migrate(ctx context.Context, owner Config, role Role, plan Plan) (Schema, error) {
	var schema Schema
	if role.Username == owner.Username {
		return schema, fmt.Errorf("migrate: the application's role %q must not be the owner's: row-level security does not bind owners", role.Username)
	}
	owner.StatementTimeout = -1
	owner.ApplicationName = "loadbearing-migrate"
	cc, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return schema, fmt.Errorf("migrate: %w", err)
	}
	if err := owner.connConfig(cc); err != nil {
		return schema, fmt.Errorf("migrate: %w", err)
	}
	db := stdlib.OpenDB(*cc)
	defer func() { _ = db.Close() }()

	cc.RuntimeParams["lock_timeout"] = milliseconds(lockTimeout)

	if plan.Files == nil {
		plan.Files = Migrations()
	}
	if err := plan.Phase.Validate(); err != nil {
		return schema, fmt.Errorf("migrate: %w", err)
	}
	// Asks once a second for up to five minutes.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return schema, fmt.Errorf("migrate: %w", err)
	}
	open := func(files fs.FS) (*goose.Provider, error) {
		return goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker),
			goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true))
	}
	provider, err := open(plan.Files)
	if err != nil {
		return schema, fmt.Errorf("migrate: %w", err)
	}
	if !plan.Check {
		if schema.Applied, err = apply(ctx, open, plan); err != nil {
			return schema, fmt.Errorf("migrate %s at %s: %w", owner.Database, owner.Address, err)
		}
	}
	states, err := provider.Status(ctx)
	if err != nil {
		return schema, fmt.Errorf("migrate: read which migrations are missing: %w", err)
	}
	for _, s := range states {
		if s.State == goose.StatePending {
			schema.Pending = append(schema.Pending, s.Source.Path)
		}
	}
	if schema.Version, err = provider.GetDBVersion(ctx); err != nil {
		return schema, fmt.Errorf("migrate: read the schema's version: %w", err)
	}
	if plan.Check {
		return schema, nil
	}
	if err := ensureRole(ctx, db, role); err != nil {
		return schema, fmt.Errorf("migrate: make role %q: %w", role.Username, err)
	}
	return schema, nil
}

// apply applies what is missing of the plan's phase, and returns what it did.
func apply(ctx context.Context, open func(fs.FS) (*goose.Provider, error), plan Plan) (applied []Migration, err error) {
	provider, err := open(plan.Phase.Of(plan.Files))
	if errors.Is(err, goose.ErrNoMigrations) {
		return nil, nil // none of this phase
	}
	if err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results = partial.Applied
	}
	for _, r := range results {
		applied = append(applied, Migration{r.Source.Version, r.Source.Path, r.Duration})
	}
	return applied, err
}

// ensureRole creates or updates the login role. Roles belong to the whole
// cluster and no lock spans its databases, so two migrations of different
// databases may collide on the same row of the catalog; that is tried again.
func ensureRole(ctx context.Context, db *sql.DB, role Role) error {
	verifier, err := scramVerifier(role.Password)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := setRole(ctx, db, role.Username, verifier)
		pg, ok := errors.AsType[*pgconn.PgError](err)
		// XX000: "tuple concurrently updated"; 23505 and 42710: made meanwhile.
		if !ok || attempt == 5 || (pg.Code != "XX000" && pg.Code != "23505" && pg.Code != "42710") {
			return err
		}
	}
}

func setRole(ctx context.Context, db *sql.DB, name, verifier string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock($1)", lock.DefaultLockID); err != nil {
		return err
	}
	var super, bypass bool
	err = tx.QueryRowContext(ctx, "select rolsuper, rolbypassrls from pg_roles where rolname = $1", name).Scan(&super, &bypass)
	verb := "alter"
	switch {
	case errors.Is(err, sql.ErrNoRows):
		verb = "create"
	case err != nil:
		return err
	case super || bypass:
		return errors.New("it is a superuser or bypasses row-level security; name another role in the app secret")
	}
	quoted := pgx.Identifier{name}.Sanitize()
	for _, statement := range []string{
		fmt.Sprintf("%s role %s login password '%s'", verb, quoted, verifier),
		fmt.Sprintf("grant %s to %s", groupRole, quoted),
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// scramVerifier returns what PostgreSQL stores for a password under
// SCRAM-SHA-256 (RFC 5803). Made here, the password itself never stands in a
// statement, which log_statement = ddl would write to the server's log.
func scramVerifier(password string) (string, error) {
	if strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("its password must be printable ASCII: other characters would need SASLprep (RFC 4013)")
	}
	const iterations = 4096 // PostgreSQL's own default
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
