package cost

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// usage is one thing whose cost depends on use.
type usage struct {
	key   string // in the usage file
	what  string
	price string  // key of the price table
	per   float64 // how many of the file's quantity the price is for
}

// usages are told in this order; the package documentation lists them too.
var usages = []usage{
	{"cloudFrontOutGB", "CloudFront to viewers, GB", "cloudfront.out.gb", 1},
	{"cloudFrontRequests", "CloudFront HTTPS requests", "cloudfront.requests", 10_000},
	{"cloudFrontOriginGB", "CloudFront to origins (uploads), GB", "cloudfront.origin.gb", 1},
	{"cloudFrontFunctionCalls", "CloudFront Functions, invocations", "cloudfront.function", 1_000_000},
	{"wafRequests", "WAF, requests inspected", "waf.requests", 1_000_000},
	{"loadBalancerLCUHours", "Load balancer capacity, LCU-hours", "elb.application.lcu", 1},
	{"internetOutGB", "Data from the VPC to the internet, GB", "transfer.internet.gb", 1},
	{"crossZoneGB", "Data between zones, GB counted once in each direction", "transfer.zones.gb", 1},
	{"natGB", "Data through NAT gateways, GB", "vpc.nat-gateway.gb", 1},
	{"endpointGB", "Data through interface endpoints, GB", "vpc.interface-endpoint.gb", 1},
	{"sqsRequests", "SQS standard queues, requests", "sqs.standard", 1_000_000},
	{"sqsFifoRequests", "SQS FIFO queues, requests", "sqs.fifo", 1_000_000},
	{"snsRequests", "SNS topics, requests of up to 64 KB", "sns.standard", 1_000_000},
	{"lambdaRequests", "Lambda, requests", "lambda.requests", 1_000_000},
	{"lambdaArmGBSeconds", "Lambda on arm64, GB-seconds", "lambda.arm64.gb-s", 1_000},
	{"lambdaX86GBSeconds", "Lambda on x86_64, GB-seconds", "lambda.x86_64.gb-s", 1_000},
	{"stateTransitions", "Step Functions, state transitions", "states.transitions", 1_000},
	{"expressRequests", "Step Functions express, requests", "states.express", 1_000_000},
	{"expressGBSeconds", "Step Functions express, GB-seconds", "states.express.gb-s", 1_000},
	{"customEvents", "EventBridge, custom events", "events.custom", 1_000_000},
	{"scheduledCalls", "EventBridge Scheduler, invocations", "scheduler.invocations", 1_000_000},
	{"firehoseGB", "Firehose, GB ingested", "firehose.gb", 1},
	{"s3StoredGB", "S3 Standard, GB stored", "s3.stored.gb", 1},
	{"s3Puts", "S3, PUT, COPY, POST and LIST requests", "s3.put", 1_000},
	{"s3Gets", "S3, GET requests", "s3.get", 1_000},
	{"dynamoWrites", "DynamoDB on demand, write request units", "dynamodb.writes", 1_000_000},
	{"dynamoReads", "DynamoDB on demand, read request units", "dynamodb.reads", 1_000_000},
	{"dynamoStoredGB", "DynamoDB, GB stored", "dynamodb.stored.gb", 1},
	{"databaseBackupGB", "RDS backups beyond the databases' own size, GB stored", "rds.backup.gb", 1},
	{"backupGB", "AWS Backup of RDS, GB stored", "backup.rds.gb", 1},
	{"cacheBackupGB", "ElastiCache snapshots, GB stored", "elasticache.backup.gb", 1},
	{"logsIngestedGB", "CloudWatch Logs, GB ingested", "logs.ingested.gb", 1},
	{"logsStoredGB", "CloudWatch Logs, GB stored (compressed)", "logs.stored.gb", 1},
	{"logsScannedGB", "CloudWatch Logs Insights, GB scanned", "logs.scanned.gb", 1},
	{"customMetrics", "CloudWatch custom metrics, number", "cloudwatch.metric", 1},
	{"traces", "X-Ray, traces recorded", "xray.traces", 1_000_000},
	{"kmsRequests", "KMS, requests", "kms.requests", 10_000},
	{"secretRequests", "Secrets Manager, requests", "secretsmanager.requests", 10_000},
}

// ReadUsage reads a usage file: an object of environments, each an object of
// quantities a month by Line.Key, {"prod": {"natGB": 500}}.
func ReadUsage(path string) (map[string]map[string]float64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the usage file: %w", err)
	}
	var used map[string]map[string]float64
	if err := json.Unmarshal(data, &used); err != nil {
		return nil, fmt.Errorf("read the usage file %s: %w", path, err)
	}
	return used, nil
}

func checkUsage(used map[string]float64) error {
	for key, quantity := range used {
		if !slices.ContainsFunc(usages, func(u usage) bool { return u.key == key }) {
			keys := make([]string, len(usages))
			for i, u := range usages {
				keys[i] = u.key
			}
			return fmt.Errorf("usage %q: there are %s", key, strings.Join(keys, ", "))
		}
		if quantity < 0 {
			return fmt.Errorf("usage %s: %g is below 0", key, quantity)
		}
	}
	return nil
}
