// Package consumer starts the functions that consume domain events: it reads
// their settings, connects them to the database and hands each event to them.
package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/app/trace"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

// Environment is what a consumer works with, made once per instance of the function.
type Environment struct {
	AWS      aws.Config
	Settings settings.Settings
	DB       *postgres.DB
	Log      *slog.Logger
}

// Consumer is a function that consumes events.
type Consumer struct {
	Name        string             // as in the database's list of connections: loadbearing-<name>
	Needs       []contract.Setting // beside those of the database
	Concurrency int                // messages of a batch at the same time; default 1
	// New returns what handles the events.
	New func(Environment) (batch.Handlers, error)
}

// Main runs the consumer until Lambda ends the instance. It is the main of a
// function: what keeps it from starting is logged, and the status is 1.
func Main(c Consumer) {
	log := slog.New(trace.LogHandler(slog.NewJSONHandler(os.Stderr, nil)))
	if err := run(context.Background(), log, c); err != nil {
		log.Error("the function cannot start", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger, c Consumer) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("load the AWS configuration: %w", err)
	}
	s, err := settings.Load(ctx, settings.FromAWS(cfg, os.LookupEnv),
		append([]contract.Setting{contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret}, c.Needs...)...)
	if err != nil {
		return err
	}
	database := postgres.FromSettings(s.Database, s.Database.App)
	// An instance of a function handles one batch at a time. What waits for
	// others than the database holds no connection, so two are enough for many.
	database.Connections = min(max(c.Concurrency, 1), 2)
	database.ApplicationName = "loadbearing-" + c.Name
	db, err := postgres.Open(ctx, database)
	if err != nil {
		return err
	}
	handlers, err := c.New(Environment{AWS: cfg, Settings: s, DB: db, Log: log})
	if err != nil {
		return err
	}
	lambda.StartWithOptions(batch.Handler(log, handlers, c.Concurrency), lambda.WithEnableSIGTERM(db.Close))
	return nil
}
