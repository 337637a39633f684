package database

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsec2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// reasonManagedKey is why a secret has no key of its own.
const reasonManagedKey = "Secrets Manager encrypts it with the key it manages in this account; IAM alone decides who reads it, and every read is in CloudTrail. " +
	"Key or SecretKey sets a key of one's own, where the key has to be revocable or shared between accounts."

// makeAdminSecret makes the owner's credentials of one shard. RDS can manage
// them itself, but not for a PostgreSQL instance that has read replicas.
func (d *Database) makeAdminSecret(props Props, prefix string) awssecretsmanager.ISecret {
	secret := awsrds.NewDatabaseSecret(d, new(prefix+"AdminSecret"), cdkx.Override(&awsrds.DatabaseSecretProps{
		Username:      &props.Username,
		EncryptionKey: props.SecretKey,
	}, props.Overrides.AdminSecret))
	d.acknowledgeKey(secret)
	return secret
}

func (d *Database) acknowledgeKey(secret awssecretsmanager.ISecret) {
	if d.props.SecretKey == nil {
		cdkx.Acknowledge(secret, reasonManagedKey, "SecretsManagerUsingKMSKey")
	}
}

// rotateMaster lets Secrets Manager change the owner's password with a function
// that AWS writes and hosts.
func (d *Database) rotateMaster(props Props, shard Shard) {
	shard.attached.AddRotationSchedule(new("Rotation"), &awssecretsmanager.RotationScheduleOptions{
		AutomaticallyAfter:        cdkx.Duration(props.RotateMaster),
		RotateImmediatelyOnUpdate: new(false),
		HostedRotation: awssecretsmanager.HostedRotation_PostgreSqlSingleUser(&awssecretsmanager.SingleUserHostedRotationOptions{
			Vpc:            props.VPC,
			VpcSubnets:     rotationSubnets(props),
			SecurityGroups: &[]awsec2.ISecurityGroup{d.rotationGroup()},
		}),
	})
}

// rotationGroup is the security group that all rotation functions share.
func (d *Database) rotationGroup() awsec2.ISecurityGroup {
	if d.rotationSecurity == nil {
		d.rotationSecurity = awsec2.NewSecurityGroup(d, new("RotationSecurity"), cdkx.Override(&awsec2.SecurityGroupProps{
			Vpc:         d.props.VPC,
			Description: new("The function that rotates the password of the PostgreSQL owner"),
		}, d.props.Overrides.RotationSecurity))
		d.AllowFrom(d.rotationSecurity)
	}
	return d.rotationSecurity
}

func rotationSubnets(props Props) *awsec2.SubnetSelection {
	if props.RotationSubnets == nil {
		return &awsec2.SubnetSelection{SubnetType: awsec2.SubnetType_PRIVATE_WITH_EGRESS}
	}
	return props.RotationSubnets
}

// AddRoleSecret generates the credentials of a further database role, as JSON
// with username and password. It creates no role: the migration that does reads
// the secret. The password is 40 letters and digits, which needs no quoting in
// a URL or in SQL. It does not change: see AddRotatedRoleSecret.
func (d *Database) AddRoleSecret(id, username string) awssecretsmanager.ISecret {
	template, err := json.Marshal(map[string]string{"username": username})
	if err != nil {
		panic(fmt.Errorf("the secret of role %q: %w", username, err))
	}
	secret := awssecretsmanager.NewSecret(d, &id, cdkx.Override(&awssecretsmanager.SecretProps{
		Description:   new("Credentials of the PostgreSQL role " + username),
		EncryptionKey: d.props.SecretKey,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			SecretStringTemplate: new(string(template)),
			GenerateStringKey:    new("password"),
			PasswordLength:       cdkx.Number(40),
			ExcludePunctuation:   new(true),
		},
	}, d.props.Overrides.RoleSecret))
	d.acknowledgeKey(secret)
	cdkx.Acknowledge(secret, "The service reads the credentials when it starts, so a rotation beside it would cut it off until it is restarted. "+
		"The password is 40 random characters that no person needs to see, for a role without rights over others, on a server that only admitted security groups reach. "+
		"AddRotatedRoleSecret rotates one for programs that read it again.",
		"AwsSolutions-SMG4", "SecretsManagerRotationEnabled")
	return secret
}

// RotatedRole is a database role whose password changes. Username is required.
type RotatedRole struct {
	// Username of the role, 1 to 57 letters, digits and underscores; "_clone" is
	// added to it.
	Username string

	// Shard the role is in. Default 0, the first. A secret says where its database
	// is, so that every shard needs its own.
	Shard int

	// Every is how often the password changes, 4 hours to 1,000 days. Default 30
	// days.
	Every time.Duration
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (r RotatedRole) Validate() error { return r.validate(maxShards) }

func (r RotatedRole) validate(shards int) error {
	r = r.withDefaults()
	var bad cdkx.Problems
	if len(r.Username) > 57 && !cdkx.Unresolved(r.Username) {
		bad.Add("Username", r.Username, "57 characters or fewer: rotation adds _clone")
	} else {
		cdkx.Matches(&bad, "Username", r.Username, databaseName, "1 to 57 letters, digits and underscores, the first no digit")
	}
	cdkx.Between(&bad, "Shard", r.Shard, 0, shards-1)
	cdkx.WholeSeconds(&bad, "Every", r.Every, 4*time.Hour, 1000*24*time.Hour)
	return bad.Err("role secret")
}

func (r RotatedRole) withDefaults() RotatedRole {
	if r.Every == 0 {
		r.Every = 30 * 24 * time.Hour
	}
	return r
}

// AddRotatedRoleSecret generates the credentials of a further database role and
// changes them on a schedule, with the owner's help and a function that AWS
// writes and hosts. Two roles take turns, username and username_clone, so that
// a program that read the secret before the last change still gets in: read it
// again for each new connection, or within the period. The secret is JSON with
// username, password, host, port, dbname, engine and masterarn. The role has to
// exist when the first rotation comes. It panics with a *PropsError when role is
// not valid.
func (d *Database) AddRotatedRoleSecret(id string, role RotatedRole) awssecretsmanager.ISecret {
	cdkx.Must(d, id, "role secret", role.validate(len(d.Shards)))
	role = role.withDefaults()
	shard := d.Shards[role.Shard]
	secret := awsrds.NewDatabaseSecret(d, &id, cdkx.Override(&awsrds.DatabaseSecretProps{
		Username:      &role.Username,
		MasterSecret:  shard.AdminSecret,
		EncryptionKey: d.props.SecretKey,
	}, d.props.Overrides.RotatedRoleSecret))
	d.acknowledgeKey(secret)
	attached := secret.Attach(shard.Primary)
	attached.AddRotationSchedule(new("Rotation"), &awssecretsmanager.RotationScheduleOptions{
		AutomaticallyAfter:        cdkx.Duration(role.Every),
		RotateImmediatelyOnUpdate: new(false),
		HostedRotation: awssecretsmanager.HostedRotation_PostgreSqlMultiUser(&awssecretsmanager.MultiUserHostedRotationOptions{
			MasterSecret:   shard.AdminSecret,
			Vpc:            d.props.VPC,
			VpcSubnets:     rotationSubnets(d.props),
			SecurityGroups: &[]awsec2.ISecurityGroup{d.rotationGroup()},
		}),
	})
	return attached
}
