package quant

import (
	"encoding/binary"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q3_K is a super-block of sixteen groups of 16 weights d·(scale-32)·(q-4): 32 bytes of which bit g of byte j is the
// highest bit of code j of 32-weight group g, 64 bytes with the low two bits of the codes (see packCrumbs), twelve
// bytes of scales of six bits, and the half precision d.
const (
	groupsQ3_K = 16
	lowQ3_K    = 32
	scalesQ3_K = 96
	dQ3_K      = 108
	bytesQ3_K  = 110
)

func init() {
	register(gguf.Q3_K, format{
		weights: weightsK, bytes: bytesQ3_K, nonFinite: halfScales(weightsK, bytesQ3_K, dQ3_K),
		dequantize: dequantizeQ3_K, quantize: quantizeQ3_K, quantizeWeighted: quantizeWeightedQ3_K,
		layout: scalesOfQ3_K.layout().with(-4, 8,
			func(codes *[weightsK]uint8, b []byte) { unpackQ3_K(codes, (*[bytesQ3_K]byte)(b)) },
			func(b []byte, codes *[weightsK]uint8) { packQ3_K((*[bytesQ3_K]byte)(b), codes) }),
	})
}

// lanesQ3_K leaves super-blocks with a scale that was rounded to 0 to the plain search, which has their codes.
var lanesQ3_K = laneFormat{
	n: 16, bytes: bytesQ3_K, lanes: refinedLanes(4),
	weigh: func(*kernels.Groups) {},
	plain: func(dst []byte, x, _ []float32) { plainQ3_K(dst, x) },
	finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
		d, scales := roundScalesQ3_K((*[groupsQ3_K]float32)(l.scale[at:]))
		steps := writeScalesQ3_K((*[bytesQ3_K]byte)(b), d, &scales)
		if slices.Contains(steps[:], 0) {
			plainQ3_K(b, x[:])
			return
		}
		packQ3_K((*[bytesQ3_K]byte)(b), l.round(x, steps[:], noMinimum[:groupsQ3_K], -4, 3, at))
	},
}

var lanesWeightedQ3_K = laneFormat{
	n: 16, bytes: bytesQ3_K, lanes: symmetricLanes(4), spread: 2,
	plain: plainWeightedQ3_K,
	finish: func(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
		var scales [groupsQ3_K]uint8
		d := fitSymmetric(scales[:], l.scale[at:][:groupsQ3_K], l.total[at:][:groupsQ3_K], 32)
		finishLanesQ3_K((*[bytesQ3_K]byte)(b), x, l, at, d, &scales)
	},
}

func dequantizeQ3_K(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q3_K, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesQ3_K:]
	var codes [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesQ3_K {
		b := (*[bytesQ3_K]byte)(src)
		unpackQ3_K(&codes, b)
		d := loadHalf((*[2]byte)(b[dQ3_K:]))
		scales := unpackScalesQ3_K((*[12]byte)(b[scalesQ3_K:]))
		for i, s := range scales {
			scaleCodes16((*[16]float32)(dst[16*i:]), (*[16]byte)(codes[16*i:]), d*less32[s], &lessFour)
		}
		dst, src = dst[weightsK:], src[bytesQ3_K:]
	}
}

func quantizeQ3_K(dst []byte, src []float32) {
	if haveLanes() {
		lanesQ3_K.quantize(dst, src, nil)
		return
	}
	plainQ3_K(dst, src)
}

func plainQ3_K(dst []byte, src []float32) {
	var codes [weightsK]uint8
	for len(src) >= weightsK && len(dst) >= bytesQ3_K {
		var scale [groupsQ3_K]float32
		x := (*[weightsK]float32)(src)
		for i := range scale {
			scale[i] = refineSymmetric(codes[16*i:][:16], x[16*i:][:16], 4)
		}
		d, scales := roundScalesQ3_K(&scale)
		finishQ3_K((*[bytesQ3_K]byte)(dst), &codes, x, d, &scales)
		src, dst = src[weightsK:], dst[bytesQ3_K:]
	}
}

func quantizeWeightedQ3_K(dst []byte, row, importance []float32) {
	if haveLanes() {
		lanesWeightedQ3_K.quantize(dst, row, importance)
		return
	}
	plainWeightedQ3_K(dst, row, importance)
}

func plainWeightedQ3_K(dst []byte, row, importance []float32) {
	var w [16]float32
	var codes [weightsK]uint8
	for len(row) >= weightsK && len(dst) >= bytesQ3_K {
		var scale, total [groupsQ3_K]float32
		x := (*[weightsK]float32)(row)
		spread := float32(2 * sumSquares(x[:]) / weightsK)
		for i := range scale {
			group := x[16*i:][:16]
			errorWeights(w[:], group, importance[16*i:], spread)
			total[i] = sumOf(w[:])
			scale[i] = fitSymmetric(codes[16*i:][:16], group, w[:], 4)
		}
		var scales [groupsQ3_K]uint8
		d := fitSymmetric(scales[:], scale[:], total[:], 32)
		finishQ3_K((*[bytesQ3_K]byte)(dst), &codes, x, d, &scales)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesQ3_K:]
	}
}

