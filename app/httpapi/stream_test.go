package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/objectstore"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
)

// running is the emulator all tests share, started by the first that needs it.
var running struct {
	sync.Mutex
	emulator *emulator.Emulator
	dir      string
}

func startEmulator(t *testing.T) *emulator.Emulator {
	t.Helper()
	running.Lock()
	defer running.Unlock()
	if running.emulator == nil {
		ctx := context.WithoutCancel(t.Context())
		dir, err := os.MkdirTemp("", "httpapi-test-") //nolint:usetesting // The emulator is every test's, and outlives this one.
		require.NoError(t, err)
		running.dir = dir
		python, err := emulator.Install(ctx, filepath.Join("..", "..", ".cache"), func(string) {})
		require.NoError(t, err)
		running.emulator, err = emulator.Start(ctx, emulator.Options{
			Runner: &process.Runner{Dir: dir}, Python: python, RunDir: filepath.Join(dir, "emulator"),
		})
		require.NoError(t, err)
	}
	return running.emulator
}

func stopEmulator() {
	if running.emulator != nil {
		running.emulator.Stop(context.Background())
	}
	if running.dir != "" {
		_ = os.RemoveAll(running.dir)
	}
}

// streams is an API on a bucket of the emulator.
type streams struct {
	*setup
	metrics *prometheus.Registry
	user    *user
	project project
	s3      *s3.Client
	bucket  string
	store   *objectstore.Store
}

func newStreams(t *testing.T, change func(*httpapi.Options)) *streams {
	t.Helper()
	e := startEmulator(t)
	s := &streams{bucket: fmt.Sprintf("media-%d", rand.Uint64())}
	s.s3 = s3.NewFromConfig(e.AWSConfig(), func(o *s3.Options) { o.UsePathStyle = true })
	_, err := s.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &s.bucket})
	require.NoError(t, err)
	s.store = objectstore.New(e.AWSConfig(), s.bucket)
	s.setup = newSetupWith(t, func(o *httpapi.Options) {
		o.Objects, o.Multipart, o.MaxVideoBytes = s.store, s.store, httpapi.MaxVideoBytes
		s.metrics = prometheus.NewRegistry()
		o.Metrics = s.metrics
		change(o)
	})
	s.user = s.owner()
	s.project = s.user.project("Streams")
	return s
}

func (s *streams) path() string { return "/v1/projects/" + s.project.ID + "/videos" }

// multiparts returns how many multipart uploads there are.
func (s *streams) multiparts() int {
	s.t.Helper()
	left, err := s.s3.ListMultipartUploads(context.WithoutCancel(s.t.Context()), &s3.ListMultipartUploadsInput{Bucket: &s.bucket})
	require.NoError(s.t, err)
	return len(left.Uploads)
}

// inFlight returns how many requests are being served.
func (s *streams) inFlight() int {
	s.t.Helper()
	families, err := s.metrics.Gather()
	require.NoError(s.t, err)
	for _, f := range families {
		if f.GetName() == "loadbearing_http_active_connections" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	require.Fail(s.t, "there is no such metric")
	return 0
}

func (s *streams) objects() []string {
	s.t.Helper()
	list, err := s.s3.ListObjectsV2(s.t.Context(), &s3.ListObjectsV2Input{Bucket: &s.bucket})
	require.NoError(s.t, err)
	var keys []string
	for _, o := range list.Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}

func (s *streams) used() int64 {
	s.t.Helper()
	var me struct{ Tenant struct{ ID uuid.UUID } }
	s.user.get("/v1/me").want(http.StatusOK).into(&me)
	u, err := s.db.Storage(0).Usage(s.t.Context(), me.Tenant.ID)
	require.NoError(s.t, err)
	return u.Used
}

// noise yields size bytes that differ everywhere.
func noise(size int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{7}), size) }

func (s *streams) upload(size int64) (id string) {
	s.t.Helper()
	req := s.user.request("POST", s.path(), noise(size), "Content-Type", "video/mp4", "X-Filename", "a.mp4")
	req.ContentLength = size
	var v struct{ ID string }
	s.user.do(req).want(http.StatusAccepted).into(&v)
	return v.ID
}

