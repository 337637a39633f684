// Command migrate is the Lambda function that changes the database's schema. It is
// invoked synchronously with a migration.Event: between two deployments, and by a
// release before its version gets traffic and after the one before has gone.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/internal/contract"
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
	source := settings.FromAWS(cfg, os.LookupEnv)
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })
	lambda.Start(function{log: log, objects: client, connect: func(ctx context.Context) (postgres.Config, postgres.Role, error) {
		s, err := settings.Load(ctx, source,
			contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAdminSecret, contract.DatabaseAppSecret)
		if err != nil {
			return postgres.Config{}, postgres.Role{}, err
		}
		role := postgres.Role{Username: s.Database.App.Username, Password: s.Database.App.Password.Reveal()}
		return postgres.FromSettings(s.Database, s.Database.Admin), role, nil
	}}.handle)
	return nil
}
