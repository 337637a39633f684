package redis_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/redis"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

func options(t *testing.T) redis.Options {
	t.Helper()
	dir := t.TempDir()
	ca, err := certificates.Open(filepath.Join(dir, "certificates"))
	require.NoError(t, err)
	return redis.Options{Runner: &process.Runner{Dir: dir}, CA: ca, Name: "cache"}
}

func start(t *testing.T, o redis.Options) *redis.Server {
	t.Helper()
	s, err := redis.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Stop(context.Background()) })
	return s
}

// onReal runs a test against a server that is a process, with its own TLS if it
// was built with it, and behind the front. It skips the test where there is none.
func onReal(t *testing.T, test func(t *testing.T, o redis.Options, s *redis.Server)) {
	t.Helper()
	program := redistest.Real(t)
	for _, own := range slices.Compact([]bool{program.TLS, false}) {
		t.Run(fmt.Sprintf("own TLS %t", own), func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Program = program
			o.Program.TLS = own
			s := start(t, o)
			t.Logf("%s %s, pid %d", s.Kind, s.Version, s.PID)
			test(t, o, s)
		})
	}
}

func connect(t *testing.T, o redis.Options, s *redis.Server) *client.Client {
	t.Helper()
	parsed, err := client.ParseURL(s.URL)
	require.NoError(t, err)
	parsed.TLSConfig, err = o.CA.ClientTLS()
	require.NoError(t, err)
	parsed.MaxRetries, parsed.DialerRetries = -1, 1
	c := client.NewClient(parsed)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dial is a connection without go-redis, which would make another when it breaks.
func dial(t *testing.T, o redis.Options, s *redis.Server) *tls.Conn {
	t.Helper()
	config, err := o.CA.ClientTLS()
	require.NoError(t, err)
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", s.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*tls.Conn)
}

// onEach runs a test against what the machine has, or fetches, and against miniredis.
func onEach(t *testing.T, test func(t *testing.T, o redis.Options)) {
	t.Helper()
	t.Run("installed", func(t *testing.T) {
		t.Parallel()
		o := options(t)
		o.Program = redistest.Real(t)
		test(t, o)
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		o := options(t)
		o.Program.Note = "asked for"
		test(t, o)
	})
}

func TestToken(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o redis.Options) {
		o.Token = "a-token-of-letters-and-hyphens"
		c := connect(t, o, start(t, o))
		require.ErrorContains(t, c.Set(t.Context(), "key", "value", 0).Err(), "NOAUTH")
		require.NoError(t, c.Conn().Auth(t.Context(), o.Token).Err())
		require.Error(t, c.Conn().Auth(t.Context(), "another").Err())
	})
}

func TestServer(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o redis.Options) {
		s := start(t, o)
		require.Equal(t, o.Program.Note, s.Note)
		require.Equal(t, s.Kind == redis.Miniredis, s.PID == os.Getpid())
		c := connect(t, o, s)
		require.NoError(t, c.Set(t.Context(), "short", "lived", 50*time.Millisecond).Err())
		require.Equal(t, "lived", c.Get(t.Context(), "short").Val())
		require.Eventually(t, func() bool {
			return errors.Is(c.Get(t.Context(), "short").Err(), client.Nil)
		}, 5*time.Second, 10*time.Millisecond, "keys expire as time passes")

		plain := client.NewClient(&client.Options{Addr: s.Addr, MaxRetries: -1, ReadTimeout: time.Second})
		t.Cleanup(func() { _ = plain.Close() })
		require.Error(t, plain.Ping(t.Context()).Err(), "no connection without TLS")

		s.Stop(context.Background())
		<-s.Done()
		require.Error(t, c.Ping(t.Context()).Err())
		require.NoError(t, s.Remove())
		entries, err := os.ReadDir(filepath.Join(o.Runner.Dir, "redis"))
		require.Empty(t, entries)
		require.True(t, err == nil || errors.Is(err, os.ErrNotExist), err)
	})
}

// Many write at once and note what was acknowledged; the server is killed
// amid that, and started again at its address holds all of it.
func TestWhatWasAcknowledgedOutlivesAKill(t *testing.T) {
	t.Parallel()
	onReal(t, testWhatWasAcknowledgedOutlivesAKill)
}

