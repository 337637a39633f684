package rds_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsrds "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/postgres"
	"github.com/loadbearing/loadbearing/local/postgres/pgtest"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/rds"
)

// account is what is deployed, in memory.
type account struct {
	databases []types.DBInstance
	secrets   map[string]string // content by ARN
	parameter string            // of contract.DatabaseAdminSecret
}

func (a *account) DescribeDBInstances(context.Context, *awsrds.DescribeDBInstancesInput, ...func(*awsrds.Options)) (*awsrds.DescribeDBInstancesOutput, error) {
	return &awsrds.DescribeDBInstancesOutput{DBInstances: a.databases}, nil
}

func (a *account) ListSecrets(context.Context, *secretsmanager.ListSecretsInput, ...func(*secretsmanager.Options)) (*secretsmanager.ListSecretsOutput, error) {
	out := &secretsmanager.ListSecretsOutput{}
	for arn := range a.secrets {
		out.SecretList = append(out.SecretList, smtypes.SecretListEntry{ARN: &arn})
	}
	return out, nil
}

func (a *account) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	value, ok := a.secrets[*in.SecretId]
	if !ok {
		return nil, &smtypes.ResourceNotFoundException{}
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: &value}, nil
}

func (a *account) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	if a.parameter == "" || *in.Name != "/loadbearing/dev/database/admin-secret" {
		return nil, &ssmtypes.ParameterNotFound{}
	}
	return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: &a.parameter}}, nil
}

// deploy adds a DB instance on a free port, with the secret attached to it.
func (a *account) deploy(t *testing.T, id, source string, tags ...types.Tag) *types.DBInstance {
	t.Helper()
	ports, err := process.FreePorts(1)
	require.NoError(t, err)
	d := types.DBInstance{
		DBInstanceIdentifier: &id, Engine: aws.String("postgres"), TagList: tags,
		Endpoint: &types.Endpoint{Address: aws.String("127.0.0.1"), Port: new(int32(ports[0]))},
	}
	if source == "" {
		d.MasterUsername, d.DBName = aws.String("postgres"), aws.String("app")
		a.attach(t, id, "it's "+id)
	} else {
		d.ReadReplicaSourceDBInstanceIdentifier = &source
	}
	a.databases = append(a.databases, d)
	return &a.databases[len(a.databases)-1]
}

func (a *account) attach(t *testing.T, id, password string) {
	t.Helper()
	data, err := json.Marshal(map[string]any{"username": "postgres", "password": password, "dbInstanceIdentifier": id, "port": 5432})
	require.NoError(t, err)
	a.secrets["arn:"+id] = string(data)
}

