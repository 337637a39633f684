package backpressure

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/test/drill"
)

// leastThroughput of an instance, as a share of what a server has that does
// nothing but copy.
const leastThroughput = 0.7

// throughput: everything that an instance does to a stream (who may have it,
// deadlines, quota, digests, parts that are sent again) costs little of its
// speed. Both servers are processes of their own, read from and write to the
// same object store, have the same client, and take turns.
func throughput(ctx context.Context, r *drill.Run) error {
	b, done, err := set(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	size := drill.Sized[int64](r, 256*mib, gib)
	id, _, err := b.upload(ctx, size)
	if err != nil {
		return err
	}
	keys, err := b.store.Keys(ctx)
	if err != nil {
		return err
	}
	bare, stop, err := b.bare(ctx, keys[0])
	if err != nil {
		return err
	}
	defer stop()

	down, err := b.race(size,
		func() (int64, error) { return b.get(ctx, id, "", io.Discard) },
		func() (int64, error) { return b.bareDownload(ctx, bare) })
	if err != nil {
		return err
	}
	r.Figure("throughput_download_ratio", down)
	r.Check(down >= leastThroughput, "downloads have %.2f of a bare server's throughput, want %.2f", down, leastThroughput)

	up, err := b.race(size,
		func() (int64, error) {
			id, err := b.send(ctx, noise(size), size)
			if err != nil {
				return 0, err
			}
			return size, b.delete(ctx, id)
		},
		func() (int64, error) { return size, b.bareUpload(ctx, bare, size) })
	if err != nil {
		return err
	}
	r.Figure("throughput_upload_ratio", up)
	r.Check(up >= leastThroughput, "uploads have %.2f of a bare server's throughput, want %.2f", up, leastThroughput)
	return nil
}

// race lets the two take turns and returns the median of how much faster the
// first is than the second in its turn. Neighbours are compared: what else the
// machine does then is the same for both.
func (b *bench) race(size int64, instance, bare func() (int64, error)) (float64, error) {
	const rounds = 7
	var ratios []float64
	for round := range rounds + 1 {
		var took [2]time.Duration
		for i, do := range []func() (int64, error){instance, bare} {
			began := time.Now()
			n, err := do()
			if err != nil {
				return 0, err
			}
			if n != size {
				return 0, fmt.Errorf("%d bytes passed, want %d", n, size)
			}
			took[i] = time.Since(began)
		}
		if round == 0 {
			continue // connections are made and pages read
		}
		ratios = append(ratios, took[1].Seconds()/took[0].Seconds())
		b.Say("  %.0f MiB/s, bare %.0f MiB/s", inMiB(size)/took[0].Seconds(), inMiB(size)/took[1].Seconds())
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2], nil
}

// bare starts the server that does nothing but pass bodies on, from the object
// under key and to another.
func (b *bench) bare(ctx context.Context, key string) (url string, stop func(), err error) {
	program, err := b.Build(ctx, ".", "./test/drills/backpressure/bare")
	if err != nil {
		return "", nil, err
	}
	keys, err := b.AWS.Credentials.Retrieve(ctx)
	if err != nil {
		return "", nil, err
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return "", nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	p, err := b.Runner.Start(process.Spec{
		Name: "drill-bare", Path: program, Args: []string{addr, b.store.Bucket, key}, Dir: os.TempDir(),
		Env: []string{
			"AWS_ENDPOINT_URL_S3=" + b.store.URL, "AWS_REGION=" + b.AWS.Region,
			"AWS_ACCESS_KEY_ID=" + keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + keys.SecretAccessKey,
		},
	})
	if err != nil {
		return "", nil, err
	}
	stop = func() { p.Stop(context.Background()) }
	if err := drill.Await(ctx, "the bare server listens", func(ctx context.Context) (bool, error) {
		return process.Listening(ctx, addr), p.Err()
	}); err != nil {
		stop()
		return "", nil, err
	}
	return "http://" + addr, stop, nil
}

func (b *bench) bareDownload(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := b.do(req, http.StatusOK)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, res.Body, make([]byte, 256<<10))
}

func (b *bench) bareUpload(ctx context.Context, url string, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, noise(size))
	if err != nil {
		return err
	}
	req.ContentLength = size
	res, err := b.do(req, http.StatusOK)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
