package database

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsbackup"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/internal/window"
)

// Port PostgreSQL listens on by default.
const Port = 5432

// Values of Props fields that leave out what the zero value has.
const (
	NoReplicas       = -1
	NoStorageGrowth  = -1
	NoMonitoring     = time.Duration(-1)
	NoMonthlyBackups = -1
)

// StorageType is the kind of volume below an instance.
type StorageType string

// The storage types.
const (
	GP3 StorageType = "gp3" // general purpose, billed by size
	IO2 StorageType = "io2" // steady latency below a millisecond, billed by size and IOPS
)

// Certificate authorities of RDS, as it names them.
const (
	RSA2048 = "rds-ca-rsa2048-g1"
	RSA4096 = "rds-ca-rsa4096-g1"
	ECC384  = "rds-ca-ecc384-g1"
)

// Limits of RDS for PostgreSQL, from its user guide ("Quotas and constraints",
// "Working with DB instance read replicas", "Amazon RDS DB instance storage").
const (
	maxShards     = 40 // DB instances of an account in a Region, by default
	maxReplicas   = 15
	minStorageGiB = 20
	maxStorageGiB = 65536
	maxBackupDays = 35
	minPort       = 1150
	maxPort       = 65535

	// gp3 below the threshold has 3,000 IOPS and 125 MiB/s, which cannot be
	// changed. RDS stripes larger storage over four volumes.
	gp3ThresholdGiB     = 400
	gp3MinIOPS          = 12000
	gp3MaxIOPS          = 64000
	gp3MinThroughput    = 500
	gp3MaxThroughput    = 4000
	gp3IOPSPerMiBSecond = 4

	io2MinStorageGiB = 100
	io2MinIOPS       = 1000
	io2MaxIOPS       = 256000
	io2MaxIOPSPerGiB = 1000
)

