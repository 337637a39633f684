package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migrate"
	"github.com/loadbearing/loadbearing/internal/migration"
	"github.com/loadbearing/loadbearing/internal/project"
	"github.com/loadbearing/loadbearing/local/cdk"
	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/edge"
	"github.com/loadbearing/loadbearing/local/edge/alb"
	"github.com/loadbearing/loadbearing/local/elasticache"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/instances"
	"github.com/loadbearing/loadbearing/local/metrics"
	"github.com/loadbearing/loadbearing/local/postgres"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/rds"
	"github.com/loadbearing/loadbearing/local/redis"
	"github.com/loadbearing/loadbearing/local/scaling"
)

// Limits of what Up waits for. Each is far above what it takes.
const (
	settleLimit   = 2 * time.Minute  // every instance in service
	healthyLimit  = time.Minute      // every target healthy
	shutdownLimit = 30 * time.Second // requests in flight when Up ends
	watchEvery    = 500 * time.Millisecond
	stacksEvery   = 5 * time.Second
	followEvery   = 3 * time.Second
	restartAfter  = 500 * time.Millisecond // so that what ends at once does not spin
)

// runtime is what Up has started, and what is left to stop, last first.
type runtime struct {
	config   Config
	progress *progress
	runner   *process.Runner
	ca       *certificates.CA

	emulator  *emulator.Emulator
	databases *rds.Manager
	caches    *elasticache.Manager
	edge      *edge.Edge
	instances *instances.Manager
	scaling   *scaling.Manager
	ended     chan struct{} // holds one when a data store has ended
	removed   []string      // resource types this emulator rejects

	stacks     []Stack // as last read
	stacksRead time.Time

	saying sync.Mutex      // guards said
	said   map[string]bool // faults

	stops []func(context.Context)
}

// Up starts everything, says when it is ready and watches over it until ctx
// ends; then it stops what it started. It is ErrRunning when another Up holds
// the run folder.
func Up(ctx context.Context, c Config, out io.Writer) (err error) {
	held, err := acquire(c.RunDir)
	if err != nil {
		return err
	}
	defer held.release()
	if err := c.checkPorts(); err != nil {
		return err
	}
	r := &runtime{
		config: c, progress: newProgress(out), runner: &process.Runner{Dir: c.RunDir},
		ended: make(chan struct{}, 1), said: map[string]bool{},
	}
	if err := r.clear(ctx); err != nil {
		return err
	}
	defer func() {
		if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			err = nil // asked to stop
		}
		r.progress.printf("\nstopping …\n")
		r.stop(context.WithoutCancel(ctx))
		err = errors.Join(err, removeRun(c.RunDir))
		r.progress.printf("stopped\n")
	}()

	began := time.Now()
	r.progress.printf("Loadbearing, environment %s\n", c.Environment)
	if err := r.start(ctx); err != nil {
		return err
	}
	status := r.status(ctx)
	if err := errors.Join(writeJSON(StepsPath(c.RunDir), r.progress.done()), r.welcome(status, time.Since(began))); err != nil {
		return err
	}
	following, stopFollowing := context.WithCancel(ctx)
	var followed sync.WaitGroup
	followed.Go(func() { r.follow(following) })
	defer followed.Wait()
	defer stopFollowing()
	return r.watch(ctx, status)
}

// clear removes what an earlier run left: processes, then files.
func (r *runtime) clear(ctx context.Context) error {
	left, err := r.runner.StopLeftovers(ctx, 10*time.Second)
	if err != nil {
		return fmt.Errorf("stop what a crashed run left: %w", err)
	}
	for _, name := range left {
		r.progress.printf("  stopped %s, which a crashed run had left\n", name)
	}
	return errors.Join(removeRun(r.config.RunDir), os.RemoveAll(filepath.Join(r.config.RunDir, "logs")))
}

