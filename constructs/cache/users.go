package cache

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awselasticache"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// passwordLength of tokens and users. ElastiCache takes 16 to 128 characters;
// 64 letters and digits need no quoting anywhere.
const passwordLength = 64

// authenticate makes what clients need to prove who they are.
func (c *Cache) authenticate(props Props, groupProps *awselasticache.CfnReplicationGroupProps) {
	switch props.Authentication {
	case AuthToken:
		c.Secret = c.secret("Secret", "The token that clients of the cache authenticate with", nil)
		groupProps.AuthToken = c.Secret.SecretValue().UnsafeUnwrap()
	case Users:
		// ElastiCache wants lower case, and an id that no other user of the account
		// in this Region has.
		c.prefix = strings.ToLower(*awscdk.Names_UniqueResourceName(c, &awscdk.UniqueResourceNameOptions{
			MaxLength: cdkx.Number(28), Separator: new("-"),
		}))
		nobody := awselasticache.NewCfnUser(c, new("DefaultUser"), cdkx.Override(&awselasticache.CfnUserProps{
			Engine:             new(string(props.Engine)),
			UserId:             new(c.prefix + "-default"),
			UserName:           new("default"),
			AccessString:       new("off ~keys* -@all"),
			NoPasswordRequired: true,
		}, props.Overrides.User))
		c.userIDs = []*string{nobody.Ref()}
		c.UserGroup = awselasticache.NewCfnUserGroup(c, new("UserGroup"), cdkx.Override(&awselasticache.CfnUserGroupProps{
			Engine:      new(string(props.Engine)),
			UserGroupId: new(c.prefix + "-users"),
			UserIds:     &c.userIDs,
		}, props.Overrides.UserGroup))
		c.Secret = c.addUser("User", User{Username: props.Username, Access: props.Access})
		groupProps.UserGroupIds = &[]*string{c.UserGroup.Ref()}
	}
}

// secret generates a password, as it is or, with a username, as JSON.
func (c *Cache) secret(id, description string, user *User) awssecretsmanager.ISecret {
	generator := &awssecretsmanager.SecretStringGenerator{PasswordLength: cdkx.Number(passwordLength), ExcludePunctuation: new(true)}
	if user != nil {
		template, err := json.Marshal(map[string]string{"username": user.Username})
		if err != nil {
			panic(fmt.Errorf("the secret of user %q: %w", user.Username, err))
		}
		generator.SecretStringTemplate, generator.GenerateStringKey = new(string(template)), new("password")
	}
	secret := awssecretsmanager.NewSecret(c, &id, cdkx.Override(&awssecretsmanager.SecretProps{
		Description:          &description,
		EncryptionKey:        c.props.Key,
		RemovalPolicy:        awscdk.RemovalPolicy_DESTROY,
		GenerateSecretString: generator,
	}, c.props.Overrides.Secret))
	cdkx.Acknowledge(secret, "CloudFormation gives ElastiCache the password when it changes the cache, and clients read it when they start: a rotation beside both would lock every client out. "+
		"It is 64 random characters that no person needs to see, of use only from admitted security groups and over TLS.",
		"AwsSolutions-SMG4", "SecretsManagerRotationEnabled")
	if c.props.Key == nil {
		cdkx.Acknowledge(secret, "Secrets Manager encrypts it with the key it manages in this account; IAM alone decides who reads it, and every read is in CloudTrail. "+
			"Key sets a key of one's own, where the key has to be revocable or shared between accounts.",
			"SecretsManagerUsingKMSKey")
	}
	return secret
}

// User is somebody who may use a cache whose Authentication is Users. Username is
// required.
type User struct {
	// Username, 1 to 40 letters, digits and hyphens, a letter first, and not
	// "default".
	Username string

	// Access as an access string of Redis' ACL: "on ~sessions:* +@read". Default
	// that of Props.Access.
	Access string
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (u User) Validate() error {
	var bad cdkx.Problems
	validateUser(&bad, u.Username, cmp.Or(u.Access, defaultAccess))
	return bad.Err("user")
}

// AddUser makes a further user of a cache whose Authentication is Users and
// returns its secret, JSON with username and password. It panics with a
// *PropsError when user is not valid, or the cache has no users.
func (c *Cache) AddUser(id string, user User) awssecretsmanager.ISecret {
	err := user.Validate()
	if c.UserGroup == nil {
		var bad cdkx.Problems
		bad.Add("Authentication", c.props.Authentication, string(Users)+", to have users")
		err = bad.Err("user")
	}
	cdkx.Must(c, id, "user", err)
	return c.addUser(id, user)
}

func (c *Cache) addUser(id string, user User) awssecretsmanager.ISecret {
	secret := c.secret(id+"Secret", "Credentials of the cache user "+user.Username, &user)
	made := awselasticache.NewCfnUser(c, &id, cdkx.Override(&awselasticache.CfnUserProps{
		Engine:       new(string(c.props.Engine)),
		UserId:       new(c.prefix + "-" + strings.ToLower(id)),
		UserName:     &user.Username,
		AccessString: new(cmp.Or(user.Access, c.props.Access)),
		Passwords:    &[]*string{secret.SecretValueFromJson(new("password")).UnsafeUnwrap()},
	}, c.props.Overrides.User))
	c.userIDs = append(c.userIDs, made.Ref())
	c.UserGroup.SetUserIds(&c.userIDs)
	return secret
}
