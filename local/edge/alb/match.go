package alb

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// predicate tells whether a request satisfies a condition.
type predicate func(*http.Request) bool

// compile turns a condition into a predicate. The rules of comparison are
// those of the user guide's "Condition types for listener rules":
// paths compare with case, hosts, header values and query strings without;
// * stands for any number of characters and ? for exactly one; methods are
// exact; the source IP is that of the connection, never X-Forwarded-For.
func compile(c Condition) (predicate, error) {
	var regexes []*regexp.Regexp
	for _, expression := range c.Regex {
		re, err := regexp.Compile(expression)
		if err != nil {
			return nil, fmt.Errorf("%s condition: %w", c.Field, err)
		}
		regexes = append(regexes, re)
	}
	if len(c.Values)+len(regexes)+len(c.Query) == 0 {
		return nil, fmt.Errorf("%s condition has no values", c.Field)
	}
	matches := func(patterns []pattern, s string) bool {
		return slices.ContainsFunc(patterns, func(p pattern) bool { return p.match(s) }) ||
			slices.ContainsFunc(regexes, func(re *regexp.Regexp) bool { return re.MatchString(s) })
	}
	switch c.Field {
	case FieldPath:
		patterns := patternsOf(c.Values, false)
		return func(r *http.Request) bool { return matches(patterns, r.URL.EscapedPath()) }, nil
	case FieldHost:
		patterns := patternsOf(c.Values, true)
		return func(r *http.Request) bool { return matches(patterns, strings.ToLower(hostname(r.Host))) }, nil
	case FieldHeader:
		if c.Header == "" {
			return nil, fmt.Errorf("%s condition names no header", c.Field)
		}
		patterns, name := patternsOf(c.Values, true), c.Header
		return func(r *http.Request) bool {
			return slices.ContainsFunc(r.Header.Values(name), func(v string) bool { return matches(patterns, v) })
		}, nil
	case FieldMethod:
		return func(r *http.Request) bool { return slices.Contains(c.Values, r.Method) }, nil
	case FieldQuery:
		return queryPredicate(c.Query), nil
	case FieldSourceIP:
		return sourceIPPredicate(c.Values)
	}
	return nil, fmt.Errorf("condition field %q is unknown", c.Field)
}

func queryPredicate(pairs []QueryPair) predicate {
	type compiled struct {
		key   pattern
		value pattern
	}
	var want []compiled
	for _, p := range pairs {
		key := p.Key
		if key == "" {
			key = "*"
		}
		want = append(want, compiled{newPattern(key, true, true), newPattern(p.Value, true, true)})
	}
	return func(r *http.Request) bool {
		for part := range strings.SplitSeq(r.URL.RawQuery, "&") {
			if part == "" {
				continue
			}
			key, value, _ := strings.Cut(part, "=")
			key, value = unescape(key), unescape(value)
			if slices.ContainsFunc(want, func(w compiled) bool { return w.key.match(key) && w.value.match(value) }) {
				return true
			}
		}
		return false
	}
}

// unescape decodes a part of a query string, or leaves it when it is malformed.
func unescape(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

func sourceIPPredicate(blocks []string) (predicate, error) {
	var prefixes []netip.Prefix
	for _, block := range blocks {
		prefix, err := netip.ParsePrefix(block)
		if err != nil {
			return nil, fmt.Errorf("source-ip condition: %w", err)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return func(r *http.Request) bool {
		addr, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return false
		}
		ip := addr.Addr().Unmap()
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
	}, nil
}

// hostname is the Host header without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// pattern is a string with the wildcards * and ?.
type pattern struct {
	elements []element
	fold     bool
}

type element struct {
	kind byte // 0 a literal byte, '*' or '?'
	b    byte
}

func patternsOf(values []string, fold bool) []pattern {
	list := make([]pattern, len(values))
	for i, v := range values {
		list[i] = newPattern(v, fold, false)
	}
	return list
}

// newPattern compiles a pattern. With escapes, a backslash makes the wildcard
// after it literal, which AWS has for query strings only.
func newPattern(s string, fold, escapes bool) pattern {
	p := pattern{fold: fold}
	for i := 0; i < len(s); i++ {
		b := s[i]
		if escapes && b == '\\' && i+1 < len(s) && strings.IndexByte(`*?\`, s[i+1]) >= 0 {
			i++
			p.elements = append(p.elements, element{b: s[i]})
			continue
		}
		if b == '*' || b == '?' {
			p.elements = append(p.elements, element{kind: b})
			continue
		}
		p.elements = append(p.elements, element{b: lower(b, fold)})
	}
	return p
}

// match walks both strings once and goes back to the last * on a mismatch, so
// that its time is bounded by the product of the lengths.
func (p pattern) match(s string) bool {
	e, i := 0, 0
	star, from := -1, 0
	for i < len(s) {
		switch {
		case e < len(p.elements) && p.elements[e].kind == '*':
			star, from = e, i
			e++
		case e < len(p.elements) && (p.elements[e].kind == '?' || p.elements[e].b == lower(s[i], p.fold)):
			e, i = e+1, i+1
		case star >= 0:
			from++
			e, i = star+1, from
		default:
			return false
		}
	}
	for e < len(p.elements) && p.elements[e].kind == '*' {
		e++
	}
	return e == len(p.elements)
}

func lower(b byte, fold bool) byte {
	if fold && 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
