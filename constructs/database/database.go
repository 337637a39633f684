package database

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsbackup"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Tags by which the instances of one database are told apart.
const (
	TagRole     = "loadbearing:role" // RolePrimary or RoleReplica
	TagShard    = "loadbearing:shard"
	RolePrimary = "primary"
	RoleReplica = "replica"
)

// Database is one PostgreSQL primary with its read replicas, or several of
// them. Connections need TLS (rds.force_ssl).
//
// The logs RDS exports to CloudWatch go to log groups it creates itself, which
// never expire: CloudFormation can set their retention only through a custom
// resource, and these constructs make none.
type Database struct {
	constructs.Construct
	Shards []Shard

	// Primary, Replicas and AdminSecret are those of the first shard.
	Primary     awsrds.IDatabaseInstance
	Replicas    []awsrds.IDatabaseInstance
	AdminSecret awssecretsmanager.ISecret

	Name                  string
	SecurityGroup         awsec2.ISecurityGroup
	SubnetGroup           awsrds.ISubnetGroup
	ParameterGroup        awsrds.IParameterGroup
	ReplicaParameterGroup awsrds.IParameterGroup      // nil without replicas
	MonitoringRole        awsiam.IRole                // nil without enhanced monitoring
	BackupVault           awsbackup.IBackupVault      // nil without monthly backups
	BackupPlan            awsbackup.BackupPlan        // nil without monthly backups
	EventSubscription     awsrds.CfnEventSubscription // nil without an EventTopic

	props            Props
	rotationSecurity awsec2.ISecurityGroup
	minute           awscdk.Duration
	proxies          []*Proxy
	alarms           []awscloudwatch.IAlarm
}

// Shard is a primary with its replicas. Shards share no data.
type Shard struct {
	Primary     awsrds.IDatabaseInstance
	Replicas    []awsrds.IDatabaseInstance
	AdminSecret awssecretsmanager.ISecret // JSON with username and password of the owner role

	primary  primaryInstance
	attached awssecretsmanager.ISecret // AdminSecret, once it says where the primary is
}

// instances are the primary and its replicas.
func (s Shard) instances() []awsrds.IDatabaseInstance {
	return append([]awsrds.IDatabaseInstance{s.Primary}, s.Replicas...)
}

// New makes a Database. It panics with a *PropsError when props are not valid.
func New(scope constructs.Construct, id string, props Props) *Database {
	cdkx.Must(scope, id, "database", props.Validate())
	props = props.withDefaults()
	d := &Database{Name: props.Name, props: props, minute: cdkx.Duration(time.Minute)}
	constructs.NewConstruct_Override(d, scope, &id)
	d.SecurityGroup = props.SecurityGroup
	if d.SecurityGroup == nil {
		d.SecurityGroup = awsec2.NewSecurityGroup(d, new("SecurityGroup"), cdkx.Override(&awsec2.SecurityGroupProps{
			Vpc:              props.VPC,
			Description:      new("PostgreSQL: only who was let in with AllowFrom"),
			AllowAllOutbound: new(false),
		}, props.Overrides.SecurityGroup))
	}
	d.SubnetGroup = props.SubnetGroup
	if d.SubnetGroup == nil {
		d.SubnetGroup = awsrds.NewSubnetGroup(d, new("Subnets"), cdkx.Override(&awsrds.SubnetGroupProps{
			Vpc:         props.VPC,
			VpcSubnets:  subnets(props.Subnets),
			Description: new("Subnets of the PostgreSQL instances"),
		}, props.Overrides.SubnetGroup))
	}
	engine := awsrds.DatabaseInstanceEngine_Postgres(&awsrds.PostgresInstanceEngineProps{
		Version: awsrds.PostgresEngineVersion_Of(&props.Version, &props.Version, nil),
	})
	d.makeParameterGroups(props, engine)
	d.makeMonitoringRole(props)
	for number := range props.Shards {
		d.Shards = append(d.Shards, d.makeShard(props, number, engine))
	}
	d.Primary, d.Replicas, d.AdminSecret = d.Shards[0].Primary, d.Shards[0].Replicas, d.Shards[0].AdminSecret
	d.makeBackups(props)
	d.makeEventSubscription(props)
	return d
}

func subnets(given *awsec2.SubnetSelection) *awsec2.SubnetSelection {
	if given == nil {
		return &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_ISOLATED}
	}
	return given
}

// AllowFrom lets a security group, or anything that has one, connect.
func (d *Database) AllowFrom(peer awsec2.IConnectable) {
	d.SecurityGroup.Connections().AllowFrom(peer, awsec2.Port_Tcp(cdkx.Number(d.props.Port)), new("PostgreSQL"))
}

// GrantConnect lets an identity sign in to every instance as a PostgreSQL role
// with a token of IAM. It needs IAMAuth, and the role to be a member of rds_iam.
func (d *Database) GrantConnect(to awsiam.IGrantable, username string) {
	for _, shard := range d.Shards {
		for _, instance := range shard.instances() {
			instance.GrantConnect(to, &username)
		}
	}
}

// GrantReadAdminSecrets lets an identity read the owner's credentials of every
// shard.
func (d *Database) GrantReadAdminSecrets(to awsiam.IGrantable) {
	for _, shard := range d.Shards {
		shard.AdminSecret.GrantRead(to, nil)
	}
}

// PrimaryEndpoint is host:port of the primary of the first shard.
func (d *Database) PrimaryEndpoint() string { return endpoint(d.Primary) }

// ReplicaEndpoints is host:port of each replica of the first shard, in the
// order they were made.
func (d *Database) ReplicaEndpoints() []string { return endpoints(d.Replicas) }

// ShardEndpoints is host:port of the instances of each shard, the primary first
// and then the replicas in the order they were made.
func (d *Database) ShardEndpoints() [][]string {
	all := make([][]string, len(d.Shards))
	for i, shard := range d.Shards {
		all[i] = endpoints(shard.instances())
	}
	return all
}

// AdminSecretARNs are the ARNs of the owner's secrets, by shard.
func (d *Database) AdminSecretARNs() []string {
	all := make([]string, len(d.Shards))
	for i, shard := range d.Shards {
		all[i] = *shard.AdminSecret.SecretArn()
	}
	return all
}

func endpoints(of []awsrds.IDatabaseInstance) []string {
	all := make([]string, len(of))
	for i, instance := range of {
		all[i] = endpoint(instance)
	}
	return all
}

func endpoint(of awsrds.IDatabaseInstance) string {
	return *of.DbInstanceEndpointAddress() + ":" + *of.DbInstanceEndpointPort()
}

// eventCategories are the events of an instance that somebody may have to act
// on; "creation" and "notification" are not among them.
var eventCategories = []string{
	"availability", "configuration change", "deletion", "failover", "failure",
	"low storage", "maintenance", "read replica", "recovery", "restoration", "security",
}

func (d *Database) makeEventSubscription(props Props) {
	if props.EventTopic == nil {
		return
	}
	var ids []any
	for _, shard := range d.Shards {
		for _, instance := range shard.instances() {
			ids = append(ids, instance.InstanceIdentifier())
		}
	}
	d.EventSubscription = awsrds.NewCfnEventSubscription(d, new("Events"), cdkx.Override(&awsrds.CfnEventSubscriptionProps{
		SnsTopicArn:     props.EventTopic.TopicArn(),
		SourceType:      new("db-instance"),
		SourceIds:       &ids,
		EventCategories: cdkx.Strings(eventCategories...),
	}, props.Overrides.EventSubscription))
	props.EventTopic.GrantPublish(awsiam.NewServicePrincipal(new("events.rds.amazonaws.com"), nil))
}
