package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cf "github.com/aws/aws-sdk-go-v2/service/cloudfront"
	cftypes "github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/loadbearing/loadbearing/local/edge/alb"
	"github.com/loadbearing/loadbearing/local/edge/cloudfront"
)

const dnsName = "web-1.us-east-1.elb.amazonaws.com"

// deployment is an account with one distribution in front of one load
// balancer, whose rule wants the origin's secret.
type deployment struct {
	cloudfront.API // what is not called

	mu      sync.Mutex
	targets []types.TargetDescription
	broken  error
	reads   int
}

func (d *deployment) set(targets ...types.TargetDescription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.targets = targets
}

func (d *deployment) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

func (d *deployment) DescribeLoadBalancers(context.Context, *elbv2.DescribeLoadBalancersInput, ...func(*elbv2.Options)) (*elbv2.DescribeLoadBalancersOutput, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	return &elbv2.DescribeLoadBalancersOutput{LoadBalancers: []types.LoadBalancer{{LoadBalancerArn: aws.String("lb"), DNSName: aws.String(dnsName)}}}, d.broken
}

func (d *deployment) DescribeLoadBalancerAttributes(context.Context, *elbv2.DescribeLoadBalancerAttributesInput, ...func(*elbv2.Options)) (*elbv2.DescribeLoadBalancerAttributesOutput, error) {
	return &elbv2.DescribeLoadBalancerAttributesOutput{}, nil
}

func (d *deployment) DescribeListeners(context.Context, *elbv2.DescribeListenersInput, ...func(*elbv2.Options)) (*elbv2.DescribeListenersOutput, error) {
	return &elbv2.DescribeListenersOutput{Listeners: []types.Listener{{
		ListenerArn: aws.String("l"), Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp,
		DefaultActions: []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("403")}}},
	}}}, nil
}

func (d *deployment) DescribeRules(context.Context, *elbv2.DescribeRulesInput, ...func(*elbv2.Options)) (*elbv2.DescribeRulesOutput, error) {
	return &elbv2.DescribeRulesOutput{Rules: []types.Rule{{
		RuleArn: aws.String("r"), Priority: aws.String("1"),
		Conditions: []types.RuleCondition{{
			Field:            aws.String("http-header"),
			HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: aws.String("X-Origin-Verify"), Values: []string{"secret"}},
		}},
		Actions: []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: aws.String("tg")}},
	}}}, nil
}

func (d *deployment) DescribeTargetGroups(context.Context, *elbv2.DescribeTargetGroupsInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetGroupsOutput, error) {
	return &elbv2.DescribeTargetGroupsOutput{TargetGroups: []types.TargetGroup{{TargetGroupArn: aws.String("tg"), TargetGroupName: aws.String("tg")}}}, nil
}

func (d *deployment) DescribeTargetGroupAttributes(context.Context, *elbv2.DescribeTargetGroupAttributesInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetGroupAttributesOutput, error) {
	return &elbv2.DescribeTargetGroupAttributesOutput{}, nil
}

func (d *deployment) DescribeTargetHealth(context.Context, *elbv2.DescribeTargetHealthInput, ...func(*elbv2.Options)) (*elbv2.DescribeTargetHealthOutput, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &elbv2.DescribeTargetHealthOutput{}
	for _, t := range d.targets {
		out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, types.TargetHealthDescription{Target: &t})
	}
	return out, nil
}

func (d *deployment) ListDistributions(context.Context, *cf.ListDistributionsInput, ...func(*cf.Options)) (*cf.ListDistributionsOutput, error) {
	return &cf.ListDistributionsOutput{DistributionList: &cftypes.DistributionList{Items: []cftypes.DistributionSummary{{Id: aws.String("E1")}}}}, nil
}

