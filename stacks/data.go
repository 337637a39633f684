package stacks

import (
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/loadbearing/loadbearing/constructs/cache"
	"github.com/loadbearing/loadbearing/constructs/compliance"
	"github.com/loadbearing/loadbearing/constructs/database"
	"github.com/loadbearing/loadbearing/constructs/encryption"
	"github.com/loadbearing/loadbearing/constructs/observability"
	"github.com/loadbearing/loadbearing/constructs/release"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// appRole is the PostgreSQL role the service connects as, and the name of its
// database.
const appRole = "loadbearing"

// Data is the stack of everything that holds data.
type Data struct {
	Stack      awscdk.Stack
	Key        *encryption.Key // what encrypts it
	Database   *database.Database
	AppSecret  awssecretsmanager.ISecret // JSON with username and password of the service's role
	AuthSecret awssecretsmanager.ISecret // 64 characters that sign access tokens and cursors
	Cache      *cache.Cache
	Media      awss3.IBucket
	Artifacts  awss3.IBucket // versions of the programs that are released
	// Values are what this stack publishes for the programs, by setting; each
	// also stands in an SSM parameter.
	Values Values
}

// NewData makes the data stores, which only members of network.Clients reach,
// and publishes where they are.
func NewData(scope constructs.Construct, settings Settings, network *Network) *Data {
	stack := newStack(scope, settings, "data", "Loadbearing: PostgreSQL, cache, media bucket, secrets")
	d := &Data{Stack: stack, Key: network.Key}
	vpc := network.Network.VPC

	d.Database = database.New(stack, "Database", database.Props{
		VPC:             vpc,
		Subnets:         network.Network.Isolated(),
		RotationSubnets: network.Network.Private(),
		Name:            appRole,
		Key:             network.Key.Key,
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
		VPC:           vpc,
		Subnets:       network.Network.Isolated(),
		Key:           network.Key.Key,
		NodeType:      settings.Cache.NodeType,
		Replicas:      orNone(settings.Cache.Replicas, cache.NoReplicas),
		SnapshotDays:  orNone(settings.Cache.SnapshotDays, cache.NoSnapshots),
		AllowDeletion: !settings.DeletionProtection,
	})
	d.Cache.AllowFrom(network.Clients)

	d.Media = mediaBucket(stack, settings, network.Key.Key)
	d.Artifacts = artifactBucket(stack, settings, network.Key.Key)
	d.AuthSecret = awssecretsmanager.NewSecret(stack, new("AuthSecret"), &awssecretsmanager.SecretProps{
		Description:   new("Signs access tokens and cursors"),
		EncryptionKey: network.Key.Key,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		GenerateSecretString: &awssecretsmanager.SecretStringGenerator{
			PasswordLength:     new(64.0),
			ExcludePunctuation: new(true),
		},
	})

	compliance.Acknowledge(d.AuthSecret, "The service holds one signing key at a time, so a new one signs every user out. An operator "+
		"replaces it when there is a reason to; access tokens end after minutes anyway.", "AwsSolutions-SMG4", "SecretsManagerRotationEnabled")

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
		contract.CacheSecret:         d.Cache.SecretARN(),
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
func mediaBucket(stack awscdk.Stack, settings Settings, key awskms.IKey) awss3.IBucket {
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
	props := &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_KMS,
		EncryptionKey:     key,
		BucketKeyEnabled:  new(true), // one call to KMS for many objects
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        new(true),
		MinimumTLSVersion: new(1.2),
		Versioned:         new(settings.DeletionProtection),
		LifecycleRules:    &[]*awss3.LifecycleRule{rule},
		Cors:              &[]*awss3.CorsRule{partUploads(settings)},
		RemovalPolicy:     removal,
	}
	if logs := accessLogs(stack, settings); logs != nil {
		props.ServerAccessLogsBucket, props.ServerAccessLogsPrefix = logs, new("media/")
	}
	media := awss3.NewBucket(stack, new("Media"), props)
	compliance.Acknowledge(media, "Deleted and overwritten objects stay for 30 days as versions. A second Region is a decision about "+
		"the law that applies to what users upload, so the owner of an environment makes it.", "S3BucketReplicationEnabled")
	return media
}

// artifactBucket holds the versions that are released.
func artifactBucket(stack awscdk.Stack, settings Settings, key awskms.IKey) awss3.IBucket {
	return release.NewArtifacts(stack, "Artifacts", key, func(p *awss3.BucketProps) {
		(*p.LifecycleRules)[0].Id = new("abandoned")
		if !settings.DeletionProtection {
			p.RemovalPolicy = awscdk.RemovalPolicy_DESTROY
		}
	})
}

// partUploads lets pages of the service send the parts of an upload to presigned
// URLs, and read what S3 says of them. docs/decisions/cors-of-the-media-bucket.md
// says why these origins.
func partUploads(settings Settings) *awss3.CorsRule {
	origin := "https://*.cloudfront.net"
	if settings.Domain != "" {
		origin = "https://" + settings.Domain
	}
	return &awss3.CorsRule{
		Id:             new("parts"),
		AllowedOrigins: &[]*string{&origin},
		AllowedMethods: &[]awss3.HttpMethods{awss3.HttpMethods_PUT},
		AllowedHeaders: &[]*string{new("content-type"), new("x-amz-checksum-sha256")},
		ExposedHeaders: &[]*string{new("ETag"), new("x-amz-checksum-sha256")},
		MaxAge:         new(3600.0), // seconds a browser asks no more; Chrome takes two hours at most
	}
}

// accessLogs is the bucket of S3's access logs, or nil in an environment that
// leaves nothing behind: a bucket that holds any cannot be deleted with its
// stack.
func accessLogs(stack awscdk.Stack, settings Settings) awss3.IBucket {
	if !settings.DeletionProtection {
		return nil
	}
	logs := awss3.NewBucket(stack, new("AccessLogs"), &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        new(true),
		MinimumTLSVersion: new(1.2),
		Versioned:         new(true),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			Id:                          new("expire"),
			Expiration:                  awscdk.Duration_Days(new(365.0)),
			NoncurrentVersionExpiration: awscdk.Duration_Days(new(30.0)),
		}},
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
	})
	compliance.Acknowledge(logs, "It holds access logs: S3 writes those to buckets with its own keys only, and what they record "+
		"stays in the Region of the data.", "S3BucketReplicationEnabled", "S3DefaultEncryptionKMS")
	return logs
}

