package edge

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cf "github.com/aws/aws-sdk-go-v2/service/cloudfront"
	cftypes "github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

// deployedEdge is an edge on an emulator of its own, with a load balancer whose
// one listener forwards to blue and green.
type deployedEdge struct {
	t           *testing.T
	api         *elbv2.Client
	edge        *Edge
	objects     *s3.Client
	balancer    string
	stopped     bool
	rule        string
	blue, green string // target groups
}

func deployEdge(t *testing.T) *deployedEdge {
	t.Helper()
	dir := t.TempDir()
	python, err := emulator.Install(t.Context(), filepath.Join("..", "..", ".cache"), func(s string) { t.Log(s) })
	require.NoError(t, err)
	e, err := emulator.Start(t.Context(), emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
	require.NoError(t, err)
	t.Cleanup(func() { e.Stop(context.Background()) })
	d := &deployedEdge{t: t, api: elbv2.NewFromConfig(e.AWSConfig()), objects: s3.NewFromConfig(e.AWSConfig(), func(o *s3.Options) { o.UsePathStyle = true })}

	lb, err := d.api.CreateLoadBalancer(t.Context(), &elbv2.CreateLoadBalancerInput{Name: aws.String("web")})
	require.NoError(t, err)
	d.balancer = *lb.LoadBalancers[0].LoadBalancerArn
	d.blue, d.green = d.group("blue"), d.group("green")
	listener, err := d.api.CreateListener(t.Context(), &elbv2.CreateListenerInput{
		LoadBalancerArn: lb.LoadBalancers[0].LoadBalancerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp,
		DefaultActions: []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("404")}}},
	})
	require.NoError(t, err)
	rule, err := d.api.CreateRule(t.Context(), &elbv2.CreateRuleInput{
		ListenerArn: listener.Listeners[0].ListenerArn, Priority: aws.Int32(10), Actions: d.weights(100, 0),
		Conditions: []types.RuleCondition{{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{"/*"}}}},
	})
	require.NoError(t, err)
	d.rule = *rule.Rules[0].RuleArn
	_, err = cf.NewFromConfig(e.AWSConfig()).CreateDistribution(t.Context(), &cf.CreateDistributionInput{DistributionConfig: &cftypes.DistributionConfig{
		CallerReference: aws.String("test"), Comment: aws.String(""), Enabled: aws.Bool(true),
		Origins: &cftypes.Origins{Quantity: aws.Int32(1), Items: []cftypes.Origin{{
			Id: aws.String("alb"), DomainName: lb.LoadBalancers[0].DNSName,
			CustomOriginConfig: &cftypes.CustomOriginConfig{HTTPPort: aws.Int32(80), HTTPSPort: aws.Int32(443), OriginProtocolPolicy: cftypes.OriginProtocolPolicyHttpOnly},
		}}},
		DefaultCacheBehavior: &cftypes.DefaultCacheBehavior{
			TargetOriginId: aws.String("alb"), ViewerProtocolPolicy: cftypes.ViewerProtocolPolicyAllowAll,
			CachePolicyId: aws.String("4135ea2d-6df8-44a3-9df3-4b5a84be39ad"), // CachingDisabled
		},
	}})
	require.NoError(t, err)

	d.edge, err = Start(t.Context(), Options{
		AWS: e.AWSConfig(), EdgeAddr: "127.0.0.1:0", ALBAddr: "127.0.0.1:0", ReportHealth: true, DeliverLogs: 250 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	t.Cleanup(d.stop)
	return d
}

func (d *deployedEdge) stop() {
	if d.stopped {
		return
	}
	d.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(d.t, d.edge.Shutdown(ctx))
}

func (d *deployedEdge) group(name string) string {
	d.t.Helper()
	out, err := d.api.CreateTargetGroup(d.t.Context(), &elbv2.CreateTargetGroupInput{
		Name: &name, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(8080), TargetType: types.TargetTypeEnumIp,
		HealthCheckPath: aws.String("/health"), HealthCheckIntervalSeconds: aws.Int32(1), HealthCheckTimeoutSeconds: aws.Int32(2), // 5 s is AWS's least
	})
	require.NoError(d.t, err)
	return *out.TargetGroups[0].TargetGroupArn
}

// weights is the action of the rule. A weight of 0 for green leaves it out.
func (d *deployedEdge) weights(blue, green int32) []types.Action {
	forward := &types.ForwardActionConfig{TargetGroups: []types.TargetGroupTuple{{TargetGroupArn: &d.blue, Weight: &blue}}}
	if green > 0 {
		forward.TargetGroups = append(forward.TargetGroups, types.TargetGroupTuple{TargetGroupArn: &d.green, Weight: &green})
	}
	return []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: forward}}
}

