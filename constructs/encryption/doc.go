// Package encryption makes the KMS key that one environment encrypts its data with.
//
// The key rotates every year and outlives its stack. Its policy names the AWS
// services that have to use it, each bound to this account, and is complete when
// the key is made: nothing that a later stack does writes to it. That is what
// lets the key stand in the first stack and be used by every other one, in
// either direction of their references, without a cycle.
//
// KMS has no metric of its own keys that is worth an alarm, so there is none; a
// key scheduled for deletion is an EventBridge event of CloudTrail
// (ScheduleKeyDeletion), and belongs to the rules of the account.
//
// A number that only a deployment knows goes through the Override.
//
// # Coverage
//
//	want | how
//	customer managed symmetric key | always
//	alias | Alias
//	description | Description
//	yearly rotation | always, unless NoRotation
//	another rotation period | Override: RotationPeriod
//	waiting time before deletion | PendingWindow
//	kept when the stack is deleted | always, unless AllowDeletion
//	existing key | ExistingARN
//	administration by IAM policies of the account | always
//	administrators named in the key policy | Override: Admins
//	CloudWatch Logs of the Region | Services: CloudWatchLogs, a default
//	alarms that notify an encrypted topic | Services: CloudWatchAlarms, a default
//	topics that deliver to an encrypted queue | Services: SNS, a default
//	secrets, for whoever may read the secret | Services: SecretsManager, a default
//	databases, snapshots and Performance Insights | Services: RDS, a default
//	caches | Services: ElastiCache
//	EBS volumes, also of Auto Scaling groups | Services: EC2
//	buckets, for whoever may read the object | Services: S3
//	notifications of a bucket to an encrypted queue or topic | Services: S3Notifications
//	CloudFront reading a bucket through origin access control | Services: CloudFront
//	EventBridge targets that are encrypted | Services: EventBridge
//	parameters of the type SecureString | Services: SSM
//	grants to roles | GrantDecrypt, GrantEncrypt, GrantEncryptDecrypt
//	further statements, a whole policy | Override: Policy
//	multi-Region keys and replicas | Override: MultiRegion
//	asymmetric and HMAC keys, signing | Override: KeySpec, KeyUsage
//	imported key material, custom key store | use the L1, and pass its ARN as ExistingARN
//
// # Cost
//
//   - The key: a monthly price, and the same again for the first and the second
//     rotation; later rotations are free.
//   - Requests: priced by ten thousand, after a monthly free amount. SQS and SNS
//     reuse a data key for minutes, S3 with bucket keys for longer; log groups,
//     volumes and databases make few.
//
// # Migrate
//
// ExistingARN takes a key that is there already; its policy stays its owner's,
// who adds what the services in Coverage need. To bring a key under this stack
// use cdk import with the logical id of the synthesized template. The logical
// ids of the key and of its alias, which follow from the construct's path, never
// change.
package encryption
