package quant

import (
	"math"

	"github.com/x448/float16"
)

// halfToFloat is the value of a half precision number. It equals float16.Frombits(h).Float32() and is small enough to
// be inlined where a block's scale is read.
func halfToFloat(h uint16) float32 {
	sign, mag := uint32(h&0x8000)<<16, uint32(h&0x7fff)
	if mag-0x400 >= 0x7c00-0x400 {
		return halfToFloatRare(sign, mag)
	}
	return math.Float32frombits(sign | (mag<<13 + (127-15)<<23))
}

// halfToFloatRare is halfToFloat of zero, denormals, infinities and NaN.
//
//go:noinline
func halfToFloatRare(sign, mag uint32) float32 {
	switch {
	case mag < 0x400:
		// The magnitude is a count of 2^-24: 0.5 + mag·2^-24 is exact, and so is taking 0.5 away again.
		f := math.Float32frombits(126<<23|mag) - 0.5
		return math.Float32frombits(sign | math.Float32bits(f))
	case mag == 0x7c00:
		return math.Float32frombits(sign | 0x7f800000)
	}
	return math.Float32frombits(sign | 0x7fc00000 | mag<<13)
}

// floatToHalf rounds to half precision, ties to even. Every NaN becomes the plain quiet one of its sign.
func floatToHalf(f float32) uint16 {
	if f != f {
		return uint16(math.Float32bits(f)>>16&0x8000 | 0x7e00)
	}
	return float16.Fromfloat32(f).Bits()
}

// loadHalf is the half precision number in the first two bytes of b.
func loadHalf(b *[2]byte) float32 { return halfToFloat(uint16(b[0]) | uint16(b[1])<<8) }

// storeHalf rounds f into b and returns the value that is now there.
func storeHalf(b *[2]byte, f float32) float32 {
	h := floatToHalf(f)
	b[0], b[1] = byte(h), byte(h>>8)
	return halfToFloat(h)
}

// floatToBrain rounds to bfloat16, ties to even. NaN stays NaN and is quiet.
func floatToBrain(f float32) uint16 {
	u := math.Float32bits(f)
	if f != f {
		return uint16(u>>16 | 0x40)
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}
