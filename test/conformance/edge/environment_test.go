package edge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	cftypes "github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/edge"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

// environment is the load balancer under test.
type environment struct {
	api      *elbv2.Client
	balancer string // ARN
	listener string // ARN
	port     int32  // of the listener
	vpc      string
	address  string // where the listener is reached
	targetIP string
	local    bool
	interval int32         // of health checks, in seconds
	patience time.Duration // for a change to take effect
	logs     string        // access log, "" when it cannot be read here

	priority atomic.Int32 // of the last rule
	names    atomic.Int32 // of the last case
}

func open(t *testing.T) *environment {
	t.Helper()
	if arn := os.Getenv("CONFORMANCE_LISTENER_ARN"); arn != "" {
		return onAWS(t, arn)
	}
	return onTheLaptop(t)
}

func onAWS(t *testing.T, listener string) *environment {
	t.Helper()
	e := &environment{
		listener: listener, address: os.Getenv("CONFORMANCE_ADDRESS"), targetIP: os.Getenv("CONFORMANCE_TARGET_IP"),
		interval: 5, patience: 2 * time.Minute, // 5 s is the least
	}
	require.NotEmpty(t, e.address, "CONFORMANCE_ADDRESS: name the host and port of the listener")
	require.NotEmpty(t, e.targetIP, "CONFORMANCE_TARGET_IP: name an address of this machine that the load balancer reaches")
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	e.api = elbv2.NewFromConfig(cfg)
	listeners, err := e.api.DescribeListeners(t.Context(), &elbv2.DescribeListenersInput{ListenerArns: []string{listener}})
	require.NoError(t, err)
	e.balancer, e.port = *listeners.Listeners[0].LoadBalancerArn, *listeners.Listeners[0].Port
	balancers, err := e.api.DescribeLoadBalancers(t.Context(), &elbv2.DescribeLoadBalancersInput{LoadBalancerArns: []string{e.balancer}})
	require.NoError(t, err)
	e.vpc = *balancers.LoadBalancers[0].VpcId
	e.priority.Store(20000)
	return e
}

func onTheLaptop(t *testing.T) *environment {
	t.Helper()
	dir := t.TempDir()
	python, err := emulator.Install(t.Context(), filepath.Join("..", "..", "..", ".cache"), func(s string) { t.Log(s) })
	require.NoError(t, err)
	account, err := emulator.Start(t.Context(), emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
	require.NoError(t, err)
	t.Cleanup(func() { account.Stop(context.Background()) })
	cfg := account.AWSConfig()
	e := &environment{
		api: elbv2.NewFromConfig(cfg), port: 80, vpc: "vpc-conformance", targetIP: "127.0.0.1", local: true,
		interval: 1, patience: 15 * time.Second, logs: filepath.Join(dir, "access.log"),
	}
	balancer, err := e.api.CreateLoadBalancer(t.Context(), &elbv2.CreateLoadBalancerInput{Name: aws.String("conformance")})
	require.NoError(t, err)
	e.balancer = *balancer.LoadBalancers[0].LoadBalancerArn
	listener, err := e.api.CreateListener(t.Context(), &elbv2.CreateListenerInput{
		LoadBalancerArn: &e.balancer, Port: &e.port, Protocol: types.ProtocolEnumHttp,
		DefaultActions: []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("404")}}},
	})
	require.NoError(t, err)
	e.listener = *listener.Listeners[0].ListenerArn
	// The edge wants something in front of the load balancer; no case goes there.
	_, err = cloudfront.NewFromConfig(cfg).CreateDistribution(t.Context(), &cloudfront.CreateDistributionInput{DistributionConfig: &cftypes.DistributionConfig{
		CallerReference: aws.String("conformance"), Comment: aws.String(""), Enabled: aws.Bool(true),
		Origins: &cftypes.Origins{Quantity: aws.Int32(1), Items: []cftypes.Origin{{
			Id: aws.String("alb"), DomainName: balancer.LoadBalancers[0].DNSName,
			CustomOriginConfig: &cftypes.CustomOriginConfig{HTTPPort: aws.Int32(80), HTTPSPort: aws.Int32(443), OriginProtocolPolicy: cftypes.OriginProtocolPolicyHttpOnly},
		}}},
		DefaultCacheBehavior: &cftypes.DefaultCacheBehavior{
			TargetOriginId: aws.String("alb"), ViewerProtocolPolicy: cftypes.ViewerProtocolPolicyAllowAll,
			CachePolicyId: aws.String("4135ea2d-6df8-44a3-9df3-4b5a84be39ad"), // CachingDisabled
		},
	}})
	require.NoError(t, err)
	served, err := edge.Start(t.Context(), edge.Options{
		AWS: cfg, EdgeAddr: "127.0.0.1:0", ALBAddr: "127.0.0.1:0", ReportHealth: true, AccessLog: e.logs,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = served.Shutdown(ctx)
	})
	e.address = strings.TrimPrefix(served.ALBURL(), "http://")
	return e
}

