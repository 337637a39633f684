// Package cfnlint checks templates with cfn-lint, pinned, in a Python
// environment of the project's own.
package cfnlint

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/loadbearing/loadbearing/local/python"
)

// requirements pins cfn-lint and everything it needs, with hashes.
//
//go:embed requirements.txt
var requirements []byte

//go:embed cfnlintrc.yaml
var config []byte

// Run installs cfn-lint below cacheDir, once, and checks the templates. The
// error holds every finding, one on a line: file, position, rule, what is wrong.
// progress is told what takes time; it may be nil.
func Run(ctx context.Context, cacheDir string, templates []string, progress func(string)) error {
	env, err := python.Install(ctx, filepath.Join(cacheDir, "python"), "cfn-lint", requirements, progress)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cfn-lint-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rc := filepath.Join(dir, "cfnlintrc.yaml")
	if err := os.WriteFile(rc, config, 0o600); err != nil {
		return err
	}
	// The package has no __main__, and the shebang of its script would have to
	// hold a path that may be longer than the system takes.
	args := append([]string{"-c", "from cfnlint.runner import main; main()", "--config-file", rc, "--format", "parseable", "--"}, templates...)
	cmd := exec.CommandContext(ctx, env.Executable(), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); failed && stdout.Len() > 0 {
		return fmt.Errorf("cfn-lint found:\n%s", bytes.TrimSpace(stdout.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("run cfn-lint: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}
