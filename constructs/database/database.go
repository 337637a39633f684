// Package database makes an RDS for PostgreSQL primary with read replicas, in
// subnets without a route out, with generated and rotated credentials.
package database

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Port PostgreSQL listens on.
const Port = 5432

// NoReplicas as Props.Replicas makes none.
const NoReplicas = -1

// Tags by which the instances of one database are told apart.
const (
	TagRole     = "loadbearing:role" // RolePrimary or RoleReplica
	TagShard    = "loadbearing:shard"
	RolePrimary = "primary"
	RoleReplica = "replica"
)

// Limits of RDS for PostgreSQL, from its user guide ("Quotas and constraints",
// "Working with DB instance read replicas", "Amazon RDS storage").
const (
	maxReplicas      = 15
	minStorageGiB    = 20
	maxStorageGiB    = 65536
	maxBackupDays    = 35
	growthFactor     = 1.1 // storage autoscaling needs a maximum at least a tenth above the allocation
	freeAlarmPercent = 5   // autoscaling starts at 10 % free; under 5 % it has not kept up
)

// Props configures a Database. VPC is required; everything else has a
// production default.
type Props struct {
	// VPC the database stands in, and the Subnets, default the isolated ones.
	VPC     awsec2.IVpc
	Subnets *awsec2.SubnetSelection

	// RotationSubnets are where the rotation function runs. It needs a route or
	// an endpoint to Secrets Manager. Default the private subnets.
	RotationSubnets *awsec2.SubnetSelection

	// Version is the major version, "16" to "18". Default "17". RDS picks the
	// minor version and keeps it current in the maintenance window.
	Version string

	// Name of the database created at first, 1 to 63 letters, digits and
	// underscores. Default "app".
	Name string

	// Username of the owner role. Default "postgres".
	Username string

	// InstanceType as RDS writes it. Default "db.m7g.large".
	InstanceType string

	// Replicas is the number of read replicas, 1 to 15, or NoReplicas. Default 1.
	Replicas int

	// ReplicaInstanceType is the type of the replicas. Default InstanceType: a
	// smaller one lags under the write load of the primary.
	ReplicaInstanceType string

	// SingleAZ leaves out the standby in another zone that takes over when the
	// primary or its zone fails.
	SingleAZ bool

	// StorageGiB is what gp3 storage starts with, 20 to 65536. Default 100.
	StorageGiB int

	// MaxStorageGiB is how far storage autoscaling may go, at least a tenth more
	// than StorageGiB. Default ten times StorageGiB.
	MaxStorageGiB int

	// BackupDays is how far back point-in-time recovery reaches, 1 to 35; read
	// replicas need at least 1. Default 14.
	BackupDays int

	// Key encrypts storage, Performance Insights and the secrets. Default the
	// keys that AWS manages for RDS and Secrets Manager.
	Key awskms.IKey

	// AllowDeletion lets a deletion of the stack delete the database with all
	// its data. Default deletion protection, and a final snapshot once that is
	// off.
	AllowDeletion bool

	// RotateMaster is how often the owner's password changes, 4 hours to 1,000
	// days. Default 30 days.
	RotateMaster time.Duration

	// NoRotateMaster leaves the rotation and its function out. The function is
	// one AWS hosts and CloudFormation adds through a transform, which needs
	// CAPABILITY_AUTO_EXPAND; the CDK CLI gives it.
	NoRotateMaster bool

	// SlowStatement is the duration from which a statement is logged. Default
	// 500 ms.
	SlowStatement time.Duration

	// Parameters are added to the parameter group, or replace what is there.
	Parameters map[string]string

	// ConnectionsAlarm is the number of connections to one instance above which
	// the alarm rings. Default 300, seven tenths of what the smallest sensible
	// instance (4 GiB) allows: max_connections is memory / 9,531,392.
	ConnectionsAlarm int

	// LagAlarm is the replica lag above which the alarm rings. Default 30 s.
	LagAlarm time.Duration

	// Override and OverrideReplica have the last word on the instances.
	Override        func(*awsrds.DatabaseInstanceProps)
	OverrideReplica func(index int, props *awsrds.DatabaseInstanceReadReplicaProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

// Database is a PostgreSQL primary and its read replicas. Connections need TLS
// (rds.force_ssl).
//
// The logs RDS exports to CloudWatch go to log groups it creates itself, which
// never expire: CloudFormation can set their retention only through a custom
// resource, and these constructs make none.
type Database struct {
	constructs.Construct
	Primary        awsrds.IDatabaseInstance
	Replicas       []awsrds.IDatabaseInstance
	Name           string
	AdminSecret    awssecretsmanager.ISecret // JSON with username and password of the owner role
	SecurityGroup  awsec2.ISecurityGroup
	ParameterGroup awsrds.IParameterGroup
	SubnetGroup    awsrds.ISubnetGroup

	key    awskms.IKey
	alarms []awscloudwatch.IAlarm
}

var (
	databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
	instanceType = regexp.MustCompile(`^db\.[a-z0-9]+\.[a-z0-9]+$`)
)

func (p Props) withDefaults() Props {
	p.Version = cmp.Or(p.Version, "17")
	p.Name = cmp.Or(p.Name, "app")
	p.Username = cmp.Or(p.Username, "postgres")
	p.InstanceType = cmp.Or(p.InstanceType, "db.m7g.large")
	p.Replicas = cmp.Or(p.Replicas, 1)
	p.ReplicaInstanceType = cmp.Or(p.ReplicaInstanceType, p.InstanceType)
	p.StorageGiB = cmp.Or(p.StorageGiB, 100)
	p.MaxStorageGiB = cmp.Or(p.MaxStorageGiB, min(10*p.StorageGiB, maxStorageGiB))
	p.BackupDays = cmp.Or(p.BackupDays, 14)
	p.RotateMaster = cmp.Or(p.RotateMaster, 30*24*time.Hour)
	p.SlowStatement = cmp.Or(p.SlowStatement, 500*time.Millisecond)
	p.ConnectionsAlarm = cmp.Or(p.ConnectionsAlarm, 300)
	p.LagAlarm = cmp.Or(p.LagAlarm, 30*time.Second)
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.VPC != nil, "VPC", "nil", "the VPC the database stands in")
	cdkx.OneOf(&bad, "Version", p.Version, "16", "17", "18")
	bad.Check(databaseName.MatchString(p.Name), "Name", p.Name, "1 to 63 letters, digits and underscores, the first no digit")
	bad.Check(databaseName.MatchString(p.Username) && !slices.Contains([]string{"admin", "rdsadmin"}, p.Username),
		"Username", p.Username, "1 to 63 letters, digits and underscores, and not admin or rdsadmin")
	bad.Check(instanceType.MatchString(p.InstanceType), "InstanceType", p.InstanceType, "a DB instance class, such as db.m7g.large")
	bad.Check(instanceType.MatchString(p.ReplicaInstanceType), "ReplicaInstanceType", p.ReplicaInstanceType, "a DB instance class, such as db.m7g.large")
	if p.Replicas != NoReplicas {
		cdkx.Between(&bad, "Replicas", p.Replicas, 1, maxReplicas)
	}
	cdkx.Between(&bad, "StorageGiB", p.StorageGiB, minStorageGiB, maxStorageGiB)
	cdkx.Between(&bad, "MaxStorageGiB", p.MaxStorageGiB, int(growthFactor*float64(p.StorageGiB)), maxStorageGiB)
	cdkx.Between(&bad, "BackupDays", p.BackupDays, 1, maxBackupDays)
	cdkx.Between(&bad, "RotateMaster", p.RotateMaster, 4*time.Hour, 1000*24*time.Hour)
	cdkx.AtLeast(&bad, "SlowStatement", p.SlowStatement, time.Millisecond)
	cdkx.AtLeast(&bad, "ConnectionsAlarm", p.ConnectionsAlarm, 1)
	cdkx.AtLeast(&bad, "LagAlarm", p.LagAlarm, time.Second)
	return bad.Err("database")
}

// New makes a Database. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Database {
	cdkx.Must(scope, id, "database", props.Validate())
	props = props.withDefaults()
	d := &Database{Name: props.Name, key: props.Key}
	constructs.NewConstruct_Override(d, scope, &id)
	d.SecurityGroup = awsec2.NewSecurityGroup(d, new("SecurityGroup"), &awsec2.SecurityGroupProps{
		Vpc:              props.VPC,
		Description:      new("PostgreSQL: only who was let in with AllowFrom"),
		AllowAllOutbound: new(false),
	})
	subnets := props.Subnets
	if subnets == nil {
		subnets = &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}
	}
	d.SubnetGroup = awsrds.NewSubnetGroup(d, new("Subnets"), &awsrds.SubnetGroupProps{
		Vpc:         props.VPC,
		VpcSubnets:  subnets,
		Description: new("Subnets of the PostgreSQL instances"),
	})
	engine := awsrds.DatabaseInstanceEngine_Postgres(&awsrds.PostgresInstanceEngineProps{
		Version: awsrds.PostgresEngineVersion_Of(&props.Version, &props.Version, nil),
	})
	d.ParameterGroup = awsrds.NewParameterGroup(d, new("Parameters"), &awsrds.ParameterGroupProps{
		Engine:      engine,
		Description: new("PostgreSQL with TLS only and slow statements logged"),
		Parameters:  cdkx.StringMap(parameters(props)),
	})
	primary := d.makePrimary(props, engine)
	if !props.NoRotateMaster {
		d.rotateMaster(props, primary)
	}
	for i := range max(props.Replicas, 0) {
		d.makeReplica(props, i)
	}
	return d
}

