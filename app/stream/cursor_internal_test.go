package stream

import (
	"strings"
	"testing"
)

// A Last-Event-ID is a position, the same one when it is written again, or it
// makes no sense: then its reader is told of a gap.
func FuzzLastEventID(f *testing.F) {
	for _, seed := range []string{"0-0", "1700000000000-7", "18446744073709551615-18446744073709551615", "1-", "-1", "+1-1", "1-1-1", "$", "(1-1", "1_0-1", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := parseCursor(text)
		if c.kind == unknown {
			return
		}
		if c.kind != after || parseCursor(c.at.String()) != c {
			t.Errorf("%q is %+v, and that is %+v", text, c, parseCursor(c.at.String()))
		}
		// It is what Redis is asked with.
		if strings.Trim(c.at.String(), "0123456789-") != "" {
			t.Errorf("%q becomes %q", text, c.at)
		}
	})
}
