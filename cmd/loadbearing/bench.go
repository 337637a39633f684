package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/cdk"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
	"github.com/loadbearing/loadbearing/test/drills/bluegreen"
	"github.com/loadbearing/loadbearing/test/drills/loadbalancing"
	"github.com/loadbearing/loadbearing/test/load"
	"github.com/loadbearing/loadbearing/tools/twin"
)

// benchSection is a part of what bench prints.
type benchSection struct {
	name    string
	running bool // needs a running environment
	run     func() error
}

// runBench prints the figures of this machine. What needs an environment uses
// the running `make up`, or runs one for as long as it takes, after all else.
func runBench(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fs := newFlags("bench")
	duration := fs.Duration("duration", 5*time.Second, "of each load run")
	clients := fs.Int("clients", 32, "concurrent clients of each load run")
	only := fs.String("only", "", "one section: constructs, synth, resizing, up, edge or fleet; default all")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	c, err := config()
	if err != nil {
		return err
	}
	sections := []benchSection{
		{"constructs", false, func() error { return benchConstructs(ctx, c, stdout) }},
		{"synth", false, func() error { return benchSynth(ctx, c, stdout) }},
		{"resizing", false, func() error { return benchResizing(ctx, c, stdout) }},
		{"up", true, func() error { return benchUp(c, stdout) }},
		{"edge", true, func() error { return benchEdge(ctx, c, stdout, *clients, *duration) }},
		{"fleet", true, func() error { return benchFleet(ctx, c, stdout) }},
	}
	if *only != "" && !slices.ContainsFunc(sections, func(s benchSection) bool { return s.name == *only }) {
		return usageError{fmt.Errorf("no section %q; bench -h lists them", *only)}
	}
	up := false
	for _, s := range sections {
		if *only != "" && s.name != *only {
			if s.running {
				fmt.Fprintf(stdout, "%s is left out: it needs an environment; `bench -only %s` runs one\n", s.name, s.name)
			}
			continue
		}
		if s.running && !up {
			switch detached := local.Detach(ctx, c, io.Discard); {
			case detached == nil:
				defer func() { err = errors.Join(err, local.Down(context.WithoutCancel(ctx), c, io.Discard)) }()
			case !errors.Is(detached, local.ErrRunning):
				return detached
			}
			up = true
		}
		if err := s.run(); err != nil {
			return err
		}
	}
	return nil
}

// benchFleet prints the figures of drills that are quick and tell how the fleet
// and its releases do: connections and what each costs, the death of an instance,
// the time in which a flip takes effect.
func benchFleet(ctx context.Context, c local.Config, out io.Writer) error {
	e, err := drill.Open(ctx, c)
	if err != nil {
		return err
	}
	defer e.Close()
	for _, run := range []struct {
		drill drill.Drill
		part  string
	}{{loadbalancing.Drill(), ""}, {bluegreen.Drill(), "flips"}} {
		result := run.drill.Do(ctx, e, drill.Options{Size: drill.Short, Part: run.part, Out: io.Discard})
		fmt.Fprintf(out, "drill %s, %s form, %.0f s\n", result.Drill, result.Size, result.Seconds)
		for _, name := range slices.Sorted(maps.Keys(result.Figures)) {
			fmt.Fprintf(out, "  %-45s %v\n", name, result.Figures[name])
		}
		if !result.Pass {
			return fmt.Errorf("drill %s: %v: %w", result.Drill, result.Failures, errDrill)
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

// benchConstructs prints what one of each construct costs with its defaults. The
// time is taken without the count, which slows jsii down.
func benchConstructs(ctx context.Context, c local.Config, out io.Writer) error {
	fmt.Fprintln(out, "one construct with its defaults")
	timed, err := benchmarks(ctx, c, "5x", nil, "./constructs/...")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "loadbearing-trace-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	env, _, err := twin.Tracing(dir)
	if err != nil {
		return err
	}
	counted, err := benchmarks(ctx, c, "1x", env, "./constructs/...")
	if err != nil {
		return err
	}
	for i, b := range timed {
		fmt.Fprintf(out, "  %-28s %4.0f round trips  %7.1f ms\n", b.name, counted[i].value["roundtrips/op"], b.value["ns/op"]/1e6)
	}
	return nil
}

func benchSynth(ctx context.Context, c local.Config, out io.Writer) error {
	fmt.Fprintln(out, "cdk synth, all stacks, warm")
	cli := cdk.CLI{Root: c.Project.Root, Env: os.Environ()}
	if _, err := cli.Install(ctx); err != nil {
		return err
	}
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
	return benchTwin(ctx, c, out)
}

// benchTwin compares the CDK app with the same calls in one Node process.
func benchTwin(ctx context.Context, c local.Config, out io.Writer) error {
	infra, err := c.Project.BuildInfra(ctx)
	if err != nil {
		return err
	}
	host := project.Host()
	program, err := c.Project.BuildApp(ctx, host)
	if err != nil {
		return err
	}
	file, err := os.ReadFile(filepath.Join(c.Project.Root, "cdk.json"))
	if err != nil {
		return err
	}
	var settings struct {
		Context map[string]any `json:"context"`
	}
	if err := json.Unmarshal(file, &settings); err != nil {
		return fmt.Errorf("read cdk.json: %w", err)
	}
	maps.Copy(settings.Context, map[string]any{"env": c.Environment, "architecture": host.Architecture, "artifact": program.Path})
	values, err := json.Marshal(settings.Context)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "loadbearing-twin-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	recording, err := twin.Record(ctx, twin.App{
		Path: infra.Path, Dir: c.Project.Root,
		Env: []string{"CDK_CONTEXT_JSON=" + string(values), "LOADBEARING_GOOS=" + host.GOOS},
	}, dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the same without the CDK CLI: %d round trips, against a twin that makes the same calls in Node\n", recording.RoundTrips)
	for _, validate := range []bool{false, true} {
		ours, twins, err := recording.Compare(ctx, 3, fmt.Sprintf("CDK_VALIDATION=%t", validate))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  validation %-5t %5.2f s, the twin %5.2f s: %.2f times\n",
			validate, ours.Seconds(), twins.Seconds(), ours.Seconds()/twins.Seconds())
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

func benchResizing(ctx context.Context, c local.Config, out io.Writer) error {
	results, err := benchmarks(ctx, c, "3x", nil, "./app/imaging")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "resizing")
	for _, b := range results {
		fmt.Fprintf(out, "  %s\n", b.line)
	}
	return nil
}

// benchmark is what one Go benchmark printed.
type benchmark struct {
	name  string // its package's last element and its own: queue.New
	line  string
	value map[string]float64 // by unit: ns/op
}

// benchmarks runs the Go benchmarks of packages, one package at a time.
func benchmarks(ctx context.Context, c local.Config, times string, env []string, packages ...string) ([]benchmark, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-p=1", "-run=^$", "-bench=.", "-benchtime=" + times}, packages...)...)
	cmd.Dir, cmd.Env = c.Project.Root, append(os.Environ(), env...)
	said, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("bench: %w\n%s", err, said)
	}
	return parseBenchmarks(string(said)), nil
}

// parseBenchmarks reads the output of `go test -bench`.
func parseBenchmarks(output string) []benchmark {
	var list []benchmark
	in := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if of, ok := strings.CutPrefix(line, "pkg: "); ok {
			in = path.Base(of)
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
		b := benchmark{name: in + "." + name, line: line, value: map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				b.value[fields[i+1]] = value
			}
		}
		list = append(list, b)
	}
	return list
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
