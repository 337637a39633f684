package local

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"time"

	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/local/instances"
)

// welcome says where everything is.
func (r *runtime) welcome(s Status, took time.Duration) error {
	r.progress.printf("\nready in %.1f s\n\n", took.Seconds())
	if s.EdgeURL != "" {
		r.progress.printf("  edge      %-28s CloudFront, then the load balancer, then the fleet\n", s.EdgeURL)
		r.progress.printf("  alb       %-28s answers 403 to whom is not CloudFront\n", s.ALBURL)
	}
	r.progress.printf("  aws       %-28s export AWS_ENDPOINT_URL=%s\n", s.AWSEndpointURL, s.AWSEndpointURL)
	for _, p := range s.Postgres {
		r.progress.printf("  postgres  %-28s %s\n", hostOf(p.DSN), p.Role)
	}
	if s.Redis.Kind != "" {
		r.progress.printf("  %-9s %s\n", s.Redis.Kind, hostOf(s.Redis.URL))
	}
	for _, i := range s.Instances {
		r.progress.printf("  %-9s %-28s %s, %s\n", i.Fleet, i.URL, i.ID, i.Color)
	}
	if len(s.RemovedResourceTypes) > 0 {
		r.progress.printf("\n  NOT VALIDATED, this emulator rejects: %v\n", s.RemovedResourceTypes)
	}
	r.progress.printf("\n  logs in %s\n", filepath.Join(r.config.RunDir, "logs"))
	if s.EdgeURL != "" {
		r.progress.printf("  try: curl -i %s%s\n\n", s.EdgeURL, contract.PathVersion)
	}
	return writeJSON(statusPath(r.config.RunDir), s)
}

// status is a snapshot of what runs.
func (r *runtime) status(ctx context.Context) Status {
	s := Status{
		AWSEndpointURL:       r.emulator.URL,
		Emulator:             Emulator{Name: r.emulator.Name, Version: r.emulator.Version},
		Stacks:               []Stack{},
		RemovedResourceTypes: append([]string{}, r.removed...),
		Instances:            []Instance{},
		Postgres:             []Postgres{},
	}
	if time.Since(r.stacksRead) > stacksEvery {
		if stacks, err := r.readStacks(ctx); err == nil {
			r.stacks, r.stacksRead = stacks, time.Now()
		}
	}
	s.Stacks = append(s.Stacks, r.stacks...)
	// What the emulator rejects was not started.
	if r.edge != nil {
		s.EdgeURL, s.ALBURL = r.edge.URL(), r.edge.ALBURL()
	}
	if r.instances != nil {
		for _, i := range r.instances.Instances() {
			if i.State != instances.Terminated {
				s.Instances = append(s.Instances, Instance{
					ID: i.ID, PID: i.PID, Fleet: i.Fleet, Color: i.Color, Version: i.Version, URL: i.URL, State: string(i.State),
				})
			}
		}
	}
	if r.databases != nil {
		for _, d := range r.databases.Databases() {
			s.Postgres = append(s.Postgres, Postgres{Role: d.Role, Shard: d.Shard, DSN: d.DSN, PID: d.PID})
		}
	}
	if r.caches != nil {
		for _, c := range r.caches.Caches() {
			s.Redis = Redis{Kind: string(c.Kind), URL: c.URL, PID: c.PID}
		}
	}
	s.Faults = r.faults()
	return s
}

// faults says which of the programs Up started have ended on their own, and
// what to do.
func (r *runtime) faults() []string {
	var list []string
	if p := r.emulator.Process(); p != nil && !p.Running() {
		list = append(list, fmt.Sprintf("the emulator (pid %d) has ended, and with it every deployed stack; instances run on. "+
			"Run `make down` and `make up` again; its log is %s", p.PID, p.Log))
	}
	if r.databases != nil {
		list = append(list, r.databases.Problems()...)
	}
	if r.caches != nil {
		list = append(list, r.caches.Problems()...)
	}
	if r.instances != nil {
		list = append(list, r.instances.Problems()...)
	}
	if r.scaling != nil {
		list = append(list, r.scaling.Problems()...)
	}
	return list
}

// follow keeps the data stores those that are deployed: after another `cdk
// deploy`, and soon after one of them has ended, which starts again with its
// data as RDS and ElastiCache would have it.
func (r *runtime) follow(ctx context.Context) {
	log := r.logger("follow")
	next := time.NewTimer(followEvery)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.ended:
			r.say(r.faults()) // before it is none any more
			next.Reset(restartAfter)
			continue
		case <-next.C:
		}
		var err error
		if r.databases != nil {
			err = r.databases.Reconcile(ctx)
		}
		if r.caches != nil {
			err = errors.Join(err, r.caches.Reconcile(ctx))
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("the data stores cannot be brought in step with what is deployed", "error", err)
		}
		next.Reset(followEvery)
	}
}

// hasEnded has follow look at the data stores.
func (r *runtime) hasEnded() {
	select {
	case r.ended <- struct{}{}:
	default: // it is about to
	}
}

// say prints each fault once.
func (r *runtime) say(faults []string) {
	r.saying.Lock()
	defer r.saying.Unlock()
	for _, fault := range faults {
		if !r.said[fault] {
			r.said[fault] = true
			r.progress.printf("  ! %s\n", fault)
		}
	}
}

// watch keeps the status file in step with what runs, and says what has ended.
// It returns when ctx ends.
func (r *runtime) watch(ctx context.Context, last Status) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		now := r.status(ctx)
		r.say(now.Faults)
		if reflect.DeepEqual(now, last) {
			continue
		}
		if err := writeJSON(statusPath(r.config.RunDir), now); err != nil {
			return err
		}
		last = now
	}
}

// hostOf returns the host:port of a connection URL.
func hostOf(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn
	}
	return u.Host
}