func testWhatWasAcknowledgedOutlivesAKill(t *testing.T, o redis.Options, s *redis.Server) {
	t.Helper()
	c := connect(t, o, s)
	const writers = 8
	var acknowledged [writers]int
	var total atomic.Int64
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := 1; ; n++ {
				if c.RPush(t.Context(), fmt.Sprint("list:", w), n).Err() != nil {
					return
				}
				acknowledged[w] = n
				total.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return total.Load() > 1000 }, 10*time.Second, time.Millisecond)
	require.NoError(t, syscall.Kill(s.PID, syscall.SIGKILL))
	<-s.Done()
	writing.Wait()

	o.Addr = s.Addr
	began := time.Now()
	again := start(t, o)
	t.Logf("%d writes acknowledged; up again after %v", total.Load(), time.Since(began).Round(time.Millisecond))
	require.Equal(t, s.Addr, again.Addr)
	require.NotEqual(t, s.PID, again.PID)
	c = connect(t, o, again)
	for w, n := range acknowledged {
		list, err := c.LRange(t.Context(), fmt.Sprint("list:", w), 0, -1).Result()
		require.NoError(t, err)
		// One more may have been written, and the answer lost.
		require.Contains(t, []int{n, n + 1}, len(list))
		for i, value := range list {
			require.Equal(t, fmt.Sprint(i+1), value)
		}
	}
}

// What clients see of a server that dies is what they see of a process that does.
func TestConnectionsEndWithTheServer(t *testing.T) {
	t.Parallel()
	onReal(t, testConnectionsEndWithTheServer)
}

func testConnectionsEndWithTheServer(t *testing.T, o redis.Options, s *redis.Server) {
	t.Helper()
	idle, reading := dial(t, o, s), dial(t, o, s)
	for _, conn := range []*tls.Conn{idle, reading} {
		_, err := io.WriteString(conn, "PING\r\n")
		require.NoError(t, err)
		answer, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+PONG\r\n", answer)
	}
	// It has asked for more than the buffers on its way hold, and reads no further.
	stalled := dial(t, o, s)
	_, err := io.WriteString(stalled, "SETRANGE big 67108863 x\r\nGET big\r\n")
	require.NoError(t, err)
	_, err = io.ReadFull(stalled, make([]byte, len(":67108864\r\n$67108864\r\n")))
	require.NoError(t, err)

	ended := make(chan error, 1)
	go func() {
		_, err := reading.Read(make([]byte, 1))
		ended <- err
	}()
	require.NoError(t, syscall.Kill(s.PID, syscall.SIGKILL))
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-t.Context().Done():
		t.Fatal("a client waits on for a server that is dead")
	}
	<-s.Done()
	_, err = idle.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// A stopped process keeps its connections and its port, and answers nobody.
func TestAHungServerHangs(t *testing.T) {
	t.Parallel()
	onReal(t, testAHungServerHangs)
}

