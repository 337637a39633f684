package instances_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/instances"
	"github.com/loadbearing/loadbearing/local/process"
)

// running is a Manager at work.
type running struct {
	*instances.Manager
	cloud  *cloud
	log    *buffer
	runDir string
	stop   func() // ends Run and waits for it
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func run(t *testing.T, c *cloud, change func(*instances.Options)) *running {
	t.Helper()
	dir := t.TempDir()
	log := &buffer{}
	o := instances.Options{
		API: c.api(), Runner: &process.Runner{Dir: dir}, RunDir: dir,
		Env:  map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", contract.EnvCAFile: "/run/ca.pem"},
		Log:  slog.New(slog.NewTextHandler(log, nil)),
		Poll: 10 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	m := instances.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.Run(ctx); close(done) }()
	r := &running{m, c, log, dir, func() { cancel(); <-done }}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Log(log.String())
		}
		left, err := o.Runner.Leftovers()
		require.NoError(t, err)
		require.Empty(t, left)
	})
	return r
}

// settled waits until the deployed capacity is reached.
func (r *running) settled(t *testing.T, n int) []instances.Instance {
	t.Helper()
	var serving []instances.Instance
	require.Eventually(t, func() bool {
		serving = r.in(instances.InService)
		return len(serving) == n && len(r.in(instances.Pending)) == 0 && len(r.in(instances.Draining)) == 0
	}, 20*time.Second, 5*time.Millisecond, "not %d in service", n)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, r.Settled(ctx))
	return serving
}

func (r *running) in(state instances.State) []instances.Instance {
	var in []instances.Instance
	for _, i := range r.Instances() {
		if i.State == state {
			in = append(in, i)
		}
	}
	return in
}

func (r *running) logs(t *testing.T, parts ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, part := range parts {
			if !strings.Contains(r.log.String(), part) {
				return false
			}
		}
		return true
	}, 20*time.Second, 5*time.Millisecond, "the log has no %q", parts)
}

func TestInstancesRunWhatIsDeployed(t *testing.T) {
	t.Setenv("SECRET_OF_THE_CALLER", "inherited")
	c := newCloud(t, 2, "TEST_VERSION=v1", "# a comment", `QUOTED="a b"`)
	c.targets["i-0000000000000dead"] = 4711 // of an earlier run that crashed
	r := run(t, c, nil)
	serving := r.settled(t, 2)
	require.NotEqual(t, serving[0].ID, serving[1].ID)
	for _, i := range serving {
		require.Regexp(t, "^i-[0-9a-f]{17}$", i.ID)
		require.Equal(t, "web", i.Fleet)
		require.Equal(t, "blue", i.Color)
		require.Equal(t, "v1", i.Version)
		require.Equal(t, fmt.Sprintf("http://127.0.0.1:%d", c.registered()[i.ID]), i.URL)

		res, err := http.Get(i.URL + "/environ")
		require.NoError(t, err)
		var environ []string
		require.NoError(t, json.NewDecoder(res.Body).Decode(&environ))
		require.NoError(t, res.Body.Close())
		require.Subset(t, environ, []string{
			"LOADBEARING_INSTANCE_ID=" + i.ID, "LOADBEARING_FLEET=web", "LOADBEARING_CA_FILE=/run/ca.pem",
			"AWS_ENDPOINT_URL=http://127.0.0.1:4566", "QUOTED=a b",
			"LOADBEARING_HTTP_ADDR=" + strings.TrimPrefix(i.URL, "http://"),
			"LOADBEARING_METRICS_ADDR=" + strings.TrimPrefix(i.MetricsURL, "http://"),
		})
		require.NotContains(t, environ, "SECRET_OF_THE_CALLER=inherited")
	}
	require.Eventually(t, func() bool { return len(c.registered()) == 2 }, 5*time.Second, 5*time.Millisecond,
		"the target of the earlier run is taken out")
	require.Equal(t, 1, c.downloads, "the artifact is fetched once")

	r.stop()
	require.Empty(t, c.registered())
	require.Len(t, r.in(instances.Terminated), 2)
}