// roundScalesQ3_K scales the scale of largest magnitude to the lowest of 64 codes, and returns the size of one step.
func roundScalesQ3_K(scale *[groupsQ3_K]float32) (d float32, scales [groupsQ3_K]uint8) {
	top := peak(scale[:])
	if top == 0 {
		return 0, scales
	}
	inverse := -32 / top
	for i, s := range scale {
		scales[i] = uint8(min(max(int8(nearest(inverse*s)), -32), 31) + 32)
	}
	return 1 / inverse, scales
}

// finishQ3_K writes the block, its weights quantized again with the scales that it holds. A group whose scale was
// rounded to 0 keeps the codes of its search.
func finishQ3_K(
	b *[bytesQ3_K]byte, codes *[weightsK]uint8, x *[weightsK]float32, d float32, scales *[groupsQ3_K]uint8,
) {
	for i, step := range writeScalesQ3_K(b, d, scales) {
		if step == 0 {
			continue
		}
		rounded := codes[16*i:][:16]
		for j, v := range x[16*i:][:16] {
			rounded[j] = uint8(nearestClamped(v/step, -4, 3) + 4)
		}
	}
	packQ3_K(b, codes)
}

// finishLanesQ3_K is finishQ3_K where the groups have been searched in lanes.
func finishLanesQ3_K(
	b *[bytesQ3_K]byte, x *[weightsK]float32, l *laneSearch, at int, d float32, scales *[groupsQ3_K]uint8,
) {
	steps := writeScalesQ3_K(b, d, scales)
	packQ3_K(b, l.round(x, steps[:], noMinimum[:groupsQ3_K], -4, 3, at))
}

// writeScalesQ3_K writes all but the codes of a block, and returns the scales as stored.
func writeScalesQ3_K(b *[bytesQ3_K]byte, d float32, scales *[groupsQ3_K]uint8) (steps [groupsQ3_K]float32) {
	d = storeHalf((*[2]byte)(b[dQ3_K:]), d)
	packScalesQ3_K((*[12]byte)(b[scalesQ3_K:]), scales)
	for i, s := range scales {
		steps[i] = d * less32[s]
	}
	return steps
}

// packScalesQ3_K puts the low four bits of scales i and i+8 into byte i, and the high two bits of scale i into byte
// 8 + i%4, two bits up for each four scales.
func packScalesQ3_K(b *[12]byte, scale *[groupsQ3_K]uint8) {
	clear(b[8:])
	for i := range 8 {
		b[i] = scale[i]&15 | scale[i+8]<<4
	}
	for i, s := range scale {
		b[8+i%4] |= s >> 4 << (2 * (i / 4))
	}
}

// unpackScalesQ3_K is the inverse of packScalesQ3_K.
func unpackScalesQ3_K(b *[12]byte) (scale [groupsQ3_K]uint8) {
	low := load8(b[:])
	high := uint64(binary.LittleEndian.Uint32(b[8:]))
	high |= high << 30 // the bits of scales 4 to 7 move two lower, beyond those of the first four
	store8(scale[:], low&eachLow4|high&eachLow2<<4)
	store8(scale[8:], low>>4&eachLow4|high>>4&eachLow2<<4)
	return scale
}

func packQ3_K(b *[bytesQ3_K]byte, codes *[weightsK]uint8) {
	high := (*[32]byte)(b[:])
	clear(high[:])
	for i, l := range codes {
		high[i%32] |= l >> 2 << (i / 32)
	}
	packCrumbs((*[64]byte)(b[lowQ3_K:]), codes)
}

// unpackQ3_K is the inverse of packQ3_K.
func unpackQ3_K(codes *[weightsK]uint8, b *[bytesQ3_K]byte) {
	unpackCrumbs(codes, (*[64]byte)(b[lowQ3_K:]))
	for i := 0; i < 32; i += 8 {
		high := load8(b[i:])
		for j := i; j < weightsK; j += 32 {
			store8(codes[j:], load8(codes[j:])|high&eachBit0<<2)
			high >>= 1
		}
	}
}

var scalesOfQ3_K = subScales{
	subScaleLevels: subScaleLevels{-32, 31, 1, 0, 1}, n: groupsQ3_K,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b[dQ3_K:]))
		for i, s := range unpackScalesQ3_K((*[12]byte)(b[scalesQ3_K:])) {
			r.i[i] = int16(s) - 32
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		var scales [groupsQ3_K]uint8
		for i := range scales {
			scales[i] = uint8(r.i[i] + 32)
		}
		writeScalesQ3_K((*[bytesQ3_K]byte)(b), r.d, &scales)
	},
}
