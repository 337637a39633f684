// Package edge makes a CloudFront distribution whose private paths cannot be cached.
//
// A path is Static, Private or Stream, and its type decides everything about
// caching: only a StaticBehavior has a field for a cache policy, an override that
// gives one to another is refused, private paths are tried before static ones,
// and CloudFront keeps no errors while anything is private. Private paths and
// streams are answered by a load balancer, static ones by a bucket that nobody
// else can read. Numbers that are tokens go through the overrides.
//
// # Coverage
//
//	want | how
//	static files from a private bucket, origin access control | Static
//	existing bucket | StaticBucket
//	an API that is never cached | Private, and every path not named
//	event streams, WebSockets | Stream
//	gRPC | OverrideBehavior: EnableGrpc
//	custom cache policy | StaticBehavior.CachePolicy
//	custom origin request policy | OverrideBehavior: OriginRequestPolicy
//	Brotli and gzip | always on static paths; the program compresses private answers
//	single-page or static site | Static("*"), DefaultRootObject, ErrorPages
//	load balancer over HTTPS | OriginDomain
//	load balancer in private subnets | VPCOrigin
//	secret origin header | OriginHeaderValue; package rotation replaces it
//	origin timeouts, keep-alive, attempts | OriginReadTimeout, OriginKeepalive, OriginConnectTimeout, OriginConnectAttempts
//	limit of a whole answer | ResponseCompletionTimeout
//	origin shield | OriginShieldRegion
//	further origins, origin groups, failover | Distribution.AddBehavior
//	security headers: CSP, HSTS, framing, sniffing, referrer | always; ContentSecurityPolicy
//	other response headers, CORS | ResponseHeaders, OverrideResponseHeaders
//	web ACL | WebACLARN
//	geographic restriction | AllowedCountries, DeniedCountries
//	custom domain, certificate checked to be of us-east-1 | DomainNames with Certificate or CertificateARN
//	alias records | none: a record belongs to its zone; its target is DomainName
//	TLS 1.2 or newer for viewers | always with DomainNames; Override: MinimumProtocolVersion
//	redirect to HTTPS | always
//	HTTP/3, HTTP/2, IPv6 | always; NoHTTP3, NoIPv6
//	price class | PriceClass
//	error pages | ErrorPages
//	errors of private paths never kept | always
//	access logs to S3 | always; LogBucket, NoAccessLogs, LogCookies
//	access logs to CloudWatch Logs or Firehose (v2) | none: AWS::Logs::DeliverySource of the ARN, in us-east-1
//	real-time logs | OverrideBehavior: RealtimeLogConfig
//	functions, Lambda@Edge, signed URLs | OverrideBehavior: FunctionAssociations, EdgeLambdas, TrustedKeyGroups
//	alarm on 5xx | always, in us-east-1
//	alarms on latency and cache hits | AdditionalMetrics, MinCacheHitPercent, in us-east-1
//	invalidation, publishing | GrantInvalidate, GrantPublish
//
// # Cost
//
//   - Requests and bytes to viewers, by the location that serves: PriceClass.
//   - Requests to the origin shield and invalidations beyond the free ones.
//   - AdditionalMetrics, by the month and distribution.
//   - Storage of static files, their old versions for 30 days, and access logs for
//     90 days.
//
// A VPC origin, bytes from AWS origins to CloudFront and security headers are
// free.
//
// # Migrate
//
// Bring a bucket with StaticBucket; one that CDK only imports needs a policy of
// the caller's that lets cloudfront.amazonaws.com get objects for this
// distribution's ARN. `cdk import` takes AWS::CloudFront::Distribution,
// AWS::S3::Bucket and the policies. A second distribution cannot have the same
// DomainNames: deploy without them, try it by its own name, then move the names
// with `aws cloudfront update-domain-association` and add them here. The logical
// ids of Distribution, Static and Logs never change.
package edge
