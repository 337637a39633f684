package cache_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/constructs/cache"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func vpc(stack awscdk.Stack) awsec2.IVpc {
	return network.New(stack, "Network", network.Props{Zones: 2, Endpoints: []string{}, NoFlowLogs: true}).VPC
}

// ids are the logical ids of the resources of a type, sorted.
func ids(template assertions.Template, resource string) []string {
	return slices.Sorted(maps.Keys(*template.FindResources(&resource, nil)))
}

func severities(alarms []awscloudwatch.IAlarm) map[string]cdkx.Severity {
	all := map[string]cdkx.Severity{}
	for _, alarm := range alarms {
		all[*alarm.Node().Id()] = cdkx.SeverityOf(alarm)
	}
	return all
}

func TestDefaults(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{VPC: vpc(stack)})
	template := cdktest.Template(stack)

	template.HasResource(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"DeletionPolicy":      "Snapshot",
		"UpdateReplacePolicy": "Snapshot",
		"UpdatePolicy":        assertions.Match_Absent(),
		"Properties": map[string]any{
			"Engine":                     "valkey",
			"EngineVersion":              "8.1",
			"CacheNodeType":              "cache.m7g.large",
			"NumCacheClusters":           2,
			"NumNodeGroups":              assertions.Match_Absent(),
			"AutomaticFailoverEnabled":   true,
			"MultiAZEnabled":             true,
			"TransitEncryptionEnabled":   true,
			"AtRestEncryptionEnabled":    true,
			"KmsKeyId":                   assertions.Match_Absent(),
			"AutoMinorVersionUpgrade":    true,
			"Port":                       6379,
			"SnapshotRetentionLimit":     7,
			"SnapshotWindow":             assertions.Match_Absent(),
			"PreferredMaintenanceWindow": assertions.Match_Absent(),
			"SnapshotName":               assertions.Match_Absent(),
			"NotificationTopicArn":       assertions.Match_Absent(),
			"UserGroupIds":               assertions.Match_Absent(),
			"AuthToken": map[string]any{"Fn::Join": []any{"", []any{
				"{{resolve:secretsmanager:", map[string]any{"Ref": ids(template, "AWS::SecretsManager::Secret")[0]}, ":SecretString:::}}",
			}}},
		},
	})
	template.HasResource(new("AWS::SecretsManager::Secret"), map[string]any{
		"DeletionPolicy": "Delete",
		"Properties": map[string]any{
			"GenerateSecretString": assertions.Match_ObjectEquals(&map[string]any{"PasswordLength": 64, "ExcludePunctuation": true}),
		},
	})
	template.HasResourceProperties(new("AWS::ElastiCache::ParameterGroup"), map[string]any{
		"CacheParameterGroupFamily": "valkey8",
		"Properties":                assertions.Match_ObjectEquals(&map[string]any{"maxmemory-policy": "allkeys-lru"}),
	})
	template.HasResourceProperties(new("AWS::ElastiCache::SubnetGroup"), map[string]any{
		"SubnetIds": []any{
			map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("isolatedSubnet1"))},
			map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("isolatedSubnet2"))},
		},
	})
	require.NotEmpty(t, c.Endpoint())
	require.NotEmpty(t, c.ReaderEndpoint())
	require.Equal(t, *c.Secret.SecretArn(), c.SecretARN())
	require.Nil(t, c.UserGroup)
}

func TestLogs(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{VPC: vpc(stack)})
	template := cdktest.Template(stack)
	delivery := func(kind, logicalID string) any {
		return map[string]any{
			"LogType": kind, "LogFormat": "json", "DestinationType": "cloudwatch-logs",
			"DestinationDetails": map[string]any{"CloudWatchLogsDetails": map[string]any{
				"LogGroup": map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^" + logicalID))},
			}},
		}
	}
	template.HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"LogDeliveryConfigurations": []any{delivery("slow-log", "CacheSlowLog"), delivery("engine-log", "CacheEngineLog")},
	})
	template.AllResources(new("AWS::Logs::LogGroup"), map[string]any{
		"DeletionPolicy": "Retain", "Properties": map[string]any{"RetentionInDays": 30},
	})
	require.NotNil(t, c.SlowLog)
	require.NotNil(t, c.EngineLog)
}

