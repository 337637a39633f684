package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
)

// Options says how to run a primary.
type Options struct {
	Runner   *process.Runner
	Binaries Binaries
	CacheDir string // keeps the template that initdb made; shared between runs
	CA       *certificates.CA

	Name     string            // names the process, its log and its secrets; unique in the run
	DataDir  string            // made when absent, else started again as it is; default <run>/postgres/<name>
	Addr     string            // 127.0.0.1:port; default a free port
	Settings map[string]string // server parameters beside or instead of the defaults
	Timeout  time.Duration     // until it accepts queries; default 30 s
}

// ReplicaOptions says how to run a replica. What is not named is the primary's.
type ReplicaOptions struct {
	Name     string            // also names its replication slot
	DataDir  string            // default <run>/postgres/<name>
	Addr     string            // default a free port
	Settings map[string]string // beside the primary's
	Timeout  time.Duration     // until it streams; default 30 s
}

// Server is a running PostgreSQL.
type Server struct {
	Name    string
	Addr    string  // host:port
	DataDir string  // where it really stands
	Primary *Server // of a replica, else nil

	process *process.Process
	options Options
	run     credential
	secrets secrets
}

const (
	defaultTimeout = 30 * time.Second
	// shutdownGrace lets a fast shutdown write its checkpoint.
	shutdownGrace = 20 * time.Second
	poll          = 10 * time.Millisecond
)

// defaults are the parameters every server has.
var defaults = map[string]string{
	"unix_socket_directories": "",
	"ssl":                     "on",
	"ssl_cert_file":           "server.pem",
	"ssl_key_file":            "server.key",
	"password_encryption":     "scram-sha-256",
	"wal_level":               "replica",
	"hot_standby":             "on",
	"max_wal_senders":         "10",
	"max_replication_slots":   "10",
	// A replica that never comes back must not fill the disk.
	"max_slot_wal_keep_size": "1GB",
	// A replica that lost its primary tries again at once, not after 5 s.
	"wal_retrieve_retry_interval": "200ms",
	"log_line_prefix":             "%m [%p] %q%u@%d ",
}

// hba lets everyone in with a password over TLS, from this machine, and nobody otherwise.
const hba = `hostssl all         all                127.0.0.1/32 scram-sha-256
hostssl replication ` + replicationRole + ` 127.0.0.1/32 scram-sha-256
`

// Start runs a primary and returns when it accepts queries. When its data
// directory is there from an earlier run it is started again with its data.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL %s: %w", o.Name, err)
	}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("start PostgreSQL %s: %w", o.Name, err)
	}
	return s, nil
}

// prepare fills in what options leave open and finds the data directory.
func prepare(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.DataDir == "" {
		o.DataDir = filepath.Join(o.Runner.Dir, "postgres", o.Name)
	}
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", o.Addr, err)
	}
	if host != "127.0.0.1" {
		return nil, fmt.Errorf("address %q: a local server listens on 127.0.0.1 only", o.Addr)
	}
	run, err := account()
	if err != nil {
		return nil, err
	}
	dir, err := dataDir(run, o.DataDir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(o.Runner.Dir, "postgres"), 0o755); err != nil {
		return nil, err
	}
	return &Server{Name: o.Name, DataDir: dir, options: o, run: run}, nil
}

func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	var err error
	s.secrets, err = readSecrets(s.secretsFile())
	if err == nil {
		if _, missing := os.Stat(filepath.Join(s.DataDir, "PG_VERSION")); missing == nil {
			if err := s.configure(); err != nil {
				return err
			}
			return s.launch(ctx, s.answers)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read its passwords: %w", err)
	}

	from, password, err := template(ctx, s.options.Binaries, s.run, s.options.CacheDir)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(s.secretsFile()), os.RemoveAll(s.DataDir)); err != nil {
		return err
	}
	if err := s.run.copyTree(ctx, from, s.DataDir, nil); err != nil {
		return fmt.Errorf("copy the template: %w", err)
	}
	if err := s.configure(); err != nil {
		return err
	}
	own := secrets{Superuser: rand.Text(), Replication: rand.Text()}
	s.secrets = secrets{Superuser: password}
	err = s.launch(ctx, func(ctx context.Context, conn *pgx.Conn) error { return takeOver(ctx, conn, own) })
	if err != nil {
		return err
	}
	s.secrets = own
	// Written last: a data directory without it is incomplete and made again.
	if err := s.writeSecrets(); err != nil {
		s.Kill()
		return err
	}
	return nil
}

