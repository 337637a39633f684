// Package cache makes an ElastiCache replication group of one shard: a primary
// and its replicas in other zones, TLS only, with automatic failover.
package cache

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Port the cache listens on.
const Port = 6379

// NoReplicas as Props.Replicas makes a single node, which loses its data when
// it fails and has nothing to fail over to.
const NoReplicas = -1

// maxReplicas of one shard, from the ElastiCache user guide ("Quotas").
const maxReplicas = 5

// Engine is what the nodes run.
type Engine string

// The engines. Valkey is the fork of Redis that AWS prices lower.
const (
	Valkey Engine = "valkey"
	Redis  Engine = "redis"
)

// versions are those each engine is offered in, the default first, with the
// family of their parameter groups.
func (e Engine) versions() []version {
	switch e {
	case Valkey:
		return []version{{"8.1", "valkey8"}, {"8.0", "valkey8"}, {"7.2", "valkey7"}}
	case Redis:
		return []version{{"7.1", "redis7"}, {"7.0", "redis7"}}
	default:
		return nil
	}
}

type version struct{ number, family string }

// Props configures a Cache. VPC is required; everything else has a production
// default.
type Props struct {
	// VPC the cache stands in, and the Subnets, default the isolated ones.
	VPC     awsec2.IVpc
	Subnets *awsec2.SubnetSelection

	// Engine, default Valkey.
	Engine Engine

	// Version of the engine: "8.1" (default), "8.0" or "7.2" for Valkey, "7.1"
	// (default) or "7.0" for Redis.
	Version string

	// NodeType as ElastiCache writes it. Default "cache.m7g.large".
	NodeType string

	// Replicas of the primary, 1 to 5, each in another zone while there are
	// zones, or NoReplicas. Default 1.
	Replicas int

	// SnapshotDays is how long daily snapshots are kept, 0 to 35. Default none:
	// what a cache holds can be computed again.
	SnapshotDays int

	// Key encrypts what nodes write to disk. Default the key that AWS manages.
	Key awskms.IKey

	// Parameters are added to the parameter group, or replace what is there:
	// maxmemory-policy is allkeys-lru, so that a full cache forgets instead of
	// refusing writes.
	Parameters map[string]string

	// EvictionsAlarm is the number of keys evicted in a minute above which the
	// alarm rings. Default 1000.
	EvictionsAlarm int

	// Override has the last word on the replication group.
	Override func(*awselasticache.CfnReplicationGroupProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Cache is an ElastiCache replication group. Clients connect with TLS; there is
// no password yet, so the security group decides who gets in.
type Cache struct {
	constructs.Construct
	Group          awselasticache.CfnReplicationGroup
	SubnetGroup    awselasticache.CfnSubnetGroup
	ParameterGroup awselasticache.CfnParameterGroup
	SecurityGroup  awsec2.ISecurityGroup

	nodes  int
	alarms []awscloudwatch.IAlarm
}

var nodeType = regexp.MustCompile(`^cache\.[a-z0-9]+\.[a-z0-9]+$`)

func (p Props) withDefaults() Props {
	p.Engine = cmp.Or(p.Engine, Valkey)
	if versions := p.Engine.versions(); p.Version == "" && len(versions) > 0 {
		p.Version = versions[0].number
	}
	p.NodeType = cmp.Or(p.NodeType, "cache.m7g.large")
	p.Replicas = cmp.Or(p.Replicas, 1)
	p.EvictionsAlarm = cmp.Or(p.EvictionsAlarm, 1000)
	return p
}

// family is the parameter group family of the version, empty when there is none.
func (p Props) family() string {
	for _, v := range p.Engine.versions() {
		if v.number == p.Version {
			return v.family
		}
	}
	return ""
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.VPC != nil, "VPC", "nil", "the VPC the cache stands in")
	cdkx.OneOf(&bad, "Engine", p.Engine, Valkey, Redis)
	if versions := p.Engine.versions(); len(versions) > 0 {
		numbers := make([]string, len(versions))
		for i, v := range versions {
			numbers[i] = v.number
		}
		cdkx.OneOf(&bad, "Version", p.Version, numbers...)
	}
	bad.Check(nodeType.MatchString(p.NodeType), "NodeType", p.NodeType, "a cache node type, such as cache.m7g.large")
	if p.Replicas != NoReplicas {
		cdkx.Between(&bad, "Replicas", p.Replicas, 1, maxReplicas)
	}
	cdkx.Between(&bad, "SnapshotDays", p.SnapshotDays, 0, 35)
	cdkx.AtLeast(&bad, "EvictionsAlarm", p.EvictionsAlarm, 1)
	return bad.Err("cache")
}

// New makes a Cache. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Cache {
	cdkx.Must(scope, id, "cache", props.Validate())
	props = props.withDefaults()
	c := &Cache{nodes: 1 + max(props.Replicas, 0)}
	constructs.NewConstruct_Override(c, scope, &id)
	c.SecurityGroup = awsec2.NewSecurityGroup(c, new("SecurityGroup"), &awsec2.SecurityGroupProps{
		Vpc:              props.VPC,
		Description:      new("Cache: only who was let in with AllowFrom"),
		AllowAllOutbound: new(false),
	})
	subnets := props.Subnets
	if subnets == nil {
		subnets = &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}
	}
	c.SubnetGroup = awselasticache.NewCfnSubnetGroup(c, new("Subnets"), &awselasticache.CfnSubnetGroupProps{
		Description: new("Subnets of the cache nodes"),
		SubnetIds:   cdkx.Any(*props.VPC.SelectSubnets(subnets).SubnetIds),
	})
	parameters := map[string]string{"maxmemory-policy": "allkeys-lru"}
	maps.Copy(parameters, props.Parameters)
	c.ParameterGroup = awselasticache.NewCfnParameterGroup(c, new("Parameters"), &awselasticache.CfnParameterGroupProps{
		CacheParameterGroupFamily: new(props.family()),
		Description:               new("Parameters of the cache nodes"),
		Properties:                cdkx.StringMap(parameters),
	})
	groupProps := &awselasticache.CfnReplicationGroupProps{
		ReplicationGroupDescription: new(*c.Node().Path()),
		Engine:                      new(string(props.Engine)),
		EngineVersion:               &props.Version,
		CacheNodeType:               &props.NodeType,
		NumCacheClusters:            cdkx.Number(c.nodes),
		AutomaticFailoverEnabled:    c.nodes > 1,
		MultiAzEnabled:              c.nodes > 1,
		TransitEncryptionEnabled:    true,
		AtRestEncryptionEnabled:     true,
		AutoMinorVersionUpgrade:     true,
		CacheSubnetGroupName:        c.SubnetGroup.Ref(),
		CacheParameterGroupName:     c.ParameterGroup.Ref(),
		SecurityGroupIds:            &[]*string{c.SecurityGroup.SecurityGroupId()},
		Port:                        cdkx.Number(Port),
		SnapshotRetentionLimit:      cdkx.Number(props.SnapshotDays),
	}
	if props.Key != nil {
		groupProps.KmsKeyId = props.Key.KeyArn()
	}
	c.Group = awselasticache.NewCfnReplicationGroup(c, new("Group"), cdkx.Override(groupProps, props.Override))
	c.watch(props)
	return c
}

