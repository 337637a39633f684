package alb_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loadbearing/loadbearing/local/edge/alb"
)

// testBackend is a real HTTP server registered as an instance.
type testBackend struct {
	*httptest.Server
	target   alb.Target
	hostport string
}

func backend(t *testing.T, name string) *testBackend {
	return backendFunc(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
}

var instances atomic.Int64

func backendFunc(t *testing.T, h http.HandlerFunc) *testBackend {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &testBackend{
		Server:   srv,
		target:   alb.Target{ID: fmt.Sprintf("i-%04d", instances.Add(1)), Port: srv.Listener.Addr().(*net.TCPAddr).Port},
		hostport: srv.Listener.Addr().String(),
	}
}

func alwaysHealthy(context.Context, string) (int, error) { return 200, nil }

func server(t *testing.T, opts alb.Options) *alb.Server {
	t.Helper()
	s := alb.NewServer(opts)
	t.Cleanup(s.Close)
	return s
}

func apply(t *testing.T, s *alb.Server, cfg alb.Config) {
	t.Helper()
	if err := s.Apply(cfg); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, s *alb.Server, target alb.Target, states ...alb.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := s.Wait(ctx, "a", target, states...); err != nil {
		t.Fatal(err)
	}
}

func targetGroup(arn string, delay time.Duration, targets ...alb.Target) alb.TargetGroup {
	return alb.TargetGroup{
		ARN: arn, Name: arn, Protocol: alb.HTTP, Algorithm: alb.RoundRobin,
		DeregistrationDelay: delay, MinHealthyCount: 1, Targets: targets,
		HealthCheck: alb.HealthCheck{
			Protocol: alb.HTTP, Path: "/", Interval: 5 * time.Second, Timeout: 2 * time.Second,
			HealthyThreshold: 2, UnhealthyThreshold: 2, Matcher: "200",
		},
	}
}

func forwardTo(arn string) alb.Action {
	return alb.Action{Forward: &alb.Forward{Groups: []alb.WeightedGroup{{ARN: arn, Weight: 1}}}}
}

func config(byDefault alb.Action, groups ...alb.TargetGroup) alb.Config {
	return alb.Config{
		LoadBalancer: alb.LoadBalancer{ARN: "lb", IdleTimeout: time.Minute},
		Listeners:    []alb.Listener{{ARN: "l", Port: 80, Protocol: alb.HTTP, Rules: []alb.Rule{{ARN: "default", Action: byDefault}}}},
		TargetGroups: groups,
	}
}

// served counts by body who served n requests.
func served(t *testing.T, h http.Handler, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		count[w.Body.String()]++
	}
	return count
}

