package schema_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/schema"
	"github.com/loadbearing/loadbearing/app/schema/schematest"
)

func TestEveryTypeHasASchemaAndItsExamplesAreValid(t *testing.T) {
	t.Parallel()
	for _, kind := range app.EventTypes() {
		examples, err := schema.Examples(kind)
		require.NoError(t, err)
		require.Len(t, examples, 2, kind)
		for _, example := range examples {
			schematest.Valid(t, example)
		}
	}
	_, err := schema.Of("com.loadbearing.video.uploaded.v2")
	require.ErrorContains(t, err, "video.uploaded.v2")
}

// What a schema says and what the Go types read and write is the same: an
// example that has every member survives the types unchanged.
func TestTheTypesAreAsTheSchemasSay(t *testing.T) {
	t.Parallel()
	roundTrip(t, app.EventVideoUploaded, app.Event[app.VideoUploaded]{})
	roundTrip(t, app.EventVideoProbed, app.Event[app.VideoProbed]{})
	roundTrip(t, app.EventVideoReady, app.Event[app.VideoIsReady]{})
	roundTrip(t, app.EventVideoFailed, app.Event[app.VideoHasFailed]{})
	roundTrip(t, app.EventImageDone, app.Event[app.ImageDone]{})
	roundTrip(t, app.EventImageFailed, app.Event[app.ImageFailed]{})
}

func roundTrip[T any](t *testing.T, kind string, event app.Event[T]) {
	t.Helper()
	examples, err := schema.Examples(kind)
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(examples[0]))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&event), kind)
	out, err := json.Marshal(event)
	require.NoError(t, err)
	require.JSONEq(t, string(examples[0]), string(out), kind)
	schematest.Valid(t, out)
}

func TestAnEventThatBreaksItsSchemaIsRefused(t *testing.T) {
	t.Parallel()
	examples, err := schema.Examples(app.EventVideoFailed)
	require.NoError(t, err)
	for _, change := range [][2]string{
		{`"reason"`, `"cause"`}, {`"1.0"`, `"0.3"`}, {`"time"`, `"when"`}, {`"0000000002"`, `"2"`}, {"0190b3a0-1111", "x"},
	} {
		broken := bytes.Replace(examples[0], []byte(change[0]), []byte(change[1]), 1)
		require.NotEqual(t, string(examples[0]), string(broken))
		require.Error(t, schematest.Check(broken), change[1])
	}
}
