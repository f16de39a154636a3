package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q5_0 is 32 weights d·(q-16): the half precision d, 32 bits of which bit i is the highest bit of code i, then 16
// bytes, of which byte i holds the low four bits of codes i (low) and i+16.
const (
	weightsQ5_0 = 32
	bytesQ5_0   = 22
)

func init() {
	register(gguf.Q5_0, format{
		weights: weightsQ5_0, bytes: bytesQ5_0, nonFinite: halfScales(weightsQ5_0, bytesQ5_0, 0),
		dequantize: dequantizeQ5_0, quantize: quantizeQ5_0, quantizeWeighted: quantizeWeightedQ5_0,
		layout: oneScale(32, 0).with(-16, 32, fiveBitsFrom(2), fiveBitsTo(2)),
	})
}

func dequantizeQ5_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q5_0, dst, src)
	dst, src = dst[done:], src[done/weightsQ5_0*bytesQ5_0:]
	var codes [weightsQ5_0]uint8
	for len(dst) >= weightsQ5_0 && len(src) >= bytesQ5_0 {
		unpackFiveBits(&codes, (*[4]byte)(src[2:]), (*[16]byte)(src[6:]))
		scaleCodes((*[32]float32)(dst), &codes, loadHalf((*[2]byte)(src)), &less16)
		dst, src = dst[weightsQ5_0:], src[bytesQ5_0:]
	}
}

func quantizeQ5_0(dst []byte, src []float32) {
	done := kernels.Quantize(kernels.Q5_0, dst, src)
	src, dst = src[done:], dst[done/weightsQ5_0*bytesQ5_0:]
	var codes [weightsQ5_0]uint8
	for len(src) >= weightsQ5_0 && len(dst) >= bytesQ5_0 {
		x := (*[weightsQ5_0]float32)(src)
		d := peak(x[:]) / -16
		inverse := inverseOf(d)
		for i, v := range x {
			codes[i] = roundedCode(float32(v*inverse)+16.5, 31)
		}
		packQ5_0((*[bytesQ5_0]byte)(dst), d, &codes)
		src, dst = src[weightsQ5_0:], dst[bytesQ5_0:]
	}
}

func quantizeWeightedQ5_0(dst []byte, row, importance []float32) {
	if haveLanes() {
		newSymmetricLanes(16).quantizeBlocks(dst, row, importance, bytesQ5_0, packWeightedQ5_0)
		return
	}
	plainWeightedQ5_0(dst, row, importance)
}

func plainWeightedQ5_0(dst []byte, row, importance []float32) {
	var w [weightsQ5_0]float32
	var codes [weightsQ5_0]uint8
	spread := sumSquares(row) / float32(len(row))
	for len(row) >= weightsQ5_0 && len(dst) >= bytesQ5_0 {
		errorWeights(w[:], row, importance, spread)
		d := fitSymmetric(codes[:], row[:weightsQ5_0], w[:], 16)
		packWeightedQ5_0(dst, &codes, d, 0)
		row, importance, dst = row[weightsQ5_0:], importance[weightsQ5_0:], dst[bytesQ5_0:]
	}
}

func packQ5_0(b *[bytesQ5_0]byte, d float32, codes *[weightsQ5_0]uint8) {
	storeHalf((*[2]byte)(b[:]), d)
	packFiveBits((*[4]byte)(b[2:]), (*[16]byte)(b[6:]), codes)
}

func packWeightedQ5_0(b []byte, codes *[weightsQ5_0]uint8, d, _ float32) {
	packQ5_0((*[bytesQ5_0]byte)(b), d, codes)
}
