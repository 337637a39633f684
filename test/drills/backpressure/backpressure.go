// Package backpressure is the drill of concept 4: objects of gigabytes go
// through an instance whose memory they do not fit into, to clients that are
// fast, slow, silent or gone.
package backpressure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/test/drill"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Drill returns the drill.
func Drill() drill.Drill {
	return drill.Drill{
		Name:    "backpressure",
		Summary: "gigabytes pass through an instance in megabytes; clients that stall or go away cost and keep nothing",
		Parts: []drill.Part{
			{Name: "download", Summary: "a client gets an object larger than the instance may hold", Limit: 8 * time.Minute, Run: download},
			{Name: "upload", Summary: "a client sends an object larger than the instance may hold", Limit: 8 * time.Minute, Run: upload},
			{Name: "stalled", Summary: "ten clients ask for an object and do not read it", Limit: 5 * time.Minute, Run: stalled},
			{Name: "disconnect", Summary: "clients go away in the middle of downloads and uploads", Limit: 5 * time.Minute, Run: disconnect},
			{Name: "throughput", Summary: "an instance against a server that does nothing but copy", Limit: 8 * time.Minute, Run: throughput},
		},
	}
}

// bench is what the parts work with: an object store on disk, an instance of
// the web fleet in front of it that serves nobody else, and a tenant.
type bench struct {
	*drill.Run
	store  *drill.ObjectStore
	web    *drill.StandIn
	tenant *drill.Tenant
	client *http.Client
}

// set starts the store and the instance. done stops them and deletes what they
// hold.
func set(ctx context.Context, r *drill.Run) (b *bench, done func(), err error) {
	status, err := r.AwaitStatus(ctx, "a web instance is in service", func(s local.Status) bool {
		return len(drill.Instances(s, contract.FleetWeb, contract.ColorBlue)) > 0
	})
	if err != nil {
		return nil, nil, err
	}
	program, err := drill.ProgramOf(drill.Instances(status, contract.FleetWeb, contract.ColorBlue)[0])
	if err != nil {
		return nil, nil, err
	}
	bucket, err := r.Setting(ctx, contract.MediaBucket)
	if err != nil {
		return nil, nil, err
	}
	b = &bench{Run: r, client: &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: 256 << 10, WriteBufferSize: 256 << 10}}}
	// The tenant comes through the edge: a password's hash takes as much memory
	// as an upload, and the instance under drill must not have had it.
	if b.tenant, err = drill.NewTenant(ctx, status.EdgeURL, "Backpressure"); err != nil {
		return nil, nil, err
	}
	if b.store, err = r.StandObjectStore(ctx, bucket); err != nil {
		return nil, nil, err
	}
	if b.web, err = r.Stand(ctx, program, 0, map[string]string{"AWS_ENDPOINT_URL_S3": b.store.URL}); err != nil {
		b.store.Close()
		return nil, nil, err
	}
	return b, func() {
		b.client.CloseIdleConnections()
		b.forget(context.WithoutCancel(ctx))
		b.web.Close()
		b.store.Close()
	}, nil
}

// forget deletes the tenant's videos, so that nobody looks for their objects
// where the rest of the fleet keeps its own.
func (b *bench) forget(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := b.Primary().Exec(ctx, "delete from videos where tenant_id = $1", b.tenant.ID); err != nil {
		b.Check(false, "videos of tenant %s are left behind: %v", b.tenant.ID, err)
	}
}

// fresh replaces the instance's process by one that has done nothing but the
// work that every process has done once: its memory is not that of what the
// drill did before.
func (b *bench) fresh(ctx context.Context) error {
	b.client.CloseIdleConnections()
	b.web.Kill()
	if err := b.web.AwaitReady(ctx); err != nil {
		return err
	}
	return b.warm(ctx)
}

// warm lets the instance do small work until it has settled: connections are
// open, the collector has run, and every page of code that is needed is in
// memory.
func (b *bench) warm(ctx context.Context) error {
	const small, times = 64 << 10, 20
	id, _, err := b.upload(ctx, small)
	if err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	for range times {
		if _, err := b.get(ctx, id, "", io.Discard); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
	return b.delete(ctx, id)
}

func (b *bench) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.web.URL()+path, body)
	if err != nil {
		return nil, err
	}
	// Cookies are of a host, and the one that the tenant logged in at may have another name.
	req.Header.Set("Cookie", b.tenant.CookieHeader("/"))
	return req, nil
}

// do sends a request and returns its answer if it has the status wanted.
func (b *bench) do(req *http.Request, want int) (*http.Response, error) {
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != want {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return nil, fmt.Errorf("%s %s: status %d, want %d: %s", req.Method, req.URL.Path, res.StatusCode, want, text)
	}
	return res, nil
}

// noise yields the same bytes every time, which no compression makes fewer.
func noise(size int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{4}), size) }

func (b *bench) videos() string { return "/v1/projects/" + b.tenant.Project.ID + "/videos" }

func content(id string) string { return "/v1/videos/" + id + "/content" }

// upload sends a body of so many bytes as it is made, and returns the video's
// id and the body's SHA-256.
func (b *bench) upload(ctx context.Context, size int64) (id, sum string, err error) {
	hash := sha256.New()
	id, err = b.send(ctx, io.TeeReader(noise(size), hash), size)
	return id, hex.EncodeToString(hash.Sum(nil)), err
}

// send sends a body and returns the video's id.
func (b *bench) send(ctx context.Context, body io.Reader, size int64) (id string, err error) {
	req, err := b.request(ctx, http.MethodPost, b.videos(), body)
	if err != nil {
		return "", err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "video/mp4")
	res, err := b.do(req, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(res.Header.Get("Location"), "/v1/videos/"), res.Body.Close()
}

// get copies a video's content to w and returns how many bytes came. rng is a
// Range, or empty.
func (b *bench) get(ctx context.Context, id, rng string, w io.Writer) (int64, error) {
	req, err := b.request(ctx, http.MethodGet, content(id), nil)
	if err != nil {
		return 0, err
	}
	want := http.StatusOK
	if rng != "" {
		want = http.StatusPartialContent
		req.Header.Set("Range", rng)
	}
	res, err := b.do(req, want)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	// io.Discard would bring a small buffer of its own.
	return io.CopyBuffer(struct{ io.Writer }{w}, res.Body, make([]byte, 256<<10))
}

func (b *bench) delete(ctx context.Context, id string) error {
	req, err := b.request(ctx, http.MethodDelete, "/v1/videos/"+id, nil)
	if err != nil {
		return err
	}
	res, err := b.do(req, http.StatusNoContent)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// dial sends a request's head over a connection of its own. window limits what
// the client's side of it takes unread, 0 leaves that to the system.
func (b *bench) dial(ctx context.Context, method, path string, window int, header ...string) (*net.TCPConn, error) {
	u, err := url.Parse(b.web.URL())
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if window > 0 {
		err = tcp.SetReadBuffer(window)
	}
	if err == nil {
		lines := append([]string{method + " " + path + " HTTP/1.1", "Host: " + u.Host, "Cookie: " + b.tenant.CookieHeader("/")}, header...)
		_, err = io.WriteString(tcp, strings.Join(lines, "\r\n")+"\r\n\r\n")
	}
	if err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return tcp, nil
}
