// Package project knows the checkout: where it is, how its programs are built
// and how its stacks are synthesized. The command line and the local runtime
// go through it, so that what runs on a laptop and what is deployed to AWS are
// made the same way.
package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/loadbearing/loadbearing/internal/gobuild"
	"github.com/loadbearing/loadbearing/local/cdk"
)

// Module is the path of the Go module a checkout holds.
const Module = "github.com/loadbearing/loadbearing"

// Project is a checkout.
type Project struct {
	Root string // absolute
}

// Find returns the project that holds the working directory.
func Find() (Project, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Project{}, err
	}
	for at := dir; ; at = filepath.Dir(at) {
		data, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module "+Module+"\n") {
			return Project{Root: at}, nil
		}
		if at == filepath.Dir(at) {
			return Project{}, fmt.Errorf("%s is not inside a checkout of %s", dir, Module)
		}
	}
}

// Platform is what the programs are built for. AWS runs Linux; a local run on
// another system builds for that one.
type Platform struct {
	GOOS         string
	Architecture string // as AWS spells it: "arm64" or "x86_64"
}

// Host is the platform of this machine.
func Host() Platform {
	p := Platform{GOOS: runtime.GOOS, Architecture: "x86_64"}
	if runtime.GOARCH == "arm64" {
		p.Architecture = "arm64"
	}
	return p
}

// GOARCH is the architecture as Go spells it.
func (p Platform) GOARCH() string {
	if p.Architecture == "arm64" {
		return "arm64"
	}
	return "amd64"
}

// BuildApp builds the service's binary into .build/app/<os>-<arch>/app.
func (p Project) BuildApp(ctx context.Context, on Platform) (gobuild.Binary, error) {
	output := filepath.Join(p.Root, ".build", "app", on.GOOS+"-"+on.GOARCH(), "app")
	return gobuild.Build(ctx, gobuild.Target{
		Dir: p.Root, Package: "./app/cmd/app", GOOS: on.GOOS, GOARCH: on.GOARCH(),
		Output: output, Record: output + ".json",
	})
}

// BuildInfra builds the CDK app, which runs on this machine.
func (p Project) BuildInfra(ctx context.Context) (gobuild.Binary, error) {
	output := filepath.Join(p.Root, ".build", "bin", "infra")
	return gobuild.Build(ctx, gobuild.Target{Dir: p.Root, Package: ".", Output: output, Record: output + ".json"})
}

// Synthesis says what to synthesize.
type Synthesis struct {
	Env      string   // "dev" or "prod"
	Region   string   // default of the environment's settings
	Platform Platform // zero: what the environment's settings say, on Linux
	Out      string   // folder of the cloud assembly; it is replaced
	Validate bool     // check the templates against the CloudFormation schemas, most of the time synth takes, and take warnings for errors
}

// Synth builds the programs and writes the cloud assembly. cli.Env is the
// environment of the CDK app.
func (p Project) Synth(ctx context.Context, cli cdk.CLI, s Synthesis) error {
	infra, err := p.BuildInfra(ctx)
	if err != nil {
		return err
	}
	values := map[string]string{"env": s.Env}
	if s.Region != "" {
		values["region"] = s.Region
	}
	cli.Env = slices.Clone(cli.Env)
	if s.Platform != (Platform{}) {
		app, err := p.BuildApp(ctx, s.Platform)
		if err != nil {
			return err
		}
		values["architecture"], values["artifact"] = s.Platform.Architecture, app.Path
		cli.Env = append(cli.Env, "LOADBEARING_GOOS="+s.Platform.GOOS)
	}
	cli.Env = append(cli.Env, fmt.Sprintf("CDK_VALIDATION=%t", s.Validate))
	return cli.Synth(ctx, infra.Path, s.Out, values, s.Validate)
}

// StackSummary is one synthesized stack in a line.
type StackSummary struct {
	Name      string
	Template  string // path
	Resources int
	Types     map[string]int // resources by CloudFormation type
}

// Summaries reads the stacks of a cloud assembly, each after those it depends on.
func Summaries(assembly string) ([]StackSummary, error) {
	data, err := os.ReadFile(filepath.Join(assembly, "manifest.json"))
	if err != nil {
		return nil, fmt.Errorf("read the cloud assembly: %w", err)
	}
	var manifest struct {
		Artifacts map[string]struct {
			Type       string `json:"type"`
			Properties struct {
				TemplateFile string `json:"templateFile"`
				StackName    string `json:"stackName"`
			} `json:"properties"`
			Dependencies []string `json:"dependencies"`
		} `json:"artifacts"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, fmt.Errorf("read the cloud assembly in %s: %w", assembly, err)
	}
	// The longest chain of stacks that have to be deployed before one.
	var depth func(id string) int
	depth = func(id string) (longest int) {
		for _, on := range manifest.Artifacts[id].Dependencies {
			longest = max(longest, 1+depth(on))
		}
		return longest
	}
	var stacks []StackSummary
	order := map[string]int{}
	for id, a := range manifest.Artifacts {
		if a.Type != "aws:cloudformation:stack" {
			continue
		}
		path := filepath.Join(assembly, a.Properties.TemplateFile)
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var template struct {
			Resources map[string]struct{ Type string }
		}
		if err := json.Unmarshal(data, &template); err != nil {
			return nil, fmt.Errorf("read the template %s: %w", path, err)
		}
		name := a.Properties.StackName
		if name == "" {
			name = id
		}
		s := StackSummary{Name: name, Template: path, Resources: len(template.Resources), Types: map[string]int{}}
		for _, r := range template.Resources {
			s.Types[r.Type]++
		}
		order[name] = depth(id)
		stacks = append(stacks, s)
	}
	if len(stacks) == 0 {
		return nil, errors.New("the cloud assembly in " + assembly + " holds no stack")
	}
	slices.SortFunc(stacks, func(a, b StackSummary) int {
		if d := order[a.Name] - order[b.Name]; d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return stacks, nil
}
