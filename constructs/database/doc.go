// Package database makes an RDS for PostgreSQL primary with read replicas, or
// several such shards, in subnets without a route out, over TLS only.
//
// It generates the owner's credentials and rotates them, sets what replication
// and the search for slow statements need, takes backups of two kinds, and
// watches every instance. The service's own role gets a secret with
// AddRoleSecret, or AddRotatedRoleSecret; AddProxy pools connections.
//
// Text fields accept tokens, but for Version, on which parameter groups depend.
// A number that only a deployment knows goes through the Override.
//
// # Coverage
//
//	want | how
//	engine version, minor versions kept current | Version; always
//	instance class, another one for replicas | InstanceType, ReplicaInstanceType
//	standby in another zone | always, unless SingleAZ
//	read replicas | Replicas
//	shards | Shards
//	replicas in other Regions, cascading replicas | use the L2 with Primary; OverrideReplica
//	storage gp3 or io2, IOPS, throughput | Storage, StorageGiB, IOPS, ThroughputMiB
//	storage autoscaling | MaxStorageGiB
//	encryption at rest, own key | always; Key
//	encryption in transit | always (rds.force_ssl), CACertificate
//	subnets, subnet group, security group of one's own | Subnets, SubnetGroup, SecurityGroup
//	public access | Override: PubliclyAccessible
//	port | Port
//	dual-stack network | Override: NetworkType
//	parameter group for replication, slow statements, pg_stat_statements | always; Parameters, ReplicaParameters, SlowStatement
//	auto_explain | ExplainSlow
//	existing parameter groups | ParameterGroup, ReplicaParameterGroup
//	option group | Override: OptionGroup; PostgreSQL has no options
//	owner's password generated and rotated | always, unless NoRotateMaster; RotateMaster
//	owner's password managed by RDS | Override: ManageMasterUserPassword, with NoReplicas
//	secrets of further roles, rotated or not | AddRoleSecret, AddRotatedRoleSecret
//	sign-in with IAM | IAMAuth, GrantConnect
//	Kerberos | Override: Domain, DomainRole
//	connection pooling | AddProxy
//	point-in-time recovery | BackupDays, BackupWindow
//	copies for longer, that nobody can delete | MonthlyBackups, BackupVault
//	locked vault, copies to other accounts and Regions | Overrides: BackupVault (LockConfiguration), BackupPlan
//	final snapshot, deletion protection, kept backups | always, unless AllowDeletion
//	creation from a snapshot | Snapshots
//	maintenance window | MaintenanceWindow
//	major upgrades | AllowMajorUpgrade, or a blue/green deployment
//	Extended Support declined | Override: EngineLifecycleSupport
//	logs in CloudWatch | always: postgresql, upgrade
//	retention of these logs | Override: CloudwatchLogsRetention, which is a custom resource
//	enhanced monitoring | Monitoring, MonitoringRole
//	Performance Insights, now Database Insights | always, 7 days; AdvancedInsights for 15 months
//	events to a topic | EventTopic
//	S3 import and export, Lambda invocation | Override: S3ImportBuckets, S3ExportBuckets
//	alarms on CPU, storage, memory, connections, I/O queue, CPU credits | always
//	alarms on transaction id wraparound, replication slots, replica lag | always
//	alarms on the proxy: connections in use, pinned, refused | always, with AddProxy
//	deadlocks, lock waits | the PostgreSQL log (log_lock_waits) and Database Insights; RDS for PostgreSQL has no CloudWatch metric of them
//	burst balance | gp3 and io2 have none
//	dashboard | Widgets
//	Aurora, Multi-AZ DB clusters | not this construct
//
// # Cost
//
//   - Instances by the hour: each shard is a primary, twice with its standby, and
//     its replicas.
//   - Storage by the GiB and month, twice with a standby, and again for each
//     replica; IOPS and throughput beyond what gp3 includes; all IOPS of io2.
//   - Backups beyond the size of the storage, and the monthly copies, by the GiB.
//   - Database Insights in advanced mode, by vCPU; the 7 days are free.
//   - Enhanced monitoring and logs, by the GiB that CloudWatch Logs takes in.
//   - A proxy, by vCPU of its primary and hour.
//   - A month of each secret, and 13 alarms for a primary with one replica.
//   - A major version past its standard support costs by vCPU (Extended Support).
//
// # Migrate
//
// An existing instance comes under this construct with `cdk import`, or as a copy
// of its data: take a DB snapshot and set Snapshots. Existing groups, roles, keys
// and vaults are passed in.
//
// To a new major version there are two ways. In place: try it on a copy made with
// Snapshots first, then change Version and set AllowMajorUpgrade for one
// deployment; the primary stands still for minutes and its replicas follow it.
// With a blue/green deployment of RDS, which this stack does not know: make one
// of the primary, with a parameter group of the new family, switch over, and then
// change Version and deploy, which finds everything done.
//
// These logical ids, which follow from the construct's path, never change: of the
// instances (Primary, Replica1, Shard1Primary, Shard1Replica1 and so on), of the
// secrets (AdminSecret, Shard1AdminSecret) and of BackupVault. CloudFormation
// replaces an instance by an empty one when Key, Port, Name, Username or Snapshots
// change; what was in it is in a final snapshot then, or gone with AllowDeletion.
package database
