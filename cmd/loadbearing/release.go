package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
	"github.com/loadbearing/loadbearing/internal/migration/lint"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/internal/release"
)

const releaseUsage = `usage: loadbearing release --strategy rolling|blue-green|canary [flags]
       loadbearing release <verb> [flags]
  status    the release that goes on, or the last one; --follow keeps looking
  pause     stay at the present step
  resume    go on, also from --hold
  rollback  give all traffic back to the former version
  history   the last releases
` + "`loadbearing release -h`" + ` lists the flags of a release. Calls go to
AWS_ENDPOINT_URL, else to what ` + "`make up`" + ` runs, else to AWS.`

// releaseOptions are the flags of every verb.
type releaseOptions struct {
	env, fleet string
	aws        bool
	json       bool
	follow     bool
	limit      int
	reason     string
}

// runRelease starts a release, or does one of the verbs.
func runRelease(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "help" {
		fmt.Fprintln(stdout, releaseUsage)
		return nil
	}
	verb := "start"
	if !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	verbs := []string{"start", "status", "pause", "resume", "rollback", "history"}
	if !slices.Contains(verbs, verb) {
		return usageError{fmt.Errorf("no verb %q of release; there are: %s", verb, strings.Join(verbs[1:], ", "))}
	}
	fs := newFlags("release " + verb)
	var o releaseOptions
	fs.StringVar(&o.env, "env", "dev", "environment: dev or prod")
	fs.StringVar(&o.fleet, "fleet", contract.FleetWeb, "fleet that is released")
	fs.BoolVar(&o.aws, "aws", false, "go to AWS also while `make up` runs")
	var s start
	switch verb {
	case "start":
		s.flags(fs)
	case "status":
		fs.BoolVar(&o.follow, "follow", false, "keep looking until the release is over")
		fs.BoolVar(&o.json, "json", false, "print JSON, one object a look")
	case "history":
		fs.IntVar(&o.limit, "limit", 20, "most releases to show")
		fs.BoolVar(&o.json, "json", false, "print JSON")
	case "rollback":
		fs.StringVar(&o.reason, "reason", "", "why, for those who read the history")
	}
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	cfg, where, err := endpoint(ctx, o.aws)
	if err != nil {
		return err
	}
	operator := &release.Operator{
		Fleet: release.Fleet{Environment: o.env, Name: o.fleet}, Cloud: release.NewCloud(cfg), By: whoami(),
	}
	switch verb {
	case "start":
		return s.run(ctx, operator, cfg, where, stdout)
	case "status":
		return o.status(ctx, operator, stdout)
	case "history":
		return o.history(ctx, operator, stdout)
	case "rollback":
		return o.rollback(ctx, operator, stdout)
	}
	state, err := operator.Order(ctx, release.Command(verb), o.reason)
	if err != nil {
		return asUsage(err)
	}
	fmt.Fprintf(stdout, "release %d of %s was told to %s; it is %s\n", state.Number, state.Plan.Version, verb, state.Phase)
	return nil
}

// asUsage makes what the caller can mend one of their mistakes.
func asUsage(err error) error {
	if _, refused := errors.AsType[*release.Refusal](err); refused {
		return usageError{err}
	}
	return err
}

// whoami is who a release is by.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// start are the flags of a release.
type start struct {
	strategy, artifact, version string
	migrations                  string
	steps                       string
	errors                      string
	bake, p99, window           time.Duration
	launch, timeout             time.Duration
	ratio                       float64
	minRequests, minErrors      int
	hold, detach                bool
}