func TestRulesByPriority(t *testing.T) {
	t.Parallel()
	s := server(t, alb.Options{})
	text := func(body string) alb.Action {
		return alb.Action{FixedResponse: &alb.FixedResponse{Status: 200, ContentType: "text/plain", Body: body}}
	}
	cfg := config(text("default"))
	cfg.Listeners[0].Rules = append([]alb.Rule{
		{ARN: "r1", Priority: 1, Conditions: []alb.Condition{
			{Field: alb.FieldPath, Values: []string{"/api/*"}},
			{Field: alb.FieldMethod, Values: []string{"POST"}},
		}, Action: text("writes")},
		{ARN: "r2", Priority: 2, Conditions: []alb.Condition{{Field: alb.FieldPath, Values: []string{"/api/*"}}}, Action: text("reads")},
	}, cfg.Listeners[0].Rules...)
	cfg.Listeners = append(cfg.Listeners, alb.Listener{
		ARN: "l2", Port: 8443, Protocol: alb.HTTP,
		Rules: []alb.Rule{{ARN: "d2", Action: text("other port")}},
	})
	apply(t, s, cfg)
	for _, tc := range []struct {
		method, path string
		port         int
		want         string
	}{
		{"POST", "/api/x", 0, "writes"}, {"GET", "/api/x", 80, "reads"}, {"GET", "/x", 0, "default"}, {"POST", "/api/x", 8443, "other port"},
	} {
		w := httptest.NewRecorder()
		s.Listener(tc.port).ServeHTTP(w, httptest.NewRequest(tc.method, tc.path, nil))
		if got := w.Body.String(); got != tc.want || w.Header().Get("Server") != "awselb/2.0" {
			t.Errorf("%s %s on %d: %q %v, want %q", tc.method, tc.path, tc.port, got, w.Header(), tc.want)
		}
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		to   alb.Redirect
		want string
	}{
		{alb.Redirect{Protocol: "HTTPS", Port: "443", Query: "#{query}", Status: 301}, "https://shop.example.com:443/a%20b/c?q=1&r=2"},
		{alb.Redirect{Host: "www.#{host}", Path: "/new/#{path}", Query: "from=#{path}&#{query}"}, "http://www.shop.example.com:80/new/a%20b/c?from=a%20b/c&q=1&r=2"},
		{alb.Redirect{Path: "/"}, "http://shop.example.com:80/"},
	} {
		s := server(t, alb.Options{})
		apply(t, s, config(alb.Action{Redirect: &tc.to}))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://shop.example.com:8081/a%20b/c?q=1&r=2", nil))
		status := tc.to.Status
		if status == 0 {
			status = 302
		}
		if got := w.Header().Get("Location"); got != tc.want || w.Code != status {
			t.Errorf("%+v: %d %s, want %d %s", tc.to, w.Code, got, status, tc.want)
		}
	}
}

func TestWeights(t *testing.T) {
	t.Parallel()
	blue, green := backend(t, "blue"), backend(t, "green")
	next := 0
	s := server(t, alb.Options{Check: alwaysHealthy, IntN: func(n int) int { next++; return (next - 1) % n }})
	for _, weights := range [][2]int{{95, 5}, {0, 100}, {1, 1}, {100, 0}} {
		apply(t, s, config(alb.Action{Forward: &alb.Forward{Groups: []alb.WeightedGroup{{"blue", weights[0]}, {"green", weights[1]}}}},
			targetGroup("blue", 0, blue.target), targetGroup("green", 0, green.target)))
		total := weights[0] + weights[1]
		got := served(t, s, 2*total)
		if got["blue"] != 2*weights[0] || got["green"] != 2*weights[1] {
			t.Errorf("weights %v over %d requests: %v", weights, 2*total, got)
		}
	}
}

func TestAllWeightsZeroAndNoTargets(t *testing.T) {
	t.Parallel()
	s := server(t, alb.Options{Check: alwaysHealthy})
	b := backend(t, "b")
	for name, cfg := range map[string]alb.Config{
		"weights 0": config(alb.Action{Forward: &alb.Forward{Groups: []alb.WeightedGroup{{"a", 0}}}}, targetGroup("a", 0, b.target)),
		"no target": config(forwardTo("a"), targetGroup("a", 0)),
	} {
		apply(t, s, cfg)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "503 Service Temporarily Unavailable") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if n := s.Collect().Groups[0].Requests; n != 0 {
			t.Errorf("%s: counted %d requests that no target was found for", name, n)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	slow := backendFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		fmt.Fprint(w, "slow")
	})
	fast := backend(t, "fast")
	s := server(t, alb.Options{Check: alwaysHealthy})
	group := targetGroup("a", 0, slow.target, fast.target)
	group.Algorithm = alb.LeastOutstanding
	apply(t, s, config(forwardTo("a"), group))
	wait(t, s, slow.target, alb.Healthy)
	wait(t, s, fast.target, alb.Healthy)

	// Ties are spread, so one of the first requests stays at the slow target.
	var held sync.WaitGroup
	busy := func() bool {
		return slices.ContainsFunc(s.Health("a"), func(h alb.TargetHealth) bool { return h.Target == slow.target && h.InFlight > 0 })
	}
	for range 3 {
		answered := make(chan struct{})
		held.Go(func() {
			defer close(answered)
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		})
		select {
		case <-answered:
		case <-arrived:
		}
	}
	if !busy() {
		t.Fatal("no request went to the slow target")
	}
	if got := served(t, s, 20); got["fast"] != 20 {
		t.Errorf("with a request outstanding at the slow target: %v", got)
	}
	close(release)
	held.Wait()
}

