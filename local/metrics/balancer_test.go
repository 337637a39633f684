package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/edge/alb"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/metrics"
	"github.com/loadbearing/loadbearing/local/process"
)

const (
	balancerARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0123456789abcdef"
	groupARN    = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/blue/fedcba9876543210"
)

// balanced is a load balancer with a fixed response for /fixed, a redirect for
// /moved, a group without targets for /none, one with a target that nobody is
// behind for /refused, and the target at / answers with the status that the
// query names.
func balanced(t *testing.T) (*alb.Server, string) {
	t.Helper()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.URL.RawQuery)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(target.Close)
	group := func(arn string, ports ...int) alb.TargetGroup {
		g := alb.TargetGroup{ARN: arn, Name: arn, HealthCheck: alb.HealthCheck{
			Protocol: alb.HTTP, Path: "/", Interval: 5 * time.Second, Timeout: 2 * time.Second, HealthyThreshold: 2, UnhealthyThreshold: 2, Matcher: "200",
		}}
		for i, port := range ports {
			g.Targets = append(g.Targets, alb.Target{ID: fmt.Sprintf("i-%d", i), Port: port})
		}
		return g
	}
	port := target.Listener.Addr().(*net.TCPAddr).Port
	rule := func(path string, action alb.Action) alb.Rule {
		return alb.Rule{ARN: path, Priority: 1, Conditions: []alb.Condition{{Field: alb.FieldPath, Values: []string{path}}}, Action: action}
	}
	forward := func(arn string) alb.Action {
		return alb.Action{Forward: &alb.Forward{Groups: []alb.WeightedGroup{{ARN: arn, Weight: 1}}}}
	}
	s := alb.NewServer(alb.Options{Check: func(context.Context, string) (int, error) { return 200, nil }})
	t.Cleanup(s.Close)
	require.NoError(t, s.Apply(alb.Config{
		LoadBalancer: alb.LoadBalancer{ARN: balancerARN},
		Listeners: []alb.Listener{{Port: 80, Rules: []alb.Rule{
			rule("/fixed", alb.Action{FixedResponse: &alb.FixedResponse{Status: 503}}),
			rule("/moved", alb.Action{Redirect: &alb.Redirect{Status: 301}}),
			rule("/none", forward("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/none/1")),
			rule("/refused", forward("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/refused/1")),
			{ARN: "default", Action: forward(groupARN)},
		}}},
		TargetGroups: []alb.TargetGroup{
			group(groupARN, port, port),
			group("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/none/1"),
			group("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/refused/1", 1),
		},
	}))
	for _, target := range []string{"i-0", "i-1"} {
		_, err := s.Wait(t.Context(), groupARN, alb.Target{ID: target, Port: port}, alb.Healthy)
		require.NoError(t, err)
	}
	front := httptest.NewUnstartedServer(s)
	front.Listener = s.Track(front.Listener)
	front.Start()
	t.Cleanup(front.Close)
	return s, front.URL
}

func request(t *testing.T, url string, times int) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for range times {
		resp, err := client.Get(url)
		require.NoError(t, err)
		resp.Body.Close()
	}
}

// published lists the sums of what was published by name and dimensions.
func published(a *account) map[string]int {
	sums := map[string]int{}
	for _, in := range a.published {
		for _, d := range in.MetricData {
			name := strings.TrimPrefix(metrics.Name(types.Metric{Namespace: in.Namespace, MetricName: d.MetricName, Dimensions: d.Dimensions}), "AWS/ApplicationELB ")
			for i, v := range d.Values {
				if d.Counts != nil {
					v = d.Counts[i] // how many response times
				}
				sums[name] += int(v)
			}
		}
	}
	a.published = nil
	return sums
}