// start goes through the steps, the slow ones that do not need each other side
// by side.
func (r *runtime) start(ctx context.Context) error {
	c := r.config
	var err error
	if r.ca, err = certificates.Open(filepath.Join(c.RunDir, "certificates")); err != nil {
		return err
	}
	host := project.Host()
	cli := cdk.CLI{Root: c.Project.Root}
	assembly := filepath.Join(c.RunDir, "cdk.out")
	var binaries postgres.Binaries
	var cache redis.Program

	side, sctx := errgroup.WithContext(ctx)
	side.Go(func() error {
		return r.progress.do("emulator", func() (string, error) { return r.startEmulator(sctx) })
	})
	side.Go(func() error {
		return r.progress.do("postgres", func() (string, error) {
			var err error
			if binaries, err = postgres.Install(sctx, c.CacheDir); err != nil {
				return "", err
			}
			return "PostgreSQL " + binaries.Version + " in " + binaries.Dir, nil
		})
	})
	side.Go(func() error {
		return r.progress.do("redis", func() (string, error) {
			var err error
			if cache, err = redis.Install(sctx, c.CacheDir, r.detail); err != nil {
				return "", err
			}
			if cache.Kind == redis.Miniredis {
				return "miniredis inside this process: " + cache.Note, nil
			}
			return fmt.Sprintf("%s %s in %s", cache.Kind, cache.Version, filepath.Dir(cache.Path)), nil
		})
	})
	side.Go(func() error {
		if err := r.progress.do("cdk", func() (string, error) {
			version, err := cli.Install(sctx)
			return "aws-cdk " + version, err
		}); err != nil {
			return err
		}
		if err := r.progress.do("build", func() (string, error) {
			app, err := c.Project.BuildApp(sctx, host)
			if err != nil {
				return "", err
			}
			_, err = c.Project.BuildInfra(sctx)
			return fmt.Sprintf("app for %s/%s, %.1f MB, sha256 %.12s…", host.GOOS, host.GOARCH(), float64(app.Bytes)/1e6, app.SHA256), err
		}); err != nil {
			return err
		}
		return r.progress.do("synth", func() (string, error) {
			cli := cli
			cli.Env = os.Environ()
			// The templates are the ones `make synth` validates; checking them again takes most of the time.
			if err := c.Project.Synth(sctx, cli, project.Synthesis{
				Env: c.Environment, Region: c.Region, Platform: host, Out: assembly,
			}); err != nil {
				return "", err
			}
			return summary(assembly)
		})
	})
	if err := side.Wait(); err != nil {
		return err
	}
	cli.Env = cdk.Emulated(r.emulator.URL, c.Region)
	if cli.Log, err = r.logFile("cdk"); err != nil {
		return err
	}

	return r.inOrder(
		step{"deploy", func() (string, error) {
			types, err := Deploy(ctx, cli, r.emulator, assembly, filepath.Join(c.RunDir, "cdk.filtered"), "--all")
			r.removed = types
			if len(types) > 0 {
				return fmt.Sprintf("without %d resource types, which this emulator rejects", len(types)), err
			}
			return "every stack, unmodified", err
		}},
		step{"databases", func() (string, error) { return r.startDatabases(ctx, binaries) }},
		step{"cache", func() (string, error) { return r.startCaches(ctx, cache) }},
		step{"migrate", func() (string, error) {
			if why, missing := r.without("AWS::Lambda::Function"); missing {
				return why, nil
			}
			result, err := migrate.Run(ctx, r.emulator.AWSConfig(), c.Environment, migration.Event{})
			return fmt.Sprintf("schema version %d, %d migrations applied by the function", result.Version, len(result.Applied)), err
		}},
		step{"edge", func() (string, error) { return r.startEdge(ctx) }},
		step{"instances", func() (string, error) { return r.startInstances(ctx) }},
		step{"scaling", func() (string, error) { return r.startScaling(ctx) }},
	)
}

type step struct {
	name string
	run  func() (string, error)
}

func (r *runtime) inOrder(steps ...step) error {
	for _, s := range steps {
		if err := r.progress.do(s.name, s.run); err != nil {
			return err
		}
	}
	return nil
}

func (r *runtime) startEmulator(ctx context.Context) (string, error) {
	c := r.config
	if c.EndpointURL != "" {
		e, err := emulator.Attach(ctx, c.EndpointURL)
		if err != nil {
			return "", err
		}
		if e.Name == emulator.NameUnknown {
			return "", fmt.Errorf("AWS_ENDPOINT_URL=%s answers like no emulator known here; unset it to start one, or use `make deploy` for AWS", c.EndpointURL)
		}
		r.emulator = e
		return fmt.Sprintf("%s %s at %s, which runs already", e.Name, e.Version, e.URL), nil
	}
	python, err := emulator.Install(ctx, c.CacheDir, r.detail)
	if err != nil {
		return "", err
	}
	r.emulator, err = emulator.Start(ctx, emulator.Options{
		Runner: r.runner, Python: python, Port: c.AWSPort, Region: c.Region,
		RunDir: filepath.Join(c.RunDir, "emulator"),
		Env:    []string{contract.EnvCAFile + "=" + r.ca.File},
	})
	if err != nil {
		return "", err
	}
	r.onStop(r.emulator.Stop)
	return fmt.Sprintf("%s %s at %s", r.emulator.Name, r.emulator.Version, r.emulator.URL), nil
}

// detail says what a step does that takes time.
func (r *runtime) detail(what string) { r.progress.printf("    %s\n", what) }

