// Package loadbalancer makes an Application Load Balancer with a blue and a green target group that only CloudFront reaches.
//
// Requests reach the target groups when they carry the secret origin header,
// which CloudFront adds and nobody else knows; every other request is answered
// 403. The two weights of the main listener rule belong to the release
// controller: the template sets them once. Three things keep others out, alone
// or together: the header, whose value a rotation.Rotation replaces; CloudFront's
// managed prefix list on the security group; and private subnets with a VPC
// origin (Internal). Numbers that are tokens go through the overrides.
//
// A public load balancer without IngressPrefixList, IngressPeers or SecurityGroup
// accepts connections from everywhere on port 80, and 443 with a certificate.
// That needs nothing to be known about the Region, and everything but the right
// header is refused; still, anybody can open connections, so give
// CloudFrontPrefixList of the Region where it is known.
//
// # Coverage
//
//	want | how
//	TLS with a modern policy, post-quantum key exchange | CertificateARN, SSLPolicy
//	redirect from HTTP to HTTPS | always with CertificateARN, unless Internal
//	several certificates by SNI | AdditionalCertificateARNs
//	certificate and DNS record from a hosted zone | none: pass CertificateARN; the record belongs to the distribution
//	mutual TLS | OverrideListener: MutualAuthentication
//	reachable from CloudFront only: secret header | always; package rotation replaces it
//	reachable from CloudFront only: managed prefix list | IngressPrefixList with CloudFrontPrefixList
//	reachable from CloudFront only: VPC origin | Internal, and edge.Props.VPCOrigin
//	existing security group, or given peers | SecurityGroup, IngressPeers
//	egress to the targets only | always
//	existing load balancer and listener | LoadBalancer and Listener
//	access logs in a new or existing bucket | LogBucket, NoAccessLogs
//	connection logs | ConnectionLogs
//	health check logs | L1 below LoadBalancer: attributes health_check_logs.s3.*
//	deletion protection | always; NoDeletionProtection
//	blue and green with weights | Blue, Green, Rule, GrantWeights
//	stickiness to a color, to a target | ColorStickiness, InstanceStickiness
//	testers reach a candidate first | always: X-Release: blue or green; NoTesterRule
//	health check path, codes, interval, thresholds | HealthCheck
//	slow start, deregistration delay | SlowStart, DeregistrationDelay
//	routing algorithm, automatic target weights | Algorithm
//	cross-zone | always; NoCrossZone
//	targets by address or Lambda, HTTPS, gRPC | OverrideTargetGroup: TargetType, Protocol, ProtocolVersion
//	target group health thresholds | OverrideTargetGroup: TargetGroupHealth
//	invalid headers dropped, desync mitigation | always; StrictDesync
//	HTTP/2 | always; NoHTTP2
//	idle timeout, client keep-alive | IdleTimeout, ClientKeepAlive
//	X-Forwarded-For mode, client port, Host, TLS headers | ForwardedFor, ForwardClientPort, PreserveHostHeader, TLSHeaders
//	IPv6 | Override: IpAddressType
//	capacity reserved ahead | ReservedCapacityUnits
//	web ACL | firewall.Protect; CloudFront's ACL looks at requests before; WAFFailOpen
//	further rules: redirects, fixed answers, OIDC | Listener.AddAction, with priorities around RulePriority
//	alarms: 5xx, p99, unhealthy, connection errors by color | always
//	alarms: none healthy, own 5xx, rejected connections | always
//	name of the load balancer | Override: LoadBalancerName
//
// # Cost
//
//   - The load balancer by the hour, whether used or not.
//   - Capacity units by the hour: the most of new connections, active
//     connections, bytes and rule evaluations; ReservedCapacityUnits when not used.
//   - A public address in each zone, by the hour; none when Internal.
//   - Access logs: storage for 90 days and requests to write them.
//   - One secret, and eleven alarms, four of them on two or three metrics.
//
// # Migrate
//
// Pass an existing load balancer as LoadBalancer and Listener: the rules and
// target groups are added, and requests go on as before until the listener's
// default action refuses what has no origin header, which is the last step.
// To manage one here instead, `cdk import` takes AWS::ElasticLoadBalancingV2
// load balancers, listeners and target groups.
//
// A certificate that is added later moves the listener from port 80 to 443, and
// requests fail until the distribution connects there too (edge.Props.OriginDomain).
// To avoid that, make a second load balancer and move the distribution to it.
//
// The logical ids of LoadBalancer, Blue, Green, OriginSecret and Logs never change.
package loadbalancer
