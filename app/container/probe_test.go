package container_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/container"
	"github.com/loadbearing/loadbearing/app/mediatest"
)

func probe(data []byte) (app.Probe, error) {
	return container.Probe(bytes.NewReader(data), int64(len(data)))
}

func TestProbe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		movie  mediatest.Movie
		width  int
		height int
		secs   float64
	}{
		"index first": {mediatest.Movie{}, 320, 180, 2},
		"index last":  {mediatest.Movie{MoovLast: true, Duration: 10 * time.Second, Width: 640, Height: 360}, 640, 360, 10},
		"upright":     {mediatest.Movie{Rotated: true, Width: 320, Height: 180}, 180, 320, 2},
		"padded":      {mediatest.Movie{Padding: 1 << 20}, 320, 180, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := tc.movie.MP4()
			got, err := probe(data)
			if err != nil {
				t.Fatal(err)
			}
			want := app.Probe{
				Container: "mp4", Seconds: tc.secs, Width: tc.width, Height: tc.height,
				Tracks:  []app.Track{{Kind: "video", Codec: mediatest.VideoCodec}, {Kind: "audio", Codec: mediatest.AudioCodec}},
				Bitrate: int64(float64(len(data)) * 8 / tc.secs),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestProbeQuickTime(t *testing.T) {
	t.Parallel()
	data := bytes.Replace(mediatest.Movie{}.MP4(), []byte("ftypisom"), []byte("ftypqt  "), 1)
	got, err := probe(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Container != "mov" || got.Seconds != 2 || len(got.Tracks) != 2 {
		t.Errorf("got %+v", got)
	}
}

// box returns a box around its content.
func box(kind string, content ...[]byte) []byte {
	body := bytes.Join(content, nil)
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(append(out, kind...), body...)
}

func TestProbeFragmented(t *testing.T) {
	t.Parallel()
	data := mediatest.Movie{}.MP4()
	// A fragmented movie's header has no duration; the segment index has.
	at := bytes.Index(data, []byte("mvhd"))
	copy(data[at+4+16:], []byte{0, 0, 0, 0})
	end := bytes.Index(data, []byte("mdat")) - 4
	reference := []byte{0, 0, 0, 100, 0, 0, 0x0b, 0xb8, 0x90, 0, 0, 0}
	sidx := box("sidx", []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x03, 0xe8}, make([]byte, 8), []byte{0, 0, 0, 2}, reference, reference)
	data = bytes.Join([][]byte{data[:end], sidx, box("moof"), box("mdat", make([]byte, 100))}, nil)
	got, err := probe(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Seconds != 6 {
		t.Errorf("got %v s, want the 6 s of the segment index", got.Seconds)
	}
}

// soundHandler makes a track one of sound.
var soundHandler = box("hdlr", make([]byte, 8), []byte("soun"), make([]byte, 13))

func TestProbeRefuses(t *testing.T) {
	t.Parallel()
	movie := mediatest.Movie{}.MP4()
	mdat := bytes.Index(movie, []byte("mdat")) - 4
	patched := func(kind string, at int, with ...byte) []byte {
		out := bytes.Clone(movie)
		copy(out[bytes.Index(out, []byte(kind))+at:], with)
		return out
	}
	nested := box("moov")
	for range 50 {
		nested = box("mdia", nested)
	}
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":           {nil, "empty"},
		"five bytes":        {[]byte("hello"), "only 5 bytes"},
		"text":              {[]byte(strings.Repeat("this is text and no video ", 100)), "does not begin as"},
		"picture":           {mediatest.PNG(100, 100), "does not begin as"},
		"truncated media":   {movie[:len(movie)-1000], "truncated"},
		"truncated index":   {movie[:mdat-100], "truncated"},
		"no index":          {append(bytes.Clone(movie[:binary.BigEndian.Uint32(movie)]), movie[mdat:]...), "no index"},
		"huge box":          {patched("mdat", -4, 0xff, 0xff, 0xff, 0xff), "truncated"},
		"box of four bytes": {patched("mvhd", -4, 0, 0, 0, 4), "fewer than its header"},
		"box over parent":   {patched("mvhd", -4, 0x7f, 0, 0, 0), "larger than the box around it"},
		"64-bit of nothing": {append([]byte{0, 0, 0, 1, 'f', 'r', 'e', 'e'}, make([]byte, 8)...), "invalid size"},
		"64-bit of itself":  {append([]byte{0, 0, 0, 1, 'f', 'r', 'e', 'e', 0, 0, 0, 0, 0, 0, 0, 15}, 0, 0), "fewer than its header"},
		"64-bit negative":   {append([]byte{0, 0, 0, 1, 'f', 'r', 'e', 'e', 0x80}, make([]byte, 7)...), "truncated"},
		"index to the end":  {[]byte("\x00\x00\x00\x00moov"), "no tracks"},
		"many references":   {append(box("free"), box("sidx", make([]byte, 22), []byte{0xff, 0xff})...), "cannot be read"},
		"endless number":    {box("moov", box("trak", box("mdia", soundHandler, box("minf", box("stbl", box("stsd", make([]byte, 8), box("mp4a", make([]byte, 28), box("esds", make([]byte, 4), []byte{3}, bytes.Repeat([]byte{0xff}, 100))))))))), "cannot be read"},
		"64-bit overflow":   {append([]byte{0, 0, 0, 1, 'f', 'r', 'e', 'e'}, bytes.Repeat([]byte{0xff}, 8)...), "truncated"},
		"nested":            {box("moov", box("trak", nested)), "nested deeper"},
		"many boxes":        {bytes.Repeat(box("free"), 20_000), "more than 10000 boxes"},
		"many tracks":       {box("moov", bytes.Repeat(box("trak"), 100)), "more than 64 tracks"},
		"no tracks":         {box("moov"), "no tracks"},
		"neither":           {box("moov", box("trak")), "neither a video nor an audio"},
		"two indexes":       {append(bytes.Clone(movie), box("moov")...), "more than one index"},
		"huge description":  {box("moov", box("mvhd", make([]byte, 2<<20))), "larger than expected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := probe(tc.data)
			var refused *app.Error
			if !errors.As(err, &refused) || refused.Code != app.CodeInvalid {
				t.Fatalf("got %+v and %v, want app.CodeInvalid", got, err)
			}
			if !strings.Contains(refused.Message, tc.want) {
				t.Errorf("the reason is %q, want one with %q", refused.Message, tc.want)
			}
		})
	}
}

// store serves one object by range and counts the bytes that were read.
type store struct {
	data   []byte
	served int64
	err    error
	cut    bool // bodies end one byte early
}

func (s *store) Put(context.Context, string, string, io.Reader) (int64, error) { panic("not used") }
func (s *store) Delete(context.Context, string) error                          { panic("not used") }

func (s *store) Get(_ context.Context, _, rng string) (app.Object, error) {
	if s.err != nil {
		return app.Object{}, s.err
	}
	var from, to int64
	if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); err != nil {
		return app.Object{}, err
	}
	part := s.data[from : to+1]
	s.served += int64(len(part))
	if s.cut {
		part = part[:len(part)-1]
	}
	return app.Object{ReadCloser: io.NopCloser(bytes.NewReader(part)), Bytes: int64(len(part))}, nil
}

func TestProbeReadsLittleOfAnObject(t *testing.T) {
	t.Parallel()
	for name, movie := range map[string]mediatest.Movie{
		"index first": {Padding: 64 << 20},
		"index last":  {Padding: 64 << 20, MoovLast: true, Width: 1280, Height: 720},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &store{data: movie.MP4()}
			r := container.NewReader(t.Context(), s, "video", int64(len(s.data)))
			got, err := container.Probe(r, int64(len(s.data)))
			if err != nil {
				t.Fatal(err)
			}
			if got.Seconds != 2 {
				t.Errorf("got %v s, want 2", got.Seconds)
			}
			if r.Fetches() > 4 || s.served > 256<<10 {
				t.Errorf("%d requests and %d bytes for a file of %d", r.Fetches(), s.served, len(s.data))
			}
		})
	}
}

