package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q4_0 is 32 weights d·(q-8): the half precision d, then 16 bytes, of which byte i holds the codes of weights i (low
// bits) and i+16.
const (
	weightsQ4_0 = 32
	bytesQ4_0   = 18
)

func init() {
	register(gguf.Q4_0, format{
		weights: weightsQ4_0, bytes: bytesQ4_0, nonFinite: halfScales(weightsQ4_0, bytesQ4_0, 0),
		dequantize: dequantizeQ4_0, quantize: quantizeQ4_0, quantizeWeighted: quantizeWeightedQ4_0,
		layout: oneScale(32, 0).with(-8, 16, nibblesFrom(2), nibblesTo(2)),
	})
}

func dequantizeQ4_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q4_0, dst, src)
	dst, src = dst[done:], src[done/weightsQ4_0*bytesQ4_0:]
	var codes [weightsQ4_0]uint8
	for len(dst) >= weightsQ4_0 && len(src) >= bytesQ4_0 {
		unpackNibbles(&codes, (*[16]byte)(src[2:]))
		scaleCodes((*[32]float32)(dst), &codes, loadHalf((*[2]byte)(src)), &lessEight)
		dst, src = dst[weightsQ4_0:], src[bytesQ4_0:]
	}
}

func quantizeQ4_0(dst []byte, src []float32) {
	done := kernels.Quantize(kernels.Q4_0, dst, src)
	src, dst = src[done:], dst[done/weightsQ4_0*bytesQ4_0:]
	for len(src) >= weightsQ4_0 && len(dst) >= bytesQ4_0 {
		x := (*[weightsQ4_0]float32)(src)
		d := peak(x[:]) / -8
		inverse := inverseOf(d)
		storeHalf((*[2]byte)(dst), d)
		q := (*[16]byte)(dst[2:])
		for i := range q {
			lo := roundedCode(float32(x[i]*inverse)+8.5, 15)
			hi := roundedCode(float32(x[i+16]*inverse)+8.5, 15)
			q[i] = lo | hi<<4
		}
		src, dst = src[weightsQ4_0:], dst[bytesQ4_0:]
	}
}

func quantizeWeightedQ4_0(dst []byte, row, importance []float32) {
	if haveLanes() {
		newSymmetricLanes(8).quantizeBlocks(dst, row, importance, bytesQ4_0, packWeightedQ4_0)
		return
	}
	plainWeightedQ4_0(dst, row, importance)
}

func plainWeightedQ4_0(dst []byte, row, importance []float32) {
	var w [weightsQ4_0]float32
	var codes [weightsQ4_0]uint8
	spread := sumSquares(row) / float32(len(row))
	for len(row) >= weightsQ4_0 && len(dst) >= bytesQ4_0 {
		errorWeights(w[:], row, importance, spread)
		d := fitSymmetric(codes[:], row[:weightsQ4_0], w[:], 8)
		packWeightedQ4_0(dst, &codes, d, 0)
		row, importance, dst = row[weightsQ4_0:], importance[weightsQ4_0:], dst[bytesQ4_0:]
	}
}

func packWeightedQ4_0(b []byte, codes *[weightsQ4_0]uint8, d, _ float32) {
	storeHalf((*[2]byte)(b), d)
	packNibbles((*[16]byte)(b[2:]), codes)
}
