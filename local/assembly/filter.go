package assembly

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Removed is a resource that a filtered assembly lacks.
type Removed struct {
	Stack     string // the stack's name
	LogicalID string
	Path      string // of the construct in the app
	Type      string
	Reason    string // "type not supported", or what it cannot exist without
}

// Filter copies the cloud assembly src to dst, which must not exist or be
// empty, without the resources whose type is unsupported and without what
// cannot exist without them: every resource and output, in any stack, that
// refers to a removed one by Ref, Fn::GetAtt, Fn::Sub or an exported value.
// A DependsOn alone is only dropped. Each template that changes is published
// under the hash of its new content.
//
// It returns what was removed, stack by stack. Nested stacks are not looked
// into: this project has none.
func Filter(src, dst string, unsupported func(resourceType string) bool) ([]Removed, error) {
	if entries, err := os.ReadDir(dst); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("filter cloud assembly: %s is not empty", dst)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("filter cloud assembly: %w", err)
	}
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return nil, fmt.Errorf("filter cloud assembly: copy: %w", err)
	}
	manifests, stacks, err := load(dst)
	if err != nil {
		return nil, err
	}
	f := filter{unsupported: unsupported, lost: map[*stack]map[string]string{}, exports: map[string]string{}}
	for _, s := range stacks {
		f.lost[s] = map[string]string{}
	}
	// A removal can cost another resource, of any stack; each round finds at
	// least one more or is the last.
	for f.round(stacks) {
	}

	var removed []Removed
	changed := false
	for _, s := range stacks {
		if !f.touches(s) {
			continue
		}
		changed = true
		for _, r := range s.resources() {
			if reason, lost := f.lost[s][r.id]; lost {
				removed = append(removed, Removed{s.name, r.id, r.path(), r.resourceType(), reason})
			}
		}
		f.prune(s)
		if err := rewrite(s); err != nil {
			return nil, fmt.Errorf("filter cloud assembly: stack %s: %w", s.name, err)
		}
	}
	for _, m := range manifests {
		if !changed {
			break // the copy is the same, byte for byte
		}
		if err := write(m.path, m.content); err != nil {
			return nil, fmt.Errorf("filter cloud assembly: %w", err)
		}
	}
	return removed, nil
}

type filter struct {
	unsupported func(string) bool
	lost        map[*stack]map[string]string // logical id → reason
	exports     map[string]string            // name of a lost export → stack that had it
}

// round looks once at everything that is still there.
func (f *filter) round(stacks []*stack) (changed bool) {
	for _, s := range stacks {
		for _, r := range s.resources() {
			if _, gone := f.lost[s][r.id]; gone {
				continue
			}
			var reason string
			if f.unsupported(r.resourceType()) {
				reason = "type not supported"
			} else {
				reason = f.needs(s, without(r.content, "DependsOn", "Metadata"))
			}
			if reason != "" {
				f.lost[s][r.id] = reason
				changed = true
			}
		}
		for _, output := range s.outputs() {
			export, ok := output["Export"].(object)
			if !ok || f.needs(s, output["Value"]) == "" {
				continue
			}
			if key := canonical(export["Name"]); f.exports[key] == "" {
				f.exports[key] = s.name
				changed = true
			}
		}
	}
	return changed
}

// needs returns what a part of a template refers to that is lost, in words,
// or "".
func (f *filter) needs(s *stack, node any) string {
	switch node := node.(type) {
	case []any:
		for _, member := range node {
			if reason := f.needs(s, member); reason != "" {
				return reason
			}
		}
	case object:
		if len(node) == 1 {
			for function, argument := range node {
				for _, id := range references(function, argument) {
					if _, lost := f.lost[s][id]; lost {
						return "refers to " + id
					}
				}
				if from := f.exports[canonical(argument)]; function == "Fn::ImportValue" && from != "" {
					return fmt.Sprintf("imports %s from stack %s", canonical(argument), from)
				}
			}
		}
		for _, member := range node {
			if reason := f.needs(s, member); reason != "" {
				return reason
			}
		}
	}
	return ""
}

// substitution is a ${Name} or ${Name.Attribute} in Fn::Sub; ${!Name} is literal text.
var substitution = regexp.MustCompile(`\$\{([^!][^}.]*)(?:\.[^}]*)?\}`)