func (d *deployment) GetDistribution(context.Context, *cf.GetDistributionInput, ...func(*cf.Options)) (*cf.GetDistributionOutput, error) {
	return &cf.GetDistributionOutput{Distribution: &cftypes.Distribution{DistributionConfig: &cftypes.DistributionConfig{
		Enabled: aws.Bool(true),
		Origins: &cftypes.Origins{Items: []cftypes.Origin{{
			Id: aws.String("alb"), DomainName: aws.String(dnsName),
			CustomOriginConfig: &cftypes.CustomOriginConfig{OriginProtocolPolicy: cftypes.OriginProtocolPolicyHttpOnly},
			CustomHeaders:      &cftypes.CustomHeaders{Items: []cftypes.OriginCustomHeader{{HeaderName: aws.String("X-Origin-Verify"), HeaderValue: aws.String("secret")}}},
		}}},
		DefaultCacheBehavior: &cftypes.DefaultCacheBehavior{
			TargetOriginId: aws.String("alb"), CachePolicyId: aws.String("c"), OriginRequestPolicyId: aws.String("all"),
			AllowedMethods: &cftypes.AllowedMethods{Items: []cftypes.Method{"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}},
		},
	}}}, nil
}

func (d *deployment) GetCachePolicy(context.Context, *cf.GetCachePolicyInput, ...func(*cf.Options)) (*cf.GetCachePolicyOutput, error) {
	return &cf.GetCachePolicyOutput{}, nil
}

func (d *deployment) GetOriginRequestPolicy(context.Context, *cf.GetOriginRequestPolicyInput, ...func(*cf.Options)) (*cf.GetOriginRequestPolicyOutput, error) {
	return &cf.GetOriginRequestPolicyOutput{OriginRequestPolicy: &cftypes.OriginRequestPolicy{OriginRequestPolicyConfig: &cftypes.OriginRequestPolicyConfig{
		HeadersConfig:      &cftypes.OriginRequestPolicyHeadersConfig{HeaderBehavior: cftypes.OriginRequestPolicyHeaderBehaviorAllViewer},
		CookiesConfig:      &cftypes.OriginRequestPolicyCookiesConfig{CookieBehavior: cftypes.OriginRequestPolicyCookieBehaviorAll},
		QueryStringsConfig: &cftypes.OriginRequestPolicyQueryStringsConfig{QueryStringBehavior: cftypes.OriginRequestPolicyQueryStringBehaviorAll},
	}}}, nil
}

func instance(t testing.TB, id string, h http.HandlerFunc) types.TargetDescription {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return types.TargetDescription{Id: &id, Port: aws.Int32(int32(srv.Listener.Addr().(*net.TCPAddr).Port))}
}

func running(t testing.TB, d *deployment) *Edge {
	t.Helper()
	e, err := start(t.Context(), Options{EdgeAddr: "127.0.0.1:0", ALBAddr: "127.0.0.1:0", Poll: 10 * time.Millisecond}, apis{elb: d, cloudfront: d})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}

func healthy(t testing.TB, e *Edge, target types.TargetDescription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := e.ALB().Wait(ctx, "tg", alb.Target{ID: *target.Id, Port: int(*target.Port)}, alb.Healthy); err != nil {
		t.Fatal(err)
	}
}

func TestThroughBothHops(t *testing.T) {
	t.Parallel()
	d := &deployment{}
	target := instance(t, "i-1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s|%s|%s", r.Method, r.RequestURI, body, r.Header.Get("X-Forwarded-For"), r.Host)
	})
	d.set(target)
	e := running(t, d)
	healthy(t, e, target)

	resp, err := http.Post(e.URL()+"/a?b=c", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if want := "POST /a?b=c hello|127.0.0.1, 127.0.0.1|" + strings.TrimPrefix(e.URL(), "http://"); string(body) != want {
		t.Errorf("%q, want %q", body, want)
	}
	if resp.Header.Get("X-Cache") != "Miss from cloudfront" {
		t.Errorf("%v", resp.Header)
	}
	if status, _ := get(t, e.ALBURL()+"/a"); status != http.StatusForbidden {
		t.Errorf("the load balancer without CloudFront's secret: %d, want 403", status)
	}
}

func TestFollowsTheDeployment(t *testing.T) {
	t.Parallel()
	d := &deployment{}
	e := running(t, d)
	if status, _ := get(t, e.URL()); status != http.StatusServiceUnavailable {
		t.Errorf("without a target: %d, want 503", status)
	}
	one := instance(t, "i-1", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "one") })
	d.set(one)
	healthy(t, e, one)
	if _, body := get(t, e.URL()); body != "one" {
		t.Errorf("%q, want one", body)
	}

	// While the API is away, the last configuration serves on.
	d.fail(io.ErrUnexpectedEOF)
	if err := e.Reload(t.Context()); err == nil {
		t.Error("reload with the API away: no error")
	}
	if _, body := get(t, e.URL()); body != "one" {
		t.Errorf("with the API away: %q, want one", body)
	}
	d.fail(nil)

	two := instance(t, "i-2", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "two") })
	d.set(two)
	if err := e.Reload(t.Context()); err != nil { // without waiting for the poll
		t.Fatal(err)
	}
	for range 10 {
		if _, body := get(t, e.URL()); body != "two" {
			t.Errorf("after deregistration: %q, want two", body)
		}
	}
}

