package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/trace"
)

// Outbox is the relay's side of the transactional outbox.
type Outbox struct{ db *DB }

// Outbox returns the relay's side of the outbox.
func (db *DB) Outbox() Outbox { return Outbox{db} }

// relayLock is the advisory lock the leading relay holds.
const relayLock = 0x6f7574626f78 // "outbox"

const setRelay = "select set_config('app.relay', 'on', true)"

// queueMessage adds a message in the transaction of the batch, with the trace
// that ctx belongs to.
func queueMessage(ctx context.Context, b *pgx.Batch, m app.Message) {
	var traceparent *string
	if span, ok := trace.From(ctx); ok {
		traceparent = new(span.Traceparent())
	}
	b.Queue(`insert into outbox (id, tenant_id, destination, aggregate, event_type, body, traceparent) values ($1, $2, $3, $4, $5, $6, $7)`,
		m.ID, m.TenantID, m.Destination, m.Aggregate, m.EventType, string(m.Body), traceparent)
}

// eventMessage returns the message that publishes an event of an aggregate.
func eventMessage[T any](tenant, aggregate uuid.UUID, e app.Event[T]) (app.Message, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return app.Message{}, fmt.Errorf("encode event %s: %w", e.Type, err)
	}
	return app.Message{
		ID: e.ID, TenantID: tenant, Destination: app.DestinationEvents, Aggregate: aggregate, EventType: e.Type, Body: body,
	}, nil
}

// known returns an id as the database has it: null for the zero one.
func known(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// Lead runs fn while this process holds the relay's lock, and reports whether
// it got it. The lock belongs to one connection of the pool, which also
// listens: wake receives when a message was written. fn's context ends when
// that connection does, for then another process may lead.
func (o Outbox) Lead(ctx context.Context, fn func(ctx context.Context, wake <-chan struct{}) error) (bool, error) {
	const what = "lead the relay"
	conn, err := o.db.pool.Acquire(ctx)
	if err != nil {
		return false, mapError(err, what)
	}
	var led bool
	if err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", relayLock).Scan(&led); err != nil || !led {
		conn.Release()
		return false, mapError(err, what)
	}
	// Closing the connection gives up the lock and the subscription in any
	// case, also when the server is slow to answer an unlock.
	own := conn.Hijack()
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = own.Close(closing)
	}()
	if _, err := own.Exec(ctx, "listen outbox"); err != nil {
		return true, mapError(err, what)
	}

	leading, stop := context.WithCancelCause(ctx)
	wake := make(chan struct{}, 1)
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		for {
			if _, err := own.WaitForNotification(leading); err != nil {
				stop(fmt.Errorf("%s: lost the connection that holds the lock: %w", what, err))
				return
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}()
	err = fn(leading, wake)
	lost := context.Cause(leading)
	stop(nil)
	<-listened
	if ctx.Err() == nil && lost != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = lost
	}
	return true, err
}

// Pending returns up to limit messages that are due: of each aggregate the
// oldest only, so that whatever happens to it, nothing overtakes it.
func (o Outbox) Pending(ctx context.Context, limit int) ([]app.Message, error) {
	var all []app.Message
	err := o.relay(ctx, "read the outbox", func(b *pgx.Batch) {
		b.Queue(`select o.sequence, o.id, o.tenant_id, o.destination, o.aggregate, o.event_type, o.body, o.attempts, coalesce(o.traceparent, '')
			from outbox o
			where o.available_at <= now()
			and not exists (select from outbox e where e.aggregate = o.aggregate and e.sequence < o.sequence)
			order by o.sequence limit $1`, limit).
			Query(func(rows pgx.Rows) error {
				for rows.Next() {
					var m app.Message
					var body string
					if err := rows.Scan(&m.Sequence, &m.ID, &m.TenantID, &m.Destination, &m.Aggregate, &m.EventType, &body, &m.Attempts, &m.Traceparent); err != nil {
						return err
					}
					m.Body = []byte(body)
					all = append(all, m)
				}
				return rows.Err()
			})
	})
	return all, err
}

// Settle removes the published messages and puts the failed ones off by the
// delay given for each, in one transaction.
func (o Outbox) Settle(ctx context.Context, published []int64, failed map[int64]time.Duration) error {
	return o.relay(ctx, "settle the outbox", func(b *pgx.Batch) {
		if len(published) > 0 {
			b.Queue("delete from outbox where sequence = any($1)", published)
		}
		for sequence, delay := range failed {
			b.Queue("update outbox set attempts = attempts + 1, available_at = now() + $2 where sequence = $1", sequence, delay)
		}
	})
}

// Backlog returns how many messages wait and how old the oldest is.
func (o Outbox) Backlog(ctx context.Context) (messages int, oldest time.Duration, err error) {
	err = o.relay(ctx, "measure the outbox", func(b *pgx.Batch) {
		b.Queue("select count(*), coalesce(now() - min(created_at), interval '0') from outbox").
			QueryRow(func(row pgx.Row) error { return row.Scan(&messages, &oldest) })
	})
	return messages, oldest, err
}

func (o Outbox) relay(ctx context.Context, what string, fill func(*pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, o.db.timeout)
	defer cancel()
	var b pgx.Batch
	b.Queue(setRelay)
	fill(&b)
	return mapError(o.db.pool.SendBatch(ctx, &b).Close(), what)
}
