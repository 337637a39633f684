package alb

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// State is a target's state, in the words of DescribeTargetHealth.
type State string

// The states of a target.
const (
	Initial   State = "initial"   // registered, its first health check not passed yet
	Healthy   State = "healthy"   // receives requests
	Unhealthy State = "unhealthy" // receives requests only when no target is healthy
	Draining  State = "draining"  // deregistered, finishing the requests it has
	Unused    State = "unused"    // not registered, or no longer
)

// The reason codes of DescribeTargetHealth that are given here.
const (
	ReasonChecking      = "Elb.InitialHealthChecking"
	ReasonMismatch      = "Target.ResponseCodeMismatch"
	ReasonTimeout       = "Target.Timeout"
	ReasonFailed        = "Target.FailedHealthChecks"
	ReasonDraining      = "Target.DeregistrationInProgress"
	ReasonNotRegistered = "Target.NotRegistered"
)

// TargetHealth is what is known about a target.
type TargetHealth struct {
	Target
	State       State
	Reason      string // a reason code, "" when healthy
	Description string
	Since       time.Time // of the state
	InFlight    int       // requests, streams and sockets it serves now
}

// Check makes one health check request and returns the status of the answer.
type Check func(ctx context.Context, url string) (status int, err error)

// httpCheck asks as the load balancer does: on a connection of its own,
// following no redirect, trusting any certificate.
func httpCheck() Check {
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a load balancer does not validate certificates of targets
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, url string) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
}

// healthURL is where a target is checked.
func (h HealthCheck) url(host string, trafficPort int) string {
	port := h.Port
	if port == 0 {
		port = trafficPort
	}
	return strings.ToLower(string(h.Protocol)) + "://" + net.JoinHostPort(host, strconv.Itoa(port)) + h.Path
}

// matcher tells which status codes pass a health check.
type matcher []struct{ from, to int }

// parseMatcher reads "200", "200,202" and "200-299", also mixed.
func parseMatcher(s string) (matcher, error) {
	var m matcher
	for part := range strings.SplitSeq(s, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			high = low
		}
		from, err := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil || from < 200 || to > 499 || from > to {
			return nil, fmt.Errorf("matcher %q: allowed are codes from 200 to 499, as in 200, 200,202 or 200-299", s)
		}
		m = append(m, struct{ from, to int }{from, to})
	}
	return m, nil
}

func (m matcher) match(status int) bool {
	for _, r := range m {
		if r.from <= status && status <= r.to {
			return true
		}
	}
	return false
}
