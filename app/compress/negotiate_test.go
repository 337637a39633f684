package compress

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		accept string // lines are separated by |; "-" is no header
		best   Encoding
		plain  bool
	}{
		{"-", Identity, true},
		{"", Identity, true},
		{",, ,", Identity, true},
		{"gzip", Gzip, true},
		{"x-gzip", Gzip, true},
		{"GZIP", Gzip, true},
		{"gzip, deflate, br, zstd", Zstd, true},
		{"gzip, deflate, br", Brotli, true},
		{"deflate", Identity, true},
		{"deflate, compress;q=0.5", Identity, true},
		{"gzip;q=1.0, br;q=0.5, zstd;q=0.1", Gzip, true},
		{"zstd;q=0.999, br;q=1.000", Brotli, true},
		{"br ; q=0.8 ,\tgzip; Q=0.9", Gzip, true},
		{"gzip|br", Brotli, true},
		{"gzip;q=0", Identity, true},
		{"gzip;q=0.000, br", Brotli, true},
		{"zstd;q=0, *", Brotli, true},
		{"*", Zstd, true},
		{"*;q=0.5, gzip", Gzip, true},
		{"*;q=0.5, zstd;q=0.4", Brotli, true},
		{"*;q=0", Identity, false},
		{"*;q=0, identity", Identity, true},
		{"*;q=0, gzip", Gzip, false},
		{"*;q=0, gzip, identity;q=0.1", Gzip, true},
		{"identity", Identity, true},
		{"identity;q=0", Identity, false},
		{"identity;q=0, br", Brotli, false},
		{"identity;q=0, *", Zstd, false},
		{"identity;q=0, *;q=0", Identity, false},
		{"identity;q=1, gzip;q=0.5", Identity, true},
		{"identity;q=0.5, gzip;q=0.5", Gzip, true},
		{"identity;q=0.5, gzip;q=0.6", Gzip, true},
		{"identity, *;q=0.1", Identity, true},
		{"gzip;q=0.001", Gzip, true},
		{"gzip;q=1, gzip;q=0", Identity, true},
		{"gzip;q=0, gzip;q=1", Identity, true},
		{"gzip;q=1, x-gzip;q=0", Identity, true},
		// Malformed weights: the member does not count.
		{"gzip;q=2", Identity, true},
		{"gzip;q=1.001", Identity, true},
		{"gzip;q=0.1234", Identity, true},
		{"gzip;q=-1", Identity, true},
		{"gzip;q=", Identity, true},
		{"gzip;q=.5", Identity, true},
		{"gzip;q=0,5", Identity, true},
		{"gzip;q=1e1", Identity, true},
		{"gzip;q =1", Identity, true},
		{"gzip;level=1", Identity, true},
		{"gzip;", Identity, true},
		{"gzip;q=0.", Identity, true},
		{"gzip;q=1.", Gzip, true}, // the grammar has it
		{"identity;q=nope, br", Brotli, true},
		{"g zip", Identity, true},
		{`"gzip"`, Identity, true},
	} {
		best, plain := Negotiate(lines(c.accept), Zstd, Brotli, Gzip)
		require.Equal(t, c.best, best, "%q", c.accept)
		require.Equal(t, c.plain, plain, "%q", c.accept)
	}
	best, _ := Negotiate([]string{"zstd, gzip;q=0.1"}, Gzip)
	require.Equal(t, Gzip, best, "what is not on offer is no choice")
	best, _ = Negotiate([]string{"zstd, gzip"})
	require.Equal(t, Identity, best)
}

func lines(accept string) []string {
	if accept == "-" {
		return nil
	}
	return strings.Split(accept, "|")
}

// FuzzNegotiate checks what holds for any header; the seeds are in testdata.
func FuzzNegotiate(f *testing.F) {
	f.Add("gzip, deflate, br;q=0.9, zstd")
	f.Add("identity;q=0, *;q=0.5|x-gzip;q=1.000")
	f.Fuzz(func(t *testing.T, accept string) {
		all := lines(accept)
		best, plain := Negotiate(all, Zstd, Brotli, Gzip)
		if best != Identity {
			if only, _ := Negotiate(all, best); only != best {
				t.Errorf("%q: %s is best of three but not acceptable alone", accept, best)
			}
			if !strings.Contains(accept, "*") && !strings.Contains(strings.ToLower(accept), string(best)) {
				t.Errorf("%q: %s was not asked for", accept, best)
			}
		}
		if !plain && !strings.Contains(accept, "0") {
			t.Errorf("%q refuses a plain body without a weight of 0", accept)
		}
		// A refusal at the end holds, whatever came before.
		if best, _ := Negotiate(append(all, "zstd;q=0, br;q=0, gzip;q=0"), Zstd, Brotli, Gzip); best != Identity {
			t.Errorf("%q: %s though it is refused", accept, best)
		}
		if _, plain := Negotiate(append(all, "identity;q=0"), Zstd, Brotli, Gzip); plain {
			t.Errorf("%q: plain though it is refused", accept)
		}
	})
}
