package templatediff

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

//go:embed compare.cjs
var script string

// Library is the npm package that knows which changes replace a resource.
const Library = "@aws-cdk/cloudformation-diff"

// verdicts is what the script answers.
type verdicts struct {
	Stacks map[string]map[string]verdict // by stack and logical id
	Types  facts
}

type verdict struct {
	Impact     string
	Properties map[string]string // impact by property
}

// facts says of each type that changed what AWS's service database knows.
type facts map[string]struct {
	Stateful    bool
	Permission  string            // what kind of permission the resource is, or "None"
	Permissions map[string]string // properties that hold permissions, and of what kind
}

// ask runs the library, which is installed in root's node_modules, over the
// pairs of templates.
func ask(ctx context.Context, root string, pairs map[string]pair) (v verdicts, err error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return v, errors.New("compare templates: node is not on PATH; install Node.js 20 or newer")
	}
	in, err := json.Marshal(pairs)
	if err != nil {
		return v, fmt.Errorf("compare templates: %w", err)
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, node, "-e", script)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = root, bytes.NewReader(in), &out, &said
	if err := cmd.Run(); err != nil {
		return v, fmt.Errorf("compare templates with %s: %w\n%s", Library, err, bytes.TrimSpace(said.Bytes()))
	}
	if err := decode(out.Bytes(), &v); err != nil {
		return v, fmt.Errorf("compare templates: read the answer of %s: %w", Library, err)
	}
	return v, nil
}

type pair struct {
	From map[string]any `json:"from"`
	To   map[string]any `json:"to"`
}