func (d *deployedEdge) modify(blue, green int32) {
	d.t.Helper()
	_, err := d.api.ModifyRule(d.t.Context(), &elbv2.ModifyRuleInput{RuleArn: &d.rule, Actions: d.weights(blue, green)})
	require.NoError(d.t, err)
}

// target serves as one of a group; port 1 is one that nobody serves.
func (d *deployedEdge) target(group string, h http.HandlerFunc) types.TargetDescription {
	d.t.Helper()
	srv := httptest.NewServer(h)
	d.t.Cleanup(srv.Close)
	return d.register(group, srv.Listener.Addr().(*net.TCPAddr).Port)
}

func (d *deployedEdge) register(group string, port int) types.TargetDescription {
	d.t.Helper()
	t := types.TargetDescription{Id: aws.String("127.0.0.1"), Port: aws.Int32(int32(port))}
	_, err := d.api.RegisterTargets(d.t.Context(), &elbv2.RegisterTargetsInput{TargetGroupArn: &group, Targets: []types.TargetDescription{t}})
	require.NoError(d.t, err)
	return t
}

func (d *deployedEdge) deregister(group string, t types.TargetDescription) {
	d.t.Helper()
	_, err := d.api.DeregisterTargets(d.t.Context(), &elbv2.DeregisterTargetsInput{TargetGroupArn: &group, Targets: []types.TargetDescription{t}})
	require.NoError(d.t, err)
}

// health is what DescribeTargetHealth says of a target now.
func (d *deployedEdge) health(group string, t types.TargetDescription) types.TargetHealth {
	d.t.Helper()
	out, err := d.api.DescribeTargetHealth(d.t.Context(), &elbv2.DescribeTargetHealthInput{TargetGroupArn: &group, Targets: []types.TargetDescription{t}})
	require.NoError(d.t, err)
	require.Len(d.t, out.TargetHealthDescriptions, 1)
	require.Equal(d.t, *t.Port, *out.TargetHealthDescriptions[0].Target.Port)
	return *out.TargetHealthDescriptions[0].TargetHealth
}

// becomes waits until DescribeTargetHealth says so of a target.
func (d *deployedEdge) becomes(group string, t types.TargetDescription, state types.TargetHealthStateEnum) types.TargetHealth {
	d.t.Helper()
	var last types.TargetHealth
	require.Eventually(d.t, func() bool {
		last = d.health(group, t)
		return last.State == state
	}, 20*time.Second, 20*time.Millisecond, "%s", state)
	return last
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

// TestChangesTakeEffectWithinASecond flips all traffic back and forth under
// load: each flip is in effect within a second of the API's answer, for every
// request from then on, and no request fails.
func TestChangesTakeEffectWithinASecond(t *testing.T) {
	t.Parallel()
	d := deployEdge(t)
	d.modify(50, 50)
	d.becomes(d.blue, d.target(d.blue, answer("blue")), types.TargetHealthStateEnumHealthy)
	d.becomes(d.green, d.target(d.green, answer("green")), types.TargetHealthStateEnumHealthy)

	type served struct {
		began time.Time
		body  string
	}
	var mu sync.Mutex
	var all []served
	var failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				began := time.Now()
				resp, err := client.Get(d.edge.URL())
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				if err != nil {
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					failed.Add(1)
				}
				mu.Lock()
				all = append(all, served{began, string(body)})
				mu.Unlock()
			}
		})
	}
	var slowest time.Duration
	for flip := range 4 {
		want, weights := "green", [2]int32{0, 100}
		if flip%2 == 1 {
			want, weights = "blue", [2]int32{100, 0}
		}
		d.modify(weights[0], weights[1])
		at := time.Now()
		settled := at.Add(time.Second) // what begins later has to follow
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(all) > 0 && all[len(all)-1].began.After(settled.Add(250*time.Millisecond))
		}, 20*time.Second, 20*time.Millisecond)
		mu.Lock()
		for _, s := range all {
			if s.began.After(at) && s.body != want {
				slowest = max(slowest, s.began.Sub(at))
			}
		}
		require.NotEmpty(t, all)
		all = all[:0]
		mu.Unlock()
	}
	stop()
	clients.Wait()
	require.Zero(t, failed.Load(), "failed requests")
	require.Positive(t, slowest, "no request was seen under the weights before: nothing was measured")
	require.LessOrEqual(t, slowest, time.Second)
	t.Logf("the last request under the weights before came %v after a change", slowest)
}

