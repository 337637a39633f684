package database_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsbackup"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/database"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func vpc(stack awscdk.Stack) awsec2.IVpc {
	return network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true}).VPC
}

// primary and replica pick one of the two kinds of instances in a template.
var (
	primary = map[string]any{"SourceDBInstanceIdentifier": assertions.Match_Absent()}
	replica = map[string]any{"SourceDBInstanceIdentifier": assertions.Match_AnyValue()}
)

func with(kind map[string]any, properties map[string]any) map[string]any {
	maps.Copy(properties, kind)
	return properties
}

func tag(key, value string) any {
	return assertions.Match_ArrayWith(&[]any{map[string]any{"Key": key, "Value": value}})
}

// ids are the logical ids of the resources of a type, sorted.
func ids(template assertions.Template, resource string) []string {
	return slices.Sorted(maps.Keys(*template.FindResources(&resource, nil)))
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return string(text)
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack)})
	template := cdktest.Template(stack)

	template.ResourceCountIs(new("AWS::RDS::DBInstance"), new(2.0))
	template.HasResource(new("AWS::RDS::DBInstance"), map[string]any{
		"DeletionPolicy":      "Snapshot",
		"UpdateReplacePolicy": "Snapshot",
		"Properties": with(primary, map[string]any{
			"Engine":                             "postgres",
			"EngineVersion":                      "17",
			"AllowMajorVersionUpgrade":           assertions.Match_Absent(),
			"DBName":                             "app",
			"DBInstanceClass":                    "db.m7g.large",
			"Port":                               "5432",
			"MultiAZ":                            true,
			"StorageEncrypted":                   true,
			"StorageType":                        "gp3",
			"AllocatedStorage":                   "100",
			"MaxAllocatedStorage":                1000,
			"Iops":                               assertions.Match_Absent(),
			"StorageThroughput":                  assertions.Match_Absent(),
			"BackupRetentionPeriod":              14,
			"DeleteAutomatedBackups":             false,
			"PreferredBackupWindow":              assertions.Match_Absent(),
			"PreferredMaintenanceWindow":         assertions.Match_Absent(),
			"DeletionProtection":                 true,
			"PubliclyAccessible":                 false,
			"EnablePerformanceInsights":          true,
			"PerformanceInsightsRetentionPeriod": 7,
			"DatabaseInsightsMode":               assertions.Match_Absent(),
			"MonitoringInterval":                 60,
			"CACertificateIdentifier":            "rds-ca-rsa2048-g1",
			"EnableIAMDatabaseAuthentication":    assertions.Match_Absent(),
			"AutoMinorVersionUpgrade":            true,
			"CopyTagsToSnapshot":                 true,
			"EnableCloudwatchLogsExports":        []any{"postgresql", "upgrade"},
			"ManageMasterUserPassword":           assertions.Match_Absent(),
		}),
	})
	template.HasResource(new("AWS::RDS::DBInstance"), map[string]any{
		"DeletionPolicy": "Delete",
		"Properties": with(replica, map[string]any{
			"DBInstanceClass":           "db.m7g.large",
			"PubliclyAccessible":        false,
			"EnablePerformanceInsights": true,
			"MonitoringInterval":        60,
			"CACertificateIdentifier":   "rds-ca-rsa2048-g1",
			"StorageEncrypted":          assertions.Match_Absent(),
			"MasterUserPassword":        assertions.Match_Absent(),
		}),
	})
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{"Tags": tag("loadbearing:role", "primary")}))
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(replica, map[string]any{"Tags": tag("loadbearing:role", "replica")}))
	template.AllResourcesProperties(new("AWS::RDS::DBInstance"), map[string]any{"Tags": tag("loadbearing:shard", "0")})
	template.HasResourceProperties(new("AWS::RDS::DBSubnetGroup"), map[string]any{"SubnetIds": []any{
		map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("isolatedSubnet1"))},
		map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("isolatedSubnet2"))},
	}})
	template.HasResourceProperties(new("AWS::SecretsManager::RotationSchedule"), map[string]any{
		"HostedRotationLambda":      map[string]any{"RotationType": "PostgreSQLSingleUser"},
		"RotationRules":             map[string]any{"ScheduleExpression": "rate(30 days)"},
		"RotateImmediatelyOnUpdate": false,
	})
	template.ResourceCountIs(new("AWS::Lambda::Function"), new(0.0))
	template.ResourceCountIs(new("AWS::RDS::EventSubscription"), new(0.0))
	require.Len(t, d.Shards, 1)
	require.Len(t, d.Replicas, 1)
	require.Len(t, d.ReplicaEndpoints(), 1)
	require.Equal(t, [][]string{{d.PrimaryEndpoint(), d.ReplicaEndpoints()[0]}}, d.ShardEndpoints())
	require.Equal(t, []string{*d.AdminSecret.SecretArn()}, d.AdminSecretARNs())
}

