package cloudfront

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// always are request headers an origin sees whatever the policies say: those
// of the body, of conditional and range requests, of the connection.
var always = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Content-Encoding": true, "Transfer-Encoding": true, "Expect": true,
	"Range": true, "If-Match": true, "If-None-Match": true, "If-Modified-Since": true, "If-Unmodified-Since": true, "If-Range": true,
	"Connection": true, "Upgrade": true, "Te": true,
}

// userAgent is what an origin sees unless a policy forwards the viewer's.
const userAgent = "Amazon CloudFront"

// headers removes what no policy selects.
func (f *Forward) headers(h http.Header) {
	encodings := h["Accept-Encoding"]
	if !everything(f.Headers) {
		for name := range h {
			if !always[name] && name != "Cookie" && !selects(f.Headers, name, true) {
				delete(h, name)
			}
		}
		if _, ok := h["User-Agent"]; !ok {
			h["User-Agent"] = []string{userAgent}
		}
	}
	if len(f.AcceptEncoding) > 0 {
		f.acceptEncoding(h, strings.Join(encodings, ","))
	}
	f.cookies(h)
}

// acceptEncoding puts the normalized form, as the developer guide's "Cache
// compressed objects" describes: only br and gzip, in that order.
func (f *Forward) acceptEncoding(h http.Header, viewer string) {
	var kept []string
	for _, encoding := range f.AcceptEncoding {
		for part := range strings.SplitSeq(viewer, ",") {
			name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
			if strings.EqualFold(strings.TrimSpace(name), encoding) && strings.ReplaceAll(q, " ", "") != "q=0" {
				kept = append(kept, encoding)
				break
			}
		}
	}
	delete(h, "Accept-Encoding")
	if len(kept) > 0 {
		h["Accept-Encoding"] = []string{strings.Join(kept, ",")}
	}
}

func (f *Forward) cookies(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 || everything(f.Cookies) {
		return
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if name, _, _ := strings.Cut(pair, "="); name != "" && selects(f.Cookies, name, false) {
				kept = append(kept, pair)
			}
		}
	}
	delete(h, "Cookie")
	if len(kept) > 0 {
		h["Cookie"] = []string{strings.Join(kept, "; ")}
	}
}

// query keeps the parameters a policy selects, in their order and as they came.
func (f *Forward) query(raw string) string {
	if raw == "" || everything(f.Query) {
		return raw
	}
	var kept []string
	for part := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if part != "" && selects(f.Query, name, false) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// generate adds the CloudFront-* headers a policy asks for that can be told
// on loopback; a viewer cannot send them.
func (f *Forward) generate(h http.Header, in *http.Request) {
	for name := range h {
		if strings.HasPrefix(name, "Cloudfront-") {
			delete(h, name)
		}
	}
	for _, s := range f.Headers {
		for _, name := range s.Generated {
			switch strings.ToLower(name) {
			case "cloudfront-viewer-address":
				h.Set(name, in.RemoteAddr)
			case "cloudfront-forwarded-proto":
				h.Set(name, "http")
			case "cloudfront-viewer-http-version":
				h.Set(name, strconv.Itoa(in.ProtoMajor)+"."+strconv.Itoa(in.ProtoMinor))
			}
		}
	}
}

// apply puts the policy on an answer. A header both removed and set is set.
func (p *ResponseHeaders) apply(h http.Header, method, origin string) {
	for _, name := range p.Remove {
		h.Del(name)
	}
	set := func(name, value string, override bool) {
		if override || h.Get(name) == "" {
			h.Set(name, value)
		}
	}
	if p.CORS != nil {
		p.CORS.apply(set, method, origin)
	}
	for _, field := range p.Set {
		set(field.Name, field.Value, field.Override)
	}
}

func (c *CORS) apply(set func(name, value string, override bool), method, origin string) {
	if origin == "" || !slices.ContainsFunc(c.Origins, func(o string) bool { return wildcard(o, origin) }) {
		return
	}
	allowed := origin
	if slices.Contains(c.Origins, "*") && !c.Credentials {
		allowed = "*"
	}
	set("Access-Control-Allow-Origin", allowed, c.Override)
	if c.Credentials {
		set("Access-Control-Allow-Credentials", "true", c.Override)
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			set(name, strings.Join(values, ", "), c.Override)
		}
	}
	list("Access-Control-Expose-Headers", c.Expose)
	if method != http.MethodOptions {
		return
	}
	list("Access-Control-Allow-Headers", c.Headers)
	list("Access-Control-Allow-Methods", c.Methods)
	if c.MaxAge > 0 {
		set("Access-Control-Max-Age", strconv.Itoa(int(c.MaxAge/time.Second)), c.Override)
	}
}
