package templatediff

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Difference is one value that differs; Old or New is nil where there is none.
type Difference struct {
	Path     string
	Old, New any
}

// differences lists where two values differ, each with its path.
func differences(path string, old, changed any) []Difference {
	old, changed = embedded(old), embedded(changed)
	if reflect.DeepEqual(old, changed) {
		return nil
	}
	if a, ok := old.(map[string]any); ok && !intrinsic(a) {
		if b, ok := changed.(map[string]any); ok && !intrinsic(b) {
			return keyed(path, a, b)
		}
	}
	if a, ok := old.([]any); ok {
		if b, ok := changed.([]any); ok {
			return listed(path, a, b)
		}
	}
	// A number written as text, which CloudFormation takes for the same.
	if old != nil && changed != nil && render(old) == render(changed) {
		return nil
	}
	return []Difference{{Path: path, Old: old, New: changed}}
}

func keyed(path string, a, b map[string]any) (found []Difference) {
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		below := k
		if path != "" {
			below = path + "." + k
		}
		found = append(found, differences(below, a[k], b[k])...)
	}
	return found
}

// identities are the members by which the elements of CloudFormation's lists
// are told apart.
var identities = []string{"Key", "Sid", "Id", "Name", "DeviceName", "PathPattern", "PolicyName", "Priority", "name", "id"}

func listed(path string, a, b []any) []Difference {
	for _, member := range identities {
		x, okA := index(a, member)
		y, okB := index(b, member)
		if !okA || !okB {
			continue
		}
		var found []Difference
		both := maps.Clone(x)
		maps.Copy(both, y)
		for _, k := range slices.Sorted(maps.Keys(both)) {
			found = append(found, differences(path+"["+k+"]", x[k], y[k])...)
		}
		if len(found) == 0 {
			return []Difference{{Path: path + " (order)", Old: order(a, member), New: order(b, member)}}
		}
		return found
	}
	if len(a) == len(b) {
		var found []Difference
		for i := range a {
			found = append(found, differences(fmt.Sprintf("%s[%d]", path, i), a[i], b[i])...)
		}
		return found
	}
	var found []Difference
	removed, added := apart(a, b)
	for i := range max(len(removed), len(added)) {
		d := Difference{Path: path + "[]"}
		if i < len(removed) {
			d.Old = removed[i]
		}
		if i < len(added) {
			d.New = added[i]
		}
		found = append(found, differences(d.Path, d.Old, d.New)...)
	}
	return found
}

// index keys a list's elements by a member that each has and no two share.
func index(list []any, member string) (map[string]any, bool) {
	found := map[string]any{}
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok || m[member] == nil {
			return nil, false
		}
		k := render(m[member])
		if found[k] != nil {
			return nil, false
		}
		found[k] = m
	}
	return found, true
}

func order(list []any, member string) any {
	names := make([]any, len(list))
	for i, v := range list {
		names[i] = v.(map[string]any)[member]
	}
	return names
}

// apart returns what only a and what only b holds, counting repetitions.
func apart(a, b []any) (removed, added []any) {
	added = slices.Clone(b)
	for _, v := range a {
		i := slices.IndexFunc(added, func(w any) bool { return reflect.DeepEqual(v, w) })
		if i < 0 {
			removed = append(removed, v)
			continue
		}
		added = slices.Delete(added, i, i+1)
	}
	return removed, added
}

// embedded is the document in a string that holds JSON, such as a dashboard's
// body, and otherwise the value itself.
func embedded(v any) any {
	text, ok := v.(string)
	if !ok {
		text, ok = joined(v)
	}
	if !ok || !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") {
		return v
	}
	var document any
	if decode([]byte(text), &document) != nil {
		return v
	}
	return document
}

// joined is the text of an Fn::Join of text and references, the references
// escaped so that they can stand inside JSON strings.
func joined(v any) (string, bool) {
	m, _ := v.(map[string]any)
	join, ok := m["Fn::Join"].([]any)
	if !ok || len(join) != 2 || join[0] != "" {
		return "", false
	}
	var text strings.Builder
	for _, part := range list(join[1]) {
		if s, ok := part.(string); ok {
			text.WriteString(s)
			continue
		}
		escaped, err := json.Marshal(render(part))
		if err != nil {
			return "", false
		}
		text.Write(escaped[1 : len(escaped)-1])
	}
	return text.String(), true
}

func intrinsic(m map[string]any) bool {
	if len(m) != 1 {
		return false
	}
	for k := range m {
		return k == "Ref" || k == "Condition" || strings.HasPrefix(k, "Fn::")
	}
	return false
}

// render writes a value on one line, references as ${Id} and ${Id.Attribute}.
func render(v any) string {
	switch v := v.(type) {
	case nil:
		return "(none)"
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = render(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		if intrinsic(v) {
			return renderIntrinsic(v)
		}
		parts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+": "+render(v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return fmt.Sprint(v)
	}
}

func renderIntrinsic(m map[string]any) string {
	if ref, ok := m["Ref"].(string); ok {
		return "${" + ref + "}"
	}
	switch get := m["Fn::GetAtt"].(type) {
	case string:
		return "${" + get + "}"
	case []any:
		if len(get) == 2 {
			return "${" + render(get[0]) + "." + render(get[1]) + "}"
		}
	}
	if name, ok := m["Fn::ImportValue"]; ok {
		return "${import " + render(name) + "}"
	}
	if output, ok := m["Fn::GetStackOutput"].(map[string]any); ok {
		return "${output " + render(output["StackName"]) + ":" + render(output["OutputName"]) + "}"
	}
	if join, ok := m["Fn::Join"].([]any); ok && len(join) == 2 {
		if list, ok := join[1].([]any); ok {
			parts := make([]string, len(list))
			for i, e := range list {
				parts[i] = render(e)
			}
			return strings.Join(parts, render(join[0]))
		}
	}
	if sub, ok := m["Fn::Sub"].(string); ok {
		return sub
	}
	if text, ok := m["Fn::Base64"]; ok {
		return render(text)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Sprint(m)
	}
	return string(text)
}

// assetHash is the SHA-256 that names an asset of CDK.
var assetHash = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// isAsset tells whether two values differ only in the hashes of assets.
func (d Difference) isAsset() bool {
	if d.Old == nil || d.New == nil {
		return false
	}
	old, changed := render(d.Old), render(d.New)
	return assetHash.MatchString(old) && assetHash.ReplaceAllString(old, "") == assetHash.ReplaceAllString(changed, "")
}
