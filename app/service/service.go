// Package service is the media service as a program: the commands that serve,
// work and migrate, and the wiring of the packages of app behind them.
//
// Command app is this package and a version. A program of yours may be the
// same service with a handler of its own around it; see Options.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/loadbearing/loadbearing/app/httpapi"
	"github.com/loadbearing/loadbearing/app/redis"
	"github.com/loadbearing/loadbearing/app/settings"
	"github.com/loadbearing/loadbearing/app/trace"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
)

const usage = `usage: app <command>

  serve              serve the HTTP API and relay the outbox
  work               work on the job queue
  migrate            bring the database schema up to date
  migrate expand     before a release: only what adds to the schema
  migrate contract   after it: only what takes away
  version            print the version

Configuration comes from the environment and SSM parameters; a command that
lacks a value names it.
`

// Options make the service a program.
type Options struct {
	// Version is what the program says it is at contract.PathVersion and in every
	// line of its log; default "dev". Programs built by package gobuild take it
	// from the linker: a variable of their main package, gobuild.VersionVariable.
	Version string

	// Handler wraps the public handler of serve and work, health checks included,
	// and not the listener of the metrics. It has to pass on the writer it is
	// given or one with an Unwrap method, which streams need. Default: none.
	Handler func(http.Handler) http.Handler
}

// Main runs the command that the process's arguments name, until it has ended
// or SIGTERM or SIGINT has stopped it; a second signal ends the process at once.
// It returns the code to exit with: 0 when the command was asked to stop and did,
// 1 when it failed, and 2 when its arguments or its configuration are wrong.
func Main(o Options) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop)
	redis.Quiet()
	p := program{options: o, lookup: os.LookupEnv, stdout: os.Stdout, stderr: os.Stderr, aws: loadAWS}
	err := p.run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
	}
	return exitCode(err)
}

// errUsage is the error of wrong arguments.
var errUsage = errors.New("wrong arguments")

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[*settings.Error](err); ok || errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// program is what the commands work with from outside.
type program struct {
	options Options

	lookup func(string) (string, bool) // environment
	stdout io.Writer
	stderr io.Writer
	aws    func(context.Context) (aws.Config, error)
}

func (p program) run(ctx context.Context, args []string) error {
	phase := migration.All
	if len(args) == 2 && args[0] == "migrate" {
		phase, args = migration.Phase(args[1]), args[:1]
		if err := phase.Validate(); err != nil {
			fmt.Fprint(p.stderr, usage)
			return fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	if len(args) != 1 {
		fmt.Fprint(p.stderr, usage)
		return fmt.Errorf("%w: want one command, got %d", errUsage, len(args))
	}
	switch args[0] {
	case "serve":
		return p.serve(ctx)
	case "work":
		return p.work(ctx)
	case "migrate":
		return p.migrate(ctx, phase)
	case "version":
		_, err := fmt.Fprintf(p.stdout, "app %s revision %s %s %s/%s\n", p.version(), revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	case "help", "-h", "--help":
		_, err := fmt.Fprint(p.stdout, usage)
		return err
	}
	fmt.Fprint(p.stderr, usage)
	return fmt.Errorf("%w: unknown command %q", errUsage, args[0])
}

func loadAWS(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return aws.Config{}, &settings.Error{Problems: []settings.Problem{
			{Variable: "AWS_REGION", Want: "name the region, such as eu-central-1"},
		}}
	}
	return cfg, nil
}

// load returns the settings a command needs, the AWS account it works in, and
// its logger.
func (p program) load(ctx context.Context, need ...contract.Setting) (settings.Settings, aws.Config, *slog.Logger, error) {
	cfg, err := p.aws(ctx)
	if err != nil {
		return settings.Settings{}, aws.Config{}, nil, err
	}
	s, err := settings.Load(ctx, settings.FromAWS(cfg, p.lookup), need...)
	if err != nil {
		return settings.Settings{}, aws.Config{}, nil, err
	}
	options := &slog.HandlerOptions{Level: s.Process.LogLevel}
	var handler slog.Handler = slog.NewJSONHandler(p.stderr, options)
	if s.Process.LogText {
		handler = slog.NewTextHandler(p.stderr, options)
	}
	log := slog.New(trace.LogHandler(handler)).With("instance", s.Process.InstanceID, "color", s.Process.Color, "version", p.version())
	return s, cfg, log, nil
}

func (p program) version() string { return cmp.Or(p.options.Version, "dev") }

func (p program) identity(s settings.Process) httpapi.Identity {
	return httpapi.Identity{Version: p.version(), Color: s.Color, Instance: s.InstanceID, Revision: revision()}
}

// public is the handler clients reach.
func (p program) public(h http.Handler) http.Handler {
	if p.options.Handler == nil {
		return h
	}
	return p.options.Handler(h)
}

// revision is the commit the binary was built from, when the build knew it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "unknown"
}
