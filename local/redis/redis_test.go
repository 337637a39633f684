package redis_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/redis"
)

func options(t *testing.T) redis.Options {
	t.Helper()
	dir := t.TempDir()
	ca, err := certificates.Open(filepath.Join(dir, "certificates"))
	require.NoError(t, err)
	return redis.Options{Runner: &process.Runner{Dir: dir}, CA: ca, Name: "cache"}
}

// TestToken runs against what the machine has and against miniredis.
func TestToken(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]redis.Program{"found": {}, "in process": {Kind: redis.Miniredis}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Program, o.Token = program, "a-token-of-letters-and-hyphens"
			s, err := redis.Start(t.Context(), o)
			require.NoError(t, err)
			t.Cleanup(func() { s.Stop(context.Background()) })
			c := connect(t, o, s)
			require.ErrorContains(t, c.Set(t.Context(), "key", "value", 0).Err(), "NOAUTH")
			require.NoError(t, c.Conn().Auth(t.Context(), o.Token).Err())
			require.Error(t, c.Conn().Auth(t.Context(), "another").Err())
		})
	}
}

func connect(t *testing.T, o redis.Options, s *redis.Server) *client.Client {
	t.Helper()
	parsed, err := client.ParseURL(s.URL)
	require.NoError(t, err)
	parsed.TLSConfig, err = o.CA.ClientTLS()
	require.NoError(t, err)
	parsed.MaxRetries = -1
	c := client.NewClient(parsed)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestServer runs against what the machine has and against miniredis.
func TestServer(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]redis.Program{"found": {}, "in process": {Kind: redis.Miniredis}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Program = program
			s, err := redis.Start(t.Context(), o)
			require.NoError(t, err)
			t.Logf("%s %s pid %d %s", s.Kind, s.Version, s.PID, s.Note)
			if s.Kind == redis.Miniredis {
				require.NotEmpty(t, s.Note)
				require.Equal(t, os.Getpid(), s.PID)
			} else {
				require.Empty(t, s.Note)
				require.NotEqual(t, os.Getpid(), s.PID)
			}
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
		})
	}
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
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Addr = test.addr
			_, err := redis.Start(t.Context(), o)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestAProgramWithoutTLS is a redis-server as some distributions built it.
func TestAProgramWithoutTLS(t *testing.T) {
	t.Parallel()
	o := options(t)
	path := filepath.Join(t.TempDir(), "redis-server")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho '>>> tls-port \"1\"'\necho 'Bad directive or wrong number of arguments'\nexit 1\n"), 0o755))
	o.Program = redis.Program{Kind: redis.Redis, Path: path, Version: "6.0"}
	s, err := redis.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Stop(context.Background()) })
	require.Equal(t, redis.Miniredis, s.Kind)
	require.Contains(t, s.Note, "built without TLS")
}
