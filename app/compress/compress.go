package compress

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/andybalholm/brotli/matchfinder"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Defaults of Options.
const (
	// Threshold: a JSON object of 800 bytes becomes 470, but both leave in one
	// TCP segment (1,460 bytes) with the 600 bytes of this service's header. From
	// about a kilobyte on there are segments to save.
	Threshold = 1 << 10
	// MaxEncoders hold 0.8 MiB (zstd) to 1.5 MiB (Brotli) each, as
	// BenchmarkEncoders prints. Idle ones are the garbage collector's.
	MaxEncoders = 64
)

const (
	piece = 32 << 10 // given to an encoder at once; what it compresses at once are 32 to 128 KiB, 0.1 to 0.5 ms
	small = 16 << 10 // bodies up to this size wait for nobody

	// The scheduler lets a goroutine run for 10 ms before others have their turn,
	// and one that only yields is back before the network is polled. So a turn
	// rests after each half millisecond. Turns alone do not do: while one
	// processor compresses, the handler of the next list has the other. Beside
	// four lists of a megabyte at once, on two processors, the p99 of small
	// requests to the whole service is 1.0 to 1.2 times what it is beside the same
	// lists uncompressed, without the rest 1.3 to 1.7 times. If there is but the
	// compression, on one processor, it is 1.0 to 1.5 and 20 times; on two it is
	// 15 times if it takes no turns (SmallBesideLarge of test/drills/compression).
	// Linux makes a millisecond of the rest, so a list takes some 8 ms longer, and
	// each turn compresses 50 to 100 a second.
	work = 500 * time.Microsecond
	rest = 250 * time.Microsecond
)

// Options of a Compressor; the zero value has the defaults.
type Options struct {
	Threshold   int // bytes; a shorter body is sent as it is; default Threshold
	MaxEncoders int // in use at a time; default MaxEncoders

	processors int // default GOMAXPROCS
}

// Compressor compresses what handlers answer. It is safe for concurrent use.
type Compressor struct {
	threshold int
	slots     chan struct{}      // one for each encoder in use
	turns     chan time.Duration // to compress a piece of a large body; each has worked so long since it rested
	pools     map[kind]*sync.Pool
}

// New returns a Compressor.
func New(o Options) *Compressor {
	if o.Threshold == 0 {
		o.Threshold = Threshold
	}
	if o.MaxEncoders == 0 {
		o.MaxEncoders = MaxEncoders
	}
	if o.processors == 0 {
		o.processors = runtime.GOMAXPROCS(0)
	}
	c := &Compressor{
		threshold: o.Threshold,
		slots:     make(chan struct{}, o.MaxEncoders),
		turns:     make(chan time.Duration, max(1, o.processors-1)),
		pools:     map[kind]*sync.Pool{},
	}
	for range cap(c.turns) {
		c.turns <- 0
	}
	for _, k := range []kind{zstdFast, brotliFast, brotliFlushing, gzipFast} {
		c.pools[k] = &sync.Pool{New: func() any { return &encoder{stream: k.open()} }}
	}
	return c
}

// Handler wraps a handler all of whose answers may be compressed.
func (c *Compressor) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = c.Serve(w, req, func(w http.ResponseWriter, req *http.Request) error {
			next.ServeHTTP(w, req)
			return nil
		})
	})
}

