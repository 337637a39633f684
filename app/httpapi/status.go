package httpapi

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Identity says which program an instance runs.
type Identity struct {
	Version  string `json:"version"`
	Color    string `json:"color"`
	Instance string `json:"instance"`
	Revision string `json:"revision"`
}

// servedBy is the value of X-Served-By: instance/color/version.
func (i Identity) servedBy() string { return i.Instance + "/" + i.Color + "/" + i.Version }

// Check is one dependency that readiness reports.
type Check struct {
	Name     string
	Required bool // not ready without it
	Probe    func(context.Context) error
}

// checkTimeout is short of the second that load balancers allow at the least.
const checkTimeout = 900 * time.Millisecond

// Status answers how an instance is: alive, ready, which version.
type Status struct {
	Identity Identity
	Checks   []Check

	draining atomic.Bool
}

// Drain makes readiness answer 503 from now on, so that the load balancer
// sends no new requests.
func (s *Status) Drain() { s.draining.Store(true) }

func (s *Status) routes(mux *http.ServeMux, fail func(http.ResponseWriter, *http.Request, error)) {
	handle := func(path string, h func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, req *http.Request) {
			if err := h(w, req); err != nil {
				fail(w, req, err)
			}
		})
	}
	handle(contract.PathHealth, s.health)
	handle(contract.PathReady, s.ready)
	handle(contract.PathVersion, s.version)
}

func (s *Status) health(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, readiness{Status: "ok"})
}

func (s *Status) version(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, s.Identity)
}

type readiness struct {
	Status string            `json:"status"` // "ready", "draining" or "unready"
	Checks map[string]string `json:"checks,omitempty"`
}

func (s *Status) ready(w http.ResponseWriter, req *http.Request) error {
	if s.draining.Load() {
		return writeJSON(w, http.StatusServiceUnavailable, readiness{Status: "draining"})
	}
	ctx, cancel := context.WithTimeout(req.Context(), checkTimeout)
	defer cancel()
	errs := make([]error, len(s.Checks))
	var wg sync.WaitGroup
	for i, c := range s.Checks {
		wg.Go(func() { errs[i] = c.Probe(ctx) })
	}
	wg.Wait()
	answer, status := readiness{Status: "ready", Checks: map[string]string{}}, http.StatusOK
	for i, c := range s.Checks {
		switch {
		case errs[i] == nil:
			answer.Checks[c.Name] = "ok"
		case c.Required:
			answer.Checks[c.Name] = "failed"
			answer.Status, status = "unready", http.StatusServiceUnavailable
		default:
			answer.Checks[c.Name] = "degraded" // it is done without
		}
	}
	return writeJSON(w, status, answer)
}
