package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

const (
	// sniffBytes is what http.DetectContentType looks at.
	sniffBytes = 512
	// stallBytes must come within each stall timeout: a client that trickles
	// holds memory and a place as one that is silent does.
	stallBytes = 64 << 10
	// uploadMemory is what the object store holds of one body at most.
	uploadMemory = 32 << 20
	// reserveBytes is what a body of unknown length reserves at a time.
	reserveBytes = 16 << 20
	// reservationTTL is longer than any upload: what a process that died left
	// reserved is free again then.
	reservationTTL = uploadTimeout + time.Hour
)

// upload is a body on its way to the object store. It holds a share of the
// memory for uploads and a reservation in the tenant's quota until close.
type upload struct {
	io.Reader
	ContentType string
	Head        []byte // its first bytes

	api     *api
	control *http.ResponseController
	tenant  uuid.UUID
	key     string
	limit   int64
	length  int64 // as announced; -1 when it was not
	read    int64
	granted int64 // bytes reserved
	memory  int64 // bytes of the memory for uploads
	stored  bool
	kept    bool
	err     error // why the body could not be read to its end
}

// upload checks a request's body against its limit and types, reserves what it
// takes and reads its first bytes. What it can refuse, it refuses before it
// reads, so a client that expects 100 Continue sends nothing in vain. The
// caller closes the upload.
func (a *api) upload(ctx context.Context, w http.ResponseWriter, req *http.Request, key string, limit int64, types ...string) (*upload, error) {
	media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(types, media) {
		return nil, app.Errorf(app.CodeUnsupportedType, "the body must be %s", strings.Join(types, ", "))
	}
	if req.Header.Get("Content-Encoding") != "" {
		return nil, app.Errorf(app.CodeUnsupportedType, "the body must not have a content encoding")
	}
	switch {
	case req.ContentLength > limit:
		return nil, tooLarge(limit)
	case req.ContentLength == 0:
		return nil, app.Errorf(app.CodeInvalid, "the body is empty")
	}
	u := &upload{
		ContentType: media, api: a, control: http.NewResponseController(w),
		tenant: caller(req).TenantID, key: key, limit: limit, length: req.ContentLength,
	}
	fail := func(err error) { u.err = bodyError(err, limit, a.StallTimeout) }
	body, err := verifyDigests(req, &pacedReader{
		r: http.MaxBytesReader(w, req.Body, limit), control: u.control, stall: a.StallTimeout, budget: a.StallTimeout, failed: fail,
	}, fail)
	if err != nil {
		return nil, err
	}
	if err := u.reserve(ctx); err != nil {
		return nil, err
	}
	u.Head = make([]byte, sniffBytes)
	body = &quotaReader{ctx: ctx, u: u, r: body}
	n, err := io.ReadFull(body, u.Head)
	u.Head = u.Head[:n]
	switch {
	case u.err != nil:
		err = u.err
	case n == 0:
		err = app.Errorf(app.CodeInvalid, "the body is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = nil
	}
	if err != nil {
		u.close(ctx)
		return nil, err
	}
	u.Reader = io.MultiReader(bytes.NewReader(u.Head), body)
	return u, nil
}

// reserve takes the upload's shares of memory and quota.
func (u *upload) reserve(ctx context.Context) error {
	most, memory := u.length, min(u.length, uploadMemory)
	if u.length < 0 {
		most, memory = min(u.limit, reserveBytes), uploadMemory
	}
	if !u.api.uploads.TryAcquire(memory) {
		return app.Errorf(app.CodeUnavailable, "too many uploads at once; try again")
	}
	u.memory = memory
	err := u.grow(ctx, max(1, u.length), most)
	if err != nil {
		u.api.uploads.Release(memory)
	}
	return err
}

func (u *upload) grow(ctx context.Context, least, most int64) error {
	granted, err := u.api.Storage.Reserve(ctx, u.tenant, u.key, least, most, u.api.Now().Add(reservationTTL))
	if err == nil {
		u.granted = granted
	}
	return err
}

// store puts the upload into the object store and returns its bytes. Until
// keep, it can still be taken back.
func (u *upload) store(ctx context.Context) (int64, error) {
	n, err := u.api.Objects.Put(ctx, u.key, u.ContentType, u)
	switch {
	case u.err != nil:
		return 0, u.err
	case err != nil:
		return 0, fmt.Errorf("store the upload: %w", err)
	}
	u.stored = true
	u.answer()
	if u.granted != n {
		if err := u.grow(ctx, n, n); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// answer gives the answer, which is short however long the upload took, its
// deadline.
func (u *upload) answer() {
	_ = u.control.SetReadDeadline(time.Time{}) // it would end the request's context
	_ = u.control.SetWriteDeadline(time.Now().Add(2 * requestTimeout))
}

// keep says that a row names the object now.
func (u *upload) keep() { u.kept = true }

// close gives back what the upload holds. Unless it was kept, it gives up its
// reservation, and whatever is stored under its key is removed: at once if that
// works, else by the sweeper.
func (u *upload) close(ctx context.Context) {
	u.api.uploads.Release(u.memory)
	if u.kept {
		return
	}
	u.answer()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	// Storing the row may have failed and have happened all the same: then
	// nothing is released, and the object stays.
	released, err := u.api.Storage.Release(ctx, u.tenant, u.key)
	if err != nil {
		u.api.Log.WarnContext(ctx, "reservation left behind until it expires", "key", u.key, "error", err)
	}
	if released && u.stored {
		u.api.discard(ctx, u.key)
	}
}

// discard removes an object that no row names any more. It is best effort: the
// sweeper removes what stays.
func (a *api) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if err := a.Objects.Delete(ctx, key); err != nil {
		a.Log.WarnContext(ctx, "object left to the sweeper", "key", key, "error", err)
	}
}

func tooLarge(limit int64) error {
	return app.Errorf(app.CodeTooLarge, "the body must have at most %d bytes", limit)
}

func bodyError(err error, limit int64, stall time.Duration) error {
	if known, ok := errors.AsType[*app.Error](err); ok {
		return known
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &app.Error{Code: codeTimeout, Message: fmt.Sprintf("less than %d bytes of the body came within %v", stallBytes, stall), Err: err}
	}
	return &app.Error{Code: app.CodeInvalid, Message: "the body ended before its length", Err: err}
}

// pacedReader gives stallBytes of a body the stall timeout. The time in which
// nobody reads, because the object store is slow, is not the client's.
type pacedReader struct {
	r       io.Reader
	control *http.ResponseController
	stall   time.Duration
	budget  time.Duration // left for the next stallBytes
	bytes   int           // of them that have come
	failed  func(error)
}

func (p *pacedReader) Read(b []byte) (int, error) {
	// A chunked body fills b before it returns: a large one would ask a slow
	// client for all of it in one stall timeout.
	b = b[:min(len(b), stallBytes)]
	begin := time.Now()
	_ = p.control.SetReadDeadline(begin.Add(p.budget))
	n, err := p.r.Read(b)
	p.budget -= time.Since(begin)
	if p.bytes += n; p.bytes >= stallBytes {
		p.bytes, p.budget = 0, p.stall
	}
	switch {
	case errors.Is(err, io.EOF):
		// From now on net/http reads to see whether the client goes away, and a
		// deadline would look as if it did.
		_ = p.control.SetReadDeadline(time.Time{})
	case err != nil:
		p.failed(err)
	}
	return n, err
}

// quotaReader extends the reservation of a body of unknown length.
type quotaReader struct {
	ctx context.Context //nolint:containedctx // Of the request, whose body this is.
	u   *upload
	r   io.Reader
}

func (q *quotaReader) Read(p []byte) (int, error) {
	n, err := q.r.Read(p)
	u := q.u
	if u.read += int64(n); u.read > u.granted {
		if failed := u.grow(q.ctx, u.read, min(u.read+reserveBytes, max(u.limit, u.read))); failed != nil {
			u.err = failed
			return n, failed
		}
	}
	return n, err
}