// without tells that a resource type was left out because the emulator rejects
// it, in the words of a step that has nothing to run.
func (r *runtime) without(resourceType string) (string, bool) {
	return "not started: this emulator rejects " + resourceType, slices.Contains(r.removed, resourceType)
}

func (r *runtime) startDatabases(ctx context.Context, binaries postgres.Binaries) (string, error) {
	if why, missing := r.without("AWS::RDS::DBInstance"); missing {
		return why, nil
	}
	r.databases = rds.New(rds.Options{
		API: rds.NewAPI(r.emulator.AWSConfig()), Environment: r.config.Environment,
		Runner: r.runner, Binaries: binaries, CacheDir: r.config.CacheDir, CA: r.ca, Ended: r.hasEnded, Log: r.logger("rds"),
	})
	r.onStop(r.databases.Stop)
	if err := r.databases.Reconcile(ctx); err != nil {
		return "", err
	}
	counts := map[string]int{}
	for _, d := range r.databases.Databases() {
		counts[d.Role]++
	}
	return fmt.Sprintf("PostgreSQL %s, %d primary, %d streaming replica", binaries.Version, counts[rds.Primary], counts[rds.Replica]), nil
}

func (r *runtime) startCaches(ctx context.Context, program redis.Program) (string, error) {
	if why, missing := r.without("AWS::ElastiCache::ReplicationGroup"); missing {
		return why, nil
	}
	r.caches = elasticache.New(elasticache.Options{
		API: elasticache.NewAPI(r.emulator.AWSConfig()), Environment: r.config.Environment,
		Runner: r.runner, CA: r.ca, Program: program, Ended: r.hasEnded, Log: r.logger("elasticache"),
	})
	r.onStop(r.caches.Stop)
	if err := r.caches.Reconcile(ctx); err != nil {
		return "", err
	}
	var said []string
	for _, c := range r.caches.Caches() {
		if c.Kind == "" {
			said = append(said, "somebody else's at "+c.URL)
			continue
		}
		said = append(said, fmt.Sprintf("%s at %s", c.Kind, c.URL))
	}
	return strings.Join(said, ", "), nil
}

func (r *runtime) startEdge(ctx context.Context) (string, error) {
	for _, t := range []string{"AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::CloudFront::Distribution"} {
		if why, missing := r.without(t); missing {
			return why, nil
		}
	}
	c := r.config
	var err error
	r.edge, err = edge.Start(ctx, edge.Options{
		AWS: r.emulator.AWSConfig(), EdgeAddr: loopback(c.EdgePort), ALBAddr: loopback(c.ALBPort),
		Logger: r.logger("edge"), ReportHealth: r.emulator.Extended,
		AccessLog: filepath.Join(c.RunDir, "logs", "alb-access.log"), DeliverLogs: 5 * scaling.Minute,
	})
	if err != nil {
		return "", err
	}
	r.onStop(func(ctx context.Context) { _ = r.edge.Shutdown(ctx) })
	published := metrics.Balancer{
		API: cloudwatch.NewFromConfig(r.emulator.AWSConfig()), LoadBalancer: r.edge.ALB(), Every: scaling.Minute, Log: r.logger("metrics"),
	}
	r.background(ctx, published.Run)
	return "CloudFront at " + r.edge.URL() + ", load balancer at " + r.edge.ALBURL(), nil
}

func (r *runtime) startInstances(ctx context.Context) (string, error) {
	if why, missing := r.without("AWS::AutoScaling::AutoScalingGroup"); missing {
		return why, nil
	}
	if r.edge == nil {
		return "not started: there is no load balancer to put them behind", nil
	}
	env := map[string]string{
		contract.EnvCAFile: r.ca.File,
		// The app's own metric keeps the pace of those that AWS publishes each minute.
		contract.EnvConnectionsInterval: scaling.Minute.String(),
	}
	for _, kv := range r.emulator.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	r.instances = instances.New(instances.Options{
		API: instances.NewAPI(r.emulator.AWSConfig()), Runner: r.runner, RunDir: r.config.RunDir,
		Env: env, LoadBalancer: balancer{r.edge.ALB()}, Minute: scaling.Minute, Log: r.logger("instances"),
	})
	r.background(ctx, r.instances.Run)
	settle, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := r.instances.Settled(settle); err != nil {
		return "", err
	}
	if err := r.healthy(ctx); err != nil {
		return "", err
	}
	counts := map[string]int{}
	for _, i := range r.instances.Instances() {
		counts[i.Fleet]++
	}
	return fmt.Sprintf("%d web, %d worker in service", counts[contract.FleetWeb], counts[contract.FleetWorker]), nil
}

