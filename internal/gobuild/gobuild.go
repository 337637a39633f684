// Package gobuild builds the service's programs as static binaries whose
// bytes depend on the source, the version and the platform alone: the same
// commit gives the same SHA-256 in any folder of any machine with the same Go
// release, so an artifact's name can be its content.
package gobuild

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// VersionVariable is the string variable a program's main package declares to
// receive its version.
const VersionVariable = "main.version"

// Target says what to build.
type Target struct {
	Dir     string   // folder inside the module; default the working directory
	Package string   // main package as `go build` takes it: ./app/cmd/app
	Output  string   // file to write; its folder is made
	GOOS    string   // default the host's
	GOARCH  string   // default the host's
	Version string   // value of VersionVariable; empty leaves what the source says
	Tags    []string // build tags, such as lambda.norpc

	// Record is a file beside the output, not inside its folder when that is
	// deployed whole, that remembers what the output was built from: as long as
	// nothing of it changes, Build neither compiles nor asks the compiler. Default
	// none, and Go's build cache decides.
	Record string
}

// Binary is a built program.
type Binary struct {
	Path   string // absolute
	SHA256 string // lower-case hex
	Bytes  int64
}

// Args returns the arguments of `go` that build the target.
func (t Target) Args() []string {
	return append(append([]string{"build"}, t.flags()...), "-o", t.Output, t.Package)
}

// flags are those that the bytes depend on.
//
// -trimpath and -buildvcs=false keep the checkout's path and state out of the
// bytes; -s -w drop the symbol table and DWARF, which a stack trace needs
// neither of.
func (t Target) flags() []string {
	ldflags := "-s -w"
	if t.Version != "" {
		ldflags += " -X " + VersionVariable + "=" + t.Version
	}
	flags := []string{"-trimpath", "-buildvcs=false", "-ldflags", ldflags}
	if len(t.Tags) > 0 {
		flags = append(flags, "-tags", strings.Join(t.Tags, ","))
	}
	return flags
}

// Env returns environ with the variables that select the platform set and
// those through which a machine's settings would change the bytes removed or
// set to Go's defaults.
func (t Target) Env(environ []string) []string {
	goos, goarch := cmp.Or(t.GOOS, runtime.GOOS), cmp.Or(t.GOARCH, runtime.GOARCH)
	set := []string{
		"CGO_ENABLED=0",
		"GOOS=" + goos,
		"GOARCH=" + goarch,
		"GOAMD64=v1",
		"GOARM64=v8.0",
		// Not empty: an empty value would fall back to the file of `go env -w`.
		"GOFLAGS=-trimpath",
	}
	return append(slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return name == "GOEXPERIMENT" || slices.ContainsFunc(set, func(s string) bool {
			return strings.HasPrefix(s, name+"=")
		})
	}), set...)
}

// Validate tells what is wrong with the target, nil when nothing is.
func (t Target) Validate() error {
	var errs []error
	if t.Package == "" {
		errs = append(errs, errors.New("the package is empty; name a main package such as ./app/cmd/app"))
	}
	if t.Output == "" {
		errs = append(errs, errors.New("the output is empty; name the file to write"))
	}
	// The version travels inside one -ldflags argument, which Go splits at spaces and quotes.
	if strings.ContainsAny(t.Version, " \t\n'\"") {
		errs = append(errs, fmt.Errorf("the version %q holds a space or a quote; use letters, digits, dots and dashes", t.Version))
	}
	return errors.Join(errs...)
}

// Stat hashes a file that was built before.
func Stat(path string) (Binary, error) {
	f, err := os.Open(path)
	if err != nil {
		return Binary{}, fmt.Errorf("hash the binary: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return Binary{}, fmt.Errorf("hash the binary %s: %w", path, err)
	}
	return Binary{Path: path, SHA256: hex.EncodeToString(sum.Sum(nil)), Bytes: n}, nil
}
