package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q5_1 is 32 weights d·q + m: the half precision d and m, 32 bits of which bit i is the highest bit of code i, then 16
// bytes, of which byte i holds the low four bits of codes i (low) and i+16.
const (
	weightsQ5_1 = 32
	bytesQ5_1   = 24
)

func init() {
	register(gguf.Q5_1, format{
		weights: weightsQ5_1, bytes: bytesQ5_1, nonFinite: halfScales(weightsQ5_1, bytesQ5_1, 0, 2),
		dequantize: dequantizeQ5_1, quantize: quantizeQ5_1, quantizeWeighted: quantizeWeightedQ5_1,
		layout: scaleAndMinimum().with(0, 32, fiveBitsFrom(4), fiveBitsTo(4)),
	})
}

// searchQ5_1 is the search with importance weights.
var searchQ5_1 = affineSearch{top: 31, first: -0.9, step: 0.05, steps: 36}

func dequantizeQ5_1(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q5_1, dst, src)
	dst, src = dst[done:], src[done/weightsQ5_1*bytesQ5_1:]
	var codes [weightsQ5_1]uint8
	for len(dst) >= weightsQ5_1 && len(src) >= bytesQ5_1 {
		unpackFiveBits(&codes, (*[4]byte)(src[4:]), (*[16]byte)(src[8:]))
		scaleCodesAdd((*[32]float32)(dst), &codes, loadHalf((*[2]byte)(src)), loadHalf((*[2]byte)(src[2:])))
		dst, src = dst[weightsQ5_1:], src[bytesQ5_1:]
	}
}

func quantizeQ5_1(dst []byte, src []float32) {
	var codes [weightsQ5_1]uint8
	for len(src) >= weightsQ5_1 && len(dst) >= bytesQ5_1 {
		x := (*[weightsQ5_1]float32)(src)
		least, greatest := extent(x[:])
		d := (greatest - least) / 31
		inverse := inverseOf(d)
		for i, v := range x {
			codes[i] = uint8(truncated(float32((v-least)*inverse) + 0.5))
		}
		packQ5_1((*[bytesQ5_1]byte)(dst), d, least, &codes)
		src, dst = src[weightsQ5_1:], dst[bytesQ5_1:]
	}
}

func quantizeWeightedQ5_1(dst []byte, row, importance []float32) {
	if haveLanes() {
		newAffineLanes(&searchQ5_1).quantizeBlocks(dst, row, importance, bytesQ5_1, packWeightedQ5_1)
		return
	}
	plainWeightedQ5_1(dst, row, importance)
}

func plainWeightedQ5_1(dst []byte, row, importance []float32) {
	var w [weightsQ5_1]float32
	var codes [weightsQ5_1]uint8
	spread := sumSquares(row) / float32(len(row))
	for len(row) >= weightsQ5_1 && len(dst) >= bytesQ5_1 {
		errorWeights(w[:], row, importance, spread)
		d, minimum := searchQ5_1.fit(codes[:], row[:weightsQ5_1], w[:])
		packWeightedQ5_1(dst, &codes, d, -minimum)
		row, importance, dst = row[weightsQ5_1:], importance[weightsQ5_1:], dst[bytesQ5_1:]
	}
}

func packQ5_1(b *[bytesQ5_1]byte, d, m float32, codes *[weightsQ5_1]uint8) {
	storeHalf((*[2]byte)(b[:]), d)
	storeHalf((*[2]byte)(b[2:]), m)
	packFiveBits((*[4]byte)(b[4:]), (*[16]byte)(b[8:]), codes)
}

func packWeightedQ5_1(b []byte, codes *[weightsQ5_1]uint8, d, m float32) {
	packQ5_1((*[bytesQ5_1]byte)(b), d, m, codes)
}
