package container

import "testing"

func TestCodecStrings(t *testing.T) {
	t.Parallel()
	// The strings are what browsers are asked for: Main and Main 10 HEVC, AV1 at 8 and 10 bits.
	if got := hevc("hvc1", []byte{1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93}); got != "hvc1.1.6.L93.B0" {
		t.Errorf("got %s, want hvc1.1.6.L93.B0", got)
	}
	if got := hevc("hev1", []byte{1, 0x22, 0x20, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 120}); got != "hev1.2.4.H120.90" {
		t.Errorf("got %s, want hev1.2.4.H120.90", got)
	}
	if got := av1([]byte{0x81, 0x04, 0, 0}); got != "av01.0.04M.08" {
		t.Errorf("got %s, want av01.0.04M.08", got)
	}
	if got := av1([]byte{0x81, 0x28, 0xc0, 0}); got != "av01.1.08H.10" {
		t.Errorf("got %s, want av01.1.08H.10", got)
	}
}