// eventually waits for a condition.
func eventually(t *testing.T, within time.Duration, condition func() bool, what string, args ...any) time.Duration {
	t.Helper()
	begin := time.Now()
	for !condition() {
		require.Less(t, time.Since(begin), within, what, args)
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

// raw sends a request's head over a connection of its own.
func (s *streams) raw(method, path string, headers ...string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nCookie: access=%s\r\n", method, path, s.server.Listener.Addr(), cookie(s.user, "/", "access"))
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", headers[i], headers[i+1])
	}
	_, err = io.WriteString(conn, b.String()+"\r\n")
	require.NoError(s.t, err)
	return conn
}

// Not parallel: it counts goroutines.
func TestADisconnectedUploadLeavesNothing(t *testing.T) {
	s := newStreams(t, func(*httpapi.Options) {})
	s.upload(1000)
	http.DefaultClient.CloseIdleConnections()
	before, used := runtime.NumGoroutine(), s.used()
	http.DefaultClient.CloseIdleConnections()
	for _, length := range []string{"Content-Length", "Transfer-Encoding"} {
		value := "1000000000"
		if length == "Transfer-Encoding" {
			value = "chunked"
		}
		conn := s.raw("POST", s.path(), "Content-Type", "video/mp4", length, value)
		if value == "chunked" {
			_, err := fmt.Fprintf(conn, "%x\r\n", 1000000000)
			require.NoError(t, err)
		}
		_, err := io.Copy(conn, noise(20<<20))
		require.NoError(t, err)
		eventually(t, 5*time.Second, func() bool { return s.multiparts() == 1 }, "the upload never began")
		eventually(t, 5*time.Second, func() bool { return s.used() > used+16<<20 }, "the bytes are not reserved: %d", s.used())

		require.NoError(t, conn.Close())
		took := eventually(t, time.Second, func() bool { return s.multiparts() == 0 }, "parts are left")
		t.Logf("parts gone %v after the disconnect", took)
		eventually(t, time.Second, func() bool { return s.used() == used }, "bytes stay reserved")
	}
	eventually(t, 2*time.Second, func() bool {
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine() <= before+2
	}, "goroutines are left: %d before", before)
	require.Len(t, s.objects(), 1)
}

func TestAnUploadOverItsLimitLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(o *httpapi.Options) { o.MaxVideoBytes = 20 << 20 })
	req := s.user.request("POST", s.path(), noise(40<<20), "Content-Type", "video/mp4")
	req.ContentLength = -1
	s.user.do(req).problem(http.StatusRequestEntityTooLarge, "too_large")
	require.Zero(t, s.multiparts())
	require.Empty(t, s.objects())
	require.Zero(t, s.used())
}

func TestDigests(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(*httpapi.Options) {})
	field := func(data string) string {
		sum := sha256.Sum256([]byte(data))
		return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	}
	large := strings.Repeat("0123456789", 1_000_000)
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		code       string
	}{
		{"right", "abc", []string{"Content-Digest", field("abc")}, 202, ""},
		{"right of the representation", "abc", []string{"Repr-Digest", field("abc")}, 202, ""},
		{"right of many parts", large, []string{"Repr-Digest", field(large)}, 202, ""},
		{"unknown beside a right one", "abc", []string{"Content-Digest", "md5=:AAAA:, x=1, " + field("abc")}, 202, ""},
		{"unknown", "abc", []string{"Content-Digest", "md5=:AAAA:"}, 202, ""},
		{"wrong", "abc", []string{"Content-Digest", field("abd")}, 400, "digest_mismatch"},
		{"wrong of many parts", large, []string{"Content-Digest", field(large + "x")}, 400, "digest_mismatch"},
		{"one of two wrong", "abc", []string{"Content-Digest", field("abc"), "Repr-Digest", field("abd")}, 400, "digest_mismatch"},
		{"sha-512 wrong", "abc", []string{"Content-Digest", "sha-512=:" + strings.Repeat("A", 86) + "==:"}, 400, "digest_mismatch"},
		{"malformed", "abc", []string{"Content-Digest", "sha-256=:"}, 400, "invalid"},
		{"too short", "abc", []string{"Content-Digest", "sha-256=:AAAA:"}, 400, "invalid"},
		{"no bytes", "abc", []string{"Content-Digest", `sha-256="AAAA"`}, 400, "invalid"},
		{"trailer right", "abc", []string{"Trailer", field("abc")}, 202, ""},
		{"trailer wrong", "abc", []string{"Trailer", field("abd")}, 400, "digest_mismatch"},
		{"trailer wrong of many parts", large, []string{"Trailer", field("abd")}, 400, "digest_mismatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(s.objects())
			u := *s.user
			req := u.request("POST", s.path(), strings.NewReader(c.body), append([]string{"Content-Type", "video/mp4"}, c.headers...)...)
			if trailer := req.Header.Get("Trailer"); trailer != "" {
				req.Header.Del("Trailer")
				req.ContentLength = -1
				req.Trailer = http.Header{"Content-Digest": {trailer}}
			}
			a := u.do(req)
			if c.code == "" {
				a.want(c.status)
				require.Len(t, s.objects(), before+1)
				return
			}
			a.problem(c.status, c.code)
			require.Len(t, s.objects(), before)
		})
	}
	require.Zero(t, s.multiparts())
}

