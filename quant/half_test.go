package quant

import (
	"math"
	"testing"

	"github.com/x448/float16"
)

func TestHalfToFloat(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got, want := math.Float32bits(halfToFloat(h)), math.Float32bits(float16.Frombits(h).Float32())
		if got != want {
			t.Fatalf("%#04x: got %#08x, want %#08x", h, got, want)
		}
	}
}

func TestFourCommonHalves(t *testing.T) {
	for i := range 1 << 16 {
		for shift := 0; shift < 64; shift += 16 {
			const others = 0x3c00bc007bff0400 // common ones
			h := others&^(0xffff<<shift) | uint64(i)<<shift
			if got, want := fourCommonHalves(h), commonHalf(uint16(i)); got != want {
				t.Fatalf("%#016x: got %v, want %v", h, got, want)
			}
		}
	}
}

// Around every half and every point between two halves, where rounding turns.
func TestFloatToHalf(t *testing.T) {
	check := func(bits uint32) {
		f := math.Float32frombits(bits)
		if got, want := floatToHalf(f), float16.Fromfloat32(f).Bits(); got != want && f == f {
			t.Fatalf("%v (%#08x): got %#04x, want %#04x", f, bits, got, want)
		}
	}
	for i := range 1 << 16 {
		u := math.Float32bits(float16.Frombits(uint16(i)).Float32())
		for _, middle := range []uint32{0, 1 << 12} {
			for d := range uint32(5) {
				check(u + middle + d - 2)
			}
		}
	}
	for u := uint64(0); u < 1<<32; u += 9973 {
		check(uint32(u))
	}
}

// The reference keeps no NaN's payload.
func TestNaNToHalf(t *testing.T) {
	for bits, want := range map[uint32]uint16{
		0x7f800001: 0x7e00, 0x7fc00000: 0x7e00, 0x7fffffff: 0x7e00,
		0xff800001: 0xfe00, 0xffc12345: 0xfe00,
	} {
		if got := floatToHalf(math.Float32frombits(bits)); got != want {
			t.Errorf("%#08x: got %#04x, want %#04x", bits, got, want)
		}
	}
}

func TestFloatToBrain(t *testing.T) {
	for bits, want := range map[uint32]uint16{
		0x3f800000: 0x3f80,
		0x3f808000: 0x3f80, // half way, to even
		0x3f818000: 0x3f82,
		0x3f808001: 0x3f81,
		0x00000001: 0x0000,
		0x00018000: 0x0002, // denormal
		0x7f7fffff: 0x7f80, // to infinity
		0xff800000: 0xff80,
		0x7f800001: 0x7fc0, // NaN stays one
		0xffc00000: 0xffc0,
	} {
		if got := floatToBrain(math.Float32frombits(bits)); got != want {
			t.Errorf("%#08x: got %#04x, want %#04x", bits, got, want)
		}
	}
}
