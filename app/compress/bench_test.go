package compress

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
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
