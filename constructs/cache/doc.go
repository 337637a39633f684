// Package cache makes an ElastiCache replication group, of one shard or in
// cluster mode: primaries with replicas in other zones, over TLS only.
//
// Clients authenticate with a token that it generates, or as users with rights
// of their own. A failed primary is replaced by a replica, a full cache forgets
// what was not used for longest, and both logs go to CloudWatch.
//
// Text fields accept tokens, but for Version, on which the parameter group
// depends. A number that only a deployment knows goes through the Override.
//
// # Coverage
//
//	want | how
//	Valkey or Redis OSS, version | Engine, Version
//	Memcached | not this construct
//	ElastiCache Serverless | not this construct: use the L1
//	node type | NodeType
//	data tiering | Override: DataTieringEnabled
//	replicas, automatic failover, several zones | Replicas; always with one
//	cluster mode, shards added and removed while it runs | Shards
//	slots and zones of each shard | Override: NodeGroupConfiguration
//	other Regions (global datastore) | Override: GlobalReplicationGroupId
//	encryption in transit | always
//	a time in which clear text is accepted too | Override: TransitEncryptionMode
//	encryption at rest, own key | always; Key
//	AUTH token | Authentication: AuthToken, the default; Secret, GrantReadSecret
//	users with rights of their own (RBAC) | Authentication: Users; Username, Access, AddUser
//	users that sign in with IAM | use the L1 of a user, and UserGroup
//	rotation of the token or password | by hand: see Migrate
//	subnets, subnet group, security group of one's own | Subnets, SubnetGroup, SecurityGroup
//	dual-stack network | Override: NetworkType, IpDiscovery
//	port | Port
//	parameter group, existing one | Parameters, ParameterGroup
//	eviction policy | always allkeys-lru; Parameters: maxmemory-policy
//	daily snapshots | SnapshotDays, SnapshotWindow
//	final snapshot | always, unless AllowDeletion or NoSnapshots
//	filled from a snapshot | Snapshot; Override: SnapshotArns for a file in S3
//	maintenance window, minor versions | MaintenanceWindow; always
//	slow log and engine log | always, unless NoLogs; LogRetention
//	logs to Firehose | Override: LogDeliveryConfigurations
//	events to a topic | EventTopic
//	fixed name | Override: ReplicationGroupId
//	Auto Scaling of shards and replicas | use awsapplicationautoscaling with Group
//	alarms on memory, evictions, CPU, connections, swap | always
//	alarms on replication lag, failed authentication | always, where there is either
//	CPU credits of burstable nodes | not watched: they are billed, not slowed down
//	dashboard | Widgets
//
// # Cost
//
//   - Nodes by the hour: each shard has its primary and its replicas. Valkey is a
//     fifth cheaper than Redis.
//   - Snapshots by the GiB and month, beyond the one that is free.
//   - Traffic between zones, to clients and to replicas of other zones.
//   - Logs by the GiB; the slow log grows with what is slow.
//   - A month of each secret, and 7 alarms of a metric for each node of a shard.
//
// # Migrate
//
// An existing replication group comes under this construct with `cdk import`, as
// the L1 with the id Group; set Authentication to what it has, because
// CloudFormation replaces a cache that gets a token. Or make a new one from its
// snapshot with Snapshot. Existing groups and keys are passed in.
//
// To change the token: give ElastiCache a second one (modify-replication-group
// --auth-token-update-strategy ROTATE), which it takes beside the first; put it
// into Secret; restart the clients; then let it forget the first (SET). Users have
// two passwords in the same way (modify-user --passwords).
//
// The logical ids of Group and Secret, which follow from the construct's path,
// never change. CloudFormation replaces the cache when Key, Port, Snapshot,
// subnet group or cluster mode change, and moves nothing over: the new one is
// empty, and the old one's final snapshot stays.
package cache
