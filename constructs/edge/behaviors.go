package edge

import (
	"fmt"
	"regexp"
	"slices"

	cf "github.com/aws/aws-cdk-go/awscdk/v2/awscloudfront"
	"github.com/aws/aws-cdk-go/awscdk/v2/interfaces/interfacesawscloudfront"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// Behavior is what CloudFront does with requests to one path. Its three types
// are StaticBehavior, PrivateBehavior and StreamBehavior; there can be no other.
type Behavior interface {
	path() string
	rank() int // of the order in which CloudFront tries them
	options() *cf.AddBehaviorOptions
}

// StaticBehavior answers a path from the static bucket: GET and HEAD, cached by
// what the object's Cache-Control says, compressed with Brotli or gzip. Neither
// cookies nor a query reach the bucket.
type StaticBehavior struct {
	// Path pattern: "/static/*". "*" is every path that no other behavior has.
	Path string

	// CachePolicy decides how long files are kept and by what they are told
	// apart. Default the managed policy CachingOptimized: 1 s to 1 year, 1 day for
	// an object that says nothing, by path and encoding alone.
	CachePolicy cf.ICachePolicy
}

// PrivateBehavior sends a path to the load balancer, with every method and all
// that the viewer sent, and never caches the answer. It has no field for a cache
// policy, and an override that sets one is refused.
type PrivateBehavior struct {
	// Path pattern: "/v1/*". "*" is every path that no other behavior has.
	Path string
}

// StreamBehavior is a PrivateBehavior for answers that last: event streams and
// WebSockets. It takes GET, HEAD and OPTIONS only, an origin of its own bounds
// the silence between two events (Props.StreamReadTimeout) and nothing bounds
// the whole.
type StreamBehavior struct {
	// Path pattern: "/v1/events".
	Path string
}

// Static makes a StaticBehavior with the default cache policy.
func Static(path string) StaticBehavior { return StaticBehavior{Path: path} }

// Private makes a PrivateBehavior.
func Private(path string) PrivateBehavior { return PrivateBehavior{Path: path} }

// Stream makes a StreamBehavior.
func Stream(path string) StreamBehavior { return StreamBehavior{Path: path} }

func (b StaticBehavior) path() string  { return b.Path }
func (b PrivateBehavior) path() string { return b.Path }
func (b StreamBehavior) path() string  { return b.Path }

// CloudFront takes the first behavior whose path matches: streams, which are
// parts of what is private, come first, and static paths last, so that a static
// pattern that is too wide cannot make a private path cacheable.
func (StreamBehavior) rank() int  { return 0 }
func (PrivateBehavior) rank() int { return 1 }
func (StaticBehavior) rank() int  { return 2 }

func (b StaticBehavior) options() *cf.AddBehaviorOptions {
	o := &cf.AddBehaviorOptions{
		AllowedMethods:       cf.AllowedMethods_ALLOW_GET_HEAD(),
		Compress:             new(true),
		ViewerProtocolPolicy: cf.ViewerProtocolPolicy_REDIRECT_TO_HTTPS,
	}
	if b.CachePolicy != nil {
		o.CachePolicy = b.CachePolicy
	} else {
		o.CachePolicy = cf.CachePolicy_CACHING_OPTIMIZED()
	}
	return o
}

func (b PrivateBehavior) options() *cf.AddBehaviorOptions {
	return uncached(cf.AllowedMethods_ALLOW_ALL())
}

func (b StreamBehavior) options() *cf.AddBehaviorOptions {
	return uncached(cf.AllowedMethods_ALLOW_GET_HEAD_OPTIONS())
}

// uncached passes everything on. CloudFront compresses only what a cache policy
// lets it cache, so the program behind it does.
func uncached(methods cf.AllowedMethods) *cf.AddBehaviorOptions {
	return &cf.AddBehaviorOptions{
		AllowedMethods:       methods,
		CachePolicy:          cf.CachePolicy_CACHING_DISABLED(),
		OriginRequestPolicy:  cf.OriginRequestPolicy_ALL_VIEWER(),
		Compress:             new(false),
		ViewerProtocolPolicy: cf.ViewerProtocolPolicy_REDIRECT_TO_HTTPS,
	}
}

// everything is the path of the default behavior.
const everything = "*"

func defaultBehaviors() []Behavior {
	return []Behavior{Private("/v1/*"), Static("/static/*")}
}

// split is the default behavior, private unless one is given for "*", and the
// others in the order CloudFront has to try them.
func split(behaviors []Behavior) (fallback Behavior, others []Behavior) {
	fallback = Private(everything)
	for _, b := range behaviors {
		if b.path() == everything {
			fallback = b
			continue
		}
		others = append(others, b)
	}
	slices.SortStableFunc(others, func(a, b Behavior) int { return a.rank() - b.rank() })
	return fallback, others
}

// isStatic tells whether the bucket answers, rather than the load balancer.
func isStatic(b Behavior) bool {
	_, ok := b.(StaticBehavior)
	return ok
}

func isStream(b Behavior) bool {
	_, ok := b.(StreamBehavior)
	return ok
}

// pathPattern has the characters that the CloudFront developer guide lists for
// path patterns.
var pathPattern = regexp.MustCompile(`^(\*|/[A-Za-z0-9_.*$/~"'@:+&?-]*)$`)

// maxBehaviors is CloudFront's quota for a distribution, the default one aside.
const maxBehaviors = 24

func checkBehaviors(bad *cdkx.Problems, behaviors []Behavior) {
	seen := map[string]bool{}
	for i, b := range behaviors {
		field := fmt.Sprintf("Behaviors[%d]", i)
		if b == nil {
			bad.Add(field, "nil", "Static, Private or Stream with a path")
			continue
		}
		path := b.path()
		bad.Check(pathPattern.MatchString(path) && len(path) <= 255, field+".Path", path,
			`"*", or a path pattern of at most 255 characters that begins with a slash`)
		bad.Check(!seen[path], field+".Path", path, "each path once")
		bad.Check(path != everything || !isStream(b), field+".Path", path, "a path of its own for a stream")
		seen[path] = true
	}
	bad.Check(len(behaviors) <= maxBehaviors, "Behaviors", len(behaviors), fmt.Sprintf("%d at most", maxBehaviors))
}

// cachingDisabled is the id of the managed policy CachingDisabled, from the
// CloudFront developer guide ("Use managed cache policies").
const cachingDisabled = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"

// caches tells whether a policy lets CloudFront keep answers. None at all means
// CachingOptimized to CDK. own is the policy that was there before overrides.
func caches(policy, own interfacesawscloudfront.ICachePolicyRef) bool {
	if policy == nil {
		return true
	}
	return policy != own && *policy.CachePolicyRef().CachePolicyId != cachingDisabled
}
