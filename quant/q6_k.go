package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// Q6_K is a super-block of 256 weights d·scale·(q-32) in sixteen groups of 16, laid out in two halves of 128: the low
// four bits of the codes (64 bytes a half: byte i holds weights i and i+64), their high two bits (32 bytes a half: byte
// i holds weights i, i+32, i+64 and i+96 from the lowest bits up), sixteen signed scales, and the half precision d.
const (
	highQ6_K   = 128
	scalesQ6_K = 192
	dQ6_K      = 208
	bytesQ6_K  = 210
)

func init() {
	register(gguf.Q6_K, format{
		weights: weightsK, bytes: bytesQ6_K, nonFinite: halfScales(weightsK, bytesQ6_K, dQ6_K),
		dequantize: dequantizeQ6_K, quantize: quantizeQ6_K, quantizeWeighted: quantizeWeightedQ6_K,
		layout: scalesOfQ6_K.layout().with(-32, 64,
			func(codes *[weightsK]uint8, b []byte) { unpackQ6_K(codes, (*[bytesQ6_K]byte)(b)) },
			func(b []byte, codes *[weightsK]uint8) { packQ6_K((*[bytesQ6_K]byte)(b), codes) }),
	})
}

var (
	lanesQ6_K = laneFormat{
		n: 16, bytes: bytesQ6_K, lanes: symmetricLanes(32), weigh: (*kernels.Groups).WeighSquares,
		plain:  func(dst []byte, x, _ []float32) { plainQ6_K(dst, x) },
		finish: finishLanesQ6_K,
	}
	lanesWeightedQ6_K = laneFormat{
		n: 16, bytes: bytesQ6_K, lanes: symmetricLanes(32), plain: plainWeightedQ6_K, finish: finishLanesQ6_K,
	}
)

func dequantizeQ6_K(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.Q6_K, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesQ6_K:]
	var codes [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesQ6_K {
		b := (*[bytesQ6_K]byte)(src)
		unpackQ6_K(&codes, b)
		d := loadHalf((*[2]byte)(b[dQ6_K:]))
		for i, s := range b[scalesQ6_K:dQ6_K] {
			scaleCodes16((*[16]float32)(dst[16*i:]), (*[16]byte)(codes[16*i:]), d*signedByte[s], &less32)
		}
		dst, src = dst[weightsK:], src[bytesQ6_K:]
	}
}

func quantizeQ6_K(dst []byte, src []float32) {
	if haveLanes() {
		lanesQ6_K.quantize(dst, src, nil)
		return
	}
	plainQ6_K(dst, src)
}

func plainQ6_K(dst []byte, src []float32) {
	var w [16]float32
	for len(src) >= weightsK && len(dst) >= bytesQ6_K {
		var codes [weightsK]uint8
		var scale [16]float32
		x := (*[weightsK]float32)(src)
		for i := range scale {
			group := x[16*i:][:16]
			for j, v := range group {
				w[j] = float32(v * v)
			}
			scale[i] = fitSymmetric(codes[16*i:][:16], group, w[:], 32)
		}
		finishQ6_K((*[bytesQ6_K]byte)(dst), &codes, x, &scale)
		src, dst = src[weightsK:], dst[bytesQ6_K:]
	}
}

func quantizeWeightedQ6_K(dst []byte, row, importance []float32) {
	if haveLanes() {
		lanesWeightedQ6_K.quantize(dst, row, importance)
		return
	}
	plainWeightedQ6_K(dst, row, importance)
}

func plainWeightedQ6_K(dst []byte, row, importance []float32) {
	for len(row) >= weightsK && len(dst) >= bytesQ6_K {
		var codes [weightsK]uint8
		var scale [16]float32
		x := (*[weightsK]float32)(row)
		for i := range scale {
			scale[i] = fitSymmetric(codes[16*i:][:16], x[16*i:][:16], importance[16*i:][:16], 32)
		}
		finishQ6_K((*[bytesQ6_K]byte)(dst), &codes, x, &scale)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesQ6_K:]
	}
}

