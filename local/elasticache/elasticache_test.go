package elasticache_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awselasticache "github.com/aws/aws-sdk-go-v2/service/elasticache"
	"github.com/aws/aws-sdk-go-v2/service/elasticache/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	client "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/elasticache"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

// account is what is deployed, in memory.
type account struct {
	groups     []types.ReplicationGroup
	parameters map[string]string
	secrets    map[string]string
}

func (a *account) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	value, ok := a.parameters[*in.Name]
	if !ok {
		return nil, &ssmtypes.ParameterNotFound{}
	}
	return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: &value}}, nil
}

func (a *account) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return &secretsmanager.GetSecretValueOutput{SecretString: new(a.secrets[*in.SecretId])}, nil
}

func (a *account) DescribeReplicationGroups(context.Context, *awselasticache.DescribeReplicationGroupsInput, ...func(*awselasticache.Options)) (*awselasticache.DescribeReplicationGroupsOutput, error) {
	return &awselasticache.DescribeReplicationGroupsOutput{ReplicationGroups: a.groups}, nil
}

func (a *account) deploy(t *testing.T, id string) int {
	t.Helper()
	ports, err := process.FreePorts(1)
	require.NoError(t, err)
	a.groups = append(a.groups, types.ReplicationGroup{
		ReplicationGroupId: &id, TransitEncryptionEnabled: new(true),
		NodeGroups: []types.NodeGroup{{PrimaryEndpoint: &types.Endpoint{Address: aws.String("127.0.0.1"), Port: new(int32(ports[0]))}}},
	})
	return ports[0]
}

func setup(t *testing.T) (*elasticache.Manager, *account, func(url string) error) {
	t.Helper()
	m, a, connect := setupEnding(t, func() {})
	return m, a, func(url string) error { return connect(url).Ping(t.Context()).Err() }
}

