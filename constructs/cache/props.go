package cache

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/internal/window"
)

// Port the cache listens on by default.
const Port = 6379

// Values of Props fields that leave out what the zero value has.
const (
	// NoReplicas makes single nodes, which lose their data when they fail and
	// have nothing to fail over to.
	NoReplicas  = -1
	NoSnapshots = -1
)

// Limits of ElastiCache, from its user guide ("Quotas", "Backup constraints").
const (
	maxReplicas     = 5
	maxNodes        = 500 // of a cluster; 90 until the account's quota is raised
	maxSnapshotDays = 35
	minPort         = 1150
	maxPort         = 65535
)

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

// Authentication is how clients prove who they are, beside the security group
// that lets them connect.
type Authentication string

// Ways to authenticate.
const (
	// AuthToken is one password for all clients. Secret holds the token and
	// nothing else, 64 letters and digits.
	AuthToken Authentication = "token"
	// Users are named and have rights (RBAC). Secret is JSON with username and
	// password of the first one; AddUser makes more. The user "default", whom a
	// client without a name is, is off.
	Users Authentication = "users"
	// NoAuthentication leaves it to the security group.
	NoAuthentication Authentication = "none"
)

// Props configures a Cache. VPC is required; everything else has a production
// default.
type Props struct {
	// VPC the cache stands in, and the Subnets, default the isolated ones.
	VPC     awsec2.IVpc
	Subnets *awsec2.SubnetSelection

	// SubnetGroup and ParameterGroup are the names of existing ones to use. A
	// SubnetGroup replaces Subnets, a ParameterGroup replaces Parameters. Default
	// new ones.
	SubnetGroup    string
	ParameterGroup string

	// SecurityGroup is an existing one to use. Default a new one.
	SecurityGroup awsec2.ISecurityGroup

	// Engine, default Valkey.
	Engine Engine

	// Version of the engine: "8.1", "8.0" or "7.2" for Valkey, "7.1" or "7.0" for
	// Redis. Default "8.1" for Valkey, "7.1" for Redis.
	Version string

	// NodeType as ElastiCache writes it. Default "cache.m7g.large".
	NodeType string

	// Shards turns cluster mode on, with that many shards, and needs clients that
	// speak to clusters: 1 to 500 with no more than 500 nodes in all, of which an
	// account has 90 until its quota is raised. Default 0: one shard without
	// cluster mode. Their number can change later, from 1 on; from 0 it cannot.
	Shards int

	// Replicas of each primary, 1 to 5, each in another zone while there are
	// zones, or NoReplicas. Default 1. With one, a failing primary is replaced by
	// it within a minute or so.
	Replicas int

	// Port the nodes listen on, 1150 to 65535. Default 6379. CloudFormation
	// replaces a cache whose port changes.
	Port int

	// Authentication of clients. Default AuthToken. CloudFormation replaces a
	// cache that gets a token; a user group is added to it while it runs.
	Authentication Authentication

	// Username of the first user, for Users: 1 to 40 letters, digits and
	// hyphens, a letter first, and not "default". Default "app".
	Username string

	// Access of the first user, for Users, as an access string of Redis' ACL.
	// Default "on ~* &* +@all -@admin -@dangerous +info": all keys and channels,
	// without commands that see or change the whole server.
	Access string

	// SnapshotDays is how long daily snapshots are kept, 1 to 35, or
	// NoSnapshots. Default 7. They spare a new cache the time when nothing is in
	// it.
	SnapshotDays int

	// SnapshotWindow is when the daily snapshot is taken, in UTC, at least an
	// hour: "03:00-04:00". Default one that ElastiCache picks.
	SnapshotWindow string

	// MaintenanceWindow is when nodes are patched, in UTC, 1 to 24 hours, apart
	// from the SnapshotWindow: "sun:05:00-sun:06:00". Default one that
	// ElastiCache picks.
	MaintenanceWindow string

	// Snapshot is the name of the snapshot that the cache is filled from when it
	// is made. Default none: it starts empty. CloudFormation replaces a cache whose
	// Snapshot changes.
	Snapshot string

	// Key encrypts what nodes write to disk, the secrets and the logs; its
	// policy must let CloudWatch Logs use it, as package encryption's does.
	// Default the keys that AWS manages. CloudFormation replaces a cache whose
	// key changes.
	Key awskms.IKey

	// AllowDeletion lets a deletion of the stack delete the cache, its logs and
	// everything in it. Default a final snapshot, which a cache that is replaced
	// gets too; there is none with NoSnapshots.
	AllowDeletion bool

	// Parameters are added to the parameter group, or replace what is there:
	// maxmemory-policy is allkeys-lru, so that a full cache forgets instead of
	// refusing writes. Default none besides.
	Parameters map[string]string

	// NoLogs leaves out the slow log and the engine's log.
	NoLogs bool

	// LogRetention is how long the logs are kept. Default one month.
	LogRetention awslogs.RetentionDays

	// EventTopic receives the events of the nodes: failover, replacement,
	// maintenance and more. It must be of the same account. Default none.
	EventTopic awssns.ITopic

	// EvictionsAlarm is the number of keys evicted in a minute above which the
	// alarm rings. Default 1000.
	EvictionsAlarm int

	// ConnectionsAlarm is the number of connections to one node above which the
	// alarm rings. Default 10000; a node takes 65,000.
	ConnectionsAlarm int

	// LagAlarm is how far a replica may be behind before the alarm rings. Default
	// 10 s.
	LagAlarm time.Duration

	// Override has the last word on the replication group.
	Override func(*awselasticache.CfnReplicationGroupProps)

	// Overrides have the last word on what stands beside it.
	Overrides Overrides
}