func TestStreamsThroughBothHops(t *testing.T) {
	t.Parallel()
	d := &deployment{}
	next := make(chan struct{})
	target := instance(t, "i-1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return
		}
		for i := range 3 {
			fmt.Fprintf(w, "%d\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	d.set(target)
	e := running(t, d)
	healthy(t, e, target)
	resp, err := http.Get(e.URL() + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprint(i) {
			t.Fatalf("event %d: %q %v", i, lines.Text(), lines.Err())
		}
		next <- struct{}{}
	}
}

// An answer that comes before the upload is over, as 413 does, must not wait
// for the rest of it on either hop.
func TestEarlyAnswerToAnUpload(t *testing.T) {
	t.Parallel()
	d := &deployment{}
	target := instance(t, "i-1", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	d.set(target)
	e := running(t, d)
	healthy(t, e, target)
	conn, err := net.Dial("tcp", strings.TrimPrefix(e.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("%v %v, want 413", resp, err)
	}
	resp.Body.Close()
}

func TestWebSocketAndShutdown(t *testing.T) {
	t.Parallel()
	d := &deployment{}
	target := instance(t, "i-1", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	})
	d.set(target)
	e := running(t, d)
	healthy(t, e, target)
	conn, err := net.Dial("tcp", strings.TrimPrefix(e.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "GET /s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v, want 101", resp, err)
	}
	defer resp.Body.Close()
	fmt.Fprint(conn, "ping")
	echo := make([]byte, 4)
	if _, err := io.ReadFull(r, echo); err != nil || string(echo) != "ping" {
		t.Fatalf("%q %v", echo, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := e.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the socket is open after shutdown")
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	d := &deployment{}
	for want, opts := range map[string]Options{
		"EDGE_PORT=": {EdgeAddr: taken.Addr().String(), ALBAddr: "127.0.0.1:0"},
		"ALB_PORT=":  {EdgeAddr: "127.0.0.1:0", ALBAddr: taken.Addr().String()},
	} {
		_, err := start(t.Context(), opts, apis{elb: d, cloudfront: d})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "port "+port) {
			t.Errorf("error %v, want one with %s and the port", err, want)
		}
	}
}

// Targets are replaced one after the other, as a rolling release does, and no
// request through both hops fails.
func TestRollingReplacementDropsNothing(t *testing.T) {
	t.Parallel()
	d := &deployment{}
	handler := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
	current := instance(t, "i-0", handler)
	d.set(current)
	e := running(t, d)
	healthy(t, e, current)
	stop := make(chan struct{})
	var failed, done atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get(e.URL())
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
	for i := 1; i <= 5; i++ {
		fresh := instance(t, fmt.Sprintf("i-%d", i), handler)
		d.set(current, fresh)
		healthy(t, e, fresh)
		d.set(fresh)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := e.ALB().Wait(ctx, "tg", alb.Target{ID: *current.Id, Port: int(*current.Port)}, alb.Unused); err != nil {
			t.Error(err)
		}
		cancel()
		current = fresh
	}
	close(stop)
	clients.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), done.Load())
	}
}
