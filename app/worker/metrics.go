package worker

import "github.com/prometheus/client_golang/prometheus"

// metrics are what a worker counts. The label outcome is one of the outcomes
// in delivery.go.
type metrics struct {
	inFlight      prometheus.Gauge
	age           prometheus.Histogram
	outcomes      *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	attempts      prometheus.Histogram
	receiveErrors prometheus.Counter
	deleteErrors  prometheus.Counter
	giveUpErrors  prometheus.Counter
}

func newMetrics() metrics {
	const namespace, subsystem = "loadbearing", "worker"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	return metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "in_flight",
			Help: "Messages being handled.",
		}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "age_seconds",
			Help:    "Seconds from a message's sending to the start of its handler.",
			Buckets: []float64{.1, .5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600},
		}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "messages_total",
			Help: "Receives of messages by what became of them.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "seconds",
			Help:    "Seconds from a message's receive to its handler's return.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900},
		}, []string{"outcome"}),
		attempts: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "attempts",
			Help:    "Receives of a message up to the one handled.",
			Buckets: []float64{1, 2, 3, 4, 5, 10},
		}),
		receiveErrors: counter("receive_errors_total", "Receives, and reads of the redrive policy, that the queue did not answer."),
		deleteErrors:  counter("delete_errors_total", "Settled messages that could not be deleted and will be handed out again."),
		giveUpErrors:  counter("give_up_errors_total", "Messages that were given up and whose OnGiveUp failed to the end."),
	}
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.inFlight, m.age, m.outcomes, m.seconds, m.attempts, m.receiveErrors, m.deleteErrors, m.giveUpErrors,
	}
}
