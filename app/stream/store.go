// Package stream keeps for each user the last things that happened, in Redis,
// and delivers them to whoever listens on any instance.
//
// A user's history is one Redis stream. Its entries are numbered from 1 without
// gaps, which Redis' own ids are not: a reader that stands at entry 7 and finds
// 8 has missed nothing, and one that finds 9 knows that it has. A stream that
// was lost, or that expired, begins again with another epoch, the time of its
// first entry, and its readers are told of the gap.
//
// Append writes, numbers, deduplicates, trims and rings the user's channel in
// one script. The channel carries no event: it says that there is something to
// read, and what is read decides. So nothing is lost when a ring is, as long as
// everything is read once more after each time nobody may have listened.
package stream

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Defaults of Options.
const (
	DefaultHistory = 1000
	DefaultTTL     = 24 * time.Hour
)

// MaxEntryBytes is the most an Entry may have as JSON. A listener's buffer is
// bounded in entries, so that this bounds it in bytes.
const MaxEntryBytes = 32 << 10

// Entry is one thing a user is told. Its JSON is what listeners receive.
type Entry struct {
	ID      uuid.UUID       `json:"id"` // the event's; what is appended twice is kept once
	Type    string          `json:"type"`
	Subject string          `json:"subject"` // what it happened to
	Time    time.Time       `json:"time"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Message is an Entry in its place.
type Message struct {
	ID   string          // its position: opaque, and what Since continues after
	Body json.RawMessage // the Entry, on one line
}

// Entry returns what was appended.
func (m Message) Entry() (Entry, error) {
	var e Entry
	if err := json.Unmarshal(m.Body, &e); err != nil {
		return Entry{}, fmt.Errorf("read the entry at %s: %w", m.ID, err)
	}
	return e, nil
}

// Options bound a user's history.
type Options struct {
	// History is how many entries are kept at least; Redis drops older ones in
	// blocks of a hundred. Default DefaultHistory.
	History int
	// TTL is how long a history is kept after its last entry. Default DefaultTTL.
	TTL time.Duration
}

// Store keeps the histories of all users.
type Store struct {
	client *redis.Client
	o      Options
	append *redis.Script
}

// New returns a store. It calls Redis, or Valkey, from version 6.2 on when it is
// used and not before.
func New(client *redis.Client, o Options) *Store {
	o.History = cmp.Or(o.History, DefaultHistory)
	o.TTL = cmp.Or(o.TTL, DefaultTTL)
	return &Store{client: client, o: o, append: redis.NewScript(appendScript)}
}

//go:embed append.lua
var appendScript string

// fieldBody is the field of an entry in Redis that holds its JSON. The other
// one, id, is read by the script alone.
const fieldBody = "body"

// The braces keep all that belongs to a user in one slot of a cluster.
func streamKey(user uuid.UUID) string  { return "events:{" + user.String() + "}" }
func idsKey(user uuid.UUID) string     { return streamKey(user) + ":ids" }
func channelKey(user uuid.UUID) string { return streamKey(user) + ":bell" }

// Append adds e to the end of a user's history and wakes who listens. An entry
// whose id the history has already changes nothing. An error leaves open
// whether it was added: append it again.
func (s *Store) Append(ctx context.Context, user uuid.UUID, e Entry) error {
	if e.ID == uuid.Nil || e.Type == "" {
		return fmt.Errorf("append %+v to the stream of user %s: want an id and a type", e, user)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("append event %s to the stream of user %s: %w", e.ID, user, err)
	}
	if len(body) > MaxEntryBytes {
		return fmt.Errorf("append event %s to the stream of user %s: it has %d bytes, the most is %d", e.ID, user, len(body), MaxEntryBytes)
	}
	keys := []string{streamKey(user), idsKey(user), channelKey(user)}
	if err := s.append.Run(ctx, s.client, keys, e.ID.String(), body, s.o.History, s.o.TTL.Milliseconds()).Err(); err != nil {
		return fmt.Errorf("append event %s to the stream of user %s: %w", e.ID, user, err)
	}
	return nil
}

// Since returns at most limit of the messages after lastID, oldest first, and
// whether some between it and the first of them are, or may be, no longer kept.
// An empty lastID is the beginning of what is kept; one that makes no sense is
// a gap before that.
func (s *Store) Since(ctx context.Context, user uuid.UUID, lastID string, limit int) (messages []Message, gap bool, err error) {
	from := cursor{kind: beginning}
	if lastID != "" {
		from = parseCursor(lastID)
	}
	pages, err := s.read(ctx, []query{{user: user, from: from, limit: limit}})
	if err == nil {
		err = pages[0].err
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the stream of user %s after %q: %w", user, lastID, err)
	}
	for _, m := range pages[0].messages {
		messages = append(messages, Message{ID: m.at.String(), Body: m.body})
	}
	return messages, pages[0].gap, nil
}

// position is the place of an entry. Number 0 is the place before the first.
type position struct{ epoch, number uint64 } // epoch: ms since 1970

func (p position) String() string {
	return strconv.FormatUint(p.epoch, 10) + "-" + strconv.FormatUint(p.number, 10)
}

func parsePosition(text string) (position, bool) {
	epoch, number, found := strings.Cut(text, "-")
	e, err := strconv.ParseUint(epoch, 10, 64)
	n, errN := strconv.ParseUint(number, 10, 64)
	return position{e, n}, found && err == nil && errN == nil
}

// cursor is where a reader stands.
type cursor struct {
	kind cursorKind
	at   position // of kind after
}

type cursorKind int

const (
	after     cursorKind = iota // behind the entry at a position
	end                         // behind the last entry, wherever that is
	beginning                   // before all that is kept
	unknown                     // like beginning, but what was before it may have been missed
)

func parseCursor(lastID string) cursor {
	p, ok := parsePosition(lastID)
	if !ok {
		return cursor{kind: unknown}
	}
	return cursor{kind: after, at: p}
}

type query struct {
	user  uuid.UUID
	from  cursor
	limit int
}

// page answers a query.
type page struct {
	gap      bool
	start    position // behind which the messages begin
	messages []message
	err      error // of this query alone
}

type message struct {
	at   position
	body []byte
}

// read answers all queries with one round trip, or two when one of them finds
// nothing.
func (s *Store) read(ctx context.Context, queries []query) ([]page, error) {
	pipe := s.client.Pipeline()
	clock := pipe.Time(ctx) // Redis' own, which epochs are of
	found := make([]*redis.XMessageSliceCmd, len(queries))
	for i, q := range queries {
		key := streamKey(q.user)
		switch q.from.kind {
		case end:
			found[i] = pipe.XRevRangeN(ctx, key, "+", "-", 1)
		case after:
			// With the entry itself, which shows that it is still there.
			found[i] = pipe.XRangeN(ctx, key, q.from.at.String(), "+", int64(q.limit)+1)
		default:
			found[i] = pipe.XRangeN(ctx, key, "-", "+", int64(q.limit))
		}
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, err
	}
	if clock.Err() != nil {
		return nil, clock.Err()
	}
	now := position{epoch: uint64(clock.Val().UnixMilli())}

	pages := make([]page, len(queries))
	again := s.client.Pipeline()
	kept := map[int]*redis.XMessageSliceCmd{}
	for i, q := range queries {
		messages, err := decode(found[i])
		switch {
		case err != nil:
			pages[i].err = err
		case q.from.kind == end && len(messages) == 0:
			pages[i].start = now
		case q.from.kind == end:
			pages[i].start = messages[0].at
		case q.from.kind == after && len(messages) == 0:
			kept[i] = again.XRangeN(ctx, streamKey(q.user), "-", "+", int64(q.limit))
		default:
			pages[i] = s.follow(q, messages, now)
		}
	}
	if len(kept) == 0 {
		return pages, nil
	}
	if err := exec(ctx, again); err != nil {
		return nil, err
	}
	for i, cmd := range kept {
		messages, err := decode(cmd)
		switch from := queries[i].from.at; {
		case err != nil:
			pages[i].err = err
		case len(messages) > 0 && from.number == 0 && from.epoch <= messages[0].at.epoch:
			pages[i] = s.follow(queries[i], messages, now) // the first entry came in between
		case len(messages) > 0:
			// The last entry is never trimmed, and yet nothing is there from that of the reader on:
			// its stream is gone, and this is another one.
			pages[i] = page{gap: true, start: before(messages[0]), messages: messages}
		case from.number > 0:
			pages[i] = page{gap: true, start: now}
		default:
			pages[i].start = from
		}
	}
	return pages, nil
}

// follow makes the page of a query out of what was found from its cursor on.
func (s *Store) follow(q query, messages []message, now position) page {
	if len(messages) == 0 {
		return page{gap: q.from.kind == unknown, start: now}
	}
	first, from := messages[0].at, q.from.at
	switch {
	case q.from.kind != after:
		return page{gap: q.from.kind == unknown, start: before(messages[0]), messages: messages}
	case first == from:
		return page{start: from, messages: messages[1:]}
	}
	if len(messages) > q.limit {
		messages = messages[:q.limit]
	}
	next := first.epoch == from.epoch && first.number == from.number+1
	// The reader was there when there was nothing yet. Within the TTL no stream
	// can have come and gone.
	begun := from.number == 0 && first.number == 1 && first.epoch-from.epoch <= uint64(s.o.TTL.Milliseconds())
	if next || begun {
		return page{start: from, messages: messages}
	}
	return page{gap: true, start: before(messages[0]), messages: messages}
}

func before(m message) position { return position{m.at.epoch, m.at.number - 1} }

// exec runs a pipeline. What Redis answers to one command is that command's
// error alone.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	_, err := pipe.Exec(ctx)
	if _, reply := errors.AsType[redis.Error](err); reply {
		return nil
	}
	return err
}

func decode(cmd *redis.XMessageSliceCmd) ([]message, error) {
	found, err := cmd.Result()
	if err != nil {
		return nil, err
	}
	messages := make([]message, 0, len(found))
	for _, m := range found {
		at, ok := parsePosition(m.ID)
		body, isText := m.Values[fieldBody].(string)
		if !ok || !isText {
			return nil, fmt.Errorf("the entry %s is not one of ours: %v", m.ID, m.Values)
		}
		messages = append(messages, message{at: at, body: []byte(body)})
	}
	return messages, nil
}
