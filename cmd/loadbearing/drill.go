package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/drills"
)

// errDrill says that a drill has failed; what failed has been printed.
var errDrill = errors.New("not every drill passed")

// runDrill runs drills against what `make up` runs, or against an environment
// of their own. Each ends with one line of JSON.
func runDrill(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fs := newFlags("drill")
	name := fs.String("name", "", "one drill, by the slug of its concept; default all")
	part := fs.String("part", "", "one part of it; default all")
	short := fs.Bool("short", false, "the short form, as `make test` runs it")
	seed := fs.Uint64("seed", 0, "chooses what is left to chance; default another each time")
	list := fs.Bool("list", false, "list the drills and their parts")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	all := drills.All()
	if *list {
		return listDrills(stdout, all)
	}
	if *name != "" {
		i := slices.IndexFunc(all, func(d drill.Drill) bool { return d.Name == *name })
		if i < 0 {
			var names []string
			for _, d := range all {
				names = append(names, d.Name)
			}
			return usageError{fmt.Errorf("no drill %q; there are: %s", *name, strings.Join(names, ", "))}
		}
		all = all[i : i+1]
	}
	if *part != "" && *name == "" {
		return usageError{errors.New("--part goes with --name")}
	}
	o := drill.Options{Size: drill.Full, Seed: *seed, Part: *part, Out: stdout}
	if *short {
		o.Size = drill.Short
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 32)
	}
	c, stop, err := drillEnvironment(ctx, stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	e, err := drill.Open(ctx, c)
	if err != nil {
		return err
	}
	defer e.Close()
	passed := true
	for _, d := range all {
		result := d.Do(ctx, e, o)
		passed = passed && result.Pass
		line, err := json.Marshal(result)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s\n", line)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if !passed {
		return errDrill
	}
	return nil
}

// drillEnvironment returns the environment that runs, or starts one and says
// how to stop it.
func drillEnvironment(ctx context.Context, stdout io.Writer) (c local.Config, stop func() error, err error) {
	if c, err = config(); err != nil {
		return c, nil, err
	}
	running, err := local.Running(c.RunDir)
	if err != nil {
		return c, nil, err
	}
	if running {
		return c, func() error { return nil }, nil
	}
	ports, err := process.FreePorts(3)
	if err != nil {
		return c, nil, err
	}
	c.EdgePort, c.ALBPort, c.AWSPort = ports[0], ports[1], ports[2]
	c.RunDir = filepath.Join(c.Project.Root, ".run", "drill")
	fmt.Fprintln(stdout, "nothing runs here: starting an environment for the drills")
	if err := local.Detach(ctx, c, stdout); err != nil {
		return c, nil, err
	}
	return c, func() error { return local.Down(context.WithoutCancel(ctx), c, stdout) }, nil
}

func listDrills(w io.Writer, all []drill.Drill) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range all {
		fmt.Fprintf(t, "%s\t%s\n", d.Name, d.Summary)
		for _, p := range d.Parts {
			fmt.Fprintf(t, "  %s\t%s\n", p.Name, p.Summary)
		}
	}
	return t.Flush()
}
