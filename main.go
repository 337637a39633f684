// The CDK app: reads which environment is meant and builds its stacks.
//
//	npx cdk synth -c env=prod -c region=eu-west-1 -c architecture=x86_64
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/internal/gobuild"
	"github.com/loadbearing/loadbearing/stacks"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cdkapp.Main(func(app awscdk.App) error {
		settings, err := stacks.Parse(app)
		if err != nil {
			return err
		}
		if err := buildArtifact(ctx, settings); err != nil {
			return err
		}
		stacks.Build(app, settings)
		return nil
	})
}

// buildArtifact builds the service's binary unless the context names one that
// was built before: what is deployed is never older than the source.
func buildArtifact(ctx context.Context, settings stacks.Settings) error {
	path := settings.Path(settings.Artifact)
	if settings.Artifact != settings.For(settings.Architecture).Artifact {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("the context names an artifact that cannot be read: %w", err)
		}
		return nil
	}
	_, err := gobuild.Build(ctx, gobuild.Target{
		Dir:     settings.Root,
		Package: "./app/cmd/app",
		Output:  path,
		Record:  path + ".json",
		GOOS:    "linux",
		GOARCH:  settings.Architecture.GOARCH(),
	})
	return err
}
