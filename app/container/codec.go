package container

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/abema/go-mp4"
)

// parseCodec names the codec of a sample entry as RFC 6381 has it, from the
// boxes that follow the entry's fields at position start.
func (p *parser) parseCodec(entry box, start int64, depth int, t *track) error {
	format := fourCC(entry.kind)
	t.codec = format
	return p.walk(start, entry.end, depth, func(b box) (bool, error) {
		switch b.kind.String() {
		case "avcC":
			// AVCProfileIndication, profile_compatibility, AVCLevelIndication (RFC 6381, 3.3)
			c, err := p.configuration(b, 4)
			if err == nil {
				t.codec = fmt.Sprintf("%s.%02x%02x%02x", avcFormat(format), c[1], c[2], c[3])
			}
			return true, err
		case "hvcC":
			c, err := p.configuration(b, 13)
			if err == nil {
				t.codec = hevc(hevcFormat(format), c)
			}
			return true, err
		case "av1C":
			c, err := p.configuration(b, 4)
			if err == nil {
				t.codec = av1(c)
			}
			return true, err
		case "vpcC":
			// VP Codec ISO Media File Format Binding, "Codecs Parameter String"
			c, err := p.configuration(b, 7)
			if err == nil {
				t.codec = fmt.Sprintf("%s.%02d.%02d.%02d", format, c[4], c[5], c[6]>>4)
			}
			return true, err
		case "esds":
			return true, p.parseEsds(b, t)
		case "wave": // QuickTime wraps the description of AAC
			return true, p.parseCodec(b, b.payload, depth+1, t)
		case "sinf": // encrypted: the format stands in frma
			return true, p.walk(b.payload, b.end, depth+1, func(b box) (bool, error) {
				if b.kind.String() == "frma" && (t.codec == "encv" || t.codec == "enca") {
					c, err := p.configuration(b, 4)
					if err == nil {
						t.codec = fourCC(mp4.BoxType(c))
					}
					return false, err
				}
				return true, nil
			})
		}
		return true, nil
	})
}

// configuration returns the first n bytes of a box.
func (p *parser) configuration(b box, n int64) ([]byte, error) {
	if b.end-b.payload < n {
		return nil, malformed("its box %s is too short", printable(b.kind))
	}
	return p.read(b.payload, b.payload+n)
}

// parseEsds reads object type and audio object type of MPEG-4 audio (RFC
// 6381, 3.3; ISO/IEC 14496-1, 7.2.6 and 14496-3, 1.6.2.1).
func (p *parser) parseEsds(b box, t *track) error {
	var esds mp4.Esds
	if err := p.unmarshal(b, &esds); err != nil {
		return err
	}
	const mpeg4Audio = 0x40
	object := byte(0)
	for _, d := range esds.Descriptors {
		switch {
		case d.Tag == mp4.DecoderConfigDescrTag && d.DecoderConfigDescriptor != nil:
			object = d.DecoderConfigDescriptor.ObjectTypeIndication
			t.codec = fmt.Sprintf("mp4a.%02x", object)
		case d.Tag == mp4.DecSpecificInfoTag && object == mpeg4Audio && len(d.Data) >= 2:
			t.codec = fmt.Sprintf("mp4a.%02x.%d", object, audioObject(d.Data))
		}
	}
	return nil
}

// audioObject returns the audio object type that the two first bytes of a
// decoder's configuration name.
func audioObject(config []byte) int {
	kind := int(config[0] >> 3)
	if kind == 31 { // escaped: 32 and the next six bits
		kind = 32 + int(config[0]&7)<<3 + int(config[1]>>5)
	}
	return kind
}

func avcFormat(format string) string {
	if format == "avc3" {
		return format
	}
	return "avc1" // also of an encrypted track
}

func hevcFormat(format string) string {
	if format == "hev1" {
		return format
	}
	return "hvc1"
}

// hevc names an HEVC profile (ISO/IEC 14496-15, annex E.3): profile space and
// number, compatibility flags in reverse, tier and level, and the constraint
// bytes up to the last that is not zero.
func hevc(format string, c []byte) string {
	var s strings.Builder
	s.WriteString(format + ".")
	if space := c[1] >> 6; space > 0 {
		s.WriteByte('A' + space - 1)
	}
	compatible := uint32(c[2])<<24 | uint32(c[3])<<16 | uint32(c[4])<<8 | uint32(c[5])
	tier := byte('L')
	if c[1]&0x20 != 0 {
		tier = 'H'
	}
	fmt.Fprintf(&s, "%d.%X.%c%d", c[1]&0x1f, bits.Reverse32(compatible), tier, c[12])
	constraints := c[6:12]
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, b := range constraints {
		fmt.Fprintf(&s, ".%X", b)
	}
	return s.String()
}

// av1 names an AV1 profile (AV1 Codec ISO Media File Format Binding, section 5).
func av1(c []byte) string {
	profile, level := c[1]>>5, c[1]&0x1f
	tier := byte('M')
	if c[2]&0x80 != 0 {
		tier = 'H'
	}
	depth := 8
	if c[2]&0x40 != 0 {
		depth = 10
		if profile == 2 && c[2]&0x20 != 0 {
			depth = 12
		}
	}
	return fmt.Sprintf("av01.%d.%02d%c.%02d", profile, level, tier, depth)
}

// fourCC returns a format's code without padding, or its bytes in hex.
func fourCC(kind mp4.BoxType) string {
	for _, c := range kind {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("0x%x", kind[:])
		}
	}
	return strings.TrimRight(string(kind[:]), " ")
}
