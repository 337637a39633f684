// Package edge is the way into the laptop's AWS: a CloudFront distribution and
// the Application Load Balancer behind it, on two loopback ports. What they do
// is read from the AWS APIs of an emulator, again within a second, and from
// nowhere else; package cloudfront and package alb serve it.
//
// A viewer's request goes to the CloudFront listener, from there over loopback
// HTTP to the load balancer's listener when the origin is the load balancer,
// and from there to a target. Web ACLs are not evaluated.
package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cf "github.com/aws/aws-sdk-go-v2/service/cloudfront"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/loadbearing/loadbearing/local/edge/alb"
	"github.com/loadbearing/loadbearing/local/edge/cloudfront"
)

// Defaults of Options.
const (
	DefaultEdgeAddr = "127.0.0.1:8080"
	DefaultALBAddr  = "127.0.0.1:8081"
	// A change is in effect within a second of it, the time to read it included.
	DefaultPoll   = 900 * time.Millisecond
	DefaultFollow = 250 * time.Millisecond
)

// readTimeout bounds one reading of the configuration.
const readTimeout = 30 * time.Second

// Options of an Edge.
type Options struct {
	AWS aws.Config // of the emulator

	EdgeAddr string // CloudFront's listener; default DefaultEdgeAddr
	ALBAddr  string // the load balancer's listener; default DefaultALBAddr

	DistributionID  string // default the only distribution
	LoadBalancerARN string // default the only Application Load Balancer

	// LoadBalancerDomains are names that point to the load balancer, beside
	// its own DNS name: an origin with one of them is the load balancer too.
	LoadBalancerDomains []string

	Poll   time.Duration // at most, between two readings of the whole configuration; default DefaultPoll
	Follow time.Duration // between two readings of listener rules and registered targets; default DefaultFollow
	// ReportHealth tells the emulator the health of targets, which only this
	// project's extension takes.
	ReportHealth bool
	// AccessLog is the file for the load balancer's access log; default none.
	AccessLog string
	// DeliverLogs is how often access logs are delivered to the bucket that the
	// load balancer names; default 5 min, as AWS does.
	DeliverLogs time.Duration
	Resolver    alb.Resolver // of target ids; default alb.Loopback
	Logger      *slog.Logger // default discards
}

// Edge is a running CloudFront distribution and load balancer.
type Edge struct {
	log  *slog.Logger
	opts Options
	from apis

	balancer     *alb.Server
	distribution *cloudfront.Server
	accessLog    *accessLog
	edgeServer   *http.Server
	albServer    *http.Server
	edgeAddr     string
	albAddr      string

	stop    context.CancelFunc // of polling
	endLog  context.CancelFunc // of the access log, which comes last
	running sync.WaitGroup
	hangUp  context.CancelFunc // ends every request

	mu     sync.Mutex // of Reload
	albCfg alb.Config
	cfCfg  cloudfront.Config
}

// Start reads the configuration and serves it until Shutdown. ctx bounds the
// start only. A port that is taken is an error that names it and the variable
// to choose another with.
func Start(ctx context.Context, opts Options) (*Edge, error) {
	objects := s3.NewFromConfig(opts.AWS, func(o *s3.Options) {
		o.UsePathStyle = true // an emulator on loopback has no bucket host names
		// The bytes pass through as they are; who asked for them checks them.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return start(ctx, opts, apis{
		elb: elbv2.NewFromConfig(opts.AWS), cloudfront: cf.NewFromConfig(opts.AWS), s3: objects, logs: objects,
	})
}

// apis are what is read from AWS, and where logs go.
type apis struct {
	elb        alb.API
	cloudfront cloudfront.API
	s3         cloudfront.S3
	logs       bucket
}

func start(ctx context.Context, opts Options, from apis) (*Edge, error) {
	opts.EdgeAddr = cmp.Or(opts.EdgeAddr, DefaultEdgeAddr)
	opts.ALBAddr = cmp.Or(opts.ALBAddr, DefaultALBAddr)
	opts.Poll = cmp.Or(opts.Poll, DefaultPoll)
	opts.Follow = cmp.Or(opts.Follow, DefaultFollow)
	opts.DeliverLogs = cmp.Or(opts.DeliverLogs, 5*time.Minute)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	edgeListener, err := listen(ctx, opts.EdgeAddr, "CloudFront", "EDGE_PORT")
	if err != nil {
		return nil, err
	}
	albListener, err := listen(ctx, opts.ALBAddr, "the load balancer", "ALB_PORT")
	if err != nil {
		_ = edgeListener.Close()
		return nil, err
	}
	e := &Edge{
		log: opts.Logger, opts: opts, from: from,
		edgeAddr: edgeListener.Addr().String(),
		albAddr:  albListener.Addr().String(),
	}
	node := albListener.Addr().(*net.TCPAddr).AddrPort().Addr()
	e.accessLog, err = openAccessLog(opts.AccessLog, from.logs, node)
	if err != nil {
		_ = edgeListener.Close()
		_ = albListener.Close()
		return nil, err
	}
	e.balancer = alb.NewServer(alb.Options{Resolver: opts.Resolver, AccessLog: e.accessLog.add, Logger: opts.Logger.With("component", "alb")})
	e.distribution = cloudfront.NewServer(cloudfront.Options{Resolve: e.resolve, S3: from.s3, Logger: opts.Logger.With("component", "cloudfront")})
	if err := e.Reload(ctx); err != nil {
		_ = edgeListener.Close()
		_ = albListener.Close()
		e.balancer.Close()
		return nil, err
	}

	requests, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	e.hangUp = hangUp
	e.edgeServer = newServer(requests, e.distribution, opts.Logger)
	e.albServer = newServer(requests, http.HandlerFunc(e.serveALB), opts.Logger)
	e.albServer.ConnContext, e.albServer.ConnState = alb.ConnContext, e.balancer.ConnState
	e.albServer.MaxHeaderBytes = alb.RequestHeaderBytes
	e.albServer.IdleTimeout = alb.LongestIdleTimeout // the configured one comes first
	polling, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.running.Go(func() { e.serve(e.edgeServer, edgeListener) })
	e.running.Go(func() { e.serve(e.albServer, e.balancer.Track(albListener)) })
	e.running.Go(func() { e.poll(polling) })
	logging, endLog := context.WithCancel(context.WithoutCancel(ctx))
	e.endLog = endLog
	e.running.Go(func() {
		e.accessLog.run(logging, opts.DeliverLogs, func(err error) {
			if err != nil {
				e.log.Warn("access log entries are lost", "error", err)
			}
		})
	})
	if opts.ReportHealth {
		reported := make(chan struct{})
		e.running.Go(func() { e.reportHealth(polling, func() { close(reported) }) })
		<-reported // from here on somebody knows the health of targets
	}
	return e, nil
}

