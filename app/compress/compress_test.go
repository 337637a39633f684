package compress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func encodings() []Encoding { return []Encoding{Zstd, Brotli, Gzip} }

func decode(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	switch Encoding(encoding) {
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(8<<20)) // what browsers decode
		require.NoError(t, err)
		defer d.Close()
		r = d
	case Brotli:
		r = brotli.NewReader(r)
	case Gzip:
		d, err := gzip.NewReader(r)
		require.NoError(t, err)
		r = d
	}
	out, err := io.ReadAll(r)
	require.NoError(t, err, encoding)
	return out
}

// server is a real one; its client decodes nothing.
type server struct {
	t      *testing.T
	url    string
	client *http.Client
}

func serve(t *testing.T, c *Compressor, h http.HandlerFunc) server {
	t.Helper()
	s := httptest.NewUnstartedServer(c.Handler(h))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	client := s.Client()
	client.Transport.(*http.Transport).DisableCompression = true
	return server{t: t, url: s.URL, client: client}
}

type answer struct {
	*http.Response
	body []byte
}

// ask sends a request with pairs of header names and values.
func (s server) ask(method string, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url, nil)
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := s.client.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return answer{res, body}
}

func (s server) get(accept string, headers ...string) answer {
	s.t.Helper()
	return s.ask("GET", append(headers, "Accept-Encoding", accept)...)
}

func sendJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func text(n int) []byte { return bytes.Repeat([]byte(`{"a":1}`+"\n"), n/8+1)[:n] }

func TestAListComesAtLessThan15PercentAndDecodesToTheSame(t *testing.T) {
	t.Parallel()
	list := projectList(t, 1<<20)
	known := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, list) })
	pieces := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for rest := list; len(rest) > 0; {
			n := min(777, len(rest))
			_, err := w.Write(rest[:n])
			assert.NoError(t, err)
			rest = rest[n:]
		}
	})
	for _, e := range encodings() {
		for name, s := range map[string]server{"length known": known, "in pieces": pieces} {
			got := s.get(string(e))
			require.Equal(t, string(e), got.Header.Get("Content-Encoding"), name)
			require.Equal(t, []string{"Accept-Encoding"}, got.Header["Vary"])
			require.True(t, bytes.Equal(list, decode(t, string(e), got.body)), "%s %s", e, name)
			require.LessOrEqual(t, 100*len(got.body), 15*len(list), "%s %s", e, name)
			t.Logf("%s, %s: %.2f %%", e, name, 100*float64(len(got.body))/float64(len(list)))
		}
	}
	got := known.get("identity")
	require.Equal(t, list, got.body)
	require.Empty(t, got.Header.Get("Content-Encoding"))
	require.Equal(t, int64(len(list)), got.ContentLength)
	require.Equal(t, []string{"Accept-Encoding"}, got.Header["Vary"])
}

func TestEverySizeAroundTheEdgesDecodes(t *testing.T) {
	t.Parallel()
	list := projectList(t, 1<<20)
	var body []byte
	known := true
	s := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if known {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		_, _ = w.Write(body)
	})
	for _, size := range []int{0, 1, Threshold - 1, Threshold, Threshold + 1, small, small + 1, piece, piece + 1, 64 << 10, 128 << 10, 128<<10 + 1, window + 1} {
		for _, known = range []bool{true, false} {
			body = list[:size]
			for _, e := range encodings() {
				what := fmt.Sprintf("%d bytes, %s, length known: %v", size, e, known)
				got := s.get(string(e))
				require.Equal(t, body, append([]byte{}, decode(t, got.Header.Get("Content-Encoding"), got.body)...), what)
				require.Equal(t, size >= Threshold, got.Header.Get("Content-Encoding") != "", what)
				require.Equal(t, "Accept-Encoding", got.Header.Get("Vary"), what)
				if size < Threshold {
					require.Equal(t, int64(size), got.ContentLength, what)
				}
				forced := s.get(string(e) + ", identity;q=0")
				require.Equal(t, body, append([]byte{}, decode(t, forced.Header.Get("Content-Encoding"), forced.body)...), what)
				require.Equal(t, size > 0, forced.Header.Get("Content-Encoding") != "", what)
			}
			require.Equal(t, string(body), string(s.get("deflate, identity;q=0").body), "nothing acceptable: as it is")
		}
	}
}