func TestTargetGroupStickiness(t *testing.T) {
	t.Parallel()
	blue, green := backend(t, "blue"), backend(t, "green")
	var pick atomic.Int64
	s := server(t, alb.Options{Check: alwaysHealthy, IntN: func(n int) int { return int(pick.Load()) % n }})
	rule := func(blueWeight, greenWeight int, sticky time.Duration) alb.Config {
		return config(alb.Action{Forward: &alb.Forward{
			Stickiness: sticky,
			Groups:     []alb.WeightedGroup{{"blue", blueWeight}, {"green", greenWeight}},
		}},
			targetGroup("blue", 0, blue.target), targetGroup("green", 0, green.target))
	}
	apply(t, s, rule(50, 50, time.Hour))
	front := httptest.NewServer(s)
	defer front.Close()
	client := func() *http.Client {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Client{Jar: jar}
	}
	get := func(c *http.Client) (string, []*http.Cookie) {
		resp, err := c.Get(front.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body), resp.Cookies()
	}

	sticky := client()
	first, cookies := get(sticky)
	names := map[string]*http.Cookie{}
	for _, c := range cookies {
		names[c.Name] = c
	}
	if first != "blue" || names["AWSALBTG"] == nil || names["AWSALBTGCORS"] == nil {
		t.Fatalf("first answer from %s with %v, want blue with AWSALBTG and its CORS twin", first, cookies)
	}
	if strings.Contains(names["AWSALBTG"].Value, "blue") {
		t.Errorf("the cookie tells its content: %s", names["AWSALBTG"].Value)
	}
	if left := time.Until(names["AWSALBTG"].Expires); left < 7*24*time.Hour-time.Minute || left > 7*24*time.Hour {
		t.Errorf("expires in %s, want 7 days", left)
	}
	pick.Store(99) // everyone new goes to green now
	for range 5 {
		if got, _ := get(sticky); got != "blue" {
			t.Fatalf("sticky client got %s", got)
		}
	}
	if got, _ := get(client()); got != "green" {
		t.Errorf("new client got %s, want green", got)
	}
	apply(t, s, rule(0, 100, time.Hour))
	if got, _ := get(sticky); got != "blue" {
		t.Errorf("weight 0: sticky client got %s, want blue: stickiness outranks weights", got)
	}
	apply(t, s, rule(0, 100, 0))
	if got, _ := get(sticky); got != "green" {
		t.Errorf("stickiness off: got %s, want green", got)
	}

	// A group that is no longer in the rule, and a forged cookie.
	apply(t, s, config(alb.Action{Forward: &alb.Forward{Stickiness: time.Hour, Groups: []alb.WeightedGroup{{"green", 1}}}},
		targetGroup("green", 0, green.target)))
	if got, _ := get(sticky); got != "green" {
		t.Errorf("group gone: got %s, want green", got)
	}
	forged := client()
	u, _ := url.Parse(front.URL)
	forged.Jar.SetCookies(u, []*http.Cookie{{Name: "AWSALBTG", Value: "Ymx1ZQ"}})
	if got, cookies := get(forged); got != "green" || len(cookies) != 2 {
		t.Errorf("forged cookie: got %s and %v, want green and new cookies", got, cookies)
	}
}

