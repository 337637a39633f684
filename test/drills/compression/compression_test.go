package compression

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/compress"
	"github.com/loadbearing/loadbearing/app/compress/compresstest"
	"github.com/loadbearing/loadbearing/test/api"
)

const serveVariable = "LOADBEARING_TEST_SERVE" // makes this program the server of the benchmark

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) == "" {
		os.Exit(m.Run())
	}
	s := httptest.NewServer(newService())
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark closes it
	s.Close()
}

// service answers what the drill asks for as the real one does, from memory.
type service struct {
	mu       sync.Mutex
	projects []map[string]any
	video    []byte
}

func newService() http.Handler {
	s := &service{}
	compressor := compress.New(compress.Options{})
	document, err := compress.NewStatic([]byte(compresstest.Description(rand.New(rand.NewPCG(5, 6)), 50_000)), "application/json")
	if err != nil {
		panic(err)
	}
	mux, plain := http.NewServeMux(), http.NewServeMux()
	mux.HandleFunc("POST /v1/projects", s.create)
	mux.HandleFunc("GET /v1/projects", s.list)
	mux.HandleFunc("GET /v1/projects/{id}", s.get)
	mux.HandleFunc("GET /v1/me", func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, map[string]string{"email": "a@example.com"})
	})
	plain.Handle("/", compressor.Handler(mux))
	plain.Handle("GET /v1/openapi.json", document)
	plain.HandleFunc("POST /v1/projects/{id}/videos", func(w http.ResponseWriter, req *http.Request) {
		s.video, _ = io.ReadAll(req.Body)
		send(w, http.StatusAccepted, map[string]string{"id": "1"})
	})
	plain.HandleFunc("GET /v1/videos/1/content", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "video/mp4")
		w.Header().Set("Etag", `"1"`)
		if strings.Contains(req.Header.Get("Range"), "99999999") {
			send(w, http.StatusRequestedRangeNotSatisfiable, map[string]string{"code": "range"})
			return
		}
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(s.video))
	})
	return plain
}

func send(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (s *service) create(w http.ResponseWriter, req *http.Request) {
	p := map[string]any{}
	if err := json.NewDecoder(req.Body).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p["id"], p["created_at"] = uuid.NewString(), time.Now()
	s.projects = append(s.projects, p)
	send(w, http.StatusCreated, p)
}

func (s *service) list(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	items := s.projects
	s.mu.Unlock()
	send(w, http.StatusOK, map[string]any{"items": items})
}

func (s *service) get(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.projects {
		if p["id"] != req.PathValue("id") {
			continue
		}
		w.Header().Set("Etag", `"1"`)
		if strings.Contains(req.Header.Get("If-None-Match"), `"1"`) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		send(w, http.StatusOK, p)
		return
	}
	http.NotFound(w, req)
}

func drilled(t *testing.T, h http.Handler) (Figures, error) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	user, err := api.New(s.URL)
	require.NoError(t, err)
	return Run(t.Context(), Options{User: user, Instance: s.URL, PID: int32(os.Getpid()), Responses: 3, Rounds: 1})
}

func TestTheDrillMeasuresAServiceThatWorks(t *testing.T) {
	t.Parallel()
	f, err := drilled(t, newService())
	require.NoError(t, err)
	require.GreaterOrEqual(t, f.ListBytes, 1<<20)
	for _, e := range encodings() {
		require.Less(t, f.Wire[e], MaxWire, e)
		require.Greater(t, f.Wire[e], 0.05, "the text is not one that people would write: %s", e)
		require.Contains(t, f.CPU, e)
	}
	require.Len(t, f.Beside, 5)
	for _, b := range f.Beside {
		// A busy machine sends less in the time, never more.
		require.LessOrEqual(t, b.Small, 165, "400 a second for 400 ms")
		require.LessOrEqual(t, b.Lists, 12, "20 a second, four at once, from the start on")
		require.Positive(t, b.Lists)
		require.Positive(t, b.Ratio)
		require.GreaterOrEqual(t, b.P99, b.P50)
	}
}

