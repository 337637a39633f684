package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres/dbtest"
	"github.com/loadbearing/loadbearing/app/worker"
)

func TestAGivenUpJobIsFailedUntilItIsRedriven(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	o := db.Register(t)
	now := time.Now().UTC()
	j := app.Job{
		ID: dbtest.NewID(t), TenantID: o.Tenant.ID, ProjectID: o.Project.ID, ImageID: dbtest.NewID(t), SourceKey: "original",
		ContentType: "image/png", Widths: []int{10}, CreatedAt: now, UpdatedAt: now,
	}
	require.NoError(t, db.Jobs().Create(t.Context(), j))
	_, err := db.Jobs().Start(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)

	giveUp := giveUp(db.Jobs())
	message := func(tenant, job uuid.UUID) worker.Message {
		return worker.Message{Attempt: 5, Body: fmt.Sprintf(`{"job_id":%q,"tenant_id":%q}`, job, tenant)}
	}
	cause := fmt.Errorf("image job: %w: %w", app.Errorf(app.CodeUnavailable, "the object store does not answer"), errors.New("dial 10.0.0.7"))
	require.NoError(t, giveUp(t.Context(), message(j.TenantID, j.ID), cause))
	require.NoError(t, giveUp(t.Context(), message(j.TenantID, j.ID), cause), "it may be called twice")
	failed, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)
	require.Equal(t, app.JobFailed, failed.Status)
	require.Equal(t, "the picture could not be processed; it is kept, and we can try again: the object store does not answer", failed.Reason)

	require.NoError(t, giveUp(t.Context(), message(j.TenantID, uuid.New()), cause), "the job is gone")
	require.NoError(t, giveUp(t.Context(), worker.Message{Body: "not JSON"}, cause))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, giveUp(ended, message(j.TenantID, j.ID), cause), "what was not recorded is tried again")

	redriven := imageJobs(func(ctx context.Context, m app.ImageJob) error {
		again, err := db.Jobs().Start(ctx, m.TenantID, m.JobID)
		require.NoError(t, err)
		require.Equal(t, app.JobRunning, again.Status)
		return db.Jobs().Finish(ctx, m.TenantID, m.JobID, nil)
	})
	require.NoError(t, redriven(t.Context(), message(j.TenantID, j.ID)))
	require.NoError(t, giveUp(t.Context(), message(j.TenantID, j.ID), cause), "another delivery is given up")
	done, err := db.Jobs().Get(t.Context(), j.TenantID, j.ID)
	require.NoError(t, err)
	require.Equal(t, app.JobDone, done.Status)
}

func TestImageJobsRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	missing := app.Errorf(app.CodeNotFound, "there is no such job")
	handle := imageJobs(func(context.Context, app.ImageJob) error { return missing })
	for body, want := range map[string]string{
		`{"version":2}`:          "has version 2; this worker knows [1]",
		`{}`:                     "names no job",
		`{"job_id":"not an id"}`: "decode the body",
		`{"job_id":"0197a2b4-0000-7000-8000-000000000001","tenant_id":"0197a2b4-0000-7000-8000-000000000002"}`: "its project was deleted",
	} {
		require.ErrorContains(t, handle(t.Context(), worker.Message{ID: "m", Body: body}), want)
	}
}
