package quant

import "github.com/peftconv/peftconv/kernels"

// IQ4_NL is 32 weights d·value: the half precision d, then 16 bytes of levels as in Q4_0.
const (
	weightsIQ4_NL = 32
	bytesIQ4_NL   = 18
)

func dequantizeIQ4_NL(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.IQ4_NL, dst, src)
	dst, src = dst[done:], src[done/weightsIQ4_NL*bytesIQ4_NL:]
	var level [weightsIQ4_NL]uint8
	for len(dst) >= weightsIQ4_NL && len(src) >= bytesIQ4_NL {
		unpackNibbles(&level, (*[16]byte)(src[2:]))
		scaleLevels((*[32]float32)(dst), &level, loadHalf((*[2]byte)(src)), &valuesIQ4)
		dst, src = dst[weightsIQ4_NL:], src[bytesIQ4_NL:]
	}
}

func quantizeIQ4_NL(dst []byte, src []float32) {
	for len(src) >= weightsIQ4_NL && len(dst) >= bytesIQ4_NL {
		blockIQ4_NL((*[bytesIQ4_NL]byte)(dst), (*[weightsIQ4_NL]float32)(src), nil)
		src, dst = src[weightsIQ4_NL:], dst[bytesIQ4_NL:]
	}
}

func quantizeWeightedIQ4_NL(dst []byte, row, importance []float32) {
	for len(row) >= weightsIQ4_NL && len(dst) >= bytesIQ4_NL {
		blockIQ4_NL((*[bytesIQ4_NL]byte)(dst), (*[weightsIQ4_NL]float32)(row), importance[:weightsIQ4_NL])
		row, importance, dst = row[weightsIQ4_NL:], importance[weightsIQ4_NL:], dst[bytesIQ4_NL:]
	}
}

// blockIQ4_NL quantizes one block; importance may be nil.
func blockIQ4_NL(b *[bytesIQ4_NL]byte, x *[weightsIQ4_NL]float32, importance []float32) {
	var w [weightsIQ4_NL]float32
	var level [weightsIQ4_NL]uint8
	weightsIQ4(&w, x, importance, float32(sumSquares(x[:])*(2./weightsIQ4_NL)))
	d := fitIQ4(x, &w)
	storeHalf((*[2]byte)(b[:]), d)
	inverse := inverseOf(d)
	for i, v := range x {
		level[i] = levelIQ4(float32(inverse * v))
	}
	packNibbles((*[16]byte)(b[2:]), &level)
}