func TestProbePassesOnErrorsOfTheStore(t *testing.T) {
	t.Parallel()
	data := mediatest.Movie{}.MP4()
	down := app.Errorf(app.CodeUnavailable, "the object store does not answer")
	for name, s := range map[string]*store{
		"refuses":    {data: data, err: down},
		"breaks off": {data: data, cut: true},
	} {
		_, err := container.Probe(container.NewReader(t.Context(), s, "video", int64(len(data))), int64(len(data)))
		if app.CodeOf(err) != app.CodeUnavailable {
			t.Errorf("%s: got %v, want app.CodeUnavailable: the file is not to blame", name, err)
		}
	}
}

func TestProbeOfAScatteredObjectEnds(t *testing.T) {
	t.Parallel()
	var data []byte
	for range 300 {
		data = append(data, box("free", make([]byte, 70<<10))...)
	}
	s := &store{data: data}
	_, err := container.Probe(container.NewReader(t.Context(), s, "video", int64(len(data))), int64(len(data)))
	if app.CodeOf(err) != app.CodeInvalid || !strings.Contains(err.Error(), "scattered") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestReaderSeeks(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), 20_000)
	s := &store{data: data}
	r := container.NewReader(t.Context(), s, "object", int64(len(data)))
	for _, step := range []struct {
		offset int64
		whence int
		at     int64
	}{{150_005, io.SeekStart, 150_005}, {-10, io.SeekEnd, int64(len(data)) - 10}, {-5, io.SeekCurrent, int64(len(data)) - 10}, {0, io.SeekStart, 0}} {
		at, err := r.Seek(step.offset, step.whence)
		if err != nil || at != step.at {
			t.Fatalf("seek %d, %d: at %d (%v), want %d", step.offset, step.whence, at, err, step.at)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, data[at:at+5]) {
			t.Errorf("at %d: got %q (%v), want %q", at, got, err, data[at:at+5])
		}
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("seeking in front of the start is no error")
	}
	if _, err := r.Seek(1, io.SeekEnd); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("reading behind the end: %v, want io.EOF", err)
	}
}

