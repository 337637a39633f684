// Package container reads what the container of a video says about it: how
// long it is, what is in it and in which codecs, without reading the media
// itself. It knows MP4 (ISO/IEC 14496-12 and -14), QuickTime, and WebM and
// Matroska (RFC 8794 and 9559).
package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/abema/go-mp4"

	"github.com/loadbearing/loadbearing/app"
)

// Bounds of a file's structure. Files seen in the wild stay far below; beyond
// them it is an attack or no video.
const (
	maxBoxes   = 10_000
	maxDepth   = 10
	maxTracks  = 64
	maxPayload = 1 << 20 // bytes of one box that is read whole
	maxSeconds = 366 * 24 * 3600
)

// Probe reads the structure of a video of size bytes and returns what it
// says. What is no video of these kinds, is truncated or makes no sense is
// app.CodeInvalid with a reason for the user; errors of r are passed on.
func Probe(r io.ReadSeeker, size int64) (app.Probe, error) {
	p := &parser{r: r, size: size}
	err := p.parse()
	if err == nil {
		var probe app.Probe
		if probe, err = p.result(); err == nil {
			return probe, nil
		}
	}
	switch {
	case errors.Is(err, errFetches):
		return app.Probe{}, &app.Error{Code: app.CodeInvalid, Message: "the video cannot be read: " + errFetches.Error(), Err: err}
	case errors.Is(err, errMalformed):
		return app.Probe{}, &app.Error{Code: app.CodeInvalid, Message: err.Error(), Err: err}
	}
	return app.Probe{}, fmt.Errorf("probe the video: %w", err)
}

// errMalformed is in the chain of every error that is the file's fault.
var errMalformed = errors.New("the file is not a readable video")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errMalformed, fmt.Errorf(format, args...))
}

type parser struct {
	r    io.ReadSeeker
	size int64

	boxes     int
	container string
	quicktime bool
	moov      bool
	movie     clock   // mvhd
	fragments uint64  // mehd, in the movie's clock
	segments  float64 // seconds, of sidx
	stated    float64 // seconds, of a Matroska file
	tracks    []track
}

// clock is a duration and the ticks per second it is counted in.
type clock struct {
	duration  uint64
	timescale uint32
}

func (c clock) seconds() float64 {
	// All ones says that the duration is not known (14496-12, 8.2.2.3).
	if c.timescale == 0 || c.duration == math.MaxUint64 || c.duration == math.MaxUint32 {
		return 0
	}
	return float64(c.duration) / float64(c.timescale)
}

type track struct {
	handler       string // vide, soun …
	codec         string
	width, height int
	turned        bool // shown turned by 90° or 270°
	media         clock
}

// box is a box whose extent was checked against its parent's.
type box struct {
	kind    mp4.BoxType
	payload int64 // position
	end     int64
}

// walk calls visit for each box between start and end. visit returns false to
// stop.
func (p *parser) walk(start, end int64, depth int, visit func(box) (more bool, err error)) error {
	if depth > maxDepth {
		return malformed("its boxes are nested deeper than %d", maxDepth)
	}
	// What is left at the end may be QuickTime's terminator or padding.
	for start+mp4.SmallHeaderSize <= end {
		if p.boxes++; p.boxes > maxBoxes {
			return malformed("it has more than %d boxes", maxBoxes)
		}
		header, err := p.read(start, min(start+mp4.LargeHeaderSize, end))
		if err != nil {
			return err
		}
		info, err := mp4.ReadBoxInfo(bytes.NewReader(header))
		if err != nil {
			return malformed("its box header at byte %d cannot be read: %w", start, err)
		}
		if depth == 0 && start == 0 && !isFirst(info.Type) {
			return malformed("it does not begin as an MP4, QuickTime, WebM or Matroska file does")
		}
		if info.ExtendToEOF {
			// Only the last box of a file may; inside another it would be a lie about its size.
			info.Size = uint64(end - start)
		}
		if info.Size < info.HeaderSize {
			return malformed("its box %s at byte %d says it has %d bytes, fewer than its header", printable(info.Type), start, info.Size)
		}
		if room := uint64(end - start); info.Size > room {
			if depth == 0 {
				return malformed("it is truncated: its box %s needs %d more bytes", printable(info.Type), info.Size-room)
			}
			return malformed("its box %s at byte %d is larger than the box around it", printable(info.Type), start)
		}
		b := box{info.Type, start + int64(info.HeaderSize), start + int64(info.Size)}
		more, err := visit(b)
		if err != nil || !more {
			return err
		}
		start = b.end
	}
	return nil
}

// isFirst tells whether a file may begin with a box of this type.
func isFirst(kind mp4.BoxType) bool {
	switch kind.String() {
	case "ftyp", "styp", "moov", "mdat", "wide", "free", "skip", "pnot", "uuid":
		return true
	}
	return false
}

