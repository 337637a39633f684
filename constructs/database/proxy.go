package database

import (
	"cmp"
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// ProxyProps configures a Proxy. Secrets are required; everything else has a
// default.
type ProxyProps struct {
	// Secrets of the roles that connect, as AddRoleSecret and
	// AddRotatedRoleSecret return them.
	Secrets []awssecretsmanager.ISecret

	// Shard whose primary stands behind the proxy. Default 0, the first.
	Shard int

	// RequireIAM lets clients sign in with a token of IAM only. Default with the
	// password in the secret.
	RequireIAM bool

	// MaxConnectionsPercent is how much of max_connections the proxy may use, 1
	// to 100. Default 90: the owner and rotation need a few.
	MaxConnectionsPercent int

	// MaxIdlePercent is how much of max_connections it keeps open without need, 1
	// to MaxConnectionsPercent. Default half of MaxConnectionsPercent.
	MaxIdlePercent int

	// IdleTimeout is after how long an idle client is cut off, 1 s to 8 h. Default
	// 30 minutes.
	IdleTimeout time.Duration

	// BorrowTimeout is how long a client waits for a connection before it gets an
	// error, 1 s to 5 minutes. Default 10 s.
	BorrowTimeout time.Duration

	// Subnets the proxy stands in. Default those of the database.
	Subnets *awsec2.SubnetSelection

	// SecurityGroup is an existing one to use. Default a new one.
	SecurityGroup awsec2.ISecurityGroup

	// Override has the last word on the proxy.
	Override func(*awsrds.DatabaseProxyProps)
}

// Proxy is an RDS Proxy before the primary of one shard. It speaks TLS only.
// Its alarms and its widget are among the database's.
//
// It lets many clients share few connections by the transaction, which a client
// gives up (it is pinned) that uses what belongs to a session: SET, temporary
// tables, advisory locks, LISTEN, prepared statements of the simple protocol.
// Statements over 16 KiB pin too. It knows no read replicas.
type Proxy struct {
	constructs.Construct
	Proxy         awsrds.DatabaseProxy
	Role          awsiam.IRole
	SecurityGroup awsec2.ISecurityGroup

	database *Database
}

func (p ProxyProps) withDefaults() ProxyProps {
	p.MaxConnectionsPercent = cmp.Or(p.MaxConnectionsPercent, 90)
	p.MaxIdlePercent = cmp.Or(p.MaxIdlePercent, max(1, p.MaxConnectionsPercent/2))
	p.IdleTimeout = cmp.Or(p.IdleTimeout, 30*time.Minute)
	p.BorrowTimeout = cmp.Or(p.BorrowTimeout, 10*time.Second)
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p ProxyProps) Validate() error { return p.validate(maxShards) }

func (p ProxyProps) validate(shards int) error {
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(len(p.Secrets) > 0 && len(p.Secrets) <= 200, "Secrets", len(p.Secrets), "1 to 200 secrets of roles")
	cdkx.Between(&bad, "Shard", p.Shard, 0, shards-1)
	cdkx.Between(&bad, "MaxConnectionsPercent", p.MaxConnectionsPercent, 1, 100)
	cdkx.Between(&bad, "MaxIdlePercent", p.MaxIdlePercent, 1, max(1, p.MaxConnectionsPercent))
	cdkx.WholeSeconds(&bad, "IdleTimeout", p.IdleTimeout, time.Second, 8*time.Hour)
	cdkx.WholeSeconds(&bad, "BorrowTimeout", p.BorrowTimeout, time.Second, 5*time.Minute)
	return bad.Err("proxy")
}

// AddProxy puts an RDS Proxy before the primary of a shard. It panics with a
// *PropsError when props are not valid.
func (d *Database) AddProxy(id string, props ProxyProps) *Proxy {
	cdkx.Must(d, id, "proxy", props.validate(len(d.Shards)))
	props = props.withDefaults()
	p := &Proxy{database: d, SecurityGroup: props.SecurityGroup}
	constructs.NewConstruct_Override(p, d, &id)
	if p.SecurityGroup == nil {
		p.SecurityGroup = awsec2.NewSecurityGroup(p, new("SecurityGroup"), &awsec2.SecurityGroupProps{
			Vpc:              d.props.VPC,
			Description:      new("RDS Proxy: only who was let in with AllowFrom"),
			AllowAllOutbound: new(false),
		})
	}
	role := awsiam.NewRole(p, new("Role"), &awsiam.RoleProps{
		Description: new("RDS Proxy reads the credentials of the roles that connect"),
		AssumedBy:   d.service("rds.amazonaws.com"),
	})
	p.Role = role
	selection := props.Subnets
	if selection == nil {
		selection = subnets(d.props.Subnets)
	}
	secrets := append([]awssecretsmanager.ISecret{}, props.Secrets...)
	p.Proxy = awsrds.NewDatabaseProxy(p, new("Proxy"), cdkx.Override(&awsrds.DatabaseProxyProps{
		ProxyTarget:               awsrds.ProxyTarget_FromInstance(d.Shards[props.Shard].Primary),
		Vpc:                       d.props.VPC,
		VpcSubnets:                selection,
		SecurityGroups:            &[]awsec2.ISecurityGroup{p.SecurityGroup},
		Secrets:                   &secrets,
		Role:                      role,
		RequireTLS:                new(true),
		IamAuth:                   new(props.RequireIAM),
		ClientPasswordAuthType:    passwordAuth(props),
		MaxConnectionsPercent:     cdkx.Number(props.MaxConnectionsPercent),
		MaxIdleConnectionsPercent: cdkx.Number(props.MaxIdlePercent),
		IdleClientTimeout:         cdkx.Duration(props.IdleTimeout),
		BorrowTimeout:             cdkx.Duration(props.BorrowTimeout),
	}, props.Override))
	cdkx.AcknowledgePolicy(role, "")
	d.proxies = append(d.proxies, p)
	p.watch(id)
	return p
}

// passwordAuth is how clients prove that they know the password; there is none
// to prove with IAM.
func passwordAuth(props ProxyProps) awsrds.ClientPasswordAuthType {
	if props.RequireIAM {
		return ""
	}
	return awsrds.ClientPasswordAuthType_POSTGRES_SCRAM_SHA_256
}

// Endpoint is host:port of the proxy.
func (p *Proxy) Endpoint() string { return fmt.Sprintf("%s:%d", *p.Proxy.Endpoint(), Port) }

// AllowFrom lets a security group, or anything that has one, connect.
func (p *Proxy) AllowFrom(peer awsec2.IConnectable) {
	p.SecurityGroup.Connections().AllowFrom(peer, awsec2.Port_Tcp(cdkx.Number(Port)), new("RDS Proxy"))
}

// GrantConnect lets an identity sign in as a PostgreSQL role with a token of
// IAM. It needs RequireIAM.
func (p *Proxy) GrantConnect(to awsiam.IGrantable, username string) awsiam.Grant {
	return p.Proxy.GrantConnect(to, &username)
}

// metric is a metric of the proxy. A gauge is a Sum, because each machine below
// the proxy reports its own part.
func (p *Proxy) metric(name, statistic, label string) awscloudwatch.IMetric {
	return cdkx.Metric(cdkx.MetricSpec{
		Namespace:  "AWS/RDS",
		Name:       name,
		Dimensions: map[string]string{"ProxyName": *p.Proxy.DbProxyName()},
		Statistic:  statistic,
		Label:      label,
	})
}

func (p *Proxy) watch(id string) {
	p.database.alarm(id+"BorrowedAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric: cdkx.Math("100 * borrowed / allowed", "connections in use in %", map[string]awscloudwatch.IMetric{
			"borrowed": p.metric("DatabaseConnectionsCurrentlyBorrowed", "Sum", ""),
			"allowed":  p.metric("MaxDatabaseConnectionsAllowed", "Sum", ""),
		}),
		Description: "More than 80 % of the connections the proxy may open are in use: clients will wait, then fail. Look for long transactions and for pinned sessions.",
		Threshold:   80,
		Periods:     5,
	})
	p.database.alarm(id+"PinnedAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric: cdkx.Math("IF(open > 0, 100 * pinned / open, 0)", "pinned connections in %", map[string]awscloudwatch.IMetric{
			"pinned": p.metric("DatabaseConnectionsCurrentlySessionPinned", "Sum", ""),
			"open":   p.metric("DatabaseConnections", "Sum", ""),
		}),
		Description: "More than half of the connections belong to one client each: the proxy is no more than a detour. Its log says which statement pinned.",
		Threshold:   50,
		Periods:     15,
	})
	p.database.alarm(id+"SetupAlarm", cdkx.AlarmSpec{
		Severity:    cdkx.Critical,
		Metric:      p.metric("DatabaseConnectionsSetupFailed", "Sum", ""),
		Description: "The proxy could not connect to the database. Compare the secrets with the roles' passwords; then look at the primary.",
		Threshold:   0,
	})
}

func (p *Proxy) widget() awscloudwatch.IWidget {
	return cdkx.Graph(*p.database.Node().Id()+": connections of "+*p.Node().Id(),
		p.metric("MaxDatabaseConnectionsAllowed", "Sum", "allowed"),
		p.metric("DatabaseConnections", "Sum", "open"),
		p.metric("DatabaseConnectionsCurrentlyBorrowed", "Sum", "in use"),
		p.metric("DatabaseConnectionsCurrentlySessionPinned", "Sum", "pinned"),
	)
}