// startScaling acts on the scaling policies from now on. It stops before the
// instances do, so that none is launched meanwhile.
func (r *runtime) startScaling(ctx context.Context) (string, error) {
	if r.instances == nil {
		return "not started: there are no instances to scale", nil
	}
	cfg := r.emulator.AWSConfig()
	groups, alarms := autoscaling.NewFromConfig(cfg), cloudwatch.NewFromConfig(cfg)
	publisher := metrics.Publisher{API: alarms, Sources: map[string]metrics.Source{
		"AWS/ApplicationELB": metrics.Balancer{},
		"AWS/AutoScaling":    metrics.Groups{API: groups, Instances: r.instances.Instances},
		"AWS/EC2":            &metrics.Machines{Instances: r.instances.Instances},
		"AWS/SQS":            &metrics.Queues{API: sqs.NewFromConfig(cfg)},
	}}
	r.scaling = scaling.New(scaling.Options{
		API:     scaling.API{Groups: groups, Alarms: alarms},
		Publish: publisher.Publish, Instances: r.instances.Instances, Log: r.logger("scaling"),
	})
	policies, actions, err := r.scaling.Deployed(ctx)
	if err != nil {
		return "", err
	}
	r.background(ctx, r.scaling.Run)
	return fmt.Sprintf("%d policies, %d scheduled actions; a minute of CloudWatch lasts %v", policies, actions, scaling.Minute), nil
}

// background runs something until the stop, which waits for its end.
func (r *runtime) background(ctx context.Context, run func(context.Context)) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { run(running) })
	r.onStop(func(context.Context) {
		stop()
		done.Wait()
	})
}

// healthy waits until the load balancer has found every registered target healthy.
func (r *runtime) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthyLimit)
	defer cancel()
	if err := r.edge.Reload(ctx); err != nil {
		return err
	}
	balancer := r.edge.ALB()
	for _, group := range balancer.Config().TargetGroups {
		for _, target := range group.Targets {
			if _, err := balancer.Wait(ctx, group.ARN, target, alb.Healthy); err != nil {
				return err
			}
		}
	}
	return nil
}

// balancer tells the instances what the load balancer knows of targets.
type balancer struct{ alb *alb.Server }

func (b balancer) Draining(ctx context.Context, group, id string, port int) error {
	_, err := b.alb.Wait(ctx, group, alb.Target{ID: id, Port: port}, alb.Draining, alb.Unused)
	return err
}

func (b balancer) Healthy(group, id string, port int) bool { return b.is(group, id, port, alb.Healthy) }

func (b balancer) Unhealthy(group, id string, port int) bool {
	return b.is(group, id, port, alb.Unhealthy)
}

func (b balancer) is(group, id string, port int, state alb.State) bool {
	return slices.ContainsFunc(b.alb.Health(group), func(h alb.TargetHealth) bool {
		return h.ID == id && h.Port == port && h.State == state
	})
}

func (r *runtime) onStop(stop func(context.Context)) { r.stops = append(r.stops, stop) }

// stop stops what was started, the last first.
func (r *runtime) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	for _, stop := range slices.Backward(r.stops) {
		stop(ctx)
	}
}

// logger writes to a file of its own in the run's logs.
func (r *runtime) logger(name string) *slog.Logger {
	f, err := r.logFile(name)
	if err != nil {
		return slog.Default()
	}
	return slog.New(slog.NewTextHandler(f, nil))
}

// logFile opens a file in the run's logs until the run ends.
func (r *runtime) logFile(name string) (*os.File, error) {
	dir := filepath.Join(r.config.RunDir, "logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	r.onStop(func(context.Context) { f.Close() })
	return f, nil
}

// readStacks returns the environment's stacks as the emulator has them now.
func (r *runtime) readStacks(ctx context.Context) ([]Stack, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := cloudformation.NewFromConfig(r.emulator.AWSConfig())
	var list []Stack
	pages := cloudformation.NewDescribeStacksPaginator(client, &cloudformation.DescribeStacksInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Stacks {
			name := aws.ToString(s.StackName)
			if !strings.HasPrefix(name, contract.StackPrefix(r.config.Environment)) {
				continue
			}
			n := 0
			resources := cloudformation.NewListStackResourcesPaginator(client, &cloudformation.ListStackResourcesInput{StackName: s.StackName})
			for resources.HasMorePages() {
				page, err := resources.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				n += len(page.StackResourceSummaries)
			}
			list = append(list, Stack{Name: name, Status: string(s.StackStatus), Resources: n})
		}
	}
	slices.SortFunc(list, func(a, b Stack) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func summary(assembly string) (string, error) {
	stacks, err := project.Summaries(assembly)
	if err != nil {
		return "", err
	}
	n := 0
	for _, s := range stacks {
		n += s.Resources
	}
	return fmt.Sprintf("%d stacks, %d resources", len(stacks), n), nil
}
