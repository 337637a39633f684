package objectstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/objectstore"
)

// cutting returns a store whose answers pass through a proxy that lets through
// as many bytes as cut says for the request of that number, from 0, and then
// breaks the connection; a negative number lets everything through. It also
// returns the Range and If-Match values seen.
func cutting(t *testing.T, name string, cut func(n int) int) (*objectstore.Store, func() []string) {
	t.Helper()
	target, err := url.Parse(shared.URL)
	require.NoError(t, err)
	var mu sync.Mutex
	var seen []string
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n := len(seen)
		seen = append(seen, r.Header.Get("Range")+" "+r.Header.Get("If-Match"))
		mu.Unlock()
		if left := cut(n); left >= 0 {
			w = &cutWriter{w, left}
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	cfg := shared.AWSConfig()
	cfg.BaseEndpoint = &proxy.URL
	cfg.RetryMaxAttempts = 1
	return objectstore.New(cfg, name), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

func TestABrokenReadGoesOn(t *testing.T) {
	t.Parallel()
	_, name := bucket(t)
	s := objectstore.New(shared.AWSConfig(), name)
	body, _ := noise(3 << 20)
	whole, err := io.ReadAll(body)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "big", "video/mp4", bytes.NewReader(whole))
	require.NoError(t, err)

	for title, c := range map[string]struct {
		rng  string
		want []byte
		cuts []int
	}{
		"the whole":        {"", whole, []int{1 << 20, 100_000, 0}},
		"a range":          {"bytes=1000-2000000", whole[1000:2000001], []int{500_000, 1}},
		"an open range":    {"bytes=5000-", whole[5000:], []int{70_000}},
		"the last bytes":   {"bytes=-100000", whole[len(whole)-100_000:], []int{50_000}},
		"the last is lost": {"", whole, []int{len(whole) - 1}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			cut, seen := cutting(t, name, func(n int) int {
				if n < len(c.cuts) {
					return c.cuts[n]
				}
				return -1
			})
			o, err := cut.Get(t.Context(), "big", c.rng)
			require.NoError(t, err)
			defer o.Close()
			got, err := io.ReadAll(o)
			require.NoError(t, err)
			require.True(t, bytes.Equal(c.want, got))
			requests := seen()
			require.Len(t, requests, len(c.cuts)+1)
			for _, r := range requests[1:] {
				require.True(t, strings.HasSuffix(r, " "+o.ETag), "%s", r)
			}
		})
	}

	t.Run("not for ever", func(t *testing.T) {
		t.Parallel()
		cut, seen := cutting(t, name, func(int) int { return 1000 })
		o, err := cut.Get(t.Context(), "big", "")
		require.NoError(t, err)
		defer o.Close()
		got, err := io.ReadAll(o)
		require.Equal(t, app.CodeUnavailable, app.CodeOf(err), "%v", err)
		require.True(t, bytes.HasPrefix(whole, got))
		require.Len(t, seen(), 5)
	})

	t.Run("not when the caller is gone", func(t *testing.T) {
		t.Parallel()
		cut, seen := cutting(t, name, func(int) int { return 1000 })
		ctx, cancel := context.WithCancel(t.Context())
		o, err := cut.Get(ctx, "big", "")
		require.NoError(t, err)
		cancel()
		_, err = io.ReadAll(o)
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, seen(), 1)
		require.NoError(t, o.Close())
		_, err = o.Read(make([]byte, 1))
		require.ErrorContains(t, err, "closed")
	})
}

func TestAReplacedObjectIsNotMixed(t *testing.T) {
	t.Parallel()
	_, name := bucket(t)
	s := objectstore.New(shared.AWSConfig(), name)
	first, _ := noise(1 << 20)
	_, err := s.Put(t.Context(), "k", "video/mp4", first)
	require.NoError(t, err)
	cut, _ := cutting(t, name, func(n int) int {
		if n == 0 {
			return 300_000
		}
		return -1
	})
	o, err := cut.Get(t.Context(), "k", "")
	require.NoError(t, err)
	defer o.Close()
	_, err = s.Put(t.Context(), "k", "video/mp4", strings.NewReader(strings.Repeat("x", 1<<20)))
	require.NoError(t, err)
	got, err := io.ReadAll(o)
	require.Equal(t, app.CodeConflict, app.CodeOf(err), "%v", err)
	require.LessOrEqual(t, len(got), 300_000)
}

// part makes one of the bytes of a part.
func part(number int, data []byte) app.Part {
	sum := sha256.Sum256(data)
	return app.Part{Number: number, Bytes: int64(len(data)), SHA256: base64.StdEncoding.EncodeToString(sum[:])}
}

