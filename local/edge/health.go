package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/loadbearing/loadbearing/local/edge/alb"
	"github.com/loadbearing/loadbearing/local/emulator/query"
)

// reportEvery is how often the health of targets is reported when nothing
// changes. The emulator's extension takes targets for unwatched after 10 s.
const reportEvery = 2 * time.Second

// reportHealth tells the emulator how targets are, at every change and every
// few seconds, so that its DescribeTargetHealth says what is true. AWS has no
// API for that: the action is one of the emulator's extension, in
// local/emulator/extension/loadbearing_emulator/target_health.py. It calls
// first when the first report has been made, or has failed.
func (e *Edge) reportHealth(ctx context.Context, first func()) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	var onFirst sync.Once
	said := ""
	for {
		health, changed := e.balancer.Watch()
		err := putHealth(ctx, e.opts.AWS, health)
		onFirst.Do(first)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			e.log.Warn("the emulator does not know the health of targets", "error", err)
		}
		said = ""
		if err != nil {
			said = err.Error()
			changed = nil // not again before a while
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
		}
	}
}

// reported is a target's health as the extension takes it.
type reported struct {
	ID          string `json:"id"`
	Port        int    `json:"port"`
	State       string `json:"state"`
	Reason      string `json:"reason,omitempty"`
	Description string `json:"description,omitempty"`
}

// putHealth sends the health of every target as one signed request of the
// Query API.
func putHealth(ctx context.Context, cfg aws.Config, health map[string][]alb.TargetHealth) error {
	groups := make(map[string][]reported, len(health))
	for arn, list := range health {
		groups[arn] = []reported{}
		for _, h := range list {
			description := h.Description
			if h.Reason == alb.ReasonFailed {
				description = "Health checks failed" // AWS does not say how
			}
			groups[arn] = append(groups[arn], reported{h.ID, h.Port, string(h.State), h.Reason, description})
		}
	}
	report, err := json.Marshal(groups)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	status, answer, err := query.Client{AWS: cfg, Service: "elasticloadbalancing", Version: "2015-12-01"}.Call(ctx, "LoadbearingReportTargetHealth", "TargetGroups", report)
	if err != nil {
		return fmt.Errorf("report target health: %w", err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("report target health: %d %s: %.300s", status, http.StatusText(status), answer)
	}
	return nil
}
