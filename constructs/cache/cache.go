package cache

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Cache is an ElastiCache replication group. Clients connect with TLS.
type Cache struct {
	constructs.Construct
	Group          awselasticache.CfnReplicationGroup
	SubnetGroup    awselasticache.CfnSubnetGroup    // nil for an existing one
	ParameterGroup awselasticache.CfnParameterGroup // nil for an existing one
	SecurityGroup  awsec2.ISecurityGroup
	Secret         awssecretsmanager.ISecret   // see Authentication; nil with NoAuthentication
	UserGroup      awselasticache.CfnUserGroup // nil unless Authentication is Users
	SlowLog        awslogs.ILogGroup           // nil with NoLogs
	EngineLog      awslogs.ILogGroup           // nil with NoLogs

	props   Props
	prefix  string // of the ids of users
	userIDs []*string
	group   string // the replication group's id, a token
	minute  awscdk.Duration
	alarms  []awscloudwatch.IAlarm
}

// New makes a Cache. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Cache {
	cdkx.Must(scope, id, "cache", props.Validate())
	props = props.withDefaults()
	c := &Cache{props: props, minute: cdkx.Duration(time.Minute)}
	constructs.NewConstruct_Override(c, scope, &id)
	c.SecurityGroup = props.SecurityGroup
	if c.SecurityGroup == nil {
		c.SecurityGroup = awsec2.NewSecurityGroup(c, new("SecurityGroup"), cdkx.Override(&awsec2.SecurityGroupProps{
			Vpc:              props.VPC,
			Description:      new("Cache: only who was let in with AllowFrom"),
			AllowAllOutbound: new(false),
		}, props.Overrides.SecurityGroup))
	}
	groupProps := &awselasticache.CfnReplicationGroupProps{
		ReplicationGroupDescription: new(*c.Node().Path()),
		Engine:                      new(string(props.Engine)),
		EngineVersion:               &props.Version,
		CacheNodeType:               &props.NodeType,
		// Cluster mode does not run without; a failed node comes back empty then.
		AutomaticFailoverEnabled:   props.nodes() > 1 || props.Shards > 0,
		MultiAzEnabled:             props.nodes() > 1,
		TransitEncryptionEnabled:   true,
		AtRestEncryptionEnabled:    true,
		AutoMinorVersionUpgrade:    true,
		CacheSubnetGroupName:       c.subnetGroup(props),
		CacheParameterGroupName:    c.parameterGroup(props),
		SecurityGroupIds:           &[]*string{c.SecurityGroup.SecurityGroupId()},
		Port:                       cdkx.Number(props.Port),
		SnapshotRetentionLimit:     cdkx.Number(max(props.SnapshotDays, 0)),
		SnapshotWindow:             cdkx.Optional(props.SnapshotWindow),
		PreferredMaintenanceWindow: cdkx.Optional(props.MaintenanceWindow),
		SnapshotName:               cdkx.Optional(props.Snapshot),
	}
	if props.Shards > 0 {
		groupProps.NumNodeGroups = cdkx.Number(props.Shards)
		groupProps.ReplicasPerNodeGroup = cdkx.Number(max(props.Replicas, 0))
	} else {
		groupProps.NumCacheClusters = cdkx.Number(props.nodes())
	}
	if props.Key != nil {
		groupProps.KmsKeyId = props.Key.KeyArn()
	}
	if props.EventTopic != nil {
		groupProps.NotificationTopicArn = props.EventTopic.TopicArn()
	}
	c.authenticate(props, groupProps)
	c.deliverLogs(props, groupProps)
	c.Group = awselasticache.NewCfnReplicationGroup(c, new("Group"), cdkx.Override(groupProps, props.Override))
	c.group = *c.Group.Ref()
	c.keep(props)
	c.watch(props)
	return c
}

func (c *Cache) subnetGroup(props Props) *string {
	if props.SubnetGroup != "" {
		return &props.SubnetGroup
	}
	subnets := props.Subnets
	if subnets == nil {
		subnets = &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}
	}
	c.SubnetGroup = awselasticache.NewCfnSubnetGroup(c, new("Subnets"), cdkx.Override(&awselasticache.CfnSubnetGroupProps{
		Description: new("Subnets of the cache nodes"),
		SubnetIds:   cdkx.Any(*props.VPC.SelectSubnets(subnets).SubnetIds),
	}, props.Overrides.SubnetGroup))
	return c.SubnetGroup.Ref()
}

func (c *Cache) parameterGroup(props Props) *string {
	if props.ParameterGroup != "" {
		return &props.ParameterGroup
	}
	c.ParameterGroup = awselasticache.NewCfnParameterGroup(c, new("Parameters"), cdkx.Override(&awselasticache.CfnParameterGroupProps{
		CacheParameterGroupFamily: new(props.family()),
		Description:               new("Parameters of the cache nodes"),
		Properties:                cdkx.StringMap(props.parameters()),
	}, props.Overrides.ParameterGroup))
	return c.ParameterGroup.Ref()
}

