package imaging

import (
	"bytes"
	"cmp"
	"context"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"slices"

	"golang.org/x/image/draw"
)

// jpegQuality is the quality renditions are encoded with, of 100.
const jpegQuality = 85

// Rendition is one encoded size of a picture.
type Rendition struct {
	Width, Height int    // pixels
	ContentType   string // image/jpeg, or image/png for a picture with transparent pixels
	Extension     string // jpg or png
	Data          []byte
}

// Resize makes renditions of a picture, the widest first. A width beyond the
// picture's gives the picture's own width, so fewer renditions than widths
// may come back, never two of one width. Heights keep the aspect ratio.
// Orientation is applied and metadata left behind.
//
// What is no picture, is damaged or over the limits is app.CodeInvalid with a
// reason for the user. When ctx is over first its cause is returned.
func Resize(ctx context.Context, data []byte, widths []int, limits Limits) ([]Rendition, error) {
	p, err := newPlan(data, widths, limits.withDefaults())
	if err != nil {
		return nil, err
	}
	return p.run(ctx)
}

// plan is a resize that was judged and not yet begun.
type plan struct {
	header header
	data   []byte
	widths []int // distinct, the widest first, none beyond the picture's
	memory int64 // bytes it will hold, estimated
}

func newPlan(data []byte, widths []int, limits Limits) (*plan, error) {
	h, err := inspect(data, limits)
	if err != nil {
		return nil, err
	}
	p := &plan{header: h, data: data}
	shown, _ := h.shown()
	for _, width := range widths {
		if width <= 0 {
			return nil, invalid("a rendition cannot be %d pixels wide; ask for 1 or more", width)
		}
		p.widths = append(p.widths, min(width, shown))
	}
	if len(p.widths) == 0 {
		p.widths = []int{shown}
	}
	slices.SortFunc(p.widths, func(a, b int) int { return cmp.Compare(b, a) })
	p.widths = slices.Compact(p.widths)
	p.memory = p.footprint()
	if p.memory > limits.Memory {
		return nil, invalid("resizing the picture would take %d MiB of memory; at most %d are allowed", p.memory>>20, limits.Memory>>20)
	}
	return p, nil
}

// footprint estimates the bytes a plan holds at its peak: the file, what the
// decoder makes of it, the widest rendition with the intermediates on the way
// to it, and what is encoded.
func (p *plan) footprint() int64 {
	const rgba = 4
	shownWidth, _ := p.header.shown()
	encoded := int64(1) // a byte per pixel, generous for this quality
	if p.header.mayBlend {
		encoded = rgba
	}
	total := int64(len(p.data)) + p.header.decoded
	for i, width := range p.widths {
		w, h := p.size(width)
		total += int64(w) * int64(h) * encoded
		if i > 0 {
			continue
		}
		base := int64(w) * int64(h) * rgba
		if w < shownWidth {
			// Scaled one way, then the other.
			sw, _ := p.stored(w, h)
			total += base + int64(sw)*int64(p.header.height)*rgba
		}
		if p.header.orientation > 1 {
			total += 2 * base
		}
	}
	return total
}

// size returns a rendition's size for its width, as shown.
func (p *plan) size(width int) (w, h int) {
	shownWidth, shownHeight := p.header.shown()
	return width, max(1, (shownHeight*width+shownWidth/2)/shownWidth)
}

// stored turns a size as shown into one as stored.
func (p *plan) stored(w, h int) (int, int) {
	if p.header.orientation >= 5 {
		return h, w
	}
	return w, h
}

func (p *plan) run(ctx context.Context) ([]Rendition, error) {
	img, err := decode(ctx, p.header, p.data)
	if err != nil {
		return nil, err
	}
	transparent := p.header.mayBlend && !opaque(img)
	var out []Rendition
	for i, width := range p.widths {
		w, h := p.size(width)
		if i == 0 {
			// From here on the decoded picture is garbage unless it is the rendition.
			img, err = p.base(ctx, img, w, h)
		} else {
			img, err = scale(ctx, img, w, h)
		}
		if err != nil {
			return nil, err
		}
		r, err := encode(ctx, img, transparent)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// base makes the widest rendition, of which the others are scaled.
func (p *plan) base(ctx context.Context, img image.Image, w, h int) (image.Image, error) {
	sw, sh := p.stored(w, h)
	same := sw == p.header.width && sh == p.header.height
	if same && p.header.orientation == 1 {
		return img, nil
	}
	var scaled *image.RGBA
	if same {
		scaled = image.NewRGBA(image.Rect(0, 0, sw, sh))
		draw.Draw(scaled, scaled.Rect, img, img.Bounds().Min, draw.Src)
	} else {
		var err error
		if scaled, err = scale(ctx, img, sw, sh); err != nil {
			return nil, err
		}
	}
	return orient(scaled, p.header.orientation), nil
}

func opaque(img image.Image) bool {
	o, ok := img.(interface{ Opaque() bool })
	return ok && o.Opaque()
}

func encode(ctx context.Context, img image.Image, transparent bool) (Rendition, error) {
	b := img.Bounds()
	r := Rendition{Width: b.Dx(), Height: b.Dy(), ContentType: "image/jpeg", Extension: "jpg"}
	var buf bytes.Buffer
	w := &contextWriter{ctx, &buf}
	var err error
	if transparent {
		r.ContentType, r.Extension = "image/png", "png"
		err = png.Encode(w, img)
	} else {
		err = jpeg.Encode(w, img, &jpeg.Options{Quality: jpegQuality})
	}
	r.Data = buf.Bytes()
	return r, err
}

// contextWriter fails once its context is over.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *contextWriter) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.w.Write(p)
}
