package imaging_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/imaging"
	"github.com/loadbearing/loadbearing/app/mediatest"
)

// Corners of mediatest.Picture.
var (
	red   = color.RGBA{R: 255, A: 255}
	green = color.RGBA{G: 255, A: 255}
	blue  = color.RGBA{B: 255, A: 255}
	white = color.RGBA{R: 255, G: 255, B: 255, A: 255}
)

func decoded(t *testing.T, r imaging.Rendition) image.Image {
	t.Helper()
	decode := jpeg.Decode
	if r.ContentType == "image/png" {
		decode = png.Decode
	}
	img, err := decode(bytes.NewReader(r.Data))
	if err != nil {
		t.Fatalf("the rendition of %d pixels cannot be decoded as %s: %v", r.Width, r.ContentType, err)
	}
	if img.Bounds().Dx() != r.Width || img.Bounds().Dy() != r.Height {
		t.Errorf("the rendition says %d × %d and is %v", r.Width, r.Height, img.Bounds())
	}
	return img
}

// corners asserts the colors in the middle of a picture's quarters: top left,
// top right, bottom left, bottom right.
func corners(t *testing.T, img image.Image, want ...color.RGBA) {
	t.Helper()
	b := img.Bounds()
	for i, w := range want {
		x := b.Min.X + b.Dx()*(1+2*(i%2))/4
		y := b.Min.Y + b.Dy()*(1+2*(i/2))/4
		r, g, bl, _ := img.At(x, y).RGBA()
		// JPEG rings beside hard edges; another quarter would be off by 255.
		near := func(got uint32, want uint8) bool { d := int(got>>8) - int(want); return d > -50 && d < 50 }
		if !near(r, w.R) || !near(g, w.G) || !near(bl, w.B) {
			t.Errorf("quarter %d of %v is %v, want %v", i, b, img.At(x, y), w)
		}
	}
}

func TestResizeFormats(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		data []byte
		want []color.RGBA
	}{
		"png":  {mediatest.PNG(200, 100), []color.RGBA{red, green, blue, white}},
		"jpeg": {mediatest.JPEG(200, 100), []color.RGBA{red, green, blue, white}},
		"gif":  {mediatest.GIF(200, 100), []color.RGBA{red, green, blue, white}},
		"webp": {mediatest.WebP(200, 100), []color.RGBA{red, red, red, red}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// 5000 and 200 are the same rendition: pictures are never enlarged.
			got, err := imaging.Resize(t.Context(), tc.data, []int{50, 5000, 80, 200}, imaging.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			sizes := [][2]int{{200, 100}, {80, 40}, {50, 25}}
			if len(got) != len(sizes) {
				t.Fatalf("got %d renditions, want %d", len(got), len(sizes))
			}
			for i, r := range got {
				if r.Width != sizes[i][0] || r.Height != sizes[i][1] || r.ContentType != "image/jpeg" || r.Extension != "jpg" {
					t.Errorf("rendition %d is %d × %d, %s; want %v, image/jpeg", i, r.Width, r.Height, r.ContentType, sizes[i])
				}
				corners(t, decoded(t, r), tc.want...)
			}
		})
	}
}

