package drill_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/test/drill"
)

// echo returns the address of a server that answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	return listener.Addr().String()
}

func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn, bufio.NewReader(conn)
}

func TestALinkShowsBothDirectionsOfAConnection(t *testing.T) {
	t.Parallel()
	pieces := make(chan drill.Piece, 10)
	link, err := drill.NewLink(t.Context(), echo(t), func(p drill.Piece) error { pieces <- p; return nil })
	require.NoError(t, err)
	defer link.Close()
	conn, from := dial(t, link.Addr)
	_, err = io.WriteString(conn, "hello\n")
	require.NoError(t, err)
	line, err := from.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
	request, answer := <-pieces, <-pieces
	require.Equal(t, conn.LocalAddr().String(), request.Client.String())
	require.False(t, request.Answer)
	require.True(t, answer.Answer)
	require.Equal(t, request.Server, answer.Server)
	require.NotEqual(t, conn.LocalAddr().(*net.TCPAddr).Port, request.Server)
}

func TestALinkCutsAConnectionBeforeAPieceIsPassedOn(t *testing.T) {
	t.Parallel()
	var answers atomic.Int64
	link, err := drill.NewLink(t.Context(), echo(t), nil)
	require.NoError(t, err)
	defer link.Close()
	conn, from := dial(t, link.Addr)
	_, err = io.WriteString(conn, "one\n")
	require.NoError(t, err)
	_, err = from.ReadString('\n')
	require.NoError(t, err)
	link.Watch(func(p drill.Piece) error {
		if p.Answer {
			answers.Add(1)
			return nil
		}
		return errors.New("no further")
	})
	_, err = io.WriteString(conn, "two\n")
	require.NoError(t, err)
	_, err = from.ReadString('\n')
	require.Error(t, err)
	require.Zero(t, answers.Load(), "the server got what was not passed on")
	// The next connection is another one.
	link.Watch(nil)
	conn, from = dial(t, link.Addr)
	_, err = io.WriteString(conn, "three\n")
	require.NoError(t, err)
	_, err = from.ReadString('\n')
	require.NoError(t, err)
}

func TestAClosedLinkHasNoConnection(t *testing.T) {
	t.Parallel()
	link, err := drill.NewLink(t.Context(), echo(t), nil)
	require.NoError(t, err)
	conn, from := dial(t, link.Addr)
	_, err = io.WriteString(conn, "one\n")
	require.NoError(t, err)
	_, err = from.ReadString('\n')
	require.NoError(t, err)
	link.Close()
	_, err = from.ReadString('\n')
	require.Error(t, err)
	_, err = new(net.Dialer).DialContext(t.Context(), "tcp", link.Addr)
	require.Error(t, err)
}
