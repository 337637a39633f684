package edge

import (
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/stretchr/testify/require"
)

const (
	guide          = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
	pageConditions = guide + "rule-condition-types.html"
	pageActions    = guide + "rule-action-types.html"
	pageRules      = guide + "listener-rules.html"
	pageLimits     = guide + "load-balancer-limits.html"
)

// asked is a request: a method, a path and headers. The Host is the case's
// unless a header says otherwise.
type asked struct {
	method  string // default GET
	path    string // default /
	headers []string
}

func (f *fixture) matches(a asked) bool {
	f.Helper()
	method, path := a.method, a.path
	if method == "" {
		method = http.MethodGet
	}
	if path == "" {
		path = "/"
	}
	return strings.HasPrefix(f.do(f.http, method, f.host, path, a.headers...).Header.Get("Content-Type"), "application/json")
}

// condition checks which requests a rule with these conditions is for.
func condition(conditions func(f *fixture) []types.RuleCondition, matching, others []asked) func(*fixture) {
	return func(f *fixture) {
		list := conditions(f)
		hosts := []string{f.host}
		for _, c := range list {
			if c.HostHeaderConfig != nil {
				hosts = nil
			}
		}
		f.ruleFor(hosts, fixed("200", "application/json", "{}"), list...)
		named := func(a asked) asked {
			for i, h := range a.headers {
				a.headers[i] = strings.ReplaceAll(h, "{host}", f.host)
			}
			return a
		}
		for i, a := range matching {
			a = named(a)
			if i == 0 {
				f.until(func() bool { return f.matches(a) }, "the rule matches %+v", a)
			}
			require.True(f, f.matches(a), "%+v", a)
		}
		for _, a := range others {
			require.False(f, f.matches(named(a)), "%+v", a)
		}
	}
}

func of(c ...types.RuleCondition) func(*fixture) []types.RuleCondition {
	return func(*fixture) []types.RuleCondition { return c }
}

func path(values ...string) types.RuleCondition {
	return types.RuleCondition{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: values}}
}