func (s *Server) writeSecrets() error {
	data, err := json.Marshal(s.secrets)
	if err != nil {
		return err
	}
	return credential{}.write(s.secretsFile(), data)
}

func (s *Server) secretsFile() string {
	return filepath.Join(s.options.Runner.Dir, "postgres", s.Name+".secrets.json")
}

// configure writes who may come in, and the certificates, into the data directory.
func (s *Server) configure() error {
	for name, source := range map[string]string{
		"ca.pem": s.options.CA.File, "server.pem": s.options.CA.CertFile, "server.key": s.options.CA.KeyFile,
	} {
		data, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := s.run.write(filepath.Join(s.DataDir, name), data); err != nil {
			return err
		}
	}
	return s.run.write(filepath.Join(s.DataDir, "pg_hba.conf"), []byte(hba))
}

// bindAttempts is how often a free port is chosen anew when another program
// takes it between the choice and the start.
const bindAttempts = 5

// launch runs the server until ready has returned nil on a connection of the superuser.
func (s *Server) launch(ctx context.Context, ready func(context.Context, *pgx.Conn) error) error {
	_, want, _ := net.SplitHostPort(s.options.Addr)
	for attempt := 1; ; attempt++ {
		port, err := strconv.Atoi(want)
		if err != nil {
			return fmt.Errorf("address %q: %w", s.options.Addr, err)
		}
		if port == 0 {
			ports, err := process.FreePorts(1)
			if err != nil {
				return err
			}
			port = ports[0]
		}
		if l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
			return fmt.Errorf("port %d is taken by another program: %w", port, err)
		} else if err := l.Close(); err != nil {
			return err
		}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		settings := maps.Clone(defaults)
		maps.Copy(settings, s.options.Settings)
		settings["listen_addresses"] = "127.0.0.1"
		settings["port"] = strconv.Itoa(port)
		args := []string{"-D", s.DataDir}
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			args = append(args, "-c", name+"="+settings[name])
		}
		s.process, err = s.options.Runner.Start(process.Spec{
			Name: s.Name, Path: filepath.Join(s.options.Binaries.Dir, "postgres"), Args: args,
			Env: environment(), Dir: s.DataDir, UID: s.run.uid, GID: s.run.gid,
			Signal: syscall.SIGINT, Grace: shutdownGrace,
		})
		if err != nil {
			return err
		}
		err = s.await(ctx, ready)
		if err == nil {
			return nil
		}
		s.Kill()
		if ctx.Err() == nil && strings.Contains(s.process.Tail(3), "is still in use") {
			// What a killed server left of itself notices within a moment that it is gone.
			attempt--
			continue
		}
		if want != "0" || attempt == bindAttempts || !strings.Contains(s.process.Tail(20), "could not bind") {
			return fmt.Errorf("%w; the end of %s:\n%s", err, s.process.Log, s.process.Tail(20))
		}
	}
}

// await connects until ready returns nil, the process ends or ctx is done.
func (s *Server) await(ctx context.Context, ready func(context.Context, *pgx.Conn) error) error {
	var last error
	for {
		select {
		case <-s.process.Done():
			return fmt.Errorf("it ended: %w", cmp.Or(s.process.Err(), errors.New("exit status 0")))
		case <-ctx.Done():
			return fmt.Errorf("it is not ready in time: %w", cmp.Or(last, ctx.Err()))
		case <-time.After(poll):
		}
		if !s.accepts() {
			continue
		}
		conn, err := pgx.Connect(ctx, s.SuperuserDSN("postgres"))
		if err != nil {
			last = err
			continue
		}
		err = ready(ctx, conn)
		_ = conn.Close(context.WithoutCancel(ctx))
		if err == nil {
			return nil
		}
		last = err
	}
}

// accepts reads from the server's pid file, as pg_ctl does, whether it takes
// connections yet: one that is refused costs a fork and a TLS handshake.
func (s *Server) accepts() bool {
	data, err := os.ReadFile(filepath.Join(s.DataDir, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(data), "\n")
	return len(lines) >= pidFileStatus && lines[0] == strconv.Itoa(s.PID()) && strings.TrimSpace(lines[pidFileStatus-1]) == "ready"
}

// pidFileStatus is the line of postmaster.pid that holds the status.
const pidFileStatus = 8

func (s *Server) answers(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) }

