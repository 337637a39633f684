// Package queue makes an SQS queue with its dead-letter queue and the alarms
// that tell when consumers fall behind or give up on a message.
//
// Both queues are encrypted and refuse connections without TLS. The visibility
// timeout follows from what the consumer needs, and the dead-letter queue keeps
// a message for longer than the queue does. A number that only a deployment
// knows goes through an Override.
//
// # Coverage
//
//	want | how
//	dead-letter queue | always
//	receives before a message moves to it | MaxReceives
//	existing dead-letter queue | DeadLetterQueue
//	existing queue, with alarms, widgets and grants | Queue
//	visibility timeout that fits the consumer | Consumer, or VisibilityTimeout
//	retention, longer in the dead-letter queue | Retention, DeadLetterRetention
//	long polling | always, 20 s; Override: ReceiveMessageWaitTime
//	delay of new messages | Delay
//	maximum message size | MaxMessageBytes
//	first in, first out | FIFO
//	deduplication by content | ContentDeduplication
//	high throughput of FIFO | HighThroughput
//	fair queues (standard queue with message groups) | nothing to configure: the sender sets MessageGroupId
//	encryption with keys of SQS, free of charge | always, without Key
//	encryption with a KMS key, for both queues | Key
//	another KMS key for the dead-letter queue | OverrideDeadLetter: EncryptionMasterKey
//	reuse of data keys | DataKeyReuse
//	TLS only, for both queues | always
//	redrive permission limited to this queue | always, with a Name
//	redrive permission for other queues | OverrideDeadLetter: RedriveAllowPolicy
//	permission to send, consume, purge, redrive | GrantSend, GrantConsume, GrantPurge, GrantRedrive
//	use of the KMS key by whoever is granted | always
//	send from another account or an AWS service | GrantSend to its principal
//	other queue policy statements | Queue.AddToResourcePolicy
//	alarm: age of the oldest message | AgeAlarm
//	alarm: messages waiting | DepthAlarm
//	alarm: messages in flight near the quota | always, at 90 % of it
//	alarm: messages in the dead-letter queue | always
//	alarms on traffic in or out, time to drain | awscloudwatch.NewAlarm on a metric of Queue
//	widgets: messages, age, throughput | Widgets
//	kept when the stack is deleted | Override: RemovalPolicy
//	tags | cdkapp.StackProps, or awscdk.Tags_Of
//	Lambda as consumer | ConsumeQueue of package function
//	copies of one message for several consumers | package fanout
//
// # Cost
//
//   - Requests, each 64 KiB of a message one request; FIFO costs a quarter more.
//     Long polling keeps the number of empty receives down.
//   - Four alarms.
//   - With Key: requests to KMS, one for each DataKeyReuse and identity.
//
// # Migrate
//
// Pass an existing queue as Queue, with its DeadLetterQueue, to get alarms,
// widgets and grants without touching it. To bring both queues under this stack,
// set Name to the name they have (the dead-letter queue's with "-dlq", or through
// OverrideDeadLetter) and use cdk import. The logical ids of the queue (Queue) and
// of its dead-letter queue (DeadLetter) never change; Name and FIFO replace them.
package queue