func TestTargetHealthIsTrue(t *testing.T) {
	t.Parallel()
	d := deployEdge(t)
	var sick atomic.Bool
	hold, release := context.WithCancel(t.Context()) // ends with a test that fails too
	held := make(chan struct{})
	target := d.target(d.blue, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			close(held)
			<-hold.Done()
		}
		if sick.Load() && r.URL.Path == "/health" {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	state := d.health(d.blue, target)
	require.Contains(t, []types.TargetHealthStateEnum{types.TargetHealthStateEnumInitial, types.TargetHealthStateEnumHealthy}, state.State)
	require.Equal(t, types.TargetHealth{State: types.TargetHealthStateEnumHealthy}, d.becomes(d.blue, target, types.TargetHealthStateEnumHealthy))

	// Two targets at one address, and one of them serves nobody.
	down := d.register(d.blue, 1)
	require.Equal(t, types.TargetHealthReasonEnumFailedHealthChecks, d.becomes(d.blue, down, types.TargetHealthStateEnumUnhealthy).Reason)
	require.Equal(t, types.TargetHealthStateEnumHealthy, d.health(d.blue, target).State)

	// Nothing forwards to green.
	unused := d.register(d.green, 1)
	require.Equal(t, types.TargetHealth{
		State: types.TargetHealthStateEnumUnused, Reason: types.TargetHealthReasonEnumNotInUse,
		Description: aws.String("Target group is not configured to receive traffic from the load balancer"),
	}, d.health(d.green, unused))
	never := types.TargetDescription{Id: aws.String("127.0.0.2"), Port: aws.Int32(2)}
	require.Equal(t, types.TargetHealthReasonEnumNotRegistered, d.health(d.blue, never).Reason)

	// A rule for testers is enough for a group to be checked, also beside a weight of 0.
	_, err := d.api.CreateRule(t.Context(), &elbv2.CreateRuleInput{
		ListenerArn: aws.String(d.listener()), Priority: aws.Int32(5),
		Conditions: []types.RuleCondition{{Field: aws.String("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: aws.String("X-Release"), Values: []string{"green"}}}},
		Actions:    []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: &d.green}},
	})
	require.NoError(t, err)
	require.Equal(t, types.TargetHealthStateEnumInitial, d.health(d.green, unused).State)
	d.becomes(d.green, unused, types.TargetHealthStateEnumUnhealthy)
	d.becomes(d.green, d.target(d.green, answer("green")), types.TargetHealthStateEnumHealthy)

	sick.Store(true)
	require.Equal(t, types.TargetHealth{
		State: types.TargetHealthStateEnumUnhealthy, Reason: types.TargetHealthReasonEnumResponseCodeMismatch,
		Description: aws.String("Health checks failed with these codes: [502]"),
	}, d.becomes(d.blue, target, types.TargetHealthStateEnumUnhealthy))
	sick.Store(false)
	d.deregister(d.blue, down)
	d.becomes(d.blue, down, types.TargetHealthStateEnumUnused)

	// A target is listed as draining as long as it has a request, and registered
	// again it is a new one.
	d.becomes(d.blue, target, types.TargetHealthStateEnumUnhealthy)
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get(d.edge.ALBURL() + "/hold")
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	select {
	case <-held:
	case err := <-answered:
		require.Fail(t, "the request that is to be held was answered", err)
	}
	d.deregister(d.blue, target)
	require.Equal(t, types.TargetHealth{
		State: types.TargetHealthStateEnumDraining, Reason: types.TargetHealthReasonEnumDeregistrationInProgress,
		Description: aws.String("Target deregistration is in progress"),
	}, d.health(d.blue, target))
	listed, err := d.api.DescribeTargetHealth(t.Context(), &elbv2.DescribeTargetHealthInput{TargetGroupArn: &d.blue})
	require.NoError(t, err)
	require.Contains(t, listed.TargetHealthDescriptions[len(listed.TargetHealthDescriptions)-1].TargetHealth.State, types.TargetHealthStateEnumDraining)
	require.Eventually(t, func() bool { return len(d.edge.ALB().Config().TargetGroups[0].Targets) == 0 }, 5*time.Second, 20*time.Millisecond,
		"a draining target is not a registered one")
	require.Equal(t, types.TargetHealthStateEnumDraining, d.health(d.blue, target).State)
	d.register(d.blue, int(*target.Port))
	require.Equal(t, types.TargetHealthStateEnumInitial, d.health(d.blue, target).State)
	d.becomes(d.blue, target, types.TargetHealthStateEnumHealthy)
	d.deregister(d.blue, target)
	release()
	require.NoError(t, <-answered)
	require.Equal(t, types.TargetHealthReasonEnumNotRegistered, d.becomes(d.blue, target, types.TargetHealthStateEnumUnused).Reason)

	// Nobody knows any more when the edge is gone.
	last := d.register(d.blue, 1)
	d.stop()
	require.Equal(t, types.TargetHealth{
		State: types.TargetHealthStateEnumUnavailable, Reason: types.TargetHealthReasonEnumInternalError,
		Description: aws.String("Health checks failed due to an internal error"),
	}, d.becomes(d.blue, last, types.TargetHealthStateEnumUnavailable))
}

func TestAccessLogsReachTheirBucket(t *testing.T) {
	t.Parallel()
	d := deployEdge(t)
	_, err := d.objects.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("logs")})
	require.NoError(t, err)
	attribute := func(key, value string) types.LoadBalancerAttribute {
		return types.LoadBalancerAttribute{Key: &key, Value: &value}
	}
	_, err = d.api.ModifyLoadBalancerAttributes(t.Context(), &elbv2.ModifyLoadBalancerAttributesInput{LoadBalancerArn: &d.balancer, Attributes: []types.LoadBalancerAttribute{
		attribute("access_logs.s3.enabled", "true"), attribute("access_logs.s3.bucket", "logs"), attribute("access_logs.s3.prefix", "alb"),
	}})
	require.NoError(t, err)
	changed := time.Now()
	require.Eventually(t, func() bool { return d.edge.ALB().Config().LoadBalancer.AccessLogs.Bucket == "logs" }, 10*time.Second, 10*time.Millisecond)
	require.LessOrEqual(t, time.Since(changed), time.Second, "an attribute is in effect within a second too")
	get(t, d.edge.ALBURL()+"/logged")
	var listed *s3.ListObjectsV2Output
	require.Eventually(t, func() bool {
		listed, err = d.objects.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("logs")})
		require.NoError(t, err)
		return len(listed.Contents) > 0
	}, 10*time.Second, 20*time.Millisecond)
	require.Regexp(t, `^alb/AWSLogs/000000000000/elasticloadbalancing/us-east-1/\d{4}/\d\d/\d\d/000000000000_elasticloadbalancing_us-east-1_app\.web\.`, *listed.Contents[0].Key)
	object, err := d.objects.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("logs"), Key: listed.Contents[0].Key})
	require.NoError(t, err)
	defer object.Body.Close()
	packed, err := gzip.NewReader(object.Body)
	require.NoError(t, err)
	entries, err := io.ReadAll(packed)
	require.NoError(t, err)
	require.Contains(t, string(entries), ":80/logged HTTP/1.1")
}

func (d *deployedEdge) listener() string { return d.edge.ALB().Config().Listeners[0].ARN }
