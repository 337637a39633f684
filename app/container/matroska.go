package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// Element ids (RFC 8794 for EBML, RFC 9559 for Matroska).
const (
	idEBML    = 0x1A45DFA3
	idDocType = 0x4282
	idVoid    = 0xEC
	idCRC     = 0xBF

	idSegment      = 0x18538067
	idSeekHead     = 0x114D9B74
	idSeek         = 0x4DBB
	idSeekID       = 0x53AB
	idSeekPosition = 0x53AC

	idInfo           = 0x1549A966
	idTimestampScale = 0x2AD7B1
	idDuration       = 0x4489

	idTracks       = 0x1654AE6B
	idTrackEntry   = 0xAE
	idTrackType    = 0x83
	idCodecID      = 0x86
	idCodecPrivate = 0x63A2
	idVideo        = 0xE0
	idPixelWidth   = 0xB0
	idPixelHeight  = 0xBA

	idCluster     = 0x1F43B675
	idTimestamp   = 0xE7
	idSimpleBlock = 0xA3
	idBlockGroup  = 0xA0
	idBlock       = 0xA1
)

// Matroska's bounds, and what its elements hold when they are absent.
const (
	maxText      = 64 // bytes of a codec's or a format's name
	maxPixels    = 1<<16 - 1
	defaultScale = 1_000_000 // nanoseconds per tick (RFC 9559, 5.1.2.9)
	maxElement   = 12        // bytes of an id and a size
)

// element is an element whose extent was checked against its parent's.
type element struct {
	id      uint32
	payload int64 // position
	end     int64
	open    bool // it does not say where it ends: a recording that was not finished
}

// isMatroska tells whether a file begins as WebM and Matroska files do.
func (p *parser) isMatroska() (bool, error) {
	head, err := p.read(0, 4)
	return err == nil && binary.BigEndian.Uint32(head) == idEBML, err
}

// matroska is what a Matroska file says beside its tracks.
type matroska struct {
	parser   *parser
	segment  element
	scale    uint64
	duration float64 // ticks
	info     bool
	tracks   bool
	seek     map[uint32]int64 // positions of elements by id
}