func (s *start) flags(fs *flag.FlagSet) {
	fs.StringVar(&s.strategy, "strategy", "", "rolling, blue-green or canary")
	fs.StringVar(&s.artifact, "artifact", "", "the program: a static Linux binary; default the one that `make build` makes, of this checkout")
	fs.StringVar(&s.migrations, "migrations", "", "folder of the migrations that come with the artifact; default those of this checkout when --artifact is its own, else none")
	fs.StringVar(&s.version, "version", "", "what to call it; default the beginning of its SHA-256")
	fs.StringVar(&s.steps, "steps", "", "percentages of a canary, default 5,25,50,100")
	fs.DurationVar(&s.bake, "bake", 0, "how long each step is watched, default 2m; at least 1m on AWS, whose load balancers send metrics once a minute")
	fs.StringVar(&s.errors, "max-error-rate", "", "highest share of 5xx answers, default 1%")
	fs.DurationVar(&s.p99, "max-p99", 0, "longest 99th percentile of the time to the first byte, default 500ms")
	fs.Float64Var(&s.ratio, "max-p99-ratio", 0, "how many times that of the other color it may be, default 3; up to a tenth of --max-p99 any")
	fs.IntVar(&s.minRequests, "min-requests", 0, "requests that a verdict on a step needs, default 200; a step with fewer goes on")
	fs.IntVar(&s.minErrors, "min-errors", 0, "errors that it takes to fail a step, default 3")
	fs.DurationVar(&s.window, "window", 0, "how long the former color is kept to roll back to, default 15m")
	fs.DurationVar(&s.launch, "launch-timeout", 0, "how long the candidate may take to be healthy, default 10m")
	fs.DurationVar(&s.timeout, "timeout", 0, "how long the release may take, waiting for traffic included, default 24h")
	fs.BoolVar(&s.hold, "hold", false, "wait for `release resume` before the candidate gets any traffic; testers reach it with the header "+contract.ReleaseHeader)
	fs.BoolVar(&s.detach, "detach", false, "return when the release has begun")
}

func (s *start) plan() (release.Plan, error) {
	p := release.Plan{
		Strategy: release.Strategy(s.strategy), Version: s.version, Hold: s.hold,
		Bake: release.Duration(s.bake), MaxP99: release.Duration(s.p99), MaxP99Ratio: s.ratio,
		MinRequests: s.minRequests, MinErrors: s.minErrors, Window: release.Duration(s.window),
		LaunchTimeout: release.Duration(s.launch), Timeout: release.Duration(s.timeout),
	}
	for step := range strings.SplitSeq(s.steps, ",") {
		if s.steps == "" {
			break
		}
		n, err := strconv.Atoi(strings.TrimSpace(step))
		if err != nil {
			return p, usageError{fmt.Errorf("--steps %q: percentages with commas between, as in 5,25,50,100", s.steps)}
		}
		p.Steps = append(p.Steps, n)
	}
	if s.errors != "" {
		percent, err := strconv.ParseFloat(strings.TrimSuffix(s.errors, "%"), 64)
		if err != nil || !(percent > 0) { // 0 would be the default
			return p, usageError{fmt.Errorf("--max-error-rate %q: a percentage above 0, as in 1%%; --min-errors says how many it takes", s.errors)}
		}
		p.MaxErrorPercent = percent
	}
	// Before anything is built or uploaded.
	check := p.WithDefaults()
	check.Artifact = contract.Artifact{Bucket: "-", Key: "-", SHA256: strings.Repeat("0", 64)}
	if err := check.Validate(); err != nil {
		return p, usageError{fmt.Errorf("release:\n%w", err)}
	}
	return p, nil
}

func (s *start) run(ctx context.Context, operator *release.Operator, cfg aws.Config, where string, stdout io.Writer) error {
	p, err := s.plan()
	if err != nil {
		return err
	}
	t, err := operator.Target(ctx)
	if err != nil {
		return err
	}
	path, migrations := s.artifact, s.migrations
	if path == "" {
		var ours string
		if path, ours, err = builtArtifact(ctx, cfg); err != nil {
			return err
		}
		migrations = cmp.Or(migrations, ours)
	}
	program, err := os.Open(path)
	if err != nil {
		return usageError{fmt.Errorf("--artifact: %w", err)}
	}
	defer program.Close()
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
	if p.Artifact, err = release.Upload(ctx, objects, t.Artifacts, "app", program); err != nil {
		return err
	}
	if p.Version == "" {
		p.Version = p.Artifact.SHA256[:12]
	}
	if migrations != "" && t.Migrate != "" {
		if p.Migrations, err = uploadMigrations(ctx, objects, t.Artifacts, migrations); err != nil {
			return err
		}
	}
	number, err := operator.Start(ctx, p)
	if err != nil {
		return asUsage(err)
	}
	fmt.Fprintf(stdout, "release %d: %s, %s, %s %s\n", number, p.Version, p.Strategy, operator.Fleet.Environment, where)
	if s.detach {
		return nil
	}
	return follow(ctx, operator, number, stdout)
}