// watch makes one alarm per metric over all nodes: which of them is the primary
// changes with every failover.
func (c *Cache) watch(props Props) {
	c.alarms = []awscloudwatch.IAlarm{
		cdkx.Alarm(c, "MemoryAlarm", cdkx.AlarmSpec{
			Metric:      c.highest("DatabaseMemoryUsagePercentage", "Maximum"),
			Description: "A node uses more than 80 % of its memory. Shorten TTLs, or take a larger node type.",
			Threshold:   80,
			Periods:     5,
		}),
		cdkx.Alarm(c, "EvictionsAlarm", cdkx.AlarmSpec{
			Metric: c.highest("Evictions", "Sum"),
			Description: fmt.Sprintf("A node evicts more than %d keys a minute: the working set does not fit.",
				props.EvictionsAlarm),
			Threshold: float64(props.EvictionsAlarm),
			Periods:   5,
		}),
		cdkx.Alarm(c, "CPUAlarm", cdkx.AlarmSpec{
			// The engine runs commands on one core; the host's own figure would
			// show a saturated engine on four cores as 25 %.
			Metric:      c.highest("EngineCPUUtilization", "Average"),
			Description: "The engine's core has been above 80 % for five minutes. Look at SLOWLOG, or shard.",
			Threshold:   80,
			Periods:     5,
		}),
	}
}

// highest is the highest value of a metric over all nodes.
func (c *Cache) highest(name, statistic string) awscloudwatch.IMetric {
	metrics := map[string]awscloudwatch.IMetric{}
	ids := make([]string, c.nodes)
	for i, metric := range c.metrics(name, statistic) {
		ids[i] = fmt.Sprintf("node%d", i+1)
		metrics[ids[i]] = metric
	}
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression:   new("MAX([" + strings.Join(ids, ", ") + "])"),
		UsingMetrics: &metrics,
		Label:        &name,
		Period:       cdkx.Duration(time.Minute),
	})
}

// metrics is one metric for each node. ElastiCache names the nodes of a group
// of one shard after it, with three digits.
func (c *Cache) metrics(name, statistic string) []awscloudwatch.IMetric {
	all := make([]awscloudwatch.IMetric, c.nodes)
	for i := range all {
		node := fmt.Sprintf("%03d", i+1)
		all[i] = cdkx.Metric(cdkx.MetricSpec{
			Namespace:  "AWS/ElastiCache",
			Name:       name,
			Dimensions: map[string]string{"CacheClusterId": *c.Group.Ref() + "-" + node},
			Statistic:  statistic,
			Label:      node,
		})
	}
	return all
}

// AllowFrom lets a security group, or anything that has one, connect.
func (c *Cache) AllowFrom(peer awsec2.IConnectable) {
	c.SecurityGroup.Connections().AllowFrom(peer, awsec2.Port_Tcp(cdkx.Number(Port)), new("Cache"))
}

// Endpoint is host:port of the primary; it follows a failover.
func (c *Cache) Endpoint() string {
	return *c.Group.AttrPrimaryEndPointAddress() + ":" + *c.Group.AttrPrimaryEndPointPort()
}

// ReaderEndpoint is host:port over all replicas.
func (c *Cache) ReaderEndpoint() string {
	return *c.Group.AttrReaderEndPointAddress() + ":" + *c.Group.AttrReaderEndPointPort()
}

// Alarms are memory, evictions and CPU of the busiest node.
func (c *Cache) Alarms() []awscloudwatch.IAlarm { return slices.Clone(c.alarms) }

// Widgets show memory, hits and misses, and CPU of every node.
func (c *Cache) Widgets() []awscloudwatch.IWidget {
	title := *c.Node().Id()
	return []awscloudwatch.IWidget{
		cdkx.Graph(title+": memory in %", c.metrics("DatabaseMemoryUsagePercentage", "Maximum")...),
		cdkx.Graph(title+": hit rate in %", c.metrics("CacheHitRate", "Average")...),
		cdkx.Graph(title+": CPU of the engine in %", c.metrics("EngineCPUUtilization", "Average")...),
	}
}
