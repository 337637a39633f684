// Package cost estimates what an environment costs a month at AWS's list
// prices, from its synthesized templates and the price table in prices.json.
//
// The table names for each price the AWS page or price list file it is from,
// the stored copy it was read in and that copy's date; a price no copy could be
// found of says so and is marked in every output. There are no free tiers in
// it, no commitments, no support plan and no tax.
//
// What exists all month is priced from the templates alone: instances at an
// Auto Scaling group's desired capacity, load balancers, NAT gateways, volumes,
// databases, alarms. What costs by use is told as a price per unit, and
// multiplied when a usage file says how much. A resource of a type this package
// knows nothing of is named, never silently taken for free.
//
// # Usage
//
// A usage file gives quantities a month by environment and key, as
// {"prod": {"natGB": 500}}; testdata/usage.json is an example.
//
//	key | quantity a month
//	cloudFrontOutGB | GB from CloudFront to viewers
//	cloudFrontRequests | HTTPS requests to CloudFront
//	cloudFrontOriginGB | GB from CloudFront to origins: uploads
//	cloudFrontFunctionCalls | invocations of CloudFront Functions
//	wafRequests | requests WAF inspects
//	loadBalancerLCUHours | load balancer capacity units times hours: 730 is one all month
//	internetOutGB | GB from the VPC to the internet, not by way of CloudFront
//	crossZoneGB | GB between zones, counted once in each direction
//	natGB | GB through NAT gateways, both directions
//	endpointGB | GB through interface endpoints
//	sqsRequests | requests to standard queues; a batch, and an empty receive, is one
//	sqsFifoRequests | requests to FIFO queues
//	snsRequests | publishes of up to 64 KB
//	lambdaRequests | invocations of functions
//	lambdaArmGBSeconds | GB of memory times seconds, functions on arm64
//	lambdaX86GBSeconds | GB of memory times seconds, functions on x86_64
//	stateTransitions | state transitions of standard workflows
//	expressRequests | executions of express workflows
//	expressGBSeconds | GB of memory times seconds of express workflows
//	customEvents | events put on event buses
//	scheduledCalls | invocations by EventBridge Scheduler
//	firehoseGB | GB into Firehose
//	s3StoredGB | GB in S3 Standard
//	s3Puts | PUT, COPY, POST and LIST requests
//	s3Gets | GET requests
//	dynamoWrites | write request units on demand
//	dynamoReads | read request units on demand
//	dynamoStoredGB | GB in tables
//	databaseBackupGB | GB of RDS backups beyond the databases' own size
//	backupGB | GB of RDS recovery points in AWS Backup
//	cacheBackupGB | GB of ElastiCache snapshots
//	logsIngestedGB | GB into CloudWatch Logs
//	logsStoredGB | GB kept in CloudWatch Logs, compressed
//	logsScannedGB | GB read by Logs Insights
//	customMetrics | metrics of the app's own and of metric filters
//	traces | traces X-Ray records
//	kmsRequests | requests to KMS
//	secretRequests | requests to Secrets Manager
package cost
