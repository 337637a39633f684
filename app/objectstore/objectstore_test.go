package objectstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/objectstore"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

// shared is one emulator for all tests; each has a bucket of its own.
var shared *emulator.Emulator

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx := context.Background()
		dir, err := os.MkdirTemp("", "objectstore-test-")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		python, err := emulator.Install(ctx, filepath.Join("..", "..", ".cache"), func(s string) { log.Print(s) })
		if err == nil {
			shared, err = emulator.Start(ctx, emulator.Options{
				Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator"),
			})
		}
		if err != nil {
			log.Print(err)
			return 1
		}
		defer shared.Stop(ctx)
		return m.Run()
	}())
}

// bucket makes a bucket and returns its client and its name.
func bucket(t *testing.T) (*s3.Client, string) {
	t.Helper()
	client := s3.NewFromConfig(shared.AWSConfig(), func(o *s3.Options) { o.UsePathStyle = true })
	name := fmt.Sprintf("media-%d", rand.Uint64())
	_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	require.NoError(t, err)
	return client, name
}

func setup(t *testing.T) *objectstore.Store {
	t.Helper()
	_, name := bucket(t)
	return objectstore.New(shared.AWSConfig(), name)
}

// noise is a reader of size bytes that differ everywhere, and their hash.
func noise(size int64) (io.Reader, hash.Hash) {
	sum := sha256.New()
	return io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{}), size), sum), sum
}

func TestPutAndGet(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for name, size := range map[string]int64{
		"nothing": 0, "one byte": 1, "just below a part": 8<<20 - 1, "a part": 8 << 20, "many parts": 40<<20 + 5,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := "tenants/t/videos/" + strings.ReplaceAll(name, " ", "-")
			body, sum := noise(size)
			n, err := s.Put(t.Context(), key, "video/mp4", body)
			require.NoError(t, err)
			require.Equal(t, size, n)

			object, err := s.Get(t.Context(), key, "")
			require.NoError(t, err)
			defer object.Close()
			require.Equal(t, size, object.Bytes)
			require.Equal(t, "video/mp4", object.ContentType)
			require.Regexp(t, `^".+"$`, object.ETag)
			require.Empty(t, object.ContentRange)
			require.WithinDuration(t, time.Now(), object.LastModified, time.Minute)
			require.True(t, object.AcceptsRanges)
			got := sha256.New()
			_, err = io.Copy(got, object)
			require.NoError(t, err)
			require.Equal(t, sum.Sum(nil), got.Sum(nil))
		})
	}
}

func TestGetARange(t *testing.T) {
	t.Parallel()
	s := setup(t)
	_, err := s.Put(t.Context(), "digits", "text/plain", strings.NewReader("0123456789"))
	require.NoError(t, err)
	for rng, want := range map[string]struct{ body, contentRange string }{
		"bytes=2-4":  {"234", "bytes 2-4/10"},
		"bytes=7-":   {"789", "bytes 7-9/10"},
		"bytes=-2":   {"89", "bytes 8-9/10"},
		"bytes=5-99": {"56789", "bytes 5-9/10"},
	} {
		object, err := s.Get(t.Context(), "digits", rng)
		require.NoError(t, err, rng)
		body, err := io.ReadAll(object)
		require.NoError(t, err)
		require.NoError(t, object.Close())
		require.Equal(t, want.body, string(body), rng)
		require.Equal(t, want.contentRange, object.ContentRange)
		require.EqualValues(t, len(want.body), object.Bytes)
	}
	_, err = s.Get(t.Context(), "digits", "bytes=10-")
	require.Equal(t, app.CodeRange, app.CodeOf(err), "%v", err)
}

