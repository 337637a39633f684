// Package firewall makes a WAFv2 web ACL.
//
// Groups of rules that AWS manages, limits on how often one address may call a
// path, and a limit on the size of bodies stand in it by default; lists of
// addresses and countries, further groups and further limits are one field each.
// Every rule can count instead of block, so that it is seen on real traffic before
// it can turn anyone away, and ObserveOnly makes all of them count at once. What
// was blocked or counted is logged, without credentials.
//
// Rules are evaluated in the order of their cost, the surest first:
//
//  1. AllowedIPs: what comes from there is not looked at any further
//  2. BlockedIPs
//  3. Countries
//  4. the managed group on the reputation of addresses
//  5. RateLimits, in their order
//  6. the size limits: body, query string, headers, path
//  7. the managed groups on known bad inputs, common attacks and SQL injection
//  8. further ManagedGroups, in their order
//
// A number that only a deployment knows goes through the Override.
//
// # Coverage
//
//	want | how
//	CloudFront or regional scope | Scope, checked against the stack's Region
//	put in front of a load balancer | Protect
//	put in front of an API, a user pool, an AppSync API | ProtectARN
//	put in front of a distribution | ARN, passed to the distribution
//	AWS managed groups: reputation, known bad inputs, common, SQL injection | always; Modes
//	any other managed group, of AWS or of a vendor | ManagedGroups
//	version of a managed group | ManagedGroups: Version
//	scope-down of a managed group | ManagedGroups: Only
//	count mode of a managed group | Modes, ManagedGroups: Mode
//	another action for one rule of a group | Exceptions
//	settings of bot control, account takeover and fraud groups | Override: Rules
//	rate limit by address | RateLimits
//	rate limit by forwarded address, header, cookie, query argument, path, method | RateLimits: Keys, up to five
//	scope-down of a rate limit | RateLimits: Path, Method, Header, Countries
//	window of a rate limit | RateLimits: Window
//	CAPTCHA or challenge instead of a block | Mode: Captcha, Challenge
//	IP allow list and block list, IPv4 and IPv6 | AllowedIPs, BlockedIPs
//	existing IP sets | AllowedIPs, BlockedIPs: ARNs
//	countries allowed or blocked | Countries
//	size limits | BodyLimit, LargeBodies; Sizes
//	how much of a body is inspected | 64 KiB at CloudFront, 8 KiB at a load balancer; Override: AssociationConfig
//	custom responses | RateLimits: Response; 429, 413, 414 and 431 as problem details by default
//	logging to CloudWatch Logs, encrypted | always, unless NoLogging; LogRetention, Key, LogGroup
//	only blocked and counted requests logged | always, unless LogEverything
//	redaction in logs and samples | RedactedHeaders, RedactedQueryArguments
//	logging to S3 or Firehose | NoLogging, and a CfnLoggingConfiguration
//	capacity units | Capacity; more than 1500 warns, more than 5000 is refused
//	metrics and samples of every rule | always
//	alarms on blocked requests, as number and share | BlockedAlarm, ShareAlarm
//	label match, regex pattern sets, ASN match, own rule groups, nested logic | Override: Rules
//	token domains, CAPTCHA immunity | Override: TokenDomains, CaptchaConfig
//	Shield Advanced, Firewall Manager | left to the organization's account
//	existing web ACL | pass its ARN to what it protects; nothing here is needed
//
// # Cost
//
//   - The web ACL and each rule in it, by the month; a managed group of AWS counts
//     as one rule.
//   - Requests, by the million; more for bodies above 16 KiB that are inspected and
//     for a web ACL above 1500 capacity units.
//   - Vendors' groups, bot control, CAPTCHA and challenge have prices of their own.
//   - Log lines, ingested and kept: what matches a rule, not every request.
//
// # Migrate
//
// Write the rules of the existing web ACL as Props with ObserveOnly set, deploy
// both, move the protected resource to the new one (a resource has one web ACL at
// a time), compare what is counted, then drop ObserveOnly. With cdk import a web
// ACL keeps its id. The logical ids of the web ACL (WebAcl), its IP sets and its
// log group (Logs) never change.
package firewall