func header(name string, values ...string) types.RuleCondition {
	return types.RuleCondition{Field: aws.String("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: &name, Values: values}}
}

func method(values ...string) types.RuleCondition {
	return types.RuleCondition{Field: aws.String("http-request-method"), HttpRequestMethodConfig: &types.HttpRequestMethodConditionConfig{Values: values}}
}

// query takes key=value, or a value alone.
func query(pairs ...string) types.RuleCondition {
	c := &types.QueryStringConditionConfig{}
	for _, p := range pairs {
		key, value, found := strings.Cut(p, "=")
		if !found {
			c.Values = append(c.Values, types.QueryStringKeyValuePair{Value: &p})
			continue
		}
		c.Values = append(c.Values, types.QueryStringKeyValuePair{Key: &key, Value: &value})
	}
	return types.RuleCondition{Field: aws.String("query-string"), QueryStringConfig: c}
}

func sourceIP(values ...string) types.RuleCondition {
	return types.RuleCondition{Field: aws.String("source-ip"), SourceIpConfig: &types.SourceIpConditionConfig{Values: values}}
}

// hostPattern is a host condition in which * before the case's own host is a pattern.
func hostPattern(format ...string) func(f *fixture) []types.RuleCondition {
	return func(f *fixture) []types.RuleCondition {
		var values []string
		for _, s := range format {
			values = append(values, fmt.Sprintf(s, f.host))
		}
		return []types.RuleCondition{{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: values}}}
	}
}

var ruleCases = []conformanceCase{
	{
		name: "a path matches as a whole", page: pageConditions + "#path-conditions",
		run: condition(of(path("/img/picture.jpg")),
			[]asked{{path: "/img/picture.jpg"}, {path: "/img/picture.jpg?size=1"}},
			[]asked{{path: "/img/picture.jpg/"}, {path: "/img/picture.jp"}, {path: "/a/img/picture.jpg"}}),
	},
	{
		name: "* in a path is any number of characters, slashes too", page: pageConditions + "#path-conditions",
		run: condition(of(path("/img/*/pics")),
			[]asked{{path: "/img/a/pics"}, {path: "/img/a/b/pics"}, {path: "/img//pics"}}, []asked{{path: "/img/pics"}, {path: "/img/a/pics/b"}}),
	},
	{
		name: "? in a path is exactly one character", page: pageConditions + "#path-conditions",
		run: condition(of(path("/v?/x")), []asked{{path: "/v1/x"}, {path: "/v-/x"}}, []asked{{path: "/v/x"}, {path: "/v12/x"}}),
	},
	{
		name: "paths are case-sensitive", page: pageConditions + "#path-conditions",
		run: condition(of(path("/Img/*")), []asked{{path: "/Img/a"}}, []asked{{path: "/img/a"}, {path: "/IMG/a"}}),
	},
	{
		name: "a path pattern is not applied to the query", page: pageConditions + "#path-conditions",
		run: condition(of(path("*.php")), []asked{{path: "/a.php"}, {path: "/a.php?b=c"}}, []asked{{path: "/a?b=c.php"}}),
	},
	{
		name: "one of several values is enough", page: pageConditions,
		run: condition(of(path("/a", "/b")), []asked{{path: "/a"}, {path: "/b"}}, []asked{{path: "/c"}}),
	},
	{
		name: "every condition has to hold", page: pageRules,
		run: condition(of(path("/a"), method("POST"), header("X-Mode", "on")),
			[]asked{{method: "POST", path: "/a", headers: []string{"X-Mode: on"}}},
			[]asked{
				{method: "GET", path: "/a", headers: []string{"X-Mode: on"}},
				{method: "POST", path: "/b", headers: []string{"X-Mode: on"}},
				{method: "POST", path: "/a"},
			}),
	},
	{
		name: "hosts are not case-sensitive", page: pageConditions + "#host-conditions",
		run: condition(hostPattern("Shop.%s"),
			[]asked{{headers: []string{"Host: shop.{host}"}}, {headers: []string{"Host: SHOP.{host}"}}}, []asked{{headers: []string{"Host: {host}"}}}),
	},
	{
		name: "wildcards in hosts", page: pageConditions + "#host-conditions",
		run: condition(hostPattern("*.%s", "a?.b.%s"),
			[]asked{{headers: []string{"Host: shop.{host}"}}, {headers: []string{"Host: a.b.{host}"}}}, []asked{{headers: []string{"Host: {host}"}}, {headers: []string{"Host: shop{host}"}}}),
	},
	{
		name: "the port of a Host is no part of it", page: pageConditions + "#host-conditions",
		run: condition(hostPattern("port.%s"), []asked{{headers: []string{"Host: port.{host}"}}, {headers: []string{"Host: port.{host}:8080"}}}, []asked{{headers: []string{"Host: port.{host}.a"}}}),
	},
	{
		name: "header names and values are not case-sensitive", page: pageConditions + "#http-header-conditions",
		run: condition(of(header("User-Agent", "*Chrome*")),
			[]asked{{headers: []string{"User-Agent: Mozilla chrome/99"}}, {headers: []string{"user-agent: CHROME"}}}, []asked{{headers: []string{"User-Agent: Firefox"}}, {headers: []string{"X-Agent: Chrome"}}}),
	},
	{
		name: "wildcards in header values", page: pageConditions + "#http-header-conditions",
		run: condition(of(header("X-Release", "gr??n", "canary-*")),
			[]asked{{headers: []string{"X-Release: green"}}, {headers: []string{"X-Release: canary-"}}, {headers: []string{"X-Release: blue", "X-Release: green"}}},
			[]asked{{headers: []string{"X-Release: gren"}}, {headers: []string{"X-Release: a canary-1"}}, {}}),
	},
	{
		name: "methods match exactly", page: pageConditions + "#http-request-method-conditions",
		run: condition(of(method("PUT", "CUSTOM")), []asked{{method: "PUT"}, {method: "CUSTOM"}}, []asked{{method: "GET"}, {method: "POST"}, {method: "HEAD"}}),
	},
	{
		name: "a query condition compares a key and its value", page: pageConditions + "#query-string-conditions",
		run: condition(of(query("version=v1")),
			[]asked{{path: "/?version=v1"}, {path: "/?a=b&VERSION=V1"}}, []asked{{path: "/?version=v12"}, {path: "/?other=v1"}, {path: "/?version"}, {}}),
	},
	{
		name: "a query condition without a key compares every value", page: pageConditions + "#query-string-conditions",
		run: condition(of(query("*example*")),
			[]asked{{path: "/?a=1&b=an-example"}, {path: "/?a=Example"}}, []asked{{path: "/?example=1"}, {path: "/?a=exam"}}),
	},
	{
		name: "a backslash makes a wildcard literal in a query condition", page: pageConditions + "#query-string-conditions",
		run: condition(of(query(`q=a\*b\?`)), []asked{{path: "/?q=a*b%3F"}}, []asked{{path: "/?q=axbx"}, {path: "/?q=a*bc"}}),
	},
	{
		name: "the source IP is in a CIDR block", page: pageConditions + "#source-ip-conditions",
		run: condition(of(sourceIP("127.0.0.0/8")), []asked{{}}, nil),
		aws: "the address that the load balancer sees this machine with is not known",
	},
	{
		name: "the source IP is not that of X-Forwarded-For", page: pageConditions + "#source-ip-conditions",
		run: func(f *fixture) {
			f.rule(fixed("201", "text/plain", ""), sourceIP("192.0.2.0/24"))
			f.rule(fixed("202", "text/plain", ""))
			f.inEffect()
			require.Equal(f, 202, f.get("/", "X-Forwarded-For: 192.0.2.1").StatusCode)
		},
	},
	{
		name: "the rule with the lowest priority that matches is taken", page: pageRules + "#rule-priority",
		run: func(f *fixture) {
			f.rule(fixed("201", "text/plain", ""), path("/a/b/*"))
			f.rule(fixed("202", "text/plain", ""), path("/a/*"))
			f.rule(fixed("203", "text/plain", ""))
			f.inEffect()
			for path, status := range map[string]int{"/a/b/c": 201, "/a/c": 202, "/c": 203} {
				require.Equal(f, status, f.get(path).StatusCode, path)
			}
		},
	},
	{
		name: "priorities can be changed", page: pageRules + "#rule-priority",
		run: func(f *fixture) {
			first, second := f.rule(fixed("201", "text/plain", "")), f.rule(fixed("202", "text/plain", ""))
			f.until(func() bool { return f.get("/").StatusCode == http.StatusCreated }, "the first rule")
			_, err := f.api.SetRulePriorities(f.Context(), &elbv2.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{
				{RuleArn: &second, Priority: aws.Int32(f.priority.Add(1))}, {RuleArn: &first, Priority: aws.Int32(f.priority.Add(1))},
			}})
			require.NoError(f, err)
			f.until(func() bool { return f.get("/").StatusCode == http.StatusAccepted }, "the second rule")
		},
	},
	{
		name: "a rule has at most five condition values", page: pageLimits,
		local: "the emulator takes more",
		run: func(f *fixture) {
			_, err := f.api.CreateRule(f.Context(), &elbv2.CreateRuleInput{
				ListenerArn: &f.listener, Priority: aws.Int32(f.priority.Add(1)), Conditions: []types.RuleCondition{path("/1", "/2", "/3", "/4", "/5", "/6")},
				Actions: []types.Action{fixed("200", "text/plain", "")},
			})
			require.ErrorContains(f, err, "condition values")
		},
	},
	{
		name: "a fixed response", page: pageActions + "#fixed-response-actions",
		run: func(f *fixture) {
			f.rule(fixed("503", "text/html", "<h1>Closed</h1>"))
			f.inEffect()
			got := f.get("/any")
			require.Equal(f, 503, got.StatusCode)
			require.Equal(f, "<h1>Closed</h1>", got.body)
			require.Contains(f, got.Header.Get("Content-Type"), "text/html")
		},
	},
	{
		name: "a redirect keeps what its placeholders name", page: pageActions + "#redirect-actions",
		run: redirected(&types.RedirectActionConfig{
			Protocol: aws.String("HTTPS"), Port: aws.String("444"), Host: aws.String("new.#{host}"), Path: aws.String("/moved/#{path}"),
			Query: aws.String("from=#{port}&#{query}"), StatusCode: types.RedirectActionStatusCodeEnumHttp301,
		}, 301, "https://new.{host}:444/moved/a/b%20c?from={port}&q=1&r=2"),
	},
	{
		name: "a redirect keeps what it does not name", page: pageActions + "#redirect-actions",
		run: redirected(&types.RedirectActionConfig{Protocol: aws.String("HTTPS"), Port: aws.String("443"), StatusCode: types.RedirectActionStatusCodeEnumHttp302},
			302, "https://{host}:443/a/b%20c?q=1&r=2"),
	},
	{
		name: "weights share out requests", page: pageActions + "#forward-actions",
		run: func(f *fixture) {
			blue, green := f.group(), f.group()
			b, g := blue.add("blue", nil), green.add("green", nil)
			f.rule(forwardTo(0, weighted{blue, 80}, weighted{green, 20}))
			b.becomes(types.TargetHealthStateEnumHealthy)
			g.becomes(types.TargetHealthStateEnumHealthy)
			f.inEffect()
			const requests, share = 1000, .2
			n := 0
			for range requests {
				if f.get("/").seen(f).Target == "green" {
					n++
				}
			}
			// Outside of five standard deviations once in two million runs.
			deviation := math.Sqrt(requests * share * (1 - share))
			require.InDelta(f, requests*share, n, 5*deviation)
		},
	},
	{
		name: "a weight of 0 gets nothing, and changes follow", page: pageActions + "#forward-actions",
		run: func(f *fixture) {
			blue, green := f.group(), f.group()
			b, g := blue.add("blue", nil), green.add("green", nil)
			rule := f.rule(forwardTo(0, weighted{blue, 1}, weighted{green, 0}))
			b.becomes(types.TargetHealthStateEnumHealthy)
			g.becomes(types.TargetHealthStateEnumHealthy) // it is checked all the same
			f.inEffect()
			for range 50 {
				require.Equal(f, "blue", f.get("/").seen(f).Target)
			}
			_, err := f.api.ModifyRule(f.Context(), &elbv2.ModifyRuleInput{RuleArn: &rule, Actions: []types.Action{forwardTo(0, weighted{blue, 0}, weighted{green, 1})}})
			require.NoError(f, err)
			f.until(func() bool { return f.get("/").seen(f).Target == "green" }, "the weights are in effect")
			for range 50 {
				require.Equal(f, "green", f.get("/").seen(f).Target)
			}
		},
	},
	{
		name: "a group without targets is a 503, also beside one with targets", page: guide + "load-balancer-troubleshooting.html#http-503-issues",
		run: func(f *fixture) {
			f.rule(forward(f.group()))
			f.inEffect()
			require.Equal(f, 503, f.get("/").StatusCode)
		},
	},
}

// redirected asks for /a/b%20c?q=1&r=2.
func redirected(to *types.RedirectActionConfig, status int, location string) func(*fixture) {
	return func(f *fixture) {
		f.rule(types.Action{Type: types.ActionTypeEnumRedirect, RedirectConfig: to})
		f.inEffect()
		got := f.get("/a/b%20c?q=1&r=2")
		require.Equal(f, status, got.StatusCode)
		require.Equal(f, strings.NewReplacer("{host}", f.host, "{port}", fmt.Sprint(f.port)).Replace(location), got.Header.Get("Location"))
	}
}
