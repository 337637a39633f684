// Package objectstore keeps the service's bytes in one S3 bucket.
package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/loadbearing/loadbearing/app"
)

const (
	// partSize bounds what one upload holds of its body, together with
	// concurrency: S3 takes parts of 5 MiB to 5 GiB, at most 10,000 of them,
	// so 8 MiB allow objects of 78 GiB. Smaller bodies are one PutObject.
	partSize = 8 << 20
	// concurrency is the number of parts being sent. The transfer manager
	// holds one more buffer than that, and the first part beside them: four.
	concurrency = 2
	// UploadMemory is what one Put holds of its body at most, in bytes.
	UploadMemory = 4 * partSize
	// abortTimeout limits the removal of the parts of an upload that failed,
	// which goes on when the upload's context is over.
	abortTimeout = 10 * time.Second
)

var _ app.Objects = (*Store)(nil)

// Store implements app.Objects and app.Multipart. It is safe for concurrent
// use.
type Store struct {
	bucket   string
	client   *s3.Client
	presign  *s3.PresignClient
	transfer *transfermanager.Client
	stall    time.Duration
}

// New returns a store on a bucket. Every body and every part is sent with its
// SHA-256, which S3 verifies and keeps; what S3 answers with a checksum of the
// whole body is verified too. The bucket is
// addressed by path when cfg names an endpoint of its own (AWS_ENDPOINT_URL),
// where a host name per bucket would not resolve. optFns are applied last.
func New(cfg aws.Config, bucket string, optFns ...func(*s3.Options)) *Store {
	options := []func(*s3.Options){func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
		// A range and an object of many parts have no checksum of the body read; that is no news.
		o.DisableLogOutputChecksumValidationSkipped = true
	}}
	client := s3.NewFromConfig(cfg, append(options, optFns...)...)
	return &Store{
		bucket:  bucket,
		client:  client,
		presign: presigner(client),
		stall:   stallTimeout,
		transfer: transfermanager.New(client, func(o *transfermanager.Options) {
			o.PartSizeBytes = partSize
			o.MultipartUploadThreshold = partSize
			o.Concurrency = concurrency
			o.FailTimeout = abortTimeout
		}),
	}
}

// Put stores what r yields until io.EOF and returns the number of bytes. It
// holds at most UploadMemory of them. When r fails, its error is in the chain of the
// one returned and nothing is stored: an object already under the key stays.
func (s *Store) Put(ctx context.Context, key, contentType string, r io.Reader) (int64, error) {
	// The transfer manager lets parts that are on their way arrive before it
	// removes them. Of a body that has failed, nobody wants them.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := &countingReader{r: r, failed: cancel}
	_, err := s.transfer.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: &s.bucket, Key: &key, ContentType: &contentType, Body: body, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	switch {
	case body.err != nil:
		return 0, fmt.Errorf("store %s: read its body after %d bytes: %w", key, body.n, body.err)
	case err != nil:
		return 0, s.failed(ctx, "store", key, err)
	}
	return body.n, nil
}

// Delete removes an object; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, key string) error {
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}); err != nil {
		return s.failed(ctx, "delete", key, err)
	}
	return nil
}

// failed turns an error of S3 into one of the domain: what the caller can act
// on gets a code, a refusal (such as AccessDenied) stays internal.
func (s *Store) failed(ctx context.Context, what, key string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s in bucket %s: %w", what, key, s.bucket, context.Cause(ctx))
	}
	cause := fmt.Errorf("%s %s in bucket %s: %w", what, key, s.bucket, err)
	api, refused := errors.AsType[smithy.APIError](err)
	if !refused {
		return &app.Error{Code: app.CodeUnavailable, Message: "the object store does not answer", Err: cause}
	}
	switch api.ErrorCode() {
	case "PreconditionFailed":
		return &app.Error{Code: app.CodeConflict, Message: "the object has been replaced", Err: cause}
	case "NoSuchUpload":
		return &app.Error{Code: app.CodeNotFound, Message: "there is no such upload", Err: cause}
	case "InvalidPart", "BadDigest":
		return &app.Error{Code: app.CodeConflict, Message: "the object store does not have these parts", Err: cause}
	case "NoSuchKey", "NotFound":
		return &app.Error{Code: app.CodeNotFound, Message: "there is no such object", Err: cause}
	case "InvalidRange":
		return &app.Error{Code: app.CodeRange, Message: "the range lies outside the object", Err: cause}
	}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		if code := response.HTTPStatusCode(); code >= http.StatusInternalServerError || code == http.StatusTooManyRequests {
			return &app.Error{Code: app.CodeUnavailable, Message: "the object store is not ready", Err: cause}
		}
	}
	return cause
}

// countingReader counts what was read and keeps the reader's own error, which
// tells a failed body from a failed store.
type countingReader struct {
	r      io.Reader
	n      int64
	err    error
	failed func(error)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
		c.failed(err)
	}
	return n, err
}
