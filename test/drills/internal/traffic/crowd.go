package traffic

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"sync"
	"time"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
)

// Crowd are users with a browser each, which keeps its cookies.
type Crowd struct {
	mu    sync.Mutex
	asked []asked
}

// asked is one request of one user.
type asked struct {
	at    time.Time
	user  int
	color string
}

// askEvery is how often each user asks for something.
const askEvery = 400 * time.Millisecond

// Crowd has n users ask until Stop.
func (t *Traffic) Crowd(ctx context.Context, n int) (*Crowd, error) {
	c := &Crowd{}
	going, stop := context.WithCancel(ctx)
	before := t.stop
	t.stop = func() { before(); stop() }
	for i := range n {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return nil, err
		}
		client := &http.Client{Jar: jar, Timeout: 30 * time.Second}
		t.running.Go(func() error {
			tick := time.NewTicker(askEvery)
			defer tick.Stop()
			for {
				c.ask(context.WithoutCancel(going), t, client, i)
				select {
				case <-going.Done():
					return nil
				case <-tick.C:
				}
			}
		})
	}
	return c, drill.Await(ctx, "every user has asked for something", func(context.Context) (bool, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.asked) >= n, nil
	})
}

func (c *Crowd) ask(ctx context.Context, t *Traffic, client *http.Client, user int) {
	at := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.edge+contract.PathVersion, nil)
	if err != nil {
		t.fail(at, err.Error())
		return
	}
	res, err := client.Do(req)
	if err != nil {
		t.fail(at, "a user: "+err.Error())
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.fail(at, "a user: "+res.Status)
		return
	}
	_, color, _ := api.ServedBy(res.Header)
	if color == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, asked{at, user, color})
}

// Between returns how many users asked twice or more within a span of time, and
// how many of them were served by both colors.
func (c *Crowd) Between(from, to time.Time) (users, torn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	colors := map[int][]string{}
	for _, a := range c.asked {
		if a.at.After(from) && a.at.Before(to) {
			colors[a.user] = append(colors[a.user], a.color)
		}
	}
	for _, seen := range colors {
		if len(seen) < 2 {
			continue
		}
		users++
		if slices.ContainsFunc(seen, func(color string) bool { return color != seen[0] }) {
			torn++
		}
	}
	return users, torn
}