func TestAlarms(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{VPC: vpc(stack)})
	require.Equal(t, map[string]cdkx.Severity{
		"MemoryAlarm": cdkx.Warning, "EvictionsAlarm": cdkx.Warning, "CPUAlarm": cdkx.Warning, "ConnectionsAlarm": cdkx.Warning,
		"SwapAlarm": cdkx.Warning, "LagAlarm": cdkx.Warning, "AuthenticationAlarm": cdkx.Critical,
	}, severities(c.Alarms()))
	require.Len(t, c.Widgets(), 7)
	template := cdktest.Template(stack)
	for metric, threshold := range map[string]float64{
		"DatabaseMemoryUsagePercentage": 80, "Evictions": 1000, "EngineCPUUtilization": 80, "CurrConnections": 10000,
		"SwapUsage": 50 << 20, "ReplicationLag": 10, "AuthenticationFailures": 10,
	} {
		template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{
			"Threshold": threshold, "EvaluationPeriods": 5,
			"Metrics": assertions.Match_ArrayWith(&[]any{
				assertions.Match_ObjectLike(&map[string]any{"Expression": "MAX([node1, node2])"}),
				assertions.Match_ObjectLike(&map[string]any{"Id": "node2", "MetricStat": map[string]any{
					"Period": 60,
					"Metric": map[string]any{
						"Namespace": "AWS/ElastiCache", "MetricName": metric,
						"Dimensions": []any{map[string]any{"Name": "CacheClusterId", "Value": map[string]any{
							"Fn::Join": []any{"", []any{map[string]any{"Ref": assertions.Match_AnyValue()}, "-002"}},
						}}},
					},
				}}),
			}),
		})
	}
}

func TestGolden(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	c := cache.New(stack, "Cache", cache.Props{VPC: v})
	c.AllowFrom(awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: v}))
	cdktest.Golden(t, stack, "cache")
}

// A changed id of one of these makes an empty cache, or locks everybody out.
func TestLogicalIDsNeverChange(t *testing.T) {
	stack := cdktest.Stack(t)
	cache.New(stack, "Cache", cache.Props{VPC: vpc(stack)})
	template := cdktest.Template(stack)
	require.Equal(t, []string{"CacheGroup065C0BC1"}, ids(template, "AWS::ElastiCache::ReplicationGroup"))
	require.Equal(t, []string{"CacheSecret4CD6E2C3"}, ids(template, "AWS::SecretsManager::Secret"))
}

func TestRedisWithoutReplicas(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{
		VPC: vpc(stack), Engine: cache.Redis, Replicas: cache.NoReplicas, Authentication: cache.NoAuthentication,
		SnapshotDays: cache.NoSnapshots, NoLogs: true,
		Parameters: map[string]string{"maxmemory-policy": "volatile-lru", "timeout": "60"},
	})
	c.GrantReadSecret(awsiam.NewRole(stack, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()}))
	template := cdktest.Template(stack)
	template.HasResource(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"DeletionPolicy": "Delete",
		"Properties": map[string]any{
			"Engine": "redis", "EngineVersion": "7.1", "NumCacheClusters": 1,
			"AutomaticFailoverEnabled": false, "MultiAZEnabled": false, "SnapshotRetentionLimit": 0,
			"AuthToken": assertions.Match_Absent(), "LogDeliveryConfigurations": assertions.Match_Absent(),
		},
	})
	template.HasResourceProperties(new("AWS::ElastiCache::ParameterGroup"), map[string]any{
		"CacheParameterGroupFamily": "redis7",
		"Properties":                map[string]any{"maxmemory-policy": "volatile-lru", "timeout": "60"},
	})
	for _, none := range []string{"AWS::SecretsManager::Secret", "AWS::Logs::LogGroup", "AWS::IAM::Policy"} {
		template.ResourceCountIs(&none, new(0.0))
	}
	require.Nil(t, c.Secret)
	require.Empty(t, c.SecretARN())
	require.Equal(t, map[string]cdkx.Severity{
		// This one refuses writes when it is full.
		"MemoryAlarm": cdkx.Critical, "EvictionsAlarm": cdkx.Warning, "CPUAlarm": cdkx.Warning,
		"ConnectionsAlarm": cdkx.Warning, "SwapAlarm": cdkx.Warning,
	}, severities(c.Alarms()))
	require.Len(t, c.Widgets(), 6)
}

