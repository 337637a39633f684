// Package imaging makes smaller renditions of uploaded pictures. It decides by
// what a picture's header announces, before any pixel is decoded, whether the
// picture is worth its memory; it decodes once and scales strip by strip.
package imaging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"

	"github.com/loadbearing/loadbearing/app"
)

// Limits bound what one picture may cost. The zero value of a field is its
// default.
type Limits struct {
	Bytes  int64 // of the file; default 32 MiB
	Pixels int64 // width × height; default 50 million
	Memory int64 // estimated bytes held while it is resized; default 512 MiB

	Metadata  int64 // bytes of EXIF and the like in a JPEG, where cameras put previews too; default 4 MiB
	Animation int64 // pixels of all frames of a GIF; default 500 million
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 32 << 20
	}
	if l.Pixels <= 0 {
		l.Pixels = 50_000_000
	}
	if l.Memory <= 0 {
		l.Memory = 512 << 20
	}
	if l.Metadata <= 0 {
		l.Metadata = 4 << 20
	}
	if l.Animation <= 0 {
		l.Animation = 500_000_000
	}
	return l
}

// maxSide is the largest width or height of a rendition: the JPEG format
// counts both in 16 bits.
const maxSide = 1<<16 - 1

// Formats a picture may come in, by the content type its bytes show.
type format struct {
	name   string
	media  string // content type
	decode func(io.Reader) (image.Image, error)
	config func(io.Reader) (image.Config, error)
}

func sniff(data []byte) (format, bool) {
	switch http.DetectContentType(data) {
	case "image/png":
		return format{"PNG", "image/png", png.Decode, png.DecodeConfig}, true
	case "image/jpeg":
		return format{"JPEG", "image/jpeg", jpeg.Decode, jpeg.DecodeConfig}, true
	case "image/gif":
		return format{"GIF", "image/gif", gif.Decode, gif.DecodeConfig}, true
	case "image/webp":
		return format{"WebP", "image/webp", webp.Decode, webp.DecodeConfig}, true
	}
	return format{}, false
}

// header is what a picture says about itself before it is decoded.
type header struct {
	format      format
	width       int // pixels as stored
	height      int
	orientation int   // EXIF, 1 to 8
	decoded     int64 // bytes the decoder will hold, estimated
	mayBlend    bool  // may hold transparent pixels
}

// shown returns the size after the orientation was applied.
func (h header) shown() (width, height int) {
	if h.orientation >= 5 {
		return h.height, h.width
	}
	return h.width, h.height
}

// inspect reads a picture's header and refuses, as app.CodeInvalid, what is no
// picture or one over the limits.
func inspect(data []byte, limits Limits) (header, error) {
	if len(data) == 0 {
		return header{}, invalid("the file is empty")
	}
	if int64(len(data)) > limits.Bytes {
		return header{}, tooManyBytes(limits)
	}
	f, ok := sniff(data)
	if !ok {
		return header{}, invalid("the file is not a PNG, JPEG, GIF or WebP picture")
	}
	config, err := f.config(bytes.NewReader(data))
	if err != nil {
		return header{}, undecodable(f, err)
	}
	if config.Width <= 0 || config.Height <= 0 {
		return header{}, invalid("the picture has no pixels")
	}
	if config.Width > maxSide || config.Height > maxSide {
		return header{}, invalid("the picture is %d × %d pixels; a side may have at most %d", config.Width, config.Height, maxSide)
	}
	if pixels := int64(config.Width) * int64(config.Height); pixels > limits.Pixels {
		return header{}, invalid("the picture has %.1f megapixels; at most %.1f are accepted", float64(pixels)/1e6, float64(limits.Pixels)/1e6)
	}
	if err := refuse(f, data, limits); err != nil {
		return header{}, err
	}
	h := header{format: f, width: config.Width, height: config.Height, orientation: 1}
	h.decoded, h.mayBlend = footprint(f, config, data)
	if f.name == "JPEG" {
		h.orientation = orientation(data)
	}
	return h, nil
}

