// Package trace follows a request through the programs that work for it, by W3C
// Trace Context (https://www.w3.org/TR/trace-context/): from HTTP into message
// attributes, and from those into the logs of who receives the message. It
// needs nothing else of this module.
package trace

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"strings"
)

// HTTP headers, and message attributes of the same name, that carry a trace
// (sections 3.2 and 3.3).
const (
	Parent = "traceparent"
	State  = "tracestate"
)

// Span is the place of one piece of work, such as a request or the handling of
// a message, in a distributed trace.
type Span struct {
	Trace   string // id of the trace: 32 lower-case hex digits
	ID      string // of this work: 16 lower-case hex digits
	Parent  string // id of the span that asked for it; empty when the trace begins here
	Sampled bool   // whether who asked records the trace
	State   string // vendors' data, passed on as it came
}

// Continue returns a span of the trace that a traceparent names, or of a new
// one when it makes no sense: what cannot be parsed is ignored, its tracestate
// with it (section 3.2.2.3).
func Continue(traceparent, tracestate string) Span {
	var trace [16]byte
	var span [8]byte
	_, _ = rand.Read(trace[:]) // never fails
	_, _ = rand.Read(span[:])
	s := Span{Trace: hex.EncodeToString(trace[:]), ID: hex.EncodeToString(span[:])}
	if trace, parent, sampled, ok := parse(traceparent); ok {
		s.Trace, s.Parent, s.Sampled, s.State = trace, parent, sampled, tracestate
	}
	return s
}

// Traceparent returns the header value for what this span asks of others.
func (s Span) Traceparent() string {
	flags := "00"
	if s.Sampled {
		flags = "01"
	}
	return "00-" + s.Trace + "-" + s.ID + "-" + flags
}

type key struct{}

// With returns a context for the work that s stands for.
func With(ctx context.Context, s Span) context.Context { return context.WithValue(ctx, key{}, s) }

// From returns the span that ctx belongs to.
func From(ctx context.Context) (Span, bool) {
	s, ok := ctx.Value(key{}).(Span)
	return s, ok
}

// LogHandler adds trace_id and span_id to every record that is logged with the
// context of a span.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if s, ok := From(ctx); ok {
		r = r.Clone() // other handlers may have the record too
		r.AddAttrs(slog.String("trace_id", s.Trace), slog.String("span_id", s.ID))
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }

// parse reads version 00 of a traceparent, and of later versions the part that
// 00 has.
func parse(s string) (trace, parent string, sampled, ok bool) {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < length || (len(s) > length && (s[:2] == "00" || s[length] != '-')) {
		return "", "", false, false
	}
	parts := strings.Split(s[:length], "-")
	if len(parts) != 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 {
		return "", "", false, false
	}
	for _, p := range parts {
		if strings.Trim(p, "0123456789abcdef") != "" {
			return "", "", false, false
		}
	}
	if parts[0] == "ff" || strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return "", "", false, false
	}
	flags, err := hex.DecodeString(parts[3])
	return parts[1], parts[2], err == nil && flags[0]&1 == 1, err == nil
}