func TestStalledClientsAreCut(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	s := newStreams(t, func(o *httpapi.Options) { o.StallTimeout = stall })
	id := s.upload(24 << 20)
	used := s.used()

	t.Run("upload", func(t *testing.T) {
		for name, send := range map[string]func(net.Conn){
			"silent": func(net.Conn) {},
			"trickles": func(c net.Conn) {
				for {
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			},
			"stops in a part": func(c net.Conn) { _, _ = io.Copy(c, noise(20<<20)) },
		} {
			t.Run(name, func(t *testing.T) {
				conn := s.raw("POST", s.path(), "Content-Type", "video/mp4", "Content-Length", "100000000")
				go send(conn)
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.Equal(t, http.StatusRequestTimeout, res.StatusCode, "%s", body)
				require.Contains(t, string(body), `"timeout"`)
				require.True(t, res.Close)
				eventually(t, time.Second, func() bool { return s.multiparts() == 0 && s.used() == used }, "something is left")
			})
		}
	})
	t.Run("slow but steady upload", func(t *testing.T) {
		const pieces, piece = 10, 96 << 10 // in one chunk, over more than the stall timeout
		conn := s.raw("POST", s.path(), "Content-Type", "video/mp4", "Transfer-Encoding", "chunked", "Connection", "close")
		_, err := fmt.Fprintf(conn, "%x\r\n", 9<<20+pieces*piece)
		require.NoError(t, err)
		_, err = io.Copy(conn, noise(9<<20)) // into the second part
		require.NoError(t, err)
		for range pieces {
			_, err := conn.Write(make([]byte, piece))
			require.NoError(t, err)
			time.Sleep(stall / 4)
		}
		_, err = io.WriteString(conn, "\r\n0\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, http.StatusAccepted, res.StatusCode)
	})
	t.Run("download", func(t *testing.T) {
		eventually(t, time.Second, func() bool { return s.inFlight() == 0 }, "requests are open")
		conn := s.raw("GET", "/v1/videos/"+id+"/content")
		require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
		_, err := io.ReadFull(conn, make([]byte, 1000))
		require.NoError(t, err)
		require.Equal(t, 1, s.inFlight())
		took := eventually(t, 10*stall, func() bool { return s.inFlight() == 0 }, "the stalled client is still served")
		require.Greater(t, took, stall/2)
	})
	t.Run("slow but steady", func(t *testing.T) {
		conn := s.raw("GET", "/v1/videos/"+id+"/content", "Range", "bytes=0-4194303", "Connection", "close")
		require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10))
		var total int64
		for buffer := make([]byte, 256<<10); ; {
			n, err := io.ReadFull(conn, buffer)
			total += int64(n)
			if err != nil {
				break
			}
			time.Sleep(stall / 4)
		}
		require.Greater(t, total, int64(4<<20), "a client that keeps to the minimum is served to the end")
	})
}