func parameters(props Props) map[string]string {
	all := map[string]string{
		"rds.force_ssl":            "1",
		"rds.logical_replication":  "0",
		"shared_preload_libraries": "pg_stat_statements",
		"pg_stat_statements.track": "all",
		// Milliseconds.
		"log_min_duration_statement": fmt.Sprint(props.SlowStatement.Milliseconds()),
		"log_lock_waits":             "1",
	}
	maps.Copy(all, props.Parameters)
	return all
}

func (d *Database) makePrimary(props Props, engine awsrds.IInstanceEngine) awsrds.DatabaseInstance {
	// RDS can manage the owner's password itself, but not for a PostgreSQL
	// instance that has read replicas.
	d.AdminSecret = awsrds.NewDatabaseSecret(d, new("AdminSecret"), &awsrds.DatabaseSecretProps{
		Username:      &props.Username,
		EncryptionKey: props.Key,
	})
	removal := awscdk.RemovalPolicy_SNAPSHOT
	if props.AllowDeletion {
		removal = awscdk.RemovalPolicy_DESTROY
	}
	primaryProps := &awsrds.DatabaseInstanceProps{
		Vpc:                       props.VPC,
		SubnetGroup:               d.SubnetGroup,
		SecurityGroups:            &[]awsec2.ISecurityGroup{d.SecurityGroup},
		Engine:                    engine,
		ParameterGroup:            d.ParameterGroup,
		DatabaseName:              &props.Name,
		Credentials:               awsrds.Credentials_FromSecret(d.AdminSecret, &props.Username),
		InstanceType:              ec2Type(props.InstanceType),
		Port:                      cdkx.Number(Port),
		MultiAz:                   new(!props.SingleAZ),
		PubliclyAccessible:        new(false),
		StorageType:               awsrds.StorageType_GP3,
		AllocatedStorage:          cdkx.Number(props.StorageGiB),
		MaxAllocatedStorage:       cdkx.Number(props.MaxStorageGiB),
		StorageEncrypted:          new(true),
		BackupRetention:           awscdk.Duration_Days(cdkx.Number(props.BackupDays)),
		CopyTagsToSnapshot:        new(true),
		AutoMinorVersionUpgrade:   new(true),
		EnablePerformanceInsights: new(true),
		CloudwatchLogsExports:     cdkx.Strings("postgresql", "upgrade"),
		DeletionProtection:        new(!props.AllowDeletion),
		RemovalPolicy:             removal,
	}
	if props.Key != nil {
		primaryProps.StorageEncryptionKey = props.Key
		primaryProps.PerformanceInsightEncryptionKey = props.Key
	}
	primary := awsrds.NewDatabaseInstance(d, new("Primary"), cdkx.Override(primaryProps, props.Override))
	d.Primary = primary
	cdkx.Tag(primary, map[string]string{TagRole: RolePrimary, TagShard: "0"})
	d.watch(props, "Primary", primary)
	return primary
}

