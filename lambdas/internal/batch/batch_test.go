package batch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/trace"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

type data struct {
	Do string `json:"do"`
}

func (d data) Validate() error {
	if d.Do == "invalid" {
		return errors.New("want something to do")
	}
	return nil
}

const eventType = "com.loadbearing.test.v1"

// body returns an event; members override or, with null, empty its own.
func body(do, members string) string {
	event := map[string]any{
		"specversion": "1.0", "id": "01890a5d-ac96-774b-bcce-b302099a8057", "source": "/test", "type": eventType,
		"time": "2026-01-02T03:04:05Z", "data": map[string]any{"do": do}, "unknown": "ignored",
	}
	if members != "" {
		if err := json.Unmarshal([]byte(members), &event); err != nil {
			panic(err)
		}
	}
	out, _ := json.Marshal(event)
	return string(out)
}

func handler(handled *[]string) func(context.Context, events.SQSEvent) (events.SQSEventResponse, error) {
	return batch.Handler(slog.New(slog.DiscardHandler), batch.Handlers{eventType: batch.Decode(func(ctx context.Context, e app.Event[data]) error {
		switch e.Data.Do {
		case "fail":
			return errors.New("not now")
		case "panic":
			panic("index out of range")
		case "wait":
			<-ctx.Done()
			return ctx.Err()
		}
		*handled = append(*handled, e.Data.Do)
		return nil
	})}, 0)
}