func TestAllowDeletion(t *testing.T) {
	stack := cdktest.Stack(t)
	cache.New(stack, "Cache", cache.Props{VPC: vpc(stack), AllowDeletion: true})
	template := cdktest.Template(stack)
	template.AllResources(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{"DeletionPolicy": "Delete"})
	template.AllResources(new("AWS::Logs::LogGroup"), map[string]any{"DeletionPolicy": "Delete"})
}

func TestClusterMode(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{VPC: vpc(stack), Shards: 2, Replicas: 2})
	awscdk.NewCfnOutput(stack, new("Endpoint"), &awscdk.CfnOutputProps{Value: new(c.Endpoint())})
	template := cdktest.Template(stack)
	template.HasResource(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"UpdatePolicy": map[string]any{"UseOnlineResharding": true},
		"Properties": map[string]any{
			"NumNodeGroups": 2, "ReplicasPerNodeGroup": 2, "NumCacheClusters": assertions.Match_Absent(),
			"AutomaticFailoverEnabled": true, "MultiAZEnabled": true,
		},
	})
	template.HasResourceProperties(new("AWS::ElastiCache::ParameterGroup"), map[string]any{
		"Properties": map[string]any{"cluster-enabled": "yes", "maxmemory-policy": "allkeys-lru"},
	})
	require.Len(t, c.Alarms(), 14)
	require.Contains(t, severities(c.Alarms()), "Shard2LagAlarm")
	require.Equal(t, c.Endpoint(), c.ReaderEndpoint())
	text, err := json.Marshal(template.ToJSON())
	require.NoError(t, err)
	require.Contains(t, string(text), `"-0002-003"`)

	template.HasOutput(new("Endpoint"), map[string]any{"Value": map[string]any{"Fn::Join": []any{"", []any{
		map[string]any{"Fn::GetAtt": []any{"CacheGroup065C0BC1", "ConfigurationEndPoint.Address"}},
		":",
		map[string]any{"Fn::GetAtt": []any{"CacheGroup065C0BC1", "ConfigurationEndPoint.Port"}},
	}}}})
}

// Cluster mode needs failover even where there is nothing to fail over to.
func TestClusterModeWithoutReplicas(t *testing.T) {
	stack := cdktest.Stack(t)
	cache.New(stack, "Cache", cache.Props{VPC: vpc(stack), Shards: 1, Replicas: cache.NoReplicas})
	cdktest.Template(stack).HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"NumNodeGroups": 1, "ReplicasPerNodeGroup": 0, "AutomaticFailoverEnabled": true, "MultiAZEnabled": false,
	})
}

func TestUsers(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{VPC: vpc(stack), Authentication: cache.Users, Username: "service"})
	c.AddUser("Reader", cache.User{Username: "reader", Access: "on ~* +@read"})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"AuthToken": assertions.Match_Absent(), "UserGroupIds": []any{map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^CacheUserGroup"))}},
	})
	template.HasResourceProperties(new("AWS::ElastiCache::User"), map[string]any{
		"UserName": "default", "AccessString": "off ~keys* -@all", "NoPasswordRequired": true, "Engine": "valkey",
	})
	for name, access := range map[string]string{"service": "on ~* &* +@all -@admin -@dangerous +info", "reader": "on ~* +@read"} {
		template.HasResourceProperties(new("AWS::ElastiCache::User"), map[string]any{
			"UserName": name, "AccessString": access, "NoPasswordRequired": assertions.Match_Absent(),
			"Passwords": []any{map[string]any{"Fn::Join": []any{"", []any{
				"{{resolve:secretsmanager:", assertions.Match_AnyValue(), ":SecretString:password::}}",
			}}}},
		})
		template.HasResourceProperties(new("AWS::SecretsManager::Secret"), map[string]any{"GenerateSecretString": map[string]any{
			"SecretStringTemplate": `{"username":"` + name + `"}`, "GenerateStringKey": "password", "PasswordLength": 64, "ExcludePunctuation": true,
		}})
	}
	template.HasResourceProperties(new("AWS::ElastiCache::UserGroup"), map[string]any{"Engine": "valkey", "UserIds": []any{
		map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^CacheDefaultUser[0-9A-F]{8}$"))}, map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^CacheUser[0-9A-F]{8}$"))}, map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^CacheReader[0-9A-F]{8}$"))},
	}})
	require.NotNil(t, c.Secret)

	err := cdktest.Panic[*cache.PropsError](t, func() { c.AddUser("Other", cache.User{Username: "Default", Access: "~*"}) })
	require.EqualError(t, err, `Test/Cache/Other (user): 2 fields are not valid
  Username is "Default"; allowed: 1 to 40 letters, digits and hyphens, a letter first, and not default
  Access is "~*"; allowed: an access string of Redis' ACL that begins with on or off, such as "on ~app:* +@read"`)
	other := cache.New(stack, "Other", cache.Props{VPC: awsec2.Vpc_FromVpcAttributes(stack, new("VPC"), &awsec2.VpcAttributes{
		VpcId: new("vpc-1"), AvailabilityZones: cdkx.Strings("a"), IsolatedSubnetIds: cdkx.Strings("subnet-1"),
	})})
	err = cdktest.Panic[*cache.PropsError](t, func() { other.AddUser("Reader", cache.User{Username: "reader"}) })
	require.EqualError(t, err, `Test/Other/Reader (user): Authentication is "token"; allowed: users, to have users`)
}

