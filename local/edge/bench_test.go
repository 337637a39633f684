package edge

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkProxy compares requests through CloudFront and the load balancer,
// through the load balancer alone and direct to the instance, on kept-alive
// connections. "empty" is the worst case, an answer that costs nothing; the
// others spend CPU time on it as a service does: "work" about 0.3 ms, with
// 4 KB of JSON, and "wait" waits 5 ms for a database meanwhile.
func BenchmarkProxy(b *testing.B) {
	body := strings.Repeat(`{"id":"0190","name":"project"}`, 128)
	work := func() {
		block := []byte(body)
		for range 48 {
			sum := sha256.Sum256(block)
			block[0] = sum[0]
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"empty": func(http.ResponseWriter, *http.Request) {},
		"work":  func(w http.ResponseWriter, _ *http.Request) { work(); fmt.Fprint(w, body) },
		"wait":  func(w http.ResponseWriter, _ *http.Request) { time.Sleep(5 * time.Millisecond); fmt.Fprint(w, body) },
	} {
		d := &deployment{}
		target := instance(b, "i-1", h)
		d.set(target)
		e := running(b, d)
		healthy(b, e, target)
		for _, path := range []struct{ name, url string }{
			{"direct", fmt.Sprintf("http://127.0.0.1:%d", *target.Port)},
			{"alb", e.ALBURL()},
			{"edge", e.URL()},
		} {
			b.Run(name+"/"+path.name, func(b *testing.B) {
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
				defer client.CloseIdleConnections()
				b.SetParallelism(16)
				before := cpuTime(b)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						req, err := http.NewRequest(http.MethodGet, path.url+"/v1/projects", nil)
						if err != nil {
							b.Error(err)
							return
						}
						req.Header.Set("X-Origin-Verify", "secret")
						resp, err := client.Do(req)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
						if resp.StatusCode != http.StatusOK {
							b.Errorf("status %d", resp.StatusCode)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
				b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/req")
			})
		}
	}
}

// cpuTime is what this process has used, client and instance included. Unlike
// the throughput it hardly depends on what else the machine does.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
