// Package rds runs a real PostgreSQL at the endpoint of each deployed DB
// instance, with the roles RDS makes and read replicas that stream from their
// source. It reads what was deployed through the AWS APIs and nothing else.
package rds

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/postgres"
	"github.com/loadbearing/loadbearing/local/process"
)

// API is the part of AWS that is read.
type API struct {
	Databases  DatabaseAPI
	Secrets    SecretAPI
	Parameters ParameterAPI
}

// DatabaseAPI lists DB instances.
type DatabaseAPI interface {
	DescribeDBInstances(context.Context, *rds.DescribeDBInstancesInput, ...func(*rds.Options)) (*rds.DescribeDBInstancesOutput, error)
}

// SecretAPI reads the master users' passwords.
type SecretAPI interface {
	ListSecrets(context.Context, *secretsmanager.ListSecretsInput, ...func(*secretsmanager.Options)) (*secretsmanager.ListSecretsOutput, error)
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// ParameterAPI reads contract.DatabaseAdminSecret.
type ParameterAPI interface {
	GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// NewAPI returns the API of an account.
func NewAPI(cfg aws.Config) API {
	return API{rds.NewFromConfig(cfg), secretsmanager.NewFromConfig(cfg), ssm.NewFromConfig(cfg)}
}

// Options of a Manager. All but Settings, Ended and Log are required.
type Options struct {
	API         API
	Environment string // "dev" or "prod"; names the parameters
	Runner      *process.Runner
	Binaries    postgres.Binaries
	CacheDir    string
	CA          *certificates.CA
	Settings    map[string]string // server parameters beside postgres' defaults
	Ended       func()            // called when a server has ended that nobody stopped; default nothing
	Log         *slog.Logger      // default slog.Default
}

// Roles of a DB instance.
const (
	Primary = "primary"
	Replica = "replica"
)

// tagShard is the tag of a DB instance that names its shard.
const tagShard = "loadbearing:shard"

// Database is one DB instance.
type Database struct {
	ID    string // DB instance identifier
	Role  string // Primary or Replica
	Shard string // tag loadbearing:shard, a replica's that of its source; default "0"
	DSN   string // of the master user; names the password file instead of the password
	PID   int    // 0 when the emulator runs it
}

// Manager runs the servers.
type Manager struct {
	o Options

	reconciling sync.Mutex
	mu          sync.Mutex // guards what follows
	servers     map[string]*server
	databases   []Database
}

type server struct {
	*postgres.Server
	stopping bool
	granted  string // the password its master user was given; of Reconcile alone
}

// New returns a Manager that runs nothing yet.
func New(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Ended == nil {
		o.Ended = func() {}
	}
	return &Manager{o: o, servers: map[string]*server{}}
}

// instance is what is read of a DB instance.
type instance struct {
	id, source, shard  string
	addr               string
	masterUser, dbName string
	managedSecret      string // ARN of the secret that RDS keeps itself
	password           string
}

// Reconcile makes the servers those that are deployed: it starts what is new
// or has ended, primaries first, stops and removes what is gone, and sets the
// master users' passwords. A server that somebody else runs at an endpoint is
// left alone. It returns when every server accepts queries and every replica
// streams.
func (m *Manager) Reconcile(ctx context.Context) error {
	m.reconciling.Lock()
	defer m.reconciling.Unlock()
	deployed, err := m.read(ctx)
	if err != nil {
		return err
	}
	if err := m.promote(ctx, deployed); err != nil {
		return err
	}
	if err := m.remove(ctx, deployed); err != nil {
		return err
	}
	for _, replicas := range []bool{false, true} {
		var starting errgroup.Group
		for _, d := range deployed {
			if (d.source != "") == replicas {
				starting.Go(func() error { return m.bring(ctx, d, deployed) })
			}
		}
		if err := starting.Wait(); err != nil {
			return err
		}
	}
	return m.publish(deployed)
}

// Databases returns the DB instances as of the last Reconcile, primaries
// first, by shard and identifier.
func (m *Manager) Databases() []Database {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.databases)
}

// Problems names the servers that have ended though nobody stopped them, with
// what to do.
func (m *Manager) Problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, id := range slices.Sorted(maps.Keys(m.servers)) {
		if s := m.servers[id]; !s.Running() && !s.stopping {
			all = append(all, problem(id, s.Server))
		}
	}
	return all
}

func problem(id string, s *postgres.Server) string {
	return fmt.Sprintf("PostgreSQL of DB instance %s (pid %d, %s) has ended; it is started again with its data; logs/%s.log in the run folder says why",
		id, s.PID(), s.Addr, s.Name)
}

