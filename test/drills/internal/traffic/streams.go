package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/mediatest"
	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
)

// perUser is how many streams a user has: fewer than one instance allows.
const perUser = 10

// audience is who listens.
type audience struct {
	t       *Traffic
	users   []*drill.Tenant
	streams []*listener

	listening sync.WaitGroup

	mu     sync.Mutex
	videos map[*drill.Tenant][]string // that each user has uploaded
}

// listener is one browser.
type listener struct {
	user *drill.Tenant

	mu    sync.Mutex
	ready bool
	gaps  int
	told  map[string]map[string]int // how often, by video and type of event
	err   error
}

// watch opens streams, every third one a WebSocket, that go on until ctx ends.
func (t *Traffic) watch(ctx context.Context, n int) (*audience, error) {
	a := &audience{t: t, videos: map[*drill.Tenant][]string{}}
	for i := range n {
		if i%perUser == 0 {
			user, err := drill.NewTenant(ctx, t.edge, fmt.Sprintf("Audience %d", i/perUser))
			if err != nil {
				return nil, err
			}
			a.users = append(a.users, user)
		}
		l := &listener{user: a.users[i/perUser], told: map[string]map[string]int{}}
		a.streams = append(a.streams, l)
		stream := &api.Listener{Client: l.user.Client, Transport: api.SSE, Hear: l.hear, Base: func() string { return t.edge }}
		if i%3 == 2 {
			stream.Transport = api.WebSocket
		}
		a.listening.Go(func() {
			if err := stream.Run(ctx); err != nil && ctx.Err() == nil {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.err = fmt.Errorf("listen: %w", err)
			}
		})
	}
	return a, drill.Await(ctx, fmt.Sprintf("%d streams are open", n), func(context.Context) (bool, error) {
		for _, l := range a.streams {
			l.mu.Lock()
			ready := l.ready
			l.mu.Unlock()
			if !ready {
				return false, nil
			}
		}
		return true, nil
	})
}

func (l *listener) hear(e api.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case "ready":
		l.ready = true
	case "gap":
		l.gaps++
	case "message":
		var what api.Happening
		if err := json.Unmarshal(e.Data, &what); err != nil {
			l.err = fmt.Errorf("read an event at %s: %w", e.ID, err)
			return
		}
		if l.told[what.Subject] == nil {
			l.told[what.Subject] = map[string]int{}
		}
		l.told[what.Subject][what.Type]++
	}
}

// uploadEvery is the pace of uploads, of one user after the other.
const uploadEvery = 500 * time.Millisecond

// upload has something to tell of, until ctx ends.
func (a *audience) upload(ctx context.Context) error {
	tick := time.NewTicker(uploadEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		user := a.users[i%len(a.users)]
		file := mediatest.Movie{Duration: time.Duration(1+i%50) * 40 * time.Millisecond, Padding: 8 + i%1000}.MP4()
		sent := time.Now()
		// The request that has begun is brought to its end.
		r, err := user.Do(context.WithoutCancel(ctx), http.MethodPost, "/v1/projects/"+user.Project.ID+"/videos", bytes.NewReader(file),
			http.Header{"Content-Type": {"video/mp4"}, "X-Filename": {fmt.Sprintf("take%05d.mp4", i)}})
		if err == nil {
			err = r.Decode(http.StatusAccepted, nil)
		}
		if err != nil {
			a.t.fail(sent, "upload: "+err.Error())
		} else {
			a.mu.Lock()
			a.videos[user] = append(a.videos[user], strings.TrimPrefix(r.Header.Get("Location"), "/v1/videos/"))
			a.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// types are what each video tells of.
var types = []string{app.EventVideoUploaded, app.EventVideoProbed, app.EventVideoReady}

// missed counts what has not been told, and what has been told again.
func (a *audience) missed() (told, missed, repeated, gaps int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.streams {
		l.mu.Lock()
		for _, video := range a.videos[l.user] {
			for _, kind := range types {
				n := l.told[video][kind]
				if n == 0 {
					missed++
					continue
				}
				told++
				repeated += n - 1
			}
		}
		gaps += l.gaps
		if l.err != nil {
			err = l.err
		}
		l.mu.Unlock()
	}
	return told, missed, repeated, gaps, err
}

// judge waits until everything has been told, and checks that nothing is told
// again.
func (a *audience) judge(ctx context.Context, prefix string) error {
	waiting := drill.Await(ctx, "every stream has told everything", func(context.Context) (bool, error) {
		_, missed, _, _, err := a.missed()
		return missed == 0, err
	})
	a.t.leave()
	a.listening.Wait()
	told, missed, repeated, gaps, err := a.missed()
	r := a.t.r
	r.Figure(prefix+"_streams", len(a.streams))
	r.Figure(prefix+"_events_told", told)
	r.Figure(prefix+"_events_lost", missed)
	r.Figure(prefix+"_events_repeated", repeated)
	r.Check(told > 0, "no stream told anything")
	r.Check(missed == 0, "%d events were lost", missed)
	r.Check(repeated == 0, "%d events were told again", repeated)
	r.Check(gaps == 0, "%d times a stream said that it may have missed something", gaps)
	if missed > 0 && err == nil {
		return nil // said already
	}
	if err != nil {
		return err
	}
	return waiting
}
