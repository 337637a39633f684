package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/loadbearing/loadbearing/internal/cost"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local/cdk"
)

// runCost estimates what the environments cost a month at list price.
func runCost(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("cost")
	env := fs.String("env", "all", "environment: dev, prod or all")
	region := fs.String("region", "us-east-1", "Region whose prices to take")
	usage := fs.String("usage", "", "JSON file of how much is used a month, by environment and key")
	asJSON := fs.Bool("json", false, "print one JSON array")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	envs, err := environments(*env)
	if err != nil {
		return err
	}
	prices, err := cost.LoadPrices()
	if err != nil {
		return err
	}
	if !slices.Contains(prices.Regions(), *region) {
		return usageError{fmt.Errorf("--region %q: the price table has %q", *region, prices.Regions())}
	}
	var used map[string]map[string]float64
	if *usage != "" {
		if used, err = cost.ReadUsage(*usage); err != nil {
			return usageError{err}
		}
		for name := range used {
			if _, err := environments(name); err != nil || name == "all" {
				return usageError{fmt.Errorf("%s: there is no environment %q, but dev and prod", *usage, name)}
			}
		}
	}
	p, err := project.Find()
	if err != nil {
		return err
	}
	cli := cdk.CLI{Root: p.Root, Env: os.Environ()}
	if _, err := cli.Install(ctx); err != nil {
		return err
	}
	var estimates []*cost.Estimate
	for _, env := range envs {
		out := filepath.Join(p.Root, ".build", "cost", env)
		// CDK adds to a folder that is there: a stack that is gone would stay.
		if err := os.RemoveAll(out); err != nil {
			return err
		}
		if err := p.Synth(ctx, cli, project.Synthesis{Env: env, Region: *region, Out: out}); err != nil {
			return err
		}
		e, err := estimate(env, *region, prices, out, used[env])
		if err != nil {
			return err
		}
		estimates = append(estimates, e)
		if !*asJSON {
			if err := e.Print(stdout); err != nil {
				return err
			}
		}
	}
	if !*asJSON {
		return nil
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(estimates)
}

// estimate prices the stacks of a cloud assembly.
func estimate(env, region string, prices cost.Prices, assembly string, used map[string]float64) (*cost.Estimate, error) {
	stacks, err := project.Summaries(assembly)
	if err != nil {
		return nil, err
	}
	templates := make([]cost.Template, len(stacks))
	for i, s := range stacks {
		if templates[i], err = cost.Read(s.Name, s.Template); err != nil {
			return nil, err
		}
	}
	return cost.New(env, region, prices, templates, used)
}