// footprint estimates the bytes a decoder holds for a picture and tells
// whether the picture may have transparent pixels.
func footprint(f format, config image.Config, data []byte) (bytes int64, mayBlend bool) {
	pixels := int64(padded(config.Width)) * int64(padded(config.Height))
	switch f.name {
	case "JPEG":
		return pixels * jpegBytes(config.ColorModel, progressive(data)), false
	case "PNG":
		return pixels * pngBytes(config.ColorModel, data), true
	case "GIF":
		return pixels * 5, true // the indices and the canvas they are drawn on
	}
	return pixels*8 + webpTables, true // planes or ARGB, and a transform's copy
}

// webpTables are the bytes of the 2,600 groups of prefix codes that the decoder
// of lossless WebP takes at most, whatever the picture's size.
const webpTables = 8 << 20

// padded returns a side as decoders hold it: in whole blocks, the largest of
// which are the 32 pixels a side of a JPEG's sampled four to one.
func padded(side int) int { return (side + 31) &^ 31 }

// jpegBytes returns the bytes of a pixel: a plane for each component, the
// conversion to RGB or CMYK, and of a progressive file every component's
// coefficients at once, as int32.
func jpegBytes(model color.Model, progressive bool) int64 {
	planes, converted := int64(3), int64(0)
	switch model {
	case color.CMYKModel:
		planes, converted = 4, 4
	case color.RGBAModel:
		converted = 4
	}
	if progressive {
		return planes + 4*planes + converted
	}
	return planes + converted
}

// pngBytes returns the bytes of a pixel. Gray with one transparent value
// becomes color.
func pngBytes(model color.Model, data []byte) int64 {
	each := int64(4)
	switch model {
	case color.RGBA64Model, color.NRGBA64Model:
		each = 8
	case color.GrayModel:
		each = 1
	case color.Gray16Model:
		each = 2
	}
	if each <= 2 && bytes.Contains(data, []byte("tRNS")) {
		each *= 4
	}
	if len(data) > pngInterlace && data[pngInterlace] == 1 {
		each *= 2 // the passes are decoded beside the whole
	}
	return each
}

// pngInterlace is the offset of the interlace method: an 8-byte signature, the
// length and name of IHDR, and twelve bytes of it.
const pngInterlace = 8 + 8 + 12

// decode returns the picture, a GIF's first frame on its canvas. The decoders
// know no context: reading from one that is over fails instead.
func decode(ctx context.Context, h header, data []byte) (image.Image, error) {
	r := &contextReader{ctx: ctx, r: bytes.NewReader(data)}
	img, err := h.format.decode(r)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && r.ended:
		// Some decoders name what they missed instead of the end they ran into.
		return nil, undecodable(h.format, errors.Join(io.ErrUnexpectedEOF, err))
	case err != nil:
		return nil, undecodable(h.format, err)
	}
	canvas := image.Rect(0, 0, h.width, h.height)
	if img.Bounds() == canvas {
		return img, nil
	}
	if h.format.name != "GIF" {
		return nil, invalid("the picture's header says %d × %d pixels and its content %d × %d",
			h.width, h.height, img.Bounds().Dx(), img.Bounds().Dy())
	}
	whole := image.NewRGBA(canvas)
	draw.Draw(whole, img.Bounds(), img, img.Bounds().Min, draw.Src)
	return whole, nil
}

// undecodable says in the user's words why a picture cannot be read.
func undecodable(f format, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &app.Error{Code: app.CodeInvalid, Message: "the " + f.name + " file is truncated", Err: err}
	}
	return &app.Error{Code: app.CodeInvalid, Message: fmt.Sprintf("the %s file is damaged or of an unsupported kind", f.name), Err: err}
}

func tooManyBytes(limits Limits) error {
	return invalid("the file has more than %d bytes, the most that is accepted", limits.Bytes)
}

func invalid(format string, args ...any) error {
	return app.Errorf(app.CodeInvalid, format, args...)
}

// contextReader fails once its context is over.
type contextReader struct {
	ctx   context.Context
	r     io.Reader
	ended bool // more was asked for than there is
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(p)
	c.ended = c.ended || errors.Is(err, io.EOF)
	return n, err
}
