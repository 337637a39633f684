// Package load measures how an HTTP endpoint holds up under a bounded number
// of concurrent clients. It refuses anything but the loopback interface, and
// stops by itself.
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Limits of one run.
const (
	MaxDuration = 5 * time.Minute
	MaxClients  = 512
)

// Result is what one run measured.
type Result struct {
	PerSecond float64       // successful answers
	P50, P99  time.Duration // latency
	Failed    uint64        // answers that were not 2xx, and errors
	Requests  uint64
	Errors    []string // what the failed ones said, each once
}

// Run sends GET requests to the URLs in turn, from clients at a time, each as
// soon as it has its answer, for the duration.
func Run(ctx context.Context, urls []string, header http.Header, clients int, duration time.Duration) (Result, error) {
	var targets []vegeta.Target
	for _, u := range urls {
		if err := CheckLoopback(u); err != nil {
			return Result{}, err
		}
		targets = append(targets, vegeta.Target{Method: http.MethodGet, URL: u, Header: header})
	}
	if len(targets) == 0 {
		return Result{}, errors.New("load: no URL to send requests to")
	}
	if clients < 1 || clients > MaxClients || duration <= 0 || duration > MaxDuration {
		return Result{}, fmt.Errorf("load: %d clients for %v; at most %d for %v", clients, duration, MaxClients, MaxDuration)
	}
	attacker := vegeta.NewAttacker(
		vegeta.Workers(uint64(clients)), vegeta.MaxWorkers(uint64(clients)), vegeta.Connections(clients), vegeta.Timeout(10*time.Second))
	defer attacker.Stop()
	release := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer release()
	targeter := vegeta.NewStaticTargeter(targets...)
	var metrics vegeta.Metrics
	// A rate of zero has no pace but the workers' own.
	for r := range attacker.Attack(targeter, vegeta.Rate{}, duration, "load") {
		metrics.Add(r)
	}
	metrics.Close()
	if err := ctx.Err(); err != nil {
		return Result{}, context.Cause(ctx)
	}
	failed := metrics.Requests - uint64(metrics.Success*float64(metrics.Requests)+0.5)
	return Result{
		PerSecond: metrics.Throughput, P50: metrics.Latencies.P50, P99: metrics.Latencies.P99,
		Failed: failed, Requests: metrics.Requests, Errors: metrics.Errors,
	}, nil
}

// CheckLoopback refuses a URL whose host is not a loopback address: load and
// faults are only ever for this machine.
func CheckLoopback(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("load: " + u.Host + " is not a loopback address")
	}
	return nil
}