// Props configures a Database. VPC is required; everything else has a
// production default.
type Props struct {
	// VPC the database stands in, and the Subnets, default the isolated ones.
	VPC     awsec2.IVpc
	Subnets *awsec2.SubnetSelection

	// RotationSubnets are where the rotation functions run. They need a route or
	// an endpoint to Secrets Manager. Default the private subnets.
	RotationSubnets *awsec2.SubnetSelection

	// SubnetGroup, SecurityGroup and MonitoringRole are existing ones to use.
	// Default new ones. A SubnetGroup replaces Subnets.
	SubnetGroup    awsrds.ISubnetGroup
	SecurityGroup  awsec2.ISecurityGroup
	MonitoringRole awsiam.IRole

	// ParameterGroup and ReplicaParameterGroup are existing ones to use, of the
	// family postgres<Version>. With one, Parameters, SlowStatement and the other
	// fields that end in a parameter have no effect on the instances that use it.
	// Default new ones; replicas use an existing ParameterGroup when there is no
	// ReplicaParameterGroup, because some parameters must not differ.
	ParameterGroup        awsrds.IParameterGroup
	ReplicaParameterGroup awsrds.IParameterGroup

	// Shards is the number of primaries, 1 to 40, each with replicas and an
	// owner's secret of its own and nothing in common but groups and roles. The
	// application picks one by its key. Default 1. A shard that is taken away is
	// deleted as the database would be: see AllowDeletion.
	Shards int

	// Version is the major version, "16" to "18". Default "17". RDS picks the
	// minor version and keeps it current in the maintenance window.
	Version string

	// AllowMajorUpgrade lets a change of Version upgrade the instances in place,
	// with minutes without them. Without it the deployment fails and changes
	// nothing. Set it for that one deployment; see Migrate for other ways.
	AllowMajorUpgrade bool

	// Snapshots are the DB snapshots that the shards are created from, by name or
	// ARN: none, or one for each shard. Default none. The snapshot's Name and Username stay;
	// Username must be the one it has, so that the owner's secret fits. Leave it
	// as it is afterwards: CloudFormation replaces an instance, with its data,
	// whose snapshot is added, changed or taken away.
	Snapshots []string

	// Name of the database created at first, 1 to 63 letters, digits and
	// underscores. Default "app".
	Name string

	// Username of the owner role. Default "postgres".
	Username string

	// Port PostgreSQL listens on, 1150 to 65535. Default 5432. CloudFormation
	// replaces an instance, with its data, whose port changes.
	Port int

	// InstanceType as RDS writes it. Default "db.m7g.large".
	InstanceType string

	// Replicas is the number of read replicas of each shard, 1 to 15, or
	// NoReplicas. Default 1.
	Replicas int

	// ReplicaInstanceType is the type of the replicas. Default InstanceType: a
	// smaller one lags under the write load of the primary.
	ReplicaInstanceType string

	// SingleAZ leaves out the standby in another zone that takes over when the
	// primary or its zone fails.
	SingleAZ bool

	// Storage is the kind of storage, GP3 or IO2. Default GP3.
	Storage StorageType

	// StorageGiB is what storage starts with, 20 to 65536, from 100 for IO2.
	// Default 100.
	StorageGiB int

	// MaxStorageGiB is how far storage autoscaling may go, at least a tenth more
	// than StorageGiB, or NoStorageGrowth. Default ten times StorageGiB.
	MaxStorageGiB int

	// IOPS is what storage is provisioned for. GP3: 12000 to 64000 from 400 GiB on;
	// below, it has 3,000 and takes no other value. IO2: 1000 to 256000 and at most
	// 1000 for each GiB, to be given always. Default 12000 for GP3 from 400 GiB on.
	IOPS int

	// ThroughputMiB is the throughput in MiB/s, for GP3 from 400 GiB on: 500 to
	// 4000 and at most a quarter of IOPS. Below 400 GiB it has 125 and takes no
	// other value. Default 500 for GP3 from 400 GiB on.
	ThroughputMiB int

	// BackupDays is how far back point-in-time recovery reaches, 1 to 35; read
	// replicas need at least 1. Default 14.
	BackupDays int

	// MonthlyBackups is for how many months AWS Backup keeps a copy of each
	// primary that it takes on the first of the month, 1 to 120, or
	// NoMonthlyBackups. The copies stand in a vault that outlives the stack and
	// lets nobody delete them. Default 12; none with AllowDeletion.
	MonthlyBackups int

	// BackupVault is an existing vault for the monthly copies. Default a new one,
	// that is retained when the stack is deleted, so that a stack of the same
	// name has to be given it.
	BackupVault awsbackup.IBackupVault

	// BackupWindow is when the daily snapshot is taken, in UTC, at least 30
	// minutes: "03:00-03:30". Default one that RDS picks, at night in the Region.
	BackupWindow string

	// MaintenanceWindow is when RDS patches and applies changes that wait, in
	// UTC, 30 minutes to 24 hours, apart from the BackupWindow:
	// "sun:04:00-sun:05:00". Default one that RDS picks.
	MaintenanceWindow string

	// CACertificate is the authority that signs the servers' certificates:
	// RSA2048, RSA4096 or ECC384. Default RSA2048. Clients that verify need the bundle of
	// all of them, https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem.
	CACertificate string

	// Key encrypts storage, Performance Insights, the secrets and the backup
	// vault. Default the keys that AWS manages. CloudFormation replaces an
	// instance, with its data, whose key changes.
	Key awskms.IKey

	// SecretKey encrypts the secrets instead of Key. Default Key. It can change at
	// any time.
	SecretKey awskms.IKey

	// AllowDeletion lets a deletion of the stack delete the database with all
	// its data and backups. Default deletion protection, and a final snapshot
	// and kept backups once that is off.
	AllowDeletion bool

	// RotateMaster is how often the owner's password changes, 4 hours to 1,000
	// days. Default 30 days.
	RotateMaster time.Duration

	// NoRotateMaster leaves the rotation and its function out. The function is
	// one AWS hosts and CloudFormation adds through a transform, which needs
	// CAPABILITY_AUTO_EXPAND; the CDK CLI gives it.
	NoRotateMaster bool

	// IAMAuth lets roles that are members of rds_iam sign in with a token of IAM
	// instead of a password; see GrantConnect.
	IAMAuth bool

	// Monitoring is how often the operating system's metrics are sent to
	// CloudWatch Logs (enhanced monitoring): 1, 5, 10, 15, 30 or 60 seconds, or
	// NoMonitoring. Default 60 s.
	Monitoring time.Duration

	// AdvancedInsights keeps the database load and its statements for 15 months
	// (Database Insights, advanced mode; billed by vCPU). Default the 7 days that
	// are free.
	AdvancedInsights bool

	// SlowStatement is the duration from which a statement is logged. Default
	// 500 ms.
	SlowStatement time.Duration

	// ExplainSlow logs the plans of slow statements too (auto_explain). The
	// instances have to be rebooted once for it to begin.
	ExplainSlow bool

	// IdleInTransaction is after how long a session is ended that holds a
	// transaction open and does nothing, 1 s to 24 h: its locks, and the dead rows
	// it keeps, hurt everybody. Default 5 minutes.
	IdleInTransaction time.Duration

	// Parameters are added to the parameter groups, or replace what is there. A
	// static one, such as shared_preload_libraries, counts from the next reboot of
	// an instance on, which RDS does not do by itself. Default none besides.
	Parameters map[string]string

	// ReplicaParameters are added to the replicas' group alone, after Parameters.
	// Default none.
	ReplicaParameters map[string]string

	// EventTopic receives the events of the instances: failover, failure, low
	// storage, maintenance, replication and more. Its policy is added to when it
	// is of this app; an encrypted one needs a key that lets
	// events.rds.amazonaws.com use it. Default none.
	EventTopic awssns.ITopic

	// ConnectionsAlarm is the number of connections to one instance above which
	// the alarm rings. Default 300, seven tenths of what the smallest sensible
	// instance (4 GiB) allows: max_connections is memory / 9,531,392.
	ConnectionsAlarm int

	// MemoryAlarmMiB is the freeable memory below which the alarm rings. Default
	// 256.
	MemoryAlarmMiB int

	// QueueDepthAlarm is the number of waiting requests to storage above which
	// the alarm rings. Default 64.
	QueueDepthAlarm int

	// LagAlarm is the replica lag above which the alarm rings. Default 30 s.
	LagAlarm time.Duration

	// Override and OverrideReplica have the last word on the instances of every
	// shard, OverrideSnapshot on primaries that are created from a snapshot.
	Override         func(*awsrds.DatabaseInstanceProps)
	OverrideSnapshot func(*awsrds.DatabaseInstanceFromSnapshotProps)
	OverrideReplica  func(index int, props *awsrds.DatabaseInstanceReadReplicaProps)

	// Overrides have the last word on what stands beside the instances.
	Overrides Overrides
}

