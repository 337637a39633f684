package main

import (
	"context"
	"log/slog"

	"github.com/loadbearing/loadbearing/app/postgres"
)

// result is the function's answer.
type result struct {
	Version int64    `json:"version"` // of the schema, after
	Applied []string `json:"applied"` // files of the migrations this run applied, in order; never null
}

// connection returns as whom the schema is migrated and which role may use the
// tables. It is asked at each invocation: a secret may have been rotated since
// the function started.
type connection func(context.Context) (owner postgres.Config, role postgres.Role, err error)

// migrate returns a handler that applies what migrations are missing and makes
// sure that the role may use the tables.
func migrate(log *slog.Logger, connect connection) func(context.Context) (result, error) {
	return func(ctx context.Context) (result, error) {
		owner, role, err := connect(ctx)
		if err != nil {
			return result{}, err
		}
		schema, err := postgres.Migrate(ctx, owner, role)
		r := result{Version: schema.Version, Applied: []string{}}
		for _, m := range schema.Applied {
			log.InfoContext(ctx, "migration applied", "version", m.Version, "name", m.Name, "ms", m.Duration.Milliseconds())
			r.Applied = append(r.Applied, m.Name)
		}
		if err != nil {
			log.ErrorContext(ctx, "migration failed", "error", err)
			return result{}, err
		}
		return r, nil
	}
}
