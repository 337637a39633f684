package imaging

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"slices"
	"testing"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/mediatest"
)

// What a decoder allocates must not go far beyond what was estimated of the
// header: the estimate is what keeps pictures within the memory.
func FuzzDecode(f *testing.F) {
	for _, seed := range decodable(f, 40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := inspect(data, Limits{Pixels: 1 << 20, Bytes: 1 << 18}.withDefaults())
		if err == nil {
			checkFootprint(t, h, data)
		} else if app.CodeOf(err) != app.CodeInvalid {
			t.Errorf("got %v, want a refusal or none", err)
		}
	})
}

func checkFootprint(t *testing.T, h header, data []byte) {
	t.Helper()
	var err error
	got := mediatest.Allocated(func() { _, err = decode(t.Context(), h, data) })
	// Besides pixels there are tables, which grow with the file and not with the
	// picture, and what was garbage before it was replaced.
	if most := 2*h.decoded + 16*int64(len(data)) + 1<<20; got > most {
		t.Errorf("decoding a %s of %d × %d in %d bytes allocates %d bytes, estimated were %d (%v)",
			h.format.name, h.width, h.height, len(data), got, h.decoded, err)
	}
	if err != nil && app.CodeOf(err) != app.CodeInvalid {
		t.Errorf("got %v, want a refusal or none", err)
	}
}

// It is not parallel: it measures what the process allocates.
func TestTheFootprintCoversTheDecoder(t *testing.T) {
	for name, data := range decodable(t, 1000) {
		h, err := inspect(data, Limits{}.withDefaults())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkFootprint(t, h, data)
	}
}

// decodable returns a picture, side pixels a side, of each kind for which a
// decoder takes another amount of memory.
func decodable(t testing.TB, side int) map[string][]byte {
	t.Helper()
	baseline := mediatest.JPEG(side, side)
	// The first scan of a progressive file has one coefficient of each block, not 64.
	progressive := bytes.Replace(baseline, []byte{0xff, 0xc0}, []byte{0xff, markerSOF2}, 1)
	progressive = bytes.Replace(progressive, []byte{3, 0x11, 0, 63, 0}, []byte{3, 0x11, 0, 0, 0}, 1)
	progressive = bytes.Replace(progressive, []byte{1, 0x22, 0}, []byte{1, 0x11, 0}, 1) // no component is smaller than another
	gray := image.NewGray(image.Rect(0, 0, side, side))
	deep := image.NewGray16(gray.Rect)
	out := map[string][]byte{
		"PNG": mediatest.PNG(side, side), "PNG of one bit": mediatest.Bomb(side, side), "PNG with alpha": mediatest.TransparentPNG(side, side),
		"JPEG": baseline, "progressive JPEG": progressive, "progressive JPEG behind stray bytes": slices.Insert(bytes.Clone(progressive), 2, 0xff, 0, 'x'),
		"narrow JPEG": mediatest.JPEG(1, side), "GIF": mediatest.GIF(side, side), "WebP": mediatest.WebP(side, side),
	}
	for name, img := range map[string]image.Image{"gray PNG": gray, "gray PNG of 16 bits": deep, "PNG of 16 bits": image.NewNRGBA64(gray.Rect)} {
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		out[name] = b.Bytes()
		if img.ColorModel() != color.NRGBA64Model {
			out[name+" with a transparent value"] = mediatest.WithChunk(b.Bytes(), "tRNS", []byte{0, 0})
		}
	}
	return out
}