// printable returns a box type for people, whatever its bytes are.
func printable(kind mp4.BoxType) string {
	for _, c := range kind {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("0x%x", kind[:])
		}
	}
	return fmt.Sprintf("%q", kind[:])
}

// unmarshal reads a box's fields.
func (p *parser) unmarshal(b box, into mp4.IBox) error {
	data, err := p.read(b.payload, b.end)
	if err != nil {
		return err
	}
	_, err = mp4.Unmarshal(bytes.NewReader(data), uint64(len(data)), into, mp4.Context{IsQuickTimeCompatible: p.quicktime})
	if err != nil {
		return malformed("its box %s cannot be read: %w", printable(b.kind), err)
	}
	return nil
}

// read returns the bytes between two positions, at most maxPayload.
func (p *parser) read(start, end int64) ([]byte, error) {
	if end-start > maxPayload {
		return nil, malformed("a box of %d bytes is larger than expected", end-start)
	}
	if _, err := p.r.Seek(start, io.SeekStart); err != nil {
		return nil, err
	}
	data := make([]byte, end-start)
	if _, err := io.ReadFull(p.r, data); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, malformed("it is truncated at byte %d", end)
		}
		return nil, err
	}
	return data, nil
}

func (p *parser) parse() error {
	if p.size == 0 {
		return malformed("it is empty")
	}
	if p.size < mp4.SmallHeaderSize {
		return malformed("it has only %d bytes", p.size)
	}
	if is, err := p.isMatroska(); err != nil {
		return err
	} else if is {
		return p.parseMatroska()
	}
	return p.parseMovie()
}

