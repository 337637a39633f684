package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	gops "github.com/shirou/gopsutil/v4/process"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/deadletter"
	"github.com/loadbearing/loadbearing/internal/gobuild"
	"github.com/loadbearing/loadbearing/local"
	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/load"
)

// Environment is what a drill runs against: a running `loadbearing up`.
type Environment struct {
	Name   string // "dev"
	AWS    aws.Config
	Runner *process.Runner // what it starts is stopped by `loadbearing down` too

	config  local.Config
	primary *pgxpool.Pool
}

// Open returns the environment that runs in a run folder. Close releases it.
func Open(ctx context.Context, c local.Config) (*Environment, error) {
	status, err := local.ReadStatus(c.RunDir)
	if err != nil {
		return nil, err
	}
	if err := load.CheckLoopback(status.AWSEndpointURL); err != nil {
		return nil, fmt.Errorf("a drill breaks things on this machine only: %w", err)
	}
	if len(status.RemovedResourceTypes) > 0 {
		return nil, fmt.Errorf("drills need everything that is deployed, and %s rejects %v; run `make up` without AWS_ENDPOINT_URL",
			status.Emulator.Name, status.RemovedResourceTypes)
	}
	e, err := emulator.Attach(ctx, status.AWSEndpointURL)
	if err != nil {
		return nil, err
	}
	env := &Environment{Name: c.Environment, AWS: e.AWSConfig(), Runner: &process.Runner{Dir: c.RunDir}, config: c}
	if env.primary, err = pgxpool.New(ctx, primaryOf(status).DSN); err != nil {
		return nil, fmt.Errorf("connect to the primary: %w", err)
	}
	return env, nil
}

// Close releases the environment, which runs on.
func (e *Environment) Close() { e.primary.Close() }

// Status returns what runs now.
func (e *Environment) Status() (local.Status, error) { return local.ReadStatus(e.config.RunDir) }

// AwaitStatus returns the status once done says so. It gives up when ctx ends,
// and says what it waited for.
func (e *Environment) AwaitStatus(ctx context.Context, what string, done func(local.Status) bool) (local.Status, error) {
	var seen local.Status
	err := Await(ctx, what, func(context.Context) (bool, error) {
		var err error
		seen, err = e.Status()
		return err == nil && done(seen), err
	})
	return seen, err
}

// Await asks ten times a second until done says so. What it fails with may be
// the fault that is being drilled, so only the end of ctx ends it.
func Await(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, errors.Join(context.Cause(ctx), err))
		case <-tick.C:
		}
	}
}

// Setting returns what the stacks have published under a name.
func (e *Environment) Setting(ctx context.Context, s contract.Setting) (string, error) {
	name := s.Parameter(e.Name)
	out, err := ssm.NewFromConfig(e.AWS).GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if err != nil {
		return "", fmt.Errorf("read parameter %s: %w", name, err)
	}
	return aws.ToString(out.Parameter.Value), nil
}

// Primary is a pool of connections to the primary as its administrator, for
// whom row-level security hides nothing: drills count what is really there.
func (e *Environment) Primary() *pgxpool.Pool { return e.primary }

func primaryOf(s local.Status) local.Postgres {
	if i := slices.IndexFunc(s.Postgres, func(p local.Postgres) bool { return p.Role == "primary" }); i >= 0 {
		return s.Postgres[i]
	}
	return local.Postgres{}
}

// KillPrimary kills the primary as a crash would, and returns its pid. It is
// started again with its data, as RDS would start it.
func (e *Environment) KillPrimary() (int, error) {
	s, err := e.Status()
	if err != nil {
		return 0, err
	}
	return kill(primaryOf(s).PID, "the primary")
}

// KillCache kills Redis as a crash would, and returns its pid.
func (e *Environment) KillCache() (int, error) {
	s, err := e.Status()
	if err != nil {
		return 0, err
	}
	if s.Redis.Kind == "miniredis" {
		return 0, errors.New("the cache is miniredis, which runs inside `loadbearing up` and cannot be killed by itself")
	}
	return kill(s.Redis.PID, "the cache")
}

// Kill ends a process of the run by its id, as a crash would.
func kill(pid int, what string) (int, error) {
	if pid <= 1 {
		return 0, fmt.Errorf("kill %s: it does not run", what)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return pid, fmt.Errorf("kill %s (pid %d): %w", what, pid, err)
	}
	return pid, nil
}

// Group names an Auto Scaling group of the environment.
func (e *Environment) Group(fleet, color string) string {
	return contract.StackPrefix(e.Name) + fleet + "-" + color
}

