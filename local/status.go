package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Status is what runs and where: the object `loadbearing status --json` prints.
type Status struct {
	EdgeURL              string     `json:"edge_url"`
	ALBURL               string     `json:"alb_url"`
	AWSEndpointURL       string     `json:"aws_endpoint_url"`
	Emulator             Emulator   `json:"emulator"`
	Stacks               []Stack    `json:"stacks"`
	RemovedResourceTypes []string   `json:"removed_resource_types"` // not validated here: the emulator rejects them
	Instances            []Instance `json:"instances"`
	Postgres             []Postgres `json:"postgres"`
	Redis                Redis      `json:"redis"`
	Faults               []string   `json:"faults,omitempty"` // what broke since, and what to do
}

// Emulator names the control plane.
type Emulator struct {
	Name    string `json:"name"` // "ministack", "localstack" or "unknown"
	Version string `json:"version"`
}

// Stack is a deployed CloudFormation stack.
type Stack struct {
	Name      string `json:"name"`
	Status    string `json:"status"`
	Resources int    `json:"resources"`
}

// Instance is one process of a fleet.
type Instance struct {
	ID      string `json:"id"`
	PID     int    `json:"pid"`
	Fleet   string `json:"fleet"`
	Color   string `json:"color"`
	Version string `json:"version"`
	URL     string `json:"url"`
	State   string `json:"state"`
}

// Postgres is one database server. The DSN has no password: the secret that
// holds it stands in Secrets Manager.
type Postgres struct {
	Role  string `json:"role"` // "primary" or "replica"
	Shard string `json:"shard"`
	DSN   string `json:"dsn"`
	PID   int    `json:"pid"`
}

// Redis is the cache.
type Redis struct {
	Kind string `json:"kind"` // "redis", "valkey" or "miniredis"
	URL  string `json:"url"`
	PID  int    `json:"pid"` // of the program that runs it; miniredis runs inside `loadbearing up`
}

// ErrNotRunning says that no `loadbearing up` runs in the run folder.
var ErrNotRunning = errors.New("nothing runs here; start it with `make up`")

// ReadStatus returns what the running Up last wrote. It is ErrNotRunning when
// none runs, also when one crashed.
func ReadStatus(runDir string) (Status, error) {
	running, err := Running(runDir)
	if err != nil {
		return Status{}, err
	}
	if !running {
		return Status{}, ErrNotRunning
	}
	data, err := os.ReadFile(statusPath(runDir))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, fmt.Errorf("`make up` is still starting; follow it in %s", LogPath(runDir))
	}
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return Status{}, fmt.Errorf("read %s: %w", statusPath(runDir), err)
	}
	return s, nil
}

// writeJSON replaces a file in one step, so that a reader never sees half of it.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func statusPath(runDir string) string { return filepath.Join(runDir, "status.json") }

// StepsPath is where Up writes the time each of its steps took.
func StepsPath(runDir string) string { return filepath.Join(runDir, "steps.json") }

// LogPath is where a detached Up writes what a foreground one prints.
func LogPath(runDir string) string { return filepath.Join(runDir, "up.log") }
