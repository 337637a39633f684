// Package redis makes clients of the cache: Redis or Valkey, by TLS. Nothing
// depends on the cache being there, so its timeouts are short.
package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Timeouts of one call. The library's defaults let a call on a hung server
// wait for 3 s; a request can do without the cache much sooner.
const (
	dialTimeout = 500 * time.Millisecond
	callTimeout = 250 * time.Millisecond
)

// New returns a client of the cache at endpoint, host:port. It connects with
// the first call. An empty token sends no AUTH; a nil tls connects in the clear.
func New(endpoint, token string, tls *tls.Config) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: endpoint, Password: token, TLSConfig: tls, ClientName: "loadbearing",
		DialTimeout: dialTimeout, ReadTimeout: callTimeout, WriteTimeout: callTimeout, PoolTimeout: callTimeout,
		ContextTimeoutEnabled: true,
		MaxRetries:            -1, // the caller decides whether it is worth a second try
		DialerRetries:         1,
	})
}

// Quiet keeps the client library from writing lines of its own to standard
// error, for the whole process: what fails is returned to the caller. Call it
// before the first client is made.
func Quiet() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Check returns nil when the cache answers.
func Check(client *redis.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := client.Ping(ctx).Err(); err != nil {
			return fmt.Errorf("ping the cache at %s: %w", client.Options().Addr, err)
		}
		return nil
	}
}
