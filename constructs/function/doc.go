// Package function makes a Lambda function from Go source.
//
// The program is compiled on this machine when the app is synthesized, with no
// Docker and no build step to remember. The same source gives the same bytes on
// any machine, so a function that has not changed is neither uploaded nor
// deployed again; and as long as nothing it is built from has changed, it is not
// even compiled again. The function runs on provided.al2023 with a log group of
// its own, active tracing, and a role that may do what was granted and nothing else.
//
// A number that only a deployment knows goes through the Override.
//
// Permissions that are granted after New, with the grants of a bucket or a
// secret, stand in the policy of Role. New gives the reason for the wildcards in
// its own; whoever grants one that ends in a star gives the reason for that.
//
// # Coverage
//
//	want | how
//	Go from a folder or an import path, no Docker | Source
//	several functions in one build | BuildAll
//	a program built before | Binary
//	name, description, memory, timeout, environment | fields of these names
//	ARM64 or x86-64 | Architecture
//	temporary storage | EphemeralStorageMiB
//	role with the permissions to run | always, or Role
//	log group with retention, JSON lines | always, or LogGroup; LogRetention
//	log group and environment encrypted with a key of one's own | Key
//	X-Ray tracing | always
//	VPC, subnets, security groups | VPC, Subnets, SecurityGroups
//	network interfaces that the program itself cannot touch | always in a VPC
//	reserved concurrency | ReservedConcurrency
//	failed asynchronous events kept | OnFailure
//	SQS: batches, window, concurrency, partial batch responses | ConsumeQueue
//	visibility timeout checked against the function's timeout | ConsumeQueue
//	alarm on errors | ErrorAlarm, from the first error; ErrorThreshold
//	alarm on throttles | ThrottledAlarm
//	alarm on durations near the timeout | DurationAlarm
//	alarm on a reservation that is nearly used up | ConcurrencyAlarm
//	alarm on lost failure events | DeliveryAlarm
//	iterator age | no stream is consumed here; Kinesis and DynamoDB: Function.AddEventSource
//	other event sources, function URL, resource policy | Function.AddEventSource, AddFunctionUrl, AddPermission
//	dead-letter queue of the older kind, success destination | Override: DeadLetterQueue, OnSuccess
//	retries and age of asynchronous events | Override: RetryAttempts, MaxEventAge
//	log levels, insights, layers, file system | Override: SystemLogLevelV2, InsightsVersion, Layers, Filesystem
//	code signing | Override: CodeSigningConfig
//	versions, aliases, provisioned concurrency | awslambda.NewAlias on the Function's CurrentVersion
//	SnapStart | Go needs none: a cold start is a process start
//	container images, other languages | use the L2
//
// # Cost
//
//   - Invocations and GB-seconds: memory times duration. ARM64 costs a fifth less.
//   - Logs ingested and kept; the log group's retention bounds the second.
//   - Traces: X-Ray samples one request a second and five in a hundred beyond.
//   - Ephemeral storage above 512 MiB, and data that leaves a VPC through a NAT
//     gateway.
//   - Alarms: three, up to five with a reservation and a failure destination.
//
// # Migrate
//
// A function keeps no state, so a new one can take over: deploy it beside the old
// one, move the event source, delete the old one. To keep the name and its log
// group, use cdk import with Name set, and pass the group as LogGroup. The logical
// ids of the function (Function), its role (Role) and log group (Logs) never change.
package function
