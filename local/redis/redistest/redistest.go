// Package redistest gives each test a Redis of its own: the machine's, else
// one that is fetched, else miniredis in process. All start in milliseconds.
package redistest

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"sync"
	"testing"

	"github.com/loadbearing/loadbearing/internal/project"
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
	s, err := redis.Start(t.Context(), redis.Options{Runner: &process.Runner{Dir: dir}, CA: ca, Name: "redis", Program: Program(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return &Server{Server: s, CAFile: ca.File, TLS: config}
}

// installed is looked for once in a test program: where the package index
// cannot be reached, finding that out takes many seconds.
var installed = sync.OnceValues(func() (redis.Program, error) {
	p, err := project.Find()
	if err != nil {
		return redis.Program{}, err
	}
	return redis.Install(context.Background(), filepath.Join(p.Root, ".cache"), nil)
})

// Program is what New runs.
func Program(t testing.TB) redis.Program {
	t.Helper()
	p, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Real is Program, and skips the test where that is miniredis.
func Real(t testing.TB) redis.Program {
	t.Helper()
	p := Program(t)
	if p.Kind == redis.Miniredis {
		t.Skip("no Redis here: ", p.Note)
	}
	return p
}
