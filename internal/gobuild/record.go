package gobuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// toolchain is what of the machine decides about the bytes: `go env` answers it
// in milliseconds.
type toolchain struct {
	GOVERSION  string // of the toolchain that go.mod selects, with it the standard library
	GOFIPS140  string
	GOWORK     string
	GOMODCACHE string
}

// toolchains are asked once for each module.
type toolchains map[string]toolchain

func (m toolchains) in(ctx context.Context, t Target) (toolchain, error) {
	module := moduleDir(t.Dir)
	if known, ok := m[module]; ok {
		return known, nil
	}
	out, err := t.run(ctx, "env", "-json", "GOVERSION", "GOFIPS140", "GOWORK", "GOMODCACHE")
	if err != nil {
		return toolchain{}, err
	}
	var found toolchain
	if err := json.Unmarshal(out, &found); err != nil {
		return toolchain{}, fmt.Errorf("read what go env says: %w", err)
	}
	m[module] = found
	return found, nil
}

// inputs are what a program is built from and may be edited, relative to the
// target's Dir. What lies in the module cache cannot be: go.sum names it.
type inputs struct {
	Files   []string `json:"files"`   // go.mod, go.sum and the workspace's
	Folders []string `json:"folders"` // of packages, whose source files count
	Embeds  []string `json:"embeds"`  // patterns of go:embed
}

// record is what Target.Record holds.
type record struct {
	Fingerprint string `json:"fingerprint"` // of the inputs, the toolchain and the flags
	SHA256      string `json:"sha256"`      // of the output
	Inputs      inputs `json:"inputs"`
}

// check finds out whether the output is there and built from what there is now,
// and then sets the binary.
func (j *job) check() {
	if j.Record == "" {
		return
	}
	text, err := os.ReadFile(j.Record)
	if err != nil {
		return
	}
	var known record
	if json.Unmarshal(text, &known) != nil {
		return
	}
	if now, err := j.fingerprint(known.Inputs); err != nil || now != known.Fingerprint {
		return
	}
	binary, err := Stat(j.Output)
	if err != nil || binary.SHA256 != known.SHA256 {
		return
	}
	j.binary, j.fresh = binary, true
}

// plan is what a job is about to be built from.
type plan struct {
	inputs      inputs
	fingerprint string // empty when the inputs are not known
}

// plans asks `go list` once what the jobs are built from. What it cannot tell is
// left empty: the compiler says better what is wrong.
func (g *group) plans(ctx context.Context) ([]plan, error) {
	plans := make([]plan, len(g.list))
	if !slices.ContainsFunc(g.list, func(j *job) bool { return j.Record != "" }) {
		return plans, nil
	}
	first := g.list[0]
	args := []string{"list", "-e", "-deps", "-json=Name,Dir,ImportPath,Standard,DepOnly,Deps,EmbedPatterns,Module,Error,DepsErrors"}
	if len(first.Tags) > 0 {
		args = append(args, "-tags", strings.Join(first.Tags, ","))
	}
	for _, j := range g.list {
		args = append(args, j.argument())
	}
	out, err := first.run(ctx, args...)
	if err != nil {
		return plans, nil //nolint:nilerr // the compiler is asked next
	}
	closures, err := readClosures(out)
	if err != nil {
		return nil, err
	}
	for i, j := range g.list {
		closure := closures[j.argument()]
		if len(closure) == 0 {
			continue
		}
		if name := closure[0].Name; name != "main" {
			return nil, j.failed(fmt.Errorf("it is package %s; name a main package", name))
		}
		in, err := j.local(closure)
		if err != nil {
			return nil, j.failed(err)
		}
		fingerprint, err := j.fingerprint(in)
		if err != nil {
			return nil, j.failed(err)
		}
		plans[i] = plan{in, fingerprint}
	}
	return plans, nil
}

// listed is a package as `go list` prints it.
type listed struct {
	Name          string
	Dir           string
	ImportPath    string
	Standard      bool
	DepOnly       bool
	Deps          []string
	EmbedPatterns []string
	Module        *struct {
		GoMod   string
		Replace *struct{ GoMod string }
	}
	Error      *struct{}
	DepsErrors []*struct{}
}