// fixture is what one case works with.
type fixture struct {
	*testing.T
	*environment
	host string // its rules match this Host only
	http *http.Client
}

func (e *environment) fixture(t *testing.T) *fixture {
	f := &fixture{T: t, environment: e, host: fmt.Sprintf("case%d.conformance.example", e.names.Add(1))}
	f.http = f.client()
	return f
}

// client connects to the load balancer whatever host is asked for, follows no
// redirect and keeps its connections to itself.
func (f *fixture) client() *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, f.address)
		},
		DisableCompression: true,
	}
	f.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// rule adds a listener rule for the case's host and further conditions, behind
// those added before. It is deleted with the case.
func (f *fixture) rule(action types.Action, conditions ...types.RuleCondition) string {
	f.Helper()
	return f.ruleFor([]string{f.host}, action, conditions...)
}

func (f *fixture) ruleFor(hosts []string, action types.Action, conditions ...types.RuleCondition) string {
	f.Helper()
	if len(hosts) > 0 {
		conditions = append(conditions, types.RuleCondition{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: hosts}})
	}
	out, err := f.api.CreateRule(f.Context(), &elbv2.CreateRuleInput{
		ListenerArn: &f.listener, Priority: aws.Int32(f.priority.Add(1)), Actions: []types.Action{action}, Conditions: conditions,
	})
	require.NoError(f, err)
	arn := *out.Rules[0].RuleArn
	f.Cleanup(func() {
		_, err := f.api.DeleteRule(context.Background(), &elbv2.DeleteRuleInput{RuleArn: &arn})
		require.NoError(f, err)
	})
	return arn
}

// group is a target group of the case.
type group struct {
	f   *fixture
	arn string
}

// group makes a target group with attributes given as key=value.
func (f *fixture) group(attributes ...string) *group {
	f.Helper()
	return f.groupWith(nil, attributes...)
}

func (f *fixture) groupWith(change func(*elbv2.CreateTargetGroupInput), attributes ...string) *group {
	f.Helper()
	in := &elbv2.CreateTargetGroupInput{
		Name: aws.String(fmt.Sprintf("conformance-%d-%d", time.Now().UnixNano()%1e9, f.names.Add(1))), Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80),
		VpcId: &f.vpc, TargetType: types.TargetTypeEnumIp, HealthCheckPath: aws.String("/healthz"), HealthCheckIntervalSeconds: &f.interval,
		HealthCheckTimeoutSeconds: aws.Int32(2), HealthyThresholdCount: aws.Int32(2), UnhealthyThresholdCount: aws.Int32(2),
	}
	if f.interval <= 2 {
		in.HealthCheckTimeoutSeconds = aws.Int32(1)
	}
	if change != nil {
		change(in)
	}
	out, err := f.api.CreateTargetGroup(f.Context(), in)
	require.NoError(f, err)
	g := &group{f, *out.TargetGroups[0].TargetGroupArn}
	f.Cleanup(func() {
		// Rules that forward to it are deleted first, as cleanups run last to first.
		_, err := f.api.DeleteTargetGroup(context.Background(), &elbv2.DeleteTargetGroupInput{TargetGroupArn: &g.arn})
		require.NoError(f, err)
	})
	g.set(append([]string{"deregistration_delay.timeout_seconds=5"}, attributes...)...)
	return g
}

