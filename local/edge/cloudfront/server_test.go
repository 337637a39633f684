package cloudfront_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/local/edge/cloudfront"
)

const albName = "web-1.us-east-1.elb.amazonaws.com"

var (
	all       = []cloudfront.Selector{{Mode: cloudfront.SelectAll}}
	allViewer = cloudfront.Forward{Headers: all, Cookies: all, Query: all}
	anyMethod = []string{"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}
)

// distribution has an API behind a load balancer and static files in S3.
func distribution() cloudfront.Config {
	return cloudfront.Config{
		ID: "E1", Enabled: true, DefaultRootObject: "index.html",
		Origins: map[string]cloudfront.Origin{
			"alb": {
				ID: "alb", DomainName: albName, ProtocolPolicy: "http-only", HTTPPort: 80,
				Headers: []cloudfront.Header{{Name: "X-Origin-Verify", Value: "secret"}},
			},
			"s3": {ID: "s3", DomainName: "site.s3.us-east-1.amazonaws.com", Bucket: "site", Path: "/v1", Access: cloudfront.BucketAccess{Get: true}},
		},
		Behaviors: []cloudfront.Behavior{
			{PathPattern: "/v1/*", OriginID: "alb", Methods: anyMethod, Forward: allViewer},
			{PathPattern: "v2/*", OriginID: "alb", Methods: []string{"GET", "HEAD"}},
			{PathPattern: "*", OriginID: "s3", Methods: []string{"GET", "HEAD"}, ResponseHeaders: &cloudfront.ResponseHeaders{
				Remove: []string{"X-Amz-Meta-Internal"},
				Set: []cloudfront.PolicyHeader{
					{Header: cloudfront.Header{Name: "X-Content-Type-Options", Value: "nosniff"}, Override: true},
					{Header: cloudfront.Header{Name: "Cache-Control", Value: "policy"}},
				},
			}},
		},
	}
}

// bucket is S3 as far as needed: http.ServeContent knows ranges and conditions.
func bucket(t *testing.T) *s3.Client {
	t.Helper()
	objects := map[string]string{"/site/v1/index.html": "<h1>home</h1>", "/site/v1/a b/app.js": "0123456789"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := objects[r.URL.Path]
		if !ok {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>`)
			return
		}
		w.Header().Set("ETag", `"e1"`)
		w.Header().Set("X-Amz-Meta-Internal", "1")
		w.Header().Set("Cache-Control", "immutable")
		http.ServeContent(w, r, r.URL.Path, time.Unix(1700000000, 0), strings.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &srv.URL, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials:                credentials.NewStaticCredentialsProvider("test", "test", ""),
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// setup serves cfg with a load balancer that is h, over real connections.
func setup(t *testing.T, cfg cloudfront.Config, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	origin := httptest.NewServer(h)
	t.Cleanup(origin.Close)
	s := cloudfront.NewServer(cloudfront.Options{S3: bucket(t), Resolve: func(domain string) (string, bool) {
		return origin.Listener.Addr().String(), domain == albName
	}})
	t.Cleanup(s.Close)
	if err := s.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	return front
}

type answer struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, method, url string, header http.Header) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
		if name == "Host" {
			req.Host = values[0]
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func TestBehaviorsInOrder(t *testing.T) {
	t.Parallel()
	front := setup(t, distribution(), func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "alb "+r.RequestURI) })
	for _, tc := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/v1/projects?limit=2", 200, "alb /v1/projects?limit=2"},
		{"DELETE", "/v1/projects/1", 200, "alb /v1/projects/1"},
		{"GET", "/v2/x?dropped=1", 200, "alb /v2/x"}, // no policy selects the query
		{"GET", "/", 200, "<h1>home</h1>"},           // default root object
		{"GET", "/a%20b/app.js", 200, "0123456789"},
		{"GET", "/V1/x", 403, "AccessDenied"}, // patterns have case, so this is a missing key
		{"POST", "/v2/x", 403, "not configured to allow"},
		{"POST", "/index.html", 403, "not configured to allow"},
		{"PROPFIND", "/v1/x", 405, "not supported"},
	} {
		got := do(t, tc.method, front.URL+tc.path, nil)
		if got.status != tc.status || !strings.Contains(got.body, tc.body) {
			t.Errorf("%s %s: %d %q, want %d %q", tc.method, tc.path, got.status, got.body, tc.status, tc.body)
		}
		cache := "Miss from cloudfront"
		if tc.status >= 400 {
			cache = "Error from cloudfront"
		}
		if got.header.Get("X-Cache") != cache || !strings.Contains(got.header.Get("Via"), "(CloudFront)") || len(got.header.Get("X-Amz-Cf-Id")) != 56 {
			t.Errorf("%s %s: headers %v", tc.method, tc.path, got.header)
		}
	}
}

func TestPathIsNormalizedToMatch(t *testing.T) {
	t.Parallel()
	front := setup(t, distribution(), func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "alb "+r.RequestURI) })
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /static/../v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), "alb /static/../v1/x") {
		t.Errorf("%s %v: want the behavior of /v1/* and the path as sent", answer, err)
	}
}

func TestOriginRequest(t *testing.T) {
	t.Parallel()
	named := func(names ...string) []cloudfront.Selector {
		return []cloudfront.Selector{{Mode: cloudfront.SelectNone}, {Mode: cloudfront.SelectNamed, Names: names}}
	}
	except := func(names ...string) []cloudfront.Selector {
		return []cloudfront.Selector{{Mode: cloudfront.SelectExcept, Names: names}}
	}
	for _, tc := range []struct {
		name    string
		forward cloudfront.Forward
		want    map[string]string // "" is absent
		uri     string
		host    string
	}{
		{"AllViewer", allViewer, map[string]string{"X-A": "1", "Cookie": "a=1; b=2", "User-Agent": "viewer", "Accept-Encoding": "zstd, gzip;q=0.5, br", "Authorization": "Bearer x"}, "/v1/x?p=1&q=2", "shop.example.com"},
		{
			"AllViewerExceptHostHeader",
			cloudfront.Forward{Headers: except("host"), Cookies: all, Query: all},
			map[string]string{"X-A": "1", "User-Agent": "viewer"},
			"/v1/x?p=1&q=2", albName,
		},
		{"none", cloudfront.Forward{}, map[string]string{"X-A": "", "Cookie": "", "User-Agent": "Amazon CloudFront", "Range": "bytes=0-1", "Accept-Encoding": "", "Authorization": ""}, "/v1/x", albName},
		{
			"named",
			cloudfront.Forward{Headers: named("x-a"), Cookies: named("b"), Query: named("q")},
			map[string]string{"X-A": "1", "X-B": "", "Cookie": "b=2"},
			"/v1/x?q=2", albName,
		},
		{"except", cloudfront.Forward{Cookies: except("a"), Query: except("p")}, map[string]string{"Cookie": "b=2"}, "/v1/x?q=2", albName},
		{"compression enabled", cloudfront.Forward{AcceptEncoding: []string{"br", "gzip"}}, map[string]string{"Accept-Encoding": "br,gzip"}, "/v1/x", albName},
		{
			"generated",
			cloudfront.Forward{Headers: []cloudfront.Selector{{Mode: cloudfront.SelectAll, Generated: []string{"CloudFront-Forwarded-Proto"}}}},
			map[string]string{"Cloudfront-Forwarded-Proto": "http"},
			"/v1/x", "shop.example.com",
		},
	} {
		cfg := distribution()
		cfg.Behaviors[0].Forward = tc.forward
		got := make(chan *http.Request, 1)
		front := setup(t, cfg, func(_ http.ResponseWriter, r *http.Request) { got <- r })
		do(t, "GET", front.URL+"/v1/x?p=1&q=2", http.Header{
			"Host": {"shop.example.com"}, "X-A": {"1"}, "X-B": {"2"}, "Cookie": {"a=1; b=2"}, "User-Agent": {"viewer"}, "Range": {"bytes=0-1"},
			"Accept-Encoding": {"zstd, gzip;q=0.5, br"}, "Authorization": {"Bearer x"}, "X-Forwarded-For": {"203.0.113.7"},
			"X-Origin-Verify": {"forged"}, "Cloudfront-Forwarded-Proto": {"forged"},
		})
		r := <-got
		for name, value := range tc.want {
			if have := strings.Join(r.Header[name], "|"); have != value {
				t.Errorf("%s: %s is %q, want %q", tc.name, name, have, value)
			}
		}
		if r.Host != tc.host || r.RequestURI != tc.uri {
			t.Errorf("%s: origin saw %s %s, want %s %s", tc.name, r.Host, r.RequestURI, tc.host, tc.uri)
		}
		for name, value := range map[string]string{"X-Origin-Verify": "secret", "X-Forwarded-For": "203.0.113.7, 127.0.0.1"} {
			if have := strings.Join(r.Header[name], "|"); have != value {
				t.Errorf("%s: %s is %q, want %q", tc.name, name, have, value)
			}
		}
		if !strings.Contains(r.Header.Get("Via"), "cloudfront.net (CloudFront)") || r.Header.Get("X-Amz-Cf-Id") == "" {
			t.Errorf("%s: %v", tc.name, r.Header)
		}
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	front := setup(t, distribution(), http.NotFound)
	for _, tc := range []struct {
		method, path string
		header       http.Header
		status       int
		body         string
		want         map[string]string
	}{
		{"GET", "/a%20b/app.js", nil, 200, "0123456789", map[string]string{
			"Content-Type": "text/javascript; charset=utf-8", "Content-Length": "10", "Etag": `"e1"`, "Server": "AmazonS3",
			"X-Content-Type-Options": "nosniff", "X-Amz-Meta-Internal": "", "Cache-Control": "immutable",
		}},
		{"HEAD", "/a%20b/app.js", nil, 200, "", map[string]string{"Content-Length": "10"}},
		{"GET", "/a%20b/app.js", http.Header{"Range": {"bytes=2-4"}}, 206, "234", map[string]string{"Content-Range": "bytes 2-4/10"}},
		{"HEAD", "/a%20b/app.js", http.Header{"Range": {"bytes=2-4"}}, 206, "", map[string]string{"Content-Length": "3"}},
		{"GET", "/a%20b/app.js", http.Header{"Range": {"bytes=50-"}}, 416, "", nil},
		{"GET", "/a%20b/app.js", http.Header{"If-None-Match": {`"e1"`}}, 304, "", map[string]string{"Etag": `"e1"`}},
		{"GET", "/a%20b/app.js", http.Header{"If-Modified-Since": {time.Unix(1700000000, 0).UTC().Format(http.TimeFormat)}}, 304, "", nil},
		{"GET", "/a%20b/app.js", http.Header{"If-Match": {`"other"`}}, 412, "", nil},
		{"GET", "/missing.js", nil, 403, "<Code>AccessDenied</Code>", map[string]string{"Content-Type": "application/xml", "X-Content-Type-Options": "nosniff"}},
		{"HEAD", "/missing.js", nil, 403, "", nil},
	} {
		got := do(t, tc.method, front.URL+tc.path, tc.header)
		if got.status != tc.status || !strings.Contains(got.body, tc.body) {
			t.Errorf("%s %s %v: %d %q, want %d %q", tc.method, tc.path, tc.header, got.status, got.body, tc.status, tc.body)
		}
		for name, value := range tc.want {
			if have := got.header.Get(name); have != value {
				t.Errorf("%s %s: %s is %q, want %q", tc.method, tc.path, name, have, value)
			}
		}
	}
}

func TestBucketAccess(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		access cloudfront.BucketAccess
		path   string
		want   int
	}{
		{cloudfront.BucketAccess{Get: true, List: true}, "/missing.js", 404},
		{cloudfront.BucketAccess{Get: true}, "/missing.js", 403},
		{cloudfront.BucketAccess{}, "/index.html", 403},
	} {
		cfg := distribution()
		origin := cfg.Origins["s3"]
		origin.Access = tc.access
		cfg.Origins["s3"] = origin
		front := setup(t, cfg, http.NotFound)
		if got := do(t, "GET", front.URL+tc.path, nil); got.status != tc.want {
			t.Errorf("%+v %s: %d %s, want %d", tc.access, tc.path, got.status, got.body, tc.want)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	cfg := distribution()
	cfg.Behaviors[0].ResponseHeaders = &cloudfront.ResponseHeaders{CORS: &cloudfront.CORS{
		Origins: []string{"https://*.example.com"}, Methods: []string{"GET"}, Headers: []string{"X-A"}, Credentials: true, MaxAge: time.Hour, Override: true,
	}}
	front := setup(t, cfg, func(http.ResponseWriter, *http.Request) {})
	got := do(t, "OPTIONS", front.URL+"/v1/x", http.Header{"Origin": {"https://shop.example.com"}})
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://shop.example.com", "Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods": "GET", "Access-Control-Max-Age": "3600",
	} {
		if have := got.header.Get(name); have != want {
			t.Errorf("%s is %q, want %q", name, have, want)
		}
	}
	got = do(t, "GET", front.URL+"/v1/x", http.Header{"Origin": {"https://evil.example"}})
	if have := got.header.Get("Access-Control-Allow-Origin"); have != "" {
		t.Errorf("another site: Access-Control-Allow-Origin %q", have)
	}
}

func TestOriginErrors(t *testing.T) {
	t.Parallel()
	cfg := distribution()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	hang := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer silent.Close()
	defer close(hang)
	origin := cfg.Origins["alb"]
	origin.ReadTimeout = 50 * time.Millisecond
	cfg.Origins["alb"] = origin
	for address, want := range map[string]int{gone.Listener.Addr().String(): 502, silent.Listener.Addr().String(): 504} {
		s := cloudfront.NewServer(cloudfront.Options{Resolve: func(string) (string, bool) { return address, true }})
		if err := s.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/x", nil))
		if w.Code != want || !strings.Contains(w.Body.String(), "Generated by cloudfront") {
			t.Errorf("%d %s, want %d", w.Code, w.Body, want)
		}
		s.Close()
	}
}

func TestNotDeployed(t *testing.T) {
	t.Parallel()
	s := cloudfront.NewServer(cloudfront.Options{})
	for range 2 {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), "GET", "/", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", w.Code)
		}
		cfg := distribution()
		cfg.Enabled = false
		if err := s.Apply(cfg); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Apply(cloudfront.Config{ID: "E1"}); err == nil {
		t.Error("a distribution without cache behaviors was accepted")
	}
}
