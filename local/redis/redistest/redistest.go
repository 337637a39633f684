// Package redistest gives each test a Redis of its own: the one on PATH, else
// miniredis in process. Both start in milliseconds.
package redistest

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"testing"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/redis"
)

// Server is a running Redis and what its clients need to trust it.
type Server struct {
	*redis.Server
	CAFile string      // PEM; what contract.EnvCAFile names
	TLS    *tls.Config // trusts that authority and no other
}

// New starts a server that stops with the test.
func New(t testing.TB) *Server {
	t.Helper()
	dir := t.TempDir()
	ca, err := certificates.Open(filepath.Join(dir, "certificates"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.ClientTLS()
	if err != nil {
		t.Fatal(err)
	}
	s, err := redis.Start(t.Context(), redis.Options{Runner: &process.Runner{Dir: dir}, CA: ca, Name: "redis"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return &Server{Server: s, CAFile: ca.File, TLS: config}
}