func (g *group) set(attributes ...string) {
	g.f.Helper()
	in := &elbv2.ModifyTargetGroupAttributesInput{TargetGroupArn: &g.arn}
	for _, kv := range attributes {
		key, value, _ := strings.Cut(kv, "=")
		in.Attributes = append(in.Attributes, types.TargetGroupAttribute{Key: &key, Value: &value})
	}
	_, err := g.f.api.ModifyTargetGroupAttributes(g.f.Context(), in)
	require.NoError(g.f, err)
}

// target is an HTTP server behind the load balancer.
type target struct {
	g      *group
	name   string
	id     types.TargetDescription
	health atomic.Int32 // status that health checks get
	checks atomic.Int32
}

// seen is what a target says it received.
type seen struct {
	Target string
	Method string
	URI    string
	Host   string
	Header http.Header
}

// echo answers with what was received.
func echo(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(seen{name, r.Method, r.RequestURI, r.Host, r.Header})
	}
}

// add registers a target with a handler; nil is echo.
func (g *group) add(name string, h http.HandlerFunc) *target {
	g.f.Helper()
	listener, err := new(net.ListenConfig).Listen(g.f.Context(), "tcp", net.JoinHostPort(g.f.targetIP, "0"))
	require.NoError(g.f, err)
	t := &target{g: g, name: name, id: types.TargetDescription{Id: &g.f.targetIP, Port: aws.Int32(int32(listener.Addr().(*net.TCPAddr).Port))}}
	t.health.Store(http.StatusOK)
	if h == nil {
		h = echo(name)
	}
	ctx, end := context.WithCancel(context.Background())
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" {
				t.checks.Add(1)
				w.WriteHeader(int(t.health.Load()))
				return
			}
			h(w, r)
		}),
	}
	go func() { _ = server.Serve(listener) }()
	g.f.Cleanup(func() {
		end()
		server.Close()
	})
	g.register(t.id)
	return t
}

func (g *group) register(id types.TargetDescription) {
	g.f.Helper()
	_, err := g.f.api.RegisterTargets(g.f.Context(), &elbv2.RegisterTargetsInput{TargetGroupArn: &g.arn, Targets: []types.TargetDescription{id}})
	require.NoError(g.f, err)
}

func (t *target) deregister() {
	t.g.f.Helper()
	_, err := t.g.f.api.DeregisterTargets(t.g.f.Context(), &elbv2.DeregisterTargetsInput{TargetGroupArn: &t.g.arn, Targets: []types.TargetDescription{t.id}})
	require.NoError(t.g.f, err)
}

// state is what the API says of the target.
func (t *target) state() types.TargetHealth {
	t.g.f.Helper()
	out, err := t.g.f.api.DescribeTargetHealth(t.g.f.Context(), &elbv2.DescribeTargetHealthInput{TargetGroupArn: &t.g.arn, Targets: []types.TargetDescription{t.id}})
	require.NoError(t.g.f, err)
	require.Len(t.g.f, out.TargetHealthDescriptions, 1)
	return *out.TargetHealthDescriptions[0].TargetHealth
}

func (t *target) becomes(state types.TargetHealthStateEnum) {
	t.g.f.Helper()
	t.g.f.until(func() bool { return t.state().State == state }, "target %s is %s", t.name, state)
}

// served is a group with one healthy target that a rule forwards to.
func (f *fixture) served(h http.HandlerFunc, attributes ...string) *target {
	f.Helper()
	g := f.group(attributes...)
	t := g.add("target", h)
	f.rule(forward(g))
	t.becomes(types.TargetHealthStateEnumHealthy)
	f.inEffect()
	return t
}

// inEffect waits until a rule of the case answers.
func (f *fixture) inEffect() {
	f.Helper()
	f.until(func() bool { return f.get("/").StatusCode != http.StatusNotFound }, "the rule is in effect")
}

