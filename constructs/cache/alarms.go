package cache

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

const (
	// swapAlarm is what AWS calls harmless ("Which metrics should I monitor?").
	swapAlarm = 50 << 20
	// failuresAlarm a minute is more than one client that tries again.
	failuresAlarm = 10
)

// watch makes one alarm per metric and shard over all of its nodes: which of
// them is the primary changes with every failover. A shard has 6 nodes at most,
// an alarm takes 10 metrics.
func (c *Cache) watch(props Props) {
	for shard := range max(props.Shards, 1) {
		prefix := ""
		if props.Shards > 0 {
			prefix = fmt.Sprintf("Shard%d", shard+1)
		}
		c.watchShard(props, prefix, shard)
	}
}

func (c *Cache) watchShard(props Props, prefix string, shard int) {
	alarm := func(id string, spec cdkx.AlarmSpec) {
		spec.Periods = 5
		c.alarms = append(c.alarms, cdkx.Alarm(c, prefix+id, spec))
	}
	alarm("MemoryAlarm", cdkx.AlarmSpec{
		Severity:    fullSeverity(props.parameters()["maxmemory-policy"]),
		Metric:      c.highest(shard, "DatabaseMemoryUsagePercentage", "Maximum"),
		Description: "A node uses more than 80 % of its memory. Shorten TTLs, or take a larger node type.",
		Threshold:   80,
	})
	alarm("EvictionsAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   c.highest(shard, "Evictions", "Sum"),
		Description: fmt.Sprintf("A node evicts more than %d keys a minute: the working set does not fit.",
			props.EvictionsAlarm),
		Threshold: float64(props.EvictionsAlarm),
	})
	alarm("CPUAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		// The engine runs commands on one core; the host's own figure would
		// show a saturated engine on four cores as 25 %.
		Metric:      c.highest(shard, "EngineCPUUtilization", "Average"),
		Description: "The engine's core has been above 80 % for five minutes. Look at SLOWLOG, or shard.",
		Threshold:   80,
	})
	alarm("ConnectionsAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   c.highest(shard, "CurrConnections", "Maximum"),
		Description: fmt.Sprintf("A node has more than %d connections. Look for clients that open one for each request, or for pools that add up.",
			props.ConnectionsAlarm),
		Threshold: float64(props.ConnectionsAlarm),
	})
	alarm("SwapAlarm", cdkx.AlarmSpec{
		Severity:    cdkx.Warning,
		Metric:      c.highest(shard, "SwapUsage", "Maximum"),
		Description: "A node swaps more than 50 MiB, which makes every command slow. Raise reserved-memory-percent, or take a larger node type.",
		Threshold:   swapAlarm,
	})
	if props.nodes() > 1 {
		alarm("LagAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric:   c.highest(shard, "ReplicationLag", "Maximum"),
			Description: fmt.Sprintf("A replica is more than %v behind; a failover would lose these writes. Look at the primary's network and write load.",
				props.LagAlarm),
			Threshold: props.LagAlarm.Seconds(),
		})
	}
	if props.Authentication != NoAuthentication {
		alarm("AuthenticationAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Critical,
			Metric:   c.highest(shard, "AuthenticationFailures", "Sum"),
			Description: fmt.Sprintf("More than %d attempts a minute fail to authenticate. Look for clients that have another password than the secret, then for who else is in their security group.",
				failuresAlarm),
			Threshold: failuresAlarm,
		})
	}
}

// fullSeverity is how bad a full node is: one that may not forget any key
// refuses writes.
func fullSeverity(policy string) cdkx.Severity {
	if strings.HasPrefix(policy, "allkeys-") {
		return cdkx.Warning
	}
	return cdkx.Critical
}

// highest is the highest value of a metric over the nodes of a shard.
func (c *Cache) highest(shard int, name, statistic string) awscloudwatch.IMetric {
	metrics := map[string]awscloudwatch.IMetric{}
	ids := make([]string, c.props.nodes())
	for i, metric := range c.metrics(shard, name, statistic) {
		ids[i] = fmt.Sprintf("node%d", i+1)
		metrics[ids[i]] = metric
	}
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression:   new("MAX([" + strings.Join(ids, ", ") + "])"),
		UsingMetrics: &metrics,
		Label:        &name,
		Period:       c.minute,
	})
}

// metrics is one metric for each node of a shard. ElastiCache names the nodes
// after the group, with three digits, and with four for the shard before them
// in cluster mode.
func (c *Cache) metrics(shard int, name, statistic string) []awscloudwatch.IMetric {
	all := make([]awscloudwatch.IMetric, c.props.nodes())
	for i := range all {
		node := fmt.Sprintf("%03d", i+1)
		if c.props.Shards > 0 {
			node = fmt.Sprintf("%04d-%03d", shard+1, i+1)
		}
		all[i] = awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
			Namespace:     new("AWS/ElastiCache"),
			MetricName:    &name,
			DimensionsMap: cdkx.StringMap(map[string]string{"CacheClusterId": c.group + "-" + node}),
			Statistic:     &statistic,
			Period:        c.minute,
			Label:         &node,
		})
	}
	return all
}

// Alarms are memory, evictions, CPU, connections, swap, replication lag and
// failed authentication of the worst node of each shard.
func (c *Cache) Alarms() []awscloudwatch.IAlarm { return slices.Clone(c.alarms) }

// Widgets show memory, hit rate, CPU, evictions, connections and network of
// every node, and the lag of the replicas.
func (c *Cache) Widgets() []awscloudwatch.IWidget {
	title := *c.Node().Id()
	graph := func(text, name, statistic string) awscloudwatch.IWidget {
		var metrics []awscloudwatch.IMetric
		for shard := range max(c.props.Shards, 1) {
			metrics = append(metrics, c.metrics(shard, name, statistic)...)
		}
		return cdkx.Graph(title+": "+text, metrics...)
	}
	widgets := []awscloudwatch.IWidget{
		graph("memory in %", "DatabaseMemoryUsagePercentage", "Maximum"),
		graph("hit rate in %", "CacheHitRate", "Average"),
		graph("CPU of the engine in %", "EngineCPUUtilization", "Average"),
		graph("evicted keys", "Evictions", "Sum"),
		graph("connections", "CurrConnections", "Maximum"),
		graph("bytes out", "NetworkBytesOut", "Sum"),
	}
	if c.props.nodes() > 1 {
		widgets = append(widgets, graph("replication lag in seconds", "ReplicationLag", "Maximum"))
	}
	return widgets
}
