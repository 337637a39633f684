package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/app"
)

const (
	// stallTimeout is how long a read waits for a byte of S3 before its
	// connection counts as broken.
	stallTimeout = 20 * time.Second
	// maxResumes is how often a body is resumed before it counts as lost;
	// resumedBytes that come without a break start the count again.
	maxResumes   = 4
	resumedBytes = 1 << 20
	resumeDelay  = 100 * time.Millisecond // doubled each time
)

// Get opens an object. rng is an HTTP Range header's value, such as
// bytes=0-1023, or empty for all of it. An unknown key is app.CodeNotFound, a
// range that starts behind the end app.CodeRange. S3 serves the first range
// only when there are several, and ignores one it cannot parse: ContentRange
// tells what the body holds.
//
// A body whose connection breaks or stalls goes on with the byte that is
// missing, over another connection. When the object was replaced meanwhile,
// the read fails with app.CodeConflict.
func (s *Store) Get(ctx context.Context, key, rng string) (app.Object, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	if rng != "" {
		in.Range = &rng
	}
	r := &reader{ctx: ctx, store: s, key: key}
	out, err := r.open(in)
	if err != nil {
		return app.Object{}, err
	}
	bytes := aws.ToInt64(out.ContentLength)
	if out.ContentRange != nil {
		if _, err := fmt.Sscanf(*out.ContentRange, "bytes %d-", &r.next); err != nil {
			r.release()
			return app.Object{}, fmt.Errorf("open %s: S3 answered with the range %q: %w", key, *out.ContentRange, err)
		}
	}
	r.end, r.etag = r.next+bytes, aws.ToString(out.ETag)
	return app.Object{
		ReadCloser:    r,
		Bytes:         bytes,
		ContentType:   aws.ToString(out.ContentType),
		ETag:          r.etag,
		ContentRange:  aws.ToString(out.ContentRange),
		LastModified:  aws.ToTime(out.LastModified),
		AcceptsRanges: aws.ToString(out.AcceptRanges) == "bytes",
	}, nil
}

// reader reads an object over as many connections as it takes.
type reader struct {
	ctx       context.Context
	store     *Store
	key, etag string
	next, end int64 // of the object: the next byte, and the one behind the last

	body     io.ReadCloser // nil between two connections
	cancel   context.CancelFunc
	watchdog *time.Timer // ends the connection
	resumes  int
	since    int64 // bytes read since the last break
	closed   bool
}

// errClosed is the error of a read after Close.
var errClosed = errors.New("the object is closed")

// open makes a request whose connection ends with the watchdog.
func (r *reader) open(in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	ctx, cancel := context.WithCancel(r.ctx)
	r.watchdog = time.AfterFunc(r.store.stall, cancel)
	out, err := r.store.client.GetObject(ctx, in)
	if stalled := !r.watchdog.Stop(); stalled && err == nil {
		_ = out.Body.Close()
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, r.store.failed(r.ctx, "open", r.key, err)
	}
	r.body, r.cancel = out.Body, cancel
	return out, nil
}

func (r *reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fmt.Errorf("read %s: %w", r.key, errClosed)
	}
	for {
		if r.body == nil {
			if err := r.resume(); err != nil {
				return 0, err
			}
		}
		r.watchdog.Reset(r.store.stall)
		n, err := r.body.Read(p)
		r.watchdog.Stop()
		r.next += int64(n)
		r.since += int64(n)
		switch {
		case err == nil:
			return n, nil
		case r.next >= r.end: // the end, or a checksum that does not match
			if !errors.Is(err, io.EOF) {
				err = fmt.Errorf("read %s: %w", r.key, err)
			}
			return n, err
		case r.ctx.Err() != nil:
			return n, fmt.Errorf("read %s at byte %d: %w", r.key, r.next, context.Cause(r.ctx))
		}
		r.release()
		if r.since >= resumedBytes {
			r.resumes = 0
		}
		r.since = 0
		if r.resumes++; r.resumes > maxResumes {
			return n, &app.Error{
				Code: app.CodeUnavailable, Message: "the object store does not answer",
				Err: fmt.Errorf("read %s at byte %d of %d, resumed %d times: %w", r.key, r.next, r.end, maxResumes, err),
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// resume opens what is missing of the object.
func (r *reader) resume() error {
	delay := time.NewTimer(resumeDelay << (r.resumes - 1))
	defer delay.Stop()
	select {
	case <-r.ctx.Done():
		return fmt.Errorf("read %s at byte %d: %w", r.key, r.next, context.Cause(r.ctx))
	case <-delay.C:
	}
	_, err := r.open(&s3.GetObjectInput{
		Bucket: &r.store.bucket, Key: &r.key, IfMatch: &r.etag, Range: new(fmt.Sprintf("bytes=%d-%d", r.next, r.end-1)),
	})
	return err
}

// release gives the connection back, or ends it when its body was not read to
// the end.
func (r *reader) release() {
	if r.body != nil {
		r.watchdog.Stop()
		r.cancel()
		_ = r.body.Close()
		r.body = nil
	}
}

// Close implements io.Closer. It does not wait for bytes that were not read.
func (r *reader) Close() error {
	r.closed = true
	r.release()
	return nil
}
