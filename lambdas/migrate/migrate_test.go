package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestMigrateAnswersWhatItDid(t *testing.T) {
	t.Parallel()
	owner := dbtest.Empty(t)
	role := postgres.Role{Username: "migrate_test", Password: "correct horse battery staple"}
	handler := migrate(slog.New(slog.DiscardHandler), as(owner, role))

	first, err := handler(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, first.Applied)
	require.Positive(t, first.Version)

	again, err := handler(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.Version, again.Version)
	out, err := json.Marshal(again)
	require.NoError(t, err)
	require.Contains(t, string(out), `"applied":[]`)
}

func TestMigrateSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	owner := dbtest.Empty(t)
	owner.Password = "wrong"
	_, err := migrate(slog.New(slog.DiscardHandler), as(owner, postgres.Role{Username: "migrate_test", Password: "x"}))(t.Context())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "wrong", "the password reached the error")
}

func as(owner postgres.Config, role postgres.Role) connection {
	return func(context.Context) (postgres.Config, postgres.Role, error) { return owner, role, nil }
}
