package trace_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/trace"
)

const sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestContinue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		traceparent string
		continued   bool
		sampled     bool
	}{
		"sampled":      {sent, true, true},
		"not sampled":  {sent[:len(sent)-2] + "00", true, false},
		"more flags":   {sent[:len(sent)-2] + "ff", true, true},
		"later":        {"cc" + sent[2:] + "-more", true, true},
		"none":         {"", false, false},
		"upper case":   {strings.ToUpper(sent), false, false},
		"zero trace":   {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false, false},
		"zero parent":  {"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false, false},
		"version ff":   {"ff" + sent[2:], false, false},
		"longer 00":    {sent + "-more", false, false},
		"short":        {sent[:50], false, false},
		"other dashes": {strings.ReplaceAll(sent, "-", "_"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := trace.Continue(tc.traceparent, "vendor=1")
			want := trace.Span{Trace: got.Trace, ID: got.ID}
			if tc.continued {
				want = trace.Span{Trace: "4bf92f3577b34da6a3ce929d0e0e4736", ID: got.ID, Parent: "00f067aa0ba902b7", Sampled: tc.sampled, State: "vendor=1"}
			}
			require.Equal(t, want, got)
			require.NotEqual(t, got.Parent, got.ID)
			next := trace.Continue(got.Traceparent(), "")
			require.Equal(t, trace.Span{Trace: got.Trace, ID: next.ID, Parent: got.ID, Sampled: tc.sampled}, next)
			require.NotEqual(t, got.Trace, trace.Continue("", "").Trace)
		})
	}
}

func TestLogHandlerLinksRecordsToTheSpan(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(trace.LogHandler(slog.NewJSONHandler(&out, nil))).With("instance", "i-1")
	s := trace.Continue(sent, "")
	log.InfoContext(trace.With(t.Context(), s), "one")
	log.InfoContext(t.Context(), "two")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	var one map[string]string
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &one))
	require.Equal(t, s.Trace, one["trace_id"])
	require.Equal(t, s.ID, one["span_id"])
	require.Equal(t, "i-1", one["instance"])
	require.NotContains(t, lines[1], "trace_id")
}
