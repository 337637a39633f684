package mediatest

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/abema/go-mp4"
)

// Frame and sample rates of a Movie, and its codecs as RFC 6381 writes them.
const (
	frameRate   = 25    // pictures per second
	sampleRate  = 48000 // audio samples per second
	aacSamples  = 1024  // audio samples per AAC frame
	movieScale  = 1000  // ticks per second of the movie's clock
	pictureTick = 512   // ticks per picture of the video track's clock

	VideoCodec = "avc1.64001f" // H.264 High profile, level 3.1
	AudioCodec = "mp4a.40.2"   // AAC low complexity
)

// Movie describes an MP4 file with an H.264 and an AAC track: one gray
// picture that stays, and silence.
type Movie struct {
	Width, Height int           // pixels, even; default 320 × 180
	Duration      time.Duration // a multiple of 40 ms; default 2 s
	MoovLast      bool          // the index behind the media, as a recorder leaves it
	Rotated       bool          // the track is shown turned by 90°, as a phone held upright records it
	Padding       int           // bytes of a free box at the end, for files of a given size
}

// MP4 returns the movie's file.
func (m Movie) MP4() []byte {
	if m.Width == 0 || m.Height == 0 {
		m.Width, m.Height = 320, 180
	}
	if m.Duration == 0 {
		m.Duration = 2 * time.Second
	}
	pictures := int(m.Duration * frameRate / time.Second)
	// The audio ends with, or at most one AAC frame before, the video.
	frames := int(m.Duration * sampleRate / time.Second / aacSamples)

	video := make([][]byte, pictures)
	for i := range video {
		video[i] = h264Picture(m.Width, m.Height, i)
	}
	audio := make([][]byte, frames)
	for i := range audio {
		audio[i] = silence
	}
	media := box(&mp4.Mdat{Data: append(bytes.Join(video, nil), bytes.Join(audio, nil)...)})
	brands := box(&mp4.Ftyp{
		MajorBrand: [4]byte{'i', 's', 'o', 'm'}, MinorVersion: 0x200,
		CompatibleBrands: []mp4.CompatibleBrandElem{
			{CompatibleBrand: mp4.BrandISOM()}, {CompatibleBrand: mp4.BrandAVC1()}, {CompatibleBrand: mp4.BrandMP41()},
		},
	})
	var padding []byte
	if m.Padding > 0 {
		padding = box(&mp4.Free{Data: make([]byte, max(0, m.Padding-8))})
	}
	if m.MoovLast {
		return bytes.Join([][]byte{brands, media, m.moov(video, audio, len(brands)+8), padding}, nil)
	}
	// The index holds offsets behind itself; its size does not depend on them.
	size := len(m.moov(video, audio, 0))
	return bytes.Join([][]byte{brands, m.moov(video, audio, len(brands)+size+8), media, padding}, nil)
}

// identity and quarterTurn are transformation matrices (ISO/IEC 14496-12, 6.2.2).
var (
	identity    = [9]int32{0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000}
	quarterTurn = [9]int32{0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000}
)

func (m Movie) moov(video, audio [][]byte, offset int) []byte {
	duration := uint32(m.Duration * movieScale / time.Second)
	audioOffset := offset
	for _, sample := range video {
		audioOffset += len(sample)
	}
	sps, pps := h264ParameterSets(m.Width, m.Height)
	matrix := identity
	if m.Rotated {
		matrix = quarterTurn
	}
	return box(&mp4.Moov{},
		box(&mp4.Mvhd{
			Timescale: movieScale, DurationV0: duration, Rate: 0x10000, Volume: 0x100, Matrix: identity, NextTrackID: 3,
		}),
		track{
			id: 1, handler: "vide", scale: frameRate * pictureTick, tick: pictureTick, duration: duration,
			width: m.Width, height: m.Height, matrix: matrix,
			header: box(&mp4.Vmhd{FullBox: mp4.FullBox{Flags: [3]byte{0, 0, 1}}}),
			entry: box(&mp4.VisualSampleEntry{
				SampleEntry: mp4.SampleEntry{AnyTypeBox: mp4.AnyTypeBox{Type: mp4.BoxTypeAvc1()}, DataReferenceIndex: 1},
				Width:       uint16(m.Width), Height: uint16(m.Height),
				Horizresolution: 72 << 16, Vertresolution: 72 << 16, FrameCount: 1, Depth: 24, PreDefined3: -1,
			}, box(&mp4.AVCDecoderConfiguration{
				AnyTypeBox:           mp4.AnyTypeBox{Type: mp4.BoxTypeAvcC()},
				ConfigurationVersion: 1, Profile: h264High, Level: h264Level31,
				Reserved: 63, LengthSizeMinusOne: 3, Reserved2: 7,
				NumOfSequenceParameterSets: 1,
				SequenceParameterSets:      []mp4.AVCParameterSet{{Length: uint16(len(sps)), NALUnit: sps}},
				NumOfPictureParameterSets:  1,
				PictureParameterSets:       []mp4.AVCParameterSet{{Length: uint16(len(pps)), NALUnit: pps}},
				HighProfileFieldsEnabled:   true,
				Reserved3:                  63, ChromaFormat: 1, Reserved4: 31, Reserved5: 31,
			})),
			samples: video, offset: offset, sync: []uint32{1},
		}.box(),
		track{
			id: 2, handler: "soun", scale: sampleRate, tick: aacSamples,
			duration: uint32(len(audio) * aacSamples * movieScale / sampleRate), matrix: identity,
			header: box(&mp4.Smhd{}),
			entry: box(&mp4.AudioSampleEntry{
				SampleEntry:  mp4.SampleEntry{AnyTypeBox: mp4.AnyTypeBox{Type: mp4.BoxTypeMp4a()}, DataReferenceIndex: 1},
				ChannelCount: 2, SampleSize: 16, SampleRate: sampleRate << 16,
			}, box(esds())),
			samples: audio, offset: audioOffset,
		}.box(),
	)
}

