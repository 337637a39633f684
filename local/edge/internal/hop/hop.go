// Package hop holds what the two hops of the edge, CloudFront and the load
// balancer, share in forwarding a request: the buffers that bodies are copied
// with and the request body that is on its way.
package hop

import (
	"io"
	"net/http"
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
	timer   *time.Timer
	length  int64 // -1 unknown
	read    atomic.Int64
	waiting atomic.Bool
	done    atomic.Bool
}

// NewUpload returns the body of r, or nil when r has none. When its client
// sends nothing for idle, onIdle is called, and then reading fails.
func NewUpload(w http.ResponseWriter, r *http.Request, idle time.Duration, onIdle func()) *Upload {
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	u := &Upload{body: r.Body, control: http.NewResponseController(w), idle: idle, length: r.ContentLength}
	// A timer and not a read deadline alone: on a failed read the server
	// cancels the request, and onIdle must come before that to be the cause.
	u.timer = time.AfterFunc(idle, func() {
		onIdle()
		u.Interrupt()
	})
	u.timer.Stop()
	return u
}

// Read reads what the client sends.
func (u *Upload) Read(p []byte) (int, error) {
	u.waiting.Store(true)
	u.timer.Reset(u.idle)
	n, err := u.body.Read(p)
	u.timer.Stop()
	u.waiting.Store(false)
	if read := u.read.Add(int64(n)); err == io.EOF || read == u.length {
		u.done.Store(true)
	}
	return n, err
}

// Size is how much the client has sent.
func (u *Upload) Size() int64 { return u.read.Load() }

// Close closes the client's body.
func (u *Upload) Close() error { return u.body.Close() }

// Waiting tells whether the client is the one to go on.
func (u *Upload) Waiting() bool { return u != nil && u.waiting.Load() }

// Interrupt ends a Read that waits for the client. The client's connection
// cannot be used for another request then.
func (u *Upload) Interrupt() {
	if !u.Complete() {
		_ = u.control.SetReadDeadline(time.Now())
	}
}

// Complete tells whether the whole body was read. An answer that comes before
// must close the client's connection: the server would first wait for the rest.
func (u *Upload) Complete() bool { return u == nil || u.done.Load() }