func TestCapacityIsFollowed(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1, "TEST_VERSION=v1")
	lb := &balancer{released: make(chan struct{})}
	r := run(t, c, func(o *instances.Options) { o.LoadBalancer = lb })
	first := r.settled(t, 1)[0]
	c.desire(3)
	r.settled(t, 3)

	// The oldest goes, and not before its load balancer says that it may.
	c.desire(2)
	require.Eventually(t, func() bool { return len(r.in(instances.Draining)) == 1 }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, first.ID, r.in(instances.Draining)[0].ID)
	require.Eventually(t, func() bool { _, ok := c.registered()[first.ID]; return !ok }, 10*time.Second, 5*time.Millisecond)
	_, err := http.Get(first.URL + contract.PathReady)
	require.NoError(t, err, "it serves while it drains")
	close(lb.released)
	r.settled(t, 2)
	_, err = http.Get(first.URL + contract.PathReady)
	require.Error(t, err)

	c.with(func() { delete(c.groups, groupName) })
	require.Eventually(t, func() bool { return len(r.in(instances.Terminated)) == 3 }, 10*time.Second, 5*time.Millisecond)
	require.Empty(t, c.registered())
}

// balancer is a load balancer that takes notice of what is deregistered when
// released; the sick target is unhealthy, and any other healthy, or as told.
type balancer struct {
	released chan struct{}
	mu       sync.Mutex
	sick     string
	healthy  func(id string) bool
}

func (b *balancer) Healthy(_, id string, _ int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return id != b.sick && (b.healthy == nil || b.healthy(id))
}

func (b *balancer) Draining(ctx context.Context, _, _ string, _ int) error {
	select {
	case <-b.released:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *balancer) Unhealthy(_, id string, _ int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return id == b.sick
}

func TestAKilledInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 2, "TEST_VERSION=v1")
	r := run(t, c, nil)
	victim := r.settled(t, 2)[0]
	killed := time.Now()
	require.NoError(t, syscall.Kill(victim.PID, syscall.SIGKILL))
	require.Eventually(t, func() bool { return len(r.in(instances.Terminated)) == 1 }, 10*time.Second, 5*time.Millisecond)
	for _, i := range r.settled(t, 2) {
		require.NotEqual(t, victim.ID, i.ID)
		require.Less(t, i.Served.Sub(killed), 5*time.Second, "it takes a tenth of a second")
	}
	require.Eventually(t, func() bool { return c.described(victim.ID).StatusCode == "Successful" }, 5*time.Second, 5*time.Millisecond)
	require.Contains(t, c.described(victim.ID).Cause, "in response to an EC2 health check indicating it has been terminated or stopped.")
	require.NotContains(t, c.registered(), victim.ID)
	r.logs(t, "signal: killed", victim.ID)
}

func TestAnUnhealthyInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1)
	c.change(func(g *types.AutoScalingGroup) { g.HealthCheckType = aws.String("ELB") })
	lb := &balancer{released: make(chan struct{})}
	close(lb.released)
	r := run(t, c, func(o *instances.Options) { o.LoadBalancer = lb })
	sick := r.settled(t, 1)[0]
	lb.mu.Lock()
	lb.sick = sick.ID
	lb.mu.Unlock()
	r.logs(t, "finds it unhealthy")
	require.Eventually(t, func() bool { return len(r.in(instances.Terminated)) == 1 }, 10*time.Second, 5*time.Millisecond)
	require.NotEqual(t, sick.ID, r.settled(t, 1)[0].ID)
	require.Equal(t, 1, strings.Count(r.log.String(), "finds it unhealthy"))
}

func TestACrashAtStartIsSaidAndSpaced(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1, "TEST_EXIT=3")
	r := run(t, c, nil)
	r.logs(t, "exit status 3", "the database is not there", "next_after=250ms", "next_after=500ms")
	require.Len(t, r.Instances(), 2, "the third waits")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := r.Settled(ctx)
	require.ErrorContains(t, err, "0 of 1 instances in service")
	require.ErrorContains(t, err, "exit status 3")

	// A template that works is tried at once.
	c.with(func() { c.templates = append(c.templates, environ("TEST_VERSION=v2")) })
	c.change(func(g *types.AutoScalingGroup) { g.LaunchTemplate.Version = aws.String("2") })
	require.Equal(t, "v2", r.settled(t, 1)[0].Version)
	require.Empty(t, r.Problems())
}

func TestABootThatNeverEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	r := run(t, newCloud(t, 1, "TEST_NEVER_READY=1"), func(o *instances.Options) { o.BootTimeout = 300 * time.Millisecond })
	r.logs(t, "not ready after 300ms", "503 Service Unavailable")
}

func TestWhatTheArtifactParameterDoesNotMatchIsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1)
	c.sha256 = strings.Repeat("0", 64)
	r := run(t, c, nil)
	r.logs(t, "refused: its SHA-256 is", "its parameter says "+c.sha256)
	files, err := os.ReadDir(filepath.Join(r.runDir, "artifacts"))
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, strings.HasPrefix(f.Name(), ".download-"), "%s was kept", f.Name())
	}
	require.Empty(t, r.in(instances.InService))
}

func TestATamperedCachedArtifactIsFetchedAgain(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1)
	r := run(t, c, nil)
	r.settled(t, 1)
	path := filepath.Join(r.runDir, "artifacts", c.sha256)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	c.desire(2)
	r.settled(t, 2)
	c.with(func() { require.Equal(t, 2, c.downloads) })
}

func TestAnUnreachableEmulatorIsSaidOnceAndInstancesRunOn(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1)
	r := run(t, c, nil)
	before := r.settled(t, 1)[0]
	c.with(func() { c.down = errors.New("connection refused") })
	r.logs(t, "instances stay as they are: connection refused")
	require.Eventually(t, func() bool { return len(r.Problems()) == 1 }, 5*time.Second, 5*time.Millisecond)
	require.Contains(t, r.Problems()[0], "make up")
	time.Sleep(100 * time.Millisecond) // ten more readings
	require.Equal(t, 1, strings.Count(r.log.String(), "cannot be read"))

	// Nobody needs the emulator to see that an instance has died.
	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	r.logs(t, "signal: killed")
	c.with(func() { c.down = nil })
	r.logs(t, "can be read again")
	r.settled(t, 1)
	require.Empty(t, r.Problems())
}

func TestRunningInstancesKeepTheirTemplate(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1, "TEST_VERSION=v1")
	c.change(func(g *types.AutoScalingGroup) { g.LaunchTemplate.Version = aws.String("$Latest") })
	r := run(t, c, nil)
	old := r.settled(t, 1)[0]
	c.with(func() { c.templates = append(c.templates, environ("TEST_VERSION=v2")) })
	c.desire(2)
	for _, i := range r.settled(t, 2) {
		if i.ID == old.ID {
			require.Equal(t, []string{"v1", "1"}, []string{i.Version, i.TemplateVersion})
		} else {
			require.Equal(t, []string{"v2", "2"}, []string{i.Version, i.TemplateVersion})
		}
	}
}

func TestAnInstanceThatDoesNotEndIsKilled(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1, "TEST_IGNORE_TERM=1")
	r := run(t, c, func(o *instances.Options) { o.StopTimeout = 100 * time.Millisecond })
	stuck := r.settled(t, 1)[0].ID
	c.desire(0)
	r.logs(t, "instance killed: it did not end after SIGTERM")
	r.settled(t, 0)
	require.Eventually(t, func() bool {
		return strings.HasPrefix(c.described(stuck).StatusMessage, "The process did not end within 100ms after SIGTERM and was killed.")
	}, 5*time.Second, 5*time.Millisecond)
}

func TestGroupsOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1)
	c.templates = []string{"#!/bin/bash\nyum install -y nginx\n"}
	r := run(t, c, nil)
	r.logs(t, "left alone", "writes no /etc/loadbearing/app.env")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, r.Settled(ctx), "it is not waited for")
	require.Equal(t, 1, strings.Count(r.log.String(), "left alone"))
}

func TestTheEndOfTheRunDoesNotWaitForALongDrain(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 2)
	lb := &balancer{released: make(chan struct{})} // never
	r := run(t, c, func(o *instances.Options) {
		o.LoadBalancer, o.DrainTimeout, o.ShutdownDrain = lb, time.Hour, 100*time.Millisecond
	})
	r.settled(t, 2)
	c.desire(1)
	require.Eventually(t, func() bool { return len(r.in(instances.Draining)) == 1 }, 10*time.Second, 5*time.Millisecond)
	start := time.Now()
	r.stop()
	require.Less(t, time.Since(start), 10*time.Second)
	r.logs(t, "stopped before its load balancer knew")
}
