package mediatest

import "encoding/binary"

// Profile and level of the pictures (ITU-T H.264, annex A).
const (
	h264High    = 100
	h264Level31 = 31
	macroblock  = 16 // pixels a side
)

// h264ParameterSets returns a sequence and a picture parameter set (ITU-T
// H.264, 7.3.2) for pictures of the given size.
func h264ParameterSets(width, height int) (sps, pps []byte) {
	columns, rows := macroblocks(width, height)
	var s bitsMSB
	s.u(h264High, 8)
	s.u(0, 8) // no constraint
	s.u(h264Level31, 8)
	s.ue(0)   // seq_parameter_set_id
	s.ue(1)   // 4:2:0
	s.ue(0)   // 8 bits luma
	s.ue(0)   // 8 bits chroma
	s.u(0, 2) // no transform bypass, no scaling matrix
	s.ue(0)   // frame_num in four bits
	s.ue(2)   // pictures are shown in the order they are decoded
	s.ue(1)   // one reference frame
	s.u(0, 1)
	s.ue(columns - 1)
	s.ue(rows - 1)
	s.u(1, 1) // frames only
	s.u(1, 1) // direct_8x8_inference
	right, bottom := columns*macroblock-width, rows*macroblock-height
	if right+bottom > 0 {
		s.u(1, 1) // cropped, in units of two pixels
		s.ue(0)
		s.ue(right / 2)
		s.ue(0)
		s.ue(bottom / 2)
	} else {
		s.u(0, 1)
	}
	s.u(0, 1) // no video usability information

	var p bitsMSB
	p.ue(0)   // pic_parameter_set_id
	p.ue(0)   // seq_parameter_set_id
	p.u(0, 2) // CAVLC, no bottom field order
	p.ue(0)   // one slice group
	p.ue(0)   // one reference in list 0
	p.ue(0)   // and in list 1
	p.u(0, 3) // no weighted prediction
	p.ue(0)   // pic_init_qp 26
	p.ue(0)   // pic_init_qs 26
	p.ue(0)   // chroma_qp_index_offset
	p.u(1, 1) // slices say how they are deblocked
	p.u(0, 2)
	return nal(0x67, s.trailed()), nal(0x68, p.trailed())
}

// h264Picture returns picture number n of the movie as an MP4 sample: the
// first holds every pixel as it is, the others say that nothing changed.
func h264Picture(width, height, n int) []byte {
	columns, rows := macroblocks(width, height)
	var b bitsMSB
	header := byte(0x65) // an instantaneous refresh
	b.ue(0)              // first_mb_in_slice
	if n == 0 {
		b.ue(7)   // every slice is I
		b.ue(0)   // pic_parameter_set_id
		b.u(0, 4) // frame_num
		b.ue(0)   // idr_pic_id
		b.u(0, 2) // dec_ref_pic_marking
	} else {
		header = 0x41
		b.ue(5) // every slice is P
		b.ue(0)
		b.u(n%16, 4)
		b.u(0, 3) // as many references as the parameter set says, in order, sliding window
	}
	b.ue(0) // slice_qp_delta
	b.ue(1) // no deblocking
	if n > 0 {
		b.ue(columns * rows) // mb_skip_run
	} else {
		for range columns * rows {
			b.ue(25) // I_PCM
			b.align()
			for range macroblock * macroblock * 3 / 2 {
				b.buf = append(b.buf, 0x80)
			}
		}
	}
	unit := nal(header, b.trailed())
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(unit))), unit...)
}

func macroblocks(width, height int) (columns, rows int) {
	return (width + macroblock - 1) / macroblock, (height + macroblock - 1) / macroblock
}

// nal wraps a payload into a NAL unit: a byte 3 goes behind each two zeros
// that a byte up to 3 follows (7.4.1).
func nal(header byte, payload []byte) []byte {
	out := []byte{header}
	zeros := 0
	for _, c := range payload {
		if zeros >= 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if out = append(out, c); c == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return out
}

// bitsMSB packs values with their most significant bit first.
type bitsMSB struct {
	buf  []byte
	free int // bits left in the last byte
}

// u appends value as an unsigned number of count bits.
func (b *bitsMSB) u(value, count int) {
	for i := count - 1; i >= 0; i-- {
		if b.free == 0 {
			b.buf, b.free = append(b.buf, 0), 8
		}
		b.free--
		b.buf[len(b.buf)-1] |= byte(value>>i&1) << b.free
	}
}

// ue appends value as an Exp-Golomb code (9.1). For 0 it is the same code as
// the signed form's.
func (b *bitsMSB) ue(value int) {
	bits := 0
	for v := value + 1; v > 1; v >>= 1 {
		bits++
	}
	b.u(0, bits)
	b.u(value+1, bits+1)
}

// align fills the last byte with zeros.
func (b *bitsMSB) align() { b.free = 0 }

// trailed ends the payload with a one and zeros (7.3.2.11).
func (b *bitsMSB) trailed() []byte {
	b.u(1, 1)
	return b.buf
}
