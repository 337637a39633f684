package redis_test

import (
	"net"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/redis"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.New(server.Addr(), "", nil)
	defer client.Close()
	require.NoError(t, redis.Check(client)(t.Context()))
	server.Close()
	require.Error(t, redis.Check(client)(t.Context()))
}

// A server that accepts and says nothing must not hold a caller.
func TestAHungServerIsGivenUpSoon(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client := redis.New(l.Addr().String(), "", nil)
	defer client.Close()
	begin := time.Now()
	require.Error(t, redis.Check(client)(t.Context()))
	require.Less(t, time.Since(begin), 2*time.Second)
}
