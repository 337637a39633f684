package edge

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/stretchr/testify/require"
)

const (
	pageSticky     = guide + "sticky-sessions.html"
	pageHealth     = guide + "target-group-health-checks.html"
	pageGroups     = guide + "load-balancer-target-groups.html"
	pageAttributes = guide + "edit-target-group-attributes.html"
)

// pair is a group with two healthy targets, one and two, that a rule forwards to.
func (f *fixture) pair(h func(name string) http.HandlerFunc, attributes ...string) (one, two *target) {
	f.Helper()
	if h == nil {
		h = echo
	}
	g := f.group(attributes...)
	one, two = g.add("one", h("one")), g.add("two", h("two"))
	f.rule(forward(g))
	one.becomes(types.TargetHealthStateEnumHealthy)
	two.becomes(types.TargetHealthStateEnumHealthy)
	f.inEffect()
	return one, two
}

// counted counts by target who answers n requests.
func (f *fixture) counted(n int) map[string]int {
	f.Helper()
	count := map[string]int{}
	for range n {
		count[f.get("/").seen(f).Target]++
	}
	return count
}

// browser keeps cookies.
func (f *fixture) browser() *http.Client {
	f.Helper()
	c := f.client()
	jar, err := cookiejar.New(nil)
	require.NoError(f, err)
	c.Jar = jar
	return c
}

func cookies(a answer) map[string]*http.Cookie {
	set := map[string]*http.Cookie{}
	for _, c := range a.Cookies() {
		set[c.Name] = c
	}
	return set
}