// uploadMigrations packs a folder of migrations, after the lint that the migrate
// function applies too: what would be refused there is refused here, before
// anything is uploaded.
func uploadMigrations(ctx context.Context, objects release.Objects, bucket, folder string) (*contract.Artifact, error) {
	files := os.DirFS(folder)
	if err := lint.Check(files); err != nil {
		return nil, usageError{fmt.Errorf("--migrations %s: %w", folder, err)}
	}
	archive, err := migration.Archive(files)
	if err != nil {
		return nil, fmt.Errorf("--migrations %s: %w", folder, err)
	}
	a, err := release.Upload(ctx, objects, bucket, "migrations.zip", bytes.NewReader(archive))
	return &a, err
}

// builtArtifact builds the program of this checkout for the platform it is
// released to, and returns it with the folder of its migrations.
func builtArtifact(ctx context.Context, cfg aws.Config) (program, migrations string, err error) {
	found, err := project.Find()
	if err != nil {
		return "", "", fmt.Errorf("release: no --artifact, and %w", err)
	}
	on := project.Platform{GOOS: "linux", Architecture: "arm64"}
	if cfg.BaseEndpoint != nil {
		on = project.Host()
	}
	binary, err := found.BuildApp(ctx, on)
	return binary.Path, filepath.Join(found.Root, "app", "postgres", "migrations"), err
}

// follow tells each change of a release until its traffic has moved or gone back.
func follow(ctx context.Context, operator *release.Operator, number int, stdout io.Writer) error {
	begun := time.Now()
	last, err := operator.Await(ctx, number, func(s release.State) {
		fmt.Fprintf(stdout, "  %6.1fs  %-13s %3d %% on %-5s  %s\n", time.Since(begun).Seconds(), s.Phase, s.Weight, s.To, remark(s))
	})
	if err != nil {
		return asUsage(err)
	}
	if last.Phase == release.RolledBack {
		return fmt.Errorf("release %d of %s was rolled back: %s", number, last.Plan.Version, last.Reason)
	}
	if last.Phase == release.Promoted {
		fmt.Fprintf(stdout, "%s serves on %s; for %v `loadbearing release rollback` brings %s back at once\n", last.Plan.Version, last.To, time.Duration(last.Plan.Window), last.From)
	}
	return nil
}

// remark is what there is to say of a state beside its phase.
func remark(s release.State) string {
	switch {
	case s.Reason != "":
		return s.Reason
	case s.Phase == release.Baking && s.Plan.Strategy == release.Canary:
		return fmt.Sprintf("step %d of %d, %v", s.Step+1, len(s.Plan.Steps), time.Duration(s.Plan.Bake))
	case s.Phase == release.Shifting && s.Verdict != nil:
		return s.Verdict.Reason
	}
	return ""
}

// lookEvery is how often status --follow looks.
const lookEvery = 2 * time.Second