// TestTheDrillFindsWhatIsWrong spoils one thing of each service.
func TestTheDrillFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	header := func(change func(http.Header, *http.Request)) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				next.ServeHTTP(&spoiler{w, func(h http.Header) { change(h, req) }}, req)
			})
		}
	}
	for want, spoil := range map[string]func(http.Handler) http.Handler{
		"Content-Encoding is , want zstd": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				req.Header.Del("Accept-Encoding")
				next.ServeHTTP(w, req)
			})
		},
		"Vary is ,": header(func(h http.Header, _ *http.Request) { h.Del("Vary") }),
		"decodes to": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if strings.HasPrefix(req.URL.Path, "/v1/projects/") && req.Method == http.MethodGet && req.Header.Get("Accept-Encoding") == brotli {
					req.URL.Path = "/v1/projects" // another answer
				}
				next.ServeHTTP(w, req)
			})
		},
		"has the ETag": header(func(h http.Header, _ *http.Request) {
			if h.Get("Etag") != "" {
				h.Set("Etag", `"1"`)
			}
		}),
		"is not a strong one": header(func(h http.Header, _ *http.Request) {
			if h.Get("Etag") != "" {
				h.Set("Etag", "W/"+h.Get("Etag"))
			}
		}),
		"HEAD": header(func(h http.Header, req *http.Request) {
			if req.Method == http.MethodHead {
				h.Set("Content-Language", "en")
			}
		}),
		"status 200, want 206": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				req.Header.Del("Range")
				next.ServeHTTP(w, req)
			})
		},
		"status 200, want 304": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				req.Header.Del("If-None-Match")
				next.ServeHTTP(w, req)
			})
		},
		"content as gzip: Content-Encoding is gzip": header(func(h http.Header, req *http.Request) {
			if strings.HasPrefix(req.URL.Path, "/v1/videos/") && req.Header.Get("Accept-Encoding") == gzip {
				h.Set("Content-Encoding", gzip)
			}
		}),
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			_, err := drilled(t, spoil(newService()))
			require.ErrorContains(t, err, want)
		})
	}
}

// spoiler changes a header before it is sent.
type spoiler struct {
	http.ResponseWriter
	spoil func(http.Header)
}

func (s *spoiler) WriteHeader(status int) {
	s.spoil(s.Header())
	s.ResponseWriter.WriteHeader(status)
}

func TestTrafficIsRefused(t *testing.T) {
	t.Parallel()
	good := Traffic{Small: "http://127.0.0.1:1", Large: "http://127.0.0.1:1", SmallRate: 1, LargeRate: 1, AtOnce: 1, Block: time.Second, Rounds: 1}
	far, none := good, good
	far.Large = "http://192.0.2.1/"
	none.Rounds = 0
	_, err := SmallBesideLarge(t.Context(), far)
	require.ErrorContains(t, err, "not a loopback address")
	_, err = SmallBesideLarge(t.Context(), none)
	require.ErrorContains(t, err, "must be positive")
	_, err = SmallBesideLarge(t.Context(), good)
	require.ErrorContains(t, err, "connection refused", "an answer that did not come is no quick one")
}

// BenchmarkSmallBesideLarge reports the p99 of small requests beside lists of a
// megabyte, four at once, over that beside the same lists uncompressed, from a
// server in a process of its own with one processor and with two.
func BenchmarkSmallBesideLarge(b *testing.B) {
	for _, processors := range []int{1, 2} {
		b.Run(fmt.Sprintf("processors=%d", processors), func(b *testing.B) {
			cmd := exec.CommandContext(b.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), serveVariable+"=1", fmt.Sprintf("GOMAXPROCS=%d", processors))
			stop, err := cmd.StdinPipe()
			require.NoError(b, err)
			out, err := cmd.StdoutPipe()
			require.NoError(b, err)
			require.NoError(b, cmd.Start())
			defer func() {
				_ = stop.Close()
				require.NoError(b, cmd.Wait())
			}()
			url, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(b, err)
			url = strings.TrimSpace(url)
			user, err := api.New(url)
			require.NoError(b, err)
			small, _, err := seed(b.Context(), Options{User: user})
			require.NoError(b, err)
			for b.Loop() {
				all, err := SmallBesideLarge(b.Context(), traffic(url, small, http.Header{}, Options{Rounds: 6}))
				require.NoError(b, err)
				for _, r := range all {
					b.ReportMetric(r.Ratio, r.Encoding+"-ratio")
					b.ReportMetric(float64(r.P99.Microseconds()), r.Encoding+"-p99-µs")
				}
			}
		})
	}
}