func TestChoices(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	c := cache.New(stack, "Cache", cache.Props{
		VPC: v, Port: 7000, SnapshotDays: 35, SnapshotWindow: "03:00-04:00", MaintenanceWindow: "sun:05:00-sun:06:00",
		Snapshot: "before", EventTopic: awssns.NewTopic(stack, new("Topic"), nil), LogRetention: awslogs.RetentionDays_ONE_WEEK,
		EvictionsAlarm: 1, ConnectionsAlarm: 2, LagAlarm: 3 * time.Second,
	})
	c.AllowFrom(awsec2.NewSecurityGroup(stack, new("Clients"), &awsec2.SecurityGroupProps{Vpc: v}))
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"Port": 7000, "SnapshotRetentionLimit": 35, "SnapshotWindow": "03:00-04:00", "PreferredMaintenanceWindow": "sun:05:00-sun:06:00",
		"SnapshotName": "before", "NotificationTopicArn": map[string]any{"Ref": assertions.Match_StringLikeRegexp(new("^Topic"))},
	})
	template.AllResourcesProperties(new("AWS::Logs::LogGroup"), map[string]any{"RetentionInDays": 7})
	template.HasResourceProperties(new("AWS::EC2::SecurityGroupIngress"), map[string]any{"FromPort": 7000, "ToPort": 7000})
	for _, threshold := range []float64{1, 2, 3} {
		template.HasResourceProperties(new("AWS::CloudWatch::Alarm"), map[string]any{"Threshold": threshold})
	}
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

func TestKeyEncryptsEverything(t *testing.T) {
	stack := cdktest.Stack(t)
	cache.New(stack, "Cache", cache.Props{VPC: vpc(stack), Key: awskms.NewKey(stack, new("Key"), nil)})
	template := cdktest.Template(stack)
	for _, resource := range []string{"AWS::ElastiCache::ReplicationGroup", "AWS::SecretsManager::Secret", "AWS::Logs::LogGroup"} {
		template.AllResourcesProperties(&resource, map[string]any{"KmsKeyId": assertions.Match_AnyValue()})
	}
}

func TestExistingResources(t *testing.T) {
	stack := cdktest.Stack(t)
	c := cache.New(stack, "Cache", cache.Props{
		VPC: vpc(stack), SubnetGroup: "given-subnets", ParameterGroup: "given-parameters",
		SecurityGroup: awsec2.SecurityGroup_FromSecurityGroupId(stack, new("Security"), new("sg-12345678"), nil),
	})
	template := cdktest.Template(stack)
	template.HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"CacheSubnetGroupName": "given-subnets", "CacheParameterGroupName": "given-parameters", "SecurityGroupIds": []any{"sg-12345678"},
	})
	for _, none := range []string{"AWS::ElastiCache::SubnetGroup", "AWS::ElastiCache::ParameterGroup", "AWS::EC2::SecurityGroup"} {
		template.ResourceCountIs(&none, new(0.0))
	}
	require.Nil(t, c.SubnetGroup)
	require.Nil(t, c.ParameterGroup)
}