func testAHungServerHangs(t *testing.T, o redis.Options, s *redis.Server) {
	t.Helper()
	known := dial(t, o, s)
	require.NoError(t, syscall.Kill(s.PID, syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(s.PID, syscall.SIGCONT) })
	_, err := io.WriteString(known, "PING\r\n")
	require.NoError(t, err)
	require.NoError(t, known.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = known.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	// A new one connects: the system does that for a process. Whether the
	// handshake gets its answer is the server's own TLS or the front's.
	config, err := o.CA.ClientTLS()
	require.NoError(t, err)
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = raw.Close() })
	config.ServerName = "127.0.0.1"
	fresh := tls.Client(raw, config)
	require.NoError(t, fresh.SetDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = io.WriteString(fresh, "PING\r\n")
	if err == nil {
		_, err = fresh.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	require.NoError(t, syscall.Kill(s.PID, syscall.SIGCONT))
	require.NoError(t, known.SetReadDeadline(time.Time{}))
	answer, err := bufio.NewReader(known).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n", answer)
}

// A client that goes leaves nothing behind, and QUIT is answered before the end.
func TestConnectionsEndWithTheClient(t *testing.T) {
	t.Parallel()
	onReal(t, testConnectionsEndWithTheClient)
}

func testConnectionsEndWithTheClient(t *testing.T, o redis.Options, s *redis.Server) {
	t.Helper()
	c := connect(t, o, s)
	count := func() string {
		info, err := c.Info(t.Context(), "clients").Result()
		require.NoError(t, err)
		_, rest, _ := strings.Cut(info, "connected_clients:")
		n, _, _ := strings.Cut(rest, "\r\n")
		return n
	}
	require.Eventually(t, func() bool { return count() == "1" }, 5*time.Second, time.Millisecond, "that of Start is gone")
	gone, polite := dial(t, o, s), dial(t, o, s)
	_, err := io.WriteString(gone, "SUBSCRIBE channel\r\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return count() == "3" }, 5*time.Second, time.Millisecond)
	require.NoError(t, gone.NetConn().Close())
	_, err = io.WriteString(polite, "QUIT\r\n")
	require.NoError(t, err)
	all, err := io.ReadAll(polite)
	require.NoError(t, err, "an orderly end, with close_notify")
	require.Equal(t, "+OK\r\n", string(all))
	require.Eventually(t, func() bool { return count() == "1" }, 5*time.Second, time.Millisecond)
}

func TestStartSaysWhy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for name, test := range map[string]struct{ addr, want string }{
		"a taken port":         {taken.Addr().String(), "use"},
		"an address of others": {"0.0.0.0:0", "127.0.0.1:port only"},
	} {
		onEach(t, func(t *testing.T, o redis.Options) {
			o.Addr = test.addr
			_, err := redis.Start(t.Context(), o)
			require.ErrorContains(t, err, test.want, name)
		})
	}
	t.Run("a program that ends", func(t *testing.T) {
		t.Parallel()
		o := options(t)
		o.Program = redis.Program{Kind: redis.Redis, Path: script(t, t.TempDir(), "redis-server", "echo out of luck; exit 3")}
		_, err := redis.Start(t.Context(), o)
		require.ErrorContains(t, err, "exit status 3")
		require.ErrorContains(t, err, "out of luck")
	})
}

func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// Not parallel: PATH is the process's.
func TestFind(t *testing.T) {
	const (
		with    = `if [ "$1" = - ]; then echo ">>> 'no-such-directive yes'"; exit 1; fi; echo "Server v=7.2.4 sha=0"`
		without = `if [ "$1" = - ]; then echo ">>> 'tls-port 0'"; exit 1; fi; echo "Redis server v=6.2.14 sha=0"`
		old     = `echo "Redis server v=5.0.7 sha=0"`
		careful = `if [ "$1" = - ]; then exit 0; fi; echo "Server v=9.0 sha=0"`
	)
	for _, test := range []struct {
		name          string
		valkey, redis string
		want          redis.Program
		err           string
	}{
		{name: "nothing", err: "no valkey-server or redis-server on PATH"},
		{name: "valkey first", valkey: with, redis: with, want: redis.Program{Kind: redis.Valkey, Version: "7.2.4", TLS: true}},
		{name: "without TLS", redis: without, want: redis.Program{Kind: redis.Redis, Version: "6.2.14"}},
		{name: "too old", redis: old, err: "is version 5.0.7; RESP3 needs 6"},
		{name: "broken", valkey: "exit 1", redis: with, want: redis.Program{Kind: redis.Redis, Version: "7.2.4", TLS: true}},
		{name: "takes every directive", valkey: careful, err: "it takes the directive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("PATH", dir)
			for name, body := range map[string]string{"valkey-server": test.valkey, "redis-server": test.redis} {
				if body != "" {
					script(t, dir, name, body)
				}
			}
			p, err := redis.Find(t.Context())
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			test.want.Path = filepath.Join(dir, string(test.want.Kind)+"-server")
			require.Equal(t, test.want, p)
		})
	}
}

// Not parallel: PATH is the process's. Where there is no Python either it is
// miniredis, which says why.
func TestInstallWithoutAnything(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var said []string
	p, err := redis.Install(t.Context(), t.TempDir(), func(s string) { said = append(said, s) })
	require.NoError(t, err)
	require.Equal(t, redis.Miniredis, p.Kind)
	require.Contains(t, p.Note, "no valkey-server or redis-server on PATH, and no")
	if strings.Contains(p.Note, "none could be fetched") {
		require.Contains(t, strings.Join(said, "\n"), "no python3 is on PATH")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = redis.Install(canceled, t.TempDir(), nil)
	require.ErrorIs(t, err, context.Canceled)
}