// Overrides are functions that change what the construct gives CDK, as the last
// ones to do so.
type Overrides struct {
	SecurityGroup  func(*awsec2.SecurityGroupProps)
	SubnetGroup    func(*awselasticache.CfnSubnetGroupProps)
	ParameterGroup func(*awselasticache.CfnParameterGroupProps)
	Secret         func(*awssecretsmanager.SecretProps) // of the token, and of every user
	User           func(*awselasticache.CfnUserProps)   // "default" too
	UserGroup      func(*awselasticache.CfnUserGroupProps)
	LogGroup       func(*awslogs.LogGroupProps) // of both logs
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	nodeType      = regexp.MustCompile(`^cache\.[a-z0-9-]+\.[a-z0-9]+$`)
	userName      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,39}$`)
	accessString  = regexp.MustCompile(`^(on|off)( \S+)*$`)
	parameterName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	groupName     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.-]{0,254}$`)
	snapshotName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.:-]*$`)
)

const (
	allowedUser   = "1 to 40 letters, digits and hyphens, a letter first, and not default"
	allowedAccess = `an access string of Redis' ACL that begins with on or off, such as "on ~app:* +@read"`
	defaultAccess = "on ~* &* +@all -@admin -@dangerous +info"
)

func (p Props) withDefaults() Props {
	p.Engine = cmp.Or(p.Engine, Valkey)
	if versions := p.Engine.versions(); p.Version == "" && len(versions) > 0 {
		p.Version = versions[0].number
	}
	p.NodeType = cmp.Or(p.NodeType, "cache.m7g.large")
	p.Replicas = cmp.Or(p.Replicas, 1)
	p.Port = cmp.Or(p.Port, Port)
	p.Authentication = cmp.Or(p.Authentication, AuthToken)
	if p.Authentication == Users {
		p.Username = cmp.Or(p.Username, "app")
		p.Access = cmp.Or(p.Access, defaultAccess)
	}
	p.SnapshotDays = cmp.Or(p.SnapshotDays, 7)
	p.LogRetention = cmp.Or(p.LogRetention, awslogs.RetentionDays_ONE_MONTH)
	p.EvictionsAlarm = cmp.Or(p.EvictionsAlarm, 1000)
	p.ConnectionsAlarm = cmp.Or(p.ConnectionsAlarm, 10000)
	p.LagAlarm = cmp.Or(p.LagAlarm, 10*time.Second)
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

func (p Props) parameters() map[string]string {
	all := map[string]string{"maxmemory-policy": "allkeys-lru"}
	if p.Shards > 0 {
		all["cluster-enabled"] = "yes"
	}
	maps.Copy(all, p.Parameters)
	return all
}

// nodes of one shard.
func (p Props) nodes() int { return 1 + max(p.Replicas, 0) }

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.VPC != nil, "VPC", "nil", "the VPC the cache stands in")
	if p.SubnetGroup != "" {
		cdkx.Matches(&bad, "SubnetGroup", p.SubnetGroup, groupName, "the name of a cache subnet group")
	}
	if p.ParameterGroup != "" {
		cdkx.Matches(&bad, "ParameterGroup", p.ParameterGroup, groupName, "the name of a cache parameter group")
	}
	cdkx.OneOf(&bad, "Engine", p.Engine, Valkey, Redis)
	if versions := p.Engine.versions(); len(versions) > 0 {
		numbers := make([]string, len(versions))
		for i, v := range versions {
			numbers[i] = v.number
		}
		cdkx.OneOf(&bad, "Version", p.Version, numbers...)
	}
	cdkx.Matches(&bad, "NodeType", p.NodeType, nodeType, "a cache node type, such as cache.m7g.large")
	cdkx.Between(&bad, "Shards", p.Shards, 0, maxNodes/p.nodes())
	if p.Replicas != NoReplicas {
		cdkx.Between(&bad, "Replicas", p.Replicas, 1, maxReplicas)
	}
	cdkx.Between(&bad, "Port", p.Port, minPort, maxPort)
	cdkx.OneOf(&bad, "Authentication", p.Authentication, AuthToken, Users, NoAuthentication)
	if p.Authentication == Users {
		validateUser(&bad, p.Username, p.Access)
	} else {
		bad.Check(p.Username == "", "Username", p.Username, "nothing, without Authentication Users")
		bad.Check(p.Access == "", "Access", p.Access, "nothing, without Authentication Users")
	}
	if p.SnapshotDays != NoSnapshots {
		cdkx.Between(&bad, "SnapshotDays", p.SnapshotDays, 1, maxSnapshotDays)
	}
	p.validateWindows(&bad)
	if p.Snapshot != "" {
		cdkx.Matches(&bad, "Snapshot", p.Snapshot, snapshotName, "the name of a snapshot")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Parameters)) {
		switch {
		case name == "cluster-enabled":
			bad.Add("Parameters["+name+"]", p.Parameters[name], "set by Shards")
		case !parameterName.MatchString(name):
			bad.Add("Parameters["+name+"]", p.Parameters[name], "the name of a parameter, such as timeout")
		}
	}
	cdkx.AtLeast(&bad, "EvictionsAlarm", p.EvictionsAlarm, 1)
	cdkx.Between(&bad, "ConnectionsAlarm", p.ConnectionsAlarm, 1, 65000)
	cdkx.AtLeast(&bad, "LagAlarm", p.LagAlarm, time.Second)
	return bad.Err("cache")
}

