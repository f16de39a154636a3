package quant

import "github.com/peftconv/peftconv/kernels"

// Q8_0 is 32 weights d·q: the half precision d, then 32 signed bytes.
const (
	weightsQ8_0 = 32
	bytesQ8_0   = 34
)

func dequantizeQ8_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q8_0, dst, src)
	dst, src = dst[done:], src[done/weightsQ8_0*bytesQ8_0:]
	for len(dst) >= weightsQ8_0 && len(src) >= bytesQ8_0 {
		scaleCodes((*[32]float32)(dst), (*[32]byte)(src[2:]), loadHalf((*[2]byte)(src)), &signedByte)
		dst, src = dst[weightsQ8_0:], src[bytesQ8_0:]
	}
}

func quantizeQ8_0(dst []byte, src []float32) {
	done := kernels.Quantize(kernels.Q8_0, dst, src)
	src, dst = src[done:], dst[done/weightsQ8_0*bytesQ8_0:]
	for len(src) >= weightsQ8_0 && len(dst) >= bytesQ8_0 {
		x := (*[weightsQ8_0]float32)(src)
		d := absf(peak(x[:])) / 127
		inverse := inverseOf(d)
		storeHalf((*[2]byte)(dst), d)
		q := (*[32]byte)(dst[2:])
		for i, v := range x {
			q[i] = byte(roundHalfAway(float32(v * inverse)))
		}
		src, dst = src[weightsQ8_0:], dst[bytesQ8_0:]
	}
}
