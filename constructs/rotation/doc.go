// Package rotation makes a schedule on which the secret header between CloudFront and a load balancer gets a new value.
//
// No request is refused meanwhile and nothing is deployed: Secrets Manager calls
// a Lambda function that does its four steps. createSecret stores a new value.
// setSecret lets the listener rules accept the old and the new value, then lets
// the distribution send the new one and waits until every edge location does.
// testSecret asks for something through the edge. finishSecret makes the new
// value the current one and then lets the rules accept nothing else. Only the
// conditions of the rules change, never their weights, so a release may go on.
// A step that ended half way is repeated by Secrets Manager and goes on from
// there; until the last one is done, the old value works.
//
// # Deployments
//
// Listener rules and distribution refer to the secret by dynamic reference.
// CloudFormation resolves one when it creates or changes the resource it stands
// in, and not otherwise. A `cdk deploy` after a rotation therefore leaves the
// rotated values alone, or, in a resource that it changes for another reason,
// writes the current value, which is the same. CloudFormation's drift detection
// reports neither. A deployment that changes a rule or the distribution while a
// rotation is under way, some five minutes, writes the old value there again: a
// rule then refuses the new one that the distribution sends, until Secrets
// Manager repeats the rotation. Deploy such changes at another time.
//
// # Coverage
//
//	want | how
//	rotation on a schedule in days | Every
//	schedule expression, window | OverrideSchedule: RotationRules
//	rotation at once | Immediately, or `aws secretsmanager rotate-secret`
//	no request refused while it rotates | always
//	weights and stickiness untouched | always
//	rules of testers rotated too | always
//	several origins that send the header | always, all of them
//	retried after a crash at any call | always
//	secret in another stack | always
//	existing secret, imported by name | loadbalancer.Props.OriginSecret
//	secret with a key of the caller's | always: the function is granted its use
//	function built from source without Docker | always; Function.Source, Function.Binary
//	memory, logs, VPC, dead-letter queue of the function | Function
//	least privilege: this secret, these rules, this distribution | always
//	only this account's Secrets Manager may call the function | always
//	alarms on failed, throttled and long runs | always
//	rotation of database credentials | none: package database
//
// # Cost
//
//   - The function runs for about five minutes a rotation, and its logs.
//   - A few API calls to Secrets Manager; the secret itself is loadbalancer's.
//   - The alarms of the function.
//
// A change of a distribution is free.
//
// # Migrate
//
// Pass a secret that exists as loadbalancer.Props.OriginSecret; its value may be
// of any letters and digits. One that has a schedule already has to lose it
// first: a secret has one. The schedule holds no state, so it may be removed and
// added again; the secret keeps its current value. An EdgeURL that a web ACL or
// a geographic restriction closes to Lambda's addresses makes testSecret less
// telling and fails nothing.
package rotation
