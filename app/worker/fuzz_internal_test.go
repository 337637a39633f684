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