func TestWhatIsNeverCompressed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		header http.Header
		vary   bool
	}{
		"event stream":      {200, http.Header{"Content-Type": {"text/event-stream"}}, false},
		"JSON lines":        {200, http.Header{"Content-Type": {"application/x-ndjson"}}, false},
		"JSON sequence":     {200, http.Header{"Content-Type": {"application/json-seq"}}, false},
		"image":             {200, http.Header{"Content-Type": {"image/png"}}, false},
		"video":             {200, http.Header{"Content-Type": {"video/mp4"}}, false},
		"no type":           {200, http.Header{}, false},
		"encoded":           {200, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, false},
		"range":             {206, http.Header{"Content-Type": {"application/json"}, "Content-Range": {"bytes 0-9999/20000"}}, false},
		"unsatisfied range": {416, http.Header{"Content-Type": {"application/json"}, "Content-Range": {"bytes */20000"}}, false},
		"cookie":            {200, http.Header{"Content-Type": {"application/json"}, "Set-Cookie": {"a=b"}}, false},
		"digest":            {200, http.Header{"Content-Type": {"application/json"}, "Repr-Digest": {"sha-256=:x:"}}, false},
		"no-transform":      {200, http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"private, No-Transform"}}, false},
		"no content":        {204, http.Header{"Content-Type": {"application/json"}}, false},
		"not modified":      {304, http.Header{}, true},
	} {
		s := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), c.header)
			w.WriteHeader(c.status)
			if c.status != 204 && c.status != 304 {
				_, err := w.Write(text(10_000))
				assert.NoError(t, err)
			}
		})
		got := s.get("zstd, br, gzip")
		require.Equal(t, c.status, got.StatusCode, name)
		require.Equal(t, c.header.Get("Content-Encoding"), got.Header.Get("Content-Encoding"), name)
		require.Equal(t, c.vary, got.Header.Get("Vary") != "", name)
		if c.status != 204 && c.status != 304 {
			require.Equal(t, text(10_000), got.body, name)
		}
	}
}

func TestJSONOfEveryName(t *testing.T) {
	t.Parallel()
	for _, media := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON", "application/problem+json"} {
		s := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write(text(5000))
		})
		got := s.get("gzip")
		require.Equal(t, http.StatusConflict, got.StatusCode)
		require.Equal(t, text(5000), decode(t, got.Header.Get("Content-Encoding"), got.body), media)
		require.NotEmpty(t, got.Header.Get("Content-Encoding"), media)
	}
}

func TestVaryIsAddedOnce(t *testing.T) {
	t.Parallel()
	for before, after := range map[string][]string{
		"": {"Accept-Encoding"}, "Origin": {"Origin", "Accept-Encoding"}, "Origin, accept-encoding": {"Origin, accept-encoding"}, "*": {"*"},
	} {
		s := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
			if before != "" {
				w.Header().Set("Vary", before)
			}
			sendJSON(w, text(2000))
		})
		for _, accept := range []string{"gzip", "identity", "*;q=0"} {
			require.Equal(t, after, s.get(accept).Header["Vary"])
		}
	}
}

func TestHEADHasTheHeaderOfGET(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"long":           func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, text(100_000)) },
		"short":          func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, text(100)) },
		"long, unknown":  func(w http.ResponseWriter, _ *http.Request) { jsonType(w); _, _ = w.Write(text(100_000)) },
		"short, unknown": func(w http.ResponseWriter, _ *http.Request) { jsonType(w); _, _ = w.Write(text(100)) },
		"empty":          func(w http.ResponseWriter, _ *http.Request) { jsonType(w); w.WriteHeader(http.StatusCreated) },
		"file": func(w http.ResponseWriter, req *http.Request) {
			jsonType(w)
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(text(100_000)))
		},
	} {
		s := serve(t, New(Options{}), func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Etag", `"5"`)
			h(w, req)
		})
		for _, accept := range []string{"zstd", "br", "gzip", "identity", "gzip, identity;q=0"} {
			get, head := s.get(accept), s.ask("HEAD", "Accept-Encoding", accept)
			require.Empty(t, head.body)
			get.Header.Del("Date")
			head.Header.Del("Date")
			if head.Header.Get("Content-Length") == "" {
				// net/http counts short bodies, but for HEAD it sees none: nothing is
				// compressed. RFC 9110, 9.3.2, lets HEAD leave the length out.
				get.Header.Del("Content-Length")
			}
			require.Equal(t, get.StatusCode, head.StatusCode, name)
			require.Equal(t, get.Header, head.Header, "%s, %s", name, accept)
		}
	}
}

