package database_test

import (
	"maps"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/database"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
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

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack)})
	template := cdktest.Template(stack)

	template.ResourceCountIs(new("AWS::RDS::DBInstance"), new(2.0))
	template.HasResource(new("AWS::RDS::DBInstance"), map[string]any{
		"DeletionPolicy": "Snapshot",
		"Properties": with(primary, map[string]any{
			"Engine":                      "postgres",
			"EngineVersion":               "17",
			"DBInstanceClass":             "db.m7g.large",
			"MultiAZ":                     true,
			"StorageEncrypted":            true,
			"StorageType":                 "gp3",
			"AllocatedStorage":            "100",
			"MaxAllocatedStorage":         1000,
			"BackupRetentionPeriod":       14,
			"DeletionProtection":          true,
			"PubliclyAccessible":          false,
			"EnablePerformanceInsights":   true,
			"CopyTagsToSnapshot":          true,
			"EnableCloudwatchLogsExports": []any{"postgresql", "upgrade"},
			"ManageMasterUserPassword":    assertions.Match_Absent(),
		}),
	})
	template.HasResource(new("AWS::RDS::DBInstance"), map[string]any{
		"DeletionPolicy": "Delete",
		"Properties": with(replica, map[string]any{
			"DBInstanceClass":           "db.m7g.large",
			"PubliclyAccessible":        false,
			"EnablePerformanceInsights": true,
			"StorageEncrypted":          assertions.Match_Absent(),
			"MasterUserPassword":        assertions.Match_Absent(),
		}),
	})
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{"Tags": tag("loadbearing:role", "primary")}))
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(replica, map[string]any{"Tags": tag("loadbearing:role", "replica")}))
	template.AllResourcesProperties(new("AWS::RDS::DBInstance"), map[string]any{"Tags": tag("loadbearing:shard", "0")})
	template.HasResourceProperties(new("AWS::RDS::DBParameterGroup"), map[string]any{
		"Family": "postgres17",
		"Parameters": map[string]any{
			"rds.force_ssl":              "1",
			"rds.logical_replication":    "0",
			"shared_preload_libraries":   "pg_stat_statements",
			"pg_stat_statements.track":   "all",
			"log_min_duration_statement": "500",
			"log_lock_waits":             "1",
		},
	})
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
	require.Len(t, d.Replicas, 1)
	require.Len(t, d.ReplicaEndpoints(), 1)
	require.Len(t, d.Alarms(), 7)
	require.Len(t, d.Widgets(), 4)
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

func TestSmall(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{
		VPC: vpc(stack), Version: "16", SingleAZ: true, Replicas: database.NoReplicas, AllowDeletion: true, NoRotateMaster: true,
		Parameters: map[string]string{"rds.force_ssl": "0", "work_mem": "65536"},
	})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::RDS::DBInstance"), new(1.0))
	template.HasResource(new("AWS::RDS::DBInstance"), map[string]any{
		"DeletionPolicy": "Delete",
		"Properties":     map[string]any{"MultiAZ": false, "DeletionProtection": false, "EngineVersion": "16"},
	})
	template.HasResourceProperties(new("AWS::RDS::DBParameterGroup"), map[string]any{
		"Family": "postgres16", "Parameters": map[string]any{"rds.force_ssl": "0", "work_mem": "65536"},
	})
	template.ResourceCountIs(new("AWS::SecretsManager::RotationSchedule"), new(0.0))
	require.Empty(t, d.ReplicaEndpoints())
	require.Len(t, d.Alarms(), 3)
	require.Len(t, d.Widgets(), 3)
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

func TestKeyEncryptsEverything(t *testing.T) {
	stack := cdktest.Stack(t)
	d := database.New(stack, "Database", database.Props{VPC: vpc(stack), Key: awskms.NewKey(stack, new("Key"), nil)})
	d.AddRoleSecret("AppSecret", "service")
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{"KmsKeyId": assertions.Match_AnyValue()}))
	template.AllResourcesProperties(new("AWS::RDS::DBInstance"), map[string]any{"PerformanceInsightsKMSKeyId": assertions.Match_AnyValue()})
	template.AllResourcesProperties(new("AWS::SecretsManager::Secret"), map[string]any{"KmsKeyId": assertions.Match_AnyValue()})
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	database.New(stack, "Database", database.Props{
		VPC:      vpc(stack),
		Replicas: 2,
		Override: func(p *awsrds.DatabaseInstanceProps) { p.MultiAz = new(false) },
		OverrideReplica: func(index int, p *awsrds.DatabaseInstanceReadReplicaProps) {
			if index == 1 {
				p.AutoMinorVersionUpgrade = new(false)
			}
		},
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::RDS::DBInstance"), with(primary, map[string]any{"MultiAZ": false}))
	template.ResourcePropertiesCountIs(new("AWS::RDS::DBInstance"), map[string]any{"AutoMinorVersionUpgrade": false}, new(1.0))
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	cdktest.Unchanged(t, database.Props{VPC: vpc(stack), Parameters: map[string]string{"work_mem": "65536"}}, func(p database.Props) {
		database.New(stack, "Database", p)
	})
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	database.New(stack, "One", database.Props{VPC: v})
	database.New(stack, "Two", database.Props{VPC: v})
	cdktest.Template(stack).ResourceCountIs(new("AWS::RDS::DBInstance"), new(4.0))
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := database.Props{
		Version: "15", Name: "with-hyphen", Username: "rdsadmin", InstanceType: "m7g.large", Replicas: 16,
		StorageGiB: 100, MaxStorageGiB: 105, BackupDays: 36, RotateMaster: time.Hour, LagAlarm: time.Millisecond,
	}
	require.EqualError(t, bad.Validate(), `database: 11 fields are not valid
  VPC is "nil"; allowed: the VPC the database stands in
  Version is "15"; allowed: 16, 17, 18
  Name is "with-hyphen"; allowed: 1 to 63 letters, digits and underscores, the first no digit
  Username is "rdsadmin"; allowed: 1 to 63 letters, digits and underscores, and not admin or rdsadmin
  InstanceType is "m7g.large"; allowed: a DB instance class, such as db.m7g.large
  ReplicaInstanceType is "m7g.large"; allowed: a DB instance class, such as db.m7g.large
  Replicas is 16; allowed: 1 to 15
  MaxStorageGiB is 105; allowed: 110 to 65536
  BackupDays is 36; allowed: 1 to 35
  RotateMaster is 1h0m0s; allowed: 4h0m0s to 24000h0m0s
  LagAlarm is 1ms; allowed: 1s or more`)
	stack := cdktest.Stack(t)
	_ = cdktest.Panic[*database.PropsError](t, func() { database.New(stack, "Database", database.Props{}) })
}
