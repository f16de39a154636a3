package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q1_0 is 128 weights of d or -d: the half precision d, then one bit per weight, set for d, the first one lowest.
const (
	weightsQ1_0 = 128
	bytesQ1_0   = 18
)

func init() {
	register(gguf.Q1_0, format{
		weights: weightsQ1_0, bytes: bytesQ1_0, nonFinite: halfScales(weightsQ1_0, bytesQ1_0, 0),
		dequantize: dequantizeQ1_0, quantize: quantizeQ1_0,
		layout: oneScale(weightsQ1_0, 0).uneven([]float32{-1, 1}, unpackQ1_0, packQ1_0),
	})
}

func dequantizeQ1_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q1_0, dst, src)
	dst, src = dst[done:], src[done/weightsQ1_0*bytesQ1_0:]
	for len(dst) >= weightsQ1_0 && len(src) >= bytesQ1_0 {
		d := loadHalf((*[2]byte)(src))
		sign := [2]float32{-d, d}
		for i, q := range (*[16]byte)(src[2:]) {
			y := (*[8]float32)(dst[8*i:])
			for j := range y {
				y[j] = sign[q&1]
				q >>= 1
			}
		}
		dst, src = dst[weightsQ1_0:], src[bytesQ1_0:]
	}
}

func quantizeQ1_0(dst []byte, src []float32) {
	for len(src) >= weightsQ1_0 && len(dst) >= bytesQ1_0 {
		x := (*[weightsQ1_0]float32)(src)
		var sum float32
		for _, v := range x {
			sum += absf(v)
		}
		storeHalf((*[2]byte)(dst), sum/weightsQ1_0)
		q := (*[16]byte)(dst[2:])
		clear(q[:])
		for i, v := range x {
			if v >= 0 {
				q[i/8] |= 1 << (i % 8)
			}
		}
		src, dst = src[weightsQ1_0:], dst[bytesQ1_0:]
	}
}

func unpackQ1_0(codes *[weightsK]uint8, b []byte) {
	for i := range weightsQ1_0 {
		codes[i] = b[2+i/8] >> (i % 8) & 1
	}
}

func packQ1_0(b []byte, codes *[weightsK]uint8) {
	clear(b[2:])
	for i, l := range codes[:weightsQ1_0] {
		b[2+i/8] |= l << (i % 8)
	}
}