func (p *parser) parseMatroska() error {
	m := &matroska{parser: p, scale: defaultScale, seek: map[uint32]int64{}}
	err := p.walkElements(0, p.size, 0, func(e element) (bool, error) {
		switch e.id {
		case idEBML:
			return true, m.parseHeader(e)
		case idSegment:
			m.segment = e
			return false, m.parseSegment()
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if !m.tracks {
		return malformed("it has no list of tracks; the recording or the upload was not completed")
	}
	if m.duration == 0 {
		last, err := m.lastTimestamp()
		if err != nil {
			return err
		}
		m.duration = float64(last)
	}
	p.stated = m.duration * float64(m.scale) / 1e9
	return nil
}

// elementAt reads an element's id and size.
func (p *parser) elementAt(start, end int64, depth int) (element, error) {
	head, err := p.read(start, min(start+maxElement, end))
	if err != nil {
		return element{}, err
	}
	id, n, ok := vint(head, 4, true)
	if !ok {
		return element{}, malformed("its element at byte %d has no valid id", start)
	}
	size, m, ok := vint(head[n:], 8, false)
	if !ok {
		return element{}, malformed("its element %#x at byte %d has no valid size", id, start)
	}
	e := element{id: uint32(id), payload: start + int64(n+m), end: end}
	if size == 1<<(7*m)-1 { // all ones: unknown (RFC 8794, 6.2)
		if e.id != idSegment && e.id != idCluster {
			return element{}, malformed("its element %#x at byte %d does not say its size", id, start)
		}
		e.open = true
		return e, nil
	}
	if room := uint64(end - e.payload); size > room {
		if depth == 0 {
			return element{}, malformed("it is truncated: its element %#x needs %d more bytes", id, size-room)
		}
		return element{}, malformed("its element %#x at byte %d is larger than the element around it", id, start)
	}
	e.end = e.payload + int64(size)
	return e, nil
}

// vint reads a variable-size integer of at most most bytes (RFC 8794, 4). An id
// keeps the marker of its width.
func vint(data []byte, most int, keep bool) (value uint64, width int, ok bool) {
	if len(data) == 0 {
		return 0, 0, false
	}
	width = bits.LeadingZeros8(data[0]) + 1
	if width > most || width > len(data) {
		return 0, 0, false
	}
	value = uint64(data[0])
	if !keep {
		value &= 1<<(8-width) - 1
	}
	for _, b := range data[1:width] {
		value = value<<8 | uint64(b)
	}
	return value, width, true
}

// walkElements calls visit for each element between start and end. visit
// returns false to stop.
func (p *parser) walkElements(start, end int64, depth int, visit func(element) (more bool, err error)) error {
	if depth > maxDepth {
		return malformed("its elements are nested deeper than %d", maxDepth)
	}
	for start < end {
		if p.boxes++; p.boxes > maxBoxes {
			return malformed("it has more than %d elements", maxBoxes)
		}
		e, err := p.elementAt(start, end, depth)
		if err != nil {
			return err
		}
		more, err := visit(e)
		if err != nil || !more {
			return err
		}
		start = e.end
	}
	return nil
}

func (p *parser) uint(e element) (uint64, error) {
	if e.end-e.payload > 8 {
		return 0, malformed("its element %#x is a number of %d bytes", e.id, e.end-e.payload)
	}
	data, err := p.read(e.payload, e.end)
	var n uint64
	for _, b := range data {
		n = n<<8 | uint64(b)
	}
	return n, err
}

func (p *parser) float(e element) (float64, error) {
	data, err := p.read(e.payload, min(e.end, e.payload+9))
	if err != nil {
		return 0, err
	}
	f := 0.0
	switch len(data) {
	case 0:
	case 4:
		f = float64(math.Float32frombits(binary.BigEndian.Uint32(data)))
	case 8:
		f = math.Float64frombits(binary.BigEndian.Uint64(data))
	default:
		return 0, malformed("its element %#x is a number of %d bytes", e.id, e.end-e.payload)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
		return 0, malformed("its element %#x is no number from 0", e.id)
	}
	return f, nil
}

// text reads printable ASCII, up to the first zero.
func (p *parser) text(e element) (string, error) {
	if e.end-e.payload > maxText {
		return "", malformed("its element %#x is a name of %d bytes", e.id, e.end-e.payload)
	}
	data, err := p.read(e.payload, e.end)
	data, _, _ = bytes.Cut(data, []byte{0})
	if bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", malformed("its element %#x is no plain text", e.id)
	}
	return string(data), err
}

func (m *matroska) parseHeader(header element) error {
	p := m.parser
	return p.walkElements(header.payload, header.end, 1, func(e element) (bool, error) {
		if e.id != idDocType {
			return true, nil
		}
		kind, err := p.text(e)
		if err != nil {
			return false, err
		}
		if kind != "webm" && kind != "matroska" {
			return false, malformed("it says it is %q, neither webm nor matroska", kind)
		}
		p.container = kind
		return true, nil
	})
}

// parseSegment reads what stands in front of the media, and what a list of
// positions says stands behind it.
func (m *matroska) parseSegment() error {
	p, s := m.parser, m.segment
	if p.container == "" {
		return malformed("it does not say whether it is webm or matroska")
	}
	err := p.walkElements(s.payload, s.end, 1, func(e element) (bool, error) {
		if e.id == idCluster {
			// With everything known, or at media without an end, there is nothing more to see here.
			_, listed := m.seek[idTracks]
			return (!m.info || !m.tracks) && !e.open && !listed, nil
		}
		return true, m.parseTop(e)
	})
	if err != nil {
		return err
	}
	for _, want := range []struct {
		id   uint32
		have *bool
	}{{idInfo, &m.info}, {idTracks, &m.tracks}} {
		at, listed := m.seek[want.id]
		if *want.have || !listed {
			continue
		}
		e, err := p.elementAt(at, s.end, 1)
		if err != nil {
			return err
		}
		if e.id != want.id {
			return malformed("its list of positions leads astray")
		}
		if err := m.parseTop(e); err != nil {
			return err
		}
	}
	return nil
}

// parseTop reads one of the elements a segment has beside its media.
func (m *matroska) parseTop(e element) error {
	switch e.id {
	case idSeekHead:
		return m.parseSeekHead(e)
	case idInfo:
		m.info = true
		return m.parseInfo(e)
	case idTracks:
		if m.tracks {
			return malformed("it has more than one list of tracks")
		}
		m.tracks = true
		return m.parseTracks(e)
	}
	return nil
}

func (m *matroska) parseSeekHead(head element) error {
	p := m.parser
	return p.walkElements(head.payload, head.end, 2, func(seek element) (bool, error) {
		if seek.id != idSeek {
			return true, nil
		}
		var id, position uint64
		err := p.walkElements(seek.payload, seek.end, 3, func(e element) (more bool, err error) {
			switch e.id {
			case idSeekID:
				id, err = p.uint(e)
			case idSeekPosition:
				position, err = p.uint(e)
			}
			return true, err
		})
		if err != nil {
			return false, err
		}
		if id != idInfo && id != idTracks {
			return true, nil
		}
		if position >= uint64(m.segment.end-m.segment.payload) {
			return false, malformed("its list of positions points behind its end; it may be truncated")
		}
		m.seek[uint32(id)] = m.segment.payload + int64(position)
		return true, nil
	})
}

func (m *matroska) parseInfo(info element) error {
	p := m.parser
	return p.walkElements(info.payload, info.end, 2, func(e element) (more bool, err error) {
		switch e.id {
		case idTimestampScale:
			if m.scale, err = p.uint(e); err == nil && m.scale == 0 {
				err = malformed("its clock stands still (TimestampScale is 0)")
			}
		case idDuration:
			m.duration, err = p.float(e)
		}
		return true, err
	})
}

func (m *matroska) parseTracks(list element) error {
	p := m.parser
	return p.walkElements(list.payload, list.end, 2, func(entry element) (bool, error) {
		if entry.id != idTrackEntry {
			return true, nil
		}
		if len(p.tracks) == maxTracks {
			return false, malformed("it has more than %d tracks", maxTracks)
		}
		t, err := m.parseTrack(entry)
		p.tracks = append(p.tracks, t)
		return true, err
	})
}

func (m *matroska) parseTrack(entry element) (track, error) {
	p := m.parser
	var t track
	var codec string
	var private []byte
	err := p.walkElements(entry.payload, entry.end, 3, func(e element) (more bool, err error) {
		switch e.id {
		case idTrackType:
			var kind uint64
			kind, err = p.uint(e)
			switch kind {
			case 1:
				t.handler = "vide"
			case 2:
				t.handler = "soun"
			}
		case idCodecID:
			codec, err = p.text(e)
		case idCodecPrivate:
			// Its head names the profile; the rest configures a decoder.
			private, err = p.read(e.payload, min(e.end, e.payload+16))
		case idVideo:
			err = p.walkElements(e.payload, e.end, 4, func(e element) (bool, error) {
				if e.id != idPixelWidth && e.id != idPixelHeight {
					return true, nil
				}
				n, err := p.uint(e)
				if err == nil && n > maxPixels {
					err = malformed("its picture has a side of %d pixels", n)
				}
				if e.id == idPixelWidth {
					t.width = int(n)
				} else {
					t.height = int(n)
				}
				return true, err
			})
		}
		return true, err
	})
	t.codec = matroskaCodec(codec, private)
	return t, err
}

// matroskaCodec names a codec as RFC 6381 has it where its private data tells
// the profile, else as browsers do, else as Matroska does.
func matroskaCodec(id string, private []byte) string {
	family, _, _ := strings.Cut(id, "/")
	switch {
	case id == "V_MPEG4/ISO/AVC" && len(private) >= 4:
		return fmt.Sprintf("avc1.%02x%02x%02x", private[1], private[2], private[3])
	case id == "V_MPEG4/ISO/AVC":
		return "avc1"
	case id == "V_MPEGH/ISO/HEVC" && len(private) >= 13:
		return hevc("hvc1", private)
	case id == "V_MPEGH/ISO/HEVC":
		return "hvc1"
	case id == "V_AV1" && len(private) >= 4:
		return av1(private)
	case id == "V_AV1":
		return "av01"
	case id == "V_VP8":
		return "vp8"
	case id == "V_VP9":
		return vp9(private)
	case id == "A_AAC" && len(private) >= 2:
		return fmt.Sprintf("mp4a.40.%d", audioObject(private))
	case family == "A_AAC":
		return "mp4a.40.2"
	case id == "A_MPEG/L3":
		return "mp3"
	case family == "A_AC3":
		return "ac-3"
	case family == "A_EAC3":
		return "ec-3"
	case family == "A_PCM":
		return "pcm"
	case id == "A_OPUS", id == "A_VORBIS", id == "A_FLAC":
		return strings.ToLower(id[2:])
	}
	return id
}

// vp9 reads the features of VP9's private data (VP9 Codec Feature Metadata):
// id, length and value of profile, level and bit depth.
func vp9(private []byte) string {
	feature := map[byte]byte{}
	for len(private) >= 3 && private[1] == 1 {
		feature[private[0]] = private[2]
		private = private[3:]
	}
	const profile, level, depth = 1, 2, 3
	if feature[level] == 0 || feature[depth] == 0 {
		return "vp9"
	}
	return fmt.Sprintf("vp09.%02d.%02d.%02d", feature[profile], feature[level], feature[depth])
}

// tail is how much of the end of a file without a duration is searched for its
// last frames. Recorders begin a cluster every few seconds.
const tail = maxPayload

// maxGuesses bounds the places in the tail that look like a cluster and are
// none: in honest frames the mark stands by chance once in 4 GiB.
const maxGuesses = 16

// lastTimestamp returns the time of the last frame of a file that does not say
// its duration, as browsers' recorders leave it, in ticks: 0 when the end of
// the file does not tell.
func (m *matroska) lastTimestamp() (uint64, error) {
	p := m.parser
	begin := max(m.segment.payload, m.segment.end-tail)
	data, err := p.read(begin, m.segment.end)
	if err != nil {
		return 0, err
	}
	mark := binary.BigEndian.AppendUint32(nil, idCluster)
	end := len(data)
	for range maxGuesses {
		at := bytes.LastIndex(data[:end], mark)
		if at < 0 {
			break
		}
		// The mark may be chance in a frame's bytes: then what follows makes no sense.
		last, err := clusterEnd(data[at:])
		if err == nil {
			return last, nil
		}
		if !errors.Is(err, errMalformed) {
			return 0, err
		}
		end = at
	}
	return 0, nil
}

// clusterEnd returns the time of the last frame of a cluster that begins data.
func clusterEnd(data []byte) (uint64, error) {
	p := &parser{r: bytes.NewReader(data), size: int64(len(data))}
	cluster, err := p.elementAt(0, p.size, 1)
	if err != nil {
		return 0, err
	}
	var begin, last uint64
	timed := false
	block := func(e element) error {
		head, err := p.read(e.payload, min(e.end, e.payload+maxElement))
		if err != nil {
			return err
		}
		_, n, ok := vint(head, 8, false) // the track
		if !ok || len(head) < n+2 || !timed {
			return malformed("its element %#x is no frame", e.id)
		}
		if at := int64(begin) + int64(int16(binary.BigEndian.Uint16(head[n:]))); at > int64(last) {
			last = uint64(at)
		}
		return nil
	}
	err = p.walkElements(cluster.payload, cluster.end, 1, func(e element) (bool, error) {
		switch e.id {
		case idTimestamp:
			var err error
			begin, err = p.uint(e)
			if begin > math.MaxInt64/2 {
				return false, malformed("its element %#x is %d", e.id, begin)
			}
			timed, last = true, begin
			return true, err
		case idSimpleBlock:
			return true, block(e)
		case idBlockGroup:
			return true, p.walkElements(e.payload, e.end, 2, func(e element) (bool, error) {
				if e.id == idBlock {
					return true, block(e)
				}
				return true, nil
			})
		}
		// Behind a cluster without an end comes an element of the segment.
		return e.id < 0x10000000, nil
	})
	if err == nil && !timed {
		err = malformed("its cluster has no time")
	}
	return last, err
}