func validateUser(bad *cdkx.Problems, name, access string) {
	if strings.EqualFold(name, "default") {
		bad.Add("Username", name, allowedUser)
	} else {
		cdkx.Matches(bad, "Username", name, userName, allowedUser)
	}
	cdkx.Matches(bad, "Access", access, accessString, allowedAccess)
}

func (p Props) validateWindows(bad *cdkx.Problems) {
	const daily = "hh:mm-hh:mm in UTC, at least an hour, such as 03:00-04:00"
	const weekly = "ddd:hh:mm-ddd:hh:mm in UTC, 1 to 24 hours, such as sun:05:00-sun:06:00"
	snapshot, maintenance := window.Window{}, window.Window{}
	if p.SnapshotWindow != "" && !cdkx.Unresolved(p.SnapshotWindow) {
		var ok bool
		snapshot, ok = window.Daily(p.SnapshotWindow)
		bad.Check(ok && snapshot.Length >= time.Hour, "SnapshotWindow", p.SnapshotWindow, daily)
	}
	if p.MaintenanceWindow != "" && !cdkx.Unresolved(p.MaintenanceWindow) {
		var ok bool
		maintenance, ok = window.Weekly(p.MaintenanceWindow)
		bad.Check(ok && maintenance.Length >= time.Hour && maintenance.Length <= 24*time.Hour, "MaintenanceWindow", p.MaintenanceWindow, weekly)
	}
	bad.Check(!maintenance.Overlaps(snapshot), "MaintenanceWindow", p.MaintenanceWindow, "a window apart from the SnapshotWindow "+p.SnapshotWindow)
}
