package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app/postgres"
)

// result is the function's answer.
type result struct {
	Version int64    `json:"version"` // of the schema, after
	Applied []string `json:"applied"` // files of the migrations this run applied, in order; never null
}

// migrate returns a handler that applies what migrations are missing and makes
// sure that role may use the tables.
func migrate(log *slog.Logger, owner postgres.Config, role postgres.Role) func(context.Context) (result, error) {
	return func(ctx context.Context) (result, error) {
		applied, err := postgres.Migrate(ctx, owner, role)
		r := result{Applied: []string{}}
		for _, m := range applied {
			log.InfoContext(ctx, "migration applied", "version", m.Version, "name", m.Name, "took", m.Duration)
			r.Applied = append(r.Applied, m.Name)
		}
		if err != nil {
			log.ErrorContext(ctx, "migration failed", "error", err)
			return result{}, err
		}
		r.Version, err = version(ctx, owner)
		return r, err
	}
}

// version returns the schema's version as goose records it.
func version(ctx context.Context, owner postgres.Config) (int64, error) {
	config, err := pgx.ParseConfig("sslmode=disable") // everything it could take from the environment is overwritten
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	host, port, err := net.SplitHostPort(owner.Address)
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	config.Host, config.Port, config.Database = host, uint16(number), owner.Database
	config.User, config.Password, config.Fallbacks = owner.Username, owner.Password, nil
	if owner.TLS != nil {
		config.TLSConfig = owner.TLS.Clone()
		config.TLSConfig.ServerName = cmp.Or(config.TLSConfig.ServerName, host)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var v int64
	if err := conn.QueryRow(ctx, "select max(version_id) from goose_db_version where is_applied").Scan(&v); err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return v, nil
}
