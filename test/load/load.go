// Package load measures how an HTTP endpoint holds up under a bounded load: of
// so many clients at a time, or of so many requests a second. It refuses anything but the loopback interface, and
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
	MaxDuration  = 5 * time.Minute
	MaxClients   = 512
	MaxPerSecond = 1000
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
	if clients < 1 || clients > MaxClients {
		return Result{}, fmt.Errorf("load: %d clients; from 1 to %d", clients, MaxClients)
	}
	requests := make([]Request, len(urls))
	for i, u := range urls {
		requests[i] = Request{Method: http.MethodGet, URL: u, Header: header}
	}
	// A rate of zero has no pace but the workers' own.
	return attack(ctx, requests, vegeta.Rate{}, duration, vegeta.Workers(uint64(clients)), vegeta.MaxWorkers(uint64(clients)), vegeta.Connections(clients))
}

// Request is one to repeat.
type Request struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// Pace sends the requests in turn, so many a second whatever becomes of those
// before (an open loop), for the duration. A latency counts from when the
// request was sent.
func Pace(ctx context.Context, requests []Request, perSecond int, duration time.Duration) (Result, error) {
	if perSecond < 1 || perSecond > MaxPerSecond {
		return Result{}, fmt.Errorf("load: %d requests a second; from 1 to %d", perSecond, MaxPerSecond)
	}
	return attack(ctx, requests, vegeta.Rate{Freq: perSecond, Per: time.Second}, duration, vegeta.MaxWorkers(MaxClients))
}

func attack(ctx context.Context, requests []Request, rate vegeta.Rate, duration time.Duration, options ...func(*vegeta.Attacker)) (Result, error) {
	targets := make([]vegeta.Target, len(requests))
	for i, r := range requests {
		if err := CheckLoopback(r.URL); err != nil {
			return Result{}, err
		}
		targets[i] = vegeta.Target{Method: r.Method, URL: r.URL, Header: r.Header, Body: r.Body}
	}
	if len(targets) == 0 {
		return Result{}, errors.New("load: nothing to send")
	}
	if duration <= 0 || duration > MaxDuration {
		return Result{}, fmt.Errorf("load: for %v; at most for %v", duration, MaxDuration)
	}
	attacker := vegeta.NewAttacker(append(options, vegeta.Timeout(10*time.Second))...)
	defer attacker.Stop()
	release := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer release()
	var metrics vegeta.Metrics
	for r := range attacker.Attack(vegeta.NewStaticTargeter(targets...), rate, duration, "load") {
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