func TestBalancer(t *testing.T) {
	t.Parallel()
	s, url := balanced(t)
	a := &account{}
	b := metrics.Balancer{API: a, LoadBalancer: s}
	const (
		lb = "{LoadBalancer=app/web/0123456789abcdef}"
		tg = "{LoadBalancer=app/web/0123456789abcdef,TargetGroup=targetgroup/blue/fedcba9876543210}"
	)
	require.NoError(t, b.Publish(t.Context(), time.Now()))
	// What is reported without a request: how targets are, and 0 per target.
	idle := published(a)
	require.Equal(t, 2, idle["HealthyHostCount"+tg])
	require.Contains(t, idle, "UnHealthyHostCount"+tg)
	require.Contains(t, idle, "RequestCountPerTarget"+tg)
	for name := range idle {
		require.Regexp(t, "^(Healthy|UnHealthy)HostCount|^RequestCountPerTarget", name)
	}

	request(t, url+"/?200", 6)
	request(t, url+"/?304", 1)
	request(t, url+"/?404", 2)
	request(t, url+"/?500", 3)
	request(t, url+"/fixed", 4)
	request(t, url+"/moved", 5)
	request(t, url+"/none", 1)
	request(t, url+"/refused", 2)
	require.NoError(t, b.Publish(t.Context(), time.Now()))
	got := published(a)
	for name, want := range map[string]int{
		"RequestCount" + tg: 12, "RequestCount" + lb: 14,
		"HTTPCode_Target_2XX_Count" + tg: 6, "HTTPCode_Target_3XX_Count" + tg: 1, "HTTPCode_Target_4XX_Count" + tg: 2,
		"HTTPCode_Target_5XX_Count" + tg: 3, "HTTPCode_Target_5XX_Count" + lb: 3,
		"TargetResponseTime" + tg: 12, "TargetResponseTime" + lb: 12,
		"RequestCountPerTarget" + tg: 6, "RequestCountPerTarget{TargetGroup=targetgroup/blue/fedcba9876543210}": 6,
		"HTTP_Fixed_Response_Count" + lb: 4, "HTTP_Redirect_Count" + lb: 5, "HTTPCode_ELB_3XX_Count" + lb: 5,
		"HTTPCode_ELB_5XX_Count" + lb: 7, "HTTPCode_ELB_503_Count" + lb: 5, "HTTPCode_ELB_502_Count" + lb: 2,
		"TargetConnectionErrorCount" + lb: 2,
		"TargetConnectionErrorCount{LoadBalancer=app/web/0123456789abcdef,TargetGroup=targetgroup/refused/1}": 2,
	} {
		require.Equal(t, want, got[name], name)
	}
	require.NotContains(t, got, "RejectedConnectionCount"+lb)
	require.NotContains(t, got, "HTTPCode_ELB_504_Count"+lb)
	require.GreaterOrEqual(t, got["NewConnectionCount"+lb], 2, "of the client and to the targets")
	require.GreaterOrEqual(t, got["ActiveConnectionCount"+lb], 2)

	_, err := b.Measure(t.Context(), metric("AWS/ApplicationELB", "RequestCountPerTarget", "TargetGroup", "targetgroup/blue/1"))
	require.NoError(t, err)
	_, err = b.Measure(t.Context(), metric("AWS/ApplicationELB", "PeakLCUs", "LoadBalancer", "app/web/1"))
	require.ErrorIs(t, err, metrics.ErrUnknown)
	a.err = errors.New("connection refused")
	require.ErrorContains(t, b.Publish(t.Context(), time.Now()), "publish metrics of AWS/ApplicationELB: connection refused")
}

