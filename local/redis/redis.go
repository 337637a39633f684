// Package redis runs a real Redis or Valkey on the loopback interface, over
// TLS only, as ElastiCache does with encryption in transit. Where the machine
// has none it runs miniredis in process and says so: miniredis speaks the
// protocol but is no measure of Redis' speed, memory or eviction.
package redis

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
)

// Kind says which server runs.
type Kind string

// The servers there are.
const (
	Redis     Kind = "redis"
	Valkey    Kind = "valkey"
	Miniredis Kind = "miniredis" // in this process
)

// minRedisMajor is the first version of Redis that serves TLS. Every Valkey does.
const minRedisMajor = 6

// Program is an installed server.
type Program struct {
	Kind    Kind
	Path    string
	Version string
}

// Find returns the valkey-server on PATH, else the redis-server; the error
// says why there is none that will do.
func Find(ctx context.Context) (Program, error) {
	var why []error
	for _, kind := range []Kind{Valkey, Redis} {
		path, err := exec.LookPath(string(kind) + "-server")
		if err != nil {
			continue
		}
		p, err := inspect(ctx, kind, path)
		if err == nil {
			return p, nil
		}
		why = append(why, err)
	}
	if why == nil {
		return Program{}, errors.New("no valkey-server or redis-server on PATH")
	}
	return Program{}, errors.Join(why...)
}

var versionPattern = regexp.MustCompile(`v=((\d+)[\d.]*)`)

func inspect(ctx context.Context, kind Kind, path string) (Program, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return Program{}, fmt.Errorf("run %s --version: %w", path, err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return Program{}, fmt.Errorf("%s --version says %q", path, out)
	}
	if major, err := strconv.Atoi(string(match[2])); err != nil || kind == Redis && major < minRedisMajor {
		return Program{}, fmt.Errorf("%s is version %s; TLS needs %d", path, match[1], minRedisMajor)
	}
	return Program{Kind: kind, Path: path, Version: string(match[1])}, nil
}

// Options says how to run a server.
type Options struct {
	Runner *process.Runner
	CA     *certificates.CA

	Name    string        // names the process and its log; unique in the run
	Addr    string        // 127.0.0.1:port; default a free port
	Token   string        // clients have to send it with AUTH; default none
	Program Program       // default what Find finds; Kind Miniredis does not look
	Timeout time.Duration // until it answers; default 10 s
}

// Server is a running server.
type Server struct {
	Kind    Kind
	Version string // empty for miniredis
	Addr    string // host:port
	URL     string // rediss://host:port
	PID     int    // this process' own for miniredis
	Note    string // why it is miniredis, else empty

	process *process.Process
	mini    *miniredis.Miniredis
	done    chan struct{} // of mini
}

const (
	defaultTimeout = 10 * time.Second
	poll           = 5 * time.Millisecond
	bindAttempts   = 5
)

// errNoTLS tells that a program was built without TLS.
var errNoTLS = errors.New("it was built without TLS")

// Start runs a server and returns when it answers. Nothing is written to
// disk: what it holds ends with it.
func Start(ctx context.Context, o Options) (*Server, error) {
	o.Addr = cmp.Or(o.Addr, "127.0.0.1:0")
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil || host != "127.0.0.1" {
		return nil, fmt.Errorf("start redis %s at %q: a local server listens on 127.0.0.1:port only", o.Name, o.Addr)
	}
	if o.Program == (Program{}) {
		if o.Program, err = Find(ctx); err != nil {
			return startMini(o, err.Error())
		}
	}
	if o.Program.Kind == Miniredis {
		return startMini(o, "asked for")
	}
	s, err := startProgram(ctx, o)
	if errors.Is(err, errNoTLS) {
		return startMini(o, o.Program.Path+": "+errNoTLS.Error())
	}
	if err != nil {
		return nil, fmt.Errorf("start %s %s: %w", o.Program.Kind, o.Name, err)
	}
	return s, nil
}

