package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// Transport is how events come.
type Transport string

// Transports.
const (
	SSE       Transport = "sse" // server-sent events
	WebSocket Transport = "websocket"
)

// Event is one thing that an event stream tells.
type Event struct {
	Kind string          // "message", "ready", "gap", "resume" or "refresh"
	ID   string          // its place in the user's history; of "resume" and "refresh" none
	Data json.RawMessage // of "message" what happened
}

// Happening is the data of a message.
type Happening struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Subject string `json:"subject"` // the video's or the job's id
}

// Listener listens to a user's events as a page does: whenever its stream ends
// it opens another one that goes on after the last event it has seen.
type Listener struct {
	Client    *Client // who listens
	Transport Transport
	// Base returns where to connect: another instance after one was lost.
	// It is called before each attempt.
	Base func() string
	// Hear is called with what comes, in order.
	Hear func(Event)

	last string
	gap  time.Duration // before the next attempt
}

// A browser waits before it connects anew as long as the server told it; so
// long when it told nothing, and when a WebSocket ends.
const leastWait, mostWait = 500 * time.Millisecond, 2500 * time.Millisecond

// Run listens until ctx ends, and returns what no other attempt would mend: an
// answer that tells the client that it is wrong.
func (l *Listener) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		l.gap = leastWait + rand.N(mostWait-leastWait)
		var err error
		if l.Transport == WebSocket {
			err = l.socket(ctx)
		} else {
			err = l.stream(ctx)
		}
		if refused, ok := errors.AsType[*refusedError](err); ok && ctx.Err() == nil {
			return refused
		}
		timer := time.NewTimer(l.gap)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// refusedError is an answer that says the client is wrong.
type refusedError struct {
	status int
	body   []byte
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("open an event stream: status %d: %s", e.status, e.body)
}

// refusal reads why a stream was not opened.
func refusal(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if res.StatusCode >= 400 && res.StatusCode < 500 {
		return &refusedError{res.StatusCode, body}
	}
	return fmt.Errorf("open an event stream: status %d: %s", res.StatusCode, body)
}

func (l *Listener) hear(e Event) {
	if e.ID != "" {
		l.last = e.ID
	}
	l.Hear(e)
}

// stream is one stream of server-sent events, from its beginning to its end.
func (l *Listener) stream(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.Base()+"/v1/events", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if l.last != "" {
		req.Header.Set("Last-Event-ID", l.last)
	}
	res, err := l.Client.streaming().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return refusal(res)
	}
	return l.parse(bufio.NewReaderSize(res.Body, 1<<10))
}

// parse reads an event stream (HTML, 9.2.6).
func (l *Listener) parse(r *bufio.Reader) error {
	var kind, id, data string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err // what is not complete is not an event
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if data != "" {
				if kind == "" {
					kind = "message"
				}
				l.hear(Event{Kind: kind, ID: id, Data: json.RawMessage(strings.TrimSuffix(data, "\n"))})
			}
			kind, id, data = "", "", ""
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			data += value + "\n"
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				l.gap = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// socket is one WebSocket, from its beginning to its end.
func (l *Listener) socket(ctx context.Context) error {
	to := l.Base() + "/v1/events"
	if l.last != "" {
		to += "?last_event_id=" + url.QueryEscape(l.last)
	}
	conn, res, err := websocket.Dial(ctx, to, &websocket.DialOptions{HTTPClient: l.Client.streaming()}) //nolint:bodyclose // Dial has read it
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			return refusal(res)
		}
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			switch websocket.CloseStatus(err) {
			case websocket.StatusServiceRestart, websocket.StatusTryAgainLater:
				l.hear(Event{Kind: "resume"})
			case 3000: // unauthorized, as IANA has it
				l.hear(Event{Kind: "refresh"})
			}
			return err
		}
		var told struct {
			Event, ID string
			Data      json.RawMessage
		}
		if err := json.Unmarshal(message, &told); err != nil {
			return fmt.Errorf("read a message of the event stream: %w", err)
		}
		l.hear(Event{Kind: told.Event, ID: told.ID, Data: told.Data})
	}
}

// streaming is the client's HTTP client without a limit on how long an answer takes.
func (c *Client) streaming() *http.Client {
	return &http.Client{Jar: c.http.Jar, Transport: c.http.Transport}
}
