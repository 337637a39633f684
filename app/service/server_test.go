package service

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A header over the limit is answered, and not with a broken connection,
// before anything of the app sees it.
func TestAnOversizedHeaderIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.Config = newServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(w, req.Header.Get("Cookie"))
	}), slog.New(slog.DiscardHandler))
	server.Start()
	t.Cleanup(server.Close)
	for _, c := range []struct {
		name   string
		bytes  int
		lines  int
		status int
	}{
		{"within", 60 << 10, 1, http.StatusOK},
		{"one line", 1<<20 + 1, 1, http.StatusRequestHeaderFieldsTooLarge},
		{"many lines", 1<<20 + 1, 20_000, http.StatusRequestHeaderFieldsTooLarge},
		{"far over", 32 << 20, 1, http.StatusRequestHeaderFieldsTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			go func() { // the answer comes before all is sent
				line := "Cookie: " + strings.Repeat("x", c.bytes/c.lines) + "\r\n"
				_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: app\r\n%s\r\n", strings.Repeat(line, c.lines))
			}()
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, c.status, answer.StatusCode)
			if c.status == http.StatusOK {
				require.Len(t, body, c.bytes)
				return
			}
			require.True(t, answer.Close, "what is left of the header must not be taken for a request")
			require.Contains(t, string(body), "Request Header Fields Too Large")
		})
	}
}
