package stacks

import (
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/cache"
	"github.com/loadbearing/loadbearing/constructs/database"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// appRole is the PostgreSQL role the service connects as, and the name of its
// database.
const appRole = "loadbearing"

// Data is the stack of everything that holds data.
type Data struct {
	Stack      awscdk.Stack
	Database   *database.Database
	AppSecret  awssecretsmanager.ISecret // JSON with username and password of the service's role
	AuthSecret awssecretsmanager.ISecret // 64 characters that sign access tokens and cursors
	Cache      *cache.Cache
	Media      awss3.IBucket
	// Values are what this stack publishes for the programs, by setting; each
	// also stands in an SSM parameter.
	Values Values
}

// NewData makes the data stores, which only members of network.Clients reach,
// and publishes where they are.
func NewData(scope constructs.Construct, settings Settings, network *Network) *Data {
	stack := newStack(scope, settings, "data", "Loadbearing: PostgreSQL, cache, media bucket, secrets")
	d := &Data{Stack: stack}
	vpc := network.Network.VPC

	d.Database = database.New(stack, "Database", database.Props{
		VPC:             vpc,
		Subnets:         network.Network.Isolated(),
		RotationSubnets: network.Network.Private(),
		Name:            appRole,
		InstanceType:    settings.Database.InstanceType,
		Replicas:        orNone(settings.Database.Replicas, database.NoReplicas),
		SingleAZ:        !settings.Database.MultiAZ,
		StorageGiB:      settings.Database.StorageGiB,
		MaxStorageGiB:   settings.Database.MaxStorageGiB,
		BackupDays:      settings.Database.BackupDays,
		AllowDeletion:   !settings.DeletionProtection,
		RotateMaster:    time.Duration(settings.Database.RotateMasterDays) * 24 * time.Hour,
		NoRotateMaster:  settings.Database.RotateMasterDays == 0,
	})
	d.AppSecret = d.Database.AddRoleSecret("AppSecret", appRole)
	d.Database.AllowFrom(network.Clients)

	d.Cache = cache.New(stack, "Cache", cache.Props{
		VPC:      vpc,
		Subnets:  network.Network.Isolated(),
		NodeType: settings.Cache.NodeType,
		Replicas: orNone(settings.Cache.Replicas, cache.NoReplicas),
	})
	d.Cache.AllowFrom(network.Clients)

	d.Media = mediaBucket(stack, settings)
	d.AuthSecret = awssecretsmanager.NewSecret(stack, new("AuthSecret"), &awssecretsmanager.SecretProps{
		Description:   new("Signs access tokens and cursors"),
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			PasswordLength:     new(64.0),
			ExcludePunctuation: new(true),
		},
	})

	replicas := d.Database.ReplicaEndpoints()
	if len(replicas) == 0 {
		// An SSM parameter is never empty; without replicas the primary serves reads.
		replicas = []string{d.Database.PrimaryEndpoint()}
	}
	d.Values = Values{
		contract.DatabasePrimary:     d.Database.PrimaryEndpoint(),
		contract.DatabaseReplicas:    strings.Join(replicas, ","),
		contract.DatabaseName:        d.Database.Name,
		contract.DatabaseAdminSecret: *d.Database.AdminSecret.SecretArn(),
		contract.DatabaseAppSecret:   *d.AppSecret.SecretArn(),
		contract.CacheEndpoint:       d.Cache.Endpoint(),
		contract.MediaBucket:         *d.Media.BucketName(),
		contract.AuthSecret:          *d.AuthSecret.SecretArn(),
	}
	d.Values.publish(stack, settings)
	return d
}

// orNone reads 0 as none, which the constructs, whose zero is a default, name.
func orNone(count, none int) int {
	if count == 0 {
		return none
	}
	return count
}

// mediaBucket holds what users upload: private, encrypted, over TLS only.
func mediaBucket(stack awscdk.Stack, settings Settings) awss3.IBucket {
	removal := awscdk.RemovalPolicy_DESTROY
	if settings.DeletionProtection {
		removal = awscdk.RemovalPolicy_RETAIN
	}
	rule := &awss3.LifecycleRule{
		Id: new("abandoned"),
		// Parts of an upload nobody finished are invisible and billed.
		AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(new(1.0)),
	}
	if settings.DeletionProtection {
		rule.NoncurrentVersionExpiration = awscdk.Duration_Days(new(30.0))
		rule.ExpiredObjectDeleteMarker = new(true)
	}
	return awss3.NewBucket(stack, new("Media"), &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        new(true),
		MinimumTLSVersion: new(1.2),
		Versioned:         new(settings.DeletionProtection),
		LifecycleRules:    &[]*awss3.LifecycleRule{rule},
		RemovalPolicy:     removal,
	})
}

// GrantReadMedia lets an identity read objects of the media bucket whose key it
// knows. It cannot list them.
func (d *Data) GrantReadMedia(to awsiam.IGrantable) awsiam.Grant {
	return awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      to,
		Actions:      &[]*string{new("s3:GetObject")},
		ResourceArns: &[]*string{d.Media.ArnForObjects(new("*"))},
	})
}

// Sections is the data stores' part of the dashboard.
func (d *Data) Sections() []observability.Section {
	return []observability.Section{
		{Title: "Database", Watched: []observability.Watched{d.Database}},
		{Title: "Cache", Watched: []observability.Watched{d.Cache}},
	}
}
