package cost

import "strings"

// free are the types that cost nothing themselves: what they lead to is priced
// where it is used. A type that is neither here nor in rules is told as not
// priced.
var free = map[string]bool{
	// Scaling and launching: the instances are priced with their group.
	"AWS::ApplicationAutoScaling::ScalableTarget": true,
	"AWS::ApplicationAutoScaling::ScalingPolicy":  true,
	"AWS::AutoScaling::LifecycleHook":             true,
	"AWS::AutoScaling::ScalingPolicy":             true,
	"AWS::AutoScaling::ScheduledAction":           true,
	"AWS::EC2::LaunchTemplate":                    true,

	// The network: gateways, endpoints and addresses are priced.
	"AWS::EC2::DHCPOptions":                            true,
	"AWS::EC2::EIPAssociation":                         true,
	"AWS::EC2::EgressOnlyInternetGateway":              true,
	"AWS::EC2::InternetGateway":                        true,
	"AWS::EC2::KeyPair":                                true,
	"AWS::EC2::NetworkAcl":                             true,
	"AWS::EC2::NetworkAclEntry":                        true,
	"AWS::EC2::NetworkInterface":                       true,
	"AWS::EC2::PlacementGroup":                         true,
	"AWS::EC2::PrefixList":                             true,
	"AWS::EC2::Route":                                  true,
	"AWS::EC2::RouteTable":                             true,
	"AWS::EC2::SecurityGroup":                          true,
	"AWS::EC2::SecurityGroupEgress":                    true,
	"AWS::EC2::SecurityGroupIngress":                   true,
	"AWS::EC2::Subnet":                                 true,
	"AWS::EC2::SubnetCidrBlock":                        true,
	"AWS::EC2::SubnetNetworkAclAssociation":            true,
	"AWS::EC2::SubnetRouteTableAssociation":            true,
	"AWS::EC2::VPC":                                    true,
	"AWS::EC2::VPCCidrBlock":                           true,
	"AWS::EC2::VPCDHCPOptionsAssociation":              true,
	"AWS::EC2::VPCGatewayAttachment":                   true,
	"AWS::EC2::VPCPeeringConnection":                   true,
	"AWS::ElasticLoadBalancingV2::Listener":            true,
	"AWS::ElasticLoadBalancingV2::ListenerCertificate": true,
	"AWS::ElasticLoadBalancingV2::ListenerRule":        true,
	"AWS::ElasticLoadBalancingV2::TargetGroup":         true,
	"AWS::ElasticLoadBalancingV2::TrustStore":          true,
	"AWS::CertificateManager::Certificate":             true, // public ones
	"AWS::Route53::RecordSet":                          true,
	"AWS::Route53::RecordSetGroup":                     true,

	// The edge: its use is priced with the distribution and the web ACL.
	"AWS::CloudFront::CachePolicy":                    true,
	"AWS::CloudFront::CloudFrontOriginAccessIdentity": true,
	"AWS::CloudFront::KeyGroup":                       true,
	"AWS::CloudFront::KeyValueStore":                  true,
	"AWS::CloudFront::OriginAccessControl":            true,
	"AWS::CloudFront::OriginRequestPolicy":            true,
	"AWS::CloudFront::PublicKey":                      true,
	"AWS::CloudFront::ResponseHeadersPolicy":          true,
	"AWS::CloudFront::VpcOrigin":                      true,
	"AWS::WAFv2::IPSet":                               true,
	"AWS::WAFv2::LoggingConfiguration":                true, // the logs are priced where they go
	"AWS::WAFv2::RegexPatternSet":                     true,
	"AWS::WAFv2::WebACLAssociation":                   true,

	// Permissions and settings.
	"AWS::IAM::Group":                             true,
	"AWS::IAM::InstanceProfile":                   true,
	"AWS::IAM::ManagedPolicy":                     true,
	"AWS::IAM::OIDCProvider":                      true,
	"AWS::IAM::Policy":                            true,
	"AWS::IAM::Role":                              true,
	"AWS::IAM::RolePolicy":                        true,
	"AWS::IAM::ServiceLinkedRole":                 true,
	"AWS::IAM::User":                              true,
	"AWS::KMS::Alias":                             true,
	"AWS::Lambda::EventInvokeConfig":              true,
	"AWS::Lambda::EventSourceMapping":             true, // its polling is requests to the queue
	"AWS::Lambda::LayerVersion":                   true,
	"AWS::Lambda::LayerVersionPermission":         true,
	"AWS::Lambda::Permission":                     true,
	"AWS::Lambda::Url":                            true,
	"AWS::S3::BucketPolicy":                       true,
	"AWS::SNS::Subscription":                      true, // to queues and functions
	"AWS::SNS::TopicInlinePolicy":                 true,
	"AWS::SNS::TopicPolicy":                       true,
	"AWS::SQS::QueueInlinePolicy":                 true,
	"AWS::SQS::QueuePolicy":                       true,
	"AWS::SecretsManager::ResourcePolicy":         true,
	"AWS::SecretsManager::RotationSchedule":       true, // its function is priced
	"AWS::SecretsManager::SecretTargetAttachment": true,
	"AWS::SSM::Document":                          true,
	"AWS::SSM::MaintenanceWindow":                 true,
	"AWS::Scheduler::ScheduleGroup":               true,
	"AWS::Events::EventBusPolicy":                 true,
	"AWS::Events::Rule":                           true, // of AWS's own events and schedules

	// Data: the instances, nodes and recovery points are priced.
	"AWS::Backup::BackupSelection":      true,
	"AWS::Backup::BackupVault":          true, // what it stores is usage of the plan
	"AWS::ElastiCache::ParameterGroup":  true,
	"AWS::ElastiCache::SubnetGroup":     true,
	"AWS::ElastiCache::User":            true,
	"AWS::ElastiCache::UserGroup":       true,
	"AWS::RDS::DBClusterParameterGroup": true,
	"AWS::RDS::DBParameterGroup":        true,
	"AWS::RDS::DBProxyTargetGroup":      true,
	"AWS::RDS::DBSubnetGroup":           true,
	"AWS::RDS::EventSubscription":       true,
	"AWS::RDS::OptionGroup":             true,

	// Observation: alarms, dashboards and logs are priced.
	"AWS::ApplicationInsights::Application": true,
	"AWS::CloudWatch::AnomalyDetector":      true, // its alarm is priced by three metrics
	"AWS::Logs::LogStream":                  true,
	"AWS::Logs::QueryDefinition":            true,
	"AWS::Logs::ResourcePolicy":             true,
	"AWS::Logs::SubscriptionFilter":         true,
	"AWS::ResourceGroups::Group":            true,
	"AWS::XRay::Group":                      true,
	"AWS::XRay::SamplingRule":               true,

	// CloudFormation's and CDK's own.
	"AWS::CDK::Metadata":                       true,
	"AWS::CloudFormation::CustomResource":      true, // its function is priced
	"AWS::CloudFormation::WaitCondition":       true,
	"AWS::CloudFormation::WaitConditionHandle": true,
}

// Knows tells whether a CloudFormation type is priced or known to cost nothing.
func Knows(kind string) bool { return rules[kind] != nil || isFree(kind) }

// isFree tells whether a type costs nothing itself. What a custom resource
// makes is not in the template, and its function is priced.
func isFree(kind string) bool { return free[kind] || strings.HasPrefix(kind, "Custom::") }
