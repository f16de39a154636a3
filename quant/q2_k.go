package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q2_K is a super-block of sixteen groups of 16 weights scale·q - minimum: a byte a group with four bits of its scale
// (low) and four of its minimum, 64 bytes of codes (see packCrumbs), then in half precision the factors d of the
// scales and dmin of the minima.
const (
	groupsQ2_K = 16
	codesQ2_K  = 16
	dQ2_K      = 80
	dminQ2_K   = 82
	bytesQ2_K  = 84
)

func init() {
	register(gguf.Q2_K, format{
		weights: weightsK, bytes: bytesQ2_K, nonFinite: halfScales(weightsK, bytesQ2_K, dQ2_K, dminQ2_K),
		dequantize: dequantizeQ2_K, quantize: quantizeQ2_K, quantizeWeighted: quantizeWeightedQ2_K,
		layout: scalesOfQ2_K.layout().with(0, 4,
			func(codes *[weightsK]uint8, b []byte) { unpackCrumbs(codes, (*[64]byte)(b[codesQ2_K:])) },
			func(b []byte, codes *[weightsK]uint8) { packCrumbs((*[64]byte)(b[codesQ2_K:]), codes) }),
	})
}

var (
	searchQ2_K         = affineSearch{top: 3, first: -0.5, step: 0.1, steps: 15, absolute: true}
	searchWeightedQ2_K = affineSearch{top: 3, first: -0.9, step: 0.05, steps: 36}
)

var (
	lanesQ2_K = laneFormat{
		n: 16, bytes: bytesQ2_K, lanes: affineLanes(&searchQ2_K), weigh: (*kernels.Groups).WeighMagnitudes,
		plain: func(dst []byte, x, _ []float32) { plainQ2_K(dst, x) },
		finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
			var scales, minima [groupsQ2_K]uint8
			minimum := l.minima()
			d := spreadScales(scales[:], l.scale[at:][:groupsQ2_K], 15)
			dmin := spreadScales(minima[:], minimum[at:][:groupsQ2_K], 15)
			finishLanesQ2_K((*[bytesQ2_K]byte)(b), x, l, at, d, dmin, &scales, &minima)
		},
	}
	lanesWeightedQ2_K = laneFormat{
		n: 16, bytes: bytesQ2_K, lanes: affineLanes(&searchWeightedQ2_K), spread: 1, topScale: 15,
		plain: plainWeightedQ2_K,
		finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
			i := at / groupsQ2_K * 2
			finishLanesQ2_K((*[bytesQ2_K]byte)(b), x, l, at, l.factor[i], l.factor[i+1], &l.steps[i], &l.steps[i+1])
		},
	}
)

func dequantizeQ2_K(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q2_K, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesQ2_K:]
	var codes [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesQ2_K {
		b := (*[bytesQ2_K]byte)(src)
		unpackCrumbs(&codes, (*[64]byte)(b[codesQ2_K:]))
		d, dmin := loadHalf((*[2]byte)(b[dQ2_K:])), loadHalf((*[2]byte)(b[dminQ2_K:]))
		for i, s := range b[:groupsQ2_K] {
			scale, minimum := float32(d*unsigned[s&15]), float32(dmin*unsigned[s>>4])
			scaleCodesAdd16((*[16]float32)(dst[16*i:]), (*[16]byte)(codes[16*i:]), scale, -minimum)
		}
		dst, src = dst[weightsK:], src[bytesQ2_K:]
	}
}

func quantizeQ2_K(dst []byte, src []float32) {
	if haveLanes() {
		lanesQ2_K.quantize(dst, src, nil)
		return
	}
	plainQ2_K(dst, src)
}

func plainQ2_K(dst []byte, src []float32) {
	var w [16]float32
	var codes [weightsK]uint8
	for len(src) >= weightsK && len(dst) >= bytesQ2_K {
		var scale, minimum [groupsQ2_K]float32
		x := (*[weightsK]float32)(src)
		for i := range groupsQ2_K {
			group := x[16*i:][:16]
			for j, v := range group {
				w[j] = absf(v)
			}
			scale[i], minimum[i] = searchQ2_K.fit(codes[16*i:][:16], group, w[:])
		}
		var scales, minima [groupsQ2_K]uint8
		d := spreadScales(scales[:], scale[:], 15)
		dmin := spreadScales(minima[:], minimum[:], 15)
		finishQ2_K((*[bytesQ2_K]byte)(dst), &codes, x, d, dmin, &scales, &minima)
		src, dst = src[weightsK:], dst[bytesQ2_K:]
	}
}

