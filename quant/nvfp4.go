package quant

import (
	"math"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// NVFP4 is 64 E2M1 numbers in four groups of 16: a byte a group for its scale, an unsigned number of four bits of
// exponent and three of mantissa (E4M3), then eight bytes a group of which byte i holds codes i (low bits) and i+8.
const (
	weightsNVFP4 = 64
	bytesNVFP4   = 36
	groupsNVFP4  = 4
)

func init() {
	register(gguf.NVFP4, format{
		weights: weightsNVFP4, bytes: bytesNVFP4, nonFinite: nonFiniteNVFP4,
		dequantize: dequantizeNVFP4, quantize: quantizeNVFP4,
		layout: layoutNVFP4().uneven(valuesE2M1, unpackNVFP4, packNVFP4).byRank(&ranksE2M1, codeOfE2M1),
	})
}

// scalesNVFP4 is half of the scale, because values are stored doubled. 127 would be NaN and counts as 0; the format
// has no sign bit for the scale.
var scalesNVFP4 = func() (scales [256]float32) {
	for i := range scales {
		mantissa, exponent := float64(i&7), i>>3&15
		if exponent > 0 {
			mantissa += 8
			exponent--
		}
		scales[i] = float32(math.Ldexp(mantissa, exponent-10))
	}
	scales[127] = 0
	return scales
}()

func dequantizeNVFP4(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.NVFP4, dst, src)
	dst, src = dst[done:], src[done/weightsNVFP4*bytesNVFP4:]
	var codes [16]uint8
	for len(dst) >= weightsNVFP4 && len(src) >= bytesNVFP4 {
		b := (*[bytesNVFP4]byte)(src)
		for i, s := range b[:groupsNVFP4] {
			q := load8(b[groupsNVFP4+8*i:])
			store8(codes[:], q&eachLow4)
			store8(codes[8:], q>>4&eachLow4)
			scaleCodes16((*[16]float32)(dst[16*i:]), &codes, scalesNVFP4[s], &halvesE2M1)
		}
		dst, src = dst[weightsNVFP4:], src[bytesNVFP4:]
	}
}

func quantizeNVFP4(dst []byte, src []float32) {
	var codes [16]uint8
	for len(src) >= weightsNVFP4 && len(dst) >= bytesNVFP4 {
		x, b := (*[weightsNVFP4]float32)(src), (*[bytesNVFP4]byte)(dst)
		for i := range groupsNVFP4 {
			group := x[16*i:][:16]
			greatest := absf(peak(group))
			b[i] = scaleNVFP4(greatest / 6)
			codesE2M1(codes[:], group, greatest, scalesNVFP4[b[i]])
			for j := range 8 {
				b[groupsNVFP4+8*i+j] = codes[j] | codes[j+8]<<4
			}
		}
		src, dst = src[weightsNVFP4:], dst[bytesNVFP4:]
	}
}

// scaleNVFP4 is the E4M3 number nearest to f, halves away from 0. As in the reference, everything that rounds to 256
// or more counts as the largest number, 448.
func scaleNVFP4(f float32) uint8 {
	if !(f > 0) {
		return 0
	}
	const highest, largest = 15 << 3, 0x7e
	bits := math.Float32bits(f)
	exponent := int(bits>>23) - 127 + 7
	if exponent <= 0 {
		return uint8(min(truncated(float32(f*512)+0.5), 7))
	}
	number := exponent<<3 + int(bits>>20&7+bits>>19&1)
	if number >= highest {
		return largest
	}
	return uint8(number)
}

// nonFiniteNVFP4 finds nothing: no scale of the format is infinite or NaN.
func nonFiniteNVFP4([]byte) int { return -1 }

func layoutNVFP4() *layout {
	return &layout{
		group: 16,
		load: func(b []byte, g *blockScales) {
			for i, s := range b[:groupsNVFP4] {
				g.scale[i], g.offset[i] = scalesNVFP4[s], 0
			}
		},
		store: func(b []byte, g *blockScales) {
			for i := range groupsNVFP4 {
				if scalesNVFP4[b[i]] != g.scale[i] {
					b[i] = scaleNVFP4(2 * g.scale[i])
				}
			}
		},
	}
}

func unpackNVFP4(codes *[weightsK]uint8, b []byte) {
	for i := range groupsNVFP4 {
		q := load8(b[groupsNVFP4+8*i:])
		store8(codes[16*i:], q&eachLow4)
		store8(codes[16*i+8:], q>>4&eachLow4)
	}
}

func packNVFP4(b []byte, codes *[weightsK]uint8) {
	for i := range groupsNVFP4 {
		for j := range 8 {
			b[groupsNVFP4+8*i+j] = codes[16*i+j] | codes[16*i+j+8]<<4
		}
	}
}
