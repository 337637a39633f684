// Package assembly makes a synthesized CDK cloud assembly deployable to an
// emulator that does not know every resource type in it: on a copy, so that
// the templates under review are never shaped by an emulator.
package assembly

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names in the cloud assembly's schema.
const (
	manifestFile      = "manifest.json"
	stackArtifact     = "aws:cloudformation:stack"
	assetsArtifact    = "cdk:asset-manifest"
	constructPathMeta = "aws:cdk:path"
)

// object is a JSON object whose members this package mostly leaves alone.
type object = map[string]any

// stack is one stack of an assembly and its template.
type stack struct {
	id       string // of the artifact
	name     string
	template object
	file     string // of the template
	manifest *manifest
}

// manifest is a manifest.json: the assembly has one, and one more for each CDK stage.
type manifest struct {
	path    string
	content object
}

// Types lists the resource types of all stacks, sorted.
func Types(dir string) ([]string, error) {
	_, stacks, err := load(dir)
	if err != nil {
		return nil, err
	}
	types := map[string]bool{}
	for _, s := range stacks {
		for _, r := range s.resources() {
			types[r.resourceType()] = true
		}
	}
	return slices.Sorted(maps.Keys(types)), nil
}

// load reads the manifests and the stacks' templates below dir.
func load(dir string) ([]*manifest, []*stack, error) {
	var manifests []*manifest
	var stacks []*stack
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), "asset.") {
			return filepath.SkipDir // a function's code, say
		}
		if d.Name() != manifestFile {
			return nil
		}
		m := &manifest{path: path}
		if m.content, err = readJSON(path); err != nil {
			return err
		}
		manifests = append(manifests, m)
		for id, artifact := range m.artifacts(stackArtifact) {
			properties, _ := artifact["properties"].(object)
			file, _ := properties["templateFile"].(string)
			if file == "" {
				return fmt.Errorf("%s: stack %s names no template", path, id)
			}
			s := &stack{id: id, name: id, file: filepath.Join(filepath.Dir(path), file), manifest: m}
			if name, _ := properties["stackName"].(string); name != "" {
				s.name = name
			}
			if s.template, err = readJSON(s.file); err != nil {
				return err
			}
			stacks = append(stacks, s)
		}
		return nil
	})
	if err == nil && len(manifests) == 0 {
		err = fmt.Errorf("%s holds no %s: it is no cloud assembly", dir, manifestFile)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read cloud assembly: %w", err)
	}
	slices.SortFunc(stacks, func(a, b *stack) int { return strings.Compare(a.id, b.id) })
	return manifests, stacks, nil
}

// artifacts returns the artifacts of a type, by id.
func (m *manifest) artifacts(artifactType string) map[string]object {
	found := map[string]object{}
	all, _ := m.content["artifacts"].(object)
	for id, a := range all {
		if artifact, ok := a.(object); ok && artifact["type"] == artifactType {
			found[id] = artifact
		}
	}
	return found
}

// resource is one resource of a template.
type resource struct {
	id      string
	content object
}

func (s *stack) resources() []resource {
	all, _ := s.template["Resources"].(object)
	var list []resource
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if content, ok := all[id].(object); ok {
			list = append(list, resource{id, content})
		}
	}
	return list
}

func (r resource) resourceType() string {
	t, _ := r.content["Type"].(string)
	return t
}

// path is the construct's path in the app, or the logical id without one.
func (r resource) path() string {
	metadata, _ := r.content["Metadata"].(object)
	if path, _ := metadata[constructPathMeta].(string); path != "" {
		return path
	}
	return r.id
}

func readJSON(path string) (object, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // a number is written back as it was
	var content object
	if err := decoder.Decode(&content); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return content, nil
}

func encode(content object) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	err := encoder.Encode(content)
	return buffer.Bytes(), err
}