// GrantReadMedia lets an identity read objects of the media bucket. It may list
// them too: to who may not, S3 answers 403 for a key that is not there
// (GetObject in the S3 API reference), and an object that is gone must not look
// like a permission that is missing.
func (d *Data) GrantReadMedia(to awsiam.IGrantable) awsiam.Grant {
	d.Key.GrantDecrypt(to)
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      to,
		Actions:      &[]*string{new("s3:ListBucket")},
		ResourceArns: &[]*string{d.Media.BucketArn()},
	})
	return awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      to,
		Actions:      &[]*string{new("s3:GetObject")},
		ResourceArns: &[]*string{d.Media.ArnForObjects(new("*"))},
	})
}

// GrantWriteMedia lets an identity read, write and delete objects of the media
// bucket, also in parts.
func (d *Data) GrantWriteMedia(to awsiam.IGrantable) awsiam.Grant {
	d.Key.GrantEncrypt(to)
	d.GrantReadMedia(to)
	return awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      to,
		Actions:      &[]*string{new("s3:PutObject"), new("s3:DeleteObject"), new("s3:AbortMultipartUpload"), new("s3:ListMultipartUploadParts")},
		ResourceArns: &[]*string{d.Media.ArnForObjects(new("*"))},
	})
}

// acknowledgeMedia says of a role, once all is granted, why its permissions for
// the media bucket have wildcards.
func (d *Data) acknowledgeMedia(role awsiam.IRole) {
	bucket := *d.Stack.GetLogicalId(d.Media.Node().DefaultChild().(awscdk.CfnElement))
	compliance.AcknowledgePolicy(role, "Objects are named by their content, so which there are is known only once they are written.",
		"Resource::<"+bucket+".Arn>/*")
}

// grantReadReleases lets a role read what is released.
func (d *Data) grantReadReleases(role awsiam.IRole) {
	d.Key.GrantDecrypt(role)
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee:      role,
		Actions:      &[]*string{new("s3:GetObject")},
		ResourceArns: &[]*string{d.Artifacts.ArnForObjects(new(release.ArtifactPrefix + "*"))},
	})
	bucket := *d.Stack.GetLogicalId(d.Artifacts.Node().DefaultChild().(awscdk.CfnElement))
	compliance.AcknowledgePolicy(role, "Which release comes next is not known before it; what is read is checked against its SHA-256.",
		"Resource::<"+bucket+".Arn>/"+release.ArtifactPrefix+"*")
}

// Sections is the data stores' part of the dashboard.
func (d *Data) Sections() []observability.Section {
	return []observability.Section{
		{Title: "Database", Watched: []observability.Watched{d.Database}},
		{Title: "Cache", Watched: []observability.Watched{d.Cache}},
	}
}
