package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/local/process"
)

// ObjectStore is an S3 of one drill's own whose objects are files: versitygw,
// pinned in tools/objectstore. The emulator keeps objects in memory, several
// times over while they come and go.
type ObjectStore struct {
	URL    string
	Bucket string // the only one
	Client *s3.Client

	dir     string
	process *process.Process
}

// StandObjectStore starts an object store with an empty bucket and waits until
// it answers. It runs until Close.
func (e *Environment) StandObjectStore(ctx context.Context, bucket string) (*ObjectStore, error) {
	program, err := e.Build(ctx, filepath.Join("tools", "objectstore"), "github.com/versity/versitygw/cmd/versitygw")
	if err != nil {
		return nil, err
	}
	keys, err := e.AWS.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("start an object store: %w", err)
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return nil, err
	}
	// Beside what else the environment keeps: a temporary folder may be memory.
	// What is there was left behind by a drill that was killed.
	dir := filepath.Join(e.Runner.Dir, "drill-objects")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("start an object store: %w", err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	o := &ObjectStore{URL: "http://" + addr, Bucket: bucket, dir: dir}
	o.Client = s3.NewFromConfig(e.AWS, func(options *s3.Options) { options.BaseEndpoint, options.UsePathStyle = &o.URL, true })
	o.process, err = e.Runner.Start(process.Spec{
		Name: "drill-objectstore", Path: program, Dir: dir,
		Args: []string{"--port", addr, "--region", e.AWS.Region, "--keep-alive", "--quiet", "--health", "/health", "posix", dir},
		Env:  []string{"ROOT_ACCESS_KEY_ID=" + keys.AccessKeyID, "ROOT_SECRET_ACCESS_KEY=" + keys.SecretAccessKey, "TMPDIR=" + dir},
	})
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	if err := o.begin(ctx); err != nil {
		err = fmt.Errorf("start an object store: %w; it says: %s", err, o.process.Tail(5))
		o.Close()
		return nil, err
	}
	return o, nil
}

func (o *ObjectStore) begin(ctx context.Context) error {
	err := Await(ctx, "the object store answers", func(ctx context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL+"/health", nil)
		if err != nil {
			return false, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		return res.StatusCode == http.StatusOK, res.Body.Close()
	})
	if err != nil {
		return err
	}
	_, err = o.Client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &o.Bucket})
	return err
}

// Unfinished returns how many multipart uploads are neither completed nor
// aborted.
func (o *ObjectStore) Unfinished(ctx context.Context) (int, error) {
	out, err := o.Client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &o.Bucket})
	if err != nil {
		return 0, fmt.Errorf("list the multipart uploads: %w", err)
	}
	return len(out.Uploads), nil
}

// Keys returns the keys of the objects, of a thousand at most.
func (o *ObjectStore) Keys(ctx context.Context) ([]string, error) {
	out, err := o.Client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &o.Bucket})
	if err != nil {
		return nil, fmt.Errorf("list the objects: %w", err)
	}
	var keys []string
	for _, object := range out.Contents {
		keys = append(keys, aws.ToString(object.Key))
	}
	return keys, nil
}

// Close stops the object store and deletes its objects.
func (o *ObjectStore) Close() {
	o.process.Stop(context.Background())
	_ = os.RemoveAll(o.dir)
}