func (o releaseOptions) status(ctx context.Context, operator *release.Operator, stdout io.Writer) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		v, err := operator.View(ctx)
		if err != nil {
			return err
		}
		if o.json {
			err = json.NewEncoder(stdout).Encode(v)
		} else {
			err = printView(stdout, v)
		}
		if err != nil || !o.follow || v.State.Number == 0 || v.State.Phase.Over() {
			return err
		}
		select {
		case <-tick.C:
			fmt.Fprintln(stdout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func printView(w io.Writer, v release.View) error {
	s := v.State
	if s.Number == 0 {
		fmt.Fprintln(w, "no release yet; the version that was deployed serves")
	} else {
		fmt.Fprintf(w, "release %d  %s  %s by %s  %s for %v", s.Number, s.Plan.Version, s.Plan.Strategy, s.By, s.Phase, v.At.Sub(s.Entered).Round(time.Second))
		if r := remark(s); r != "" {
			fmt.Fprintf(w, "  %s", r)
		}
		fmt.Fprintln(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  COLOR\tTRAFFIC\t\tARTIFACT\tINSTANCES\tHEALTHY\tREQUESTS\t5XX\tP99")
	for _, color := range []string{contract.ColorBlue, contract.ColorGreen} {
		l := v.Colors[color]
		fmt.Fprintf(t, "  %s\t%3d %%\t%s\t%.12s\t%d of %d\t%d of %d\t%d\t%.2f %%\t%v\n", color, l.Percent, bar(l.Percent), l.Artifact.SHA256,
			l.InService, l.Desired, l.Healthy, l.Targets, l.Measured.Requests, l.Measured.ErrorPercent(), time.Duration(l.Measured.P99).Round(time.Millisecond))
	}
	return t.Flush()
}

// bar draws a share in twenty characters.
func bar(percent int) string {
	full := (percent + 4) / 5
	return strings.Repeat("█", full) + strings.Repeat("░", 20-full)
}

// rollback tells a release to go back and follows it.
func (o releaseOptions) rollback(ctx context.Context, operator *release.Operator, stdout io.Writer) error {
	state, err := operator.Order(ctx, release.Rollback, o.reason)
	if err != nil {
		return asUsage(err)
	}
	fmt.Fprintf(stdout, "release %d of %s is rolled back\n", state.Number, state.Plan.Version)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := operator.State(ctx)
		if err != nil {
			return err
		}
		if s.Phase == release.Withdrawing || s.Phase == release.RolledBack {
			fmt.Fprintf(stdout, "%s has all traffic; %s is %s\n", s.From, s.Plan.Version, s.Phase)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for release %d, which is %s: %w", s.Number, s.Phase, ctx.Err())
		}
	}
}

func (o releaseOptions) history(ctx context.Context, operator *release.Operator, stdout io.Writer) error {
	history, err := operator.History(ctx, o.limit)
	if err != nil {
		return err
	}
	newestFirst(history)
	if o.json {
		return json.NewEncoder(stdout).Encode(history)
	}
	return printHistory(stdout, history)
}

// newestFirst sorts by when executions began. Step Functions lists those that have
// ended by when they did: a release that another one followed within its window may
// end last.
func newestFirst(history []release.Past) {
	slices.SortStableFunc(history, func(a, b release.Past) int { return b.Started.Compare(a.Started) })
}

// printHistory prints a line for each execution. One that took a release over was
// not told what it is about: another line says it.
func printHistory(w io.Writer, history []release.Past) error {
	plans := map[int]release.Plan{}
	for _, p := range history {
		if !p.Continued {
			plans[p.Number] = p.Plan
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RELEASE\tSTARTED\tTOOK\tSTRATEGY\tVERSION\tBY\tEXECUTION\tOUTCOME")
	for _, p := range history {
		took := "-"
		if !p.Stopped.IsZero() {
			took = p.Stopped.Sub(p.Started).Round(time.Second).String()
		}
		outcome := string(p.Outcome)
		if outcome == "" && p.Status == "SUCCEEDED" {
			outcome = "left to another execution"
		}
		plan := plans[p.Number]
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s %s\t%s\n", p.Number, p.Started.UTC().Format(time.RFC3339), took, plan.Strategy, plan.Version, p.By,
			p.Execution, strings.ToLower(p.Status), outcome)
	}
	return t.Flush()
}
