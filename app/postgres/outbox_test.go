package postgres_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/app/trace"
)

func TestMessagesCarryTheTraceOfWhatWroteThem(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	job, video := newJob(t, o), newVideo(t, o)
	require.NoError(t, db.Jobs().Create(t.Context(), job), "outside of a trace")
	one, two := trace.Continue("", ""), trace.Continue("", "")
	require.NoError(t, db.Jobs().Fail(trace.With(t.Context(), one), o.Tenant.ID, job.ID, "it is text"))
	require.NoError(t, db.Videos().Create(trace.With(t.Context(), two), video))
	require.NoError(t, db.Videos().Probed(trace.With(t.Context(), one), o.Tenant.ID, video.ID, nil, "it is text"))
	got := map[uuid.UUID][]string{}
	for range 2 {
		ms, err := db.Outbox().Pending(t.Context(), 10)
		require.NoError(t, err)
		for _, m := range ms {
			got[m.Aggregate] = append(got[m.Aggregate], m.Traceparent)
			require.NoError(t, db.Outbox().Settle(t.Context(), []int64{m.Sequence}, nil))
		}
	}
	require.Equal(t, map[uuid.UUID][]string{
		job.ID: {"", one.Traceparent()}, video.ID: {two.Traceparent(), one.Traceparent()},
	}, got)
}

func TestOfAnAggregateOnlyTheOldestMessageIsPending(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	pool := raw(t, db.Config)
	tenant, one, two := uuid.New(), uuid.New(), uuid.New()
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "select set_config('app.tenant_id', $1, true)", tenant.String()); err != nil {
			return err
		}
		for _, aggregate := range []uuid.UUID{one, one, two} {
			if _, err := tx.Exec(t.Context(), "insert into outbox (id, tenant_id, destination, aggregate, body) values ($1, $2, 'events', $3, '{}')",
				uuid.New(), tenant, aggregate); err != nil {
				return err
			}
		}
		return nil
	}))
	pending := func() []int64 {
		ms, err := db.Outbox().Pending(t.Context(), 10)
		require.NoError(t, err)
		var all []int64
		for _, m := range ms {
			all = append(all, m.Sequence)
		}
		return all
	}
	require.Equal(t, []int64{1, 3}, pending())
	require.NoError(t, db.Outbox().Settle(t.Context(), nil, map[int64]time.Duration{1: time.Hour}))
	require.Equal(t, []int64{3}, pending(), "what was put off holds back what follows it")
	require.NoError(t, db.Outbox().Settle(t.Context(), []int64{1, 3}, nil))
	require.Equal(t, []int64{2}, pending())
}