// Stop ends every server, replicas first, and returns when they have ended.
// Their data stays.
func (m *Manager) Stop(ctx context.Context) {
	m.reconciling.Lock()
	defer m.reconciling.Unlock()
	m.mu.Lock()
	servers := m.servers
	m.servers, m.databases = map[string]*server{}, nil
	for _, s := range servers {
		s.stopping = true
	}
	m.mu.Unlock()
	for _, replicas := range []bool{true, false} {
		var stopping sync.WaitGroup
		for _, s := range servers {
			if (s.Primary != nil) == replicas {
				stopping.Go(func() { s.Stop(ctx) })
			}
		}
		stopping.Wait()
	}
}

// read returns the deployed PostgreSQL instances.
func (m *Manager) read(ctx context.Context) (map[string]*instance, error) {
	deployed := map[string]*instance{}
	pages := rds.NewDescribeDBInstancesPaginator(m.o.API.Databases, &rds.DescribeDBInstancesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list DB instances: %w", err)
		}
		for _, d := range page.DBInstances {
			i, err := parse(d)
			if err != nil {
				return nil, err
			}
			if i == nil {
				m.o.Log.Warn("DB instance not run here: its engine is not postgres", "id", aws.ToString(d.DBInstanceIdentifier), "engine", aws.ToString(d.Engine))
				continue
			}
			deployed[i.id] = i
		}
	}
	secrets := &secretReader{api: m.o.API}
	for _, d := range deployed {
		if d.source != "" {
			continue
		}
		var err error
		if d.password, err = secrets.of(ctx, d, m.o.Environment); err != nil {
			return nil, err
		}
	}
	for _, d := range deployed {
		if d.source == "" {
			d.shard = cmp.Or(d.shard, "0")
			continue
		}
		source := deployed[d.source]
		if source == nil {
			return nil, fmt.Errorf("DB instance %s replicates %s, which is not deployed", d.id, d.source)
		}
		// A replica is a physical copy: it has its source's roles and databases.
		d.shard = cmp.Or(d.shard, source.shard, "0")
		d.masterUser, d.dbName = source.masterUser, source.dbName
	}
	return deployed, nil
}

func parse(d types.DBInstance) (*instance, error) {
	i := &instance{
		id:     aws.ToString(d.DBInstanceIdentifier),
		source: aws.ToString(d.ReadReplicaSourceDBInstanceIdentifier), masterUser: cmp.Or(aws.ToString(d.MasterUsername), "postgres"),
		dbName: aws.ToString(d.DBName),
	}
	if aws.ToString(d.Engine) != "postgres" {
		return nil, nil
	}
	if d.MasterUserSecret != nil {
		i.managedSecret = aws.ToString(d.MasterUserSecret.SecretArn)
	}
	for _, t := range d.TagList {
		if aws.ToString(t.Key) == tagShard {
			i.shard = aws.ToString(t.Value)
		}
	}
	if d.Endpoint == nil {
		return nil, fmt.Errorf("DB instance %s has no endpoint yet: it is %s", i.id, cmp.Or(aws.ToString(d.DBInstanceStatus), "in no state"))
	}
	host := aws.ToString(d.Endpoint.Address)
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if host != "127.0.0.1" {
		return nil, fmt.Errorf("DB instance %s: its endpoint %s is no address of this machine; the emulator must answer 127.0.0.1, as the one `make up` starts does", i.id, host)
	}
	i.addr = net.JoinHostPort(host, strconv.Itoa(int(aws.ToInt32(d.Endpoint.Port))))
	return i, nil
}

