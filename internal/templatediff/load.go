package templatediff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loadbearing/loadbearing/internal/project"
)

// Template is a stack's synthesized template.
type Template struct {
	Stack     string
	Body      map[string]any // numbers are json.Number
	Resources map[string]Resource
}

// Resource is one resource of a template. A missing DeletionPolicy or
// UpdateReplacePolicy is empty.
type Resource struct {
	Type                string
	Properties          map[string]any
	Metadata            map[string]any
	DeletionPolicy      string
	UpdateReplacePolicy string
}

// Load reads the templates of a folder: those of its cloud assembly's manifest
// in deployment order, or, without a manifest, every *.template.json, or else
// every *.json, by name.
func Load(dir string) ([]Template, error) {
	files, err := files(dir)
	if err != nil {
		return nil, err
	}
	templates := make([]Template, len(files))
	for i, f := range files {
		data, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		if templates[i], err = parse(f.stack, data); err != nil {
			return nil, fmt.Errorf("read the template %s: %w", f.path, err)
		}
	}
	return templates, nil
}

type file struct{ stack, path string }

func files(dir string) ([]file, error) {
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err == nil {
		stacks, err := project.Summaries(dir)
		if err != nil {
			return nil, err
		}
		found := make([]file, len(stacks))
		for i, s := range stacks {
			found[i] = file{s.Name, s.Template}
		}
		return found, nil
	}
	for _, suffix := range []string{".template.json", ".json"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		if err != nil {
			return nil, err
		}
		var found []file
		for _, p := range paths {
			found = append(found, file{strings.TrimSuffix(filepath.Base(p), suffix), p})
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, errors.New(dir + " holds no template: neither manifest.json nor *.template.json nor *.json")
}

func parse(stack string, data []byte) (Template, error) {
	t := Template{Stack: stack}
	if err := decode(data, &t.Body); err != nil {
		return t, err
	}
	var typed struct{ Resources map[string]Resource }
	if err := decode(data, &typed); err != nil {
		return t, err
	}
	t.Resources = typed.Resources
	return t, nil
}

// decode keeps numbers as they are written, so that they can be compared and
// shown.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

// Name is what a reader calls the resource: its path in the CDK app below the
// stack and without CDK's own last elements, or its logical id.
func (r Resource) Name(id string) string {
	path, _ := r.Metadata["aws:cdk:path"].(string)
	_, path, _ = strings.Cut(path, "/")
	parts := strings.Split(path, "/")
	for len(parts) > 1 && slices.Contains([]string{"Resource", "Default"}, parts[len(parts)-1]) {
		parts = parts[:len(parts)-1]
	}
	if path == "" {
		return id
	}
	return strings.Join(parts, "/")
}