func TestHandlerReportsMessageByMessage(t *testing.T) {
	t.Parallel()
	bodies := []string{
		body("one", ""),
		body("fail", ""),
		body("two", ""),
		body("panic", ""),
		"this is no event",
		body("ignored", `{"type": "com.loadbearing.other.v1", "id": 7, "data": [1, 2]}`),
		body("ignored", `{"type": "com.loadbearing.test.v2", "data": [1, 2]}`),
		body("invalid", ""),
		body("ignored", `{"type": null}`),
		body("ignored", `{"id": null}`),
		body("ignored", `{"specversion": "0.3"}`),
		body("ignored", `{"data": [1, 2]}`),
		body("three", ""),
	}
	var in events.SQSEvent
	for i, b := range bodies {
		in.Records = append(in.Records, events.SQSMessage{MessageId: fmt.Sprint(i), Body: b})
	}
	var handled []string
	answer, err := handler(&handled)(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, f := range answer.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	if want := []string{"1", "3", "4", "6", "7", "8", "9", "10", "11"}; !slices.Equal(failed, want) {
		t.Errorf("reported %v as failed, want %v", failed, want)
	}
	if want := []string{"one", "two", "three"}; !slices.Equal(handled, want) {
		t.Errorf("handled %v, want %v", handled, want)
	}
}

func TestHandlerAnswersAnEmptyList(t *testing.T) {
	t.Parallel()
	var handled []string
	for _, in := range []events.SQSEvent{{}, {Records: []events.SQSMessage{{MessageId: "m", Body: body("one", "")}}}} {
		answer, err := handler(&handled)(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != `{"batchItemFailures":[]}` {
			t.Errorf("answered %s", out)
		}
	}
}

func TestHandlerAnswersInTime(t *testing.T) {
	t.Parallel()
	deadline := time.Now().Add(1100 * time.Millisecond)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	var handled []string
	answer, err := handler(&handled)(ctx, events.SQSEvent{Records: []events.SQSMessage{
		{MessageId: "done", Body: body("one", "")}, {MessageId: "slow", Body: body("wait", "")}, {MessageId: "after", Body: body("two", "")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !time.Now().Before(deadline) {
		t.Error("the answer came after the function's time")
	}
	if len(handled) != 1 || len(answer.BatchItemFailures) != 2 {
		t.Errorf("handled %v, reported %v; want the first done and the others reported", handled, answer.BatchItemFailures)
	}
}

func TestHandlerSaysWhyAnotherVersionFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	handle := batch.Handler(slog.New(slog.NewJSONHandler(&log, nil)), batch.Handlers{eventType: nil}, 1)
	answer, err := handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{
		{MessageId: "two", Body: body("", `{"type": "com.loadbearing.test.v2"}`)},
		{MessageId: "far", Body: body("", `{"type": "com.loadbearing.test.v99999999999999999999"}`)},
		{MessageId: "other", Body: body("", `{"type": "com.loadbearing.test.vital"}`)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if failed := answer.BatchItemFailures; len(failed) != 2 || failed[0].ItemIdentifier != "two" || failed[1].ItemIdentifier != "far" {
		t.Errorf("reported %v, want the other version", answer.BatchItemFailures)
	}
	if !strings.Contains(log.String(), "com.loadbearing.test.v2: this version of the function knows com.loadbearing.test.v1") {
		t.Errorf("logged %s", log.String())
	}
}

func TestHandlerContinuesTraces(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var got []trace.Span
	handle := batch.Handler(slog.New(trace.LogHandler(slog.NewJSONHandler(&log, nil))), batch.Handlers{eventType: func(ctx context.Context, _ app.Event[json.RawMessage]) error {
		span, _ := trace.From(ctx)
		got = append(got, span)
		return errors.New("not now")
	}}, 1)
	text := func(s string) events.SQSMessageAttribute {
		return events.SQSMessageAttribute{DataType: "String", StringValue: &s}
	}
	_, err := handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{
		{MessageId: "traced", Body: body("", ""), MessageAttributes: map[string]events.SQSMessageAttribute{
			"traceparent": text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "tracestate": text("vendor=1"),
		}},
		{MessageId: "untraced", Body: body("", "")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := (trace.Span{Trace: "4bf92f3577b34da6a3ce929d0e0e4736", ID: got[0].ID, Parent: "00f067aa0ba902b7", Sampled: true, State: "vendor=1"}); got[0] != want {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	for i, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		if got[i].Trace == "" || !strings.Contains(line, got[i].Trace) || !strings.Contains(line, got[i].ID) {
			t.Errorf("the trace is %+v, logged was %s", got[i], line)
		}
	}
}

func TestHandlerHandlesAtTheSameTimeWhatItMay(t *testing.T) {
	t.Parallel()
	// Each of four waits for the three others.
	var together sync.WaitGroup
	together.Add(4)
	handle := batch.Handler(slog.New(slog.DiscardHandler), batch.Handlers{eventType: func(context.Context, app.Event[json.RawMessage]) error {
		together.Done()
		together.Wait()
		return nil
	}}, 4)
	var in events.SQSEvent
	for i := range 4 {
		in.Records = append(in.Records, events.SQSMessage{MessageId: fmt.Sprint(i), Body: body("one", "")})
	}
	if answer, err := handle(t.Context(), in); err != nil || len(answer.BatchItemFailures) > 0 {
		t.Errorf("answered %v and %v", answer, err)
	}
}

// Whatever a message is, no handler sees what is no event of its type, and no
// event that it is there for is lost: either the handler has it, or it is
// reported and comes again.
func FuzzHandler(f *testing.F) {
	for _, seed := range []string{
		body("one", ""), body("invalid", ""), body("x", `{"type": "com.loadbearing.test.v2"}`), body("x", `{"type": "com.loadbearing.other.v1"}`),
		body("x", `{"sequence": "0000000007", "data": null}`), body("x", `{"id": "00000000-0000-0000-0000-000000000000"}`), body("x", `{"time": null}`), `{"type": "com.loadbearing.test.v1", "Type": "com.loadbearing.other.v1"}`, "[]", "null", "",
		strings.Repeat("[", 20_000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var log bytes.Buffer
		var got []app.Event[data]
		handle := batch.Handler(slog.New(slog.NewTextHandler(&log, nil)), batch.Handlers{eventType: batch.Decode(func(_ context.Context, e app.Event[data]) error {
			got = append(got, e)
			return nil
		})}, 1)
		answer, err := handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{{MessageId: "m", Body: text}}})
		if err != nil || strings.Contains(log.String(), "panicked") {
			t.Fatalf("%v: %s", err, log.String())
		}
		for _, e := range got {
			if e.Type != eventType || e.ID == uuid.Nil || e.SpecVersion != "1.0" || e.Time.IsZero() || e.Sequence < 0 || e.Data.Validate() != nil {
				t.Errorf("handled %+v", e)
			}
		}
		var head struct{ Type string }
		known := json.Unmarshal([]byte(text), &head) != nil || head.Type == "" || strings.HasPrefix(head.Type, "com.loadbearing.test.v") && !strings.ContainsFunc(head.Type[len("com.loadbearing.test.v"):], notDigit) && head.Type != "com.loadbearing.test.v"
		reported := len(answer.BatchItemFailures) > 0
		if known != (len(got) > 0 || reported) || len(got) > 0 && reported {
			t.Errorf("handled %v and reported %v", got, answer.BatchItemFailures)
		}
	})
}

func notDigit(r rune) bool { return r < '0' || r > '9' }