// promote makes primaries of replicas whose source was deleted, as RDS does.
func (m *Manager) promote(ctx context.Context, deployed map[string]*instance) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.servers {
		if d := deployed[id]; d != nil && d.source == "" && s.Primary != nil && s.Running() {
			m.o.Log.Info("DB instance is promoted", "id", id, "addr", s.Addr)
			if err := s.Promote(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove stops what is no longer deployed, stands elsewhere now or follows
// another source, and removes its data.
func (m *Manager) remove(ctx context.Context, deployed map[string]*instance) error {
	m.mu.Lock()
	gone := map[string]*server{}
	for id, s := range m.servers {
		d := deployed[id]
		if d == nil || d.addr != s.Addr || !follows(s, deployed[d.source]) {
			s.stopping = true
			gone[id] = s
			delete(m.servers, id)
		}
	}
	m.mu.Unlock()
	for _, replicas := range []bool{true, false} {
		for id, s := range gone {
			if (s.Primary != nil) != replicas {
				continue
			}
			m.o.Log.Info("DB instance is gone, its server stops", "id", id, "addr", s.Addr)
			// The slot of a replica whose source is gone, too, goes with the source.
			if replicas && s.Primary.Running() {
				if err := s.Primary.RemoveReplica(ctx, s.Server); err != nil {
					return err
				}
				continue
			}
			s.Stop(ctx)
			if err := s.Remove(); err != nil {
				return err
			}
		}
	}
	return nil
}

// follows tells whether a server streams from where its deployed source is;
// a primary, with nil, from nowhere.
func follows(s *server, source *instance) bool {
	if source == nil || s.Primary == nil {
		return source == nil && s.Primary == nil
	}
	return s.Primary.Name == serverName(source.id) && s.Primary.Addr == source.addr
}

func serverName(id string) string { return "postgres-" + id }

// bring makes one DB instance run.
func (m *Manager) bring(ctx context.Context, d *instance, deployed map[string]*instance) error {
	m.mu.Lock()
	s := m.servers[d.id]
	source := m.servers[d.source]
	m.mu.Unlock()
	if s == nil || !s.Running() {
		if process.Listening(ctx, d.addr) {
			m.o.Log.Info("somebody else runs the server of this DB instance: it is left alone", "id", d.id, "addr", d.addr)
			return nil
		}
		name := serverName(d.id)
		var started *postgres.Server
		var err error
		switch {
		case d.source == "":
			started, err = postgres.Start(ctx, postgres.Options{
				Runner: m.o.Runner, Binaries: m.o.Binaries, CacheDir: m.o.CacheDir, CA: m.o.CA,
				Name: name, Addr: d.addr, Settings: m.o.Settings,
			})
		case source == nil:
			return fmt.Errorf("DB instance %s replicates %s, which somebody else runs at %s: there is no server here to copy", d.id, d.source, deployed[d.source].addr)
		default:
			started, err = source.StartReplica(ctx, postgres.ReplicaOptions{Name: name, Addr: d.addr})
		}
		if err != nil {
			return fmt.Errorf("DB instance %s: %w", d.id, err)
		}
		s = &server{Server: started}
		m.mu.Lock()
		m.servers[d.id] = s
		m.mu.Unlock()
		go m.watch(d.id, s)
	}
	// A password that was set stays set: only another one needs work.
	if d.source != "" || s.granted == d.password {
		return nil
	}
	if err := grant(ctx, s.Server, d); err != nil {
		return fmt.Errorf("DB instance %s: %w", d.id, err)
	}
	s.granted = d.password
	return nil
}

// watch says at once when a server ends that nobody stopped.
func (m *Manager) watch(id string, s *server) {
	<-s.Done()
	m.mu.Lock()
	stopping := s.stopping
	m.mu.Unlock()
	if !stopping {
		m.o.Log.Error(problem(id, s.Server))
		m.o.Ended()
	}
}

// grant makes the master user what it is on RDS: no superuser, but CREATEROLE,
// CREATEDB, a member of rds_superuser, and the owner of the first database.
func grant(ctx context.Context, s *postgres.Server, d *instance) error {
	conn, err := pgx.Connect(ctx, s.SuperuserDSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	master, group := pgx.Identifier{d.masterUser}.Sanitize(), pgx.Identifier{"rds_superuser"}.Sanitize()
	exists := func(query, name string) (found bool, err error) {
		err = conn.QueryRow(ctx, "SELECT EXISTS ("+query+")", name).Scan(&found)
		return found, err
	}
	const role, database = "SELECT FROM pg_roles WHERE rolname = $1", "SELECT FROM pg_database WHERE datname = $1"
	type step struct {
		query, name string // runs only when the query finds nothing; "" always
		what        string
		statement   string
	}
	steps := []step{
		{role, "rds_superuser", "create rds_superuser", "CREATE ROLE " + group + " NOLOGIN"},
		{"", "", "grant to rds_superuser", "GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO " + group + " WITH ADMIN OPTION"},
		{role, d.masterUser, "create the master user", "CREATE ROLE " + master + " LOGIN CREATEROLE CREATEDB"},
		{"", "", "set the master user's password", "ALTER ROLE " + master + " PASSWORD " + postgres.Literal(d.password)},
		{"", "", "grant rds_superuser to the master user", "GRANT " + group + " TO " + master},
	}
	if d.dbName != "" {
		steps = append(steps, step{
			database, d.dbName, "create database " + d.dbName,
			"CREATE DATABASE " + pgx.Identifier{d.dbName}.Sanitize() + " OWNER " + master,
		})
	}
	for _, step := range steps {
		if step.query != "" {
			found, err := exists(step.query, step.name)
			if err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
			if found {
				continue
			}
		}
		if _, err := conn.Exec(ctx, step.statement); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// publish makes the list for the status, and the password file its connection
// URLs name, which libpq and pgx read when nobody else can.
func (m *Manager) publish(deployed map[string]*instance) error {
	var passwords strings.Builder
	for _, id := range slices.Sorted(maps.Keys(deployed)) {
		d := deployed[id]
		password := d.password
		if source := deployed[d.source]; source != nil {
			password = source.password
		}
		host, port, err := net.SplitHostPort(d.addr)
		if err != nil {
			return fmt.Errorf("DB instance %s: %w", id, err)
		}
		escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
		fmt.Fprintf(&passwords, "%s:%s:*:%s:%s\n", host, port, escape.Replace(d.masterUser), escape.Replace(password))
	}
	if err := os.WriteFile(m.passwordFile(), []byte(passwords.String()), 0o600); err != nil {
		return fmt.Errorf("write the password file: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.databases = nil
	for _, d := range deployed {
		database := Database{ID: d.id, Role: Primary, Shard: d.shard, DSN: m.dsn(d)}
		if d.source != "" {
			database.Role = Replica
		}
		if s := m.servers[d.id]; s != nil {
			database.PID = s.PID()
		}
		m.databases = append(m.databases, database)
	}
	slices.SortFunc(m.databases, func(a, b Database) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.ID, b.ID))
	})
	return nil
}

func (m *Manager) passwordFile() string { return filepath.Join(m.o.Runner.Dir, "pgpass") }

func (m *Manager) dsn(d *instance) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(d.masterUser), Host: d.addr, Path: "/" + cmp.Or(d.dbName, "postgres"),
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {m.o.CA.File}, "passfile": {m.passwordFile()}}.Encode(),
	}
	return u.String()
}

// secretReader finds master users' passwords, reading the account's secrets once.
type secretReader struct {
	api API
	all []attached
}

// attached is the content of a secret that is attached to a database:
// CloudFormation's SecretTargetAttachment adds to the credentials which it is.
// MiniStack leaves the identifier out.
type attached struct {
	Host       string `json:"host"`
	Port       any    `json:"port"` // a number, or one in a string
	Password   string `json:"password"`
	InstanceID string `json:"dbInstanceIdentifier"`
}

// of returns the password of an instance's master user: from the secret RDS
// manages for it, else from the secret attached to it, else from the secret
// that parameter contract.DatabaseAdminSecret names.
func (r *secretReader) of(ctx context.Context, d *instance, environment string) (string, error) {
	if d.managedSecret != "" {
		s, err := r.get(ctx, d.managedSecret)
		return s.Password, err
	}
	if r.all == nil {
		if err := r.list(ctx); err != nil {
			return "", err
		}
	}
	for _, s := range r.all {
		if s.InstanceID == d.id || net.JoinHostPort(s.Host, fmt.Sprint(s.Port)) == d.addr {
			return s.Password, nil
		}
	}
	name := contract.DatabaseAdminSecret.Parameter(environment)
	out, err := r.api.Parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if err != nil || out.Parameter == nil {
		return "", fmt.Errorf("DB instance %s: no secret is attached to it, and no parameter %s that names one: %w",
			d.id, name, cmp.Or(err, errors.New("it has no value")))
	}
	s, err := r.get(ctx, aws.ToString(out.Parameter.Value))
	return s.Password, err
}

func (r *secretReader) list(ctx context.Context) error {
	r.all = []attached{}
	pages := secretsmanager.NewListSecretsPaginator(r.api.Secrets, &secretsmanager.ListSecretsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list secrets: %w", err)
		}
		for _, entry := range page.SecretList {
			// Most secrets are no database's; those that cannot be read are not ours.
			if s, err := r.get(ctx, aws.ToString(entry.ARN)); err == nil {
				r.all = append(r.all, s)
			}
		}
	}
	return nil
}

func (r *secretReader) get(ctx context.Context, id string) (attached, error) {
	var s attached
	out, err := r.api.Secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return s, fmt.Errorf("read secret %s: %w", id, err)
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.SecretString)), &s); err != nil || s.Password == "" {
		return s, fmt.Errorf("secret %s is not JSON with username and password", id)
	}
	return s, nil
}