// Not parallel: it measures the heap.
func TestTenStalledClientsCostLittle(t *testing.T) {
	s := newStreams(t, func(*httpapi.Options) {})
	id := s.upload(24 << 20)
	conns := make([]net.Conn, 0, 11)
	stalled := func() {
		conn := s.raw("GET", "/v1/videos/"+id+"/content")
		require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
		_, err := io.ReadFull(conn, make([]byte, 1000))
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	stalled() // what the first one costs, such as connections to the store, stays
	before := settled()
	for range 10 {
		stalled()
	}
	time.Sleep(200 * time.Millisecond) // the sockets fill
	grown := settled() - before
	t.Logf("ten stalled clients hold %d KiB", grown>>10)
	require.Less(t, grown, int64(1<<20+1<<18)) // under the race detector, sync.Pool drops what it is given at random
	begin := time.Now()
	goroutines := runtime.NumGoroutine()
	for _, conn := range conns {
		_ = conn.Close()
	}
	eventually(t, time.Second, func() bool { return runtime.NumGoroutine() <= goroutines-3*len(conns) }, "goroutines are left: %d", goroutines)
	t.Logf("all freed %v after they went", time.Since(begin))
}

// settled returns the memory of heap and stacks that is in use.
func settled() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Not parallel: it measures the heap.
func TestLargeStreamsHoldLittle(t *testing.T) {
	s := newStreams(t, func(*httpapi.Options) {})
	const size = 256 << 20
	peak := func(run func()) int64 {
		before := settled()
		var most atomic.Int64
		done := make(chan struct{})
		var sampling sync.WaitGroup
		sampling.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most.Store(max(most.Load(), int64(m.HeapAlloc+m.StackInuse)))
				}
			}
		})
		run()
		close(done)
		sampling.Wait()
		return most.Load() - before
	}
	var id string
	begin := time.Now()
	up := peak(func() { id = s.upload(size) })
	uploaded := time.Since(begin)
	begin = time.Now()
	down := peak(func() {
		res, err := s.user.client.Do(s.user.request("GET", "/v1/videos/"+id+"/content", nil))
		require.NoError(t, err)
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.EqualValues(t, size, n)
	})
	t.Logf("256 MiB up in %v with %d MiB, down in %v with %d MiB more on the heap, garbage included", uploaded, up>>20, time.Since(begin), down>>20)
	require.Less(t, up, int64(64<<20))
	require.Less(t, down, int64(32<<20))
}

