package process

import (
	"context"
	"fmt"
	"net"
	"time"
)

// FreePorts returns n different TCP ports of 127.0.0.1 that were free just
// now, for children that must be told where to listen. Another program may take
// one before the child does: who starts it tries again with another.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // Binding to loopback does not wait.
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // all at the end, so that no port is found twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// Listening tells whether something accepts TCP connections at an address. It
// waits for a second at most.
func Listening(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
