package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// Message attributes that carry a trace (W3C Trace Context, sections 3.2 and 3.3).
const (
	AttributeTraceparent = "traceparent"
	AttributeTracestate  = "tracestate"
)

// Trace is the place of one message's handling in a distributed trace.
type Trace struct {
	ID      string // of the trace: 32 lower-case hex digits
	Span    string // of the handling: 16 lower-case hex digits
	Parent  string // span of who sent the message; empty when the trace begins here
	Sampled bool   // whether the sender recorded it
	State   string // vendors' data, passed on as it came
}

// Traceparent returns the header value for calls made while handling.
func (t Trace) Traceparent() string {
	flags := "00"
	if t.Sampled {
		flags = "01"
	}
	return "00-" + t.ID + "-" + t.Span + "-" + flags
}

type traceKey struct{}

// TraceFrom returns the trace of the message whose handler was given ctx.
func TraceFrom(ctx context.Context) (Trace, bool) {
	t, ok := ctx.Value(traceKey{}).(Trace)
	return t, ok
}

// newTrace continues the trace of a message, or begins one when it has none or
// one that makes no sense (section 3.2.2.3: ignore what cannot be parsed).
func newTrace(attributes map[string]string) Trace {
	var id [16]byte
	var span [8]byte
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(span[:])
	t := Trace{ID: hex.EncodeToString(id[:]), Span: hex.EncodeToString(span[:])}
	if trace, parent, sampled, ok := parseTraceparent(attributes[AttributeTraceparent]); ok {
		t.ID, t.Parent, t.Sampled, t.State = trace, parent, sampled, attributes[AttributeTracestate]
	}
	return t
}

// parseTraceparent reads version 00 of the header, and of later versions the
// part that 00 has.
func parseTraceparent(s string) (trace, parent string, sampled, ok bool) {
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
