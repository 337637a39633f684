// Package elasticache runs a Redis or Valkey, or miniredis where there is
// neither, at the primary endpoint of each deployed replication group. There
// are no replicas: a reader endpoint that differs from the primary's has
// nothing behind it, and where one would take over, a server that has ended
// is started again with its data.
package elasticache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticache"
	"github.com/aws/aws-sdk-go-v2/service/elasticache/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/redis"
)

// API is the parts of AWS that are read.
type API struct {
	Groups     GroupAPI
	Parameters ParameterAPI
	Secrets    SecretAPI
}

// GroupAPI is the part of ElastiCache that is read.
type GroupAPI interface {
	DescribeReplicationGroups(context.Context, *elasticache.DescribeReplicationGroupsInput, ...func(*elasticache.Options)) (*elasticache.DescribeReplicationGroupsOutput, error)
}

// ParameterAPI is the part of SSM that is read.
type ParameterAPI interface {
	GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// SecretAPI is the part of Secrets Manager that is read.
type SecretAPI interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// NewAPI returns the API of an account.
func NewAPI(cfg aws.Config) API {
	return API{elasticache.NewFromConfig(cfg), ssm.NewFromConfig(cfg), secretsmanager.NewFromConfig(cfg)}
}

// Options of a Manager. All but Program, Ended and Log are required.
type Options struct {
	API API
	// Environment whose parameter names the secret that holds the AUTH token:
	// ElastiCache tells that there is one, and not which.
	Environment string
	Runner      *process.Runner
	CA          *certificates.CA
	Program     redis.Program // what redis.Install found; default miniredis
	Ended       func()        // called when a server has ended that nobody stopped; default nothing
	Log         *slog.Logger  // default slog.Default
}

// Cache is one replication group.
type Cache struct {
	ID   string     // replication group id
	Kind redis.Kind // "" when the emulator runs it
	URL  string     // rediss://host:port
	PID  int        // 0 when the emulator runs it
	Note string     // why it is miniredis, else empty
}

// Manager runs the servers.
type Manager struct {
	o Options

	reconciling sync.Mutex
	mu          sync.Mutex // guards what follows
	servers     map[string]*server
	caches      []Cache
}

type server struct {
	*redis.Server
	token    string
	stopping bool
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

// Reconcile makes the servers those that are deployed: it starts what is new
// or has ended, this with its data, and stops and removes what is gone. A
// server that somebody else runs at an endpoint is left alone. It returns when every server answers.
func (m *Manager) Reconcile(ctx context.Context) error {
	m.reconciling.Lock()
	defer m.reconciling.Unlock()
	deployed, err := m.read(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	old := map[string]*server{}
	for id, s := range m.servers {
		if want := deployed[id]; want.addr != s.Addr || want.token != s.token || !s.running() {
			s.stopping = true
			old[id] = s
			delete(m.servers, id)
		}
	}
	m.mu.Unlock()
	for id, s := range old {
		s.Stop(ctx)
		if _, changed := deployed[id]; changed {
			continue // another token or port: the data stay
		}
		if err := s.Remove(); err != nil {
			return fmt.Errorf("replication group %s: remove its data: %w", id, err)
		}
	}
	var caches []Cache
	for _, id := range slices.Sorted(maps.Keys(deployed)) {
		c, err := m.bring(ctx, id, deployed[id])
		if err != nil {
			return err
		}
		caches = append(caches, c)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.caches = caches
	return nil
}

// group is a replication group as it is deployed.
type group struct {
	addr  string // of its primary, host:port
	token string // clients send it with AUTH; "" without
}

// read returns the replication groups by id.
func (m *Manager) read(ctx context.Context) (map[string]group, error) {
	deployed := map[string]group{}
	pages := elasticache.NewDescribeReplicationGroupsPaginator(m.o.API.Groups, &elasticache.DescribeReplicationGroupsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list replication groups: %w", err)
		}
		for _, g := range page.ReplicationGroups {
			id := aws.ToString(g.ReplicationGroupId)
			var d group
			if d.addr, err = endpoint(g); err != nil {
				return nil, fmt.Errorf("replication group %s: %w", id, err)
			}
			if aws.ToBool(g.AuthTokenEnabled) {
				if d.token, err = m.token(ctx); err != nil {
					return nil, fmt.Errorf("replication group %s: read its AUTH token: %w", id, err)
				}
			}
			deployed[id] = d
		}
	}
	return deployed, nil
}

// token reads the environment's AUTH token.
func (m *Manager) token(ctx context.Context) (string, error) {
	name := contract.CacheSecret.Parameter(m.o.Environment)
	parameter, err := m.o.API.Parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if err != nil || parameter.Parameter == nil {
		return "", fmt.Errorf("parameter %s names no secret: %w", name, cmp.Or(err, errors.New("it has no value")))
	}
	secret, err := m.o.API.Secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: parameter.Parameter.Value})
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", aws.ToString(parameter.Parameter.Value), err)
	}
	return aws.ToString(secret.SecretString), nil
}

