package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Uploads implements app.Uploads.
type Uploads struct{ db *DB }

var _ app.Uploads = Uploads{}

// Uploads returns the store of uploads that are under way.
func (db *DB) Uploads() Uploads { return Uploads{db} }

const uploadColumns = "id, tenant_id, project_id, key, multipart_id, filename, content_type, bytes, part_bytes, created_at, expires_at"

func scanUpload(row pgx.Row, u *app.Upload) error {
	return row.Scan(&u.ID, &u.TenantID, &u.ProjectID, &u.Key, &u.Multipart, &u.Filename, &u.ContentType,
		&u.Bytes, &u.PartBytes, &u.CreatedAt, &u.ExpiresAt)
}

// Create implements app.Uploads.
func (s Uploads) Create(ctx context.Context, u app.Upload) error {
	return s.db.batch(ctx, "create an upload", u.TenantID, func(b *pgx.Batch) {
		b.Queue("insert into uploads ("+uploadColumns+") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
			u.ID, u.TenantID, u.ProjectID, u.Key, u.Multipart, u.Filename, u.ContentType, u.Bytes, u.PartBytes, u.CreatedAt, u.ExpiresAt)
	})
}

// Get implements app.Uploads.
func (s Uploads) Get(ctx context.Context, tenant, id uuid.UUID) (app.Upload, error) {
	var u app.Upload
	err := s.db.batch(ctx, "read an upload", tenant, func(b *pgx.Batch) {
		b.Queue("select "+uploadColumns+" from uploads where tenant_id = $1 and id = $2", tenant, id).
			QueryRow(func(row pgx.Row) error { return scanUpload(row, &u) })
	})
	return u, err
}

// Delete implements app.Uploads.
func (s Uploads) Delete(ctx context.Context, tenant, id uuid.UUID) (app.Upload, error) {
	var u app.Upload
	err := s.db.batch(ctx, "delete an upload", tenant, func(b *pgx.Batch) {
		// The reservation first: storing a video takes the locks in this order too.
		b.Queue(`delete from stored_objects s using uploads u
			where u.tenant_id = $1 and u.id = $2 and s.key = u.key and s.expires_at is not null`, tenant, id)
		b.Queue("delete from uploads where tenant_id = $1 and id = $2 returning "+uploadColumns, tenant, id).
			QueryRow(func(row pgx.Row) error { return scanUpload(row, &u) })
	})
	return u, err
}
