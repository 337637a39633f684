// Package traffic is what goes on while a drill changes the fleet: requests at a
// constant rate whatever becomes of them, event streams of browsers that are told
// of each upload, and a slow download. It counts what a user would have noticed.
package traffic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/load"
)

// Options say what goes on.
type Options struct {
	PerSecond int   // requests
	Streams   int   // event streams; 0 has none, and uploads nothing
	Download  int64 // bytes of what is downloaded slowly; 0 has none
	Again     bool  // and when that is done, downloaded anew
}

// mib is 2^20 bytes.
const mib = 1 << 20

// downloadPace is how fast the slow client reads, in bytes a second: 1 GiB takes
// a minute, half of what an instance that leaves gives it.
const downloadPace = 16 * mib

// Traffic is what goes on.
type Traffic struct {
	r       *drill.Run
	o       Options
	edge    string
	tenant  *drill.Tenant
	cookies atomic.Pointer[string]
	next    atomic.Int64

	stop     context.CancelFunc // of what is asked for
	running  errgroup.Group
	leave    context.CancelFunc // of the streams
	watching *audience

	mu        sync.Mutex
	requests  int
	failed    map[string]int       // by what they said
	first     time.Time            // of the failed ones
	versions  map[string]int       // answers by version
	last      map[string]time.Time // when a color's last answer was asked for
	began     map[string]time.Time // when a color's first answer was asked for
	downloads int
}

// Start begins. What it needs, a tenant and what is downloaded, is made first;
// Stop ends it and says what it saw.
func Start(ctx context.Context, r *drill.Run, o Options) (*Traffic, error) {
	status, err := r.AwaitStatus(ctx, "the web fleet serves", func(s local.Status) bool {
		return slices.ContainsFunc(s.Instances, func(i local.Instance) bool { return i.Fleet == contract.FleetWeb && i.State == "in-service" })
	})
	if err != nil {
		return nil, err
	}
	t := &Traffic{r: r, o: o, edge: status.EdgeURL, failed: map[string]int{}}
	t.Forget()
	if t.tenant, err = drill.NewTenant(ctx, t.edge, "Traffic"); err != nil {
		return nil, err
	}
	t.remember()
	var file *download
	if o.Download > 0 {
		if file, err = t.put(ctx, o.Download); err != nil {
			return nil, err
		}
	}
	going, stop := context.WithCancel(ctx)
	listening, leave := context.WithCancel(ctx)
	t.stop, t.leave = stop, leave
	if o.Streams > 0 {
		if t.watching, err = t.watch(listening, o.Streams); err != nil {
			stop()
			leave()
			return nil, err
		}
		t.running.Go(func() error { return t.watching.upload(going) })
	}
	t.running.Go(func() error { return load.Constant(going, o.PerSecond, t.request, t.answer) })
	t.running.Go(func() error { t.renew(going); return nil })
	if file != nil {
		t.running.Go(func() error { return t.download(going, file) })
	}
	return t, drill.Await(ctx, "requests are answered", func(context.Context) (bool, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.requests > o.PerSecond/4, nil
	})
}

// remember keeps the cookies of the session and none of the load balancer's: each
// request is that of another user, as far as the load balancer knows.
func (t *Traffic) remember() {
	var pairs []string
	for _, c := range t.tenant.Cookies("/v1/projects") {
		if !strings.HasPrefix(c.Name, "AWSALB") {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	t.cookies.Store(new(strings.Join(pairs, "; ")))
}

// renew logs in again before the session's access token ends, after 15 minutes.
func (t *Traffic) renew(ctx context.Context) {
	tick := time.NewTicker(5 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		users := []*drill.Tenant{t.tenant}
		if t.watching != nil {
			users = append(users, t.watching.users...)
		}
		for _, user := range users {
			if err := user.Login(ctx, user.Email, user.Password); err != nil && ctx.Err() == nil {
				t.fail(time.Now(), "log in again: "+err.Error())
			}
		}
		t.remember()
	}
}

// request is the next one: what a page of the service asks for.
func (t *Traffic) request() load.Request {
	paths := []string{"/v1/projects", "/v1/me", "/v1/projects/" + t.tenant.Project.ID, contract.PathVersion}
	return load.Request{
		Method: http.MethodGet, URL: t.edge + paths[int(t.next.Add(1))%len(paths)],
		Header: http.Header{"Cookie": {*t.cookies.Load()}},
	}
}

func (t *Traffic) answer(a load.Answer) {
	if a.Failed() {
		why := fmt.Sprintf("%d %s", a.Status, a.Error)
		t.fail(a.At, why)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	_, color, version := api.ServedBy(a.Header)
	if color == "" {
		return
	}
	t.versions[version]++
	if t.began[color].IsZero() {
		t.began[color] = a.At
	}
	t.last[color] = a.At
}

func (t *Traffic) fail(at time.Time, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.failed) == 0 {
		t.first = at
	}
	t.failed[why]++
}

// Forget begins to count by version and color anew; failures stay.
func (t *Traffic) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.versions, t.last, t.began = map[string]int{}, map[string]time.Time{}, map[string]time.Time{}
}

// Served returns how many answers a version gave since Forget, and of how many.
func (t *Traffic) Served(version string) (its, all int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.versions {
		all += n
	}
	return t.versions[version], all
}

// Failed returns how many requests have failed.
func (t *Traffic) Failed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return total(t.failed)
}