func TestParameterGroups(t *testing.T) {
	stack := cdktest.Stack(t)
	database.New(stack, "Database", database.Props{VPC: vpc(stack)})
	template := cdktest.Template(stack)
	both := func() map[string]any {
		return map[string]any{
			"rds.force_ssl":                       "1",
			"rds.logical_replication":             "0",
			"shared_preload_libraries":            "pg_stat_statements",
			"pg_stat_statements.track":            "all",
			"track_activity_query_size":           "4096",
			"track_io_timing":                     "1",
			"log_min_duration_statement":          "500",
			"log_lock_waits":                      "1",
			"log_temp_files":                      "10240",
			"idle_in_transaction_session_timeout": "300000",
		}
	}
	group := func(parameters map[string]any) map[string]any {
		return map[string]any{"Family": "postgres17", "Parameters": assertions.Match_ObjectEquals(&parameters)}
	}
	template.HasResourceProperties(new("AWS::RDS::DBParameterGroup"), group(both()))
	template.HasResourceProperties(new("AWS::RDS::DBParameterGroup"), group(with(both(), map[string]any{
		"hot_standby_feedback": "1", "max_standby_streaming_delay": "30000", "max_standby_archive_delay": "30000",
	})))
	for kind, name := range map[*map[string]any]string{&primary: "DatabaseParameters", &replica: "DatabaseReplicaParameters"} {
		template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(*kind, map[string]any{
			"DBParameterGroupName": map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^" + name + "[0-9A-F]{8}$"))},
		}))
	}
}

func TestParametersAreAddedAndReplaced(t *testing.T) {
	stack := cdktest.Stack(t)
	database.New(stack, "Database", database.Props{
		VPC: vpc(stack), Version: "16", SlowStatement: time.Second, ExplainSlow: true, IdleInTransaction: time.Minute,
		Parameters:        map[string]string{"work_mem": "65536", "rds.force_ssl": "0", "hot_standby_feedback": "0"},
		ReplicaParameters: map[string]string{"work_mem": "131072"},
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBParameterGroup"), map[string]any{
		"Family": "postgres16",
		"Parameters": map[string]any{
			"work_mem": "65536", "rds.force_ssl": "0", "log_min_duration_statement": "1000", "idle_in_transaction_session_timeout": "60000",
			"shared_preload_libraries": "auto_explain,pg_stat_statements", "auto_explain.log_min_duration": "1000", "auto_explain.log_analyze": "0",
		},
	})
	template.HasResourceProperties(new("AWS::RDS::DBParameterGroup"), map[string]any{
		"Parameters": map[string]any{"work_mem": "131072", "hot_standby_feedback": "0", "max_standby_streaming_delay": "30000"},
	})
}

func TestMonthlyBackups(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack), Shards: 2})
	template := cdktest.Template(stack)
	template.HasResource(new("AWS::Backup::BackupVault"), map[string]any{
		"DeletionPolicy": "Retain",
		"Properties": map[string]any{"AccessPolicy": map[string]any{"Statement": []any{map[string]any{
			"Effect": "Deny", "Action": []any{"backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle"},
			"Principal": map[string]any{"AWS": "*"}, "Resource": "*",
		}}}},
	})
	template.HasResourceProperties(new("AWS::Backup::BackupPlan"), map[string]any{
		"BackupPlan": map[string]any{"BackupPlanRule": []any{map[string]any{
			"RuleName": "monthly", "ScheduleExpression": "cron(0 5 1 * ? *)", "Lifecycle": map[string]any{"DeleteAfterDays": 372},
		}}},
	})
	selections := *template.FindResources(new("AWS::Backup::BackupSelection"), nil)
	require.Len(t, selections, 1)
	for _, selection := range selections {
		text := encoded(t, selection)
		require.Contains(t, text, "DatabasePrimary")
		require.Contains(t, text, "DatabaseShard1Primary")
		require.NotContains(t, text, "Replica")
	}
	require.NotNil(t, d.BackupVault)
	require.NotNil(t, d.BackupPlan)
}

func TestNoSecretInTheTemplate(t *testing.T) {
	stack := cdktest.Stack(t)
	database.New(stack, "Database", database.Props{VPC: vpc(stack)})
	cdktest.Template(stack).HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{
		"MasterUserPassword": map[string]any{"Fn::Join": []any{"", []any{
			"{{resolve:secretsmanager:", assertions.Match_AnyValue(), ":SecretString:password::}}",
		}}},
	}))
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	d := database.New(stack, "Database", database.Props{VPC: v})
	d.AllowFrom(awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: v}))
	d.AddRoleSecret("AppSecret", "service")
	cdktest.Golden(t, stack, "database")
}

// A changed id of one of these deletes a database, or locks everybody out.
func TestLogicalIDsNeverChange(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack), Shards: 2})
	d.AddRoleSecret("AppSecret", "service")
	template := cdktest.Template(stack)
	require.Equal(t, []string{"DatabasePrimaryEDE0B3D0", "DatabaseReplica1ED560A1F", "DatabaseShard1Primary7C7B1A74", "DatabaseShard1Replica1E6DB4C73"},
		ids(template, "AWS::RDS::DBInstance"))
	require.Equal(t, []string{"DatabaseAdminSecret9BA08F45", "DatabaseAppSecret2E50FD00", "DatabaseShard1AdminSecret0EAE0C91"},
		ids(template, "AWS::SecretsManager::Secret"))
	require.Equal(t, []string{"DatabaseBackupVaultED8CBFE1"}, ids(template, "AWS::Backup::BackupVault"))
}