func TestGetAndDeleteOfNothing(t *testing.T) {
	t.Parallel()
	s := setup(t)
	_, err := s.Get(t.Context(), "absent", "")
	require.Equal(t, app.CodeNotFound, app.CodeOf(err), "%v", err)
	require.NoError(t, s.Delete(t.Context(), "absent"))
	_, err = s.Put(t.Context(), "present", "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), "present"))
	_, err = s.Get(t.Context(), "present", "")
	require.Equal(t, app.CodeNotFound, app.CodeOf(err), "%v", err)
}

// broken fails after its content.
type broken struct {
	io.Reader
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

func TestPutOfAFailingBodyStoresNothing(t *testing.T) {
	t.Parallel()
	client, name := bucket(t)
	s := objectstore.New(shared.AWSConfig(), name)
	cause := errors.New("the client went away")
	for _, size := range []int64{0, 1000, 30 << 20} {
		for _, err := range []error{cause, io.ErrUnexpectedEOF} {
			body, _ := noise(size)
			_, got := s.Put(t.Context(), "upload", "video/mp4", &broken{body, err})
			require.ErrorIs(t, got, err, "after %d bytes", size)
		}
	}
	_, err := s.Get(t.Context(), "upload", "")
	require.Equal(t, app.CodeNotFound, app.CodeOf(err), "%v", err)
	left, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	require.NoError(t, err)
	require.Empty(t, left.Uploads, "parts were left behind")
}

func TestPutThatIsCancelledStoresNothing(t *testing.T) {
	t.Parallel()
	client, name := bucket(t)
	s := objectstore.New(shared.AWSConfig(), name)
	ctx, cancel := context.WithCancel(t.Context())
	body, _ := noise(20 << 20)
	_, err := s.Put(ctx, "upload", "video/mp4", io.MultiReader(body, readerFunc(func([]byte) (int, error) {
		cancel()
		<-ctx.Done()
		return 0, ctx.Err()
	})))
	require.ErrorIs(t, err, context.Canceled)
	left, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	require.NoError(t, err)
	require.Empty(t, left.Uploads, "parts were left behind")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// behind returns a store whose requests pass through a proxy that answers
// those refuse names with a status, and the requests seen.
func behind(t *testing.T, name string, refuse func(*http.Request) int) (*objectstore.Store, *sync.Map) {
	t.Helper()
	target, err := url.Parse(shared.URL)
	require.NoError(t, err)
	var seen sync.Map
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Method+" "+r.URL.RawQuery, r.Header)
		if status := refuse(r); status != 0 {
			http.Error(w, "", status)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	cfg := shared.AWSConfig()
	cfg.BaseEndpoint = &proxy.URL
	cfg.RetryMaxAttempts = 1
	return objectstore.New(cfg, name), &seen
}

func TestARefusedPartStoresNothing(t *testing.T) {
	t.Parallel()
	client, name := bucket(t)
	var aborted atomic.Bool
	s, _ := behind(t, name, func(r *http.Request) int {
		if r.Method == http.MethodDelete {
			aborted.Store(true)
		}
		if r.URL.Query().Get("partNumber") == "3" {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	body, _ := noise(40 << 20)
	_, err := s.Put(t.Context(), "upload", "video/mp4", body)
	require.Equal(t, app.CodeUnavailable, app.CodeOf(err), "%v", err)
	require.True(t, aborted.Load())
	left, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	require.NoError(t, err)
	require.Empty(t, left.Uploads, "parts were left behind")
}

func TestRequestsCarryChecksums(t *testing.T) {
	t.Parallel()
	_, name := bucket(t)
	s, seen := behind(t, name, func(*http.Request) int { return 0 })
	_, err := s.Put(t.Context(), "small", "text/plain", strings.NewReader("small"))
	require.NoError(t, err)
	body, _ := noise(9 << 20)
	_, err = s.Put(t.Context(), "large", "text/plain", body)
	require.NoError(t, err)
	parts := 0
	seen.Range(func(request, header any) bool {
		if strings.HasPrefix(request.(string), "PUT ") {
			parts++
			h := header.(http.Header)
			require.True(t, h.Get("X-Amz-Checksum-Sha256") != "" || strings.EqualFold(h.Get("X-Amz-Trailer"), "x-amz-checksum-sha256"), "%s: %v", request, h)
		}
		return true
	})
	require.Equal(t, 3, parts, "one object and two parts")
}

func TestErrorsSayWhoIsToBlame(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]app.Code{
		http.StatusForbidden:           app.CodeInternal,
		http.StatusInternalServerError: app.CodeUnavailable,
		http.StatusTooManyRequests:     app.CodeUnavailable,
	} {
		s, _ := behind(t, "any", func(*http.Request) int { return status })
		_, err := s.Get(t.Context(), "key", "")
		require.Equal(t, want, app.CodeOf(err), "status %d: %v", status, err)
	}
	cfg := shared.AWSConfig()
	cfg.BaseEndpoint, cfg.RetryMaxAttempts = aws.String("http://127.0.0.1:1"), 1
	_, err := objectstore.New(cfg, "any").Get(t.Context(), "key", "")
	require.Equal(t, app.CodeUnavailable, app.CodeOf(err), "%v", err)

	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the request's deadline")
	cancel(cause)
	_, err = objectstore.New(cfg, "any").Get(ctx, "key", "")
	require.ErrorIs(t, err, cause)
	require.NotEqual(t, app.CodeUnavailable, app.CodeOf(err), "a caller that goes away says nothing about the store")
}

// Not parallel: it measures the heap.
func TestPutHoldsFourParts(t *testing.T) {
	_, name := bucket(t)
	// The emulator would take its time with the bytes; only the client is measured.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Etag", `"x"`)
		switch {
		case r.URL.Query().Has("uploads"):
			fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
		case r.Method == http.MethodPost:
			fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>`)
		}
	}))
	defer server.Close()
	cfg := shared.AWSConfig()
	cfg.BaseEndpoint = &server.URL
	s := objectstore.New(cfg, name)

	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	const size = 400 << 20
	before, most := heap(), uint64(0)
	body := io.LimitReader(readerFunc(func(p []byte) (int, error) {
		most = max(most, heap())
		return len(p), nil
	}), size)
	n, err := s.Put(t.Context(), "large", "video/mp4", body)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	grown := int64(most) - int64(before)
	t.Logf("%d MiB uploaded with at most %d MiB more on the heap, garbage included", size>>20, grown>>20)
	require.Less(t, grown, int64(64<<20))
}

func TestPutReplacesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	s := setup(t)
	_, err := s.Put(t.Context(), "kept", "text/plain", strings.NewReader("first"))
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "kept", "text/plain", &broken{strings.NewReader("sec"), io.ErrUnexpectedEOF})
	require.Error(t, err)
	object, err := s.Get(t.Context(), "kept", "")
	require.NoError(t, err)
	defer object.Close()
	var got bytes.Buffer
	_, err = got.ReadFrom(object)
	require.NoError(t, err)
	require.Equal(t, "first", got.String())
}
