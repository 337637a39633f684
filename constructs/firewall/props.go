package firewall

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Scope is what a web ACL can protect.
type Scope string

// The scopes of a web ACL.
const (
	// CloudFront protects distributions. Such a web ACL exists in us-east-1 only.
	CloudFront Scope = "CLOUDFRONT"
	// Regional protects load balancers and other resources of its Region.
	Regional Scope = "REGIONAL"
)

// Mode is what a rule does with a request that matches it.
type Mode string

// The modes of a rule. A managed group has the first three; its own rules say
// what to do.
const (
	Block     Mode = "block"     // the default
	Count     Mode = "count"     // counts it and goes on to the next rule
	Off       Mode = "off"       // the rule is left out
	Captcha   Mode = "captcha"   // lets a person through who solves a puzzle
	Challenge Mode = "challenge" // lets a browser through that runs a script
	Allow     Mode = "allow"     // lets it through, past the rules that follow; Exception only
)

// Group is a rule group that somebody manages.
type Group string

// The managed rule groups a Firewall uses, in the order of their evaluation.
const (
	IPReputation   Group = "AWSManagedRulesAmazonIpReputationList"
	KnownBadInputs Group = "AWSManagedRulesKnownBadInputsRuleSet"
	Common         Group = "AWSManagedRulesCommonRuleSet"
	SQLInjection   Group = "AWSManagedRulesSQLiRuleSet"
)

// Groups lists every Group in the order of its evaluation: the cheapest and
// surest first.
func Groups() []Group {
	return []Group{IPReputation, KnownBadInputs, Common, SQLInjection}
}

// Exception gives one rule of a managed group another action than the group's
// own, because legitimate requests match it. Rule is required.
type Exception struct {
	// Group the rule is of. Required in Props.Exceptions; ManagedGroup.Exceptions
	// are of that group.
	Group Group

	// Rule as the vendor names it: "CrossSiteScripting_BODY".
	Rule string

	// Mode of the rule: Count, Allow, Captcha, Challenge or Block. Default Count.
	Mode Mode
}

// ManagedGroup is a rule group of a vendor. One that Groups lists is configured
// by it and keeps its place; any other is evaluated after those.
type ManagedGroup struct {
	// Vendor as AWS Marketplace names it. Default "AWS".
	Vendor string

	// Name of the group. Required.
	Name Group

	// Version such as "Version_1.10". Default the one the vendor recommends,
	// which changes when the vendor says so.
	Version string

	// Mode is Block, Count or Off. Default the one in Props.Modes, else Block.
	Mode Mode

	// Exceptions are rules with another action than the group's own, beside those
	// in Props.Exceptions. Default none.
	Exceptions []Exception

	// Only requests that match are looked at. Default every request.
	Only Match

	// Capacity units, for a group whose number this package does not know: the
	// console and DescribeManagedRuleGroup show it. Default the number this package
	// knows.
	Capacity int
}

// Header is a request header and its value, which is compared as it is; with a
// star at its end, everything that begins like it.
type Header struct {
	// Name of the header, in any case. Required with Value.
	Name string
	// Value of it, 1 to 200 characters. Required with Name.
	Value string
}

// Match is a set of conditions on a request, all of which must hold. The zero
// value holds for every request.
type Match struct {
	// Path compared after decoding and normalizing; with a star at its end,
	// everything that begins like it. Default every path.
	Path string
	// Method in capitals: "POST". Default every method.
	Method string
	// Header with a value. Default none is looked at.
	Header Header
	// Countries the address is in, one of these: "DE", by ISO 3166-1 alpha-2.
	// Default every country.
	Countries []string
}

// Key is what requests are counted by. The By functions make one.
type Key struct {
	kind, name string
}

// String tells which function made the key.
func (k Key) String() string {
	if k.kind == "" {
		return "no key"
	}
	return "By" + k.kind + "(" + k.name + ")"
}

// ByIP counts by the address of the connection.
func ByIP() Key { return Key{kind: "IP"} }

// ByForwardedIP counts by the first address of X-Forwarded-For. See
// RateLimit.ForwardedIP for when that can be relied on.
func ByForwardedIP() Key { return Key{kind: "ForwardedIP"} }

// ByHeader counts by the value of a header. A request without it is not counted.
func ByHeader(name string) Key { return Key{kind: "Header", name: name} }

// ByCookie counts by the value of a cookie. A request without it is not counted.
func ByCookie(name string) Key { return Key{kind: "Cookie", name: name} }

