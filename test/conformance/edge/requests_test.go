package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/stretchr/testify/require"
)

const (
	pageHeaders  = guide + "x-forwarded-headers.html"
	pageTracing  = guide + "load-balancer-request-tracing.html"
	pageErrors   = guide + "load-balancer-troubleshooting.html"
	pageBalancer = guide + "edit-load-balancer-attributes.html"
	pageListener = guide + "load-balancer-listeners.html"
)

// raw sends bytes and reads the answer. f.host stands for {host}.
func (f *fixture) raw(conn net.Conn, request string) *http.Response {
	f.Helper()
	_, err := io.WriteString(conn, strings.ReplaceAll(request, "{host}", f.host))
	require.NoError(f, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(f, err)
	f.Cleanup(func() { resp.Body.Close() })
	return resp
}

// dies takes a connection over and does something to it.
func dies(path string, what func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			echo("target")(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			what(conn)
			conn.Close()
		}
	}
}

// hangs answers a path never, others at once.
func hangs(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/hang" {
		<-r.Context().Done()
		return
	}
	echo("target")(w, r)
}

func says(line string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = io.WriteString(conn, line) }
}

// forwardedFor checks what a target reads in X-Forwarded-For, of which prior
// is what the client sends and client its address.
func forwardedFor(want func(prior, client string) string) func(*fixture) {
	return func(f *fixture) {
		f.served(nil)
		f.until(func() bool { // the attribute follows the rule
			conn := f.connect()
			resp := f.raw(conn, "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nConnection: close\r\n\r\n")
			body, err := io.ReadAll(resp.Body)
			require.NoError(f, err)
			got := answer{resp, string(body)}.seen(f).Header.Get("X-Forwarded-For")
			return got == want("192.0.2.1, 192.0.2.2", conn.LocalAddr().String())
		}, "X-Forwarded-For as it should be")
	}
}

