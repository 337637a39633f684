package imaging

import (
	"bytes"
	"encoding/binary"
)

// JPEG markers (ITU-T T.81, table B.1).
const (
	markerRST0 = 0xd0
	markerRST7 = 0xd7
	markerSOI  = 0xd8
	markerEOI  = 0xd9
	markerSOS  = 0xda
	markerSOF2 = 0xc2
	markerAPP0 = 0xe0
	markerAPP1 = 0xe1
	markerCOM  = 0xfe // after the APPn and JPGn markers
)

// segments calls yield with the marker and the content of each segment in
// front of a JPEG's first scan, until yield returns false or no decoder would
// read on. Like decoders it passes over what stands between segments: else a
// stray byte would hide what follows from the limits.
func segments(data []byte, yield func(marker byte, content []byte) bool) {
	if len(data) < 2 || data[0] != 0xff || data[1] != markerSOI {
		return
	}
	data = data[2:]
	for len(data) >= 4 {
		marker := data[1]
		switch {
		case data[0] != 0xff, marker == 0, marker == 0xff: // no marker, or a fill byte
			data = data[1:]
			continue
		case marker >= markerRST0 && marker <= markerRST7: // without a content
			data = data[2:]
			continue
		case marker == markerSOS, marker == markerEOI:
			return
		}
		size := int(binary.BigEndian.Uint16(data[2:]))
		if size < 2 || 2+size > len(data) {
			return
		}
		if !yield(marker, data[4:2+size]) {
			return
		}
		data = data[2+size:]
	}
}

// progressive tells whether a JPEG is coded in progressive scans.
func progressive(data []byte) bool {
	found := false
	segments(data, func(marker byte, _ []byte) bool {
		found = marker == markerSOF2
		return !found
	})
	return found
}

// orientation returns the EXIF Orientation of a JPEG, from 1 (as stored) to 8;
// 1 when there is none or it makes no sense.
func orientation(data []byte) int {
	value := 1
	segments(data, func(marker byte, content []byte) bool {
		if tiff, ok := bytes.CutPrefix(content, []byte("Exif\x00\x00")); ok && marker == markerAPP1 {
			value = tiffOrientation(tiff)
			return false
		}
		return true
	})
	return value
}

// tiffOrientation looks for tag 0x0112 in the first image file directory of a
// TIFF structure (TIFF 6.0, section 2; Exif 2.3, 4.6.4).
func tiffOrientation(tiff []byte) int {
	const (
		tag       = 0x0112
		short     = 3
		entrySize = 12
	)
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "MM\x00\x2a":
		order = binary.BigEndian
	case "II\x2a\x00":
		order = binary.LittleEndian
	default:
		return 1
	}
	start := uint64(order.Uint32(tiff[4:]))
	if start+2 > uint64(len(tiff)) {
		return 1
	}
	directory := tiff[start:]
	count := int(order.Uint16(directory))
	directory = directory[2:]
	for range count {
		if len(directory) < entrySize {
			return 1
		}
		if order.Uint16(directory) == tag && order.Uint16(directory[2:]) == short {
			if value := int(order.Uint16(directory[8:])); value >= 1 && value <= 8 {
				return value
			}
			return 1
		}
		directory = directory[entrySize:]
	}
	return 1
}