// ByQueryArgument counts by the value of a query argument. A request without it
// is not counted.
func ByQueryArgument(name string) Key { return Key{kind: "QueryArgument", name: name} }

// ByPath counts by the path, decoded and normalized.
func ByPath() Key { return Key{kind: "Path"} }

// ByMethod counts by the method.
func ByMethod() Key { return Key{kind: "Method"} }

// Response is what a blocked client gets.
type Response struct {
	// Status code, 200 to 599. Required in a Response that is not empty.
	Status int

	// Body, 4096 bytes at most. Default none.
	Body string

	// ContentType of the body: "application/json", "text/html" or "text/plain",
	// which is all that WAF offers. Default "application/json".
	ContentType string

	// Headers such as Retry-After; WAF puts nothing before their names. Not
	// Content-Type. Default none.
	Headers map[string]string
}

// RateLimit bounds how many requests one address, or whatever else Keys says,
// may make. Name and Limit are required.
type RateLimit struct {
	// Name of the rule, 1 to 100 letters, digits, hyphens and underscores.
	Name string

	// Path that counts, compared after decoding and normalizing; with a star at
	// its end, everything that begins like it. Default every path.
	Path string

	// Method, Header and Countries narrow further what counts, as in Match.
	// Default every request.
	Method    string
	Header    Header
	Countries []string

	// Limit is the number of requests in Window above which an address is
	// blocked until its rate has fallen. 10 to 2,000,000,000.
	Limit int

	// Window is 1, 2, 5 or 10 minutes. Default 5 minutes. WAF looks back over it
	// every few seconds, so the limit takes effect with a delay of that size.
	Window time.Duration

	// Keys are one to five things that requests are counted by together: a limit
	// by address and path is one for each pair. Default ByIP().
	Keys []Key

	// ForwardedIP is short for the one key ByForwardedIP(): it takes the address
	// from X-Forwarded-For, for a web ACL behind a proxy. A client can write what
	// it likes in front of what the proxy adds, and WAF reads the first address:
	// use it only where the proxy replaces the header. A request without a valid
	// address counts as matching.
	ForwardedIP bool

	// Mode of the rule: Block, Count, Captcha, Challenge or Off. Default Block.
	Mode Mode

	// Response to a blocked request. Default status 429 with Retry-After, the
	// window in seconds, and an RFC 9457 problem as its body.
	Response Response
}

func (l RateLimit) match() Match {
	return Match{Path: l.Path, Method: l.Method, Header: l.Header, Countries: l.Countries}
}

// IPSet is a list of addresses. Name is required, and one address or ARN at
// least.
type IPSet struct {
	// Name of the rule, 1 to 100 letters, digits, hyphens and underscores.
	Name string

	// Addresses are IPv4 and IPv6 addresses and ranges in CIDR notation, 10,000 of
	// each at most. An IP set is made for each of the two that occurs. Default
	// none.
	Addresses []string

	// ARNs of existing IP sets of the same scope. Each may be a token. Default
	// none.
	ARNs []string

	// ForwardedIP looks at the first address in X-Forwarded-For instead of the
	// connection's. See RateLimit.ForwardedIP for when that can be relied on; an
	// allow list that a client can write itself into is none.
	ForwardedIP bool

	// Mode of the rule: Block, Count, Captcha, Challenge or Off for a list of
	// blocked addresses, Count or Off for a list of allowed ones. Default what the
	// list is for.
	Mode Mode
}

// Countries are judged by the address, whose country WAF looks up.
type Countries struct {
	// Allowed countries, by ISO 3166-1 alpha-2: requests from any other match.
	// Default every country.
	Allowed []string
	// Blocked countries: requests from these match. Either these or Allowed.
	// Default none.
	Blocked []string
	// ForwardedIP looks at X-Forwarded-For, as in RateLimit.
	ForwardedIP bool
	// Mode of the rule: Block, Count, Captcha, Challenge or Off. Default Block.
	Mode Mode
}

// Sizes are limits besides the body's, in bytes. Zero is no limit but that of the
// common group: 2048 for the query string, 1024 for the path.
type Sizes struct {
	// Query is the most a query string may have, 1 to 8192. Default 0: only the
	// common group's limit.
	Query int

	// Header is the most the value of one header may have, 1 to 8192. Default 0:
	// no limit.
	Header int

	// Path is the most a path may have, 1 to 8192. Default 0: only the common
	// group's limit.
	Path int

	// Mode of these rules: Block, Count or Off. Default Block.
	Mode Mode
}