func listen(ctx context.Context, addr, what, variable string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		return nil, fmt.Errorf("listen for %s: port %s is taken, choose another with %s=<port>: %w", what, port, variable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", what, err)
	}
	return l, nil
}

// newServer has no write timeout and none for whole requests: uploads and
// streams take as long as they take, and idle ones end by the load balancer's
// idle timeout.
func newServer(ctx context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func (e *Edge) serve(s *http.Server, l net.Listener) {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		e.log.Error("edge listener failed", "address", l.Addr().String(), "error", err)
	}
}

// serveALB serves the listener that the distribution's origin names, or the
// primary one when there is no such origin.
func (e *Edge) serveALB(w http.ResponseWriter, r *http.Request) {
	e.balancer.Listener(e.distribution.OriginPort(func(domain string) bool {
		_, ok := e.resolve(domain)
		return ok
	})).ServeHTTP(w, r)
}

// resolve sends the load balancer's names to its local listener. Other names
// are looked up in the DNS, as CloudFront does.
func (e *Edge) resolve(domain string) (string, bool) {
	same := func(name string) bool { return strings.EqualFold(name, domain) }
	return e.albAddr, same(e.balancer.Config().LoadBalancer.DNSName) || slices.ContainsFunc(e.opts.LoadBalancerDomains, same)
}

// URL is where the distribution is served.
func (e *Edge) URL() string { return "http://" + e.edgeAddr }

// ALBURL is where the load balancer is served.
func (e *Edge) ALBURL() string { return "http://" + e.albAddr }

// ALB returns the load balancer, to ask for the health of targets and to wait
// for it.
func (e *Edge) ALB() *alb.Server { return e.balancer }

// Reload reads the configuration now instead of at the next poll. After an
// error the one before stays in effect.
func (e *Edge) Reload(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()

	balancer, err := alb.Load(ctx, e.from.elb, cmp.Or(e.opts.LoadBalancerARN, e.albCfg.LoadBalancer.ARN))
	if err != nil {
		return err
	}
	if err := e.applyALB(balancer); err != nil { //nolint:contextcheck // health checks outlive a reload
		return err
	}
	distribution, err := cloudfront.Load(ctx, e.from.cloudfront, e.from.s3, cmp.Or(e.opts.DistributionID, e.cfCfg.ID))
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(distribution, e.cfCfg) {
		if err := e.distribution.Apply(distribution); err != nil {
			return err
		}
		if !reflect.DeepEqual(distribution.Ignored, e.cfCfg.Ignored) && len(distribution.Ignored) > 0 {
			e.log.Info("settings of the distribution without effect here", "settings", distribution.Ignored)
		}
		e.cfCfg = distribution
	}
	return nil
}

// follow reads what changes most: listener rules and registered targets.
func (e *Edge) follow(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	balancer, err := alb.Follow(ctx, e.from.elb, e.albCfg)
	if err != nil {
		return err
	}
	return e.applyALB(balancer) //nolint:contextcheck // health checks outlive a reload
}

// applyALB puts a configuration into effect unless it is the one that is. mu is held.
func (e *Edge) applyALB(cfg alb.Config) error {
	if reflect.DeepEqual(cfg, e.albCfg) {
		return nil
	}
	if err := e.balancer.Apply(cfg); err != nil {
		return err
	}
	e.albCfg = cfg
	return nil
}

func (e *Edge) poll(ctx context.Context) {
	ticker := time.NewTicker(min(e.opts.Follow, e.opts.Poll))
	defer ticker.Stop()
	whole := time.Now()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		read := e.follow
		// The next tick may come too late.
		if time.Since(whole)+e.opts.Follow > e.opts.Poll {
			read, whole = e.Reload, time.Now()
		}
		err := read(ctx)
		if ctx.Err() != nil {
			return
		}
		// Said once, not every time.
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			e.log.Warn("configuration not read, the one before stays in effect", "error", err)
		case err == nil && said != "":
			said = ""
			e.log.Info("configuration read again")
		}
	}
}

// Shutdown stops accepting, waits for the requests in flight until ctx ends,
// then ends those that are left, sockets and streams included.
func (e *Edge) Shutdown(ctx context.Context) error {
	e.stop()
	// From the front to the back, so that what is in flight can finish.
	err := errors.Join(e.edgeServer.Shutdown(ctx), e.albServer.Shutdown(ctx))
	e.hangUp() // upgraded connections, which Shutdown does not know
	_ = e.edgeServer.Close()
	_ = e.albServer.Close()
	e.balancer.Close()
	e.distribution.Close()
	e.endLog()
	e.running.Wait()
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil // ending the rest is what was asked for
	}
	return err
}
