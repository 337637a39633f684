package trace_test

import (
	"strings"
	"testing"

	"github.com/loadbearing/loadbearing/app/trace"
)

// A trace that is continued is one that its receiver reads the same way.
func FuzzTraceparent(f *testing.F) {
	for _, seed := range []string{
		sent, "cc" + sent[2:] + "-more", "ff" + sent[2:], sent + "-", sent[:54],
		strings.ReplaceAll(sent, "4bf92f3577b34da6a3ce929d0e0e4736", strings.Repeat("0", 32)), strings.ToUpper(sent), "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		span := trace.Continue(text, "")
		next := trace.Continue(span.Traceparent(), "")
		if next.Trace != span.Trace || next.Parent != span.ID || next.Sampled != span.Sampled {
			t.Errorf("%q gives %+v, passed on as %s, continued as %+v", text, span, span.Traceparent(), next)
		}
		if strings.Trim(span.Trace, "0") == "" || strings.Trim(span.ID, "0") == "" {
			t.Errorf("%q gives %+v, which nobody continues", text, span)
		}
		if span.Parent != "" && !strings.Contains(text, span.Trace+"-"+span.Parent) {
			t.Errorf("%q is continued as %+v", text, span)
		}
	})
}
