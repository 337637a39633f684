package loadbalancing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/load"
)

// mostPerConnection is what an idle connection may cost an instance, in KiB of
// resident memory.
const mostPerConnection = 32

// dialing is how many clients connect at a time.
const dialing = 64

// connections: clients connect to the edge and stay. Each is served when it
// comes and again when all are there. What an idle connection costs is measured
// where it ends: at the edge, and at an instance that has as many of its own.
func connections(ctx context.Context, r *drill.Run) error {
	restore, err := grow(ctx, r)
	if err != nil {
		return err
	}
	defer restore()
	status, err := r.Status()
	if err != nil {
		return err
	}
	n := drill.Sized(r, 2_000, 10_000)
	h, err := hold(ctx, status.EdgeURL, n)
	if err != nil {
		return err
	}
	defer h.close()
	r.Say("%d connections are open", n)
	before := h.served.Load()
	began := time.Now()
	if err := h.all(ctx); err != nil {
		return err
	}
	r.Figure("connections_held", n)
	r.Figure("connections_refused", h.refused.Load())
	r.Figure("connections_broken", h.broken.Load())
	r.Figure("connections_instances", len(h.by()))
	r.Figure("connections_served_again_per_second", float64(h.served.Load()-before)/time.Since(began).Seconds())
	r.Check(h.refused.Load() == 0, "%d connections were refused: %v", h.refused.Load(), h.first())
	r.Check(h.broken.Load() == 0, "%d connections were not served: %v", h.broken.Load(), h.first())
	r.Check(int(h.served.Load()) == 2*n, "%d answers, want %d", h.served.Load(), 2*n)
	r.Check(len(h.by()) >= fleet, "%d instances served them, there are %d", len(h.by()), fleet)

	// The same at one instance, where the load balancer's own connections are.
	i := drill.Instances(status, contract.FleetWeb, contract.ColorBlue)[0]
	first, err := drill.Resident(ctx, i.PID)
	if err != nil {
		return err
	}
	own, err := hold(ctx, i.URL, drill.Sized(r, 1_000, 5_000))
	if err != nil {
		return err
	}
	defer own.close()
	r.Check(own.refused.Load()+own.broken.Load() == 0, "an instance did not hold its connections: %v", own.first())
	last, err := drill.Resident(ctx, i.PID)
	if err != nil {
		return err
	}
	per := float64(last-first) / 1024 / float64(len(own.conns))
	r.Figure("connections_at_one_instance", len(own.conns))
	r.Figure("connections_kib_each_at_the_instance", per)
	r.Check(per <= mostPerConnection, "an idle connection costs an instance %.1f KiB, the most is %d", per, mostPerConnection)
	return nil
}

// held are connections that stay open.
type held struct {
	host  string
	conns []*conn

	served, refused, broken atomic.Int64
	why                     atomic.Pointer[string]
}

// conn is one of them.
type conn struct {
	net.Conn
	reader *bufio.Reader
	by     string // instance that served it last
}

// hold opens n connections, and has each served once.
func hold(ctx context.Context, base string, n int) (*held, error) {
	if err := load.CheckLoopback(base); err != nil {
		return nil, err
	}
	h := &held{host: strings.TrimPrefix(base, "http://"), conns: make([]*conn, n)}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(dialing)
	for i := range n {
		group.Go(func() error {
			dialer := net.Dialer{Timeout: 10 * time.Second}
			c, err := dialer.DialContext(ctx, "tcp", h.host)
			if err != nil {
				h.refused.Add(1)
				h.note(err)
				return context.Cause(ctx)
			}
			// A page that is open reads little at a time.
			h.conns[i] = &conn{Conn: c, reader: bufio.NewReaderSize(c, 512)}
			h.ask(h.conns[i])
			return context.Cause(ctx)
		})
	}
	return h, group.Wait()
}

// all has every connection served once more.
func (h *held) all(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(dialing)
	for _, c := range h.conns {
		group.Go(func() error {
			if c != nil {
				h.ask(c)
			}
			return context.Cause(ctx)
		})
	}
	return group.Wait()
}

func (h *held) ask(c *conn) {
	err := func() error {
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", contract.PathVersion, h.host); err != nil {
			return err
		}
		res, err := http.ReadResponse(c.reader, nil)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		c.by, _, _ = api.ServedBy(res.Header)
		return c.SetDeadline(time.Time{})
	}()
	if err != nil {
		h.broken.Add(1)
		h.note(err)
		return
	}
	h.served.Add(1)
}

func (h *held) note(err error) {
	text := err.Error()
	h.why.CompareAndSwap(nil, &text)
}

// first is what the first one that failed said.
func (h *held) first() string {
	if why := h.why.Load(); why != nil {
		return *why
	}
	return ""
}

// by returns which instances served them.
func (h *held) by() map[string]int {
	by := map[string]int{}
	for _, c := range h.conns {
		if c != nil && c.by != "" {
			by[c.by]++
		}
	}
	return by
}

func (h *held) close() {
	for _, c := range h.conns {
		if c != nil {
			c.Close()
		}
	}
}
