package service

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/auth"
	"github.com/loadbearing/loadbearing/app/connections"
	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/messaging"
	"github.com/loadbearing/loadbearing/app/objectstore"
	"github.com/loadbearing/loadbearing/app/outbox"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/redis"
	"github.com/loadbearing/loadbearing/app/shed"
	"github.com/loadbearing/loadbearing/app/stream"
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

	objects := objectstore.New(cfg, s.Media.Bucket)
	reg := registry(db)
	status := &httpapi.Status{Identity: p.identity(s.Process), Checks: []httpapi.Check{
		{Name: "postgres", Required: true, Probe: db.Ping},
		{Name: "redis", Probe: redis.Check(cache)},
	}}
	hub := stream.NewHub(stream.New(cache, stream.Options{}), stream.HubOptions{Log: log})
	streams, err := httpapi.NewStreams(httpapi.StreamOptions{
		Events: hub, PerUser: s.Limits.StreamsPerUser, Total: s.Limits.Streams, Heartbeat: s.Limits.Heartbeat, Metrics: reg,
	})
	if err != nil {
		return err
	}
	// The streams are gone when requests are cut off, with time to spare for the last of them to close.
	defer context.AfterFunc(ctx, func() { streams.Drain(s.Process.DrainDelay, s.Process.ShutdownTimeout*3/4) })()
	// With a connection of the pool for each, no request waits for another.
	limiter, err := shed.New(shed.Options{Least: s.Database.Connections, Log: log, Metrics: reg})
	if err != nil {
		return err
	}
	active := connections.NewGauge(time.Now)
	handler, err := httpapi.New(httpapi.Options{
		Auth: auth.NewService(db.Users(), db.Sessions(), keys, time.Now), Keys: keys,
		Users: db.Users(), Projects: db.Projects(), Jobs: db.Jobs(), Videos: db.Videos(),
		Objects: objects, Multipart: objects, Storage: db.Storage(s.Limits.TenantQuota), Uploads: db.Uploads(), Webhooks: db.Webhooks(),
		Status: status, Log: log, Metrics: reg, Now: time.Now, Streams: streams, Connections: active, Shed: limiter,
		MaxImageBytes: s.Limits.ImageBytes, MaxVideoBytes: s.Limits.VideoBytes, MaxUploads: s.Limits.Uploads,
	})
	if err != nil {
		return err
	}
	relayed := outbox.NewMetrics()
	if err := reg.Register(relayed); err != nil {
		return fmt.Errorf("register the outbox metrics: %w", err)
	}
	relay := &outbox.Relay{
		Store: db.Outbox(), Log: log,
		Publishers: map[app.Destination]outbox.Publisher{
			app.DestinationJobs:   messaging.Queue{Client: sqs.NewFromConfig(cfg), URL: s.Jobs.QueueURL},
			app.DestinationEvents: messaging.Topic{Client: sns.NewFromConfig(cfg), ARN: s.Events.TopicARN},
		},
		Metrics: relayed,
	}
	sweeper := &objectstore.Sweeper{Store: objects, Removals: db.Removals(), Log: log, Now: time.Now}
	work := []func(context.Context){relay.Run, sweeper.Run, limiter.Run, func(ctx context.Context) { deliver(ctx, hub, streams) }}
	if s.Process.Group != "" {
		publisher, err := connections.NewPublisher(connections.Options{
			API: cloudwatch.NewFromConfig(cfg), Gauge: active, Group: s.Process.Group, Interval: s.Process.ConnectionsInterval, Log: log, Metrics: reg,
		})
		if err != nil {
			return err
		}
		work = append(work, func(working context.Context) {
			publishing, stop := context.WithCancel(working)
			defer stop()
			defer context.AfterFunc(ctx, stop)() // when the drain begins, before the rest
			publisher.Run(publishing)
		})
	}
	public, metrics, err := listen(ctx, s.Process)
	if err != nil {
		return err
	}
	log.Info("started", "ms", time.Since(begin).Milliseconds())
	return (&process{
		settings: s.Process, log: log, status: status, handler: p.public(handler), registry: reg, public: public, metrics: metrics,
		background: together(work...),
	}).run(ctx)
}

// deliver runs hub until ctx and then the last stream have ended.
func deliver(ctx context.Context, hub *stream.Hub, streams *httpapi.Streams) {
	delivering, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	context.AfterFunc(ctx, func() {
		streams.Stop()
		stop()
	})
	hub.Run(delivering)
}

// together runs everything until all of it has ended.
func together(run ...func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		var all sync.WaitGroup
		for _, f := range run {
			all.Go(func() { f(ctx) })
		}
		all.Wait()
	}
}
