// Package mediatest makes the pictures and videos that tests upload: small,
// generated in code, free of anybody's rights, and the same bytes every time.
// A fixture that cannot be made is a mistake in the test and panics.
package mediatest

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"slices"
)

// Picture returns an image of the given size in pixels whose top left quarter
// is red, top right green, bottom left blue and bottom right white, so that a
// test sees when it was turned or mirrored.
func Picture(width, height int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.SetRGBA(x, y, quarter(x < width/2, y < height/2))
		}
	}
	return img
}

func quarter(left, top bool) color.RGBA {
	switch {
	case left && top:
		return color.RGBA{R: 255, A: 255}
	case top:
		return color.RGBA{G: 255, A: 255}
	case left:
		return color.RGBA{B: 255, A: 255}
	}
	return color.RGBA{R: 255, G: 255, B: 255, A: 255}
}

// PNG returns Picture as an opaque PNG.
func PNG(width, height int) []byte { return encoded(png.Encode, Picture(width, height)) }

// TransparentPNG returns Picture as a PNG whose right half is transparent.
func TransparentPNG(width, height int) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := quarter(x < width/2, y < height/2)
			if x >= width/2 {
				c.A = 0
			}
			img.SetNRGBA(x, y, color.NRGBA(c))
		}
	}
	return encoded(png.Encode, img)
}

// JPEG returns Picture as a JPEG without metadata.
func JPEG(width, height int) []byte {
	return encoded(func(w io.Writer, img image.Image) error {
		return jpeg.Encode(w, img, &jpeg.Options{Quality: 90})
	}, Picture(width, height))
}

// OrientedJPEG returns Picture as a camera stores it: width × height pixels
// and an EXIF Orientation from 1 to 8, beside a camera's make that must not
// reach a rendition.
func OrientedJPEG(width, height, orientation int) []byte {
	return withEXIF(JPEG(width, height), orientation)
}

// CameraMake is the EXIF Make in an OrientedJPEG.
const CameraMake = "Loadbearing Camera"

// withEXIF inserts an APP1 segment behind a JPEG's start-of-image marker.
func withEXIF(data []byte, orientation int) []byte {
	make0 := append([]byte(CameraMake), 0)
	// A TIFF header and one image file directory with two entries, ASCII text behind it (TIFF 6.0).
	order := binary.BigEndian
	tiff := []byte("MM\x00\x2a\x00\x00\x00\x08")
	tiff = order.AppendUint16(tiff, 2)
	entry := func(tag, kind uint16, count, value uint32) {
		tiff = order.AppendUint16(tiff, tag)
		tiff = order.AppendUint16(tiff, kind)
		tiff = order.AppendUint32(tiff, count)
		tiff = order.AppendUint32(tiff, value)
	}
	entry(0x010f, 2, uint32(len(make0)), 8+2+2*12+4)
	entry(0x0112, 3, 1, uint32(orientation)<<16)
	tiff = order.AppendUint32(tiff, 0)
	tiff = append(tiff, make0...)

	segment := append([]byte("Exif\x00\x00"), tiff...)
	out := append([]byte{}, data[:2]...)
	out = append(out, 0xff, 0xe1)
	out = order.AppendUint16(out, uint16(len(segment)+2))
	out = append(out, segment...)
	return append(out, data[2:]...)
}

// GIF returns an animation of two frames: the first is Picture.
func GIF(width, height int) []byte {
	palette := color.Palette{
		color.RGBA{R: 255, A: 255},
		color.RGBA{G: 255, A: 255},
		color.RGBA{B: 255, A: 255},
		color.RGBA{R: 255, G: 255, B: 255, A: 255},
		color.RGBA{A: 255},
	}
	first := image.NewPaletted(image.Rect(0, 0, width, height), palette)
	second := image.NewPaletted(first.Rect, palette)
	for y := range height {
		for x := range width {
			first.Set(x, y, quarter(x < width/2, y < height/2))
			second.SetColorIndex(x, y, 4)
		}
	}
	return encoded(func(w io.Writer, _ image.Image) error {
		return gif.EncodeAll(w, &gif.GIF{Image: []*image.Paletted{first, second}, Delay: []int{10, 10}})
	}, first)
}

