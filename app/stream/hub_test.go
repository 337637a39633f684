package stream_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/stream"
	"github.com/loadbearing/loadbearing/local/certificates"
	"github.com/loadbearing/loadbearing/local/process"
	local "github.com/loadbearing/loadbearing/local/redis"
	"github.com/loadbearing/loadbearing/local/redis/redistest"
)

const patience = 20 * time.Second // of a test for what should happen at once

// run starts a hub that stops with the test.
func run(t *testing.T, s *stream.Store, o stream.HubOptions) *stream.Hub {
	t.Helper()
	h := stream.NewHub(s, o)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { h.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
	return h
}

// listener reads a subscription as a connection does.
type listener struct {
	t    *testing.T
	sub  app.Subscription
	held []app.Signal
	last string // position
}

func listen(t *testing.T, h *stream.Hub, user uuid.UUID, last string) *listener {
	t.Helper()
	l := &listener{t: t, sub: h.Subscribe(user, last), last: last}
	t.Cleanup(l.sub.Close)
	return l
}

func (l *listener) next() app.Signal {
	l.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for len(l.held) == 0 {
		select {
		case <-l.sub.Wake():
			var err error
			l.held, err = l.sub.Take()
			require.NoError(l.t, err)
		case <-deadline.C:
			require.FailNow(l.t, "nothing came", "after %q", l.last)
		}
	}
	s := l.held[0]
	l.held = l.held[1:]
	if s.Position != "" {
		l.last = s.Position
	}
	return s
}

func (l *listener) want(kind app.SignalKind) *listener {
	l.t.Helper()
	require.Equal(l.t, kind, l.next().Kind)
	return l
}

func (l *listener) events(first, last int) {
	l.t.Helper()
	for n := first; n <= last; n++ {
		s := l.next()
		require.Equal(l.t, app.SignalEvent, s.Kind)
		require.Equal(l.t, n, number(l.t, s.Body))
	}
}

func TestEveryHubDeliversToEveryListener(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		s := stream.New(client, stream.Options{})
		one, two := run(t, s, stream.HubOptions{}), run(t, s, stream.HubOptions{})
		ada, bob := uuid.New(), uuid.New()
		require.NoError(t, s.Append(t.Context(), ada, entry(0)), "before anybody listened")
		tabs := []*listener{listen(t, one, ada, ""), listen(t, one, ada, ""), listen(t, two, ada, "")}
		other := listen(t, two, bob, "").want(app.SignalReady)
		for _, l := range tabs {
			l.want(app.SignalReady)
		}
		for n := 1; n <= 200; n++ { // more than a buffer holds
			require.NoError(t, s.Append(t.Context(), ada, entry(n)))
		}
		require.NoError(t, s.Append(t.Context(), bob, entry(1)))
		for _, l := range tabs {
			l.events(1, 200)
		}
		other.events(1, 1)
		late := listen(t, one, ada, tabs[0].last).want(app.SignalReady)
		require.NoError(t, s.Append(t.Context(), ada, entry(201)))
		late.events(201, 201)
		tabs[2].events(201, 201)
	})
}

// A listener that goes at random and comes back, each time to another hub, sees
// everything once and in order, while others of the same user come and go.
func TestWhoComesBackMissesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		const total, drops = 1500, 100
		s := stream.New(client, stream.Options{History: 5000})
		hubs := []*stream.Hub{run(t, s, stream.HubOptions{Buffer: 8}), run(t, s, stream.HubOptions{Buffer: 8})}
		user := uuid.New()
		l := listen(t, hubs[0], user, "").want(app.SignalReady)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		wg.Go(func() {
			for n := 1; n <= total && ctx.Err() == nil; n++ {
				if err := s.Append(ctx, user, entry(n)); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() { // makes the hubs subscribe and unsubscribe all the time
			for ctx.Err() == nil {
				passing := hubs[rand.N(2)].Subscribe(user, "")
				pause := time.NewTimer(rand.N(3 * time.Millisecond))
				select {
				case <-ctx.Done():
				case <-passing.Wake():
				case <-pause.C:
				}
				pause.Stop()
				passing.Close()
			}
		})
		n := 0
		for range drops {
			for range 1 + rand.N(2*(total/drops)-2) {
				if n == total {
					break
				}
				n++
				l.events(n, n)
			}
			l.sub.Close()
			l = listen(t, hubs[rand.N(2)], user, l.last).want(app.SignalReady)
		}
		l.events(n+1, total)
		t.Logf("%d events, each once and in order, over %d reconnections", total, drops)
	})
}

// The hub's connections are cut again and again while events are written:
// nothing is missed, and nobody is told of a gap that is none.
func TestACutConnectionToRedisLosesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		s := stream.New(client, stream.Options{})
		w := newWire(t, client.Options().Addr)
		behind := connect(t, &redis.Options{Addr: w.Addr().String(), TLSConfig: client.Options().TLSConfig})
		h := run(t, stream.New(behind, stream.Options{}), stream.HubOptions{})
		user := uuid.New()
		l := listen(t, h, user, "").want(app.SignalReady)
		n := 0
		for range 10 {
			for i := range 40 {
				n++
				require.NoError(t, s.Append(t.Context(), user, entry(n)))
				if i == 20 {
					require.Positive(t, w.cut())
				}
			}
			l.events(n-39, n)
		}
	})
}

