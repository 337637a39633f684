package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// Link is the way between processes and a server that speaks TCP, such as the
// database. What passes can be shown, held, and cut off. It is not read: it is
// encrypted.
type Link struct {
	Addr string // where the processes connect to instead

	target   string
	listener net.Listener
	closed   sync.WaitGroup

	mu    sync.Mutex
	watch func(Piece) error
	conns map[net.Conn]struct{}
	ended bool
}

// Piece is some bytes that are about to be passed on, as many as came at once.
type Piece struct {
	Client net.Addr // the process' end of the connection
	Server int      // port of the link's end towards the server, which knows the connection by it
	Answer bool     // it comes from the server
}

// NewLink returns a link to target, host:port on this machine. watch is called
// with each piece, which waits for it; an error cuts the connection. It may be
// nil.
func NewLink(ctx context.Context, target string, watch func(Piece) error) (*Link, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", target, err)
	}
	l := &Link{Addr: listener.Addr().String(), target: target, listener: listener, watch: watch, conns: map[net.Conn]struct{}{}}
	l.closed.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.closed.Go(func() { l.serve(ctx, conn) })
		}
	})
	return l, nil
}

// Watch has another function told of the pieces, nil none.
func (l *Link) Watch(watch func(Piece) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch = watch
}

// Close cuts every connection and returns when they are gone.
func (l *Link) Close() {
	l.mu.Lock()
	l.ended = true
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	_ = l.listener.Close()
	l.closed.Wait()
}

// keep has Close close a connection; it tells whether there was none yet.
func (l *Link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.conns[c] = struct{}{}
	}
	return !l.ended
}

func (l *Link) drop(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *Link) serve(ctx context.Context, client net.Conn) {
	defer l.drop(client)
	server, err := new(net.Dialer).DialContext(ctx, "tcp", l.target)
	if err != nil {
		return // the process finds its connection closed, as by a server that is down
	}
	defer l.drop(server)
	if !l.keep(client) || !l.keep(server) {
		return
	}
	request := Piece{Client: client.RemoteAddr(), Server: server.LocalAddr().(*net.TCPAddr).Port}
	answer := request
	answer.Answer = true
	var both sync.WaitGroup
	both.Go(func() { l.pass(server, client, request) })
	both.Go(func() { l.pass(client, server, answer) })
	both.Wait()
}

// pass passes on what one end sends until either is gone.
func (l *Link) pass(to, from net.Conn, p Piece) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			l.mu.Lock()
			watch := l.watch
			l.mu.Unlock()
			if watch != nil {
				err = errors.Join(err, watch(p))
			}
			if err == nil {
				_, err = to.Write(buffer[:n])
			}
		}
		if err != nil {
			return
		}
	}
}
