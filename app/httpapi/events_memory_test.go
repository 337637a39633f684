package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/stream"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

// BenchmarkMemoryOfAStream measures what an idle client of server-sent events
// costs the process, by a thousand of them: four to a user, each with a token,
// a subscription and a connection, the client's end of which counts too.
func BenchmarkMemoryOfAStream(b *testing.B) {
	const clients, perUser = 1000, 4
	server := redistest.New(b)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr, TLSConfig: server.TLS})
	b.Cleanup(func() { _ = client.Close() })
	hub := stream.NewHub(stream.New(client, stream.Options{}), stream.HubOptions{})
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { hub.Run(ctx) })
	b.Cleanup(func() { stop(); wg.Wait() })
	streams, err := httpapi.NewStreams(httpapi.StreamOptions{Events: hub})
	require.NoError(b, err)
	keys, err := auth.NewKeys(secret)
	require.NoError(b, err)
	handler, err := httpapi.New(httpapi.Options{
		Auth: auth.NewService(nil, alwaysActive{}, keys, time.Now), Keys: keys, Now: time.Now, Streams: streams,
		Status: &httpapi.Status{}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	require.NoError(b, err)
	api := httptest.NewServer(handler)
	b.Cleanup(api.Close)
	b.Cleanup(streams.Stop)

	for b.Loop() {
		var caller app.Caller
		conns := make([]net.Conn, clients)
		before, goroutines := used(), runtime.NumGoroutine()
		for i := range conns {
			if i%perUser == 0 {
				caller = app.Caller{UserID: uuid.New(), TenantID: uuid.New(), SessionID: uuid.New(), Role: app.RoleViewer}
			}
			token, err := keys.Issue(caller, time.Now())
			require.NoError(b, err)
			conns[i], err = net.Dial("tcp", api.Listener.Addr().String())
			require.NoError(b, err)
			_, err = fmt.Fprintf(conns[i], "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nCookie: access=%s\r\n"+
				"Accept: text/event-stream\r\nAccept-Encoding: gzip, br\r\nUser-Agent: Mozilla/5.0\r\n\r\n", token)
			require.NoError(b, err)
		}
		buffer := make([]byte, 4096) // the clients have none of their own, nor a goroutine: they would count
		for _, c := range conns {
			for got := ""; !strings.Contains(got, "event: ready"); {
				require.NoError(b, c.SetReadDeadline(time.Now().Add(soon)))
				n, err := c.Read(buffer)
				require.NoError(b, err)
				got += string(buffer[:n])
			}
		}
		b.ReportMetric(float64(used()-before)/clients/1024, "KiB/client")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/clients, "goroutines/client")
		for _, c := range conns {
			require.NoError(b, c.Close())
		}
		require.Eventually(b, func() bool { return runtime.NumGoroutine() < goroutines+10 }, soon, time.Millisecond, "all is freed")
	}
}

// alwaysActive knows every session.
type alwaysActive struct{ app.Sessions }

func (alwaysActive) Active(context.Context, uuid.UUID, uuid.UUID) (bool, error) { return true, nil }

// used returns the bytes of heap and stacks in use.
func used() uint64 {
	runtime.GC()
	runtime.GC() // the first one leaves what pools hold
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
