package main

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

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
	status := &httpapi.Status{Identity: identity(s.Process), Checks: []httpapi.Check{
		{Name: "postgres", Required: true, Probe: db.Ping},
	}}
	handler, err := httpapi.NewStatus(httpapi.Options{Status: status, Log: log, Metrics: reg})
	if err != nil {
		return err
	}
	resizer := imaging.NewResizer(imaging.Options{Jobs: db.Jobs(), Objects: objectstore.New(cfg, s.Media.Bucket)})
	w, err := worker.New(worker.Config{
		Queue: sqs.NewFromConfig(cfg), URL: s.Jobs.QueueURL, Handler: worker.JSON(resizer.Resize),
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
	return (&service{
		settings: s.Process, log: log, status: status, handler: handler, registry: reg, public: public, metrics: metrics,
		background: w.Run, backgroundFirst: true,
	}).run(ctx)
}