func (a *account) remove(ids ...string) {
	a.databases = slices.DeleteFunc(a.databases, func(d types.DBInstance) bool { return slices.Contains(ids, *d.DBInstanceIdentifier) })
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type fixture struct {
	*rds.Manager
	account *account
	log     *buffer
	runner  *process.Runner
}

func setup(t *testing.T) *fixture {
	t.Helper()
	cache, err := pgtest.CacheDir()
	require.NoError(t, err)
	binaries, err := postgres.Install(t.Context(), cache)
	require.NoError(t, err)
	dir := t.TempDir()
	ca, err := certificates.Open(filepath.Join(dir, "certificates"))
	require.NoError(t, err)
	a := &account{secrets: map[string]string{"arn:other": "not JSON", "arn:api": `{"key":"value"}`}}
	f := &fixture{account: a, log: &buffer{}, runner: &process.Runner{Dir: dir}}
	f.Manager = rds.New(rds.Options{
		API: rds.API{Databases: a, Secrets: a, Parameters: a}, Environment: "dev",
		Runner: f.runner, Binaries: binaries, CacheDir: cache, CA: ca,
		Settings: map[string]string{"fsync": "off"}, Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	t.Cleanup(func() {
		f.Stop(context.Background())
		left, err := f.runner.Leftovers()
		require.NoError(t, err)
		require.Empty(t, left)
		f.account.databases = nil
		for _, path := range []string{"a", "b", "c", "r"} {
			require.NoError(t, postgres.RemoveData(filepath.Join(dir, "postgres", "postgres-"+path)))
		}
	})
	return f
}

// connect uses the DSN of the status, with another password than the password
// file's where the test says so.
func (f *fixture) connect(t *testing.T, id, password string) (*pgx.Conn, error) {
	t.Helper()
	for _, d := range f.Databases() {
		if d.ID == id {
			config, err := pgx.ParseConfig(d.DSN)
			require.NoError(t, err)
			require.NotContains(t, d.DSN, config.Password)
			if password != "" {
				config.Password = password
			}
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err == nil {
				t.Cleanup(func() { _ = conn.Close(context.Background()) })
			}
			return conn, err
		}
	}
	return nil, fmt.Errorf("no DB instance %s in %v", id, f.Databases())
}

func (f *fixture) must(t *testing.T, id, password string) *pgx.Conn {
	t.Helper()
	conn, err := f.connect(t, id, password)
	require.NoError(t, err)
	return conn
}

func (f *fixture) summary() []string {
	var all []string
	for _, d := range f.Databases() {
		all = append(all, fmt.Sprintf("%s %s shard %s running %t", d.ID, d.Role, d.Shard, d.PID > 0))
	}
	return all
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.account.deploy(t, "a", "")
	f.account.deploy(t, "r", "a")
	f.account.deploy(t, "b", "", types.Tag{Key: aws.String("loadbearing:shard"), Value: aws.String("1")})
	require.NoError(t, f.Reconcile(t.Context()))
	require.Equal(t, []string{
		"a primary shard 0 running true", "b primary shard 1 running true", "r replica shard 0 running true",
	}, f.summary())

	master := f.must(t, "a", "it's a")
	var super, createRole, member bool
	var owner string
	require.NoError(t, master.QueryRow(t.Context(), `SELECT rolsuper, rolcreaterole, pg_has_role('rds_superuser', 'member'),
		(SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'app') FROM pg_roles WHERE rolname = current_user`).
		Scan(&super, &createRole, &member, &owner))
	require.False(t, super)
	require.True(t, createRole)
	require.True(t, member)
	require.Equal(t, "postgres", owner)
	for _, statement := range []string{
		"CREATE TABLE notes (text text)", "INSERT INTO notes VALUES ('first')",
		"CREATE ROLE app LOGIN PASSWORD 'app'", "GRANT SELECT ON notes TO app",
	} {
		_, err := master.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	reads := func(id, password string) func() bool {
		return func() bool {
			conn, err := f.connect(t, id, password)
			var text string
			return err == nil && conn.QueryRow(t.Context(), "SELECT text FROM notes").Scan(&text) == nil && text == "first"
		}
	}
	require.Eventually(t, reads("r", "it's a"), 10*time.Second, 10*time.Millisecond, "the replica has roles and rows of its source")
	before := f.Databases()

	t.Run("again changes nothing but a password", func(t *testing.T) {
		f.account.attach(t, "a", "rotated")
		require.NoError(t, f.Reconcile(t.Context()))
		require.Equal(t, before, f.Databases())
		f.must(t, "a", "rotated")
		f.must(t, "a", "") // the password file follows
		_, err := f.connect(t, "a", "it's a")
		require.ErrorContains(t, err, "password authentication failed")
	})
	t.Run("one that ended is said and starts again", func(t *testing.T) {
		require.Empty(t, f.Problems())
		require.NoError(t, syscall.Kill(before[0].PID, syscall.SIGKILL))
		require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "DB instance a (pid") }, 10*time.Second, 5*time.Millisecond)
		require.Len(t, f.Problems(), 1)
		require.Contains(t, f.Problems()[0], "it is started again")
		require.NoError(t, f.Reconcile(t.Context()))
		require.Empty(t, f.Problems())
		require.True(t, reads("a", "rotated")())
		require.NotEqual(t, before[0].PID, f.Databases()[0].PID)
	})
	t.Run("the new is started and the gone removed", func(t *testing.T) {
		f.account.remove("b", "r")
		f.account.deploy(t, "c", "a")
		require.NoError(t, f.Reconcile(t.Context()))
		require.Equal(t, []string{"a primary shard 0 running true", "c replica shard 0 running true"}, f.summary())
		require.Eventually(t, reads("c", "rotated"), 10*time.Second, 10*time.Millisecond)
		require.NoDirExists(t, filepath.Join(f.runner.Dir, "postgres", "postgres-b"))
	})
	t.Run("a replica whose source is deleted is promoted", func(t *testing.T) {
		f.account.remove("a")
		f.account.databases[0].ReadReplicaSourceDBInstanceIdentifier = nil
		f.account.databases[0].MasterUsername, f.account.databases[0].DBName = aws.String("postgres"), aws.String("app")
		f.account.attach(t, "c", "promoted")
		require.NoError(t, f.Reconcile(t.Context()))
		require.Equal(t, []string{"c primary shard 0 running true"}, f.summary())
		_, err := f.must(t, "c", "promoted").Exec(t.Context(), "INSERT INTO notes VALUES ('second')")
		require.NoError(t, err)
	})
}

func TestPasswordFromTheParameter(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.account.deploy(t, "a", "")
	delete(f.account.secrets, "arn:a")
	require.ErrorContains(t, f.Reconcile(t.Context()), "no parameter /loadbearing/dev/database/admin-secret")

	f.account.secrets["arn:admin"] = `{"username":"postgres","password":"named"}`
	f.account.parameter = "arn:admin"
	require.NoError(t, f.Reconcile(t.Context()))
	f.must(t, "a", "named")
}

func TestPasswordFromASecretWithTheEndpoint(t *testing.T) {
	t.Parallel()
	f := setup(t)
	d := f.account.deploy(t, "a", "")
	f.account.secrets["arn:a"] = fmt.Sprintf(`{"username":"postgres","password":"attached","host":"127.0.0.1","port":%d}`, *d.Endpoint.Port)
	require.NoError(t, f.Reconcile(t.Context()))
	f.must(t, "a", "attached")
}

func TestAnEndpointThatAnswersIsLeftAlone(t *testing.T) {
	t.Parallel()
	f := setup(t)
	d := f.account.deploy(t, "a", "")
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *d.Endpoint.Port))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	require.NoError(t, f.Reconcile(t.Context()))
	require.Equal(t, []string{"a primary shard 0 running false"}, f.summary())
}

func TestAnEndpointElsewhereIsRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.account.deploy(t, "a", "").Endpoint.Address = aws.String("a.xyz.us-east-1.rds.amazonaws.com")
	require.ErrorContains(t, f.Reconcile(t.Context()), "is no address of this machine")
}
