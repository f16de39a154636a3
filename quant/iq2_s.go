package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ2_S is a super-block of groups of 16 weights d·(scale+1/2)/4·value. It has the half precision d; a byte for each
// eight weights with the index of their point; as many with their signs; then the high two bits of the indexes, four
// to a byte; and two scales a byte; all from the lowest bits up.
const (
	pointsIQ2_S = 2
	signsIQ2_S  = 34
	highIQ2_S   = 66
	scalesIQ2_S = 74
	bytesIQ2_S  = 82
)

func init() {
	register(gguf.IQ2_S, format{
		weights: weightsK, bytes: bytesIQ2_S, nonFinite: halfScales(weightsK, bytesIQ2_S, 0),
		dequantize: dequantizeIQ2_S, quantize: quantizeIQ2_S, quantizeWeighted: quantizeWeightedIQ2_S,
		layout: nibbleScales(16, scalesIQ2_S, subScaleLevels{0, 15, 0.25, 0.125, 4}).layout(),
	})
}

var searchIQ2_S = latticeSearch{
	lattice: latticeIQ2_S, group: 16, tries: 9, step: 0.1, least: 1e-8,
	refit: refitOff, spread: 2, plain: 0.25, boost: 0.9875,
	bytes: bytesIQ2_S, pack: packIQ2_S,
}

func dequantizeIQ2_S(dst []float32, src []byte) {
	done := kernels.DequantizePoints(kernels.IQ2_S, dst, src, gridIQ2_S)
	dst, src = dst[done:], src[done/weightsK*bytesIQ2_S:]
	var codes [16]uint8
	for len(dst) >= weightsK && len(src) >= bytesIQ2_S {
		b := (*[bytesIQ2_S]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		for i := range 16 {
			high := uint(b[highIQ2_S+i/2]) >> (4 * (i & 1))
			for j := range 2 {
				place := uint(b[pointsIQ2_S+2*i+j]) | high&3<<8
				store8(codes[8*j:], latticeIQ2_S.points[place]|highBits(b[signsIQ2_S+2*i+j]))
				high >>= 2
			}
			scale := float32(d*(0.5+unsigned[b[scalesIQ2_S+i/2]>>(4*(i&1))&15])) * 0.25
			scaleCodes16((*[16]float32)(dst[16*i:]), &codes, scale, valuesIQ2)
		}
		dst, src = dst[weightsK:], src[bytesIQ2_S:]
	}
}

func quantizeIQ2_S(dst []byte, src []float32) { searchIQ2_S.quantize(dst, src, nil) }

func quantizeWeightedIQ2_S(dst []byte, row, importance []float32) {
	searchIQ2_S.quantize(dst, row, importance)
}

func packIQ2_S(b []byte, found *latticeBlock) {
	storeHalf((*[2]byte)(b), found.d)
	clear(b[highIQ2_S:])
	for i := range 32 {
		b[pointsIQ2_S+i] = byte(found.place[i])
		b[signsIQ2_S+i] = found.sign[i]
		b[highIQ2_S+i/4] |= byte(found.place[i]>>8) << (2 * (i % 4))
	}
	for i := range 8 {
		b[scalesIQ2_S+i] = found.scale[2*i] | found.scale[2*i+1]<<4
	}
}