// Last returns when the last request was sent that a color answered, since Forget.
func (t *Traffic) Last(color string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last[color]
}

// Ask asks once, with further headers, and returns the version that answered.
func (t *Traffic) Ask(ctx context.Context, headers map[string]string) (version string, err error) {
	header := http.Header{}
	for name, value := range headers {
		header.Set(name, value)
	}
	r, err := t.tenant.Do(ctx, http.MethodGet, "/v1/me", nil, header)
	if err != nil {
		return "", err
	}
	_, _, version = api.ServedBy(r.Header)
	return version, r.Decode(http.StatusOK, nil)
}

func total(counts map[string]int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
}

// Stop ends it, waits for what is in flight, prints figures and checks that
// nothing failed and no event was lost. prefix begins the figures' names.
func (t *Traffic) Stop(ctx context.Context, prefix string) error {
	defer t.leave()
	if err := t.End(); err != nil {
		return err
	}
	t.mu.Lock()
	failed, requests, downloads := maps.Clone(t.failed), t.requests, t.downloads
	t.mu.Unlock()
	t.r.Figure(prefix+"_requests", requests)
	t.r.Figure(prefix+"_requests_failed", total(failed))
	t.r.Check(len(failed) == 0, "%d of %d requests failed, the first at %s: %v", total(failed), requests, t.first.Format("15:04:05.000"), failed)
	if t.o.Download > 0 {
		t.r.Figure(prefix+"_downloads", downloads)
		t.r.Figure(prefix+"_download_mib", t.o.Download/mib)
		t.r.Check(downloads > 0, "no download came to its end")
	}
	if t.watching != nil {
		return t.watching.judge(ctx, prefix)
	}
	return nil
}

// End ends it and waits for what is in flight, where requests are meant to fail.
func (t *Traffic) End() error {
	t.stop()
	return t.running.Wait()
}

// download is a file and its digest.
type download struct {
	path string
	size int64
	sum  string
}

// put uploads what is downloaded.
func (t *Traffic) put(ctx context.Context, size int64) (*download, error) {
	d := &download{size: size}
	hash := sha256.New()
	// Compressible or not, a video is passed on as it is.
	body := io.TeeReader(io.LimitReader(pattern{}, size), hash)
	r, err := t.tenant.Do(ctx, http.MethodPost, "/v1/projects/"+t.tenant.Project.ID+"/videos", body,
		http.Header{"Content-Type": {"video/mp4"}, "X-Filename": {"long.mp4"}})
	if err != nil {
		return nil, fmt.Errorf("upload %d MiB: %w", size/mib, err)
	}
	if err := r.Decode(http.StatusAccepted, nil); err != nil {
		return nil, fmt.Errorf("upload %d MiB: %w", size/mib, err)
	}
	d.path, d.sum = r.Header.Get("Location")+"/content", hex.EncodeToString(hash.Sum(nil))
	return d, nil
}

// pattern is a reader without an end.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 31)
	}
	return len(p), nil
}

// download reads the file slowly; what has begun is read to its end.
func (t *Traffic) download(ctx context.Context, d *download) error {
	for again := true; again && ctx.Err() == nil; again = t.o.Again {
		if err := t.read(context.WithoutCancel(ctx), ctx, d); err != nil {
			t.fail(time.Now(), "download: "+err.Error())
		}
		t.mu.Lock()
		t.downloads++
		t.mu.Unlock()
	}
	return nil
}

func (t *Traffic) read(ctx, hurry context.Context, d *download) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.edge+d.path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Cookie", *t.cookies.Load())
	res, err := (&http.Client{Transport: &http.Transport{DisableCompression: true}}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	hash := sha256.New()
	const slice = 20 // a second
	tick := time.NewTicker(time.Second / slice)
	defer tick.Stop()
	for got := int64(0); ; {
		n, err := io.CopyN(hash, res.Body, downloadPace/slice)
		if got += n; errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d MiB: %w", got/mib, d.size/mib, err)
		}
		select {
		case <-tick.C:
		case <-hurry.Done(): // the drill is over
		}
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != d.sum {
		return fmt.Errorf("what came has the SHA-256 %s, what was sent %s", got, d.sum)
	}
	return nil
}
