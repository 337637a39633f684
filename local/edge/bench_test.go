package edge

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
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

// BenchmarkIdleConnections holds kept-alive connections of clients on which one
// request was made, and reports what each costs this process: the edge's side,
// and a few hundred bytes of the client's. Run it with -benchtime=4000x: every
// connection takes two descriptors here.
func BenchmarkIdleConnections(b *testing.B) {
	d := &deployment{}
	target := instance(b, "i-1", func(http.ResponseWriter, *http.Request) {})
	d.set(target)
	e := running(b, d)
	healthy(b, e, target)
	for _, path := range []struct{ name, url string }{{"alb", e.ALBURL()}, {"edge", e.URL()}} {
		b.Run(path.name, func(b *testing.B) {
			used := func() uint64 {
				runtime.GC() // twice: stacks shrink in the first, pools empty in the second
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapInuse + m.StackInuse
			}
			before := used()
			conns := make([]net.Conn, 0, b.N)
			answer := make([]byte, 4<<10)
			for b.Loop() {
				conn, err := net.Dial("tcp", strings.TrimPrefix(path.url, "http://"))
				if err != nil {
					b.Fatal(err)
				}
				conns = append(conns, conn)
				if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nX-Origin-Verify: secret\r\n\r\n"); err != nil {
					b.Fatal(err)
				}
				n, err := conn.Read(answer)
				if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200 ") {
					b.Fatalf("%v: %s", err, answer[:n])
				}
			}
			b.ReportMetric(float64(used()-before)/float64(b.N), "B/conn")
			for _, conn := range conns {
				conn.Close()
			}
		})
	}
}
