// Package controller starts the functions that release a fleet. They run the
// same tasks; what sets them apart is what each is permitted to do.
package controller

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/release"
)

// Tasks runs a function that does the tasks named, until Lambda ends its
// instance. What keeps it from starting is logged, and the status is 1.
func Tasks(names ...release.TaskName) {
	main(func(c *release.Controller) any {
		return func(ctx context.Context, t release.Task) (release.Next, error) {
			if !slices.Contains(names, t.Name) {
				return release.Next{}, fmt.Errorf("this function does the tasks %v, not %q", names, t.Name)
			}
			return c.Run(ctx, t)
		}
	})
}

// Recovery runs the function that leaves no release without an execution. Any
// event has it look.
func Recovery() {
	main(func(c *release.Controller) any {
		return func(ctx context.Context) error {
			said, err := c.Recover(ctx)
			if said != "" {
				c.Log.WarnContext(ctx, said)
			}
			return err
		}
	})
}

func main(handler func(*release.Controller) any) {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Error("the function cannot start", "error", fmt.Errorf("load the AWS configuration: %w", err))
		os.Exit(1)
	}
	fleet := release.Fleet{Environment: os.Getenv(contract.EnvEnvironment), Name: os.Getenv(contract.EnvFleet)}
	if fleet.Environment == "" || fleet.Name == "" {
		log.Error("the function cannot start", "error", fmt.Sprintf("%s=%q and %s=%q; the release construct sets both",
			contract.EnvEnvironment, fleet.Environment, contract.EnvFleet, fleet.Name))
		os.Exit(1)
	}
	lambda.Start(handler(&release.Controller{Fleet: fleet, Cloud: release.NewCloud(cfg), Log: log}))
}