// rotateMaster lets Secrets Manager change the owner's password with a function
// that AWS writes and hosts.
func (d *Database) rotateMaster(props Props, primary awsrds.DatabaseInstance) {
	security := awsec2.NewSecurityGroup(d, new("RotationSecurity"), &awsec2.SecurityGroupProps{
		Vpc:         props.VPC,
		Description: new("The function that rotates the password of the PostgreSQL owner"),
	})
	d.AllowFrom(security)
	subnets := props.RotationSubnets
	if subnets == nil {
		subnets = &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS}
	}
	primary.Secret().AddRotationSchedule(new("Rotation"), &awssecretsmanager.RotationScheduleOptions{
		AutomaticallyAfter:        cdkx.Duration(props.RotateMaster),
		RotateImmediatelyOnUpdate: new(false),
		HostedRotation: awssecretsmanager.HostedRotation_PostgreSqlSingleUser(&awssecretsmanager.SingleUserHostedRotationOptions{
			Vpc:            props.VPC,
			VpcSubnets:     subnets,
			SecurityGroups: &[]awsec2.ISecurityGroup{security},
		}),
	})
}

func (d *Database) makeReplica(props Props, index int) {
	id := fmt.Sprintf("Replica%d", index+1)
	replicaProps := &awsrds.DatabaseInstanceReadReplicaProps{
		Vpc:                       props.VPC,
		SubnetGroup:               d.SubnetGroup,
		SecurityGroups:            &[]awsec2.ISecurityGroup{d.SecurityGroup},
		SourceDatabaseInstance:    d.Primary,
		ParameterGroup:            d.ParameterGroup,
		InstanceType:              ec2Type(props.ReplicaInstanceType),
		Port:                      cdkx.Number(Port),
		PubliclyAccessible:        new(false),
		StorageType:               awsrds.StorageType_GP3,
		MaxAllocatedStorage:       cdkx.Number(props.MaxStorageGiB),
		CopyTagsToSnapshot:        new(true),
		AutoMinorVersionUpgrade:   new(true),
		EnablePerformanceInsights: new(true),
		CloudwatchLogsExports:     cdkx.Strings("postgresql", "upgrade"),
		// A replica in the Region of its source is encrypted as that is, and
		// CloudFormation refuses to be told so. It holds nothing the primary does
		// not, and RDS takes no final snapshot of one.
		DeletionProtection: new(false),
		RemovalPolicy:      awscdk.RemovalPolicy_DESTROY,
	}
	if props.Key != nil {
		replicaProps.PerformanceInsightEncryptionKey = props.Key
	}
	if props.OverrideReplica != nil {
		props.OverrideReplica(index, replicaProps)
	}
	replica := awsrds.NewDatabaseInstanceReadReplica(d, &id, replicaProps)
	d.Replicas = append(d.Replicas, replica)
	cdkx.Tag(replica, map[string]string{TagRole: RoleReplica, TagShard: "0"})
	d.watch(props, id, replica)
	d.alarms = append(d.alarms, cdkx.Alarm(d, id+"LagAlarm", cdkx.AlarmSpec{
		Metric: replica.Metric(new("ReplicaLag"), cdkx.MetricOptions("Average", time.Minute)),
		Description: fmt.Sprintf("The replica is more than %v behind. Look for a long query on it or a bulk write on the primary.",
			props.LagAlarm),
		Threshold: props.LagAlarm.Seconds(),
		Periods:   5,
	}))
}