func TestTargetStickiness(t *testing.T) {
	t.Parallel()
	for _, app := range []string{"", "session"} {
		t.Run("cookie "+app, func(t *testing.T) {
			t.Parallel()
			named := func(name string) *testBackend {
				return backendFunc(t, func(w http.ResponseWriter, r *http.Request) {
					if app != "" {
						http.SetCookie(w, &http.Cookie{Name: app, Value: "x", Path: "/"})
					}
					fmt.Fprint(w, name)
				})
			}
			one, two := named("one"), named("two")
			s := server(t, alb.Options{Check: alwaysHealthy})
			group := targetGroup("a", 0, one.target, two.target)
			group.Stickiness = alb.TargetStickiness{Duration: time.Hour, AppCookie: app}
			apply(t, s, config(forwardTo("a"), group))
			wait(t, s, one.target, alb.Healthy)
			wait(t, s, two.target, alb.Healthy)
			front := httptest.NewServer(s)
			defer front.Close()
			jar, _ := cookiejar.New(nil)
			client := &http.Client{Jar: jar}
			seen := map[string]int{}
			for range 6 {
				resp, err := client.Get(front.URL)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				seen[string(body)]++
			}
			if len(seen) != 1 {
				t.Errorf("served by %v, want one target", seen)
			}
			// Deregistered, its clients go to another.
			gone := one
			if seen["two"] > 0 {
				gone = two
			}
			group.Targets = []alb.Target{one.target}
			if gone == one {
				group.Targets = []alb.Target{two.target}
			}
			apply(t, s, config(forwardTo("a"), group))
			resp, err := client.Get(front.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("after deregistration: %d", resp.StatusCode)
			}
		})
	}
}

func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	b := backendFunc(t, func(_ http.ResponseWriter, r *http.Request) { got <- r })
	for _, tc := range []struct {
		name string
		lb   alb.LoadBalancer
		want map[string]string // "" is absent
	}{
		{"defaults", alb.LoadBalancer{}, map[string]string{"X-Forwarded-For": "203.0.113.7, 192.0.2.1", "X_odd": "1"}},
		{"preserve", alb.LoadBalancer{ForwardedFor: alb.ForwardedForPreserve}, map[string]string{"X-Forwarded-For": "203.0.113.7"}},
		{"remove", alb.LoadBalancer{ForwardedFor: alb.ForwardedForRemove}, map[string]string{"X-Forwarded-For": ""}},
		{"client port", alb.LoadBalancer{ForwardedForPort: true}, map[string]string{"X-Forwarded-For": "203.0.113.7, 192.0.2.1:1234"}},
		{"drop invalid", alb.LoadBalancer{DropInvalidHeaders: true}, map[string]string{"X_odd": "", "X-Fine": "1"}},
	} {
		s := server(t, alb.Options{Check: alwaysHealthy})
		cfg := config(forwardTo("a"), targetGroup("a", 0, b.target))
		cfg.LoadBalancer = tc.lb
		cfg.Listeners[0].Protocol, cfg.Listeners[0].Port = alb.HTTPS, 443
		apply(t, s, cfg)
		r := httptest.NewRequest(http.MethodGet, "http://shop.example.com/a%2Fb?x=1;y&z=%zz", nil)
		for name, value := range map[string]string{
			"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "kept.example.com",
			"X_odd": "1", "X-Fine": "1", "Connection": "X-Hop", "X-Hop": "1",
		} {
			r.Header[name] = []string{value}
		}
		s.ServeHTTP(httptest.NewRecorder(), r)
		seen := <-got
		want := map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443", "X-Forwarded-Host": "kept.example.com", "X-Hop": ""}
		maps.Copy(want, tc.want)
		for name, value := range want {
			if have := strings.Join(seen.Header[name], "|"); have != value {
				t.Errorf("%s: %s is %q, want %q", tc.name, name, have, value)
			}
		}
		if seen.Host != "shop.example.com" || seen.RequestURI != "/a%2Fb?x=1;y&z=%zz" {
			t.Errorf("%s: target saw %s %s, want host and URI as sent", tc.name, seen.Host, seen.RequestURI)
		}
		if !strings.HasPrefix(seen.Header.Get("X-Amzn-Trace-Id"), "Root=1-") {
			t.Errorf("%s: trace id %q", tc.name, seen.Header.Get("X-Amzn-Trace-Id"))
		}
	}
}

