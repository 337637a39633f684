package alb

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// The expectations are those of the user guide's "Condition types for listener
// rules" and of the API reference of RuleCondition.
func TestConditions(t *testing.T) {
	t.Parallel()
	request := func(method, target string, header ...string) *http.Request {
		r := httptest.NewRequest(method, target, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		return r
	}
	path := func(values ...string) Condition { return Condition{Field: FieldPath, Values: values} }
	host := func(values ...string) Condition { return Condition{Field: FieldHost, Values: values} }
	header := func(name string, values ...string) Condition {
		return Condition{Field: FieldHeader, Header: name, Values: values}
	}
	query := func(pairs ...QueryPair) Condition { return Condition{Field: FieldQuery, Query: pairs} }

	for _, tc := range []struct {
		name string
		cond Condition
		req  *http.Request
		want bool
	}{
		{"path exact", path("/img"), request("GET", "/img"), true},
		{"path is not a prefix", path("/img"), request("GET", "/img/a.png"), false},
		{"path * is any number of characters", path("/img/*"), request("GET", "/img/a/b.png"), true},
		{"path * is also none", path("/img/*"), request("GET", "/img/"), true},
		{"path * in the middle", path("/img/*/pics"), request("GET", "/img/x/y/pics"), true},
		{"path * goes back", path("/*ab*abc"), request("GET", "/ababab-abc"), true},
		{"path ? is one character", path("/v?"), request("GET", "/v1"), true},
		{"path ? is not none", path("/v?"), request("GET", "/v"), false},
		{"path compares with case", path("/IMG/*"), request("GET", "/img/a"), false},
		{"path leaves out the query", path("/img"), request("GET", "/img?x=/img/"), true},
		{"path is compared as sent", path("/a%20b"), request("GET", "/a%20b"), true},
		{"path backslash escapes nothing", path(`/a\*`), request("GET", "/a*"), false},
		{"path one of several", path("/a", "/b"), request("GET", "/b"), true},
		{"path regex", Condition{Field: FieldPath, Regex: []string{`^/v[0-9]+/`}}, request("GET", "/v12/x"), true},
		{"path regex fails", Condition{Field: FieldPath, Regex: []string{`^/v[0-9]+/`}}, request("GET", "/vx/x"), false},

		{"host without case", host("Example.com"), request("GET", "http://EXAMPLE.com/"), true},
		{"host without port", host("example.com"), request("GET", "http://example.com:8081/"), true},
		{"host wildcard", host("*.example.com"), request("GET", "http://a.b.example.com/"), true},
		{"host wildcard wants the dot", host("*.example.com"), request("GET", "http://example.com/"), false},

		{"header without case", header("x-client", "Mobile*"), request("GET", "/", "X-Client", "mobile app"), true},
		{"header any of its lines", header("X-A", "two"), request("GET", "/", "X-A", "one", "X-A", "two"), true},
		{"header missing", header("X-A", "*"), request("GET", "/"), false},
		{"header whole value", header("X-A", "on"), request("GET", "/", "X-A", "one"), false},

		{"method exact", Condition{Field: FieldMethod, Values: []string{"GET", "HEAD"}}, request("HEAD", "/"), true},
		{"method other", Condition{Field: FieldMethod, Values: []string{"GET"}}, request("POST", "/"), false},
		{"method has no wildcards", Condition{Field: FieldMethod, Values: []string{"*"}}, request("GET", "/"), false},

		{"query pair", query(QueryPair{"version", "v1"}), request("GET", "/?a=b&version=v1"), true},
		{"query without case", query(QueryPair{"Version", "V1"}), request("GET", "/?version=v1"), true},
		{"query other value", query(QueryPair{"version", "v1"}), request("GET", "/?version=v2"), false},
		{"query value of any key", query(QueryPair{"", "*example*"}), request("GET", "/?x=an-example-1"), true},
		{"query escaped wildcard", query(QueryPair{"q", `a\*`}), request("GET", "/?q=a*"), true},
		{"query escaped wildcard is literal", query(QueryPair{"q", `a\*`}), request("GET", "/?q=abc"), false},
		{"query is decoded", query(QueryPair{"q", "a b"}), request("GET", "/?q=a%20b"), true},
		{"query none", query(QueryPair{"", "*"}), request("GET", "/"), false},

		// httptest requests come from 192.0.2.1.
		{"source in block", Condition{Field: FieldSourceIP, Values: []string{"192.0.2.0/24"}}, request("GET", "/"), true},
		{"source elsewhere", Condition{Field: FieldSourceIP, Values: []string{"10.0.0.0/8"}}, request("GET", "/"), false},
		{
			"source is not X-Forwarded-For",
			Condition{Field: FieldSourceIP, Values: []string{"10.0.0.0/8"}},
			request("GET", "/", "X-Forwarded-For", "10.1.2.3"), false,
		},
	} {
		p, err := compile(tc.cond)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := p(tc.req); got != tc.want {
			t.Errorf("%s: %+v matches %s %s %v: got %v, want %v", tc.name, tc.cond, tc.req.Method, tc.req.URL, tc.req.Header, got, tc.want)
		}
	}
}

func TestConditionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for _, c := range []Condition{
		{Field: FieldPath},
		{Field: FieldHeader, Values: []string{"x"}},
		{Field: FieldSourceIP, Values: []string{"10.0.0.1"}},
		{Field: FieldPath, Regex: []string{"("}},
		{Field: "cookie", Values: []string{"x"}},
	} {
		if _, err := compile(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

func TestMatcher(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		matcher string
		status  int
		want    bool
	}{
		{"200", 200, true},
		{"200", 204, false},
		{"200,202", 202, true},
		{"200-299", 250, true},
		{"200-299,301", 301, true},
		{"200-299", 300, false},
		{"200, 404", 404, true},
	} {
		m, err := parseMatcher(tc.matcher)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.match(tc.status); got != tc.want {
			t.Errorf("%s matches %d: got %v", tc.matcher, tc.status, got)
		}
	}
	for _, bad := range []string{"", "abc", "199", "200-", "300-200", "500"} {
		if _, err := parseMatcher(bad); err == nil {
			t.Errorf("matcher %q: no error", bad)
		}
	}
}

func TestTraceID(t *testing.T) {
	t.Parallel()
	at := time.Unix(0x67891233, 0)
	for _, tc := range []struct{ prior, prefix, suffix string }{
		{"", "Root=1-67891233-", ""},
		{"Root=1-1-a;CalledFrom=app", "Self=1-67891233-", ";Root=1-1-a;CalledFrom=app"},
		{"Self=1-0-b;Root=1-1-a", "Self=1-67891233-", ";Root=1-1-a"},
		{"CalledFrom=app", "Root=1-67891233-", ";CalledFrom=app"},
	} {
		got := traceID(tc.prior, at)
		want := len(tc.prefix) + 24 + len(tc.suffix)
		if len(got) != want || got[:len(tc.prefix)] != tc.prefix || got[len(got)-len(tc.suffix):] != tc.suffix {
			t.Errorf("after %q: %q, want %s<24 hex>%s", tc.prior, got, tc.prefix, tc.suffix)
		}
	}
}