// Body limits by scope. WAF sees no more of a body than it inspects, which is
// 64 KiB at CloudFront when the web ACL asks for that and 8 KiB at a load
// balancer, so nothing above can be told apart ("Body inspection", AWS WAF
// developer guide).
const (
	MaxCloudFrontBody = 64 << 10
	MaxRegionalBody   = 8 << 10
)

// Limits of WAF, from its developer guide ("AWS WAF quotas").
const (
	maxKeys         = 5
	maxAddresses    = 10000
	maxResponseBody = 4096
	maxRegex        = 512
	maxComponent    = 8192 // bytes of the query string, headers and path that WAF sees
)

// Props configures a Firewall. The zero value protects a distribution with all
// managed groups and a body limit, and has no rate limit.
type Props struct {
	// Scope of the web ACL. Default CloudFront.
	Scope Scope

	// Modes of the managed groups. Default Block for each.
	Modes map[Group]Mode

	// Exceptions are rules of managed groups that count instead of block, or do
	// something else. Default none. The common group's own body limit of 8 KiB is always one:
	// BodyLimit replaces it.
	Exceptions []Exception

	// ManagedGroups are further groups, or those of Groups with further settings.
	// Default none.
	ManagedGroups []ManagedGroup

	// AllowedIPs are let through before any other rule, in this order. Default
	// none.
	AllowedIPs []IPSet

	// BlockedIPs are blocked next, in this order. Default none.
	BlockedIPs []IPSet

	// Countries that may send requests, or may not. Default every one may.
	Countries Countries

	// RateLimits come after addresses and countries, in this order. Default none.
	RateLimits []RateLimit

	// BodyLimit is the largest request body in bytes, at most what WAF inspects in
	// this scope. Default that: MaxCloudFrontBody or MaxRegionalBody.
	BodyLimit int

	// BodyLimitMode is the mode of the body limit. Default Block, with status 413.
	BodyLimitMode Mode

	// LargeBodies are the paths without a body limit, for uploads. A star stands
	// for one segment: /v1/projects/*/videos. Default none.
	LargeBodies []string

	// Sizes are limits on other parts of a request. Default none of its own.
	Sizes Sizes

	// ObserveOnly makes every rule count, whatever its mode.
	ObserveOnly bool

	// BlockedAlarm is the number of requests blocked in five minutes above which
	// the alarm goes off: an attack, or a rule that blocks the legitimate.
	// Default 1000.
	BlockedAlarm int

	// ShareAlarm is the share of blocked requests in percent, 1 to 99, above which
	// a second alarm goes off in a five minutes with a hundred requests or more.
	// Default 20.
	ShareAlarm int

	// NoLogging leaves the log of requests out.
	NoLogging bool

	// LogEverything logs allowed requests too, which are most. Default only those
	// that match a rule.
	LogEverything bool

	// LogRetention is one of the periods CloudWatch Logs offers. Default one
	// month.
	LogRetention awslogs.RetentionDays

	// LogGroup is an existing log group whose name begins with aws-waf-logs-.
	// Default one of the web ACL's own.
	LogGroup awslogs.ILogGroup

	// Key encrypts the log group. Its policy has to let CloudWatch Logs use it, as
	// that of the encryption package does. Default a key that AWS owns.
	Key awskms.IKey

	// RedactedHeaders are left out of logs and samples. Default authorization and
	// cookie. An empty list that is not nil leaves nothing out.
	RedactedHeaders []string

	// RedactedQueryArguments are left out of logs and samples. Default token. An
	// empty list that is not nil leaves nothing out.
	RedactedQueryArguments []string

	// Override has the last word on the web ACL.
	Override func(*waf.CfnWebACLProps)
	// OverrideLogging has the last word on what is logged.
	OverrideLogging func(*waf.CfnLoggingConfigurationProps)
}

// PropsError is what Validate returns and New panics with.
type PropsError = cdkx.PropsError

