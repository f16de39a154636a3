package quant

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ2_XS is a super-block of groups of 16 weights d·(scale+1/2)/4·value. It has the half precision d; 16 bits for each
// eight weights, with the index of their point below seven sign bits (see evenSigns); then two scales a byte, the
// first low.
const (
	pointsIQ2_XS = 2
	scalesIQ2_XS = 66
	bytesIQ2_XS  = 74
)

func init() {
	register(gguf.IQ2_XS, format{
		weights: weightsK, bytes: bytesIQ2_XS, nonFinite: halfScales(weightsK, bytesIQ2_XS, 0),
		dequantize: dequantizeIQ2_XS, quantizeWeighted: quantizeWeightedIQ2_XS,
		layout: nibbleScales(16, scalesIQ2_XS, subScaleLevels{0, 15, 0.25, 0.125, 4}).layout(),
	})
}

var searchIQ2_XS = latticeSearch{
	lattice: latticeIQ2_XS, group: 16, even: true, tries: 9, step: 0.1, least: noScale,
	refit: refitOff, spread: 1, boost: 1,
	bytes: bytesIQ2_XS, pack: packIQ2_XS,
}

func dequantizeIQ2_XS(dst []float32, src []byte) {
	done := kernels.DequantizePoints(kernels.IQ2_XS, dst, src, gridIQ2_XS)
	dst, src = dst[done:], src[done/weightsK*bytesIQ2_XS:]
	var codes [16]uint8
	for len(dst) >= weightsK && len(src) >= bytesIQ2_XS {
		b := (*[bytesIQ2_XS]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		for i := range 16 {
			for j := range 2 {
				p := binary.LittleEndian.Uint16(b[pointsIQ2_XS+4*i+2*j:])
				store8(codes[8*j:], latticeIQ2_XS.points[p&511]|evenSigns[p>>9])
			}
			scale := float32(d*(0.5+unsigned[b[scalesIQ2_XS+i/2]>>(4*(i&1))&15])) * 0.25
			scaleCodes16((*[16]float32)(dst[16*i:]), &codes, scale, valuesIQ2)
		}
		dst, src = dst[weightsK:], src[bytesIQ2_XS:]
	}
}

func quantizeWeightedIQ2_XS(dst []byte, row, importance []float32) {
	searchIQ2_XS.quantize(dst, row, importance)
}

func packIQ2_XS(b []byte, found *latticeBlock) {
	storeHalf((*[2]byte)(b), found.d)
	for i := range 32 {
		binary.LittleEndian.PutUint16(b[pointsIQ2_XS+2*i:], found.place[i]|uint16(found.sign[i])<<9)
	}
	for i := range 8 {
		b[scalesIQ2_XS+i] = found.scale[2*i] | found.scale[2*i+1]<<4
	}
}