func TestOverridesHaveTheLastWord(t *testing.T) {
	stack := cdktest.Stack(t)
	text := new("overridden")
	cache.New(stack, "Cache", cache.Props{
		VPC: vpc(stack), Authentication: cache.Users,
		Override: func(p *awselasticache.CfnReplicationGroupProps) { p.AutoMinorVersionUpgrade = false },
		Overrides: cache.Overrides{
			SecurityGroup:  func(p *awsec2.SecurityGroupProps) { p.Description = text },
			SubnetGroup:    func(p *awselasticache.CfnSubnetGroupProps) { p.Description = text },
			ParameterGroup: func(p *awselasticache.CfnParameterGroupProps) { p.Description = text },
			Secret:         func(p *awssecretsmanager.SecretProps) { p.SecretName = text },
			User:           func(p *awselasticache.CfnUserProps) { p.UserId = new(*p.UserName + "-overridden") },
			UserGroup:      func(p *awselasticache.CfnUserGroupProps) { p.UserGroupId = text },
			LogGroup:       func(p *awslogs.LogGroupProps) { p.Retention = awslogs.RetentionDays_ONE_DAY },
		},
	})
	template := cdktest.Template(stack)
	for resource, properties := range map[string]map[string]any{
		"AWS::ElastiCache::ReplicationGroup": {"AutoMinorVersionUpgrade": false},
		"AWS::EC2::SecurityGroup":            {"GroupDescription": "overridden"},
		"AWS::ElastiCache::SubnetGroup":      {"Description": "overridden"},
		"AWS::ElastiCache::ParameterGroup":   {"Description": "overridden"},
		"AWS::SecretsManager::Secret":        {"Name": "overridden"},
		"AWS::ElastiCache::User":             {"UserId": assertions.Match_StringLikeRegexp(new("^(default|app)-overridden$"))},
		"AWS::ElastiCache::UserGroup":        {"UserGroupId": "overridden"},
		"AWS::Logs::LogGroup":                {"RetentionInDays": 1},
	} {
		template.AllResourcesProperties(&resource, properties)
	}
}

func TestPropsAreNotMutated(t *testing.T) {
	stack := cdktest.Stack(t)
	props := cache.Props{
		VPC: vpc(stack), Subnets: &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED},
		Parameters: map[string]string{"timeout": "60"},
	}
	cdktest.Unchanged(t, props, func(p cache.Props) { cache.New(stack, "Cache", p) })
}

func TestTwoInOneStack(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	cache.New(stack, "One", cache.Props{VPC: v, Authentication: cache.Users})
	cache.New(stack, "Two", cache.Props{VPC: v, Authentication: cache.Users})
	template := cdktest.Template(stack)
	template.ResourceCountIs(new("AWS::ElastiCache::ReplicationGroup"), new(2.0))
	users := map[string]bool{}
	for _, user := range *template.FindResources(new("AWS::ElastiCache::User"), nil) {
		id := (*user)["Properties"].(map[string]any)["UserId"].(string)
		require.Regexp(t, `^[a-z][a-z0-9-]{0,39}$`, id)
		users[id] = true
	}
	require.Len(t, users, 4)
}

func TestUsedFromAnotherStack(t *testing.T) {
	one, other := cdktest.Stacks(t)
	c := cache.New(one, "Cache", cache.Props{VPC: vpc(one)})
	c.GrantReadSecret(awsiam.NewRole(other, new("Role"), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()}))
	awscdk.NewCfnOutput(other, new("Endpoint"), &awscdk.CfnOutputProps{Value: new(c.Endpoint())})
	template := cdktest.Template(other)
	template.HasResourceProperties(new("AWS::IAM::Policy"), map[string]any{"PolicyDocument": map[string]any{"Statement": []any{
		assertions.Match_ObjectLike(&map[string]any{
			"Action":   []any{"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"},
			"Resource": map[string]any{"Fn::ImportValue": assertions.Match_StringLikeRegexp(new("^One:ExportsOutputRefCacheSecret"))},
		}),
	}}})
	require.NotEmpty(t, *template.FindOutputs(new("Endpoint"), nil))
}

