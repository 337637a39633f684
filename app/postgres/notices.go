package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Notices implements app.Notices. SNS and SQS deliver in any order; what comes
// too early is stored until its turn, so that its message is done and nobody
// waits for a visibility timeout.
type Notices struct{ db *DB }

var _ app.Notices = Notices{}

// Notices returns the store that brings events into order.
func (db *DB) Notices() Notices { return Notices{db} }

// Deliver implements app.Notices.
func (s Notices) Deliver(ctx context.Context, n app.Notice, deliver func(ctx context.Context, body []byte) error) error {
	if n.Sequence < 1 {
		return fmt.Errorf("deliver an event of %s: its sequence is %d, want 1 or more", n.Aggregate, n.Sequence)
	}
	return s.db.tx(ctx, "deliver an event", n.TenantID, func(tx pgx.Tx) error {
		delivered, err := lockNotices(ctx, tx, n.TenantID, n.Aggregate)
		switch {
		case err != nil:
			return err
		case n.Sequence <= delivered:
			return nil
		case n.Sequence > delivered+1:
			_, err := tx.Exec(ctx, `insert into early_notices (aggregate, sequence, tenant_id, body) values ($1, $2, $3, $4)
				on conflict do nothing`, n.Aggregate, n.Sequence, n.TenantID, string(n.Body))
			return err
		}
		if err := deliver(ctx, n.Body); err != nil {
			return err
		}
		delivered = n.Sequence
		for {
			var body string
			err := tx.QueryRow(ctx, "delete from early_notices where tenant_id = $1 and aggregate = $2 and sequence = $3 returning body",
				n.TenantID, n.Aggregate, delivered+1).Scan(&body)
			if errors.Is(err, pgx.ErrNoRows) {
				break
			}
			if err != nil {
				return err
			}
			if err := deliver(ctx, []byte(body)); err != nil {
				return err
			}
			delivered++
		}
		_, err = tx.Exec(ctx, "update notices set sequence = $3 where tenant_id = $1 and aggregate = $2", n.TenantID, n.Aggregate, delivered)
		return err
	})
}

// lockNotices returns the sequence of the last event of an aggregate that was
// delivered, and keeps others from delivering the next until the transaction ends.
func lockNotices(ctx context.Context, tx pgx.Tx, tenant, aggregate uuid.UUID) (app.Sequence, error) {
	var b pgx.Batch
	b.Queue("insert into notices (aggregate, tenant_id, sequence) values ($1, $2, 0) on conflict do nothing", aggregate, tenant)
	var delivered app.Sequence
	b.Queue("select sequence from notices where tenant_id = $1 and aggregate = $2 for update", tenant, aggregate).
		QueryRow(func(row pgx.Row) error { return row.Scan(&delivered) })
	return delivered, tx.SendBatch(ctx, &b).Close()
}
