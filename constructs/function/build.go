package function

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

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
	goos := cmp.Or(os.Getenv(EnvGOOS), "linux")
	target := gobuild.Target{
		Dir:     p.Source,
		Package: ".",
		GOOS:    goos,
		GOARCH:  p.Architecture.goarch(),
		Tags:    append([]string{"lambda.norpc"}, p.BuildTags...),
	}
	name := p.Source
	if isFolder(p.Source) {
		source, err := filepath.Abs(p.Source)
		if err != nil {
			return gobuild.Target{}, fmt.Errorf("find the source of the function: %w", err)
		}
		target.Dir, name = source, source
	} else {
		target.Dir, target.Package = ".", p.Source
	}
	folder, err := filepath.Abs(filepath.Join(p.BuildFolder, buildName(name, p.BuildTags)))
	if err != nil {
		return gobuild.Target{}, fmt.Errorf("find the folder of built functions: %w", err)
	}
	platform := goos + "-" + p.Architecture.goarch()
	target.Output = filepath.Join(folder, platform, "bootstrap")
	target.Record = filepath.Join(folder, platform+".json")
	return target, nil
}

// buildName keeps apart functions whose folders have the same last name, and
// builds of one folder with different tags, which Go would else link anew each
// time in turn.
func buildName(source string, tags []string) string {
	sum := sha256.Sum256([]byte(source + "\n" + strings.Join(tags, ",")))
	return filepath.Base(source) + "-" + hex.EncodeToString(sum[:4])
}

func isFolder(source string) bool {
	files, _ := filepath.Glob(filepath.Join(source, "*.go"))
	return source != "" && len(files) > 0
}

var importPath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)+$`)

// isImportPath tells whether a source can be one: it begins with a host name, or
// with the path of the working directory's module, which may do without.
func isImportPath(source string) bool {
	if !importPath.MatchString(source) {
		return false
	}
	host, _, _ := strings.Cut(source, "/")
	return strings.Contains(host, ".") || strings.HasPrefix(source, workingModule()+"/")
}

// workingModule is the module path in the go.mod above the working directory.
func workingModule() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if file, err := os.Open(filepath.Join(dir, "go.mod")); err == nil {
			defer file.Close()
			for lines := bufio.NewScanner(file); lines.Scan(); {
				if path, ok := strings.CutPrefix(lines.Text(), "module "); ok {
					return strings.Trim(strings.TrimSpace(path), `"`)
				}
			}
			return ""
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}
