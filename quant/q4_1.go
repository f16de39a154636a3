package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q4_1 is 32 weights d·q + m: the half precision d and m, then 16 bytes, of which byte i holds the codes of weights i
// (low bits) and i+16.
const (
	weightsQ4_1 = 32
	bytesQ4_1   = 20
)

func init() {
	register(gguf.Q4_1, format{
		weights: weightsQ4_1, bytes: bytesQ4_1, nonFinite: halfScales(weightsQ4_1, bytesQ4_1, 0, 2),
		dequantize: dequantizeQ4_1, quantize: quantizeQ4_1, quantizeWeighted: quantizeWeightedQ4_1,
		layout: scaleAndMinimum().with(0, 16, nibblesFrom(4), nibblesTo(4)),
	})
}

// searchQ4_1 is the search with importance weights.
var searchQ4_1 = affineSearch{top: 15, first: -0.9, step: 0.05, steps: 36}

func dequantizeQ4_1(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q4_1, dst, src)
	dst, src = dst[done:], src[done/weightsQ4_1*bytesQ4_1:]
	var codes [weightsQ4_1]uint8
	for len(dst) >= weightsQ4_1 && len(src) >= bytesQ4_1 {
		unpackNibbles(&codes, (*[16]byte)(src[4:]))
		scaleCodesAdd((*[32]float32)(dst), &codes, loadHalf((*[2]byte)(src)), loadHalf((*[2]byte)(src[2:])))
		dst, src = dst[weightsQ4_1:], src[bytesQ4_1:]
	}
}

func quantizeQ4_1(dst []byte, src []float32) {
	for len(src) >= weightsQ4_1 && len(dst) >= bytesQ4_1 {
		x := (*[weightsQ4_1]float32)(src)
		least, greatest := extent(x[:])
		d := (greatest - least) / 15
		inverse := inverseOf(d)
		storeHalf((*[2]byte)(dst), d)
		storeHalf((*[2]byte)(dst[2:]), least)
		q := (*[16]byte)(dst[4:])
		for i := range q {
			lo := roundedCode(float32((x[i]-least)*inverse)+0.5, 15)
			hi := roundedCode(float32((x[i+16]-least)*inverse)+0.5, 15)
			q[i] = lo | hi<<4
		}
		src, dst = src[weightsQ4_1:], dst[bytesQ4_1:]
	}
}

func quantizeWeightedQ4_1(dst []byte, row, importance []float32) {
	if haveLanes() {
		newAffineLanes(&searchQ4_1).quantizeBlocks(dst, row, importance, bytesQ4_1, packWeightedQ4_1)
		return
	}
	plainWeightedQ4_1(dst, row, importance)
}

func plainWeightedQ4_1(dst []byte, row, importance []float32) {
	var w [weightsQ4_1]float32
	var codes [weightsQ4_1]uint8
	spread := sumSquares(row) / float32(len(row))
	for len(row) >= weightsQ4_1 && len(dst) >= bytesQ4_1 {
		errorWeights(w[:], row, importance, spread)
		d, minimum := searchQ4_1.fit(codes[:], row[:weightsQ4_1], w[:])
		packWeightedQ4_1(dst, &codes, d, -minimum)
		row, importance, dst = row[weightsQ4_1:], importance[weightsQ4_1:], dst[bytesQ4_1:]
	}
}

func packWeightedQ4_1(b []byte, codes *[weightsQ4_1]uint8, d, m float32) {
	storeHalf((*[2]byte)(b), d)
	storeHalf((*[2]byte)(b[2:]), m)
	packNibbles((*[16]byte)(b[4:]), codes)
}
