package cost

// rules price the resources of a type, by CloudFormation type. A rule that
// only calls uses is of a type that costs by use alone.
var rules = map[string]func(r resource){
	"AWS::EC2::NatGateway":                      natGateway,
	"AWS::EC2::EIP":                             elasticIP,
	"AWS::EC2::VPCEndpoint":                     endpoint,
	"AWS::EC2::FlowLog":                         byUse("logsIngestedGB", "logsStoredGB"),
	"AWS::EC2::Instance":                        instance,
	"AWS::EC2::Volume":                          volume,
	"AWS::ElasticLoadBalancingV2::LoadBalancer": loadBalancer,
	"AWS::AutoScaling::AutoScalingGroup":        group,
	"AWS::AutoScaling::WarmPool":                warmPool,

	"AWS::RDS::DBInstance":                 database,
	"AWS::RDS::DBProxy":                    proxy,
	"AWS::ElastiCache::ReplicationGroup":   cache,
	"AWS::S3::Bucket":                      byUse("s3StoredGB", "s3Puts", "s3Gets"),
	"AWS::DynamoDB::Table":                 dynamoTable,
	"AWS::Backup::BackupPlan":              byUse("backupGB"),
	"AWS::KMS::Key":                        key,
	"AWS::KMS::ReplicaKey":                 key,
	"AWS::SecretsManager::Secret":          secret,
	"AWS::SSM::Parameter":                  parameter,
	"AWS::Route53::HostedZone":             zone,
	"AWS::Route53::HealthCheck":            healthCheck,
	"AWS::KinesisFirehose::DeliveryStream": byUse("firehoseGB"),

	"AWS::CloudWatch::Alarm":          alarm,
	"AWS::CloudWatch::CompositeAlarm": compositeAlarm,
	"AWS::CloudWatch::Dashboard":      dashboard,
	"AWS::Logs::LogGroup":             byUse("logsIngestedGB", "logsStoredGB", "logsScannedGB"),
	"AWS::Logs::MetricFilter":         byUse("customMetrics"),
	"AWS::Synthetics::Canary":         canary,

	"AWS::WAFv2::WebACL":            webACL,
	"AWS::WAFv2::RuleGroup":         ruleGroup,
	"AWS::CloudFront::Distribution": byUse("cloudFrontOutGB", "cloudFrontRequests", "cloudFrontOriginGB"),
	"AWS::CloudFront::Function":     byUse("cloudFrontFunctionCalls"),

	"AWS::SQS::Queue":                  queue,
	"AWS::SNS::Topic":                  byUse("snsRequests"),
	"AWS::Lambda::Function":            function,
	"AWS::Lambda::Version":             provisioned,
	"AWS::Lambda::Alias":               provisioned,
	"AWS::StepFunctions::StateMachine": stateMachine,
	"AWS::Events::EventBus":            byUse("customEvents"),
	"AWS::Scheduler::Schedule":         byUse("scheduledCalls"),
}

func byUse(keys ...string) func(r resource) {
	return func(r resource) { r.uses(keys...) }
}
