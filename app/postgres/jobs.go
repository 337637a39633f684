package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Jobs implements app.Jobs.
type Jobs struct{ db *DB }

var _ app.Jobs = Jobs{}

// Jobs returns the store of image jobs.
func (db *DB) Jobs() Jobs { return Jobs{db} }

const jobColumns = `id, tenant_id, project_id, image_id, status, reason, source_key, content_type, widths, renditions,
	coalesce(created_by, ` + unknown + `), created_at, updated_at`

func scanJob(row pgx.Row, j *app.Job, more ...any) error {
	return row.Scan(append([]any{
		&j.ID, &j.TenantID, &j.ProjectID, &j.ImageID, &j.Status, &j.Reason, &j.SourceKey,
		&j.ContentType, &j.Widths, &j.Renditions, &j.CreatedBy, &j.CreatedAt, &j.UpdatedAt,
	}, more...)...)
}

// Create implements app.Jobs.
func (s Jobs) Create(ctx context.Context, j app.Job) error {
	body, err := json.Marshal(app.ImageJob{JobID: j.ID, TenantID: j.TenantID})
	if err != nil {
		return fmt.Errorf("create a job: %w", err)
	}
	return s.db.batch(ctx, "create a job", j.TenantID, func(b *pgx.Batch) {
		b.Queue(`insert into jobs (id, tenant_id, project_id, image_id, status, source_key, content_type, widths, created_by, created_at, updated_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			j.ID, j.TenantID, j.ProjectID, j.ImageID, app.JobQueued, j.SourceKey, j.ContentType, j.Widths, known(j.CreatedBy), j.CreatedAt, j.UpdatedAt)
		queueMessage(ctx, b, app.Message{
			ID: j.ID, TenantID: j.TenantID, Destination: app.DestinationJobs, Aggregate: j.ID, Body: body,
		})
	})
}

// Get implements app.Jobs.
func (s Jobs) Get(ctx context.Context, tenant, id uuid.UUID) (app.Job, error) {
	return s.one(ctx, "read a job", tenant, "select "+jobColumns+" from jobs where tenant_id = $1 and id = $2", tenant, id)
}

// ByImage implements app.Jobs.
func (s Jobs) ByImage(ctx context.Context, tenant, image uuid.UUID) (app.Job, error) {
	return s.one(ctx, "read an image", tenant, "select "+jobColumns+" from jobs where tenant_id = $1 and image_id = $2", tenant, image)
}

// jobFinal is true of a job that nothing changes any more: one that was given
// up is not.
const jobFinal = "(status = 'done' or status = 'failed' and not given_up)"

// Start implements app.Jobs.
func (s Jobs) Start(ctx context.Context, tenant, id uuid.UUID) (app.Job, error) {
	return s.one(ctx, "start a job", tenant, `update jobs set
			status     = case when `+jobFinal+` then status else 'running' end,
			reason     = case when `+jobFinal+` then reason else '' end,
			updated_at = case when `+jobFinal+` then updated_at else now() end,
			given_up   = false
		where tenant_id = $1 and id = $2 returning `+jobColumns, tenant, id)
}

func (s Jobs) one(ctx context.Context, what string, tenant uuid.UUID, sql string, args ...any) (app.Job, error) {
	var j app.Job
	err := s.db.batch(ctx, what, tenant, func(b *pgx.Batch) {
		b.Queue(sql, args...).QueryRow(func(row pgx.Row) error { return scanJob(row, &j) })
	})
	return j, err
}

// Finish implements app.Jobs.
func (s Jobs) Finish(ctx context.Context, tenant, id uuid.UUID, renditions []app.Rendition) error {
	if renditions == nil {
		renditions = []app.Rendition{}
	}
	return s.settle(ctx, "finish a job", tenant, id, "not "+jobFinal, app.JobDone, "", false, renditions)
}

// Fail implements app.Jobs.
func (s Jobs) Fail(ctx context.Context, tenant, id uuid.UUID, reason string) error {
	return s.settle(ctx, "fail a job", tenant, id, "not "+jobFinal, app.JobFailed, reason, false, []app.Rendition{})
}

// GiveUp implements app.Jobs.
func (s Jobs) GiveUp(ctx context.Context, tenant, id uuid.UUID, reason string) error {
	return s.settle(ctx, "give up a job", tenant, id, "status not in ('done', 'failed')", app.JobFailed, reason, true, []app.Rendition{})
}

// settle brings a job that meets the condition to an end and tells of it; one
// that does not stays as it is.
func (s Jobs) settle(ctx context.Context, what string, tenant, id uuid.UUID, condition string, status app.JobStatus, reason string, givenUp bool, renditions []app.Rendition) error {
	return s.db.tx(ctx, what, tenant, func(tx pgx.Tx) error {
		var j app.Job
		var sequence app.Sequence
		err := scanJob(tx.QueryRow(ctx, `update jobs set status = $3, reason = $4, given_up = $5, renditions = $6, updated_at = now(), events = events + 1
			where tenant_id = $1 and id = $2 and `+condition+`
			returning `+jobColumns+`, events`, tenant, id, status, reason, givenUp, renditions), &j, &sequence)
		if errors.Is(err, pgx.ErrNoRows) {
			var found uuid.UUID
			return tx.QueryRow(ctx, "select id from jobs where tenant_id = $1 and id = $2", tenant, id).Scan(&found)
		}
		if err != nil {
			return err
		}
		m, err := settled(j, sequence)
		if err != nil {
			return err
		}
		var b pgx.Batch
		queueMessage(ctx, &b, m)
		return tx.SendBatch(ctx, &b).Close()
	})
}

// settled returns the message of the event that tells how a job ended.
func settled(j app.Job, sequence app.Sequence) (app.Message, error) {
	if j.Status == app.JobFailed {
		e, err := app.NewEvent(EventSource, app.EventImageFailed, j.ID, sequence, j.UpdatedAt, app.ImageFailed{
			TenantID: j.TenantID, ProjectID: j.ProjectID, ImageID: j.ImageID, JobID: j.ID, CreatedBy: j.CreatedBy, Reason: j.Reason,
		})
		if err != nil {
			return app.Message{}, err
		}
		return eventMessage(j.TenantID, j.ID, e)
	}
	renditions := make([]app.ImageRendition, len(j.Renditions))
	for i, r := range j.Renditions {
		renditions[i] = app.ImageRendition{Width: r.Width, Height: r.Height, Bytes: r.Bytes, ContentType: r.ContentType}
	}
	e, err := app.NewEvent(EventSource, app.EventImageDone, j.ID, sequence, j.UpdatedAt, app.ImageDone{
		TenantID: j.TenantID, ProjectID: j.ProjectID, ImageID: j.ImageID, JobID: j.ID, CreatedBy: j.CreatedBy, Renditions: renditions,
	})
	if err != nil {
		return app.Message{}, err
	}
	return eventMessage(j.TenantID, j.ID, e)
}
