package function

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/loadbearing/loadbearing/internal/gobuild"
)

// EnvGOOS is the environment variable that selects the operating system the
// programs are built for. Lambda runs Linux, the default; an emulator that runs
// functions as processes of a laptop needs the laptop's.
const EnvGOOS = "LOADBEARING_GOOS"

// Binary is a compiled program: its absolute Path, the SHA256 of its bytes in
// lower-case hex and their number.
type Binary = gobuild.Binary

// BuildError is a program that does not compile. New panics with it; its text
// holds what the compiler said.
type BuildError struct {
	Path string // the construct's path in the tree
	Err  error
}

// Error names the construct and holds the output of the compiler.
func (e *BuildError) Error() string { return fmt.Sprintf("%s (function): %v", e.Path, e.Err) }

// Unwrap returns the failure of the build.
func (e *BuildError) Unwrap() error { return e.Err }

// Build compiles what props describe into BuildFolder, for Props.Binary. Unlike
// New it may run concurrently. A record beside the program remembers what it was
// built from; as long as none of that has changed, nothing is compiled.
func Build(ctx context.Context, props Props) (Binary, error) {
	binaries, err := BuildAll(ctx, props)
	if err != nil {
		return Binary{}, err
	}
	return binaries[0], nil
}

// BuildAll compiles several functions, those of one module with one call of the
// compiler: what they share is then compiled once. It returns their programs in
// the order of the props. The error holds what the compiler said of each that
// failed.
func BuildAll(ctx context.Context, props ...Props) ([]Binary, error) {
	targets := make([]gobuild.Target, len(props))
	for i, each := range props {
		target, err := each.target()
		if err != nil {
			return nil, err
		}
		targets[i] = target
	}
	return gobuild.BuildAll(ctx, targets...)
}

func (p Props) target() (gobuild.Target, error) {
	p = p.withDefaults()
	return gobuild.Source(p.Source).Target(p.BuildFolder, "bootstrap", gobuild.Target{
		GOOS:   cmp.Or(os.Getenv(EnvGOOS), "linux"),
		GOARCH: p.Architecture.goarch(),
		Tags:   append([]string{"lambda.norpc"}, p.BuildTags...),
	})
}