func ec2Type(class string) awsec2.InstanceType {
	return awsec2.NewInstanceType(new(strings.TrimPrefix(class, "db.")))
}

// watch makes the alarms every instance has.
func (d *Database) watch(props Props, name string, instance awsrds.IDatabaseInstance) {
	gib := float64(1 << 30)
	d.alarms = append(d.alarms,
		cdkx.Alarm(d, name+"CPUAlarm", cdkx.AlarmSpec{
			Metric:      instance.MetricCPUUtilization(cdkx.MetricOptions("Average", time.Minute)),
			Description: "The processor has been above 80 % for 15 minutes. Performance Insights shows the statements.",
			Threshold:   80,
			Periods:     15,
		}),
		cdkx.Alarm(d, name+"StorageAlarm", cdkx.AlarmSpec{
			Metric:      instance.MetricFreeStorageSpace(cdkx.MetricOptions("Minimum", time.Minute)),
			Description: fmt.Sprintf("Less than %d %% of the storage is free, and autoscaling did not keep up or is at its maximum.", freeAlarmPercent),
			Threshold:   float64(props.StorageGiB) * gib * freeAlarmPercent / 100,
			Below:       true,
			Periods:     15,
		}),
		cdkx.Alarm(d, name+"ConnectionsAlarm", cdkx.AlarmSpec{
			Metric:      instance.MetricDatabaseConnections(cdkx.MetricOptions("Maximum", time.Minute)),
			Description: fmt.Sprintf("More than %d connections. Look for a leak, or for pools that add up to more than the instance takes.", props.ConnectionsAlarm),
			Threshold:   float64(props.ConnectionsAlarm),
			Periods:     5,
		}),
	)
}

