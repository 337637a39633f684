// Command loadbearing is the operator's tool: it runs everything on a laptop,
// synthesizes and deploys. `loadbearing help` lists its commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/loadbearing/loadbearing/local"
)

// command is one subcommand: its flags are bound in flags, run gets what was
// parsed.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

func commands() []command {
	return []command{
		{"up", "deploy everything to a local AWS emulator and run it", runUp},
		{"down", "stop what up started, also after a crash", runDown},
		{"status", "show what runs and where", runStatus},
		{"synth", "synthesize the templates and summarize each stack", runSynth},
		{"diff", "say what a change does to the templates", runDiff},
		{"cost", "estimate the monthly cost at list prices", runCost},
		{"deploy", "deploy to the AWS account of the caller's credentials", runDeploy},
		{"release", "move the web fleet to another version, watch it, take it back", runRelease},
		{"dlq", "list, show, redrive or purge dead letters", runDLQ},
		{"drill", "break what runs and show what comes of it", runDrill},
		{"build", "build the app and the CDK app", runBuild},
		{"bench", "print the figures", runBench},
	}
}

// usageError is the caller's mistake: exit status 2.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	var usage usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "loadbearing: %v\n", err)
		os.Exit(2)
	case errors.Is(err, errLoss):
		fmt.Fprintf(os.Stderr, "loadbearing: %v\n", err)
		os.Exit(3)
	case errors.Is(err, context.Canceled):
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "loadbearing: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		fmt.Fprintln(stdout, "usage: loadbearing <command> [flags]")
		for _, c := range commands() {
			fmt.Fprintf(stdout, "  %-8s %s\n", c.name, c.summary)
		}
		fmt.Fprintln(stdout, "`loadbearing <command> -h` lists a command's flags.")
		return nil
	}
	i := slices.IndexFunc(commands(), func(c command) bool { return c.name == args[0] })
	if i < 0 {
		var names []string
		for _, c := range commands() {
			names = append(names, c.name)
		}
		return usageError{fmt.Errorf("no command %q; there are: %s", args[0], strings.Join(names, ", "))}
	}
	return commands()[i].run(ctx, args[1:], stdout, stderr)
}

// parse reads a command's flags; it takes no further arguments.
func parse(fs *flag.FlagSet, args []string, stderr io.Writer) error {
	fs.SetOutput(stderr)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if fs.NArg() > 0 {
		return usageError{fmt.Errorf("%s takes flags only, not %q", fs.Name(), fs.Arg(0))}
	}
	return nil
}

func newFlags(name string) *flag.FlagSet {
	return flag.NewFlagSet("loadbearing "+name, flag.ContinueOnError)
}

// config reads where and what to run from the environment: the ports, the
// endpoint of an emulator that runs already, and the run folder.
func config() (local.Config, error) {
	c, err := local.FromEnviron(os.Environ())
	if err != nil {
		return c, usageError{err}
	}
	return c, nil
}
