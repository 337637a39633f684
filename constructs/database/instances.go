package database

import (
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// primaryInstance is a new instance, or one from a snapshot.
type primaryInstance interface {
	awsrds.IDatabaseInstance
	Secret() awssecretsmanager.ISecret
}

// reasonPort is why PostgreSQL stays on its own port.
const reasonPort = "Who connects is decided by the security group, which admits named security groups only, in subnets without a route out, " +
	"over TLS and with a password; another port hides nothing from who gets that far. Port sets one where a policy asks for it."

// makeShard makes a primary and its replicas. The ids of the first shard have no
// number, which those of a database without shards must not get.
func (d *Database) makeShard(props Props, number int, engine awsrds.IInstanceEngine) Shard {
	prefix := ""
	if number > 0 {
		prefix = fmt.Sprintf("Shard%d", number)
	}
	shard := Shard{AdminSecret: d.makeAdminSecret(props, prefix)}
	shard.primary = d.makePrimary(props, prefix, number, engine, shard.AdminSecret)
	shard.Primary, shard.attached = shard.primary, shard.primary.Secret()
	cdkx.Tag(shard.Primary, map[string]string{TagRole: RolePrimary, TagShard: fmt.Sprint(number)})
	d.watchPrimary(prefix+"Primary", shard.Primary)
	if !props.NoRotateMaster {
		d.rotateMaster(props, shard)
	}
	for i := range max(props.Replicas, 0) {
		id := fmt.Sprintf("%sReplica%d", prefix, i+1)
		replica := d.makeReplica(props, id, i, shard.Primary)
		shard.Replicas = append(shard.Replicas, replica)
		cdkx.Tag(replica, map[string]string{TagRole: RoleReplica, TagShard: fmt.Sprint(number)})
		d.watchReplica(id, replica)
	}
	return shard
}

func (d *Database) makePrimary(props Props, prefix string, shard int, engine awsrds.IInstanceEngine, secret awssecretsmanager.ISecret) primaryInstance {
	removal := awscdk.RemovalPolicy_SNAPSHOT
	if props.AllowDeletion {
		removal = awscdk.RemovalPolicy_DESTROY
	}
	primaryProps := &awsrds.DatabaseInstanceProps{
		Vpc:                        props.VPC,
		SubnetGroup:                d.SubnetGroup,
		SecurityGroups:             &[]awsec2.ISecurityGroup{d.SecurityGroup},
		Engine:                     engine,
		AllowMajorVersionUpgrade:   cdkx.Optional(props.AllowMajorUpgrade),
		ParameterGroup:             d.ParameterGroup,
		DatabaseName:               &props.Name,
		Credentials:                awsrds.Credentials_FromSecret(secret, &props.Username),
		InstanceType:               ec2Type(props.InstanceType),
		Port:                       cdkx.Number(props.Port),
		MultiAz:                    new(!props.SingleAZ),
		PubliclyAccessible:         new(false),
		StorageType:                props.Storage.cdk(),
		AllocatedStorage:           cdkx.Number(props.StorageGiB),
		MaxAllocatedStorage:        maxStorage(props),
		Iops:                       optionalNumber(props.IOPS),
		StorageThroughput:          optionalNumber(props.ThroughputMiB),
		StorageEncrypted:           new(true),
		BackupRetention:            awscdk.Duration_Days(cdkx.Number(props.BackupDays)),
		DeleteAutomatedBackups:     new(props.AllowDeletion),
		PreferredBackupWindow:      cdkx.Optional(props.BackupWindow),
		PreferredMaintenanceWindow: cdkx.Optional(props.MaintenanceWindow),
		CopyTagsToSnapshot:         new(true),
		AutoMinorVersionUpgrade:    new(true),
		CaCertificate:              awsrds.CaCertificate_Of(&props.CACertificate),
		IamAuthentication:          cdkx.Optional(props.IAMAuth),
		EnablePerformanceInsights:  new(true),
		CloudwatchLogsExports:      cdkx.Strings("postgresql", "upgrade"),
		DeletionProtection:         new(!props.AllowDeletion),
		RemovalPolicy:              removal,
	}
	if props.Key != nil {
		primaryProps.StorageEncryptionKey = props.Key
		primaryProps.PerformanceInsightEncryptionKey = props.Key
	}
	if props.AdvancedInsights {
		primaryProps.DatabaseInsightsMode = awsrds.DatabaseInsightsMode_ADVANCED
		primaryProps.PerformanceInsightRetention = awsrds.PerformanceInsightRetention_MONTHS_15
	}
	if d.MonitoringRole != nil {
		primaryProps.MonitoringInterval = cdkx.Duration(props.Monitoring)
		primaryProps.MonitoringRole = d.MonitoringRole
	}
	id := prefix + "Primary"
	var primary primaryInstance
	if len(props.Snapshots) > 0 {
		primary = awsrds.NewDatabaseInstanceFromSnapshot(d, &id,
			cdkx.Override(fromSnapshot(primaryProps, props.Snapshots[shard], secret), props.OverrideSnapshot))
		cdkx.Acknowledge(primary, "RDS encrypts an instance from a snapshot as the snapshot is, and CloudFormation refuses to be told so: copy a plain snapshot with a key first.",
			"RDSStorageEncrypted", "AwsSolutions-RDS2")
	} else {
		primary = awsrds.NewDatabaseInstance(d, &id, cdkx.Override(primaryProps, props.Override))
	}
	if props.Port == Port {
		cdkx.Acknowledge(primary, reasonPort, "AwsSolutions-RDS11")
	}
	return primary
}

// fromSnapshot is what the props of a new instance and of one from a snapshot
// have in common. Name, owner and encryption are the snapshot's.
func fromSnapshot(p *awsrds.DatabaseInstanceProps, snapshot string, secret awssecretsmanager.ISecret) *awsrds.DatabaseInstanceFromSnapshotProps {
	return &awsrds.DatabaseInstanceFromSnapshotProps{
		SnapshotIdentifier:              &snapshot,
		Credentials:                     awsrds.SnapshotCredentials_FromSecret(secret),
		Vpc:                             p.Vpc,
		SubnetGroup:                     p.SubnetGroup,
		SecurityGroups:                  p.SecurityGroups,
		Engine:                          p.Engine,
		AllowMajorVersionUpgrade:        p.AllowMajorVersionUpgrade,
		ParameterGroup:                  p.ParameterGroup,
		InstanceType:                    p.InstanceType,
		Port:                            p.Port,
		MultiAz:                         p.MultiAz,
		PubliclyAccessible:              p.PubliclyAccessible,
		StorageType:                     p.StorageType,
		AllocatedStorage:                p.AllocatedStorage,
		MaxAllocatedStorage:             p.MaxAllocatedStorage,
		Iops:                            p.Iops,
		StorageThroughput:               p.StorageThroughput,
		BackupRetention:                 p.BackupRetention,
		DeleteAutomatedBackups:          p.DeleteAutomatedBackups,
		PreferredBackupWindow:           p.PreferredBackupWindow,
		PreferredMaintenanceWindow:      p.PreferredMaintenanceWindow,
		CopyTagsToSnapshot:              p.CopyTagsToSnapshot,
		AutoMinorVersionUpgrade:         p.AutoMinorVersionUpgrade,
		CaCertificate:                   p.CaCertificate,
		IamAuthentication:               p.IamAuthentication,
		EnablePerformanceInsights:       p.EnablePerformanceInsights,
		PerformanceInsightRetention:     p.PerformanceInsightRetention,
		PerformanceInsightEncryptionKey: p.PerformanceInsightEncryptionKey,
		DatabaseInsightsMode:            p.DatabaseInsightsMode,
		MonitoringInterval:              p.MonitoringInterval,
		MonitoringRole:                  p.MonitoringRole,
		CloudwatchLogsExports:           p.CloudwatchLogsExports,
		DeletionProtection:              p.DeletionProtection,
		RemovalPolicy:                   p.RemovalPolicy,
	}
}

func (d *Database) makeReplica(props Props, id string, index int, primary awsrds.IDatabaseInstance) awsrds.IDatabaseInstance {
	replicaProps := &awsrds.DatabaseInstanceReadReplicaProps{
		Vpc:                        props.VPC,
		SubnetGroup:                d.SubnetGroup,
		SecurityGroups:             &[]awsec2.ISecurityGroup{d.SecurityGroup},
		SourceDatabaseInstance:     primary,
		ParameterGroup:             d.ReplicaParameterGroup,
		InstanceType:               ec2Type(props.ReplicaInstanceType),
		Port:                       cdkx.Number(props.Port),
		PubliclyAccessible:         new(false),
		StorageType:                props.Storage.cdk(),
		MaxAllocatedStorage:        maxStorage(props),
		Iops:                       optionalNumber(props.IOPS),
		StorageThroughput:          optionalNumber(props.ThroughputMiB),
		PreferredMaintenanceWindow: cdkx.Optional(props.MaintenanceWindow),
		CopyTagsToSnapshot:         new(true),
		AutoMinorVersionUpgrade:    new(true),
		CaCertificate:              awsrds.CaCertificate_Of(&props.CACertificate),
		IamAuthentication:          cdkx.Optional(props.IAMAuth),
		EnablePerformanceInsights:  new(true),
		CloudwatchLogsExports:      cdkx.Strings("postgresql", "upgrade"),
		// A replica in the Region of its source is encrypted as that is, and
		// CloudFormation refuses to be told so. It holds nothing the primary does
		// not, and RDS takes no final snapshot of one.
		DeletionProtection: new(false),
		RemovalPolicy:      awscdk.RemovalPolicy_DESTROY,
	}
	if props.Key != nil {
		replicaProps.PerformanceInsightEncryptionKey = props.Key
	}
	if props.AdvancedInsights {
		replicaProps.DatabaseInsightsMode = awsrds.DatabaseInsightsMode_ADVANCED
		replicaProps.PerformanceInsightRetention = awsrds.PerformanceInsightRetention_MONTHS_15
	}
	if d.MonitoringRole != nil {
		replicaProps.MonitoringInterval = cdkx.Duration(props.Monitoring)
		replicaProps.MonitoringRole = d.MonitoringRole
	}
	if props.OverrideReplica != nil {
		props.OverrideReplica(index, replicaProps)
	}
	replica := awsrds.NewDatabaseInstanceReadReplica(d, &id, replicaProps)
	resource := cdkx.Cfn[awsrds.CfnDBInstance](replica)
	cdkx.Acknowledge(resource, "A replica holds nothing that its primary does not, which is protected and backed up. It must be possible to take one away again, and its replacement is a fresh copy.",
		"AwsSolutions-RDS10", "RDSInstanceDeletionProtectionEnabled", "RDSInBackupPlan")
	cdkx.Acknowledge(resource, "Replicas are redundant among themselves and to the primary, which has a standby in another zone and serves reads when a replica fails.",
		"AwsSolutions-RDS3", "RDSMultiAZSupport")
	cdkx.Acknowledge(resource, "RDS encrypts a replica in the Region of its source with the key of its source, which is encrypted; CloudFormation refuses to be told so.",
		"AwsSolutions-RDS2", "RDSStorageEncrypted")
	cdkx.Acknowledge(resource, reasonPort, "AwsSolutions-RDS11")
	return replica
}

// makeMonitoringRole makes the role by which instances send the metrics of their
// operating system.
func (d *Database) makeMonitoringRole(props Props) {
	d.MonitoringRole = props.MonitoringRole
	if props.Monitoring == NoMonitoring {
		d.MonitoringRole = nil
	}
	if props.Monitoring == NoMonitoring || d.MonitoringRole != nil {
		return
	}
	const policy = "service-role/AmazonRDSEnhancedMonitoringRole"
	role := awsiam.NewRole(d, new("MonitoringRole"), cdkx.Override(&awsiam.RoleProps{
		Description:     new("Enhanced monitoring of the PostgreSQL instances"),
		AssumedBy:       d.service("monitoring.rds.amazonaws.com"),
		ManagedPolicies: &[]awsiam.IManagedPolicy{awsiam.ManagedPolicy_FromAwsManagedPolicyName(new(policy))},
	}, props.Overrides.MonitoringRole))
	cdkx.Acknowledge(role, "AWS writes this policy for this one feature: it lets RDS create log groups whose names begin with RDS and write to their streams. Only RDS, for this account, may assume the role.",
		"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/"+policy+"]")
	d.MonitoringRole = role
}

// service is a principal that a role trusts only on behalf of this account.
func (d *Database) service(name string) awsiam.IPrincipal {
	return awsiam.NewServicePrincipal(&name, &awsiam.ServicePrincipalOpts{Conditions: &map[string]any{
		"StringEquals": map[string]any{"aws:SourceAccount": awscdk.Aws_ACCOUNT_ID()},
	}})
}

// ec2Type is a DB instance class without the "db." that CDK puts before it.
func ec2Type(class string) awsec2.InstanceType {
	if cdkx.Unresolved(class) {
		return awsec2.NewInstanceType(awscdk.Fn_Select(cdkx.Number(1), awscdk.Fn_Split(new("db."), &class, nil)))
	}
	return awsec2.NewInstanceType(new(strings.TrimPrefix(class, "db.")))
}

func (s StorageType) cdk() awsrds.StorageType {
	if s == IO2 {
		return awsrds.StorageType_IO2
	}
	return awsrds.StorageType_GP3
}

func maxStorage(props Props) *float64 {
	if props.MaxStorageGiB == NoStorageGrowth {
		return nil
	}
	return cdkx.Number(props.MaxStorageGiB)
}

// optionalNumber is nil for 0, which RDS reads as its own default.
func optionalNumber(n int) *float64 {
	if n == 0 {
		return nil
	}
	return cdkx.Number(n)
}
