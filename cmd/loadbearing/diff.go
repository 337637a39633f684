package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/internal/templatediff"
	"github.com/loadbearing/loadbearing/local/cdk"
)

// errLoss ends diff with exit status 3, for CI.
var errLoss = errors.New("a stateful resource is replaced or removed")

// runDiff says what a change does to the templates. Its exit status, for CI: 0
// when no stateful resource is replaced or removed, 3 when one is, whatever its
// deletion policy keeps, 1 on an error, 2 on wrong flags. A resource that
// CloudFormation may replace, depending on values the templates do not hold, is
// told and does not count.
func runDiff(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("diff")
	env := fs.String("env", "all", "environment: dev, prod or all")
	base := fs.String("base", "", "git ref to compare with (default: the merge base with origin/main, else HEAD)")
	colour := fs.String("color", "auto", "always, never or auto: when the output is a terminal")
	from := fs.String("from", "", "folder of templates to compare instead of the base; needs --to")
	to := fs.String("to", "", "folder of templates to compare instead of the working tree; needs --from")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	if (*from == "") != (*to == "") {
		return usageError{errors.New("--from and --to go together")}
	}
	envs, err := environments(*env)
	if err != nil {
		return err
	}
	painted, err := paints(*colour, stdout)
	if err != nil {
		return err
	}
	p, err := project.Find()
	if err != nil {
		return err
	}
	cli := cdk.CLI{Root: p.Root, Env: os.Environ()}
	if _, err := cli.Install(ctx); err != nil {
		return err
	}
	if *from != "" {
		fmt.Fprintf(stdout, "From %s to %s\n\n", *from, *to)
		return compare(ctx, p.Root, *from, *to, stdout, painted)
	}
	at, err := templatediff.FindBase(ctx, p.Root, *base)
	if err != nil {
		return err
	}
	var lost error
	for _, env := range envs {
		synth := func(ctx context.Context, checkout, out string) error {
			cli := cdk.CLI{Root: checkout, Env: os.Environ()}
			return project.Project{Root: checkout}.Synth(ctx, cli, project.Synthesis{Env: env, Out: out})
		}
		install := func(ctx context.Context, checkout string) error {
			_, err := cdk.CLI{Root: checkout}.Install(ctx)
			return err
		}
		before, err := at.Templates(ctx, env, install, synth)
		if err != nil {
			return err
		}
		after := filepath.Join(p.Root, ".build", "diff", "working-"+env)
		// CDK adds to a folder that is there: a stack that is gone would stay.
		if err := os.RemoveAll(after); err != nil {
			return err
		}
		if err := synth(ctx, p.Root, after); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: the working tree against %s (%s)\n\n", env, at.Short(), at.Why)
		err = compare(ctx, p.Root, before, after, stdout, painted)
		if err != nil && !errors.Is(err, errLoss) {
			return err
		}
		lost = cmp.Or(lost, err)
	}
	return lost
}

// compare prints what changes between two folders of templates.
func compare(ctx context.Context, root, from, to string, stdout io.Writer, painted bool) error {
	before, err := templatediff.Load(from)
	if err != nil {
		return err
	}
	after, err := templatediff.Load(to)
	if err != nil {
		return err
	}
	report, err := templatediff.Compare(ctx, root, before, after)
	if err != nil {
		return err
	}
	if err := report.Print(stdout, painted); err != nil {
		return err
	}
	if report.Loses() {
		return errLoss
	}
	return nil
}

// environments is the list that --env names.
func environments(env string) ([]string, error) {
	all := []string{"dev", "prod"}
	switch {
	case env == "all":
		return all, nil
	case slices.Contains(all, env):
		return []string{env}, nil
	default:
		return nil, usageError{fmt.Errorf("--env %q: it is dev, prod or all", env)}
	}
}

// paints tells whether to colour what goes to w.
func paints(colour string, w io.Writer) (bool, error) {
	switch colour {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		f, ok := w.(*os.File)
		if !ok || os.Getenv("NO_COLOR") != "" {
			return false, nil
		}
		info, err := f.Stat()
		return err == nil && info.Mode()&os.ModeCharDevice != 0, nil
	default:
		return false, usageError{fmt.Errorf("--color %q: it is always, never or auto", colour)}
	}
}
