package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// TQ2_0 is a super-block of 256 weights d·(q-1) of three codes: 64 bytes of codes (see packCrumbs), then the half
// precision d.
const (
	dTQ2_0     = 64
	bytesTQ2_0 = 66
)

func init() {
	register(gguf.TQ2_0, format{
		weights: weightsK, bytes: bytesTQ2_0, nonFinite: halfScales(weightsK, bytesTQ2_0, dTQ2_0),
		dequantize: dequantizeTQ2_0, quantize: quantizeTQ2_0,
		layout: oneScale(weightsK, dTQ2_0).with(-1, 3,
			func(codes *[weightsK]uint8, b []byte) { unpackCrumbs(codes, (*[64]byte)(b)) },
			func(b []byte, codes *[weightsK]uint8) { packCrumbs((*[64]byte)(b), codes) }).
			byRank(&[256]uint8{0, 1, 2, 2}, []uint8{0, 1, 2}),
	})
}

func dequantizeTQ2_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.TQ2_0, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesTQ2_0:]
	var codes [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesTQ2_0 {
		unpackCrumbs(&codes, (*[64]byte)(src))
		scaleTernary((*[weightsK]float32)(dst), &codes, loadHalf((*[2]byte)(src[dTQ2_0:])))
		dst, src = dst[weightsK:], src[bytesTQ2_0:]
	}
}

func quantizeTQ2_0(dst []byte, src []float32) {
	var codes [weightsK]uint8
	for len(src) >= weightsK && len(dst) >= bytesTQ2_0 {
		d := ternaryCodes(&codes, (*[weightsK]float32)(src))
		storeHalf((*[2]byte)(dst[dTQ2_0:]), d)
		packCrumbs((*[64]byte)(dst), &codes)
		src, dst = src[weightsK:], dst[bytesTQ2_0:]
	}
}

func scaleTernary(y *[weightsK]float32, codes *[weightsK]uint8, d float32) {
	for i := 0; i < weightsK; i += 32 {
		scaleCodes((*[32]float32)(y[i:]), (*[32]uint8)(codes[i:]), d, &lessOne)
	}
}

// ternaryCodes rounds the weights to multiples of the greatest magnitude, which it returns. Where there is NaN a code
// may be any byte.
func ternaryCodes(codes *[weightsK]uint8, x *[weightsK]float32) float32 {
	d := greatestMagnitude(x[:])
	inverse := inverseOf(d)
	for i, v := range x {
		codes[i] = uint8(roundHalfAway(float32(v*inverse)) + 1)
	}
	return d
}