// AllowFrom lets a security group, or anything that has one, connect.
func (d *Database) AllowFrom(peer awsec2.IConnectable) {
	d.SecurityGroup.Connections().AllowFrom(peer, awsec2.Port_Tcp(cdkx.Number(Port)), new("PostgreSQL"))
}

// AddRoleSecret generates the credentials of a further database role, as JSON
// with username and password. It creates no role: the migration that does reads
// the secret. The password is 40 letters and digits, which needs no quoting in
// a URL or in SQL.
func (d *Database) AddRoleSecret(id, username string) awssecretsmanager.ISecret {
	template, err := json.Marshal(map[string]string{"username": username})
	if err != nil {
		panic(fmt.Errorf("the secret of role %q: %w", username, err))
	}
	return awssecretsmanager.NewSecret(d, &id, &awssecretsmanager.SecretProps{
		Description:   new("Credentials of the PostgreSQL role " + username),
		EncryptionKey: d.key,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			SecretStringTemplate: new(string(template)),
			GenerateStringKey:    new("password"),
			PasswordLength:       cdkx.Number(40),
			ExcludePunctuation:   new(true),
		},
	})
}

// PrimaryEndpoint is host:port of the primary.
func (d *Database) PrimaryEndpoint() string { return endpoint(d.Primary) }

// ReplicaEndpoints is host:port of each replica, in the order they were made.
func (d *Database) ReplicaEndpoints() []string {
	endpoints := make([]string, len(d.Replicas))
	for i, replica := range d.Replicas {
		endpoints[i] = endpoint(replica)
	}
	return endpoints
}

func endpoint(of awsrds.IDatabaseInstance) string {
	return *of.DbInstanceEndpointAddress() + ":" + *of.DbInstanceEndpointPort()
}

// Alarms are CPU, free storage and connections of every instance, and the lag
// of every replica.
func (d *Database) Alarms() []awscloudwatch.IAlarm { return slices.Clone(d.alarms) }

// Widgets show processor, connections and storage of every instance, and the
// lag of the replicas.
func (d *Database) Widgets() []awscloudwatch.IWidget {
	title := *d.Node().Id()
	metrics := func(name, statistic string, of ...awsrds.IDatabaseInstance) []awscloudwatch.IMetric {
		list := make([]awscloudwatch.IMetric, len(of))
		for i, instance := range of {
			options := cdkx.MetricOptions(statistic, time.Minute)
			options.Label = new(*instance.Node().Id())
			list[i] = instance.Metric(&name, options)
		}
		return list
	}
	all := append([]awsrds.IDatabaseInstance{d.Primary}, d.Replicas...)
	widgets := []awscloudwatch.IWidget{
		cdkx.Graph(title+": CPU in %", metrics("CPUUtilization", "Average", all...)...),
		cdkx.Graph(title+": connections", metrics("DatabaseConnections", "Maximum", all...)...),
		cdkx.Graph(title+": free storage in bytes", metrics("FreeStorageSpace", "Minimum", all...)...),
	}
	if len(d.Replicas) > 0 {
		widgets = append(widgets, cdkx.Graph(title+": replica lag in seconds", metrics("ReplicaLag", "Maximum", d.Replicas...)...))
	}
	return widgets
}