func TestSmall(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{
		VPC: vpc(stack), InstanceType: "db.t4g.medium", SingleAZ: true, Replicas: database.NoReplicas, AllowDeletion: true,
		NoRotateMaster: true, Monitoring: database.NoMonitoring, MaxStorageGiB: database.NoStorageGrowth,
	})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::RDS::DBInstance"), new(1.0))
	template.HasResource(new("AWS::RDS::DBInstance"), map[string]any{
		"DeletionPolicy": "Delete",
		"Properties": map[string]any{
			"MultiAZ": false, "DeletionProtection": false, "DeleteAutomatedBackups": true,
			"MonitoringInterval": assertions.Match_Absent(), "MaxAllocatedStorage": assertions.Match_Absent(),
		},
	})
	for _, none := range []string{
		"AWS::SecretsManager::RotationSchedule", "AWS::Backup::BackupVault", "AWS::Backup::BackupPlan", "AWS::IAM::Role",
	} {
		template.ResourceCountIs(&none, new(0.0))
	}
	template.ResourceCountIs(new("AWS::RDS::DBParameterGroup"), new(1.0))
	require.Empty(t, d.ReplicaEndpoints())
	require.Nil(t, d.ReplicaParameterGroup)
	require.Nil(t, d.MonitoringRole)
	require.Nil(t, d.BackupVault)
	require.Nil(t, d.EventSubscription)
	require.Equal(t, map[string]cdkx.Severity{
		"PrimaryCPUAlarm": cdkx.Warning, "PrimaryStorageAlarm": cdkx.Critical, "PrimaryMemoryAlarm": cdkx.Warning,
		"PrimaryConnectionsAlarm": cdkx.Warning, "PrimaryQueueAlarm": cdkx.Warning, "PrimaryCreditsAlarm": cdkx.Warning,
		"PrimaryTransactionsAlarm": cdkx.Critical,
	}, severities(d.Alarms()))
	require.Len(t, d.Widgets(), 6)
}

func severities(alarms []awscloudwatch.IAlarm) map[string]cdkx.Severity {
	all := map[string]cdkx.Severity{}
	for _, alarm := range alarms {
		all[*alarm.Node().Id()] = cdkx.SeverityOf(alarm)
	}
	return all
}

func TestAlarms(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack)})
	require.Equal(t, map[string]cdkx.Severity{
		"PrimaryCPUAlarm": cdkx.Warning, "PrimaryStorageAlarm": cdkx.Critical, "PrimaryMemoryAlarm": cdkx.Warning,
		"PrimaryConnectionsAlarm": cdkx.Warning, "PrimaryQueueAlarm": cdkx.Warning,
		"PrimaryTransactionsAlarm": cdkx.Critical, "PrimarySlotAlarm": cdkx.Warning,
		"Replica1CPUAlarm": cdkx.Warning, "Replica1StorageAlarm": cdkx.Critical, "Replica1MemoryAlarm": cdkx.Warning,
		"Replica1ConnectionsAlarm": cdkx.Warning, "Replica1QueueAlarm": cdkx.Warning, "Replica1LagAlarm": cdkx.Critical,
	}, severities(d.Alarms()))
	require.Len(t, d.Widgets(), 7)
	template := cdktest.Template(stack)
	for metric, threshold := range map[string]float64{
		"CPUUtilization": 80, "FreeStorageSpace": 5 << 30, "FreeableMemory": 256 << 20, "DatabaseConnections": 300,
		"DiskQueueDepth": 64, "MaximumUsedTransactionIDs": 1e9, "OldestReplicationSlotLag": 10 << 30, "ReplicaLag": 30,
	} {
		template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
			"Namespace": "AWS/RDS", "MetricName": metric, "Threshold": threshold, "Period": 60, "TreatMissingData": "notBreaching",
		})
	}
}

func TestShards(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack), Shards: 3, Replicas: 2})
	template := cdktest.Template(stack)
	for shard := range 3 {
		for role, count := range map[string]float64{"primary": 1, "replica": 2} {
			template.ResourcePropertiesCountIs(new("AWS::RDS::DBInstance"), map[string]any{"Tags": []any{
				map[string]any{"Key": "loadbearing:role", "Value": role}, map[string]any{"Key": "loadbearing:shard", "Value": fmt.Sprint(shard)},
			}}, &count)
		}
	}
	// Every replica follows the primary of its own shard.
	for id, instance := range *template.FindResources(new("AWS::RDS::DBInstance"), map[string]any{"Properties": replica}) {
		source := fmt.Sprint((*instance)["Properties"].(map[string]any)["SourceDBInstanceIdentifier"])
		prefix := id[:len("DatabaseShard1")]
		if id[:len("DatabaseR")] == "DatabaseR" {
			prefix = "DatabaseP"
		}
		require.Contains(t, source, prefix)
	}
	template.ResourceCountIs(new("AWS::SecretsManager::Secret"), new(3.0))
	template.ResourceCountIs(new("AWS::SecretsManager::RotationSchedule"), new(3.0))
	template.ResourceCountIs(new("AWS::RDS::DBParameterGroup"), new(2.0))
	template.ResourceCountIs(new("AWS::IAM::Role"), new(2.0))
	require.Len(t, d.Shards, 3)
	require.Equal(t, d.Primary, d.Shards[0].Primary)
	require.Equal(t, d.Replicas, d.Shards[0].Replicas)
	endpoints := d.ShardEndpoints()
	require.Len(t, endpoints, 3)
	require.Len(t, endpoints[2], 3)
	require.Len(t, d.AdminSecretARNs(), 3)
	require.Len(t, d.Alarms(), 3*(7+2*6))
	require.Contains(t, severities(d.Alarms()), "Shard2Replica2LagAlarm")
}

