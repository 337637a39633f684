// Command meter is the Lambda function that counts the bytes each tenant
// uploads per day.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(context.Background(), log); err != nil {
		log.Error("the function cannot start", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	s, err := settings.Load(ctx, settings.FromAWS(cfg, os.LookupEnv),
		contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAppSecret)
	if err != nil {
		return err
	}
	database := postgres.FromSettings(s.Database, s.Database.App)
	// An instance of a function handles one batch at a time, one event after the other.
	database.Connections = 1
	database.ApplicationName = "loadbearing-meter"
	db, err := postgres.Open(ctx, database)
	if err != nil {
		return err
	}
	lambda.StartWithOptions(batch.Handler(log, app.EventVideoUploaded, meter(db.Videos())), lambda.WithEnableSIGTERM(db.Close))
	return nil
}