// Serve answers one request with what handle writes. If handle fails or panics,
// what is held back is dropped: as long as no header has been sent, the caller
// can write another answer to w. If an answer that has begun cannot be ended,
// Serve panics with http.ErrAbortHandler: a body cut short must not look whole.
func (c *Compressor) Serve(w http.ResponseWriter, req *http.Request, handle func(http.ResponseWriter, *http.Request) error) error {
	cw := &writer{ResponseWriter: w, compressor: c, head: req.Method == http.MethodHead, noneMatch: req.Header["If-None-Match"]}
	cw.encoding, cw.plain = Negotiate(req.Header["Accept-Encoding"], Zstd, Brotli, Gzip)
	defer cw.abandon()
	if err := handle(cw, withoutSuffixes(req, cw.encoding)); err != nil {
		return err
	}
	if err := cw.finish(); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// withoutSuffixes returns the request with the tags that handlers know.
func withoutSuffixes(req *http.Request, encoding Encoding) *http.Request {
	match := stripped(req.Header["If-Match"], Zstd, Brotli, Gzip)
	noneMatch := stripped(req.Header["If-None-Match"], encoding)
	if match == nil && noneMatch == nil {
		return req
	}
	out := *req
	out.Header = maps.Clone(req.Header)
	if match != nil {
		out.Header["If-Match"] = match
	}
	if noneMatch != nil {
		out.Header["If-None-Match"] = noneMatch
	}
	return &out
}

// stripped returns the values without the suffixes of some encodings, nil if
// there are none. A quote ends a tag and is in none, so a suffix with its quote
// is a suffix of a tag.
func stripped(values []string, of ...Encoding) []string {
	var out []string
	for i, value := range values {
		for _, e := range of {
			if value = strings.ReplaceAll(value, suffix(e), `"`); value != values[i] && out == nil {
				out = slices.Clone(values)
			}
		}
		if out != nil {
			out[i] = value
		}
	}
	return out
}

// suffix is how the tag of an encoded answer ends.
func suffix(e Encoding) string { return "-" + string(e) + `"` }

// kind is an encoding at a level. BenchmarkEncoders compares the candidates: of
// a list of 1 MiB, zstd at its fastest leaves 14.0 % for 3.1 ms of CPU, Brotli
// with the fastest match finder 13.5 % for 3.5 ms, gzip at 5 13.3 % for 3.9 ms.
// What comes next costs half as much again for one point: zstd "better" 12.4 %
// and 5.6 ms with six times the memory, Brotli with ZM 12.2 % and 6.0 ms, gzip
// at 7 12.6 % and 8.1 ms.
type kind int

const (
	zstdFast kind = iota
	gzipFast
	brotliFast
	brotliFlushing // for bodies of unknown length: brotliFast cannot flush
)

func kindOf(e Encoding, lengthKnown bool) kind {
	switch {
	case e == Zstd:
		return zstdFast
	case e == Gzip:
		return gzipFast
	case lengthKnown:
		return brotliFast
	}
	return brotliFlushing
}

// window is how far back matches are looked for: as far as memory should go for
// a body of a megabyte. RFC 9659 lets zstd have 8 MiB.
const window = 256 << 10

// stream is what the libraries' writers have in common.
type stream interface {
	io.WriteCloser
	Reset(io.Writer)
}

func (k kind) open() stream {
	switch k {
	case zstdFast:
		// One goroutine, and options that are constants: there is no error.
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(fmt.Errorf("make a zstd encoder: %w", err))
		}
		return w
	case gzipFast:
		w, err := gzip.NewWriterLevel(nil, 5)
		if err != nil {
			panic(fmt.Errorf("make a gzip encoder: %w", err))
		}
		return w
	case brotliFast:
		return &matchfinder.Writer{MatchFinder: &matchfinder.ZFast{MaxDistance: window}, Encoder: &brotli.Encoder{}, BlockSize: 64 << 10}
	case brotliFlushing:
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: 3, LGWin: 18})
	}
	panic(fmt.Sprintf("no encoder of kind %d", k))
}

// encoder is a stream and what has come out of it.
type encoder struct {
	stream
	out bytes.Buffer
}

// acquire returns an encoder, or nil if MaxEncoders are in use.
func (c *Compressor) acquire(k kind) *encoder {
	select {
	case c.slots <- struct{}{}:
	default:
		return nil
	}
	e := c.pools[k].Get().(*encoder)
	e.Reset(&e.out) // it is empty: what came out before was sent
	return e
}

// release takes an encoder back. Only one whose stream was closed is used
// again; idle ones are the garbage collector's.
func (c *Compressor) release(k kind, e *encoder, closed bool) {
	if closed {
		c.pools[k].Put(e)
	}
	<-c.slots
}

// run calls f, which compresses a piece. Large bodies take turns, and a turn
// that has worked for long enough rests before it is given back.
func (c *Compressor) run(large bool, f func() error) error {
	if !large {
		return f()
	}
	worked := <-c.turns
	begin := time.Now()
	defer func() {
		if worked += time.Since(begin); worked >= work {
			time.Sleep(rest)
			worked = 0
		}
		c.turns <- worked
	}()
	return f()
}