func TestStorage(t *testing.T) {
	for name, test := range map[string]struct {
		props database.Props
		want  map[string]any
	}{
		"gp3 with IOPS":       {database.Props{StorageGiB: 400, IOPS: 16000}, map[string]any{"StorageType": "gp3", "Iops": 16000, "StorageThroughput": 500}},
		"gp3 with throughput": {database.Props{StorageGiB: 400, ThroughputMiB: 1000}, map[string]any{"StorageType": "gp3", "Iops": 12000, "StorageThroughput": 1000}},
		"io2":                 {database.Props{Storage: database.IO2, IOPS: 20000}, map[string]any{"StorageType": "io2", "Iops": 20000, "StorageThroughput": assertions.Match_Absent()}},
	} {
		t.Run(name, func(t *testing.T) {
			stack := cdktest.Stack(t)
			test.props.VPC = vpc(stack)
			database.New(stack, "Database", test.props)
			cdktest.Template(stack).AllResourcesProperties(new("AWS::RDS::DBInstance"), test.want)
		})
	}
}

func TestChoices(t *testing.T) {
	stack := cdktest.Stack(t)
	topic := awssns.NewTopic(stack, new("Topic"), nil)
	d := database.New(stack, "Database", database.Props{
		VPC: vpc(stack), Port: 6543, AdvancedInsights: true, IAMAuth: true, AllowMajorUpgrade: true, CACertificate: database.ECC384,
		BackupWindow: "03:00-03:30", MaintenanceWindow: "Sun:04:00-Sun:05:00", Monitoring: 5 * time.Second, EventTopic: topic,
	})
	role := awsiam.NewRole(stack, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()})
	d.GrantConnect(role, "service")
	d.GrantReadAdminSecrets(role)
	template := cdktest.Template(stack)
	template.AllResourcesProperties(new("AWS::RDS::DBInstance"), map[string]any{
		"Port": "6543", "DatabaseInsightsMode": "advanced", "PerformanceInsightsRetentionPeriod": 465,
		"EnableIAMDatabaseAuthentication": true, "CACertificateIdentifier": "rds-ca-ecc384-g1",
		"PreferredMaintenanceWindow": "Sun:04:00-Sun:05:00", "MonitoringInterval": 5,
	})
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{
		"PreferredBackupWindow": "03:00-03:30", "AllowMajorVersionUpgrade": true,
	}))
	template.HasResourceProperties(new("AWS::RDS::EventSubscription"), map[string]any{
		"SourceType": "db-instance", "EventCategories": assertions.Match_ArrayWith(&[]any{"failover", "failure", "low storage"}),
		"SourceIds": []any{map[string]any{"Ref": ids(template, "AWS::RDS::DBInstance")[0]}, map[string]any{"Ref": ids(template, "AWS::RDS::DBInstance")[1]}},
	})
	template.HasResourceProperties(new("AWS::SNS::TopicPolicy"), map[string]any{"PolicyDocument": map[string]any{"Statement": []any{
		assertions.Match_ObjectLike(&map[string]any{"Action": "sns:Publish", "Principal": map[string]any{"Service": "events.rds.amazonaws.com"}}),
	}}})
	text := encoded(t, template.FindResources(new("AWS::IAM::Policy"), nil))
	require.Contains(t, text, "rds-db:connect")
	require.Contains(t, text, "secretsmanager:GetSecretValue")
	// The rotation function connects to the same port.
	template.HasResourceProperties(new("AWS::EC2::SecurityGroupIngress"), map[string]any{"FromPort": 6543, "ToPort": 6543})
}

func TestSnapshots(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{
		VPC: vpc(stack), Shards: 2, Snapshots: []string{"rds:first", cdktest.Token(stack, "Second")}, Username: "owner",
		OverrideSnapshot: func(p *awsrds.DatabaseInstanceFromSnapshotProps) {
			p.LicenseModel = awsrds.LicenseModel_GENERAL_PUBLIC_LICENSE
		},
	})
	template := cdktest.Template(stack)
	for _, snapshot := range []any{"rds:first", map[string]any{"Ref": "Second"}} {
		template.HasResource(new("AWS::RDS::DBInstance"), map[string]any{
			"DeletionPolicy": "Snapshot",
			"Properties": with(primary, map[string]any{
				"DBSnapshotIdentifier": snapshot, "MultiAZ": true, "DeletionProtection": true, "MonitoringInterval": 60,
				"BackupRetentionPeriod": 14, "LicenseModel": "general-public-license", "CACertificateIdentifier": "rds-ca-rsa2048-g1",
				"MasterUserPassword": assertions.Match_AnyValue(),
				"MasterUsername":     assertions.Match_Absent(), "DBName": assertions.Match_Absent(), "StorageEncrypted": assertions.Match_Absent(),
			}),
		})
	}
	template.ResourceCountIs(new("AWS::SecretsManager::RotationSchedule"), new(2.0))
	require.Len(t, d.ShardEndpoints(), 2)
	require.Contains(t, ids(template, "AWS::RDS::DBInstance"), "DatabasePrimaryEDE0B3D0")
}

func TestRoleSecretIsGenerated(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack)})
	d.AddRoleSecret("AppSecret", "service")
	cdktest.Template(stack).HasResourceProperties(new("AWS::SecretsManager::Secret"), map[string]any{
		"GenerateSecretString": map[string]any{
			"SecretStringTemplate": `{"username":"service"}`, "GenerateStringKey": "password",
			"PasswordLength": 40, "ExcludePunctuation": true,
		},
	})
}