func startMini(o Options, why string) (*Server, error) {
	config, err := o.CA.ServerTLS()
	if err != nil {
		return nil, err
	}
	m := miniredis.NewMiniRedis()
	if o.Token != "" {
		m.RequireAuth(o.Token)
	}
	if err := m.StartAddrTLS(o.Addr, config); err != nil {
		return nil, fmt.Errorf("start miniredis %s: %w", o.Name, err)
	}
	m.ClockTTL(true) // it is made for tests, where time stands still by default
	return &Server{
		Kind: Miniredis, Addr: m.Addr(), URL: "rediss://" + m.Addr(), PID: os.Getpid(), Note: why,
		mini: m, done: make(chan struct{}),
	}, nil
}

func startProgram(ctx context.Context, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	dir := filepath.Join(o.Runner.Dir, "redis", o.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// What must not stand in a command line, which every user may read.
	config := filepath.Join(dir, "redis.conf")
	text := ""
	if o.Token != "" {
		text = fmt.Sprintf("requirepass %q\n", o.Token)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	_, want, _ := net.SplitHostPort(o.Addr)
	for attempt := 1; ; attempt++ {
		port := want
		if want == "0" {
			free, err := process.FreePorts(1)
			if err != nil {
				return nil, err
			}
			port = strconv.Itoa(free[0])
		}
		addr := net.JoinHostPort("127.0.0.1", port)
		if l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr); err != nil {
			return nil, fmt.Errorf("port %s is taken by another program: %w", port, err)
		} else if err := l.Close(); err != nil {
			return nil, err
		}
		p, err := o.Runner.Start(process.Spec{
			Name: o.Name, Path: o.Program.Path, Dir: dir, Env: []string{"PATH=/usr/bin:/bin", "TZ=UTC"},
			Args: []string{
				config,
				"--bind", "127.0.0.1", "--port", "0", "--tls-port", port,
				"--tls-cert-file", o.CA.CertFile, "--tls-key-file", o.CA.KeyFile, "--tls-ca-cert-file", o.CA.File,
				"--tls-auth-clients", "no", // ElastiCache asks clients for no certificate either
				"--save", "", "--appendonly", "no", "--daemonize", "no",
			},
		})
		if err != nil {
			return nil, err
		}
		err = await(ctx, p, addr, o.CA)
		if err == nil {
			return &Server{
				Kind: o.Program.Kind, Version: o.Program.Version, Addr: addr, URL: "rediss://" + addr, PID: p.PID, process: p,
			}, nil
		}
		p.Kill()
		log := p.Tail(20)
		switch {
		case strings.Contains(log, "Bad directive") && strings.Contains(log, "tls-"):
			return nil, errNoTLS
		case want == "0" && attempt < bindAttempts && strings.Contains(log, "Failed listening"):
		default:
			return nil, fmt.Errorf("%w; the end of %s:\n%s", err, p.Log, log)
		}
	}
}

// await pings until the server answers, ends or ctx is done.
func await(ctx context.Context, p *process.Process, addr string, ca *certificates.CA) error {
	config, err := ca.ClientTLS()
	if err != nil {
		return err
	}
	for {
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %w", cmp.Or(p.Err(), errors.New("exit status 0")))
		case <-ctx.Done():
			return fmt.Errorf("it does not answer in time: %w", cmp.Or(err, ctx.Err()))
		case <-time.After(poll):
		}
		if err = ping(ctx, addr, config); err == nil {
			return nil
		}
	}
}

// ping is one inline command: go-redis would log each attempt that fails.
func ping(ctx context.Context, addr string, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	// A server that asks for its token answers too.
	if err == nil && answer != "+PONG\r\n" && !strings.HasPrefix(answer, "-NOAUTH ") {
		err = fmt.Errorf("PING answered %q", answer)
	}
	return err
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} {
	if s.mini != nil {
		return s.done
	}
	return s.process.Done()
}

// Stop ends the server and returns when it has ended. Call it once.
func (s *Server) Stop(ctx context.Context) {
	if s.mini != nil {
		s.mini.Close()
		close(s.done)
		return
	}
	s.process.Stop(ctx)
}
