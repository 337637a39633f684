// Package localstack runs real LocalStack, free edition, for the tests that
// prove the stacks on a second emulator. It comes from PyPI: no Docker, no
// account. Functions can be created there and not run, since that needs Docker.
package localstack

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/loadbearing/loadbearing/local/emulator"
	"github.com/loadbearing/loadbearing/local/process"
	"github.com/loadbearing/loadbearing/local/python"
)

// Version is LocalStack core's: the newest that runs without an account on
// every Python this project supports.
const Version = "4.13.1"

// requirements pins LocalStack and everything it needs as of its release, with
// hashes: it does not bound its dependencies, and newer ones break it.
//
//go:embed requirements.txt
var requirements []byte

// compat lets LocalStack run whole on Pythons before 3.12.
//
//go:embed compat/sitecustomize.py
var compat []byte

// Options says how to run LocalStack.
type Options struct {
	Runner   *process.Runner // required
	CacheDir string          // where the installation is kept; required
	RunDir   string          // everything it writes; required, emptied at start
	Port     int             // on 127.0.0.1; 0 takes a free one
	Region   string          // default emulator.DefaultRegion
	Progress func(string)    // told what takes time; may be nil
	Timeout  time.Duration   // for the start alone; default two minutes
}

// Start installs LocalStack once, runs it and returns when it answers.
func Start(ctx context.Context, o Options) (*emulator.Emulator, error) {
	if o.Region == "" {
		o.Region = emulator.DefaultRegion
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	env, err := python.Install(ctx, filepath.Join(o.CacheDir, "python"), "localstack", requirements, o.Progress)
	if err != nil {
		return nil, fmt.Errorf("localstack: %w", err)
	}
	port, err := emulator.FreePort(o.Port)
	if err != nil {
		return nil, fmt.Errorf("localstack: %w", err)
	}
	run, err := filepath.Abs(o.RunDir)
	if err != nil {
		return nil, fmt.Errorf("localstack: %w", err)
	}
	volume, tmp := filepath.Join(run, "volume"), filepath.Join(run, "tmp")
	for _, dir := range []string{volume, tmp} {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("localstack: empty its folder: %w", err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("localstack: make its folder: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(tmp, "sitecustomize.py"), compat, 0o644); err != nil {
		return nil, fmt.Errorf("localstack: %w", err)
	}
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p, err := o.Runner.Start(process.Spec{
		Name: "localstack",
		Path: env.Executable(),
		Args: []string{"-m", "localstack.runtime.main"},
		Dir:  run,
		Env: []string{
			"PATH=" + filepath.Join(env.Dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
			"HOME=" + run,
			"TMPDIR=" + tmp,
			"PYTHONPATH=" + tmp,
			"PYTHONUNBUFFERED=1",
			"GATEWAY_LISTEN=" + listen,
			"LOCALSTACK_HOST=" + listen,
			"LOCALSTACK_VOLUME_DIR=" + volume,
			"FILESYSTEM_ROOT=" + volume,
			// The free edition, and nothing that would go to the network.
			"ACTIVATE_PRO=0",
			"DISABLE_EVENTS=1",
			"SKIP_SSL_CERT_DOWNLOAD=1",
			"DNS_ADDRESS=0",
		},
	})
	if err != nil {
		return nil, fmt.Errorf("localstack: %w", err)
	}
	e, err := emulator.Run(ctx, p, "http://"+listen, o.Region, o.Timeout)
	if err != nil {
		return nil, fmt.Errorf("localstack: %w", err)
	}
	e.RunsLambda = false // needs Docker
	return e, nil
}
