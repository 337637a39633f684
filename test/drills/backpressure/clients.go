package backpressure

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	gops "github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sync/errgroup"

	"github.com/loadbearing/loadbearing/test/drill"
)

const (
	clients = 10
	// offered is more than the sockets on the way take: whom it is sent to must
	// read it for it to end.
	offered = 64 * mib
	// stalledGrowth is what the memory of an instance may grow by for all of them.
	stalledGrowth = 1 * mib
	// stalledHeld is what the heap and the stacks may hold for all of them: pages
	// that were free already do not show as growth. It has room for the garbage
	// that is left between two looks.
	stalledHeld = clients * 256 << 10
	// stall is how long an instance waits for a client to take 16 KiB.
	stall = 30 * time.Second
	// freed is how long what a client held may outlive it.
	freed = time.Second
	// uploads at once: of bodies of this size an instance takes eight.
	uploads = 4
)

// offer stores an object for clients to ask for, with an instance that has not
// served yet.
func offer(ctx context.Context, r *drill.Run) (b *bench, id string, done func(), err error) {
	if b, done, err = set(ctx, r); err != nil {
		return nil, "", nil, err
	}
	if id, _, err = b.upload(ctx, offered); err == nil {
		err = b.fresh(ctx)
	}
	if err != nil {
		done()
		return nil, "", nil, err
	}
	return b, id, done, nil
}

