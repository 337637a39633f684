package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/settings"
)

// newServer returns a server without limits on whole requests, which depend on
// the route.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		// Longer than the idle timeout of the load balancer (60 s by default
		// for an ALB), which must be the one to close: a connection the server
		// closes while a request is on its way is a 502.
		IdleTimeout:    120 * time.Second,
		MaxHeaderBytes: 64 << 10, // what an ALB lets through
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// listen opens the public and the metrics listener.
func listen(ctx context.Context, p settings.Process) (public, metrics net.Listener, err error) {
	var sockets net.ListenConfig
	public, err = sockets.Listen(ctx, "tcp", p.HTTPAddr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	metrics, err = sockets.Listen(ctx, "tcp", p.MetricsAddr)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen for metrics: %w", err), public.Close())
	}
	return public, metrics, nil
}

// process is a command that runs: a public handler and work behind it.
type process struct {
	settings settings.Process
	log      *slog.Logger
	status   *httpapi.Status
	handler  http.Handler
	registry *prometheus.Registry
	public   net.Listener
	metrics  net.Listener

	// background runs until its context ends; it must then finish what it has begun.
	background func(context.Context)
	// backgroundFirst ends the background before the listener drains: a worker stops taking work at once.
	backgroundFirst bool
}

// run serves until ctx ends, then drains: readiness says 503, the load balancer
// has the drain delay to notice, and open requests have the shutdown timeout to
// end.
func (s *process) run(ctx context.Context) error {
	server := newServer(s.handler, s.log)
	server.ConnState = s.countConnections()
	metricsMux := http.NewServeMux()
	metricsMux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry}))
	metricsServer := newServer(metricsMux, s.log)

	// The group's context ends with ctx or with the first failure.
	group, running := errgroup.WithContext(ctx)
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	serve := func(server *http.Server, l net.Listener) {
		group.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	serve(server, s.public)
	serve(metricsServer, s.metrics)
	group.Go(func() error {
		s.background(working)
		return nil
	})
	group.Go(func() error {
		<-running.Done()
		s.status.Drain()
		if s.backgroundFirst {
			stopWork()
		}
		s.log.Info("draining", "delay", s.settings.DrainDelay, "timeout", s.settings.ShutdownTimeout)
		time.Sleep(s.settings.DrainDelay)
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.settings.ShutdownTimeout)
		defer cancel()
		if err := server.Shutdown(closing); err != nil {
			s.log.Warn("requests cut off", "error", err)
			_ = server.Close()
		}
		stopWork()
		_ = metricsServer.Close()
		return nil
	})
	s.log.Info("serving", "http", s.public.Addr().String(), "metrics", s.metrics.Addr().String())
	err := group.Wait()
	s.log.Info("stopped", "error", err)
	return err
}

// countConnections returns a callback that keeps the number of open connections,
// those between two requests among them. A WebSocket is none of the server's any
// more once it is one; it counts as active.
func (s *process) countConnections() func(net.Conn, http.ConnState) {
	open := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "loadbearing_http_open_connections", Help: "Connections of clients open now, idle ones too, without WebSockets.",
	})
	s.registry.MustRegister(open)
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Inc()
		case http.StateClosed, http.StateHijacked:
			open.Dec()
		}
	}
}

// registry returns a metrics registry with what every process reports.
func registry(db *postgres.DB) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	gauge := func(name, help string, value func(postgres.Pool) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value(db.Pool())) })
	}
	reg.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("loadbearing_database_connections", "Connections open.", func(p postgres.Pool) int { return p.Connections }),
		gauge("loadbearing_database_connections_busy", "Connections in use.", func(p postgres.Pool) int { return p.Busy }),
		gauge("loadbearing_database_connections_most", "Connections the pool may open.", func(p postgres.Pool) int { return p.Most }),
	)
	return reg
}
