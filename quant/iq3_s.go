package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ3_S is a super-block of groups of 32 weights d·(2·scale+1)·value. It has the half precision d; a byte for each
// four weights with the index of their point; a bit for each with the ninth bit of the index; a bit a weight for its
// sign; then two scales a byte; all from the lowest bits up.
const (
	pointsIQ3_S = 2
	highIQ3_S   = 66
	signsIQ3_S  = 74
	scalesIQ3_S = 106
	bytesIQ3_S  = 110
)

func init() {
	register(gguf.IQ3_S, format{
		weights: weightsK, bytes: bytesIQ3_S, nonFinite: halfScales(weightsK, bytesIQ3_S, 0),
		dequantize: dequantizeIQ3_S, quantize: quantizeIQ3_S, quantizeWeighted: quantizeWeightedIQ3_S,
		layout: nibbleScales(8, scalesIQ3_S, subScaleLevels{0, 15, 2, 1, 0.5}).layout(),
	})
}

// valuesIQ3_S are the values of the codes.
var valuesIQ3_S = signedValues(1, 3, 5, 7, 9, 11, 13, 15)

var searchIQ3_S = latticeSearch{
	lattice: latticeIQ3_S, group: 32, tries: 9, step: 0.2,
	refit: refitIfOff, spread: 2, boost: 1.033,
	bytes: bytesIQ3_S, pack: packIQ3_S,
}

func dequantizeIQ3_S(dst []float32, src []byte) {
	done := kernels.DequantizePoints(kernels.IQ3_S, dst, src, gridIQ3_S)
	dst, src = dst[done:], src[done/weightsK*bytesIQ3_S:]
	var codes [32]uint8
	points := latticeIQ3_S.points
	for len(dst) >= weightsK && len(src) >= bytesIQ3_S {
		b := (*[bytesIQ3_S]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		for i := range 8 {
			high := uint(b[highIQ3_S+i]) << 8
			place := (*[8]byte)(b[pointsIQ3_S+8*i:])
			for j := range 4 {
				first, second := points[uint(place[2*j])|high&256], points[uint(place[2*j+1])|high>>1&256]
				store8(codes[8*j:], first|second<<32|highBits(b[signsIQ3_S+4*i+j]))
				high >>= 2
			}
			scale := d * unsigned[1+2*(b[scalesIQ3_S+i/2]>>(4*(i&1))&15)]
			scaleCodes((*[32]float32)(dst[32*i:]), &codes, scale, valuesIQ3_S)
		}
		dst, src = dst[weightsK:], src[bytesIQ3_S:]
	}
}

func quantizeIQ3_S(dst []byte, src []float32) { searchIQ3_S.quantize(dst, src, nil) }

func quantizeWeightedIQ3_S(dst []byte, row, importance []float32) {
	searchIQ3_S.quantize(dst, row, importance)
}

// packIQ3_S writes the indexes and signs that follow a group of zeros where that group's own should be, so these
// weights are lost. The reference does this, and the bytes must be the same.
func packIQ3_S(b []byte, found *latticeBlock) {
	storeHalf((*[2]byte)(b), found.d)
	clear(b[pointsIQ3_S:])
	points, signs := b[pointsIQ3_S:highIQ3_S], b[signsIQ3_S:scalesIQ3_S]
	for i := range 8 {
		if found.zero[i] {
			continue
		}
		for j, place := range found.place[8*i:][:8] {
			points[j] = byte(place)
			b[highIQ3_S+i] |= byte(place>>8) << j
		}
		copy(signs, found.sign[4*i:][:4])
		points, signs = points[8:], signs[4:]
	}
	for i := range 4 {
		b[scalesIQ3_S+i] = found.scale[2*i] | found.scale[2*i+1]<<4
	}
}