func TestResizeHonorsOrientation(t *testing.T) {
	t.Parallel()
	for orientation, want := range map[int][]color.RGBA{
		1: {red, green, blue, white},
		2: {green, red, white, blue},
		3: {white, blue, green, red},
		4: {blue, white, red, green},
		5: {red, blue, green, white},
		6: {blue, red, white, green},
		7: {white, green, blue, red},
		8: {green, white, red, blue},
	} {
		data := mediatest.OrientedJPEG(160, 80, orientation)
		got, err := imaging.Resize(t.Context(), data, []int{1000, 40}, imaging.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		full := [2]int{160, 80}
		if orientation >= 5 {
			full = [2]int{80, 160}
		}
		if got[0].Width != full[0] || got[0].Height != full[1] || got[1].Width != 40 {
			t.Errorf("orientation %d: got %d × %d and %d wide, want %v and 40", orientation, got[0].Width, got[0].Height, got[1].Width, full)
		}
		for _, r := range got {
			corners(t, decoded(t, r), want...)
			if bytes.Contains(r.Data, []byte(mediatest.CameraMake)) || bytes.Contains(r.Data, []byte("Exif")) {
				t.Errorf("orientation %d: metadata reached the rendition", orientation)
			}
		}
	}
}

func TestResizeKeepsTransparency(t *testing.T) {
	t.Parallel()
	got, err := imaging.Resize(t.Context(), mediatest.TransparentPNG(100, 60), []int{100, 50}, imaging.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got {
		if r.ContentType != "image/png" || r.Extension != "png" {
			t.Errorf("the rendition of %d pixels is %s, want image/png", r.Width, r.ContentType)
		}
		img := decoded(t, r)
		if _, _, _, a := img.At(r.Width*3/4, r.Height/4).RGBA(); a != 0 {
			t.Errorf("the transparent half has alpha %d", a)
		}
		corners(t, img, red)
	}
}

// A picture taller than several strips must show no seam: it is compared with
// one scaled at once.
func TestScaleHasNoSeams(t *testing.T) {
	t.Parallel()
	gradient := image.NewRGBA(image.Rect(0, 0, 300, 700))
	for y := range 700 {
		for x := range 300 {
			gradient.SetRGBA(x, y, color.RGBA{R: uint8(x * 255 / 300), G: uint8(y * 255 / 700), B: uint8((x + y) * 255 / 1000), A: 255})
		}
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, gradient); err != nil {
		t.Fatal(err)
	}
	got, err := imaging.Resize(t.Context(), buf.Bytes(), []int{150}, imaging.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	img := decoded(t, got[0])
	for y := 2; y < 348; y++ {
		for x := 2; x < 148; x += 3 {
			r, g, _, _ := img.At(x, y).RGBA()
			wantR, wantG := (4*x+1)*255/600, (4*y+1)*255/1400
			if dr, dg := int(r>>8)-wantR, int(g>>8)-wantG; dr < -8 || dr > 8 || dg < -8 || dg > 8 {
				t.Fatalf("at (%d, %d): red %d, green %d; want about %d and %d", x, y, r>>8, g>>8, wantR, wantG)
			}
		}
	}
}

// lying makes a WebP say that it has two gigabytes.
func lying(data []byte) []byte {
	binary.LittleEndian.PutUint32(data[4:], 1<<31-2)
	return data
}

// progressive makes a JPEG say that it is one of several scans.
func progressive(data []byte) []byte {
	return bytes.Replace(data, []byte{0xff, 0xc0}, []byte{0xff, 0xc2}, 1)
}

func TestResizeRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		data   []byte
		widths []int
		limits imaging.Limits
		want   string // in the reason
	}{
		"nothing":             {data: nil, want: "empty"},
		"text":                {data: []byte("this is no picture, it is a sentence"), want: "not a PNG, JPEG, GIF or WebP"},
		"a movie":             {data: mediatest.Movie{}.MP4(), want: "not a PNG, JPEG, GIF or WebP"},
		"bomb":                {data: mediatest.Bomb(10_000, 10_000), want: "100.0 megapixels"},
		"webp bomb":           {data: mediatest.WebP(16_000, 16_000), want: "256.0 megapixels"},
		"jpeg bomb":           {data: mediatest.Resized(mediatest.JPEG(16, 16), 65_535, 65_535), want: "4294.8 megapixels"},
		"gif bomb":            {data: mediatest.Resized(mediatest.GIF(16, 16), 65_535, 65_535), want: "4294.8 megapixels"},
		"png bomb":            {data: mediatest.Resized(mediatest.PNG(16, 16), 50_000, 50_000), want: "2500.0 megapixels"},
		"webp that lies":      {data: lying(mediatest.WebP(16, 16)), want: "truncated"},
		"progressive bomb":    {data: progressive(mediatest.Resized(mediatest.JPEG(16, 16), 7_000, 7_000)), want: "of memory"},
		"wide":                {data: mediatest.Bomb(100_000, 1), want: "a side may have at most 65535"},
		"too many bytes":      {data: mediatest.PNG(50, 50), limits: imaging.Limits{Bytes: 20}, want: "more than 20 bytes"},
		"too much memory":     {data: mediatest.PNG(1000, 1000), limits: imaging.Limits{Memory: 1 << 20}, want: "of memory"},
		"width of nothing":    {data: mediatest.PNG(50, 50), widths: []int{0}, want: "0 pixels wide"},
		"truncated png":       {data: mediatest.Truncated(mediatest.PNG(200, 200)), want: "truncated"},
		"truncated jpeg":      {data: mediatest.Truncated(mediatest.JPEG(200, 200)), want: "truncated"},
		"truncated gif":       {data: mediatest.Truncated(mediatest.GIF(200, 200)), want: "GIF"},
		"truncated webp":      {data: mediatest.Truncated(mediatest.WebP(200, 200)), want: "WebP"},
		"png signature alone": {data: mediatest.PNG(8, 8)[:8], want: "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := imaging.Resize(t.Context(), tc.data, tc.widths, tc.limits)
			var refused *app.Error
			if !errors.As(err, &refused) || refused.Code != app.CodeInvalid {
				t.Fatalf("got %d renditions and error %v, want app.CodeInvalid", len(got), err)
			}
			if !strings.Contains(refused.Message, tc.want) {
				t.Errorf("the reason is %q (%v), want one with %q", refused.Message, refused.Err, tc.want)
			}
		})
	}
}

func TestResizeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the worker drains")
	cancel(cause)
	if _, err := imaging.Resize(ctx, mediatest.JPEG(500, 500), []int{100}, imaging.Limits{}); !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

// Two runs must give the same bytes: a rendition's key is their hash.
func TestResizeIsDeterministic(t *testing.T) {
	t.Parallel()
	data := mediatest.JPEG(300, 200)
	one, err := imaging.Resize(t.Context(), data, []int{120}, imaging.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := imaging.Resize(t.Context(), data, []int{120}, imaging.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one[0].Data, two[0].Data) {
		t.Error("the same picture gave different renditions")
	}
}

func FuzzResize(f *testing.F) {
	for _, seed := range [][]byte{
		mediatest.PNG(8, 8), mediatest.TransparentPNG(8, 8), mediatest.OrientedJPEG(8, 8, 6), mediatest.GIF(8, 8), mediatest.WebP(8, 8),
		mediatest.Truncated(mediatest.JPEG(16, 16)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := imaging.Resize(t.Context(), data, []int{4, 3}, imaging.Limits{Pixels: 1 << 16, Bytes: 1 << 20, Memory: 16 << 20})
		if err != nil && app.CodeOf(err) != app.CodeInvalid {
			t.Errorf("got %v, want a refusal or none", err)
		}
		if (err == nil) != (len(got) > 0) || len(got) > 2 {
			t.Errorf("%d renditions and %v", len(got), err)
		}
		for _, r := range got {
			if r.Width < 1 || r.Width > 4 || r.Height < 1 {
				t.Errorf("a rendition of %d × %d", r.Width, r.Height)
			}
			decoded(t, r)
		}
	})
}