var (
	ruleName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)
	ratePath    = regexp.MustCompile(`^/[^*\s]*\*?$`)
	uploadPath  = regexp.MustCompile(`^/[A-Za-z0-9/_.*-]*$`)
	methodName  = regexp.MustCompile(`^[A-Z]{1,20}$`)
	fieldName   = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}$`)
	countryCode = regexp.MustCompile(`^[A-Z]{2}$`)
	ipSetARN    = regexp.MustCompile(`^arn:[a-z-]+:wafv2:[a-z0-9-]+:\d{12}:(global|regional)/ipset/.+$`)
	resourceARN = regexp.MustCompile(`^arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:\d*:.+$`)
	notInMetric = regexp.MustCompile(`[^A-Za-z0-9]`)
	notInName   = regexp.MustCompile(`[^A-Za-z0-9]+`)
)

func (p Props) withDefaults() Props {
	p.Scope = cmp.Or(p.Scope, CloudFront)
	p.BodyLimitMode = cmp.Or(p.BodyLimitMode, Block)
	p.BodyLimit = cmp.Or(p.BodyLimit, p.inspected())
	p.BlockedAlarm = cmp.Or(p.BlockedAlarm, 1000)
	p.ShareAlarm = cmp.Or(p.ShareAlarm, 20)
	p.Countries.Mode = cmp.Or(p.Countries.Mode, Block)
	p.Sizes.Mode = cmp.Or(p.Sizes.Mode, Block)
	if p.RedactedHeaders == nil {
		p.RedactedHeaders = []string{"authorization", "cookie"}
	}
	if p.RedactedQueryArguments == nil {
		p.RedactedQueryArguments = []string{"token"}
	}
	p.AllowedIPs, p.BlockedIPs = slices.Clone(p.AllowedIPs), slices.Clone(p.BlockedIPs)
	for i := range p.AllowedIPs {
		p.AllowedIPs[i].Mode = cmp.Or(p.AllowedIPs[i].Mode, Allow)
	}
	for i := range p.BlockedIPs {
		p.BlockedIPs[i].Mode = cmp.Or(p.BlockedIPs[i].Mode, Block)
	}
	p.RateLimits = slices.Clone(p.RateLimits)
	for i := range p.RateLimits {
		limit := &p.RateLimits[i]
		limit.Window = cmp.Or(limit.Window, 5*time.Minute)
		limit.Mode = cmp.Or(limit.Mode, Block)
		if len(limit.Keys) == 0 {
			limit.Keys = []Key{ByIP()}
			if limit.ForwardedIP {
				limit.Keys = []Key{ByForwardedIP()}
			}
		}
		if limit.Response.Status == 0 && limit.Response.Body == "" && len(limit.Response.Headers) == 0 {
			limit.Response = tooManyRequests(limit.Window)
		}
	}
	p.ManagedGroups = slices.Clone(p.ManagedGroups)
	for i := range p.ManagedGroups {
		group := &p.ManagedGroups[i]
		group.Vendor = cmp.Or(group.Vendor, "AWS")
		group.Mode = cmp.Or(group.Mode, p.Modes[group.Name], Block)
	}
	return p
}

// inspected is how much of a body WAF sees.
func (p Props) inspected() int {
	if p.Scope == Regional {
		return MaxRegionalBody
	}
	return MaxCloudFrontBody
}

// Validate returns a *PropsError with every field that is not valid, or nil.
func (p Props) Validate() error {
	return p.validate("")
}

// validate also refuses what AWS would refuse in the Region, when it is known.
func (p Props) validate(region string) error {
	given := p
	p = p.withDefaults()
	var bad cdkx.Problems
	bad.Check(p.Scope != CloudFront || region == "" || region == "us-east-1", "Scope", p.Scope,
		"REGIONAL, or a stack in us-east-1 instead of "+region)
	cdkx.OneOf(&bad, "Scope", p.Scope, CloudFront, Regional)
	known := p.groupNames()
	for _, group := range slices.Sorted(maps.Keys(p.Modes)) {
		field := fmt.Sprintf("Modes[%s]", group)
		cdkx.OneOf(&bad, field, group, known...)
		cdkx.OneOf(&bad, field, p.Modes[group], Block, Count, Off)
	}
	for i, exception := range p.Exceptions {
		field := fmt.Sprintf("Exceptions[%d].", i)
		cdkx.OneOf(&bad, field+"Group", exception.Group, known...)
		exception.check(&bad, field)
	}
	names := taken{}
	for i, group := range p.ManagedGroups {
		group.check(&bad, fmt.Sprintf("ManagedGroups[%d].", i), names)
	}
	for i, set := range p.AllowedIPs {
		set.check(&bad, fmt.Sprintf("AllowedIPs[%d].", i), names, Allow, Count, Off)
	}
	for i, set := range p.BlockedIPs {
		set.check(&bad, fmt.Sprintf("BlockedIPs[%d].", i), names, Block, Count, Captcha, Challenge, Off)
	}
	p.Countries.check(&bad)
	for i, limit := range p.RateLimits {
		forwarded := given.RateLimits[i].ForwardedIP && len(given.RateLimits[i].Keys) > 0
		limit.check(&bad, fmt.Sprintf("RateLimits[%d].", i), names, forwarded)
	}
	cdkx.Between(&bad, "BodyLimit", p.BodyLimit, 1, p.inspected())
	cdkx.OneOf(&bad, "BodyLimitMode", p.BodyLimitMode, Block, Count, Off)
	for i, path := range p.LargeBodies {
		bad.Check(uploadPath.MatchString(path), fmt.Sprintf("LargeBodies[%d]", i), path,
			"a path of letters, digits, hyphens, underscores and dots, with stars for whole segments")
	}
	// A regex pattern of WAF has 512 characters at most.
	bad.Check(len(largeBodies(p.LargeBodies)) <= maxRegex, "LargeBodies", strings.Join(p.LargeBodies, " "), "about 500 characters together")
	cdkx.Between(&bad, "Sizes.Query", p.Sizes.Query, 0, maxComponent)
	cdkx.Between(&bad, "Sizes.Header", p.Sizes.Header, 0, maxComponent)
	cdkx.Between(&bad, "Sizes.Path", p.Sizes.Path, 0, maxComponent)
	cdkx.OneOf(&bad, "Sizes.Mode", p.Sizes.Mode, Block, Count, Off)
	cdkx.AtLeast(&bad, "BlockedAlarm", p.BlockedAlarm, 1)
	cdkx.Between(&bad, "ShareAlarm", p.ShareAlarm, 1, 99)
	for i, name := range p.RedactedHeaders {
		bad.Check(fieldName.MatchString(name), fmt.Sprintf("RedactedHeaders[%d]", i), name, "the name of a header")
	}
	for i, name := range p.RedactedQueryArguments {
		bad.Check(fieldName.MatchString(name), fmt.Sprintf("RedactedQueryArguments[%d]", i), name, "the name of a query argument")
	}
	bad.Check(p.LogGroup == nil || p.LogRetention == "", "LogRetention", p.LogRetention, "none beside an existing LogGroup, which has its own")
	if used := p.capacity(); used > maxCapacity {
		bad.Add("the rules' capacity", used, fmt.Sprintf("%d capacity units or fewer: switch a group Off or leave a limit out", maxCapacity))
	}
	return bad.Err("firewall")
}

// taken are the names of rules so far. Those of the construct's own are never free.
type taken map[string]bool

func (t taken) check(bad *cdkx.Problems, field, name string) {
	own := slices.Contains([]string{ruleCountries, ruleBodyLimit, ruleQueryLimit, ruleHeaderLimit, rulePathLimit}, name)
	bad.Check(ruleName.MatchString(name) && !own && !t[name], field, name,
		"1 to 100 letters, digits, hyphens and underscores, each name once")
	t[name] = true
}

// groupNames are those whose mode and exceptions can be set.
func (p Props) groupNames() []Group {
	names := Groups()
	for _, group := range p.ManagedGroups {
		if group.Name != "" && !slices.Contains(names, group.Name) {
			names = append(names, group.Name)
		}
	}
	return names
}

func (e Exception) check(bad *cdkx.Problems, field string) {
	bad.Check(ruleName.MatchString(e.Rule), field+"Rule", e.Rule, "the name of a rule of the group")
	if e.Mode != "" {
		cdkx.OneOf(bad, field+"Mode", e.Mode, Count, Allow, Captcha, Challenge, Block)
	}
}

func (g ManagedGroup) check(bad *cdkx.Problems, field string, names taken) {
	names.check(bad, field+"Name", string(g.Name))
	cdkx.OneOf(bad, field+"Mode", g.Mode, Block, Count, Off)
	for i, exception := range g.Exceptions {
		exception.check(bad, fmt.Sprintf("%sExceptions[%d].", field, i))
	}
	g.Only.check(bad, field+"Only.")
	cdkx.AtLeast(bad, field+"Capacity", g.Capacity, 0)
}

func (m Match) check(bad *cdkx.Problems, field string) {
	bad.Check(m.Path == "" || ratePath.MatchString(m.Path), field+"Path", m.Path,
		"a path that begins with a slash, with a star at most at its end")
	bad.Check(m.Method == "" || methodName.MatchString(m.Method), field+"Method", m.Method, "a method in capitals, such as POST")
	if m.Header != (Header{}) {
		bad.Check(fieldName.MatchString(m.Header.Name), field+"Header.Name", m.Header.Name, "the name of a header")
		bad.Check(m.Header.Value != "" && m.Header.Value != "*" && len(m.Header.Value) <= 200, field+"Header.Value", m.Header.Value,
			"1 to 200 characters, with a star at most at their end")
	}
	checkCountries(bad, field+"Countries", m.Countries)
}

func checkCountries(bad *cdkx.Problems, field string, codes []string) {
	for i, code := range codes {
		bad.Check(countryCode.MatchString(code), fmt.Sprintf("%s[%d]", field, i), code, "a country by ISO 3166-1 alpha-2, such as DE")
	}
}

func (l RateLimit) check(bad *cdkx.Problems, field string, names taken, forwardedBesideKeys bool) {
	names.check(bad, field+"Name", l.Name)
	l.match().check(bad, field)
	cdkx.Between(bad, field+"Limit", l.Limit, 10, 2_000_000_000)
	cdkx.OneOf(bad, field+"Window", l.Window, time.Minute, 2*time.Minute, 5*time.Minute, 10*time.Minute)
	bad.Check(len(l.Keys) <= maxKeys, field+"Keys", len(l.Keys), "1 to 5 keys")
	for i, key := range l.Keys {
		named := key.kind == "Header" || key.kind == "Cookie" || key.kind == "QueryArgument"
		bad.Check(key.kind != "" && (!named || fieldName.MatchString(key.name)) && !slices.Contains(l.Keys[:i], key),
			fmt.Sprintf("%sKeys[%d]", field, i), key, "what a By function makes, with a name where it takes one, each once")
	}
	bad.Check(!forwardedBesideKeys, field+"ForwardedIP", true, "false beside Keys: put ByForwardedIP() among them")
	cdkx.OneOf(bad, field+"Mode", l.Mode, Block, Count, Captcha, Challenge, Off)
	l.Response.check(bad, field+"Response.")
}

func (r Response) check(bad *cdkx.Problems, field string) {
	cdkx.Between(bad, field+"Status", r.Status, 200, 599)
	bad.Check(len(r.Body) <= maxResponseBody, field+"Body", fmt.Sprintf("%d bytes", len(r.Body)), "4096 bytes or fewer")
	if r.ContentType != "" {
		cdkx.OneOf(bad, field+"ContentType", r.ContentType, slices.Sorted(maps.Keys(contentTypes))...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		bad.Check(fieldName.MatchString(name) && !strings.EqualFold(name, "content-type"), field+"Headers", name,
			"names of headers, and not Content-Type")
	}
}

func (s IPSet) check(bad *cdkx.Problems, field string, names taken, modes ...Mode) {
	names.check(bad, field+"Name", s.Name)
	bad.Check(len(s.Addresses)+len(s.ARNs) > 0, field+"Addresses", "empty", "one address or one ARN at least")
	for i, address := range s.Addresses {
		_, ok := parseRange(address)
		bad.Check(ok, fmt.Sprintf("%sAddresses[%d]", field, i), address,
			"an IPv4 or IPv6 address, or the first address of a range of /1 or longer, such as 192.0.2.0/24")
	}
	bad.Check(len(s.Addresses) <= maxAddresses, field+"Addresses", len(s.Addresses), "10000 or fewer")
	for i, arn := range s.ARNs {
		cdkx.Matches(bad, fmt.Sprintf("%sARNs[%d]", field, i), arn, ipSetARN, "the ARN of an IP set")
	}
	cdkx.OneOf(bad, field+"Mode", s.Mode, modes...)
}

// parseRange reads an address as a range of one. WAF knows no range of /0.
func parseRange(text string) (netip.Prefix, bool) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address, address.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix, err == nil && prefix == prefix.Masked() && prefix.Bits() > 0
}

func (c Countries) check(bad *cdkx.Problems) {
	bad.Check(len(c.Allowed) == 0 || len(c.Blocked) == 0, "Countries.Blocked", strings.Join(c.Blocked, " "), "none beside Allowed")
	checkCountries(bad, "Countries.Allowed", c.Allowed)
	checkCountries(bad, "Countries.Blocked", c.Blocked)
	cdkx.OneOf(bad, "Countries.Mode", c.Mode, Block, Count, Captcha, Challenge, Off)
}
