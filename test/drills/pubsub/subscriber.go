package pubsub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/test/api"
	"github.com/loadbearing/loadbearing/test/drill"
)

// subscriber is one client of a user's event stream, and what it was told.
type subscriber struct {
	tenant   *drill.Tenant
	listener *api.Listener

	mu       sync.Mutex
	at       string              // where it connected last
	open     bool                // and was answered
	told     map[string][]string // types of events by what they are about, in the order they came
	seen     map[string]int      // events by id
	repeated int
	count    map[string]int // of what came, by kind
	resumed  map[string]int // times it was told to resume, by where it was
	err      error
}

// subscribe has n clients of each tenant listen, every third one by WebSocket,
// until ctx ends; base says where they connect. It returns when each is told
// that it misses nothing from there on.
func subscribe(ctx context.Context, tenants []*drill.Tenant, n int, base func(s *subscriber) string) (all []*subscriber, done func(), err error) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, t := range tenants {
		for range n {
			s := &subscriber{tenant: t, told: map[string][]string{}, seen: map[string]int{}, count: map[string]int{}, resumed: map[string]int{}}
			s.listener = &api.Listener{Client: t.Client, Transport: api.SSE, Hear: s.hear}
			if len(all)%3 == 2 {
				s.listener.Transport = api.WebSocket
			}
			s.listener.Base = func() string {
				to := base(s)
				s.mu.Lock()
				defer s.mu.Unlock()
				s.at, s.open = to, false
				return to
			}
			all = append(all, s)
			running.Go(func() {
				if err := s.listener.Run(ctx); err != nil {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.err = err
				}
			})
		}
	}
	done = func() { stop(); running.Wait() }
	err = drill.Await(ctx, fmt.Sprintf("%d clients listen", len(all)), func(context.Context) (bool, error) {
		for _, s := range all {
			if n, err := s.heard("ready"); err != nil || n == 0 {
				return false, err
			}
		}
		return true, nil
	})
	return all, done, err
}

// heard returns how much of a kind came.
func (s *subscriber) heard(kind string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[kind], s.err
}

// where returns where it connected last.
func (s *subscriber) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// listening tells whether the stream it opened last has told it something: that
// it resumes, or, when it is resumed, what it has missed.
func (s *subscriber) listening() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *subscriber) hear(e api.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
	s.count[e.Kind]++
	switch e.Kind {
	case "resume":
		s.resumed[s.at]++
	case "message":
		var what api.Happening
		if err := json.Unmarshal(e.Data, &what); err != nil {
			s.err = fmt.Errorf("read an event at %s: %w", e.ID, err)
			return
		}
		if s.seen[what.ID]++; s.seen[what.ID] > 1 {
			s.repeated++
			return
		}
		s.told[what.Subject] = append(s.told[what.Subject], what.Type)
	}
}

// complete tells whether it was told everything of each video.
func (s *subscriber) complete(videos []uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(videos, func(id uuid.UUID) bool { return len(s.told[id.String()]) < len(told()) })
}

// videosOf returns the videos of each user, as the database has them.
func (b *bench) videosOf(ctx context.Context) (map[uuid.UUID][]uuid.UUID, error) {
	rows, err := b.Primary().Query(ctx, "select created_by, id from videos where tenant_id = any($1)", b.ids())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[uuid.UUID][]uuid.UUID{}
	for rows.Next() {
		var user, id uuid.UUID
		if err := rows.Scan(&user, &id); err != nil {
			return nil, err
		}
		all[user] = append(all[user], id)
	}
	return all, rows.Err()
}

// judge waits until every subscriber was told everything and checks that each
// was told all of it once and in order, and nothing else.
func (b *bench) judge(ctx context.Context, all []*subscriber) error {
	videos, err := b.videosOf(ctx)
	if err != nil {
		return err
	}
	waiting := drill.Await(ctx, "every subscriber was told everything", func(context.Context) (bool, error) {
		for _, s := range all {
			if !s.complete(videos[s.tenant.UserID]) {
				return false, nil
			}
		}
		return true, nil
	})
	var events, repeated, missing, disorder, gaps int
	for _, s := range all {
		s.mu.Lock()
		if s.err != nil {
			err = s.err
		}
		repeated += s.repeated
		gaps += s.count["gap"]
		mine := videos[s.tenant.UserID]
		for _, id := range mine {
			got := s.told[id.String()]
			events += len(got)
			missing += max(0, len(told())-len(got))
			if len(got) >= len(told()) && !slices.Equal(got, told()) {
				disorder++
			}
		}
		b.Check(len(s.told) <= len(mine), "a subscriber was told of %d videos, its user has %d", len(s.told), len(mine))
		s.mu.Unlock()
	}
	if err != nil {
		return err
	}
	b.Figure(b.Part()+"_subscribers", len(all))
	b.Figure(b.Part()+"_events_told", events)
	b.Figure(b.Part()+"_events_missed", missing)
	b.Figure(b.Part()+"_events_repeated", repeated)
	b.Figure(b.Part()+"_events_out_of_order", disorder)
	b.Figure(b.Part()+"_gaps", gaps)
	b.Check(gaps == 0, "%d clients were told that they may have missed something; the histories were never lost", gaps)
	b.Check(missing == 0, "%d events were missed", missing)
	b.Check(repeated == 0, "%d events were told again", repeated)
	b.Check(disorder == 0, "%d videos were told of in another order", disorder)
	if missing > 0 {
		return nil // the wait has failed with it
	}
	return waiting
}

// found returns how many videos a search for a file name finds.
func (b *bench) found(ctx context.Context, t *drill.Tenant, name string) (int, error) {
	r, err := t.Do(ctx, http.MethodGet, b.instance()+"/v1/projects/"+t.Project.ID+"/videos?q="+name, nil, nil)
	if err != nil {
		return 0, err
	}
	var page struct{ Items []api.Video }
	if err := r.Decode(http.StatusOK, &page); err != nil {
		return 0, fmt.Errorf("search for %s: %w", name, err)
	}
	return len(page.Items), nil
}
