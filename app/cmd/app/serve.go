package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/messaging"
	"github.com/loadbearing/loadbearing/app/objectstore"
	"github.com/loadbearing/loadbearing/app/outbox"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/redis"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func (p program) serve(ctx context.Context) error {
	begin := time.Now()
	s, cfg, log, err := p.load(ctx,
		contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret,
		contract.CacheEndpoint, contract.CacheSecret, contract.MediaBucket, contract.JobsQueue, contract.EventsTopic, contract.AuthSecret)
	if err != nil {
		return err
	}
	log.Info("starting", "command", "serve", "process", s.Process)

	db, err := postgres.Open(ctx, postgres.FromSettings(s.Database, s.Database.App))
	if err != nil {
		return err
	}
	defer db.Close()
	cache := redis.New(s.Cache.Endpoint, s.Cache.Token.Reveal(), s.Cache.TLS)
	defer func() { _ = cache.Close() }()
	keys, err := auth.NewKeys(s.Auth.Secret.Reveal())
	if err != nil {
		return err
	}

	reg := registry(db)
	status := &httpapi.Status{Identity: identity(s.Process), Checks: []httpapi.Check{
		{Name: "postgres", Required: true, Probe: db.Ping},
		{Name: "redis", Probe: redis.Check(cache)},
	}}
	handler, err := httpapi.New(httpapi.Options{
		Auth: auth.NewService(db.Users(), db.Sessions(), keys, time.Now), Keys: keys,
		Users: db.Users(), Projects: db.Projects(), Jobs: db.Jobs(), Videos: db.Videos(),
		Objects: objectstore.New(cfg, s.Media.Bucket), Status: status, Log: log, Metrics: reg, Now: time.Now,
	})
	if err != nil {
		return err
	}
	published := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "loadbearing_outbox_messages_total", Help: "Messages this process tried to publish.",
	}, []string{"outcome"})
	if err := reg.Register(published); err != nil {
		return fmt.Errorf("register the outbox metrics: %w", err)
	}
	relay := &outbox.Relay{
		Store: db.Outbox(), Log: log,
		Publishers: map[app.Destination]outbox.Publisher{
			app.DestinationJobs:   messaging.Queue{Client: sqs.NewFromConfig(cfg), URL: s.Jobs.QueueURL},
			app.DestinationEvents: messaging.Topic{Client: sns.NewFromConfig(cfg), ARN: s.Events.TopicARN},
		},
		Published: func(accepted, failed int) {
			published.WithLabelValues("accepted").Add(float64(accepted))
			published.WithLabelValues("failed").Add(float64(failed))
		},
	}
	public, metrics, err := listen(ctx, s.Process)
	if err != nil {
		return err
	}
	log.Info("started", "ms", time.Since(begin).Milliseconds())
	return (&service{
		settings: s.Process, log: log, status: status, handler: handler, registry: reg, public: public, metrics: metrics,
		background: relay.Run,
	}).run(ctx)
}
