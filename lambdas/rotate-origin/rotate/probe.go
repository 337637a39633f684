package rotate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Doer sends a request, as an *http.Client does.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// maxAnswer is how much of an answer is read. The load balancer's own is shorter.
const maxAnswer = 4 << 10

// test asks for something through the edge, which fails when the load balancer
// refuses what the edge sends. Any other answer will do, an error of the program
// behind it or a refusal by the web ACL too: none of them is about the secret.
func (r *Rotator) test(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Settings.EdgeURL+contract.PathHealth, nil)
	if err != nil {
		return fmt.Errorf("ask the edge: %w", err)
	}
	response, err := r.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("ask the edge: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the edge's answer: %w", err)
	}
	if response.StatusCode == http.StatusForbidden && strings.Contains(string(body), r.Settings.Refusal) {
		return errors.New("the load balancer refuses what the edge sends")
	}
	r.Log.InfoContext(ctx, "the load balancer accepts what the edge sends", "status", response.StatusCode)
	return nil
}