func TestRanges(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(*httpapi.Options) {})
	const size = 100_000
	id := s.upload(size)
	whole, err := io.ReadAll(noise(size))
	require.NoError(t, err)
	path := "/v1/videos/" + id + "/content"
	first := s.user.get(path).want(http.StatusOK)
	tag, modified := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	require.Equal(t, "bytes", first.Header.Get("Accept-Ranges"))
	require.Equal(t, `inline; filename="a.mp4"`, first.Header.Get("Content-Disposition"))
	for _, c := range []struct {
		name    string
		headers []string
		status  int
		body    []byte
	}{
		{"closed", []string{"Range", "bytes=10-19"}, 206, whole[10:20]},
		{"open", []string{"Range", "bytes=99990-"}, 206, whole[99990:]},
		{"suffix", []string{"Range", "bytes=-7"}, 206, whole[size-7:]},
		{"suffix over the start", []string{"Range", "bytes=-200000"}, 206, whole},
		{"over the end", []string{"Range", "bytes=99999-200000"}, 206, whole[99999:]},
		{"one byte", []string{"Range", "bytes=0-0"}, 206, whole[:1]},
		{"behind the end", []string{"Range", "bytes=100000-"}, 416, nil},
		{"backwards", []string{"Range", "bytes=20-10"}, 416, nil},
		{"no number", []string{"Range", "bytes=x-y"}, 416, nil},
		{"several", []string{"Range", "bytes=0-9,20-29"}, 200, whole},
		{"several that overlap", []string{"Range", "bytes=0-,0-,0-,0-"}, 200, whole},
		{"another unit", []string{"Range", "lines=1-2"}, 200, whole},
		{"If-Range with its tag", []string{"Range", "bytes=10-19", "If-Range", tag}, 206, whole[10:20]},
		{"If-Range with a weak tag", []string{"Range", "bytes=10-19", "If-Range", "W/" + tag}, 200, whole},
		{"If-Range with another tag", []string{"Range", "bytes=10-19", "If-Range", `"other"`}, 200, whole},
		{"If-Range with its date", []string{"Range", "bytes=10-19", "If-Range", modified}, 206, whole[10:20]},
		{"If-Range with an old date", []string{"Range", "bytes=10-19", "If-Range", "Mon, 02 Jan 2006 15:04:05 GMT"}, 200, whole},
		{"known by its tag", []string{"If-None-Match", tag}, 304, nil},
		{"known by its weak tag", []string{"If-None-Match", `"x", W/` + tag}, 304, nil},
		{"known by its date", []string{"If-Modified-Since", modified}, 304, nil},
		{"the tag goes before the date", []string{"If-None-Match", `"x"`, "If-Modified-Since", modified}, 200, whole},
		{"still the same", []string{"If-Match", tag}, 200, whole},
		{"another one", []string{"If-Match", `"x"`}, 412, nil},
		{"changed since", []string{"If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"}, 412, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.user.get(path, c.headers...).want(c.status)
			if c.body != nil {
				require.True(t, bytes.Equal(c.body, a.body), "%d bytes, want %d", len(a.body), len(c.body))
			}
			require.Equal(t, c.status == 206, a.Header.Get("Content-Range") != "" && c.status != 416)
			head := s.user.do(s.user.request("HEAD", path, nil, c.headers...)).want(c.status)
			require.Empty(t, head.body)
			for _, name := range []string{"Content-Range", "Etag", "Last-Modified", "Content-Type", "Accept-Ranges", "Content-Disposition"} {
				require.Equal(t, a.Header.Get(name), head.Header.Get(name), name)
			}
			if c.body != nil {
				require.EqualValues(t, len(c.body), head.ContentLength)
			}
		})
	}
}

func TestTooManyUploads(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(o *httpapi.Options) { o.MaxUploads = 2 })
	conns := []net.Conn{}
	for range 2 {
		conn := s.raw("POST", s.path(), "Content-Type", "video/mp4", "Content-Length", "1000000000")
		_, err := io.Copy(conn, noise(10<<20))
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	eventually(t, 5*time.Second, func() bool { return s.multiparts() == 2 }, "the uploads never began")
	refused := s.user.raw("POST", s.path(), "video/mp4", "small")
	refused.problem(http.StatusServiceUnavailable, "unavailable")
	require.Equal(t, "1", refused.Header.Get("Retry-After"))
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	eventually(t, 2*time.Second, func() bool { return s.multiparts() == 0 }, "parts are left")
	eventually(t, 2*time.Second, func() bool {
		return s.user.raw("POST", s.path(), "video/mp4", "small").StatusCode == http.StatusAccepted
	}, "the places are not free again")
}

// withQuota limits what the tenant may store.
func (s *streams) withQuota(bytes int64) {
	s.t.Helper()
	c := s.db.Owner
	conn, err := pgx.Connect(s.t.Context(), "postgres://"+c.Username+":"+c.Password+"@"+c.Address+"/"+c.Database)
	require.NoError(s.t, err)
	defer func() { _ = conn.Close(s.t.Context()) }()
	_, err = conn.Exec(s.t.Context(), "update tenants set quota_bytes = $1", bytes)
	require.NoError(s.t, err)
}

func TestQuota(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(*httpapi.Options) {})
	s.withQuota(10_000)
	id := s.upload(4000)
	req := s.user.request("POST", s.path(), noise(6001), "Content-Type", "video/mp4")
	req.ContentLength = 6001
	p := s.user.do(req).problem(http.StatusRequestEntityTooLarge, "quota_exceeded")
	require.Equal(t, &httpapi.Quota{UsedBytes: 4000, AllowedBytes: 10_000}, p.Quota)
	for _, size := range []int64{6001, 5 << 20} { // a length that is not announced is found out
		req = s.user.request("POST", s.path(), noise(size), "Content-Type", "video/mp4")
		req.ContentLength = -1
		s.user.do(req).problem(http.StatusRequestEntityTooLarge, "quota_exceeded")
	}
	s.user.post("/v1/projects/"+s.project.ID+"/uploads", map[string]any{"content_type": "video/mp4", "bytes": 6001}).problem(http.StatusRequestEntityTooLarge, "quota_exceeded")
	require.EqualValues(t, 4000, s.used())
	s.user.delete("/v1/videos/" + id).want(http.StatusNoContent)
	require.Zero(t, s.used())
	require.Empty(t, s.objects())
	s.upload(10_000)
}

