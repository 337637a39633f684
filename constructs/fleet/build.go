package fleet

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/loadbearing/loadbearing/internal/gobuild"
)

// BuildError is a program that does not compile. New panics with it; its text
// holds what the compiler said.
type BuildError struct {
	Path string // the construct's path in the tree
	Err  error
}

// Error names the construct and holds the output of the compiler.
func (e *BuildError) Error() string { return fmt.Sprintf("%s (fleet): %v", e.Path, e.Err) }

// Unwrap returns the failure of the build.
func (e *BuildError) Unwrap() error { return e.Err }

// build compiles Source into BuildFolder and returns the program's path. A record
// beside the program remembers what it was built from, so the second fleet of a
// pair compiles nothing.
func (p Props) build(ctx context.Context) (string, error) {
	target, err := gobuild.Source(p.Source).Target(p.BuildFolder, filepath.Base(p.Source), gobuild.Target{
		GOOS: "linux", GOARCH: goarch(processor(p.InstanceType)),
	})
	if err != nil {
		return "", err
	}
	binary, err := gobuild.Build(ctx, target)
	return binary.Path, err
}

// goarch is how Go spells what images call a processor.
func goarch(processor string) string {
	if processor == "arm64" {
		return "arm64"
	}
	return "amd64"
}