// keep decides what becomes of the data when the cache goes, and says why it is
// kept no longer.
func (c *Cache) keep(props Props) {
	policy := awscdk.RemovalPolicy_SNAPSHOT
	if props.AllowDeletion || props.SnapshotDays == NoSnapshots {
		policy = awscdk.RemovalPolicy_DESTROY
	}
	c.Group.ApplyRemovalPolicy(policy, nil)
	if props.Shards > 0 {
		// Without it CloudFormation replaces the cache when Shards changes.
		c.Group.CfnOptions().SetUpdatePolicy(&awscdk.CfnUpdatePolicy{UseOnlineResharding: new(true)})
	}
	if props.SnapshotDays != NoSnapshots && props.SnapshotDays < 15 {
		cdkx.Acknowledge(c.Group, "What a cache holds is computed again from its source, and outdated within hours. The snapshots spare a new cache the time when it is empty, which the newest one does.",
			"ElastiCacheRedisClusterAutomaticBackup")
	}
	if props.Engine == Redis && props.Port == Port {
		cdkx.Acknowledge(c.Group, "Who connects is decided by the security group, which admits named security groups only, in subnets without a route out, over TLS and with a password; "+
			"another port hides nothing from who gets that far. Port sets one where a policy asks for it.",
			"AwsSolutions-AEC5")
	}
	if props.Authentication == Users {
		cdkx.Acknowledge(c.Group, "Clients authenticate as users of a user group, each with a password and rights of its own (RBAC), which takes the place of the one token for all; the user without a name is off.",
			"AwsSolutions-AEC6")
	}
}

// deliverLogs sends the slow log and the engine's log to CloudWatch.
func (c *Cache) deliverLogs(props Props, groupProps *awselasticache.CfnReplicationGroupProps) {
	if props.NoLogs {
		return
	}
	c.SlowLog, c.EngineLog = c.logGroup(props, "SlowLog"), c.logGroup(props, "EngineLog")
	deliver := func(kind string, to awslogs.ILogGroup) any {
		return &awselasticache.CfnReplicationGroup_LogDeliveryConfigurationRequestProperty{
			LogType:         &kind,
			LogFormat:       new("json"),
			DestinationType: new("cloudwatch-logs"),
			DestinationDetails: &awselasticache.CfnReplicationGroup_DestinationDetailsProperty{
				CloudWatchLogsDetails: &awselasticache.CfnReplicationGroup_CloudWatchLogsDestinationDetailsProperty{LogGroup: to.LogGroupName()},
			},
		}
	}
	groupProps.LogDeliveryConfigurations = &[]any{deliver("slow-log", c.SlowLog), deliver("engine-log", c.EngineLog)}
}

func (c *Cache) logGroup(props Props, id string) awslogs.ILogGroup {
	logProps := &awslogs.LogGroupProps{Retention: props.LogRetention, RemovalPolicy: awscdk.RemovalPolicy_RETAIN}
	if props.AllowDeletion {
		logProps.RemovalPolicy = awscdk.RemovalPolicy_DESTROY
	}
	if props.Key != nil {
		logProps.EncryptionKey = props.Key
	}
	group := awslogs.NewLogGroup(c, &id, cdkx.Override(logProps, props.Overrides.LogGroup))
	if props.Key == nil {
		cdkx.Acknowledge(group, "CloudWatch Logs encrypts it with a key of its own; IAM alone decides who reads it. Key sets a key of one's own.",
			"CloudWatchLogGroupEncrypted")
	}
	return group
}

// AllowFrom lets a security group, or anything that has one, connect.
func (c *Cache) AllowFrom(peer awsec2.IConnectable) {
	c.SecurityGroup.Connections().AllowFrom(peer, awsec2.Port_Tcp(cdkx.Number(c.props.Port)), new("Cache"))
}

// GrantReadSecret lets an identity read Secret, and does nothing with
// NoAuthentication.
func (c *Cache) GrantReadSecret(to awsiam.IGrantable) {
	if c.Secret != nil {
		c.Secret.GrantRead(to, nil)
	}
}

// SecretARN is the ARN of Secret, empty with NoAuthentication.
func (c *Cache) SecretARN() string {
	if c.Secret == nil {
		return ""
	}
	return *c.Secret.SecretArn()
}

// Endpoint is host:port of the primary, which follows a failover; in cluster
// mode the one that tells clients where the shards are.
func (c *Cache) Endpoint() string {
	if c.props.Shards > 0 {
		return *c.Group.AttrConfigurationEndPointAddress() + ":" + *c.Group.AttrConfigurationEndPointPort()
	}
	return *c.Group.AttrPrimaryEndPointAddress() + ":" + *c.Group.AttrPrimaryEndPointPort()
}

// ReaderEndpoint is host:port over all replicas. In cluster mode it is Endpoint,
// since clients find the replicas by themselves.
func (c *Cache) ReaderEndpoint() string {
	if c.props.Shards > 0 {
		return c.Endpoint()
	}
	return *c.Group.AttrReaderEndPointAddress() + ":" + *c.Group.AttrReaderEndPointPort()
}