func TestTargetErrors(t *testing.T) {
	t.Parallel()
	refused := backend(t, "")
	refused.Close()
	reset := backendFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	})
	hang := make(chan struct{})
	silent := backendFunc(t, func(http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	for _, tc := range []struct {
		name string
		b    *testBackend
		want int
	}{{"refused", refused, 502}, {"reset", reset, 502}, {"silent", silent, 504}} {
		s := server(t, alb.Options{Check: alwaysHealthy})
		cfg := config(forwardTo("a"), targetGroup("a", 0, tc.b.target))
		cfg.LoadBalancer.IdleTimeout = 50 * time.Millisecond
		apply(t, s, cfg)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != tc.want || !strings.Contains(w.Body.String(), fmt.Sprint(tc.want)) {
			t.Errorf("%s: %d %q, want %d", tc.name, w.Code, w.Body, tc.want)
		}
	}
}

// A client that stops in the middle of its upload gets 408, and the target's
// connection is let go.
func TestStalledUpload(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	b := backendFunc(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})
	s := server(t, alb.Options{Check: alwaysHealthy})
	cfg := config(forwardTo("a"), targetGroup("a", 0, b.target))
	cfg.LoadBalancer.IdleTimeout = 100 * time.Millisecond
	apply(t, s, cfg)
	front := httptest.NewServer(s)
	defer front.Close()
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusRequestTimeout {
		t.Fatalf("%v %v, want 408", resp, err)
	}
	resp.Body.Close()
	if err := <-ended; err == nil {
		t.Error("the target took the upload for complete")
	}
}

// A transfer that goes on is not idle, however long it takes.
func TestIdleTimeoutIsNotATimeLimit(t *testing.T) {
	t.Parallel()
	b := backendFunc(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		for range 8 {
			fmt.Fprintf(w, "%d ", n)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(200 * time.Millisecond)
		}
	})
	s := server(t, alb.Options{Check: alwaysHealthy})
	cfg := config(forwardTo("a"), targetGroup("a", 0, b.target))
	cfg.LoadBalancer.IdleTimeout = time.Second
	apply(t, s, cfg)
	front := httptest.NewServer(s)
	defer front.Close()
	body, upload := io.Pipe()
	go func() {
		for range 8 {
			_, _ = upload.Write([]byte("x"))
			time.Sleep(200 * time.Millisecond)
		}
		_ = upload.Close()
	}()
	resp, err := http.Post(front.URL, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != strings.Repeat("8 ", 8) {
		t.Errorf("%d %q, %v", resp.StatusCode, got, err)
	}
}

// net/http would send a GET again when a connection it reuses breaks.
func TestNoRetryOnABrokenConnection(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	b := backendFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	})
	s := server(t, alb.Options{Check: alwaysHealthy})
	apply(t, s, config(forwardTo("a"), targetGroup("a", 0, b.target)))
	for i, want := range []int{200, 502} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != want {
			t.Errorf("request %d: %d, want %d", i, w.Code, want)
		}
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("the target saw %d requests for 2", n)
	}
}

func TestStreamingIsFlushedAtOnce(t *testing.T) {
	t.Parallel()
	for name, header := range map[string][2]string{
		"events": {"Content-Type", "text/event-stream"}, "known length": {"Content-Length", "27"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			streams(t, header)
		})
	}
}

