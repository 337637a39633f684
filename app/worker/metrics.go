package worker

import "github.com/prometheus/client_golang/prometheus"

// metrics are what a worker counts. The label outcome is one of done, retry,
// panic, poison, handed_back and lost.
type metrics struct {
	inFlight      prometheus.Gauge
	outcomes      *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	attempts      prometheus.Histogram
	receiveErrors prometheus.Counter
}

func newMetrics() metrics {
	const namespace, subsystem = "loadbearing", "worker"
	return metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "in_flight",
			Help: "Messages being handled.",
		}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "messages_total",
			Help: "Messages by what became of them.",
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
		receiveErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "receive_errors_total",
			Help: "Receives the queue did not answer.",
		}),
	}
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.inFlight, m.outcomes, m.seconds, m.attempts, m.receiveErrors}
}
