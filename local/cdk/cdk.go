// Package cdk drives the pinned CDK command line: the same program, with the
// same arguments, for a deployment to AWS and to an emulator.
package cdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// CLI is the CDK command line installed in a checkout's node_modules.
type CLI struct {
	Root string    // the checkout: package.json, package-lock.json and cdk.json stand in it
	Env  []string  // environment of the command; see Environ
	Log  io.Writer // what the command prints, as it prints it; default: kept for errors only
}

// quiet keeps the CLI from calling home: notices, version check, telemetry.
var quiet = []string{"CDK_DISABLE_CLI_TELEMETRY=true", "CDK_DISABLE_VERSION_CHECK=1", "NO_UPDATE_NOTIFIER=1"}

// Emulated returns the environment that points the CLI, and every AWS SDK, at
// an emulator: its URL, its fixed credentials, and nothing of the caller's
// own AWS configuration.
func Emulated(endpoint, region string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "AWS_") })
	return append(env,
		"AWS_ENDPOINT_URL="+endpoint,
		"AWS_ENDPOINT_URL_S3="+endpoint,
		"AWS_ACCESS_KEY_ID=test",
		"AWS_SECRET_ACCESS_KEY=test",
		"AWS_REGION="+region,
		"AWS_DEFAULT_REGION="+region,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
	)
}

// Install runs `npm ci` unless the locked versions are there already. It returns
// that of the CDK CLI.
func (c CLI) Install(ctx context.Context) (version string, err error) {
	want, err := lockedVersions(filepath.Join(c.Root, "package-lock.json"))
	if err != nil {
		return "", err
	}
	installed := true
	for name, version := range want {
		installed = installed && installedVersion(c.Root, name) == version
	}
	if installed {
		return want[command], nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("install the CDK CLI: npm is not on PATH; install Node.js 20 or newer")
	}
	cmd := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = c.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install %s %s with npm ci: %w\n%s", command, want[command], err, bytes.TrimSpace(out))
	}
	return want[command], nil
}

// Synth writes the cloud assembly of an app into out. app is the command that
// runs it; values become its context. Strict makes every warning an error.
func (c CLI) Synth(ctx context.Context, app, out string, values map[string]string, strict bool) error {
	args := []string{"synth", "--quiet", "--app", app, "--output", out, fmt.Sprintf("--strict=%t", strict)}
	for _, k := range sortedKeys(values) {
		args = append(args, "--context", k+"="+values[k])
	}
	return c.run(ctx, args...)
}

// Bootstrap prepares an account and region, as aws://123456789012/us-east-1,
// for deployments: the asset bucket and the roles. The assembly only keeps the
// CLI from running the app of cdk.json to look for environments.
func (c CLI) Bootstrap(ctx context.Context, assembly, environment string) error {
	return c.run(ctx, "bootstrap", "--app", assembly, environment)
}

// Deploy deploys stacks of a cloud assembly; "--all" is every stack.
func (c CLI) Deploy(ctx context.Context, assembly string, approval Approval, stacks ...string) error {
	args := []string{"deploy", "--app", assembly, "--require-approval", string(approval)}
	if approval == ApproveNever {
		// Nobody reads a change set: update each stack directly, those that do not need each other side by side.
		args = append(args, "--method", "direct", "--concurrency", "4")
	}
	return c.run(ctx, append(args, stacks...)...)
}

// Destroy deletes stacks of a cloud assembly without asking.
func (c CLI) Destroy(ctx context.Context, assembly string, stacks ...string) error {
	args := append([]string{"destroy", "--app", assembly, "--force"}, stacks...)
	return c.run(ctx, args...)
}

// Approval says which changes the CLI asks about before it deploys.
type Approval string

// Approvals.
const (
	ApproveNever      Approval = "never"
	ApproveBroadening Approval = "broadening" // IAM and security-group changes that open something
)

func (c CLI) run(ctx context.Context, args ...string) error {
	var kept bytes.Buffer
	out := io.Writer(&kept)
	if c.Log != nil {
		out = io.MultiWriter(&kept, c.Log)
	}
	script := filepath.Join(c.Root, "node_modules", "aws-cdk", "bin", "cdk")
	node, err := exec.LookPath("node")
	if err != nil {
		return errors.New("cdk: node is not on PATH; install Node.js 20 or newer")
	}
	cmd := exec.CommandContext(ctx, node, append([]string{script, "--no-notices", "--no-color", "--ci"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Root, out, out
	cmd.Env = append(slices.Clip(c.Env), quiet...)
	if f, ok := c.Log.(*os.File); ok && f == os.Stdout {
		cmd.Stdin = os.Stdin // the CLI may ask for approval
	}
	// The app it runs is in its group: end both when ctx does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: cmd.Stdin == nil}
	cmd.Cancel = func() error {
		if cmd.SysProcAttr.Setpgid {
			return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		}
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("cdk %s: %w", args[0], context.Cause(ctx))
		}
		return fmt.Errorf("cdk %s: %w\n%s", strings.Join(args, " "), err, lastLines(kept.String(), 40))
	}
	return nil
}

// command is the package of the CDK CLI.
const command = "aws-cdk"

// lockedVersions are those of the packages that package.json asks for.
func lockedVersions(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the CDK CLI's version: %w", err)
	}
	var lock struct {
		Packages map[string]struct {
			Version         string            `json:"version"`
			DevDependencies map[string]string `json:"devDependencies"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, fmt.Errorf("read the CDK CLI's version from %s: %w", path, err)
	}
	versions := map[string]string{}
	for name := range lock.Packages[""].DevDependencies {
		versions[name] = lock.Packages["node_modules/"+name].Version
	}
	if versions[command] == "" {
		return nil, fmt.Errorf("%s does not lock %s: restore it from version control", path, command)
	}
	return versions, nil
}

func installedVersion(root, name string) string {
	data, err := os.ReadFile(filepath.Join(root, "node_modules", filepath.FromSlash(name), "package.json"))
	if err != nil {
		return ""
	}
	var pkg struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(data, &pkg) != nil {
		return ""
	}
	return pkg.Version
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
