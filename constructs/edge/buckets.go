package edge

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Prefixes of the logs in their bucket.
const (
	viewerLogPrefix = "cloudfront/"
	bucketLogPrefix = "s3/"
)

func (e *Edge) staticBucket(props Props) awss3.IBucket {
	bucketProps := &awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        new(true),
		Versioned:         new(true),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(cdkx.Number(1)),
			NoncurrentVersionExpiration:         awscdk.Duration_Days(cdkx.Number(30)),
		}},
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
	}
	if props.DestroyStaticBucket {
		bucketProps.RemovalPolicy = awscdk.RemovalPolicy_DESTROY
	}
	// The policy of a bucket that was passed in is not ours to write.
	logged := e.LogBucket != nil && props.LogBucket == nil
	if logged {
		bucketProps.ServerAccessLogsBucket = e.LogBucket
		bucketProps.ServerAccessLogsPrefix = new(bucketLogPrefix)
	}
	bucket := awss3.NewBucket(e, new("Static"), cdkx.Override(bucketProps, props.OverrideStaticBucket))
	cdkx.Acknowledge(bucket, "It holds files that everybody may read through CloudFront and that a release publishes again: "+
		"losing a Region loses none of them, and a key of its own would keep nothing from anybody.",
		"S3BucketReplicationEnabled", "S3DefaultEncryptionKMS")
	if !logged {
		cdkx.Acknowledge(bucket, "Only CloudFront reads it, by its origin access control, and CloudFront's access logs record each request.",
			"AwsSolutions-S1", "S3BucketLoggingEnabled")
	}
	return bucket
}

func (e *Edge) logBucket(props Props) awss3.IBucket {
	bucket := awss3.NewBucket(e, new("Logs"), cdkx.Override(&awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		// CloudFront's log delivery writes by ACL.
		ObjectOwnership: awss3.ObjectOwnership_BUCKET_OWNER_PREFERRED,
		EnforceSSL:      new(true),
		Versioned:       new(true), // a log file that is overwritten or deleted can be read for another week
		LifecycleRules: &[]*awss3.LifecycleRule{{
			Expiration:                          awscdk.Duration_Days(cdkx.Number(90)),
			NoncurrentVersionExpiration:         awscdk.Duration_Days(cdkx.Number(7)),
			AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(cdkx.Number(1)),
		}},
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
	}, props.OverrideLogBucket))
	cdkx.Acknowledge(bucket, "It holds logs that expire after 90 days, and no request depends on them.",
		"S3BucketReplicationEnabled")
	// cdk-nag knows a bucket of logs by another one that logs to it, as a new
	// static bucket does.
	if _, static := props.uses(); !static || props.StaticBucket != nil {
		cdkx.Acknowledge(bucket, "It holds logs; logs about reading logs would grow without end.", "AwsSolutions-S1", "S3BucketLoggingEnabled")
	}
	cdkx.Acknowledge(bucket, "Log delivery cannot use the AWS managed key of S3, and a key of its own would have to admit that service for all its customers' "+
		"distributions; the bucket is encrypted with SSE-S3, closed to the public and readable by granted identities only.", "S3DefaultEncryptionKMS")
	return bucket
}
