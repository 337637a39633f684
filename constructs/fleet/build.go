package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	target := gobuild.Target{Dir: ".", Package: p.Source, GOOS: "linux", GOARCH: goarch(processor(p.InstanceType))}
	name := p.Source
	if isFolder(p.Source) {
		source, err := filepath.Abs(p.Source)
		if err != nil {
			return "", fmt.Errorf("find the source of the program: %w", err)
		}
		target.Dir, target.Package, name = source, ".", source
	}
	// Folders whose last names are the same are kept apart.
	sum := sha256.Sum256([]byte(name))
	base := filepath.Join(p.BuildFolder, filepath.Base(name)+"-"+hex.EncodeToString(sum[:4]), "linux-"+target.GOARCH)
	target.Output = filepath.Join(base, filepath.Base(name))
	target.Record = base + ".json"
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

func isFolder(source string) bool {
	files, _ := filepath.Glob(filepath.Join(source, "*.go"))
	return source != "" && len(files) > 0
}
