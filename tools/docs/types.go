package main

import (
	"regexp"
	"strings"
	"unicode"
)

// role is what a resource type is in a picture.
type role int

const (
	drawn     role = iota // a node
	supported             // left out; a way through it is one edge
	connector             // an edge between the two it names
)

// resourceType is what the pages know of a CloudFormation type.
type resourceType struct {
	words string // how people call it; empty: derived from the type
	role  role
	shape shape
	// An edge of a connector leads from what one of these properties, or of the
	// ones below them, names to what another one names.
	from, to []string
	label    string
}

// shape is how a node is drawn.
type shape int

const (
	box     shape = iota
	storage       // holds data
	access        // decides who may do what
)

// resourceTypes are the common types. Any other is called by its own name and
// drawn unless that says that it supports another one.
var resourceTypes = map[string]resourceType{
	"AWS::ApplicationAutoScaling::ScalableTarget": {words: "scalable target", role: supported},
	"AWS::AutoScaling::AutoScalingGroup":          {words: "Auto Scaling group"},
	"AWS::AutoScaling::LifecycleHook":             {words: "lifecycle hook", role: supported},
	"AWS::AutoScaling::ScalingPolicy":             {words: "scaling policy", role: supported},
	"AWS::AutoScaling::ScheduledAction":           {words: "scheduled scaling action", role: supported},
	"AWS::AutoScaling::WarmPool":                  {words: "warm pool", role: supported},
	"AWS::Backup::BackupPlan":                     {words: "AWS Backup plan"},
	"AWS::Backup::BackupSelection":                {words: "selection of an AWS Backup plan", role: connector, from: []string{"BackupPlanId"}, to: []string{"BackupSelection.Resources"}, label: "backs up"},
	"AWS::Backup::BackupVault":                    {words: "AWS Backup vault", shape: storage},
	"AWS::CertificateManager::Certificate":        {words: "ACM certificate", shape: access},
	"AWS::CloudFront::CachePolicy":                {words: "CloudFront cache policy", role: supported},
	"AWS::CloudFront::Distribution":               {words: "CloudFront distribution"},
	"AWS::CloudFront::Function":                   {words: "CloudFront function"},
	"AWS::CloudFront::OriginAccessControl":        {words: "CloudFront origin access control", role: supported},
	"AWS::CloudFront::OriginRequestPolicy":        {words: "CloudFront origin request policy", role: supported},
	"AWS::CloudFront::ResponseHeadersPolicy":      {words: "CloudFront response headers policy", role: supported},
	"AWS::CloudFront::VpcOrigin":                  {words: "CloudFront VPC origin"},
	"AWS::CloudWatch::Alarm":                      {words: "CloudWatch alarm", role: supported},
	"AWS::CloudWatch::CompositeAlarm":             {words: "CloudWatch composite alarm", role: supported},
	"AWS::CloudWatch::Dashboard":                  {words: "CloudWatch dashboard"},
	"AWS::EC2::EIP":                               {words: "Elastic IP address", role: supported},
	"AWS::EC2::FlowLog":                           {words: "VPC flow log", role: supported},
	"AWS::EC2::InternetGateway":                   {words: "internet gateway"},
	"AWS::EC2::LaunchTemplate":                    {words: "launch template"},
	"AWS::EC2::NatGateway":                        {words: "NAT gateway"},
	"AWS::EC2::NetworkAcl":                        {words: "network ACL", role: supported},
	"AWS::EC2::NetworkAclEntry":                   {words: "network ACL entry", role: supported},
	"AWS::EC2::Route": {
		words: "route", role: connector,
		from: []string{"RouteTableId"}, to: []string{"NatGatewayId", "GatewayId"}, label: "out",
	},
	"AWS::EC2::RouteTable":    {words: "route table", role: supported},
	"AWS::EC2::SecurityGroup": {words: "security group", shape: access},
	"AWS::EC2::SecurityGroupEgress": {
		words: "egress rule of a security group", role: connector,
		from: []string{"GroupId"}, to: []string{"DestinationSecurityGroupId"}, label: connects,
	},
	"AWS::EC2::SecurityGroupIngress": {
		words: "ingress rule of a security group", role: connector,
		from: []string{"SourceSecurityGroupId"}, to: []string{"GroupId"}, label: connects,
	},
	"AWS::EC2::Subnet": {words: "subnet"},
	"AWS::EC2::SubnetRouteTableAssociation": {
		words: "route table of a subnet", role: connector, from: []string{"SubnetId"}, to: []string{"RouteTableId"},
	},
	"AWS::EC2::VPC":                               {words: "VPC"},
	"AWS::EC2::VPCEndpoint":                       {words: "VPC endpoint"},
	"AWS::EC2::VPCGatewayAttachment":              {words: "internet gateway attachment", role: supported},
	"AWS::ElastiCache::ParameterGroup":            {words: "ElastiCache parameter group", role: supported},
	"AWS::ElastiCache::ReplicationGroup":          {words: "ElastiCache replication group", shape: storage},
	"AWS::ElastiCache::SubnetGroup":               {words: "ElastiCache subnet group", role: supported},
	"AWS::ElastiCache::User":                      {words: "ElastiCache user", shape: access},
	"AWS::ElastiCache::UserGroup":                 {words: "ElastiCache user group", shape: access},
	"AWS::ElasticLoadBalancingV2::Listener":       {words: "listener"},
	"AWS::ElasticLoadBalancingV2::ListenerRule":   {words: "listener rule"},
	"AWS::ElasticLoadBalancingV2::LoadBalancer":   {words: "load balancer"},
	"AWS::ElasticLoadBalancingV2::TargetGroup":    {words: "target group"},
	"AWS::Events::Rule":                           {words: "EventBridge rule"},
	"AWS::IAM::InstanceProfile":                   {words: "instance profile", role: supported},
	"AWS::IAM::ManagedPolicy":                     {words: "IAM managed policy", role: connector, from: principals, to: []string{"PolicyDocument"}, label: uses},
	"AWS::IAM::Policy":                            {words: "IAM policy", role: connector, from: principals, to: []string{"PolicyDocument"}, label: uses},
	"AWS::IAM::Role":                              {words: "IAM role", shape: access},
	"AWS::KMS::Alias":                             {words: "KMS alias", role: supported},
	"AWS::KMS::Key":                               {words: "KMS key", shape: access},
	"AWS::KinesisFirehose::DeliveryStream":        {words: "Firehose stream"},
	"AWS::Lambda::EventInvokeConfig":              {words: "Lambda asynchronous configuration", role: connector, from: []string{"FunctionName"}, to: []string{"DestinationConfig"}, label: "failures"},
	"AWS::Lambda::EventSourceMapping":             {words: "Lambda event source", role: connector, from: []string{"EventSourceArn"}, to: []string{"FunctionName"}, label: "invokes"},
	"AWS::Lambda::Function":                       {words: "Lambda function"},
	"AWS::Lambda::Permission":                     {words: "Lambda permission", role: connector, from: []string{"SourceArn"}, to: []string{"FunctionName"}, label: "invokes"},
	"AWS::Lambda::Version":                        {words: "Lambda version", role: supported},
	"AWS::Logs::LogGroup":                         {words: "log group", role: supported},
	"AWS::Logs::MetricFilter":                     {words: "log metric filter", role: supported},
	"AWS::Logs::SubscriptionFilter":               {words: "log subscription", role: supported},
	"AWS::RDS::DBCluster":                         {words: "RDS cluster", shape: storage},
	"AWS::RDS::DBInstance":                        {words: "RDS instance", shape: storage},
	"AWS::RDS::DBParameterGroup":                  {words: "RDS parameter group", role: supported},
	"AWS::RDS::DBProxy":                           {words: "RDS proxy"},
	"AWS::RDS::DBProxyTargetGroup":                {words: "RDS proxy target group", role: connector, from: []string{"DBProxyName"}, to: []string{"DBInstanceIdentifiers", "DBClusterIdentifiers"}, label: connects},
	"AWS::RDS::DBSubnetGroup":                     {words: "RDS subnet group", role: supported},
	"AWS::S3::Bucket":                             {words: "S3 bucket", shape: storage},
	"AWS::S3::BucketPolicy":                       {words: "S3 bucket policy", role: supported},
	"AWS::SNS::Subscription":                      {words: "SNS subscription", role: connector, from: []string{"TopicArn"}, to: []string{"Endpoint"}, label: "delivers"},
	"AWS::SNS::Topic":                             {words: "SNS topic"},
	"AWS::SNS::TopicPolicy":                       {words: "SNS topic policy", role: supported},
	"AWS::SQS::Queue":                             {words: "SQS queue"},
	"AWS::SQS::QueuePolicy":                       {words: "SQS queue policy", role: supported},
	"AWS::SSM::Parameter":                         {words: "SSM parameter"},
	"AWS::SecretsManager::ResourcePolicy":         {words: "secret's resource policy", role: supported},
	"AWS::SecretsManager::RotationSchedule":       {words: "rotation of a secret", role: supported},
	"AWS::SecretsManager::Secret":                 {words: "Secrets Manager secret", shape: access},
	"AWS::SecretsManager::SecretTargetAttachment": {words: "attachment of a secret to its database", role: connector, from: []string{"SecretId"}, to: []string{"TargetId"}, label: "signs in to"},
	"AWS::StepFunctions::StateMachine":            {words: "Step Functions state machine"},
	"AWS::WAFv2::IPSet":                           {words: "WAF IP set"},
	"AWS::WAFv2::LoggingConfiguration":            {words: "WAF logging configuration", role: supported},
	"AWS::WAFv2::WebACL":                          {words: "WAF web ACL", shape: access},
	"AWS::WAFv2::WebACLAssociation":               {words: "WAF web ACL association", role: connector, from: []string{"WebACLArn"}, to: []string{"ResourceArn"}, label: "protects"},
}

