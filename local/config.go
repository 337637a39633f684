package local

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/loadbearing/loadbearing/internal/project"
)

// Default ports. Every listener is on the loopback interface.
const (
	DefaultEdgePort = 8080
	DefaultALBPort  = 8081
	DefaultAWSPort  = 4566
)

// Config says what Up runs and where.
type Config struct {
	Project     project.Project
	Environment string // "dev" or "prod"
	Region      string
	EdgePort    int
	ALBPort     int
	AWSPort     int    // of the emulator that Up starts
	EndpointURL string // of an emulator that runs already; empty starts MiniStack
	RunDir      string // logs, process records, data directories
	CacheDir    string // what was fetched
}

// FromEnviron reads a Config from environment variables: ENV, EDGE_PORT,
// ALB_PORT, AWS_PORT, AWS_ENDPOINT_URL and LOADBEARING_RUN_DIR, and finds the
// project from the working directory. Every wrong value is named.
func FromEnviron(environ []string) (Config, error) {
	values := map[string]string{}
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			values[name] = value
		}
	}
	p, err := project.Find()
	if err != nil {
		return Config{}, err
	}
	var errs []error
	port := func(name string, fallback int) int {
		if values[name] == "" {
			return fallback
		}
		n, err := strconv.Atoi(values[name])
		if err != nil || n < 1 || n > 65535 {
			errs = append(errs, fmt.Errorf("%s=%q: not a port; use a number from 1 to 65535", name, values[name]))
		}
		return n
	}
	c := Config{
		Project:     p,
		Environment: cmp.Or(values["ENV"], "dev"),
		Region:      "us-east-1",
		EdgePort:    port("EDGE_PORT", DefaultEdgePort),
		ALBPort:     port("ALB_PORT", DefaultALBPort),
		AWSPort:     port("AWS_PORT", DefaultAWSPort),
		EndpointURL: strings.TrimRight(values["AWS_ENDPOINT_URL"], "/"),
		RunDir:      cmp.Or(values["LOADBEARING_RUN_DIR"], filepath.Join(p.Root, ".run", "up")),
		CacheDir:    filepath.Join(p.Root, ".cache"),
	}
	if c.RunDir, err = filepath.Abs(c.RunDir); err != nil {
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

// environ is the environment from which FromEnviron reads the same Config.
func (c Config) environ() []string {
	return []string{
		"ENV=" + c.Environment, "AWS_ENDPOINT_URL=" + c.EndpointURL, "LOADBEARING_RUN_DIR=" + c.RunDir,
		"EDGE_PORT=" + strconv.Itoa(c.EdgePort), "ALB_PORT=" + strconv.Itoa(c.ALBPort), "AWS_PORT=" + strconv.Itoa(c.AWSPort),
	}
}

// checkPorts tells which of the ports Up needs are taken, and how to choose others.
func (c Config) checkPorts() error {
	var errs []error
	check := func(variable string, port int) {
		l, err := net.Listen("tcp", loopback(port)) //nolint:noctx // Binding to loopback does not wait.
		if err != nil {
			errs = append(errs, fmt.Errorf("port %d is taken; choose another: make up %s=%d", port, variable, port+1000))
			return
		}
		l.Close()
	}
	check("EDGE_PORT", c.EdgePort)
	check("ALB_PORT", c.ALBPort)
	if c.EndpointURL == "" {
		check("AWS_PORT", c.AWSPort)
	}
	return errors.Join(errs...)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
