package imaging_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/loadbearing/loadbearing/app/imaging"
)

// BenchmarkResize40Megapixels resizes what a good camera takes to three
// widths and reports megapixels per second and the largest heap seen, in
// bytes, sampled every millisecond.
func BenchmarkResize40Megapixels(b *testing.B) {
	const width, height = 7744, 5164
	img := image.NewYCbCr(image.Rect(0, 0, width, height), image.YCbCrSubsampleRatio420)
	for i := range img.Y {
		img.Y[i] = uint8(i*7 + i/width*3)
	}
	for i := range img.Cb {
		c := color.YCbCr{Cb: uint8(i / 64), Cr: uint8(i / 256)}
		img.Cb[i], img.Cr[i] = c.Cb, c.Cr
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, img, &jpeg.Options{Quality: 85}); err != nil {
		b.Fatal(err)
	}
	runtime.GC()

	var peak uint64
	stop := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				metrics.Read(sample)
				peak = max(peak, sample[0].Value.Uint64())
			}
		}
	})
	for b.Loop() {
		if _, err := imaging.Resize(b.Context(), file.Bytes(), []int{320, 1280, 2560}, imaging.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
	close(stop)
	sampling.Wait()
	b.ReportMetric(float64(width*height)*float64(b.N)/1e6/b.Elapsed().Seconds(), "megapixels/s")
	b.ReportMetric(float64(peak), "peak-heap-bytes")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
}
