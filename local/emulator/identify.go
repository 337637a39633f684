package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Names of emulators.
const (
	NameMiniStack  = "ministack"
	NameLocalStack = "localstack"
	NameUnknown    = "unknown"
)

// editionPrefix marks, in the health answer of MiniStack, one that runs this
// project's extension; the extension's hash follows.
const editionPrefix = "loadbearing-"

// health is what both emulators answer at their health path.
type health struct {
	Services map[string]string `json:"services"`
	Edition  string            `json:"edition"`
	Version  string            `json:"version"`
}

// identify fills in what the emulator says of itself. It fails only when
// nothing answers or what answers is not ready.
func (e *Emulator) identify(ctx context.Context) error {
	// MiniStack answers at LocalStack's path too, so its own comes first.
	for _, known := range []struct{ name, path string }{
		{NameMiniStack, "/_ministack/health"},
		{NameLocalStack, "/_localstack/health"},
	} {
		status, body, err := get(ctx, e.URL+known.path)
		if err != nil {
			return err
		}
		if status >= http.StatusInternalServerError {
			return fmt.Errorf("%s answers %d", e.URL+known.path, status)
		}
		var h health
		if status != http.StatusOK || json.Unmarshal(body, &h) != nil || len(h.Services) == 0 {
			continue
		}
		e.Name, e.Version, e.Edition, e.RunsLambda = known.name, h.Version, h.Edition, true
		e.Extended = strings.HasPrefix(h.Edition, editionPrefix)
		return nil
	}
	e.Name, e.RunsLambda = NameUnknown, true
	return nil
}

func get(ctx context.Context, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
}
