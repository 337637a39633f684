package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

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

// The status is derived, so that no order of the services' reports can leave
// it wrong: failed with the probe's reason, ready when all have reported.
const videoColumns = `id, tenant_id, project_id, filename, content_type, bytes, key,
	case when reason <> '' then 'failed' when probed_at is not null and metered_at is not null then 'ready' else 'processing' end,
	reason, probe, metered_at is not null, created_at, updated_at`

func scanVideo(row pgx.Row, v *app.Video) error {
	return row.Scan(&v.ID, &v.TenantID, &v.ProjectID, &v.Filename, &v.ContentType, &v.Bytes, &v.Key,
		&v.Status, &v.Reason, &v.Probe, &v.Metered, &v.CreatedAt, &v.UpdatedAt)
}

// Create implements app.Videos.
func (s Videos) Create(ctx context.Context, v app.Video) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("create a video: %w", err)
	}
	body, err := json.Marshal(app.Event[app.VideoUploaded]{
		SpecVersion: "1.0", ID: id, Source: EventSource, Type: app.EventVideoUploaded,
		Subject: v.ID.String(), Time: v.CreatedAt.UTC(), DataContentType: "application/json",
		Data: app.VideoUploaded{
			TenantID: v.TenantID, ProjectID: v.ProjectID, VideoID: v.ID, Key: v.Key,
			Bytes: v.Bytes, ContentType: v.ContentType, Filename: v.Filename,
		},
	})
	if err != nil {
		return fmt.Errorf("create a video: %w", err)
	}
	return s.db.batch(ctx, "create a video", v.TenantID, func(b *pgx.Batch) {
		b.Queue(`insert into videos (id, tenant_id, project_id, filename, content_type, bytes, key, created_at, updated_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			v.ID, v.TenantID, v.ProjectID, v.Filename, v.ContentType, v.Bytes, v.Key, v.CreatedAt, v.UpdatedAt)
		queueMessage(b, app.Message{
			ID: id, TenantID: v.TenantID, Destination: app.DestinationEvents, Aggregate: v.ID,
			EventType: app.EventVideoUploaded, Body: body,
		})
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
			Query(func(rows pgx.Rows) error {
				for rows.Next() {
					var v app.Video
					if err := scanVideo(rows, &v); err != nil {
						return err
					}
					all = append(all, v)
				}
				return rows.Err()
			})
	})
	return all, err
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
	return s.db.batch(ctx, "report a probe", tenant, func(b *pgx.Batch) {
		b.Queue(`with reported as (
				update videos set probe = $3, reason = $4, probed_at = now(), updated_at = now()
				where tenant_id = $1 and id = $2 and probed_at is null
			)
			select id from videos where tenant_id = $1 and id = $2`, tenant, id, p, reason).
			QueryRow(func(row pgx.Row) error {
				var found uuid.UUID
				return row.Scan(&found)
			})
	})
}

// Metered implements app.Videos. A video deleted meanwhile is metered all the
// same: its bytes were stored on that day.
func (s Videos) Metered(ctx context.Context, event uuid.UUID, day time.Time, u app.VideoUploaded) error {
	return s.db.batch(ctx, "meter a video", u.TenantID, func(b *pgx.Batch) {
		b.Queue(`with fresh as (
				insert into consumed_events (consumer, event_id, tenant_id) values ($1, $2, $3)
				on conflict do nothing returning tenant_id
			), used as (
				insert into usage_days (tenant_id, day, bytes) select tenant_id, $4, $5 from fresh
				on conflict (tenant_id, day) do update set bytes = usage_days.bytes + excluded.bytes
			)
			update videos set metered_at = now(), updated_at = now()
			where tenant_id = $3 and id = $6 and metered_at is null and exists (select from fresh)`,
			app.ServiceMeter, event, u.TenantID, day.UTC().Format(time.DateOnly), u.Bytes, u.VideoID)
	})
}

// Usage returns a tenant's usage of each day from and to which it was, both
// included, oldest first.
func (s Videos) Usage(ctx context.Context, tenant uuid.UUID, from, to time.Time) ([]app.Usage, error) {
	var all []app.Usage
	err := s.db.batch(ctx, "read a tenant's usage", tenant, func(b *pgx.Batch) {
		b.Queue("select day, bytes from usage_days where tenant_id = $1 and day between $2 and $3 order by day",
			tenant, from.UTC().Format(time.DateOnly), to.UTC().Format(time.DateOnly)).
			Query(func(rows pgx.Rows) error {
				for rows.Next() {
					var u app.Usage
					if err := rows.Scan(&u.Day, &u.Bytes); err != nil {
						return err
					}
					all = append(all, u)
				}
				return rows.Err()
			})
	})
	return all, err
}