// Overrides are functions that change what the construct gives CDK, as the last
// ones to do so.
type Overrides struct {
	SecurityGroup         func(*awsec2.SecurityGroupProps)
	SubnetGroup           func(*awsrds.SubnetGroupProps)
	ParameterGroup        func(*awsrds.ParameterGroupProps)
	ReplicaParameterGroup func(*awsrds.ParameterGroupProps)
	AdminSecret           func(*awsrds.DatabaseSecretProps)
	RoleSecret            func(*awssecretsmanager.SecretProps)
	RotatedRoleSecret     func(*awsrds.DatabaseSecretProps)
	RotationSecurity      func(*awsec2.SecurityGroupProps)
	MonitoringRole        func(*awsiam.RoleProps)
	BackupVault           func(*awsbackup.BackupVaultProps)
	BackupPlan            func(*awsbackup.BackupPlanProps)
	BackupRole            func(*awsiam.RoleProps)
	EventSubscription     func(*awsrds.CfnEventSubscriptionProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	databaseName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
	instanceType  = regexp.MustCompile(`^db\.[a-z0-9-]+\.[a-z0-9]+(\.[a-z0-9.]+)?$`)
	parameterName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$`)
	snapshotName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9:-]*$`)
)

// fixedParameters are set by RDS, which refuses a group that has them.
var fixedParameters = []string{"archive_command", "archive_mode", "data_directory", "hot_standby", "listen_addresses", "port", "wal_level"}

// pairedParameters may not be lower on a standby than on its primary, or it
// does not start ("Hot Standby Parameter Reference" in PostgreSQL's manual).
var pairedParameters = []string{"max_connections", "max_locks_per_transaction", "max_prepared_transactions", "max_wal_senders", "max_worker_processes"}

