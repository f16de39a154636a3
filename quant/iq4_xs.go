package quant

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ4_XS is a super-block of eight groups of 32 weights d·(scale-32)·value: the half precision d, 16 bits with the high
// two bits of each scale, four bytes with the low four, then the codes of each group as in Q4_0.
const (
	highIQ4_XS  = 2
	lowIQ4_XS   = 4
	codesIQ4_XS = 8
	bytesIQ4_XS = 136
)

func init() {
	register(gguf.IQ4_XS, format{
		weights: weightsK, bytes: bytesIQ4_XS, nonFinite: halfScales(weightsK, bytesIQ4_XS, 0),
		dequantize: dequantizeIQ4_XS, quantize: quantizeIQ4_XS, quantizeWeighted: quantizeWeightedIQ4_XS,
		layout: scalesOfIQ4_XS.layout().uneven(valuesIQ4[:16], unpackIQ4_XS, packIQ4_XS),
	})
}

func dequantizeIQ4_XS(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.IQ4_XS, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesIQ4_XS:]
	var codes [32]uint8
	for len(dst) >= weightsK && len(src) >= bytesIQ4_XS {
		b := (*[bytesIQ4_XS]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		high, low := binary.LittleEndian.Uint16(b[highIQ4_XS:]), binary.LittleEndian.Uint32(b[lowIQ4_XS:])
		for i := range groupsK {
			unpackNibbles(&codes, (*[16]byte)(b[codesIQ4_XS+16*i:]))
			scaleCodes((*[32]float32)(dst[32*i:]), &codes, d*less32[low&15|uint32(high&3)<<4], &valuesIQ4)
			high >>= 2
			low >>= 4
		}
		dst, src = dst[weightsK:], src[bytesIQ4_XS:]
	}
}

var (
	lanesIQ4_XS = laneFormat{
		n: 32, bytes: bytesIQ4_XS, lanes: newLanesIQ4, weigh: (*kernels.Groups).WeighSquares,
		plain: plainIQ4_XS, finish: finishLanesIQ4_XS,
	}
	lanesWeightedIQ4_XS = laneFormat{
		n: 32, bytes: bytesIQ4_XS, lanes: newLanesIQ4, spread: 2,
		plain: plainIQ4_XS, finish: finishLanesIQ4_XS,
	}
)

func quantizeIQ4_XS(dst []byte, src []float32) {
	if haveLanes() {
		lanesIQ4_XS.quantize(dst, src, nil)
		return
	}
	plainIQ4_XS(dst, src, nil)
}

func quantizeWeightedIQ4_XS(dst []byte, row, importance []float32) {
	if haveLanes() {
		lanesWeightedIQ4_XS.quantize(dst, row, importance)
		return
	}
	plainIQ4_XS(dst, row, importance)
}

// plainIQ4_XS quantizes super-blocks; importance may be nil.
func plainIQ4_XS(dst []byte, row, importance []float32) {
	for len(row) >= weightsK && len(dst) >= bytesIQ4_XS {
		var w [32]float32
		var scale [groupsK]float32
		x := (*[weightsK]float32)(row)
		spread := float32(sumSquares(x[:]) * (2. / weightsK))
		for i := range scale {
			group := (*[32]float32)(x[32*i:])
			if importance == nil {
				weightsIQ4(&w, group, nil, spread)
			} else {
				weightsIQ4(&w, group, importance[:32], spread)
				importance = importance[32:]
			}
			scale[i] = fitIQ4(group, &w)
		}
		finishIQ4_XS((*[bytesIQ4_XS]byte)(dst), x, scale[:])
		row, dst = row[weightsK:], dst[bytesIQ4_XS:]
	}
}

func finishLanesIQ4_XS(b []byte, x *[weightsK]float32, l *laneSearch, at int) {
	finishIQ4_XS((*[bytesIQ4_XS]byte)(b), x, l.scale[at:][:groupsK])
}

// finishIQ4_XS writes a super-block of which the groups have the given scales, before they are rounded.
func finishIQ4_XS(b *[bytesIQ4_XS]byte, x *[weightsK]float32, scale []float32) {
	d := -peak(scale) / 32
	storeHalf((*[2]byte)(b[:]), d)
	inverse := inverseOf(d)
	var factor [groupsK]float32
	var high uint16
	var low uint32
	for i, s := range scale {
		q := nearestClamped(float32(inverse*s), -32, 31)
		factor[i] = inverseOf(float32(d * float32(q)))
		high |= uint16(q+32) >> 4 << (2 * i)
		low |= uint32(q+32) & 15 << (4 * i)
	}
	binary.LittleEndian.PutUint16(b[highIQ4_XS:], high)
	binary.LittleEndian.PutUint32(b[lowIQ4_XS:], low)
	var codes [weightsK]uint8
	codesIQ4(codes[:], x[:], factor[:])
	for i := range groupsK {
		packNibbles((*[16]byte)(b[codesIQ4_XS+16*i:]), (*[32]uint8)(codes[32*i:]))
	}
}

var scalesOfIQ4_XS = subScales{
	subScaleLevels: subScaleLevels{-32, 31, 1, 0, 1}, n: groupsK,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b))
		high, low := binary.LittleEndian.Uint16(b[highIQ4_XS:]), binary.LittleEndian.Uint32(b[lowIQ4_XS:])
		for i := range groupsK {
			r.i[i] = int16(low>>(4*i)&15|uint32(high>>(2*i)&3)<<4) - 32
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		var high uint16
		var low uint32
		for i := range groupsK {
			q := r.i[i] + 32
			high |= uint16(q>>4) << (2 * i)
			low |= uint32(q&15) << (4 * i)
		}
		storeHalf((*[2]byte)(b), r.d)
		binary.LittleEndian.PutUint16(b[highIQ4_XS:], high)
		binary.LittleEndian.PutUint32(b[lowIQ4_XS:], low)
	},
}

func unpackIQ4_XS(codes *[weightsK]uint8, b []byte) {
	for i := range groupsK {
		unpackNibbles((*[32]uint8)(codes[32*i:]), (*[16]byte)(b[codesIQ4_XS+16*i:]))
	}
}

func packIQ4_XS(b []byte, codes *[weightsK]uint8) {
	for i := range groupsK {
		packNibbles((*[16]byte)(b[codesIQ4_XS+16*i:]), (*[32]uint8)(codes[32*i:]))
	}
}
