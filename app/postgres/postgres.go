// Package postgres stores the service's data in PostgreSQL: it implements the
// stores of package app, the outbox of the relay, and the migrations.
//
// Every statement runs in a transaction that has named its tenant in
// app.tenant_id. The WHERE clauses filter by tenant, and so do the row-level
// security policies under them, for a clause that is forgotten. The setting
// and the statement travel in one pipelined batch, which PostgreSQL runs as
// one transaction, so the second wall costs no round trip.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/loadbearing/loadbearing/app"
)

// Config says which database to use and how.
type Config struct {
	Address  string // host:port
	Database string
	Username string
	Password string

	// TLS encrypts the connection; its ServerName is set to the host of
	// Address when empty. Nil connects in the clear.
	TLS *tls.Config

	ApplicationName  string        // shown in pg_stat_activity; default "loadbearing"
	Connections      int           // most in the pool; default 16
	ConnectTimeout   time.Duration // default 3 s
	StatementTimeout time.Duration // the server cancels a longer statement; default 5 s, negative for none
	// IdleTransactionTimeout ends a session that holds a transaction open and
	// does nothing, with its locks; default 10 s.
	IdleTransactionTimeout time.Duration
}

func (c Config) connConfig(into *pgx.ConnConfig) error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return fmt.Errorf("database address %q: want host:port: %w", c.Address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("database address %q: want host:port: %w", c.Address, err)
	}
	into.Host, into.Port = host, uint16(n)
	into.Database, into.User, into.Password = c.Database, c.Username, c.Password
	into.Fallbacks = nil
	into.ConnectTimeout = orDefault(c.ConnectTimeout, 3*time.Second)
	into.TLSConfig = nil
	if c.TLS != nil {
		into.TLSConfig = c.TLS.Clone()
		if into.TLSConfig.ServerName == "" {
			into.TLSConfig.ServerName = host
		}
	}
	name := c.ApplicationName
	if name == "" {
		name = "loadbearing"
	}
	into.RuntimeParams = map[string]string{
		"application_name": name,
		"timezone":         "UTC",
		"idle_in_transaction_session_timeout": milliseconds(
			orDefault(c.IdleTransactionTimeout, 10*time.Second)),
	}
	if t := orDefault(c.StatementTimeout, 5*time.Second); t > 0 {
		into.RuntimeParams["statement_timeout"] = milliseconds(t)
	}
	return nil
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// DB is a pool of connections under the application's role.
type DB struct {
	pool    *pgxpool.Pool
	timeout time.Duration // of one batch or transaction, waiting for a connection included
}

// Open makes a pool. It connects lazily: use Ping to see whether the database
// answers.
func Open(ctx context.Context, c Config) (*DB, error) {
	// An empty connection string makes pgx read PG* variables; everything they
	// could set is overwritten.
	pc, err := pgxpool.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := c.connConfig(pc.ConnConfig); err != nil {
		return nil, err
	}
	pc.MaxConns = 16
	if c.Connections > 0 {
		pc.MaxConns = int32(c.Connections)
	}
	pc.MinIdleConns = min(2, pc.MaxConns)
	pc.MaxConnLifetime = 30 * time.Minute // follows a failover or a changed DNS record
	pc.MaxConnLifetimeJitter = 5 * time.Minute
	pc.MaxConnIdleTime = 5 * time.Minute
	pc.HealthCheckPeriod = 15 * time.Second
	pc.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{ // times are UTC wherever the process runs
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open database %s at %s: %w", c.Database, c.Address, err)
	}
	return &DB{pool: pool, timeout: orDefault(c.ConnectTimeout, 3*time.Second) + max(0, orDefault(c.StatementTimeout, 5*time.Second))}, nil
}

// Close waits until every connection is back and closes the pool.
func (db *DB) Close() { db.pool.Close() }

// Ping returns nil when the database answers a query.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.pool.Ping(ctx); err != nil {
		return mapError(err, "ping the database")
	}
	return nil
}

// Pool describes the state of a pool.
type Pool struct {
	Connections int // open
	Busy        int // in use
	Most        int
}

// Pool returns the pool's state, for metrics.
func (db *DB) Pool() Pool {
	s := db.pool.Stat()
	return Pool{int(s.TotalConns()), int(s.AcquiredConns()), int(s.MaxConns())}
}

const setTenant = "select set_config('app.tenant_id', $1, true)"

// batch runs the statements that fill queues in one round trip and one
// transaction as tenant.
func (db *DB) batch(ctx context.Context, what string, tenant uuid.UUID, fill func(*pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	var b pgx.Batch
	b.Queue(setTenant, tenant.String())
	fill(&b)
	return mapError(db.pool.SendBatch(ctx, &b).Close(), what)
}

// tx runs fn in a transaction as tenant, for work that decides between
// statements.
func (db *DB) tx(ctx context.Context, what string, tenant uuid.UUID, fn func(pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setTenant, tenant.String()); err != nil {
			return err
		}
		return fn(tx)
	})
	return mapError(err, what)
}

// tenantOf runs the query of one of the two functions that know a tenant before anybody
// is logged in; found is false when nothing belongs to arg.
func (db *DB) tenantOf(ctx context.Context, what, query string, arg any) (tenant uuid.UUID, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	var id *uuid.UUID
	if err := db.pool.QueryRow(ctx, query, arg).Scan(&id); err != nil {
		return uuid.Nil, false, mapError(err, what)
	}
	if id == nil {
		return uuid.Nil, false, nil
	}
	return *id, true, nil
}

// affected makes a batched statement fail with CodeNotFound when it touches no row.
func affected(what string) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() == 0 {
			return app.Errorf(app.CodeNotFound, "%s does not exist", what)
		}
		return nil
	}
}

// mapError turns what pgx and PostgreSQL say into errors of package app.
func mapError(err error, what string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*app.Error](err); ok {
		return err
	}
	wrap := func(code app.Code, message string) error {
		return &app.Error{Code: code, Message: message, Err: fmt.Errorf("%s: %w", what, err)}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return wrap(app.CodeNotFound, "it does not exist")
	}
	// The caller's own cancellation or deadline says nothing about the database.
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// https://www.postgresql.org/docs/current/errcodes-appendix.html
		switch {
		case pg.Code == "23505": // unique_violation
			return wrap(app.CodeConflict, "it exists already")
		case pg.Code == "23503": // foreign_key_violation: what it belongs to is gone
			return wrap(app.CodeNotFound, "what it belongs to does not exist")
		case pg.Code == "23514", // check_violation
			pg.Code == "22021": // character_not_in_repertoire, such as U+0000
			return wrap(app.CodeInvalid, "a value is not accepted")
		case pg.Code == "57014": // query_canceled, by statement_timeout
			return wrap(app.CodeUnavailable, "the database took too long; try again")
		case pg.Code[:2] == "08", // connection exception
			pg.Code[:2] == "53", // insufficient resources
			pg.Code[:2] == "57", // operator intervention: shutting down, starting up
			pg.Code == "40001",  // serialization_failure
			pg.Code == "40P01",  // deadlock_detected
			pg.Code == "25006",  // read_only_sql_transaction: this is no primary any more
			pg.Code == "25P03",  // idle_in_transaction_session_timeout
			pg.Code == "55P03":  // lock_not_available
			return wrap(app.CodeUnavailable, "the database does not answer; try again")
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) || isConnection(err) {
		return wrap(app.CodeUnavailable, "the database does not answer; try again")
	}
	return fmt.Errorf("%s: %w", what, err)
}

func isConnection(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return pgconn.SafeToRetry(err) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