// StartReplica runs a replica of s and returns when it streams. When its data
// directory is there from an earlier run it resumes from its replication slot.
func (s *Server) StartReplica(ctx context.Context, o ReplicaOptions) (*Server, error) {
	settings := maps.Clone(s.options.Settings)
	if settings == nil {
		settings = map[string]string{}
	}
	maps.Copy(settings, o.Settings)
	r, err := prepare(Options{
		Runner: s.options.Runner, Binaries: s.options.Binaries, CacheDir: s.options.CacheDir, CA: s.options.CA,
		Name: o.Name, DataDir: o.DataDir, Addr: o.Addr, Settings: settings, Timeout: o.Timeout,
	})
	if err == nil {
		r.Primary, r.secrets = s, s.secrets
		err = r.follow(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL %s, a replica of %s: %w", o.Name, s.Name, err)
	}
	return r, nil
}

func (s *Server) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.Primary.SuperuserDSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// A slot is reserved before the copy begins: from there on the primary keeps
	// the WAL that the replica needs. One that had to let go of it is of no use.
	reserved := true
	err = conn.QueryRow(ctx, "SELECT wal_status <> 'lost' FROM pg_replication_slots WHERE slot_name = $1", s.slot()).Scan(&reserved)
	if errors.Is(err, pgx.ErrNoRows) {
		reserved, err = false, nil
	}
	if err != nil {
		return fmt.Errorf("read replication slot %s: %w", s.slot(), err)
	}
	if !reserved || !s.complete() {
		if err := s.copyPrimary(ctx, conn); err != nil {
			return fmt.Errorf("copy the primary: %w", err)
		}
	}
	if err := s.configure(); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(s.Primary.Addr)
	if err != nil {
		return err
	}
	conninfo := fmt.Sprintf("host=%s port=%s user=%s password=%s sslmode=verify-full sslrootcert=%s application_name=%s",
		host, port, replicationRole, s.secrets.Replication, conninfoValue(filepath.Join(s.DataDir, "ca.pem")), s.slot())
	auto := fmt.Sprintf("primary_conninfo = %s\nprimary_slot_name = %s\n", Literal(conninfo), Literal(s.slot()))
	if err := s.run.write(filepath.Join(s.DataDir, "postgresql.auto.conf"), []byte(auto)); err != nil {
		return err
	}
	return s.launch(ctx, streaming)
}

// complete tells whether the data directory is a whole copy of this primary:
// its last file is there, and it follows with this primary's password.
func (s *Server) complete() bool {
	_, err := os.Stat(filepath.Join(s.DataDir, "standby.signal"))
	auto, readErr := os.ReadFile(filepath.Join(s.DataDir, "postgresql.auto.conf"))
	return err == nil && readErr == nil && strings.Contains(string(auto), s.secrets.Replication)
}

// maxIdentifier is the longest name PostgreSQL keeps (NAMEDATALEN - 1), in bytes.
const maxIdentifier = 63

// slot is the replication slot of a replica: its name in the characters that
// PostgreSQL allows for one. The end of a longer name is what sets it apart.
func (s *Server) slot() string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(s.Name))
	return name[max(0, len(name)-maxIdentifier):]
}

func conninfoValue(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

var errNotStreaming = errors.New("it does not stream from its primary yet")

func streaming(ctx context.Context, conn *pgx.Conn) error {
	var status string
	err := conn.QueryRow(ctx, "SELECT status FROM pg_stat_wal_receiver").Scan(&status)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && status != "streaming" {
		return errNotStreaming
	}
	return err
}

// copyPrimary makes the data directory a base backup of the running primary.
func (s *Server) copyPrimary(ctx context.Context, conn *pgx.Conn) error {
	if err := os.RemoveAll(s.DataDir); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", s.slot()); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", s.slot()); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_backup_start($1, true)", s.Name); err != nil {
		return err
	}
	// What PostgreSQL's manual, 26.3.3.2, says to leave out of a base backup.
	err := s.run.copyTree(ctx, s.Primary.DataDir, s.DataDir, func(path string, d fs.DirEntry) bool {
		dir, name := filepath.Split(path)
		switch filepath.Clean(dir) {
		case "pg_wal":
			return !d.IsDir()
		case "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans":
			return true
		}
		return strings.HasPrefix(name, "pgsql_tmp") || slices.Contains(
			[]string{"postmaster.pid", "postmaster.opts", "pg_internal.init", "backup_label", "tablespace_map"}, name)
	})
	if err != nil {
		return err // closing the connection ends the backup
	}
	var label string
	if err := conn.QueryRow(ctx, "SELECT labelfile FROM pg_backup_stop()").Scan(&label); err != nil {
		return err
	}
	if err := s.run.write(filepath.Join(s.DataDir, "backup_label"), []byte(label)); err != nil {
		return err
	}
	return s.run.write(filepath.Join(s.DataDir, "standby.signal"), nil)
}

