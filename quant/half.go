package quant

import (
	"math"

	"github.com/x448/float16"
)

// halfToFloat is the value of a half precision number.
func halfToFloat(h uint16) float32 {
	if commonHalf(h) {
		return halfToFloatCommon(h)
	}
	return halfToFloatRare(h)
}

// commonHalf says whether h is neither zero, denormal, infinite nor NaN.
func commonHalf(h uint16) bool { return h&0x7fff-0x400 < 0x7800 }

// halfToFloatCommon is halfToFloat of a common half: its bits move up, and the exponent's bias grows from 15 to 127.
func halfToFloatCommon(h uint16) float32 {
	const keep = 0x8fffe000 // all but three copies of the sign
	return math.Float32frombits(uint32(int32(int16(h)))<<13&keep + (127-15)<<23)
}

// halfToFloatRare is halfToFloat of the other halves.
func halfToFloatRare(h uint16) float32 {
	sign, mag := uint32(h&0x8000)<<16, uint32(h&0x7fff)
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
	const least, greatest = 0x38800000, 0x47800000 - 1<<12 // the magnitudes that become common halves
	u := math.Float32bits(f)
	sign, mag := u>>16&0x8000, u&^(1<<31)
	if mag-least < greatest-least {
		mag -= (127 - 15) << 23
		return uint16(sign | (mag+0xfff+mag>>13&1)>>13)
	}
	if mag > 0x7f800000 {
		return uint16(sign | 0x7e00)
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
