package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/imaging"
	"github.com/loadbearing/loadbearing/app/objectstore"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/worker"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func (p program) work(ctx context.Context) error {
	begin := time.Now()
	s, cfg, log, err := p.load(ctx,
		contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret, contract.MediaBucket, contract.JobsQueue)
	if err != nil {
		return err
	}
	log.Info("starting", "command", "work", "process", s.Process)

	db, err := postgres.Open(ctx, postgres.FromSettings(s.Database, s.Database.App))
	if err != nil {
		return err
	}
	defer db.Close()
	reg := registry(db)
	status := &httpapi.Status{Identity: p.identity(s.Process), Checks: []httpapi.Check{
		{Name: "postgres", Required: true, Probe: db.Ping},
	}}
	handler, err := httpapi.NewStatus(httpapi.Options{Status: status, Log: log, Metrics: reg})
	if err != nil {
		return err
	}
	resizer := imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: objectstore.New(cfg, s.Media.Bucket)})
	w, err := worker.New(worker.Config{
		Queue: sqs.NewFromConfig(cfg), URL: s.Jobs.QueueURL, Handler: imageJobs(resizer.Resize), OnGiveUp: giveUp(db.Jobs()),
		Drain: max(s.Process.ShutdownTimeout, time.Second), Logger: log, Registerer: reg,
	})
	if err != nil {
		return err
	}
	public, metrics, err := listen(ctx, s.Process)
	if err != nil {
		return err
	}
	log.Info("started", "ms", time.Since(begin).Milliseconds())
	return (&process{
		settings: s.Process, log: log, status: status, handler: p.public(handler), registry: reg, public: public, metrics: metrics,
		background: w.Run, backgroundFirst: true,
	}).run(ctx)
}

// imageJobs handles the messages of the job queue, by their version.
func imageJobs(resize func(context.Context, app.ImageJob) error) worker.Handler {
	return worker.Versions(map[int]worker.Handler{
		1: worker.JSON(func(ctx context.Context, job app.ImageJob) error {
			if job.JobID == uuid.Nil || job.TenantID == uuid.Nil {
				return worker.Permanent(errors.New("the message names no job: want job_id and tenant_id"))
			}
			err := resize(ctx, job)
			if app.CodeOf(err) == app.CodeNotFound {
				return worker.Drop(fmt.Errorf("its project was deleted: %w", err))
			}
			return err
		}),
	})
}

// giveUp marks the job of a message that leaves for the dead-letter queue
// failed, until the message is redriven. The user reads that it can be repeated; the cause, which may name what
// is not theirs to know, stands in the log and with the dead letter.
func giveUp(jobs app.Jobs) func(context.Context, worker.Message, error) error {
	return func(ctx context.Context, m worker.Message, reason error) error {
		var job app.ImageJob
		_ = json.Unmarshal([]byte(m.Body), &job) // what cannot be read names no job
		if job.JobID == uuid.Nil || job.TenantID == uuid.Nil {
			return nil
		}
		text := "the picture could not be processed; it is kept, and we can try again"
		if told, ok := errors.AsType[*app.Error](reason); ok && told.Code != app.CodeInternal {
			text += ": " + told.Message
		}
		err := jobs.GiveUp(ctx, job.TenantID, job.JobID, text)
		if app.CodeOf(err) == app.CodeNotFound {
			return nil
		}
		return err
	}
}