const (
	connects = "connects to"
	uses     = "may use"
)

var principals = []string{"Roles", "Users", "Groups"}

// flow are references that are drawn against their direction, because requests
// and data go the other way, with what the edge then says.
var flow = map[string]string{
	"AWS::AutoScaling::AutoScalingGroup.TargetGroupARNs":    "forwards to",
	"AWS::EC2::Subnet.VpcId":                                "",
	"AWS::EC2::VPCEndpoint.RouteTableIds":                   "",
	"AWS::ElasticLoadBalancingV2::Listener.LoadBalancerArn": "",
	"AWS::ElasticLoadBalancingV2::ListenerRule.ListenerArn": "",
	"AWS::RDS::DBInstance.SourceDBInstanceIdentifier":       "replicates to",
}

// edgeLabels say what a reference means where its two ends do not. A key is a
// property, or one below it.
var edgeLabels = map[string]string{
	"AWS::CloudFront::Distribution.DistributionConfig.Logging":         "logs to",
	"AWS::ElasticLoadBalancingV2::Listener.DefaultActions":             "forwards to",
	"AWS::ElasticLoadBalancingV2::ListenerRule.Actions":                "forwards to",
	"AWS::ElasticLoadBalancingV2::ListenerRule.Conditions":             "requires",
	"AWS::ElasticLoadBalancingV2::LoadBalancer.LoadBalancerAttributes": "logs to",
	"AWS::Lambda::Function.DeadLetterConfig":                           "dead letters",
	"AWS::Lambda::Function.Role":                                       "acts as",
	"AWS::RDS::DBInstance.MasterUserPassword":                          "password from",
	"AWS::S3::Bucket.LoggingConfiguration":                             "logs to",
	"AWS::SQS::Queue.RedriveAllowPolicy":                               "accepts from",
	"AWS::SQS::Queue.RedrivePolicy":                                    "dead letters",
}

