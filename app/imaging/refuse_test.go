package imaging_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/imaging"
	"github.com/loadbearing/loadbearing/app/mediatest"
)

// zipped appends a ZIP archive to a file, as a self-extracting archive has it.
func zipped(t *testing.T, data []byte, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	out.Write(data)
	w := zip.NewWriter(&out)
	for _, name := range names {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write([]byte("content"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.SetComment("a comment"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len())); err != nil {
		t.Fatalf("the fixture is no ZIP archive: %v", err)
	}
	return out.Bytes()
}

// withSegments puts EXIF segments of the largest size into a JPEG.
func withSegments(data []byte, n int) []byte {
	const content = 1<<16 - 1 - 2
	segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, content+2)
	segment = append(segment, "Exif\x00\x00"...)
	segment = append(segment, make([]byte, content-6)...)
	return append(append(bytes.Clone(data[:2]), bytes.Repeat(segment, n)...), data[2:]...)
}

func TestAPictureThatIsSomethingElseTooIsRefused(t *testing.T) {
	t.Parallel()
	jpeg := mediatest.JPEG(20, 20)
	withPDF := append(bytes.Clone(jpeg[:2]), append([]byte{0xff, 0xfe, 0, 10}, append([]byte("%PDF-1.7"), jpeg[2:]...)...)...)
	for name, tc := range map[string]struct {
		data []byte
		want string // in the reason; "" when it is accepted
	}{
		"jpeg and zip":         {zipped(t, jpeg, "a.txt"), "a JPEG picture and a ZIP archive"},
		"png and zip":          {zipped(t, mediatest.PNG(20, 20), "a", "b"), "a PNG picture and a ZIP archive"},
		"zip, then rubbish":    {append(zipped(t, jpeg, "a.txt"), "rubbish"...), "ZIP archive"},
		"jpeg and pdf":         {withPDF, "a JPEG picture and a PDF document"},
		"some trailing bytes":  {append(bytes.Clone(jpeg), bytes.Repeat([]byte("MotionPhoto_Data"), 1000)...), ""},
		"signature of no zip":  {append(bytes.Clone(jpeg), "PK\x05\x06 and then what is no record at all"...), ""},
		"an end of nothing":    {append(append(bytes.Clone(jpeg), "PK\x05\x06"...), make([]byte, 18)...), ""},
		"signature at the end": {append(bytes.Clone(jpeg), "PK\x05\x06"...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := imaging.Resize(t.Context(), tc.data, []int{10}, imaging.Limits{})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v, want it accepted", err)
			case tc.want != "" && (app.CodeOf(err) != app.CodeInvalid || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want a refusal with %q", err, tc.want)
			}
		})
	}
}

// What a browser, a player or a program could make of an upload beside a
// picture does not reach a rendition, wherever in the file it stood.
func TestNothingOfAnUploadReachesARendition(t *testing.T) {
	t.Parallel()
	const script = "*/=1;alert(document.domain)/*<script>alert(1)</script>"
	comment := func(gif []byte) []byte {
		const at = 13 // behind the header; each frame has its own table of colors
		block := append([]byte{0x21, 0xfe, byte(len(script))}, script...)
		return slices.Concat(gif[:at], block, []byte{0}, gif[at:])
	}
	jpegComment := func(jpeg []byte) []byte {
		segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xfe}, uint16(2+len(script)))
		return slices.Concat(jpeg[:2], segment, []byte(script), jpeg[2:])
	}
	movie := append(mediatest.Movie{}.MP4(), script...)
	for name, data := range map[string][]byte{
		"JPEG and MP4":      append(mediatest.JPEG(40, 40), movie...),
		"JPEG and comment":  jpegComment(mediatest.JPEG(40, 40)),
		"PNG and HTML":      append(mediatest.PNG(40, 40), script...),
		"PNG and text":      mediatest.WithChunk(mediatest.PNG(40, 40), "tEXt", []byte("Comment\x00"+script)),
		"PNG and profile":   mediatest.WithChunk(mediatest.TransparentPNG(40, 40), "iCCP", []byte("x\x00\x00"+script)),
		"PNG and own chunk": mediatest.WithChunk(mediatest.PNG(40, 40), "scRp", []byte(script)),
		"GIF and script":    append(mediatest.GIF(40, 40), script...),
		"GIF and comment":   comment(mediatest.GIF(40, 40)),
		"WebP and HTML":     append(mediatest.WebP(40, 40), script...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, string(data), script)
			got, err := imaging.Resize(t.Context(), data, []int{40, 20}, imaging.Limits{})
			require.NoError(t, err)
			require.Len(t, got, 2)
			for _, r := range got {
				require.NotContains(t, string(r.Data), "alert")
				require.NotContains(t, string(r.Data), "ftyp")
				decoded(t, r)
			}
		})
	}
}

func TestMetadataIsBounded(t *testing.T) {
	t.Parallel()
	if _, err := imaging.Resize(t.Context(), withSegments(mediatest.JPEG(20, 20), 60), []int{10}, imaging.Limits{}); err != nil {
		t.Errorf("3.75 MiB: %v", err)
	}
	_, err := imaging.Resize(t.Context(), withSegments(mediatest.JPEG(20, 20), 400), []int{10}, imaging.Limits{})
	if app.CodeOf(err) != app.CodeInvalid || !strings.Contains(err.Error(), "25.0 MiB of metadata") {
		t.Errorf("25 MiB: %v", err)
	}
}

func TestAnimationsAreBounded(t *testing.T) {
	t.Parallel()
	// 600 frames of one color: 1,000 × 1,000 pixels each, about 3 kB in the file.
	frame := image.NewPaletted(image.Rect(0, 0, 1000, 1000), color.Palette{color.Black, color.White})
	animated := func(frames int) []byte {
		var one, out bytes.Buffer
		if err := gif.EncodeAll(&one, &gif.GIF{Image: []*image.Paletted{frame, frame}, Delay: []int{0, 0}}); err != nil {
			t.Fatal(err)
		}
		// From the second image descriptor's extension on, again and again.
		at := bytes.LastIndex(one.Bytes(), []byte{0x2c, 0, 0, 0, 0, 0xe8, 0x03, 0xe8, 0x03})
		second := one.Bytes()[at : one.Len()-1]
		out.Write(one.Bytes()[:at])
		out.Write(bytes.Repeat(second, frames-1))
		out.WriteByte(0x3b)
		return out.Bytes()
	}
	if _, err := imaging.Resize(t.Context(), animated(400), []int{10}, imaging.Limits{}); err != nil {
		t.Errorf("400 frames: %v", err)
	}
	bomb := animated(600)
	_, err := imaging.Resize(t.Context(), bomb, []int{10}, imaging.Limits{})
	if app.CodeOf(err) != app.CodeInvalid || !strings.Contains(err.Error(), "600.0 megapixels in 600 frames; at most 500.0") {
		t.Errorf("600 frames in %d bytes: %v", len(bomb), err)
	}
}
