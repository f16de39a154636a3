package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q5_K is a super-block of eight groups of 32 weights scale·q - minimum: the head (see unpackScales), 32 bytes of which
// bit g of byte j is the highest bit of code j of group g, then 128 bytes with the low four bits as in Q4_K.
const (
	highQ5_K  = headBytesK
	lowQ5_K   = headBytesK + 32
	bytesQ5_K = headBytesK + 32 + 128
)

func init() {
	register(gguf.Q5_K, format{
		weights: weightsK, bytes: bytesQ5_K, nonFinite: halfScales(weightsK, bytesQ5_K, 0, 2),
		dequantize: dequantizeQ5_K, quantize: quantizeQ5_K, quantizeWeighted: quantizeWeightedQ5_K,
		layout: layoutOfHead().with(0, 32,
			func(codes *[weightsK]uint8, b []byte) { unpackQ5_K(codes, (*[bytesQ5_K]byte)(b)) },
			func(b []byte, codes *[weightsK]uint8) { packQ5_K((*[bytesQ5_K]byte)(b), codes) }),
	})
}

var (
	searchQ5_K         = affineSearch{top: 31, first: -0.5, step: 0.1, steps: 15}
	searchWeightedQ5_K = affineSearch{top: 31, first: -0.9, step: 0.05, steps: 36}
)

var (
	lanesQ5_K = laneFormat{
		n: groupLenK, bytes: bytesQ5_K, lanes: affineLanes(&searchQ5_K), weigh: (*kernels.Groups).WeighMeans,
		plain: func(dst []byte, x, _ []float32) { plainQ5_K(dst, x) },
		finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
			packQ5_K((*[bytesQ5_K]byte)(b), finishAffineLanes((*[headBytesK]byte)(b), x, l, at))
		},
	}
	lanesWeightedQ5_K = laneFormat{
		n: groupLenK, bytes: bytesQ5_K, lanes: affineLanes(&searchWeightedQ5_K), spread: 2, topScale: topScaleK,
		plain: plainWeightedQ5_K,
		finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
			packQ5_K((*[bytesQ5_K]byte)(b), finishAffineLanesWeighted((*[headBytesK]byte)(b), x, l, at))
		},
	}
)

func dequantizeQ5_K(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q5_K, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesQ5_K:]
	var codes [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesQ5_K {
		unpackQ5_K(&codes, (*[bytesQ5_K]byte)(src))
		scaleAffine((*[weightsK]float32)(dst), &codes, (*[headBytesK]byte)(src))
		dst, src = dst[weightsK:], src[bytesQ5_K:]
	}
}

func quantizeQ5_K(dst []byte, src []float32) {
	if haveLanes() {
		lanesQ5_K.quantize(dst, src, nil)
		return
	}
	plainQ5_K(dst, src)
}

func plainQ5_K(dst []byte, src []float32) {
	var codes [weightsK]uint8
	for len(src) >= weightsK && len(dst) >= bytesQ5_K {
		searchQ5_K.quantizeAffine((*[headBytesK]byte)(dst), &codes, (*[weightsK]float32)(src))
		packQ5_K((*[bytesQ5_K]byte)(dst), &codes)
		src, dst = src[weightsK:], dst[bytesQ5_K:]
	}
}

func quantizeWeightedQ5_K(dst []byte, row, importance []float32) {
	if haveLanes() {
		lanesWeightedQ5_K.quantize(dst, row, importance)
		return
	}
	plainWeightedQ5_K(dst, row, importance)
}

func plainWeightedQ5_K(dst []byte, row, importance []float32) {
	var codes [weightsK]uint8
	for len(row) >= weightsK && len(dst) >= bytesQ5_K {
		head, x := (*[headBytesK]byte)(dst), (*[weightsK]float32)(row)
		searchWeightedQ5_K.quantizeAffineWeighted(head, &codes, x, importance)
		packQ5_K((*[bytesQ5_K]byte)(dst), &codes)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesQ5_K:]
	}
}

func packQ5_K(b *[bytesQ5_K]byte, codes *[weightsK]uint8) {
	high := (*[32]byte)(b[highQ5_K:])
	clear(high[:])
	for i := range groupsK / 2 {
		from, low := (*[64]uint8)(codes[64*i:]), (*[32]byte)(b[lowQ5_K+32*i:])
		for j := range low {
			low[j] = from[j]&15 | from[j+32]<<4
			high[j] |= from[j]>>4<<(2*i) | from[j+32]>>4<<(2*i+1)
		}
	}
}

// unpackQ5_K is the inverse of packQ5_K.
func unpackQ5_K(codes *[weightsK]uint8, b *[bytesQ5_K]byte) {
	high := (*[32]byte)(b[highQ5_K:])
	for i := range groupsK / 2 {
		to, low := (*[64]uint8)(codes[64*i:]), (*[32]byte)(b[lowQ5_K+32*i:])
		for j := 0; j < 32; j += 8 {
			v, h := load8(low[j:]), load8(high[j:])>>(2*i)
			store8(to[j:], v&eachLow4|h&eachBit0<<4)
			store8(to[j+32:], v>>4&eachLow4|h>>1&eachBit0<<4)
		}
	}
}