func TestTwentyUploadsForTheLastBytes(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(o *httpapi.Options) { o.MaxUploads = 20 })
	s.withQuota(100_000)
	s.upload(70_000)
	var wg sync.WaitGroup
	var stored, refused atomic.Int64
	for i := range 20 {
		wg.Go(func() {
			req := s.user.request("POST", s.path(), bytes.NewReader(make([]byte, 10_000)), "Content-Type", "video/mp4")
			if i%2 == 0 {
				req.ContentLength = -1
				req.Body = io.NopCloser(io.MultiReader(req.Body))
			}
			res, err := s.user.client.Do(req)
			if err != nil {
				return
			}
			defer res.Body.Close()
			switch res.StatusCode {
			case http.StatusAccepted:
				stored.Add(1)
			case http.StatusRequestEntityTooLarge:
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 20, stored.Load()+refused.Load())
	require.LessOrEqual(t, stored.Load(), int64(3), "more was stored than there is")
	require.Positive(t, stored.Load())
	require.Equal(t, 70_000+10_000*stored.Load(), s.used())
	require.Len(t, s.objects(), int(1+stored.Load()))
}

func TestAProjectTakesItsObjectsAlong(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(*httpapi.Options) {})
	kept := s.user.project("Kept")
	s.upload(1000)
	s.upload(9 << 20)
	s.user.raw("POST", "/v1/projects/"+s.project.ID+"/images", "image/png", string(picture(t))).want(http.StatusAccepted)
	s.user.post("/v1/projects/"+s.project.ID+"/uploads", map[string]any{"content_type": "video/mp4", "bytes": 1}).want(http.StatusCreated)
	s.user.raw("POST", "/v1/projects/"+kept.ID+"/videos", "video/mp4", "kept").want(http.StatusAccepted)
	require.Len(t, s.objects(), 4)
	require.Equal(t, 1, s.multiparts())
	require.Zero(t, sweep(t, s, time.Now()), "nothing is removed that is named")

	s.user.delete("/v1/projects/" + s.project.ID).want(http.StatusNoContent)
	require.EqualValues(t, 4, s.used())
	require.Equal(t, 4, sweep(t, s, time.Now()))
	require.Len(t, s.objects(), 1)
	require.Zero(t, s.multiparts())
	require.Zero(t, sweep(t, s, time.Now()))
}

type upload struct {
	ID        string
	Bytes     int64
	PartBytes int64 `json:"part_bytes"`
	Parts     int
	Received  []struct {
		Number int
		SHA256 string
	}
}

// sendParts does what a client does: it asks for requests and sends them. It
// returns the status of each.
func (s *streams) sendParts(u upload, whole []byte, numbers ...int) []int {
	s.t.Helper()
	var wanted []map[string]any
	for _, n := range numbers {
		sum := sha256.Sum256(whole[int64(n-1)*u.PartBytes : min(int64(n)*u.PartBytes, u.Bytes)])
		wanted = append(wanted, map[string]any{"number": n, "sha256": base64.StdEncoding.EncodeToString(sum[:])})
	}
	var requests struct {
		Items []struct {
			Number      int
			Method, URL string
			Headers     map[string]string
		}
	}
	s.user.post("/v1/uploads/"+u.ID+"/parts", map[string]any{"parts": wanted}).want(http.StatusOK).into(&requests)
	require.Len(s.t, requests.Items, len(numbers))
	var statuses []int
	for _, r := range requests.Items {
		body := whole[int64(r.Number-1)*u.PartBytes : min(int64(r.Number)*u.PartBytes, u.Bytes)]
		req, err := http.NewRequestWithContext(s.t.Context(), r.Method, r.URL, bytes.NewReader(body))
		require.NoError(s.t, err)
		for name, value := range r.Headers {
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		require.NoError(s.t, err)
		require.NoError(s.t, res.Body.Close())
		statuses = append(statuses, res.StatusCode)
	}
	return statuses
}

func TestAnUploadGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(*httpapi.Options) {})
	const size = 12 << 20
	whole, err := io.ReadAll(noise(size))
	require.NoError(t, err)
	var u upload
	begun := s.user.post("/v1/projects/"+s.project.ID+"/uploads", map[string]any{
		"filename": "dir/Zoë.mp4", "content_type": "video/mp4", "bytes": size, "part_bytes": 5 << 20,
	}).want(http.StatusCreated)
	begun.into(&u)
	at := "/v1/uploads/" + u.ID
	require.Equal(t, at, begun.Header.Get("Location"))
	require.Equal(t, 3, u.Parts)
	require.EqualValues(t, size, s.used(), "the whole is reserved")
	require.Equal(t, []int{200, 200}, s.sendParts(u, whole, 3, 1))
	s.user.post(at+"/complete", nil).problem(http.StatusConflict, "conflict")

	// The client comes back, knows the id and nothing else.
	var again upload
	s.user.get(at).want(http.StatusOK).into(&again)
	missing := map[int]bool{}
	for n := range again.Parts {
		missing[n+1] = true
	}
	for _, p := range again.Received {
		delete(missing, p.Number)
	}
	require.Equal(t, map[int]bool{2: true}, missing)
	require.Equal(t, []int{200}, s.sendParts(again, whole, 2))

	stranger := s.owner()
	stranger.get(at).problem(http.StatusNotFound, "not_found")
	stranger.post(at+"/complete", nil).problem(http.StatusNotFound, "not_found")
	stranger.delete(at).problem(http.StatusNotFound, "not_found")

	// A process that completes the upload in S3 and dies before the row is stored.
	parts, err := s.s3.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &s.bucket})
	require.NoError(t, err)
	stored, err := s.store.Parts(t.Context(), *parts.Uploads[0].Key, *parts.Uploads[0].UploadId, 0, 10)
	require.NoError(t, err)
	require.NoError(t, s.store.Complete(t.Context(), *parts.Uploads[0].Key, *parts.Uploads[0].UploadId, stored))

	var wg sync.WaitGroup
	for range 4 { // whoever completes it again gets the same video
		wg.Go(func() {
			done := s.user.post(at+"/complete", nil).want(http.StatusAccepted)
			require.Equal(t, "/v1/videos/"+u.ID, done.Header.Get("Location"))
		})
	}
	wg.Wait()
	all := s.user.get("/v1/videos/" + u.ID + "/content").want(http.StatusOK)
	require.True(t, bytes.Equal(whole, all.body))
	require.Equal(t, `inline; filename="Zo_.mp4"; filename*=UTF-8''Zo%C3%AB.mp4`, all.Header.Get("Content-Disposition"))
	events, err := s.db.Outbox().Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.EqualValues(t, size, s.used())
	s.user.get(at).problem(http.StatusNotFound, "not_found")
	s.user.delete(at).problem(http.StatusNotFound, "not_found")
	require.Zero(t, sweep(t, s, time.Now().Add(48*time.Hour)))
	require.Len(t, s.objects(), 1)
}

