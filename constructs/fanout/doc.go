// Package fanout makes an SNS topic with one SQS queue per consumer: a message
// is published once, each consumer has its own copy, its own pace and its own
// dead letters, and one that is down delays only itself.
//
// The topic is encrypted and refuses to be published to without TLS. A number
// that only a deployment knows goes through an Override.
//
// # Coverage
//
//	want | how
//	queue per subscription, with dead-letter queue and alarms | always; Subscription: QueueProps
//	existing queue | Subscription: Queue
//	existing topic | Topic
//	subscribe later | Subscribe
//	filter by exact attributes | Subscription: Filter
//	filter by attributes: prefix, numbers, anything but, exists … | Subscription: Attributes
//	filter by the message body, nested too | Subscription: Body
//	raw delivery | always, unless Subscription: Envelope
//	dead letters of SNS in the queue's own dead-letter queue | always
//	dead letters of SNS apart | Subscription: SeparateDeadLetters, DeadLetterQueue
//	FIFO, with FIFO queues | FIFO
//	standard queue on a FIFO topic | awssns.NewSubscription on Topic
//	deduplication by content | ContentDeduplication
//	high throughput of FIFO | HighThroughput
//	archive and replay of FIFO | Override: MessageRetentionPeriodInDays
//	encryption by the key AWS manages for SNS | always, without Key
//	encryption with a KMS key | Key
//	what SNS needs of the key of a queue | always for a key of this app, AllowDelivery for another
//	TLS only | always
//	permission to publish, with the use of the key | GrantPublish
//	publish from another account or an AWS service | GrantPublish to its principal, with a Key
//	other topic policy statements | Topic.AddToResourcePolicy
//	delivery status logs | LogDeliveries, LogSuccessPercent
//	alarm: deliveries failed | always
//	alarm: messages that went to a dead-letter queue | always
//	alarm: messages lost, dead-letter queue out of reach | always
//	alarm on traffic, on messages filtered out | awscloudwatch.NewAlarm on a metric of Topic
//	widgets: messages, filters, failures, the queues made here | Widgets
//	X-Ray tracing, display name, signature version | Override: TracingConfig, DisplayName, SignatureVersion
//	data protection policy | SetDataProtectionPolicy of the topic's L1
//	delivery retry policy | not for SQS: SNS retries for 23 days
//	HTTPS, e-mail, SMS, Lambda, Firehose subscribers | Topic.AddSubscription
//
// # Cost
//
//   - Publishing, each 64 KiB of a message one request; delivery to SQS is free
//     for a standard topic, and counted by message and volume for FIFO.
//   - Filters on the body, by the volume that is scanned.
//   - Three alarms, and what package queue says of each queue.
//   - With Key: requests to KMS. With LogDeliveries: volume of logs.
//
// # Migrate
//
// Pass an existing topic as Topic and existing queues, wrapped by package queue,
// as Queue of their Subscription; a subscription that exists already must be
// deleted first or brought in with cdk import. To bring a topic under this stack,
// set Name to the name it has and use cdk import. The logical ids of the topic
// (Topic), and of queues made here (the subscription's Name, then Queue and
// DeadLetter) never change; another Name or FIFO replaces them.
package fanout
