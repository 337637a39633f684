package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Videos implements app.Videos.
type Videos struct{ db *DB }

var _ app.Videos = Videos{}

// Videos returns the store of videos.
func (db *DB) Videos() Videos { return Videos{db} }

// EventSource is the source of the events this service emits (CloudEvents 1.0).
const EventSource = "/loadbearing/app"

// unknown is the zero UUID: who created rows of before is not known.
const unknown = "'00000000-0000-0000-0000-000000000000'"

// The status is derived, so that no order of the services' reports can leave
// it wrong: failed with the probe's reason, ready when all have reported.
const videoColumns = `id, tenant_id, project_id, filename, content_type, bytes, key,
	case when reason <> '' then 'failed'
		when probed_at is not null and indexed_at is not null and metered_at is not null then 'ready'
		else 'processing' end,
	reason, probe, indexed_at is not null, metered_at is not null, coalesce(created_by, ` + unknown + `), created_at, updated_at`

func scanVideo(row pgx.Row, v *app.Video, more ...any) error {
	return row.Scan(append([]any{
		&v.ID, &v.TenantID, &v.ProjectID, &v.Filename, &v.ContentType, &v.Bytes, &v.Key,
		&v.Status, &v.Reason, &v.Probe, &v.Indexed, &v.Metered, &v.CreatedBy, &v.CreatedAt, &v.UpdatedAt,
	}, more...)...)
}

// Create implements app.Videos.
func (s Videos) Create(ctx context.Context, v app.Video) error {
	e, err := app.NewEvent(EventSource, app.EventVideoUploaded, v.ID, 1, v.CreatedAt, app.VideoUploaded{
		TenantID: v.TenantID, ProjectID: v.ProjectID, VideoID: v.ID, CreatedBy: v.CreatedBy, Key: v.Key,
		Bytes: v.Bytes, ContentType: v.ContentType, Filename: v.Filename,
	})
	if err != nil {
		return fmt.Errorf("create a video: %w", err)
	}
	uploaded, err := eventMessage(v.TenantID, v.ID, e)
	if err != nil {
		return fmt.Errorf("create a video: %w", err)
	}
	return s.db.batch(ctx, "create a video", v.TenantID, func(b *pgx.Batch) {
		b.Queue(`insert into videos (id, tenant_id, project_id, filename, content_type, bytes, key, created_by, events, created_at, updated_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10)`,
			v.ID, v.TenantID, v.ProjectID, v.Filename, v.ContentType, v.Bytes, v.Key, known(v.CreatedBy), v.CreatedAt, v.UpdatedAt)
		queueMessage(ctx, b, uploaded)
	})
}

// Get implements app.Videos.
func (s Videos) Get(ctx context.Context, tenant, id uuid.UUID) (app.Video, error) {
	var v app.Video
	err := s.db.batch(ctx, "read a video", tenant, func(b *pgx.Batch) {
		b.Queue("select "+videoColumns+" from videos where tenant_id = $1 and id = $2", tenant, id).
			QueryRow(func(row pgx.Row) error { return scanVideo(row, &v) })
	})
	return v, err
}

// List implements app.Videos. A project that is not there is CodeNotFound, not
// an empty list.
func (s Videos) List(ctx context.Context, tenant, project uuid.UUID, page app.Page) ([]app.Video, error) {
	var all []app.Video
	err := s.db.batch(ctx, "list videos", tenant, func(b *pgx.Batch) {
		b.Queue("select from projects where tenant_id = $1 and id = $2", tenant, project).Exec(affected("the project"))
		b.Queue("select "+videoColumns+` from videos
			where tenant_id = $1 and project_id = $2 and id < $3 order by id desc limit $4`,
			tenant, project, before(page), page.Limit).
			Query(scanVideos(&all))
	})
	return all, err
}

func scanVideos(into *[]app.Video) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			var v app.Video
			if err := scanVideo(rows, &v); err != nil {
				return err
			}
			*into = append(*into, v)
		}
		return rows.Err()
	}
}

// Delete implements app.Videos.
func (s Videos) Delete(ctx context.Context, tenant, id uuid.UUID) (app.Video, error) {
	var v app.Video
	err := s.db.batch(ctx, "delete a video", tenant, func(b *pgx.Batch) {
		b.Queue("delete from videos where tenant_id = $1 and id = $2 returning "+videoColumns, tenant, id).
			QueryRow(func(row pgx.Row) error { return scanVideo(row, &v) })
	})
	return v, err
}

// Probed implements app.Videos. The first report stands.
func (s Videos) Probed(ctx context.Context, tenant, id uuid.UUID, p *app.Probe, reason string) error {
	if (p == nil) == (reason == "") {
		return fmt.Errorf("report the probe of video %s: want either a finding or a reason", id)
	}
	return s.db.tx(ctx, "report a probe", tenant, func(tx pgx.Tx) error {
		r, err := s.report(ctx, tx, `update videos set probe = $3, reason = $4, probed_at = now(), updated_at = now()
			where tenant_id = $1 and id = $2 and probed_at is null`, tenant, id, p, reason)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			var found uuid.UUID
			return tx.QueryRow(ctx, "select id from videos where tenant_id = $1 and id = $2", tenant, id).Scan(&found)
		case err != nil:
			return err
		case p == nil:
			err = announce(r, app.EventVideoFailed, app.VideoHasFailed{
				TenantID: tenant, ProjectID: r.ProjectID, VideoID: id, CreatedBy: r.CreatedBy, Reason: reason,
			})
		default:
			err = announce(r, app.EventVideoProbed, app.VideoProbed{
				TenantID: tenant, ProjectID: r.ProjectID, VideoID: id, CreatedBy: r.CreatedBy, UploadedAt: r.CreatedAt.UTC(), Probe: *p,
			})
		}
		if err != nil {
			return err
		}
		return r.send(ctx, tx)
	})
}

// report is a service's report on a video as it was stored, and what is to be
// told of it.
type report struct {
	app.Video
	events   int64 // emitted so far
	messages []app.Message
}

// report runs an update that applies to a video at most once. pgx.ErrNoRows
// says that it did not apply.
func (s Videos) report(ctx context.Context, tx pgx.Tx, update string, args ...any) (*report, error) {
	var r report
	err := scanVideo(tx.QueryRow(ctx, update+" returning "+videoColumns+", events", args...), &r.Video, &r.events)
	return &r, err
}

// announce adds an event that follows those the video has emitted.
func announce[T any](r *report, kind string, data T) error {
	r.events++
	e, err := app.NewEvent(EventSource, kind, r.ID, app.Sequence(r.events), r.UpdatedAt, data)
	if err != nil {
		return err
	}
	m, err := eventMessage(r.TenantID, r.ID, e)
	r.messages = append(r.messages, m)
	return err
}

// send stores the events, with VideoReady behind them if this report was the
// last one missing: each applies once and, under the lock of the row, sees
// those before it, so exactly one of them is.
func (r *report) send(ctx context.Context, tx pgx.Tx) error {
	if r.Status == app.VideoReady {
		err := announce(r, app.EventVideoReady, app.VideoIsReady{
			TenantID: r.TenantID, ProjectID: r.ProjectID, VideoID: r.ID, CreatedBy: r.CreatedBy,
		})
		if err != nil {
			return err
		}
	}
	if len(r.messages) == 0 {
		return nil
	}
	var b pgx.Batch
	b.Queue("update videos set events = $3 where tenant_id = $1 and id = $2", r.TenantID, r.ID, r.events)
	for _, m := range r.messages {
		queueMessage(ctx, &b, m)
	}
	return tx.SendBatch(ctx, &b).Close()
}
