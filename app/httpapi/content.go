package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/loadbearing/loadbearing/app"
)

// object is stored content that never changes.
type object struct {
	key         string
	bytes       int64
	contentType string
	modified    time.Time
	tag         string // identifies the content; becomes its ETag
	filename    string // to be saved under, if any
}

// copyBuffer is what a download holds of its object, in bytes: enough for
// speed, and little enough that ten stalled clients cost less than 1 MiB. It is
// also what a client must take in one stall timeout.
const copyBuffer = 16 << 10

// serveObject streams an object. net/http decides on ranges and conditions
// from what the database knows; the store is asked for bytes only, and only
// for those that are sent.
//
// A request for one range is answered with it. One for several is answered with
// the whole, as S3 does and as RFC 9110, 14.2, allows for any: every client has
// to understand 200, while 416 would say that the ranges lie outside. So is one
// in another unit than bytes, for which the RFC leaves no choice.
func (a *api) serveObject(w http.ResponseWriter, req *http.Request, o object) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // a download may take longer than any request

	body := &objectReader{ctx: req.Context(), objects: a.Objects, key: o.key, size: o.bytes, last: lastByte(req, o.bytes)}
	defer body.Close()
	sink := &deferredWriter{ResponseWriter: w, control: control, stall: a.StallTimeout, buffers: &a.buffers}
	h := w.Header()
	h.Set("Content-Type", o.contentType)
	h.Set("Etag", `"`+o.tag+`"`)
	if o.filename != "" {
		h.Set("Content-Disposition", disposition(o.filename))
	}
	http.ServeContent(sink, withOneRange(req), "", o.modified, body)
	switch {
	case sink.err != nil:
		return fmt.Errorf("send %s: %w", o.key, clientGone(req, sink.err))
	case body.err != nil:
		return body.err
	case sink.status == http.StatusRequestedRangeNotSatisfiable:
		return app.Errorf(app.CodeRange, "the range lies outside the %d bytes", o.bytes)
	case sink.status == http.StatusPreconditionFailed:
		return app.Errorf(codePreconditionFailed, "the content is another one")
	}
	sink.commit()
	return nil
}

// withOneRange returns the request without a Range that is ignored.
func withOneRange(req *http.Request) *http.Request {
	lines := req.Header.Values("Range")
	if len(lines) == 0 || len(lines) == 1 && strings.HasPrefix(lines[0], "bytes=") && !strings.Contains(lines[0], ",") {
		return req
	}
	whole := *req
	whole.Header = req.Header.Clone()
	whole.Header.Del("Range")
	return &whole
}

// disposition names a file as RFC 6266 has it: in ASCII for those who know no
// better, and in UTF-8 when ASCII is not enough.
func disposition(filename string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%/`, r) {
			return '_'
		}
		return r
	}, filename)
	out := `inline; filename="` + ascii + `"`
	if ascii == filename {
		return out
	}
	var value strings.Builder // ext-value of RFC 8187
	for _, b := range []byte(filename) {
		if 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("!#$&+-.^_`|~", b) >= 0 {
			value.WriteByte(b)
		} else {
			fmt.Fprintf(&value, "%%%02X", b)
		}
	}
	return out + "; filename*=UTF-8''" + value.String()
}

// clientGone makes an error of the connection one of the client's going away.
func clientGone(req *http.Request, err error) error {
	if req.Context().Err() != nil {
		return context.Canceled
	}
	return err
}

var oneRange = regexp.MustCompile(`^bytes=\d+-(\d+)$`)

// lastByte returns the last byte a request's single closed range asks for, so
// that the store need not be asked for what follows it.
func lastByte(req *http.Request, size int64) int64 {
	if m := oneRange.FindStringSubmatch(req.Header.Get("Range")); m != nil && req.Header.Get("If-Range") == "" {
		if n, err := strconv.ParseInt(m[1], 10, 64); err == nil && n < size {
			return n
		}
	}
	return size - 1
}

// objectReader reads an object from wherever it was sought to. It opens the
// object with the first byte that is wanted.
type objectReader struct {
	ctx     context.Context
	objects app.Objects
	key     string
	size    int64
	last    int64 // nothing behind this byte is wanted, unless it is sought
	offset  int64
	open    io.ReadCloser
	err     error // of the store
}

func (o *objectReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.offset
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	if offset != o.offset {
		o.Close()
		o.offset = offset
	}
	return offset, nil
}

func (o *objectReader) Read(p []byte) (int, error) {
	if o.offset >= o.size {
		return 0, io.EOF
	}
	if o.open == nil {
		last := o.last
		if last < o.offset {
			last = o.size - 1
		}
		rng := ""
		if o.offset > 0 || last < o.size-1 {
			rng = fmt.Sprintf("bytes=%d-%d", o.offset, last)
		}
		got, err := o.objects.Get(o.ctx, o.key, rng)
		if app.CodeOf(err) == app.CodeNotFound || app.CodeOf(err) == app.CodeRange {
			// The row says it is there: it is being deleted, or it was lost.
			err = &app.Error{Code: app.CodeNotFound, Message: "the content does not exist", Err: err}
		}
		if err != nil {
			o.err = err
			return 0, err
		}
		o.open = got.ReadCloser
	}
	n, err := o.open.Read(p)
	o.offset += int64(n)
	if errors.Is(err, io.EOF) && o.offset <= o.last {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		o.err = fmt.Errorf("read %s at byte %d: %w", o.key, o.offset, err)
	}
	return n, err
}

func (o *objectReader) Close() {
	if o.open != nil {
		_ = o.open.Close()
		o.open = nil
	}
}

// deferredWriter sends the header with the first byte of the body, so that a
// store that does not answer can still become a problem. Each write has the
// stall timeout: a client that takes less than copyBuffer in it is cut off.
type deferredWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration // default stallTimeout
	buffers *sync.Pool    // of *[copyBuffer]byte; nil to allocate
	status  int
	sent    bool
	err     error // of the connection
}

func (d *deferredWriter) WriteHeader(status int) { d.status = status }

func (d *deferredWriter) Write(p []byte) (int, error) {
	if d.status >= http.StatusBadRequest {
		return len(p), nil // the text of net/http; a problem replaces it
	}
	d.commit()
	_ = d.control.SetWriteDeadline(time.Now().Add(cmp.Or(d.stall, stallTimeout)))
	n, err := d.ResponseWriter.Write(p)
	if err != nil {
		d.err = err
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom, which io.Copy looks for, with a buffer
// that is used again by the next download.
func (d *deferredWriter) ReadFrom(r io.Reader) (int64, error) {
	var buffer *[copyBuffer]byte
	if d.buffers != nil {
		buffer, _ = d.buffers.Get().(*[copyBuffer]byte)
	}
	if buffer == nil {
		buffer = new([copyBuffer]byte)
	}
	if d.buffers != nil {
		defer d.buffers.Put(buffer)
	}
	return io.CopyBuffer(struct{ io.Writer }{d}, r, buffer[:])
}

func (d *deferredWriter) commit() {
	if !d.sent {
		d.sent = true
		if d.status == 0 {
			d.status = http.StatusOK
		}
		d.ResponseWriter.WriteHeader(d.status)
	}
}