// setupEnding calls ended when a server has that nobody stopped.
func setupEnding(t *testing.T, ended func()) (*elasticache.Manager, *account, func(url string) *client.Client) {
	t.Helper()
	dir := t.TempDir()
	ca, err := certificates.Open(filepath.Join(dir, "certificates"))
	require.NoError(t, err)
	a := &account{}
	m := elasticache.New(elasticache.Options{
		API: elasticache.API{Groups: a, Parameters: a, Secrets: a}, Environment: "dev", Runner: &process.Runner{Dir: dir}, CA: ca,
		Program: redistest.Program(t), Ended: ended, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { m.Stop(context.Background()) })
	config, err := ca.ClientTLS()
	require.NoError(t, err)
	connect := func(url string) *client.Client {
		o, err := client.ParseURL(url)
		require.NoError(t, err)
		o.TLSConfig, o.MaxRetries, o.DialerRetries = config, -1, 1
		c := client.NewClient(o)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	return m, a, connect
}

func TestTokenIsThatOfTheEnvironment(t *testing.T) {
	t.Parallel()
	m, a, ping := setup(t)
	a.deploy(t, "one")
	a.groups[0].AuthTokenEnabled = new(true)
	require.ErrorContains(t, m.Reconcile(t.Context()), "replication group one: read its AUTH token: parameter /loadbearing/dev/cache/secret names no secret")

	a.parameters = map[string]string{"/loadbearing/dev/cache/secret": "arn:one"}
	a.secrets = map[string]string{"arn:one": "first-token"}
	require.NoError(t, m.Reconcile(t.Context()))
	url := m.Caches()[0].URL
	with := func(token string) string { return strings.Replace(url, "rediss://", "rediss://:"+token+"@", 1) }
	require.ErrorContains(t, ping(url), "NOAUTH")
	require.NoError(t, ping(with("first-token")))

	a.secrets["arn:one"] = "second-token"
	require.NoError(t, m.Reconcile(t.Context()))
	require.Error(t, ping(with("first-token")))
	require.NoError(t, ping(with("second-token")))
}

// As where a replica takes over: same endpoint, same data.
func TestAKilledServerComesBackWithItsData(t *testing.T) {
	t.Parallel()
	redistest.Real(t)
	ended := make(chan struct{}, 1)
	m, a, connect := setupEnding(t, func() { ended <- struct{}{} })
	a.deploy(t, "one")
	require.NoError(t, m.Reconcile(t.Context()))
	before := m.Caches()[0]
	require.NoError(t, connect(before.URL).Set(t.Context(), "key", "value", 0).Err())

	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	<-ended
	require.Len(t, m.Problems(), 1)
	require.Contains(t, m.Problems()[0], fmt.Sprintf("pid %d", before.PID))
	require.ErrorIs(t, connect(before.URL).Ping(t.Context()).Err(), syscall.ECONNREFUSED)

	require.NoError(t, m.Reconcile(t.Context()))
	require.Empty(t, m.Problems())
	after := m.Caches()[0]
	require.Equal(t, before.URL, after.URL)
	require.NotEqual(t, before.PID, after.PID)
	require.Equal(t, "value", connect(after.URL).Get(t.Context(), "key").Val())

	m.Stop(t.Context())
	require.Empty(t, ended, "who is stopped has not ended on its own")
}

func TestDataGoWithTheGroup(t *testing.T) {
	t.Parallel()
	redistest.Real(t)
	m, a, connect := setupEnding(t, func() {})
	a.deploy(t, "one")
	require.NoError(t, m.Reconcile(t.Context()))
	url := m.Caches()[0].URL
	require.NoError(t, connect(url).Set(t.Context(), "key", "value", 0).Err())

	a.groups[0].AuthTokenEnabled = new(true)
	a.parameters = map[string]string{"/loadbearing/dev/cache/secret": "arn:one"}
	a.secrets = map[string]string{"arn:one": "a-token"}
	require.NoError(t, m.Reconcile(t.Context()))
	with := strings.Replace(url, "rediss://", "rediss://:a-token@", 1)
	require.Equal(t, "value", connect(with).Get(t.Context(), "key").Val(), "another token keeps them")

	groups := a.groups
	a.groups = nil
	require.NoError(t, m.Reconcile(t.Context()))
	a.groups = groups
	require.NoError(t, m.Reconcile(t.Context()))
	require.ErrorIs(t, connect(with).Get(t.Context(), "key").Err(), client.Nil)
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	m, a, ping := setup(t)
	port := a.deploy(t, "one")
	a.deploy(t, "two")
	require.NoError(t, m.Reconcile(t.Context()))
	caches := m.Caches()
	require.Len(t, caches, 2)
	require.Equal(t, fmt.Sprintf("rediss://127.0.0.1:%d", port), caches[0].URL)
	for _, c := range caches {
		require.NoError(t, ping(c.URL))
		require.NotZero(t, c.PID)
		require.NotEmpty(t, c.Kind)
	}

	require.NoError(t, m.Reconcile(t.Context()))
	require.Equal(t, caches, m.Caches(), "again changes nothing")

	a.groups = slices.DeleteFunc(a.groups, func(g types.ReplicationGroup) bool { return *g.ReplicationGroupId == "one" })
	require.NoError(t, m.Reconcile(t.Context()))
	require.Equal(t, caches[1:], m.Caches())
	require.Error(t, ping(caches[0].URL))
	require.Empty(t, m.Problems())

	m.Stop(context.Background())
	require.Error(t, ping(caches[1].URL))
}

func TestAnEndpointThatAnswersIsLeftAlone(t *testing.T) {
	t.Parallel()
	m, a, _ := setup(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", a.deploy(t, "one")))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	require.NoError(t, m.Reconcile(t.Context()))
	require.Empty(t, m.Caches()[0].Kind)
	require.Zero(t, m.Caches()[0].PID)
}

func TestWhatCannotBeRunIsSaid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*types.ReplicationGroup)
		want   string
	}{
		"plain text":   {func(g *types.ReplicationGroup) { g.TransitEncryptionEnabled = nil }, "TLS only"},
		"cluster mode": {func(g *types.ReplicationGroup) { g.NodeGroups = append(g.NodeGroups, g.NodeGroups[0]) }, "without cluster mode"},
		"elsewhere": {func(g *types.ReplicationGroup) {
			g.NodeGroups[0].PrimaryEndpoint.Address = aws.String("a.cache.amazonaws.com")
		}, "no address of this machine"},
	} {
		m, a, _ := setup(t)
		a.deploy(t, "one")
		test.change(&a.groups[0])
		require.ErrorContains(t, m.Reconcile(t.Context()), test.want, name)
	}
}