func (p Props) withDefaults() Props {
	p.Shards = cmp.Or(p.Shards, 1)
	p.Version = cmp.Or(p.Version, "17")
	p.Name = cmp.Or(p.Name, "app")
	p.Username = cmp.Or(p.Username, "postgres")
	p.Port = cmp.Or(p.Port, Port)
	p.InstanceType = cmp.Or(p.InstanceType, "db.m7g.large")
	p.Replicas = cmp.Or(p.Replicas, 1)
	p.ReplicaInstanceType = cmp.Or(p.ReplicaInstanceType, p.InstanceType)
	p.Storage = cmp.Or(p.Storage, GP3)
	p.StorageGiB = cmp.Or(p.StorageGiB, 100)
	p.MaxStorageGiB = cmp.Or(p.MaxStorageGiB, min(10*p.StorageGiB, maxStorageGiB))
	if p.Storage == GP3 && (p.IOPS != 0 || p.ThroughputMiB != 0) {
		// RDS wants both as soon as there is one.
		p.IOPS = cmp.Or(p.IOPS, gp3MinIOPS)
		p.ThroughputMiB = cmp.Or(p.ThroughputMiB, gp3MinThroughput)
	}
	p.BackupDays = cmp.Or(p.BackupDays, 14)
	if p.MonthlyBackups == 0 {
		p.MonthlyBackups = 12
		if p.AllowDeletion {
			p.MonthlyBackups = NoMonthlyBackups
		}
	}
	p.CACertificate = cmp.Or(p.CACertificate, RSA2048)
	p.RotateMaster = cmp.Or(p.RotateMaster, 30*24*time.Hour)
	p.Monitoring = cmp.Or(p.Monitoring, time.Minute)
	p.SlowStatement = cmp.Or(p.SlowStatement, 500*time.Millisecond)
	p.IdleInTransaction = cmp.Or(p.IdleInTransaction, 5*time.Minute)
	p.ConnectionsAlarm = cmp.Or(p.ConnectionsAlarm, 300)
	p.MemoryAlarmMiB = cmp.Or(p.MemoryAlarmMiB, 256)
	p.QueueDepthAlarm = cmp.Or(p.QueueDepthAlarm, 64)
	p.LagAlarm = cmp.Or(p.LagAlarm, 30*time.Second)
	if p.SecretKey == nil {
		p.SecretKey = p.Key
	}
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	given := p
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.VPC != nil, "VPC", "nil", "the VPC the database stands in")
	cdkx.Between(&bad, "Shards", p.Shards, 1, maxShards)
	cdkx.OneOf(&bad, "Version", p.Version, "16", "17", "18")
	bad.Check(len(p.Snapshots) == 0 || len(p.Snapshots) == p.Shards, "Snapshots", len(p.Snapshots),
		fmt.Sprintf("none, or one for each of %d shards", p.Shards))
	for i, snapshot := range p.Snapshots {
		cdkx.Matches(&bad, fmt.Sprintf("Snapshots[%d]", i), snapshot, snapshotName, "the name or ARN of a DB snapshot")
	}
	cdkx.Matches(&bad, "Name", p.Name, databaseName, "1 to 63 letters, digits and underscores, the first no digit")
	if slices.Contains([]string{"admin", "rdsadmin"}, p.Username) {
		bad.Add("Username", p.Username, "a name other than admin and rdsadmin")
	} else {
		cdkx.Matches(&bad, "Username", p.Username, databaseName, "1 to 63 letters, digits and underscores, the first no digit")
	}
	cdkx.Between(&bad, "Port", p.Port, minPort, maxPort)
	cdkx.Matches(&bad, "InstanceType", p.InstanceType, instanceType, "a DB instance class, such as db.m7g.large")
	if given.ReplicaInstanceType != "" {
		cdkx.Matches(&bad, "ReplicaInstanceType", p.ReplicaInstanceType, instanceType, "a DB instance class, such as db.m7g.large")
	}
	if p.Replicas != NoReplicas {
		cdkx.Between(&bad, "Replicas", p.Replicas, 1, maxReplicas)
	}
	p.validateStorage(&bad)
	cdkx.Between(&bad, "BackupDays", p.BackupDays, 1, maxBackupDays)
	if p.MonthlyBackups != NoMonthlyBackups {
		cdkx.Between(&bad, "MonthlyBackups", p.MonthlyBackups, 1, 120)
	}
	p.validateWindows(&bad)
	cdkx.OneOf(&bad, "CACertificate", p.CACertificate, RSA2048, RSA4096, ECC384)
	cdkx.WholeSeconds(&bad, "RotateMaster", p.RotateMaster, 4*time.Hour, 1000*24*time.Hour)
	if p.Monitoring != NoMonitoring {
		cdkx.OneOf(&bad, "Monitoring", p.Monitoring,
			time.Second, 5*time.Second, 10*time.Second, 15*time.Second, 30*time.Second, time.Minute)
	}
	cdkx.AtLeast(&bad, "SlowStatement", p.SlowStatement, time.Millisecond)
	cdkx.Between(&bad, "IdleInTransaction", p.IdleInTransaction, time.Second, 24*time.Hour)
	validateParameters(&bad, "Parameters", p.Parameters, fixedParameters, "a parameter that RDS does not set itself")
	validateParameters(&bad, "ReplicaParameters", p.ReplicaParameters, fixedParameters, "a parameter that RDS does not set itself")
	validateParameters(&bad, "ReplicaParameters", p.ReplicaParameters, pairedParameters,
		"set in Parameters: a replica that has less than its primary does not start")
	cdkx.AtLeast(&bad, "ConnectionsAlarm", p.ConnectionsAlarm, 1)
	cdkx.AtLeast(&bad, "MemoryAlarmMiB", p.MemoryAlarmMiB, 1)
	cdkx.AtLeast(&bad, "QueueDepthAlarm", p.QueueDepthAlarm, 1)
	cdkx.AtLeast(&bad, "LagAlarm", p.LagAlarm, time.Second)
	return bad.Err("database")
}

