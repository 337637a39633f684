package objectstore

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/loadbearing/loadbearing/app"
)

var _ app.Multipart = (*Store)(nil)

// presigner returns a client that signs requests whose bodies others send.
func presigner(client *s3.Client) *s3.PresignClient {
	return s3.NewPresignClient(client, s3.WithPresignClientFromClientOptions(func(o *s3.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired // there is no body to compute one of
	}))
}

// Begin implements app.Multipart. S3 refuses parts that come without their
// SHA-256.
func (s *Store) Begin(ctx context.Context, key, contentType string) (string, error) {
	out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, ContentType: &contentType,
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumType: types.ChecksumTypeComposite,
	})
	if err != nil {
		return "", s.failed(ctx, "begin an upload of", key, err)
	}
	return aws.ToString(out.UploadId), nil
}

// Presign implements app.Multipart. The signature covers the length and the
// SHA-256, so the request stores these bytes and no others: S3 takes no x-amz-*
// header that is not signed, and a checksum from nowhere else. It ends before ttl
// when the credentials it was signed with end.
func (s *Store) Presign(ctx context.Context, key, id string, part app.Part, ttl time.Duration) (app.PartRequest, error) {
	out, err := s.presign.PresignUploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.bucket, Key: &key, UploadId: &id, PartNumber: new(int32(part.Number)),
		ContentLength: &part.Bytes, ChecksumSHA256: &part.SHA256,
	}, s3.WithPresignExpires(ttl))
	if err != nil {
		return app.PartRequest{}, s.failed(ctx, "presign part "+strconv.Itoa(part.Number)+" of", key, err)
	}
	request := app.PartRequest{Method: out.Method, URL: out.URL, Header: map[string]string{}}
	for name := range out.SignedHeader {
		// Every HTTP client sets these two itself, and browsers let nobody else.
		if name := http.CanonicalHeaderKey(name); name != "Host" && name != "Content-Length" {
			request.Header[name] = out.SignedHeader.Get(name)
		}
	}
	return request, nil
}

// Parts implements app.Multipart.
func (s *Store) Parts(ctx context.Context, key, id string, after, limit int) ([]app.Part, error) {
	var all []app.Part
	for len(all) < limit {
		out, err := s.client.ListParts(ctx, &s3.ListPartsInput{
			Bucket: &s.bucket, Key: &key, UploadId: &id,
			PartNumberMarker: new(strconv.Itoa(after)), MaxParts: new(int32(min(limit-len(all), 1000))),
		})
		if err != nil {
			return nil, s.failed(ctx, "list the parts of", key, err)
		}
		for _, p := range out.Parts {
			after = int(aws.ToInt32(p.PartNumber))
			all = append(all, app.Part{Number: after, Bytes: aws.ToInt64(p.Size), ETag: aws.ToString(p.ETag), SHA256: aws.ToString(p.ChecksumSHA256)})
		}
		if !aws.ToBool(out.IsTruncated) || len(out.Parts) == 0 {
			break
		}
	}
	return all, nil
}

// Complete implements app.Multipart. Parts that S3 does not have as they are
// named here are app.CodeConflict.
func (s *Store) Complete(ctx context.Context, key, id string, parts []app.Part) error {
	var bytes int64
	completed := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		bytes += p.Bytes
		completed[i] = types.CompletedPart{PartNumber: new(int32(p.Number)), ETag: &p.ETag, ChecksumSHA256: &p.SHA256}
	}
	_, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, UploadId: &id, MpuObjectSize: &bytes, ChecksumType: types.ChecksumTypeComposite,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: completed},
	})
	if err != nil {
		return s.failed(ctx, "complete the upload of", key, err)
	}
	return nil
}

// Abort implements app.Multipart.
func (s *Store) Abort(ctx context.Context, key, id string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: &id})
	if err != nil {
		if err = s.failed(ctx, "abort the upload of", key, err); app.CodeOf(err) != app.CodeNotFound {
			return err
		}
	}
	return nil
}
