package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q4_K is a super-block of eight groups of 32 weights scale·q - minimum: the head (see unpackScales), then 128 bytes of
// which byte i of each 32 holds the codes of weights i (low bits) and i+32 of 64.
const bytesQ4_K = headBytesK + 128

func init() {
	register(gguf.Q4_K, format{
		weights: weightsK, bytes: bytesQ4_K, nonFinite: halfScales(weightsK, bytesQ4_K, 0, 2),
		dequantize: dequantizeQ4_K, quantize: quantizeQ4_K, quantizeWeighted: quantizeWeightedQ4_K,
		layout: layoutOfHead().with(0, 16,
			func(codes *[weightsK]uint8, b []byte) { unpackQ4_K(codes, (*[128]byte)(b[headBytesK:])) },
			func(b []byte, codes *[weightsK]uint8) { packQ4_K((*[128]byte)(b[headBytesK:]), codes) }),
	})
}

var (
	searchQ4_K         = affineSearch{top: 15, first: -1, step: 0.1, steps: 20}
	searchWeightedQ4_K = affineSearch{top: 15, first: -0.9, step: 0.05, steps: 36}
)

var (
	lanesQ4_K = laneFormat{
		n: groupLenK, bytes: bytesQ4_K, lanes: affineLanes(&searchQ4_K), weigh: (*kernels.Groups).WeighMeans,
		plain: func(dst []byte, x, _ []float32) { plainQ4_K(dst, x) },
		finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
			packQ4_K((*[128]byte)(b[headBytesK:]), finishAffineLanes((*[headBytesK]byte)(b), x, l, at))
		},
	}
	lanesWeightedQ4_K = laneFormat{
		n: groupLenK, bytes: bytesQ4_K, lanes: affineLanes(&searchWeightedQ4_K), spread: 2, topScale: topScaleK,
		plain: plainWeightedQ4_K,
		finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
			packQ4_K((*[128]byte)(b[headBytesK:]), finishAffineLanesWeighted((*[headBytesK]byte)(b), x, l, at))
		},
	}
)

func dequantizeQ4_K(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q4_K, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesQ4_K:]
	var codes [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesQ4_K {
		unpackQ4_K(&codes, (*[128]byte)(src[headBytesK:]))
		scaleAffine((*[weightsK]float32)(dst), &codes, (*[headBytesK]byte)(src))
		dst, src = dst[weightsK:], src[bytesQ4_K:]
	}
}

func quantizeQ4_K(dst []byte, src []float32) {
	if haveLanes() {
		lanesQ4_K.quantize(dst, src, nil)
		return
	}
	plainQ4_K(dst, src)
}

func plainQ4_K(dst []byte, src []float32) {
	var codes [weightsK]uint8
	for len(src) >= weightsK && len(dst) >= bytesQ4_K {
		searchQ4_K.quantizeAffine((*[headBytesK]byte)(dst), &codes, (*[weightsK]float32)(src))
		packQ4_K((*[128]byte)(dst[headBytesK:]), &codes)
		src, dst = src[weightsK:], dst[bytesQ4_K:]
	}
}

func quantizeWeightedQ4_K(dst []byte, row, importance []float32) {
	if haveLanes() {
		lanesWeightedQ4_K.quantize(dst, row, importance)
		return
	}
	plainWeightedQ4_K(dst, row, importance)
}

func plainWeightedQ4_K(dst []byte, row, importance []float32) {
	var codes [weightsK]uint8
	for len(row) >= weightsK && len(dst) >= bytesQ4_K {
		head, x := (*[headBytesK]byte)(dst), (*[weightsK]float32)(row)
		searchWeightedQ4_K.quantizeAffineWeighted(head, &codes, x, importance)
		packQ4_K((*[128]byte)(dst[headBytesK:]), &codes)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesQ4_K:]
	}
}

func packQ4_K(q *[128]byte, codes *[weightsK]uint8) {
	for i := range 4 {
		from, to := (*[64]uint8)(codes[64*i:]), (*[32]byte)(q[32*i:])
		for j := 0; j < 32; j += 8 {
			store8(to[j:], load8(from[j:])|load8(from[j+32:])&eachLow4<<4)
		}
	}
}

// unpackQ4_K is the inverse of packQ4_K.
func unpackQ4_K(codes *[weightsK]uint8, q *[128]byte) {
	for i := range 4 {
		to, from := (*[64]uint8)(codes[64*i:]), (*[32]byte)(q[32*i:])
		for j := 0; j < 32; j += 8 {
			v := load8(from[j:])
			store8(to[j:], v&eachLow4)
			store8(to[j+32:], v>>4&eachLow4)
		}
	}
}
