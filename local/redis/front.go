package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// front ends TLS before a server that was built without: what comes in at its
// address it carries to the server's own, which it has to itself. It answers
// nothing on its own, so a server that hangs hangs here too.
type front struct {
	listener net.Listener
	config   *tls.Config
	server   string // host:port
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func newFront(listener net.Listener, config *tls.Config, server string) *front {
	ctx, cancel := context.WithCancel(context.Background())
	f := &front{listener: listener, config: config, server: server, cancel: cancel}
	f.running.Go(func() { f.accept(ctx) })
	return f
}

// close refuses new connections and cuts those there are, as the system does
// when a process has ended. It returns when all are gone. A nil front has none.
func (f *front) close() {
	if f == nil {
		return
	}
	_ = f.listener.Close()
	f.cancel()
	f.running.Wait()
}

func (f *front) accept(ctx context.Context) {
	for {
		conn, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, say
			select {
			case <-ctx.Done():
			case <-time.After(poll):
			}
			continue
		}
		f.running.Go(func() { f.carry(ctx, conn) })
	}
}

// carry copies both ways until one side ends, and then ends the other.
func (f *front) carry(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", f.server)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() {
		_ = conn.Close()
		_ = server.Close()
	})()
	client := tls.Server(conn, f.config)
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
	_ = client.Close() // says that no more comes
	up.Wait()
}