// track is one track of a movie; all its samples lie in one chunk at offset.
type track struct {
	id            uint32
	handler       string
	scale, tick   uint32 // ticks per second, ticks per sample
	duration      uint32 // in the movie's clock
	width, height int
	matrix        [9]int32
	header, entry []byte // vmhd or smhd, and the sample entry
	samples       [][]byte
	offset        int
	sync          []uint32 // samples a decoder can start at; empty for all
}

func (t track) box() []byte {
	count := uint32(len(t.samples))
	sizes := make([]uint32, count)
	for i, sample := range t.samples {
		sizes[i] = uint32(len(sample))
	}
	tables := [][]byte{
		box(&mp4.Stsd{EntryCount: 1}, t.entry),
		box(&mp4.Stts{EntryCount: 1, Entries: []mp4.SttsEntry{{SampleCount: count, SampleDelta: t.tick}}}),
		box(&mp4.Stsc{EntryCount: 1, Entries: []mp4.StscEntry{{FirstChunk: 1, SamplesPerChunk: count, SampleDescriptionIndex: 1}}}),
		box(&mp4.Stsz{SampleCount: count, EntrySize: sizes}),
		box(&mp4.Stco{EntryCount: 1, ChunkOffset: []uint32{uint32(t.offset)}}),
	}
	if len(t.sync) > 0 {
		tables = append(tables, box(&mp4.Stss{EntryCount: uint32(len(t.sync)), SampleNumber: t.sync}))
	}
	var volume int16
	if t.handler == "soun" {
		volume = 0x100
	}
	return box(&mp4.Trak{},
		box(&mp4.Tkhd{
			FullBox: mp4.FullBox{Flags: [3]byte{0, 0, 3}}, // enabled, in the movie
			TrackID: t.id, DurationV0: t.duration, Volume: volume, Matrix: t.matrix,
			Width: uint32(t.width) << 16, Height: uint32(t.height) << 16,
		}),
		box(&mp4.Mdia{},
			box(&mp4.Mdhd{Timescale: t.scale, DurationV0: count * t.tick, Language: [3]byte{'u' - 0x60, 'n' - 0x60, 'd' - 0x60}}),
			box(&mp4.Hdlr{HandlerType: [4]byte([]byte(t.handler)), Name: t.handler}),
			box(&mp4.Minf{},
				t.header,
				box(&mp4.Dinf{}, box(&mp4.Dref{EntryCount: 1}, box(&mp4.Url{FullBox: mp4.FullBox{Flags: [3]byte{0, 0, 1}}}))),
				box(&mp4.Stbl{}, tables...),
			),
		),
	)
}

// esds describes AAC low complexity, 48 kHz, stereo (ISO/IEC 14496-1 and -3).
func esds() *mp4.Esds {
	config := []byte{0x11, 0x90} // object type 2, frequency index 3, two channels
	return &mp4.Esds{Descriptors: []mp4.Descriptor{
		{Tag: mp4.ESDescrTag, Size: 3 + 5 + 13 + 5 + uint32(len(config)) + 5 + 1, ESDescriptor: &mp4.ESDescriptor{ESID: 2}},
		{Tag: mp4.DecoderConfigDescrTag, Size: 13 + 5 + uint32(len(config)), DecoderConfigDescriptor: &mp4.DecoderConfigDescriptor{
			ObjectTypeIndication: 0x40, StreamType: 5, Reserved: true, MaxBitrate: 3375, AvgBitrate: 3375,
		}},
		{Tag: mp4.DecSpecificInfoTag, Size: uint32(len(config)), Data: config},
		{Tag: mp4.SLConfigDescrTag, Size: 1, Data: []byte{2}},
	}}
}

// silence is one AAC frame of two silent channels.
var silence = []byte{0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80}

// box returns a box: its header, the payload's fields, its children.
func box(payload mp4.IImmutableBox, children ...[]byte) []byte {
	var body bytes.Buffer
	_, err := mp4.Marshal(&body, payload, mp4.Context{})
	must(err)
	for _, child := range children {
		body.Write(child)
	}
	kind := payload.GetType()
	out := binary.BigEndian.AppendUint32(nil, uint32(8+body.Len()))
	return append(append(out, kind[:]...), body.Bytes()...)
}