// wire forwards connections to a server and cuts them.
type wire struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{Listener: listener}
	var wg sync.WaitGroup
	t.Cleanup(func() { listener.Close(); w.cut(); wg.Wait() })
	wg.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, near, far)
			w.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(near, far); near.Close() })
			wg.Go(func() { _, _ = io.Copy(far, near); far.Close() })
		}
	})
	return w
}

// cut ends all connections and returns how many there were since the last time.
func (w *wire) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.conns)
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
	return n
}

func TestAListenerThatTakesNothingIsDroppedAndResumes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		s, user := stream.New(client, stream.Options{}), uuid.New()
		h := run(t, s, stream.HubOptions{Buffer: 10, Patience: 50 * time.Millisecond})
		slow := listen(t, h, user, "").want(app.SignalReady)
		quick := listen(t, h, user, "").want(app.SignalReady)
		for n := 1; n <= 100; n++ {
			require.NoError(t, s.Append(t.Context(), user, entry(n)))
			quick.events(n, n)
		}
		require.Eventually(t, func() bool {
			<-slow.sub.Wake()
			// It looks without taking: only the end is told here.
			signals, err := slow.sub.Take()
			slow.held = append(slow.held, signals...)
			if err != nil {
				require.ErrorIs(t, err, app.ErrSlow)
				return true
			}
			time.Sleep(200 * time.Millisecond)
			return false
		}, patience, time.Millisecond)
		slow.sub.Close()
		for _, m := range slow.held { // what it got is in order
			slow.last = m.Position
		}
		seen := len(slow.held)
		require.Less(t, seen, 100)
		listen(t, h, user, slow.last).want(app.SignalReady).events(seen+1, 100)
		quick.sub.Close()
	})
}

func TestAskingToRecheckReachesEveryListener(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, client *redis.Client) {
		s, user := stream.New(client, stream.Options{}), uuid.New()
		one, two := run(t, s, stream.HubOptions{}), run(t, s, stream.HubOptions{})
		here, there := listen(t, one, user, "").want(app.SignalReady), listen(t, two, user, "").want(app.SignalReady)
		require.NoError(t, s.Append(t.Context(), user, entry(1)))
		here.events(1, 1)
		there.events(1, 1) // both listen for sure
		require.Eventually(t, func() bool {
			return client.PubSubNumSub(t.Context(), "events:{"+user.String()+"}:bell").Val()["events:{"+user.String()+"}:bell"] == 2
		}, patience, time.Millisecond)
		require.NoError(t, one.Recheck(t.Context(), user))
		here.want(app.SignalRecheck)
		there.want(app.SignalRecheck)
	})
}

// Redis ends with all it held and comes back empty: listeners stay, are told of
// a gap because something may be lost, and get what is written from then on.
func TestRedisComesBackEmpty(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]func(testing.TB) local.Program{
		"installed": redistest.Real,
		"miniredis": func(testing.TB) local.Program { return local.Program{Kind: local.Miniredis} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ca, err := certificates.Open(filepath.Join(dir, "certificates"))
			require.NoError(t, err)
			config, err := ca.ClientTLS()
			require.NoError(t, err)
			o := local.Options{Runner: &process.Runner{Dir: dir}, CA: ca, Name: "before", Program: program(t)}
			server, err := local.Start(t.Context(), o)
			require.NoError(t, err)
			o.Addr = server.Addr
			client := connect(t, &redis.Options{Addr: o.Addr, TLSConfig: config, DialTimeout: 500 * time.Millisecond, ReadTimeout: 500 * time.Millisecond})
			s := stream.New(client, stream.Options{})
			h := run(t, s, stream.HubOptions{})
			busy, idle := uuid.New(), uuid.New()
			l, quiet := listen(t, h, busy, "").want(app.SignalReady), listen(t, h, idle, "").want(app.SignalReady)
			require.NoError(t, s.Append(t.Context(), busy, entry(1)))
			l.events(1, 1)

			server.Stop(context.Background())
			require.Error(t, s.Append(t.Context(), busy, entry(2)))
			early := listen(t, h, idle, "") // while there is no Redis
			o.Name = "after"
			server, err = local.Start(t.Context(), o)
			require.NoError(t, err)
			t.Cleanup(func() { server.Stop(context.Background()) })

			l.want(app.SignalGap)
			early.want(app.SignalReady)
			require.Eventually(t, func() bool { return s.Append(t.Context(), busy, entry(3)) == nil }, patience, 10*time.Millisecond)
			l.events(3, 3)
			require.NoError(t, s.Append(t.Context(), idle, entry(1)))
			quiet.events(1, 1) // there was nothing to lose, and it is told nothing
			early.events(1, 1)
		})
	}
}