func TestRotatedRoleSecret(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack), Shards: 2, NoRotateMaster: true})
	d.AddRotatedRoleSecret("AppSecret", database.RotatedRole{Username: "service", Shard: 1, Every: 24 * time.Hour})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::SecretsManager::RotationSchedule"), map[string]any{
		"HostedRotationLambda": map[string]any{
			"RotationType":    "PostgreSQLMultiUser",
			"MasterSecretArn": map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^DatabaseShard1AdminSecret"))},
		},
		"RotationRules": map[string]any{"ScheduleExpression": "rate(1 day)"},
	})
	template.HasResourceProperties(new("AWS::SecretsManager::SecretTargetAttachment"), map[string]any{
		"SecretId": map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^DatabaseAppSecret"))},
		"TargetId": map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^DatabaseShard1Primary"))},
	})
	template.HasResourceProperties(new("AWS::EC2::SecurityGroupIngress"), map[string]any{"FromPort": 5432})

	err := cdktest.Panic[*database.PropsError](t, func() {
		d.AddRotatedRoleSecret("Other", database.RotatedRole{Username: "with-hyphen", Shard: 2, Every: time.Minute})
	})
	require.EqualError(t, err, `Test/Database/Other (role secret): 3 fields are not valid
  Username is "with-hyphen"; allowed: 1 to 57 letters, digits and underscores, the first no digit
  Shard is 2; allowed: 0 to 1
  Every is 1m0s; allowed: 4h0m0s to 24000h0m0s in whole seconds`)
	require.NoError(t, database.RotatedRole{Username: "service", Shard: 39}.Validate())
}

func TestProxy(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	d := database.New(stack, "Database", database.Props{VPC: v})
	before := len(d.Alarms())
	p := d.AddProxy("Proxy", database.ProxyProps{
		Secrets:  []awssecretsmanager.ISecret{d.AddRoleSecret("AppSecret", "service")},
		Override: func(p *awsrds.DatabaseProxyProps) { p.DebugLogging = new(true) },
	})
	p.AllowFrom(awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: v}))
	require.Regexp(t, `:5432$`, p.Endpoint())
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBProxy"), map[string]any{
		"EngineFamily": "POSTGRESQL", "RequireTLS": true, "IdleClientTimeout": 1800, "DebugLogging": true,
		"Auth": []any{map[string]any{
			"AuthScheme": "SECRETS", "IAMAuth": "DISABLED", "ClientPasswordAuthType": "POSTGRES_SCRAM_SHA_256",
			"SecretArn": map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^DatabaseAppSecret"))},
		}},
	})
	template.HasResourceProperties(new("AWS::RDS::DBProxyTargetGroup"), map[string]any{
		"DBInstanceIdentifiers": []any{map[string]any{"Ref": "DatabasePrimaryEDE0B3D0"}},
		"ConnectionPoolConfigurationInfo": map[string]any{
			"MaxConnectionsPercent": 90, "MaxIdleConnectionsPercent": 45, "ConnectionBorrowTimeout": 10,
		},
	})
	template.HasResourceProperties(new("AWS::IAM::Role"), map[string]any{"AssumeRolePolicyDocument": map[string]any{
		"Statement": []any{map[string]any{
			"Principal": map[string]any{"Service": "rds.amazonaws.com"},
			"Condition": map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": map[string]any{"Ref": "AWS::AccountId"}}},
		}},
	}})
	require.Len(t, d.Alarms(), before+3)
	require.Equal(t, cdkx.Critical, severities(d.Alarms())["ProxyBorrowedAlarm"])
	require.Len(t, d.Widgets(), 8)

	err := cdktest.Panic[*database.PropsError](t, func() {
		d.AddProxy("Other", database.ProxyProps{
			Shard: 1, MaxConnectionsPercent: 50, MaxIdlePercent: 60, IdleTimeout: 9 * time.Hour, BorrowTimeout: time.Millisecond,
		})
	})
	require.EqualError(t, err, `Test/Database/Other (proxy): 5 fields are not valid
  Secrets is 0; allowed: 1 to 200 secrets of roles
  Shard is 1; allowed: 0 to 0
  MaxIdlePercent is 60; allowed: 1 to 50
  IdleTimeout is 9h0m0s; allowed: 1s to 8h0m0s in whole seconds
  BorrowTimeout is 1ms; allowed: 1s to 5m0s in whole seconds`)
	require.ErrorContains(t, database.ProxyProps{MaxConnectionsPercent: 101}.Validate(), "MaxConnectionsPercent is 101; allowed: 1 to 100")
}

func TestProxyWithIAM(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	group := awsec2.NewSecurityGroup(stack, new("Given"), &awsec2.SecurityGroupProps{Vpc: v})
	d := database.New(stack, "Database", database.Props{VPC: v})
	secrets := []awssecretsmanager.ISecret{d.AddRoleSecret("AppSecret", "service")}
	var p *database.Proxy
	cdktest.Unchanged(t, database.ProxyProps{Secrets: secrets, RequireIAM: true, SecurityGroup: group}, func(props database.ProxyProps) {
		p = d.AddProxy("Proxy", props)
	})
	p.GrantConnect(awsiam.NewRole(stack, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()}), "service")
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBProxy"), map[string]any{"Auth": []any{map[string]any{
		"IAMAuth": "REQUIRED", "ClientPasswordAuthType": assertions.Match_Absent(),
	}}})
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{
		"Statement": []any{assertions.Match_ObjectLike(&map[string]any{"Action": "rds-db:connect"})},
	}})
	require.Equal(t, group, p.SecurityGroup)
}