// TestAReleaseReadsThem asks the emulator as a release controller does: several
// metrics of a window at once, second by second.
func TestAReleaseReadsThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	python, err := emulator.Install(t.Context(), filepath.Join("..", "..", ".cache"), func(s string) { t.Log(s) })
	require.NoError(t, err)
	e, err := emulator.Start(t.Context(), emulator.Options{Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator")})
	require.NoError(t, err)
	defer e.Stop(context.Background())
	api := cloudwatch.NewFromConfig(e.AWSConfig())
	s, url := balanced(t)
	b := metrics.Balancer{API: api, LoadBalancer: s}

	begin := time.Now().Truncate(time.Second)
	request(t, url+"/?200", 1) // before the window
	require.NoError(t, b.Publish(t.Context(), begin.Add(-time.Second)))
	for second, status := range []string{"200", "500", ""} {
		if status != "" {
			request(t, url+"/?"+status, 10*(second+1))
		}
		require.NoError(t, b.Publish(t.Context(), begin.Add(time.Duration(second)*time.Second)))
	}
	// A distribution that one datum cannot hold: 1 ms to 1 s, a 100th of them slow.
	wide := &cloudwatch.PutMetricDataInput{Namespace: aws.String("AWS/ApplicationELB")}
	by := []types.Dimension{
		{Name: aws.String("LoadBalancer"), Value: aws.String("app/web/wide")},
		{Name: aws.String("TargetGroup"), Value: aws.String("targetgroup/blue/fedcba9876543210")},
	}
	for part := range 2 {
		d := types.MetricDatum{MetricName: aws.String("TargetResponseTime"), Dimensions: by, Timestamp: &begin, StorageResolution: aws.Int32(1)}
		for i := range 150 {
			d.Values, d.Counts = append(d.Values, float64(150*part+i+1)/1000), append(d.Counts, 2)
		}
		wide.MetricData = append(wide.MetricData, d)
	}
	_, err = api.PutMetricData(t.Context(), wide)
	require.NoError(t, err)

	query := func(id, name, stat, balancer string) types.MetricDataQuery {
		return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
			Period: aws.Int32(1), Stat: &stat, Metric: &types.Metric{
				Namespace: aws.String("AWS/ApplicationELB"), MetricName: &name, Dimensions: []types.Dimension{
					{Name: aws.String("LoadBalancer"), Value: aws.String("app/web/" + balancer)}, by[1],
				},
			},
		}}
	}
	const id = "0123456789abcdef"
	out, err := api.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: &begin, EndTime: aws.Time(begin.Add(3 * time.Second)),
		MetricDataQueries: []types.MetricDataQuery{
			query("requests", "RequestCount", "Sum", id), query("errors", "HTTPCode_Target_5XX_Count", "Sum", id),
			query("p99", "TargetResponseTime", "p99", id), query("slowest", "TargetResponseTime", "Maximum", id),
			query("unhealthy", "UnHealthyHostCount", "Maximum", id), query("wide", "TargetResponseTime", "p99", "wide"),
			query("sum", "TargetResponseTime", "Sum", "wide"), query("count", "TargetResponseTime", "SampleCount", "wide"),
			query("none", "RequestCount", "Sum", "none"),
		},
	})
	require.NoError(t, err)
	values := map[string][]float64{}
	times := map[string][]time.Time{}
	for _, r := range out.MetricDataResults {
		require.Equal(t, types.StatusCodeComplete, r.StatusCode)
		values[*r.Id], times[*r.Id] = r.Values, r.Timestamps
	}
	// The newest first, as CloudWatch answers.
	require.Equal(t, []float64{20, 10}, values["requests"], "no data point without a request")
	require.True(t, times["requests"][0].Equal(begin.Add(time.Second)), times["requests"])
	require.Equal(t, []float64{20}, values["errors"])
	require.Equal(t, []float64{0, 0, 0}, values["unhealthy"])
	require.Len(t, values["p99"], 2)
	for i, p99 := range values["p99"] {
		require.Positive(t, p99)
		require.LessOrEqual(t, p99, values["slowest"][i])
		require.Less(t, p99, 1., "seconds")
	}
	require.InDelta(t, .297, values["wide"][0], .001)
	require.Equal(t, []float64{600}, values["count"])
	require.InDelta(t, 2*300*301/2/1000., values["sum"][0], 1e-9)
	require.Empty(t, values["none"])

	// The whole window as one period, the oldest first.
	asked := []types.MetricDataQuery{query("requests", "RequestCount", "Sum", id), query("p99", "TargetResponseTime", "p99", id)}
	for i := range asked {
		asked[i].MetricStat.Period = aws.Int32(60)
	}
	asked = append(asked, query("each", "RequestCount", "Sum", id))
	out, err = api.GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: &begin, EndTime: aws.Time(begin.Add(3 * time.Second)), ScanBy: types.ScanByTimestampAscending, MetricDataQueries: asked,
	})
	require.NoError(t, err)
	sum := 0
	for _, v := range out.MetricDataResults[0].Values { // two, when a minute ends meanwhile
		sum += int(v)
	}
	require.Equal(t, 30, sum)
	require.True(t, slices.IsSortedFunc(out.MetricDataResults[2].Timestamps, time.Time.Compare))
	require.Equal(t, []float64{10, 20}, out.MetricDataResults[2].Values)
}