func endpoint(g types.ReplicationGroup) (string, error) {
	if !aws.ToBool(g.TransitEncryptionEnabled) {
		return "", errors.New("it has no encryption in transit; servers here speak TLS only")
	}
	if len(g.NodeGroups) != 1 || g.NodeGroups[0].PrimaryEndpoint == nil {
		return "", fmt.Errorf("it has %d node groups with a primary endpoint to be read; one is run here, without cluster mode", len(g.NodeGroups))
	}
	e := g.NodeGroups[0].PrimaryEndpoint
	host := strings.Replace(aws.ToString(e.Address), "localhost", "127.0.0.1", 1)
	if host != "127.0.0.1" {
		return "", fmt.Errorf("its endpoint %s is no address of this machine; the emulator must answer 127.0.0.1, as the one `make up` starts does", host)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(aws.ToInt32(e.Port)))), nil
}

// bring makes one replication group run.
func (m *Manager) bring(ctx context.Context, id string, want group) (Cache, error) {
	addr := want.addr
	m.mu.Lock()
	s := m.servers[id]
	m.mu.Unlock()
	if s == nil {
		if process.Listening(ctx, addr) {
			m.o.Log.Info("somebody else runs the server of this replication group: it is left alone", "id", id, "addr", addr)
			return Cache{ID: id, URL: "rediss://" + addr}, nil
		}
		started, err := redis.Start(ctx, redis.Options{
			Runner: m.o.Runner, CA: m.o.CA, Name: "redis-" + id, Addr: addr, Token: want.token, Program: m.o.Program,
		})
		if err != nil {
			return Cache{}, fmt.Errorf("replication group %s: %w", id, err)
		}
		if started.Note != "" {
			m.o.Log.Warn("the cache is miniredis, in this process: it speaks Redis' protocol, and is no measure of its speed, memory or eviction", "id", id, "why", started.Note)
		}
		s = &server{Server: started, token: want.token}
		m.mu.Lock()
		m.servers[id] = s
		m.mu.Unlock()
		go m.watch(id, s)
	}
	return Cache{ID: id, Kind: s.Kind, URL: s.URL, PID: s.PID, Note: s.Note}, nil
}

// watch says at once when a server ends that nobody stopped.
func (m *Manager) watch(id string, s *server) {
	<-s.Done()
	m.mu.Lock()
	stopping := s.stopping
	m.mu.Unlock()
	if !stopping {
		m.o.Log.Error(problem(id, s))
		m.o.Ended()
	}
}

func problem(id string, s *server) string {
	return fmt.Sprintf("%s of replication group %s (pid %d, %s) has ended; it is started again with its data", s.Kind, id, s.PID, s.Addr)
}

func (s *server) running() bool {
	select {
	case <-s.Done():
		return false
	default:
		return true
	}
}

// Caches returns the replication groups as of the last Reconcile, by id.
func (m *Manager) Caches() []Cache {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.caches)
}

// Problems names the servers that have ended though nobody stopped them, with
// what to do.
func (m *Manager) Problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, id := range slices.Sorted(maps.Keys(m.servers)) {
		if s := m.servers[id]; !s.running() && !s.stopping {
			all = append(all, problem(id, s))
		}
	}
	return all
}

// Stop ends every server and returns when they have ended.
func (m *Manager) Stop(ctx context.Context) {
	m.reconciling.Lock()
	defer m.reconciling.Unlock()
	m.mu.Lock()
	servers := m.servers
	m.servers, m.caches = map[string]*server{}, nil
	for _, s := range servers {
		s.stopping = true
	}
	m.mu.Unlock()
	for _, s := range servers {
		s.Stop(ctx)
	}
}
