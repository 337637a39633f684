// Package cloudfront is the data plane of a CloudFront distribution: it takes
// the configuration that was deployed and serves requests by it. Which cache
// behavior and which origin a request belongs to, what of it the origin sees
// and which headers the answer gets is decided here, as the CloudFront
// developer guide describes it; the forwarding is httputil.ReverseProxy, and
// objects of an S3 origin come through the S3 API.
//
// What differs from CloudFront:
//   - Viewers speak plain HTTP on loopback. A viewer protocol policy of
//     redirect-to-https or https-only is read and not applied, and an origin
//     that matches the viewer's protocol is spoken to in HTTP.
//   - Nothing is cached and nothing compressed: X-Cache never says Hit.
//   - Web ACLs are not evaluated. Signed URLs, functions, Lambda@Edge, origin
//     groups and custom error responses are not there either; Config.Ignored
//     lists those a distribution uses.
package cloudfront

import (
	"slices"
	"strings"
	"time"
)

// Config is what one distribution does, as plain values.
type Config struct {
	ID                string
	ARN               string
	DomainName        string
	Enabled           bool
	DefaultRootObject string
	Origins           map[string]Origin // by id
	Behaviors         []Behavior        // in order; the default one last, with the pattern *
	Ignored           []string          // settings that have no effect here, to be told
}

// Origin is where requests are forwarded to.
type Origin struct {
	ID         string
	DomainName string
	Path       string   // put before the request's path
	Headers    []Header // added to each request, in place of the viewer's

	Bucket string       // of an S3 origin, else ""
	Access BucketAccess // what the bucket's policy allows this distribution

	ProtocolPolicy string // of a custom origin: http-only, https-only, match-viewer
	HTTPPort       int
	HTTPSPort      int
	ReadTimeout    time.Duration // to the answer's first byte and between its parts; 1 s to 120 s
	KeepAlive      time.Duration // of an idle connection; 1 s to 120 s
	ConnectTimeout time.Duration // 1 s to 10 s
}

// Port is the one of the origin's ports that is used; see the package comment
// for match-viewer.
func (o Origin) Port() int {
	if o.ProtocolPolicy == "https-only" {
		return o.HTTPSPort
	}
	return o.HTTPPort
}

// Header is one header field.
type Header struct {
	Name  string
	Value string
}

// BucketAccess is what a distribution may do in a bucket. S3 answers a missing
// key with 404 to those who may list the bucket, with 403 to all others.
type BucketAccess struct {
	Get  bool
	List bool
}

// Behavior is a cache behavior.
type Behavior struct {
	PathPattern     string // with * and ?, with case; a leading slash makes no difference
	OriginID        string
	Methods         []string
	Forward         Forward
	ResponseHeaders *ResponseHeaders // nil without a policy
}

// Forward is what an origin sees of a request: what the cache policy or the
// origin request policy selects.
type Forward struct {
	Headers []Selector
	Cookies []Selector
	Query   []Selector
	// AcceptEncoding is what remains of the viewer's Accept-Encoding when the
	// cache policy enables compression: a subset of br and gzip. Without it
	// the header is one like the others.
	AcceptEncoding []string
}

// Mode is how a Selector selects.
type Mode string

// The modes of a Selector. The zero value selects nothing.
const (
	SelectNone   Mode = "none"
	SelectAll    Mode = "all"
	SelectNamed  Mode = "named"
	SelectExcept Mode = "except"
)

// Selector selects header fields, cookies or query parameters by name.
type Selector struct {
	Mode  Mode
	Names []string // for SelectNamed and SelectExcept
	// Generated are CloudFront-* header fields asked for beside the viewer's.
	Generated []string
}

// selects tells whether any selector selects a name. Names of header fields
// compare without case, and so do these of cookies and query parameters with it.
func selects(list []Selector, name string, fold bool) bool {
	named := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return n == name || fold && strings.EqualFold(n, name) })
	}
	return slices.ContainsFunc(list, func(s Selector) bool {
		switch s.Mode {
		case SelectAll:
			return true
		case SelectNamed:
			return named(s.Names)
		case SelectExcept:
			return !named(s.Names)
		}
		return false
	})
}

// everything tells whether a selector passes all names.
func everything(list []Selector) bool {
	return slices.ContainsFunc(list, func(s Selector) bool { return s.Mode == SelectAll })
}

// ResponseHeaders is a response headers policy.
type ResponseHeaders struct {
	Remove []string
	CORS   *CORS
	Set    []PolicyHeader // the security headers and the custom ones
}

// PolicyHeader is a header field a policy sets.
type PolicyHeader struct {
	Header
	Override bool // also when the origin sent one
}

// CORS is the cross-origin part of a response headers policy.
type CORS struct {
	Origins     []string // patterns with *
	Methods     []string
	Headers     []string
	Expose      []string
	Credentials bool
	MaxAge      time.Duration // 0 sets none
	Override    bool
}
