// Package alb is the data plane of an Application Load Balancer: it takes the
// configuration that was deployed and serves requests by it. Which rule, which
// target group and which target is decided here, as the Elastic Load Balancing
// user guide describes it; the forwarding itself is httputil.ReverseProxy.
//
// Three things differ from AWS on purpose. TLS is not spoken: an HTTPS listener
// is served as plain HTTP, and targets still read X-Forwarded-Proto: https.
// Health is decided here, by health checks that really run, whatever the API
// says about it. And a Host keeps its port: clients come to another one than the
// listener's, and an application has to know it. What net/http itself refuses,
// as a request without a Host, is neither counted nor logged.
//
// Not built: authentication and JWT actions, rule transforms, anomaly mitigation, Lambda targets, HTTP/2 and gRPC target groups. Load
// refuses what a request would notice, naming it.
package alb

import (
	"time"
)

// Config is what one load balancer does, as plain values. Load reads it from
// the API; tests and other callers may build it themselves.
type Config struct {
	LoadBalancer LoadBalancer
	Listeners    []Listener    // by port
	TargetGroups []TargetGroup // by ARN; each one an action forwards to
}

// LoadBalancer holds the attributes of the load balancer itself.
type LoadBalancer struct {
	ARN     string
	Name    string
	DNSName string

	// IdleTimeout closes a connection on which nothing was sent or received
	// for that long; a target silent before its answer is a 504. 1 s to 4000 s,
	// default 60 s (idle_timeout.timeout_seconds).
	IdleTimeout time.Duration
	// DropInvalidHeaders removes header fields whose name has other characters
	// than letters, digits and hyphens
	// (routing.http.drop_invalid_header_fields.enabled).
	DropInvalidHeaders bool
	// ForwardedFor says what becomes of X-Forwarded-For; default append.
	ForwardedFor ForwardedFor
	// ForwardedForPort keeps the client's port in X-Forwarded-For.
	ForwardedForPort bool
	AccessLogs       AccessLogs
}

// ForwardedFor is a value of routing.http.xff_header_processing.mode.
type ForwardedFor string

// The modes of X-Forwarded-For.
const (
	ForwardedForAppend   ForwardedFor = "append"
	ForwardedForPreserve ForwardedFor = "preserve"
	ForwardedForRemove   ForwardedFor = "remove"
)

// Protocol is that of a listener or of a target group.
type Protocol string

// The protocols of an Application Load Balancer.
const (
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
)

// Listener is one port of the load balancer with its rules.
type Listener struct {
	ARN      string
	Port     int
	Protocol Protocol
	Rules    []Rule // by priority; the default rule, without conditions, last
}

// Rule is one listener rule: when every condition holds, its action is taken.
type Rule struct {
	ARN        string
	Priority   int // 1 to 50000; 0 on the default rule, which comes last
	Conditions []Condition
	Action     Action
}

// Field is what a condition looks at.
type Field string

// The fields of a rule condition.
const (
	FieldPath     Field = "path-pattern"
	FieldHost     Field = "host-header"
	FieldHeader   Field = "http-header"
	FieldMethod   Field = "http-request-method"
	FieldQuery    Field = "query-string"
	FieldSourceIP Field = "source-ip"
)

// Condition holds when one of its values matches.
type Condition struct {
	Field  Field
	Header string      // name of the header, for FieldHeader
	Values []string    // patterns with * and ?; exact methods; CIDR blocks
	Regex  []string    // regular expressions, for host, header and path
	Query  []QueryPair // for FieldQuery
}

// QueryPair is one key and value of a query condition. Both are patterns,
// compared without regard to case; without a key, any key's value is compared.
type QueryPair struct {
	Key   string
	Value string
}

// Action is what a rule does; exactly one field is set.
type Action struct {
	Forward       *Forward
	Redirect      *Redirect
	FixedResponse *FixedResponse
}

// Forward sends the request to one of its target groups.
type Forward struct {
	Groups []WeightedGroup
	// Stickiness keeps a client in the target group it was first sent to, for
	// that long after its last request; 0 is off, at most 7 days. It outranks
	// the weights, also a weight of 0.
	Stickiness time.Duration
}

// WeightedGroup is a target group and its share of the requests.
type WeightedGroup struct {
	ARN    string
	Weight int // 0 to 999
}

// Redirect answers with a Location. Its parts may contain the placeholders
// #{protocol}, #{host}, #{port}, #{path} and #{query}.
type Redirect struct {
	Protocol string // default #{protocol}
	Host     string // default #{host}
	Port     string // default #{port}
	Path     string // default /#{path}
	Query    string // "" is none; #{query} keeps the request's
	Status   int    // 301 or 302
}

// FixedResponse answers by itself.
type FixedResponse struct {
	Status      int
	ContentType string
	Body        string // at most 1024 bytes on AWS
}

// Algorithm is a value of load_balancing.algorithm.type.
type Algorithm string

// The routing algorithms of a target group.
const (
	RoundRobin       Algorithm = "round_robin"
	LeastOutstanding Algorithm = "least_outstanding_requests"
	WeightedRandom   Algorithm = "weighted_random"
)

// TargetGroup is a set of targets with its health check and attributes.
type TargetGroup struct {
	ARN         string
	Name        string
	Protocol    Protocol
	Port        int // of targets that are registered without one
	HealthCheck HealthCheck
	Algorithm   Algorithm
	Stickiness  TargetStickiness
	// DeregistrationDelay is how long a deregistered target may finish the
	// requests it has; 0 to 3600 s, default 300 s.
	DeregistrationDelay time.Duration
	// SlowStart is how long the share of a target that has turned healthy grows
	// linearly to a full one, with round robin; 30 s to 900 s, default 0 is off
	// (slow_start.duration_seconds).
	SlowStart time.Duration
	// MinHealthyCount and MinHealthyPercent: with fewer healthy targets than
	// either asks for, every target receives requests. Defaults 1 and 0 (off)
	// (target_group_health.unhealthy_state_routing.minimum_healthy_targets).
	MinHealthyCount   int
	MinHealthyPercent int
	Targets           []Target // by id and port
}

// Target is a registered target.
type Target struct {
	ID   string // instance id or IP address
	Port int
}

// HealthCheck says how a target's health is found out.
type HealthCheck struct {
	Protocol           Protocol
	Port               int // 0 is the port the target receives traffic on
	Path               string
	Interval           time.Duration // between the starts of two checks; 5 s to 300 s
	Timeout            time.Duration // 2 s to 120 s
	HealthyThreshold   int           // consecutive successes of an unhealthy target; 2 to 10
	UnhealthyThreshold int           // consecutive failures; 2 to 10
	Matcher            string        // "200", "200,202" or "200-299"
}

// TargetStickiness keeps a client on one target of a group.
type TargetStickiness struct {
	Duration  time.Duration // since the last request; 0 is off
	AppCookie string        // name of the target's own cookie that starts it; "" is lb_cookie
}

// Primary returns the port of the listener that clients are meant to use: the
// lowest HTTPS port, else the lowest port, or 0 without a listener.
func (c Config) Primary() int {
	for _, l := range c.Listeners {
		if l.Protocol == HTTPS {
			return l.Port
		}
	}
	if len(c.Listeners) > 0 {
		return c.Listeners[0].Port
	}
	return 0
}