// sparse serves an object of data with hole zeros in it, and counts what is
// read of it.
type sparse struct {
	*store
	at     int // where the hole begins
	hole   int64
	served int64
}

func (s *sparse) size() int64 { return int64(len(s.data)) + s.hole }

func (s *sparse) Get(_ context.Context, _, rng string) (app.Object, error) {
	var from, to int64
	if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); err != nil {
		return app.Object{}, err
	}
	if from > to || to >= s.size() {
		return app.Object{}, fmt.Errorf("%s of %d bytes", rng, s.size())
	}
	part := make([]byte, to+1-from)
	s.served += int64(len(part))
	for i := range part {
		switch at := from + int64(i); {
		case at < int64(s.at):
			part[i] = s.data[at]
		case at >= int64(s.at)+s.hole:
			part[i] = s.data[at-s.hole]
		}
	}
	return app.Object{ReadCloser: io.NopCloser(bytes.NewReader(part)), Bytes: int64(len(part))}, nil
}

// Whatever a file says of itself, what is read and held of it is bounded, and
// what it is said to be makes sense. The file has a hole of zeros somewhere, of
// up to terabytes, as box sizes may say.
func FuzzProbe(f *testing.F) {
	for _, seed := range [][]byte{
		mediatest.Movie{Width: 16, Height: 16}.MP4(),
		mediatest.Movie{Width: 16, Height: 16, MoovLast: true, Rotated: true}.MP4(),
		box("moov", box("mvex", box("mehd", make([]byte, 8))), box("trak", box("mdia"))),
		box("sidx", make([]byte, 40)),
		[]byte("text"),
		append(header("webm"), ebml(0x18538067, info(float(2500)), tracks, media)...),
		append(header("matroska"), open(0x18538067, tracks, open(0x1F43B675, ebml(0xE7, number(1)), ebml(0xA3, frame(9, nil))))...),
		append(header("webm"), ebml(0x18538067, info(float(1e300)), tracks, media)...),
		[]byte("\x00\x00\x00\x00moov\x00\x00\x00\x01mvhd\x00\x00\x00\x01\x00\x00\x00\x00"),
	} {
		f.Add(seed, uint64(0), uint64(0))
		f.Add(seed, uint64(5<<30), uint64(len(seed)/2))
		f.Add(seed, uint64(5<<30), uint64(len(seed)))
	}
	f.Fuzz(func(t *testing.T, data []byte, hole, at uint64) {
		s := &sparse{store: &store{data: data}, at: int(at % uint64(len(data)+1)), hole: int64(hole % (1 << 42))}
		r := container.NewReader(t.Context(), s, "video", s.size())
		var got app.Probe
		var err error
		allocated := mediatest.Allocated(func() { got, err = container.Probe(r, s.size()) })
		// One mebibyte is read whole at most, at a time.
		if r.Fetches() > 256 || s.served > 256*64<<10 || allocated > 4*s.served+16<<20 {
			t.Errorf("%d requests, %d bytes read and %d allocated for a file of %d", r.Fetches(), s.served, allocated, s.size())
		}
		if err != nil {
			if app.CodeOf(err) != app.CodeInvalid {
				t.Errorf("got %v, want a refusal or none", err)
			}
			return
		}
		checkSane(t, got)
	})
}

// checkSane tells what no finding may be.
func checkSane(t *testing.T, p app.Probe) {
	t.Helper()
	const year = 366 * 24 * 3600
	if !(p.Seconds >= 0 && p.Seconds <= year) || p.Bitrate < 0 || p.Width < 0 || p.Height < 0 || p.Width > math.MaxUint16 || p.Height > math.MaxUint16 {
		t.Errorf("got %+v", p)
	}
	if len(p.Tracks) == 0 || len(p.Tracks) > 64 {
		t.Errorf("got %d tracks", len(p.Tracks))
	}
	for _, track := range p.Tracks {
		if len(track.Codec) > 64 || strings.ContainsFunc(track.Codec, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("the codec is %q", track.Codec)
		}
	}
	// Only PostgreSQL's JSON is left on its way to the user.
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}