// until waits for something to take effect.
func (f *fixture) until(done func() bool, what string, args ...any) {
	f.Helper()
	deadline := time.Now().Add(f.patience)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		require.True(f, time.Now().Before(deadline), "within %v: %s", f.patience, fmt.Sprintf(what, args...))
		<-tick.C
	}
}

// answer is a response read to its end.
type answer struct {
	*http.Response
	body string
}

// seen is what the target received.
func (a answer) seen(f *fixture) seen {
	f.Helper()
	var s seen
	require.NoError(f, json.Unmarshal([]byte(a.body), &s), "%d %s", a.StatusCode, a.body)
	return s
}

// get asks for a path of the case's host; headers are name: value.
func (f *fixture) get(path string, headers ...string) answer {
	f.Helper()
	return f.do(f.http, http.MethodGet, f.host, path, headers...)
}

func (f *fixture) do(c *http.Client, method, host, path string, headers ...string) answer {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), method, "http://"+host+path, nil)
	require.NoError(f, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header[name] = append(req.Header[name], value) // as it is written
	}
	resp, err := c.Do(req)
	require.NoError(f, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(f, err)
	return answer{resp, string(body)}
}

// connect opens a connection to the load balancer that ends with the case.
func (f *fixture) connect() net.Conn {
	f.Helper()
	conn, err := new(net.Dialer).DialContext(f.Context(), "tcp", f.address)
	require.NoError(f, err)
	f.Cleanup(func() { conn.Close() })
	require.NoError(f, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

// attributes sets attributes of the load balancer, key=value, for the case.
func (f *fixture) attributes(list []string) {
	f.Helper()
	current, err := f.api.DescribeLoadBalancerAttributes(f.Context(), &elbv2.DescribeLoadBalancerAttributesInput{LoadBalancerArn: &f.balancer})
	require.NoError(f, err)
	before := map[string]string{}
	for _, a := range current.Attributes {
		before[*a.Key] = *a.Value
	}
	defaults := map[string]string{"idle_timeout.timeout_seconds": "60", "routing.http.xff_header_processing.mode": "append"}
	var set, reset []types.LoadBalancerAttribute
	for _, kv := range list {
		key, value, _ := strings.Cut(kv, "=")
		set = append(set, types.LoadBalancerAttribute{Key: &key, Value: &value})
		reset = append(reset, types.LoadBalancerAttribute{Key: &key, Value: aws.String(cmp.Or(before[key], defaults[key], "false"))})
	}
	_, err = f.api.ModifyLoadBalancerAttributes(f.Context(), &elbv2.ModifyLoadBalancerAttributesInput{LoadBalancerArn: &f.balancer, Attributes: set})
	require.NoError(f, err)
	f.Cleanup(func() {
		_, err := f.api.ModifyLoadBalancerAttributes(context.Background(), &elbv2.ModifyLoadBalancerAttributesInput{LoadBalancerArn: &f.balancer, Attributes: reset})
		require.NoError(f, err)
	})
}

func forward(g *group) types.Action {
	return forwardTo(0, weighted{g, 1})
}

type weighted struct {
	g      *group
	weight int32
}

// forwardTo forwards by weight, with stickiness for so many seconds.
func forwardTo(sticky int32, groups ...weighted) types.Action {
	c := &types.ForwardActionConfig{}
	for _, w := range groups {
		c.TargetGroups = append(c.TargetGroups, types.TargetGroupTuple{TargetGroupArn: &w.g.arn, Weight: aws.Int32(w.weight)})
	}
	if sticky > 0 {
		c.TargetGroupStickinessConfig = &types.TargetGroupStickinessConfig{Enabled: aws.Bool(true), DurationSeconds: &sticky}
	}
	return types.Action{Type: types.ActionTypeEnumForward, ForwardConfig: c}
}

func fixed(status, contentType, body string) types.Action {
	return types.Action{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{
		StatusCode: &status, ContentType: &contentType, MessageBody: &body,
	}}
}
