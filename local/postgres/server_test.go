package postgres_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/postgres"
	"github.com/loadbearing/loadbearing/local/postgres/pgtest"
	"github.com/loadbearing/loadbearing/local/process"
)

// options are those of a primary in a run folder of its own.
func options(t testing.TB) postgres.Options {
	t.Helper()
	cache, err := pgtest.CacheDir()
	require.NoError(t, err)
	var binaries postgres.Binaries
	// PostgreSQL's own package is tried with this set: it is 8 MB to fetch.
	if os.Getenv("LOADBEARING_TEST_PACKAGED_POSTGRES") != "" {
		binaries, err = postgres.Fetch(t.Context(), cache)
	} else {
		binaries, err = postgres.Install(t.Context(), cache)
	}
	require.NoError(t, err)
	dir := t.TempDir() // below a folder with mode 0700: root's servers stand elsewhere
	ca, err := certificates.Open(filepath.Join(dir, "certificates"))
	require.NoError(t, err)
	return postgres.Options{
		Runner: &process.Runner{Dir: dir}, Binaries: binaries, CacheDir: cache, CA: ca, Name: "primary",
		Settings: map[string]string{"fsync": "off"},
	}
}

func start(t testing.TB, o postgres.Options) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { stopAndRemove(t, o.Runner, s) })
	return s
}

func startReplica(t testing.TB, o postgres.Options, s *postgres.Server, name string) *postgres.Server {
	t.Helper()
	r, err := s.StartReplica(t.Context(), postgres.ReplicaOptions{Name: name})
	require.NoError(t, err)
	t.Cleanup(func() { stopAndRemove(t, o.Runner, r) })
	return r
}

func stopAndRemove(t testing.TB, r *process.Runner, s *postgres.Server) {
	s.Kill()
	require.NoError(t, postgres.RemoveData(filepath.Join(r.Dir, "postgres", s.Name)))
	require.NoDirExists(t, s.DataDir)
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), statement)
	require.NoError(t, err, statement)
}

func count(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM notes").Scan(&n))
	return n
}

func TestPrimaryAndReplica(t *testing.T) {
	t.Parallel()
	o := options(t)
	s := start(t, o)
	primary := connect(t, s.SuperuserDSN("postgres"))
	// The replica is copied from a primary that already holds something.
	exec(t, primary, "CREATE TABLE notes AS SELECT generate_series(1, 1000)")
	r := startReplica(t, o, s, "replica-1")
	exec(t, primary, "INSERT INTO notes VALUES (0)")

	replica := connect(t, r.SuperuserDSN("postgres"))
	require.Eventually(t, func() bool { return count(t, replica) == 1001 }, 10*time.Second, 5*time.Millisecond)
	_, err := replica.Exec(t.Context(), "INSERT INTO notes VALUES (0)")
	require.ErrorContains(t, err, "read-only")

	t.Run("both start again with their data", func(t *testing.T) {
		r.Stop(t.Context())
		exec(t, primary, "INSERT INTO notes VALUES (0)")
		s.Stop(t.Context())
		require.Contains(t, s.Tail(5), "database system is shut down")
		again := start(t, o)
		conn := connect(t, again.SuperuserDSN("postgres"))
		require.Equal(t, 1002, count(t, conn))
		follower := startReplica(t, o, again, "replica-1")
		replica := connect(t, follower.SuperuserDSN("postgres"))
		require.Eventually(t, func() bool { return count(t, replica) == 1002 }, 10*time.Second, 5*time.Millisecond)

		t.Run("a crash of both loses nothing committed", func(t *testing.T) {
			exec(t, conn, "INSERT INTO notes VALUES (0)")
			follower.Kill()
			again.Kill()
			again := start(t, o)
			require.Equal(t, 1003, count(t, connect(t, again.SuperuserDSN("postgres"))))
			follower := startReplica(t, o, again, "replica-1")
			replica := connect(t, follower.SuperuserDSN("postgres"))
			require.Eventually(t, func() bool { return count(t, replica) == 1003 }, 10*time.Second, 5*time.Millisecond)

			t.Run("a removed replica leaves no slot and no data", func(t *testing.T) {
				require.NoError(t, again.RemoveReplica(t.Context(), follower))
				var slots int
				conn := connect(t, again.SuperuserDSN("postgres"))
				require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_replication_slots").Scan(&slots))
				require.Zero(t, slots)
				require.NoDirExists(t, follower.DataDir)
			})
		})
	})
}

