package outbox

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what relays tell of the outbox. Register them once for each
// process.
type Metrics struct {
	published *prometheus.CounterVec
	leading   prometheus.Gauge
	waiting   prometheus.Gauge
	oldest    prometheus.Gauge
}

// NewMetrics returns metrics that nothing has been counted in.
//
// Only the leader measures the backlog. The others show none, so a maximum over
// all instances is the backlog, and the sum of leading says whether anybody
// relays.
func NewMetrics() *Metrics {
	const namespace, subsystem = "loadbearing", "outbox"
	return &Metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "messages_total",
			Help: "Messages this process tried to publish, by outcome: accepted or failed.",
		}, []string{"outcome"}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "leading",
			Help: "1 while this process relays, else 0.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "waiting",
			Help: "Messages that wait to be published, as the leader last measured.",
		}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "oldest_seconds",
			Help: "Age of the oldest message that waits, as the leader last measured.",
		}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(out)
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.published, m.leading, m.waiting, m.oldest}
}

func (m *Metrics) count(accepted, failed int) {
	m.published.WithLabelValues("accepted").Add(float64(accepted))
	m.published.WithLabelValues("failed").Add(float64(failed))
}

func (m *Metrics) backlog(messages int, oldest time.Duration) {
	m.waiting.Set(float64(messages))
	m.oldest.Set(oldest.Seconds())
}