// Promote makes a replica a primary of its own and returns when it takes
// writes. Its former primary keeps the replication slot.
func (s *Server) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.SuperuserDSN("postgres"))
	if err != nil {
		return fmt.Errorf("promote %s: %w", s.Name, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var promoted bool
	err = conn.QueryRow(ctx, "SELECT pg_promote(true, $1)", int(s.options.Timeout.Seconds())).Scan(&promoted)
	if err == nil && !promoted {
		err = fmt.Errorf("it is still in recovery after %v", s.options.Timeout)
	}
	if err == nil {
		err = s.writeSecrets() // so far it was started with those of its primary
	}
	if err != nil {
		return fmt.Errorf("promote %s: %w", s.Name, err)
	}
	s.Primary = nil
	return nil
}

// RemoveReplica stops a replica, and drops its slot and its data.
func (s *Server) RemoveReplica(ctx context.Context, r *Server) error {
	r.Stop(ctx)
	conn, err := pgx.Connect(ctx, s.SuperuserDSN("postgres"))
	if err != nil {
		return fmt.Errorf("remove replica %s: %w", r.Name, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// The primary may still be busy noticing that the replica has gone.
	for {
		_, err = conn.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active", r.slot())
		var left bool
		if err == nil {
			err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", r.slot()).Scan(&left)
		}
		if err != nil {
			return fmt.Errorf("drop replication slot %s: %w", r.slot(), err)
		}
		if !left {
			return r.Remove()
		}
		time.Sleep(poll)
	}
}

// Remove removes the data of a server that has ended, and its passwords.
func (s *Server) Remove() error {
	return errors.Join(os.RemoveAll(s.secretsFile()), RemoveData(s.options.DataDir))
}

// DSN is the connection URL of a user: TLS with the certificate verified.
func (s *Server) DSN(user, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(user, password), Host: s.Addr, Path: "/" + database,
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.options.CA.File}}.Encode(),
	}
	return u.String()
}

// SuperuserDSN is the connection URL of the superuser, which only the local runtime uses.
func (s *Server) SuperuserDSN(database string) string {
	return s.DSN(Superuser, s.secrets.Superuser, database)
}

// PID is the process id of the postmaster.
func (s *Server) PID() int { return s.process.PID }

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Running tells whether the server has not ended.
func (s *Server) Running() bool { return s.process.Running() }

// Tail returns the last lines of its log.
func (s *Server) Tail(lines int) string { return s.process.Tail(lines) }

// Stop is a fast shutdown: open transactions are rolled back, connections
// closed, a checkpoint written. It returns when the server has ended.
func (s *Server) Stop(ctx context.Context) { s.process.Stop(ctx) }

// Kill ends the server as a crash of the machine would, but for the disk's cache.
func (s *Server) Kill() { s.process.Kill() }

// dataDir makes the parents of a data directory and returns where it stands.
// When the account cannot reach it a symbolic link is left there, so that
// RemoveData finds what it stands for.
func dataDir(run credential, dir string) (string, error) {
	parent, err := run.reachable(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	resolved := filepath.Join(parent, filepath.Base(dir))
	if abs, err := filepath.Abs(dir); err != nil || resolved == abs {
		return resolved, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	if to, err := os.Readlink(dir); err == nil && to == resolved {
		return resolved, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return resolved, os.Symlink(resolved, dir)
}

// RemoveData removes a data directory, also where it stands elsewhere. The
// server must have ended.
func RemoveData(dir string) error {
	resolved, err := os.Readlink(dir)
	if err == nil {
		if err := os.RemoveAll(resolved); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(resolved)) // the last one takes the folder along
	}
	return os.RemoveAll(dir)
}
