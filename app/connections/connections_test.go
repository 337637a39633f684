package connections_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/connections"
)

func TestTheMeanIsByTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := connections.NewGauge(time.Now)
		require.Zero(t, g.Mean(), "no time has passed")
		g.Inc()
		g.Inc()
		require.Equal(t, 2, g.Active())
		time.Sleep(15 * time.Second)
		g.Dec()
		time.Sleep(45 * time.Second)
		require.InDelta(t, (2*15+1*45)/60.0, g.Mean(), 1e-9)
		time.Sleep(time.Minute)
		require.InDelta(t, 1, g.Mean(), 1e-9, "what was open before the interval and still is counts for all of it")
		for range 1000 { // 1,000 requests of 5 ms in a second, of which a look at its end sees none
			g.Inc()
			time.Sleep(5 * time.Millisecond)
			g.Dec()
		}
		g.Dec()
		require.InDelta(t, 2, g.Mean(), 1e-9)
		time.Sleep(time.Minute)
		require.Zero(t, g.Mean())
	})
}

func TestTheGaugeIsForAll(t *testing.T) {
	t.Parallel()
	g := connections.NewGauge(time.Now)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 1000 {
				g.Inc()
				g.Mean()
				g.Dec()
			}
		})
	}
	all.Wait()
	require.Zero(t, g.Active())
}

// cloud takes data points, or fails.
type cloud struct {
	mu   sync.Mutex
	err  error
	hang bool // until the call's context ends
	took []*cloudwatch.PutMetricDataInput
}

func (c *cloud) PutMetricData(ctx context.Context, in *cloudwatch.PutMetricDataInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error) {
	c.mu.Lock()
	hang, err := c.hang, c.err
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, in)
	return &cloudwatch.PutMetricDataOutput{}, nil
}

func (c *cloud) becomes(err error, hang bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.hang = err, hang
}

// publish runs a publisher as long as the test says, in a bubble of synctest.
func publish(t *testing.T, c *cloud, g *connections.Gauge, interval time.Duration) (log *bytes.Buffer, metrics *prometheus.Registry, stop func()) {
	log, metrics = &bytes.Buffer{}, prometheus.NewRegistry()
	p, err := connections.NewPublisher(connections.Options{
		API: c, Gauge: g, Group: "loadbearing-dev-web-blue", Interval: interval,
		Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: metrics,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go p.Run(ctx)
	return log, metrics, func() {
		cancel()
		synctest.Wait()
	}
}

func TestOneValueAnInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, g := &cloud{}, connections.NewGauge(time.Now)
		_, metrics, stop := publish(t, c, g, time.Minute)
		time.Sleep(time.Minute + time.Second)
		g.Inc()
		g.Inc()
		time.Sleep(29 * time.Second)
		g.Dec()
		g.Dec()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Len(t, c.took, 2, "one call a minute")
		require.Equal(t, "Loadbearing", aws.ToString(c.took[0].Namespace))
		require.Len(t, c.took[0].MetricData, 1)
		idle, busy := c.took[0].MetricData[0], c.took[1].MetricData[0]
		require.Equal(t, "ActiveConnections", aws.ToString(idle.MetricName))
		require.Len(t, idle.Dimensions, 1, "another dimension would be another metric")
		require.Equal(t, "AutoScalingGroupName", aws.ToString(idle.Dimensions[0].Name))
		require.Equal(t, "loadbearing-dev-web-blue", aws.ToString(idle.Dimensions[0].Value))
		require.Nil(t, idle.StorageResolution)
		require.NotNil(t, idle.Value)
		require.Zero(t, *idle.Value, "nothing is a value too")
		require.InDelta(t, 2*29/60.0, *busy.Value, 1e-9)
		require.NoError(t, testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP loadbearing_active_connections_mean Requests, streams and sockets open at a time, on average over the last interval: what CloudWatch was given last.
# TYPE loadbearing_active_connections_mean gauge
loadbearing_active_connections_mean 0.9666666666666667
`), "loadbearing_active_connections_mean"))

		stop()
		time.Sleep(time.Hour)
		require.Len(t, c.took, 2, "an instance that drains says no more")
	})
}

func TestSecondsAreStoredBySecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{}
		_, _, stop := publish(t, c, connections.NewGauge(time.Now), time.Second)
		time.Sleep(3*time.Second + 1)
		stop()
		require.Len(t, c.took, 3)
		require.Equal(t, int32(1), aws.ToInt32(c.took[0].MetricData[0].StorageResolution))
	})
}

func TestAnOutageOfCloudWatchIsSaidOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{err: errors.New("throttled")}
		log, metrics, stop := publish(t, c, connections.NewGauge(time.Now), time.Minute)
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log)
		require.Contains(t, log.String(), "publish ActiveConnections of loadbearing-dev-web-blue: throttled")
		require.InDelta(t, 5, value(t, metrics, "loadbearing_active_connections_unpublished_total"), 0)

		c.becomes(nil, true)
		time.Sleep(2 * time.Minute)
		c.becomes(nil, false)
		time.Sleep(time.Minute)
		stop()
		require.Len(t, c.took, 1, "a call that hangs does not hold up the next")
		require.Equal(t, 1, strings.Count(log.String(), "sees again"), log)
	})
}

func value(t *testing.T, metrics *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no metric " + name)
	return 0
}

func BenchmarkGauge(b *testing.B) {
	g := connections.NewGauge(time.Now)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			g.Inc()
			g.Dec()
		}
	})
}