func TestKeyEncryptsEverything(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack), Key: awskms.NewKey(stack, new("Key"), nil)})
	d.AddRoleSecret("AppSecret", "service")
	d.AddRotatedRoleSecret("JobSecret", database.RotatedRole{Username: "job"})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{"KmsKeyId": assertions.Match_AnyValue()}))
	template.AllResourcesProperties(new("AWS::RDS::DBInstance"), map[string]any{"PerformanceInsightsKMSKeyId": assertions.Match_AnyValue()})
	template.AllResourcesProperties(new("AWS::SecretsManager::Secret"), map[string]any{"KmsKeyId": assertions.Match_AnyValue()})
	template.AllResourcesProperties(new("AWS::Backup::BackupVault"), map[string]any{"EncryptionKeyArn": assertions.Match_AnyValue()})
}

func TestSecretKeyLeavesStorageAlone(t *testing.T) {
	stack := cdktest.Stack(t)
	database.New(stack, "Database", database.Props{VPC: vpc(stack), SecretKey: awskms.NewKey(stack, new("Key"), nil)})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{"KmsKeyId": assertions.Match_Absent()}))
	template.AllResourcesProperties(new("AWS::SecretsManager::Secret"), map[string]any{"KmsKeyId": assertions.Match_AnyValue()})
}

