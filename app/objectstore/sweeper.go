package objectstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/loadbearing/loadbearing/app"
)

const (
	// sweepBatch is what one DeleteObjects takes.
	sweepBatch = 1000
	// sweepLease is for how long removals are one sweeper's: when it dies,
	// another one repeats them then, which does no harm.
	sweepLease = 5 * time.Minute
)

// Sweeper removes the objects that no row names any more. Several may run at
// once: each claims its own.
type Sweeper struct {
	Store    *Store
	Removals app.Removals
	Log      *slog.Logger
	Every    time.Duration    // between two sweeps; default 15 s
	Now      func() time.Time // time.Now outside of tests
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	every := s.Every
	if every == 0 {
		every = 15 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		removed, err := s.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.Log.WarnContext(ctx, "sweep failed", "removed", removed, "error", err)
		case removed > 0:
			s.Log.InfoContext(ctx, "objects removed", "removed", removed)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Sweep ends what has expired, removes every object that is due, and returns
// how many there were. What could not be removed is due again later.
func (s *Sweeper) Sweep(ctx context.Context) (int, error) {
	if err := s.Removals.Expire(ctx, s.Now()); err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	for total := 0; ; {
		claimed, err := s.Removals.Claim(ctx, sweepBatch, sweepLease)
		if err != nil || len(claimed) == 0 {
			return total, err
		}
		keys, removeErr := s.Store.remove(ctx, claimed)
		if len(keys) > 0 {
			err = s.Removals.Removed(ctx, keys)
		}
		total += len(keys)
		if err := errors.Join(removeErr, err); err != nil {
			return total, fmt.Errorf("sweep: %w", err)
		}
	}
}

// remove aborts uploads and deletes objects and returns the keys of those that
// are gone.
func (s *Store) remove(ctx context.Context, all []app.Removal) ([]string, error) {
	var errs []error
	var objects []types.ObjectIdentifier
	for _, r := range all {
		if r.Multipart != "" {
			if err := s.Abort(ctx, r.Key, r.Multipart); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		objects = append(objects, types.ObjectIdentifier{Key: &r.Key}) // an upload may have been completed
	}
	if len(objects) == 0 {
		return nil, errors.Join(errs...)
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &s.bucket, Delete: &types.Delete{Objects: objects}})
	if err != nil {
		return nil, errors.Join(append(errs, s.failed(ctx, "delete objects from", aws.ToString(objects[0].Key), err))...)
	}
	keys := make([]string, 0, len(out.Deleted))
	for _, d := range out.Deleted {
		keys = append(keys, aws.ToString(d.Key))
	}
	for _, e := range out.Errors {
		errs = append(errs, fmt.Errorf("delete %s from bucket %s: %s: %s", aws.ToString(e.Key), s.bucket, aws.ToString(e.Code), aws.ToString(e.Message)))
	}
	return keys, errors.Join(errs...)
}
