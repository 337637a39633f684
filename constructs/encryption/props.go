package encryption

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Service is an AWS service that uses the key.
type Service string

// Services that use the key as themselves, for what this account owns only.
const (
	// CloudWatchLogs encrypts log groups of the key's Region.
	CloudWatchLogs Service = "logs"
	// CloudWatchAlarms publishes to encrypted topics.
	CloudWatchAlarms Service = "cloudwatch"
	// SNS delivers to encrypted queues.
	SNS Service = "sns"
	// EventBridge sends to encrypted queues and topics.
	EventBridge Service = "events"
	// S3Notifications are events of buckets, sent to encrypted queues and topics.
	S3Notifications Service = "s3-notifications"
	// CloudFront reads encrypted buckets through origin access control.
	CloudFront Service = "cloudfront"
)

// Services that use the key for an identity of this account that calls them:
// whoever may read a secret may have it decrypted by Secrets Manager, and needs
// no permission for the key. The keys that AWS manages work in this way too.
const (
	SecretsManager Service = "secretsmanager"
	RDS            Service = "rds"
	ElastiCache    Service = "elasticache"
	EC2            Service = "ec2" // EBS volumes and snapshots
	S3             Service = "s3"
	SSM            Service = "ssm" // parameters of the type SecureString
)

var (
	themselves = []Service{CloudWatchLogs, CloudWatchAlarms, SNS, EventBridge, S3Notifications, CloudFront}
	forCallers = []Service{SecretsManager, RDS, ElastiCache, EC2, S3, SSM}
)

// DefaultServices are those that an environment with logs, alarms, topics,
// queues, secrets and databases needs: CloudWatchLogs, CloudWatchAlarms, SNS,
// SecretsManager and RDS.
func DefaultServices() []Service {
	return []Service{CloudWatchLogs, CloudWatchAlarms, SNS, SecretsManager, RDS}
}

// Waiting times KMS allows between the request to delete a key and its end
// (ScheduleKeyDeletion, AWS KMS API reference).
const (
	minPendingWindow = 7 * 24 * time.Hour
	maxPendingWindow = 30 * 24 * time.Hour
)

// Props configures a Key. The zero value is a key for DefaultServices that
// rotates every year and that nothing deletes.
type Props struct {
	// Alias is the key's name in the console, without "alias/": 1 to 250 letters,
	// digits, slashes, hyphens and underscores, not beginning with "aws/". Default
	// none.
	Alias string

	// Description shown in the console, 8192 characters at most. Default the
	// construct's path.
	Description string

	// NoRotation keeps the key material as it is. Default it is replaced every
	// year; what was encrypted before stays readable.
	NoRotation bool

	// PendingWindow is how long a deleted key can still be restored, 7 to 30 days
	// in whole days. Default 30 days.
	PendingWindow time.Duration

	// AllowDeletion schedules the key's deletion with its stack's, for an
	// environment whose data goes too. Default the key stays: without it nothing
	// it encrypted can be read.
	AllowDeletion bool

	// Services may use the key. Default DefaultServices(); append to that for
	// more. An empty list that is not nil leaves it to IAM policies alone.
	Services []Service

	// ExistingARN is the ARN of a key that is there already. With it nothing is
	// made, and no other field may be set. It may be a token. Default none: a key is
	// made.
	ExistingARN string

	// Override has the last word on the key.
	Override func(*awskms.KeyProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	aliasName = regexp.MustCompile(`^[A-Za-z0-9/_-]{1,250}$`)
	keyARN    = regexp.MustCompile(`^arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$`)
)

func (p Props) withDefaults() Props {
	p.PendingWindow = cmp.Or(p.PendingWindow, maxPendingWindow)
	if p.Services == nil {
		p.Services = DefaultServices()
	}
	return p
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	var bad cdkx.Problems
	if p.ExistingARN != "" {
		cdkx.Matches(&bad, "ExistingARN", p.ExistingARN, keyARN, "the ARN of a KMS key, not of an alias")
		bad.Check(p.Alias == "" && p.Description == "" && !p.NoRotation && p.PendingWindow == 0 && !p.AllowDeletion &&
			p.Services == nil && p.Override == nil, "ExistingARN", p.ExistingARN, "no other field beside it")
		return bad.Err("encryption")
	}
	p = p.withDefaults()
	if p.Alias != "" {
		bad.Check(cdkx.Unresolved(p.Alias) || aliasName.MatchString(p.Alias) && !strings.HasPrefix(p.Alias, "aws/") &&
			!strings.HasPrefix(p.Alias, "alias/"), "Alias", p.Alias,
			"1 to 250 letters, digits, slashes, hyphens and underscores, without alias/ or aws/ at the beginning")
	}
	bad.Check(len(p.Description) <= 8192, "Description", p.Description, "8192 characters or fewer")
	bad.Check(p.PendingWindow >= minPendingWindow && p.PendingWindow <= maxPendingWindow && p.PendingWindow%(24*time.Hour) == 0,
		"PendingWindow", p.PendingWindow, fmt.Sprintf("%v to %v in whole days", minPendingWindow, maxPendingWindow))
	for i, service := range p.Services {
		field := fmt.Sprintf("Services[%d]", i)
		cdkx.OneOf(&bad, field, service, slices.Concat(themselves, forCallers)...)
		bad.Check(!slices.Contains(p.Services[:i], service), field, service, "each service once")
	}
	return bad.Err("encryption")
}
