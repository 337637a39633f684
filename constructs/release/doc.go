// Package release makes the controller that releases versions of a fleet: rolling, blue-green or as a canary.
//
// A release brings a version, a program in S3, to a pair of fleets behind one
// listener rule. A Step Functions state machine runs it, one short Lambda
// invocation after the other: it starts the color that is empty, waits until all of
// it is healthy, moves the rule's weights step by step, watches each step, keeps the
// former color for a while, and empties it. A rolling release replaces the instances
// of the color that serves, and has no weights.
//
// A step passes when it has been watched for its time, with enough requests, few
// errors, a short 99th percentile, healthy targets and no alarm. It fails on any of
// those but the number of requests: without traffic it waits, and after 24 hours the
// release is rolled back. LoadBalancer's alarms of the candidate's color count, those
// of both colors together, and Alarms; one that fired before the release does not.
//
// Who releases is the release command of this module, or anything that may start an
// execution: GrantOperate.
//
// # Recovery
//
// How far a release has come stands in one SSM parameter that only the controller
// writes; every task can be run again. The fourth function, Recover, looks every
// minute, when an execution fails, and after each deployment of the stack with the
// listener rule. A release that no execution works on is taken over by a new one,
// which rolls it back, or finishes it when all traffic had moved. Executions are
// named after the release, so of two that begin the same one Step Functions refuses
// one, and a task of an execution that is no longer the release's changes nothing.
//
// # Deployments
//
// The template gives the rule its weights when it makes the rule, and the parameters
// their first values; after that they are the controller's. A `cdk deploy` that does
// not change the rule leaves its weights alone. One that changes the rule for another
// reason, such as a condition, writes the template's weights again, and one whose
// program has changed writes that to both colors' parameters. Recover restores what
// the last release left, when the deployment has ended by its event, and within a
// minute by its schedule: instances that start before that get the deployment's
// program. Release that program instead. A deployment must not change the value,
// description or tags of State or Command while a release goes on: CloudFormation
// would write their first values again.
//
// # Coverage
//
// Flagger and Argo Rollouts release on Kubernetes; CodeDeploy and the blue/green
// deployments of ECS on AWS.
//
//	want | how
//	rolling, never below the present size | strategy rolling
//	blue-green, all traffic at once | strategy blue-green
//	canary with steps and a bake time | strategy canary
//	linear, "10 % every minute" | canary with ten steps
//	one request, one version within a step | always: stickiness of the target groups, for both colors
//	capacity before traffic | always; all of it is healthy before the first step, and checked before each
//	analysis: error rate, latency, absolute and against the other color | always; the release's thresholds
//	analysis: metrics of your own | an alarm on them, in Alarms
//	alarms that roll back | always: LoadBalancer's; Alarms
//	no verdict without traffic | always: a minimum of requests, else the step waits
//	one bad request does not roll back | always: a minimum of errors
//	testers first | header X-Release, with --hold before any user
//	pause, resume, abort | release pause, resume, rollback
//	manual gate | --hold
//	webhooks, hooks by phase | EventBridge events; Migrate before and after
//	traffic mirroring, A/B by header or cookie | left out
//	rollback at once within a window | release rollback; the former color keeps running
//	rollback of an earlier release | release its artifact again
//	notifications | Notifications
//	history | Step Functions, 90 days
//	one release at a time | always
//	survives its own crash at any call | always
//	schema migrations, expand and contract | Migrate
//	existing bucket of artifacts | Artifacts
//	existing state machine or functions | left out: programs of your own in Programs
//	programs built before, without Go | Programs: Binary
//	customer managed key | Key
//	functions in a VPC | Function: VPC
//	least privilege by function | always: weights are moved by two, groups by one
//	a deployment is no release | always, after the first release
//	alarms: failed execution, failed, throttled and long tasks | always
//	Auto Scaling while it releases | suspended on the candidate, growing only on what serves
//
// # Cost
//
//   - Step Functions, three state transitions a look, at eight looks a step and one
//     a second while instances start: some 500 for a canary with the defaults, a cent.
//   - Lambda: a short run a look, and one run of Recover a minute, 44,000 a month.
//   - The instances of the second color, from its launch to the end of the window.
//   - Logs of the executions and functions, the alarms, and the stored versions.
//
// # Migrate
//
// LoadBalancer, Blue, Green, Artifacts, Key and Notifications are existing ones. A
// service with one fleet becomes a pair by a second one with Standby. The first
// release finds which color serves by the rule's weights: one of them has to have
// all. Weights that something else moves, CodeDeploy for one, have to be left to the
// controller; remove its deployment group first. The bucket is kept when the stack
// is deleted, and the parameters are not: what serves goes on serving.
package release