func quantizeWeightedQ2_K(dst []byte, row, importance []float32) {
	if haveLanes() {
		lanesWeightedQ2_K.quantize(dst, row, importance)
		return
	}
	plainWeightedQ2_K(dst, row, importance)
}

func plainWeightedQ2_K(dst []byte, row, importance []float32) {
	var w [16]float32
	var codes [weightsK]uint8
	for len(row) >= weightsK && len(dst) >= bytesQ2_K {
		var scale, minimum, total [groupsQ2_K]float32
		x := (*[weightsK]float32)(row)
		spread := float32(sumSquares(x[:]) / weightsK)
		for i := range groupsQ2_K {
			group := x[16*i:][:16]
			errorWeights(w[:], group, importance[16*i:], spread)
			total[i] = sumOf(w[:])
			scale[i], minimum[i] = searchWeightedQ2_K.fit(codes[16*i:][:16], group, w[:])
		}
		var scales, minima [groupsQ2_K]uint8
		d := fitPositive(scales[:], scale[:], total[:], 15)
		dmin := fitPositive(minima[:], minimum[:], total[:], 15)
		finishQ2_K((*[bytesQ2_K]byte)(dst), &codes, x, d, dmin, &scales, &minima)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesQ2_K:]
	}
}

// finishQ2_K writes the block, its weights quantized again with the scales that it holds. A group whose scale was
// rounded to 0 keeps the codes of its search.
func finishQ2_K(
	b *[bytesQ2_K]byte, codes *[weightsK]uint8, x *[weightsK]float32, d, dmin float32, scales, minima *[groupsQ2_K]uint8,
) {
	scale, minimum := writeScalesQ2_K(b, d, dmin, scales, minima)
	for i, s := range scale {
		if s == 0 {
			continue
		}
		rounded := codes[16*i:][:16]
		for j, v := range x[16*i:][:16] {
			rounded[j] = uint8(nearestClamped((v+minimum[i])/s, 0, 3))
		}
	}
	packCrumbs((*[64]byte)(b[codesQ2_K:]), codes)
}

// finishLanesQ2_K is finishQ2_K where the groups have been searched in lanes.
func finishLanesQ2_K(
	b *[bytesQ2_K]byte, x *[weightsK]float32, l *laneSearch, at int, d, dmin float32,
	scales, minima *[groupsQ2_K]uint8,
) {
	scale, minimum := writeScalesQ2_K(b, d, dmin, scales, minima)
	packCrumbs((*[64]byte)(b[codesQ2_K:]), l.round(x, scale[:], minimum[:], 0, 3, at))
}

// writeScalesQ2_K writes all but the codes of a block, and returns the scales and minima as stored.
func writeScalesQ2_K(
	b *[bytesQ2_K]byte, d, dmin float32, scales, minima *[groupsQ2_K]uint8,
) (scale, minimum [groupsQ2_K]float32) {
	d = storeHalf((*[2]byte)(b[dQ2_K:]), d)
	dmin = storeHalf((*[2]byte)(b[dminQ2_K:]), dmin)
	for i := range groupsQ2_K {
		s := scales[i] | minima[i]<<4
		b[i] = s
		scale[i], minimum[i] = float32(d*unsigned[s&15]), float32(dmin*unsigned[s>>4])
	}
	return scale, minimum
}

var scalesOfQ2_K = affineScales{
	subScaleLevels: subScaleLevels{0, 15, 1, 0, 1}, n: groupsQ2_K,
	load: func(b []byte) (scale, minimum subScaleCodes) {
		scale.d, minimum.d = loadHalf((*[2]byte)(b[dQ2_K:])), loadHalf((*[2]byte)(b[dminQ2_K:]))
		for i, s := range b[:groupsQ2_K] {
			scale.i[i], minimum.i[i] = int16(s&15), int16(s>>4)
		}
		return scale, minimum
	},
	store: func(b []byte, scale, minimum subScaleCodes) {
		for i := range groupsQ2_K {
			b[i] = uint8(scale.i[i] | minimum.i[i]<<4)
		}
		storeHalf((*[2]byte)(b[dQ2_K:]), scale.d)
		storeHalf((*[2]byte)(b[dminQ2_K:]), minimum.d)
	},
}
