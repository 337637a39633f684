package cloudfront

import (
	"path"
	"strings"
)

// behavior returns the first cache behavior whose path pattern matches. The
// path is normalized for that (RFC 3986, section 6), so that /a/../b counts as
// /b; the origin receives it as it came.
func (c *Config) behavior(escapedPath string) *Behavior {
	normal := escapedPath
	if strings.Contains(normal, "/.") {
		normal = path.Clean(normal)
		if strings.HasSuffix(escapedPath, "/") && normal != "/" {
			normal += "/"
		}
	}
	normal = strings.TrimPrefix(normal, "/")
	for i := range c.Behaviors {
		if wildcard(strings.TrimPrefix(c.Behaviors[i].PathPattern, "/"), normal) {
			return &c.Behaviors[i]
		}
	}
	return nil
}

// wildcard matches with case; * is any number of characters, ? exactly one. It
// goes back to the last * on a mismatch, so its time is bounded by the product
// of the lengths.
func wildcard(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p, i = p+1, i+1
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
