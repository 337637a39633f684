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

	"github.com/loadbearing/loadbearing/app"
)

// sniffBytes is what http.DetectContentType looks at.
const sniffBytes = 512

// upload is a body on its way to the object store. Its deadline moves with
// every read, so a slow client is served and a stalled one is not.
type upload struct {
	io.Reader
	ContentType string
	Head        []byte // its first bytes

	err error // why the body could not be read to its end
}

// upload checks a request's body against its limit and types and reads its first bytes.
func (a *api) upload(w http.ResponseWriter, req *http.Request, limit int64, types ...string) (*upload, error) {
	media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(types, media) {
		return nil, app.Errorf(app.CodeUnsupportedType, "the body must be %s", strings.Join(types, ", "))
	}
	if req.Header.Get("Content-Encoding") != "" {
		return nil, app.Errorf(app.CodeUnsupportedType, "the body must not have a content encoding")
	}
	if req.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	u := &upload{ContentType: media}
	body := &movingReader{
		r: http.MaxBytesReader(w, req.Body, limit), control: http.NewResponseController(w), failed: func(err error) { u.err = bodyError(err, limit) },
	}
	u.Head = make([]byte, sniffBytes)
	n, err := io.ReadFull(body, u.Head)
	u.Head = u.Head[:n]
	switch {
	case u.err != nil:
		return nil, u.err
	case n == 0:
		return nil, app.Errorf(app.CodeInvalid, "the body is empty")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, bodyError(err, limit)
	}
	u.Reader = io.MultiReader(bytes.NewReader(u.Head), body)
	return u, nil
}

// store puts the upload into the object store.
func (a *api) store(ctx context.Context, w http.ResponseWriter, u *upload, key string) (int64, error) {
	n, err := a.Objects.Put(ctx, key, u.ContentType, u)
	// From here on the answer is short, however long the upload took.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(requestTimeout))
	_ = control.SetWriteDeadline(time.Now().Add(2 * requestTimeout))
	if u.err != nil {
		return 0, u.err
	}
	if err != nil {
		return 0, fmt.Errorf("store the upload: %w", err)
	}
	return n, nil
}

// discard removes an object whose row could not be written. It is best effort:
// an object that stays is never served, since no row names it.
func (a *api) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if err := a.Objects.Delete(ctx, key); err != nil {
		a.Log.WarnContext(ctx, "object left behind", "key", key, "error", err)
	}
}

func tooLarge(limit int64) error {
	return app.Errorf(app.CodeTooLarge, "the body must have at most %d bytes", limit)
}

func bodyError(err error, limit int64) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &app.Error{Code: codeTimeout, Message: fmt.Sprintf("no byte of the body came for %v", stallTimeout), Err: err}
	}
	return &app.Error{Code: app.CodeInvalid, Message: "the body ended before its length", Err: err}
}

// movingReader gives every read of a body the stall timeout.
type movingReader struct {
	r       io.Reader
	control *http.ResponseController
	failed  func(error)
}

func (m *movingReader) Read(p []byte) (int, error) {
	_ = m.control.SetReadDeadline(time.Now().Add(stallTimeout))
	n, err := m.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		m.failed(err)
	}
	return n, err
}
