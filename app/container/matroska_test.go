package container_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loadbearing/loadbearing/app"
	"github.com/loadbearing/loadbearing/app/container"
)

// ebml returns an element around its content. Its size takes eight bytes, as
// many writers have it.
func ebml(id uint32, content ...[]byte) []byte {
	body := bytes.Join(content, nil)
	return append(binary.BigEndian.AppendUint64(ebmlID(id), 1<<56|uint64(len(body))), body...)
}

// open returns an element that does not say its size.
func open(id uint32, content ...[]byte) []byte {
	return append(append(ebmlID(id), 0xff), bytes.Join(content, nil)...)
}

func ebmlID(id uint32) []byte {
	out := binary.BigEndian.AppendUint32(nil, id)
	return bytes.TrimLeft(out, "\x00")
}

func number(n uint64) []byte    { return binary.BigEndian.AppendUint64(nil, n) }
func float(f float64) []byte    { return number(math.Float64bits(f)) }
func small(f float32) []byte    { return binary.BigEndian.AppendUint32(nil, math.Float32bits(f)) }
func header(kind string) []byte { return ebml(0x1A45DFA3, ebml(0x4282, []byte(kind))) }

func info(duration []byte) []byte {
	return ebml(0x1549A966, ebml(0x2AD7B1, number(1_000_000)), ebml(0x4489, duration))
}

func videoTrack(codec string, private []byte, width, height uint64) []byte {
	return ebml(0xAE, ebml(0x83, []byte{1}), ebml(0x86, []byte(codec)), ebml(0x63A2, private),
		ebml(0xE0, ebml(0xB0, number(width)), ebml(0xBA, number(height))))
}

func audioTrack(codec string, private []byte) []byte {
	return ebml(0xAE, ebml(0x83, []byte{2}), ebml(0x86, []byte(codec)), ebml(0x63A2, private))
}

// frame returns a block of a track at some ticks after its cluster's time.
func frame(ticks int16, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x81}, uint16(ticks)), append([]byte{0x80}, content...)...)
}

func cluster(at uint64, blocks ...[]byte) []byte {
	return ebml(0x1F43B675, append([][]byte{ebml(0xE7, number(at))}, blocks...)...)
}

var (
	vp9Private = []byte{1, 1, 0, 2, 1, 31, 3, 1, 8}
	tracks     = ebml(0x1654AE6B, videoTrack("V_VP9", vp9Private, 640, 360), audioTrack("A_OPUS", []byte("OpusHead")))
	media      = cluster(0, ebml(0xA3, frame(0, make([]byte, 1000))))
)

