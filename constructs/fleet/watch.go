package fleet

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
	"github.com/loadbearing/loadbearing/internal/contract"
)

// Namespaces and metrics of a group, its instances, and their agent.
const (
	groupNamespace    = "AWS/AutoScaling"
	instanceNamespace = "AWS/EC2"
	agentNamespace    = "CWAgent"
	metricMemory      = "mem_used_percent"
	metricDisk        = "disk_used_percent"
)

// metricPeriod is that of Auto Scaling's own metrics. EC2 sends those of instances as
// often with detailed monitoring, and otherwise every five minutes.
const (
	metricPeriod   = time.Minute
	instancePeriod = 5 * time.Minute
)

func (f *Fleet) makeAlarms() {
	props, name := f.props, f.props.GroupName
	inService := f.metric("GroupInServiceInstances", "")
	f.CapacityAlarm = cdkx.Alarm(f, "CapacityAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Critical,
		Metric: cdkx.Math("desired - inservice", "missing", map[string]awscloudwatch.IMetric{
			"desired":   f.metric("GroupDesiredCapacity", ""),
			"inservice": inService,
		}),
		Description: fmt.Sprintf("%s has had fewer instances in service than it asks for, for ten minutes. "+
			"Look at the group's activity history, then at an instance's %s.", name, bootFile),
		Periods: 10,
	})
	if props.MaxCapacity > props.MinCapacity {
		f.MaximumAlarm = cdkx.Alarm(f, "MaximumAlarm", cdkx.AlarmSpec{
			Severity: cdkx.Warning,
			Metric: cdkx.Math("inservice - maximum", "above the maximum", map[string]awscloudwatch.IMetric{
				"inservice": inService,
				"maximum":   f.metric("GroupMaxSize", ""),
			}),
			Description: fmt.Sprintf("%s has been at its maximum size for a quarter of an hour and cannot grow. "+
				"Look at what drives it up; when that is demand, raise MaxCapacity.", name),
			Inclusive: true,
			Periods:   15,
		})
	}
	f.CPUAlarm = f.full("CPUAlarm", props.MaxCPUPercent, f.cpu(""),
		"The processors of %s have been busier than %d %% on average for a quarter of an hour. Look at the traffic per instance, then at a profile of the program.")
	if !props.NoAgent {
		f.MemoryAlarm = f.full("MemoryAlarm", props.MaxMemoryPercent, f.agentMetric(metricMemory, "Maximum", ""),
			"An instance of %s has used more than %d %% of its memory for a quarter of an hour; the kernel ends the program when there is none. Look at its heap profile.")
		f.DiskAlarm = f.full("DiskAlarm", props.MaxDiskPercent, f.agentMetric(metricDisk, "Maximum", ""),
			"The root volume of an instance of %s has been more than %d %% full for a quarter of an hour. Look at /var/tmp and /var/log there.")
	}
	f.StatusAlarm = cdkx.Alarm(f, "StatusAlarm", cdkx.AlarmSpec{
		Severity: cdkx.Warning,
		Metric:   f.instanceMetric("StatusCheckFailed", "Maximum", ""),
		Description: fmt.Sprintf("An instance of %s has failed EC2's status checks for ten minutes without being replaced. "+
			"Look at the group's suspended processes and activity history.", name),
		Periods: 2,
	})
}

// full is an alarm on a percentage of something limited.
func (f *Fleet) full(id string, percent int, of awscloudwatch.IMetric, description string) awscloudwatch.IAlarm {
	return cdkx.Alarm(f, id, cdkx.AlarmSpec{
		Severity:    cdkx.Warning,
		Metric:      of,
		Description: fmt.Sprintf(description, f.props.GroupName, percent),
		Threshold:   float64(percent),
		Periods:     3,
	})
}

// Alarms are the alarms that the fleet has: instances are missing (critical), and
// warnings that it is at its maximum, that processors, memory or volumes are nearly
// used up, and that an instance fails its status checks.
func (f *Fleet) Alarms() []awscloudwatch.IAlarm {
	var alarms []awscloudwatch.IAlarm
	for _, alarm := range []awscloudwatch.IAlarm{
		f.CapacityAlarm, f.MaximumAlarm, f.CPUAlarm, f.MemoryAlarm, f.DiskAlarm, f.StatusAlarm,
	} {
		if alarm != nil {
			alarms = append(alarms, alarm)
		}
	}
	return alarms
}