func TestAnUploadThatIsGivenUpOrExpires(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(*httpapi.Options) {})
	begin := func() upload {
		var u upload
		s.user.post("/v1/projects/"+s.project.ID+"/uploads", map[string]any{"content_type": "video/mp4", "bytes": 1000}).want(http.StatusCreated).into(&u)
		require.Equal(t, []int{200}, s.sendParts(u, make([]byte, 1000), 1))
		return u
	}
	given := begin()
	s.user.delete("/v1/uploads/" + given.ID).want(http.StatusNoContent)
	require.Zero(t, s.multiparts())
	require.Zero(t, s.used())
	s.user.post("/v1/uploads/"+given.ID+"/complete", nil).problem(http.StatusNotFound, "not_found")

	late := begin()
	require.Equal(t, 1, sweep(t, s, time.Now()), "the one that was given up")
	require.Equal(t, 1, s.multiparts())
	require.Equal(t, 1, sweep(t, s, time.Now().Add(25*time.Hour)))
	require.Zero(t, s.multiparts())
	require.Zero(t, s.used())
	s.user.get("/v1/uploads/"+late.ID).problem(http.StatusNotFound, "not_found")
}

func TestBadUploads(t *testing.T) {
	t.Parallel()
	s := newStreams(t, func(*httpapi.Options) {})
	path := "/v1/projects/" + s.project.ID + "/uploads"
	for field, body := range map[string]map[string]any{
		"content_type": {"content_type": "text/plain", "bytes": 1},
		"bytes":        {"content_type": "video/mp4", "bytes": 0},
		"part_bytes":   {"content_type": "video/mp4", "bytes": 1, "part_bytes": 1},
		"filename":     {"content_type": "video/mp4", "bytes": 1, "filename": "a\x00b"},
		"unknown":      {"content_type": "video/mp4", "bytes": 1, "unknown": 1},
	} {
		if field == "filename" {
			body["filename"] = "a\u0001b"
		}
		p := s.user.post(path, body).problem(http.StatusBadRequest, "invalid")
		require.Equal(t, field, p.Errors[0].Field)
	}
	s.user.post(path, map[string]any{"content_type": "video/mp4", "bytes": 6 << 30}).problem(http.StatusRequestEntityTooLarge, "too_large")
	s.user.with(app.RoleViewer).post(path, map[string]any{"content_type": "video/mp4", "bytes": 1}).problem(http.StatusForbidden, "forbidden")
	var u upload
	s.user.post(path, map[string]any{"content_type": "video/mp4", "bytes": 1000}).want(http.StatusCreated).into(&u)
	sum := strings.Repeat("A", 43) + "="
	for field, part := range map[string]map[string]any{
		"number": {"number": 2, "sha256": sum},
		"sha256": {"number": 1, "sha256": "AAAA"},
	} {
		p := s.user.post("/v1/uploads/"+u.ID+"/parts", map[string]any{"parts": []any{part}}).problem(http.StatusBadRequest, "invalid")
		require.Equal(t, field, p.Errors[0].Field)
	}
	s.user.post("/v1/uploads/"+u.ID+"/parts", map[string]any{"parts": []any{}}).problem(http.StatusBadRequest, "invalid")
	require.Empty(t, s.objects())
}

