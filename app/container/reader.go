package container

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/loadbearing/loadbearing/app"
)

const (
	// window is the number of bytes fetched around what is asked for: a box
	// header is eight bytes, and headers stand close together except around
	// the media itself.
	window = 64 << 10
	// maxFetches bounds the requests one reader makes, and with them its time
	// and cost: a recording needs about ten, one with a track table of many
	// megabytes a few more.
	maxFetches = 256
)

// errFetches says that a file is laid out to be read in too many places.
var errFetches = errors.New("its structure is scattered over too many places")

// Reader reads an object at random places through ranged requests, a window
// at a time, and holds one window.
type Reader struct {
	ctx     context.Context
	objects app.Objects
	key     string
	size    int64
	at      int64  // position of the next Read
	start   int64  // position of held
	held    []byte // the window
	fetches int
}

var _ io.ReadSeeker = (*Reader)(nil)

// NewReader returns a reader of an object of the given size in bytes, at its
// start. Its requests end with ctx. It is not safe for concurrent use.
func NewReader(ctx context.Context, objects app.Objects, key string, size int64) *Reader {
	return &Reader{ctx: ctx, objects: objects, key: key, size: size}
}

// Fetches returns the number of requests made so far.
func (r *Reader) Fetches() int { return r.fetches }

// Read reads from the window, which it moves first when the position lies
// outside of it.
func (r *Reader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.at < r.start || r.at >= r.start+int64(len(r.held)) {
		if err := r.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.held[r.at-r.start:])
	r.at += int64(n)
	return n, nil
}

func (r *Reader) fetch() error {
	if r.fetches == maxFetches {
		return errFetches
	}
	r.fetches++
	end := min(r.at+window, r.size)
	object, err := r.objects.Get(r.ctx, r.key, fmt.Sprintf("bytes=%d-%d", r.at, end-1))
	if err != nil {
		return err
	}
	defer object.Close()
	if cap(r.held) < window {
		r.held = make([]byte, window)
	}
	r.start, r.held = r.at, r.held[:end-r.at]
	if _, err := io.ReadFull(object, r.held); err != nil {
		r.held = r.held[:0]
		//nolint:errorlint // Not wrapped: that a body broke off must not look like the end of the object.
		return &app.Error{Code: app.CodeUnavailable, Message: "the object store does not answer", Err: fmt.Errorf("read %s at %d: %v", r.key, r.at, err)}
	}
	return nil
}

// Seek sets the position of the next Read.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	default:
		return 0, fmt.Errorf("seek in %s: no such whence: %d", r.key, whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in %s: to %d, in front of its start", r.key, offset)
	}
	r.at = offset
	return offset, nil
}
