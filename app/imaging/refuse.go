package imaging

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Nothing of an upload's bytes reaches a rendition, which is encoded anew, and
// of an animation one frame is decoded. What is refused here is refused for the
// sake of those who open the original.

// alsoKnownAs names the format a file can be opened as beside being a picture;
// "" for a plain picture.
func alsoKnownAs(data []byte) string {
	switch {
	case isArchive(data):
		return "ZIP archive"
	case bytes.Contains(data[:min(len(data), pdfWithin)], []byte("%PDF-")):
		return "PDF document"
	}
	return ""
}

// pdfWithin is how deep in a file readers look for the header of a PDF (PDF
// 1.7 reference, appendix H, note 13).
const pdfWithin = 1024

// isArchive tells whether a file ends as a ZIP archive does, whatever it begins
// with (APPNOTE 6.3.10, 4.3.16): programs, documents and Java archives are ZIP.
func isArchive(data []byte) bool {
	const (
		recordSize = 22      // end of central directory, without its comment
		maxComment = 1 << 16 // its length has two bytes
	)
	tail := data[max(0, len(data)-recordSize-maxComment):]
	before := data[:len(data)-len(tail)]
	for {
		at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
		if at < 0 {
			return false
		}
		record := tail[at:]
		tail = tail[:at]
		if len(record) < recordSize || recordSize+int(binary.LittleEndian.Uint16(record[20:])) > len(record) {
			continue
		}
		// Of a ZIP64 archive the record says nothing; the locator stands in front of it.
		if bytes.HasSuffix(tail[:max(0, at-16)], []byte("PK\x06\x07")) {
			return true
		}
		directory := int64(binary.LittleEndian.Uint32(record[12:]))
		start := int64(len(before)+at) - directory
		if start >= 0 && bytes.HasPrefix(data[start:], []byte("PK\x01\x02")) {
			return true
		}
	}
}

// metadata counts the bytes of a JPEG in front of its first scan that are not
// needed to decode it.
func metadata(data []byte) (total int64) {
	segments(data, func(marker byte, content []byte) bool {
		if marker >= markerAPP0 && marker <= markerCOM {
			total += int64(len(content))
		}
		return true
	})
	return total
}

// animation counts the frames of a GIF and their pixels without decoding them,
// up to where the file stops making sense (GIF89a, section 15 and following).
func animation(data []byte) (frames int, pixels int64) {
	const (
		header     = 6 + 7 // signature and logical screen descriptor
		descriptor = 10
		extension  = 0x21
		image      = 0x2c
	)
	if len(data) < header {
		return 0, 0
	}
	data = skip(data, header+colorTable(data[10]))
	for len(data) > 0 {
		switch data[0] {
		case extension:
			data = skipExtension(data)
		case image:
			if len(data) < descriptor {
				return frames, pixels
			}
			frames++
			pixels += int64(binary.LittleEndian.Uint16(data[5:])) * int64(binary.LittleEndian.Uint16(data[7:]))
			// The LZW code size stands in front of the data.
			data = subBlocks(skip(data, descriptor+colorTable(data[9])+1))
		default: // the trailer, or nonsense
			return frames, pixels
		}
	}
	return frames, pixels
}

// skipExtension returns what follows an extension; nothing after one that
// decoders do not know.
func skipExtension(data []byte) []byte {
	const (
		plainText      = 0x01
		graphicControl = 0xf9
		comment        = 0xfe
		application    = 0xff
	)
	if len(data) < 3 {
		return nil
	}
	switch data[1] {
	case plainText:
		return subBlocks(skip(data, 2+13))
	case graphicControl:
		return skip(data, 2+6)
	case comment:
		return subBlocks(data[2:])
	case application:
		// The name's length; one of none does not end the extension.
		return subBlocks(skip(data, 3+int(data[2])))
	}
	return nil
}

// colorTable returns the bytes of the table that packed fields announce.
func colorTable(packed byte) int {
	if packed&0x80 == 0 {
		return 0
	}
	return 3 << (packed&7 + 1)
}

// subBlocks returns what follows a sequence of data sub-blocks.
func subBlocks(data []byte) []byte {
	for len(data) > 0 && data[0] != 0 {
		data = skip(data, 1+int(data[0]))
	}
	return skip(data, 1)
}

func skip(data []byte, n int) []byte { return data[min(n, len(data)):] }

// refuse tells what is wrong with a picture beside its size, nil when nothing is.
func refuse(f format, data []byte, limits Limits) error {
	if other := alsoKnownAs(data); other != "" {
		return invalid("the file is a %s picture and a %s at once", f.name, other)
	}
	switch f.name {
	case "JPEG":
		if n := metadata(data); n > limits.Metadata {
			return invalid("the picture carries %s of metadata; at most %s are accepted", mebibytes(n), mebibytes(limits.Metadata))
		}
	case "WebP":
		// The decoder takes memory by the lengths in the file, before it reads so far.
		const riff = 8 // the name and the length of what follows
		if len(data) < riff || int64(binary.LittleEndian.Uint32(data[4:])) > int64(len(data)-riff) {
			return undecodable(f, io.ErrUnexpectedEOF)
		}
	case "GIF":
		if frames, pixels := animation(data); frames > 1 && pixels > limits.Animation {
			return invalid("the animation has %.1f megapixels in %d frames; at most %.1f are accepted", float64(pixels)/1e6, frames, float64(limits.Animation)/1e6)
		}
	}
	return nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