func streams(t *testing.T, header [2]string) {
	sent := make(chan string)
	b := backendFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(header[0], header[1])
		for event := range sent {
			fmt.Fprintf(w, "data: %s\n\n", event)
			_ = http.NewResponseController(w).Flush()
		}
	})
	s := server(t, alb.Options{Check: alwaysHealthy})
	apply(t, s, config(forwardTo("a"), targetGroup("a", 0, b.target)))
	front := httptest.NewServer(s)
	defer front.Close()
	first := make(chan struct{})
	go func() { sent <- "0"; close(first) }()
	resp, err := http.Get(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-first
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		// Each event arrives before the next is sent.
		if i > 0 {
			sent <- fmt.Sprint(i)
		}
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) {
			t.Fatalf("event %d: %q %v", i, lines.Text(), lines.Err())
		}
		lines.Scan()
	}
	close(sent)
}

// upgrade sends a request for another protocol and returns the connection.
func upgrade(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return conn, r
}

// echoSocket answers an upgrade and then echoes.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	_, _ = io.Copy(conn, buffered)
}

func TestWebSocketPassesAndDrains(t *testing.T) {
	t.Parallel()
	b := backendFunc(t, echoSocket)
	s := server(t, alb.Options{Check: alwaysHealthy})
	apply(t, s, config(forwardTo("a"), targetGroup("a", 50*time.Millisecond, b.target)))
	front := httptest.NewServer(s)
	defer front.Close()
	conn, r := upgrade(t, front.Listener.Addr().String())
	for _, message := range []string{"hello", "again"} {
		fmt.Fprint(conn, message)
		got := make([]byte, len(message))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != message {
			t.Fatalf("%q %v", got, err)
		}
	}
	apply(t, s, config(forwardTo("a"), targetGroup("a", 50*time.Millisecond)))
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the deregistration delay: %v, want the socket closed", err)
	}
	wait(t, s, b.target, alb.Unused)
}

func TestDrainingLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	old := backendFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		fmt.Fprint(w, "old")
	})
	fresh := backend(t, "fresh")
	s := server(t, alb.Options{Check: alwaysHealthy})
	apply(t, s, config(forwardTo("a"), targetGroup("a", time.Minute, old.target)))
	w := httptest.NewRecorder()
	var held sync.WaitGroup
	held.Go(func() { s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)) })
	<-arrived

	apply(t, s, config(forwardTo("a"), targetGroup("a", time.Minute, fresh.target)))
	wait(t, s, old.target, alb.Draining)
	if got := served(t, s, 10); got["fresh"] != 10 {
		t.Errorf("while draining: %v, want no new request at the old target", got)
	}
	for _, h := range s.Health("a") {
		if h.Target == old.target && (h.State != alb.Draining || h.InFlight != 1 || h.Reason != alb.ReasonDraining) {
			t.Errorf("old target: %+v", h)
		}
	}
	close(release)
	held.Wait()
	if w.Code != 200 || w.Body.String() != "old" {
		t.Errorf("request in flight: %d %s", w.Code, w.Body)
	}
	wait(t, s, old.target, alb.Unused) // at once, not after a minute
}

func TestDeregistrationDelayEndsRequests(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	b := backendFunc(t, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release })
	s := server(t, alb.Options{Check: alwaysHealthy})
	apply(t, s, config(forwardTo("a"), targetGroup("a", 20*time.Millisecond, b.target)))
	w := httptest.NewRecorder()
	var held sync.WaitGroup
	held.Go(func() { s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)) })
	<-arrived
	apply(t, s, config(forwardTo("a"), targetGroup("a", 20*time.Millisecond)))
	held.Wait()
	if w.Code != http.StatusBadGateway {
		t.Errorf("status %d, want 502 when the delay is over", w.Code)
	}
}

