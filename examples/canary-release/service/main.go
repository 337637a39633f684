// The service greets. It says that it is ready at /readyz, and when it is told to
// stop it first stops being ready, then finishes what it has begun.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// deregistered is how long the load balancer takes to notice: two checks, 5 s apart.
const deregistered = 12 * time.Second

func main() {
	if err := serve(); err != nil {
		slog.Error("serve", "error", err)
		os.Exit(1)
	}
}

func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	var leaving atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if leaving.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Hello from", os.Getenv("LOADBEARING_INSTANCE_ID"))
	})
	server := &http.Server{
		Addr:              cmp.Or(os.Getenv("LOADBEARING_HTTP_ADDR"), ":8080"),
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       75 * time.Second, // the load balancer closes its own after 65 s
	}

	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		leaving.Store(true)
		time.Sleep(deregistered)
		draining, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		defer cancel()
		stopped <- server.Shutdown(draining)
	}()
	slog.Info("serving", "address", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