func jsonType(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/json") }

// TestTags reads with one encoding and changes or reads again with another, as
// net/http's own conditions judge it.
func TestTags(t *testing.T) {
	t.Parallel()
	tag, body := `"5"`, text(20_000)
	s := serve(t, New(Options{}), func(w http.ResponseWriter, req *http.Request) {
		jsonType(w)
		w.Header().Set("Etag", tag)
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(body))
	})
	tags := map[string]bool{}
	for _, e := range append(encodings(), Identity) {
		got := s.get(string(e)).Header.Get("Etag")
		want := `"5-` + string(e) + `"`
		if e == Identity {
			want = `"5"`
		}
		require.Equal(t, want, got)
		require.False(t, tags[got], "different bytes share a strong tag")
		tags[got] = true

		for _, condition := range []string{got, "W/" + got, `"4", ` + got + `, "6"`, "*"} {
			again := s.get(string(e), "If-None-Match", condition)
			require.Equal(t, 304, again.StatusCode, "%s %s", e, condition)
			require.Equal(t, "Accept-Encoding", again.Header.Get("Vary"))
			require.Empty(t, again.Header.Get("Content-Encoding"))
			if condition != "*" {
				require.Equal(t, got, again.Header.Get("Etag"), "the tag of what the client has")
			}
		}
		require.Equal(t, 200, s.get(string(e), "If-None-Match", `"4-`+string(e)+`"`).StatusCode)
		// A change may be sent with another Accept-Encoding than the read.
		for _, accept := range []string{"zstd", "br", "gzip", "identity"} {
			require.Equal(t, 200, s.get(accept, "If-Match", got).StatusCode, "%s %s", got, accept)
			require.Equal(t, 412, s.get(accept, "If-Match", "W/"+got).StatusCode, "strong comparison")
			require.Equal(t, 412, s.get(accept, "If-Match", strings.Replace(got, "5", "4", 1)).StatusCode)
		}
	}
	require.Equal(t, 200, s.get("gzip", "If-None-Match", `"5-zstd"`).StatusCode, "the client has other bytes")
	require.Equal(t, 200, s.get("identity", "If-None-Match", `"5-zstd"`).StatusCode)

	// Ranges are of the body as it is, and a compressed body's tag opens none.
	part := s.get("gzip", "Range", "bytes=0-9")
	require.Equal(t, 206, part.StatusCode)
	require.Equal(t, body[:10], part.body)
	require.Equal(t, `"5"`, part.Header.Get("Etag"))
	require.Equal(t, 206, s.get("gzip", "Range", "bytes=0-9", "If-Range", `"5"`).StatusCode)
	whole := s.get("gzip", "Range", "bytes=0-9", "If-Range", `"5-gzip"`)
	require.Equal(t, 200, whole.StatusCode)
	require.Equal(t, body, decode(t, "gzip", whole.body))
	require.Empty(t, whole.Header.Get("Accept-Ranges"))

	tag = `W/"5"`
	require.Equal(t, tag, s.get("gzip").Header.Get("Etag"), "a weak tag stands for every form")
	require.Equal(t, 304, s.get("gzip", "If-None-Match", tag).StatusCode)
}

func TestFlushBeforeTheThresholdIsAStream(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	s := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
		jsonType(w)
		_, _ = w.Write([]byte(`{"a":`))
		assert.NoError(t, http.NewResponseController(w).Flush())
		<-next
		_, _ = w.Write(text(5000))
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url, nil)
	require.NoError(t, err)
	req.Header.Set("Accept-Encoding", "zstd")
	res, err := s.client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	first := make([]byte, 5)
	_, err = io.ReadFull(res.Body, first)
	require.NoError(t, err)
	require.Equal(t, `{"a":`, string(first))
	require.Empty(t, res.Header.Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", res.Header.Get("Vary"))
	close(next)
	rest, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, text(5000), rest)
}

func TestFlushLaterSendsWhatWasWritten(t *testing.T) {
	t.Parallel()
	for _, e := range encodings() {
		next := make(chan struct{})
		s := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
			jsonType(w)
			_, _ = w.Write(text(5000))
			w.(http.Flusher).Flush()
			<-next
			_, _ = w.Write(text(100))
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url, nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", string(e))
		res, err := s.client.Do(req)
		require.NoError(t, err)
		var r io.Reader
		switch e {
		case Zstd:
			r, err = zstd.NewReader(res.Body, zstd.WithDecoderConcurrency(1))
		case Brotli:
			r = brotli.NewReader(res.Body)
		case Gzip:
			r, err = gzip.NewReader(res.Body)
		}
		require.NoError(t, err)
		got := make([]byte, 5000)
		_, err = io.ReadFull(r, got)
		require.NoError(t, err, e)
		require.Equal(t, text(5000), got)
		close(next)
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, text(100), rest)
		res.Body.Close()
	}
}