func (p Props) validateStorage(bad *cdkx.Problems) {
	cdkx.OneOf(bad, "Storage", p.Storage, GP3, IO2)
	lowest := minStorageGiB
	if p.Storage == IO2 {
		lowest = io2MinStorageGiB
	}
	cdkx.Between(bad, "StorageGiB", p.StorageGiB, lowest, maxStorageGiB)
	if p.MaxStorageGiB != NoStorageGrowth {
		// Storage autoscaling needs a maximum at least a tenth above the allocation.
		low := (11*p.StorageGiB + 9) / 10
		allowed := fmt.Sprintf("%d to %d, or NoStorageGrowth", low, maxStorageGiB)
		if low > maxStorageGiB {
			allowed = "NoStorageGrowth, so close to the largest storage there is"
		}
		bad.Check(p.MaxStorageGiB >= low && p.MaxStorageGiB <= maxStorageGiB, "MaxStorageGiB", p.MaxStorageGiB, allowed)
	}
	switch {
	case p.Storage == IO2:
		cdkx.Between(bad, "IOPS", p.IOPS, io2MinIOPS, max(io2MinIOPS, min(io2MaxIOPS, io2MaxIOPSPerGiB*p.StorageGiB)))
		bad.Check(p.ThroughputMiB == 0, "ThroughputMiB", p.ThroughputMiB, "0 for io2, whose throughput follows its IOPS")
	case p.StorageGiB < gp3ThresholdGiB:
		bad.Check(p.IOPS == 0 && p.ThroughputMiB == 0, "IOPS", p.IOPS,
			"0 and no ThroughputMiB for gp3 of less than 400 GiB, which has 3000 and 125 MiB/s")
	case p.IOPS != 0:
		cdkx.Between(bad, "IOPS", p.IOPS, gp3MinIOPS, gp3MaxIOPS)
		cdkx.Between(bad, "ThroughputMiB", p.ThroughputMiB, gp3MinThroughput, max(gp3MinThroughput, min(gp3MaxThroughput, p.IOPS/gp3IOPSPerMiBSecond)))
	}
}

func (p Props) validateWindows(bad *cdkx.Problems) {
	const daily = "hh:mm-hh:mm in UTC, at least 30 minutes, such as 03:00-03:30"
	const weekly = "ddd:hh:mm-ddd:hh:mm in UTC, 30 minutes to 24 hours, such as sun:04:00-sun:05:00"
	backup, maintenance := window.Window{}, window.Window{}
	if p.BackupWindow != "" && !cdkx.Unresolved(p.BackupWindow) {
		var ok bool
		backup, ok = window.Daily(p.BackupWindow)
		bad.Check(ok && backup.Length >= 30*time.Minute, "BackupWindow", p.BackupWindow, daily)
	}
	if p.MaintenanceWindow != "" && !cdkx.Unresolved(p.MaintenanceWindow) {
		var ok bool
		maintenance, ok = window.Weekly(p.MaintenanceWindow)
		bad.Check(ok && maintenance.Length >= 30*time.Minute && maintenance.Length <= 24*time.Hour, "MaintenanceWindow", p.MaintenanceWindow, weekly)
	}
	bad.Check(!maintenance.Overlaps(backup), "MaintenanceWindow", p.MaintenanceWindow, "a window apart from the BackupWindow "+p.BackupWindow)
}

// validateParameters checks names, of which only RDS knows the whole list, and
// refuses those of a list.
func validateParameters(bad *cdkx.Problems, field string, parameters map[string]string, refused []string, allowed string) {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		switch {
		case slices.Contains(refused, name):
			bad.Add(field+"["+name+"]", parameters[name], allowed)
		case !parameterName.MatchString(name) && slices.Equal(refused, fixedParameters):
			bad.Add(field+"["+name+"]", parameters[name], "the name of a parameter, such as work_mem")
		}
	}
}

// burstable tells whether an instance class earns and spends CPU credits.
func burstable(class string) bool { return strings.HasPrefix(class, "db.t") }