// stalled: clients that ask for an object and then take nothing are held for
// next to nothing, and not for ever.
func stalled(ctx context.Context, r *drill.Run) error {
	b, id, done, err := offer(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	var conns []*net.TCPConn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	stallOne := func() error {
		conn, err := b.dial(ctx, "GET", content(id), 4<<10)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		_, err = io.ReadFull(conn, make([]byte, 1000)) // it is being served
		return err
	}
	// What one costs is what a download costs; ten more show what a stall does.
	if err := stallOne(); err != nil {
		return err
	}
	before, err := b.held(ctx)
	if err != nil {
		return err
	}
	idle, err := b.idle(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	most, err := b.peak(ctx, func() error {
		for range clients {
			if err := stallOne(); err != nil {
				return err
			}
		}
		_, err := b.idle(ctx)
		return err
	})
	if err != nil {
		return err
	}
	held, err := b.held(ctx)
	if err != nil {
		return err
	}
	serving, err := b.footprint(ctx)
	if err != nil {
		return err
	}
	r.Figure("stalled_clients", clients)
	r.Figure("stalled_growth_mib", inMiB(most-idle))
	r.Figure("stalled_held_mib", inMiB(held-before))
	r.Check(serving.InFlight == clients+1, "%d requests are being served, want %d", serving.InFlight, clients+1)
	r.Check(most-idle <= stalledGrowth, "memory grew by %.2f MiB, want %d at most", inMiB(most-idle), stalledGrowth/mib)
	r.Check(held-before <= stalledHeld, "%.2f MiB are held for them, want %.1f at most", inMiB(held-before), inMiB(stalledHeld))

	r.Say("wait until the instance gives them up, after %v", stall)
	var waited time.Duration
	if err := drill.Await(ctx, "no client is served any more", func(ctx context.Context) (bool, error) {
		now, err := b.footprint(ctx)
		if err == nil && now.InFlight == serving.InFlight {
			waited = time.Since(began)
		}
		return err == nil && now.InFlight == 0, err
	}); err != nil {
		return err
	}
	cut := time.Since(began)
	r.Figure("stalled_cut_per_limit", cut.Seconds()/stall.Seconds())
	r.Check(waited > stall/2, "clients were given up %v after they had stalled, want %v", waited, stall)
	r.Check(cut < stall+5*time.Second, "the last client was given up after %v, want %v", cut, stall)
	return nil
}

// footprint is what an instance holds for its clients.
type footprint struct {
	Goroutines  int
	InFlight    int   // requests
	Connections int   // with clients, and with the object store
	Unfinished  int   // multipart uploads
	Objects     int   // stored
	Reserved    int64 // bytes of the tenant's quota
}

func (b *bench) footprint(ctx context.Context) (f footprint, err error) {
	metrics, err := b.web.Metrics(ctx)
	if err != nil {
		return f, err
	}
	f.Goroutines, f.InFlight = int(metrics["go_goroutines"]), int(metrics["loadbearing_http_active_connections"])
	p, err := gops.NewProcessWithContext(ctx, int32(b.web.PID()))
	if err != nil {
		return f, fmt.Errorf("look at the instance: %w", err)
	}
	conns, err := p.ConnectionsWithContext(ctx)
	if err != nil {
		return f, fmt.Errorf("list the instance's connections: %w", err)
	}
	for _, c := range conns {
		if c.Status != "LISTEN" && (portOf(b.web.URL()) == int(c.Laddr.Port) || portOf(b.store.URL) == int(c.Raddr.Port)) {
			f.Connections++
		}
	}
	if f.Unfinished, err = b.store.Unfinished(ctx); err != nil {
		return f, err
	}
	keys, err := b.store.Keys(ctx)
	if err != nil {
		return f, err
	}
	f.Objects = len(keys)
	err = b.Primary().QueryRow(ctx, "select coalesce((select bytes from storage_used where tenant_id = $1), 0)", b.tenant.ID).Scan(&f.Reserved)
	return f, err
}

func portOf(url string) int {
	n, _ := strconv.Atoi(url[len("http://127.0.0.1:"):])
	return n
}

// within tells whether nothing is held that was not held before.
func (f footprint) within(before footprint) bool {
	return f.Goroutines <= before.Goroutines && f.InFlight <= before.InFlight && f.Connections <= before.Connections &&
		f.Unfinished <= before.Unfinished && f.Objects <= before.Objects && f.Reserved <= before.Reserved
}

// rest returns the most that an instance without clients holds in a second.
func (b *bench) rest(ctx context.Context) (most footprint, err error) {
	b.client.CloseIdleConnections()
	for began := time.Now(); time.Since(began) < time.Second; {
		now, err := b.footprint(ctx)
		if err != nil {
			return most, err
		}
		if now.InFlight > 0 {
			began = time.Now() // not yet
		}
		most = footprint{
			max(most.Goroutines, now.Goroutines), 0, max(most.Connections, now.Connections), now.Unfinished, now.Objects, now.Reserved,
		}
	}
	return most, nil
}

// disconnect: when clients go away, what was held for them is free at once.
func disconnect(ctx context.Context, r *drill.Run) error {
	b, id, done, err := offer(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	if err := b.vanish(ctx, clients, func(now, before footprint) bool {
		return now.InFlight == clients && now.Connections >= before.Connections+clients && now.Goroutines > before.Goroutines
	}, func() (net.Conn, error) {
		conn, err := b.dial(ctx, "GET", content(id), 0)
		if err != nil {
			return nil, err
		}
		_, err = io.CopyN(io.Discard, conn, mib)
		return conn, err
	}); err != nil {
		return fmt.Errorf("downloads: %w", err)
	}

	// Uploads that come to their end leave connections to the object store for the next.
	var finished errgroup.Group
	for range uploads {
		finished.Go(func() error {
			id, _, err := b.upload(ctx, 64*mib)
			if err != nil {
				return err
			}
			return b.delete(ctx, id)
		})
	}
	if err := finished.Wait(); err != nil {
		return err
	}
	if err := b.vanish(ctx, uploads, func(now, before footprint) bool {
		return now.InFlight == uploads && now.Unfinished == uploads && now.Reserved >= before.Reserved+uploads*gib
	}, func() (net.Conn, error) {
		conn, err := b.dial(ctx, "POST", b.videos(), 0, "Content-Type: video/mp4", "Content-Length: "+strconv.Itoa(gib))
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(conn, noise(40*mib+12345))
		return conn, err
	}); err != nil {
		return fmt.Errorf("uploads: %w", err)
	}
	return nil
}

// vanish has n clients begin something and go away in the middle of it, all at
// once, and measures how long it takes until nothing is held for them.
func (b *bench) vanish(ctx context.Context, n int, busy func(now, before footprint) bool, begin func() (net.Conn, error)) error {
	before, err := b.rest(ctx)
	if err != nil {
		return err
	}
	what := "downloads"
	if n == uploads {
		what = "uploads"
	}
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	var beginning errgroup.Group
	for i := range conns {
		beginning.Go(func() (err error) {
			conns[i], err = begin()
			return err
		})
	}
	if err := beginning.Wait(); err != nil {
		return err
	}
	var during footprint
	if err := drill.Await(ctx, fmt.Sprintf("the instance is busy with %d clients", n), func(ctx context.Context) (bool, error) {
		var err error
		during, err = b.footprint(ctx)
		return busy(during, before), err
	}); err != nil {
		return fmt.Errorf("%w; at rest %+v, now %+v", err, before, during)
	}
	b.Say("%d clients go away: at rest %+v, with them %+v", n, before, during)
	gone := time.Now()
	for i, c := range conns {
		if err := c.Close(); err != nil {
			return err
		}
		conns[i] = nil
	}
	var now footprint
	for tries := 0; ; tries++ {
		if now, err = b.footprint(ctx); err != nil {
			return err
		}
		if now.within(before) {
			break
		}
		if time.Since(gone) > 10*freed {
			b.Check(false, "%v after %d clients went away the instance holds %+v, and %+v before they came", 10*freed, n, now, before)
			return nil
		}
	}
	took := time.Since(gone)
	b.Figure("disconnect_"+what+"_freed_seconds", took.Seconds())
	b.Check(took <= freed, "what %d clients held was free after %v, want %v", n, took, freed)
	return nil
}
