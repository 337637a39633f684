package compression

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/test/load"
)

// Traffic is small requests and the lists that are sent beside them. Both are
// open loops: a request is sent when it is due, whether or not the ones before
// it were answered, so waiting is not hidden by asking less.
type Traffic struct {
	Small, Large         string // URLs, on loopback
	Header               http.Header
	SmallRate, LargeRate int           // a second; together well below what the instance can do
	AtOnce               int           // lists are asked for so many at a time: the hardest case for what is beside them
	Block                time.Duration // of one encoding, before another has its turn
	Rounds               int           // blocks of each encoding
	Seed                 uint64        // of the order of the blocks
}

// Beside is what small requests took beside the lists of one encoding.
type Beside struct {
	Encoding string        // of the lists; identity has them uncompressed
	Small    int           // requests timed
	Lists    int           // answered beside them
	P50, P99 time.Duration // medians of what the blocks had
	// Ratio is P99 over that beside uncompressed lists at the same rate: what
	// compression does, and not what lists do.
	Ratio float64
}

// Control is the name of a second series beside uncompressed lists. Its Ratio
// tells how far from 1 the noise of the machine alone takes one.
const Control = "control"

// SmallBesideLarge times small requests beside lists of each encoding. Blocks of
// all encodings alternate in a random order, so what else runs on the machine
// falls on all alike, and the medians leave out the blocks it fell on.
func SmallBesideLarge(ctx context.Context, t Traffic) ([]Beside, error) {
	if err := errors.Join(load.CheckLoopback(t.Small), load.CheckLoopback(t.Large)); err != nil {
		return nil, err
	}
	if t.SmallRate < 1 || t.LargeRate < 1 || t.AtOnce < 1 || t.Block <= 0 || t.Block > load.MaxDuration || t.Rounds < 1 {
		return nil, fmt.Errorf("traffic of %d small and %d large requests a second, %d at once, in %d blocks of %v: every number must be positive, and a block no longer than %v",
			t.SmallRate, t.LargeRate, t.AtOnce, t.Rounds, t.Block, load.MaxDuration)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	order := slices.Concat([]string{identity, Control}, encodings())
	names := slices.Clone(order)
	p50, p99 := map[string][]time.Duration{}, map[string][]time.Duration{}
	counted := map[string]*Beside{}
	for _, name := range names {
		counted[name] = &Beside{Encoding: name}
	}
	rnd := rand.New(rand.NewPCG(t.Seed, 2))
	for range t.Rounds {
		rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, name := range order {
			small, lists, err := t.block(ctx, client, name)
			if err != nil {
				return nil, fmt.Errorf("small requests beside lists, %s: %w", name, err)
			}
			b := counted[name]
			b.Small += len(small)
			b.Lists += lists
			p50[name] = append(p50[name], quantile(small, 50))
			p99[name] = append(p99[name], quantile(small, 99))
		}
	}
	var out []Beside
	for _, name := range names {
		b := counted[name]
		b.P50, b.P99 = quantile(p50[name], 50), quantile(p99[name], 50)
		b.Ratio = float64(b.P99) / float64(counted[identity].P99)
		out = append(out, *b)
	}
	return out, nil
}

// block returns what small requests took beside the lists of one encoding.
func (t Traffic) block(ctx context.Context, client *http.Client, name string) (took []time.Duration, lists int, err error) {
	encoding := name
	if name == Control {
		encoding = identity
	}
	header := http.Header{"Accept-Encoding": {encoding}}
	maps.Copy(header, t.Header)
	var g errgroup.Group
	g.Go(func() error {
		answered, err := attack(ctx, client, t.Large, header, bursts{t.AtOnce, time.Duration(t.AtOnce) * time.Second / time.Duration(t.LargeRate)}, t.Block)
		lists = len(answered)
		return err
	})
	took, err = attack(ctx, client, t.Small, header, bursts{1, time.Second / time.Duration(t.SmallRate)}, t.Block)
	return took, lists, errors.Join(err, g.Wait())
}

// attack returns what each request took. One that fails is an error: it might
// have been quick.
func attack(ctx context.Context, client *http.Client, url string, header http.Header, pace bursts, during time.Duration) (took []time.Duration, err error) {
	attacker := vegeta.NewAttacker(vegeta.Client(client), vegeta.MaxBody(0))
	defer attacker.Stop()
	defer context.AfterFunc(ctx, func() { attacker.Stop() })()
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: url, Header: header})
	for r := range attacker.Attack(target, pace, during, "") {
		if r.Code != http.StatusOK {
			err = fmt.Errorf("GET %s: status %d: %s", url, r.Code, r.Error)
		}
		took = append(took, r.Latency)
	}
	if err == nil && len(took) == 0 {
		err = fmt.Errorf("GET %s: nothing was sent in %v", url, during)
	}
	return took, errors.Join(err, context.Cause(ctx))
}

// bursts paces requests: size of them at once, every so often.
type bursts struct {
	size  int
	every time.Duration
}

// Pace implements vegeta.Pacer.
func (b bursts) Pace(elapsed time.Duration, hits uint64) (wait time.Duration, stop bool) {
	due := time.Duration(hits/uint64(b.size)) * b.every
	return max(0, due-elapsed), false
}

// Rate implements vegeta.Pacer.
func (b bursts) Rate(time.Duration) float64 { return float64(b.size) / b.every.Seconds() }

// quantile returns the value that so many percent are below. It sorts values.
func quantile(values []time.Duration, percent int) time.Duration {
	slices.Sort(values)
	return values[len(values)*percent/100]
}
