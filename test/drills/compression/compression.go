package compression

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/app/compress/compresstest"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/load"
)

// What the service must hold.
const (
	MaxWire     = 0.15 // of a list of a megabyte
	MaxP99Ratio = 1.2  // of small requests beside compressed lists, to that beside the same lists uncompressed
)

const (
	zstd     = "zstd"
	brotli   = "br"
	gzip     = "gzip"
	identity = "identity"
)

func encodings() []string { return []string{zstd, brotli, gzip} }

// Options of a drill.
type Options struct {
	User     *api.Client // logged in, may edit; its tenant should have no projects
	Instance string      // URL of one instance, on loopback: no edge caches or re-encodes what is compared
	PID      int32       // of the instance's process; 0 leaves out what it spends
	Seed     uint64      // of the texts and the order of blocks

	Responses int // of each encoding whose CPU is measured; default 30
	Rounds    int // blocks of each encoding beside which small requests are timed; default 6, some 10 s
}

// Figures are what a drill measured.
type Figures struct {
	ListBytes int                // of the list as it is
	Wire      map[string]float64 // part of ListBytes that each encoding leaves
	// CPU is what the process spent on one response, with identity for what it
	// spends on the list itself; nil without a PID. The system counts it in
	// hundredths of a second, which the number of responses divides.
	CPU    map[string]time.Duration
	Beside []Beside
}

// Run makes a list of a megabyte and drills it. The error joins all that is
// wrong with answers; whether the figures are good enough is left to the caller.
func Run(ctx context.Context, o Options) (Figures, error) {
	if o.Responses == 0 {
		o.Responses = 30
	}
	if o.Rounds == 0 {
		o.Rounds = 6
	}
	if err := load.CheckLoopback(o.Instance); err != nil {
		return Figures{}, err
	}
	small, long, err := seed(ctx, o)
	if err != nil {
		return Figures{}, err
	}
	header := http.Header{"Cookie": {o.User.CookieHeader(listPath)}}
	c := checker{ctx: ctx, user: o.User, instance: o.Instance, header: header}
	f := Figures{Wire: map[string]float64{}}
	c.list(&f)
	c.project(long)
	c.small(small)
	c.document()
	c.video(small)
	if err := errors.Join(c.wrong...); err != nil {
		return f, err
	}
	if o.PID != 0 {
		if f.CPU, err = spent(ctx, o, header); err != nil {
			return f, err
		}
	}
	f.Beside, err = SmallBesideLarge(ctx, traffic(o.Instance, small, header, o))
	return f, err
}

// traffic keeps an instance, which makes a list of a megabyte in some 15 ms, a
// quarter busy.
func traffic(instance, small string, header http.Header, o Options) Traffic {
	return Traffic{
		Small: instance + "/v1/projects/" + small, Large: instance + listPath, Header: header,
		SmallRate: 400, LargeRate: 20, AtOnce: 4, Block: 400 * time.Millisecond, Rounds: o.Rounds, Seed: o.Seed,
	}
}

const listPath = "/v1/projects?limit=200" // as many as a page may have

// seed makes a project without a description, and as many with long ones as a
// list of a megabyte has.
func seed(ctx context.Context, o Options) (small, long string, err error) {
	const description = 9_000 // bytes and up to 800 more; the API takes 10,000 characters
	p, err := o.User.CreateProject(ctx, "Small")
	if err != nil {
		return "", "", err
	}
	rnd := rand.New(rand.NewPCG(o.Seed, 1))
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range (1<<20)/description + 1 {
		body := map[string]string{"name": compresstest.Name(rnd), "description": compresstest.Description(rnd, description)}
		g.Go(func() error {
			r, err := o.User.Do(within, http.MethodPost, "/v1/projects", body, nil)
			if err != nil {
				return err
			}
			var made api.Project
			if err := r.Decode(http.StatusCreated, &made); err != nil {
				return fmt.Errorf("make project %d: %w", i, err)
			}
			if i == 0 {
				long = made.ID
			}
			return nil
		})
	}
	return p.ID, long, g.Wait()
}