// readClosures returns for each package asked for, by its folder and by its
// import path, everything that it is built from. A package with an error has none.
func readClosures(out []byte) (map[string][]listed, error) {
	all := map[string]listed{}
	var roots []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		all[p.ImportPath] = p
		if !p.DepOnly {
			roots = append(roots, p)
		}
	}
	closures := map[string][]listed{}
	for _, root := range roots {
		if root.Error != nil || len(root.DepsErrors) > 0 {
			continue
		}
		closure := []listed{root}
		for _, dep := range root.Deps {
			closure = append(closure, all[dep])
		}
		closures[root.Dir], closures[root.ImportPath] = closure, closure
	}
	return closures, nil
}

// local is the part of a closure that may be edited.
func (j *job) local(closure []listed) (inputs, error) {
	var in inputs
	var failed error
	add := func(to *[]string, path string) {
		relative, err := filepath.Rel(j.Dir, path)
		if err != nil {
			failed = err
		}
		*to = append(*to, relative)
	}
	module := moduleDir(j.Dir)
	manifests := []string{filepath.Join(module, "go.mod")}
	if j.toolchain.GOWORK != "" && j.toolchain.GOWORK != "off" {
		manifests = append(manifests, j.toolchain.GOWORK)
	}
	for _, p := range closure {
		if p.Standard || p.Dir == "" || strings.HasPrefix(p.Dir, j.toolchain.GOMODCACHE+string(filepath.Separator)) {
			continue
		}
		add(&in.Folders, p.Dir)
		for _, pattern := range p.EmbedPatterns {
			add(&in.Embeds, filepath.Join(p.Dir, strings.TrimPrefix(pattern, "all:")))
		}
		if m := p.Module; m != nil {
			manifests = append(manifests, m.GoMod)
			if m.Replace != nil {
				manifests = append(manifests, m.Replace.GoMod)
			}
		}
	}
	for _, manifest := range manifests {
		if manifest != "" {
			add(&in.Files, manifest)
			add(&in.Files, sumOf(manifest))
		}
	}
	add(&in.Files, filepath.Join(module, "vendor", "modules.txt"))
	for _, list := range []*[]string{&in.Files, &in.Folders, &in.Embeds} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return in, failed
}

// sumOf is the file of checksums beside a go.mod or go.work.
func sumOf(manifest string) string {
	if module, ok := strings.CutSuffix(manifest, ".mod"); ok {
		return module + ".sum"
	}
	return manifest + ".sum"
}

// fingerprint is a hash of everything the bytes of the output depend on.
func (j *job) fingerprint(in inputs) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, j.toolchain.GOVERSION, j.toolchain.GOFIPS140, j.toolchain.GOWORK != "", j.Env(nil), j.flags(), j.Package)
	for _, file := range in.Files {
		if err := hashFile(sum, j.Dir, file); err != nil {
			return "", err
		}
	}
	for _, folder := range in.Folders {
		entries, err := os.ReadDir(filepath.Join(j.Dir, folder))
		if err != nil {
			return "", err
		}
		for _, entry := range entries {
			if !isSource(entry.Name()) {
				continue
			}
			if err := hashFile(sum, j.Dir, filepath.Join(folder, entry.Name())); err != nil {
				return "", err
			}
		}
	}
	for _, pattern := range in.Embeds {
		if err := hashMatches(sum, j.Dir, pattern); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// isSource tells whether `go build` without cgo may read a file of a package.
func isSource(name string) bool {
	switch filepath.Ext(name) {
	case ".go":
		return !strings.HasSuffix(name, "_test.go")
	case ".s", ".h", ".syso":
		return true
	}
	return false
}

// hashMatches hashes the files a pattern of go:embed matches, and those below
// the folders it matches.
func hashMatches(sum hash.Hash, dir, pattern string) error {
	matches, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return err
	}
	for _, match := range matches {
		err := filepath.WalkDir(match, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			relative, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			return hashFile(sum, dir, relative)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hashFile adds a file's name and content, or that there is none.
func hashFile(sum hash.Hash, dir, name string) error {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(sum, "%q none\n", name)
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(sum, "%q %x\n", name, sha256.Sum256(content))
	return nil
}

// remember writes the record, unless something was edited during the build, or
// what was built from is not known.
func (j *job) remember(from plan) error {
	if j.Record == "" || from.fingerprint == "" {
		return nil
	}
	now, err := j.fingerprint(from.inputs)
	if err != nil || now != from.fingerprint {
		return nil //nolint:nilerr // a source that has gone was edited
	}
	text, err := json.MarshalIndent(record{from.fingerprint, j.binary.SHA256, from.inputs}, "", "\t")
	if err != nil {
		return err
	}
	return writeWhole(j.Record, text)
}

// writeWhole leaves either the old file or the new one when it is interrupted.
func writeWhole(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone when it was renamed
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