func TestExistingResources(t *testing.T) {
	stack := cdktest.Stack(t)
	group := awsrds.ParameterGroup_FromParameterGroupName(stack, new("Group"), new("given-parameters"))
	d := database.New(stack, "Database", database.Props{
		VPC: vpc(stack), NoRotateMaster: true,
		SecurityGroup:  awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Security"), new("sg-12345678"), nil),
		SubnetGroup:    awsrds.SubnetGroup_FromSubnetGroupName(stack, new("Subnets"), new("given-subnets")),
		ParameterGroup: group,
		MonitoringRole: awsiam.Role_FromRoleName(stack, new("Role"), new("given-role"), nil),
		BackupVault:    awsbackup.BackupVault_FromBackupVaultName(stack, new("Vault"), new("given-vault")),
	})
	template := cdktest.Template(stack)
	template.AllResourcesProperties(new("AWS::RDS::DBInstance"), map[string]any{
		"VPCSecurityGroups": []any{"sg-12345678"}, "DBSubnetGroupName": "given-subnets", "DBParameterGroupName": "given-parameters",
	})
	template.HasResourceProperties(new("AWS::Backup::BackupPlan"), map[string]any{
		"BackupPlan": map[string]any{"BackupPlanRule": []any{map[string]any{"TargetBackupVault": "given-vault"}}},
	})
	for _, none := range []string{"AWS::RDS::DBParameterGroup", "AWS::RDS::DBSubnetGroup", "AWS::Backup::BackupVault"} {
		template.ResourceCountIs(&none, new(0.0))
	}
	template.ResourceCountIs(new("AWS::IAM::Role"), new(1.0))
	require.Equal(t, group, d.ReplicaParameterGroup)
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	text := new("overridden")
	d := database.New(stack, "Database", database.Props{
		VPC:        vpc(stack),
		Replicas:   2,
		EventTopic: awssns.NewTopic(stack, new("Topic"), nil),
		Override:   func(p *awsrds.DatabaseInstanceProps) { p.MultiAz = new(false) },
		OverrideReplica: func(index int, p *awsrds.DatabaseInstanceReadReplicaProps) {
			if index == 1 {
				p.AutoMinorVersionUpgrade = new(false)
			}
		},
		Overrides: database.Overrides{
			SecurityGroup:         func(p *awsec2.SecurityGroupProps) { p.Description = text },
			SubnetGroup:           func(p *awsrds.SubnetGroupProps) { p.Description = text },
			ParameterGroup:        func(p *awsrds.ParameterGroupProps) { p.Description = text },
			ReplicaParameterGroup: func(p *awsrds.ParameterGroupProps) { p.Name = text },
			AdminSecret:           func(p *awsrds.DatabaseSecretProps) { p.SecretName = text },
			RoleSecret:            func(p *awssecretsmanager.SecretProps) { p.SecretName = new("role") },
			RotatedRoleSecret:     func(p *awsrds.DatabaseSecretProps) { p.SecretName = new("rotated") },
			RotationSecurity:      func(p *awsec2.SecurityGroupProps) { p.Description = new("rotation") },
			MonitoringRole:        func(p *awsiam.RoleProps) { p.RoleName = text },
			BackupVault:           func(p *awsbackup.BackupVaultProps) { p.BackupVaultName = text },
			BackupPlan:            func(p *awsbackup.BackupPlanProps) { p.BackupPlanName = text },
			BackupRole:            func(p *awsiam.RoleProps) { p.Path = new("/overridden/") },
			EventSubscription:     func(p *awsrds.CfnEventSubscriptionProps) { p.SubscriptionName = text },
		},
	})
	d.AddRoleSecret("AppSecret", "service")
	d.AddRotatedRoleSecret("JobSecret", database.RotatedRole{Username: "job"})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{"MultiAZ": false}))
	template.ResourcePropertiesCountIs(new("AWS::RDS::DBInstance"), map[string]any{"AutoMinorVersionUpgrade": false}, new(1.0))
	for resource, properties := range map[string]map[string]any{
		"AWS::EC2::SecurityGroup":     {"GroupDescription": "overridden"},
		"AWS::RDS::DBSubnetGroup":     {"DBSubnetGroupDescription": "overridden"},
		"AWS::RDS::DBParameterGroup":  {"Description": "overridden"},
		"AWS::SecretsManager::Secret": {"Name": "overridden"},
		"AWS::IAM::Role":              {"RoleName": "overridden"},
		"AWS::Backup::BackupVault":    {"BackupVaultName": "overridden"},
		"AWS::Backup::BackupPlan":     {"BackupPlan": map[string]any{"BackupPlanName": "overridden"}},
		"AWS::RDS::EventSubscription": {"SubscriptionName": "overridden"},
	} {
		template.HasResourceProperties(&resource, properties)
	}
	template.HasResourceProperties(new("AWS::RDS::DBParameterGroup"), map[string]any{"DBParameterGroupName": "overridden"})
	template.HasResourceProperties(new("AWS::IAM::Role"), map[string]any{"Path": "/overridden/"})
	template.HasResourceProperties(new("AWS::SecretsManager::Secret"), map[string]any{"Name": "role"})
	template.HasResourceProperties(new("AWS::SecretsManager::Secret"), map[string]any{"Name": "rotated"})
	template.HasResourceProperties(new("AWS::EC2::SecurityGroup"), map[string]any{"GroupDescription": "rotation"})
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	props := database.Props{
		VPC: vpc(stack), Subnets: &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED},
		RotationSubnets: &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS},
		Snapshots:       []string{"first"},
		Parameters:      map[string]string{"work_mem": "65536"}, ReplicaParameters: map[string]string{"work_mem": "131072"},
	}
	cdktest.Unchanged(t, props, func(p database.Props) { database.New(stack, "Database", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	database.New(stack, "One", database.Props{VPC: v})
	database.New(stack, "Two", database.Props{VPC: v})
	cdktest.Template(stack).ResourceCountIs(new("AWS::RDS::DBInstance"), new(4.0))
}

func TestUsedFromAnotherStack(t *testing.T) {
	one, other := cdktest.Stacks(t)
	v := vpc(one)
	d := database.New(one, "Database", database.Props{VPC: v, IAMAuth: true})
	role := awsiam.NewRole(other, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()})
	d.GrantReadAdminSecrets(role)
	d.GrantConnect(role, "service")
	awscdk.NewCfnOutput(other, new("Endpoint"), &awscdk.CfnOutputProps{Value: new(d.PrimaryEndpoint())})
	text := encoded(t, cdktest.Template(other).ToJSON())
	require.Contains(t, text, "One:ExportsOutputRefDatabaseAdminSecret")
	require.Contains(t, text, "DbiResourceId")
	require.Contains(t, text, "EndpointAddress")
}

func TestTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	database.New(stack, "Database", database.Props{
		VPC: vpc(stack), InstanceType: cdktest.Token(stack, "Class"), Name: cdktest.Token(stack, "Name"), Username: cdktest.Token(stack, "User"),
		BackupWindow: cdktest.Token(stack, "Backup"), MaintenanceWindow: cdktest.Token(stack, "Maintenance"),
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{
		"DBInstanceClass": map[string]any{"Fn::Join": []any{"", []any{"db.", map[string]any{
			"Fn::Select": []any{1, map[string]any{"Fn::Split": []any{"db.", map[string]any{"Ref": "Class"}}}},
		}}}},
		"DBName": map[string]any{"Ref": "Name"}, "PreferredBackupWindow": map[string]any{"Ref": "Backup"},
		"PreferredMaintenanceWindow": map[string]any{"Ref": "Maintenance"},
	}))
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := database.Props{
		Shards: 41, Version: "15", Snapshots: []string{"-"}, Name: "with-hyphen", Username: "rdsadmin", Port: 80, InstanceType: "m7g.large",
		ReplicaInstanceType: "r7g.large", Replicas: 16, StorageGiB: 100, MaxStorageGiB: 109, IOPS: 5000, BackupDays: 36, MonthlyBackups: 121,
		BackupWindow: "03:00-03:20", MaintenanceWindow: "sun:04:00", CACertificate: "rds-ca-2019", RotateMaster: time.Hour,
		Monitoring: 20 * time.Second, SlowStatement: time.Microsecond, IdleInTransaction: 25 * time.Hour,
		Parameters:        map[string]string{"wal_level": "logical", "Work Mem": "1"},
		ReplicaParameters: map[string]string{"port": "1", "max_connections": "10"},
		ConnectionsAlarm:  -1, MemoryAlarmMiB: -1, QueueDepthAlarm: -1, LagAlarm: time.Millisecond,
	}
	require.EqualError(t, bad.Validate(), `database: 30 fields are not valid
  VPC is "nil"; allowed: the VPC the database stands in
  Shards is 41; allowed: 1 to 40
  Version is "15"; allowed: 16, 17, 18
  Snapshots is 1; allowed: none, or one for each of 41 shards
  Snapshots[0] is "-"; allowed: the name or ARN of a DB snapshot
  Name is "with-hyphen"; allowed: 1 to 63 letters, digits and underscores, the first no digit
  Username is "rdsadmin"; allowed: a name other than admin and rdsadmin
  Port is 80; allowed: 1150 to 65535
  InstanceType is "m7g.large"; allowed: a DB instance class, such as db.m7g.large
  ReplicaInstanceType is "r7g.large"; allowed: a DB instance class, such as db.m7g.large
  Replicas is 16; allowed: 1 to 15
  MaxStorageGiB is 109; allowed: 110 to 65536, or NoStorageGrowth
  IOPS is 5000; allowed: 0 and no ThroughputMiB for gp3 of less than 400 GiB, which has 3000 and 125 MiB/s
  BackupDays is 36; allowed: 1 to 35
  MonthlyBackups is 121; allowed: 1 to 120
  BackupWindow is "03:00-03:20"; allowed: hh:mm-hh:mm in UTC, at least 30 minutes, such as 03:00-03:30
  MaintenanceWindow is "sun:04:00"; allowed: ddd:hh:mm-ddd:hh:mm in UTC, 30 minutes to 24 hours, such as sun:04:00-sun:05:00
  CACertificate is "rds-ca-2019"; allowed: rds-ca-rsa2048-g1, rds-ca-rsa4096-g1, rds-ca-ecc384-g1
  RotateMaster is 1h0m0s; allowed: 4h0m0s to 24000h0m0s in whole seconds
  Monitoring is 20s; allowed: 1s, 5s, 10s, 15s, 30s, 1m0s
  SlowStatement is 1µs; allowed: 1ms or more
  IdleInTransaction is 25h0m0s; allowed: 1s to 24h0m0s
  Parameters[Work Mem] is "1"; allowed: the name of a parameter, such as work_mem
  Parameters[wal_level] is "logical"; allowed: a parameter that RDS does not set itself
  ReplicaParameters[port] is "1"; allowed: a parameter that RDS does not set itself
  ReplicaParameters[max_connections] is "10"; allowed: set in Parameters: a replica that has less than its primary does not start
  ConnectionsAlarm is -1; allowed: 1 or more
  MemoryAlarmMiB is -1; allowed: 1 or more
  QueueDepthAlarm is -1; allowed: 1 or more
  LagAlarm is 1ms; allowed: 1s or more`)
	stack := cdktest.Stack(t)
	_ = cdktest.Panic[*database.PropsError](t, func() { database.New(stack, "Database", database.Props{}) })
}

