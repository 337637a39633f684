// Package twin says what it costs that a CDK app is written in Go. It records
// what the app asks of the CDK through jsii, and makes the same calls in one Node
// process, as the same app in TypeScript would, compiled before. The twin comes
// from the app itself: there is no second source to keep.
package twin

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed twin.js
var script []byte

// wrapper stands for node. It writes each request into the trace before node
// sees it, so that the trace is complete whenever an answer has come back.
const wrapper = `#!/bin/sh
tee /dev/fd/3 3>&1 >>"$JSII_TRACE" | node "$@" | tee -a "$JSII_TRACE.responses"
`

// Tracing returns the environment of a Go program that uses jsii in which its
// round trips are written into trace, one a line, and their answers into
// trace.responses. It puts a script that stands for node into dir.
func Tracing(dir string) (env []string, trace string, err error) {
	node := filepath.Join(dir, "node")
	if err := os.WriteFile(node, []byte(wrapper), 0o700); err != nil {
		return nil, "", err
	}
	trace = filepath.Join(dir, "trace")
	return []string{"JSII_NODE=" + node, "JSII_TRACE=" + trace}, trace, nil
}

// App is a CDK app that is built.
type App struct {
	Path string   // of the program
	Dir  string   // its working directory, in the module that requires the CDK
	Env  []string // such as CDK_CONTEXT_JSON
}

// Recording is what an app asked of the CDK.
type Recording struct {
	RoundTrips int
	app        App
	dir        string
	trace      string
	modules    string
}

// Record runs the app once. Dir is an empty folder that stays until the recording
// is no longer used.
func Record(ctx context.Context, app App, dir string) (*Recording, error) {
	env, trace, err := Tracing(dir)
	if err != nil {
		return nil, err
	}
	r := &Recording{app: app, dir: dir, trace: trace, modules: filepath.Join(dir, "node_modules")}
	if _, err := r.run(ctx, append(env, "CDK_VALIDATION=false"), app.Path); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		return nil, err
	}
	var loads []load
	for line := range bytes.Lines(data) {
		r.RoundTrips++
		var request load
		if err := json.Unmarshal(line, &request); err != nil {
			return nil, fmt.Errorf("read the trace: %w", err)
		}
		if request.API == "load" {
			loads = append(loads, request)
		}
	}
	return r, r.install(ctx, loads)
}

// load is the request that loads a library.
type load struct {
	API     string `json:"api"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// install unpacks the libraries, which Go modules carry as npm packages.
func (r *Recording) install(ctx context.Context, loads []load) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "all")
	list.Dir = r.app.Dir
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the modules: %w", err)
	}
	for _, l := range loads {
		file := strings.ReplaceAll(strings.TrimPrefix(l.Name, "@"), "/", "-") + "-" + l.Version + ".tgz"
		found := ""
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			path := filepath.Join(lines.Text(), "jsii", file)
			if _, err := os.Stat(path); err == nil && lines.Text() != "" {
				found = path
			}
		}
		if found == "" {
			return fmt.Errorf("no Go module carries %s", file)
		}
		into := filepath.Join(r.modules, filepath.FromSlash(l.Name))
		if err := os.MkdirAll(into, 0o755); err != nil {
			return err
		}
		if said, err := exec.CommandContext(ctx, "tar", "-xzf", found, "-C", into, "--strip-components=1").CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", file, err, said)
		}
	}
	return os.WriteFile(filepath.Join(r.dir, "twin.js"), script, 0o600)
}

// Compare returns the shortest of several runs of the app and of its twin, by
// turns, both without the CDK CLI. It fails when their templates differ.
func (r *Recording) Compare(ctx context.Context, runs int, env ...string) (app, twin time.Duration, err error) {
	for range runs {
		took, err := r.run(ctx, env, r.app.Path)
		if err != nil {
			return 0, 0, err
		}
		app = shorter(app, took)
		ours, err := r.templates()
		if err != nil {
			return 0, 0, err
		}
		if took, err = r.run(ctx, env, "node", filepath.Join(r.dir, "twin.js"), r.modules, r.trace); err != nil {
			return 0, 0, err
		}
		twin = shorter(twin, took)
		theirs, err := r.templates()
		if err != nil {
			return 0, 0, err
		}
		if !slices.Equal(ours, theirs) {
			return 0, 0, errors.New("the twin's templates are not the app's: it does not make the same calls")
		}
	}
	return app, twin, nil
}

func shorter(best, took time.Duration) time.Duration {
	if best == 0 {
		return took
	}
	return min(best, took)
}

// run calls a command that writes a cloud assembly and says how long it took.
func (r *Recording) run(ctx context.Context, env []string, name string, args ...string) (time.Duration, error) {
	out := filepath.Join(r.dir, "cdk.out")
	if err := os.RemoveAll(out); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = r.app.Dir
	cmd.Env = slices.Concat(os.Environ(), r.app.Env, env, []string{"CDK_OUTDIR=" + out})
	start := time.Now()
	said, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, said)
	}
	return time.Since(start), nil
}

// templates are the contents of those in the cloud assembly.
func (r *Recording) templates() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "cdk.out", "*.template.json"))
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(paths))
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		texts[i] = string(text)
	}
	return texts, nil
}
