package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/loadbearing/loadbearing/app"
)

// Storage implements app.Storage.
type Storage struct {
	db    *DB
	quota int64
}

var _ app.Storage = Storage{}

// Storage returns the account of what tenants store. quota holds for tenants
// whose row has none of its own, in bytes; 0 means app.DefaultQuota.
func (db *DB) Storage(quota int64) Storage {
	if quota == 0 {
		quota = app.DefaultQuota
	}
	return Storage{db, quota}
}

// Reserve implements app.Storage. Reservations of one tenant go one after the
// other, through a lock on its row.
func (s Storage) Reserve(ctx context.Context, tenant uuid.UUID, key string, least, most int64, expires time.Time) (int64, error) {
	var granted, used, allowed int64
	err := s.db.batch(ctx, "reserve storage", tenant, func(b *pgx.Batch) {
		b.Queue("select granted, used, allowed from reserve_storage($1, $2, $3, $4, $5, $6)", tenant, key, least, most, s.quota, expires).
			QueryRow(func(row pgx.Row) error { return row.Scan(&granted, &used, &allowed) })
	})
	if err == nil && granted < 0 {
		err = app.NewQuotaError(used, allowed)
	}
	return granted, err
}

// Release implements app.Storage.
func (s Storage) Release(ctx context.Context, tenant uuid.UUID, key string) (bool, error) {
	var released bool
	err := s.db.batch(ctx, "release storage", tenant, func(b *pgx.Batch) {
		b.Queue("delete from stored_objects where tenant_id = $1 and key = $2 and expires_at is not null", tenant, key).
			Exec(func(tag pgconn.CommandTag) error {
				released = tag.RowsAffected() > 0
				return nil
			})
	})
	return released, err
}

// Usage implements app.Storage.
func (s Storage) Usage(ctx context.Context, tenant uuid.UUID) (app.QuotaError, error) {
	var u app.QuotaError
	err := s.db.batch(ctx, "read a tenant's storage", tenant, func(b *pgx.Batch) {
		b.Queue(`select coalesce(u.bytes, 0), coalesce(t.quota_bytes, $2)
			from tenants t left join storage_used u on u.tenant_id = t.id where t.id = $1`, tenant, s.quota).
			QueryRow(func(row pgx.Row) error { return row.Scan(&u.Used, &u.Allowed) })
	})
	return u, err
}

// Removals implements app.Removals.
type Removals struct{ db *DB }

var _ app.Removals = Removals{}

// Removals returns the list of objects to remove.
func (db *DB) Removals() Removals { return Removals{db} }

// keepRemoved is for how long the removal of an object is remembered: longer
// than any upload takes, so that one which ends late is refused.
const keepRemoved = 24 * time.Hour

// batch is one transaction for all tenants.
func (s Removals) batch(ctx context.Context, what string, fill func(*pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, s.db.timeout)
	defer cancel()
	var b pgx.Batch
	b.Queue("select set_config('app.sweeper', 'on', true)")
	fill(&b)
	return mapError(s.db.pool.SendBatch(ctx, &b).Close(), what)
}

// Expire implements app.Removals.
func (s Removals) Expire(ctx context.Context, now time.Time) error {
	return s.batch(ctx, "expire reservations", func(b *pgx.Batch) {
		// Storing a video takes the same two locks in the same order.
		b.Queue(`delete from stored_objects where key in (
			select key from stored_objects where expires_at < $1 order by expires_at limit 1000 for update skip locked)`, now)
		b.Queue(`delete from uploads where id in (
			select id from uploads where expires_at < $1 order by expires_at limit 1000 for update skip locked)`, now)
		b.Queue("delete from removed_objects where deleted_at < $1", now.Add(-keepRemoved))
	})
}

// Claim implements app.Removals.
func (s Removals) Claim(ctx context.Context, limit int, lease time.Duration) ([]app.Removal, error) {
	var all []app.Removal
	err := s.batch(ctx, "claim removals", func(b *pgx.Batch) {
		b.Queue(`update removed_objects set available_at = now() + make_interval(secs => $2) where key in (
				select key from removed_objects where deleted_at is null and available_at <= now()
				order by available_at limit $1 for update skip locked)
			returning key, multipart_id`, limit, lease.Seconds()).
			Query(func(rows pgx.Rows) (err error) {
				all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[app.Removal])
				return err
			})
	})
	return all, err
}

// Removed implements app.Removals.
func (s Removals) Removed(ctx context.Context, keys []string) error {
	return s.batch(ctx, "record removals", func(b *pgx.Batch) {
		b.Queue("update removed_objects set deleted_at = now() where key = any($1)", keys)
	})
}
