package backpressure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/test/drill"
)

// What an instance's memory may grow by for one object, however large it is.
const (
	downloadGrowth = 32 * mib
	uploadGrowth   = 64 * mib
)

func size(r *drill.Run) int64 { return drill.Sized[int64](r, 256*mib, 5*gib) }

// download: a client that reads as fast as it can gets the object, and it is
// the one that was stored.
func download(ctx context.Context, r *drill.Run) error {
	b, done, err := set(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	size := size(r)
	r.Say("store an object of %d MiB", size/mib)
	id, sum, err := b.upload(ctx, size)
	if err != nil {
		return err
	}
	if err := b.fresh(ctx); err != nil {
		return err
	}
	before, err := b.idle(ctx)
	if err != nil {
		return err
	}
	got := sha256.New()
	var n int64
	most, err := b.peak(ctx, func() (err error) {
		n, err = b.get(ctx, id, "", got)
		return err
	})
	if err != nil {
		return err
	}
	r.Figure("download_mib", n/mib)
	r.Figure("download_idle_mib", inMiB(before))
	r.Figure("download_growth_mib", inMiB(most-before))
	r.Check(n == size, "%d bytes came, want %d", n, size)
	r.Check(hex.EncodeToString(got.Sum(nil)) == sum, "what came is not what was stored")
	r.Check(most-before <= downloadGrowth, "memory grew by %.1f MiB, want %d at most", inMiB(most-before), downloadGrowth/mib)

	// The middle of it, which S3 is asked for alone.
	first := size/2 - 12345
	rng := fmt.Sprintf("bytes=%d-%d", first, first+64*mib-1)
	want, err := b.stored(ctx, rng)
	if err != nil {
		return err
	}
	got.Reset()
	most, err = b.peak(ctx, func() (err error) {
		n, err = b.get(ctx, id, rng, got)
		return err
	})
	if err != nil {
		return err
	}
	r.Figure("download_range_growth_mib", inMiB(most-before))
	r.Check(n == 64*mib && hex.EncodeToString(got.Sum(nil)) == want, "%s came as %d other bytes", rng, n)
	r.Check(most-before <= downloadGrowth, "memory grew by %.1f MiB for a range, want %d at most", inMiB(most-before), downloadGrowth/mib)
	return nil
}

// upload: a client that sends as fast as it may has its object stored, which is
// the one it sent, and which is gone once the video is deleted.
func upload(ctx context.Context, r *drill.Run) error {
	b, done, err := set(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	if err := b.fresh(ctx); err != nil {
		return err
	}
	before, err := b.idle(ctx)
	if err != nil {
		return err
	}
	size := size(r)
	var id, sum string
	most, err := b.peak(ctx, func() (err error) {
		id, sum, err = b.upload(ctx, size)
		return err
	})
	if err != nil {
		return err
	}
	r.Figure("upload_mib", size/mib)
	r.Figure("upload_idle_mib", inMiB(before))
	r.Figure("upload_growth_mib", inMiB(most-before))
	r.Check(most-before <= uploadGrowth, "memory grew by %.1f MiB, want %d at most", inMiB(most-before), uploadGrowth/mib)

	stored, err := b.stored(ctx, "")
	if err != nil {
		return err
	}
	r.Check(stored == sum, "what is stored is not what was sent")
	if err := b.delete(ctx, id); err != nil {
		return err
	}
	return drill.Await(ctx, "nothing is stored any more", func(ctx context.Context) (bool, error) {
		keys, err := b.store.Keys(ctx)
		if err != nil {
			return false, err
		}
		unfinished, err := b.store.Unfinished(ctx)
		return len(keys) == 0 && unfinished == 0, err
	})
}

// stored returns the SHA-256 of the only object, as the object store has it.
func (b *bench) stored(ctx context.Context, rng string) (string, error) {
	keys, err := b.store.Keys(ctx)
	if err != nil {
		return "", err
	}
	if len(keys) != 1 {
		return "", fmt.Errorf("the object store has %d objects, want one: %s", len(keys), strings.Join(keys, " "))
	}
	in := &s3.GetObjectInput{Bucket: &b.store.Bucket, Key: &keys[0]}
	if rng != "" {
		in.Range = &rng
	}
	out, err := b.store.Client.GetObject(ctx, in)
	if err != nil {
		return "", fmt.Errorf("read what is stored: %w", err)
	}
	defer out.Body.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, out.Body)
	if err == nil && n != aws.ToInt64(out.ContentLength) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("read what is stored: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
