package imaging

import (
	"bytes"
	"slices"
	"testing"

	"github.com/loadbearing/loadbearing/app/mediatest"
)

func TestOrientation(t *testing.T) {
	t.Parallel()
	for want := 1; want <= 8; want++ {
		if got := orientation(mediatest.OrientedJPEG(8, 8, want)); got != want {
			t.Errorf("got orientation %d, want %d", got, want)
		}
	}
	little := "II\x2a\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
	if got := tiffOrientation([]byte(little)); got != 6 {
		t.Errorf("little-endian: got orientation %d, want 6", got)
	}
	for name, data := range map[string][]byte{
		"none":        mediatest.JPEG(8, 8),
		"no sense":    mediatest.OrientedJPEG(8, 8, 9),
		"zero":        mediatest.OrientedJPEG(8, 8, 0),
		"no jpeg":     mediatest.PNG(8, 8),
		"header only": mediatest.OrientedJPEG(8, 8, 6)[:20],
		"nothing":     nil,
	} {
		if got := orientation(data); got != 1 {
			t.Errorf("%s: got orientation %d, want 1", name, got)
		}
	}
}

func TestProgressive(t *testing.T) {
	t.Parallel()
	baseline := mediatest.JPEG(8, 8)
	if progressive(baseline) {
		t.Error("a baseline JPEG counts as progressive")
	}
	// The start-of-frame marker is what says it.
	for i := 0; i+1 < len(baseline); i++ {
		if baseline[i] == 0xff && baseline[i+1] == 0xc0 {
			baseline[i+1] = markerSOF2
			break
		}
	}
	if !progressive(baseline) {
		t.Error("a progressive JPEG counts as baseline")
	}
	// Decoders pass over these, so the limits must see what follows.
	for name, stray := range map[string]string{"a stray byte": "x", "stuffing": "\xff\x00", "a restart marker": "\xff\xd3", "fill bytes": "\xff\xff"} {
		if !progressive(slices.Insert(bytes.Clone(baseline), 2, []byte(stray)...)) {
			t.Errorf("%s hides that a JPEG is progressive", name)
		}
	}
}

func FuzzOrientation(f *testing.F) {
	f.Add(mediatest.OrientedJPEG(8, 8, 6))
	f.Add(mediatest.JPEG(8, 8))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := orientation(data); got < 1 || got > 8 {
			t.Errorf("got orientation %d", got)
		}
		if got := tiffOrientation(data); got < 1 || got > 8 {
			t.Errorf("got orientation %d", got)
		}
	})
}
