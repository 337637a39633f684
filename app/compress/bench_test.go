package compress

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/andybalholm/brotli/matchfinder"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// candidates are the levels that were compared, with those in use.
func candidates() map[string]func() stream {
	all := map[string]func() stream{
		"used/zstd": zstdFast.open, "used/br": brotliFast.open, "used/br-flushing": brotliFlushing.open, "used/gzip": gzipFast.open,
	}
	for _, level := range []int{1, 5, 6, 7, 9} {
		all[fmt.Sprintf("gzip-%d", level)] = func() stream {
			w, _ := gzip.NewWriterLevel(nil, level)
			return w
		}
	}
	for _, level := range []int{1, 2, 3, 4, 5, 6} {
		all[fmt.Sprintf("br-%d", level)] = func() stream { return brotli.NewWriterLevel(nil, level) }
	}
	for name, finder := range map[string]func() matchfinder.MatchFinder{
		"zdfast": func() matchfinder.MatchFinder { return &matchfinder.ZDFast{MaxDistance: window} },
		"zm":     func() matchfinder.MatchFinder { return &matchfinder.ZM{MaxDistance: window} },
		"trio":   func() matchfinder.MatchFinder { return &matchfinder.Trio{MaxDistance: window} },
	} {
		all["br-"+name] = func() stream {
			return &matchfinder.Writer{MatchFinder: finder(), Encoder: &brotli.Encoder{}, BlockSize: 64 << 10}
		}
	}
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		for _, size := range []int{128 << 10, window, 1 << 20} {
			all[fmt.Sprintf("zstd-%s-%dK", level, size>>10)] = func() stream {
				w, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(size), zstd.WithLowerEncoderMem(true))
				return w
			}
		}
	}
	return all
}

// cpu is the processor time this process has had, so that what else runs on the
// machine does not count.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkEncoders reports, for a list of a megabyte and shorter ones, what a
// body costs with each encoding and level: CPU per response, what is left of
// it, and the KiB that an encoder holds between two bodies.
func BenchmarkEncoders(b *testing.B) {
	all := candidates()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, size := range []int{1 << 20, 32 << 10, 4 << 10} {
		list := projectList(b, 1<<20)[:size]
		for _, name := range names {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				before := heap()
				w := all[name]()
				var out bytes.Buffer
				encode := func() {
					out.Reset()
					w.Reset(&out)
					for part := range slices.Chunk(list, piece) {
						_, _ = w.Write(part)
					}
					_ = w.Close()
				}
				encode()
				held := heap() - before - uint64(out.Cap())
				b.SetBytes(int64(size))
				start := cpu(b)
				for b.Loop() {
					encode()
				}
				b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(b.N), "cpu-µs/op")
				b.ReportMetric(100*float64(out.Len())/float64(size), "%left")
				b.ReportMetric(float64(held>>10), "KiB-held")
			})
		}
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkThreshold reports how many bytes encoding saves of short bodies.
func BenchmarkThreshold(b *testing.B) {
	for _, size := range []int{256, 512, 1 << 10, 1460, 2 << 10} {
		body := projectList(b, 200*max(size, 800))[10:][:size]
		for name, k := range map[string]kind{"zstd": zstdFast, "br": brotliFast, "gzip": gzipFast} {
			b.Run(fmt.Sprintf("%d/%s", size, name), func(b *testing.B) {
				w := k.open()
				var out bytes.Buffer
				start := cpu(b)
				for b.Loop() {
					out.Reset()
					w.Reset(&out)
					_, _ = w.Write(body)
					_ = w.Close()
				}
				b.ReportMetric(float64((cpu(b)-start).Microseconds())/float64(b.N), "cpu-µs/op")
				b.ReportMetric(float64(size-out.Len()), "bytes-saved")
			})
		}
	}
}

// BenchmarkSmallBesideLarge asks for a small body 4,000 times while four clients
// ask for lists of a megabyte, each 25 times a second or, when lists take
// longer, one after another. It reports the median and p99 of the small ones in
// microseconds: identity is what they take beside lists that are not
// compressed, free-for-all what they take if compression takes no turns.
func BenchmarkSmallBesideLarge(b *testing.B) {
	const large, every, rounds = 4, 40 * time.Millisecond, 4000
	list, little := projectList(b, 1<<20), text(600)
	for _, turns := range []string{"turns", "free-for-all"} {
		for _, e := range []Encoding{Identity, Zstd, Brotli, Gzip} {
			b.Run(turns+"/"+string(e), func(b *testing.B) {
				c := New(Options{})
				if turns != "turns" {
					c.turns = make(chan time.Duration, 1000)
					for range cap(c.turns) {
						c.turns <- -time.Hour // never rests
					}
				}
				s := httptest.NewServer(c.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path == "/large" {
						sendJSON(w, list)
						return
					}
					sendJSON(w, little)
				})))
				defer s.Close()
				client := &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}}
				ask := func(path string) {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.URL+path, nil)
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Accept-Encoding", string(e))
					res, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				for b.Loop() {
					stop := make(chan struct{})
					var wg sync.WaitGroup
					served, begin := make([]int, large), time.Now()
					for i := range large {
						wg.Go(func() {
							tick := time.NewTicker(every)
							defer tick.Stop()
							for {
								select {
								case <-stop:
									return
								case <-tick.C:
									ask("/large")
									served[i]++
								}
							}
						})
					}
					took := make([]time.Duration, rounds)
					for i := range took {
						time.Sleep(500 * time.Microsecond)
						begin := time.Now()
						ask("/small")
						took[i] = time.Since(begin)
					}
					close(stop)
					wg.Wait()
					slices.Sort(took)
					total := 0
					for _, n := range served {
						total += n
					}
					b.ReportMetric(float64(took[rounds/2].Microseconds()), "p50-µs")
					b.ReportMetric(float64(took[rounds*99/100].Microseconds()), "p99-µs")
					b.ReportMetric(float64(total)/time.Since(begin).Seconds(), "lists/s")
				}
			})
		}
	}
}
