package drill

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	gops "github.com/shirou/gopsutil/v4/process"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/gobuild"
	"github.com/loadbearing/loadbearing/internal/release"
)

// Releases returns who releases the web fleet.
func (e *Environment) Releases() *release.Operator {
	return &release.Operator{
		Fleet: release.Fleet{Environment: e.Name, Name: contract.FleetWeb}, Cloud: release.NewCloud(e.AWS), By: "drill",
	}
}

// Candidate builds a version of the service from its main package, uploads it as
// an operator would, and returns it.
func (e *Environment) Candidate(ctx context.Context, pkg, version string) (contract.Artifact, error) {
	output := filepath.Join(e.config.Project.Root, ".build", "candidates", version)
	built, err := gobuild.Build(ctx, gobuild.Target{
		Dir: e.config.Project.Root, Package: pkg, Output: output, Version: version, Record: output + ".json",
	})
	if err != nil {
		return contract.Artifact{}, err
	}
	t, err := e.Releases().Target(ctx)
	if err != nil {
		return contract.Artifact{}, err
	}
	file, err := os.Open(built.Path)
	if err != nil {
		return contract.Artifact{}, fmt.Errorf("upload version %s: %w", version, err)
	}
	defer file.Close()
	objects := s3.NewFromConfig(e.AWS, func(o *s3.Options) { o.UsePathStyle = true })
	return release.Upload(ctx, objects, t.Artifacts, "app", file)
}

// Release starts a release, tells each of its phases, and returns its state once
// its traffic has moved or gone back. tell may be nil.
func (r *Run) Release(ctx context.Context, p release.Plan, tell func(release.State)) (release.State, error) {
	operator := r.Releases()
	number, err := operator.Start(ctx, p)
	if err != nil {
		return release.State{}, err
	}
	began := time.Now()
	return operator.Await(ctx, number, func(s release.State) {
		if tell != nil {
			tell(s)
		}
		r.Say("  release %d, %s %s, %4.1f s: %s, %d %% on %s %s", number, p.Strategy, p.Version, time.Since(began).Seconds(), s.Phase, s.Weight, s.To, s.Reason)
	})
}

// Over waits until nothing of a release is left to do.
func (r *Run) Over(ctx context.Context, number int) (release.State, error) {
	var s release.State
	err := Await(ctx, fmt.Sprintf("release %d is over", number), func(ctx context.Context) (over bool, err error) {
		s, err = r.Releases().State(ctx)
		return s.Number > number || s.Phase.Over(), err
	})
	return s, err
}

// Serving returns the color that gets all traffic, and what it runs.
func (e *Environment) Serving(ctx context.Context) (string, contract.Artifact, error) {
	v, err := e.Releases().View(ctx)
	if err != nil {
		return "", contract.Artifact{}, err
	}
	for color, look := range v.Colors {
		if look.Percent == 100 {
			return color, look.Artifact, nil
		}
	}
	return "", contract.Artifact{}, fmt.Errorf("no color gets all traffic: %+v", v.Colors)
}

// quick is a plan that gives a drill its turn soon.
func quick(a contract.Artifact) release.Plan {
	return release.Plan{
		Strategy: release.BlueGreen, Artifact: a, Version: "before", Bake: release.Duration(time.Second), MinRequests: 1,
		Window: release.Duration(time.Second), LaunchTimeout: release.Duration(time.Minute), Timeout: release.Duration(2 * time.Minute),
	}
}

// Keep notes which version serves and returns how to bring it back, onto the
// color blue, where other drills look for the fleet. The release that does it needs
// some traffic.
func (r *Run) Keep(ctx context.Context) (restore func(ctx context.Context) error, err error) {
	_, artifact, err := r.Serving(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		for {
			s, err := r.Releases().State(ctx)
			if err != nil {
				return err
			}
			if s.Number > 0 && !s.Phase.Over() {
				if _, err := r.Over(ctx, s.Number); err != nil {
					return err
				}
			}
			color, runs, err := r.Serving(ctx)
			if err != nil || color == contract.ColorBlue && runs == artifact {
				return err
			}
			if _, err := r.Release(ctx, quick(artifact), nil); err != nil {
				return fmt.Errorf("bring back what served before: %w", err)
			}
		}
	}, nil
}

// KillController kills every process of the functions that release, as a crash
// would, and returns how many there were.
func (e *Environment) KillController(ctx context.Context) (int, error) {
	t, err := e.Releases().Target(ctx)
	if err != nil {
		return 0, err
	}
	machine, err := sfn.NewFromConfig(e.AWS).DescribeStateMachine(ctx, &sfn.DescribeStateMachineInput{StateMachineArn: &t.StateMachine})
	if err != nil {
		return 0, fmt.Errorf("read the state machine %s: %w", t.StateMachine, err)
	}
	all, err := gops.ProcessesWithContext(ctx)
	if err != nil {
		return 0, fmt.Errorf("find the processes of the release controller: %w", err)
	}
	killed := 0
	for _, p := range all {
		environ, err := p.EnvironWithContext(ctx)
		if err != nil || p.Pid <= 1 || !slices.Contains(environ, "AWS_ENDPOINT_URL="+aws.ToString(e.AWS.BaseEndpoint)) {
			continue
		}
		for _, variable := range environ {
			// Its definition names the functions by their ARNs, which end in their names.
			name, is := strings.CutPrefix(variable, "AWS_LAMBDA_FUNCTION_NAME=")
			if is && strings.Contains(aws.ToString(machine.Definition), ":function:"+name+`"`) && strings.HasPrefix(name, contract.StackPrefix(e.Name)+"release-") {
				if err := syscall.Kill(int(p.Pid), syscall.SIGKILL); err != nil {
					return killed, fmt.Errorf("kill %s (pid %d): %w", name, p.Pid, err)
				}
				killed++
			}
		}
	}
	return killed, nil
}

// AbortController ends the execution that works on the last release.
func (e *Environment) AbortController(ctx context.Context) error {
	s, err := e.Releases().State(ctx)
	if err != nil {
		return err
	}
	if _, err := sfn.NewFromConfig(e.AWS).StopExecution(ctx, &sfn.StopExecutionInput{ExecutionArn: &s.Execution, Cause: aws.String("a drill")}); err != nil {
		return fmt.Errorf("stop execution %s: %w", s.Execution, err)
	}
	return nil
}
