package drill

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"

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
