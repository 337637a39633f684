package imaging

import (
	"context"
	"image"

	"golang.org/x/image/draw"
)

// strip is the number of rows or columns scaled at a time. The scaler's
// intermediate takes 32 bytes a pixel: 8 MB for a strip of a picture 4,096
// pixels wide, where scaling a 40-megapixel picture at once would take 700 MB.
const strip = 64

// scale returns src at the given size, resampled with a Catmull-Rom kernel.
// Rows and columns are scaled one after the other, in strips: across a strip
// the kernel is the identity, so the strips fit without a seam.
func scale(ctx context.Context, src image.Image, width, height int) (*image.RGBA, error) {
	b := src.Bounds()
	rows := image.NewRGBA(image.Rect(0, 0, width, b.Dy()))
	wide := draw.CatmullRom.NewScaler(width, strip, b.Dx(), strip)
	for y := 0; y < b.Dy(); y += strip {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		end := min(y+strip, b.Dy())
		wide.Scale(rows, image.Rect(0, y, width, end), src, image.Rect(b.Min.X, b.Min.Y+y, b.Max.X, b.Min.Y+end), draw.Src, nil)
	}
	if height == b.Dy() {
		return rows, nil
	}
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	high := draw.CatmullRom.NewScaler(strip, height, strip, b.Dy())
	for x := 0; x < width; x += strip {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		end := min(x+strip, width)
		high.Scale(out, image.Rect(x, 0, end, height), rows, image.Rect(x, 0, end, b.Dy()), draw.Src, nil)
	}
	return out, nil
}

// orient returns the picture turned and mirrored as its EXIF Orientation asks
// (Exif 2.3, 4.6.4 A): the value says where the stored first row and column
// belong.
func orient(src *image.RGBA, orientation int) *image.RGBA {
	w, h := src.Rect.Dx(), src.Rect.Dy()
	if orientation < 2 || orientation > 8 {
		return src
	}
	size := image.Rect(0, 0, w, h)
	if orientation >= 5 {
		size = image.Rect(0, 0, h, w)
	}
	out := image.NewRGBA(size)
	for y := range h {
		for x := range w {
			var tx, ty int
			switch orientation {
			case 2:
				tx, ty = w-1-x, y
			case 3:
				tx, ty = w-1-x, h-1-y
			case 4:
				tx, ty = x, h-1-y
			case 5:
				tx, ty = y, x
			case 6:
				tx, ty = h-1-y, x
			case 7:
				tx, ty = h-1-y, w-1-x
			case 8:
				tx, ty = y, w-1-x
			}
			from, to := src.PixOffset(x, y), out.PixOffset(tx, ty)
			copy(out.Pix[to:to+4:to+4], src.Pix[from:from+4:from+4])
		}
	}
	return out
}