// Resize gives a group exactly n instances, which no scaling policy changes,
// waits until they are what runs, and returns how to give it back its own size.
func (e *Environment) Resize(ctx context.Context, fleet, color string, n int) (restore func(context.Context) error, err error) {
	client := autoscaling.NewFromConfig(e.AWS)
	group := e.Group(fleet, color)
	out, err := client.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}})
	if err != nil {
		return nil, fmt.Errorf("read Auto Scaling group %s: %w", group, err)
	}
	if len(out.AutoScalingGroups) != 1 {
		return nil, fmt.Errorf("read Auto Scaling group %s: there is none", group)
	}
	was := out.AutoScalingGroups[0]
	set := func(ctx context.Context, least, desired, most int32) error {
		if _, err := client.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{
			AutoScalingGroupName: &group, MinSize: &least, DesiredCapacity: &desired, MaxSize: &most,
		}); err != nil {
			return fmt.Errorf("size Auto Scaling group %s to %d: %w", group, desired, err)
		}
		_, err := e.AwaitStatus(ctx, fmt.Sprintf("%s has %d instances", group, desired), func(s local.Status) bool {
			var all, serving int
			for _, i := range Instances(s, fleet, color) {
				all++
				if i.State == "in-service" {
					serving++
				}
			}
			return all == int(desired) && serving == all
		})
		return err
	}
	restore = func(ctx context.Context) error {
		least := aws.ToInt32(was.MinSize)
		return set(ctx, least, min(max(aws.ToInt32(was.DesiredCapacity), least), aws.ToInt32(was.MaxSize)), aws.ToInt32(was.MaxSize))
	}
	return restore, set(ctx, int32(n), int32(n), int32(n))
}

// Instances returns those of a fleet and color.
func Instances(s local.Status, fleet, color string) []local.Instance {
	var some []local.Instance
	for _, i := range s.Instances {
		if i.Fleet == fleet && i.Color == color {
			some = append(some, i)
		}
	}
	return some
}

// Resident returns the bytes of physical memory that a process has.
func Resident(ctx context.Context, pid int) (int64, error) {
	p, err := gops.NewProcessWithContext(ctx, int32(pid))
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	m, err := p.MemoryInfoWithContext(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return int64(m.RSS), nil
}

// Build builds a program that a drill needs, by its import path or its path
// below a folder of the project, and returns where it is.
func (e *Environment) Build(ctx context.Context, folder, pkg string) (string, error) {
	output := filepath.Join(e.config.Project.Root, ".build", "bin", path.Base(pkg))
	built, err := gobuild.Build(ctx, gobuild.Target{
		Dir: filepath.Join(e.config.Project.Root, folder), Package: pkg, Output: output, Record: output + ".json",
	})
	return built.Path, err
}

// Tenant is a new tenant with one project, and its owner, who is logged in.
type Tenant struct {
	*api.Client
	ID, UserID      uuid.UUID
	Project         api.Project
	Email, Password string
}

// NewTenant registers a tenant of its own at base, the edge's URL or an
// instance's.
func NewTenant(ctx context.Context, base, name string) (*Tenant, error) {
	c, err := api.New(base)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	t := &Tenant{Client: c, Email: "drill-" + id + "@example.com", Password: "correct horse battery " + id[:8]}
	if err := c.Register(ctx, name, t.Email, t.Password); err != nil {
		return nil, fmt.Errorf("register a tenant: %w", err)
	}
	if err := c.Login(ctx, t.Email, t.Password); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	if t.Project, err = c.CreateProject(ctx, name); err != nil {
		return nil, fmt.Errorf("create a project: %w", err)
	}
	r, err := c.Do(ctx, http.MethodGet, "/v1/me", nil, nil)
	if err != nil {
		return nil, err
	}
	var me struct {
		User   struct{ ID uuid.UUID }
		Tenant struct{ ID uuid.UUID }
	}
	if err := r.Decode(http.StatusOK, &me); err != nil {
		return nil, fmt.Errorf("ask who I am: %w", err)
	}
	t.ID, t.UserID = me.Tenant.ID, me.User.ID
	return t, nil
}

// Queue returns what is deployed of the queue at a URL.
func (e *Environment) Queue(ctx context.Context, url string) (deadletter.Queue, error) {
	all, err := e.DeadLetters().Queues(ctx)
	if err != nil {
		return deadletter.Queue{}, err
	}
	i := slices.IndexFunc(all, func(q deadletter.Queue) bool { return q.URL == url })
	if i < 0 || all[i].Dead == nil {
		return deadletter.Queue{}, fmt.Errorf("find queue %s: no stack of the environment has it with a dead-letter queue", url)
	}
	return all[i], nil
}

// DeadLetters works on the environment's queues, as `loadbearing dlq` does.
func (e *Environment) DeadLetters() *deadletter.Client { return deadletter.New(e.AWS, e.Name) }

// Waiting returns how many messages are in a queue: visible, in flight or delayed.
func (e *Environment) Waiting(ctx context.Context, url string) (int, error) {
	return e.count(ctx, url,
		sqstypes.QueueAttributeNameApproximateNumberOfMessages,
		sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		sqstypes.QueueAttributeNameApproximateNumberOfMessagesDelayed,
	)
}

// count sums up attributes of a queue that count messages.
func (e *Environment) count(ctx context.Context, url string, names ...sqstypes.QueueAttributeName) (int, error) {
	out, err := sqs.NewFromConfig(e.AWS).GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: names})
	if err != nil {
		return 0, fmt.Errorf("count the messages of %s: %w", url, err)
	}
	total := 0
	for _, name := range names {
		var n int
		if _, err := fmt.Sscan(out.Attributes[string(name)], &n); err != nil {
			return 0, fmt.Errorf("count the messages of %s: %s is %q", url, name, out.Attributes[string(name)])
		}
		total += n
	}
	return total, nil
}