func TestTokens(t *testing.T) {
	stack := cdktest.Stack(t)
	cache.New(stack, "Cache", cache.Props{
		VPC: vpc(stack), NodeType: cdktest.Token(stack, "Type"), SnapshotWindow: cdktest.Token(stack, "Daily"),
		MaintenanceWindow: cdktest.Token(stack, "Weekly"), Snapshot: cdktest.Token(stack, "From"),
		SubnetGroup: cdktest.Token(stack, "Subnets"), ParameterGroup: cdktest.Token(stack, "Given"),
	})
	cdktest.Template(stack).HasResourceProperties(new("AWS::ElastiCache::ReplicationGroup"), map[string]any{
		"CacheNodeType": map[string]any{"Ref": "Type"}, "SnapshotWindow": map[string]any{"Ref": "Daily"},
		"PreferredMaintenanceWindow": map[string]any{"Ref": "Weekly"}, "SnapshotName": map[string]any{"Ref": "From"},
		"CacheSubnetGroupName": map[string]any{"Ref": "Subnets"}, "CacheParameterGroupName": map[string]any{"Ref": "Given"},
	})
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := cache.Props{
		SubnetGroup: "-", ParameterGroup: "-", Engine: "memcached", NodeType: "m7g.large", Shards: 501, Replicas: 6, Port: 80,
		Authentication: "password", Username: "app", Access: "on", SnapshotDays: 36, SnapshotWindow: "03:00-03:30",
		MaintenanceWindow: "sun:05:00-sun:05:30", Snapshot: "-",
		Parameters:     map[string]string{"cluster-enabled": "yes", "Time out": "1"},
		EvictionsAlarm: -1, ConnectionsAlarm: 65001, LagAlarm: time.Millisecond,
	}
	require.EqualError(t, bad.Validate(), `cache: 20 fields are not valid
  VPC is "nil"; allowed: the VPC the cache stands in
  SubnetGroup is "-"; allowed: the name of a cache subnet group
  ParameterGroup is "-"; allowed: the name of a cache parameter group
  Engine is "memcached"; allowed: valkey, redis
  NodeType is "m7g.large"; allowed: a cache node type, such as cache.m7g.large
  Shards is 501; allowed: 0 to 71
  Replicas is 6; allowed: 1 to 5
  Port is 80; allowed: 1150 to 65535
  Authentication is "password"; allowed: token, users, none
  Username is "app"; allowed: nothing, without Authentication Users
  Access is "on"; allowed: nothing, without Authentication Users
  SnapshotDays is 36; allowed: 1 to 35
  SnapshotWindow is "03:00-03:30"; allowed: hh:mm-hh:mm in UTC, at least an hour, such as 03:00-04:00
  MaintenanceWindow is "sun:05:00-sun:05:30"; allowed: ddd:hh:mm-ddd:hh:mm in UTC, 1 to 24 hours, such as sun:05:00-sun:06:00
  Snapshot is "-"; allowed: the name of a snapshot
  Parameters[Time out] is "1"; allowed: the name of a parameter, such as timeout
  Parameters[cluster-enabled] is "yes"; allowed: set by Shards
  EvictionsAlarm is -1; allowed: 1 or more
  ConnectionsAlarm is 65001; allowed: 1 to 65000
  LagAlarm is 1ms; allowed: 1s or more`)
	stack := cdktest.Stack(t)
	_ = cdktest.Panic[*cache.PropsError](t, func() { cache.New(stack, "Cache", cache.Props{}) })
}

func TestValidateFieldsThatBelongTogether(t *testing.T) {
	stack := cdktest.Stack(t)
	v := vpc(stack)
	for want, props := range map[string]cache.Props{
		"allowed: a window apart from the SnapshotWindow 23:30-00:30": {SnapshotWindow: "23:30-00:30", MaintenanceWindow: "mon:00:00-mon:01:00"},
		`Version is "8.0"; allowed: 7.1, 7.0`:                         {Engine: cache.Redis, Version: "8.0"},
		`Username is "a b"; allowed: 1 to 40`:                         {Authentication: cache.Users, Username: "a b"},
		`Access is "all"; allowed: an access string`:                  {Authentication: cache.Users, Access: "all"},
		"allowed: a window apart from the SnapshotWindow 03:00-04:00": {SnapshotWindow: "03:00-04:00", MaintenanceWindow: "sun:03:30-sun:04:30"},
		`MaintenanceWindow is "sun:05:00-mon:06:00"; allowed: ddd`:    {MaintenanceWindow: "sun:05:00-mon:06:00"},
	} {
		props.VPC = v
		require.ErrorContains(t, props.Validate(), want)
	}
	require.NoError(t, cache.Props{VPC: v, Shards: 500, Replicas: cache.NoReplicas}.Validate())
	require.NoError(t, cache.Props{VPC: v, SnapshotWindow: "23:30-00:30", MaintenanceWindow: "sun:00:30-sun:01:30"}.Validate())
}
