package postgres

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Metered implements app.Videos. A video deleted meanwhile is metered all the
// same: its bytes were stored on that day.
func (s Videos) Metered(ctx context.Context, event uuid.UUID, day time.Time, u app.VideoUploaded) error {
	return s.db.tx(ctx, "meter a video", u.TenantID, func(tx pgx.Tx) error {
		r, err := s.report(ctx, tx, `with fresh as (
				insert into consumed_events (consumer, event_id, tenant_id) values ($1, $2, $3)
				on conflict do nothing returning tenant_id
			), used as (
				insert into usage_days (tenant_id, day, bytes) select tenant_id, $4, $5 from fresh
				on conflict (tenant_id, day) do update set bytes = usage_days.bytes + excluded.bytes
			)
			update videos set metered_at = now(), updated_at = now()
			where tenant_id = $3 and id = $6 and metered_at is null and exists (select from fresh)`,
			app.ServiceMeter, event, u.TenantID, day.UTC().Format(time.DateOnly), u.Bytes, u.VideoID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // metered before, or deleted
		}
		if err != nil {
			return err
		}
		return r.send(ctx, tx)
	})
}

// MeteredDuration implements app.Videos, to the millisecond.
func (s Videos) MeteredDuration(ctx context.Context, event uuid.UUID, p app.VideoProbed) error {
	return s.db.batch(ctx, "meter a video's duration", p.TenantID, func(b *pgx.Batch) {
		b.Queue(`with fresh as (
				insert into consumed_events (consumer, event_id, tenant_id) values ($1, $2, $3)
				on conflict do nothing returning tenant_id
			)
			insert into usage_days (tenant_id, day, bytes, milliseconds) select tenant_id, $4, 0, $5 from fresh
			on conflict (tenant_id, day) do update set milliseconds = usage_days.milliseconds + excluded.milliseconds`,
			app.ServiceMeter, event, p.TenantID, p.UploadedAt.UTC().Format(time.DateOnly), milliseconds64(p.Probe.Seconds))
	})
}

// milliseconds64 rounds, and bounds what a sum of 2⁶³ could not take: the probe
// believes no file that says more.
func milliseconds64(seconds float64) int64 {
	const most = 366 * 24 * 3600
	return int64(math.Round(min(seconds, most) * 1000))
}

// Usage returns a tenant's usage of each day from and to which it was, both
// included, oldest first.
func (s Videos) Usage(ctx context.Context, tenant uuid.UUID, from, to time.Time) ([]app.Usage, error) {
	var all []app.Usage
	err := s.db.batch(ctx, "read a tenant's usage", tenant, func(b *pgx.Batch) {
		b.Queue("select day, bytes, milliseconds from usage_days where tenant_id = $1 and day between $2 and $3 order by day",
			tenant, from.UTC().Format(time.DateOnly), to.UTC().Format(time.DateOnly)).
			Query(func(rows pgx.Rows) error {
				for rows.Next() {
					var u app.Usage
					var ms int64
					if err := rows.Scan(&u.Day, &u.Bytes, &ms); err != nil {
						return err
					}
					u.Duration = time.Duration(ms) * time.Millisecond
					all = append(all, u)
				}
				return rows.Err()
			})
	})
	return all, err
}
