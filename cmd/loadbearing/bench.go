package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/cdk"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/load"
)

// runBench prints the figures of this machine. It uses the running `make up`,
// or runs one for as long as it takes.
func runBench(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fs := newFlags("bench")
	duration := fs.Duration("duration", 5*time.Second, "of each load run")
	clients := fs.Int("clients", 32, "concurrent clients of each load run")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	c, err := config()
	if err != nil {
		return err
	}
	switch err := local.Detach(ctx, c, io.Discard); {
	case err == nil:
		defer func() { err = errors.Join(err, local.Down(context.WithoutCancel(ctx), c, io.Discard)) }()
	case !errors.Is(err, local.ErrRunning):
		return err
	}
	for _, section := range []func() error{
		func() error { return benchUp(c, stdout) },
		func() error { return benchSynth(ctx, c, stdout) },
		func() error { return benchEdge(ctx, c, stdout, *clients, *duration) },
		func() error { return benchPackage(ctx, c, stdout, "./app/imaging", "./app/cmd/app") },
	} {
		if err := section(); err != nil {
			return err
		}
	}
	return nil
}

func benchUp(c local.Config, out io.Writer) error {
	data, err := os.ReadFile(local.StepsPath(c.RunDir))
	if err != nil {
		return err
	}
	var steps []local.Step
	if err := json.Unmarshal(data, &steps); err != nil {
		return err
	}
	fmt.Fprintln(out, "make up, by step (some run side by side)")
	for _, s := range steps {
		fmt.Fprintf(out, "  %-12s %6.2f s  %s\n", s.Name, s.Seconds, s.Detail)
	}
	return benchReady(c, out)
}

// benchReady prints how long each instance took from its start until it
// served, as its own log says.
func benchReady(c local.Config, out io.Writer) error {
	logs, err := filepath.Glob(filepath.Join(c.RunDir, "logs", contract.FleetWeb+"-*.log"))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "app serve, from its start until it serves")
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(data) {
			var entry struct {
				Message  string `json:"msg"`
				Instance string `json:"instance"`
				MS       int64  `json:"ms"`
			}
			if json.Unmarshal(line, &entry) == nil && entry.Message == "started" {
				fmt.Fprintf(out, "  %s %6d ms\n", entry.Instance, entry.MS)
				break
			}
		}
	}
	return nil
}

func benchSynth(ctx context.Context, c local.Config, out io.Writer) error {
	fmt.Fprintln(out, "cdk synth, all stacks, warm")
	cli := cdk.CLI{Root: c.Project.Root, Env: os.Environ()}
	dir, err := os.MkdirTemp("", "loadbearing-synth-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, validate := range []bool{false, true} {
		best := time.Duration(0)
		for range 3 {
			start := time.Now()
			if err := c.Project.Synth(ctx, cli, project.Synthesis{
				Env: c.Environment, Platform: project.Host(), Out: filepath.Join(dir, "cdk.out"), Validate: validate,
			}); err != nil {
				return err
			}
			if took := time.Since(start); best == 0 || took < best {
				best = took
			}
		}
		fmt.Fprintf(out, "  validation %-5t %5.2f s\n", validate, best.Seconds())
	}
	return nil
}

// benchEdge compares the same request through CloudFront and the load balancer
// with the same request to the instances behind them.
func benchEdge(ctx context.Context, c local.Config, out io.Writer, clients int, duration time.Duration) error {
	s, err := local.ReadStatus(c.RunDir)
	if err != nil {
		return err
	}
	user, err := api.New(s.EdgeURL)
	if err != nil {
		return err
	}
	email := uuid.NewString() + "@example.com"
	if err := errors.Join(user.Register(ctx, "Bench", email, "correct horse battery staple"),
		user.Login(ctx, email, "correct horse battery staple")); err != nil {
		return err
	}
	for i := range 20 {
		if _, err := user.CreateProject(ctx, fmt.Sprintf("Project %d", i)); err != nil {
			return err
		}
	}
	var cookies []string
	for _, cookie := range user.Cookies("/v1/projects") {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	header := http.Header{"Cookie": {strings.Join(cookies, "; ")}}
	const path = "/v1/projects"
	var direct []string
	for _, i := range s.Instances {
		if i.Fleet == contract.FleetWeb {
			direct = append(direct, i.URL+path)
		}
	}
	fmt.Fprintf(out, "GET %s (20 of them), %d clients, %v each, to the same %d instances\n", path, clients, duration, len(direct))
	results := map[string]load.Result{}
	for _, target := range []struct {
		name string
		urls []string
	}{{"direct", direct}, {"edge", []string{s.EdgeURL + path}}} {
		r, err := load.Run(ctx, target.urls, header, clients, duration)
		if err != nil {
			return err
		}
		if r.Failed > 0 {
			return fmt.Errorf("bench: %d of %d requests to %s failed: %v", r.Failed, r.Requests, target.name, r.Errors)
		}
		results[target.name] = r
		fmt.Fprintf(out, "  %-7s %7.0f requests/s   p50 %6.2f ms   p99 %6.2f ms\n", target.name, r.PerSecond, milliseconds(r.P50), milliseconds(r.P99))
	}
	fmt.Fprintf(out, "  edge / direct: %.2f of its throughput\n", results["edge"].PerSecond/results["direct"].PerSecond)
	return nil
}

// benchPackage runs the Go benchmarks of packages and prints their lines.
func benchPackage(ctx context.Context, c local.Config, out io.Writer, packages ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-run=^$", "-bench=.", "-benchtime=3x"}, packages...)...)
	cmd.Dir = c.Project.Root
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("bench: %w\n%s", err, said)
	}
	for line := range bytes.Lines(said) {
		if strings.HasPrefix(string(line), "Benchmark") {
			fmt.Fprintf(out, "  %s", line)
		}
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