func sweep(t *testing.T, s *streams, now time.Time) int {
	t.Helper()
	n, err := (&objectstore.Sweeper{Store: s.store, Removals: s.db.Removals(), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}).Sweep(t.Context())
	require.NoError(t, err)
	return n
}

// BenchmarkDownload compares the API with a server that does nothing but
// io.Copy. Both read from the same server on the loopback and send to the same
// client. The tests' client verifies nothing.
func BenchmarkDownload(b *testing.B) {
	const size = 256 << 20
	chunk := bytes.Repeat([]byte("x"), 256<<10)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Header().Set("Etag", `"x"`)
		for range size / len(chunk) {
			_, _ = w.Write(chunk)
		}
	}))
	defer upstream.Close()
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		res, err := http.Get(upstream.URL)
		if err != nil {
			return
		}
		defer res.Body.Close()
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = io.Copy(w, res.Body)
	}))
	defer bare.Close()
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: &upstream.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
	serve := httptest.NewServer(httpapi.ServeObject(objectstore.New(cfg, "media"), "k", size))
	defer serve.Close()
	buffer := make([]byte, 256<<10)
	for _, c := range []struct{ name, url string }{{"bare", bare.URL}, {"api", serve.URL}, {"bare again", bare.URL}, {"api again", serve.URL}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				res, err := http.Get(c.url)
				require.NoError(b, err)
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, res.Body, buffer)
				require.NoError(b, err)
				require.EqualValues(b, size, n)
				require.NoError(b, res.Body.Close())
			}
		})
	}
}
