package quant

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ3_XXS is a super-block of groups of 32 weights d·(scale+1/2)/2·value. It has the half precision d; a byte for each
// four weights with the index of their point; then 32 bits a group: seven sign bits for each eight weights (see
// evenSigns) below four bits of scale.
const (
	pointsIQ3_XXS = 2
	signsIQ3_XXS  = 66
	bytesIQ3_XXS  = 98
)

func init() {
	register(gguf.IQ3_XXS, format{
		weights: weightsK, bytes: bytesIQ3_XXS, nonFinite: halfScales(weightsK, bytesIQ3_XXS, 0),
		dequantize: dequantizeIQ3_XXS, quantize: quantizeIQ3_XXS, quantizeWeighted: quantizeWeightedIQ3_XXS,
		layout: highNibbles(signsIQ3_XXS+3, 4, 0.5).layout(),
	})
}

// valuesIQ3_XXS are the values of the codes.
var valuesIQ3_XXS = signedValues(4, 12, 20, 28, 36, 44, 52, 62)

var searchIQ3_XXS = latticeSearch{
	lattice: latticeIQ3_XXS, group: 32, even: true, tries: 15, step: 0.2, least: 1e-8,
	refit: refitOff, spread: 2, boost: 1.0125,
	bytes: bytesIQ3_XXS, pack: packIQ3_XXS,
}

func dequantizeIQ3_XXS(dst []float32, src []byte) {
	done := kernels.DequantizePoints(kernels.IQ3_XXS, dst, src, gridIQ3_XXS)
	dst, src = dst[done:], src[done/weightsK*bytesIQ3_XXS:]
	var codes [32]uint8
	points := latticeIQ3_XXS.points
	for len(dst) >= weightsK && len(src) >= bytesIQ3_XXS {
		b := (*[bytesIQ3_XXS]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		for i := range 8 {
			signs := binary.LittleEndian.Uint32(b[signsIQ3_XXS+4*i:])
			place := (*[8]byte)(b[pointsIQ3_XXS+8*i:])
			for j := range 4 {
				store8(codes[8*j:], points[place[2*j]]|points[place[2*j+1]]<<32|evenSigns[signs>>(7*j)&127])
			}
			scale := float32(d*(0.5+unsigned[signs>>28])) * 0.5
			scaleCodes((*[32]float32)(dst[32*i:]), &codes, scale, valuesIQ3_XXS)
		}
		dst, src = dst[weightsK:], src[bytesIQ3_XXS:]
	}
}

func quantizeIQ3_XXS(dst []byte, src []float32) { searchIQ3_XXS.quantize(dst, src, nil) }

func quantizeWeightedIQ3_XXS(dst []byte, row, importance []float32) {
	searchIQ3_XXS.quantize(dst, row, importance)
}

func packIQ3_XXS(b []byte, found *latticeBlock) {
	storeHalf((*[2]byte)(b), found.d)
	for i, place := range found.place {
		b[pointsIQ3_XXS+i] = byte(place)
	}
	for i := range 8 {
		signs := uint32(found.scale[i]) << 28
		for j := range 4 {
			signs |= uint32(found.sign[4*i+j]&127) << (7 * j)
		}
		binary.LittleEndian.PutUint32(b[signsIQ3_XXS+4*i:], signs)
	}
}
