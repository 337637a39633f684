package imaging

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/loadbearing/loadbearing/app"
)

// Options configure a Resizer.
type Options struct {
	Jobs    app.Jobs
	Objects app.Objects
	Limits  Limits        // of one picture
	Memory  int64         // estimated bytes of all pictures resized at a time; default Limits.Memory
	Timeout time.Duration // of one picture, from its first pixel to its last rendition; default 60 s
}

// Resizer does image jobs. It is safe for concurrent use; jobs wait for each
// other when together they would need more than the memory allowed.
type Resizer struct {
	jobs    app.Jobs
	objects app.Objects
	limits  Limits
	timeout time.Duration
	total   int64
	memory  *semaphore.Weighted
}

// errTimeout is the cause of a picture's context that took too long.
var errTimeout = errors.New("the picture takes too long to resize")

// NewResizer returns a Resizer.
func NewResizer(o Options) *Resizer {
	limits := o.Limits.withDefaults()
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	// One picture at its limit must always fit.
	total := max(o.Memory, limits.Memory)
	return &Resizer{
		jobs: o.Jobs, objects: o.Objects, limits: limits, timeout: o.Timeout,
		total: total, memory: semaphore.NewWeighted(total),
	}
}

// Resize does one job: it reads the original, stores every rendition under a
// key derived from its bytes and marks the job done. A picture that cannot be
// resized marks the job failed with the reason and is no error. Doing a job
// again, also at the same time, changes nothing, except for a job that was given
// up: that one is tried anew.
//
// An error means that the work may succeed later: the message is to be
// received again. A job that does not exist is app.CodeNotFound.
func (r *Resizer) Resize(ctx context.Context, message app.ImageJob) error {
	job, err := r.jobs.Start(ctx, message.TenantID, message.JobID)
	if err != nil {
		return fmt.Errorf("start image job %s: %w", message.JobID, err)
	}
	if job.Status == app.JobDone || job.Status == app.JobFailed {
		return nil
	}
	renditions, err := r.resize(ctx, job)
	switch {
	case err == nil:
		if err := r.jobs.Finish(ctx, job.TenantID, job.ID, renditions); err != nil {
			return fmt.Errorf("finish image job %s: %w", job.ID, err)
		}
		return nil
	case app.CodeOf(err) == app.CodeInvalid:
		refused, _ := errors.AsType[*app.Error](err)
		if err := r.jobs.Fail(ctx, job.TenantID, job.ID, refused.Message); err != nil {
			return fmt.Errorf("mark image job %s failed: %w", job.ID, err)
		}
		return nil
	}
	return fmt.Errorf("image job %s: %w", job.ID, err)
}

func (r *Resizer) resize(ctx context.Context, job app.Job) ([]app.Rendition, error) {
	data, err := r.original(ctx, job)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(data, job.Widths, r.limits)
	if err != nil {
		return nil, err
	}
	if f := p.header.format; f.media != job.ContentType {
		return nil, invalid("the picture was uploaded as %s and is a %s file", job.ContentType, f.name)
	}
	made, err := r.run(ctx, p)
	if err != nil {
		return nil, err
	}
	stored := make([]app.Rendition, 0, len(made))
	for _, m := range made {
		sum := sha256.Sum256(m.Data)
		key := app.RenditionKey(job.TenantID, job.ImageID, hex.EncodeToString(sum[:]), m.Extension)
		n, err := r.objects.Put(ctx, key, m.ContentType, bytes.NewReader(m.Data))
		if err != nil {
			return nil, err
		}
		stored = append(stored, app.Rendition{Width: m.Width, Height: m.Height, Bytes: n, ContentType: m.ContentType, Key: key})
	}
	return stored, nil
}

// run resizes within the memory and the time allowed.
func (r *Resizer) run(ctx context.Context, p *plan) ([]Rendition, error) {
	weight := min(p.memory, r.total)
	if err := r.memory.Acquire(ctx, weight); err != nil {
		return nil, fmt.Errorf("wait for %d MiB of memory: %w", weight>>20, err)
	}
	defer r.memory.Release(weight)
	timed, cancel := context.WithTimeoutCause(ctx, r.timeout, errTimeout)
	defer cancel()
	made, err := p.run(timed)
	if errors.Is(err, errTimeout) {
		return nil, invalid("resizing the picture took longer than %v", r.timeout)
	}
	return made, err
}

// original reads the uploaded file, at most one byte more than is accepted.
func (r *Resizer) original(ctx context.Context, job app.Job) ([]byte, error) {
	object, err := r.objects.Get(ctx, job.SourceKey, "")
	if app.CodeOf(err) == app.CodeNotFound {
		return nil, &app.Error{Code: app.CodeInvalid, Message: "the uploaded picture is no longer stored", Err: err}
	}
	if err != nil {
		return nil, err
	}
	defer object.Close()
	if object.Bytes > r.limits.Bytes {
		return nil, tooManyBytes(r.limits)
	}
	data := make([]byte, object.Bytes)
	if _, err := io.ReadFull(object, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", job.SourceKey, err)
	}
	return data, nil
}
