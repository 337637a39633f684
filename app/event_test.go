package app_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/loadbearing/loadbearing/app"
)

func TestSequenceIsDigits(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "+1", "-0", "-1", "1_0", "0x1", " 1", "1.0", "9223372036854775808"} {
		var s app.Sequence
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}

// An event that can be read says the same when it is written and read again.
func FuzzEvent(f *testing.F) {
	e, err := app.NewEvent("/test", app.EventVideoReady, uuid.Max, 7, time.Unix(1e9, 5), json.RawMessage(`{"video_id":null}`))
	if err != nil {
		f.Fatal(err)
	}
	seed, err := json.Marshal(e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"sequence":"0000000000","time":"0001-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"sequence":"-1"}`))
	f.Add([]byte(`{"sequence":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var read, again app.Event[json.RawMessage]
		if json.Unmarshal(data, &read) != nil {
			return
		}
		if read.Sequence < 0 {
			t.Fatalf("the sequence is %d", read.Sequence)
		}
		written, err := json.Marshal(read)
		if err != nil {
			t.Fatalf("write %+v: %v", read, err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("read %s: %v", written, err)
		}
		if !again.Time.Equal(read.Time) || again.Sequence != read.Sequence || again.ID != read.ID || again.Type != read.Type || again.Subject != read.Subject {
			t.Errorf("%+v became %+v", read, again)
		}
	})
}
