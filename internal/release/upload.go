package release

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/loadbearing/loadbearing/internal/contract"
)

// Objects is where artifacts are kept.
type Objects interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// Upload brings a program, or an archive of migrations, into the bucket of a
// fleet's releases, unless the same bytes are there already: its key is made of
// their SHA-256. name is the last part of the key.
func Upload(ctx context.Context, objects Objects, bucket, name string, content io.ReadSeeker) (contract.Artifact, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return contract.Artifact{}, fmt.Errorf("hash %s: %w", name, err)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return contract.Artifact{}, fmt.Errorf("hash %s: %w", name, err)
	}
	sum := hash.Sum(nil)
	a := contract.Artifact{Bucket: bucket, SHA256: hex.EncodeToString(sum)}
	a.Key = contract.ReleaseArtifactPrefix + a.SHA256 + "/" + name
	_, err := objects.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &a.Key})
	if err == nil {
		return a, nil
	}
	if _, missing := errors.AsType[*s3types.NotFound](err); !missing {
		return a, fmt.Errorf("look for s3://%s/%s: %w", bucket, a.Key, err)
	}
	if _, err := objects.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &a.Key, Body: content,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum)),
	}); err != nil {
		return a, fmt.Errorf("upload s3://%s/%s: %w", bucket, a.Key, err)
	}
	return a, nil
}
