// Command rotate-origin is the Lambda function that Secrets Manager calls to
// replace the secret header by which the load balancer knows CloudFront.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/rotate"
	"github.com/loadbearing/loadbearing/lambdas/rotate-origin/settings"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(context.Background(), log); err != nil {
		log.Error("the function cannot start", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	s, err := settings.Load(os.LookupEnv)
	if err != nil {
		return err
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	rotator := &rotate.Rotator{
		Settings:      s,
		Secrets:       secretsmanager.NewFromConfig(cfg),
		Rules:         elb.NewFromConfig(cfg),
		Distributions: cloudfront.NewFromConfig(cfg),
		HTTP:          &http.Client{Timeout: 30 * time.Second},
		Log:           log,
	}
	lambda.Start(rotator.Handle)
	return nil
}
