package worker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever the body of a message is, its handler is called with what it says,
// or the message goes to the dead-letter queue at once with a reason that SQS
// takes.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a"}`, `{"version":1,"name":"b","more":true}`, `{"version":2}`, `{"version":null,"name":7}`, `{"version":1e0}`, `{"version":99999999999999999999}`,
		`{"Version":2,"version":1}`, `[]`, `null`, `"\ud800"`, ``, strings.Repeat(`{"name":`, 10_001), "{\"version\":\"\x00\xff\"}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		type job struct {
			Name string `json:"name"`
		}
		var got []job
		handle := Versions(map[int]Handler{1: JSON(func(_ context.Context, v job) error { got = append(got, v); return nil })})
		err := handle(t.Context(), Message{ID: "m", Body: body})
		said, _ := errors.AsType[verdict](err)
		if (err == nil) != (len(got) == 1) || err != nil && said.kind != permanent {
			t.Fatalf("%d calls and %v", len(got), err)
		}
		if err == nil && !json.Valid([]byte(body)) {
			t.Errorf("%q is no JSON", body)
		}
		if err != nil {
			checkAttribute(t, attributeText(err.Error()))
		}
		checkAttribute(t, attributeText(body))
	})
}

// checkAttribute tells what SQS would refuse: MessageAttributeValue and
// SendMessage in its API reference name the characters.
func checkAttribute(t *testing.T, text string) {
	t.Helper()
	if text == "" || len(text) > maxReason || !utf8.ValidString(text) {
		t.Errorf("%d bytes: %q", len(text), text)
	}
	for _, r := range text {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			t.Errorf("%q has %U", text, r)
		}
	}
}

// A trace that is continued is one that its receiver reads the same way.
func FuzzTraceparent(f *testing.F) {
	const sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, seed := range []string{sent, "cc" + sent[2:] + "-more", "ff" + sent[2:], sent + "-", sent[:54], strings.ReplaceAll(sent, "4bf92f3577b34da6a3ce929d0e0e4736", strings.Repeat("0", 32)), strings.ToUpper(sent), ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		trace := newTrace(map[string]string{AttributeTraceparent: text})
		id, span, sampled, ok := parseTraceparent(trace.Traceparent())
		if !ok || id != trace.ID || span != trace.Span || sampled != trace.Sampled {
			t.Errorf("%q gives %+v, passed on as %s", text, trace, trace.Traceparent())
		}
		if strings.Trim(trace.ID, "0") == "" || strings.Trim(trace.Span, "0") == "" {
			t.Errorf("%q gives %+v, which nobody continues", text, trace)
		}
		if trace.Parent != "" && !strings.Contains(text, trace.ID+"-"+trace.Parent) {
			t.Errorf("%q is continued as %+v", text, trace)
		}
	})
}