// finishQ6_K rounds the scales of the groups, and quantizes the weights again with the rounded scales. A group whose
// scale was rounded to 0 keeps the codes of its search.
func finishQ6_K(b *[bytesQ6_K]byte, codes *[weightsK]uint8, x *[weightsK]float32, scale *[16]float32) {
	steps, ok := writeScalesQ6_K(b, scale)
	if !ok {
		clear(b[:])
		return
	}
	for i, step := range steps {
		if step == 0 {
			continue
		}
		rounded := codes[16*i:][:16]
		for j, v := range x[16*i:][:16] {
			rounded[j] = uint8(nearestClamped(v/step, -32, 31) + 32)
		}
	}
	packQ6_K(b, codes)
}

// finishLanesQ6_K is finishQ6_K where the groups have been searched in lanes.
func finishLanesQ6_K(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
	steps, ok := writeScalesQ6_K((*[bytesQ6_K]byte)(b), (*[16]float32)(l.scale[at:]))
	if !ok {
		clear(b)
		return
	}
	packQ6_K((*[bytesQ6_K]byte)(b), l.round(x, steps[:], noMinimum[:16], -32, 31, at))
}

// writeScalesQ6_K writes all but the codes of a block, and returns the scales as stored; ok is false if all are zero.
func writeScalesQ6_K(b *[bytesQ6_K]byte, scale *[16]float32) (steps [16]float32, ok bool) {
	top := peak(scale[:])
	if absf(top) < noScale {
		return steps, false
	}
	inverse := -128 / top
	d := storeHalf((*[2]byte)(b[dQ6_K:]), 1/inverse)
	for i, s := range scale {
		q := int8(min(nearest(inverse*s), 127))
		b[scalesQ6_K+i] = byte(q)
		steps[i] = d * float32(q)
	}
	return steps, true
}

func packQ6_K(b *[bytesQ6_K]byte, codes *[weightsK]uint8) {
	for half := range 2 {
		l := (*[128]uint8)(codes[128*half:])
		low, high := (*[64]byte)(b[64*half:]), (*[32]byte)(b[highQ6_K+32*half:])
		for i := range high {
			low[i] = l[i]&15 | l[i+64]<<4
			low[i+32] = l[i+32]&15 | l[i+96]<<4
			high[i] = l[i]>>4 | l[i+32]>>4<<2 | l[i+64]>>4<<4 | l[i+96]>>4<<6
		}
	}
}

// unpackQ6_K is the inverse of packQ6_K.
func unpackQ6_K(codes *[weightsK]uint8, b *[bytesQ6_K]byte) {
	for half := range 2 {
		l := (*[128]uint8)(codes[128*half:])
		low, high := (*[64]byte)(b[64*half:]), (*[32]byte)(b[highQ6_K+32*half:])
		for i := 0; i < 32; i += 8 {
			v, w, h := load8(low[i:]), load8(low[i+32:]), load8(high[i:])
			store8(l[i:], v&eachLow4|h&eachLow2<<4)
			store8(l[i+32:], w&eachLow4|h>>2&eachLow2<<4)
			store8(l[i+64:], v>>4&eachLow4|h>>4&eachLow2<<4)
			store8(l[i+96:], w>>4&eachLow4|h>>6&eachLow2<<4)
		}
	}
}

var scalesOfQ6_K = subScales{
	subScaleLevels: subScaleLevels{-128, 127, 1, 0, 1}, n: 16,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b[dQ6_K:]))
		for i, s := range b[scalesQ6_K:dQ6_K] {
			r.i[i] = int16(int8(s))
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		storeHalf((*[2]byte)(b[dQ6_K:]), r.d)
		for i, s := range r.i {
			b[scalesQ6_K+i] = byte(s)
		}
	},
}
