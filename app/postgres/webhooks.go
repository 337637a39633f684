package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Webhooks implements app.Webhooks.
type Webhooks struct{ db *DB }

var _ app.Webhooks = Webhooks{}

// Webhooks returns the store of webhooks.
func (db *DB) Webhooks() Webhooks { return Webhooks{db} }

// consumerWebhook is the webhooks' name among the consumers of events.
const consumerWebhook = "webhook"

// Set implements app.Webhooks.
func (s Webhooks) Set(ctx context.Context, w app.Webhook) error {
	return s.db.batch(ctx, "set a webhook", w.TenantID, func(b *pgx.Batch) {
		b.Queue(`insert into webhooks (tenant_id, url, secret, created_at) values ($1, $2, $3, $4)
			on conflict (tenant_id) do update set url = excluded.url, secret = excluded.secret, created_at = excluded.created_at`,
			w.TenantID, w.URL, w.Secret, w.CreatedAt)
	})
}

// Get implements app.Webhooks.
func (s Webhooks) Get(ctx context.Context, tenant uuid.UUID) (app.Webhook, error) {
	w := app.Webhook{TenantID: tenant}
	err := s.db.batch(ctx, "read a webhook", tenant, func(b *pgx.Batch) {
		b.Queue("select url, secret, created_at from webhooks where tenant_id = $1", tenant).
			QueryRow(func(row pgx.Row) error { return row.Scan(&w.URL, &w.Secret, &w.CreatedAt) })
	})
	return w, err
}

// Delete implements app.Webhooks.
func (s Webhooks) Delete(ctx context.Context, tenant uuid.UUID) error {
	return s.db.batch(ctx, "delete a webhook", tenant, func(b *pgx.Batch) {
		b.Queue("delete from webhooks where tenant_id = $1", tenant).Exec(affected("the webhook"))
	})
}

// Due implements app.Webhooks.
func (s Webhooks) Due(ctx context.Context, tenant, event uuid.UUID) (app.Webhook, bool, error) {
	w := app.Webhook{TenantID: tenant}
	due := false
	err := s.db.batch(ctx, "look for a webhook", tenant, func(b *pgx.Batch) {
		b.Queue(`select url, secret, created_at from webhooks where tenant_id = $1
			and not exists (select from consumed_events where consumer = $2 and event_id = $3)`, tenant, consumerWebhook, event).
			Query(func(rows pgx.Rows) error {
				for rows.Next() {
					due = true
					if err := rows.Scan(&w.URL, &w.Secret, &w.CreatedAt); err != nil {
						return err
					}
				}
				return rows.Err()
			})
	})
	return w, due, err
}

// Accepted implements app.Webhooks.
func (s Webhooks) Accepted(ctx context.Context, tenant, event uuid.UUID) error {
	return s.db.batch(ctx, "record a webhook's answer", tenant, func(b *pgx.Batch) {
		b.Queue("insert into consumed_events (consumer, event_id, tenant_id) values ($1, $2, $3) on conflict do nothing",
			consumerWebhook, event, tenant)
	})
}
