package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q8_0 is 32 weights d·q: the half precision d, then 32 signed bytes.
const (
	weightsQ8_0 = 32
	bytesQ8_0   = 34
)

func init() {
	register(gguf.Q8_0, format{
		weights: weightsQ8_0, bytes: bytesQ8_0, nonFinite: halfScales(weightsQ8_0, bytesQ8_0, 0),
		dequantize: dequantizeQ8_0, quantize: quantizeQ8_0,
		layout: layoutQ8_0(),
	})
}

func dequantizeQ8_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q8_0, dst, src)
	dst, src = dst[done:], src[done/weightsQ8_0*bytesQ8_0:]
	for len(dst) >= weightsQ8_0 && len(src) >= bytesQ8_0 {
		scaleCodes((*[32]float32)(dst), (*[32]byte)(src[2:]), loadHalf((*[2]byte)(src)), &signedByte)
		dst, src = dst[weightsQ8_0:], src[bytesQ8_0:]
	}
}

func quantizeQ8_0(dst []byte, src []float32) {
	const piece = 64 * weightsQ8_0 // which a cache holds
	blocks := min(len(src)/weightsQ8_0, len(dst)/bytesQ8_0)
	src, dst = src[:blocks*weightsQ8_0], dst[:blocks*bytesQ8_0]
	for len(src) > 0 {
		x := src[:min(piece, len(src))]
		n := len(x) / weightsQ8_0
		// The kernel leaves NaN out of the greatest magnitude; the reference does not.
		done := 0
		if kernels.Quantize(kernels.Q8_0, dst[:n*bytesQ8_0], x) == len(x) && !hasNaN(x) {
			done = n
		}
		for i := done; i < n; i++ {
			blockQ8_0((*[bytesQ8_0]byte)(dst[i*bytesQ8_0:]), (*[weightsQ8_0]float32)(x[i*weightsQ8_0:]))
		}
		src, dst = src[len(x):], dst[n*bytesQ8_0:]
	}
}

func blockQ8_0(b *[bytesQ8_0]byte, x *[weightsQ8_0]float32) {
	d := greatestMagnitude(x[:]) / 127
	inverse := inverseOf(d)
	storeHalf((*[2]byte)(b[:]), d)
	for i, v := range x {
		b[2+i] = byte(roundHalfAway(float32(v * inverse)))
	}
}

// layoutQ8_0 has the codes 0 to 254 of the bytes -127 to 127. -128, which no quantizer writes, has the code of -127. It
// is kept where a file has it and the code stays, and never written, because kernels that split sign and magnitude fail
// on it.
func layoutQ8_0() *layout {
	g := oneScale(32, 0).with(-127, 255,
		func(codes *[weightsK]uint8, b []byte) {
			for i := 0; i < 32; i += 8 {
				up := load8(b[2+i:]) ^ eachByte*0x80
				store8(codes[i:], up-otherThanZero(up))
			}
		},
		func(b []byte, codes *[weightsK]uint8) {
			for i := 0; i < 32; i += 8 {
				code := load8(codes[i:])
				kept := eachByte &^ (otherThanZero(code) | otherThanZero(load8(b[2+i:])^eachByte*0x80))
				store8(b[2+i:], (code+eachByte-kept)^eachByte*0x80)
			}
		})
	g.from = -127
	return g
}

// eachByte is 1 in each of eight bytes.
const eachByte = 0x0101010101010101

// otherThanZero is 1 in each byte where x is not 0.
func otherThanZero(x uint64) uint64 {
	return ((x&(eachByte*0x7f) + eachByte*0x7f) | x) >> 7 & eachByte
}
