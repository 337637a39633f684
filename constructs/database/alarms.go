package database

import (
	"fmt"
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

const (
	gib = 1 << 30
	mib = 1 << 20

	// Storage autoscaling starts at 10 % free; under 5 % it has not kept up.
	freeAlarmPercent = 5
	// Write-ahead log that a replica has not fetched stays on the primary.
	slotAlarmPercent = 10
	// PostgreSQL refuses writes some 2.1 billion transactions after the oldest
	// row that vacuum did not freeze. It starts to freeze at 200 million.
	transactionsAlarm = 1_000_000_000
	// Credits that a burstable class can spend: 20 are 20 minutes of one vCPU.
	creditsAlarm = 20
)

// metric is a metric of an instance by the minute.
func (d *Database) metric(of awsrds.IDatabaseInstance, name, statistic string) awscloudwatch.IMetric {
	return of.Metric(&name, &awscloudwatch.MetricOptions{Statistic: &statistic, Period: d.minute})
}

func (d *Database) alarm(id string, spec cdkx.AlarmSpec) {
	d.alarms = append(d.alarms, cdkx.Alarm(d, id, spec))
}

func (d *Database) watchPrimary(name string, primary awsrds.IDatabaseInstance) {
	d.watch(name, d.props.InstanceType, primary)
	d.alarm(name+"TransactionsAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric:   d.metric(primary, "MaximumUsedTransactionIDs", "Maximum"),
		Description: "Half of the transaction ids before wraparound are used: PostgreSQL will refuse writes. " +
			"Look for what holds vacuum up: old transactions, abandoned replication slots, tables with autovacuum off.",
		Threshold: transactionsAlarm,
	})
	if d.props.Replicas > 0 {
		d.alarm(name+"SlotAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric:   d.metric(primary, "OldestReplicationSlotLag", "Maximum"),
			Description: fmt.Sprintf("The primary keeps write-ahead log worth %d %% of its storage for a slot that does not fetch it. Look for a replica that stands still, then at pg_replication_slots.",
				slotAlarmPercent),
			Threshold: float64(d.props.StorageGiB) * gib * slotAlarmPercent / 100,
			Periods:   15,
		})
	}
}

func (d *Database) watchReplica(name string, replica awsrds.IDatabaseInstance) {
	d.watch(name, d.props.ReplicaInstanceType, replica)
	d.alarm(name+"LagAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric:   d.metric(replica, "ReplicaLag", "Average"),
		Description: fmt.Sprintf("The replica is more than %v behind. Look for a long query on it or a bulk write on the primary.",
			d.props.LagAlarm),
		Threshold: d.props.LagAlarm.Seconds(),
		Periods:   5,
	})
}

// watch makes the alarms every instance has.
func (d *Database) watch(name, class string, instance awsrds.IDatabaseInstance) {
	d.alarm(name+"CPUAlarm", cdkx.AlarmSpec{
		Severity:    cdkx.Warning,
		Metric:      d.metric(instance, "CPUUtilization", "Average"),
		Description: "The processor has been above 80 % for 15 minutes. Database Insights shows the statements.",
		Threshold:   80,
		Periods:     15,
	})
	d.alarm(name+"StorageAlarm", cdkx.AlarmSpec{
		Severity:    cdkx.Critical,
		Metric:      d.metric(instance, "FreeStorageSpace", "Minimum"),
		Description: fmt.Sprintf("Less than %d %% of the storage is free, and autoscaling did not keep up or is at its maximum.", freeAlarmPercent),
		Threshold:   float64(d.props.StorageGiB) * gib * freeAlarmPercent / 100,
		Below:       true,
		Periods:     15,
	})
	d.alarm(name+"MemoryAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   d.metric(instance, "FreeableMemory", "Minimum"),
		Description: fmt.Sprintf("Less than %d MiB of memory is free: swapping and a restart come next. Look at the number of connections and at work_mem, or take a larger class.",
			d.props.MemoryAlarmMiB),
		Threshold: float64(d.props.MemoryAlarmMiB) * mib,
		Below:     true,
		Periods:   15,
	})
	d.alarm(name+"ConnectionsAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   d.metric(instance, "DatabaseConnections", "Maximum"),
		Description: fmt.Sprintf("More than %d connections. Look for a leak, or for pools that add up to more than the instance takes.",
			d.props.ConnectionsAlarm),
		Threshold: float64(d.props.ConnectionsAlarm),
		Periods:   5,
	})
	d.alarm(name+"QueueAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   d.metric(instance, "DiskQueueDepth", "Average"),
		Description: fmt.Sprintf("More than %d requests wait for storage. Compare ReadIOPS and WriteIOPS with what the storage and the class are made for; look for statements that read whole tables.",
			d.props.QueueDepthAlarm),
		Threshold: float64(d.props.QueueDepthAlarm),
		Periods:   15,
	})
	if burstable(class) {
		d.alarm(name+"CreditsAlarm", cdkx.AlarmSpec{
			Severity:    cdkx.Warning,
			Metric:      d.metric(instance, "CPUCreditBalance", "Minimum"),
			Description: "The class has hardly any CPU credits left; what it uses beyond its baseline is billed. Take a class that is not burstable if this lasts.",
			Threshold:   creditsAlarm,
			Below:       true,
			Periods:     15,
		})
	}
}

// Alarms are, for every instance, CPU, free storage, memory, connections and
// waiting I/O, and credits of a burstable class; transaction ids and replication
// slots of every primary; the lag of every replica; and those of every proxy.
func (d *Database) Alarms() []awscloudwatch.IAlarm { return slices.Clone(d.alarms) }

// Widgets show processor, memory, connections, storage, I/O and waiting I/O of
// every instance, the lag of the replicas, and the connections of the proxies.
func (d *Database) Widgets() []awscloudwatch.IWidget {
	title := *d.Node().Id()
	metrics := func(name, statistic string, of []awsrds.IDatabaseInstance) []awscloudwatch.IMetric {
		list := make([]awscloudwatch.IMetric, len(of))
		for i, instance := range of {
			list[i] = instance.Metric(&name, &awscloudwatch.MetricOptions{
				Statistic: &statistic, Period: d.minute, Label: instance.Node().Id(),
			})
		}
		return list
	}
	var all, replicas []awsrds.IDatabaseInstance
	for _, shard := range d.Shards {
		all = append(all, shard.instances()...)
		replicas = append(replicas, shard.Replicas...)
	}
	widgets := []awscloudwatch.IWidget{
		cdkx.Graph(title+": CPU in %", metrics("CPUUtilization", "Average", all)...),
		cdkx.Graph(title+": connections", metrics("DatabaseConnections", "Maximum", all)...),
		cdkx.Graph(title+": free storage in bytes", metrics("FreeStorageSpace", "Minimum", all)...),
		cdkx.Graph(title+": freeable memory in bytes", metrics("FreeableMemory", "Minimum", all)...),
		cdkx.Graph(title+": reads and writes a second", slices.Concat(metrics("ReadIOPS", "Average", all), metrics("WriteIOPS", "Average", all))...),
		cdkx.Graph(title+": requests waiting for storage", metrics("DiskQueueDepth", "Average", all)...),
	}
	if len(replicas) > 0 {
		widgets = append(widgets, cdkx.Graph(title+": replica lag in seconds", metrics("ReplicaLag", "Maximum", replicas)...))
	}
	for _, proxy := range d.proxies {
		widgets = append(widgets, proxy.widget())
	}
	return widgets
}
