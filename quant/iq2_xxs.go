package quant

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ2_XXS is a super-block of groups of 32 weights d·(scale+1/2)/4·value. It has the half precision d, then eight
// bytes a group: the indexes of four points, and 32 bits with seven sign bits for each (see evenSigns) below four bits
// of scale.
const (
	groupsIQ2_XXS = 2
	bytesIQ2_XXS  = 66
)

func init() {
	register(gguf.IQ2_XXS, format{
		weights: weightsK, bytes: bytesIQ2_XXS, nonFinite: halfScales(weightsK, bytesIQ2_XXS, 0),
		dequantize: dequantizeIQ2_XXS, quantizeWeighted: quantizeWeightedIQ2_XXS,
		layout: highNibbles(groupsIQ2_XXS+7, 8, 0.25).layout(),
	})
}

// valuesIQ2 are the values of the three codes of the IQ2 formats.
var valuesIQ2 = signedValues(8, 25, 43)

var searchIQ2_XXS = latticeSearch{
	lattice: latticeIQ2_XXS, group: 32, even: true, tries: 6, step: 0.1, least: noScale,
	refit: refitAlways, start: true, spread: 1, boost: 1,
	bytes: bytesIQ2_XXS, pack: packIQ2_XXS,
}

func dequantizeIQ2_XXS(dst []float32, src []byte) {
	done := kernels.DequantizePoints(kernels.IQ2_XXS, dst, src, gridIQ2_XXS)
	dst, src = dst[done:], src[done/weightsK*bytesIQ2_XXS:]
	var codes [32]uint8
	for len(dst) >= weightsK && len(src) >= bytesIQ2_XXS {
		b := (*[bytesIQ2_XXS]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		for i := range 8 {
			group := (*[8]byte)(b[groupsIQ2_XXS+8*i:])
			signs := binary.LittleEndian.Uint32(group[4:])
			for j := range 4 {
				store8(codes[8*j:], latticeIQ2_XXS.points[group[j]]|evenSigns[signs>>(7*j)&127])
			}
			scale := float32(d*(0.5+unsigned[signs>>28])) * 0.25
			scaleCodes((*[32]float32)(dst[32*i:]), &codes, scale, valuesIQ2)
		}
		dst, src = dst[weightsK:], src[bytesIQ2_XXS:]
	}
}

func quantizeWeightedIQ2_XXS(dst []byte, row, importance []float32) {
	searchIQ2_XXS.quantize(dst, row, importance)
}

func packIQ2_XXS(b []byte, found *latticeBlock) {
	storeHalf((*[2]byte)(b), found.d)
	for i := range 8 {
		group := (*[8]byte)(b[groupsIQ2_XXS+8*i:])
		signs := uint32(found.scale[i]) << 28
		for j := range 4 {
			group[j] = byte(found.place[4*i+j])
			signs |= uint32(found.sign[4*i+j]&127) << (7 * j)
		}
		binary.LittleEndian.PutUint32(group[4:], signs)
	}
}
