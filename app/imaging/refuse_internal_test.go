package imaging

import (
	"bytes"
	"image/gif"
	"testing"

	"github.com/loadbearing/loadbearing/app/mediatest"
)

// What the decoder finds, animation must have counted.
func FuzzAnimation(f *testing.F) {
	f.Add(mediatest.GIF(8, 8))
	f.Add(mediatest.Truncated(mediatest.GIF(8, 8)))
	f.Add([]byte("GIF89a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		frames, pixels := animation(data)
		if frames < 0 || pixels < 0 || (frames == 0) != (pixels == 0) && pixels != 0 {
			t.Fatalf("%d frames of %d pixels", frames, pixels)
		}
		config, err := gif.DecodeConfig(bytes.NewReader(data))
		if err != nil || config.Width*config.Height > 1<<14 || pixels > 1<<20 || len(data) > 1<<14 {
			return
		}
		g, err := gif.DecodeAll(bytes.NewReader(data))
		if err == nil && len(g.Image) != frames {
			t.Errorf("counted %d frames, decoded %d", frames, len(g.Image))
		}
	})
}

func FuzzAlsoKnownAs(f *testing.F) {
	f.Add([]byte("PK\x01\x02 PK\x05\x06\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("PK\x06\x07                PK\x05\x06                  "))
	f.Add(append(mediatest.JPEG(8, 8), "%PDF-1.4"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n := metadata(data); n < 0 || n > int64(len(data)) {
			t.Errorf("%d bytes of metadata in %d", n, len(data))
		}
		switch alsoKnownAs(data) {
		case "", "ZIP archive", "PDF document":
		default:
			t.Error("unknown format")
		}
	})
}
