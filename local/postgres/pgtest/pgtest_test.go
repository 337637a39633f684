package pgtest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var notes = pgtest.NewTemplate(func(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE TABLE notes (text text); INSERT INTO notes VALUES ('first')")
	return err
})

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	for range 4 {
		t.Run("copy", func(t *testing.T) {
			t.Parallel()
			conn := connect(t, notes.New(t).DSN)
			_, err := conn.Exec(t.Context(), "INSERT INTO notes VALUES ('second')")
			require.NoError(t, err)
			var count int
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM notes").Scan(&count))
			require.Equal(t, 2, count)
		})
	}
}

func TestTheOwnerIsNoSuperuser(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := connect(t, db.DSN)
	var super, bypass bool
	require.NoError(t, conn.QueryRow(t.Context(),
		"SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user").Scan(&super, &bypass))
	require.False(t, super)
	require.False(t, bypass)
	_, err := conn.Exec(t.Context(), "CREATE ROLE visitor LOGIN PASSWORD 'visitor'")
	require.NoError(t, err)
	var user string
	require.NoError(t, connect(t, db.DSNFor("visitor", "visitor")).QueryRow(t.Context(), "SELECT current_user").Scan(&user))
	require.Equal(t, "visitor", user)
}

func TestReplicaFollows(t *testing.T) {
	t.Parallel()
	replica := pgtest.Replica(t)
	db := notes.New(t)
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), replica.DSN(pgtest.Owner, db.Password, db.Name))
		if err != nil {
			return false
		}
		defer conn.Close(context.Background())
		var text string
		return conn.QueryRow(t.Context(), "SELECT text FROM notes").Scan(&text) == nil && text == "first"
	}, 10*time.Second, 10*time.Millisecond)
}