var requestCases = []conformanceCase{
	{
		name: "X-Forwarded-For, -Proto and -Port", page: pageHeaders,
		run: func(f *fixture) {
			f.served(nil)
			got := f.get("/").seen(f).Header
			require.NotNil(f, net.ParseIP(got.Get("X-Forwarded-For")), got)
			require.Equal(f, "http", got.Get("X-Forwarded-Proto"))
			require.Equal(f, fmt.Sprint(f.port), got.Get("X-Forwarded-Port"))
			got = f.get("/", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1").seen(f).Header
			require.Equal(f, []string{"http"}, got["X-Forwarded-Proto"], "not the client's to say")
			require.Equal(f, []string{fmt.Sprint(f.port)}, got["X-Forwarded-Port"])
		},
	},
	{
		name: "the client's address is appended to X-Forwarded-For", page: pageHeaders + "#x-forwarded-for",
		aws: "the address that the load balancer sees this machine with is not known",
		run: forwardedFor(func(prior, client string) string {
			host, _, _ := net.SplitHostPort(client)
			return prior + ", " + host
		}),
	},
	{
		name: "X-Forwarded-For is preserved", page: pageHeaders + "#x-forwarded-for",
		attributes: []string{"routing.http.xff_header_processing.mode=preserve"},
		run:        forwardedFor(func(prior, _ string) string { return prior }),
	},
	{
		name: "X-Forwarded-For is removed", page: pageHeaders + "#x-forwarded-for",
		attributes: []string{"routing.http.xff_header_processing.mode=remove"},
		run:        forwardedFor(func(string, string) string { return "" }),
	},
	{
		name: "X-Forwarded-For with the client's port", page: pageHeaders + "#x-forwarded-for",
		aws:        "the address that the load balancer sees this machine with is not known",
		attributes: []string{"routing.http.xff_client_port.enabled=true"},
		run:        forwardedFor(func(prior, client string) string { return prior + ", " + client }),
	},
	{
		name: "a request without X-Amzn-Trace-Id gets one", page: pageTracing,
		run: func(f *fixture) {
			f.served(nil)
			require.Regexp(f, "^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$", f.get("/").seen(f).Header.Get("X-Amzn-Trace-Id"))
		},
	},
	{
		name: "a trace goes on with a Self field", page: pageTracing,
		run: func(f *fixture) {
			f.served(nil)
			const root = "Root=1-67891233-abcdef012345678912345678"
			require.Regexp(f, "^Self=1-[0-9a-f]{8}-[0-9a-f]{24};"+root+"$", f.get("/", "X-Amzn-Trace-Id: "+root).seen(f).Header.Get("X-Amzn-Trace-Id"))
			again := f.get("/", "X-Amzn-Trace-Id: Self=1-67891234-12456789abcdef012345678;"+root+";CalledFrom=app").seen(f).Header.Get("X-Amzn-Trace-Id")
			require.Regexp(f, "^Self=1-[0-9a-f]{8}-[0-9a-f]{24};"+root+";CalledFrom=app$", again)
			require.NotContains(f, again, "1-67891234-")
		},
	},
	{
		name: "hop-by-hop headers end at the load balancer", page: "https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1",
		run: func(f *fixture) {
			f.served(nil)
			resp := f.raw(f.connect(), "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nX-End: 1\r\n\r\n")
			body, err := io.ReadAll(io.LimitReader(resp.Body, resp.ContentLength))
			require.NoError(f, err)
			got := answer{resp, string(body)}.seen(f).Header
			require.Equal(f, "1", got.Get("X-End"))
			for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Connection"} {
				require.NotContains(f, got, name)
			}
		},
	},
	{
		name: "header names that are not valid pass", page: pageBalancer,
		run: func(f *fixture) {
			f.served(nil)
			require.Equal(f, []string{"1"}, f.get("/", "X_under: 1").seen(f).Header["X_under"])
		},
	},
	{
		name: "header names that are not valid are removed when that is enabled", page: pageBalancer,
		attributes: []string{"routing.http.drop_invalid_header_fields.enabled=true"},
		run: func(f *fixture) {
			f.served(nil)
			f.until(func() bool { return f.get("/", "X_under: 1", "X-Dash: 1").seen(f).Header["X_under"] == nil }, "the header is removed")
			require.Equal(f, "1", f.get("/", "X_under: 1", "X-Dash: 1").seen(f).Header.Get("X-Dash"))
		},
	},
	{
		name: "the listener's port is taken off a Host", page: guide + "edit-load-balancer-attributes.html#host-header-preservation",
		local: "clients come to a port that is not the listener's, and the application has to know it",
		run: func(f *fixture) {
			f.served(nil)
			require.Equal(f, f.host, f.get("/", fmt.Sprintf("Host: %s:%d", f.host, f.port)).seen(f).Host)
		},
	},
	{
		name: "a method TRACE is a 405", page: pageErrors + "#http-405-issues",
		run: func(f *fixture) {
			f.served(nil)
			require.Equal(f, 405, f.do(f.http, "TRACE", f.host, "/").StatusCode)
		},
	},
	{
		name: "a request without its Host is a 400", page: pageErrors + "#http-400-issues",
		run: func(f *fixture) { require.Equal(f, 400, f.raw(f.connect(), "GET / HTTP/1.1\r\n\r\n").StatusCode) },
	},
	{
		name: "a header of more than 16 K is a 400", page: pageErrors + "#http-400-issues",
		run: func(f *fixture) {
			f.served(nil)
			require.Equal(f, 200, f.get("/", "X-Long: "+strings.Repeat("a", 15<<10)).StatusCode)
			require.Equal(f, 400, f.get("/", "X-Long: "+strings.Repeat("a", 17<<10)).StatusCode)
		},
	},
	{
		name: "headers of more than 64 K are a 400", page: pageErrors + "#http-400-issues",
		run: func(f *fixture) {
			f.served(nil)
			header := func(n int) (list []string) {
				for i := range n {
					list = append(list, fmt.Sprintf("X-Long-%d: %s", i, strings.Repeat("a", 10<<10)))
				}
				return list
			}
			require.Equal(f, 200, f.get("/", header(6)...).StatusCode)
			require.Equal(f, 400, f.get("/", header(7)...).StatusCode)
		},
	},
	{
		name: "more than 30 addresses in X-Forwarded-For are a 463", page: pageErrors + "#http-463-issues",
		run: func(f *fixture) {
			f.served(nil)
			hops := func(n int) string {
				return "X-Forwarded-For: " + strings.TrimSuffix(strings.Repeat("192.0.2.1, ", n), ", ")
			}
			require.Equal(f, 200, f.get("/", hops(30)).StatusCode)
			require.Equal(f, 463, f.get("/", hops(31)).StatusCode)
		},
	},
	{
		name: "a transfer coding that nobody knows is a 501", page: pageErrors + "#http-501-issues",
		run: func(f *fixture) {
			require.Equal(f, 501, f.raw(f.connect(), "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip\r\n\r\n").StatusCode)
		},
	},
	{
		name: "a connection that the target refuses is a 502", page: pageErrors + "#http-502-issues",
		run: func(f *fixture) {
			listener, err := net.Listen("tcp", net.JoinHostPort(f.targetIP, "0"))
			require.NoError(f, err)
			port := int32(listener.Addr().(*net.TCPAddr).Port)
			require.NoError(f, listener.Close())
			g := f.group()
			f.rule(forward(g))
			g.register(types.TargetDescription{Id: &f.targetIP, Port: &port})
			f.until(func() bool { return f.get("/").StatusCode == http.StatusBadGateway }, "502")
		},
	},
	{
		name: "a target that closes with a request outstanding is a 502", page: pageErrors + "#http-502-issues",
		run: func(f *fixture) {
			f.served(dies("/die", says("")))
			require.Equal(f, 502, f.get("/die").StatusCode)
		},
	},
	{
		name: "an answer that is malformed is a 502", page: pageErrors + "#http-502-issues",
		run: func(f *fixture) {
			f.served(dies("/die", says("HTTP/1.1 abc\r\n\r\n")))
			require.Equal(f, 502, f.get("/die").StatusCode)
		},
	},
	{
		name: "an answer with more than 32 K of headers is a 502", page: pageErrors + "#http-502-issues",
		run: func(f *fixture) {
			f.served(func(w http.ResponseWriter, r *http.Request) {
				size := map[string]int{"/fits": 30 << 10, "/long": 34 << 10}[r.URL.Path]
				for ; size > 0; size -= 1 << 10 {
					w.Header().Add("X-Long", strings.Repeat("a", 1000))
				}
			})
			require.Equal(f, 200, f.get("/fits").StatusCode)
			require.Equal(f, 502, f.get("/long").StatusCode)
		},
	},
	{
		name: "a target that is silent for the idle timeout is a 504", page: pageErrors + "#http-504-issues",
		attributes: []string{"idle_timeout.timeout_seconds=1"},
		run: func(f *fixture) {
			f.served(hangs)
			var took time.Duration
			f.until(func() bool {
				began := time.Now()
				conn := f.connect()
				require.NoError(f, conn.SetReadDeadline(time.Now().Add(3*time.Second)))
				_, err := fmt.Fprintf(conn, "GET /hang HTTP/1.1\r\nHost: %s\r\n\r\n", f.host)
				require.NoError(f, err)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				took = time.Since(began)
				return err == nil && resp.StatusCode == http.StatusGatewayTimeout
			}, "504")
			require.GreaterOrEqual(f, took, 900*time.Millisecond)
		},
	},
	{
		name: "the idle timeout is no limit for an answer that goes on", page: pageBalancer + "#connection-idle-timeout",
		attributes: []string{"idle_timeout.timeout_seconds=1"},
		run: func(f *fixture) {
			f.served(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/stream" {
					return
				}
				tick := time.NewTicker(300 * time.Millisecond)
				defer tick.Stop()
				for range 6 {
					fmt.Fprintln(w, "tick")
					_ = http.NewResponseController(w).Flush()
					<-tick.C
				}
			})
			require.Equal(f, strings.Repeat("tick\n", 6), f.get("/stream").body)
		},
	},
	{
		name: "an idle connection of a client is closed after the idle timeout", page: pageBalancer + "#connection-idle-timeout",
		attributes: []string{"idle_timeout.timeout_seconds=1"},
		run: func(f *fixture) {
			f.served(nil)
			f.until(func() bool {
				conn := f.connect()
				resp := f.raw(conn, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
				_, err := io.CopyN(io.Discard, resp.Body, resp.ContentLength)
				require.NoError(f, err)
				require.NoError(f, conn.SetReadDeadline(time.Now().Add(3*time.Second)))
				began := time.Now()
				_, err = conn.Read(make([]byte, 1))
				return errors.Is(err, io.EOF) && time.Since(began) > 900*time.Millisecond
			}, "the connection is closed")
		},
	},
	{
		name: "a client that leaves is a 460", page: pageErrors + "#http-460-issues",
		aws: "the access log is in a bucket, minutes later",
		run: func(f *fixture) {
			arrived := make(chan struct{}, 1)
			f.served(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hang" {
					arrived <- struct{}{}
				}
				hangs(w, r)
			})
			conn := f.connect()
			_, err := fmt.Fprintf(conn, "GET /hang HTTP/1.1\r\nHost: %s\r\n\r\n", f.host)
			require.NoError(f, err)
			<-arrived
			require.NoError(f, conn.Close())
			f.until(func() bool {
				log, err := os.ReadFile(f.logs)
				require.NoError(f, err)
				for line := range strings.Lines(string(log)) {
					if strings.Contains(line, "http://"+f.host+":80/hang ") {
						require.Contains(f, line, " -1 -1 -1 460 - ")
						return true
					}
				}
				return false
			}, "the log has it")
		},
	},
	{
		name: "a connection is upgraded to a WebSocket", page: pageListener,
		run: func(f *fixture) {
			f.served(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") != "websocket" {
					return
				}
				conn, stream, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				line, err := stream.ReadString('\n')
				if err == nil {
					_, _ = io.WriteString(conn, "echo "+line)
				}
			})
			conn := f.connect()
			_, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", f.host)
			require.NoError(f, err)
			stream := bufio.NewReader(conn)
			resp, err := http.ReadResponse(stream, nil)
			require.NoError(f, err)
			require.Equal(f, 101, resp.StatusCode)
			_, err = io.WriteString(conn, "hello\n")
			require.NoError(f, err)
			line, err := stream.ReadString('\n')
			require.NoError(f, err)
			require.Equal(f, "echo hello\n", line)
		},
	},
	{
		name: "a chunked answer passes as it comes", page: pageListener,
		run: func(f *fixture) {
			next := make(chan struct{})
			f.served(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/stream" {
					return
				}
				for i := range 3 {
					fmt.Fprintln(w, i)
					_ = http.NewResponseController(w).Flush()
					select {
					case <-next: // the client has it
					case <-r.Context().Done():
						return
					}
				}
			})
			resp := f.raw(f.connect(), "GET /stream HTTP/1.1\r\nHost: {host}\r\n\r\n")
			require.Equal(f, []string{"chunked"}, resp.TransferEncoding)
			lines := bufio.NewReader(resp.Body)
			for i := range 3 {
				line, err := lines.ReadString('\n')
				require.NoError(f, err)
				require.Equal(f, fmt.Sprintln(i), line)
				next <- struct{}{}
			}
		},
	},
	{
		name: "an upload passes as it comes", page: pageListener,
		run: func(f *fixture) {
			got := make(chan string)
			f.served(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost {
					return
				}
				lines := bufio.NewReader(r.Body)
				for {
					line, err := lines.ReadString('\n')
					if err != nil {
						return
					}
					got <- line
				}
			})
			conn := f.connect()
			_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n", f.host)
			require.NoError(f, err)
			for _, line := range []string{"a\n", "b\n"} {
				_, err = fmt.Fprintf(conn, "2\r\n%s\r\n", line)
				require.NoError(f, err)
				require.Equal(f, line, <-got)
			}
			_, err = io.WriteString(conn, "0\r\n\r\n")
			require.NoError(f, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(f, err)
			require.Equal(f, 200, resp.StatusCode)
		},
	},
}