var targetCases = []conformanceCase{
	{
		name: "a client sticks to its target group", page: pageSticky + "#target-group-stickiness", // and the next ones
		run: func(f *fixture) {
			blue, green := f.group(), f.group()
			b, g := blue.add("blue", nil), green.add("green", nil)
			rule := f.rule(forwardTo(3600, weighted{blue, 1}, weighted{green, 0}))
			b.becomes(types.TargetHealthStateEnumHealthy)
			g.becomes(types.TargetHealthStateEnumHealthy)
			f.inEffect()
			browser := f.browser()
			first := f.do(browser, "GET", f.host, "/")
			set := cookies(first)
			require.Contains(f, set, "AWSALBTG")
			require.Contains(f, set, "AWSALBTGCORS")
			require.Equal(f, http.SameSiteNoneMode, set["AWSALBTGCORS"].SameSite)
			require.NotEqual(f, http.SameSiteNoneMode, set["AWSALBTG"].SameSite)
			require.Equal(f, set["AWSALBTG"].Value, set["AWSALBTGCORS"].Value)
			_, err := f.api.ModifyRule(f.Context(), &elbv2.ModifyRuleInput{RuleArn: &rule, Actions: []types.Action{forwardTo(3600, weighted{blue, 0}, weighted{green, 1})}})
			require.NoError(f, err)
			f.until(func() bool { return f.get("/").seen(f).Target == "green" }, "a new client gets green")
			for range 10 {
				require.Equal(f, "blue", f.do(browser, "GET", f.host, "/").seen(f).Target, "stickiness outranks the weights")
			}
			// The CORS twin does it too.
			require.Equal(f, "blue", f.get("/", "Cookie: AWSALBTGCORS="+set["AWSALBTGCORS"].Value).seen(f).Target)
			require.Equal(f, "green", f.get("/", "Cookie: AWSALBTG=forged").seen(f).Target)
		},
	},
	{
		name: "stickiness to a target group ends with its duration", page: guide + "rule-action-types.html#forward-actions",
		run: func(f *fixture) {
			blue, green := f.group(), f.group()
			b, g := blue.add("blue", nil), green.add("green", nil)
			rule := f.rule(forwardTo(1, weighted{blue, 1}, weighted{green, 0}))
			b.becomes(types.TargetHealthStateEnumHealthy)
			g.becomes(types.TargetHealthStateEnumHealthy)
			f.inEffect()
			sticky := cookies(f.get("/"))["AWSALBTG"].Value
			_, err := f.api.ModifyRule(f.Context(), &elbv2.ModifyRuleInput{RuleArn: &rule, Actions: []types.Action{forwardTo(1, weighted{blue, 0}, weighted{green, 1})}})
			require.NoError(f, err)
			f.until(func() bool { return f.get("/", "Cookie: AWSALBTG="+sticky).seen(f).Target == "green" }, "the cookie is void")
		},
	},
	{
		name: "a client sticks to its target by AWSALB", page: pageSticky + "#duration-based-stickiness",
		run: func(f *fixture) {
			f.pair(nil, "stickiness.enabled=true", "stickiness.type=lb_cookie", "stickiness.lb_cookie.duration_seconds=60")
			browser := f.browser()
			first := f.do(browser, "GET", f.host, "/")
			set := cookies(first)
			require.Contains(f, set, "AWSALB")
			require.Contains(f, set, "AWSALBCORS")
			require.WithinDuration(f, time.Now().Add(7*24*time.Hour), set["AWSALB"].Expires, time.Hour, "not to be configured")
			want := first.seen(f).Target
			for range 20 {
				require.Equal(f, want, f.do(browser, "GET", f.host, "/").seen(f).Target)
			}
			require.Len(f, f.counted(20), 2, "clients without it are shared out")
		},
	},
	{
		name: "a client whose target is gone gets another", page: pageSticky + "#duration-based-stickiness",
		run: func(f *fixture) {
			one, two := f.pair(nil, "stickiness.enabled=true", "stickiness.type=lb_cookie", "stickiness.lb_cookie.duration_seconds=60")
			browser := f.browser()
			name := f.do(browser, "GET", f.host, "/").seen(f).Target
			gone, other := one, two
			if name == "two" {
				gone, other = two, one
			}
			gone.deregister()
			f.until(func() bool { return f.do(browser, "GET", f.host, "/").seen(f).Target == other.name }, "the other target")
		},
	},
	{
		name: "an application's cookie starts stickiness", page: pageSticky + "#application-based-stickiness",
		run: func(f *fixture) {
			f.pair(func(name string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/login" {
						http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
					}
					echo(name)(w, r)
				}
			}, "stickiness.enabled=true", "stickiness.type=app_cookie", "stickiness.app_cookie.cookie_name=session", "stickiness.app_cookie.duration_seconds=60")
			require.Empty(f, f.get("/").Cookies(), "the target has set none")
			browser := f.browser()
			login := f.do(browser, "GET", f.host, "/login")
			require.Contains(f, cookies(login), "AWSALBAPP-0")
			want := login.seen(f).Target
			for range 20 {
				require.Equal(f, want, f.do(browser, "GET", f.host, "/").seen(f).Target)
			}
			// Both cookies are needed.
			jar := browser.Jar.Cookies(&url.URL{Scheme: "http", Host: f.host})
			var own string
			for _, c := range jar {
				if c.Name == "AWSALBAPP-0" {
					own = c.Value
				}
			}
			others := map[string]bool{}
			for range 20 {
				others[f.get("/", "Cookie: AWSALBAPP-0="+own).seen(f).Target] = true
			}
			require.Len(f, others, 2)
		},
	},
	{
		name: "an unhealthy target gets no requests, and some again when it recovers", page: pageHealth,
		run: func(f *fixture) {
			one, two := f.pair(nil)
			one.health.Store(500)
			before := one.checks.Load()
			one.becomes(types.TargetHealthStateEnumUnhealthy)
			require.GreaterOrEqual(f, one.checks.Load()-before, int32(2), "the unhealthy threshold")
			require.Equal(f, types.TargetHealthReasonEnumResponseCodeMismatch, one.state().Reason)
			require.Equal(f, "Health checks failed with these codes: [500]", *one.state().Description)
			require.Equal(f, map[string]int{"two": 20}, f.counted(20))
			one.health.Store(200)
			before = one.checks.Load()
			one.becomes(types.TargetHealthStateEnumHealthy)
			require.GreaterOrEqual(f, one.checks.Load()-before, int32(2), "the healthy threshold")
			f.until(func() bool { return len(f.counted(10)) == 2 }, "both get requests")
			_ = two
		},
	},
	{
		name: "success codes are those of the matcher", page: pageHealth,
		run: func(f *fixture) {
			g := f.groupWith(func(in *elbv2.CreateTargetGroupInput) {
				in.Matcher = &types.Matcher{HttpCode: aws.String("200,204-210")}
			})
			good, bad := g.add("good", nil), g.add("bad", nil)
			good.health.Store(207)
			bad.health.Store(201)
			f.rule(forward(g))
			good.becomes(types.TargetHealthStateEnumHealthy)
			bad.becomes(types.TargetHealthStateEnumUnhealthy)
		},
	},
	{
		name: "a target that registers needs one successful check", page: pageHealth,
		run: func(f *fixture) {
			g := f.groupWith(func(in *elbv2.CreateTargetGroupInput) { in.HealthyThresholdCount = aws.Int32(10) })
			f.rule(forward(g))
			t := g.add("target", nil)
			t.becomes(types.TargetHealthStateEnumHealthy)
			require.Less(f, t.checks.Load(), int32(10))
		},
	},
	{
		name: "without a healthy target, all of them get requests", page: pageGroups,
		run: func(f *fixture) {
			one, two := f.pair(nil)
			one.health.Store(500)
			two.health.Store(500)
			one.becomes(types.TargetHealthStateEnumUnhealthy)
			two.becomes(types.TargetHealthStateEnumUnhealthy)
			require.Len(f, f.counted(20), 2)
		},
	},
	{
		name: "a group that only a rule for testers forwards to is checked", page: pageHealth,
		run: func(f *fixture) {
			g := f.group()
			f.rule(forward(g), header("X-Release", "green"))
			g.add("green", nil).becomes(types.TargetHealthStateEnumHealthy)
			require.Equal(f, "green", f.get("/", "X-Release: green").seen(f).Target)
		},
	},
	{
		name: "a group that no rule forwards to is not checked", page: pageHealth + "#target-health-states",
		run: func(f *fixture) {
			t := f.group().add("target", nil)
			t.becomes(types.TargetHealthStateEnumUnused)
			require.Equal(f, types.TargetHealthReasonEnumNotInUse, t.state().Reason)
			require.Zero(f, t.checks.Load())
		},
	},
	{
		name: "round robin takes turns", page: pageAttributes + "#modify-routing-algorithm",
		aws: "each node of a load balancer takes its own turns",
		run: func(f *fixture) {
			f.pair(nil)
			require.Equal(f, map[string]int{"one": 20, "two": 20}, f.counted(40))
		},
	},
	{
		name: "least outstanding requests avoids who is busy", page: pageAttributes + "#modify-routing-algorithm",
		aws: "each node of a load balancer counts its own requests",
		run: func(f *fixture) {
			busy := make(chan string, 8)
			f.pair(func(name string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/hold" {
						busy <- name
						<-r.Context().Done()
						return
					}
					echo(name)(w, r)
				}
			}, "load_balancing.algorithm.type=least_outstanding_requests")
			held := f.connect()
			_, err := fmt.Fprintf(held, "GET /hold HTTP/1.1\r\nHost: %s\r\n\r\n", f.host)
			require.NoError(f, err)
			other := map[string]string{"one": "two", "two": "one"}[<-busy]
			require.Equal(f, map[string]int{other: 20}, f.counted(20))
		},
	},
	{
		name: "slow start raises a target's share", page: pageAttributes + "#slow-start-mode",
		run: func(f *fixture) {
			g := f.group("slow_start.duration_seconds=30")
			one := g.add("one", nil)
			f.rule(forward(g))
			one.becomes(types.TargetHealthStateEnumHealthy)
			f.inEffect()
			g.add("two", nil).becomes(types.TargetHealthStateEnumHealthy)
			// A few seconds into its half minute: far from the half it is due later.
			require.Less(f, f.counted(100)["two"], 35)
		},
	},
	{
		name: "a deregistered target finishes its requests and gets no new ones", page: pageAttributes + "#deregistration-delay",
		run: func(f *fixture) {
			type step struct {
				arrived chan string
				finish  chan struct{}
			}
			s := step{make(chan string, 1), make(chan struct{})}
			var once sync.Once
			one, two := f.pair(func(name string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						s.arrived <- name
						<-s.finish
					}
					echo(name)(w, r)
				}
			}, "deregistration_delay.timeout_seconds=60")
			f.Cleanup(func() { once.Do(func() { close(s.finish) }) })
			slow := f.connect()
			_, err := fmt.Fprintf(slow, "GET /slow HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", f.host)
			require.NoError(f, err)
			leaving, stays := one, two
			if <-s.arrived == "two" {
				leaving, stays = two, one
			}
			leaving.deregister()
			require.Equal(f, types.TargetHealthStateEnumDraining, leaving.state().State)
			require.Equal(f, types.TargetHealthReasonEnumDeregistrationInProgress, leaving.state().Reason)
			f.until(func() bool { return len(f.counted(10)) == 1 }, "no new requests")
			require.Equal(f, map[string]int{stays.name: 10}, f.counted(10))
			require.Equal(f, types.TargetHealthStateEnumDraining, leaving.state().State)
			once.Do(func() { close(s.finish) })
			rest, err := io.ReadAll(slow)
			require.NoError(f, err)
			require.Contains(f, string(rest), "200 OK")
			require.Contains(f, string(rest), leaving.name)
		},
	},
	{
		name: "what is not finished with the deregistration delay is a 502", page: guide + "load-balancer-troubleshooting.html#http-502-issues",
		run: func(f *fixture) {
			arrived := make(chan struct{}, 1)
			t := f.served(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					arrived <- struct{}{}
					<-r.Context().Done()
				}
			}, "deregistration_delay.timeout_seconds=1")
			status := make(chan string, 1)
			slow := f.connect()
			_, err := fmt.Fprintf(slow, "GET /slow HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", f.host)
			require.NoError(f, err)
			go func() {
				answer, _ := io.ReadAll(slow)
				status <- string(answer)
			}()
			<-arrived
			t.deregister()
			require.Contains(f, <-status, "HTTP/1.1 502 ")
		},
	},
}