// send does what a client does with a presigned request.
func send(t *testing.T, r app.PartRequest, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, bytes.NewReader(body))
	require.NoError(t, err)
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func TestPartsFromElsewhere(t *testing.T) {
	t.Parallel()
	client, name := bucket(t)
	s := objectstore.New(shared.AWSConfig(), name)
	body, _ := noise(11 << 20)
	whole, err := io.ReadAll(body)
	require.NoError(t, err)
	one, two := whole[:6<<20], whole[6<<20:]

	id, err := s.Begin(t.Context(), "k", "video/mp4")
	require.NoError(t, err)
	presign := func(p app.Part) app.PartRequest {
		r, err := s.Presign(t.Context(), "k", id, p, time.Minute)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(r.URL, shared.URL+"/"+name+"/k?"), "%s", r.URL)
		require.Contains(t, r.URL, "X-Amz-SignedHeaders=content-length%3Bhost%3Bx-amz-checksum-sha256")
		require.Equal(t, map[string]string{"X-Amz-Checksum-Sha256": p.SHA256}, r.Header)
		return r
	}
	second := presign(part(2, two))
	require.Equal(t, http.StatusOK, send(t, second, two))
	require.Equal(t, http.StatusBadRequest, send(t, presign(part(1, one)), whole[1:len(one)+1]), "other bytes")
	parts, err := s.Parts(t.Context(), "k", id, 0, 10)
	require.NoError(t, err)
	require.Len(t, parts, 1)
	require.Equal(t, part(2, two).SHA256, parts[0].SHA256)
	require.Equal(t, http.StatusOK, send(t, presign(part(1, one)), one))

	parts, err = s.Parts(t.Context(), "k", id, 0, 10)
	require.NoError(t, err)
	require.Len(t, parts, 2)
	after, err := s.Parts(t.Context(), "k", id, 1, 10)
	require.NoError(t, err)
	require.Equal(t, parts[1:], after)
	wrong := []app.Part{parts[0], parts[1]}
	wrong[1].ETag = `"00000000000000000000000000000000"`
	require.Equal(t, app.CodeConflict, app.CodeOf(s.Complete(t.Context(), "k", id, wrong)))
	for range 2 {
		require.NoError(t, s.Complete(t.Context(), "k", id, parts), "again, it changes nothing")
	}
	o, err := s.Get(t.Context(), "k", "")
	require.NoError(t, err)
	defer o.Close()
	got, err := io.ReadAll(o)
	require.NoError(t, err)
	require.True(t, bytes.Equal(whole, got))
	require.Equal(t, "video/mp4", o.ContentType)

	given, err := s.Begin(t.Context(), "k2", "video/mp4")
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, s.Abort(t.Context(), "k2", given))
	}
	_, err = s.Parts(t.Context(), "k2", given, 0, 10)
	require.Equal(t, app.CodeNotFound, app.CodeOf(err), "%v", err)
	left, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	require.NoError(t, err)
	require.Empty(t, left.Uploads)
}

// An upload that is cancelled in the middle of a part, while S3 does not
// answer, gives up at once and aborts.
func TestACancelledPutAbortsAtOnce(t *testing.T) {
	t.Parallel()
	client, name := bucket(t)
	hang := make(chan struct{})
	reached := make(chan struct{}, 8)
	var aborts atomic.Int32
	s, _ := behind(t, name, func(r *http.Request) int {
		if r.Method == http.MethodDelete {
			aborts.Add(1)
		}
		if r.URL.Query().Get("partNumber") == "2" {
			reached <- struct{}{}
			<-hang
		}
		return 0
	})
	t.Cleanup(func() { close(hang) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	body, _ := noise(40 << 20)
	go func() {
		_, err := s.Put(ctx, "k", "video/mp4", body)
		done <- err
	}()
	<-reached
	begin := time.Now()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Less(t, time.Since(begin), time.Second)
	require.EqualValues(t, 1, aborts.Load())
	left, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	require.NoError(t, err)
	require.Empty(t, left.Uploads)
}

// An upload whose body fails does not wait for the parts that are on their way:
// S3 may be slow, and what they hold is to be free at once.
func TestAFailedBodyAbortsAtOnce(t *testing.T) {
	t.Parallel()
	client, name := bucket(t)
	hang := make(chan struct{})
	reached := make(chan struct{}, 8)
	s, _ := behind(t, name, func(r *http.Request) int {
		if r.URL.Query().Get("partNumber") == "2" {
			reached <- struct{}{}
			<-hang
		}
		return 0
	})
	t.Cleanup(func() { close(hang) })
	gone := errors.New("the client is gone")
	var began time.Time
	start, _ := noise(20 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := s.Put(ctx, "k", "video/mp4", io.MultiReader(start, readerFunc(func([]byte) (int, error) {
		<-reached
		began = time.Now()
		return 0, gone
	})))
	require.ErrorIs(t, err, gone)
	require.Less(t, time.Since(began), time.Second)
	left, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	require.NoError(t, err)
	require.Empty(t, left.Uploads)
}

// BenchmarkGet reads from a server on the loopback through the store and
// through net/http alone.
func BenchmarkGet(b *testing.B) {
	const size = 256 << 20
	chunk := bytes.Repeat([]byte("x"), 256<<10)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Header().Set("Etag", `"x"`)
		for range size / len(chunk) {
			_, _ = w.Write(chunk)
		}
	}))
	defer upstream.Close()
	cfg := shared.AWSConfig()
	cfg.BaseEndpoint = &upstream.URL
	s := objectstore.New(cfg, "b")
	buffer := make([]byte, 64<<10)
	sink := struct{ io.Writer }{io.Discard}
	b.Run("store", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			o, err := s.Get(b.Context(), "k", "")
			require.NoError(b, err)
			_, err = io.CopyBuffer(sink, o, buffer)
			require.NoError(b, err)
			require.NoError(b, o.Close())
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			res, err := http.Get(upstream.URL)
			require.NoError(b, err)
			_, err = io.CopyBuffer(sink, res.Body, buffer)
			require.NoError(b, err)
			require.NoError(b, res.Body.Close())
		}
	})
}