func TestValidateStorageAndWindows(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	for want, props := range map[string]database.Props{
		"allowed: a window apart from the BackupWindow 23:40-00:30":      {BackupWindow: "23:40-00:30", MaintenanceWindow: "mon:00:00-mon:01:00"},
		"Storage is \"io1\"; allowed: gp3, io2":                          {Storage: "io1"},
		"StorageGiB is 19; allowed: 20 to 65536":                         {StorageGiB: 19},
		"StorageGiB is 99; allowed: 100 to 65536":                        {Storage: database.IO2, StorageGiB: 99, IOPS: 1000},
		"MaxStorageGiB is 65536; allowed: NoStorageGrowth, so close":     {StorageGiB: 60000},
		"IOPS is 11999; allowed: 12000 to 64000":                         {StorageGiB: 400, IOPS: 11999},
		"ThroughputMiB is 3001; allowed: 500 to 3000":                    {StorageGiB: 400, ThroughputMiB: 3001},
		"ThroughputMiB is 4001; allowed: 500 to 4000":                    {StorageGiB: 400, IOPS: 64000, ThroughputMiB: 4001},
		"IOPS is 0; allowed: 1000 to 100000":                             {Storage: database.IO2},
		"IOPS is 256001; allowed: 1000 to 256000":                        {Storage: database.IO2, StorageGiB: 1000, IOPS: 256001},
		"ThroughputMiB is 1; allowed: 0 for io2":                         {Storage: database.IO2, IOPS: 1000, ThroughputMiB: 1},
		`BackupWindow is "3:00-03:30"; allowed: hh:mm`:                   {BackupWindow: "3:00-03:30"},
		`BackupWindow is "23:00-24:00"; allowed: hh:mm`:                  {BackupWindow: "23:00-24:00"},
		`MaintenanceWindow is "day:04:00-day:05:00"; allowed: ddd:hh:mm`: {MaintenanceWindow: "day:04:00-day:05:00"},
		`MaintenanceWindow is "sun:04:00-tue:05:00"; allowed: ddd:hh:mm`: {MaintenanceWindow: "sun:04:00-tue:05:00"},
		"allowed: a window apart from the BackupWindow 23:45-00:30":      {BackupWindow: "23:45-00:30", MaintenanceWindow: "sun:00:15-sun:01:00"},
		"allowed: a window apart from the BackupWindow 00:10-00:50":      {BackupWindow: "00:10-00:50", MaintenanceWindow: "sun:23:30-mon:00:30"},
		"Username is \"with-hyphen\"; allowed: 1 to 63 letters":          {Username: "with-hyphen"},
		"database: Replicas is -2; allowed: 1 to 15":                     {Replicas: -2},
	} {
		props.VPC = v
		require.ErrorContains(t, props.Validate(), want)
	}
	for _, props := range []database.Props{
		{BackupWindow: "23:45-00:30", MaintenanceWindow: "sun:00:30-sun:01:00"},
		{BackupWindow: "23:45-00:30", MaintenanceWindow: "SUN:23:15-Sun:23:45"},
		{StorageGiB: 65536, MaxStorageGiB: database.NoStorageGrowth},
		{Storage: database.IO2, StorageGiB: 100, IOPS: 100000},
		{StorageGiB: 400, IOPS: 64000, ThroughputMiB: 4000},
		{InstanceType: "db.r6g.large.tpc1.mem2x"},
	} {
		props.VPC = v
		require.NoError(t, props.Validate())
	}
}
