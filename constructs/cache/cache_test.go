package cache_test

import (
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/cache"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func vpc(stack awscdk.Stack) awsec2.IVpc {
	return network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true}).VPC
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{VPC: vpc(stack)})
	template := cdktest.Template(stack)

	template.HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"Engine":                   "valkey",
		"EngineVersion":            "8.1",
		"CacheNodeType":            "cache.m7g.large",
		"NumCacheClusters":         2,
		"AutomaticFailoverEnabled": true,
		"MultiAZEnabled":           true,
		"TransitEncryptionEnabled": true,
		"AtRestEncryptionEnabled":  true,
	})
	template.HasResourceProperties(new("AWS::ElastiCache::ParameterGroup"), map[string]any{
		"CacheParameterGroupFamily": "valkey8",
		"Properties":                map[string]any{"maxmemory-policy": "allkeys-lru"},
	})
	template.HasResourceProperties(new("AWS::ElastiCache::SubnetGroup"), map[string]any{
		"SubnetIds": []any{
			map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("isolatedSubnet1"))},
			map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("isolatedSubnet2"))},
		},
	})
	template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
		"Metrics": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{"Expression": "MAX([node1, node2])"})}),
	})
	require.Len(t, c.Alarms(), 3)
	require.Len(t, c.Widgets(), 3)
	require.NotEmpty(t, c.Endpoint())
	require.NotEmpty(t, c.ReaderEndpoint())
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	c := cache.New(stack, "Cache", cache.Props{VPC: v})
	c.AllowFrom(awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: v}))
	cdktest.Golden(t, stack, "cache")
}

func TestRedisWithoutReplicas(t *testing.T) {
	stack := cdktest.Stack(t)
	cache.New(stack, "Cache", cache.Props{
		VPC: vpc(stack), Engine: cache.Redis, Replicas: cache.NoReplicas,
		Parameters: map[string]string{"maxmemory-policy": "volatile-lru", "timeout": "60"},
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"Engine": "redis", "EngineVersion": "7.1", "NumCacheClusters": 1,
		"AutomaticFailoverEnabled": false, "MultiAZEnabled": false,
	})
	template.HasResourceProperties(new("AWS::ElastiCache::ParameterGroup"), map[string]any{
		"CacheParameterGroupFamily": "redis7",
		"Properties":                map[string]any{"maxmemory-policy": "volatile-lru", "timeout": "60"},
	})
}

func TestAllowFromOpensOnePort(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	c := cache.New(stack, "Cache", cache.Props{VPC: v})
	c.AllowFrom(awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: v}))
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::EC2::SecurityGroupIngress"), new(1.0))
	template.HasResourceProperties(new("AWS::EC2::SecurityGroupIngress"), map[string]any{
		"FromPort": 6379, "ToPort": 6379, "SourceSecurityGroupId": assertions.Match_AnyValue(),
	})
}

func TestOverrideHasTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	cache.New(stack, "Cache", cache.Props{VPC: vpc(stack), Override: func(p *awselasticache.CfnReplicationGroupProps) {
		p.AutoMinorVersionUpgrade = false
	}})
	cdktest.Template(stack).HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{"AutoMinorVersionUpgrade": false})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, cache.Props{VPC: vpc(stack), Parameters: map[string]string{"timeout": "60"}}, func(p cache.Props) {
		cache.New(stack, "Cache", p)
	})
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	cache.New(stack, "One", cache.Props{VPC: v})
	cache.New(stack, "Two", cache.Props{VPC: v})
	cdktest.Template(stack).ResourceCountIs(new("AWS::ElastiCache::ReplicationGroup"), new(2.0))
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := cache.Props{Engine: "memcached", NodeType: "m7g.large", Replicas: 6, SnapshotDays: 36, EvictionsAlarm: -1}
	require.EqualError(t, bad.Validate(), `cache: 6 fields are not valid
  VPC is "nil"; allowed: the VPC the cache stands in
  Engine is "memcached"; allowed: valkey, redis
  NodeType is "m7g.large"; allowed: a cache node type, such as cache.m7g.large
  Replicas is 6; allowed: 1 to 5
  SnapshotDays is 36; allowed: 0 to 35
  EvictionsAlarm is -1; allowed: 1 or more`)
	require.ErrorContains(t, cache.Props{Engine: cache.Redis, Version: "8.0"}.Validate(), `Version is "8.0"; allowed: 7.1, 7.0`)
	stack := cdktest.Stack(t)
	_ = cdktest.Panic[*cache.PropsError](t, func() { cache.New(stack, "Cache", cache.Props{}) })
}