// Targets come and go, weights and timeouts change, and no request notices.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	var backends []*testBackend
	for i := range 4 {
		backends = append(backends, backend(t, fmt.Sprint(i)))
	}
	s := server(t, alb.Options{Check: alwaysHealthy})
	reload := func(i int) {
		cfg := config(alb.Action{Forward: &alb.Forward{Groups: []alb.WeightedGroup{{"a", 1 + i%3}, {"b", 1}}}},
			targetGroup("a", time.Minute, backends[i%2].target), targetGroup("b", time.Minute, backends[2].target, backends[3].target))
		if i%5 == 4 {
			cfg = config(forwardTo("b"), targetGroup("b", time.Minute, backends[3].target))
		}
		cfg.LoadBalancer.IdleTimeout = time.Duration(60+i%2) * time.Second
		apply(t, s, cfg)
	}
	reload(0)
	front := httptest.NewServer(s)
	defer front.Close()
	stop := make(chan struct{})
	var failed, done atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get(front.URL)
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				done.Add(1)
			}
		})
	}
	for i := 0; done.Load() < 2000; i++ {
		reload(i)
		time.Sleep(time.Millisecond)
	}
	close(stop)
	clients.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, done.Load())
	}
}

func TestApplyRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	s := server(t, alb.Options{Check: alwaysHealthy})
	b := backend(t, "kept")
	apply(t, s, config(forwardTo("a"), targetGroup("a", 0, b.target)))
	badMatcher := targetGroup("a", 0, b.target)
	badMatcher.HealthCheck.Matcher = "ok"
	for name, cfg := range map[string]alb.Config{
		"unknown group": config(forwardTo("nowhere"), targetGroup("a", 0, b.target)),
		"matcher":       config(forwardTo("a"), badMatcher),
		"no action":     config(alb.Action{}),
	} {
		if err := s.Apply(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := served(t, s, 1); got["kept"] != 1 {
		t.Errorf("after refused configurations: %v", got)
	}
}

func TestRequestsThatGetToNoRule(t *testing.T) {
	t.Parallel()
	s := server(t, alb.Options{})
	apply(t, s, config(alb.Action{FixedResponse: &alb.FixedResponse{Status: 200}}))
	for name, tc := range map[string]struct {
		method, target string
		header         http.Header
		want           int
	}{
		"TRACE":             {method: http.MethodTrace, want: 405},
		"request line":      {target: "/" + strings.Repeat("a", 16<<10), want: 400},
		"long request line": {target: "/" + strings.Repeat("a", 15<<10), want: 200},
		"header":            {header: http.Header{"X-A": {strings.Repeat("a", 16<<10)}}, want: 400},
		"long header":       {header: http.Header{"X-A": {strings.Repeat("a", 15<<10)}}, want: 200},
		"headers":           {header: http.Header{"X-A": slices.Repeat([]string{strings.Repeat("a", 13<<10)}, 5)}, want: 400},
		"hops":              {header: http.Header{"X-Forwarded-For": {strings.Repeat("a,", 29) + "a", "b"}}, want: 463},
		"many hops":         {header: http.Header{"X-Forwarded-For": {strings.Repeat("a,", 28) + "a", "b"}}, want: 200},
	} {
		r := httptest.NewRequest(cmp.Or(tc.method, http.MethodGet), cmp.Or(tc.target, "/"), nil)
		maps.Copy(r.Header, tc.header)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("%s: %d, want %d", name, w.Code, tc.want)
		}
	}
	if own := s.Collect().Own; own[400] != 3 || own[405] != 1 || own[463] != 1 {
		t.Errorf("counted %v", own)
	}
}

func TestIdleClients(t *testing.T) {
	t.Parallel()
	s := server(t, alb.Options{})
	cfg := config(alb.Action{FixedResponse: &alb.FixedResponse{Status: 200}})
	cfg.LoadBalancer.IdleTimeout = 50 * time.Millisecond
	apply(t, s, cfg)
	front := httptest.NewUnstartedServer(s)
	front.Listener = s.Track(front.Listener)
	front.Config.ConnState, front.Config.IdleTimeout = s.ConnState, time.Hour
	front.Start()
	defer front.Close()
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n := s.Collect(); n.ActiveConnections > 1 {
		t.Errorf("%d connections, want 1", n.ActiveConnections)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("%v: %s", err, answer)
	}
}