func TestProbeWebM(t *testing.T) {
	t.Parallel()
	both := []app.Track{{Kind: "video", Codec: "vp09.00.31.08"}, {Kind: "audio", Codec: "opus"}}
	seekHead := func(to uint64) []byte {
		return ebml(0x114D9B74, ebml(0x4DBB, ebml(0x53AB, ebmlID(0x1654AE6B)), ebml(0x53AC, number(to))))
	}
	length := uint64(len(seekHead(0)) + len(info(float(2500))) + len(media))
	// What a browser's recorder leaves: no sizes, no duration.
	recorded := append(header("webm"), open(0x18538067, info(nil), tracks,
		open(0x1F43B675, ebml(0xE7, number(0)), ebml(0xA3, frame(0, make([]byte, 500))), ebml(0xA3, frame(960, make([]byte, 500)))),
		open(0x1F43B675, ebml(0xE7, number(1000)), ebml(0xA3, frame(40, []byte{0x1F, 0x43, 0xB6, 0x75, 0x81, 0})), ebml(0xA0, ebml(0xA1, frame(500, nil)))),
	)...)
	for name, tc := range map[string]struct {
		data      []byte
		container string
		seconds   float64
	}{
		"webm":          {append(header("webm"), ebml(0x18538067, info(float(2500)), tracks, media)...), "webm", 2.5},
		"matroska":      {append(header("matroska"), ebml(0x18538067, ebml(0xEC, make([]byte, 100)), info(small(500)), tracks, media)...), "matroska", 0.5},
		"tracks last":   {append(header("webm"), ebml(0x18538067, seekHead(length), info(float(2500)), media, tracks)...), "webm", 2.5},
		"not listed":    {append(header("webm"), ebml(0x18538067, info(float(2500)), media, media, tracks)...), "webm", 2.5},
		"recorded":      {recorded, "webm", 1.5},
		"recorded wide": {append(header("webm"), open(0x18538067, tracks, cluster(0, ebml(0xA3, frame(7, make([]byte, 3<<20)))))...), "webm", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := probe(tc.data)
			if err != nil {
				t.Fatal(err)
			}
			want := app.Probe{Container: tc.container, Seconds: tc.seconds, Width: 640, Height: 360, Tracks: both}
			if tc.seconds > 0 {
				want.Bitrate = int64(float64(len(tc.data)) * 8 / tc.seconds)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestProbeMatroskaCodecs(t *testing.T) {
	t.Parallel()
	for want, entry := range map[string][]byte{
		"avc1.64001f":     videoTrack("V_MPEG4/ISO/AVC", []byte{1, 0x64, 0, 0x1f, 0xff}, 1, 1),
		"avc1":            videoTrack("V_MPEG4/ISO/AVC", nil, 1, 1),
		"hvc1.1.6.L93.B0": videoTrack("V_MPEGH/ISO/HEVC", []byte{1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93, 0xf0}, 1, 1),
		"av01.0.04M.08":   videoTrack("V_AV1", []byte{0x81, 0x04, 0, 0}, 1, 1),
		"vp8":             videoTrack("V_VP8", nil, 1, 1),
		"vp9":             videoTrack("V_VP9", []byte{1, 200, 3}, 1, 1),
		"V_MS/VFW/FOURCC": videoTrack("V_MS/VFW/FOURCC", nil, 1, 1),
		"mp4a.40.5":       audioTrack("A_AAC", []byte{0x2b, 0x92}),
		"mp4a.40.2":       audioTrack("A_AAC/MPEG4/LC", nil),
		"vorbis":          audioTrack("A_VORBIS", nil),
		"mp3":             audioTrack("A_MPEG/L3", nil),
		"pcm":             audioTrack("A_PCM/INT/LIT", nil),
	} {
		got, err := probe(append(header("matroska"), ebml(0x18538067, info(float(1)), ebml(0x1654AE6B, entry))...))
		if err != nil || len(got.Tracks) != 1 || got.Tracks[0].Codec != want {
			t.Errorf("got %+v and %v, want codec %s", got, err, want)
		}
	}
}

func TestProbeRefusesMatroska(t *testing.T) {
	t.Parallel()
	segment := func(content ...[]byte) []byte { return append(header("webm"), ebml(0x18538067, content...)...) }
	whole := segment(info(float(1000)), tracks, media)
	nested := ebml(0xAE)
	for range 50 {
		nested = ebml(0xA0, nested)
	}
	sized := func(id uint32, size uint64) []byte { return binary.BigEndian.AppendUint64(ebmlID(id), 1<<56|size) }
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"truncated media":     {whole[:len(whole)-100], "truncated"},
		"truncated header":    {whole[:10], "no valid size"},
		"another type":        {append(header("ebook"), ebml(0x18538067)...), "neither webm nor matroska"},
		"no type":             {ebml(0x18538067), "does not begin as"},
		"type after":          {append(ebml(0x1A45DFA3), ebml(0x18538067)...), "does not say whether"},
		"no segment":          {header("webm"), "no list of tracks"},
		"no tracks":           {segment(info(float(1)), media), "no list of tracks"},
		"empty list":          {segment(info(float(1)), ebml(0x1654AE6B)), "no tracks"},
		"subtitles":           {segment(info(float(1)), ebml(0x1654AE6B, ebml(0xAE, ebml(0x83, []byte{17})))), "neither a video nor an audio"},
		"two lists":           {segment(tracks, tracks), "more than one list"},
		"many tracks":         {segment(ebml(0x1654AE6B, bytes.Repeat(audioTrack("A_OPUS", nil), 100))), "more than 64 tracks"},
		"many elements":       {segment(bytes.Repeat(ebml(0xEC), 20_000)), "more than 10000 elements"},
		"element over parent": {segment(append(sized(0x1654AE6B, 1<<40), 0)), "larger than the element around it"},
		"largest size":        {append(header("webm"), sized(0x18538067, 1<<56-2)...), "truncated"},
		"unknown size":        {segment(open(0x1654AE6B, nested)), "does not say its size"},
		"invalid id":          {segment([]byte{0, 1, 2, 3}), "no valid id"},
		"invalid size":        {segment([]byte{0xEC, 0, 0, 0}), "no valid size"},
		"long number":         {segment(ebml(0x1549A966, ebml(0x2AD7B1, make([]byte, 9)))), "number of 9 bytes"},
		"odd float":           {segment(info(make([]byte, 5))), "number of 5 bytes"},
		"NaN":                 {segment(info(float(math.NaN()))), "no number"},
		"negative":            {segment(info(float(-1))), "no number"},
		"eternal":             {segment(info(float(1e300)), tracks), "more than a year"},
		"clock of zero":       {segment(ebml(0x1549A966, ebml(0x2AD7B1, number(0)))), "stands still"},
		"huge picture":        {segment(ebml(0x1654AE6B, videoTrack("V_VP8", nil, 1<<40, 1))), "side of"},
		"long codec":          {segment(ebml(0x1654AE6B, audioTrack(strings.Repeat("A", 65), nil))), "name of 65 bytes"},
		"binary codec":        {segment(ebml(0x1654AE6B, audioTrack("A_\n", nil))), "no plain text"},
		"seek behind the end": {segment(ebml(0x114D9B74, ebml(0x4DBB, ebml(0x53AB, ebmlID(0x1654AE6B)), ebml(0x53AC, number(1<<62))))), "points behind its end"},
		"seek astray":         {segment(ebml(0x114D9B74, ebml(0x4DBB, ebml(0x53AB, ebmlID(0x1654AE6B)), ebml(0x53AC, number(0))))), "leads astray"},
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

func TestProbeReadsLittleOfAWebM(t *testing.T) {
	t.Parallel()
	clusters := bytes.Repeat(cluster(0, ebml(0xA3, frame(40, make([]byte, 1<<20)))), 32)
	for name, tc := range map[string]struct {
		data    []byte
		fetches int
		served  int64
	}{
		"finished": {append(header("webm"), ebml(0x18538067, info(float(2500)), tracks, clusters)...), 2, 128 << 10},
		"recorded": {append(header("webm"), open(0x18538067, tracks, clusters, cluster(2000, ebml(0xA3, frame(500, nil))))...), 60, 5 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &store{data: tc.data}
			r := container.NewReader(t.Context(), s, "video", int64(len(s.data)))
			got, err := container.Probe(r, int64(len(s.data)))
			if err != nil {
				t.Fatal(err)
			}
			if got.Seconds != 2.5 {
				t.Errorf("got %v s, want 2.5", got.Seconds)
			}
			if r.Fetches() > tc.fetches || s.served > tc.served {
				t.Errorf("%d requests and %d bytes for a file of %d", r.Fetches(), s.served, len(s.data))
			}
		})
	}
}

// A tail full of what looks like clusters must not keep a function busy.
func TestProbeOfAHostileTailEnds(t *testing.T) {
	t.Parallel()
	// Each begins a cluster of its own for one who looks there, and is passed over by the one before.
	guess := []byte{0xEC, 0x88, 0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xE7, 0x81, 0}
	tail := append(bytes.Repeat(guess, 100_000), 0)
	begin := time.Now()
	got, err := probe(append(header("webm"), open(0x18538067, tracks, open(0x1F43B675, tail))...))
	if err != nil || got.Seconds != 0 {
		t.Errorf("got %+v and %v", got, err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}