func TestTheConnectionStaysWithinReach(t *testing.T) {
	t.Parallel()
	s := serve(t, New(Options{}), func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		assert.NoError(t, control.SetWriteDeadline(time.Now().Add(time.Minute)))
		assert.NoError(t, control.SetReadDeadline(time.Time{}))
		conn, buffered, err := control.Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		_, _ = buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
		_ = buffered.Flush()
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: zstd\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	require.NoError(t, err)
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(all), "\r\n\r\nhello"), "%s", all)
}

func TestAnInformationalAnswerGoesFirst(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	var statuses []int
	New(Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		sendJSON(w, text(5000))
	})).ServeHTTP(recordStatus{rec, &statuses}, req)
	require.Equal(t, []int{103, 200}, statuses)
	require.Equal(t, text(5000), decode(t, "gzip", rec.Body.Bytes()))
}

type recordStatus struct {
	*httptest.ResponseRecorder
	statuses *[]int
}

func (r recordStatus) WriteHeader(status int) {
	*r.statuses = append(*r.statuses, status)
	if status >= 200 {
		r.ResponseRecorder.WriteHeader(status)
	}
}

func TestAFailedHandlerLeavesTheAnswerToTheCaller(t *testing.T) {
	t.Parallel()
	c := New(Options{})
	failure := errors.New("failed")
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	err := c.Serve(rec, req, func(w http.ResponseWriter, _ *http.Request) error {
		jsonType(w)
		_, _ = w.Write(text(100))
		return failure
	})
	require.ErrorIs(t, err, failure)
	require.Empty(t, rec.Body.Bytes())
	require.Empty(t, rec.Header().Get("Content-Encoding"))
}

// TestAPanicTakesItsEncoderWithIt breaks off answers in the middle, then looks
// whether others get a trace of them or are short of encoders.
func TestAPanicTakesItsEncoderWithIt(t *testing.T) {
	t.Parallel()
	c := New(Options{MaxEncoders: 1})
	list := projectList(t, 1<<18)
	s := serve(t, c, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("X-Panic") != "" {
			jsonType(w)
			_, _ = w.Write(bytes.Repeat([]byte("secret of another"), 20_000))
			panic(http.ErrAbortHandler)
		}
		sendJSON(w, list)
	})
	for range 5 {
		for _, e := range encodings() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url, nil)
			require.NoError(t, err)
			req.Header.Set("Accept-Encoding", string(e))
			req.Header.Set("X-Panic", "1")
			if res, err := s.client.Do(req); err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				require.Error(t, err, "a body cut short must not look whole")
				res.Body.Close()
			}
			got := s.get(string(e))
			require.Equal(t, string(e), got.Header.Get("Content-Encoding"), "the only encoder is free again")
			require.Equal(t, list, decode(t, string(e), got.body))
		}
	}
	require.Empty(t, c.slots)
	require.Len(t, c.turns, cap(c.turns))
}

func TestWithoutAFreeEncoderTheBodyIsSentAsItIs(t *testing.T) {
	t.Parallel()
	c := New(Options{MaxEncoders: 1})
	held, release := make(chan struct{}), make(chan struct{})
	s := serve(t, c, func(w http.ResponseWriter, req *http.Request) {
		jsonType(w)
		_, _ = w.Write(text(50_000))
		if req.Header.Get("X-Hold") != "" {
			close(held)
			<-release
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() { s.get("zstd", "X-Hold", "1") })
	<-held
	got := s.get("zstd")
	close(release)
	wg.Wait()
	require.Empty(t, got.Header.Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", got.Header.Get("Vary"))
	require.Equal(t, text(50_000), got.body)
	require.Equal(t, "zstd", s.get("zstd").Header.Get("Content-Encoding"))
}

func TestConcurrentAnswersDoNotMix(t *testing.T) {
	t.Parallel()
	c := New(Options{})
	s := serve(t, c, func(w http.ResponseWriter, req *http.Request) {
		sendJSON(w, bytes.Repeat([]byte(`"`+req.Header.Get("X-Fill")+`",`), 20_000))
	})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			e := encodings()[i%3]
			fill := fmt.Sprint("client ", i)
			got := s.get(string(e), "X-Fill", fill)
			if got.Header.Get("Content-Encoding") != string(e) || !bytes.Equal(bytes.Repeat([]byte(`"`+fill+`",`), 20_000), decode(t, string(e), got.body)) {
				t.Errorf("%s for %s is wrong", e, fill)
			}
		})
	}
	wg.Wait()
	require.Empty(t, c.slots)
}