func TestReplicaOfARecreatedPrimaryIsCopiedAnew(t *testing.T) {
	t.Parallel()
	o := options(t)
	s := start(t, o)
	r := startReplica(t, o, s, "replica")
	r.Stop(t.Context())
	s.Kill()
	require.NoError(t, postgres.RemoveData(filepath.Join(o.Runner.Dir, "postgres", "primary")))

	s = start(t, o)
	exec(t, connect(t, s.SuperuserDSN("postgres")), "CREATE TABLE notes AS SELECT 1")
	r = startReplica(t, o, s, "replica")
	conn := connect(t, r.SuperuserDSN("postgres"))
	require.Eventually(t, func() bool {
		_, err := conn.Exec(t.Context(), "SELECT FROM notes")
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
}

func TestAnInterruptedCopyIsMadeAnew(t *testing.T) {
	t.Parallel()
	o := options(t)
	s := start(t, o)
	r := startReplica(t, o, s, "replica")
	r.Stop(t.Context())
	require.NoError(t, os.Remove(filepath.Join(r.DataDir, "standby.signal")))
	startReplica(t, o, s, "replica")
}

func TestPromotedReplicaIsAPrimary(t *testing.T) {
	t.Parallel()
	o := options(t)
	s := start(t, o)
	exec(t, connect(t, s.SuperuserDSN("postgres")), "CREATE TABLE notes AS SELECT 1")
	r := startReplica(t, o, s, "replica")
	s.Kill()
	require.NoError(t, r.Promote(t.Context()))
	require.Nil(t, r.Primary)
	exec(t, connect(t, r.SuperuserDSN("postgres")), "INSERT INTO notes VALUES (2)")
	r.Stop(t.Context())

	o.Name = "replica"
	again := start(t, o)
	require.Equal(t, 2, count(t, connect(t, again.SuperuserDSN("postgres"))))
}

func TestOnlyVerifiedTLSWithAPasswordGetsIn(t *testing.T) {
	t.Parallel()
	o := options(t)
	s := start(t, o)
	dsn := s.SuperuserDSN("postgres")
	var encrypted bool
	require.NoError(t, connect(t, dsn).QueryRow(t.Context(),
		"SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted))
	require.True(t, encrypted)

	other, err := certificates.Open(filepath.Join(t.TempDir(), "certificates"))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		change func(*pgx.ConnConfig)
		want   string
	}{
		"without TLS":    {func(c *pgx.ConnConfig) { c.TLSConfig = nil }, "no encryption"},
		"wrong password": {func(c *pgx.ConnConfig) { c.Password = "wrong" }, "password authentication failed"},
		"another authority": {func(c *pgx.ConnConfig) {
			c.TLSConfig, err = other.ClientTLS()
			require.NoError(t, err)
			c.TLSConfig.ServerName = "127.0.0.1"
		}, "unknown authority"},
	} {
		config, err := pgx.ParseConfig(dsn)
		require.NoError(t, err)
		test.change(config)
		_, err = pgx.ConnectConfig(t.Context(), config)
		require.ErrorContains(t, err, test.want, name)
	}

	secrets, err := os.Stat(filepath.Join(o.Runner.Dir, "postgres", "primary.secrets.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), secrets.Mode().Perm())
}

func TestStartSaysWhy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for name, test := range map[string]struct {
		change func(*postgres.Options)
		want   string
	}{
		"a taken port":         {func(o *postgres.Options) { o.Addr = taken.Addr().String() }, "is taken by another program"},
		"an address of others": {func(o *postgres.Options) { o.Addr = "0.0.0.0:0" }, "listens on 127.0.0.1 only"},
		"a wrong setting":      {func(o *postgres.Options) { o.Settings = map[string]string{"work_mem": "a lot"} }, `invalid value for parameter "work_mem"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			t.Cleanup(func() {
				require.NoError(t, postgres.RemoveData(filepath.Join(o.Runner.Dir, "postgres", "primary")))
			})
			test.change(&o)
			_, err := postgres.Start(t.Context(), o)
			require.ErrorContains(t, err, "start PostgreSQL primary")
			require.ErrorContains(t, err, test.want)
		})
	}
}

// BenchmarkWarmStart is the time from nothing but a template to a primary and a
// replica that streams.
func BenchmarkWarmStart(b *testing.B) {
	for b.Loop() {
		o := options(b)
		delete(o.Settings, "fsync")
		s := start(b, o)
		startReplica(b, o, s, "replica")
	}
}
