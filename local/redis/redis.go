// Package redis runs a real Redis or Valkey on the loopback interface, over
// TLS only, as ElastiCache does with encryption in transit, and with data that
// outlive the process, as they do where a replica takes over. The program is
// the machine's, else one that is fetched. Where neither is to be had it is
// miniredis, in process, and says so: miniredis speaks the protocol but is no
// measure of Redis' speed, memory or eviction.
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
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
)

// Options says how to run a server.
type Options struct {
	Runner *process.Runner
	CA     *certificates.CA

	Name    string        // names the process and its log; unique in the run
	Addr    string        // 127.0.0.1:port; default a free port
	Token   string        // clients have to send it with AUTH; default none
	Program Program       // what Install found; default miniredis
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

	data string // folder; empty for miniredis
	stop func(context.Context)
	done chan struct{}
}

const (
	defaultTimeout = 10 * time.Second
	poll           = 5 * time.Millisecond
	bindAttempts   = 5
)

// errPortTaken is returned for a port chosen here that another program took
// before the server did.
var errPortTaken = errors.New("another program took its port")

// Start runs a server and returns when it answers, with the data that a server
// of this name has left in the run folder. What was acknowledged is in the
// operating system's hands, so it outlives a killed server, though not the
// machine. Miniredis keeps nothing.
func Start(ctx context.Context, o Options) (*Server, error) {
	o.Addr = cmp.Or(o.Addr, "127.0.0.1:0")
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.Program.Kind = cmp.Or(o.Program.Kind, Miniredis)
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil || host != "127.0.0.1" {
		return nil, fmt.Errorf("start redis %s at %q: a local server listens on 127.0.0.1:port only", o.Name, o.Addr)
	}
	start := startProgram
	if o.Program.Kind == Miniredis {
		start = startMini
	}
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start %s %s: %w", o.Program.Kind, o.Name, err)
	}
	s.Kind, s.Version, s.Note, s.URL = o.Program.Kind, o.Program.Version, o.Program.Note, "rediss://"+s.Addr
	return s, nil
}

func startMini(_ context.Context, o Options) (*Server, error) {
	config, err := o.CA.ServerTLS()
	if err != nil {
		return nil, err
	}
	m := miniredis.NewMiniRedis()
	if o.Token != "" {
		m.RequireAuth(o.Token)
	}
	if err := m.StartAddrTLS(o.Addr, config); err != nil {
		return nil, err
	}
	m.ClockTTL(true) // it is made for tests, where time stands still by default
	done := make(chan struct{})
	end := sync.OnceFunc(func() {
		m.Close()
		close(done)
	})
	return &Server{Addr: m.Addr(), PID: os.Getpid(), done: done, stop: func(context.Context) { end() }}, nil
}

func startProgram(ctx context.Context, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	dir := filepath.Join(o.Runner.Dir, "redis", o.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// What must not stand in a command line, which every user may read.
	text := ""
	if o.Token != "" {
		text = fmt.Sprintf("requirepass %q\n", o.Token)
	}
	if err := os.WriteFile(filepath.Join(dir, configFile), []byte(text), 0o600); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		s, err := tryProgram(ctx, o, dir)
		if !errors.Is(err, errPortTaken) || attempt == bindAttempts {
			return s, err
		}
	}
}

const configFile = "redis.conf"

// tryProgram runs the program at the address if it was built with TLS, else at
// a port of its own, behind a front at the address.
func tryProgram(ctx context.Context, o Options, dir string) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("%s is taken by another program: %w", o.Addr, err)
	}
	addr := listener.Addr().(*net.TCPAddr)
	args := []string{
		configFile, "--bind", "127.0.0.1", "--daemonize", "no", "--save", "",
		// Every write goes to the file before it is answered. With everysec it
		// would be put off for up to 2 s while the disk is busy with the sync
		// before, and answered nonetheless.
		"--appendonly", "yes", "--appendfsync", "no",
	}
	var f *front
	chosen := o.Addr != addr.String() // not the caller's
	if o.Program.TLS {
		if err := listener.Close(); err != nil {
			return nil, err
		}
		args = append(args, "--port", "0", "--tls-port", strconv.Itoa(addr.Port),
			"--tls-cert-file", o.CA.CertFile, "--tls-key-file", o.CA.KeyFile, "--tls-ca-cert-file", o.CA.File,
			"--tls-auth-clients", "no") // ElastiCache asks clients for no certificate either
	} else {
		own, err := process.FreePorts(1)
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		config, err := o.CA.ServerTLS()
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		port := strconv.Itoa(own[0])
		f, chosen = newFront(listener, config, net.JoinHostPort("127.0.0.1", port)), true
		args = append(args, "--port", port)
	}
	p, err := o.Runner.Start(process.Spec{
		Name: o.Name, Path: o.Program.Path, Dir: dir, Env: []string{"PATH=/usr/bin:/bin", "TZ=UTC"}, Args: args,
	})
	if err != nil {
		f.close()
		return nil, err
	}
	s := &Server{Addr: addr.String(), PID: p.PID, data: dir, done: make(chan struct{})}
	s.stop = func(ctx context.Context) {
		p.Stop(ctx)
		<-s.done
	}
	go func() {
		<-p.Done()
		f.close()
		close(s.done)
	}()
	if err := await(ctx, p, s.Addr, o.CA); err != nil {
		p.Kill()
		<-s.done
		log := p.Tail(20)
		if chosen && strings.Contains(log, "Failed listening") {
			return nil, errPortTaken
		}
		return nil, fmt.Errorf("%w; the end of %s:\n%s", err, p.Log, log)
	}
	return s, nil
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

// Done is closed when the server has ended and its address is free.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop ends the server and returns when it has ended.
func (s *Server) Stop(ctx context.Context) { s.stop(ctx) }

// Remove deletes the data of a server that has ended.
func (s *Server) Remove() error {
	if s.data == "" {
		return nil
	}
	return os.RemoveAll(s.data)
}
