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
	"github.com/aws/jsii-runtime-go"

	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/internal/gobuild"
	"github.com/loadbearing/loadbearing/stacks"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	defer jsii.Close()
	app := awscdk.NewApp(&awscdk.AppProps{AnalyticsReporting: new(false)})
	settings, err := stacks.Parse(app)
	if err != nil {
		return err
	}
	if err := buildArtifact(ctx, settings); err != nil {
		return err
	}
	// Constructs panic with an error that says what is wrong with their props;
	// its text is what the user needs, not the stack of goroutines.
	defer func() {
		switch recovered := recover().(type) {
		case nil:
		case *function.PropsError:
			err = recovered
		case *function.BuildError:
			err = recovered
		default:
			panic(recovered)
		}
	}()
	stacks.Build(app, settings)
	app.Synth(nil)
	return nil
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
		GOOS:    "linux",
		GOARCH:  settings.Architecture.GOARCH(),
	})
	return err
}