// WebP returns a lossless WebP of one color, red, up to 16,384 pixels a side.
func WebP(width, height int) []byte {
	// A VP8L stream (RFC 9649) in which each of the five prefix codes has one
	// symbol, and every pixel therefore takes no bits at all.
	var b bitsLSB
	b.put(0x2f, 8)
	b.put(uint32(width-1), 14)
	b.put(uint32(height-1), 14)
	b.put(0, 1)                                       // no alpha
	b.put(0, 3)                                       // version
	b.put(0, 1)                                       // no transform
	b.put(0, 1)                                       // no color cache
	b.put(0, 1)                                       // one group of prefix codes
	for _, symbol := range []uint32{0, 255, 0, 255} { // green, red, blue, alpha
		b.put(1, 1) // simple code
		b.put(0, 1) // of one symbol
		b.put(1, 1) // in eight bits
		b.put(symbol, 8)
	}
	b.put(1, 1)
	b.put(0, 1)
	b.put(0, 1) // distance: symbol 0, in one bit
	b.put(0, 1)
	stream := b.bytes()
	if len(stream)%2 == 1 {
		stream = append(stream, 0)
	}
	out := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+8+len(stream)))
	out = append(out, "WEBPVP8L"...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(stream)))
	return append(out, stream...)
}

// bitsLSB packs values with their least significant bit first.
type bitsLSB struct {
	buf  []byte
	free int // bits left in the last byte
}

func (b *bitsLSB) put(value uint32, count int) {
	for i := range count {
		if b.free == 0 {
			b.buf, b.free = append(b.buf, 0), 8
		}
		b.buf[len(b.buf)-1] |= byte(value>>i&1) << (8 - b.free)
		b.free--
	}
}

func (b *bitsLSB) bytes() []byte { return b.buf }

// Bomb returns a valid grayscale PNG of width × height black pixels in about
// a thousandth of the bytes it decodes to: 10,000 × 10,000 take 12 kB.
func Bomb(width, height int) []byte {
	header := binary.BigEndian.AppendUint32(nil, uint32(width))
	header = binary.BigEndian.AppendUint32(header, uint32(height))
	header = append(header, 1, 0, 0, 0, 0) // one bit per pixel, gray
	var data bytes.Buffer
	z, err := zlib.NewWriterLevel(&data, zlib.BestCompression)
	must(err)
	row := make([]byte, 1+(width+7)/8)
	for range height {
		_, err := z.Write(row)
		must(err)
	}
	must(z.Close())
	out := []byte("\x89PNG\r\n\x1a\n")
	out = appendChunk(out, "IHDR", header)
	out = appendChunk(out, "IDAT", data.Bytes())
	return appendChunk(out, "IEND", nil)
}

// Resized returns a PNG, JPEG or GIF whose header says another size and whose
// pixels are the same.
func Resized(data []byte, width, height int) []byte {
	out := slices.Clone(data)
	switch {
	case bytes.HasPrefix(out, []byte("GIF8")):
		binary.LittleEndian.PutUint16(out[6:], uint16(width))
		binary.LittleEndian.PutUint16(out[8:], uint16(height))
	case bytes.HasPrefix(out, []byte("\xff\xd8")):
		_, frame, _ := bytes.Cut(out, []byte{0xff, 0xc0}) // behind it a length and the bits per sample
		binary.BigEndian.PutUint16(frame[3:], uint16(height))
		binary.BigEndian.PutUint16(frame[5:], uint16(width))
	default:
		const header = 8 + 4 // the signature and the chunk's length
		binary.BigEndian.PutUint32(out[header+4:], uint32(width))
		binary.BigEndian.PutUint32(out[header+8:], uint32(height))
		binary.BigEndian.PutUint32(out[header+17:], crc32.ChecksumIEEE(out[header:header+17]))
	}
	return out
}

// WithChunk returns a PNG with a chunk more, behind its header.
func WithChunk(data []byte, kind string, content []byte) []byte {
	const header = 8 + 4 + 4 + 13 + 4 // the signature and IHDR
	return append(appendChunk(slices.Clone(data[:header]), kind, content), data[header:]...)
}

func appendChunk(out []byte, kind string, data []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	start := len(out)
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[start:]))
}

// Truncated returns the first half of data, as an upload that broke off.
func Truncated(data []byte) []byte { return data[:len(data)/2] }

func encoded(encode func(io.Writer, image.Image) error, img image.Image) []byte {
	var out bytes.Buffer
	must(encode(&out, img))
	return out.Bytes()
}

func must(err error) {
	if err != nil {
		panic("mediatest: " + err.Error())
	}
}
