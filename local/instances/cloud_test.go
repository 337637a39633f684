package instances_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/instances"
)

// TestMain makes the test binary the artifact too: with the command that a
// launch template gives, it is the program of an instance.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		os.Exit(serve())
	}
	os.Exit(m.Run())
}

// drainDelay is how long the program listens on when it is asked to end, as the
// app does: for the requests that the load balancer was about to send.
const drainDelay = 100 * time.Millisecond

// serve is an instance's program. TEST_ variables make it misbehave.
func serve() int {
	if code, err := strconv.Atoi(os.Getenv("TEST_EXIT")); err == nil {
		fmt.Println("the database is not there")
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+contract.PathReady, func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("TEST_NEVER_READY") != "" {
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET "+contract.PathVersion, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"version":%q}`, os.Getenv("TEST_VERSION"))
	})
	mux.HandleFunc("GET /slow", func(http.ResponseWriter, *http.Request) { time.Sleep(700 * time.Millisecond) })
	mux.HandleFunc("GET /environ", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(os.Environ())
	})
	server := &http.Server{Addr: os.Getenv(contract.EnvHTTPAddr), Handler: mux}
	finished := make(chan struct{})
	go func() {
		<-ctx.Done()
		if os.Getenv("TEST_IGNORE_TERM") == "" {
			time.Sleep(drainDelay)
			_ = server.Shutdown(context.Background())
			close(finished)
		}
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Println(err)
		return 1
	}
	<-finished
	return 0
}

const (
	groupName   = "loadbearing-dev-web-blue"
	targetGroup = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web-blue/1"
)

// cloud is the account: what is deployed, in memory.
type cloud struct {
	mu        sync.Mutex
	down      error
	groups    map[string]types.AutoScalingGroup
	templates []string // user data of version 1, 2, …
	artifact  []byte
	sha256    string
	targets   map[string]int32 // port by instance id
	left      []string         // deregistered ids, in order
	downloads int

	orders   instances.GroupOrders              // what is asked of the group
	progress map[string]instances.RefreshReport // by id
	refused  error                              // of reports
	finished []instances.Activity               // in the order in which they ended
}

// environ is the environment file of a web instance.
func environ(more ...string) string {
	lines := append([]string{
		contract.EnvEnvironment + "=dev", contract.EnvFleet + "=web", contract.EnvColor + "=blue",
		contract.EnvCommand + "=serve", contract.EnvHTTPAddr + "=:8080", contract.EnvCAFile + "=/etc/loadbearing/ca.pem",
	}, more...)
	return "#!/bin/bash\nset -e\n" + contract.EnvFileBegin + "\n" + strings.Join(lines, "\n") + "\n" + contract.EnvFileEnd + "\ntrue\n"
}

func newCloud(t *testing.T, desired int, more ...string) *cloud {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	c := &cloud{artifact: data, sha256: hex.EncodeToString(sum[:]), targets: map[string]int32{}, progress: map[string]instances.RefreshReport{}, templates: []string{environ(more...)}}
	c.groups = map[string]types.AutoScalingGroup{groupName: {
		AutoScalingGroupName: aws.String(groupName), DesiredCapacity: new(int32(desired)),
		TargetGroupARNs: []string{targetGroup},
		LaunchTemplate:  &types.LaunchTemplateSpecification{LaunchTemplateId: aws.String("lt-1"), Version: aws.String("1")},
	}}
	return c
}

func (c *cloud) change(change func(g *types.AutoScalingGroup)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[groupName]
	template := *g.LaunchTemplate // what was answered before stays as it was
	g.LaunchTemplate = &template
	change(&g)
	c.groups[groupName] = g
}

// describe is what the API says of an instance from now on.
func (c *cloud) describe(i types.Instance) {
	c.change(func(g *types.AutoScalingGroup) {
		g.Instances = slices.DeleteFunc(slices.Clone(g.Instances), func(other types.Instance) bool { return *other.InstanceId == *i.InstanceId })
		g.Instances = append(g.Instances, i)
	})
}

func (c *cloud) desire(n int) {
	c.change(func(g *types.AutoScalingGroup) { g.DesiredCapacity = new(int32(n)) })
}

func (c *cloud) with(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *cloud) registered() map[string]int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.targets)
}

func (c *cloud) api() instances.API {
	return instances.API{Groups: c, Templates: c, Targets: c, Parameters: c, Objects: c, Fleet: c}
}

func (c *cloud) DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != nil {
		return nil, c.down
	}
	return &autoscaling.DescribeAutoScalingGroupsOutput{AutoScalingGroups: slices.Collect(maps.Values(c.groups))}, nil
}

func (c *cloud) DescribeLaunchTemplateVersions(_ context.Context, in *ec2.DescribeLaunchTemplateVersionsInput, _ ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.templates)
	if in.Versions[0] != "$Latest" {
		n, _ = strconv.Atoi(in.Versions[0])
	}
	data := base64.StdEncoding.EncodeToString([]byte(c.templates[n-1]))
	return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: []ec2types.LaunchTemplateVersion{{
		VersionNumber: new(int64(n)), LaunchTemplateData: &ec2types.ResponseLaunchTemplateData{UserData: &data},
	}}}, nil
}

func (c *cloud) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *in.Name != "/loadbearing/dev/web/blue/artifact" {
		return nil, &ssmtypes.ParameterNotFound{}
	}
	value, err := json.Marshal(contract.Artifact{Bucket: "artifacts", Key: "app", SHA256: c.sha256})
	return &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Value: aws.String(string(value))}}, err
}

func (c *cloud) GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.downloads++
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(c.artifact))}, nil
}

func (c *cloud) RegisterTargets(_ context.Context, in *elb.RegisterTargetsInput, _ ...func(*elb.Options)) (*elb.RegisterTargetsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range in.Targets {
		c.targets[*t.Id] = *t.Port
	}
	return &elb.RegisterTargetsOutput{}, nil
}

func (c *cloud) DeregisterTargets(_ context.Context, in *elb.DeregisterTargetsInput, _ ...func(*elb.Options)) (*elb.DeregisterTargetsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range in.Targets {
		delete(c.targets, *t.Id)
		c.left = append(c.left, *t.Id)
	}
	return &elb.DeregisterTargetsOutput{}, nil
}

func (c *cloud) DescribeTargetHealth(context.Context, *elb.DescribeTargetHealthInput, ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &elb.DescribeTargetHealthOutput{}
	for id, port := range c.targets {
		out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, elbtypes.TargetHealthDescription{
			Target: &elbtypes.TargetDescription{Id: &id, Port: &port},
		})
	}
	return out, nil
}

func (c *cloud) ReportInstances(_ context.Context, report map[string]instances.GroupReport) (map[string]instances.GroupOrders, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused != nil {
		return nil, c.refused
	}
	told, ok := report[groupName]
	if !ok {
		return nil, nil
	}
	for _, a := range told.Activities {
		if a.EndTime != nil {
			c.finished = append(c.finished, a)
		}
	}
	if told.Refresh != nil {
		c.progress[told.Refresh.InstanceRefreshID] = *told.Refresh
	}
	if r := told.Refresh; r != nil && r.EndTime != "" && c.orders.Refresh != nil && c.orders.Refresh.InstanceRefreshID == r.InstanceRefreshID {
		c.orders.Refresh = nil
	}
	orders := c.orders
	if orders.Refresh != nil {
		orders.Refresh = new(*orders.Refresh) // what was answered before stays as it was
	}
	return map[string]instances.GroupOrders{groupName: orders}, nil
}

// ended are the activities that have ended.
func (c *cloud) ended() []instances.Activity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.finished)
}
