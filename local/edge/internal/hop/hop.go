// Package hop holds what the two hops of the edge, CloudFront and the load
// balancer, share in forwarding a request: the buffers that bodies are copied
// with and the request body that is on its way.
package hop

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Buffers is an httputil.BufferPool. Its buffers have 16 KiB: a stream holds
// one for as long as it lasts, and ten thousand of them should fit.
type Buffers struct{ pool sync.Pool }

const bufferSize = 16 << 10

// Get returns a buffer.
func (b *Buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

// Put takes a buffer back.
func (b *Buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }

// Upload is the body of a request being forwarded. It bounds how long its
// client may send nothing: a transport waits for a body to end, also when the
// connection it is sent on has broken long ago.
type Upload struct {
	body    io.ReadCloser
	control *http.ResponseController
	idle    time.Duration
	onIdle  func()
	length  int64 // -1 unknown
	read    int64
	renewAt time.Time
	done    atomic.Bool
}

// NewUpload returns the body of r with an idle timeout, after which onIdle is
// called and reading fails, or nil when r has no body.
func NewUpload(w http.ResponseWriter, r *http.Request, idle time.Duration, onIdle func()) *Upload {
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	return &Upload{body: r.Body, control: http.NewResponseController(w), idle: idle, onIdle: onIdle, length: r.ContentLength}
}

// Read reads what the client sends.
func (u *Upload) Read(p []byte) (int, error) {
	if now := time.Now(); now.After(u.renewAt) {
		u.renewAt = now.Add(u.idle / 32) // a deadline is not moved at each read, it costs a timer
		_ = u.control.SetReadDeadline(now.Add(u.idle))
	}
	n, err := u.body.Read(p)
	u.read += int64(n)
	switch {
	case err == nil && u.read != u.length:
	case errors.Is(err, os.ErrDeadlineExceeded):
		u.onIdle()
	default:
		u.done.Store(true)
		// The server goes on reading, to notice when the client is gone.
		_ = u.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close closes the client's body.
func (u *Upload) Close() error { return u.body.Close() }

// Interrupt ends a Read that waits for the client.
func (u *Upload) Interrupt() {
	if u != nil {
		_ = u.control.SetReadDeadline(time.Now())
	}
}

// Complete tells whether the whole body was read. An answer that comes before
// must close the client's connection: the server would first wait for the rest.
func (u *Upload) Complete() bool { return u == nil || u.done.Load() }