var (
	supporting = regexp.MustCompile(`(Policy|Permission|Alarm|LogGroup|Association|Attachment|Configuration|Config|Alias|Version)$`)
	keyed      = regexp.MustCompile(`(?i)kms`)
)

// typeOf describes a CloudFormation type.
func typeOf(kind string) resourceType {
	t, known := resourceTypes[kind]
	if !known && supporting.MatchString(kind) {
		t.role = supported
	}
	if t.words == "" {
		t.words = derivedWords(kind)
	}
	return t
}

// derivedWords turns AWS::Service::SomeResource into "Service some resource".
func derivedWords(kind string) string {
	parts := strings.Split(kind, "::")
	name := strings.Join(camelWords(parts[len(parts)-1]), " ")
	if len(parts) != 3 || strings.HasPrefix(name, strings.ToLower(parts[1])+" ") {
		return capital(name)
	}
	return parts[1] + " " + name
}

// acronym is a word that a logical id does not separate from the next one.
var acronym = regexp.MustCompile(`VPC|NAT|IGW|ASG|KMS|SNS|SQS|S3`)

// camelWords splits "DeadLetter1" into "dead", "letter", "1". A word in capitals
// stays one.
func camelWords(name string) []string {
	var all []string
	last := 0
	for _, at := range acronym.FindAllStringIndex(name, -1) {
		all = append(append(all, splitCamel(name[last:at[0]])...), name[at[0]:at[1]])
		last = at[1]
	}
	return append(all, splitCamel(name[last:])...)
}

func splitCamel(name string) []string {
	var all []string
	runes := []rune(name)
	start := 0
	cut := func(end int) {
		if end > start {
			word := string(runes[start:end])
			if strings.ToUpper(word) != word || len(word) == 1 {
				word = strings.ToLower(word)
			}
			all = append(all, word)
		}
		start = end
	}
	for i := 1; i < len(runes); i++ {
		before, at := runes[i-1], runes[i]
		switch {
		case unicode.IsUpper(at) && !unicode.IsUpper(before),
			unicode.IsDigit(at) != unicode.IsDigit(before),
			unicode.IsUpper(at) && i+1 < len(runes) && unicode.IsLower(runes[i+1]):
			cut(i)
		}
	}
	cut(len(runes))
	return all
}
