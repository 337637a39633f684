package loadbalancer

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	elb "github.com/aws/aws-cdk-go/awscdk/v2/awselasticloadbalancingv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Prefixes of the logs in their bucket.
const (
	accessLogPrefix     = "alb"
	connectionLogPrefix = "alb-connections"
)

// log turns the logs on. The L2's own method wants to know the Region and grants
// an account of AWS per Region; the log delivery service principal does the same
// in every Region.
func (l *LoadBalancer) log(balancer elb.ApplicationLoadBalancer, props Props) {
	l.LogBucket = props.LogBucket
	if l.LogBucket == nil {
		l.LogBucket = l.logBucket(props)
	}
	kinds := map[string]string{"access_logs": accessLogPrefix}
	resources := []string{l.logFiles(accessLogPrefix)}
	if props.ConnectionLogs {
		kinds["connection_logs"] = connectionLogPrefix
		resources = append(resources, l.logFiles(connectionLogPrefix))
	}
	added := l.LogBucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(new("logdelivery.elasticloadbalancing.amazonaws.com"), nil)},
		Actions:    cdkx.Strings("s3:PutObject"),
		Resources:  cdkx.Strings(resources...),
	}))
	if added.PolicyDependable != nil {
		// ALB checks that it may write when the attribute is set.
		balancer.Node().AddDependency(added.PolicyDependable)
	}
	for _, kind := range []string{"access_logs", "connection_logs"} {
		if prefix, on := kinds[kind]; on {
			balancer.SetAttribute(new(kind+".s3.enabled"), new("true"))
			balancer.SetAttribute(new(kind+".s3.bucket"), l.LogBucket.BucketName())
			balancer.SetAttribute(new(kind+".s3.prefix"), &prefix)
		}
	}
}

func (l *LoadBalancer) logFiles(prefix string) string {
	return *l.LogBucket.ArnForObjects(new(prefix + "/AWSLogs/" + *awscdk.Stack_Of(l).Account() + "/*"))
}

func (l *LoadBalancer) logBucket(props Props) awss3.IBucket {
	bucket := awss3.NewBucket(l, new("Logs"), cdkx.Override(&awss3.BucketProps{
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		EnforceSSL:        new(true),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		Versioned:         new(true), // a log file that is overwritten or deleted can be read for another week
		LifecycleRules: &[]*awss3.LifecycleRule{{
			Expiration:                          awscdk.Duration_Days(cdkx.Number(90)),
			NoncurrentVersionExpiration:         awscdk.Duration_Days(cdkx.Number(7)),
			AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(cdkx.Number(1)),
		}},
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
	}, props.OverrideLogBucket))
	cdkx.Acknowledge(bucket, "It holds logs that expire after 90 days: no request depends on them, and logs about reading logs would grow without end. "+
		"CloudTrail data events record who reads them where that is asked for.",
		"AwsSolutions-S1", "S3BucketLoggingEnabled", "S3BucketReplicationEnabled")
	cdkx.Acknowledge(bucket, "Application Load Balancers write to buckets with SSE-S3 only.", "S3DefaultEncryptionKMS")
	return bucket
}