func (p *parser) parseMovie() error {
	p.container, p.quicktime = "mov", true // files without ftyp are older than it
	err := p.walk(0, p.size, 0, func(b box) (bool, error) {
		switch b.kind.String() {
		case "ftyp":
			var brands mp4.Ftyp
			if err := p.unmarshal(b, &brands); err != nil {
				return false, err
			}
			if p.quicktime = brands.MajorBrand == mp4.BrandQT(); !p.quicktime {
				p.container = "mp4"
			}
		case "moov":
			if p.moov {
				return false, malformed("it has more than one index (moov)")
			}
			p.moov = true
			return true, p.parseMoov(b)
		case "sidx":
			return true, p.parseSidx(b)
		case "moof":
			// Fragments follow each other to the end; the index is in front of them.
			return !p.moov, nil
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if !p.moov {
		return malformed("it has no index (moov box); the recording or the upload was not completed")
	}
	return nil
}

func (p *parser) parseMoov(moov box) error {
	return p.walk(moov.payload, moov.end, 1, func(b box) (bool, error) {
		switch b.kind.String() {
		case "mvhd":
			var header mp4.Mvhd
			if err := p.unmarshal(b, &header); err != nil {
				return false, err
			}
			p.movie = clock{duration(&header, header.DurationV0, header.DurationV1), header.Timescale}
		case "trak":
			if len(p.tracks) == maxTracks {
				return false, malformed("it has more than %d tracks", maxTracks)
			}
			p.tracks = append(p.tracks, track{})
			return true, p.parseTrack(b, 2, &p.tracks[len(p.tracks)-1])
		case "mvex":
			return true, p.walk(b.payload, b.end, 2, func(b box) (bool, error) {
				if b.kind.String() != "mehd" {
					return true, nil
				}
				var header mp4.Mehd
				err := p.unmarshal(b, &header)
				p.fragments = duration(&header, header.FragmentDurationV0, header.FragmentDurationV1)
				return true, err
			})
		}
		return true, nil
	})
}

// duration picks the field that a box's version fills, and keeps "unknown" so.
func duration(b mp4.IBox, v0 uint32, v1 uint64) uint64 {
	if b.GetVersion() == 0 {
		return uint64(v0)
	}
	return v1
}

// parseTrack reads the boxes of a track, at any depth of trak, mdia, minf and stbl.
func (p *parser) parseTrack(parent box, depth int, t *track) error {
	return p.walk(parent.payload, parent.end, depth, func(b box) (bool, error) {
		switch b.kind.String() {
		case "mdia", "minf", "stbl":
			return true, p.parseTrack(b, depth+1, t)
		case "tkhd":
			var header mp4.Tkhd
			if err := p.unmarshal(b, &header); err != nil {
				return false, err
			}
			// A matrix whose diagonal is zero swaps the axes.
			t.turned = header.Matrix[0] == 0 && header.Matrix[4] == 0 && header.Matrix[1] != 0 && header.Matrix[3] != 0
		case "mdhd":
			var header mp4.Mdhd
			if err := p.unmarshal(b, &header); err != nil {
				return false, err
			}
			t.media = clock{duration(&header, header.DurationV0, header.DurationV1), header.Timescale}
		case "hdlr":
			// minf has one of its own in QuickTime, after the track's.
			if t.handler != "" {
				return true, nil
			}
			data, err := p.read(b.payload, min(b.end, b.payload+12))
			if err != nil {
				return false, err
			}
			if len(data) < 12 {
				return false, malformed("its box %s is too short", printable(b.kind))
			}
			t.handler = string(data[8:12])
		case "stsd":
			return true, p.parseDescriptions(b, depth+1, t)
		}
		return true, nil
	})
}

// parseDescriptions reads the first sample description of a track. A track
// with several changes its codec's settings on the way.
func (p *parser) parseDescriptions(stsd box, depth int, t *track) error {
	const header = 8 // version, flags, number of entries
	return p.walk(stsd.payload+header, stsd.end, depth, func(b box) (bool, error) {
		var err error
		switch t.handler {
		case "vide":
			err = p.parseVideo(b, depth+1, t)
		case "soun":
			err = p.parseAudio(b, depth+1, t)
		default:
			t.codec = fourCC(b.kind)
		}
		return false, err
	})
}

// visualEntry is the size of the fields of a visual sample entry (14496-12, 12.1.3.2).
const visualEntry = 78

func (p *parser) parseVideo(entry box, depth int, t *track) error {
	fields, err := p.read(entry.payload, min(entry.end, entry.payload+visualEntry))
	if err != nil {
		return err
	}
	if len(fields) < visualEntry {
		return malformed("its video description is too short")
	}
	t.width = int(binary.BigEndian.Uint16(fields[24:]))
	t.height = int(binary.BigEndian.Uint16(fields[26:]))
	return p.parseCodec(entry, entry.payload+visualEntry, depth, t)
}

// audioEntry is the size of the fields of an audio sample entry (14496-12, 12.2.3.2).
const audioEntry = 28

func (p *parser) parseAudio(entry box, depth int, t *track) error {
	fields, err := p.read(entry.payload, min(entry.end, entry.payload+audioEntry))
	if err != nil {
		return err
	}
	if len(fields) < audioEntry {
		return malformed("its audio description is too short")
	}
	// QuickTime's versions 1 and 2 have more fields (QuickTime File Format, sound sample description).
	size := int64(audioEntry)
	if p.quicktime {
		switch binary.BigEndian.Uint16(fields[8:]) {
		case 1:
			size += 16
		case 2:
			size += 36
		}
	}
	return p.parseCodec(entry, entry.payload+size, depth, t)
}

// parseSidx adds up the durations of a segment index (14496-12, 8.16.3).
func (p *parser) parseSidx(b box) error {
	var index mp4.Sidx
	if err := p.unmarshal(b, &index); err != nil {
		return err
	}
	if index.Timescale == 0 || p.segments > 0 {
		return nil // the first covers the file; others one track or part each
	}
	var sum uint64
	for _, reference := range index.References {
		sum += uint64(reference.SubsegmentDuration)
	}
	p.segments = float64(sum) / float64(index.Timescale)
	return nil
}

func (p *parser) result() (app.Probe, error) {
	if len(p.tracks) == 0 {
		return app.Probe{}, malformed("it has no tracks")
	}
	out := app.Probe{Container: p.container, Seconds: p.seconds()}
	if out.Seconds > maxSeconds {
		return app.Probe{}, malformed("it says it is %.0f seconds long, more than a year", out.Seconds)
	}
	playable := false
	for _, t := range p.tracks {
		kind := "other"
		switch t.handler {
		case "vide":
			kind = "video"
			if out.Width == 0 {
				out.Width, out.Height = t.width, t.height
				if t.turned {
					out.Width, out.Height = t.height, t.width
				}
			}
		case "soun":
			kind = "audio"
		}
		playable = playable || kind != "other"
		out.Tracks = append(out.Tracks, app.Track{Kind: kind, Codec: t.codec})
	}
	if !playable {
		return app.Probe{}, malformed("it has neither a video nor an audio track")
	}
	if out.Seconds > 0 {
		// A duration of one tick must not overflow.
		out.Bitrate = int64(min(float64(p.size)*8/out.Seconds, math.MaxInt64/2))
	}
	return out, nil
}

// seconds returns the duration by the first source that knows it: of Matroska
// its header or its last frame; of MP4 the movie's
// header, the fragments' header, the segment index, the longest track.
func (p *parser) seconds() float64 {
	if p.stated > 0 {
		return p.stated
	}
	if s := p.movie.seconds(); s > 0 {
		return s
	}
	if s := (clock{p.fragments, p.movie.timescale}).seconds(); s > 0 {
		return s
	}
	if p.segments > 0 {
		return p.segments
	}
	longest := 0.0
	for _, t := range p.tracks {
		longest = max(longest, t.media.seconds())
	}
	return longest
}
