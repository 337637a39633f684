// Package batchtest delivers the example events of the schemas to the handlers
// of a function, for tests of what each consumer accepts.
package batchtest

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app/schema"
	"github.com/loadbearing/loadbearing/app/schema/schematest"
	"github.com/loadbearing/loadbearing/lambdas/internal/batch"
)

// Example returns the example of an event type with the given number, as its
// schema has it, with some members of its data replaced, nil removing them.
// What is replaced must leave the event valid, but for what is empty.
func Example(t testing.TB, kind string, number int, data map[string]any) []byte {
	t.Helper()
	examples, err := schema.Examples(kind)
	require.NoError(t, err)
	var event map[string]any
	require.NoError(t, json.Unmarshal(examples[number], &event))
	members, ok := event["data"].(map[string]any)
	require.True(t, ok)
	valid := true
	for name, value := range data {
		valid = valid && value != ""
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	if id, ok := data["video_id"]; ok {
		event["subject"] = id
	} else if id, ok := data["job_id"]; ok {
		event["subject"] = id
	}
	out, err := json.Marshal(event)
	require.NoError(t, err)
	if valid {
		schematest.Valid(t, out)
	}
	return out
}

// Extended returns an event with members nobody knows yet, in the envelope and
// in the data.
func Extended(t testing.TB, event []byte) []byte {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal(event, &members))
	members["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	data, ok := members["data"].(map[string]any)
	require.True(t, ok)
	data["introduced_later"] = []any{1, map[string]any{"x": nil}}
	out, err := json.Marshal(members)
	require.NoError(t, err)
	return out
}

// Renamed returns the same event under another id, as another event.
func Renamed(t testing.TB, event []byte, id any) []byte { return with(t, event, "id", id) }

// Retyped returns the same event with another type.
func Retyped(t testing.TB, event []byte, kind string) []byte { return with(t, event, "type", kind) }

func with(t testing.TB, event []byte, member string, value any) []byte {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal(event, &members))
	members[member] = value
	out, err := json.Marshal(members)
	require.NoError(t, err)
	return out
}

// Deliver hands events to the handlers as one batch and returns the positions
// of those that failed, in order.
func Deliver(t testing.TB, handlers batch.Handlers, bodies ...[]byte) []int {
	t.Helper()
	var in events.SQSEvent
	for i, body := range bodies {
		in.Records = append(in.Records, events.SQSMessage{MessageId: strconv.Itoa(i), Body: string(body)})
	}
	answer, err := batch.Handler(slog.New(slog.NewTextHandler(t.Output(), nil)), handlers, 1)(t.Context(), in)
	require.NoError(t, err)
	var failed []int
	for _, f := range answer.BatchItemFailures {
		n, err := strconv.Atoi(f.ItemIdentifier)
		require.NoError(t, err)
		failed = append(failed, n)
	}
	return failed
}