// Widgets show how many instances there are and may be, how busy and how full they
// are, what their networks and volumes carry, and each number that the fleet scales
// on, with its target as a line.
func (f *Fleet) Widgets() []awscloudwatch.IWidget {
	props := f.props
	instances := []awscloudwatch.IMetric{
		f.metric("GroupDesiredCapacity", "desired"),
		f.metric("GroupInServiceInstances", "in service"),
		f.metric("GroupPendingInstances", "pending"),
		f.metric("GroupTerminatingInstances", "terminating"),
		f.metric("GroupMinSize", "minimum"),
		f.metric("GroupMaxSize", "maximum"),
	}
	if props.warm() {
		instances = append(instances, f.metric("WarmPoolWarmedCapacity", "warm"))
	}
	widgets := []awscloudwatch.IWidget{
		cdkx.Graph(props.GroupName+": instances", instances...),
		f.graph("processor in percent", props.CPUPercent, f.cpu("average")),
	}
	if !props.NoAgent {
		widgets = append(widgets, f.graph("memory and volume in percent", 0,
			f.agentMetric(metricMemory, "Average", "memory"),
			f.agentMetric(metricMemory, "Maximum", "fullest memory"),
			f.agentMetric(metricDisk, "Maximum", "fullest volume")))
	}
	widgets = append(widgets,
		f.graph("network in bytes per instance", 0,
			f.instanceMetric("NetworkIn", "Average", "in"), f.instanceMetric("NetworkOut", "Average", "out")),
		f.graph("volumes in bytes per instance", 0,
			f.instanceMetric("EBSReadBytes", "Average", "read"), f.instanceMetric("EBSWriteBytes", "Average", "written")))
	if props.ConnectionsPerInstance > 0 {
		widgets = append(widgets, f.graph("connections per instance", props.ConnectionsPerInstance,
			cdkx.Metric(cdkx.MetricSpec{
				Namespace: contract.MetricNamespace, Name: contract.MetricActiveConnections,
				Dimensions: f.group(), Period: metricPeriod, Label: "connections",
			})))
	}
	if props.RequestsPerInstance > 0 {
		widgets = append(widgets, f.graph("requests a minute per instance", props.RequestsPerInstance,
			props.TargetGroup.Metrics().RequestCountPerTarget(cdkx.MetricOptions("Sum", metricPeriod))))
	}
	if props.Backlog.Queue != nil {
		widgets = append(widgets, f.graph("backlog per instance", props.Backlog.PerInstance, f.backlog()))
	}
	return widgets
}

// graph is cdkx.Graph with a line at the target, unless that is 0.
func (f *Fleet) graph(title string, target int, metrics ...awscloudwatch.IMetric) awscloudwatch.IWidget {
	title = f.props.GroupName + ": " + title
	if target == 0 {
		return cdkx.Graph(title, metrics...)
	}
	return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
		Title:  &title,
		Left:   &metrics,
		Width:  cdkx.Number(8),
		Height: cdkx.Number(6),
		LeftAnnotations: &[]*awscloudwatch.HorizontalAnnotation{{
			Value: cdkx.Number(target), Label: new("target"),
		}},
	})
}

func (f *Fleet) group() map[string]string {
	return map[string]string{contract.DimensionGroup: f.props.GroupName}
}

// metric is one of the group's own.
func (f *Fleet) metric(name, label string) awscloudwatch.IMetric {
	return cdkx.Metric(cdkx.MetricSpec{
		Namespace: groupNamespace, Name: name, Dimensions: f.group(), Period: metricPeriod, Label: label,
	})
}

func (f *Fleet) cpu(label string) awscloudwatch.IMetric {
	return f.instanceMetric("CPUUtilization", "Average", label)
}

// instanceMetric is one that EC2 has of the instances.
func (f *Fleet) instanceMetric(name, statistic, label string) awscloudwatch.IMetric {
	return cdkx.Metric(cdkx.MetricSpec{
		Namespace: instanceNamespace, Name: name, Statistic: statistic, Dimensions: f.group(), Period: instancePeriod, Label: label,
	})
}

func (f *Fleet) agentMetric(name, statistic, label string) awscloudwatch.IMetric {
	return cdkx.Metric(cdkx.MetricSpec{
		Namespace: agentNamespace, Name: name, Statistic: statistic, Dimensions: f.group(), Period: instancePeriod, Label: label,
	})
}