// references returns the logical ids that an intrinsic function names itself.
func references(function string, argument any) []string {
	switch function {
	case "Ref":
		if id, ok := argument.(string); ok {
			return []string{id}
		}
	case "Fn::GetAtt":
		switch argument := argument.(type) {
		case string:
			id, _, _ := strings.Cut(argument, ".")
			return []string{id}
		case []any:
			if len(argument) > 0 {
				if id, ok := argument[0].(string); ok {
					return []string{id}
				}
			}
		}
	case "Fn::Sub":
		text, ok := argument.(string)
		variables := object{}
		if list, isList := argument.([]any); isList && len(list) == 2 {
			text, ok = list[0].(string)
			variables, _ = list[1].(object)
		}
		if !ok {
			return nil
		}
		var ids []string
		for _, match := range substitution.FindAllStringSubmatch(text, -1) {
			if id := strings.TrimSpace(match[1]); variables[id] == nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	return nil
}

// touches tells whether anything of the stack goes.
func (f *filter) touches(s *stack) bool {
	if len(f.lost[s]) > 0 {
		return true
	}
	for _, output := range s.outputs() {
		if f.needs(s, output) != "" {
			return true
		}
	}
	return false
}

// prune takes what is lost out of the template.
func (f *filter) prune(s *stack) {
	resources, _ := s.template["Resources"].(object)
	for id := range f.lost[s] {
		delete(resources, id)
	}
	for _, r := range s.resources() {
		switch dependsOn := r.content["DependsOn"].(type) {
		case string:
			if _, lost := f.lost[s][dependsOn]; lost {
				delete(r.content, "DependsOn")
			}
		case []any:
			var kept []any
			for _, id := range dependsOn {
				name, _ := id.(string)
				if _, lost := f.lost[s][name]; !lost {
					kept = append(kept, id)
				}
			}
			if len(kept) == 0 {
				delete(r.content, "DependsOn")
			} else {
				r.content["DependsOn"] = kept
			}
		}
	}
	s.pruneTransforms()
	for name, output := range s.outputs() {
		if f.needs(s, output) != "" {
			outputs, _ := s.template["Outputs"].(object)
			delete(outputs, name)
		}
	}
}

// transforms are the macros that CDK declares for a resource type.
var transforms = map[string]string{
	"AWS::SecretsManager-2020-07-23": "AWS::SecretsManager::RotationSchedule",
	"AWS::SecretsManager-2024-09-16": "AWS::SecretsManager::RotationSchedule",
}

// pruneTransforms drops the transforms that no resource is left for.
func (s *stack) pruneTransforms() {
	needed := func(transform any) bool {
		name, _ := transform.(string)
		resourceType, known := transforms[name]
		return !known || slices.ContainsFunc(s.resources(), func(r resource) bool { return r.resourceType() == resourceType })
	}
	switch declared := s.template["Transform"].(type) {
	case string:
		if !needed(declared) {
			delete(s.template, "Transform")
		}
	case []any:
		kept := slices.DeleteFunc(declared, func(t any) bool { return !needed(t) })
		if s.template["Transform"] = kept; len(kept) == 0 {
			delete(s.template, "Transform")
		}
	}
}

func (s *stack) outputs() map[string]object {
	found := map[string]object{}
	all, _ := s.template["Outputs"].(object)
	for name, o := range all {
		if output, ok := o.(object); ok {
			found[name] = output
		}
	}
	return found
}

// rewrite writes a changed template and the references to its hash: CDK
// publishes a template as a file asset under the hash of its content, and
// would deploy an older upload of the same name otherwise.
func rewrite(s *stack) error {
	data, err := encode(s.template)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file, data, 0o644); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	dir := filepath.Dir(s.manifest.path)
	name, err := filepath.Rel(dir, s.file)
	if err != nil {
		return err
	}
	for id, artifact := range s.manifest.artifacts(assetsArtifact) {
		properties, _ := artifact["properties"].(object)
		file, _ := properties["file"].(string)
		assets, err := readJSON(filepath.Join(dir, file))
		if err != nil {
			return fmt.Errorf("assets %s: %w", id, err)
		}
		files, _ := assets["files"].(object)
		for old, entry := range files {
			asset, _ := entry.(object)
			source, _ := asset["source"].(object)
			if source["path"] != name {
				continue
			}
			delete(files, old)
			files[hash] = replaced(asset, old, hash)
			stackEntry := s.manifest.artifacts(stackArtifact)[s.id]
			stackEntry["properties"] = replaced(stackEntry["properties"], old, hash)
			if err := write(filepath.Join(dir, file), assets); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// replaced returns the node with one text in place of another in every string value.
func replaced(node any, old, with string) any {
	switch node := node.(type) {
	case string:
		return strings.ReplaceAll(node, old, with)
	case []any:
		for i := range node {
			node[i] = replaced(node[i], old, with)
		}
	case object:
		for key := range node {
			node[key] = replaced(node[key], old, with)
		}
	}
	return node
}

// canonical is a comparable form of an export's name, which may be a function.
func canonical(name any) string {
	if text, ok := name.(string); ok {
		return text
	}
	data, err := json.Marshal(name) // members of maps come sorted
	if err != nil {
		return ""
	}
	return string(data)
}

func without(content object, members ...string) object {
	rest := object{}
	maps.Copy(rest, content)
	for _, key := range members {
		delete(rest, key)
	}
	return rest
}

func write(path string, content object) error {
	data, err := encode(content)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
