package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q2_0 is 64 weights d·(q-1) with codes q from 0 to 3: the half precision d, then two bits a code, the first one
// lowest.
const (
	weightsQ2_0 = 64
	bytesQ2_0   = 18
)

func init() {
	register(gguf.Q2_0, format{
		weights: weightsQ2_0, bytes: bytesQ2_0, nonFinite: halfScales(weightsQ2_0, bytesQ2_0, 0),
		dequantize: dequantizeQ2_0, quantize: quantizeQ2_0,
		layout: oneScale(weightsQ2_0, 0).with(-1, 4, unpackQ2_0, packQ2_0),
	})
}

func dequantizeQ2_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q2_0, dst, src)
	dst, src = dst[done:], src[done/weightsQ2_0*bytesQ2_0:]
	for len(dst) >= weightsQ2_0 && len(src) >= bytesQ2_0 {
		d := loadHalf((*[2]byte)(src))
		value := [4]float32{lessOne[0] * d, lessOne[1] * d, lessOne[2] * d, lessOne[3] * d}
		for i, q := range (*[16]byte)(src[2:]) {
			y := (*[4]float32)(dst[4*i:])
			y[0], y[1], y[2], y[3] = value[q&3], value[q>>2&3], value[q>>4&3], value[q>>6]
		}
		dst, src = dst[weightsQ2_0:], src[bytesQ2_0:]
	}
}

func quantizeQ2_0(dst []byte, src []float32) {
	for len(src) >= weightsQ2_0 && len(dst) >= bytesQ2_0 {
		x := (*[weightsQ2_0]float32)(src)
		d := absf(peak(x[:]))
		inverse := inverseOf(d)
		storeHalf((*[2]byte)(dst), d)
		q := (*[16]byte)(dst[2:])
		clear(q[:])
		for i, v := range x {
			l := min(max(roundHalfAway(float32(v*inverse))+1, 0), 3)
			q[i/4] |= uint8(l) << (2 * (i % 4))
		}
		src, dst = src[weightsQ2_0:], dst[bytesQ2_0:]
	}
}

func unpackQ2_0(codes *[weightsK]uint8, b []byte) {
	for i := range weightsQ2_0 {
		codes[i] = b[2+i/4] >> (2 * (i % 4)) & 3
	}
}

func packQ2_0(b []byte, codes *[weightsK]uint8) {
	clear(b[2:])
	for i, l := range codes[:weightsQ2_0] {
		b[2+i/4] |= l << (2 * (i % 4))
	}
}
