package firewall

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	waf "github.com/aws/aws-cdk-go/awscdk/v2/awswafv2"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// contentTypes that WAF offers for a body.
var contentTypes = map[string]string{
	"application/json": "APPLICATION_JSON",
	"text/html":        "TEXT_HTML",
	"text/plain":       "TEXT_PLAIN",
}

// problem is a status with an RFC 9457 problem as its body. WAF offers no content
// type of application/problem+json, and refuses one among the headers.
func problem(status int, title string) Response {
	return Response{Status: status, Body: fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d}`, title, status)}
}

func tooManyRequests(window time.Duration) Response {
	response := problem(429, "Too Many Requests")
	response.Headers = map[string]string{"Retry-After": strconv.Itoa(int(window.Seconds()))}
	return response
}

// block answers with the response, or as WAF does (403) when it is empty.
func (r Response) block() *waf.CfnWebACL_BlockActionProperty {
	if r.Status == 0 {
		return &waf.CfnWebACL_BlockActionProperty{}
	}
	custom := &waf.CfnWebACL_CustomResponseProperty{ResponseCode: cdkx.Number(r.Status)}
	if r.Body != "" {
		custom.CustomResponseBodyKey = new(r.key())
	}
	if len(r.Headers) > 0 {
		var headers []waf.CfnWebACL_CustomHTTPHeaderProperty
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			headers = append(headers, waf.CfnWebACL_CustomHTTPHeaderProperty{Name: &name, Value: new(r.Headers[name])})
		}
		custom.ResponseHeaders = headers
	}
	return &waf.CfnWebACL_BlockActionProperty{CustomResponse: custom}
}

// key names a body in the web ACL. Equal bodies have one name.
func (r Response) key() string {
	return fmt.Sprintf("status-%d-%s", r.Status, shortHash(r.contentType()+r.Body))
}

func (r Response) contentType() string { return cmp.Or(r.ContentType, "application/json") }

// bodies are those that rules answer with, by their keys; nil when there is none.
func bodies(rules []rule, observeOnly bool) any {
	all := map[string]any{}
	for _, rule := range rules {
		if rule.mode == Block && rule.response.Body != "" && !observeOnly {
			all[rule.response.key()] = &waf.CfnWebACL_CustomResponseBodyProperty{
				Content:     &rule.response.Body,
				ContentType: new(contentTypes[rule.response.contentType()]),
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}
